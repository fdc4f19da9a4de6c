"""What holds for every score of two images, whichever it is."""

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter

from transmodal.metrics import METRICS
from transmodal.metrics.uniform_ssim import uniform_ssim

CHOSEN: dict[str, dict[str, Any]] = {
    "nmae": {"denominator": "mean-magnitude"},
    "nmi": {"bins": 32},
    "affine_snr": {"limits": (0, 4096)},
}
SYMMETRIC = {"mse", "mae", "psnr", "ssim", "ms_ssim", "nmi", "uniform_ssim"} | {
    name for name in METRICS if METRICS[name].convention.startswith("synthrad")
}
PERFECT = {"psnr": math.inf, "nmi": 2.0, "affine_snr": math.inf}
# What two equal constant images score, where it is not the perfect value: these have nothing to measure.
WITHOUT_CONSTANTS = {"nmi", "affine_snr"} | {
    name for name in METRICS if METRICS[name].convention in ("per-image-range", "lodopab")
}
# A shape that is one pixel too small.
TOO_SMALL: dict[str, tuple[int, ...]] = {
    "ssim": (10, 30),
    "ms_ssim": (160, 170),
    "vif": (40, 50),
    "uniform_ssim": (6, 9),
    "ssim@synthrad2023": (6, 9, 9),
    "ssim@per-image-range": (10, 10),
    "ssim@lodopab": (6, 9),
}

SCORES: dict[str, Callable[..., float]] = {
    name: partial(
        metric.function, **CHOSEN.get(name, {}), **({"data_range": 4096.0} if "data_range" in metric.options else {})
    )
    for name, metric in METRICS.items()
    if metric.level == "image" and metric.needs_truth and name != "lpips"
} | {"uniform_ssim": partial(uniform_ssim, data_range=4096.0)}


def shape_for(name: str) -> tuple[int, ...]:
    if name in METRICS and METRICS[name].dimensions == (3,):
        return (12, 15, 13)
    return (165, 171) if name == "ms_ssim" else (47, 52)


def pair(shape: tuple[int, ...], seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Two similar images of whole numbers from 0 to 255, in double precision: every real type holds them."""
    generator = np.random.default_rng(seed)
    truth = gaussian_filter(generator.normal(size=shape), 2)
    truth = 200 * (truth - truth.min()) / np.ptp(truth)
    predicted = truth + generator.normal(0, 12, shape)
    return np.round(predicted.clip(0, 255)), np.round(truth)


@pytest.mark.parametrize("name", SCORES)
def test_equal_images_are_perfect_and_others_are_not(name: str) -> None:
    higher = name == "uniform_ssim" or METRICS[name].direction == "higher"
    perfect = PERFECT.get(name.partition("@")[0], 1.0 if higher else 0.0)
    predicted, truth = pair(shape_for(name))
    assert SCORES[name](truth, truth) == pytest.approx(perfect, abs=1e-9)
    value = SCORES[name](predicted, truth)
    assert math.isfinite(value)
    assert value < perfect - 1e-6 if higher else value > perfect + 1e-6
    noisier = SCORES[name](predicted + np.random.default_rng(8).normal(0, 60, truth.shape), truth)
    assert noisier < value if higher else noisier > value


@pytest.mark.parametrize("name", sorted(SYMMETRIC))
def test_order_does_not_matter_to_symmetric_scores(name: str) -> None:
    first, second = pair(shape_for(name), 1)
    assert SCORES[name](first, second) == pytest.approx(SCORES[name](second, first), rel=1e-9)


@pytest.mark.parametrize("name", SCORES)
@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    kinds=st.tuples(*[st.sampled_from(["u1", "<i2", ">u2", "i4", "f4", ">f8", "f8", "f2"])] * 2),
    order=st.sampled_from("CF"),
    step=st.sampled_from([1, -1, 2]),
    seed=st.integers(0, 99),
)
def test_neither_type_nor_layout_changes_a_score(
    name: str, kinds: tuple[str, str], order: str, step: int, seed: int
) -> None:
    images = pair(shape_for(name), seed)
    expected = SCORES[name](*images)
    others = []
    for image, kind in zip(images, kinds, strict=True):
        wide = np.zeros((*image.shape[:-1], image.shape[-1] * abs(step)), kind, order=order)
        view = wide[..., ::step]
        view[...] = image
        others.append(view)
    assert SCORES[name](*others) == pytest.approx(expected, rel=1e-9)
    assert all((view == image).all() for view, image in zip(others, images, strict=True))  # nothing was written to


@pytest.mark.parametrize("name", SCORES)
def test_constant_images_have_a_defined_value_or_are_refused(name: str) -> None:
    flat = np.full(shape_for(name), 40.0)
    higher = name == "uniform_ssim" or METRICS[name].direction == "higher"
    if name in WITHOUT_CONSTANTS:
        refused(name, "constant", flat, flat)
    else:
        perfect = PERFECT.get(name.partition("@")[0], 1.0 if higher else 0.0)
        assert SCORES[name](flat, flat) == pytest.approx(perfect, abs=1e-9)
    if name in WITHOUT_CONSTANTS | {"vif"}:
        refused(name, "constant", flat + 10, flat)
    else:
        assert math.isfinite(SCORES[name](flat + 10, flat))


@pytest.mark.parametrize("name", SCORES)
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("which", [0, 1])
def test_pixels_that_are_not_finite_are_refused(name: str, bad: float, which: int) -> None:
    images = pair(shape_for(name))
    images[which][tuple(length // 3 for length in shape_for(name))] = bad
    refused(name, "NaN or infinite", *images)


@pytest.mark.parametrize("name", SCORES)
def test_images_that_do_not_fit_are_refused(name: str) -> None:
    predicted, truth = pair(shape_for(name))
    refused(name, "different shapes", predicted[:-1], truth)
    refused(name, "real numbers", predicted.astype(complex), truth)
    refused(name, "masked array", predicted, np.ma.masked_array(truth))
    refused(name, "real numbers", np.full(truth.shape, "grey"), truth)
    if name in TOO_SMALL:
        refused(name, "at least", np.zeros(TOO_SMALL[name]), np.indices(TOO_SMALL[name])[0])
    if name == "uniform_ssim" or "mask" in METRICS[name].options:
        refused(name, "selects no pixel", predicted, truth, mask=np.zeros(truth.shape, bool))
        refused(name, "mask has shape", predicted, truth, mask=np.ones(truth.shape[1:], bool))
        refused(name, "must be boolean", predicted, truth, mask=np.ones(truth.shape, int))
    if name in METRICS and "data_range" in METRICS[name].options:
        refused(name, "data_range must be", predicted, truth, data_range=0.0)


def refused(name: str, match: str, *images: np.ndarray, **options: Any) -> None:
    with pytest.raises(ValueError, match=match) as refusal:
        SCORES[name](*images, **options)
    assert "\n" not in str(refusal.value)
