"""What is laid over the anatomy: closed forms of the blend, units, the frame, the written files."""

import json
import re
from dataclasses import replace
from pathlib import Path

import matplotlib
import numpy as np
import pydicom
import pytest
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian

from transmodal import images
from transmodal.datasets.fiducials import Fiducials
from transmodal.errors import UserError
from transmodal.fusion.activity import activity_of
from transmodal.fusion.estimates import span_text
from transmodal.fusion.framing import framed, round_length, titles_of
from transmodal.fusion.overlay import Overlay, OverlaySettings, blend, fuse
from transmodal.fusion.registration import register, register_by_points
from transmodal.fusion.writing import content_path, write_overlay
from transmodal.images import Image, Source, picture_affine
from transmodal.images.note import NOTICE
from transmodal.images.nuclear import NuclearSeries
from transmodal.images.nuclear.decay import to_injection
from transmodal.images.nuclear.reading import read_nuclear
from transmodal.images.synthetic import write_sidecar

MARK = f"{NOTICE} xray made by a test"


def overlay(anatomy: Image, study: NuclearSeries, **how: object) -> Overlay:
    return fuse(anatomy, study, register(anatomy, study), OverlaySettings(**how))  # type: ignore[arg-type]


def hot(share: float) -> np.ndarray:
    return np.array(matplotlib.colormaps["hot"](round(share * 255) / 255.0)[:3])


def test_the_blend_is_its_formula() -> None:
    anatomy = np.array([[0.0, 0.25, 0.5, 1.0, 0.8]])
    values = np.array([[9.9, 10.0, 50.0, 200.0, np.nan]])
    made = blend(anatomy, values, lower=10.0, upper=100.0, opacity=0.3, gamma=0.5)
    expected = [
        np.zeros(3),  # below the threshold: the anatomy
        0.7 * 0.25 + 0.3 * hot(0.1**0.5),
        0.7 * 0.5 + 0.3 * hot(0.5**0.5),
        0.7 * 1.0 + 0.3 * hot(1.0),  # above the scale: its top
        np.full(3, 0.8),  # not known: the anatomy
    ]
    np.testing.assert_array_equal(made[0], np.rint(np.array(expected) * 255).astype(np.uint8))


def test_without_opacity_the_anatomy_is_all_and_with_all_of_it_the_colours_are() -> None:
    values = np.linspace(0, 7, 12).reshape(3, 4)
    anatomy = np.linspace(0, 1, 12).reshape(3, 4)
    np.testing.assert_array_equal(
        blend(anatomy, values, lower=1, upper=7, opacity=0)[..., 0], np.rint(anatomy * 255).astype(np.uint8)
    )
    full = blend(anatomy, values, lower=0, upper=7, opacity=1)
    np.testing.assert_array_equal(full[2, 3], [255, 255, 255])
    np.testing.assert_array_equal(full[1, 2], np.rint(hot(values[1, 2] / 7) * 255))


def test_colour_stays_under_the_colours() -> None:
    anatomy = np.array([[[0.2, 0.4, 0.6]]])
    np.testing.assert_array_equal(blend(anatomy, np.array([[0.0]]), lower=1, upper=2)[0, 0], [51, 102, 153])


def test_a_window_turns_16_bits_into_greys(xray: Image, study: NuclearSeries) -> None:
    made = overlay(xray, study, window=(1000.0, 61000.0), upper=1e9)  # nothing is above the threshold
    expected = np.rint((xray.pixels.astype(float) - 1000) / 60000 * 255)
    np.testing.assert_allclose(made.pixels[..., 1], expected, atol=1)
    assert made.backdrop.window == (1000.0, 61000.0) and made.backdrop.window_from == "given"
    by_rank = overlay(xray, study, window_percentiles=(10.0, 90.0))
    assert by_rank.backdrop.window == pytest.approx(np.percentile(xray.pixels, (10, 90)))


