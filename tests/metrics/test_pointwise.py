"""Pointwise errors against scikit-image and written-out formulas."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage import metrics as peer

from transmodal.metrics.pointwise import mae, mse, nmae, nrmse, pointwise, psnr

KINDS = [np.uint8, np.uint16, np.int16, np.float32, np.float64]


def pair(kind: type, shape: tuple[int, ...], seed: int = 0) -> tuple[np.ndarray, np.ndarray, float]:
    """Two unequal images that fill the type's range, and that range."""
    generator = np.random.default_rng(seed)
    if np.issubdtype(kind, np.integer):
        low, high = np.iinfo(kind).min, np.iinfo(kind).max
        first, second = (generator.integers(low, high, shape, dtype=kind, endpoint=True) for _ in range(2))
        return first, second, float(high - low)
    first, second = (generator.normal(0.4, 0.3, shape).astype(kind) for _ in range(2))
    return first, second, 1.5


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("normalisation", ["euclidean", "min-max", "mean"])
def test_scores_equal_those_of_scikit_image(kind: type, normalisation: str) -> None:
    predicted, truth, data_range = pair(kind, (97, 131))
    scores = pointwise(predicted, truth, data_range=data_range, normalisation=normalisation)  # type: ignore[arg-type]
    a, b = predicted.astype(np.float64), truth.astype(np.float64)
    assert scores.mse == pytest.approx(peer.mean_squared_error(b, a), rel=1e-12)
    assert scores.mae == pytest.approx(np.abs(a - b).mean(), rel=1e-12)
    assert scores.psnr == pytest.approx(peer.peak_signal_noise_ratio(b, a, data_range=data_range), rel=1e-12)
    expected = peer.normalized_root_mse(b, a, normalization=normalisation)
    assert scores.nrmse == pytest.approx(abs(expected), rel=1e-12)
    assert (scores.pixels, scores.data_range, scores.normalisation) == (97 * 131, data_range, normalisation)


@settings(max_examples=40, deadline=None)
@given(
    shape=st.lists(st.integers(1, 23), min_size=1, max_size=4),
    kind=st.sampled_from(KINDS),
    other=st.sampled_from(KINDS),
    seed=st.integers(0, 2**16),
)
def test_any_shape_type_and_layout_gives_the_written_out_means(
    shape: list[int], kind: type, other: type, seed: int
) -> None:
    predicted = pair(kind, tuple(shape), seed)[0].T[::-1]
    truth = pair(other, tuple(shape), seed + 1)[1].T[::-1]
    error = predicted.astype(np.float64) - truth.astype(np.float64)
    scores = pointwise(predicted, truth, data_range=100.0)
    assert scores.mse == pytest.approx(np.mean(error**2), rel=1e-10)
    assert scores.mae == pytest.approx(np.mean(np.abs(error)), rel=1e-10)


def test_a_mask_compares_only_what_it_selects() -> None:
    predicted, truth, _ = pair(np.int16, (300, 40))
    mask = np.random.default_rng(4).random(truth.shape) < 0.2
    for normalisation in ("euclidean", "min-max", "mean"):
        inside = pointwise(predicted, truth, data_range=4024, mask=mask, normalisation=normalisation)
        cut = pointwise(predicted[mask], truth[mask], data_range=4024, normalisation=normalisation)
        assert inside.pixels == cut.pixels == mask.sum()
        for field in ("mse", "mae", "nrmse", "nmae", "psnr"):
            assert getattr(inside, field) == pytest.approx(getattr(cut, field), rel=1e-12)


def test_single_scores_are_those_of_the_fused_pass() -> None:
    predicted, truth, data_range = pair(np.uint16, (50, 60))
    mask = truth > 20000
    scores = pointwise(predicted, truth, data_range=data_range, mask=mask, normalisation="mean")
    assert mse(predicted, truth, mask=mask) == scores.mse
    assert mae(predicted, truth, mask=mask) == scores.mae
    assert nmae(predicted, truth, denominator="max-min", mask=mask) == scores.nmae
    assert nrmse(predicted, truth, mask=mask, normalisation="mean") == scores.nrmse
    assert psnr(predicted, truth, mask=mask, data_range=data_range) == scores.psnr


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("denominator", ["max-min", "max", "mean-magnitude"])
def test_nmae_is_divided_by_the_named_extent_of_the_truth_inside_the_mask(kind: type, denominator: str) -> None:
    predicted, truth, data_range = pair(kind, (61, 83))
    mask = np.random.default_rng(5).random(truth.shape) < 0.5
    truth[~mask] = 0 if np.issubdtype(kind, np.integer) else 99.0  # what lies outside must not count
    y = truth[mask].astype(np.float64)
    divisor = {"max-min": y.max() - y.min(), "max": y.max(), "mean-magnitude": np.abs(y).mean()}[denominator]
    expected = np.abs(predicted[mask] - y).mean() / divisor
    assert nmae(predicted, truth, denominator=denominator, mask=mask) == pytest.approx(expected, rel=1e-12)  # type: ignore[arg-type]
    scores = pointwise(predicted, truth, data_range=data_range, mask=mask, denominator=denominator)  # type: ignore[arg-type]
    assert (scores.nmae, scores.denominator) == (pytest.approx(expected, rel=1e-12), denominator)


