"""Nuclear frames from DICOM NM, TIFF stacks and folders, with what their headers and sidecars say."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as some
from tests.images.nuclear.acquisitions import SHAPE, counts, nm, series

from transmodal.errors import UserError
from transmodal.images import Image, write
from transmodal.images.image import Source, picture_affine
from transmodal.images.note import NOTICE
from transmodal.images.nuclear import NuclearSeries, reading
from transmodal.images.nuclear.isotopes import ISOTOPES
from transmodal.images.nuclear.reading import read_nuclear, write_stack
from transmodal.images.nuclear.sidecar import sidecar_path


def test_a_stack_comes_back_with_all_that_is_known(tmp_path: Path) -> None:
    made = series()
    path = write_stack(made, tmp_path / "mouse.tif")
    back = read_nuclear(path)
    assert np.array_equal(back.frames, made.frames) and back.frames.dtype == np.uint16
    assert np.allclose(back.affine, made.affine) and back.spacing == (1.5, 2.0)
    for times in ("starts", "durations"):
        assert np.array_equal(getattr(back, times), getattr(made, times))
    for name in ("isotope", "injection", "sensitivity", "agent", "energy_window", "saturation"):
        assert getattr(back, name) == getattr(made, name)
    assert back.said == () and NOTICE not in back.source.derivation


def test_one_frame_is_a_stack_too(tmp_path: Path) -> None:
    back = read_nuclear(write_stack(series(1), tmp_path / "static.tif"))
    assert back.frames.shape == (1, *SHAPE) and back.summed().quantity == "counts"
    assert np.array_equal(back.frame(0).pixels, back.frames[0])


def test_simulated_counts_say_that_they_are(tmp_path: Path) -> None:
    made = series(source=Source(derivation=f"{NOTICE} simulated"))
    path = write_stack(made, tmp_path / "mouse.tif")
    assert NOTICE in read_nuclear(path).source.derivation
    assert json.loads(sidecar_path(path).read_text())["synthetic"] is True


def test_pictures_of_one_frame_each_are_read_in_the_order_of_their_names(tmp_path: Path) -> None:
    frames = counts(3)
    folder = tmp_path / "mouse 1"
    for number in (2, 0, 1):
        write(Image(frames[number]), folder / f"frame{number}.png")
    sidecar_path(folder).write_text(json.dumps({"isotope": "18F", "pixel_mm": [1.0, 1.0]}))
    back = read_nuclear(folder)
    assert np.array_equal(back.frames, frames) and back.frames.dtype == np.uint16
    assert back.isotope == ISOTOPES["F-18"] and back.has_physical_size and back.spacing == (1.0, 1.0)
    write(Image(frames[0][:4]), folder / "frame9.png")
    with pytest.raises(UserError, match="same size"):
        read_nuclear(folder)


def test_pictures_of_other_pixel_sizes_are_no_frames_of_one_field(tmp_path: Path) -> None:
    for number, size in enumerate((1.0, 1.0, 2.0)):
        write(Image(counts(1)[0], picture_affine((size, size))), tmp_path / "mouse" / f"frame{number}.tif")
    with pytest.raises(UserError, match=r"frame2.tif has pixels of 2×2 mm, but .*frame0.tif of 1×1 mm"):
        read_nuclear(tmp_path / "mouse")


def test_an_nm_object_says_when_each_frame_was_counted(tmp_path: Path) -> None:
    back = read_nuclear(nm(tmp_path / "dynamic.dcm"))
    assert np.array_equal(back.frames, counts(4)) and back.frames.dtype == np.uint16
    assert back.starts is not None and back.durations is not None
    # Injected at 10:00:00, begun at 10:10:00.5; 2 × 10 s, then 5 s of delay, then 2 × 60 s with 1 s between.
    assert back.starts == pytest.approx([600.5, 610.5, 625.5, 686.5])
    assert back.durations == pytest.approx([10, 10, 60, 60])
    assert back.isotope == ISOTOPES["Tc-99m"] and back.agent == "MDP" and back.energy_window == (126.0, 154.0)
    assert back.injection is not None and back.injection.before == pytest.approx(18.5e6)
    assert back.spacing == (1.5, 2.0)


def test_an_injection_before_midnight_was_the_day_before(tmp_path: Path) -> None:
    late = nm(tmp_path / "late.dcm", RadiopharmaceuticalStartTime="233000", AcquisitionTime="003000")
    starts = read_nuclear(late).starts
    assert starts is not None and starts[0] == pytest.approx(3600)
    during = nm(tmp_path / "during.dcm", RadiopharmaceuticalStartTime="101030", AcquisitionTime="101000")
    starts = read_nuclear(during).starts
    assert starts is not None and starts[0] == pytest.approx(-30)  # injected into the running acquisition


def test_one_energy_window_of_several_is_taken_and_said(tmp_path: Path) -> None:
    path = nm(tmp_path / "two.dcm", EnergyWindowVector=[1, 1, 2, 2], PhaseVector=None, ActualFrameDuration=30000)
    first, second = read_nuclear(path), read_nuclear(path, energy_window=2)
    assert np.array_equal(first.frames, counts(4)[:2]) and np.array_equal(second.frames, counts(4)[2:])
    assert "energy window 1 (126 to 154 keV) was taken; there are 1 and 2" in first.said[0]
    assert first.durations is not None and first.durations.tolist() == [30, 30]
    with pytest.raises(UserError, match="no energy window 3; it has 1, 2"):
        read_nuclear(path, energy_window=3)


def test_an_object_without_isotope_and_time_is_read_and_refused_only_where_they_are_needed(tmp_path: Path) -> None:
    bare = nm(tmp_path / "bare.dcm", RadiopharmaceuticalInformationSequence=None)
    back = read_nuclear(bare)
    assert back.isotope is None and back.starts is None and back.durations is not None
    with pytest.raises(UserError, match=r"say the isotope.*such as Tc-99m"):
        back.require_isotope()
    with pytest.raises(UserError, match="when it was injected"):
        back.require_times()
    sidecar_path(bare).write_text(json.dumps({"isotope": "Tc-99m", "frames": {"start_s": [0, 10, 25, 86]}}))
    assert read_nuclear(bare).require_times()[0].tolist() == [0, 10, 25, 86]


def test_an_activity_in_becquerel_is_taken_for_the_mistake_it_is(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="looks like Bq"):
        read_nuclear(nm(tmp_path / "a.dcm", RadionuclideTotalDose=18.5e6))


def test_frames_out_of_order_are_sorted_and_said(tmp_path: Path) -> None:
    made = series(starts=np.array([120.0, 0.0, 60.0]))
    back = read_nuclear(write_stack(made, tmp_path / "mixed.tif"))
    assert back.starts is not None and back.starts.tolist() == [0, 60, 120]
    assert np.array_equal(back.frames, made.frames[[1, 2, 0]])
    assert "sorted" in back.said[0]


def test_frames_that_overlap_are_refused(tmp_path: Path) -> None:
    path = write_stack(series(durations=np.full(3, 90.0)), tmp_path / "overlap.tif")
    with pytest.raises(UserError, match="frame 2 begins at 60 s, before frame 1 has ended \\(90 s\\)"):
        read_nuclear(path)


@pytest.mark.parametrize(
    ("starts", "durations"),
    [
        ([0, 0.55, 1.1], [1, 1, 1]),
        ([0, 0.8, 1.8], [1, 1, 1]),
        ([0, 18.9, 38.9], [20, 20, 20]),
        ([0, 590, 1190], [600, 600, 600]),
        ([0, 598, 658], [600, 60, 600]),  # of the short frame beside the long one a thirtieth
        ([0, 0.5, 1.5], [1, 1, 600]),
    ],
)
def test_frames_that_overlap_by_more_than_rounding_are_refused(
    tmp_path: Path, starts: list[float], durations: list[float]
) -> None:
    made = series(starts=np.array(starts, float), durations=np.array(durations, float))
    with pytest.raises(UserError, match=r"frame 2 begins at .* before frame 1 has ended"):
        read_nuclear(write_stack(made, tmp_path / "overlap.tif"))


@pytest.mark.parametrize(
    ("starts", "durations"),
    [
        ([0, 60, 121], [60.9, 60.9, 60.9]),  # begins without fractions of a second
        ([0, 0.95, 1.95], [1, 1, 1]),
        ([0, 595, 1190], [600, 600, 600]),
        ([0, 0.1, 0.2], [0.1, 0.1, 0.1]),
    ],
)
def test_times_that_are_rounded_are_no_overlap(tmp_path: Path, starts: list[float], durations: list[float]) -> None:
    made = series(starts=np.array(starts, float), durations=np.array(durations, float))
    assert read_nuclear(write_stack(made, tmp_path / "rounded.tif")).said == ()


def test_negative_counts_are_kept_and_said(tmp_path: Path) -> None:
    made = series()
    frames = made.frames.astype(np.int16)
    frames[0, 0, 0] = -7
    back = read_nuclear(write_stack(made.with_frames(frames), tmp_path / "corrected.tif"))
    assert back.frames.min() == -7 and any("below zero; they are kept" in line for line in back.said)


def test_more_counts_than_can_be_held_ask_for_another_limit(tmp_path: Path) -> None:
    made = series(saturation=None)
    made.frames[1, 2, 3] = 4569
    path = write_stack(made, tmp_path / "full.tif")
    said = json.loads(sidecar_path(path).read_text())
    sidecar_path(path).write_text(json.dumps(said | {"saturation_counts": 1000}))
    (line,) = (line for line in read_nuclear(path).said if "pixels stand at 1000" in line)
    assert line.endswith("counts are missing there; yet there are up to 4569: mend saturation_counts")


def test_a_picture_of_8_bits_without_a_word_is_doubted_as_counts(tmp_path: Path) -> None:
    grey = np.full((6, 8), 100, np.uint8)
    write(Image(grey), tmp_path / "grey.png")
    assert any(
        "grey values of a picture or of a display are none" in line for line in read_nuclear(tmp_path / "grey.png").said
    )
    sidecar_path(tmp_path / "grey.png").write_text(json.dumps({"isotope": "Tc-99m"}))
    assert not read_nuclear(tmp_path / "grey.png").said


def test_full_pixels_are_said(tmp_path: Path) -> None:
    made = series(saturation=None)
    made.frames[1, 2, 3] = 65535
    path = write_stack(made, tmp_path / "full.tif")
    said = json.loads(sidecar_path(path).read_text())
    assert "saturation_counts" not in said
    assert "pixels stand at 65535, the most that can be held (1 in 1 of " in read_nuclear(path).said[0]
    assert read_nuclear(path).saturated().tolist() == [0, 1, 0]


def test_counts_that_are_not_whole_are_said(tmp_path: Path) -> None:
    made = series()
    back = read_nuclear(write_stack(made.with_frames(made.frames * np.float32(0.5)), tmp_path / "half.tif"))
    assert "no raw counts" in back.said[0]


def test_a_sensitivity_that_may_be_of_a_kilobecquerel_is_said(tmp_path: Path) -> None:
    back = read_nuclear(write_stack(series(sensitivity=0.21), tmp_path / "weak.tif"))
    assert back.sensitivity == 0.21 and "were it for each kBq, write 210" in back.said[0]
    assert read_nuclear(write_stack(series(sensitivity=5.0), tmp_path / "pinhole.tif")).said == ()


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_values_that_say_they_are_no_counts_are_refused(tmp_path: Path, suffix: str) -> None:
    write(Image(counts(1)[0], quantity="Bq/mL"), tmp_path / f"activity{suffix}")
    with pytest.raises(UserError, match="holds Bq/mL, no counts; export the counts"):
        read_nuclear(tmp_path / f"activity{suffix}")


def test_frame_2_of_a_folder_comes_before_frame_10(tmp_path: Path) -> None:
    frames = counts(12)
    folder = tmp_path / "many"
    for number in range(12):
        write(Image(frames[number]), folder / f"frame{number}.png")
    assert np.array_equal(read_nuclear(folder).frames, frames)


def test_pictures_in_colour_are_no_counts(tmp_path: Path) -> None:
    path = tmp_path / "display.png"
    write(Image(np.zeros((4, 4, 3), np.uint8), channels=("red", "green", "blue")), path)
    with pytest.raises(UserError, match="in colour"):
        read_nuclear(path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="holds no image"):
        read_nuclear(tmp_path / "empty")


@settings(max_examples=25, deadline=None)
@given(data=some.data())
def test_any_stack_comes_back(data: some.DataObject, tmp_path_factory: pytest.TempPathFactory) -> None:
    number = data.draw(some.integers(1, 5))
    shape = data.draw(some.tuples(some.integers(2, 9), some.integers(2, 9)))
    dtype = data.draw(some.sampled_from([np.uint16, np.uint32, np.int16, np.float32]))
    frames = np.random.default_rng(data.draw(some.integers(0, 99))).integers(0, 30000, (number, *shape)).astype(dtype)
    gaps = np.array(data.draw(some.lists(some.floats(0.1, 1e4), min_size=number, max_size=number)))
    spacing = data.draw(some.tuples(some.floats(0.05, 5), some.floats(0.05, 5)))
    made = NuclearSeries(frames, picture_affine(spacing), np.cumsum(gaps) - gaps, gaps)
    back = read_nuclear(write_stack(made, tmp_path_factory.mktemp("stack") / "any.tif"))
    assert np.array_equal(back.frames, frames) and back.frames.dtype == dtype
    assert back.starts is not None and made.starts is not None
    assert np.array_equal(back.starts, made.starts) and np.allclose(back.affine, made.affine, rtol=0, atol=0)


def test_a_real_whole_body_scan_is_read(real_data: Path) -> None:
    back = read_nuclear(real_data / "readers" / "pydicom_data" / "JPEG2000_UNC.dcm")
    assert back.frames.shape == (1, 1024, 256) and back.spacing == (2.26, 2.26)
    assert back.isotope == ISOTOPES["Tc-99m"]  # said by the console's private attribute alone
    assert back.durations is not None and back.durations[0] == pytest.approx(1210.434)
    # its compression has lost what it wrote
    assert all(any(words in line for line in back.said) for words in ("below zero", "lossy compressed"))


def test_a_folder_of_several_studies_is_refused_as_such(tmp_path: Path) -> None:
    for name in ("mouse001.tif", "mouse002.tif"):
        write_stack(series(3), tmp_path / name)
    with pytest.raises(UserError, match=r"holds stacks of many frames, such as mouse001\.tif; name one file"):
        read_nuclear(tmp_path)


def test_a_folder_holds_frames_of_one_type(tmp_path: Path) -> None:
    folder = tmp_path / "mixed"
    full = np.full(SHAPE, 255, np.uint8)
    write(Image(counts(1)[0]), folder / "1.png")
    write(Image(full), folder / "2.png")
    with pytest.raises(UserError, match=r"2\.png has uint8 pixels, but .*1\.png uint16; export all frames again"):
        read_nuclear(folder)
    write(Image(full), folder / "1.png")
    assert any("pixels stand at 255" in line for line in read_nuclear(folder).said)


def test_dicom_frames_of_one_stored_type_may_be_rescaled_to_several(tmp_path: Path) -> None:
    for number, slope in enumerate((1.0, 2.0, 0.5)):
        (tmp_path / "scaled").mkdir(exist_ok=True)
        more: dict[str, Any] = {"RescaleSlope": slope, "RescaleIntercept": 0.0, "AcquisitionTime": f"1010{number}0"}
        nm(tmp_path / "scaled" / f"{number}.dcm", 1, **more)
    assert np.array_equal(
        read_nuclear(tmp_path / "scaled").frames, counts(1) * np.array([1.0, 2.0, 0.5])[:, None, None]
    )


@pytest.mark.parametrize("sized", [1, 2])
def test_a_folder_of_which_some_frames_say_no_pixel_size_is_refused(tmp_path: Path, sized: int) -> None:
    folder, other = tmp_path / "mouse", 3 - sized
    write(Image(counts(1)[0], picture_affine((1.5, 2.0))), folder / f"{sized}.tif")
    write(Image(counts(1)[0], has_physical_size=False), folder / f"{other}.tif")
    with pytest.raises(UserError, match=rf"{other}\.tif says no pixel size, but .*{sized}\.tif 1\.5×2 mm; .* pixel_mm"):
        read_nuclear(folder)
    sidecar_path(folder).write_text(json.dumps({"pixel_mm": [1.5, 2.0]}))
    assert read_nuclear(folder).spacing == (1.5, 2.0)
    sidecar_path(folder).write_text(json.dumps({"pixel_mm": [1.0, 1.0]}))
    with pytest.raises(UserError, match=r"pixels of 1\.5×2 mm, its sidecar says 1×1"):
        read_nuclear(folder)


def test_a_folder_with_one_synthetic_frame_is_synthetic(tmp_path: Path) -> None:
    folder = tmp_path / "mouse"
    write(Image(counts(1)[0]), folder / "1.png")
    write(Image(counts(1)[0]), folder / "2.png", derivation=f"{NOTICE} simulated")
    assert NOTICE in read_nuclear(folder).source.derivation


class Killed(BaseException):
    """Ends the program at once."""


@pytest.mark.parametrize("last", ["write", "write_sidecar"])
def test_a_stack_that_is_broken_off_never_has_the_times_of_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, last: str
) -> None:
    derived = Source(derivation=f"{NOTICE} simulated")
    path = write_stack(series(source=derived), tmp_path / "mouse.tif")
    done = getattr(reading, last)

    def killed(*given: Any, **more: Any) -> None:
        if last == "write":
            done(*given, **more)
        raise Killed

    later = replace(series(starts=np.array([100.0, 200.0, 300.0]), source=derived), frames=counts(3, seed=1))
    with monkeypatch.context() as patched:
        patched.setattr(reading, last, killed)
        with pytest.raises(Killed):
            write_stack(later, path)
    back = read_nuclear(path)
    assert np.array_equal(back.frames, later.frames) and back.starts is None
    assert NOTICE in back.source.derivation and back.has_physical_size
    again = read_nuclear(write_stack(later, path))
    assert again.starts is not None and again.starts.tolist() == [100, 200, 300]


def test_a_stack_that_cannot_be_written_leaves_the_earlier_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_stack(series(), tmp_path / "mouse.tif")
    before = {file.name: file.read_bytes() for file in tmp_path.iterdir()}

    def full(*given: Any, **more: Any) -> None:
        raise UserError("no space left")

    monkeypatch.setattr(reading, "write", full)
    with pytest.raises(UserError, match="no space left"):
        write_stack(series(2), path)
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == before
    monkeypatch.undo()
    write_stack(series(2), path)
    assert sorted(file.name for file in tmp_path.iterdir()) == sorted(before)
