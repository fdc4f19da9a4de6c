"""Which energy window and detector are counted where an object has several, and what is refused where it has none."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from tests.images.nuclear.acquisitions import counts, nm, nm_of_windows, pet, series

from transmodal.errors import UserError
from transmodal.images import Image, write
from transmodal.images.nuclear.reading import read_nuclear, write_stack
from transmodal.images.nuclear.sidecar import sidecar_path

_SCATTER, _PEAK = ((90.0, 120.0),), ((126.0, 154.0),)
_IODINE = ((143.0, 175.0),)
_WITHOUT: dict[str, Any] = {"RadiopharmaceuticalInformationSequence": None}


def test_the_window_with_the_photons_is_counted_not_the_scatter_before_it(tmp_path: Path) -> None:
    path = nm_of_windows(tmp_path / "two.dcm", _SCATTER, _PEAK)
    back = read_nuclear(path)
    assert np.array_equal(back.frames, counts(4)[[1, 3]]) and back.energy_window == (126.0, 154.0)
    assert back.said == ("two.dcm: energy window 2 (126 to 154 keV) was taken; there are 1 and 2",)
    first = read_nuclear(path, energy_window=1)
    assert np.array_equal(first.frames, counts(4)[[0, 2]]) and first.energy_window == (90.0, 120.0)
    assert "energy window 1 (90 to 120 keV) was taken; there are 1 and 2" in first.said[0]
    assert "leaves out the photons of Tc-99m" in first.said[1]


@pytest.mark.parametrize(
    ("windows", "taken"),
    [
        ((_PEAK, _SCATTER), 1),
        ((_SCATTER, _IODINE, ((127.0, 140.0),)), 3),  # 141 keV lies within the slack of 1 keV
        ((_SCATTER, _PEAK, ((130.0, 151.0),)), 2),  # two hold the photons: the first of those, no scatter
        ((_SCATTER, ((160.0, 180.0),)), 1),
        ((_SCATTER, ((100.0, 120.0), (126.0, 154.0))), 2),
        ((((100.0, 120.0), (126.0, 154.0)), _PEAK), 1),
        ((((154.0, 126.0),), _PEAK), 2),  # no window
    ],
)
def test_the_first_window_with_the_photons_is_taken_unasked(
    windows: tuple[tuple[tuple[float, float], ...], ...], taken: int, tmp_path: Path
) -> None:
    back = read_nuclear(nm_of_windows(tmp_path / "a.dcm", *windows))
    assert np.array_equal(back.frames, counts(4)[taken - 1 :: len(windows)])
    words = ", ".join(f"{low:g} to {high:g}" for low, high in windows[taken - 1])
    there = "1, 2 and 3" if len(windows) == 3 else "1 and 2"
    assert f"energy window {taken} ({words} keV) was taken; there are {there}" in back.said[0]


@pytest.mark.parametrize(
    ("isotope", "peaks"),
    [
        ("In-111", (((154.0, 188.0),), ((221.0, 270.0),))),
        ("Ga-67", (((166.0, 204.0),), ((270.0, 330.0),))),
        ("Lu-177", (((102.0, 124.0),), ((187.0, 229.0),))),
    ],
)
def test_of_several_photopeaks_the_first_is_counted_not_the_scatter_before_them(
    isotope: str, peaks: tuple[tuple[tuple[float, float], ...], ...], tmp_path: Path
) -> None:
    path = nm_of_windows(tmp_path / "a.dcm", ((130.0, 150.0),), *peaks)
    sidecar_path(path).write_text(json.dumps({"isotope": isotope}))
    back = read_nuclear(path)
    assert np.array_equal(back.frames, counts(4)[1::3]) and back.energy_window == peaks[0][0]
    assert not back.doubts


_LEFT_OUT = (
    "a.dcm: the energy window of 84 to 102, 166 to 204 keV leaves out the photons of Tc-99m (141 keV): is it one for "
    "scatter, or of another isotope? --energy-window chooses between several"
)


def test_a_window_of_several_ranges_without_the_photons_is_doubted(tmp_path: Path) -> None:
    ranges = ((84.0, 102.0), (166.0, 204.0))
    path = nm_of_windows(tmp_path / "a.dcm", ranges)
    back = read_nuclear(path)
    assert back.energy_window is None and back.doubts == (_LEFT_OUT,)
    together = "a.dcm: energy window 1 counts several ranges together: 84 to 102, 166 to 204 keV"
    assert back.said == (together, _LEFT_OUT)
    sidecar_path(path).write_text(json.dumps({"isotope": "I-131"}))
    assert "the photons of I-131 (284 or 364 or 637 keV)" in read_nuclear(path).doubts[0]
    sidecar_path(path).write_text(json.dumps({"isotope": "Ga-67"}))
    assert not read_nuclear(path).doubts and read_nuclear(path).said == (together,)


def test_several_ranges_are_not_doubted_where_one_holds_the_photons_or_no_isotope_is_known(tmp_path: Path) -> None:
    assert not read_nuclear(nm_of_windows(tmp_path / "a.dcm", (*_SCATTER, *_PEAK))).doubts
    assert not read_nuclear(nm_of_windows(tmp_path / "b.dcm", (*_SCATTER, (166.0, 204.0)), **_WITHOUT)).doubts
    single = read_nuclear(nm_of_windows(tmp_path / "c.dcm", _SCATTER))
    assert len(single.doubts) == 1 and single.said == single.doubts  # said once


def test_the_isotope_of_the_sidecar_goes_before_that_of_the_header(tmp_path: Path) -> None:
    path = nm_of_windows(tmp_path / "a.dcm", _SCATTER, _PEAK, _IODINE)
    assert read_nuclear(path).energy_window == _PEAK[0]
    sidecar_path(path).write_text(json.dumps({"isotope": "I-123"}))
    assert read_nuclear(path).energy_window == _IODINE[0]
    bare = nm_of_windows(tmp_path / "bare.dcm", _SCATTER, _PEAK, **_WITHOUT)
    assert read_nuclear(bare).energy_window == _SCATTER[0]
    sidecar_path(bare).write_text(json.dumps({"isotope": "Tc-99m"}))
    assert read_nuclear(bare).energy_window == _PEAK[0]


def test_a_folder_of_objects_is_counted_in_the_window_with_the_photons(tmp_path: Path) -> None:
    folder = tmp_path / "study"
    folder.mkdir()
    for number in range(6):
        path = folder / f"{number}.dcm"
        of_all = pydicom.dcmread(nm_of_windows(tmp_path / "all.dcm", _SCATTER, _PEAK))
        more = {"EnergyWindowVector": 1 + number % 2, "AcquisitionTime": f"10{10 + number // 2}00"}
        made = pydicom.dcmread(nm(path, 1, PhaseVector=None, ActualFrameDuration=30000, **more))
        made.EnergyWindowInformationSequence = of_all.EnergyWindowInformationSequence
        made.PixelData = np.full((6, 8), number, np.uint16).tobytes()
        made.save_as(path)
    back = read_nuclear(folder)
    assert back.frames[:, 0, 0].tolist() == [1, 3, 5] and back.energy_window == _PEAK[0]
    assert back.starts is not None and back.starts.tolist() == [600, 660, 720]


def test_detectors_are_said_alike_and_the_window_is_one_of_the_detector_that_is_named(tmp_path: Path) -> None:
    path = nm_of_windows(tmp_path / "a.dcm", _SCATTER, DetectorVector=[1, 1, 2, 2])
    assert read_nuclear(path).said[0] == "a.dcm: detector 1 was taken; there are 1 and 2"
    assert np.array_equal(read_nuclear(path, detector=2).frames, counts(4)[2:])
    each = nm_of_windows(tmp_path / "each.dcm", _SCATTER, _PEAK, DetectorVector=[1, 2, 1, 2])
    assert read_nuclear(each).said[0].startswith("each.dcm: energy window 2 (126")
    assert read_nuclear(each).said[1] == "each.dcm: detector 2 was taken; there are 1 and 2"
    assert read_nuclear(each, detector=1).energy_window == _SCATTER[0]
    with pytest.raises(UserError, match="no frame of energy window 2 and detector 1; choose others"):
        read_nuclear(each, energy_window=2, detector=1)


@pytest.mark.parametrize("kind", ["tif", "png", "folder", "pet", "nm"])
@pytest.mark.parametrize(("key", "words"), [("energy_window", "energy window"), ("detector", "detector")])
def test_a_number_is_refused_where_there_are_none(kind: str, key: str, words: str, tmp_path: Path) -> None:
    path = tmp_path / f"a.{kind}"
    without: dict[str, Any] = {"EnergyWindowVector": None, "DetectorVector": None}
    if kind == "tif":
        write_stack(series(), path)
    elif kind == "nm":
        nm(path, **without)
    elif kind == "pet":
        pet(path, **without)
    else:
        write(Image(counts(1)[0]), path / "1.png" if kind == "folder" else path)
    option = f"--{words.replace(' ', '-')}"
    with pytest.raises(UserError, match=rf"a\.{kind} has no {words} 2; leave {option} out"):
        read_nuclear(path, **{key: 2})
    known = read_nuclear(path)
    assert np.array_equal(read_nuclear(path, **{key: 1}).frames, known.frames)
