"""What DICOM headers of nuclear images say: kinds, corrections, isotopes, doses, moments and phases."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from pydicom.tag import Tag
from tests.images.nuclear.acquisitions import counts, nm, pet

from transmodal.errors import UserError
from transmodal.images.nuclear.isotopes import ISOTOPES
from transmodal.images.nuclear.reading import read_nuclear
from transmodal.images.nuclear.sidecar import sidecar_path


def starts_of(path: Path) -> list[float]:
    found = read_nuclear(path).starts
    assert found is not None
    return found.tolist()


@pytest.mark.parametrize("kind", ["TOMO", "GATED", "GATED TOMO", "RECON TOMO", "RECON GATED TOMO", "TRANSMISSION"])
def test_projections_slices_and_gates_are_refused_by_name(tmp_path: Path, kind: str) -> None:
    path = nm(tmp_path / "a.dcm", ImageType=["ORIGINAL", "PRIMARY", kind, "EMISSION"])
    with pytest.raises(UserError, match=f"is a {kind} acquisition, not planar"):
        read_nuclear(path)


@pytest.mark.parametrize("kind", [["STATIC"], ["DYNAMIC"], ["WHOLE BODY", "EMISSION"], []])
def test_planar_kinds_are_read(tmp_path: Path, kind: list[str]) -> None:
    assert len(read_nuclear(nm(tmp_path / "a.dcm", ImageType=["ORIGINAL", "PRIMARY", *kind]))) == 4


@pytest.mark.parametrize(
    ("keyword", "words"),
    [
        ("RotationVector", "rotations"),
        ("RRIntervalVector", "R-R intervals"),
        ("TimeSlotVector", "time slots"),
        ("SliceVector", "slices"),
        ("AngularViewVector", "angular views"),
    ],
)
def test_frames_in_another_order_than_time_are_refused(tmp_path: Path, keyword: str, words: str) -> None:
    pointer = [Tag("EnergyWindowVector"), Tag(keyword)]
    several: dict[str, Any] = {keyword: [1, 2, 3, 4], "FrameIncrementPointer": pointer}
    with pytest.raises(UserError, match=f"frames of several {words}"):
        read_nuclear(nm(tmp_path / "several.dcm", **several))
    assert len(read_nuclear(nm(tmp_path / "one.dcm", **(several | {keyword: [1, 1, 1, 1]})))) == 4
    with pytest.raises(UserError, match=f"but has no {keyword}"):
        read_nuclear(nm(tmp_path / "without.dcm", FrameIncrementPointer=Tag(keyword)))


def test_static_frames_of_one_window_get_no_invented_times(tmp_path: Path) -> None:
    still: dict[str, Any] = {
        "PhaseVector": None,
        "ActualFrameDuration": 30000,
        "ImageType": ["ORIGINAL", "PRIMARY", "STATIC"],
    }
    back = read_nuclear(nm(tmp_path / "a.dcm", **still))
    assert back.starts is None and back.durations is not None and back.durations.tolist() == [30] * 4


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"CorrectedImage": ["UNIF", "DECY"]}, "corrected for decay already.*export it without"),
        ({"CorrectedImage": "DECY"}, "corrected for decay already"),
        ({"DecayCorrection": "START"}, "corrected for decay already"),
        ({"Units": "BQML"}, "holds Bq/mL, no counts; export counts"),
        ({"Modality": "CT"}, r"no counts \(modality CT\)"),
        ({"Modality": "DX"}, r"no counts \(modality DX\)"),
    ],
)
def test_corrected_decay_and_other_quantities_are_refused(tmp_path: Path, more: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        read_nuclear(nm(tmp_path / "a.dcm", **more))


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"Units": "BQML"}, "holds Bq/mL"),
        ({"Units": "PROPCNTS"}, "proportional to counts"),
        ({"DecayCorrection": "ADMIN"}, "corrected for decay already"),
        ({"SeriesType": ["GATED", "IMAGE"]}, "is a GATED acquisition"),
        ({"RadionuclideTotalDose": 370.0}, "looks like MBq"),
        ({"RadionuclideTotalDose": 2e12}, "PET image states Bq.*too much"),
    ],
)
def test_pet_is_read_only_in_counts(tmp_path: Path, more: dict[str, Any], message: str) -> None:
    back = read_nuclear(pet(tmp_path / "good.dcm"))
    assert back.isotope == ISOTOPES["F-18"] and back.injection is not None and back.injection.before == 18.5e6
    with pytest.raises(UserError, match=message):
        read_nuclear(pet(tmp_path / "a.dcm", **more))


def test_corrections_that_leave_no_raw_counts_are_said(tmp_path: Path) -> None:
    back = read_nuclear(nm(tmp_path / "a.dcm", CorrectedImage=["UNIF", "ATTN", "SCAT", "BKGR"]))
    assert back.said == (
        "a.dcm: corrected for attenuation, scatter, background: no raw counts, so that Poisson errors do not hold",
    )
    assert read_nuclear(nm(tmp_path / "b.dcm", CorrectedImage=["NRGY", "LIN"])).said == ()


@pytest.mark.parametrize(
    ("mistake", "sidecar"),
    [
        ({"RadionuclideTotalDose": 18.5e6}, {"injected": {"before_MBq": 18.5}}),
        ({"RadionuclideHalfLife": 6.0}, {"isotope": "Tc-99m"}),
        ({"PhaseVector": [0, 1, 2, 2]}, {"frames": {"start_s": [0, 10, 25, 86], "duration_s": [10, 10, 60, 60]}}),
    ],
)
def test_a_sidecar_mends_what_the_header_says_wrongly(
    tmp_path: Path, mistake: dict[str, Any], sidecar: dict[str, Any]
) -> None:
    path = nm(tmp_path / "a.dcm", **mistake)
    with pytest.raises(UserError, match=f"{next(iter(sidecar)).replace('isotope', 'name it')}.* in a sidecar"):
        read_nuclear(path)
    sidecar_path(path).write_text(json.dumps(sidecar))
    back = read_nuclear(path)
    assert back.injection is not None and back.injection.before == pytest.approx(18.5e6)
    assert back.isotope == ISOTOPES["Tc-99m"] and back.starts is not None and back.said == ()


@pytest.mark.parametrize(
    ("value", "meaning", "name"),
    [
        ("C-163A8", "Technetium Tc 99m", "Tc-99m"),
        ("99XX", "99mTc pertechnetate", "Tc-99m"),
        ("77004003", "nuclide", "F-18"),
        ("C-111A1", "", "F-18"),
        ("C-111A1", "^99m^Technetium", None),
        ("99XX", "our usual one", None),
        ("99XX", "^133^Xenon", None),
    ],
)
def test_an_isotope_is_read_by_code_and_by_name(tmp_path: Path, value: str, meaning: str, name: str | None) -> None:
    wide: dict[str, Any] = {"EnergyWindowLowerLimit": 100.0, "EnergyWindowUpperLimit": 650.0}
    path = nm(tmp_path / "a.dcm", CodeValue=value, CodeMeaning=meaning, **wide)
    back = read_nuclear(path)
    assert back.isotope == (ISOTOPES[name] if name else None)
    assert len(back.said) == (name is None) and all("in a sidecar" in line for line in back.said)
    sidecar_path(path).write_text(json.dumps({"isotope": "I-123"}))
    assert read_nuclear(path).isotope == ISOTOPES["I-123"] and read_nuclear(path).said == ()


def test_an_isotope_that_is_not_in_the_table_takes_its_half_life_from_the_header(tmp_path: Path) -> None:
    path = nm(tmp_path / "a.dcm", CodeValue="C-172A8", CodeMeaning="^133^Xenon", RadionuclideHalfLife=453000.0)
    isotope = read_nuclear(path).isotope
    assert isotope is not None and (isotope.name, isotope.half_life) == ("Xe-133", 453000.0)


def test_a_folder_of_objects_gives_the_window_and_detector_that_are_asked_for(tmp_path: Path) -> None:
    folder = tmp_path / "study"
    folder.mkdir()
    for number in range(12):
        window = 1 + number % 2
        path = nm(
            folder / f"f{number}.dcm",
            1,
            EnergyWindowVector=window,
            PhaseVector=None,
            ActualFrameDuration=30000,
            AcquisitionTime=f"1010{number // 2 * 5:02d}",
        )
        made = pydicom.dcmread(path)
        made.PixelData = np.full((6, 8), number, np.uint16).tobytes()
        made.ActualFrameDuration = 5000
        made.save_as(path)
    back = read_nuclear(folder, energy_window=2)
    assert back.frames[:, 0, 0].tolist() == [1, 3, 5, 7, 9, 11]
    assert back.starts is not None and back.starts.tolist() == [600, 605, 610, 615, 620, 625]
    assert back.said == ("study: energy window 2 was taken; there are 1 and 2",)
    with pytest.raises(UserError, match="no energy window 3; it has 1, 2"):
        read_nuclear(folder, energy_window=3)
    with pytest.raises(UserError, match="no detector 2; it has 1"):
        read_nuclear(folder, detector=2)


def test_an_injection_while_a_folder_of_frames_was_counted_is_one_moment(tmp_path: Path) -> None:
    folder = tmp_path / "study"
    folder.mkdir()
    for number in range(3):
        more: dict[str, Any] = {
            "PhaseVector": None,
            "ActualFrameDuration": 60000,
            "AcquisitionTime": f"10{10 + number}00",
        }
        nm(folder / f"{number}.dcm", 1, RadiopharmaceuticalStartTime="101130", **more)
    back = read_nuclear(folder)
    assert back.starts is not None and back.starts.tolist() == [-90, -30, 30]
    assert len(back.said) == 1 and "while it was running" in back.said[0]


def test_an_injection_on_the_day_before_is_not_in_the_future(tmp_path: Path) -> None:
    path = nm(tmp_path / "a.dcm", RadiopharmaceuticalStartTime="100000", AcquisitionTime="080000")
    assert starts_of(path)[0] == 22 * 3600
    assert (
        "injected at 10:00:00 without a day, the acquisition began at 08:00:00: taken as the day before"
        in (read_nuclear(path).said[0])
    )
    # The frames end at 10:12:27.5: 2 × 10 s, 5 s, 2 × 61 s after 10:10:00.5.
    last = nm(tmp_path / "last.dcm", RadiopharmaceuticalStartTime="101225")
    assert starts_of(last)[0] == pytest.approx(-144.5) and "while it was running" in read_nuclear(last).said[0]
    later = nm(tmp_path / "later.dcm", RadiopharmaceuticalStartTime="101228")
    assert starts_of(later)[0] == pytest.approx(86400 - 147.5) and "day before" in read_nuclear(later).said[0]


def test_a_stated_injection_after_the_end_is_not_used(tmp_path: Path) -> None:
    path = nm(tmp_path / "a.dcm", RadiopharmaceuticalStartDateTime="20240302100000")
    back = read_nuclear(path)
    assert back.starts is None and "2024-03-02 10:00:00, after the acquisition had ended" in back.said[0]
    long_ago = nm(tmp_path / "b.dcm", RadiopharmaceuticalStartDateTime="20240228101000.5")
    assert starts_of(long_ago)[0] == 2 * 86400


@pytest.mark.parametrize(
    ("more", "hours"),
    [
        ({"AcquisitionDateTime": "20240301101000+0100", "RadiopharmaceuticalStartDateTime": "20240301081000+0000"}, 1),
        # The file's own zone is that of times that state none.
        ({"TimezoneOffsetFromUTC": "-0500", "RadiopharmaceuticalStartDateTime": "20240301141000.5+0000"}, 1),
        ({"TimezoneOffsetFromUTC": "+0100", "AcquisitionDateTime": "20240301101000+0000",
          "RadiopharmaceuticalStartTime": "091000"}, 2),
        # Across midnight between the zones: 00:30 at +0100 is 23:30 of the day before at UTC.
        ({"TimezoneOffsetFromUTC": "+0000", "AcquisitionDateTime": "20240301003000+0100",
          "RadiopharmaceuticalStartTime": "223000"}, 1),
        # Only one states a zone: both are taken as the same clock.
        ({"AcquisitionDateTime": "20240301101000+0100", "RadiopharmaceuticalStartDateTime": "20240301081000"}, 2),
    ],
)  # fmt: skip
def test_zones_are_applied_where_both_moments_have_one(tmp_path: Path, more: dict[str, Any], hours: int) -> None:
    assert starts_of(nm(tmp_path / "a.dcm", **more))[0] == hours * 3600


def test_a_number_of_frames_that_counts_windows_too_does_not_push_later_phases(tmp_path: Path) -> None:
    path = nm(
        tmp_path / "a.dcm",
        8,
        PhaseVector=[1, 1, 2, 2] * 2,
        TimeSliceVector=[1, 2, 1, 2] * 2,
        EnergyWindowVector=[1] * 4 + [2] * 4,
    )
    made = pydicom.dcmread(path)
    for phase in made.PhaseInformationSequence:
        phase.NumberOfFramesInPhase = 4
    made.save_as(path)
    for window in (1, 2):
        back = read_nuclear(path, energy_window=window)
        assert back.starts is not None and back.starts == pytest.approx([600.5, 610.5, 625.5, 686.5])
    assert np.array_equal(back.frames, counts(8)[4:])


@pytest.mark.parametrize("vectors", [{"PhaseVector": [0, 1, 2, 2]}, {"PhaseVector": [1, 1, 2, 3]},
                                     {"TimeSliceVector": [0, 1, 1, 2]}])  # fmt: skip
def test_a_phase_that_does_not_exist_is_refused(tmp_path: Path, vectors: dict[str, Any]) -> None:
    with pytest.raises(UserError, match="describes the phases 1 to 2; correct PhaseVector"):
        read_nuclear(nm(tmp_path / "a.dcm", **vectors))


def frames_in_a_folder(folder: Path, *each: dict[str, Any]) -> Path:
    """Write an object of one frame for each set of attributes; return the folder."""
    folder.mkdir()
    phases = {"PhaseVector": None, "PhaseInformationSequence": None, "TimeSliceVector": None}
    for number, more in enumerate(each):
        moment = {"AcquisitionTime": f"1010{10 * number:02d}"}
        nm(folder / f"{number}.dcm", frames=1, **(phases | moment | more))
    return folder


def test_frames_of_different_acquisitions_are_told_apart(tmp_path: Path) -> None:
    iodine = {"CodeValue": "C-114A4", "CodeMeaning": "^123^Iodine"}
    two = frames_in_a_folder(tmp_path / "isotopes", {}, iodine)
    with pytest.raises(UserError, match=r"0\.dcm says Tc-99m and 1\.dcm I-123; .* say isotope in a sidecar"):
        read_nuclear(two)
    sidecar_path(two).write_text(json.dumps({"isotope": "Tc-99m"}))
    assert read_nuclear(two).isotope == ISOTOPES["Tc-99m"]
    doses = frames_in_a_folder(tmp_path / "doses", {}, {"RadionuclideTotalDose": 37.0})
    with pytest.raises(UserError, match=r"says 18\.5 MBq and 1\.dcm 37 MBq; .* say injected in a sidecar"):
        read_nuclear(doses)


def test_a_frame_that_says_less_takes_what_the_others_say(tmp_path: Path) -> None:
    bare = {"RadiopharmaceuticalInformationSequence": None}
    read = read_nuclear(frames_in_a_folder(tmp_path / "gap", bare, {}, {}))
    assert read.isotope == ISOTOPES["Tc-99m"] and read.injection is not None and read.agent == "MDP"
    assert any("2 of 3 files say Tc-99m; it is taken for all" in line for line in read.said)
    alike = read_nuclear(frames_in_a_folder(tmp_path / "alike", {"PatientID": "m1"}, {"PatientID": "m1"}))
    assert not any("taken for all" in line or "more than one" in line for line in alike.said)


def test_frames_of_two_patients_are_said(tmp_path: Path) -> None:
    read = read_nuclear(frames_in_a_folder(tmp_path / "both", {"PatientID": "m1"}, {"PatientID": "m2"}))
    assert any("more than one patient: 'm1' (0.dcm), 'm2' (1.dcm)" in line for line in read.said)


def test_lossy_compression_and_a_sum_that_differs_are_said(tmp_path: Path) -> None:
    total = int(counts(4).sum())
    assert not [
        line for line in read_nuclear(nm(tmp_path / "a.dcm", CountsAccumulated=total)).said if "Poisson" in line
    ]
    said = read_nuclear(nm(tmp_path / "b.dcm", LossyImageCompression="01", CountsAccumulated=int(total * 1.02))).said
    assert any(line.startswith("b.dcm: lossy compressed") and "Poisson errors do not hold" in line for line in said)
    assert any(f"add up to {total:.6g}, but the header counts" in line for line in said)
