"""The loops of the augmentation: one resampling, one pass over the tones, a separable blur; compiled with numba.

Every kernel works on float32, on one thread, releases the interpreter's lock, keeps no state and draws no random
number of its own: workers and threads run side by side and the same arguments give the same bits. The elastic
displacement is a uniform cubic B-spline, evaluated a row at a time as one cubic polynomial a cell (S. Lee, G. Wolberg,
S. Y. Shin, "Scattered data interpolation with multilevel B-splines", IEEE TVCG 3(3), 1997, for the lattice).
"""

from typing import Any

import numpy as np
from numba import njit, types
from numba.extending import intrinsic

REFLECT, REPLICATE, LOWEST = 0, 1, 2

# Not "reassoc": sums keep their order, so results do not depend on how a loop was cut into vector lanes.
_OPTIONS = {"contract", "nnan", "ninf", "nsz", "arcp"}

# float32 constants, because one float64 constant would make numba compute whole loops in float64.
_ZERO, _HALF, _ONE, _TWO = np.float32(0), np.float32(0.5), np.float32(1), np.float32(2)
_FOUR, _SIX = np.float32(4), np.float32(6)

# log2(1 + t) / t on [2^-1/2 - 1, 2^1/2 - 1] and (2^f - 1) / f on [-1/2, 1/2], Chebyshev interpolation, lowest power
# first; errors of log2 and 2^f 1e-7. Without an own power function numba calls the C library value by value.
_L0, _L1, _L2, _L3, _L4, _L5, _L6, _L7 = (
    np.float32(value)
    for value in (
        1.44269499,
        -0.721352931,
        0.480916708,
        -0.360225182,
        0.287288882,
        -0.249271822,
        0.232652579,
        -0.142759734,
    )
)
_E0, _E1, _E2, _E3, _E4 = (
    np.float32(value) for value in (0.693147181, 0.24022349, 0.0555038101, 0.00966636852, 0.00133813025)
)
_SQUARE_ROOT_HALF_BITS = np.int32(0x3F3504F3)
_SMALLEST = np.float32(1.2e-38)  # the smallest normal number: its logarithm is still finite

_LOW_40_BITS, _TWO_TO_MINUS_24, _MIDDLE = np.uint64((1 << 40) - 1), np.float32(2.0**-24), np.float32(20.5)


@intrinsic
def _float_of_bits(typing_context: Any, value: Any) -> Any:
    return types.float32(types.int32), lambda context, builder, signature, arguments: builder.bitcast(
        arguments[0], context.get_value_type(types.float32)
    )


@intrinsic
def _bits_of_float(typing_context: Any, value: Any) -> Any:
    return types.int32(types.float32), lambda context, builder, signature, arguments: builder.bitcast(
        arguments[0], context.get_value_type(types.int32)
    )


@intrinsic
def _set_bits(typing_context: Any, value: Any) -> Any:
    return types.uint64(types.uint64), lambda context, builder, signature, arguments: builder.ctpop(arguments[0])


@njit(inline="always")
def power(value: Any, exponent: Any) -> Any:
    """value ** exponent for value in [0, 1] and exponent > 0, to 1e-6; 0 and 1 stay what they are."""
    bits = _bits_of_float(max(value, _SMALLEST))
    whole = (bits - _SQUARE_ROOT_HALF_BITS) >> np.int32(23)
    t = _float_of_bits(np.int32(bits - (whole << np.int32(23)))) - _ONE
    series = _L7
    series = series * t + _L6
    series = series * t + _L5
    series = series * t + _L4
    series = series * t + _L3
    series = series * t + _L2
    series = series * t + _L1
    series = series * t + _L0
    logarithm = max((np.float32(whole) + series * t) * exponent, np.float32(-126))
    nearest = np.rint(logarithm)
    f = logarithm - nearest
    series = _E4
    series = series * f + _E3
    series = series * f + _E2
    series = series * f + _E1
    series = series * f + _E0
    result = (series * f + _ONE) * _float_of_bits(np.int32((np.int32(nearest) + np.int32(127)) << np.int32(23)))
    return result if value > _ZERO else _ZERO


