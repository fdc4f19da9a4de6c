"""Compiled steps of isotropic total variation: the dual ascent of Chambolle and the accelerated one, fused.

Pixels come as (planes, rows, columns); a slice is given as (rows, 1, columns), so that one code serves two and three
dimensions. Differences are forward ones, d_k = x[next along k] − x, and zero behind the last pixel. The dual variable
has one array an axis, (2, planes, 1, columns) or (3, planes, rows, columns), and is kept multiplied by 1/h_k of its
axis, so that x = f + Σ_k (u_k − u_k[before along k]) needs no factor. `squares` are 1/h_k², `steps` the ascent's
step times 1/h_k², both for (planes, rows, columns).

Arrays are indexed whole: taking a row out of one costs a counted reference each time, which for rows of 128 pixels
is half of the work. Loops write to one array each, or few: beyond that the compiler gives up proving that arrays do
not overlap, and vector lanes stay empty.
"""

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

# Sums may be reordered and quotients made by reciprocals; infinities stay, because `lowest` may be −∞.
_FAST = {"reassoc", "contract", "arcp", "nsz", "afn"}
_COMPILED: dict[str, Any] = {"cache": True, "nogil": True, "fastmath": _FAST, "error_model": "numpy"}

Floats = NDArray[np.float32]


@njit(**_COMPILED)
def ascend(
    image: Floats,
    dual: Floats,
    earlier: Floats,
    momenta: Floats,
    steps: Floats,
    squares: Floats,
    weight: np.float32,
    step: np.float32,
    lowest: np.float32,
    accelerated: bool,
) -> None:
    """Ascend in the dual of TV denoising, as many times as there are momenta, in one pass over the planes.

    An iteration at plane k needs the one before it at k − 1, k and k + 1 only: the next iteration follows one plane
    behind, while the planes are still in the cache, and each keeps but two planes of x.

    Args:
        image: f, (planes, rows, columns).
        dual: u, changed in place.
        earlier: u of the iteration before, without its momentum, changed in place; not touched by Chambolle's steps.
        momenta: one an iteration; their values count for accelerated steps only.
        steps, squares: as the module says.
        weight: of the total variation.
        step: of the ascent.
        lowest: bound of x, or −∞.
        accelerated: projected and with momentum (Beck and Teboulle) instead of Chambolle's.
    """
    planes, rows, columns = image.shape
    depth = momenta.size
    x = np.empty((2 * depth, rows, columns), np.float32)
    work = np.empty(columns, np.float32)
    for front in range(planes + depth - 1):
        for iteration in range(max(0, front - planes + 1), min(depth, front + 1)):
            plane = front - iteration
            here = 2 * iteration + plane % 2
            after = here
            if plane == 0:
                _primal_plane(image, dual, 0, lowest, x, here)
            if plane + 1 < planes:
                after = 2 * iteration + (plane + 1) % 2
                _primal_plane(image, dual, plane + 1, lowest, x, after)
            if accelerated:
                _project_plane(x, here, after, dual, earlier, plane, momenta[iteration], steps, squares, weight, work)
            elif dual.shape[0] == 2:
                _shrink_row(x, here, after, dual, plane, steps, squares, step / weight)
            else:
                _shrink_plane(x, here, after, dual, plane, steps, squares, step / weight, work)


@njit(**_COMPILED)
def primal(image: Floats, dual: Floats, start: int, stop: int, lowest: np.float32, x: Floats) -> None:
    """Write x = max(f + divergence of the dual, lowest) of some planes; all (planes, rows, columns). x may not be f."""
    for plane in range(start, stop):
        _primal_plane(image, dual, plane, lowest, x, plane)


@njit(**_COMPILED)
def ascend_from(x: Floats, dual: Floats, earlier: Floats, steps: Floats, squares: Floats, weight: np.float32) -> None:
    """Project u + steps·d of a given x onto |u| ≤ weight, without momentum; `earlier` is a copy of it afterwards."""
    work = np.empty(x.shape[2], np.float32)
    for plane in range(x.shape[0]):
        after = min(plane + 1, x.shape[0] - 1)
        _project_plane(x, plane, after, dual, earlier, plane, np.float32(0.0), steps, squares, weight, work)


