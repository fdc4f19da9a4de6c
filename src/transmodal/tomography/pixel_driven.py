"""Back-projection as analytic reconstruction wants it: every pixel asks every view for its value, between two bins.

This is no adjoint of a projector (that is `projection.backproject`); it interpolates linearly and weights by distance.

Parallel rays allow a short cut. Along a row of pixels the place on the detector moves by the same step in every row,
only the start differs. Each view is therefore read once at a lattice of `phases` places a step, and a row of the image
is then a sum of contiguous stretches of two lattice lines: nothing is looked up pixel by pixel. Views nearer to the
columns than to the rows do the same with the image turned over, so that the start of a row never moves by more than one
step a row. Between two lattice places, 1/32 bin apart, the value is interpolated once more, which costs less than a
thousandth; 47 million look-ups of an image of 512² and 180 views become 5 million.

Positions are in bins. Kernels run on several threads, over rows or blocks of voxels, and sum in the same order whatever
their number.
"""

import math
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from transmodal.tomography.geometry import ConeBeam, FanBeam, Grid, ParallelBeam
from transmodal.tomography.threads import share, threads

Views = NDArray[np.float32]

_PHASES_A_BIN = 32
_LATTICE_VALUES = 2**22  # of the views that are back-projected together: 16 MiB, of the third-level cache
_SHEARED_ROWS = 32  # that are finished together: they and the lattice of one view stay in a core's cache
_ROWS = 16  # of a fan beam's image, between which the threads take turns
_BLOCK_SLICES, _BLOCK_ROWS = 64, 4  # of a volume: such a block and what it needs of one view stay in a core's cache

# Lanes may be filled in any order; NaN does not reach these kernels.
_FAST = {"reassoc", "contract", "arcp", "nsz"}


def back_project_parallel(views: Views, grid: Grid, beam: ParallelBeam) -> Views:
    """Sum filtered parallel views over a grid.

    Args:
        views: (n, views, bins), already multiplied by the arc of each view.
        grid, beam: where pixels and bins are.

    Returns:
        (n, rows, columns), float32.
    """
    image = np.zeros((len(views), *grid.shape), np.float32)
    for lattice in parallel_lattices(grid, beam):
        if lattice.turned:
            turned = np.zeros((len(views), *grid.shape[::-1]), np.float32)
            _sheared(views, lattice, turned)
            image += turned.swapaxes(1, 2)
        else:
            _sheared(views, lattice, image)
    return image


@dataclass(frozen=True, eq=False)
class Lattice:
    """The places, `phases` a column, at which the views of one direction are read.

    Place m of a view lies at bin first + m·finer. A row of pixels begins at place row·slope − lowest, which is no whole
    number, and goes on by `phases` places a pixel.

    Attributes:
        views: (v,), their numbers.
        turned: rows and columns of the image change places for them.
        phases: places a column.
        length: places of each phase.
        slope: (v,), places a row.
        lowest: (v,), whole places, at most 0.
        first: (v,), bins.
        finer: (v,), bins.
    """

    views: NDArray[Any]
    turned: bool
    phases: int
    length: int
    slope: NDArray[Any]
    lowest: NDArray[Any]
    first: NDArray[Any]
    finer: NDArray[Any]


def parallel_lattices(grid: Grid, beam: ParallelBeam) -> list[Lattice]:
    """Return the lattices of the views nearer to the rows and of those nearer to the columns, if there are any."""
    radians = np.deg2rad(np.asarray(beam.angles))
    across = np.cos(radians) * grid.spacing[1] / beam.pitch  # bins a column
    down = np.sin(radians) * grid.spacing[0] / beam.pitch  # bins a row
    first = np.cos(radians) * grid.positions(1)[0] + np.sin(radians) * grid.positions(0)[0] - beam.positions[0]
    first /= beam.pitch
    along_rows = np.abs(across) >= np.abs(down)
    lattices = []
    if along_rows.any():
        lattices.append(_lattice(np.flatnonzero(along_rows), first, across, down, grid.shape, turned=False))
    if not along_rows.all():
        lattices.append(_lattice(np.flatnonzero(~along_rows), first, down, across, grid.shape[::-1], turned=True))
    return lattices


