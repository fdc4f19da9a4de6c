"""Forward projection of a cone beam by Joseph's method and its exact adjoint, on the CPU.

As in `projection.py`, with bilinear interpolation in every plane that a ray crosses. All rays of a detector column
cross a plane at the same row or column of the volume, so this is computed once for them; the slice differs. Rays
steep enough to cross more slices than rows and columns (in thin slices a few degrees suffice) go a slower way of their
own, from slice to slice. The projection is cut by views and the adjoint by planes, so that no two threads write the
same number.
"""

from typing import Any

import numpy as np
import numpy.typing as npt
from numba import njit

from transmodal.tomography.crossings import OPTIONS, locate, move_window
from transmodal.tomography.geometry import ConeBeam, Grid
from transmodal.tomography.rays import ConeRays, cone_rays
from transmodal.tomography.threads import share, threads

Array = npt.NDArray[np.float32]

_PLANES = 4  # of the volume, that stay in the second cache while the views pass
_AXES = ((1, 0, 2), (2, 0, 1))  # the axis that leads, the slices, the other axis


def project(volume: Array, grid: Grid, beam: ConeBeam) -> Array:
    """Do what `projection.project` does, without its checks."""
    rays = cone_rays(grid, beam)
    projections = np.zeros(beam.shape, dtype=np.float32)
    for axis, segments in enumerate(rays.plane.segments):
        if len(segments):
            _project_along(volume.transpose(_AXES[axis]), segments, rays, projections)
    for view in range(len(beam.angles)):
        projections[view] *= rays.length(view)
    if steep := rays.steep_views():
        slices = _bordered(volume)

        def work(first: int, after: int) -> None:
            for view in steep[first:after]:
                _cross_slices(slices, 0, *_steep(rays, view), projections[view], False)

        share(work, len(steep), 1, len(steep) * volume.size)
    return projections