@njit(error_model="numpy", fastmath=_OPTIONS)
def _split_row(positions: Any, index: Any, covered: Any, size: int, border: int, nearest: bool) -> None:
    """Split positions along one axis into a pixel inside the image and the fraction of the way to the next.

    `positions` becomes the fraction, `index` the pixel; `covered` is multiplied with how much of the interpolation
    lies on the image, for border LOWEST. Mirroring is about the centres of the outermost pixels.
    """
    last = np.float32(size - 1)
    if border == LOWEST:
        for x in range(positions.shape[0]):
            before, behind = positions[x] + _ONE, last + _ONE - positions[x]
            covered[x] *= min(max(before, _ZERO), _ONE) * min(max(behind, _ZERO), _ONE)
    period = _TWO * last
    inverse = _ONE / period if size > 1 else _ZERO
    offset = _HALF if nearest else _ZERO
    limit = np.int32(size - 1 if nearest else max(size - 2, 0))
    if border == REFLECT:
        for x in range(positions.shape[0]):
            positions[x] = abs(positions[x] - period * np.rint(positions[x] * inverse))
    for x in range(positions.shape[0]):
        place = min(max(positions[x], _ZERO), last)
        index[x] = min(np.int32(place + offset), limit)
        positions[x] = place - np.float32(index[x])


@njit(inline="always")
def _spline_weights(t: Any) -> Any:
    s = _ONE - t
    return (
        s * s * s / _SIX,
        (_FOUR + t * t * (np.float32(3) * t - _SIX)) / _SIX,
        (_FOUR + s * s * (np.float32(3) * s - _SIX)) / _SIX,
        t * t * t / _SIX,
    )


@njit(inline="always")
def _lattice_place(index: int, size: int, cells: int) -> Any:
    """Cell of a pixel and the place in it, in [0, 1): pixel centres spread evenly over the cells."""
    place = (index + 0.5) * cells / size
    cell = min(int(place), cells - 1)
    return cell, np.float32(place - cell)


@njit(error_model="numpy", fastmath=_OPTIONS)
def _add_spline_row(control: Any, positions: Any) -> None:
    """Add the cubic B-spline with these control points (cells + 3) to a row of positions, pixels."""
    size = positions.shape[0]
    cells = control.shape[0] - 3
    step = np.float32(cells / size)
    start = 0
    for cell in range(cells):
        # The first pixel whose centre lies beyond this cell.
        stop = size if cell == cells - 1 else min(int(np.ceil((cell + 1) * size / cells - 0.5)), size)
        p0, p1, p2, p3 = control[cell], control[cell + 1], control[cell + 2], control[cell + 3]
        c0 = (p0 + _FOUR * p1 + p2) / _SIX
        c1 = (p2 - p0) / _TWO
        c2 = (p0 - _TWO * p1 + p2) / _TWO
        c3 = (p3 - p0 + np.float32(3) * (p1 - p2)) / _SIX
        offset = np.float32((start + 0.5) * cells / size - cell)
        row = positions[start:stop]
        for x in range(row.shape[0]):
            t = offset + step * np.float32(x)
            row[x] += ((c3 * t + c2) * t + c1) * t + c0
        start = stop


@njit(error_model="numpy", fastmath=_OPTIONS)
def _linear_row(slope: Any, start: Any, positions: Any) -> None:
    for x in range(positions.shape[0]):
        positions[x] = slope * np.float32(x) + start


@njit(error_model="numpy", fastmath=_OPTIONS)
def _combined_rows(control: Any, weights: Any, cell: int, out: Any) -> None:
    """Sum four neighbouring rows of control points (rows, columns) with the spline's weights."""
    for k in range(out.shape[0]):
        out[k] = (
            weights[0] * control[cell, k]
            + weights[1] * control[cell + 1, k]
            + weights[2] * control[cell + 2, k]
            + weights[3] * control[cell + 3, k]
        )


@njit(error_model="numpy", fastmath=_OPTIONS)
def _cover_row(out: Any, covered: Any, nearest: bool) -> None:
    """Put the lowest value where a row lies outside of the image."""
    for x in range(out.shape[0]):
        out[x] = (out[x] if covered[x] >= _HALF else _ZERO) if nearest else covered[x] * (out[x] + _ONE) - _ONE


@njit(inline="always")
def _bilinear(values: Any, at: Any, right: Any, below: Any, row: Any, column: Any) -> Any:
    """Interpolate between four pixels of a flat array; `right` and `below` are the distances to the neighbours."""
    top = values[at] + column * (values[at + right] - values[at])
    bottom = values[at + below] + column * (values[at + below + right] - values[at + below])
    return top + row * (bottom - top)


