"""Loops of gut: a winding path through points that lie as close as loops do, with contents that change along it.

Points are drawn one after another, none nearer to another than a loop is wide (Poisson-disc sampling), and joined from
neighbour to neighbour, so that the loops fill what room the organs leave and hardly cross.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.interpolate import CubicSpline

from transmodal.simulation.abdomen.anatomy import Animal, Points, Site, Visit
from transmodal.simulation.abdomen.bodies import Bodies
from transmodal.simulation.abdomen.skeleton import Cones
from transmodal.simulation.brain.fields import Volume

_APART = 2.5  # mm between points, and hence about the width of a loop with its wall
_LONGEST_STEP = 4.4  # mm; a neighbour farther away starts another piece
_FINER = 5


@dataclass(frozen=True)
class Loop:
    """One piece of gut: `points` (N, 3) in animal mm, `radius` (N,) mm, `along` (N,) mm of path before each."""

    points: Points
    radius: NDArray[np.float64]
    along: NDArray[np.float64]


def room_for_gut(bodies: Bodies) -> Volume:
    """Distance to where the middle of a loop may lie."""
    taken = np.minimum(np.minimum(bodies.liver, bodies.stomach), np.minimum(bodies.kidneys, bodies.spleen))
    taken = np.minimum(taken, bodies.caecum)
    return np.asarray(np.maximum(bodies.abdomen + np.float32(1.35), np.float32(1.0) - taken), dtype=np.float32)


def lay_loops(animal: Animal, rest: Site, bodies: Bodies) -> list[Loop]:
    """Lay the gut of an animal into the room of its resting body."""
    rng = animal.stream(50)
    nodes = np.argwhere(room_for_gut(bodies) < 0)
    if not len(nodes):
        return []
    grid = rest.grid
    points = np.array(grid.low) + (nodes + rng.uniform(-0.5, 0.5, nodes.shape)) * np.array(grid.step)
    points = points[points[:, 2] < 3.0]  # pockets beside the liver hold fat
    chosen = _spread(points, rng)
    return [_loop(piece, rng) for piece in _joined(chosen) if len(piece) > 2]


def _spread(points: Points, rng: np.random.Generator) -> Points:
    """Some of the points, in random order, none nearer to another than a loop is wide."""
    rest = points[rng.permutation(len(points))]
    chosen = []
    while len(rest):
        chosen.append(rest[0])
        rest = rest[((rest - rest[0]) ** 2).sum(axis=1) > _APART**2]
    return np.array(chosen).reshape(-1, 3)


def _joined(points: Points) -> list[Points]:
    """Paths from neighbour to neighbour, the first from the stomach's side."""
    left = list(range(len(points)))
    if not left:
        return []
    at = int(np.argmax(points[:, 2] - points[:, 0]))
    pieces, piece = [], [at]
    left.remove(at)
    while left:
        away = np.linalg.norm(points[left] - points[at], axis=1)
        nearest = int(np.argmin(away))
        if away[nearest] > _LONGEST_STEP:
            pieces.append(points[piece])
            piece = []
        at = left.pop(nearest)
        piece.append(at)
    pieces.append(points[piece])
    return pieces


def _loop(points: Points, rng: np.random.Generator) -> Loop:
    reach = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(points, axis=0), axis=1))])
    fine = np.interp(np.linspace(0, len(points) - 1, _FINER * (len(points) - 1) + 1), np.arange(len(points)), reach)
    width = 1.22 + 0.18 * ndimage.gaussian_filter1d(rng.standard_normal(len(fine)), _FINER) * np.sqrt(_FINER)
    return Loop(np.asarray(CubicSpline(reach, points)(fine)), np.clip(width, 0.95, 1.5), fine)


def fill_loops(animal: Animal, visit: Visit, loops: list[Loop], food: float) -> Cones:
    """The loops at a visit in image mm: moved a little, with contents in HU.

    Args:
        animal, visit: whose and when.
        loops: of the animal.
        food: HU of solid contents.

    Returns:
        Round cones with contents at both ends, as `skeleton.Cones`.
    """
    rng = animal.stream(51, visit.number)
    rows = []
    for loop in loops:
        count = len(loop.points)
        moved = loop.points + _along(rng, (count, 3), 12) * 0.25
        radius = loop.radius * np.clip(1 + 0.10 * _along(rng, (count,), 8), 0.8, 1.2)
        contents = 55 + 0.45 * (food - 55) * (1 + _along(rng, (count,), 14)) + 12 * _along(rng, (count,), 3)
        bubble = _along(rng, (count,), 7) + 0.06 * (moved[:, 1] - 2)
        gas = np.clip((bubble - 1.55) * 8, 0, 1)  # rises to the belly
        contents = np.clip(contents, 10, 260) * (1 - gas) - 900 * gas
        ends = np.column_stack([visit.to_image(moved), radius])
        rows.append(np.column_stack([ends[:-1], ends[1:], contents[:-1], contents[1:]]))
    rows.append(_colon(animal, visit, rng, food))
    return np.concatenate(rows)


def _along(rng: np.random.Generator, shape: tuple[int, ...], grain: float) -> NDArray[np.float64]:
    """Smooth noise along a path, unit spread."""
    noise = ndimage.gaussian_filter1d(rng.standard_normal(shape), grain, axis=0, mode="reflect")
    return np.asarray(noise * np.sqrt(2 * np.sqrt(np.pi) * grain))


def _colon(animal: Animal, visit: Visit, rng: np.random.Generator, food: float) -> Cones:
    """The last part of the colon with its pellets, along the spine."""
    way = np.array([(-3.6, 0.6, -9), (-2.9, -0.3, -13), (-1.8, -0.8, -17.5), (-0.8, -0.9, -22), (0, -1, -27)])
    share = np.linspace(0, 1, 110)
    path = np.asarray(CubicSpline(np.linspace(0, 1, len(way)), way)(share))
    wave = 0.5 + 0.5 * np.sin(share * rng.uniform(28, 34) + rng.uniform(0, 2 * np.pi))
    radius = 0.8 + 0.55 * wave
    contents = 40 + (food + 60) * np.clip(1.6 * wave - 0.5, 0, 1)
    ends = np.column_stack([visit.to_image(animal.place(path)), radius])
    return np.column_stack([ends[:-1], ends[1:], contents[:-1], contents[1:]])
