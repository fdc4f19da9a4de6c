"""A segmenter's Dice on synthetic against real images, on made cases whose synthetic image lost its lesion."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest

from transmodal.errors import UserError
from transmodal.evaluation.downstream import (
    DownstreamCase,
    describe_downstream,
    downstream_dice,
    summarise_downstream,
)
from transmodal.images import Image


def made_case(number: int, *, lesion: bool = True, lost: bool = True) -> DownstreamCase:
    """An organ of 100 (label 1) with a lesion of 200 (label 2) in noise, which the synthetic image may have lost."""
    generator = np.random.default_rng(number)
    labels = np.zeros((32, 32), np.uint8)
    labels[6:26, 6:26] = 1
    if lesion:
        labels[10:15, 10 + number % 6 : 16 + number % 6] = 2
    real = np.array([0.0, 100.0, 200.0])[labels] + generator.normal(0, 3, labels.shape)
    synthetic = np.where((labels == 2) & lost, 100.0, real)
    return DownstreamCase(f"case{number}", f"mouse{number // 2}", Image(synthetic), Image(real), labels)


def thresholds(image: Image) -> np.ndarray:
    return np.digitize(image.pixels, [50.0, 150.0])


def test_a_lost_lesion_shows_against_the_real_images() -> None:
    table = downstream_dice(thresholds, (made_case(number) for number in range(10)), [1, 2])
    assert list(table.columns) == ["case", "subject", "label", "dice_synthetic", "dice_real", "difference"]
    assert len(table) == 20
    lesion = table[table["label"] == 2]
    assert (lesion["dice_synthetic"] == 0).all() and (lesion["dice_real"] == 1).all()
    organ, lost = summarise_downstream(table)
    assert (organ.label, lost.label) == (1, 2)
    assert lost.difference.mean == pytest.approx(-1.0)
    assert (lost.difference.subjects, lost.difference.cases) == (5, 10)
    # The organ takes in the lesion's 30 of its 400 pixels.
    assert organ.synthetic.mean == pytest.approx(2 * 370 / (370 + 400))
    assert organ.difference.mean == pytest.approx(2 * 370 / 770 - 1)
    assert describe_downstream(lost) == (
        "label 2: Dice 0.000 on synthetic, 1.000 on real images, difference -1.000 "
        "(95 % interval -1.000 to -1.000; 5 subjects, 10 cases)"
    )


def test_a_faithful_translator_has_no_difference_however_poor_the_segmenter() -> None:
    def poor(image: Image) -> np.ndarray:
        return np.digitize(image.pixels, [98.0, 201.0])

    table = downstream_dice(poor, [made_case(number, lost=False) for number in range(8)], [2])
    (summary,) = summarise_downstream(table)
    assert summary.real.mean is not None and summary.real.mean < 0.8
    assert summary.difference.mean == 0.0


def test_a_label_that_is_nowhere_is_left_out_and_counted() -> None:
    cases = [made_case(number, lesion=number > 1, lost=False) for number in range(10)]
    table = downstream_dice(thresholds, cases, [2])
    assert table["dice_real"].isna().sum() == 2
    (summary,) = summarise_downstream(table)
    assert (summary.left_out, summary.invented, summary.difference.cases, summary.difference.subjects) == (2, 0, 8, 4)
    assert summary.synthetic.mean == 1.0
    assert "; 2 cases without the label left out)" in describe_downstream(summary)
    (nothing,) = summarise_downstream(downstream_dice(thresholds, cases, [7]))
    assert nothing.difference.mean is None
    assert (
        describe_downstream(nothing)
        == "label 7: no case has a Dice on both images (10 cases without the label left out)"
    )


def test_a_lesion_that_only_the_synthetic_image_shows_is_counted() -> None:
    cases = [made_case(number) for number in range(10)]
    healthy = made_case(0, lesion=False)
    invented = np.where(made_case(0).labels == 2, 200.0, healthy.real.pixels)
    cases[0] = replace(healthy, synthetic=Image(invented))
    (summary,) = summarise_downstream(downstream_dice(thresholds, cases, [2]))
    assert (summary.left_out, summary.invented, summary.real.cases, summary.synthetic.cases) == (1, 1, 9, 9)
    assert "1 of them with the label found on the synthetic image alone" in describe_downstream(summary)


def test_few_subjects_get_no_interval() -> None:
    (summary,) = summarise_downstream(downstream_dice(thresholds, [made_case(0), made_case(2)], [2]))
    assert "no interval below 4 subjects" in describe_downstream(summary)


def test_volumes_with_channels_are_segmented_by_their_spatial_shape() -> None:
    labels = np.zeros((6, 7, 8), int)
    labels[2:4, 2:5, 3:6] = 1
    pixels = np.stack([labels * 10.0, np.zeros(labels.shape)], axis=-1)
    image = Image(pixels, channels=("T1", "T2"))
    table = downstream_dice(
        lambda image: image.pixels[..., 0] > 5, [DownstreamCase("a", "a", image, image, labels)], [1]
    )
    assert table.loc[0, "dice_synthetic"] == 1.0


def test_cases_are_taken_one_at_a_time() -> None:
    alive: list[int] = []

    def cases() -> Iterator[DownstreamCase]:
        for number in range(3):
            alive.append(number)
            yield made_case(number)

    def watching(image: Image) -> np.ndarray:
        seen.append(len(alive))
        return thresholds(image)

    seen: list[int] = []
    downstream_dice(watching, cases(), [1])
    assert seen == [1, 1, 2, 2, 3, 3]


def refused(message: str, cases: list[DownstreamCase], labels: list[int] | None = None, segment=thresholds) -> None:
    with pytest.raises(UserError, match=message) as refusal:
        downstream_dice(segment, cases, [1] if labels is None else labels)
    assert "\n" not in str(refusal.value)


def test_what_cannot_be_compared_is_refused_with_the_name_of_the_case() -> None:
    case = made_case(3)
    refused("no case to segment", [])
    refused("no label was named", [case], [])
    refused("named twice", [case], [1, 1])
    refused("case3 comes twice", [case, case])
    refused(r"synthetic image of case case3 .*\(32, 31\)", [replace(case, synthetic=Image(np.zeros((32, 31))))])
    refused("case3 has shape", [replace(case, labels=np.zeros((3, 3), int))])
    refused("case3 lie on different grids", [replace(case, real=Image(case.real.pixels, np.diag([2.0, 2, 1, 1])))])
    refused(r"gave shape \(2, 2\) for the synthetic image", [case], segment=lambda image: np.zeros((2, 2), int))
    refused("case3: what the segmenter gave .*whole numbers", [case], segment=lambda image: image.pixels / 3)
    refused("case3: the true map .*whole numbers", [replace(case, labels=case.labels + 0.5)])