def test_photographs_turn_grey_unless_their_colour_is_kept(study: NuclearSeries) -> None:
    pixels = np.zeros((40, 80, 3), np.uint8)
    pixels[:, 40:] = (200, 100, 50)
    photo = Image(pixels, picture_affine((0.5, 0.5)), ("red", "green", "blue"))
    grey = overlay(photo, study, upper=1e9, window=(0.0, 255.0)).pixels
    assert np.ptp(grey[0, 60]) == 0 and abs(int(grey[0, 60, 0]) - 118) <= 1  # Rec. 709
    np.testing.assert_array_equal(overlay(photo, study, upper=1e9, keep_colour=True).pixels[0, 60], [200, 100, 50])


def test_values_stay_those_of_a_nuclear_pixel(xray: Image, study: NuclearSeries) -> None:
    made = overlay(xray, study, frames=(0,))
    assert made.upper == 800 and made.lower == pytest.approx(120)
    assert np.nanmax(made.values) == pytest.approx(800, rel=0.25)  # no pixel of 0.5 mm lies on the middle
    assert made.values[0, 0] == pytest.approx(5)
    shown = np.any(made.pixels != overlay(xray, study, frames=(0,), upper=1e9).pixels, axis=2)
    np.testing.assert_array_equal(shown, made.values >= 120)


def test_nothing_is_shown_outside_the_nuclear_field(xray: Image, study: NuclearSeries) -> None:
    marks = np.array([[0.0, 0.0], [38.0, 18.0]])
    points = {("", "", "nuclear"): dict(zip("ab", map(tuple, marks), strict=True))}
    points |= {("", "", "xray"): dict(zip("ab", map(tuple, marks + 10.0), strict=True))}
    registration = register_by_points(xray, study, Fiducials(points, True, "points"), kind="scale")
    made = fuse(xray, study, registration, OverlaySettings(threshold=0.0))
    np.testing.assert_array_equal(np.isnan(made.values[:18, :18]), True)
    grey = fuse(xray, study, registration, OverlaySettings(upper=1e9)).pixels
    np.testing.assert_array_equal(made.pixels[:18], grey[:18])
    assert made.overlap == pytest.approx(30.75 * 10.75 / (40 * 20), rel=1e-4)
    assert any("of the nuclear field lie" in line for line in made.said)


def test_counts_add_up_and_becquerel_and_injected_shares_are_means(study: NuclearSeries) -> None:
    assert activity_of(study, "counts", (1, 2)).values[5, 10] == 600
    factors = to_injection(study.isotope.half_life, study.starts, study.durations)
    corrected = activity_of(study, "counts", (1, 2), decay_correct=True)
    assert corrected.values[5, 10] == pytest.approx(400 * factors[1] + 200 * factors[2]) and corrected.decay_corrected
    becquerel = activity_of(study, "Bq", (1, 2)).values[5, 10]
    assert becquerel == pytest.approx(600 / 180 / 200 * 1e6)
    share = activity_of(study, "%ID", (3,)).values[5, 10]
    assert share == pytest.approx(100 * 100 * factors[3] / 300 / 200 * 1e6 / 10e6)
    assert activity_of(study, "%ID", (3,)).decay_corrected


@pytest.mark.parametrize(
    ("what", "unit", "said"),
    [
        ("isotope", "%ID", "does not say the isotope"),
        ("starts", "%ID", "when it was injected"),
        ("durations", "Bq", "how long its frames last"),
        ("sensitivity", "Bq", "sensitivity_cps_per_MBq"),
        ("injection", "%ID", "what was injected"),
    ],
)
def test_a_unit_says_what_it_needs(what: str, unit: str, said: str, xray: Image, study: NuclearSeries) -> None:
    with pytest.raises(UserError, match=said):
        overlay(xray, replace(study, **{what: None}), unit=unit)


def test_all_that_a_unit_needs_is_asked_for_at_once(xray: Image, study: NuclearSeries) -> None:
    bare = replace(study, isotope=None, starts=None, durations=None, sensitivity=None, injection=None)
    keys = ("(isotope, such as Tc-99m)", "(frames: start_s)", "(frames: duration_s)", "(injected)", "(sensitivity_cps")
    with pytest.raises(UserError, match=".*".join(map(re.escape, keys))):
        overlay(xray, bare, unit="%ID")
    with pytest.raises(UserError, match=r"say how long .*, the camera's calibration .*; write"):
        overlay(xray, bare, unit="Bq")