def backproject(projections: Array, grid: Grid, beam: ConeBeam) -> Array:
    """Do what `projection.backproject` does, without its checks."""
    rays = cone_rays(grid, beam)
    volume = np.zeros(grid.shape, dtype=np.float32)
    weighted = np.empty_like(projections)
    for view in range(len(beam.angles)):
        np.multiply(projections[view], rays.length(view), out=weighted[view])
    for axis, segments in enumerate(rays.plane.segments):
        if len(segments):
            _backproject_along(weighted, segments, rays, volume.transpose(_AXES[axis]))
    if steep := rays.steep_views():

        def work(first: int, after: int) -> None:
            made = _bordered(volume[first:after])
            for view in steep:
                _cross_slices(made, first, *_steep(rays, view), projections[view], True)
            volume[first:after] = made[:, 1:-2, 1:-2]

        # Few pieces, because each asks anew which rays are steep.
        share(work, len(volume), -(-len(volume) // (2 * threads())), len(steep) * volume.size)
    return volume


def _project_along(volume: Array, segments: Any, rays: ConeRays, projections: Array) -> None:
    """Add to stretches of views the sums through planes (n, slices, width) of the axis that leads there."""
    planes = _bordered(volume)

    def work(first: int, after: int) -> None:
        _cross_planes(planes, 0, segments[first:after], *_numbers(rays), projections, False)

    # A few pieces a thread: one that finishes early takes another.
    share(work, len(segments), max(1, len(segments) // (8 * threads())), len(segments) * volume.size)


def _backproject_along(weighted: Array, segments: Any, rays: ConeRays, volume: Array) -> None:
    """Add stretches of views, already times their length, to planes (n, slices, width) of the axis that leads there."""

    def work(first: int, after: int) -> None:
        made = np.zeros((after - first, volume.shape[1] + 3, volume.shape[2] + 3), dtype=np.float32)
        _cross_planes(made, first, segments, *_numbers(rays), weighted, True)
        volume[first:after] += made[:, 1:-2, 1:-2]

    share(work, len(volume), _PLANES, len(segments) * volume.size)


def _bordered(volume: Array) -> Array:
    """Return a contiguous copy with the zeros around each plane that interpolation reads: one before, two behind."""
    planes, rows, columns = volume.shape
    copy = np.zeros((planes, rows + 3, columns + 3), dtype=np.float32)
    copy[:, 1:-2, 1:-2] = volume
    return copy


def _numbers(rays: ConeRays) -> tuple[Any, ...]:
    plane = rays.plane
    return plane.intercept, plane.slope, rays.start, rays.rise, rays.heights, rays.middle


def _steep(rays: ConeRays, view: int) -> tuple[Any, ...]:
    """Return how the rays that the slices lead cross them, each (rows, bins).

    Row and column at slice 0; how they move from slice to slice; mm of ray between two slices, 0 for other rays.
    """
    plane, leads = rays.plane, rays.slices_lead(view)
    climb = np.where(leads, rays.heights[:, None] * rays.rise[view], 1)
    steepness = np.where(leads, np.abs(rays.heights[:, None] * rays.reciprocal_distance), 1)
    length = np.where(leads, rays.slice_spacing * np.sqrt(1 + 1 / steepness**2), 0).astype(np.float32)
    # From slice to slice a ray passes `pace` lines of the axis that leads in the plane, and drifts along the other.
    pace = 1 / climb
    line = rays.start[view] - rays.middle * pace
    other, drift = plane.intercept[view] + line * plane.slope[view], pace * plane.slope[view]
    rows_lead = plane.rows_lead[view]
    row, column = np.where(rows_lead, line, other), np.where(rows_lead, other, line)
    return row, column, np.where(rows_lead, pace, drift), np.where(rows_lead, drift, pace), length


@njit(cache=True, nogil=True, fastmath=OPTIONS, error_model="numpy")
def _cross_planes(
    planes: Any,
    begin: int,
    segments: Any,
    intercept: Any,
    slope: Any,
    start: Any,
    rise: Any,
    heights: Any,
    middle: float,
    projections: Any,
    adjoint: bool,
) -> None:
    """Add bordered planes (n, slices + 3, width + 3), the first being number `begin`, to views, or views to them."""
    slices, width, bins = planes.shape[1] - 3, planes.shape[2] - 3, intercept.shape[1]
    rows, down = np.empty(bins + 1, np.int32), np.empty(bins + 1, np.float32)
    columns, right = np.empty(bins + 1, np.int32), np.empty(bins + 1, np.float32)
    rises, base = np.empty(bins), np.full(bins, middle)
    # All views cross a few planes, which stay in the cache, before the next few are taken.
    low, high = 0, 0
    for number in range(segments.shape[0] * ((planes.shape[0] + _PLANES - 1) // _PLANES)):
        view, first, after = segments[number % segments.shape[0]]
        block = number // segments.shape[0] * _PLANES
        for plane in range(block, min(block + _PLANES, planes.shape[0])):
            line = begin + plane
            low, high = move_window(intercept[view], slope[view], line, first, after, width, low, high)
            if low == high:
                continue
            locate(intercept[view], slope[view], float(line), low, high, width, columns, right)
            least, most = np.inf, -np.inf
            for bin_ in range(low, high):
                rises[bin_] = (line - start[view, bin_]) * rise[view, bin_]
                least, most = min(least, rises[bin_]), max(most, rises[bin_])
            for row in range(heights.size):
                one, other = middle + heights[row] * least, middle + heights[row] * most
                if max(one, other) <= -1.0 or min(one, other) >= slices:
                    continue
                locate(base, rises, heights[row], low, high, slices, rows, down)
                if adjoint:
                    _scatter(projections[view, row], rows, down, columns, right, low, planes[plane])
                else:
                    _gather(planes[plane], rows, down, columns, right, low, projections[view, row])


@njit(cache=True, nogil=True, fastmath=OPTIONS, error_model="numpy")
def _gather(plane: Any, rows: Any, down: Any, columns: Any, right: Any, low: int, sums: Any) -> None:
    # A loop that ends by what it reads is not turned into vector gathers, which are slower here than plain loads.
    bin_, one = np.uint64(low), np.uint32(1)
    while True:
        if columns[bin_] < 0:
            return
        row, column = np.uint32(rows[bin_]), np.uint32(columns[bin_])
        above, below = plane[row, column], plane[row + one, column]
        above += right[bin_] * (plane[row, column + one] - above)
        below += right[bin_] * (plane[row + one, column + one] - below)
        sums[bin_] += above + down[bin_] * (below - above)
        bin_ += np.uint64(1)


@njit(cache=True, nogil=True, fastmath=OPTIONS, error_model="numpy")
def _scatter(values: Any, rows: Any, down: Any, columns: Any, right: Any, low: int, plane: Any) -> None:
    bin_, one = np.uint64(low), np.uint32(1)
    while True:
        if columns[bin_] < 0:
            return
        row, column = np.uint32(rows[bin_]), np.uint32(columns[bin_])
        below = down[bin_] * values[bin_]
        above = values[bin_] - below
        plane[row, column] += above - right[bin_] * above
        plane[row, column + one] += right[bin_] * above
        plane[row + one, column] += below - right[bin_] * below
        plane[row + one, column + one] += right[bin_] * below
        bin_ += np.uint64(1)


@njit(cache=True, nogil=True, fastmath=OPTIONS, error_model="numpy")
def _cross_slices(
    slices: Any,
    begin: int,
    row: Any,
    column: Any,
    down: Any,
    right: Any,
    length: Any,
    projection: Any,
    adjoint: bool,
) -> None:
    """Add bordered slices, the first being number `begin`, to a view's rays of length above 0, or these to them."""
    height, width = slices.shape[1] - 3, slices.shape[2] - 3
    for j in range(length.shape[0]):
        for k in range(length.shape[1]):
            for n in range(slices.shape[0] if length[j, k] > 0 else 0):
                place = row[j, k] + (begin + n) * down[j, k] + 1.0, column[j, k] + (begin + n) * right[j, k] + 1.0
                if not (0.0 < place[0] < height + 1 and 0.0 < place[1] < width + 1):
                    continue
                y, x = int(place[0]), int(place[1])
                below, beside = np.float32(place[0] - y), np.float32(place[1] - x)
                plane = slices[n]
                if adjoint:
                    value = projection[j, k] * length[j, k]
                    lower = below * value
                    upper = value - lower
                    plane[y, x] += upper - beside * upper
                    plane[y, x + 1] += beside * upper
                    plane[y + 1, x] += lower - beside * lower
                    plane[y + 1, x + 1] += beside * lower
                else:
                    upper = plane[y, x] + beside * (plane[y, x + 1] - plane[y, x])
                    lower = plane[y + 1, x] + beside * (plane[y + 1, x + 1] - plane[y + 1, x])
                    projection[j, k] += (upper + below * (lower - upper)) * length[j, k]