@njit(nogil=True, cache=True, error_model="numpy", fastmath=_OPTIONS)
def warp_planes(
    sources: Any, targets: Any, matrix: Any, control: Any, elastic: bool, border: int, nearest: bool
) -> None:
    """Resample all channels of pictures of one size once, by one map, linearly or by the nearest pixel.

    Args:
        sources: tuple of (channels, height * width) float32, in [-1, 1] unless `nearest`.
        targets: tuple of arrays (channels, height, width), overwritten.
        matrix: (2, 3) float64, target index (row, column, 1) to source index, pixels.
        control: (2, cells + 3, cells + 3) float32, control points of the displacement added to the source index,
            pixels; not read unless `elastic`.
        border: REFLECT, REPLICATE or LOWEST (-1 outside; 0 with `nearest`).
        nearest: take the nearest pixel: for labels.
    """
    _, height, width = targets[0].shape
    places, row_control = np.empty((2, width), np.float32), np.zeros(control.shape[2], np.float32)
    index, covered = np.empty((2, width), np.int32), np.ones(width, np.float32)
    right, below = np.uint64(min(width - 1, 1)), np.uint64(width if height > 1 else 0)
    for y in range(height):
        cell, t = _lattice_place(y, height, control.shape[1] - 3)
        weights = _spline_weights(t)
        covered[:] = _ONE
        for axis in range(2):
            start = matrix[axis, 0] * y + matrix[axis, 2]
            _linear_row(np.float32(matrix[axis, 1]), np.float32(start), places[axis])
            if elastic:
                _combined_rows(control[axis], weights, cell, row_control)
                _add_spline_row(row_control, places[axis])
            _split_row(places[axis], index[axis], covered, targets[0].shape[axis + 1], border, nearest)
        base, rows, columns = index[0], places[0], places[1]
        for x in range(width):
            base[x] = base[x] * np.int32(width) + index[1, x]
        for picture in range(len(sources)):
            for channel in range(targets[picture].shape[0]):
                values, out = sources[picture][channel], targets[picture][channel, y]
                if nearest:
                    for x in range(width):
                        out[x] = values[np.uint64(base[x])]
                else:
                    for x in range(width):
                        out[x] = _bilinear(values, np.uint64(base[x]), right, below, rows[x], columns[x])
                if border == LOWEST:
                    _cover_row(out, covered, nearest)


@njit(nogil=True, cache=True, error_model="numpy", fastmath=_OPTIONS)
def warp_volume(source: Any, target: Any, matrix: Any, control: Any, elastic: bool, border: int, nearest: bool) -> None:
    """Resample all channels of a volume once, as `warp_planes`, with one more axis.

    Args:
        source: (channels, depth, height, width) float32, in [-1, 1] unless `nearest`.
        target: array of the same shape, overwritten.
        matrix: (3, 4) float64, target index (slice, row, column, 1) to source index, voxels.
        control: (3, cells + 3, cells + 3, cells + 3) float32, voxels; not read unless `elastic`.
        border: REFLECT, REPLICATE or LOWEST (-1 outside; 0 with `nearest`).
        nearest: take the nearest voxel: for labels.
    """
    channels, depth, height, width = source.shape
    flat = source.reshape(channels, depth * height * width)
    places, row_control = np.empty((3, width), np.float32), np.zeros(control.shape[3], np.float32)
    plane_control = np.zeros((3, control.shape[2], control.shape[3]), np.float32)
    index, covered = np.empty((3, width), np.int32), np.ones(width, np.float32)
    right, below = np.uint64(min(width - 1, 1)), np.uint64(width if height > 1 else 0)
    behind = np.uint64(height * width if depth > 1 else 0)
    for z in range(depth):
        slab, slab_t = _lattice_place(z, depth, control.shape[1] - 3)
        if elastic:
            slab_weights = _spline_weights(slab_t)
            for axis in range(3):
                for k in range(control.shape[2]):
                    _combined_rows(control[axis, :, k], slab_weights, slab, plane_control[axis, k])
        for y in range(height):
            cell, t = _lattice_place(y, height, control.shape[2] - 3)
            weights = _spline_weights(t)
            covered[:] = _ONE
            for axis in range(3):
                start = matrix[axis, 0] * z + matrix[axis, 1] * y + matrix[axis, 3]
                _linear_row(np.float32(matrix[axis, 2]), np.float32(start), places[axis])
                if elastic:
                    _combined_rows(plane_control[axis], weights, cell, row_control)
                    _add_spline_row(row_control, places[axis])
                _split_row(places[axis], index[axis], covered, source.shape[axis + 1], border, nearest)
            for channel in range(channels):
                values, out = flat[channel], target[channel, z, y]
                for x in range(width):
                    at = np.uint64((index[0, x] * height + index[1, x]) * width + index[2, x])
                    if nearest:
                        out[x] = values[at]
                        continue
                    a, b, c = places[0, x], places[1, x], places[2, x]
                    near = _bilinear(values, at, right, below, b, c)
                    out[x] = near + a * (_bilinear(values, at + behind, right, below, b, c) - near)
                if border == LOWEST:
                    _cover_row(out, covered, nearest)


