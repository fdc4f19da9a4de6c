"""Vertical line integrals through analytic solids: round cones (tapered capsules) and ellipsoids.

A solid is a row of ten numbers: its kind and nine parameters. A vertical ray meets a convex solid in one interval
[low, high]; the interval is found in closed form. Solids are collected in groups; within a group the longest chord
counts (a chain of capsules has no beads at its joints), between groups chords add, each with signed weights, so that a
marrow cavity takes away bone and gives back soft tissue. Units are mm; x runs right, y down, z up from the bed.
"""

import math

import numba
import numpy as np
from numpy.typing import NDArray

Solids = NDArray[np.float64]

ROUND_CONE = 0.0
ELLIPSOID = 1.0


def round_cones(points: NDArray[np.float64], radii: NDArray[np.float64]) -> Solids:
    """Solids of a chain of spheres joined by tangent cones.

    Arguments: `points` (N, 3) in mm, `radii` (N,) in mm, N >= 2. Returns (N - 1, 10).
    """
    count = len(points) - 1
    rows = np.zeros((count, 10))
    rows[:, 0] = ROUND_CONE
    rows[:, 1:4] = points[:-1]
    rows[:, 4] = radii[:-1]
    rows[:, 5:8] = points[1:]
    rows[:, 8] = radii[1:]
    return rows


def ellipsoid(centre: NDArray[np.float64], axes: NDArray[np.float64], semi_axes: NDArray[np.float64]) -> Solids:
    """Solid of one ellipsoid: `centre` (3,) mm, `axes` (3, 3) unit rows, `semi_axes` (3,) mm. Returns (1, 10)."""
    form = axes.T @ np.diag(1.0 / np.asarray(semi_axes, dtype=np.float64) ** 2) @ axes
    upper = [form[0, 0], form[0, 1], form[0, 2], form[1, 1], form[1, 2], form[2, 2]]
    return np.array([[ELLIPSOID, *centre, *upper]])


@numba.njit(cache=True)
def _zeros_and_balances(quadratic, linear, constant, dz):  # type: ignore[no-untyped-def]
    """Where h(t) = quadratic t² + linear t + constant is zero, and where |dz| = |h'| / (2 sqrt(h)); -1 if nowhere."""
    if quadratic < 1e-12:
        if abs(linear) < 1e-12:
            return -1.0, -1.0, -1.0, -1.0
        balance = (linear * linear / (4.0 * dz * dz) - constant) / linear if abs(dz) > 1e-12 else -1.0
        return -constant / linear, -1.0, balance, -1.0
    middle = -linear / (2.0 * quadratic)
    half = middle * middle - constant / quadratic
    if half <= 0.0:
        return -1.0, -1.0, -1.0, -1.0
    reach = math.sqrt(half)
    steep = dz * dz - quadratic
    off = abs(dz) * reach / math.sqrt(steep) if steep > 1e-12 else -2.0 - abs(middle)
    return middle - reach, middle + reach, middle - off, middle + off


@numba.njit(cache=True)
def _cone_interval(solid, x, y):  # type: ignore[no-untyped-def]  # numba infers the types
    px, py = x - solid[1], y - solid[2]
    dx, dy, dz = solid[5] - solid[1], solid[6] - solid[2], solid[7] - solid[3]
    ra, dr = solid[4], solid[8] - solid[4]
    # h(t) = r(t)² - distance²: half-chord squared of the sphere at t; the ray's interval is z(t) ± sqrt(h(t)).
    quadratic = dr * dr - dx * dx - dy * dy
    linear = 2.0 * (ra * dr + px * dx + py * dy)
    constant = ra * ra - px * px - py * py
    low, high = 1e9, -1e9
    if quadratic < -1e-12:
        a = -quadratic
        middle = linear / (2.0 * a)
        peak = constant + linear * linear / (4.0 * a)
        if peak <= 0.0:
            return low, high
        reach = math.sqrt(peak / a)
        first, last = max(0.0, middle - reach), min(1.0, middle + reach)
        if first > last:
            return low, high
        step = dz * math.sqrt(peak / (a * (a + dz * dz)))
        t = min(max(middle + step, first), last)
        high = solid[3] + dz * t + math.sqrt(max(constant + linear * t + quadratic * t * t, 0.0))
        t = min(max(middle - step, first), last)
        low = solid[3] + dz * t - math.sqrt(max(constant + linear * t + quadratic * t * t, 0.0))
        return low, high
    # Upright: h is convex or straight. The extremes of z(t) ± sqrt(h) lie at the ends, where h vanishes, or where the
    # slopes of both terms cancel; every candidate is a point of the solid, so none can widen the interval wrongly.
    candidates = (0.0, 1.0, *_zeros_and_balances(quadratic, linear, constant, dz))
    for t in candidates:
        h = constant + linear * t + quadratic * t * t
        if 0.0 <= t <= 1.0 and h >= -1e-12:
            root = math.sqrt(max(h, 0.0))
            low = min(low, solid[3] + dz * t - root)
            high = max(high, solid[3] + dz * t + root)
    return low, high


@numba.njit(cache=True)
def _interval(solid, x, y):  # type: ignore[no-untyped-def]
    if solid[0] == 0.0:
        return _cone_interval(solid, x, y)
    dx, dy = x - solid[1], y - solid[2]
    a = solid[9]
    b = solid[6] * dx + solid[8] * dy
    c = solid[4] * dx * dx + 2.0 * solid[5] * dx * dy + solid[7] * dy * dy - 1.0
    inside = b * b - a * c
    if inside <= 0.0:
        return 1e9, -1e9
    root = math.sqrt(inside)
    return solid[3] + (-b - root) / a, solid[3] + (-b + root) / a


