"""DICOM segmentations: what pydicom reads of them, and that grid, values, names and colours come back."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pydicom
import pytest

from transmodal.errors import UserError
from transmodal.images import Image, Source, read, write
from transmodal.images.dicom_segmentation import Segment, segments_of, to_cielab, to_rgb
from transmodal.images.dicom_segmentation import write as write_segmentation
from transmodal.images.formats import read_geometry
from transmodal.images.reorientation import label_map_onto

SEGMENTS = (Segment(1, "liver", "#E69F00"), Segment(7, "liver tumour", "#D55E00"))


def oblique(spacing: tuple[float, float, float] = (0.7, 0.9, 2.5)) -> np.ndarray:
    turn = np.radians(20)
    axes = np.array([[np.cos(turn), -np.sin(turn), 0], [np.sin(turn), np.cos(turn), 0], [0, 0, 1]])
    affine = np.eye(4)
    affine[:3, :3] = axes[:, [1, 0, 2]] * [-1, -1, 1] * spacing
    affine[:3, 3] = [12, -30, 100]
    if np.linalg.det(affine[:3, :3]) > 0:  # slices then follow the normal of rows and columns in DICOM's world
        affine[:3, 2] *= -1
    return affine


def label_map(shape: tuple[int, ...] = (7, 9, 4)) -> np.ndarray:
    labels = np.zeros(shape, np.uint8)
    labels[1:6, 2:8] = 1
    labels[2:4, 3:5] = 7
    if len(shape) == 3:
        labels[..., 0] = 0
    return labels


def series(folder: Path) -> Image:
    """A CT series as a scanner writes it, read from its folder."""
    values = np.arange(7 * 9 * 4, dtype=np.int16).reshape(7, 9, 4)
    write(Image(values, oblique(), quantity="HU"), folder)
    return read(folder)


def test_a_segmentation_lies_where_its_series_lies(tmp_path: Path) -> None:
    ct = series(tmp_path / "ct")
    labels = ct.with_pixels(label_map(ct.shape), quantity="label")
    write_segmentation(labels, tmp_path / "seg.dcm", SEGMENTS, "Synthetic image, not for diagnosis. By a test")

    made = pydicom.dcmread(tmp_path / "seg.dcm")
    frames = made.pixel_array
    assert frames.shape == (8, 7, 9) and made.SOPClassUID == pydicom.uid.SegmentationStorage
    assert made.BitsAllocated == 1 and len(made.PixelData) == 8 * 7 * 9 // 8 + 1
    for number, segment in enumerate(SEGMENTS, 1):
        for index in range(4):
            frame = (number - 1) * 4 + index
            np.testing.assert_array_equal(frames[frame], labels.pixels[..., index] == segment.value)
            group = made.PerFrameFunctionalGroupsSequence[frame]
            assert group.SegmentIdentificationSequence[0].ReferencedSegmentNumber == number
            assert list(group.FrameContentSequence[0].DimensionIndexValues) == [number, index + 1]
            position = np.array(group.PlanePositionSequence[0].ImagePositionPatient, float)
            expected = (ct.affine @ [0, 0, index, 1])[:3] * [-1, -1, 1]
            np.testing.assert_allclose(position, expected, atol=1e-4)
    shared = made.SharedFunctionalGroupsSequence[0]
    np.testing.assert_allclose(np.array(shared.PixelMeasuresSequence[0].PixelSpacing, float), [0.7, 0.9], rtol=1e-6)

    back = read(tmp_path / "seg.dcm")
    np.testing.assert_array_equal(back.pixels, np.where(labels.pixels == 7, 2, labels.pixels))
    assert back.same_grid(ct) and back.quantity == "label" and back.pixels.dtype == np.uint8
    geometry = read_geometry(tmp_path / "seg.dcm")
    assert geometry.shape == back.shape and np.allclose(geometry.affine, back.affine) and geometry.dtype == np.uint8


def test_it_says_whose_it_is_what_it_shows_and_that_it_is_synthetic(tmp_path: Path) -> None:
    ct = series(tmp_path / "ct")
    write_segmentation(
        ct.with_pixels(label_map(ct.shape)), tmp_path / "seg.dcm", SEGMENTS, "Synthetic image, not for diagnosis. X"
    )
    made, own = pydicom.dcmread(tmp_path / "seg.dcm"), ct.source.header.dataset
    assert made.StudyInstanceUID == own.StudyInstanceUID and made.SeriesInstanceUID != own.SeriesInstanceUID
    assert made.FrameOfReferenceUID == own.FrameOfReferenceUID
    (referenced,) = made.ReferencedSeriesSequence
    assert referenced.SeriesInstanceUID == own.SeriesInstanceUID
    instances = [each.ReferencedSOPInstanceUID for each in referenced.ReferencedInstanceSequence]
    assert instances == [uid for _, uid in ct.source.header.instances]
    frame = made.PerFrameFunctionalGroupsSequence[2]
    source = frame.DerivationImageSequence[0].SourceImageSequence[0]
    assert source.ReferencedSOPInstanceUID == instances[2]
    assert "not for diagnosis" in made.DerivationDescription and "Synthetic" in made.SeriesDescription
    assert made.ImageType[0] == "DERIVED" and made.Modality == "SEG"
    first, second = made.SegmentSequence
    assert (first.SegmentNumber, first.SegmentLabel, first.SegmentAlgorithmType) == (1, "liver", "AUTOMATIC")
    assert first.SegmentedPropertyTypeCodeSequence[0].CodeMeaning == "Liver"
    assert second.SegmentedPropertyTypeCodeSequence[0].CodeMeaning == "Neoplasm"
    assert second.SegmentedPropertyCategoryCodeSequence[0].CodeMeaning == "Morphologically Abnormal Structure"
    assert [(each.name, each.colour.upper()) for each in segments_of(made)] == [
        (each.name, each.colour.upper()) for each in SEGMENTS
    ]


def test_a_volume_without_dicom_has_its_grid_all_the_same(tmp_path: Path) -> None:
    image = Image(label_map((6, 5, 3)), oblique((1.5, 1.5, 4.0)))
    write_segmentation(image, tmp_path / "seg.dcm", SEGMENTS)
    back = read(tmp_path / "seg.dcm")
    assert back.same_grid(image)
    np.testing.assert_array_equal(back.pixels > 0, image.pixels > 0)
    assert "ReferencedSeriesSequence" not in pydicom.dcmread(tmp_path / "seg.dcm")


def test_one_slice_and_segments_that_are_nowhere_are_kept(tmp_path: Path) -> None:
    image = Image(np.zeros((5, 3), np.uint8), oblique())
    write_segmentation(image, tmp_path / "seg.dcm", SEGMENTS)
    back = read(tmp_path / "seg.dcm")
    assert back.shape == (5, 3) and not back.pixels.any() and back.same_grid(image)


def sparse(ct: Image, path: Path, kept: list[int], *, rows: slice = slice(None), thick: bool = False) -> Image:
    """Write some frames alone of a segmentation of `label_map`, as other programs do, and read it."""
    write_segmentation(ct.with_pixels(label_map(ct.shape)), path, SEGMENTS)
    made = pydicom.dcmread(path)
    frames = made.pixel_array[kept, rows]
    made.PerFrameFunctionalGroupsSequence = [made.PerFrameFunctionalGroupsSequence[index] for index in kept]
    made.NumberOfFrames, made.Rows = len(kept), frames.shape[1]
    if rows.start:
        for group in made.PerFrameFunctionalGroupsSequence:
            position = group.PlanePositionSequence[0]
            down = (ct.affine @ [rows.start, 0, 0, 0])[:3] * [-1, -1, 1]
            position.ImagePositionPatient = [
                f"{value:.6f}" for value in np.array(position.ImagePositionPatient, float) + down
            ]
    if thick:
        measures = made.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0]
        measures.SpacingBetweenSlices = measures.SliceThickness = 5.0
    bits = np.packbits(frames.reshape(-1), bitorder="little").tobytes()
    made.PixelData = bits + b"\0" * (len(bits) % 2)
    made.save_as(path)
    return read(path)


SPARSE = [1, 3, 7]  # of the first segment slices 1 and 3, of the second slice 3


def test_segmentations_without_their_empty_frames_are_read(tmp_path: Path) -> None:
    ct = series(tmp_path / "ct")
    back = sparse(ct, tmp_path / "sparse.dcm", SPARSE)
    assert back.shape == (7, 9, 2)
    np.testing.assert_array_equal(back.pixels[..., 0], np.where(label_map(ct.shape)[..., 1] == 1, 1, 0))
    np.testing.assert_allclose(back.affine[:3, 3], (ct.affine @ [0, 0, 1, 1])[:3], atol=1e-4)


@pytest.mark.parametrize(
    ("kept", "rows"),
    [(SPARSE, slice(None)), (SPARSE, slice(1, 6)), ([2], slice(None)), ([2, 3, 6, 7], slice(1, None))],
)
def test_such_a_segmentation_is_laid_onto_its_series(tmp_path: Path, kept: list[int], rows: slice) -> None:
    ct = series(tmp_path / "ct")
    back = sparse(ct, tmp_path / "sparse.dcm", kept, rows=rows)
    expected, labels = np.zeros(ct.shape, np.uint8), label_map(ct.shape)
    for frame in kept:  # numbers of segments, 1 and 2
        expected[..., frame % 4][labels[..., frame % 4] == (1, 7)[frame // 4]] = 1 + frame // 4
    placed = label_map_onto(back, ct)
    assert placed.same_grid(ct) and placed.quantity == "label" and expected.any()
    np.testing.assert_array_equal(placed.pixels, expected)


def test_segmentations_of_another_grid_are_still_refused(tmp_path: Path) -> None:
    ct = series(tmp_path / "ct")
    between, outside = ct.affine.copy(), ct.affine.copy()
    between[:3, 3] += 0.5 * ct.affine[:3, 2]
    outside[:3, 3] += 2 * ct.affine[:3, 2]  # the last slice of the labels lies above it
    part = sparse(ct, tmp_path / "part.dcm", SPARSE)
    for labels, like in (
        (part, replace(ct, affine=between)),
        (part, replace(ct, affine=outside)),
        (sparse(ct, tmp_path / "thick.dcm", SPARSE, thick=True), ct),
        (replace(part, source=Source()), ct),  # no segmentation: what it leaves out may hold anything
    ):
        with pytest.raises(UserError, match="transmodal data align"):
            label_map_onto(labels, like)


def test_a_segment_holds_those_inside_it(tmp_path: Path) -> None:
    ct = series(tmp_path / "ct")
    labels = ct.with_pixels(label_map(ct.shape))
    nested = (replace(SEGMENTS[0], inner=(7,)), SEGMENTS[1])
    write_segmentation(labels, tmp_path / "seg.dcm", nested)
    made = pydicom.dcmread(tmp_path / "seg.dcm")
    np.testing.assert_array_equal(made.pixel_array[2], labels.pixels[..., 2] > 0)
    np.testing.assert_array_equal(made.pixel_array[6], labels.pixels[..., 2] == 7)
    assert made.SegmentsOverlap == "YES"
    assert made.SegmentSequence[0].SegmentDescription == "liver, value 1, with 7 inside it"
    np.testing.assert_array_equal(read(tmp_path / "seg.dcm").pixels, np.where(labels.pixels == 7, 2, labels.pixels))
    write_segmentation(labels, tmp_path / "apart.dcm", SEGMENTS)
    assert pydicom.dcmread(tmp_path / "apart.dcm").SegmentsOverlap == "NO"


@pytest.mark.parametrize("colour", ["#000000", "#FFFFFF", "#E69F00", "#0072B2", "#123456"])
def test_colours_come_back_from_cielab(colour: str) -> None:
    assert to_rgb(to_cielab(colour)) == colour.lower()


def test_white_is_100_0_0() -> None:
    assert to_cielab("#ffffff") == pytest.approx([65535, 65535 * 128 / 255, 65535 * 128 / 255], abs=20)


def test_what_cannot_be_written_is_refused(tmp_path: Path) -> None:
    for image, segments, reason in (
        (Image(np.full((3, 3), 4, np.uint8)), SEGMENTS, "holds 4, which is the value of no segment"),
        (Image(np.zeros((3, 3), np.float32)), SEGMENTS, "whole numbers"),
        (Image(np.zeros((3, 3), np.uint8), has_physical_size=False), SEGMENTS, "needs a pixel size"),
        (Image(np.zeros((3, 3), np.uint8)), (), "segments of distinct values"),
    ):
        with pytest.raises(UserError, match=reason):
            write_segmentation(image, tmp_path / "seg.dcm", segments)
    assert not list(tmp_path.iterdir())