@njit(**_COMPILED)
def variation(x: Floats, axes: int, squares: Floats) -> float:
    """Return Σ √(Σ_k d_k² / h_k²) over the pixels, in double precision from row to row."""
    planes, rows, columns = x.shape
    work = np.empty(columns, np.float32)
    total = 0.0
    for plane in range(planes):
        for i in range(rows):
            _squared_gradient(x, plane, min(plane + 1, planes - 1), i, axes, squares, work)
            of_row = np.float32(0.0)
            for j in range(columns):
                of_row += np.sqrt(work[j])
            total += float(of_row)
    return total


@njit(**_COMPILED)
def normalised_gradient(x: Floats, dual: Floats, squares: Floats, smallest: np.float32) -> None:
    """Write d_k / h_k² / √(|∇x|² + smallest²) into the dual: its divergence is the steepest descent of the TV."""
    planes, rows, columns = x.shape
    last = dual.shape[0] - 1
    work = np.empty(columns, np.float32)
    for plane in range(planes):
        after = min(plane + 1, planes - 1)
        for i in range(rows):
            _squared_gradient(x, plane, after, i, dual.shape[0], squares, work)
            for j in range(columns):
                work[j] = np.float32(1.0) / np.sqrt(work[j] + smallest * smallest)
            for j in range(columns):
                dual[0, plane, i, j] = squares[0] * (x[after, i, j] - x[plane, i, j]) * work[j]
            if last == 2:
                below = min(i + 1, rows - 1)
                for j in range(columns):
                    dual[1, plane, i, j] = squares[1] * (x[plane, below, j] - x[plane, i, j]) * work[j]
            for j in range(columns - 1):
                dual[last, plane, i, j] = squares[2] * (x[plane, i, j + 1] - x[plane, i, j]) * work[j]
            dual[last, plane, i, columns - 1] = np.float32(0.0)


@njit(**_COMPILED)
def _primal_plane(image: Floats, dual: Floats, plane: int, lowest: np.float32, x: Floats, slot: int) -> None:
    """Write x = max(f + divergence, lowest) of one plane into x[slot]."""
    rows, columns = image.shape[1:]
    last = dual.shape[0] - 1
    for i in range(rows):
        x[slot, i, 0] = image[plane, i, 0] + dual[0, plane, i, 0] + dual[last, plane, i, 0]
        if plane > 0:
            x[slot, i, 0] -= dual[0, plane - 1, i, 0]
            for j in range(1, columns):
                fast = dual[last, plane, i, j] - dual[last, plane, i, j - 1]
                x[slot, i, j] = image[plane, i, j] + (dual[0, plane, i, j] - dual[0, plane - 1, i, j]) + fast
        else:
            for j in range(1, columns):
                fast = dual[last, plane, i, j] - dual[last, plane, i, j - 1]
                x[slot, i, j] = image[plane, i, j] + dual[0, plane, i, j] + fast
        if last == 2:
            for j in range(columns):
                x[slot, i, j] += dual[1, plane, i, j]
            if i > 0:
                for j in range(columns):
                    x[slot, i, j] -= dual[1, plane, i - 1, j]
        if lowest > -np.inf:
            for j in range(columns):
                x[slot, i, j] = max(x[slot, i, j], lowest)


@njit(**_COMPILED)
def _squared_gradient(x: Floats, here: int, after: int, i: int, axes: int, squares: Floats, squared: Floats) -> None:
    """Write |∇x|² of a row into `squared`; `after` is the plane behind, or the same one at the end."""
    rows, columns = x.shape[1:]
    for j in range(columns - 1):
        slow, fast = x[after, i, j] - x[here, i, j], x[here, i, j + 1] - x[here, i, j]
        squared[j] = squares[0] * slow * slow + squares[2] * fast * fast
    slow = x[after, i, columns - 1] - x[here, i, columns - 1]
    squared[columns - 1] = squares[0] * slow * slow
    if axes == 3:
        below = min(i + 1, rows - 1)
        for j in range(columns):
            down = x[here, below, j] - x[here, i, j]
            squared[j] += squares[1] * down * down


