"""The layout `dicom`: headers say what belongs together, whatever the names and folders."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage

from transmodal.datasets.layouts import Indexed, Options, index_folder
from transmodal.errors import UserError
from transmodal.images import read

ROOT = "1.2.826.0.1.3680043.8.498"


def slice_of(path: Path, patient: str, study: str, series: int, number: int, description: str, **more: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID = MRImageStorage
    meta.MediaStorageSOPInstanceUID = f"{ROOT}.{int(study)}.{series}.{number}"
    made = FileDataset(path, {}, file_meta=meta, preamble=b"\0" * 128)
    made.SOPClassUID, made.SOPInstanceUID = MRImageStorage, meta.MediaStorageSOPInstanceUID
    made.PatientID, made.StudyDate, made.StudyTime = patient, f"2020{study}", "101010"
    made.StudyInstanceUID, made.SeriesInstanceUID = f"{ROOT}.{int(study)}", f"{ROOT}.{int(study)}.{series}"
    made.SeriesNumber, made.InstanceNumber, made.Modality = series, number, "MR"
    made.SeriesDescription = description
    made.ImagePositionPatient, made.ImageOrientationPatient = [0, 0, 3 * number], [1, 0, 0, 0, 1, 0]
    made.PixelSpacing, made.SliceThickness = [1, 1], 3
    made.Rows, made.Columns, made.SamplesPerPixel = 2, 3, 1
    made.BitsAllocated = made.BitsStored = 16
    made.HighBit, made.PixelRepresentation, made.PhotometricInterpretation = 15, 0, "MONOCHROME2"
    made.PixelData = np.full((2, 3), 100 * series + number, "<u2").tobytes()
    for keyword, value in more.items():
        setattr(made, keyword, value)
    made.save_as(path, enforce_file_format=True)


def volume(folder: Path, patient: str, study: str, series: int, description: str, slices: int = 3, **more: Any) -> None:
    for number in range(slices):
        slice_of(folder / f"IM{series}{number:03}", patient, study, series, number, description, **more)


def test_series_of_their_own_folders_stay_where_they_are(tmp_path: Path, keys: Callable[[Indexed], Any]) -> None:
    volume(tmp_path / "x/later/a", "P1", "0302", 3, "T1, mprage")
    volume(tmp_path / "x/first/b", "P1", "0101", 2, "T2 tse")
    volume(tmp_path / "x/first/c", "P2", "0201", 1, "T2 tse", MagneticFieldStrength=3)
    indexed = index_folder(tmp_path, options=Options(out=tmp_path / "out"))
    assert indexed.layout == "dicom"
    assert keys(indexed) == [("P1", "study1", "T2 tse"), ("P1", "study2", "T1_ mprage"), ("P2", "study1", "T2 tse")]
    assert indexed.manifest.cases()[2].factors == {"kind": "MR", "tesla": "3.0"}
    assert not (tmp_path / "out").exists()
    image = read(indexed.manifest.cases()[0].files["T2 tse"])
    assert image.shape == (2, 3, 3)


def test_series_that_share_a_folder_are_sorted_and_a_rerun_agrees(tmp_path: Path) -> None:
    for series, word in ((1, "t1_mprage_sag"), (2, "t2_tse"), (3, "dwi")):
        volume(tmp_path / "all", "P1", "0101", series, word, slices=2 + series)
    options = Options({"T1": "*mprage*", "T2": "t2_tse"}, out=tmp_path / "all")
    for _ in range(2):
        indexed = index_folder(tmp_path / "all", "dicom", options)
        (case,) = indexed.manifest.cases(["T1", "T2"])
        assert case.session == "study1"
        np.testing.assert_array_equal(read(case.files["T1"]).pixels[0, 0], [100, 101, 102])
        np.testing.assert_array_equal(read(case.files["T2"]).pixels[0, 0], [200, 201, 202, 203])
        assert "2 series share folders" in indexed.notes[0]
        assert [reason for _, reason in indexed.skipped] == ["modality dwi is not asked for"]
    assert len(list((tmp_path / "all" / "dicom_series").iterdir())) == 2
    with pytest.raises(UserError, match="holds several series"):
        index_folder(tmp_path / "all", "dicom", Options({"T2": "t2_tse"}))


def test_a_series_in_two_folders_is_put_together_and_doubled_slices_fall_out(tmp_path: Path) -> None:
    for number in range(4):
        slice_of(tmp_path / f"part{number // 2}" / f"{number}.dcm", "P1", "0101", 1, number, "T1")
    slice_of(tmp_path / "part1" / "again.dcm", "P1", "0101", 1, 0, "T1")
    indexed = index_folder(tmp_path, options=Options(out=tmp_path / "out"))
    (case,) = indexed.manifest.cases()
    np.testing.assert_array_equal(read(case.files["T1"]).pixels[0, 0], [100, 101, 102, 103])
    assert [reason for _, reason in indexed.skipped] == ["is the same picture as 0.dcm"]


def test_without_links_series_are_copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError("Invalid cross-device link")

    monkeypatch.setattr("os.link", refuse)
    for series in (1, 2):
        volume(tmp_path / "all", "P1", "0101", series, f"T{series}")
    indexed = index_folder(tmp_path / "all", options=Options(out=tmp_path / "out"))
    (case,) = indexed.manifest.cases()
    np.testing.assert_array_equal(read(case.files["T2"]).pixels[0, 0], [200, 201, 202])


def test_the_longer_of_two_equal_series_is_taken_and_localisers_are_not(tmp_path: Path) -> None:
    volume(tmp_path / "a", "P1", "0101", 1, "T1", slices=2)
    volume(tmp_path / "b", "P1", "0101", 2, "T1", slices=4)
    volume(tmp_path / "c", "P1", "0101", 3, "scout", ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"])
    volume(tmp_path / "d", "P1", "0101", 4, "survey", slices=2)
    slice_of(tmp_path / "d" / "IM9", "P1", "0101", 4, 9, "survey", ImageOrientationPatient=[0, 1, 0, 0, 0, -1])
    indexed = index_folder(tmp_path)
    assert list(indexed.manifest.table["path"]) == [str(tmp_path / "b")]
    assert [reason for _, reason in sorted(indexed.skipped)] == [
        "same subject, session and modality as b",
        "scout is a localiser",
        "survey has slices in 2 directions (a localiser?)",
    ]


def test_patients_without_a_name_are_not_one_patient(tmp_path: Path) -> None:
    volume(tmp_path / "a", "", "0101", 1, "T1")
    volume(tmp_path / "b", "", "0202", 1, "")
    indexed = index_folder(tmp_path)
    assert len(indexed.manifest.subjects) == 2
    assert sorted(indexed.manifest.modalities) == ["MR", "T1"]
    assert "a study counts as a subject" in indexed.notes[0]


@pytest.mark.parametrize("patient", ["../../etc", "a/b\\c", "..", "é\u202e"])
def test_no_header_leads_out_of_the_folder(tmp_path: Path, patient: str) -> None:
    for series in (1, 2):
        volume(tmp_path / "all", patient, "0101", series, "../T", slices=2, SpecificCharacterSet="ISO_IR 192")
    indexed = index_folder(tmp_path / "all", options=Options(out=tmp_path / "out"))
    assert all((tmp_path / "out" / "dicom_series") == Path(path).parent for path in indexed.manifest.table["path"])


def test_damaged_files_and_other_formats_are_told_and_the_rest_taken(tmp_path: Path, put: Callable[..., Path]) -> None:
    folder = put("notes/T1.nii")
    volume(folder / "a", "P1", "0101", 1, "T1")
    whole = (folder / "a" / "IM1000").read_bytes()
    (folder / "a" / "IM9").write_bytes(whole[:-13])  # inside the header of the pixels
    indexed = index_folder(folder, "dicom", Options(out=tmp_path / "out"))
    assert [path for path, _ in indexed.skipped] == ["a/IM9", "notes/T1.nii"]
    (case,) = indexed.manifest.cases()
    assert read(case.files["T1"]).shape == (2, 3, 3)
    with pytest.raises(UserError, match=r"No DICOM series .*T1\.nii is no DICOM file"):
        index_folder(folder / "notes", "dicom")


def test_single_pictures_are_no_tree_of_series(tmp_path: Path, keys: Callable[[Indexed], Any]) -> None:
    for series, name in enumerate(("m1_photo", "m1_xray", "m2_photo", "m2_xray"), 1):
        slice_of(tmp_path / f"{name}.dcm", "P", "0101", series, 1, "x")
    assert keys(index_folder(tmp_path)) == [(m, "", kind) for m in ("m1", "m2") for kind in ("photo", "xray")]


def test_the_real_series_are_found(real_data: Path) -> None:
    kernels = index_folder(real_data / "ct_kernel_pairs")
    (case,) = kernels.manifest.cases()
    assert [path.name for path in case.files.values()] == ["S2030_bone_YA", "S2020_soft_UB"]
    people = index_folder(real_data / "ct_slices", "dicom").manifest
    assert len(people.subjects) == 7
    assert {case.session for case in people.cases()} == {"study1", "study2"}