@njit(nogil=True, cache=True, error_model="numpy", fastmath=_OPTIONS)
def adjust_tones(values: Any, contrast: Any, brightness: Any, gamma: Any) -> None:
    """Overwrite values v in [-1, 1] by contrast * v + brightness, clipped, then gamma on (v + 1) / 2.

    Args:
        values: (n,) float32.
        contrast: float32, factor about the middle of the range.
        brightness: float32, added, in units of [-1, 1].
        gamma: float32 above 0, exponent.
    """
    # To the unit range and the linear part in one step.
    shift = _HALF * (brightness + _ONE)
    factor = _HALF * contrast
    if gamma == _ONE:
        for i in range(values.shape[0]):
            values[i] = _TWO * min(max(factor * values[i] + shift, _ZERO), _ONE) - _ONE
    else:
        for i in range(values.shape[0]):
            unit = min(max(factor * values[i] + shift, _ZERO), _ONE)
            values[i] = _TWO * min(power(unit, gamma), _ONE) - _ONE


@njit(nogil=True, cache=True, error_model="numpy", fastmath=_OPTIONS)
def add_noise(values: Any, standard_deviation: Any, seed: Any) -> None:
    """Add nearly normal noise, independent from value to value, and clip to [-1, 1].

    Value i takes 64 bits of splitmix64 (G. L. Steele, D. Lea, C. H. Flood, "Fast splittable pseudorandom number
    generators", OOPSLA 2014) started at the seed. How many of 40 of them are set is binomial, the other 24 spread it
    evenly between the whole numbers: mean 0, no skewness, excess kurtosis -0.05, all within 6.5 standard deviations.

    Args:
        values: (n,) float32 in [-1, 1], overwritten.
        standard_deviation: float32, in units of [-1, 1].
        seed: uint64.
    """
    # The variance of the sum: 40 / 4 of the binomial and 1 / 12 of the uniform part.
    factor = standard_deviation / np.sqrt(np.float32(10 + 1 / 12))
    for i in range(values.shape[0]):
        word = seed + np.uint64(i + 1) * np.uint64(0x9E3779B97F4A7C15)
        word = (word ^ (word >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        word = (word ^ (word >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        word = word ^ (word >> np.uint64(31))
        even = np.float32(np.int32(word >> np.uint64(40))) * _TWO_TO_MINUS_24
        count = np.float32(np.int32(_set_bits(word & _LOW_40_BITS)))
        value = values[i] + factor * (count + even - _MIDDLE)
        values[i] = min(max(value, -_ONE), _ONE)


@njit(nogil=True, cache=True, error_model="numpy", fastmath=_OPTIONS)
def smooth_axis(source: Any, target: Any, half_kernel: Any) -> None:
    """Convolve along the middle axis with a symmetric kernel; the border is mirrored about its pixels' centres.

    Args:
        source: (before, length, after) float32.
        target: array of the same shape, overwritten; not `source`.
        half_kernel: (radius + 1,) float32, the centre first.
    """
    before, length, after = source.shape
    radius = half_kernel.shape[0] - 1
    period = max(2 * (length - 1), 1)
    line = np.empty(length + 2 * radius, np.float32)
    mirrored = np.empty(length + 2 * radius, np.int64)
    for i in range(length + 2 * radius):
        place = (i - radius) % period if length > 1 else 0
        mirrored[i] = min(place, period - place) if length > 1 else 0
    for b in range(before):
        if after == 1:
            for i in range(line.shape[0]):
                line[i] = source[b, mirrored[i], 0]
            out = target[b, :, 0]
            for i in range(length):
                out[i] = half_kernel[0] * line[i + radius]
            for k in range(1, radius + 1):
                low, high = line[radius - k :], line[radius + k :]
                for i in range(length):
                    out[i] += half_kernel[k] * (low[i] + high[i])
            continue
        for i in range(length):
            row = target[b, i]
            centre = source[b, i]
            for j in range(after):
                row[j] = half_kernel[0] * centre[j]
            for k in range(1, radius + 1):
                above, under = source[b, mirrored[i + radius - k]], source[b, mirrored[i + radius + k]]
                for j in range(after):
                    row[j] += half_kernel[k] * (above[j] + under[j])
