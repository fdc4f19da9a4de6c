"""The SNR after affine regression against a general least-squares solver."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from transmodal.metrics.affine_snr import affine_snr


def fitted(predicted: np.ndarray, truth: np.ndarray, low: float) -> float:
    """The definition, written out with numpy's solver."""
    x, y = (image.astype(np.float64).ravel() for image in (truth, predicted))
    x = x - low
    columns = np.stack([y, np.ones_like(y)], axis=1)
    residual = x - columns @ np.linalg.lstsq(columns, x, rcond=None)[0]
    return 10 * math.log10((x @ x) / (residual @ residual))


@settings(max_examples=40, deadline=None)
@given(
    shape=st.lists(st.integers(3, 17), min_size=2, max_size=3),
    gain=st.floats(-3, 3).filter(lambda value: abs(value) > 0.01),
    offset=st.floats(-2000, 2000),
    low=st.sampled_from([0.0, -1024.0]),
    seed=st.integers(0, 2**16),
)
def test_the_best_line_is_that_of_least_squares(
    shape: list[int], gain: float, offset: float, low: float, seed: int
) -> None:
    random = np.random.default_rng(seed)
    truth = random.uniform(-1000, 1500, shape)
    predicted = gain * truth + offset + random.normal(0, 200, shape)
    found = affine_snr(predicted, truth, limits=(low, 1500.0))
    assert found == pytest.approx(fitted(predicted, truth, low), abs=1e-6)
    # No brightness and no contrast of the prediction changes it.
    assert affine_snr(0.01 * predicted - 7, truth, limits=(low, 1500.0)) == pytest.approx(found, abs=1e-6)


@pytest.mark.parametrize("kind", [np.uint8, np.int16, np.float32])
def test_a_mask_limits_the_fit_and_the_sums(kind: type) -> None:
    random = np.random.default_rng(0)
    truth: np.ndarray = random.integers(0, 100, (30, 20)).astype(kind)
    predicted: np.ndarray = (truth // 2 + random.integers(0, 20, truth.shape)).astype(kind)
    mask = np.zeros(truth.shape, bool)
    mask[4:20, 3:18] = True
    inside = fitted(predicted[mask], truth[mask], 0.0)
    assert affine_snr(predicted, truth, limits=(0, 100), mask=mask) == pytest.approx(inside, abs=1e-6)
    assert affine_snr(predicted, truth, limits=(0, 100)) == pytest.approx(fitted(predicted, truth, 0.0), abs=1e-6)
    assert abs(inside - fitted(predicted, truth, 0.0)) > 0.01


def test_the_truth_counts_from_the_lower_limit() -> None:
    truth = np.array([[-1000.0, 0.0], [40.0, 60.0]])
    predicted = truth + np.array([[30.0, -20.0], [10.0, 0.0]])
    air, water = (affine_snr(predicted, truth, limits=(low, 1500.0)) for low in (-1000.0, 0.0))
    signal = [float(((truth - low) ** 2).sum()) for low in (-1000.0, 0.0)]
    assert air - water == pytest.approx(10 * math.log10(signal[0] / signal[1]))


def test_images_without_noise_or_without_contrast() -> None:
    truth = np.random.default_rng(0).normal(40, 10, (20, 20))
    assert affine_snr(truth, truth, limits=(0, 100)) == math.inf
    assert affine_snr(3 * truth - 5, truth, limits=(0, 100)) > 250
    with pytest.raises(ValueError, match="truth is constant"):
        affine_snr(truth, np.full((20, 20), 0.1), limits=(0, 100))
    mean = 10 * math.log10(float((truth**2).sum() / ((truth - truth.mean()) ** 2).sum()))
    assert affine_snr(np.full((20, 20), 7.0), truth, limits=(0, 100)) == pytest.approx(mean)
    # A small residual under a large mean is not lost.
    noise = np.random.default_rng(1).normal(0, 1e-3, truth.shape)
    far = affine_snr(truth + noise + 1e6, truth, limits=(0, 100))
    assert far == pytest.approx(fitted(truth + noise, truth, 0.0), abs=1e-3)


@pytest.mark.parametrize("limits", [(1.0, 1.0), (0.0, math.inf), (math.nan, 1.0)])
def test_limits_that_are_none_are_refused(limits: tuple[float, float]) -> None:
    with pytest.raises(ValueError, match="low before high"):
        affine_snr(np.ones((2, 2)), np.ones((2, 2)), limits=limits)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_pixels_that_are_not_finite_are_refused_where_they_count(bad: float) -> None:
    truth = np.arange(16.0).reshape(4, 4)
    for place in (0, 1):
        images = [truth.copy(), truth.copy()]
        images[place][1, 1] = bad
        with pytest.raises(ValueError, match="affine_snr: predicted or truth holds NaN"):
            affine_snr(*images, limits=(0, 16))
        mask = np.ones((4, 4), bool)
        mask[1, 1] = False
        assert affine_snr(*images, limits=(0, 16), mask=mask) == math.inf
