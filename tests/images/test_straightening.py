"""Tilted and uneven series become rectangular volumes whose voxels lie where they were scanned."""

from pathlib import Path

import numpy as np
import pytest
from tests.images.test_dicom import AXIAL, save

from transmodal.errors import UserError
from transmodal.images import read
from transmodal.images.straightening import straighten

ROWS, COLUMNS, PIXEL = 60, 50, 0.5


def blob(x: np.ndarray, y: np.ndarray, z: np.ndarray) -> np.ndarray:
    """A smooth ball around (8, 12, 10) in LPS mm."""
    return 1000 * np.exp(-((x - 8) ** 2 + (y - 12) ** 2 + (z - 10) ** 2) / 40)


def scan(folder: Path, heights: list[float], lean: float = 0.0) -> Path:
    """Write slices of the ball; each lies `lean` mm further down for every mm of height."""
    for number, height in enumerate(heights):
        row, column = np.mgrid[:ROWS, :COLUMNS]
        corner = [0.0, 2.0 + lean * height, height]
        pixels = blob(corner[0] + column * PIXEL, corner[1] + row * PIXEL, np.full(row.shape, height))
        place = {"ImagePositionPatient": corner, "ImageOrientationPatient": AXIAL, "InstanceNumber": number + 1}
        save(folder / f"slice{number}", pixels.round().astype(np.int16), PixelSpacing=[PIXEL, PIXEL],
             RescaleIntercept=0, **place)  # fmt: skip
    return folder


def largest_error(folder: Path) -> float:
    """Compare a straightened series with the ball at the places its affine claims."""
    image = straighten(folder).image
    index = np.stack(np.meshgrid(*(np.arange(count) for count in image.shape), indexing="ij"), -1)
    world = index @ image.affine[:3, :3].T + image.affine[:3, 3]
    truth = blob(-world[..., 0], -world[..., 1], world[..., 2])
    inside = image.pixels > 20
    return float(np.abs(image.pixels - truth)[inside].max())


@pytest.mark.parametrize("lean", [0.3, -0.2])
def test_a_tilted_series_lies_where_it_was_scanned(tmp_path: Path, lean: float) -> None:
    folder = scan(tmp_path, [float(height) for height in range(0, 20, 2)], lean)
    with pytest.raises(UserError, match="gantry tilt"):
        read(folder)
    made = straighten(folder)
    assert made.tilt == pytest.approx(np.degrees(np.arctan(abs(lean))), abs=0.01)
    assert made.spacing == pytest.approx(2.0)
    assert made.image.shape[0] > ROWS  # nothing of the sheared box is cut off
    assert largest_error(folder) < 30  # of 1000; a slice left in its place is off by 400


def test_uneven_and_missing_slices_are_interpolated(tmp_path: Path) -> None:
    folder = scan(tmp_path, [0, 1, 2, 3.4, 4, 5, 7, 8, 9, 10, 11, 12, 13, 14])
    made = straighten(folder)
    assert made.distances == pytest.approx((0.6, 2.0))
    assert made.image.shape == (ROWS, COLUMNS, 15)
    assert largest_error(folder) < 20


def test_an_even_series_stays_what_it_is(tmp_path: Path) -> None:
    folder = scan(tmp_path, [0.0, 2.0, 4.0, 6.0])
    made, plain = straighten(folder).image, read(folder)
    np.testing.assert_allclose(made.affine, plain.affine, atol=1e-9)
    np.testing.assert_allclose(made.pixels, plain.pixels, atol=1e-3)
    assert straighten(folder, spacing=1.0).image.shape[2] == 7


def test_a_hole_is_not_filled_and_one_slice_is_no_stack(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"between slices 3 and 4.*too much is missing"):
        straighten(scan(tmp_path / "hole", [0, 1, 2, 9, 10]))
    with pytest.raises(UserError, match="nothing to straighten"):
        straighten(scan(tmp_path / "one", [0]))
