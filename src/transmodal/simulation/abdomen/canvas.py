"""A slab of slices being painted: HU and labels, covered by one body after another, from the back to the front.

Borders are ramps of 1.5 voxels, as an imager sees them (partial volume). Voxels longer than 0.3 mm are cut into an odd
number of parts along each axis, painted, and averaged; a voxel's label is that of most of its parts.
"""

from collections.abc import Sequence

import numba
import numpy as np
from numpy.typing import NDArray

from transmodal.simulation.abdomen.skeleton import Cones
from transmodal.simulation.abdomen.tissues import LABEL
from transmodal.simulation.brain.fields import Grid, Volume, transfer

FINEST = 0.3
"""mm; longer voxels are cut."""

_FAR = 9.0
_RAMP = 1.5  # voxels
_ONE = np.zeros(1, np.float32)


def parts_of(grid: Grid) -> tuple[int, int, int]:
    """Into how many parts the voxels of an image are cut along each axis."""
    counts = [int(np.ceil(abs(step) / FINEST - 1e-6)) for step in grid.step]
    x, y, z = (count + (count + 1) % 2 for count in counts)
    return x, y, z


def cut(grid: Grid, first: int, last: int, parts: tuple[int, int, int]) -> Grid:
    """The grid of the parts of slices `first` to `last` (exclusive) of an image."""
    step = [own / count for own, count in zip(grid.step, parts, strict=True)]
    starts = (grid.low[0], grid.low[1], grid.low[2] + grid.step[2] * first)
    x, y, z = (start - own * (count - 1) / 2 for start, own, count in zip(starts, step, parts, strict=True))
    shape = (grid.shape[0] * parts[0], grid.shape[1] * parts[1], (last - first) * parts[2])
    return Grid(shape, (x, y, z), (step[0], step[1], step[2]))


