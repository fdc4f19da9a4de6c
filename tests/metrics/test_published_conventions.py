"""Each convention against its own words, written out with scikit-image, SciPy and NumPy.

Tolerance 1e-9 throughout: only the order of sums differs. Single-precision volumes are given to the write-up in double
precision, as the challenges' codes would round them.
"""

import inspect
import math
from collections.abc import Callable

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter, uniform_filter
from scipy.signal import fftconvolve
from skimage.metrics import normalized_root_mse, peak_signal_noise_ratio, structural_similarity

from transmodal.metrics import METRICS, conventions
from transmodal.metrics.published_conventions import (
    mae_synthrad2023,
    mae_synthrad2025,
    ms_ssim_synthrad2025,
    psnr_lodopab,
    psnr_per_image_range,
    psnr_synthrad2023,
    psnr_synthrad2025,
    ssim_lodopab,
    ssim_per_image_range,
    ssim_synthrad2023,
)


def volumes(shape: tuple[int, ...], kind: type = np.float32, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Two volumes in HU that exceed the range of the challenges on both sides."""
    generator = np.random.default_rng(seed)
    truth = gaussian_filter(generator.normal(size=shape), 2)
    truth = 900 * truth / truth.std()
    truth[tuple(slice(0, 3) for _ in shape)], truth[tuple(slice(-4, -1) for _ in shape)] = 3500, -2000
    return (0.4 * truth - 200 + generator.normal(0, 400, shape)).astype(kind), truth.astype(kind)


def body(shape: tuple[int, ...]) -> np.ndarray:
    """An ellipsoid cut off by the borders."""
    grid = np.meshgrid(*(np.linspace(-1, 1, length) for length in shape), indexing="ij")
    return sum(axis**2 for axis in grid) < 1.3


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("kind", [np.int16, np.float32, np.float64])
def test_synthrad_errors_are_unclipped_and_its_psnr_is_clipped(masked: bool, kind: type) -> None:
    predicted, truth = volumes((20, 30, 25), kind)
    mask = body(truth.shape) if masked else None
    inside = np.ones(truth.shape, bool) if mask is None else mask
    p, t = predicted[inside].astype(np.float64), truth[inside].astype(np.float64)
    for function in (mae_synthrad2023, mae_synthrad2025):
        assert function(predicted, truth, mask=mask) == pytest.approx(np.abs(p - t).mean(), rel=1e-9)
    expected = peak_signal_noise_ratio(t.clip(-1024, 3000), p.clip(-1024, 3000), data_range=4024)
    for function in (psnr_synthrad2023, psnr_synthrad2025):
        assert function(predicted, truth, mask=mask) == pytest.approx(expected, rel=1e-9)
    assert psnr_synthrad2023(truth, truth, mask=mask) == math.inf


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("kind", [np.int16, np.float32])
def test_ssim_of_synthrad2023_masks_before_the_window_and_after(masked: bool, kind: type) -> None:
    predicted, truth = volumes((21, 33, 26), kind)
    mask = body(truth.shape) if masked else None
    p, t = (image.astype(np.float64).clip(-1024, 3000) for image in (predicted, truth))
    if mask is not None:
        p[~mask], t[~mask] = -1024, -1024
    mean, local = structural_similarity(t + 1024, p + 1024, data_range=4024, full=True)
    cut = (slice(3, -3),) * 3
    expected = mean if mask is None else local[cut][mask[cut]].mean()
    value = ssim_synthrad2023(predicted, truth, mask=mask)
    assert value == pytest.approx(expected, abs=1e-9)
    if mask is not None:
        assert value != pytest.approx(ssim_synthrad2023(predicted, truth), abs=1e-3)
    assert ssim_synthrad2023(truth, truth, mask=mask) == pytest.approx(1.0, abs=1e-9)


def ms_ssim_written_out(predicted: np.ndarray, truth: np.ndarray, mask: np.ndarray | None) -> float:
    inside = np.ones(truth.shape, bool) if mask is None else mask
    images = [
        np.where(inside, image.astype(np.float64).clip(-1024, 3000), -1024) + 1024 for image in (truth, predicted)
    ]
    missing = [max(97 - length, 0) for length in truth.shape]
    x, y, inside = (
        np.pad(array, [(gap // 2, gap - gap // 2) for gap in missing], mode="edge") for array in (*images, inside)
    )
    cut, score = (slice(3, -3),) * 3, 1.0
    c1, c2 = (0.01 * 4024) ** 2, (0.03 * 4024) ** 2
    for weight in (0.0448, 0.2856, 0.3001, 0.2363, 0.1333):
        m_x, m_y = uniform_filter(x, 7), uniform_filter(y, 7)
        v_x, v_y, c = (
            343 / 342 * (uniform_filter(a * b, 7) - m_a * m_b)
            for a, b, m_a, m_b in ((x, x, m_x, m_x), (y, y, m_y, m_y), (x, y, m_x, m_y))
        )
        s_x, s_y = np.sqrt(v_x.clip(0)), np.sqrt(v_y.clip(0))
        luminance = (2 * m_x * m_y + c1) / (m_x**2 + m_y**2 + c1)
        contrast = (2 * s_x * s_y + c2) / (v_x + v_y + c2)
        structure = (c + c2 / 2) / (s_x * s_y + c2 / 2)
        powers = luminance.clip(0) ** weight * contrast.clip(0) ** weight * structure.clip(0) ** weight
        score *= powers[cut][inside[cut]].mean().clip(0, 1)
        x, y = (fftconvolve(image, np.full((2, 2, 2), 1 / 8), mode="same")[::2, ::2, ::2] for image in (x, y))
        inside = inside[::2, ::2, ::2]
    return float(score)


@pytest.mark.parametrize(("shape", "masked"), [((110, 99, 97), True), ((40, 98, 61), True), ((97, 30, 50), False)])
def test_ms_ssim_of_synthrad2025_pads_masks_and_weighs_as_its_code(shape: tuple[int, ...], masked: bool) -> None:
    predicted, truth = volumes(shape)
    mask = body(shape) if masked else None
    value = ms_ssim_synthrad2025(predicted, truth, mask=mask)
    assert value == pytest.approx(ms_ssim_written_out(predicted, truth, mask), abs=1e-9)
    assert 0.1 < value < 0.99


def test_what_synthrad_leaves_out_may_be_anything() -> None:
    predicted, truth = volumes((30, 30, 30))
    mask = body(truth.shape)
    scorers = (mae_synthrad2023, psnr_synthrad2025, ssim_synthrad2023, ms_ssim_synthrad2025)
    clean = [function(predicted, truth, mask=mask) for function in scorers]
    predicted[0, 0, 0], truth[0, 0, 1] = np.nan, np.inf
    assert [function(predicted, truth, mask=mask) for function in scorers] == clean
    predicted[15, 15, 15] = np.inf  # not a bright voxel of 3000 HU
    for function in scorers:
        with pytest.raises(ValueError, match="NaN or infinite"):
            function(predicted, truth, mask=mask)


@pytest.mark.parametrize("shape", [(40, 50), (15, 20, 30)])
@pytest.mark.parametrize("masked", [False, True])
def test_per_image_range_takes_the_extent_of_the_truth(shape: tuple[int, ...], masked: bool) -> None:
    predicted, truth = volumes(shape, np.float64)
    mask = body(shape) if masked else None
    inside = np.ones(shape, bool) if mask is None else mask
    extent = np.ptp(truth[inside])
    expected = peak_signal_noise_ratio(truth[inside], predicted[inside], data_range=extent)
    assert psnr_per_image_range(predicted, truth, mask=mask) == pytest.approx(expected, rel=1e-9)
    rooted = normalized_root_mse(truth[inside], predicted[inside], normalization="min-max")
    assert expected == pytest.approx(-20 * np.log10(rooted))
    _, local = structural_similarity(
        truth,
        predicted,
        gaussian_weights=True,
        sigma=1.5,
        use_sample_covariance=False,
        data_range=extent,
        full=True,
    )
    cut = (slice(5, -5),) * len(shape)
    value = ssim_per_image_range(predicted, truth, mask=mask)
    assert value == pytest.approx(local[cut][inside[cut]].mean(), abs=1e-9)


def test_lodopab_takes_the_extent_of_each_truth_and_the_uniform_window() -> None:
    generator = np.random.default_rng(3)
    truth = gaussian_filter(generator.uniform(0, 1, (90, 80)), 2).clip(0.3, 0.6).astype(np.float32)
    predicted = truth + generator.normal(0, 0.02, truth.shape).astype(np.float32)
    p, t = predicted.astype(np.float64), truth.astype(np.float64)
    extent = t.max() - t.min()
    assert psnr_lodopab(predicted, truth) == pytest.approx(
        20 * np.log10(extent) - 10 * np.log10(((p - t) ** 2).mean()), rel=1e-9
    )
    assert ssim_lodopab(predicted, truth) == pytest.approx(structural_similarity(p, t, data_range=extent), abs=1e-9)
    # A linear scale does not matter: papers give attenuation per metre or over its maximum.
    assert psnr_lodopab(81.35858 * p, 81.35858 * t) == pytest.approx(psnr_lodopab(p, t), rel=1e-9)


IMAGES = [name for members in conventions().values() for name in members]


@pytest.mark.parametrize("name", IMAGES)
def test_a_convention_says_what_it_fixes(name: str) -> None:
    text = " ".join((inspect.getdoc(METRICS[name].function) or "").split())
    for word in ("range:", "clipping:", "window:", "mask:"):
        assert word in text.lower()


def refused(function: Callable[..., float], match: str, *images: np.ndarray, **options: object) -> None:
    with pytest.raises(ValueError, match=match) as refusal:
        function(*images, **options)
    assert "\n" not in str(refusal.value)


def test_what_cannot_be_scored_is_refused_in_one_line() -> None:
    flat, ramp = np.ones((20, 20)), np.arange(400.0).reshape(20, 20)
    for function in (psnr_per_image_range, ssim_per_image_range, psnr_lodopab, ssim_lodopab):
        refused(function, "constant", ramp, flat)
        refused(function, "NaN or infinite", ramp, np.where(ramp == 7, np.nan, ramp))
        refused(function, "NaN or infinite", np.where(ramp == 7, np.inf, ramp), ramp)
        refused(function, "different shapes", ramp[:15], ramp)
    refused(psnr_per_image_range, "constant", ramp, np.eye(20), mask=np.eye(20, dtype=bool))
    refused(ssim_per_image_range, "selects no pixel", ramp, ramp, mask=np.zeros((20, 20), bool))
    for function in (ssim_synthrad2023, ms_ssim_synthrad2025):
        refused(function, "scores volumes", ramp, ramp)
    for function in (psnr_lodopab, ssim_lodopab):
        refused(function, "scores slices", np.zeros((9, 9, 9)), np.zeros((9, 9, 9)))
    predicted, truth = volumes((20, 20, 20))
    refused(ssim_synthrad2023, "at least 7", predicted[:6], truth[:6])
    edge = np.indices(truth.shape)[0] == 0
    refused(ssim_synthrad2023, "3 or more from every border", predicted, truth, mask=edge)
    corner = np.zeros((97, 97, 97), bool)
    corner[50:52, 51, 51] = True
    refused(ms_ssim_synthrad2025, "scale 2 of 5", *volumes((97, 97, 97)), mask=corner)
    for function in (mae_synthrad2023, psnr_synthrad2023, ssim_synthrad2023, ms_ssim_synthrad2025):
        refused(function, "mask has shape", predicted, truth, mask=edge[:5])
        refused(function, "must be boolean", predicted, truth, mask=edge.astype(int))
        refused(function, "different shapes", predicted[:8], truth)
