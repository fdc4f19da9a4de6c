"""Outlines carried between mm of a world and cells of a grid, in which pixel (0, 0) is the square [0, 1] × [0, 1]."""

import numpy as np
import numpy.typing as npt

from transmodal.fusion.areas import Edges, cover, signed_area
from transmodal.images.nuclear.series import NuclearSeries
from transmodal.images.resampling import index_to_world
from transmodal.images.transform import Transform

Matrix = npt.NDArray[np.float64]
CELLS: Matrix = np.array([[0.0, 1.0, 0.5], [1.0, 0.0, 0.5], [0.0, 0.0, 1.0]])
"""From (row, column, 1) to cells (x, y, 1)."""


def cells_matrix(series: NuclearSeries, transform: Transform | None = None) -> Matrix:
    """Return the matrix from mm of the anatomy's world to cells of the nuclear grid, (3, 3).

    Args:
        series: whose grid.
        transform: nuclear points to anatomy points, mm; None when the two worlds are the same.
    """
    there = np.eye(3) if transform is None else transform.matrix
    return np.asarray(CELLS @ np.linalg.inv(there @ index_to_world(series.frame(0))), dtype=np.float64)


def covered_by(
    edges: Edges, to_cells: Matrix, series: NuclearSeries, transform: Transform | None = None
) -> tuple[Matrix, float, Edges | None]:
    """Carry an outline to the nuclear grid and take the share of every pixel inside it.

    Args:
        edges: the outline, mm of the anatomy's world.
        to_cells: `cells_matrix` of the two that follow.
        series, transform: as there.

    Returns:
        Shares of the pixels (H, W) in 0…1, how much of the outline's area lies in the field, and the outline in cells;
        None for that where a part lies behind the horizon of a homography.
    """
    outline = _carried(to_cells, edges, middle=_middle(series, transform))
    if outline is None:
        return np.zeros(series.shape), 0.0, None
    covered = cover(outline, series.shape)
    return covered, float(covered.sum() / abs(signed_area(outline))), outline


def in_world(edges: Edges, to_world: Matrix) -> Edges:
    """Carry an outline from cells to mm; `to_world` is `index_to_world` of the grid."""
    return mapped(np.asarray(to_world @ np.linalg.inv(CELLS), dtype=np.float64), edges)


def mapped(matrix: Matrix, points: Matrix) -> Matrix:
    """Carry points (..., 2) over by a homogeneous matrix (3, 3)."""
    carried = points @ matrix[:, :2].T + matrix[:, 2]
    return np.asarray(carried[..., :2] / carried[..., 2:])


def _middle(series: NuclearSeries, transform: Transform | None) -> Matrix:
    """Return the middle of the nuclear field in the anatomy's world."""
    to_world = index_to_world(series.frame(0))
    middle = mapped(to_world, (np.array(series.shape, dtype=np.float64) - 1) / 2)
    return middle if transform is None else np.asarray(transform.apply(middle))


def _carried(matrix: Matrix, edges: Edges, middle: Matrix) -> Edges | None:
    """Carry an outline over; None where a part lies behind the horizon of a homography."""
    weight = edges @ matrix[2, :2] + matrix[2, 2]
    if (weight * (middle @ matrix[2, :2] + matrix[2, 2]) <= 0).any():
        return None
    return mapped(matrix, edges)