def test_frames_are_chosen_by_number_or_time(xray: Image, study: NuclearSeries) -> None:
    assert overlay(xray, study, between=(80.0, 200.0)).activity.frames == (1, 2)
    assert overlay(xray, study).activity.frames == (0, 1, 2, 3)
    with pytest.raises(UserError, match="frames 1 to 4, not 5"):
        overlay(xray, study, frames=(4,))
    with pytest.raises(UserError, match="no frame between 1000 and 2000 s"):
        overlay(xray, study, between=(1000.0, 2000.0))
    with pytest.raises(UserError, match="is no time; give two"):
        overlay(xray, study, between=(-100.0, float("nan")))
    assert overlay(xray, study, between=(100.0, float("inf"))).activity.frames == (2, 3)
    with pytest.raises(UserError, match="not by both"):
        overlay(xray, study, between=(0.0, 100.0), frames=(1,))


@pytest.mark.parametrize(
    "how",
    [
        {"threshold": 1.5},
        {"opacity": -0.1},
        {"gamma": 0.0},
        {"upper": 0.0},
        {"unit": "Ci"},
        {"colours": "jet"},
        {"window": (5.0, 5.0)},
        {"window_percentiles": (99.0, 1.0)},
    ],
)
def test_settings_out_of_range_are_refused(how: dict[str, object]) -> None:
    with pytest.raises(UserError):
        OverlaySettings(**how)  # type: ignore[arg-type]


def test_a_top_that_is_infinite_is_refused_as_such() -> None:
    with pytest.raises(UserError, match="is inf; give a finite value above 0"):
        OverlaySettings(upper=float("inf"))


def test_an_empty_field_is_said(xray: Image, study: NuclearSeries) -> None:
    made = overlay(xray, replace(study, frames=np.zeros((4, 10, 20), np.uint16)))
    assert any("no activity above 0" in line for line in made.said)
    assert np.ptp(made.pixels, axis=2).max() == 0


def test_the_frame_keeps_every_pixel_of_the_picture(xray: Image, study: NuclearSeries) -> None:
    made = overlay(xray, study)
    drawn = framed(made)
    assert drawn.zoom == (8, 8)  # 80 columns grow to 640
    part = drawn.pixels[drawn.top : drawn.top + 320, drawn.left : drawn.left + 640]
    np.testing.assert_array_equal(part[::8, ::8], made.pixels)
    np.testing.assert_array_equal(part[7::8, 7::8], made.pixels)


def test_the_frame_says_unit_time_scale_threshold_and_error(xray: Image, study: NuclearSeries) -> None:
    said = " | ".join(framed(overlay(xray, study, unit="%ID", frames=(1, 2))).texts)
    for text in ("99mTc-MDP", "1 to 4 min after injection", "frames 2–3 of 4, mean, decay-corrected to injection"):
        assert text in said
    assert "%ID in a pixel of 2×2 mm" in said and "10 mm" in said and "15%" in said and "not known" in said
    assert "diagnosis" not in said


def test_a_large_registration_error_is_written_in_the_colour_of_warnings(xray: Image, study: NuclearSeries) -> None:
    made = overlay(xray, study)
    for error, said, is_warned in ((5.0, "error 5 mm", False), (9.0, "error 9 mm, 4 nuclear pixels", True)):
        drawn = framed(replace(made, registration=replace(made.registration, error_mm=error)))
        assert any(text.replace("\u00a0", " ").endswith(said) for text in drawn.texts)
        assert (drawn.pixels == (0xFF, 0xB4, 0x54)).all(axis=-1).any() == is_warned


def test_the_bar_and_the_scale_have_their_lengths(xray: Image, study: NuclearSeries) -> None:
    drawn = framed(overlay(xray, study))
    below = drawn.pixels[drawn.top + 320 + 6 :, drawn.left : drawn.left + 640]
    white = (below == [0xE8, 0xEC, 0xF1]).all(axis=2).sum(axis=1).max()
    assert white == 10 / 0.5 * 8  # 10 mm of pixels of 0.5 mm, each drawn 8 wide
    bar = drawn.pixels[drawn.top : drawn.top + 320, drawn.left + 640 + 15 : drawn.left + 640 + 30, :]
    column = bar[:, 8].astype(int)
    coloured = np.ptp(column, axis=1) > 40
    # From the threshold, 15 %, up to where hot fades into white.
    lowest = np.flatnonzero(coloured).max()
    outline = np.flatnonzero((bar[:, 8] == [0x8A, 0x94, 0xA3]).all(axis=1))
    share = (outline.max() - lowest) / (outline.max() - outline.min())
    assert share == pytest.approx(0.15, abs=0.015)