@njit(**_COMPILED)
def _shrink_row(
    x: Floats, here: int, after: int, dual: Floats, plane: int, steps: Floats, squares: Floats, ratio: np.float32
) -> None:
    """Take Chambolle's step in a row of a slice: as :func:`_shrink_plane`, in one loop."""
    end = x.shape[2] - 1
    one = np.float32(1.0)
    for j in range(end):
        slow, fast = x[after, 0, j] - x[here, 0, j], x[here, 0, j + 1] - x[here, 0, j]
        divided = one / (one + ratio * np.sqrt(squares[0] * slow * slow + squares[2] * fast * fast))
        dual[0, plane, 0, j] = (dual[0, plane, 0, j] + steps[0] * slow) * divided
        dual[1, plane, 0, j] = (dual[1, plane, 0, j] + steps[2] * fast) * divided
    slow = x[after, 0, end] - x[here, 0, end]
    divided = one / (one + ratio * np.sqrt(squares[0] * slow * slow))
    dual[0, plane, 0, end] = (dual[0, plane, 0, end] + steps[0] * slow) * divided


@njit(**_COMPILED)
def _shrink_plane(
    x: Floats,
    here: int,
    after: int,
    dual: Floats,
    plane: int,
    steps: Floats,
    squares: Floats,
    ratio: np.float32,
    work: Floats,
) -> None:
    """Take Chambolle's step u ← (u + τ d) / (1 + τ |∇x| / weight) in a plane of a volume; ratio = τ / weight."""
    rows, columns = x.shape[1:]
    one = np.float32(1.0)
    for i in range(rows):
        below = min(i + 1, rows - 1)
        _squared_gradient(x, here, after, i, 3, squares, work)
        for j in range(columns):
            work[j] = one / (one + ratio * np.sqrt(work[j]))
        for j in range(columns):
            dual[0, plane, i, j] = (dual[0, plane, i, j] + steps[0] * (x[after, i, j] - x[here, i, j])) * work[j]
        for j in range(columns):
            dual[1, plane, i, j] = (dual[1, plane, i, j] + steps[1] * (x[here, below, j] - x[here, i, j])) * work[j]
        for j in range(columns - 1):
            dual[2, plane, i, j] = (dual[2, plane, i, j] + steps[2] * (x[here, i, j + 1] - x[here, i, j])) * work[j]


@njit(**_COMPILED)
def _project_plane(
    x: Floats,
    here: int,
    after: int,
    dual: Floats,
    earlier: Floats,
    plane: int,
    momentum: np.float32,
    steps: Floats,
    squares: Floats,
    weight: np.float32,
    work: Floats,
) -> None:
    """Ascend from x, project onto |u| ≤ weight at each pixel and add the momentum, in one plane."""
    rows, columns = x.shape[1:]
    axes = dual.shape[0]
    last = axes - 1
    bound = max(weight * weight, np.float32(1e-36))  # a vanishing weight leaves no dual, and never 0 / 0
    for i in range(rows):
        below = min(i + 1, rows - 1)
        for j in range(columns):
            dual[0, plane, i, j] += steps[0] * (x[after, i, j] - x[here, i, j])
        for j in range(columns - 1):
            dual[last, plane, i, j] += steps[2] * (x[here, i, j + 1] - x[here, i, j])
        for j in range(columns):
            work[j] = dual[0, plane, i, j] * dual[0, plane, i, j] / squares[0]
        for j in range(columns):
            work[j] += dual[last, plane, i, j] * dual[last, plane, i, j] / squares[2]
        if last == 2:
            for j in range(columns):
                dual[1, plane, i, j] += steps[1] * (x[here, below, j] - x[here, i, j])
            for j in range(columns):
                work[j] += dual[1, plane, i, j] * dual[1, plane, i, j] / squares[1]
        for j in range(columns):
            work[j] = weight / np.sqrt(max(work[j], bound))
        for axis in range(axes):
            for j in range(columns):
                projected = dual[axis, plane, i, j] * work[j]
                dual[axis, plane, i, j] = projected + momentum * (projected - earlier[axis, plane, i, j])
                earlier[axis, plane, i, j] = projected
