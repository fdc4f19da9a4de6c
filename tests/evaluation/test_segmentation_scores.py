"""Segmentations by size, lesion by lesion and visit by visit: known answers, groups, intervals, baselines."""

import numpy as np
import pytest

from transmodal.datasets.label_classes import LabelClasses
from transmodal.evaluation.segmentation_baselines import SegmentationBaselines, fit_segmentation_baselines
from transmodal.evaluation.segmentation_report import describe_segmentation
from transmodal.evaluation.segmentation_scores import (
    SegmentationDetails,
    SegmentedCase,
    lesions_of,
    slices_of,
    volumes_of,
)
from transmodal.images import Image, picture_affine
from transmodal.metrics.policy import Policy

CLASSES = LabelClasses.named({"liver": (1, 2), "tumour": (2,)}, exclusive=False)
POLICY = Policy(
    metrics=("dice",), classes={"liver": (1, 2), "tumour": (2,)}, areas=(10.0, 40.0), slices="axial"
).resolved(unit="label", dimension=3)


def volume() -> np.ndarray:
    """A liver of slices 1 to 4 with a large tumour in slices 1 and 2 and a small one in slice 4."""
    labels = np.zeros((12, 12, 6), np.uint8)
    labels[1:11, 1:11, 1:5] = 1
    labels[2:6, 2:6, 1:3] = 2  # 16 pixels
    labels[8:10, 8:10, 4] = 2  # 4 pixels
    return labels


def details_of(
    *cases: tuple[str, str, np.ndarray, np.ndarray], spacing: tuple[float, ...] = (1.0, 2.0, 3.0)
) -> SegmentationDetails:
    details = SegmentationDetails(CLASSES, ["tumour"])
    affine = np.diag([*spacing, 1.0]) if len(spacing) == 3 else picture_affine((spacing[0], spacing[1]))
    for subject, session, made, truth in cases:
        images = SegmentedCase(
            {"translator": Image(made, affine)}, Image(truth, affine), case=f"{subject}_{session}", subject=subject,
            session=session,
        )  # fmt: skip
        details.join(details.of_case(images, POLICY))
    return details


def test_slices_have_areas_in_square_millimetres_and_a_dice_each() -> None:
    truth = volume() == 2
    made = truth.copy()
    made[2:4, 2:6, 1] = False
    made[0, 0, 5] = True
    rows = slices_of(made, truth, (1.0, 2.0, 3.0), 2)
    assert [row[0] for row in rows] == [1, 2, 4, 5]
    assert rows[0][1:] == (32.0, 16.0, pytest.approx(2 * 8 / 24))
    assert rows[1][1:] == (32.0, 32.0, 1.0) and rows[2][1:] == (8.0, 8.0, 1.0) and rows[3][1:] == (0.0, 2.0, 0.0)
    turned = slices_of(np.moveaxis(made, 2, 0), np.moveaxis(truth, 2, 0), (3.0, 1.0, 2.0), 0)
    assert turned == rows
    assert slices_of(made[..., 1], truth[..., 1], (1.0, 2.0), 2) == [(0, *rows[0][1:])]


def test_lesions_are_found_missed_or_invented() -> None:
    truth = volume() == 2
    made = np.zeros_like(truth)
    made[5:7, 5:7, 1] = True  # touches the large tumour in one of its 32 voxels: too little
    made[8:10, 8:10, 4] = True
    made[0, 0, 0] = made[1, 1, 1] = True  # one piece, by a corner
    rows = lesions_of(made, truth, (1.0, 2.0, 3.0), 2)
    told = [(outcome, area, volume) for _, outcome, area, volume, _ in rows]
    assert told == [("missed", 32.0, 192.0), ("found", 8.0, 24.0), ("false", 2.0, 12.0)]
    assert rows[0][4] == pytest.approx(1 / 32) and rows[1][4] == 1