def test_words_of_times_and_lengths() -> None:
    assert span_text(0.0, 90.0) == "0 to 90 s after injection"
    assert span_text(750.0, 900.0) == "12.5 to 15 min after injection"
    assert span_text(7200.0, 10800.0) == "2 to 3 h after injection"
    assert span_text(0.0, 6 * 86400.0) == "0 to 6 d after injection"  # as times are written elsewhere
    assert span_text(None, None) == "time after injection not known"
    assert [round_length(most) for most in (0.99, 1, 4.9, 5, 28)] == [0.5, 1, 2, 5, 20]


def test_isotope_and_agent_are_named_once(xray: Image, study: NuclearSeries) -> None:
    assert titles_of(overlay(xray, study))[0] == "99mTc-MDP"
    assert titles_of(overlay(xray, replace(study, agent="MDP")))[0] == "MDP, Tc-99m"


@pytest.mark.parametrize("by", ["derivation", "sidecar", "activity"])
def test_what_is_synthetic_is_labelled_everywhere(by: str, xray: Image, study: NuclearSeries, tmp_path: Path) -> None:
    if by == "activity":
        anatomy, series = xray, replace(study, source=Source(derivation=MARK))
    else:
        file = images.write(xray, tmp_path / "xray.png", derivation=MARK if by == "derivation" else None)
        if by == "sidecar":
            write_sidecar(file, {"synthetic": True, "output": "xray.png"})
        anatomy, series = images.read(file), study
    made = overlay(anatomy, series)
    label = f"synthetic {'activity' if by == 'activity' else 'anatomy'}, not for diagnosis"
    assert made.label == label and label in framed(made).texts
    for name in ("o.png", "o.tif", "o.dcm"):
        back = images.read(write_overlay(made, tmp_path / name, frame=name != "o.tif"))
        assert back.source.derivation.startswith(NOTICE)
        content = json.loads(content_path(tmp_path / name).read_text())
        assert content["synthetic"] is True and content["label"] == label


def test_an_acquired_anatomy_is_not_called_synthetic(xray: Image, study: NuclearSeries, tmp_path: Path) -> None:
    made = overlay(xray, study)
    write_sidecar(tmp_path / "o.png", {"synthetic": True, "output": "o.png"})  # of an earlier image of that name
    file = write_overlay(made, tmp_path / "o.png")
    assert not made.label and NOTICE not in images.read(file).source.derivation
    assert not overlay(images.read(write_overlay(made, file, frame=False)), study).label
    assert json.loads(content_path(file).read_text())["synthetic"] is False


@pytest.mark.parametrize("name", ["o.png", "o.tif"])
def test_a_plain_overlay_keeps_grid_and_values(name: str, xray: Image, study: NuclearSeries, tmp_path: Path) -> None:
    made = overlay(xray, study)
    back = images.read(write_overlay(made, tmp_path / name, frame=False))
    np.testing.assert_array_equal(back.pixels, made.pixels)
    assert back.same_grid(xray) and back.spacing == (0.5, 0.5) and back.has_physical_size
    with_frame = images.read(write_overlay(made, tmp_path / f"framed-{name}"))
    np.testing.assert_array_equal(with_frame.pixels, framed(made).pixels)
    assert not with_frame.has_physical_size


def test_the_file_beside_it_says_how_it_was_made(xray: Image, study: NuclearSeries, tmp_path: Path) -> None:
    file = write_overlay(overlay(xray, study, frames=(1, 2), window=(1000, 50000)), tmp_path / "o.png")
    content = json.loads(content_path(file).read_text())
    assert content["anatomy"]["window"] == [1000, 50000] and content["anatomy"]["window_from"] == "given"
    assert content["activity"]["frames"] == [2, 3] and content["activity"]["unit"] == "counts in a nuclear pixel"
    assert content["scale"] | {"upper": 600, "lower": pytest.approx(90), "threshold": 0.15} == content["scale"]
    assert content["registration"]["transform"]["matrix"][0][2] == 0.75 and content["written"]


