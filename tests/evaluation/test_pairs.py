"""One image against its truth: known values, volumes by slices, masks, and what is refused."""

import numpy as np
import pytest

from transmodal.errors import UserError
from transmodal.evaluation.pairs import score_pair
from transmodal.evaluation.scoring import CaseImages
from transmodal.evaluation.sets import SetFeatures
from transmodal.images import Image, picture_affine
from transmodal.metrics.policy import Policy

PICTURE = Policy(range=(0, 255)).resolved(unit="intensity", dimension=2)


def picture(pixels: np.ndarray, spacing: float = 1.0, **about: object) -> Image:
    return Image(pixels, picture_affine((spacing, spacing)), **about)  # type: ignore[arg-type]


def textured(shape: tuple[int, ...], seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(20, 200, shape).astype(np.float32)


def test_a_constant_error_has_the_scores_of_the_formulas() -> None:
    truth = textured((32, 40))
    scores = score_pair(picture(truth + 10), picture(truth), PICTURE)
    assert list(scores) == ["mse", "mae", "nrmse", "psnr", "ssim"]
    assert scores["mse"] == pytest.approx(100, rel=1e-5)
    assert scores["mae"] == pytest.approx(10, rel=1e-5)
    assert scores["psnr"] == pytest.approx(10 * np.log10(255**2 / 100), rel=1e-6)
    assert scores["nrmse"] == pytest.approx(10 / np.sqrt(np.mean(truth.astype(float) ** 2)), rel=1e-5)


def test_equal_images_have_infinite_psnr_and_ssim_1() -> None:
    truth = picture((textured((16, 16)) * 100).astype(np.uint16))
    scores = score_pair(truth, truth, PICTURE)
    assert scores["psnr"] == np.inf
    assert scores["ssim"] == pytest.approx(1)


def test_the_snr_of_the_best_line_counts_from_the_range_s_lower_limit_inside_the_mask() -> None:
    truth, predicted = textured((32, 32)), textured((32, 32), 1)
    predicted += 0.5 * truth
    truth[:16] -= 3000  # outside the mask
    inside = np.zeros((32, 32), np.uint8)
    inside[16:] = 1
    policy = PICTURE.model_copy(update={"mask": "organs", "range": (-50.0, 255.0), "metrics": ("affine_snr",)})
    x, y = truth[16:].astype(float).ravel() + 50, predicted[16:].astype(float).ravel()
    residual = x - np.polyval(np.polyfit(y, x, 1), y)
    found = score_pair(picture(predicted), picture(truth), policy, picture(inside))
    assert found == {"affine_snr": pytest.approx(10 * np.log10((x @ x) / (residual @ residual)), rel=1e-6)}
    assert "SNR after affine regression of values counted from -50" in policy.describe()


def test_only_pixels_in_the_mask_count() -> None:
    truth, predicted = textured((32, 32)), textured((32, 32), 1)
    inside = np.zeros((32, 32), bool)
    inside[8:24, 8:24] = True
    predicted[inside] = truth[inside] + 3
    policy = PICTURE.model_copy(update={"mask": "organs"})
    mask = picture(inside.astype(np.uint8) * 7)
    assert score_pair(picture(predicted), picture(truth), policy, mask)["mae"] == pytest.approx(3, rel=1e-4)
    foreground = PICTURE.model_copy(update={"mask": "foreground", "foreground_above": 100.0})
    expected = np.abs(predicted - truth)[truth > 100].mean()
    assert score_pair(picture(predicted), picture(truth), foreground)["mae"] == pytest.approx(expected, rel=1e-4)


def test_volumes_are_scored_whole_or_by_the_mean_over_slices() -> None:
    truth = textured((14, 16, 12))
    error = np.arange(12, dtype=np.float32) + 1  # one along each slice of the last axis
    volume, made = Image(truth), Image(truth + error)
    whole = Policy(range=(0, 255), dimension=3).resolved(unit="x", dimension=3)
    slices = Policy(range=(0, 255), dimension=2, slice_axis=2).resolved(unit="x", dimension=3)
    assert score_pair(made, volume, whole)["psnr"] == pytest.approx(10 * np.log10(255**2 / np.mean(error**2)), 1e-5)
    by_slice = np.mean(10 * np.log10(255**2 / error.astype(float) ** 2))
    assert score_pair(made, volume, slices)["psnr"] == pytest.approx(by_slice, rel=1e-5)


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1), (1, 2, 0), (2, 1, 0)])
@pytest.mark.parametrize(("slices", "world"), [("sagittal", 0), ("coronal", 1), ("axial", 2)])
def test_slices_of_the_patient_are_cut_in_any_order_of_the_array_axes(
    order: tuple[int, int, int], slices: str, world: int
) -> None:
    truth = textured((18, 22, 20))
    error = np.arange(truth.shape[world], dtype=np.float32) + 1
    made = truth + np.expand_dims(error, [axis for axis in range(3) if axis != world])
    affine = np.zeros((4, 4))
    affine[order, range(3)], affine[3, 3] = (-1.0, 0.5, 2.0), 1
    policy = Policy(range=(0, 255), metrics=("psnr",), dimension=2, slices=slices).resolved(unit="x", dimension=3)
    scores = score_pair(Image(made.transpose(order), affine), Image(truth.transpose(order), affine), policy)
    assert scores["psnr"] == pytest.approx(np.mean(10 * np.log10(255**2 / error.astype(float) ** 2)), rel=1e-5)
    assert f"by its {slices} slices" in policy.describe()
    features = SetFeatures(policy)
    features.add(
        CaseImages({"made": Image(made.transpose(order), affine)}, Image(truth.transpose(order), affine)), policy
    )
    assert features.results()["made"]["fnsd"]["n"] == len(error)