def test_nmae_of_a_truth_without_a_positive_denominator_is_infinite_unless_the_images_are_equal() -> None:
    negative = np.array([[-900.0, -1000.0]])
    assert nmae(negative + 1, negative, denominator="max") == math.inf
    assert nmae(negative + 1, negative, denominator="mean-magnitude") == pytest.approx(1 / 950)
    assert nmae(np.full((3, 3), 3.0), np.full((3, 3), 2.0), denominator="max-min") == math.inf
    assert nmae(negative, negative, denominator="max") == 0.0


def test_equal_images_have_no_error_and_infinite_psnr() -> None:
    image = pair(np.float32, (30, 30))[0]
    scores = pointwise(image, image, data_range=1.0)
    assert (scores.mse, scores.mae, scores.nrmse, scores.nmae, scores.psnr) == (0.0, 0.0, 0.0, 0.0, math.inf)
    assert pointwise(np.zeros((3, 3)), np.zeros((3, 3)), data_range=1.0).nrmse == 0.0


def test_a_truth_without_extent_has_an_infinite_normalised_error() -> None:
    predicted, truth = np.full((5, 5), 3.0), np.full((5, 5), 2.0)
    assert nrmse(predicted, truth, normalisation="min-max") == math.inf
    assert nrmse(predicted, truth) == 0.5


def test_integers_do_not_wrap_around() -> None:
    assert mae(np.zeros((2, 2), np.uint8), np.full((2, 2), 255, np.uint8)) == 255.0
    assert mse(np.zeros((2, 2), np.uint16), np.full((2, 2), 65535, np.uint16)) == 65535.0**2


def test_large_integers_keep_their_last_digit() -> None:
    truth = np.full((2, 2), 2**32 - 1, np.uint32)
    assert mse(truth - np.uint32(3), truth) == 9.0


def test_sums_keep_their_digits_on_a_large_offset() -> None:
    truth = np.full((600, 600), 65000.0, np.float32)
    assert mse(truth + np.float32(0.5), truth) == pytest.approx(0.25, rel=1e-12)
    assert nrmse(truth + np.float32(0.5), truth, normalisation="mean") == pytest.approx(0.5 / 65000, rel=1e-12)


def test_hounsfield_units_with_a_negative_mean_give_a_positive_error() -> None:
    assert nrmse(np.full((4, 4), -900.0), np.full((4, 4), -1000.0), normalisation="mean") == pytest.approx(0.1)


def test_errors_do_not_depend_on_the_order_of_the_images() -> None:
    first, second, data_range = pair(np.int16, (40, 70))
    assert psnr(first, second, data_range=data_range) == psnr(second, first, data_range=data_range)


def test_big_endian_pixels_are_read_as_numbers() -> None:
    first, second, _ = pair(np.uint16, (9, 9))
    assert mse(first.astype(">u2"), second) == mse(first, second)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_pixel_that_is_not_finite_is_refused_inside_the_mask_and_ignored_outside(bad: float) -> None:
    predicted, truth, _ = pair(np.float32, (20, 20))
    predicted[3, 4] = bad
    with pytest.raises(ValueError, match="NaN or infinite"):
        pointwise(predicted, truth, data_range=1.0)
    outside = np.ones(truth.shape, bool)
    outside[3, 4] = False
    assert math.isfinite(psnr(predicted, truth, data_range=1.0, mask=outside))
    with pytest.raises(ValueError, match="NaN or infinite"):
        mse(predicted, truth, mask=~outside)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"predicted": np.zeros((3, 4))}, "different shapes"),
        ({"predicted": np.zeros((4, 4), complex)}, "real numbers"),
        ({"predicted": np.zeros((4, 4), bool)}, "real numbers"),
        ({"truth": np.ma.masked_array(np.zeros((4, 4)))}, "masked array"),
        ({"predicted": np.zeros((0, 4)), "truth": np.zeros((0, 4))}, "no pixels"),
        ({"predicted": 1.0, "truth": 2.0}, "no pixels"),
        ({"data_range": 0.0}, "data_range"),
        ({"data_range": -1.0}, "data_range"),
        ({"data_range": math.nan}, "data_range"),
        ({"data_range": None}, "data_range"),
        ({"data_range": True}, "data_range"),
        ({"mask": np.zeros((4, 4), bool)}, "selects no pixel"),
        ({"mask": np.ones((4, 4))}, "must be boolean"),
        ({"mask": np.ones((4, 3), bool)}, "mask has shape"),
        ({"normalisation": "max"}, "euclidean, min-max, mean"),
        ({"denominator": "mean"}, "max-min, max, mean-magnitude"),
    ],
)
def test_wrong_arguments_are_refused_in_one_line(change: dict, message: str) -> None:
    arguments = {"predicted": np.zeros((4, 4)), "truth": np.ones((4, 4)), "data_range": 1.0} | change
    with pytest.raises(ValueError, match=message) as refusal:
        pointwise(arguments.pop("predicted"), arguments.pop("truth"), **arguments)
    assert "\n" not in str(refusal.value)
