"""How much of each pixel of a grid lies inside an outline: exact areas, without samples.

The signed areas to the right of every directed edge are added up cell by cell and summed along the rows, as in scan
conversion of fonts; holes and several pieces come out right as long as the inside always lies on one side. A linear map
or a homography keeps straight edges straight, so that an outline can be carried to another grid before.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

Edges = npt.NDArray[np.float64]
"""(edge, end, (x, y)): directed straight pieces of outlines."""


def edges_of_polygon(points: npt.ArrayLike) -> Edges:
    """Return the closed outline through points (n, 2) as edges (n, 2, 2)."""
    corners = np.asarray(points, dtype=np.float64)
    return np.stack([corners, np.roll(corners, -1, axis=0)], axis=1)


def edges_of_mask(mask: npt.NDArray[Any]) -> Edges:
    """Return the outline of a mask (H, W) along its pixels' sides; pixel (r, c) is [c, c + 1] × [r, r + 1]."""
    inside = np.pad(np.asarray(mask, dtype=np.int8), 1)
    pieces = []
    across = np.diff(inside[1:-1], axis=1)  # (H, W + 1): side c of row r
    for value in (1, -1):
        row, column = np.nonzero(across == value)
        first, last = (row, row + 1) if value == 1 else (row + 1, row)
        pieces.append(np.stack([np.stack([column, first], -1), np.stack([column, last], -1)], axis=1))
    down = np.diff(inside[:, 1:-1], axis=0)  # (H + 1, W)
    for value in (1, -1):
        row, column = np.nonzero(down == value)
        first, last = (column + 1, column) if value == 1 else (column, column + 1)
        pieces.append(np.stack([np.stack([first, row], -1), np.stack([last, row], -1)], axis=1))
    return np.concatenate(pieces).astype(np.float64)


def signed_area(edges: Edges) -> float:
    """Return the area within closed outlines; its sign tells in which direction they run (holes run the other way)."""
    if not len(edges):
        return 0.0
    # About the middle, so that far-away outlines keep their digits.
    (x0, y0), (x1, y1) = (edges - edges.mean(axis=(0, 1))).transpose(1, 2, 0)
    return float((x0 * y1 - x1 * y0).sum() / 2)


def cover(edges: Edges, shape: tuple[int, int]) -> npt.NDArray[np.float64]:
    """Return which share of each cell of a grid lies inside closed outlines.

    Args:
        edges: in cells, so that cell (r, c) is [c, c + 1] × [r, r + 1]; may reach beyond the grid.
        shape: (H, W) of the grid.

    Returns:
        (H, W) in 0…1, exact but for rounding, where no outline crosses another.
    """
    height, width = shape
    if not len(edges):
        return np.zeros(shape)
    begins, ends = _split(edges, (width, height))
    middle, rise = (begins + ends) / 2, ends[:, 1] - begins[:, 1]
    x = np.maximum(middle[:, 0], 0.0)  # what lies to the left of the grid counts for whole rows
    row = np.floor(middle[:, 1]).astype(np.int64)
    kept = (rise != 0) & (row >= 0) & (row < height) & (x < width)
    x, row, rise = x[kept], row[kept], rise[kept]
    column = np.floor(x).astype(np.int64)
    beyond = (x - column) * rise
    steps = np.bincount(row * (width + 1) + column, rise - beyond, height * (width + 1))
    steps += np.bincount(row * (width + 1) + column + 1, beyond, height * (width + 1))
    covered = steps.reshape(height, width + 1)[:, :width].cumsum(axis=1)
    return np.asarray(np.clip(covered * -np.sign(signed_area(edges)), 0.0, 1.0))


def _split(edges: Edges, lines: tuple[int, int]) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Cut edges where they cross the grid's lines 0 … lines; return where the pieces begin and end, (piece, 2)."""
    count = len(edges)
    owners, places = [np.arange(count), np.arange(count)], [np.zeros(count), np.ones(count)]
    for axis, last in enumerate(lines):
        begin, end = edges[:, 0, axis], edges[:, 1, axis]
        first = np.maximum(np.ceil(np.minimum(begin, end)), 0)
        crossings = np.maximum(np.minimum(np.floor(np.maximum(begin, end)), last) - first + 1, 0).astype(np.int64)
        crossings[begin == end] = 0
        owner = np.repeat(np.arange(count), crossings)
        number = np.arange(len(owner)) - np.repeat(np.cumsum(crossings) - crossings, crossings)
        owners.append(owner)
        places.append(np.clip((first[owner] + number - begin[owner]) / (end - begin)[owner], 0.0, 1.0))
    owner, place = np.concatenate(owners), np.concatenate(places)
    order = np.lexsort((place, owner))
    owner, place = owner[order], place[order]
    points = edges[owner, 0] + place[:, None] * (edges[owner, 1] - edges[owner, 0])
    same = owner[1:] == owner[:-1]
    return points[:-1][same], points[1:][same]


def crosses_itself(points: npt.ArrayLike) -> bool:
    """Say whether a closed polygon (n, 2) touches or crosses itself other than where neighbours meet."""
    edges = edges_of_polygon(points)
    count = len(edges)
    first, second = np.triu_indices(count, 1)
    apart = (second - first > 1) & ~((first == 0) & (second == count - 1))
    first, second = first[apart], second[apart]
    if not len(first):
        return False
    (a, b), (c, d) = edges[first].transpose(1, 0, 2), edges[second].transpose(1, 0, 2)
    sides = [_side(a, b, c), _side(a, b, d), _side(c, d, a), _side(c, d, b)]
    proper = (sides[0] * sides[1] < 0) & (sides[2] * sides[3] < 0)
    touching = np.zeros(len(first), bool)
    for side, point, (begin, end) in zip(sides, (c, d, a, b), ((a, b), (a, b), (c, d), (c, d)), strict=True):
        low, high = np.minimum(begin, end), np.maximum(begin, end)
        touching |= (side == 0) & ((point >= low) & (point <= high)).all(axis=1)
    return bool((proper | touching).any())


def _side(begin: Edges, end: Edges, point: Edges) -> npt.NDArray[np.float64]:
    along, to = end - begin, point - begin
    return np.asarray(np.sign(along[:, 0] * to[:, 1] - along[:, 1] * to[:, 0]))