def dicom(path: Path, pixels: np.ndarray, number: int, **tags: object) -> Path:
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    made = FileDataset(str(path), {}, file_meta=meta, preamble=b"\0" * 128)
    made.SOPClassUID = "1.2.840.10008.5.1.4.1.1.1.1"
    made.SOPInstanceUID, made.SeriesInstanceUID, made.StudyInstanceUID = f"1.2.{number}", f"1.3.{number}", "1.4"
    made.PatientID, made.PatientName, made.Modality = "mouse 7", "Mouse^Seven", "DX"
    made.Rows, made.Columns = pixels.shape
    made.SamplesPerPixel, made.PhotometricInterpretation = 1, "MONOCHROME2"
    made.BitsAllocated = made.BitsStored = 16
    made.HighBit, made.PixelRepresentation = 15, 0
    made.PixelSpacing = [0.5, 0.5]
    made.FrameOfReferenceUID = "1.5"
    made.ExposureTime, made.Exposure, made.EntranceDoseInmGy = 100, 5, "0.2"
    for name, value in tags.items():
        setattr(made, name, value)
    made.PixelData = pixels.astype("<u2").tobytes()
    made.save_as(path, enforce_file_format=True)
    return path


def test_a_secondary_capture_has_the_tags_of_a_derived_image(xray: Image, study: NuclearSeries, tmp_path: Path) -> None:
    anatomy = images.read(dicom(tmp_path / "xray.dcm", xray.pixels, 1))
    sums = dicom(tmp_path / "nm.dcm", study.frames[0], 2, Modality="NM", PixelSpacing=[2.0, 2.0], PatientID="mouse 8")
    series = read_nuclear(sums)
    made = overlay(anatomy, series)
    for frame in (True, False):
        file = pydicom.dcmread(write_overlay(made, tmp_path / f"{frame}.dcm", frame=frame))
        assert list(file.ImageType) == ["DERIVED", "SECONDARY"] and file.PhotometricInterpretation == "RGB"
        assert file.SOPClassUID == "1.2.840.10008.5.1.4.1.1.7" and file.StudyInstanceUID == "1.4"
        assert file.SOPInstanceUID not in ("1.2.1", "1.2.2") and file.SeriesInstanceUID not in ("1.3.1", "1.3.2")
        assert [each.ReferencedSOPInstanceUID for each in file.SourceImageSequence] == ["1.2.1", "1.2.2"]
        assert file.BurnedInAnnotation == ("YES" if frame else "NO") and file.PatientID == "mouse 7"
        assert "nm.dcm over xray.dcm" in file.DerivationDescription
        assert not {"ExposureTime", "Exposure", "EntranceDoseInmGy"} & set(file.dir())
        assert ("PixelSpacing" in file, "FrameOfReferenceUID" in file) == (not frame, not frame)
        assert "ImagePositionPatient" not in file and (file.BitsAllocated, file.SamplesPerPixel) == (8, 3)
        expected = framed(made).pixels if frame else made.pixels
        np.testing.assert_array_equal(file.pixel_array, expected)
    said = json.loads(content_path(tmp_path / "True.dcm").read_text())["said"]
    assert any("patient 'mouse 7'" in line and "'mouse 8'" in line for line in said)


def test_writing_in_the_pixels_stays_declared_when_it_is_derived_again(
    xray: Image, study: NuclearSeries, tmp_path: Path
) -> None:
    anatomy = images.read(dicom(tmp_path / "xray.dcm", xray.pixels, 1, BurnedInAnnotation="YES"))
    file = pydicom.dcmread(write_overlay(overlay(anatomy, study), tmp_path / "o.dcm", frame=False))
    assert file.BurnedInAnnotation == "YES"


