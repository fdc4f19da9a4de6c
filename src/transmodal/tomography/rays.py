"""Where the rays of a scan cross the rows and columns of a grid: the numbers that Joseph's method needs.

P. M. Joseph, "An improved algorithm for reprojecting rays through pixel images", IEEE Transactions on Medical Imaging
1(3), 1982. Along a ray one axis of the grid leads: the one of which the ray crosses more lines, which in square pixels
is the axis nearer to its direction. At each line of that axis the image is interpolated linearly between the two
pixels beside the crossing (in a volume bilinearly), and the sum is multiplied by the length of ray between two lines.

Crossings are computed in float64: in a row of 2 000 pixels float32 would move them by 1e-4 of one.
"""

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from transmodal.errors import UserError
from transmodal.tomography.geometry import Beam, ConeBeam, FanBeam, Grid, ParallelBeam

Floats: TypeAlias = npt.NDArray[np.floating[Any]]


@dataclass(frozen=True, eq=False)
class PlaneRays:
    """The rays of a planar scan; every array is (views, bins).

    Attributes:
        rows_lead: the rows lead; else the columns do.
        intercept: where the ray crosses line 0 of the leading axis, in pixels of the other axis. float64.
        slope: pixels by which the crossing moves from line to line. float64.
        length: mm of ray between two lines. float32.
        segments: for rows and for columns the stretches of bins that they lead, (n, 3): view, first bin, bin after the
            last. Along each, crossings only rise or only fall.
    """

    rows_lead: npt.NDArray[np.bool_]
    intercept: npt.NDArray[np.float64]
    slope: npt.NDArray[np.float64]
    length: npt.NDArray[np.float32]
    segments: tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]


@dataclass(frozen=True, eq=False)
class ConeRays:
    """The rays of a cone beam; seen from above they are those of a fan.

    At line l of the leading axis the ray to detector row j and bin k crosses slice `middle + heights[j] ·
    (l − start[view, k]) · rise[view, k]`.

    Attributes:
        plane: the fan.
        start: (views, bins), of the source along the leading axis, in pixels.
        rise: (views, bins), slices a line and mm of height.
        heights: (rows,), of the detector's rows, in mm.
        middle: the slice, not a whole number, that the source circles in.
        reciprocal_distance: (bins,), from the source to the bins of the detector seen from above, in 1/mm.
        slice_spacing: mm.
    """

    plane: PlaneRays
    start: npt.NDArray[np.float64]
    rise: npt.NDArray[np.float64]
    heights: npt.NDArray[np.float64]
    middle: float
    reciprocal_distance: npt.NDArray[np.float64]
    slice_spacing: float

    def slices_lead(self, view: int) -> npt.NDArray[np.bool_]:
        """Return, (rows, bins), which rays of a view cross more slices than rows or columns."""
        return np.abs(self.heights[:, None] * self.rise[view]) > 1

    def steep_views(self) -> list[int]:
        """Return the views of which the slices lead any ray."""
        steepest = np.abs(self.heights).max() * np.abs(self.rise).max(axis=1)
        return [int(view) for view in np.flatnonzero(steepest > 1)]

    def length(self, view: int) -> npt.NDArray[np.float32]:
        """Return, (rows, bins), mm of ray between two lines; 0 where the slices lead."""
        steepness = self.heights[:, None] * self.reciprocal_distance
        length = self.plane.length[view] * np.sqrt(1 + steepness**2)
        return np.where(self.slices_lead(view), 0, length).astype(np.float32)


def plane_lines(beam: ParallelBeam | FanBeam) -> tuple[Floats, Floats, Floats, Floats]:
    """Return y and x of a point of each ray in mm, and y and x of its direction, of length 1; (views, bins) each."""
    angles = np.deg2rad(beam.angles)[:, None]
    cosine, sine = np.cos(angles), np.sin(angles)
    if isinstance(beam, ParallelBeam):
        places: tuple[Floats, ...] = (sine * beam.positions, cosine * beam.positions, cosine, -sine)
    else:
        along, across = np.cos(beam.fan_angles), np.sin(beam.fan_angles)
        places = (
            -beam.source_to_axis * cosine,
            beam.source_to_axis * sine,
            along * cosine + across * sine,
            across * cosine - along * sine,
        )
    y, x, down, right = np.broadcast_arrays(*places)
    return y, x, down, right


def fan_of(beam: ConeBeam) -> FanBeam:
    """Return the fan that a cone beam is when seen along the rotation axis."""
    return FanBeam(beam.angles, beam.bins, beam.pitch, beam.source_to_axis, beam.source_to_detector, beam.offset)


