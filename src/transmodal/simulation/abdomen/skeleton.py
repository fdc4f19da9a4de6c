"""Bones, large vessels and airways as chains of round cones: what is too thin for distances on a coarse grid.

Numbers are mm on the reference mouse: 13 thoracic and 6 lumbar vertebrae, 13 pairs of ribs (seven reach the sternum,
three end in the arch, three float), after the usual anatomy. A vertebra is a body with marrow between two plates, and
an arch around its canal.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import CubicSpline

from transmodal.simulation.abdomen.anatomy import Animal, Points, Visit
from transmodal.simulation.abdomen.bodies import SQUARENESS, profile

Cones = NDArray[np.float64]
"""(N, 10): two ends x, y, z and radius each, mm, then a value at either end."""

THORACIC = np.linspace(22.4, 1.6, 14)
"""Borders of the thoracic vertebrae, from the head."""
LUMBAR = np.array([1.6, -1.1, -3.95, -6.95, -10.05, -13.15, -16.1])
SACRAL = np.array([-16.1, -18.9, -21.4, -23.7, -25.8])

_CANAL = 1.85  # mm from the middle of a vertebral body to that of its canal
_RIB_DEPTH = 0.9  # mm under the muscles' surface


@dataclass
class Strands:
    """Collects chains by group, in reference mm."""

    rows: dict[str, list[NDArray[np.float64]]] = field(default_factory=dict)

    def add(self, group: str, points: Sequence[Sequence[float]] | Points, radii: float | Sequence[float]) -> None:
        """Add a chain of straight pieces through `points` (x, y, z)."""
        path = np.asarray(points, dtype=np.float64)
        size = np.broadcast_to(np.asarray(radii, dtype=np.float64), (len(path),))
        chain = np.column_stack([path, size])
        made = [np.concatenate([a, b, [0.0, 0.0]]) for a, b in pairwise(chain)]
        self.rows.setdefault(group, []).extend(made)

    def placed(self, animal: Animal, visit: Visit) -> dict[str, Cones]:
        """All groups in image coordinates, with the animal's size."""
        scale = float(np.mean(animal.size))
        names = list(self.rows)
        rows = np.array([row for name in names for row in self.rows[name]])
        ends = visit.to_image(animal.place(np.concatenate([rows[:, 0:3], rows[:, 4:7]])))
        rows[:, 0:3], rows[:, 4:7] = ends[: len(rows)], ends[len(rows) :]
        rows[:, [3, 7]] *= scale
        borders = np.cumsum([len(self.rows[name]) for name in names])
        return dict(zip(names, np.split(rows, borders[:-1]), strict=True))


def make_strands(animal: Animal) -> Strands:
    """Bones, vessels and airways of an animal, in reference mm."""
    strands = Strands()
    rng = animal.stream(40)
    for borders, kind in ((THORACIC, "thoracic"), (LUMBAR, "lumbar"), (SACRAL, "sacral")):
        for high, low in pairwise(borders):
            _vertebra(strands, float(high), float(low), kind)
    for number in range(1, 14):
        for side in (-1.0, 1.0):
            _rib(strands, number, side, rng.normal(0.0, 0.12, 3))
    _sternum(strands)
    for side in (-1.0, 1.0):
        ilium = np.array([(2.6, -4.2, -15.6), (3.6, -3.6, -18.5), (4.6, -2.0, -22.5), (5.0, -1.0, -26.0)])
        strands.add("pelvis", ilium * [side, 1, 1], [0.55, 0.6, 0.75, 0.9])
    _vessels(strands)
    return strands


def _spine(z: float) -> float:
    return float(profile("spine", np.array(z)))


