from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from transmodal.tomography.degradations import PhotonNoise
from transmodal.tomography.degradations.degradation import Reading, stream


def _logarithms(step: PhotonNoise, reading: Reading, seed: int = 0) -> np.ndarray:
    read, _ = step.read(reading, stream(seed, step.kind))
    return -np.log(read.transmission.astype(np.float64))


@pytest.mark.parametrize("depth", [0.0, 2.0, 5.0])
def test_line_integrals_have_the_variance_of_the_formula_and_no_bias(
    reading: Callable[..., Reading], depth: float
) -> None:
    noisy = _logarithms(PhotonNoise(photons=1e6), reading(depth))
    expected = np.exp(depth) / 1e6
    assert noisy.var() == pytest.approx(expected, rel=0.05)
    assert abs(noisy.mean() - depth) < 4 * np.sqrt(expected / noisy.size) + expected


def test_a_dose_divisor_of_25_gives_five_times_the_noise(reading: Callable[..., Reading]) -> None:
    full = _logarithms(PhotonNoise(photons=1e6), reading(2.0))
    low = _logarithms(PhotonNoise(photons=1e6, dose_divisor=25), reading(2.0))
    assert low.std() / full.std() == pytest.approx(5.0, rel=0.05)
    assert np.array_equal(low, _logarithms(PhotonNoise(photons=1e6 / 25), reading(2.0)))


def test_electronic_noise_adds_its_variance(reading: Callable[..., Reading]) -> None:
    depth, photons, sigma = 2.0, 1e4, 30.0
    noisy = _logarithms(PhotonNoise(photons=photons, electronic_noise=sigma), reading(depth))
    counts = photons * np.exp(-depth)
    assert noisy.var() == pytest.approx((counts + sigma**2) / counts**2, rel=0.06)


def test_zero_counts_are_lifted_to_the_floor_and_counted(reading: Callable[..., Reading]) -> None:
    step = PhotonNoise(photons=100, floor=0.1)
    read, notes = step.read(reading(20.0), stream(0, step.kind))
    assert (read.transmission == np.float32(0.1 / 100)).all()
    assert notes == {"rays_at_the_floor": read.transmission.size, "rays": read.transmission.size}
    assert read.floor == pytest.approx([0.1 / 100])


def test_the_same_seed_gives_the_same_noise(reading: Callable[..., Reading]) -> None:
    step = PhotonNoise()
    assert np.array_equal(_logarithms(step, reading(1.0), 7), _logarithms(step, reading(1.0), 7))
    assert not np.array_equal(_logarithms(step, reading(1.0), 7), _logarithms(step, reading(1.0), 8))


def test_photons_are_shared_among_the_windows(reading: Callable[..., Reading]) -> None:
    one = reading(1.0)
    both = replace(
        one,
        transmission=np.concatenate([one.transmission] * 2),
        shares=np.array([0.8, 0.2]),
        floor=np.full(2, 1e-9),
    )
    noisy = _logarithms(PhotonNoise(photons=1e6), both)
    assert noisy[1].var() / noisy[0].var() == pytest.approx(4.0, rel=0.1)