def test_a_tenth_of_a_lesion_is_enough() -> None:
    truth = np.zeros((10, 10), bool)
    truth[:, :2] = True
    made = np.zeros_like(truth)
    made[:2, 0] = True
    assert [row[1] for row in lesions_of(made, truth, (1.0, 1.0), 2)] == ["found"]
    made[1, 0] = False
    assert [row[1] for row in lesions_of(made, truth, (1.0, 1.0), 2)] == ["missed"]


def test_volumes_have_signed_errors() -> None:
    truth = volume() == 1
    made = truth.copy()
    made[1, 1, 1:3] = False
    true, found, error, share = volumes_of(made, truth, (1.0, 2.0, 3.0))
    assert (true, found, error) == (truth.sum() * 6, truth.sum() * 6 - 12, -12)
    assert share == pytest.approx(-100 * 2 / truth.sum())
    assert np.isnan(volumes_of(truth, np.zeros_like(truth), (1.0, 1.0, 1.0))[3])


def test_dice_is_told_by_the_true_area_of_the_slice() -> None:
    truth = volume()
    made = truth.copy()
    made[8:10, 8, 4] = 1
    made[0, 0, 0] = 2
    table = details_of(("m1", "w0", made, truth), ("m2", "w0", truth, truth)).by_area(POLICY).set_index("size")
    assert table["slices"].to_dict() == {"< 10": 2, "10 to 40": 4, "> 40": 0, "all": 6, "none": 1}
    assert table.loc["< 10", "dice"] == pytest.approx((2 * 2 / 6 + 1) / 2)
    assert table.loc["10 to 40", "dice"] == 1 and np.isnan(table.loc["> 40", "dice"])
    assert table.loc["< 10", "area_error"] == pytest.approx(-4 / 2)
    assert np.isnan(table.loc["none", "dice"])


def test_dice_of_images_with_a_lesion_leaves_out_those_without() -> None:
    truth, empty = volume(), np.where(volume() > 0, 1, 0).astype(np.uint8)
    half = truth.copy()
    half[2:4, 2:6, 1:3] = half[8:10, 8:10, 4] = 1  # 16 of 36 pixels
    invented = empty.copy()
    invented[3, 3, 3] = 2
    details = details_of(
        ("m1", "w0", truth, truth), ("m2", "w0", half, truth), ("m3", "w0", invented, empty), ("m4", "w0", empty, empty)
    )
    (row,) = details.by_image(POLICY).to_dict("records")
    assert (row["images"], row["without"], row["predicted_without"]) == (2, 2, 1)
    assert row["dice"] == pytest.approx((1 + 32 / 52) / 2)
    assert row["dice_of_all"] == pytest.approx((1 + 32 / 52 + 0) / 3)
    assert details.to_json(POLICY)["images"] == [row]


def test_intervals_are_over_subjects() -> None:
    truth = volume()
    worse = truth.copy()
    worse[2, 2:6, 1:3] = 1
    cases = [
        (f"m{number}", f"w{visit}", worse if number % 2 else truth, truth) for number in range(6) for visit in range(2)
    ]
    table = details_of(*cases).by_area(POLICY).set_index("size")
    found = table.loc["10 to 40"]
    assert found["subjects"] == 6 and found["dice_low"] < found["dice"] < found["dice_high"]
    assert found["dice"] == pytest.approx((1 + 24 / 28) / 2)


def test_lesions_are_counted_by_size() -> None:
    truth = volume()
    made = np.where(truth == 2, 1, truth).astype(np.uint8)
    made[8:10, 8:10, 4] = 2
    made[0, 0, 5] = 2
    table = details_of(("m1", "w0", made, truth), ("m1", "w1", truth, truth)).by_lesion(POLICY).set_index("size")
    assert table.loc["10 to 40", ["lesions", "found", "missed", "false"]].tolist() == [2, 1, 1, 0]
    assert table.loc["< 10", ["lesions", "found", "missed", "false"]].tolist() == [2, 2, 0, 1]
    assert table.loc["all", "found_share"] == 0.75 and table.loc["all", "false_per_case"] == 0.5