def _vertebra(strands: Strands, high: float, low: float, kind: str) -> None:
    gap = 0.14 if kind == "thoracic" else 0.2
    a, b = high - gap, low + gap
    ya, yb = _spine(a), _spine(b)
    radius = {"thoracic": 0.95, "lumbar": 1.2, "sacral": 1.1}[kind]
    inset = 0.35 * radius
    strands.add("spine", [(0, ya, a - inset), (0, yb, b + inset)], radius)
    strands.add("marrow", [(0, ya, a - inset - 0.18), (0, yb, b + inset + 0.18)], radius - 0.24)
    for y, z in ((ya, a - 0.16), (yb, b + 0.16)):
        for turn in np.linspace(-1.1, 1.1, 7):
            wide = 0.78 * radius * np.cos(turn)
            high_ = 0.78 * radius * np.sin(turn)
            strands.add("plate", [(-wide, y + high_, z), (wide, y + high_, z)], 0.2)
    strands.add("disc", [(0, yb, b), (0, yb, b - 2 * gap)], radius * 0.8)
    width = {"thoracic": 1.12, "lumbar": 1.28, "sacral": 1.2}[kind]
    last = b + {"thoracic": 0.12, "lumbar": 0.55, "sacral": 0.4}[kind]
    # The arch is made of rods along the axis, so that every slice shows a closed ring around the canal.
    for angle in np.radians(np.linspace(30 if kind == "thoracic" else 44, 180, 12)):
        side, high_ = width * np.sin(angle), width * 0.92 * np.cos(angle) - _CANAL
        rods = [(sign * side, y + high_, z) for y, z in ((ya, a - 0.25), (yb, last)) for sign in (-1.0, 1.0)]
        thick = 0.25 if angle < 2.7 else 0.3
        strands.add("spine", [rods[0], rods[2]], thick)
        strands.add("spine", [rods[1], rods[3]], thick)
    top = -_CANAL - width * 0.92
    reach = {"thoracic": 1.0, "lumbar": 1.0, "sacral": 0.8}[kind]
    middle, ym = (a + b) / 2, (ya + yb) / 2
    strands.add("spine", [(0, ym + top, middle + 0.3), (0, ym + top - reach, middle - 0.5)], [0.32, 0.22])
    strands.add("spine", [(0, ym + top, middle - 0.5), (0, ym + top - reach, middle - 0.9)], [0.32, 0.22])
    if kind == "lumbar":
        for side in (-1.0, 1.0):
            process = [
                (x * side, ym + y, middle + z) for x, y, z in ((0.9, -0.3, 0), (2.2, -0.1, 0.5), (3.1, 0.3, 1.1))
            ]
            strands.add("spine", process, [0.35, 0.26, 0.2])
    elif kind == "sacral":
        for side in (-1.0, 1.0):
            strands.add("spine", [(0.8 * side, ym, middle), (2.3 * side, ym - 0.2, middle)], [0.7, 0.5])
    else:
        for side in (-1.0, 1.0):
            strands.add("spine", [(1.0 * side, ym - 1.0, a - 0.5), (1.9 * side, ym - 1.1, a - 0.4)], [0.3, 0.26])


def _wall(z: float, angle: float, depth: float) -> tuple[float, float]:
    """A point under the muscles' surface; `angle` from the back, radians."""
    back, belly = float(profile("back", np.array(z))), float(profile("belly", np.array(z)))
    half, high = float(profile("half width", np.array(z))) - depth, (belly - back) / 2 - depth
    sin, cos = np.sin(angle), -np.cos(angle)
    away = (abs(sin / half) ** SQUARENESS + abs(cos / high) ** SQUARENESS) ** (-1 / SQUARENESS)
    return float(away * sin), float(away * cos + (back + belly) / 2)


def _rib(strands: Strands, number: int, side: float, jitter: NDArray[np.float64]) -> None:
    start = float(THORACIC[number - 1]) - 0.3
    y = _spine(start)
    bone_end = float(np.interp(number, [1, 4, 7, 10, 11, 12, 13], [112, 128, 138, 128, 112, 98, 82]))
    drop = float(np.interp(number, [1, 5, 10, 13], [2.5, 4.2, 5.5, 4.5])) + float(jitter[0])
    path = [(0.95 * side, y + 0.1, start), (2.2 * side, y - 0.9, start - 0.15), (3.9 * side, y - 1.5, start - 0.6)]
    for angle in np.arange(54.0, bone_end + 1, 11.0):
        z = start - drop * np.sin(np.radians(min(angle, 150) * 0.6)) + 0.3
        x, high = _wall(z, np.radians(angle), _RIB_DEPTH + 0.12 * float(jitter[1]))
        path.append((side * x, high, z))
    curve = _smooth(np.array(path))
    thick = 0.23 + 0.09 * np.sin(np.linspace(0.4, np.pi, len(curve)))
    strands.add("rib", curve, list(thick))
    if number <= 10:
        _cartilage(strands, number, side, curve[-1], bone_end)


