"""SSIM with a uniform window against the defaults of scikit-image."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter
from skimage.metrics import structural_similarity

from transmodal.metrics.uniform_ssim import mean_of_power, uniform_ssim, uniform_ssim_map

KINDS = [np.uint8, np.uint16, np.int16, np.float32, np.float64]


def pair(kind: type, shape: tuple[int, ...], seed: int = 0) -> tuple[np.ndarray, np.ndarray, float]:
    """A smooth image over most of the type's range, a noisy copy, and that range."""
    generator = np.random.default_rng(seed)
    truth = gaussian_filter(generator.normal(size=shape), 2)
    truth = (truth - truth.min()) / (np.ptp(truth) + 1e-9)
    predicted = np.clip(truth + generator.normal(scale=0.1, size=shape), 0, 1)
    if np.issubdtype(kind, np.integer):
        low, high = np.iinfo(kind).min, np.iinfo(kind).max
        predicted, truth = (low + image * (high - low) for image in (predicted, truth))
        return predicted.astype(kind), truth.astype(kind), float(high - low)
    return predicted.astype(kind), truth.astype(kind), 1.0


def full_map(predicted: np.ndarray, truth: np.ndarray, data_range: float) -> np.ndarray:
    # In double precision, which the peer leaves for single precision where the images have it.
    images = truth.astype(np.float64), predicted.astype(np.float64)
    return structural_similarity(*images, data_range=data_range, full=True)[1]


@settings(max_examples=40, deadline=None)
@given(
    shape=st.lists(st.integers(7, 30), min_size=2, max_size=3),
    kind=st.sampled_from(KINDS),
    other=st.sampled_from(KINDS),
    seed=st.integers(0, 2**16),
)
def test_any_size_type_and_layout_agrees_with_scikit_image(
    shape: list[int], kind: type, other: type, seed: int
) -> None:
    predicted = pair(kind, tuple(shape[::-1]), seed)[0].T[::-1]
    truth = pair(other, tuple(shape), seed + 1)[1]
    expected = structural_similarity(truth.astype(np.float64), predicted.astype(np.float64), data_range=6e4)
    value = uniform_ssim(predicted, truth, data_range=6e4, spatial_dims=len(shape))
    assert value == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("shape", [(40, 57), (39, 20), (7, 7), (13, 40, 29), (9, 23, 7)])
@pytest.mark.parametrize("masked", [False, True])
def test_the_map_and_its_mean_are_those_of_scikit_image(shape: tuple[int, ...], masked: bool) -> None:
    predicted, truth, data_range = pair(np.float64, shape)
    inside = (slice(3, -3),) * len(shape)
    expected = full_map(predicted, truth, data_range)[inside]
    local = uniform_ssim_map(predicted, truth, data_range=data_range, spatial_dims=len(shape))
    np.testing.assert_allclose(local, expected, atol=1e-9)
    mask = np.random.default_rng(2).random(shape) < 0.4 if masked else None
    if mask is not None:
        mask[tuple(length // 2 for length in shape)] = True
        expected = expected[mask[inside]]
    value = uniform_ssim(predicted, truth, data_range=data_range, mask=mask, spatial_dims=len(shape))
    assert value == pytest.approx(expected.mean(), abs=1e-9)
    # The map of images with luminances above 0 is negative where the covariance is.
    powers = mean_of_power(predicted, truth, 0.3, data_range=data_range, mask=mask, spatial_dims=len(shape))
    assert powers == pytest.approx((np.maximum(expected, 0) ** 0.3).mean(), abs=1e-7)


def test_negative_factors_count_as_nothing_under_a_power() -> None:
    _, truth, _ = pair(np.float64, (30, 30))
    centred = truth - truth.mean()
    assert uniform_ssim(-centred, centred, data_range=1.0) < 1.0
    expected = full_map(1 - truth, truth, 0.1)[3:-3, 3:-3]
    assert mean_of_power(1 - truth, truth, 1.0, data_range=0.1) == pytest.approx(
        np.maximum(expected, 0).mean(), abs=1e-9
    )
    assert mean_of_power(centred - 0.5, centred + 0.5, 1.0, data_range=0.01) == 0.0  # luminance alone is negative
    # Two negative factors must not make a positive one.
    anti = -3.0 * centred - 0.5, centred + 0.5
    assert mean_of_power(*anti, 1.0, data_range=0.01) == pytest.approx(0.0, abs=1e-6)


def test_large_offsets_keep_their_digits() -> None:
    predicted, truth, _ = pair(np.float64, (40, 50))
    expected = uniform_ssim(predicted + 1.0, truth + 1.0, data_range=1e3)
    assert uniform_ssim(predicted + 1e5, truth + 1e5, data_range=1e3) == pytest.approx(expected, abs=1e-3)
    assert uniform_ssim(truth + 1e5, truth + 1e5, data_range=1e-3) == pytest.approx(1.0, abs=1e-9)


def test_a_pixel_that_is_not_finite_is_refused_where_it_counts() -> None:
    predicted, truth, _ = pair(np.float32, (40, 40))
    mask = np.zeros(truth.shape, bool)
    mask[25:] = True
    clean = uniform_ssim(predicted, truth, data_range=1.0, mask=mask)
    predicted[2, 2] = np.nan
    assert uniform_ssim(predicted, truth, data_range=1.0, mask=mask) == clean
    with pytest.raises(ValueError, match="NaN or infinite"):
        uniform_ssim(predicted, truth, data_range=1.0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"predicted": np.zeros((6, 30)), "truth": np.zeros((6, 30))}, "at least 7"),
        ({"predicted": np.zeros((20, 20, 3)), "truth": np.zeros((20, 20, 3))}, "channels and slices separately"),
        ({"predicted": np.zeros((20, 30))}, "different shapes"),
        ({"spatial_dims": 4}, "2 or 3"),
        ({"spatial_dims": 3}, "has not 3 axes"),
        ({"data_range": 0}, "data_range"),
        ({"mask": np.pad(np.zeros((16, 16), bool), 2, constant_values=True)}, "3 or more from every border"),
    ],
)
def test_wrong_arguments_are_refused_in_one_line(change: dict, message: str) -> None:
    arguments = {"predicted": np.zeros((20, 20)), "truth": np.ones((20, 20)), "data_range": 1.0} | change
    with pytest.raises(ValueError, match=message) as refusal:
        uniform_ssim(arguments.pop("predicted"), arguments.pop("truth"), **arguments)
    assert "\n" not in str(refusal.value)
