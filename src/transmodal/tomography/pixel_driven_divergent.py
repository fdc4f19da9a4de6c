"""Back-projection of fan and cone beams as analytic reconstruction wants it: every pixel asks every view for its value.

This is no adjoint of a projector (that is `projection.backproject`); it interpolates linearly between bins and weights
by distance. `pixel_driven_parallel` does the same for parallel rays.

Positions are in bins. Kernels run on several threads, over rows or blocks of voxels, and sum in the same order whatever
their number.
"""

from functools import partial
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from transmodal.tomography.geometry import ConeBeam, FanBeam, Grid
from transmodal.tomography.threads import share

Views = NDArray[np.float32]

_ROWS = 16  # of a fan beam's image, between which the threads take turns
_BLOCK_SLICES, _BLOCK_ROWS = 64, 4  # of a volume: such a block and what it needs of one view stay in a core's cache

# Lanes may be filled in any order; NaN does not reach these kernels.
_FAST = {"reassoc", "contract", "arcp", "nsz"}


def back_project_fan(views: Views, grid: Grid, beam: FanBeam) -> Views:
    """Sum filtered fan-beam views over a grid, each pixel weighted by its distance from the source.

    The weight is (source to axis / depth along the central ray)² of a straight detector, 1 / distance² of a curved one.

    Args:
        views: (n, views, bins), already multiplied by the arc of each view.
        grid, beam: where pixels and bins are.

    Returns:
        (n, rows, columns), float32.
    """
    radians = np.deg2rad(np.asarray(beam.angles))
    cosines, sines = np.cos(radians), np.sin(radians)
    x, y = grid.positions(1).astype(np.float32), grid.positions(0)
    first = np.float32(1 - beam.positions[0] / beam.pitch)
    scale = np.float32(beam.source_to_detector / beam.pitch)
    # A zero on each side stands for whatever lies beyond the detector.
    padded = np.pad(views, ((0, 0), (0, 0), (1, 2)))
    image = np.zeros((len(views), *grid.shape), np.float32)

    def work(start: int, stop: int) -> None:
        _add_fan(padded, cosines, sines, x, y, beam.source_to_axis, first, scale, beam.curved, start, stop, image)

    share(work, image.shape[1], _ROWS, float(image.size) * len(radians))
    return image


@njit(cache=True, nogil=True, fastmath=_FAST, error_model="numpy")
def _add_fan(
    sinograms: Views,
    cosines: NDArray[Any],
    sines: NDArray[Any],
    x: NDArray[np.float32],
    y: NDArray[Any],
    source_to_axis: float,
    first: np.float32,
    scale: np.float32,
    curved: bool,
    start: int,
    stop: int,
    images: Views,
) -> None:
    positions, weights = np.empty(x.size, np.float32), np.empty(x.size, np.float32)
    for i in range(start, stop):
        for number in range(len(cosines)):
            cosine, sine = np.float32(cosines[number]), np.float32(sines[number])
            aside, depth = np.float32(y[i] * sines[number]), np.float32(source_to_axis + y[i] * cosines[number])
            # Places first, in vector lanes; then the look-ups, which fill none.
            if curved:
                _places_on_arc(x, cosine, sine, aside, depth, positions, weights)
            else:
                _places_on_line(x, cosine, sine, aside, depth, np.float32(source_to_axis), positions, weights)
            most = np.float32(sinograms.shape[2] - 2)
            for j in range(x.size):
                positions[j] = min(max(positions[j] * scale + first, np.float32(0)), most)
            for image in range(len(images)):
                view, row = sinograms[image, number], images[image, i]
                for j in range(x.size):
                    bin = np.uint32(np.int32(positions[j]))
                    low = view[bin]
                    later = positions[j] - np.float32(bin)
                    row[j] += weights[j] * (low + later * (view[bin + np.uint32(1)] - low))


@njit(cache=True, nogil=True, fastmath=_FAST, error_model="numpy")
def _places_on_line(
    x: NDArray[np.float32],
    cosine: np.float32,
    sine: np.float32,
    aside: np.float32,
    depth: np.float32,
    source_to_axis: np.float32,
    ratios: NDArray[np.float32],
    weights: NDArray[np.float32],
) -> None:
    squared = source_to_axis * source_to_axis
    for j in range(x.size):
        nearness = np.float32(1) / (depth - x[j] * sine)
        ratios[j] = (aside + x[j] * cosine) * nearness
        weights[j] = squared * nearness * nearness