class Canvas:
    """`hu` and `label` (X, Y, Z) of a slab, air at first; `texture` of unit spread; `grid` of its voxels."""

    def __init__(self, grid: Grid, coarse: Grid, texture: Volume, air: float) -> None:
        self.grid, self.coarse, self.texture = grid, coarse, texture
        self.hu = np.full(grid.shape, air, np.float32)
        self.label = np.zeros(grid.shape, np.uint8)
        self.width = np.float32(_RAMP * max(abs(grid.step[0]), abs(grid.step[1])))

    def bring(self, field: Volume) -> Volume:
        """A field of the coarse grid on the slab."""
        return transfer(field, self.coarse, self.grid)

    def cover(
        self,
        distance: Volume,
        hu: float | Volume,
        label: str | int,
        texture: float = 0.0,
        place: tuple[slice, ...] = (),
    ) -> None:
        """Put a body over what lies there.

        Args:
            distance: mm, negative inside, on the slab or on `place` of it.
            hu: of the body, or at each voxel.
            label: its name in `tissues.LABELS`, or a number.
            texture: HU, spread of its texture.
            place: part of the slab.
        """
        value = _ONE + np.float32(hu) if isinstance(hu, int | float) else np.ascontiguousarray(hu, np.float32).ravel()
        number = LABEL[label] if isinstance(label, str) else label
        distance = np.ascontiguousarray(distance, np.float32).ravel()
        whole = not place
        painted = self.hu if whole else np.ascontiguousarray(self.hu[place])
        labelled = self.label if whole else np.ascontiguousarray(self.label[place])
        grain = self.texture if whole or not texture else np.ascontiguousarray(self.texture[place])
        _cover(
            painted.reshape(-1),
            labelled.reshape(-1),
            distance,
            value,
            grain.reshape(-1),
            np.float32(texture),
            self.width,
            number,
        )
        if not whole:
            self.hu[place], self.label[place] = painted, labelled

    def draw(self, cones: Cones, beyond: float = 0.0) -> tuple[Volume, Volume] | None:
        """Distance to chains of round cones and the value of the nearest, exact up to `beyond` mm outside.

        None where none reaches the slab.
        """
        distance = np.full(self.grid.shape, _FAR, np.float32)
        value = np.zeros(self.grid.shape, np.float32)
        axes = [axis.astype(np.float64) for axis in self.grid.axes]
        reach = float(self.width) + beyond
        drawn = _draw(cones, *axes, reach, distance, value)
        return (distance, value) if drawn else None

    def strand(self, cones: Cones, hu: float, label: str, texture: float = 0.0) -> None:
        """Cover what chains of round cones fill."""
        if drawn := self.draw(cones):
            self.cover(drawn[0], hu, label, texture)

    def box(self, low: Sequence[float], high: Sequence[float]) -> tuple[slice, ...] | None:
        """The part of the slab between two corners, mm; None where it has none."""
        made = []
        for axis, first, last in zip(self.grid.axes, low, high, strict=True):
            inside = np.flatnonzero((axis >= first) & (axis <= last))
            if not len(inside):
                return None
            made.append(slice(int(inside[0]), int(inside[-1]) + 1))
        return tuple(made)

    def part(self, place: tuple[slice, ...]) -> Grid:
        """The grid of a part of the slab."""
        low = [float(axis[own.start]) for axis, own in zip(self.grid.axes, place, strict=True)]
        x, y, z = (own.stop - own.start for own in place)
        return Grid((x, y, z), (low[0], low[1], low[2]), self.grid.step)

    def finish(self, parts: tuple[int, int, int]) -> tuple[Volume, NDArray[np.uint8]]:
        """HU and labels of the image's voxels."""
        if parts == (1, 1, 1):
            return self.hu, self.label
        shape = tuple(n // count for n, count in zip(self.grid.shape, parts, strict=True))
        hu, label = np.empty(shape, np.float32), np.empty(shape, np.uint8)
        _reduce(self.hu, self.label, *parts, hu, label)
        return hu, label


@numba.njit(cache=True)
def _cover(hu, label, distance, value, grain, texture, width, number):  # type: ignore[no-untyped-def]
    varied = value.size > 1
    half = np.float32(0.5) * width
    for at in range(distance.size):
        away = distance[at]
        if away >= half:
            continue
        share = min(np.float32(0.5) - away / width, np.float32(1.0))
        own = value[at] if varied else value[0]
        if texture > 0:
            own += texture * grain[at]
        hu[at] += share * (own - hu[at])
        if away < 0:
            label[at] = number


@numba.njit(cache=True)
def _bounds(axis, low, high):  # type: ignore[no-untyped-def]
    start, step = axis[0], axis[1] - axis[0] if axis.size > 1 else 1.0
    one, two = (low - start) / step, (high - start) / step
    first = max(int(np.ceil(min(one, two))), 0)
    last = min(int(np.floor(max(one, two))), axis.size - 1)
    return first, last


@numba.njit(cache=True)
def _draw(cones, x, y, z, reach, distance, value):  # type: ignore[no-untyped-def]
    drawn = 0
    for row in range(cones.shape[0]):
        ax, ay, az, ar, bx, by, bz, br = cones[row, :8]
        far = max(ar, br) + reach
        x0, x1 = _bounds(x, min(ax, bx) - far, max(ax, bx) + far)
        y0, y1 = _bounds(y, min(ay, by) - far, max(ay, by) + far)
        z0, z1 = _bounds(z, min(az, bz) - far, max(az, bz) + far)
        if x0 > x1 or y0 > y1 or z0 > z1:
            continue
        dx, dy, dz = bx - ax, by - ay, bz - az
        length = max(dx * dx + dy * dy + dz * dz, 1e-12)
        for i in range(x0, x1 + 1):
            for j in range(y0, y1 + 1):
                for k in range(z0, z1 + 1):
                    px, py, pz = x[i] - ax, y[j] - ay, z[k] - az
                    share = min(max((px * dx + py * dy + pz * dz) / length, 0.0), 1.0)
                    px, py, pz = px - share * dx, py - share * dy, pz - share * dz
                    away = np.float32(np.sqrt(px * px + py * py + pz * pz) - ar - share * (br - ar))
                    if away < distance[i, j, k]:
                        distance[i, j, k] = away
                        value[i, j, k] = np.float32(cones[row, 8] + share * (cones[row, 9] - cones[row, 8]))
                        drawn += 1
    return drawn


@numba.njit(cache=True)
def _reduce(fine, labels, a, b, c, hu, label):  # type: ignore[no-untyped-def]
    counts = np.zeros(256, np.int64)
    for i in range(hu.shape[0]):
        for j in range(hu.shape[1]):
            for k in range(hu.shape[2]):
                total, best = 0.0, labels[i * a + a // 2, j * b + b // 2, k * c + c // 2]
                for n in range(i * a, (i + 1) * a):
                    for m in range(j * b, (j + 1) * b):
                        for o in range(k * c, (k + 1) * c):
                            total += fine[n, m, o]
                            counts[labels[n, m, o]] += 1
                for n in range(i * a, (i + 1) * a):
                    for m in range(j * b, (j + 1) * b):
                        for o in range(k * c, (k + 1) * c):
                            if counts[labels[n, m, o]] > counts[best]:
                                best = labels[n, m, o]
                for n in range(i * a, (i + 1) * a):
                    for m in range(j * b, (j + 1) * b):
                        for o in range(k * c, (k + 1) * c):
                            counts[labels[n, m, o]] = 0
                hu[i, j, k] = total / (a * b * c)
                label[i, j, k] = best