def _cartilage(strands: Strands, number: int, side: float, tip: NDArray[np.float64], bone_end: float) -> None:
    """From the end of a rib to the sternum, or to the arch of the ribs before it."""
    end = float(np.interp(number, [1, 7, 10], [20.5, 7.6, 4.0]))
    far = 172.0 if number <= 7 else 160.0 - 7 * (number - 8)
    path = [tuple(tip)]
    for share in (0.35, 0.7, 1.0):
        z = float(tip[2]) * (1 - share) + end * share
        x, high = _wall(z, np.radians(bone_end + (far - bone_end) * share), _RIB_DEPTH)
        path.append((side * x, high, z))
    strands.add("cartilage", _smooth(np.array(path)), 0.27)


def _sternum(strands: Strands) -> None:
    for high, low in pairwise(np.linspace(23.0, 7.0, 7)):
        points = [(0, _wall(float(z), np.pi, 1.0)[1], float(z)) for z in (high - 0.35, low + 0.35)]
        strands.add("sternum", points, 0.52)
    xiphoid = [(0, _wall(z, np.pi, 1.0)[1], z) for z in (7.0, 4.4)]
    strands.add("cartilage", xiphoid, [0.4, 0.55])


def _vessels(strands: Strands) -> None:
    heights = np.linspace(26.0, -26.0, 27)
    strands.add("aorta", [(-0.7, _spine(z) + (2.1 if z > 0 else 1.85), z) for z in heights], 0.55)
    strands.add("cord", [(0, _spine(z) - _CANAL, z) for z in heights], 0.74)
    strands.add("canal", [(0, _spine(z) - _CANAL, z) for z in heights], 0.98)
    low = [(0.8, _spine(z) + 2.0, z) for z in np.linspace(-26.0, -2.0, 13)]
    cava = [*low, (1.2, -1.3, 1.5), (1.3, -0.4, 5.0), (1.1, 0.4, 9.0), (0.8, 1.2, 12.5)]
    strands.add("cava", _smooth(np.array(cava)), 0.68)
    gullet = [(-0.2, _spine(z) + 3.1, z) for z in (26.0, 22.0, 18.0, 14.0, 10.0)]
    strands.add("gullet", _smooth(np.array([*gullet, (-1.2, 0.6, 6.5), (-2.6, 1.0, 1.0)])), 0.5)
    portal = [(0.2, 1.6, -3.6), (0.8, 1.0, -0.8), (1.5, 1.0, 1.4)]
    right, left = [*portal, (4.5, 1.4, 3.0), (7.2, 1.0, 2.4)], [portal[2], (-0.8, 3.0, 3.4), (-4.0, 4.0, 3.6)]
    for way in (right, left):
        curve = _smooth(np.array(way))
        strands.add("portal", curve, [*np.linspace(0.6, 0.28, len(curve))])
    for end in ((6.0, -1.0, 4.6), (0.6, 4.6, 4.4), (-5.6, 3.0, 5.2)):  # hepatic veins
        curve = _smooth(np.array([(1.3, -0.2, 6.0), (0.5 * end[0] + 0.6, 0.5 * end[1] + 0.2, 5.8), end]))
        strands.add("portal", curve, [*np.linspace(0.5, 0.24, len(curve))])
    fork = (0.0, 0.9, 17.3)
    strands.add("airway", [(0, 2.4, 27.0), (0, 1.6, 22.0), fork], 0.62)
    strands.add("airway wall", [(0, 2.4, 27.0), (0, 1.6, 22.0), fork], 0.8)
    for side in (-1.0, 1.0):
        bronchus = _smooth(np.array([fork, (2.0 * side, 0.0, 15.0), (3.4 * side, -1.2, 11.5), (4.6 * side, -2.8, 7.5)]))
        strands.add("airway", bronchus, [*np.linspace(0.48, 0.16, len(bronchus))])
        strands.add("airway wall", bronchus, [*np.linspace(0.62, 0.27, len(bronchus))])
        artery = bronchus + np.array([0.3 * side, 0.75, 0.2])
        strands.add("lung vessel", artery, [*np.linspace(0.5, 0.2, len(artery))])


def _smooth(path: Points) -> Points:
    """Four points for one, on a cubic through the given points."""
    reach = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(path, axis=0), axis=1))])
    fine = np.interp(np.linspace(0, len(path) - 1, 4 * len(path) - 3), np.arange(len(path)), reach)
    return np.asarray(CubicSpline(reach, path)(fine))