def test_a_case_without_any_lesion_has_rows_all_the_same() -> None:
    empty = np.where(volume() == 2, 1, volume()).astype(np.uint8)
    details = details_of(("m1", "w0", empty, empty))
    assert details.slices.empty and details.by_area(POLICY).empty
    lesions = details.by_lesion(POLICY).set_index("size")
    assert lesions.loc["all", ["lesions", "found", "missed", "false"]].tolist() == [0, 0, 0, 0]
    assert len(details.by_volume(POLICY)) == 2


def test_lines_for_a_terminal_tell_sizes_and_lesions() -> None:
    from types import SimpleNamespace

    details = details_of(("m1", "w0", volume(), volume()))
    lines = describe_segmentation(details, SimpleNamespace(policy=POLICY, seed=0))  # type: ignore[arg-type]
    assert lines[0] == ("Dice of tumour over 1 image with it: 1; over all, 1 (0 of 0 without it had some predicted)")
    assert lines[1] == (
        "Dice of tumour by its area in a slice (mm²): < 10: 1 (1 slice), 10 to 40: 1 (2 slices), > 40: — (0 slices)"
    )
    assert lines[2] == "tumour: 2 of 2 lesions found, 0 missed, 0 false pieces"


def pair(seed: int, shape: tuple[int, ...] = (20, 20)) -> tuple[Image, Image]:
    """A bright square in the dark, whose place is the same in all pairs and whose brightness is 80 to 120."""
    generator = np.random.default_rng(seed)
    labels = np.zeros(shape, np.uint8)
    labels[4:12, 4:12] = 1
    values = np.where(labels == 1, generator.uniform(80, 120, shape), generator.uniform(-50, 60, shape))
    affine = picture_affine((1.0, 1.0))
    return Image(values.astype(np.float32), affine), Image(labels, affine)


def test_the_best_interval_is_found_on_training_pixels() -> None:
    classes = LabelClasses.named({"square": (1,)}, exclusive=True)
    fitted = fit_segmentation_baselines((pair(seed) for seed in range(3)), classes, (-200, 300), lambda error: None)
    assert isinstance(fitted, SegmentationBaselines)
    ((low, high),) = fitted.intervals()
    assert 55 <= low <= 81 and 119 <= high <= 300
    given, truth = pair(9)
    made = fitted.predict(given, truth)
    assert list(made) == ["intensity interval", "most frequent label", "empty map"]
    np.testing.assert_array_equal(made["intensity interval"].pixels, truth.pixels)
    np.testing.assert_array_equal(made["most frequent label"].pixels, truth.pixels)
    assert not made["empty map"].pixels.any() and made["empty map"].same_grid(truth)


def test_the_most_frequent_label_meets_other_sizes_and_orientations() -> None:
    classes = LabelClasses.named({"liver": (1,)}, exclusive=True)
    fitted = SegmentationBaselines(classes, (0, 1))
    labels = np.zeros((8, 8, 4), np.uint8)
    labels[:4] = 1  # the patient's left half in RAS
    fitted.add(Image(labels.astype(np.float32)), Image(labels))
    affine = np.diag([-0.5, 0.5, 1.0, 1.0])
    affine[0, 3] = 7.5
    flipped = Image(np.zeros((16, 16, 4), np.uint8), affine)
    made = fitted.predict(Image(np.zeros((16, 16, 4), np.float32), affine), flipped)["most frequent label"]
    assert made.pixels[:8].sum() == 0 and made.pixels[8:].all()


def test_training_pairs_that_cannot_be_used_are_told() -> None:
    classes = LabelClasses.named({"square": (1,)}, exclusive=True)
    good, bad = pair(0), pair(1)
    told: list[str] = []
    pairs = [good, (bad[0], Image(bad[1].pixels + np.float32(0.5), bad[1].affine))]
    fitted = fit_segmentation_baselines(pairs, classes, (0, 100), lambda error: told.append(str(error)))
    assert fitted is not None and fitted.pairs == 1 and "not whole numbers" in told[0]
    assert fit_segmentation_baselines([], classes, (0, 100), lambda error: None) is None
