"""What sidecars of nuclear images say, and what of it cannot be."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from tests.images.nuclear.acquisitions import nm, series

from transmodal.errors import UserError
from transmodal.images import Image, write
from transmodal.images.image import picture_affine
from transmodal.images.nuclear import NuclearSeries
from transmodal.images.nuclear.isotopes import ISOTOPES
from transmodal.images.nuclear.reading import read_nuclear, write_stack
from transmodal.images.nuclear.sidecar import sidecar_path


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ({"isotop": "Tc-99m"}, "unknown key 'isotop'; known are isotope"),
        ({"isotop": "Tc-99m", "dose": 2}, "unknown key 'isotop', 'dose'; known are isotope"),
        ({"isotope": "Tc-99m", "half_life_s": 6.0067}, "looks like hours"),
        ({"half_life_s": 21624}, "no isotope"),
        ({"frames": {"start_s": [0, 1]}}, "has 3 frames, but frames.start_s of mouse.nuclear.json 2"),
        ({"frames": {"duration_s": [0, 60, 60]}}, "above 0"),
        ({"frames": {"start_s": [0, 6e7, 12e7]}}, "not milliseconds"),
        ({"frames": {"start_s": "0"}}, "one number a frame"),
        ({"frames": [0, 1, 2]}, "no JSON object"),
        ({"injected": {"before_MBq": 2e7}}, "write MBq, not Bq"),
        ({"injected": {"before_MBq": 20000}}, "mice get 0.1 to 100"),
        ({"injected": {"before_MBq": 2e-4}}, "write MBq"),
        ({"injected": {"after_MBq": 1}}, "no before_MBq"),
        ({"injected": {"before_MBq": "20"}}, "write a number"),
        ({"sensitivity_cps_per_MBq": -1}, "above 0"),
        ({"sensitivity_cps_per_MBq": 2.1e-4}, "times 1e6 it is 210"),
        ({"sensitivity_cps_per_MBq": 2.1e8}, "more than one count for each decay"),
        ({"energy_window_keV": [126]}, "two numbers"),
        ({"energy_window_keV": [154, 126]}, "energy_window_keV is [154, 126]; write the lower limit, then the upper"),
        ({"energy_window_keV": [140, 140]}, "the lower limit"),
        ({"sensitivity_cps_per_MBq": 10**400}, "mouse.nuclear.json: sensitivity_cps_per_MBq is 1000"),
        ({"frames": {"start_s": [0, 60, -(10**400)]}}, "mouse.nuclear.json: frames.start_s is -1000"),
        ({"pixel_mm": [1.5, float("inf")]}, "pixel_mm is inf; write a number"),
        ({"pixel_mm": [10**400]}, "pixel_mm is [1000"),
        ({"injected": {"before_MBq": 20, "before_at_s": 10**400}}, "injected.before_at_s is 1000"),
        ({"injected": {"before_MBq": 20, "before_at_s": -6e8}}, "before_at_s is -6e+08 s, more than two months"),
        ({"injected": {"before_MBq": 20, "after_at_s": 6e8}}, "after_at_s is 6e+08 s, more than two months"),
        ({"injected": {"before_MBq": 20, "after_MBq": 2e5}}, "after_MBq is 200000 MBq; write MBq"),
        (
            {"isotope": "F-18", "injected": {"before_MBq": 20, "before_at_s": -6e5}},
            "mouse.nuclear.json: injected.before_at_s is -600000 s, 91.1 half-lives of F-18 from the injection",
        ),
        (
            {"isotope": "F-18", "injected": {"before_MBq": 20, "before_at_s": 6e5}},
            "before_at_s is 600000 s, 91.1 half-lives",
        ),
        (
            {"isotope": "F-18", "injected": {"before_MBq": 20, "after_MBq": 1, "after_at_s": 7e4}},
            "after_at_s is 70000 s, 10.6 half-lives",
        ),
        (
            {"isotope": "F-18", "injected": {"before_MBq": 0.01, "before_at_s": -6e4}},
            "mouse.nuclear.json: injected gives 1.81e-05 MBq at the time of the injection",
        ),
        (
            {"isotope": "F-18", "injected": {"before_MBq": 1000, "before_at_s": 6e4}},
            "injected gives 5.53e+05 MBq at the time of the injection",
        ),
        (
            {"isotope": "F-18", "injected": {"before_MBq": 1, "after_MBq": 20}},
            "mouse.nuclear.json: the syringe held 1e+06 Bq before and 2e+07 Bq after",
        ),
        ({"pixel_mm": [1.5, 1.5]}, "pixels of 1.5×2 mm, its sidecar says 1.5×1.5"),
    ],
)
def test_a_wrong_sidecar_is_refused_in_one_line(tmp_path: Path, said: Any, message: str) -> None:
    path = write_stack(series(), tmp_path / "mouse.tif")
    sidecar_path(path).write_text(json.dumps(said))
    with pytest.raises(UserError) as refused:
        read_nuclear(path)
    assert message in str(refused.value) and "\n" not in str(refused.value)


def test_a_sidecar_that_is_no_json_is_refused(tmp_path: Path) -> None:
    path = write_stack(series(), tmp_path / "mouse.tif")
    for text in ("{", "[" * 100000, "\ud800".encode("utf-8", "surrogatepass")):
        sidecar_path(path).write_bytes(text if isinstance(text, bytes) else text.encode())
        with pytest.raises(UserError, match="Cannot read the sidecar"):
            read_nuclear(path)


@pytest.mark.parametrize(
    ("injected", "expected"),
    [
        ({"before_MBq": 20, "before_at_s": 600}, "write before_at_s -600"),
        ({"before_MBq": 20, "after_MBq": 0.1, "after_at_s": -60}, "write after_at_s 60"),
        ({"before_MBq": 2010}, "2010 MBq are much for a field of"),
        ({"before_MBq": 20, "before_at_s": -600, "after_MBq": 0.1, "after_at_s": 60}, ""),
    ],
)
def test_an_unlikely_syringe_is_said(injected: dict[str, float], expected: str, tmp_path: Path) -> None:
    path = tmp_path / "bone.tif"
    write_stack(NuclearSeries(np.ones((2, 8, 8), np.uint16), picture_affine((2.0, 2.0))), path)
    sidecar_path(path).write_text(json.dumps({"injected": injected, "pixel_mm": [2.0, 2.0]}))
    said = read_nuclear(path).said
    assert any(expected in line for line in said) if expected else not said


def test_more_than_the_file_can_hold_does_not_switch_saturation_off(tmp_path: Path) -> None:
    full = np.full((2, 5, 7), 9, np.uint8)
    full[:, 2, 3:] = 255
    path = write_stack(replace(series(2), frames=full), tmp_path / "bone.tif")
    read = read_nuclear(path)
    assert read.saturation == 255 and any("8 bits and holds at most 255; 255 was taken" in line for line in read.said)
    assert any("pixels stand at 255" in line and "8 in 2 of 2 frames" in line for line in read.said)


@pytest.mark.parametrize(
    ("agent", "named"), [("18F-FDG", "F-18"), ("99mTc-MDP", ""), ("MDP", ""), ("", ""), ("J591 antibody", "")]
)
def test_an_agent_of_another_isotope_is_said(agent: str, named: str, tmp_path: Path) -> None:
    said = read_nuclear(write_stack(series(2, agent=agent), tmp_path / "bone.tif")).said
    expected = f"the isotope is Tc-99m, but the agent {agent!r} names {named}"
    assert [expected in line for line in said] == ([True] if named else [])


@pytest.mark.parametrize(
    ("isotope", "window", "expected"),
    [
        ("Tc-99m", (126.0, 154.0), ""),
        ("Tc-99m", (100.0, 126.0), "126 keV leaves out the photons of Tc-99m (141 keV): is it one for scatter"),
        ("Tc-99m", (0.126, 0.154), "0.154 keV lies below all that is imaged; are these MeV?"),
        ("Tc-99m", (154.0, 126.0), "window of 154 to 126 keV is none"),
        ("Tc-99m", (0.0, 154.0), ""),
        ("Tc-99m", (0.0, 0.0), ""),  # as consoles leave it that fill nothing in
        ("In-111", (221.0, 270.0), ""),
        ("In-111", (154.0, 188.0), ""),
        ("In-111", (126.0, 154.0), "In-111 (23 or 26 or 171 or 245 keV)"),
        ("I-123", (143.0, 175.0), ""),
        ("I-125", (20.0, 45.0), ""),
        ("I-131", (328.0, 400.0), ""),
        ("Ga-67", (84.0, 102.0), ""),
        ("Ga-67", (270.0, 330.0), ""),
        ("Tl-201", (63.0, 77.0), ""),
        ("Tl-201", (150.0, 184.0), ""),
        ("Lu-177", (187.0, 229.0), ""),
        ("Lu-177", (102.0, 124.0), ""),
        ("F-18", (350.0, 650.0), ""),
        ("Zr-89", (460.0, 562.0), ""),
        ("Zr-89", (860.0, 960.0), ""),
        ("I-124", (540.0, 640.0), ""),
        *((isotope, (700.0, 800.0), f"photons of {isotope}") for isotope in ISOTOPES),
    ],
)
def test_an_energy_window_without_the_photons_of_the_isotope_is_said(
    isotope: str, window: tuple[float, float], expected: str, tmp_path: Path
) -> None:
    path = nm(tmp_path / "bone.dcm", EnergyWindowLowerLimit=window[0], EnergyWindowUpperLimit=window[1])
    sidecar_path(path).write_text(json.dumps({"isotope": isotope}))
    read = read_nuclear(path)
    said = [line for line in read.said if "energy window" in line]
    assert len(said) == bool(expected) and all(expected in line and line in read.doubts for line in said)
    again = read_nuclear(write_stack(read, tmp_path / "again.tif"))  # what can be read can be written and read
    assert again.energy_window == (None if "is none" in expected else read.energy_window)


def test_a_window_of_several_ranges_is_said_and_not_taken_for_one(tmp_path: Path) -> None:
    path = nm(tmp_path / "bone.dcm")
    header = pydicom.dcmread(path)
    ranges = []
    for low, high in ((84.0, 102.0), (166.0, 204.0)):
        limits = pydicom.Dataset()
        limits.EnergyWindowLowerLimit, limits.EnergyWindowUpperLimit = low, high
        ranges.append(limits)
    header.EnergyWindowInformationSequence[0].EnergyWindowRangeSequence = ranges
    header.save_as(path)
    read = read_nuclear(path)
    assert read.energy_window is None
    assert read.said[0] == "bone.dcm: energy window 1 counts several ranges together: 84 to 102, 166 to 204 keV"
    assert len(read.doubts) == 1 and read.said[1:] == read.doubts


def test_a_sidecar_inside_a_folder_of_frames_is_shown_its_place(tmp_path: Path) -> None:
    folder = tmp_path / "bone"
    folder.mkdir()
    write(Image(series(1).frames[0]), folder / "1.png")
    inside = folder / "bone.nuclear.json"
    inside.write_text('{"isotope": "Tc-99m"}')
    with pytest.raises(UserError, match=r"bone\.nuclear\.json lies in the folder .* move it beside the folder"):
        read_nuclear(folder)
    inside.rename(tmp_path / "bone.nuclear.json")
    assert read_nuclear(folder).require_isotope().name == "Tc-99m"


def test_a_syringe_is_checked_by_the_isotope_of_the_header(tmp_path: Path) -> None:
    path = nm(tmp_path / "bone.dcm")
    sidecar_path(path).write_text(json.dumps({"injected": {"before_MBq": 20, "before_at_s": -3e5}}))
    with pytest.raises(UserError, match=r"bone\.nuclear\.json: .* -300000 s, 13\.9 half-lives of Tc-99m"):
        read_nuclear(path)
