"""Projection on a grid that is finer than an image's own and shifted against it.

Projecting and reconstructing on one grid hides the errors of both, and looks better than any scanner is. A volume under
a cone beam is made finer and projected slab by slab, because its finer grid holds eight times as many voxels or more:
projections are linear, thus those of slabs add up to those of the whole.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from transmodal.errors import UserError
from transmodal.tomography.geometry import Beam, Grid
from transmodal.tomography.memory import require_memory
from transmodal.tomography.operator import Projector

Floats = NDArray[np.float32]

SHIFT = 0.25  # of a finer pixel: with it no finer pixel's centre meets one of the image's
_SLAB = 2**28  # bytes of finer slices that are held at once


class _Forward(Protocol):
    def forward(self, image: NDArray[Any]) -> Floats: ...


def finer_grid(grid: Grid, factor: int) -> Grid:
    """Return a grid so many times finer along every axis, shifted by a quarter of its own pixel.

    Raises:
        UserError: a factor below 1.
    """
    if factor < 1:
        raise UserError(f"--finer is 1 or more, not {factor}")
    fine = grid.finer(factor)
    centre = tuple(place + SHIFT * length for place, length in zip(fine.centre, fine.spacing, strict=True))
    return replace(fine, centre=centre)


def upsampled(images: Floats, grid: Grid, fine: Grid) -> Floats:
    """Return images (…, rows, columns) of one grid on another by linear interpolation, held beyond the edge.

    Of grids of volumes the rows and columns alone are looked at.
    """
    down, across = (_interpolation(grid, fine, axis) for axis in (-2, -1))
    return (down @ images @ across.T).astype(np.float32, copy=False)


def project_finer(
    image: Floats,
    grid: Grid,
    beam: Beam,
    factor: int = 2,
    projector: Callable[[Grid, Beam], _Forward] = Projector,
    progress: Callable[[int, int], None] | None = None,
) -> Floats:
    """Project an image on a finer grid.

    Args:
        image: 1/mm, of the grid's shape.
        grid, beam: of the scan.
        factor: how many times finer; 1 is the image's own grid, unshifted.
        projector: makes what projects on a grid.
        progress: called with (slabs done, of how many).

    Returns:
        Line integrals of the beam's shape.

    Raises:
        UserError: a factor below 1, a finer slice that does not fit into memory, a grid and a beam that do not go
            together.
    """
    if factor == 1:
        return projector(grid, beam).forward(image)
    fine = finer_grid(grid, factor)
    require_memory(fine.shape[-2:], "a slice of the finer grid", "take a smaller --finer", copies=3)
    if len(grid.shape) == 2:
        return projector(fine, beam).forward(upsampled(image, grid, fine))
    along = _interpolation(grid, fine, 0)
    places = fine.positions(0)
    slices = max(1, _SLAB // (4 * fine.shape[1] * fine.shape[2]))
    starts = range(0, fine.shape[0], slices)
    projections = np.zeros(beam.shape, np.float32)
    for number, start in enumerate(starts):
        weights = along[start : start + slices]
        used = np.flatnonzero(weights.any(axis=0))
        held = slice(used[0], used[-1] + 1)
        slab = upsampled(np.tensordot(weights[:, held], image[held], axes=1), grid, fine)
        middle = float(places[start : start + slices].mean())
        of_slab = Grid(slab.shape, fine.spacing, (middle, *fine.centre[1:]))
        projections += projector(of_slab, beam).forward(slab)
        if progress is not None:
            progress(number + 1, len(starts))
    return projections


def _interpolation(grid: Grid, fine: Grid, axis: int) -> Floats:
    """Return the matrix (finer pixels, pixels) of a linear interpolation along an axis."""
    count = grid.shape[axis]
    place = (fine.positions(axis) - grid.positions(axis)[0]) / grid.spacing[axis]
    place = np.clip(place, 0.0, count - 1)
    lower = np.minimum(np.floor(place).astype(np.intp), max(count - 2, 0))
    upper = np.minimum(lower + 1, count - 1)
    matrix = np.zeros((len(place), count), dtype=np.float32)
    rows = np.arange(len(place))
    matrix[rows, lower] += (1 - (place - lower)).astype(np.float32)
    matrix[rows, upper] += (place - lower).astype(np.float32)
    return matrix