def test_a_photograph_over_which_dicom_lies_takes_the_study_of_the_activity(
    xray: Image, study: NuclearSeries, tmp_path: Path
) -> None:
    tags = {"Modality": "NM", "PixelSpacing": [2.0, 2.0], "LossyImageCompression": "01"}
    file = dicom(tmp_path / "nm.dcm", study.frames[0], 2, **tags)
    made = pydicom.dcmread(write_overlay(overlay(xray, read_nuclear(file)), tmp_path / "o.dcm", frame=False))
    assert made.StudyInstanceUID == "1.4" and "FrameOfReferenceUID" not in made and made.LossyImageCompression == "01"
    assert [each.ReferencedSOPInstanceUID for each in made.SourceImageSequence] == ["1.2.2"]


def test_a_series_is_described_in_whole_words(xray: Image, study: NuclearSeries, tmp_path: Path) -> None:
    synthetic = replace(xray, source=Source(derivation=f"{NOTICE} made by a test"))
    for anatomy, agent, expected in (
        (xray, "99mTc-MDP", "99mTc-MDP over anatomy"),
        (synthetic, "99mTc-MDP", "99mTc-MDP; synthetic anatomy, not for diagnosis"),
        (
            synthetic,
            "a compound with a very long name",
            "a compound with a very...; synthetic anatomy, not for diagnosis",
        ),
    ):
        made = overlay(anatomy, replace(study, agent=agent, isotope=None))
        file = pydicom.dcmread(write_overlay(made, tmp_path / f"{len(expected)}.dcm"))
        assert file.SeriesDescription == expected and len(file.SeriesDescription) <= 64


def test_the_losses_of_either_source_are_kept_but_not_their_ratio(
    xray: Image, study: NuclearSeries, tmp_path: Path
) -> None:
    lost = {"LossyImageCompression": "01", "LossyImageCompressionRatio": "12.5"}
    lost["LossyImageCompressionMethod"] = "ISO_15444_1"
    anatomy = images.read(dicom(tmp_path / "xray.dcm", xray.pixels, 1, LossyImageCompression="00"))
    sums = dicom(tmp_path / "nm.dcm", study.frames[0], 2, Modality="NM", PixelSpacing=[2.0, 2.0], **lost)
    file = pydicom.dcmread(write_overlay(overlay(anatomy, read_nuclear(sums)), tmp_path / "o.dcm"))
    assert file.LossyImageCompression == "01" and file.LossyImageCompressionMethod == "ISO_15444_1"
    assert "LossyImageCompressionRatio" not in file


def test_inputs_are_never_written_over(xray: Image, study: NuclearSeries, tmp_path: Path) -> None:
    file = images.write(xray, tmp_path / "xray.png")
    before = file.read_bytes()
    (tmp_path / "link.png").symlink_to(file)
    made = overlay(images.read(file), study)
    for name in ("xray.png", "link.png"):
        with pytest.raises(UserError, match="is an input"):
            write_overlay(made, tmp_path / name)
    assert file.read_bytes() == before
    with pytest.raises(UserError, match=r"end it with \.png"):
        write_overlay(made, tmp_path / "o.jpg")


def test_a_broken_writing_leaves_nothing_that_looks_finished(
    xray: Image, study: NuclearSeries, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("transmodal.images.png._filtered", broken)
    with pytest.raises(KeyboardInterrupt):
        write_overlay(overlay(xray, study), tmp_path / "o.png")
    assert [file.name for file in tmp_path.iterdir()] == ["o.png.fusion.json"]
    assert json.loads(content_path(tmp_path / "o.png").read_text())["written"] is None


def test_two_images_of_one_shape_without_a_size_are_laid_pixel_on_pixel(study: NuclearSeries, tmp_path: Path) -> None:
    anatomy = Image(
        np.arange(200, dtype=np.uint16).reshape(10, 20), picture_affine((1.0, 1.0)), has_physical_size=False
    )
    series = replace(study, affine=picture_affine((1.0, 1.0)), has_physical_size=False)
    made = overlay(anatomy, series, frames=(0,))
    np.testing.assert_array_equal(made.values, study.frames[0])
    assert not any(text.endswith(" mm") for text in framed(made).texts)
    assert not images.read(write_overlay(made, tmp_path / "o.png", frame=False)).has_physical_size
