"""Manifests of clean CT, from folders of DICOM slices to pairs."""

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pandas
import pydicom
import pytest

from transmodal.datasets.ct_pair_settings import PairSettings
from transmodal.datasets.ct_pairs import degrade_manifest, spread_out
from transmodal.datasets.layouts import Options, index_folder
from transmodal.datasets.manifest import Manifest
from transmodal.errors import UserError
from transmodal.images import Image, picture_affine, read, write
from transmodal.simulation.ct.bodies import draw_body
from transmodal.simulation.ct.companions import Companion
from transmodal.simulation.ct.degrading import Process
from transmodal.simulation.ct.pairs import Output
from transmodal.simulation.ct.steps import levels_of, step_from_text
from transmodal.tomography.scanners import Scanner

RIGHT, BACK, DOWN = (1.0, 0, 0), (0, 1.0, 0), (0, 0, -1.0)
ORIENTATIONS = {"axial": (RIGHT, BACK), "coronal": (RIGHT, DOWN), "sagittal": (BACK, DOWN)}


def dicom(path: Path, plane: str, patient: str = "", date: str = "20200102", series: str = "", number: int = 1) -> None:
    """Write a small CT slice whose header says little."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write(Image(np.full((8, 8), -500, np.int16), np.diag([-1.0, -1, 1, 1]), quantity="HU"), path)
    made = pydicom.dcmread(path)
    made.PatientID, made.StudyDate, made.InstanceNumber, made.Modality = patient, date, number, "CT"
    made.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    right, down = ORIENTATIONS[plane]
    made.ImageOrientationPatient = [*right, *down]
    made.ImagePositionPatient = [0, 0, float(number)]
    if series:
        made.SeriesInstanceUID = series
    made.save_as(path)


@pytest.mark.parametrize("people", [("A1", "A2"), ("A1",)])
def test_single_slices_of_one_plane_are_ct_and_no_series(tmp_path: Path, people: tuple[str, ...]) -> None:
    for person in people:
        for number in (7, 9):
            dicom(tmp_path / person / "axial" / f"{number:03d}.dcm", "axial", person, number=number)
    indexed = index_folder(tmp_path)
    assert (indexed.layout, indexed.reason) == ("ct", "DICOM slices of CT, one a series")
    assert len(indexed.manifest.table) == 2 * len(people) and set(indexed.manifest.table["modality"]) == {"CT"}


def test_series_and_pairs_of_ct_are_not_taken_for_single_slices(tmp_path: Path) -> None:
    for number in (7, 9):
        dicom(tmp_path / "series" / "A1" / f"{number:03d}.dcm", "axial", "A1", series="1.2.3", number=number)
        for dose in ("low", "full"):  # the same patient's, under the same name
            dicom(tmp_path / "pairs" / dose / f"{number:03d}.dcm", "axial", f"A{number}", number=number)
    assert index_folder(tmp_path / "series").layout == "dicom"
    assert index_folder(tmp_path / "pairs").layout != "ct"


@pytest.mark.parametrize("planes", [("axial",), ("axial", "coronal")])
def test_a_damaged_file_is_listed_and_keeps_nobody_from_guessing(tmp_path: Path, planes: tuple[str, ...]) -> None:
    for plane in planes:
        for number in range(4):
            dicom(tmp_path / "A1" / plane / f"{plane}{number}.dcm", plane, "A1", number=number)
    for name, kept in (("axial0.dcm", 0.5), ("axial1.dcm", 0.85)):
        whole = (tmp_path / "A1" / "axial" / name).read_bytes()
        (tmp_path / "A1" / "axial" / name).write_bytes(whole[: int(kept * len(whole))])
    header_cut_off = tmp_path / "A1" / "axial" / "axial2.dcm"
    whole = header_cut_off.read_bytes()
    header_cut_off.write_bytes(whole[: whole.index(pydicom.dcmread(header_cut_off).SeriesInstanceUID.encode()) + 9])
    indexed = index_folder(tmp_path)
    assert indexed.layout == "ct" and "A1/axial/axial2.dcm" in dict(indexed.skipped)
    assert {"axial3.dcm"} <= {Path(path).name for path in indexed.manifest.table["path"]}


@pytest.mark.parametrize("planes", [("axial", "coronal"), ("axial",)])
def test_a_late_picture_among_slices_is_seen(
    tmp_path: Path, planes: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("transmodal.datasets.layouts.ct._LOOKED_INTO", 4)
    for plane in planes:
        for number in range(5):
            dicom(tmp_path / "A1" / plane / f"{number}.dcm", plane, "A1", number=number)
    assert index_folder(tmp_path).layout == "ct"
    write(Image(np.zeros((8, 8), np.uint8), picture_affine((1, 1))), tmp_path / "A1" / planes[-1] / "z.png")
    with pytest.raises(UserError, match="Cannot guess how"):
        index_folder(tmp_path)


def test_slices_in_planes_get_person_date_and_plane(tmp_path: Path) -> None:
    for person in ("A1", "A2"):
        for plane in ORIENTATIONS:
            for number, date in ((7, "20200102"), (9, "20210304")):
                dicom(tmp_path / person / plane / f"{date}-{number:03d}.dcm", plane, person, date, number=number)
    indexed = index_folder(tmp_path)
    assert indexed.layout == "ct"
    table = indexed.manifest.table
    assert set(table["modality"]) == {"CT"}
    assert set(table["subject"]) == {"A1", "A2"}
    assert sorted(table[table["subject"] == "A1"]["session"]) == [
        *(f"20200102-{plane}" for plane in ("axial", "coronal", "sagittal")),
        *(f"20210304-{plane}" for plane in ("axial", "coronal", "sagittal")),
    ]
    assert set(table["plane"]) == set(ORIENTATIONS)


def test_a_series_is_a_volume_and_loose_slices_find_their_plane(tmp_path: Path) -> None:
    for number in range(3):
        dicom(tmp_path / "one" / "series" / f"{number}.dcm", "axial", series="1.2.3", number=number)
    dicom(tmp_path / "two" / "a.dcm", "coronal", series="1.2.4", number=5)
    dicom(tmp_path / "two" / "b.dcm", "coronal", series="1.2.5", number=6)
    table = index_folder(tmp_path, "ct").manifest.table
    assert table["path"].map(lambda path: Path(path).name).tolist() == ["series", "a.dcm", "b.dcm"]
    assert table["subject"].tolist() == ["one", "two", "two"]
    assert table["session"].tolist() == ["20200102", "20200102-coronal-5", "20200102-coronal-6"]


def test_files_are_subjects_unless_folders_or_a_pattern_tell_them_apart(tmp_path: Path) -> None:
    for name in ("flat/p1_v1.tif", "flat/p1_v2.tif", "deep/ann/ct.tif", "deep/bob/ct.tif"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        write(Image(np.zeros((8, 8), np.int16), picture_affine((1, 1)), quantity="HU"), tmp_path / name)
    assert index_folder(tmp_path / "flat", "ct").manifest.subjects == ["p1_v1", "p1_v2"]
    assert index_folder(tmp_path / "deep", "ct").manifest.subjects == ["ann", "bob"]
    named = index_folder(tmp_path / "flat", "ct", Options(subject_pattern="(?P<subject>.+)_(?P<session>.+)")).manifest
    assert named.subjects == ["p1"]
    assert named.table["session"].tolist() == ["v1", "v2"]


def test_real_slices_of_seven_people(real_data: Path) -> None:
    manifest = index_folder(real_data / "ct_slices").manifest
    assert len(manifest.subjects) == 7
    assert Counter(manifest.table["plane"]) == {"axial": 14, "coronal": 14, "sagittal": 14}
    assert len(manifest.cases()) == 42
    assert {case.factors["date"] for case in manifest.cases() if case.subject == "A002304"} == {"19001231", "19010112"}


@pytest.fixture
def clean(tmp_path: Path) -> Manifest:
    """Ten subjects with a mask each, eight of them for training."""
    rows = []
    for number in range(10):
        image, mask = tmp_path / f"{number}.tif", tmp_path / f"{number}_mask.tif"
        write(Image(draw_body(number, 32), picture_affine((12.5, 12.5)), quantity="HU"), image)
        write(Image(np.ones((32, 32), np.uint8), picture_affine((12.5, 12.5)), quantity="label"), mask)
        for modality, path in (("CT", image), ("mask", mask)):
            rows.append(
                {
                    "subject": f"s{number}",
                    "session": "",
                    "modality": modality,
                    "path": str(path),
                    "sex": "f",
                    "split": "train" if number < 8 else "test",
                }
            )
    return Manifest(pandas.DataFrame(rows), tmp_path)


def settings(vary: tuple[str, ...] = ("angles=10,20",), **more: Any) -> PairSettings:
    levels = tuple(levels_of([step_from_text("photon-noise photons=1e5")], vary))
    return PairSettings("CT", levels, process=Process(Scanner(views=40)), **more)


def test_a_mix_deals_levels_equally_in_each_split_and_keeps_the_rest(clean: Manifest, tmp_path: Path) -> None:
    made = degrade_manifest(clean, tmp_path / "mix", settings(spread="mix"), workers=1)
    found = Manifest.read(made.manifest)
    assert made.by_level == {"angles10": 5, "angles20": 5}
    for split, count in (("train", 4), ("test", 1)):
        cases = found.cases(["degraded", "CT", "mask"], split=split)
        assert Counter(case.factors["angles"] for case in cases) == {"10": count, "20": count}
        assert all(case.factors["sex"] == "f" for case in cases)
    assert found.table["degradation"].str.contains("100000 photons").all()


def test_levels_of_one_case_share_their_random_numbers(clean: Manifest, tmp_path: Path) -> None:
    made = degrade_manifest(clean, tmp_path / "each", settings(("dose=1,1.0001",)), workers=1)
    found = {case.session: case for case in Manifest.read(made.manifest).cases() if case.subject == "s3"}
    first, second = found["dose1"], found["dose1.0001"]
    assert first.factors["seed"] == second.factors["seed"]
    assert (first.factors["dose_divisor"], second.factors["dose_divisor"]) == ("1", "1.0001")
    difference = np.asarray(read(first.files["degraded"])) - np.asarray(read(second.files["degraded"]))
    assert np.std(difference) < 20  # other noise would leave more


def test_copies_are_of_training_cases_alone(clean: Manifest, tmp_path: Path) -> None:
    made = degrade_manifest(clean, tmp_path / "copies", settings(("angles=10,20",), spread="mix", copies=2), workers=1)
    found = Manifest.read(made.manifest)
    assert len(found.cases(split="train")) == 24
    assert len(found.cases(split="test")) == 2
    copy = next(case for case in found.cases() if case.session == "copy1")
    assert copy.factors["copy"] == "1"
    assert set(copy.files) == {"degraded", "CT"}
    own = next(case for case in found.cases() if case.subject == copy.subject and case.session == "")
    assert not np.array_equal(read(copy.files["CT"]).pixels, read(own.files["CT"]).pixels)


def test_a_later_run_keeps_the_pairs_and_the_columns_that_were_added(clean: Manifest, tmp_path: Path) -> None:
    made = degrade_manifest(clean, tmp_path / "again", settings(spread="mix"), workers=1)
    edited = Manifest.read(made.manifest)
    edited.with_table(edited.table.assign(reader="ana")).write(made.manifest)
    image = next(iter(edited.cases()[0].files.values()))
    before = image.stat().st_mtime_ns
    again = degrade_manifest(clean, tmp_path / "again", settings(spread="mix"), workers=1)
    assert (again.made, again.reused) == (0, 10)
    assert image.stat().st_mtime_ns == before
    assert set(Manifest.read(again.manifest).table["reader"]) == {"ana"}
    with pytest.raises(UserError, match="other settings"):
        degrade_manifest(clean, tmp_path / "again", settings(spread="each"), workers=1)


def test_workers_change_no_bit(clean: Manifest, tmp_path: Path) -> None:
    few = clean.with_table(clean.table[clean.table["subject"].isin(["s0", "s9"])])
    images = []
    for workers in (1, 2):
        made = degrade_manifest(few, tmp_path / f"w{workers}", settings(spread="mix"), workers=workers)
        cases = Manifest.read(made.manifest).cases(["degraded"])
        images.append(np.stack([read(case.files["degraded"]).pixels for case in cases]))
    assert np.array_equal(*images)


def test_without_training_cases_no_weight_is_tuned(clean: Manifest, tmp_path: Path) -> None:
    unsplit = clean.with_table(clean.table.drop(columns="split"))
    wanted = settings(spread="mix", output=Output(companions=(Companion("tv"),)))
    with pytest.raises(UserError, match="data split"):
        degrade_manifest(unsplit, tmp_path / "tv", wanted, workers=1)
    assert not (tmp_path / "tv").exists()


def test_cases_to_tune_on_are_of_all_planes_and_subjects() -> None:
    rows = [
        {"subject": f"s{person}", "session": plane, "plane": plane}
        for person in range(6)
        for plane in ("axial", "coronal", "sagittal")
    ]
    drawn = spread_out(rows, 6, seed=0)
    assert sorted(row["plane"] for row in drawn) == ["axial", "axial", "coronal", "coronal", "sagittal", "sagittal"]
    assert len({row["subject"] for row in drawn}) == 6
    assert spread_out(rows, 6, seed=1) != drawn
    assert spread_out(rows[:2], 6, seed=0) == rows[:2]
    without = [{"subject": f"s{number % 2}", "session": str(number)} for number in range(8)]
    assert sorted(row["subject"] for row in spread_out(without, 4, seed=0)) == ["s0", "s0", "s1", "s1"]
