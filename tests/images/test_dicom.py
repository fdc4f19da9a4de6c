"""DICOM made in the test: series, frames, MONOCHROME1, rescaling, what is refused, and derived images."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pydicom.uid
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset, FileMetaDataset

from transmodal.errors import UserError
from transmodal.images import Image, picture_affine, read, read_geometry, write
from transmodal.images.dicom import read_series
from transmodal.images.dicom_values import storable
from transmodal.images.dicom_writer import shortened
from transmodal.images.padding import padding_of

AXIAL = [1.0, 0, 0, 0, 1, 0]


def dataset(pixels: np.ndarray, **attributes: Any) -> Dataset:
    """Return a CT slice with the given stored values; an attribute of None is left out."""
    made = Dataset()
    rows, columns = pixels.shape[-2:] if pixels.shape[-1] != 3 or pixels.ndim == 2 else pixels.shape[-3:-1]
    bits = pixels.dtype.itemsize * 8
    values: dict[str, Any] = {
        "SOPClassUID": pydicom.uid.CTImageStorage,
        "SOPInstanceUID": pydicom.uid.generate_uid(),
        "SeriesInstanceUID": "1.2.3.4",
        "StudyInstanceUID": "1.2.3",
        "FrameOfReferenceUID": "1.2.5",
        "PatientID": "mouse 7",
        "PatientName": "Mouse^Seven",
        "Modality": "CT",
        "InstanceNumber": 1,
        "Rows": rows,
        "Columns": columns,
        "SamplesPerPixel": 1,
        "PhotometricInterpretation": "MONOCHROME2",
        "BitsAllocated": bits,
        "BitsStored": bits,
        "HighBit": bits - 1,
        "PixelRepresentation": int(pixels.dtype.kind == "i"),
        "RescaleSlope": 1,
        "RescaleIntercept": -1024,
        "PixelSpacing": [0.5, 0.25],
        "ImagePositionPatient": [10.0, 20.0, 30.0],
        "ImageOrientationPatient": AXIAL,
        "SliceThickness": 2.0,
    }
    for keyword, value in (values | attributes).items():
        if value is not None:
            setattr(made, keyword, value)
    made.add_new("PixelData", "OW", pixels.tobytes())
    made.file_meta = FileMetaDataset()
    made.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    return made


def save(path: Path, pixels: np.ndarray, **attributes: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    dataset(pixels, **attributes).save_as(path, enforce_file_format=True)
    return path


def series(folder: Path, heights: list[float], **attributes: Any) -> Path:
    """Write slices whose values are their height, in the order of the heights given."""
    for number, height in enumerate(heights):
        place = {"ImagePositionPatient": [10.0, 20.0, height], "InstanceNumber": number + 1}
        pixels = np.full((4, 6), height, np.int16)
        save(folder / f"slice{number}", pixels, **(place | {"RescaleIntercept": 0} | attributes))
    return folder


def test_a_slice_has_its_place_in_the_patient(tmp_path: Path) -> None:
    stored = np.arange(24, dtype=np.uint16).reshape(4, 6)
    image = read(save(tmp_path / "slice", stored))
    assert image.quantity == "HU" and image.pixels.dtype == np.int32
    np.testing.assert_array_equal(image.pixels, stored.astype(int) - 1024)
    # LPS (10, 20, 30) is RAS (-10, -20, 30); rows go down by 0.5 mm, columns right by 0.25 mm.
    np.testing.assert_allclose(image.affine @ [0, 0, 0, 1], [-10, -20, 30, 1])
    np.testing.assert_allclose(image.affine @ [2, 4, 0, 1], [-11, -21, 30, 1])
    np.testing.assert_allclose(image.affine[:3, 2], [0, 0, 2])
    assert image.source.header.pixel_size_from == "PixelSpacing"
    assert "PixelData" not in image.source.header.dataset


def test_bytes_decide_not_the_name_and_the_preamble_may_lack(tmp_path: Path) -> None:
    path = save(tmp_path / "with.png", np.ones((4, 6), np.int16))
    bare = tmp_path / "bare"
    made = dataset(np.ones((4, 6), np.int16))
    made.file_meta = FileMetaDataset()
    made.save_as(bare, implicit_vr=True, little_endian=True)
    np.testing.assert_array_equal(read(path).pixels, read(bare).pixels)


@pytest.mark.parametrize(
    ("stored_dtype", "bits", "slope", "intercept", "expected"),
    [
        (np.uint16, 12, 1, -1024, np.int16),
        (np.int16, 16, 1, 0, np.int16),
        (np.uint16, 16, 1, 0, np.uint16),
        (np.uint16, 16, 1, -1024, np.int32),
        (np.uint16, 12, 0.5, 0, np.float32),
        (np.uint8, 8, 2, 0, np.int16),
    ],
)
def test_rescaling_keeps_integers_when_it_can(
    stored_dtype: type, bits: int, slope: float, intercept: float, expected: type, tmp_path: Path
) -> None:
    stored: np.ndarray = np.array([[0, 2**bits // 2 - 1], [1, 7]], dtype=stored_dtype)
    where = save(
        tmp_path / "slice", stored, BitsStored=bits, HighBit=bits - 1, RescaleSlope=slope, RescaleIntercept=intercept
    )
    image = read(where)
    assert image.pixels.dtype == expected == read_geometry(where).dtype
    np.testing.assert_allclose(image.pixels, stored.astype(float) * slope + intercept)


def test_monochrome1_is_turned_before_rescaling(tmp_path: Path) -> None:
    stored = np.array([[0, 1000], [4095, 4]], np.uint16)
    path = save(tmp_path / "a", stored, PhotometricInterpretation="MONOCHROME1", BitsStored=12, HighBit=11)
    np.testing.assert_array_equal(read(path).pixels, 4095 - stored.astype(int) - 1024)
    signed = np.array([[-5, 5]], np.int16)
    path = save(tmp_path / "b", signed, PhotometricInterpretation="MONOCHROME1", RescaleIntercept=0)
    np.testing.assert_array_equal(read(path).pixels, -1 - signed)


def test_the_detectors_pixel_size_is_named(tmp_path: Path) -> None:
    places: dict[str, Any] = {"ImagePositionPatient": None, "ImageOrientationPatient": None, "PixelSpacing": None}
    pixels = np.ones((4, 6), np.uint16)
    image = read(save(tmp_path / "a", pixels, ImagerPixelSpacing=[0.1, 0.2], Modality="DX", **places))
    assert image.spacing == (0.1, 0.2) and image.source.header.pixel_size_from == "ImagerPixelSpacing"
    np.testing.assert_array_equal(image.affine[:, [0, 1, 3]], picture_affine((0.1, 0.2))[:, [0, 1, 3]])
    image = read(save(tmp_path / "b", pixels, Modality="DX", **places))
    assert not image.has_physical_size and image.source.header.pixel_size_from == ""


def test_a_series_is_sorted_by_place_not_by_name_or_number(tmp_path: Path) -> None:
    image = read(series(tmp_path / "series", [4.0, -2.0, 10.0, 1.0, 7.0]))
    assert image.shape == (4, 6, 5) and image.spacing == (0.5, 0.25, 3.0)
    np.testing.assert_array_equal(image.pixels[0, 0], [-2, 1, 4, 7, 10])
    np.testing.assert_allclose((image.affine @ [0, 0, 3, 1])[:3], [-10, -20, 7])
    assert len(image.source.header.instances) == 5
    assert read_geometry(tmp_path / "series").shape == (4, 6, 5)


def test_other_files_in_the_folder_do_not_disturb(tmp_path: Path) -> None:
    folder = series(tmp_path / "series", [0.0, 1.0, 2.0])
    (folder / "notes.txt").write_text("second scan after breakfast\n")
    (folder / ".DS_Store").write_bytes(bytes(10))
    assert read(folder).shape == (4, 6, 3)


def test_repeats_at_every_position_become_channels(tmp_path: Path) -> None:
    folder = series(tmp_path / "series", [0.0, 1.0, 2.0, 0.0, 1.0, 2.0])
    image = read(folder)
    assert image.shape == (4, 6, 3) and image.channels == ("t0", "t1")


def tilt(made: Dataset, index: int) -> None:
    made.ImagePositionPatient = [10.0, 20.0 + 0.4 * index, 2.0 * index]


def skip(made: Dataset, index: int) -> None:
    made.ImagePositionPatient = [10.0, 20.0, 2.0 * (index + (index > 1))]


def uneven(made: Dataset, index: int) -> None:
    made.ImagePositionPatient = [10.0, 20.0, 2.0 * index + 0.3 * (index == 2)]


@pytest.mark.parametrize(
    ("change", "says"),
    [(tilt, r"gantry tilt of 11\.3°"), (skip, "slices seem to be missing: 4 mm"), (uneven, "distances are uneven")],
)
def test_stacks_that_are_not_even_are_refused_unless_wanted(
    change: Callable[[Dataset, int], None], says: str, tmp_path: Path
) -> None:
    for index in range(5):
        made = dataset(np.full((4, 6), index, np.int16))
        change(made, index)
        made.save_as(tmp_path / f"{index}.dcm", enforce_file_format=True)
    with pytest.raises(UserError, match=f"{says}.*transmodal data straighten"):
        read(tmp_path)
    assert read(tmp_path, allow_uneven=True).shape == (4, 6, 5)


def test_mixed_folders_are_refused_with_a_remedy(tmp_path: Path) -> None:
    folder = series(tmp_path / "series", [0.0, 1.0, 2.0])
    extra = save(folder / "extra", np.zeros((4, 6), np.int16), SeriesInstanceUID="9.9", SeriesDescription="scout")
    with pytest.raises(UserError, match=r"2 series: 1\.2\.3\.4 \(3 files\), 9\.9 \(1 files, scout\); choose one"):
        read(folder)
    assert read(folder, series="1.2.3.4").shape == (4, 6, 3)
    assert read_series(folder, series="9.9").shape == (4, 6)
    with pytest.raises(UserError, match=r"no series 5\.5"):
        read(folder, series="5.5")
    save(extra, np.zeros((5, 6), np.int16), ImagePositionPatient=[10.0, 20.0, 3.0])
    with pytest.raises(UserError, match="different sizes"):
        read(folder)
    save(extra, np.zeros((4, 6), np.int16), ImageOrientationPatient=[0.0, 1, 0, 0, 0, 1])
    with pytest.raises(UserError, match="differ in orientation"):
        read(folder)
    save(extra, np.zeros((4, 6), np.int16), ImagePositionPatient=None)
    with pytest.raises(UserError, match="no position"):
        read(folder)
    save(extra, np.zeros((4, 6), np.int16), ImagePositionPatient=[10.0, 20.0, 1.0])
    with pytest.raises(UserError, match="doubled"):
        read(folder)
    extra.write_bytes(extra.read_bytes()[:-10])
    extra.write_bytes(extra.read_bytes()[:-10])
    with pytest.raises(UserError):
        read(folder)


def test_frames_with_places_make_a_volume_and_frames_without_become_channels(tmp_path: Path) -> None:
    frames = np.arange(72, dtype=np.uint16).reshape(3, 4, 6)
    dose: dict[str, Any] = {"Modality": "RTDOSE", "DoseGridScaling": 0.5, "DoseUnits": "GY", "RescaleSlope": None}
    path = save(
        tmp_path / "dose",
        frames,
        NumberOfFrames=3,
        GridFrameOffsetVector=[0.0, 5.0, 10.0],
        RescaleIntercept=None,
        **dose,
    )
    image = read(path)
    assert image.shape == (4, 6, 3) and image.spacing[2] == 5 and image.quantity == "Gy"
    np.testing.assert_allclose(image.pixels, frames.transpose(1, 2, 0) * 0.5)
    image = read(save(tmp_path / "cine", frames, NumberOfFrames=3, Modality="XA", RescaleIntercept=0))
    assert image.shape == (4, 6) and image.channels == ("f0", "f1", "f2")
    np.testing.assert_array_equal(image.pixels, frames.transpose(1, 2, 0))


def enhanced(path: Path, heights: list[float]) -> Path:
    made = dataset(np.stack([np.full((4, 6), height, np.int16) for height in heights]), NumberOfFrames=len(heights))
    for keyword in (
        "PixelSpacing",
        "ImagePositionPatient",
        "ImageOrientationPatient",
        "SliceThickness",
        "RescaleSlope",
    ):
        delattr(made, keyword)
    del made.RescaleIntercept
    shared = Dataset()
    shared.PlaneOrientationSequence = [Dataset()]
    shared.PlaneOrientationSequence[0].ImageOrientationPatient = AXIAL
    shared.PixelMeasuresSequence = [Dataset()]
    shared.PixelMeasuresSequence[0].PixelSpacing = [0.5, 0.25]
    made.SharedFunctionalGroupsSequence = [shared]
    groups = []
    for number, height in enumerate(heights):
        group = Dataset()
        group.PlanePositionSequence = [Dataset()]
        group.PlanePositionSequence[0].ImagePositionPatient = [10.0, 20.0, height]
        group.PixelValueTransformationSequence = [Dataset()]
        group.PixelValueTransformationSequence[0].RescaleSlope = 1 + number
        group.PixelValueTransformationSequence[0].RescaleIntercept = 0
        groups.append(group)
    made.PerFrameFunctionalGroupsSequence = groups
    made.save_as(path, enforce_file_format=True)
    return path


def test_enhanced_frames_have_their_own_place_and_scale(tmp_path: Path) -> None:
    image = read(enhanced(tmp_path / "enhanced.dcm", [6.0, 2.0, 4.0]))
    assert image.shape == (4, 6, 3) and image.spacing == (0.5, 0.25, 2.0)
    np.testing.assert_array_equal(image.pixels[0, 0], [2 * 2, 4 * 3, 6 * 1])
    np.testing.assert_allclose((image.affine @ [0, 0, 2, 1])[:3], [-10, -20, 6])


def test_what_holds_no_image_is_named(tmp_path: Path) -> None:
    made = dataset(np.ones((4, 6), np.int16), SOPClassUID=pydicom.uid.RTStructureSetStorage)
    for keyword in ("PixelData", "Rows", "Columns"):
        delattr(made, keyword)
    path = tmp_path / "outlines.dcm"
    made.save_as(path, enforce_file_format=True)
    with pytest.raises(UserError, match="holds no image: RT Structure Set Storage; outlines only"):
        read(path)
    made.SOPClassUID = pydicom.uid.MediaStorageDirectoryStorage
    made.save_as(path, enforce_file_format=True)
    with pytest.raises(UserError, match="read the folder that its images lie in"):
        read(path)


def test_a_claim_of_many_frames_allocates_nothing(tmp_path: Path) -> None:
    path = save(tmp_path / "bomb", np.ones((4, 6), np.uint16), NumberOfFrames=2_000_000_000)
    with pytest.raises(UserError, match="2000000000×4×6"):
        read(path)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_derived_slices_come_back(data: st.DataObject, tmp_path: Path) -> None:
    dtype: np.dtype = np.dtype(data.draw(st.sampled_from(["u1", "u2", "i2", "i4", "f4", "f8"])))
    shift = data.draw(st.integers(-100_000, 100_000)) if dtype.itemsize >= 4 else 0
    generator = np.random.default_rng(data.draw(st.integers(0, 1000)))
    shape = (data.draw(st.integers(1, 7)), data.draw(st.integers(1, 7)))
    limits = np.iinfo(str(dtype) if dtype.kind != "f" and dtype.itemsize < 4 else "int16")
    pixels = (generator.integers(limits.min, limits.max, shape, endpoint=True) + shift).astype(dtype)
    rotation, _ = np.linalg.qr(generator.normal(size=(3, 3)))
    affine = np.eye(4)
    affine[:3, :3] = rotation * generator.uniform(0.05, 4, 3)
    affine[:3, 3] = generator.normal(size=3) * 100
    image = Image(pixels, affine, quantity=data.draw(st.sampled_from(["HU", "intensity"])))
    back = read(write(image, tmp_path / "derived.dcm"))
    np.testing.assert_array_equal(back.pixels, pixels)
    np.testing.assert_allclose(back.affine[:, [0, 1, 3]], affine[:, [0, 1, 3]], atol=1e-8)
    assert back.quantity == image.quantity


def test_a_derived_volume_keeps_the_patient_and_says_how_it_was_made(tmp_path: Path) -> None:
    source = read(series(tmp_path / "source", [0.0, 3.0, 6.0], RadiationSetting="SC"))
    changed = replace(source, pixels=(source.pixels + 100).astype(np.float32))
    folder = write(changed, tmp_path / "derived", "pix2pix photo-to-xray, transmodal 0.1.0, synthetic")
    back = read(folder)
    np.testing.assert_array_equal(back.pixels, source.pixels + 100)
    np.testing.assert_allclose(back.affine, source.affine)
    originals = {each.SOPInstanceUID for each in map(pydicom.dcmread, (tmp_path / "source").iterdir())}
    seen = set()
    for number, path in enumerate(sorted(folder.iterdir())):
        made = pydicom.dcmread(path)
        assert made.PatientID == "mouse 7" and made.StudyInstanceUID == "1.2.3" and made.FrameOfReferenceUID == "1.2.5"
        assert made.SeriesInstanceUID != "1.2.3.4" and made.SOPInstanceUID not in originals
        assert list(made.ImageType) == ["DERIVED", "SECONDARY", "AXIAL"]
        assert made.DerivationDescription == "pix2pix photo-to-xray, transmodal 0.1.0, synthetic"
        assert made.BurnedInAnnotation == "NO" and "RadiationSetting" not in made
        (reference,) = made.SourceImageSequence
        assert reference.ReferencedSOPInstanceUID == source.source.header.instances[number][1]
        assert made.file_meta.MediaStorageSOPInstanceUID == made.SOPInstanceUID
        seen.add(made.SOPInstanceUID)
    assert len(seen) == 3


def test_writing_a_volume_never_mixes_with_what_is_there(volume: Image, tmp_path: Path) -> None:
    folder = write(volume, tmp_path / "slices")
    before = sorted(each.name for each in folder.iterdir())
    with pytest.raises(UserError, match="is taken"):
        write(volume, folder)
    with pytest.raises(UserError, match="folder name without"):
        write(volume, tmp_path / "volume.dcm")
    assert sorted(each.name for each in folder.iterdir()) == before
    assert sorted(each.name for each in tmp_path.iterdir()) == ["slices"]
    # Slices come back in the order of the normal of their plane, here the other way round, each at its place.
    back = read(folder)
    np.testing.assert_array_equal(back.pixels[:, :, ::-1], volume.pixels)
    np.testing.assert_allclose(back.affine @ [1, 2, 2, 1], volume.affine @ [1, 2, 0, 1], atol=1e-8)
    np.testing.assert_allclose(back.affine @ [1, 2, 0, 1], volume.affine @ [1, 2, 2, 1], atol=1e-8)


def test_a_scaled_slice_is_written_with_the_sources_own_scale(tmp_path: Path) -> None:
    stored = np.arange(24, dtype=np.uint16).reshape(4, 6) * 100
    image = read(save(tmp_path / "in.dcm", stored, Modality="MR", RescaleSlope="0.7301", RescaleIntercept="-3.5"))
    back = read(write(image, tmp_path / "out.dcm"))
    np.testing.assert_array_equal(back.pixels, image.pixels)


def test_what_dicom_does_not_hold_exactly_is_rounded_only_on_request_and_said(tmp_path: Path) -> None:
    source = read(save(tmp_path / "in.dcm", np.arange(24, dtype=np.int16).reshape(4, 6), PatientName="Maus^Käthe"))
    values = np.linspace(-1000.25, 70.6, 24, dtype=np.float32).reshape(4, 6)
    hounsfield = source.with_pixels(values)
    with pytest.raises(UserError, match=r"DICOM cannot hold the values for out\.dcm exactly \(float32"):
        write(hounsfield, tmp_path / "out.dcm")
    whole, said = storable(hounsfield)
    assert said.startswith("whole HU, off by at most 0.") and float(said.split()[-1]) <= 0.5
    np.testing.assert_array_equal(read(write(whole, tmp_path / "whole.dcm")).pixels, np.rint(values).astype(np.int16))
    steps, said = storable(hounsfield.with_pixels(values * 3e-5, quantity="probability"))
    largest = float(said.removeprefix("65536 steps over its range, off by at most "))
    assert 0 < largest < 1.05 * (values.max() - values.min()) * 3e-5 / 65535 / 2 + 1e-9
    back = read(write(steps, tmp_path / "steps.dcm"))
    np.testing.assert_array_equal(back.pixels, steps.pixels)
    assert np.abs(back.pixels - values * 3e-5).max() <= largest
    header = pydicom.dcmread(tmp_path / "steps.dcm")
    assert header.PatientID == "mouse 7" and len(header.SourceImageSequence) == 1
    assert source.source.header.dataset.RescaleIntercept == -1024, "the source's header stays its own"
    beyond, said = storable(hounsfield.with_pixels(values * 100))
    assert beyond.pixels.min() == -32768 and float(said.split()[-1]) > 60000
    for exact in (source, hounsfield.with_pixels(np.rint(values)), whole):
        assert storable(exact) == (exact, "")


@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.floats(-1e6, 1e6), st.floats(1e-6, 1e6), st.integers(0, 9))
def test_any_floats_can_be_stored_in_steps(tmp_path: Path, least: float, extent: float, seed: int) -> None:
    values = (least + extent * np.random.default_rng(seed).random((3, 4))).astype(np.float32)
    made, said = storable(Image(values, picture_affine((0.5, 0.5))))
    back = read(write(made, tmp_path / "a.dcm")).pixels
    np.testing.assert_array_equal(back, made.pixels)
    largest = float(said.split()[-1]) if said else 0.0
    assert np.abs(back.astype(np.float64) - values).max() <= largest * (1 + 1e-6)


def test_padding_is_what_the_header_names_and_what_no_scanner_measures(tmp_path: Path) -> None:
    stored = np.array([[-2000, 0, 24], [10, 1024, 2000]], np.int16)
    found = padding_of(read(save(tmp_path / "plain.dcm", stored)))
    np.testing.assert_array_equal(found, stored == -2000)
    for value, written in ((24, 24), (-2000, 63536)):
        image = read(save(tmp_path / "named.dcm", stored, PixelPaddingValue=None))
        image.source.header.dataset.add_new("PixelPaddingValue", "US", written)
        np.testing.assert_array_equal(padding_of(image), (stored == -2000) | (stored == value))
    assert padding_of(image.with_pixels(np.maximum(image.pixels, -1024))) is None
    assert padding_of(image.with_pixels(stored, quantity="label")) is None
    assert padding_of(image.with_pixels(stored, quantity="intensity")) is None, "perhaps a phase of MR"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Made by a test", "Made by a test"),
        ("One clause. Two clauses. And a third that is much too long to be held by 64", "One clause. Two clauses"),
        ("Activity (counts in a nuclear pixel, frames 1 to 30, summed) of bone.tif over xray.png", None),
        ("Wordswithoutanyspacebetweenthem" * 3, None),
        ("of a\\b", "of a/b"),
    ],
)
def test_descriptions_end_with_a_word(text: str, expected: str | None) -> None:
    made = shortened(text)
    assert len(made) <= 64 and made == (expected or made)
    if expected is None:
        begin = made.removesuffix("...")
        assert made.endswith("...") and text.startswith(begin) and (" " not in text or text[len(begin)] in " ,")