def _lattice(
    views: NDArray[Any],
    first: NDArray[Any],
    step: NDArray[Any],
    shift: NDArray[Any],
    shape: tuple[int, ...],
    *,
    turned: bool,
) -> Lattice:
    """Return the lattice of views for images whose pixel (i, j) sees bin first + j·step + i·shift, |shift| ≤ |step|."""
    rows, columns = shape
    phases = int(np.clip(math.ceil(_PHASES_A_BIN * float(np.abs(step[views]).max())), 2, 256))
    finer = step[views] / phases
    slope = shift[views] / finer  # lattice places a row
    lowest = np.floor(np.minimum(slope * (rows - 1), 0)).astype(np.int64)
    reach = int(np.ceil(np.abs(slope).max() * (rows - 1))) + 2
    return Lattice(
        views, turned, phases, columns + reach // phases + 2, slope, lowest, first[views] + lowest * finer, finer
    )


def _sheared(views: Views, lattice: Lattice, image: Views) -> None:
    """Add the views of a lattice to images."""
    rows = image.shape[1]
    together = max(_LATTICE_VALUES // (lattice.phases * lattice.length), 1)
    for begin in range(0, len(lattice.views), together):
        some = slice(begin, begin + together)
        chosen = lattice.views[some]
        values = np.empty((len(chosen), lattice.phases, lattice.length), np.float32)
        for sinogram, made in zip(views, image, strict=True):
            read = partial(_read_lattice, sinogram[chosen], lattice.first[some], lattice.finer[some], values)
            share(read, len(chosen), -(-len(chosen) // (2 * threads())), values.size)
            add = partial(_add_stretches, values, lattice.slope[some], lattice.lowest[some], made)
            share(add, rows, _SHEARED_ROWS, len(chosen) * made.size / 8)


@njit(cache=True, nogil=True, fastmath=_FAST, error_model="numpy")
def _read_lattice(
    sinogram: Views, first: NDArray[Any], finer: NDArray[Any], lattice: Views, start: int, stop: int
) -> None:
    phases, length = lattice.shape[1:]
    last = sinogram.shape[1] - 1
    positions = np.empty(length, np.float32)
    for number in range(start, stop):
        view, stride = sinogram[number], phases * finer[number]
        for phase in range(phases):
            line = lattice[number, phase]
            origin = first[number] + phase * finer[number]
            # Which places lie on the detector; those at its very ends may be rounded to either side.
            ends = -origin / stride, (last - origin) / stride
            begin = int(min(max(np.ceil(min(ends[0], ends[1])), 0), length))
            end = int(min(max(np.floor(max(ends[0], ends[1])) + 1, begin), length))
            line[:begin] = 0
            line[end:] = 0
            # Positions first, in vector lanes; then the look-ups, which fill none.
            for place in range(begin, end):
                positions[place] = min(max(np.float32(origin + place * stride), np.float32(0)), np.float32(last))
            for place in range(begin, end):
                bin = np.uint32(min(np.int32(positions[place]), max(last - 1, 0)))
                low, high = view[bin], view[min(bin + np.uint32(1), np.uint32(last))]
                line[place] = low + (positions[place] - np.float32(bin)) * (high - low)


@njit(cache=True, nogil=True, fastmath=_FAST, error_model="numpy")
def _add_stretches(
    lattice: Views, slope: NDArray[Any], lowest: NDArray[Any], image: Views, start: int, stop: int
) -> None:
    phases = lattice.shape[1]
    columns = image.shape[1]
    for view in range(lattice.shape[0]):
        for i in range(start, stop):
            place = i * slope[view] - lowest[view]
            whole = int(place)
            later = np.float32(place - whole)
            earlier = np.float32(1) - later
            begin, end = whole // phases, (whole + 1) // phases
            row = image[i]
            a = lattice[view, whole % phases, begin : begin + columns]
            b = lattice[view, (whole + 1) % phases, end : end + columns]
            for j in range(columns):
                row[j] += earlier * a[j] + later * b[j]


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