@numba.njit(cache=True)
def _bounds(solid, pixel, height, width):  # type: ignore[no-untyped-def]
    if solid[0] == 0.0:
        left = min(solid[1] - solid[4], solid[5] - solid[8])
        right = max(solid[1] + solid[4], solid[5] + solid[8])
        top = min(solid[2] - solid[4], solid[6] - solid[8])
        bottom = max(solid[2] + solid[4], solid[6] + solid[8])
    else:
        # Shadow of an ellipsoid: eliminate z, then the half-sides of the ellipse's box.
        xx = solid[4] - solid[6] * solid[6] / solid[9]
        xy = solid[5] - solid[6] * solid[8] / solid[9]
        yy = solid[7] - solid[8] * solid[8] / solid[9]
        determinant = xx * yy - xy * xy
        half_x, half_y = math.sqrt(yy / determinant), math.sqrt(xx / determinant)
        left, right = solid[1] - half_x, solid[1] + half_x
        top, bottom = solid[2] - half_y, solid[2] + half_y
    return (
        max(0, math.floor(top / pixel - 0.5)),
        min(height, math.ceil(bottom / pixel + 0.5)),
        max(0, math.floor(left / pixel - 0.5)),
        min(width, math.ceil(right / pixel + 0.5)),
    )


@numba.njit(cache=True)
def hull(solids, pixel, low, high):  # type: ignore[no-untyped-def]
    """Widen the interval maps `low`, `high` (H, W) in mm so that they contain every solid; `pixel` in mm.

    Start with `low` at +1e9 and `high` at -1e9; where no solid is met they stay so.
    """
    height, width = low.shape
    for index in range(len(solids)):
        first_row, last_row, first_column, last_column = _bounds(solids[index], pixel, height, width)
        for row in range(first_row, last_row):
            for column in range(first_column, last_column):
                a, b = _interval(solids[index], (column + 0.5) * pixel, (row + 0.5) * pixel)
                if b > a:
                    low[row, column] = min(low[row, column], a)
                    high[row, column] = max(high[row, column], b)


@numba.njit(cache=True)
def add_groups(solids, starts, weights, pixel, scratch, maps):  # type: ignore[no-untyped-def]
    """Add each group's longest chord, times its weights, to the maps.

    `solids` (N, 10); `starts` (G + 1,) first solid of each group; `weights` (G, M); `pixel` in mm; `scratch` (H, W)
    of zeros, given back as zeros; `maps` (M, H, W) in mm, changed in place.
    """
    height, width = scratch.shape
    for group in range(len(starts) - 1):
        top, bottom, left, right = height, 0, width, 0
        for index in range(starts[group], starts[group + 1]):
            r0, r1, c0, c1 = _bounds(solids[index], pixel, height, width)
            if r1 <= r0 or c1 <= c0:
                continue
            top, bottom, left, right = min(top, r0), max(bottom, r1), min(left, c0), max(right, c1)
            for row in range(r0, r1):
                for column in range(c0, c1):
                    a, b = _interval(solids[index], (column + 0.5) * pixel, (row + 0.5) * pixel)
                    if b - a > scratch[row, column]:
                        scratch[row, column] = b - a
        for row in range(top, bottom):
            for column in range(left, right):
                chord = scratch[row, column]
                if chord > 0.0:
                    for channel in range(maps.shape[0]):
                        maps[channel, row, column] += weights[group, channel] * chord
                    scratch[row, column] = 0.0


@numba.njit(cache=True)
def add_layers(solids, starts, weights, pixel, edges, scratch, layers):  # type: ignore[no-untyped-def]
    """Add each group's longest chord, times its weights, to the layers between heights in which it lies.

    `solids` (N, 10); `starts` (G + 1,); `weights` (G, M); `pixel` in mm; `edges` (L + 1,) heights in mm, evenly
    spaced; `scratch` (2, H, W) of zeros, given back as zeros; `layers` (M, L, H, W) in mm, changed in place.
    """
    _, height, width = scratch.shape
    step = edges[1] - edges[0]
    for group in range(len(starts) - 1):
        top, bottom, left, right = height, 0, width, 0
        for index in range(starts[group], starts[group + 1]):
            r0, r1, c0, c1 = _bounds(solids[index], pixel, height, width)
            if r1 <= r0 or c1 <= c0:
                continue
            top, bottom, left, right = min(top, r0), max(bottom, r1), min(left, c0), max(right, c1)
            for row in range(r0, r1):
                for column in range(c0, c1):
                    a, b = _interval(solids[index], (column + 0.5) * pixel, (row + 0.5) * pixel)
                    if b - a > scratch[1, row, column]:
                        scratch[0, row, column] = a
                        scratch[1, row, column] = b - a
        for row in range(top, bottom):
            for column in range(left, right):
                chord = scratch[1, row, column]
                if chord > 0.0:
                    a = scratch[0, row, column]
                    b = a + chord
                    first = max(0, int((a - edges[0]) // step))
                    last = min(len(edges) - 2, int((b - edges[0]) // step))
                    for layer in range(first, last + 1):
                        within = min(b, edges[layer + 1]) - max(a, edges[layer])
                        if within > 0.0:
                            for channel in range(layers.shape[0]):
                                layers[channel, layer, row, column] += weights[group, channel] * within
                    scratch[0, row, column] = 0.0
                    scratch[1, row, column] = 0.0