@njit(cache=True, nogil=True, fastmath=_FAST, error_model="numpy")
def _places_on_arc(
    x: NDArray[np.float32],
    cosine: np.float32,
    sine: np.float32,
    aside: np.float32,
    depth: np.float32,
    angles: NDArray[np.float32],
    weights: NDArray[np.float32],
) -> None:
    for j in range(x.size):
        across, ahead = aside + x[j] * cosine, depth - x[j] * sine
        squared = across * across + ahead * ahead
        # Twice the arc tangent of half the angle: its ratio stays below 1. The series, good to 2e-8 and, unlike the
        # library's function, fit for vector lanes: M. Abramowitz, I. Stegun, "Handbook of Mathematical Functions",
        # equation 4.4.49.
        ratio = across / (ahead + np.sqrt(squared))
        square = ratio * ratio
        series = np.float32(0.0028662257)
        series = series * square - np.float32(0.0161657367)
        series = series * square + np.float32(0.0429096138)
        series = series * square - np.float32(0.0752896400)
        series = series * square + np.float32(0.1065626393)
        series = series * square - np.float32(0.1420889944)
        series = series * square + np.float32(0.1999355085)
        series = series * square - np.float32(0.3333314528)
        angles[j] = np.float32(2) * (ratio + ratio * square * series)
        weights[j] = np.float32(1) / squared


def back_project_cone(views: Views, grid: Grid, beam: ConeBeam) -> Views:
    """Sum filtered cone-beam views over a volume, each voxel weighted by (source to axis / its depth)².

    Depth is the distance from the source along the central ray.

    Args:
        views: (views, bins, rows), rows last, already multiplied by the arc of each view.
        grid, beam: where voxels, bins and rows are.

    Returns:
        (slices, rows, columns), float32.
    """
    radians = np.deg2rad(np.asarray(beam.angles))
    volume = np.empty(grid.shape, np.float32)
    distance = beam.source_to_detector
    add = partial(
        _add_cone,
        views,
        np.cos(radians),
        np.sin(radians),
        grid.positions(2),
        grid.positions(1),
        grid.positions(0),
        beam.source_to_axis,
        distance / beam.pitch,
        -beam.positions[0] / beam.pitch,
        distance / beam.row_pitch,
        -beam.row_positions[0] / beam.row_pitch,
        volume,
    )
    blocks = -(-grid.shape[0] // _BLOCK_SLICES) * -(-grid.shape[1] // _BLOCK_ROWS)
    share(add, blocks, 1, float(volume.size) * len(radians))
    return volume


@njit(cache=True, nogil=True, fastmath=_FAST, error_model="numpy")
def _add_cone(
    views: Views,
    cosines: NDArray[Any],
    sines: NDArray[Any],
    x: NDArray[Any],
    y: NDArray[Any],
    z: NDArray[Any],
    source_to_axis: float,
    scale: float,
    first: float,
    row_scale: float,
    first_row: float,
    volume: Views,
    start: int,
    stop: int,
) -> None:
    strips = -(-len(y) // _BLOCK_ROWS)
    for task in range(start, stop):
        low, top = (task // strips) * _BLOCK_SLICES, (task % strips) * _BLOCK_ROWS
        heights = z[low : low + _BLOCK_SLICES]
        lines = y[top : top + _BLOCK_ROWS]
        block = np.zeros((len(lines), len(x), len(heights)), np.float32)
        column = np.empty(views.shape[2] + 1, np.float32)
        for number in range(len(cosines)):
            for i in range(len(lines)):
                for j in range(len(x)):
                    nearness = 1 / (source_to_axis - x[j] * sines[number] + lines[i] * cosines[number])
                    position = (x[j] * cosines[number] + lines[i] * sines[number]) * nearness * scale + first
                    if 0 <= position <= views.shape[1] - 1:
                        _add_column(
                            views[number],
                            position,
                            (source_to_axis * nearness) ** 2,
                            heights[0] * nearness * row_scale + first_row,
                            (heights[-1] - heights[0]) * nearness * row_scale / max(len(heights) - 1, 1),
                            column,
                            block[i, j],
                        )
        for i in range(len(lines)):
            for k in range(len(heights)):
                for j in range(len(x)):
                    volume[low + k, top + i, j] = block[i, j, k]


@njit(cache=True, nogil=True, fastmath=_FAST, error_model="numpy")
def _add_column(
    view: Views, position: float, weight: float, start: float, step: float, column: Views, voxels: Views
) -> None:
    """Add one view to the voxels above one another, whose rows on the detector are start, start + step, …"""
    bins, rows = view.shape
    bin = min(int(position), max(bins - 2, 0))
    later = np.float32(weight * (position - bin))
    earlier = np.float32(weight) - later
    # The voxels that are seen, and the detector rows they are seen on.
    begin, end = 0, voxels.size
    if start < 0:
        begin = end if step <= 0 else min(int(np.ceil(-start / step)), end)
    if start + (end - 1) * step > rows - 1:
        end = min(int(np.floor((rows - 1 - start) / step)) + 1, end) if step > 0 else begin
    if begin >= end:
        return
    bottom = max(int(start + begin * step), 0)
    above = min(int(start + (end - 1) * step) + 2, rows)
    a, b = view[bin], view[min(bin + 1, bins - 1)]
    for row in range(bottom, above):
        column[row] = earlier * a[row] + later * b[row]
    column[above] = column[above - 1]  # weighted by 0 on the last row
    offset, move = np.float32(start), np.float32(step)
    for k in range(begin, end):
        place = max(offset + np.float32(k) * move, np.float32(0))
        lower = np.uint32(np.int32(place))
        voxels[k] += column[lower] + (place - np.float32(lower)) * (column[lower + np.uint32(1)] - column[lower])
