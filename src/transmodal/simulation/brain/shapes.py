"""Signed distances of simple bodies, negative inside, mm; and how bodies are joined.

Ellipsoid: the first-order distance f / |grad f|, exact on the surface (I. Quilez, "ellipsoid - distance").
Smooth union: polynomial smooth minimum (the same author, "smooth minimum").
"""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from transmodal.simulation.brain.fields import Volume

Point = tuple[float, float, float]
Coordinates = tuple[Volume, Volume, Volume]


def ellipsoid(at: Coordinates, centre: Point, radii: Point, *, turn: float = 0.0, pitch: float = 0.0) -> Volume:
    """Distance to an ellipsoid; `turn` in radians in the axial plane, then `pitch` in the sagittal plane."""
    x, y, z = (axis - middle for axis, middle in zip(at, centre, strict=True))
    if turn:
        x, y = np.cos(turn) * x + np.sin(turn) * y, np.cos(turn) * y - np.sin(turn) * x
    if pitch:
        y, z = np.cos(pitch) * y + np.sin(pitch) * z, np.cos(pitch) * z - np.sin(pitch) * y
    a, b, c = (np.float32(radius) for radius in radii)
    near = np.sqrt((x / a) ** 2 + (y / b) ** 2 + (z / c) ** 2)
    steep = np.sqrt((x / a**2) ** 2 + (y / b**2) ** 2 + (z / c**2) ** 2)
    return np.asarray(near * (near - 1) / np.maximum(steep, 1e-6), dtype=np.float32)


def tube(at: Coordinates, points: Sequence[tuple[float, float, float, float]], *, join: float = 2.0) -> Volume:
    """Distance to a chain of tapered rods through `points` (x, y, z, radius), smoothly joined."""
    made: Volume | None = None
    for first, second in pairwise(points):
        rod = _rod(at, first, second)
        made = rod if made is None else union(made, rod, join)
    if made is None:
        raise ValueError("a tube needs two points")
    return made


def _rod(at: Coordinates, first: Sequence[float], second: Sequence[float]) -> Volume:
    axis = [np.float32(b - a) for a, b in zip(first[:3], second[:3], strict=True)]
    length2 = np.float32(sum(part * part for part in axis))
    x, y, z = (each - np.float32(start) for each, start in zip(at, first[:3], strict=True))
    share = np.clip((x * axis[0] + y * axis[1] + z * axis[2]) / length2, 0, 1)
    away = np.sqrt((x - share * axis[0]) ** 2 + (y - share * axis[1]) ** 2 + (z - share * axis[2]) ** 2)
    radius = np.float32(first[3]) + share * np.float32(second[3] - first[3])
    return np.asarray(away - radius, dtype=np.float32)


def union(a: Volume, b: Volume, softness: float = 0.0) -> Volume:
    """Distance to both bodies together; their seam is filled over about `softness` mm."""
    if softness <= 0:
        return np.minimum(a, b)
    near = np.maximum(softness - np.abs(a - b), 0) / np.float32(softness)
    return np.asarray(np.minimum(a, b) - near * near * np.float32(softness / 4), dtype=np.float32)


def intersection(a: Volume, b: Volume, softness: float = 0.0) -> Volume:
    """Distance to what two bodies have in common; its edge is rounded over about `softness` mm."""
    return np.asarray(-union(-a, -b, softness), dtype=np.float32)
