"""The montage of a volume shows where the brain and its largest lesion are."""

import io
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image as Picture

from transmodal.evaluation.montage import Volume, choose_slices, montage
from transmodal.evaluation.pictures import CasePicture, write_montages
from transmodal.images import Image


def volume(axis: int = 2, lesion_at: int | None = 20) -> Volume:
    """A brain from slice 10 to 30 of 40 along each axis, with a small lesion at 15 and a large one."""
    truth = np.zeros((40, 40, 40), np.float32)
    truth[10:31, 10:31, 10:31] = 0.5
    lesions = np.zeros(truth.shape, bool)
    if lesion_at is not None:
        small, large = [slice(14, 16)] * 3, [slice(18, 24)] * 3
        small[axis], large[axis] = slice(15, 16), slice(lesion_at, lesion_at + 1)
        lesions[tuple(small)] = lesions[tuple(large)] = True
        truth[lesions] = 1
    image = Image(truth, np.eye(4))
    region = truth > 0
    return Volume({"T1": replace(image, pixels=truth * 300)}, replace(image, pixels=truth * 0.5), image, region,
                  lesions, axis)  # fmt: skip


def test_slices_go_through_the_brain_and_the_largest_lesion() -> None:
    assert choose_slices(volume(lesion_at=None)) == [(16, ""), (20, ""), (24, "")]
    assert choose_slices(volume(lesion_at=27)) == [(16, ""), (20, ""), (24, ""), (27, "largest lesion")]
    assert choose_slices(volume(lesion_at=21)) == [(16, ""), (21, "largest lesion"), (24, "")]
    assert choose_slices(volume(axis=0, lesion_at=27))[-1] == (27, "largest lesion")


def test_the_error_has_one_scale_and_stops_at_the_mask() -> None:
    shown = volume(lesion_at=None)
    shown.predicted.pixels[7:9] = 9  # outside of the mask, in the picture

    def drawn(limit: float) -> np.ndarray:
        png = montage(shown, value_range=(0, 1), error_limit=limit, target="T2", title="a $case", scores={"psnr": 20})
        return np.asarray(Picture.open(io.BytesIO(png)).convert("RGB"), float)

    full, faint = drawn(0.25), drawn(25)
    assert full.shape == faint.shape
    height, width = full.shape[:2]
    error = np.s_[height // 4 : 3 * height // 4, int(0.71 * width) : int(0.9 * width)]
    assert full[error].max() > 240 > 30 > faint[error].max()
    assert np.abs(full - faint)[:, : int(0.68 * width)].max() == 0  # the other columns do not depend on it


def test_lesions_are_outlined_without_covering_them() -> None:
    marked = montage(volume(lesion_at=27), value_range=(0, 1), error_limit=0.5, target="T2")
    pixels = np.asarray(Picture.open(io.BytesIO(marked)).convert("RGB"), int)
    blue = (np.abs(pixels - [0x56, 0xB4, 0xE9]).sum(-1) < 60).sum()
    bare = replace(volume(lesion_at=27), lesions=None)
    plain = np.asarray(Picture.open(io.BytesIO(montage(bare, value_range=(0, 1), error_limit=0.5, target="T2"))
                                    ).convert("RGB"), int)  # fmt: skip
    assert blue > 100 and (np.abs(plain - [0x56, 0xB4, 0xE9]).sum(-1) < 60).sum() == 0


def test_montages_of_an_evaluation_before_are_taken_away(tmp_path: Path) -> None:
    write_montages(tmp_path, {"T2": [CasePicture("best", "a", "", b"1", True), CasePicture("worst", "b", "", b"2")]})
    assert [file.name for file in tmp_path.iterdir()] == ["montage-T2-best.png"]
    write_montages(tmp_path, {"FLAIR": [CasePicture("only", "a", "", b"3", True)]})
    assert [file.name for file in tmp_path.iterdir()] == ["montage-FLAIR-only.png"]