def test_slices_outside_the_mask_and_perfect_slices_do_not_spoil_the_mean() -> None:
    truth = textured((16, 16, 3))
    made = truth.copy()
    made[..., 1] += 2
    made[..., 2] += 100
    mask = np.ones((16, 16, 3), bool)
    mask[..., 2] = False
    policy = Policy(range=(0, 255), dimension=2, mask="body").resolved(unit="x", dimension=3)
    scores = score_pair(Image(made), Image(truth), policy, mask)
    assert scores["psnr"] == pytest.approx(10 * np.log10(255**2 / 4), rel=1e-5)  # the equal slice is infinite
    assert scores["mae"] == pytest.approx(1, rel=1e-5)  # mean of 0 and 2


def test_percentile_images_have_no_unit_of_their_own() -> None:
    truth = textured((24, 24, 16))
    policy = Policy(scale="percentile").resolved(dimension=3)
    scores = score_pair(Image(truth * 3.7 + 12), Image(truth), policy)
    assert scores["mae"] == pytest.approx(0, abs=1e-5)
    assert scores["ssim"] == pytest.approx(1, abs=1e-4)


def test_channels_are_scored_one_by_one() -> None:
    truth = textured((16, 16, 3))
    made = truth + np.array([1, 2, 6], np.float32)
    names = ("red", "green", "blue")
    scores = score_pair(picture(made, channels=names), picture(truth, channels=names), PICTURE)
    assert scores["mae"] == pytest.approx(3, rel=1e-4)


def test_clipping_is_done_only_when_asked() -> None:
    truth = np.full((16, 16), 250, np.float32)
    made = truth + 50
    assert score_pair(picture(made), picture(truth), PICTURE)["mae"] == pytest.approx(50)
    clipped = PICTURE.model_copy(update={"clip": True})
    assert score_pair(picture(made), picture(truth), clipped)["mae"] == pytest.approx(5)


@pytest.mark.parametrize(
    ("made", "true", "policy", "told"),
    [
        (textured((16, 16)), textured((16, 17)), PICTURE, "16×16 but"),
        (np.full((16, 16), np.nan), textured((16, 16)), PICTURE, "NaN"),
        (textured((16, 16)), np.full((16, 16), np.inf), PICTURE, "NaN or infinite"),
        (textured((8, 8)), textured((8, 8)), PICTURE, "at least 11"),
        (textured((16, 16)), textured((16, 16)), Policy(), "range"),
        (textured((16, 16)), np.zeros((16, 16)), PICTURE.model_copy(update={"mask": "foreground"}), "empty"),
        (textured((16, 16)), textured((16, 16)), PICTURE.model_copy(update={"mask": "organs"}), "missing"),
        (
            textured((16, 16)),
            np.ones((16, 16)),
            Policy(scale="percentile").resolved(unit="x", dimension=2),
            "constant",
        ),
    ],
)
def test_what_cannot_be_scored_is_refused_in_one_line(
    made: np.ndarray, true: np.ndarray, policy: Policy, told: str
) -> None:
    with pytest.raises(UserError, match=told) as refusal:
        score_pair(picture(made), picture(true), policy)
    assert "\n" not in str(refusal.value)


def test_another_pixel_size_is_refused() -> None:
    with pytest.raises(UserError, match="pixel size"):
        score_pair(picture(textured((16, 16)), 0.5), picture(textured((16, 16)), 1.0), PICTURE)
