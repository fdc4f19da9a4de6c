from collections.abc import Callable

import numpy as np
import pytest

from transmodal.errors import UserError
from transmodal.tomography.degradations import DetectorBlur, ImageNoise, Rings, Scatter
from transmodal.tomography.degradations.degradation import Reading, stream

Maker = Callable[..., Reading]


def _read(step: DetectorBlur | Rings | Scatter, reading: Reading, seed: int = 0) -> tuple[Reading, dict[str, object]]:
    return step.read(reading, stream(seed, step.kind))


def test_blur_has_the_width_asked_for_in_millimetres(reading: Maker) -> None:
    slit = np.full((1, 4, 201), 50.0)
    slit[..., 100] = 0.0
    profile = _read(DetectorBlur(fwhm_mm=8.0), reading(slit, pitch=0.5))[0].transmission[0, 0, 0]
    above = np.flatnonzero(profile >= profile.max() / 2)
    assert (above[-1] - above[0] + 1) * 0.5 == pytest.approx(8.0, abs=1.0)
    assert profile.sum() == pytest.approx(1.0, rel=1e-3)  # light is spread, not lost


def test_blur_acts_on_light_and_not_on_its_logarithm(reading: Maker) -> None:
    step = np.zeros((1, 4, 64))
    step[..., 32:] = 4.0
    before = reading(step)
    after = _read(DetectorBlur(fwhm_mm=6.0), before)[0]
    assert after.transmission.mean() == pytest.approx(before.transmission.mean(), rel=1e-3)
    assert (-np.log(after.transmission)).mean() < (-np.log(before.transmission)).mean() - 0.01


def test_gains_make_the_same_stripe_in_every_view(reading: Maker) -> None:
    views = np.random.default_rng(0).uniform(0.5, 3.0, (2, 30, 400)).astype(np.float32)
    before = reading(views)
    after, notes = _read(Rings(gain_sd=0.03), before)
    stripe = np.log(after.transmission / before.transmission)
    assert np.ptp(stripe, axis=2).max() < 1e-5
    assert stripe[0, :, 0].std() == pytest.approx(0.03, rel=0.1)
    assert not np.allclose(stripe[0, 0], stripe[0, 1])  # each slice has its own row of bins
    assert notes == {}


def test_dead_bins_read_nothing_or_their_neighbours(reading: Maker) -> None:
    views = np.broadcast_to(np.linspace(0.0, 1.0, 100), (1, 20, 100))
    dark, notes = _read(Rings(gain_sd=0.0, dead_fraction=0.05, interpolate_dead=False), reading(views))
    dead = notes["dead_bins"][0]  # type: ignore[index]
    assert len(dead) == 5
    assert (dark.transmission[0, 0][:, dead] == 0).all() and (dark.transmission[0, 0] == 0).sum() == 100
    filled, _ = _read(Rings(gain_sd=0.0, dead_fraction=0.05), reading(views))
    assert filled.transmission == pytest.approx(reading(views).transmission, abs=5e-3)


def test_rings_do_something_or_are_refused() -> None:
    with pytest.raises(ValueError, match="neither gain_sd nor dead_fraction"):
        Rings(gain_sd=0.0)


@pytest.mark.parametrize("shape", ["constant", "gaussian", "forward"])
@pytest.mark.parametrize("ratio", [0.05, 1.5])
def test_scatter_has_the_ratio_asked_for_behind_the_object(reading: Maker, shape: str, ratio: float) -> None:
    views = np.zeros((1, 12, 120))
    views[..., 30:90] = 3.0 * np.sin(np.linspace(0, np.pi, 60))
    before = reading(views, pitch=2.0)
    after, notes = _read(Scatter(shape=shape, ratio=ratio), before)
    scatter = after.transmission - before.transmission
    behind = before.transmission < 0.9
    assert scatter[behind].sum() / before.transmission[behind].sum() == pytest.approx(ratio, rel=1e-3)
    assert notes["scatter_to_primary"] == pytest.approx([ratio])
    assert (scatter > 0).all()
    assert notes["largest_scatter_to_primary"] == pytest.approx([(scatter / before.transmission).max()], rel=1e-4)


@pytest.mark.parametrize("shape", ["constant", "gaussian", "forward"])
def test_each_slice_has_the_ratio_asked_for(reading: Maker, shape: str) -> None:
    views = np.zeros((2, 12, 120))
    views[0, :, 30:90] = 5.0
    views[1, :, 50:70] = 0.8
    step = Scatter(shape=shape, ratio=0.4, fwhm_mm=60.0)
    together, notes = _read(step, reading(views))
    for index in range(2):
        alone, its = _read(step, reading(views[index : index + 1]))
        assert np.array_equal(together.transmission[:, index], alone.transmission[:, 0])
        assert [notes["amplitude"][index]] == its["amplitude"]  # type: ignore[index]
    assert notes["scatter_to_primary"] == pytest.approx([0.4, 0.4])


@pytest.mark.parametrize(
    ("step", "limit"),
    [
        (DetectorBlur(fwhm_mm=1e9), "its width at most, 64"),
        (Scatter(ratio=0.1, fwhm_mm=1e9), "10 times its width at most, 640"),
        (Scatter(ratio=0.1, shape="forward", fwhm_mm=641), "10 times its width at most, 640"),
    ],
)
def test_a_gaussian_far_wider_than_the_detector_is_refused(
    reading: Maker, step: DetectorBlur | Scatter, limit: str
) -> None:
    with pytest.raises(UserError, match=limit):
        step.acquire(reading(1.0).beam)
    for fits in (DetectorBlur(fwhm_mm=64), Scatter(ratio=0.1), Scatter(ratio=0.1, shape="constant", fwhm_mm=1e9)):
        assert fits.acquire(reading(1.0).beam) == reading(1.0).beam


def test_scatter_of_a_given_amplitude_is_the_formula(reading: Maker) -> None:
    before = reading(2.0)
    light = np.exp(-2.0)
    assert _read(Scatter(shape="constant", amplitude=1e-3), before)[0].transmission == pytest.approx(light + 1e-3)
    assert _read(Scatter(amplitude=0.1), before)[0].transmission == pytest.approx(1.1 * light)
    forward = _read(Scatter(shape="forward", amplitude=0.1), before)[0]
    assert forward.transmission == pytest.approx(light + 0.1 * 2.0 * light)


def test_scatter_needs_one_strength() -> None:
    for settings in ({}, {"ratio": 0.1, "amplitude": 0.1}):
        with pytest.raises(ValueError, match="either ratio"):
            Scatter(**settings)


def test_image_noise_has_its_standard_deviation_and_seed() -> None:
    step = ImageNoise(sigma_hu=25.0)
    clean = np.full((2, 100, 100), 40.0, dtype=np.float32)
    noisy = step.finish(clean, stream(1, step.kind))
    assert noisy.std() == pytest.approx(25.0, rel=0.03) and noisy.mean() == pytest.approx(40.0, abs=1.0)
    assert noisy.dtype == np.float32
    assert np.array_equal(noisy, step.finish(clean, stream(1, step.kind)))
    assert not np.array_equal(noisy, step.finish(clean, stream(2, step.kind)))
