"""Smooth random fields and the grids they are looked at on.

A field is drawn on a lattice in mm that belongs to the head, not to the image, so that one subject has the same
anatomy on every grid. Grids are parallel to the lattice: a field is brought onto a grid by three short
passes (cubic splines are separable), which cost milliseconds where general interpolation costs seconds.
"""

from dataclasses import dataclass
from functools import cached_property

import numba
import numpy as np
from numpy.typing import NDArray
from scipy import fft

Volume = NDArray[np.float32]

HEAD_LOW, HEAD_HIGH = (-90.0, -125.0, -90.0), (90.0, 95.0, 95.0)
"""Corners of the box that every lattice covers, mm; the head's axes are right, anterior, superior."""

_SPLINE_SPREAD = 0.4793  # mean over position of the sum of squared cubic B-spline weights, along one axis
_RING_WIDTH = 0.16  # of the wave number; narrower rings give more regular stripes


@dataclass(frozen=True)
class Grid:
    """Voxel centres in head coordinates: `low` + index * `step` (mm) along each axis; steps may be negative."""

    shape: tuple[int, int, int]
    low: tuple[float, float, float]
    step: tuple[float, float, float]

    @cached_property
    def axes(self) -> tuple[NDArray[np.float64], ...]:
        """Coordinates along each axis, mm."""
        return tuple(
            np.float64(low) + step * np.arange(n, dtype=np.float64)
            for n, low, step in zip(self.shape, self.low, self.step, strict=True)
        )

    @property
    def spacing(self) -> float:
        """Voxel size along the first axis, mm; the grids of the simulation are isotropic."""
        return abs(self.step[0])

    def coordinates(self) -> tuple[Volume, Volume, Volume]:
        """The three coordinates, broadcastable to `shape`, mm."""
        x, y, z = (axis.astype(np.float32) for axis in self.axes)
        return x[:, None, None], y[None, :, None], z[None, None, :]

    def around(self, step: float) -> "Grid":
        """A grid of `step` mm that covers this one with a margin for interpolation."""
        lows = [min(axis[0], axis[-1]) - 2 * step for axis in self.axes]
        highs = [max(axis[0], axis[-1]) + 2 * step for axis in self.axes]
        sizes = [int(np.ceil((high - low) / step)) + 1 for low, high in zip(lows, highs, strict=True)]
        return Grid((sizes[0], sizes[1], sizes[2]), (lows[0], lows[1], lows[2]), (step, step, step))

    def finer(self, factor: int) -> "Grid":
        """The grid whose voxels, `factor` along each axis, fill this one's."""
        step = [each / factor for each in self.step]
        low = [start - each * (factor - 1) / 2 for start, each in zip(self.low, step, strict=True)]
        x, y, z = (n * factor for n in self.shape)
        return Grid((x, y, z), (low[0], low[1], low[2]), (step[0], step[1], step[2]))


def transfer(values: Volume, origin: Grid, target: Grid, *, smooth: bool = False) -> Volume:
    """Bring values of a coarse grid onto another, (X, Y, Z).

    By Catmull-Rom splines, which go through the values; with `smooth` by cubic B-splines, which do not.
    """
    for axis in (2, 1, 0):
        before, after = values.shape[:axis], values.shape[axis + 1 :]
        nodes, weights = _taps(origin, target, axis, smooth)
        made = np.empty((int(np.prod(before)), len(nodes), int(np.prod(after))), np.float32)
        _apply(np.ascontiguousarray(values).reshape(len(made), values.shape[axis], -1), nodes, weights, made)
        values = made.reshape(*before, len(nodes), *after)
    return values


def _taps(origin: Grid, target: Grid, axis: int, smooth: bool) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """The four nodes that each target position uses, and their weights; beyond the end the last value goes on."""
    position = (target.axes[axis] - origin.low[axis]) / origin.step[axis]
    left = np.floor(position).astype(np.int64)
    t = position - left
    if smooth:
        parts = ((1 - t) ** 3, 4 - 6 * t**2 + 3 * t**3, 1 + 3 * t + 3 * t**2 - 3 * t**3, t**3)
        scale = 6.0
    else:
        parts = (-t + 2 * t**2 - t**3, 2 - 5 * t**2 + 3 * t**3, t + 4 * t**2 - 3 * t**3, t**3 - t**2)
        scale = 2.0
    nodes = np.stack([np.clip(left + offset, 0, origin.shape[axis] - 1) for offset in (-1, 0, 1, 2)], axis=1)
    return nodes, (np.stack(parts, axis=1) / scale).astype(np.float32)


# A library's matrix product would be as fast, but its last bits depend on the number of threads.
@numba.njit(cache=True)
def _apply(values, nodes, weights, made):  # type: ignore[no-untyped-def]
    for block in range(made.shape[0]):
        for row in range(made.shape[1]):
            a, b, c, d = nodes[row, 0], nodes[row, 1], nodes[row, 2], nodes[row, 3]
            wa, wb, wc, wd = weights[row, 0], weights[row, 1], weights[row, 2], weights[row, 3]
            for column in range(made.shape[2]):
                made[block, row, column] = (
                    wa * values[block, a, column]
                    + wb * values[block, b, column]
                    + wc * values[block, c, column]
                    + wd * values[block, d, column]
                )


def smooth_noise(rng: np.random.Generator, grain: float, target: Grid) -> Volume:
    """Gaussian noise of mean 0 and unit spread whose blobs measure about `grain` mm, on `target`."""
    step = grain / 2
    sizes = [int(np.ceil((high - low) / step)) + 4 for low, high in zip(HEAD_LOW, HEAD_HIGH, strict=True)]
    shape = (sizes[0], sizes[1], sizes[2])
    lattice = Grid(shape, (HEAD_LOW[0] - step, HEAD_LOW[1] - step, HEAD_LOW[2] - step), (step, step, step))
    noise = rng.standard_normal(shape, dtype=np.float32)
    noise /= np.float32(_SPLINE_SPREAD**1.5)
    return transfer(noise, lattice, target, smooth=True)


def stripes(rng: np.random.Generator, wavelength: float, *, step: float = 4.0, size: int = 64) -> Volume:
    """Noise of one wavelength (mm) in all directions, unit spread, on a periodic cube of `size` nodes, `step` mm.

    Its zero crossings are a labyrinth of sheets half a wavelength apart, as sulci are.
    """
    noise = fft.rfftn(rng.standard_normal((size, size, size), dtype=np.float32))
    frequency = fft.fftfreq(size, step).astype(np.float32)
    last = fft.rfftfreq(size, step).astype(np.float32)
    radius = np.sqrt(frequency[:, None, None] ** 2 + frequency[None, :, None] ** 2 + last[None, None, :] ** 2)
    noise *= np.exp(-((radius * wavelength - 1) ** 2) / (2 * _RING_WIDTH**2))
    made = fft.irfftn(noise, (size, size, size))
    return np.asarray(made / made.std(), dtype=np.float32)


def slope(values: Volume, spacing: float) -> Volume:
    """Length of the gradient, per mm."""
    parts = np.gradient(values, spacing)
    return np.sqrt(sum((part * part for part in parts), np.zeros_like(values)))
