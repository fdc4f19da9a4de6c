"""A planar whole-body scan and a photograph of a mouse, each on the other's grid, by invented landmarks."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pydicom
import pytest

from transmodal import images
from transmodal.fusion.framing import framed
from transmodal.fusion.overlay import OverlaySettings, fuse
from transmodal.fusion.registration import register
from transmodal.fusion.writing import write_overlay
from transmodal.images.nuclear import NuclearSeries
from transmodal.images.nuclear.reading import read_nuclear

# The scanned person laid on the mouse: pixels (row, column), marked by eye, for the machinery and not for medicine.
_SCAN = {"head": (110, 133), "pelvis": (415, 138), "left shoulder": (215, 65), "right shoulder": (215, 205)}
_MOUSE = {"head": (252, 29), "pelvis": (160, 84), "left shoulder": (232, 66), "right shoulder": (210, 36)}


def marks(path: Path, nuclear: dict[str, tuple[int, int]], anatomy: dict[str, tuple[int, int]]) -> Path:
    lines = ["modality,point,row,column"]
    for modality, points in (("nuclear", nuclear), ("anatomy", anatomy)):
        lines += [f"{modality},{name},{row},{column}" for name, (row, column) in points.items()]
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.fixture
def scan(real_data: Path) -> Path:
    return real_data / "readers" / "pydicom_data" / "JPEG2000_UNC.dcm"


@pytest.fixture
def photo(real_data: Path) -> Path:
    return real_data / "mouse_photos" / "img0000.png"


def test_a_whole_body_scan_lies_on_a_photograph(scan: Path, photo: Path, tmp_path: Path) -> None:
    anatomy, series = images.read(photo, spacing=0.3), read_nuclear(scan)
    registration = register(anatomy, series, marks(tmp_path / "marks.csv", _SCAN, _MOUSE))
    assert registration.error_mm is not None and registration.error_mm < 6
    made = fuse(anatomy, series, registration, OverlaySettings(keep_colour=True))
    source = pydicom.dcmread(scan, stop_before_pixels=True)
    for frame in (True, False):
        file = pydicom.dcmread(write_overlay(made, tmp_path / f"{frame}.dcm", frame=frame))
        assert list(file.ImageType) == ["DERIVED", "SECONDARY"] and file.StudyInstanceUID == source.StudyInstanceUID
        assert file.SOPInstanceUID != source.SOPInstanceUID and file.SeriesInstanceUID != source.SeriesInstanceUID
        assert file.SourceImageSequence[0].ReferencedSOPInstanceUID == source.SOPInstanceUID
        assert file.BurnedInAnnotation == ("YES" if frame else "NO") and file.LossyImageCompression == "01"
        assert "JPEG2000_UNC.dcm over img0000.png" in file.DerivationDescription
        assert "ActualFrameDuration" not in file and "CountsAccumulated" not in file
        np.testing.assert_array_equal(file.pixel_array, framed(made).pixels if frame else made.pixels)
    assert [float(length) for length in file.PixelSpacing] == [0.3, 0.3]
    # The hottest place of the scan, white in "hot", lies on the black mouse, where the landmarks put it.
    row, column = np.unravel_index(series.frames[0].argmax(), series.shape)
    x, y = registration.transform.apply([column * 2.26, row * 2.26]) / 0.3
    assert (made.pixels[round(y), round(x)].astype(int) - anatomy.pixels[round(y), round(x)]).min() > 60


def test_a_photograph_lies_on_the_scan(scan: Path, photo: Path, tmp_path: Path) -> None:
    anatomy, picture = images.read(scan), images.read(photo, spacing=0.3)
    darkness = 255 - picture.pixels[None, ..., 0].astype(np.int32)
    series = NuclearSeries(darkness, picture.affine, source=picture.source)
    registration = register(anatomy, series, marks(tmp_path / "marks.csv", _MOUSE, _SCAN))
    made = fuse(anatomy, series, registration, OverlaySettings(threshold=0.6))
    assert made.pixels.shape == (1024, 256, 3)
    file = pydicom.dcmread(write_overlay(made, tmp_path / "o.dcm", frame=False))
    source = pydicom.dcmread(scan, stop_before_pixels=True)
    assert file.StudyInstanceUID == source.StudyInstanceUID and file.FrameOfReferenceUID == source.FrameOfReferenceUID
    assert file.PixelSpacing == source.PixelSpacing and file.Modality == "NM"
    np.testing.assert_array_equal(file.pixel_array, made.pixels)
    without = fuse(anatomy, replace(series, frames=series.frames * 0), registration)
    shown = (made.pixels != without.pixels).any(axis=2)
    assert shown[110:415, 130:140].mean() > 0.5  # the black mouse lies along the spine
