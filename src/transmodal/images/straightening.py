"""A DICOM series with gantry tilt, uneven distances or missing slices, put on an even and rectangular grid.

A tilted gantry moves every slice a little sideways against the one before: the stack is a sheared box, which an affine
of a rectangular grid cannot say. Each slice is hence shifted within its own plane to where it belongs, and the new
slices, one usual distance apart, are read off between their neighbours. All by linear interpolation.
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from transmodal.errors import UserError
from transmodal.images.dicom import read_stack
from transmodal.images.image import Image

FURTHEST = 4.0  # usual distances that may lie between two slices; over a larger hole nothing is made up
_LPS_TO_RAS = np.array([-1.0, -1.0, 1.0])


@dataclass(frozen=True)
class Straightened:
    """An even volume, and what was done to have it.

    Attributes:
        image: (row, column, slice), rectangular, in the quantity of the series; float32.
        tilt: degrees, of the slices against the direction in which they are stacked.
        distances: mm, smallest and largest between neighbouring slices.
        spacing: mm, of the new slices.
    """

    image: Image
    tilt: float
    distances: tuple[float, float]
    spacing: float

    def describe(self) -> str:
        """Return one sentence."""
        low, high = self.distances
        return (
            f"gantry tilt {self.tilt:.1f}°, slices {low:.4g} to {high:.4g} mm apart; put on a rectangular grid with "
            f"slices {self.spacing:.4g} mm apart by linear interpolation"
        )


def straighten(folder: Path, *, series: str | None = None, spacing: float | None = None) -> Straightened:
    """Read a series and resample it to an even grid; where it is even already, to the grid it has.

    Args:
        folder: of one series' slices.
        series: SeriesInstanceUID, needed where the folder holds several.
        spacing: mm between the new slices; None takes the median distance.

    Returns:
        The volume; outside of what was scanned it holds the lowest value of the series.

    Raises:
        UserError: as `read_series`; one slice only; colours or time points; a hole of more than four distances.
    """
    image, stack = read_stack(folder, series=series, allow_uneven=True)
    if stack is None or len(stack.corners) < 2:
        raise UserError(f"{folder} holds one slice or file; there is nothing to straighten")
    if image.channels:
        raise UserError(
            f"{folder} has {len(image.channels)} channels or time points a position; straighten one of them"
        )
    if spacing is not None and not (np.isfinite(spacing) and spacing > 0):
        raise UserError(f"the distance of slices must be above 0 mm, not {spacing}")
    row_step, column_step = (image.affine[:3, axis] for axis in (0, 1))  # RAS mm
    corners = stack.corners * _LPS_TO_RAS
    normal = np.cross(column_step, row_step)
    normal /= np.linalg.norm(normal)
    normal *= np.sign((corners[-1] - corners[0]) @ normal)
    heights = (corners - corners[0]) @ normal
    gaps = np.diff(heights)
    usual = float(np.median(gaps))
    if gaps.max() > FURTHEST * usual:
        where = int(gaps.argmax())
        raise UserError(
            f"{folder}: {gaps[where]:.3g} mm between slices {where + 1} and {where + 2}, {usual:.3g} mm elsewhere: too "
            "much is missing to be filled; complete the series, or split it there"
        )
    sideways = [(corners - corners[0]) @ step / float(step @ step) for step in (row_step, column_step)]  # in pixels
    pixels, first = _unshear(image.pixels, *sideways)
    step = usual if spacing is None else spacing
    wanted = np.arange(int(np.floor(heights[-1] / step + 1e-6)) + 1) * step
    affine = np.eye(4)
    affine[:3, 0], affine[:3, 1], affine[:3, 2] = row_step, column_step, normal * step
    affine[:3, 3] = corners[0] + first[0] * row_step + first[1] * column_step
    drift = corners[-1] - corners[0] - normal * heights[-1]
    return Straightened(
        replace(
            image, pixels=_between(pixels, heights, wanted), affine=affine, source=replace(image.source, header=None)
        ),
        float(np.degrees(np.arctan2(np.linalg.norm(drift), heights[-1]))),
        (float(gaps.min()), float(gaps.max())),
        step,
    )


def _unshear(
    pixels: npt.NDArray[np.generic], down: npt.NDArray[np.float64], right: npt.NDArray[np.float64]
) -> tuple[npt.NDArray[np.float32], tuple[int, int]]:
    """Shift each slice to its place in one common plane.

    Args:
        pixels: (row, column, slice).
        down, right: (slices,) where each slice's first pixel lies, in pixels.

    Returns:
        (row, column, slice) of a plane that holds all of them, and the row and column of its first pixel.
    """
    rows, columns, count = pixels.shape
    low = tuple(int(np.floor(places.min() + 1e-3)) for places in (down, right))
    high = tuple(int(np.ceil(places.max() - 1e-3)) for places in (down, right))
    shape = (rows + high[0] - low[0], columns + high[1] - low[1])
    outside = float(pixels.min())
    found = np.full((*shape, count), outside, np.float32)
    for index in range(count):
        placed = np.full(shape, outside, np.float32)
        placed[:rows, :columns] = pixels[:, :, index]
        shift = (float(down[index]) - low[0], float(right[index]) - low[1])
        if max(abs(distance - round(distance)) for distance in shift) < 1e-3:  # whole pixels need no interpolation
            shift = (float(round(shift[0])), float(round(shift[1])))
        found[:, :, index] = ndimage.shift(placed, shift, order=1, mode="constant", cval=outside)
    return found, (low[0], low[1])


def _between(
    pixels: npt.NDArray[np.float32], heights: npt.NDArray[np.float64], wanted: npt.NDArray[np.floating[Any]]
) -> npt.NDArray[np.float32]:
    """Interpolate slices at heights in mm between those that are there."""
    upper = np.clip(np.searchsorted(heights, wanted), 1, len(heights) - 1)
    share = ((wanted - heights[upper - 1]) / (heights[upper] - heights[upper - 1])).clip(0, 1).astype(np.float32)
    return pixels[:, :, upper - 1] * (1 - share) + pixels[:, :, upper] * share