def check_fit(grid: Grid, beam: Beam) -> None:
    """Refuse a grid and a geometry that cannot go together.

    Raises:
        UserError: a volume with a planar beam or a slice with a cone, a grid that reaches to the source's orbit, a
            curved detector that reaches behind the source.
    """
    wanted = 3 if isinstance(beam, ConeBeam) else 2
    if len(grid.shape) != wanted:
        axes = "(slices, rows, columns)" if wanted == 3 else "(rows, columns); a stack of slices is (n, rows, columns)"
        raise UserError(f"a {beam.kind} beam wants a grid of {axes}, not of shape {grid.shape}")
    if isinstance(beam, ParallelBeam):
        return
    # One pixel more than the grid: its border fades into the pixels around it.
    halves = [(grid.shape[axis] + 1) / 2 * grid.spacing[axis] + abs(grid.centre[axis]) for axis in (-2, -1)]
    reach = math.hypot(*halves)
    if reach >= beam.source_to_axis:
        raise UserError(
            f"the grid reaches {reach:.4g} mm from the rotation axis, where the source circles at "
            f"{beam.source_to_axis:.4g} mm: take a smaller grid or check the units, all lengths are in mm"
        )
    if isinstance(beam, FanBeam) and np.abs(beam.fan_angles).max() >= math.pi / 2:
        raise UserError(
            f"the curved detector reaches {np.rad2deg(np.abs(beam.fan_angles).max()):.0f}° from the central ray, and "
            "must stay under 90°: check its bins, pitch and source_to_detector"
        )


@lru_cache(maxsize=4)
def plane_rays(grid: Grid, beam: ParallelBeam | FanBeam) -> PlaneRays:
    """Return the crossings of a planar scan; the last few scans are kept.

    Args:
        grid: (rows, columns).
        beam: parallel or fan.

    Raises:
        UserError: as `check_fit`.
    """
    check_fit(grid, beam)
    y, x, down, right = plane_lines(beam)
    row = (y - grid.centre[0]) / grid.spacing[0] + (grid.shape[0] - 1) / 2
    column = (x - grid.centre[1]) / grid.spacing[1] + (grid.shape[1] - 1) / 2
    down, right = down / grid.spacing[0], right / grid.spacing[1]
    rows_lead = np.abs(down) >= np.abs(right)
    leading = np.where(rows_lead, down, right)
    slope = np.where(rows_lead, right, down) / leading
    intercept = np.where(rows_lead, column, row) - np.where(rows_lead, row, column) * slope
    length = (1 / np.abs(leading)).astype(np.float32)
    return PlaneRays(
        np.ascontiguousarray(rows_lead),
        np.ascontiguousarray(intercept),
        np.ascontiguousarray(slope),
        np.ascontiguousarray(length),
        _segments(rows_lead, leading > 0),
    )


def _segments(
    rows_lead: npt.NDArray[np.bool_], forwards: npt.NDArray[np.bool_]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Cut every view where another axis begins to lead, or the same in the other direction."""
    kind = rows_lead * 2 + forwards
    begins = np.ones(kind.shape, dtype=bool)
    begins[:, 1:] = kind[:, 1:] != kind[:, :-1]
    view, first = np.nonzero(begins)
    after = np.append(first[1:], 0)
    after[after == 0] = kind.shape[1]
    found = np.stack([view, first, after], axis=1).astype(np.int64)
    rows = rows_lead[view, first]
    return found[rows], found[~rows]


@lru_cache(maxsize=4)
def cone_rays(grid: Grid, beam: ConeBeam) -> ConeRays:
    """Return the crossings of a cone-beam scan; the last few scans are kept.

    Args:
        grid: (slices, rows, columns).
        beam: the cone.

    Raises:
        UserError: as `check_fit`.
    """
    check_fit(grid, beam)
    slice_grid = Grid(grid.shape[1:], grid.spacing[1:], grid.centre[1:])
    fan = fan_of(beam)
    plane = plane_rays(slice_grid, fan)
    y, x, down, right = plane_lines(fan)
    row = (y - slice_grid.centre[0]) / slice_grid.spacing[0] + (slice_grid.shape[0] - 1) / 2
    column = (x - slice_grid.centre[1]) / slice_grid.spacing[1] + (slice_grid.shape[1] - 1) / 2
    leading = np.where(plane.rows_lead, down / slice_grid.spacing[0], right / slice_grid.spacing[1])
    reciprocal = 1 / np.hypot(beam.positions, beam.source_to_detector)
    return ConeRays(
        plane,
        np.where(plane.rows_lead, row, column),
        reciprocal / leading / grid.spacing[0],
        np.ascontiguousarray(beam.row_positions),
        (grid.shape[0] - 1) / 2 - grid.centre[0] / grid.spacing[0],
        reciprocal,
        grid.spacing[0],
    )
