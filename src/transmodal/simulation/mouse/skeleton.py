"""The skeleton as groups of analytic solids: spine, ribs, sternum, shoulder and pelvic girdle.

Numbers are mm on the reference animal, after the usual anatomy of the mouse: 7 cervical, 13 thoracic, 6 lumbar, 4 fused
sacral and about 27 caudal vertebrae, 13 pairs of ribs. Bones are shells: an outer solid of cortical bone, and an inner
one that takes cortical bone away and gives marrow with some trabeculae.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.interpolate import CubicSpline

from transmodal.simulation.mouse.animal import Animal
from transmodal.simulation.mouse.pose import Pose
from transmodal.simulation.mouse.shapes import ellipsoid, round_cones


@dataclass
class Bones:
    """Collects bones of one posed animal; `weights` rows are (soft tissue, bone, bone of the skull, air)."""

    animal: Animal
    pose: Pose
    solids: list[NDArray[np.float64]] = field(default_factory=list)
    weights: list[tuple[float, float, float, float]] = field(default_factory=list)
    thick: float = 1.0
    wide: float = 1.0

    def place(self, points: ArrayLike, tail: bool = False) -> NDArray[np.float64]:
        """Reference body points (N, 3) to the field, mm: the animal's size, then its pose."""
        array = np.asarray(points, dtype=np.float64)
        scale = self.animal.scale
        sides = scale * (0.35 + 0.65 * self.animal.width) * self.wide
        high = array[:, 2] * scale * self.animal.height
        return self.pose.place(array[:, 0] * scale, array[:, 1] * sides, high, tail)

    def add(self, solids: NDArray[np.float64], density: float, skull: bool = False) -> None:
        """Add one group that replaces soft tissue by `density` of bone."""
        self.solids.append(solids)
        self.weights.append((-1.0, density, density if skull else 0.0, 0.0))

    def tube(
        self,
        points: ArrayLike,
        radii: ArrayLike,
        *,
        marrow: float = 0.0,
        trabecular: float = 0.15,
        density: float = 1.0,
        skull: bool = False,
        curved: bool = False,
        tail: bool = False,
    ) -> None:
        """Add a chain of round cones; `marrow` is the cavity's radius relative to the outer one.

        `curved` draws a smooth curve through the points instead of straight pieces; `tail` lays it along the
        tail's axis.
        """
        path = np.asarray(points, dtype=np.float64)
        if curved:
            path, radii = _curve(path, radii)
        where = self.place(path, tail)
        size = np.broadcast_to(np.asarray(radii, dtype=np.float64), (len(where),)) * self.animal.scale * self.thick
        dense = density * self.animal.bone_density
        self.add(round_cones(where, size), dense, skull)
        if marrow > 0.0:
            self.hollow(round_cones(where, size * marrow), dense * (1.0 - trabecular), skull)

    def ball(
        self,
        centre: Sequence[float],
        semi_axes: Sequence[float],
        *,
        marrow: float = 0.0,
        trabecular: float = 0.3,
        density: float = 1.0,
        skull: bool = False,
        yaw: float = 0.0,
    ) -> None:
        """Add an ellipsoid along the body's axes, turned by `yaw` towards the left (radians)."""
        dense = density * self.animal.bone_density
        self.add(self.ball_solid(centre, semi_axes, yaw), dense, skull)
        if marrow > 0.0:
            inner = [marrow * half for half in semi_axes]
            self.hollow(self.ball_solid(centre, inner, yaw), dense * (1.0 - trabecular), skull)

    def ball_solid(self, centre: Sequence[float], semi_axes: Sequence[float], yaw: float = 0.0) -> NDArray[np.float64]:
        """The solid of such an ellipsoid, in the field."""
        frame = self.pose.frame(centre[0] * self.animal.scale)
        along = frame[0] * np.cos(yaw) + frame[1] * np.sin(yaw)
        left = -frame[0] * np.sin(yaw) + frame[1] * np.cos(yaw)
        size = np.asarray(semi_axes, dtype=np.float64) * self.animal.scale * [1.0, self.wide, 1.0]
        return ellipsoid(self.place([centre])[0], np.stack([along, left, frame[2]]), size)

    def hollow(
        self, solids: NDArray[np.float64], density: float, skull: bool, air: float = 0.0, replaces: bool = False
    ) -> None:
        """Take `density` of bone out of a solid; soft tissue, or a share `air` of air, takes its place.

        With `replaces` the air takes the place of soft tissue that is there already.
        """
        self.solids.append(solids)
        self.weights.append((-air if replaces else 1.0 - air, -density, -density if skull else 0.0, air))

    def arrays(self) -> tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.float64]]:
        """Solids (N, 10), group starts (G + 1,), weights (G, 4), as `shapes.add_groups` wants them."""
        starts = np.concatenate([[0], np.cumsum([len(solid) for solid in self.solids])]).astype(np.int64)
        return np.concatenate(self.solids), starts, np.array(self.weights, dtype=np.float64)


def spine_height(s: float) -> float:
    """Height of the vertebral bodies' centres over the bed, mm, of the reference animal at axis position `s`."""
    height = np.interp(
        s,
        [22.0, 25.0, 30.0, 36.0, 44.0, 54.0, 63.0, 71.0, 79.0, 85.0],
        [6.6, 6.4, 6.6, 9.0, 11.4, 12.6, 12.4, 11.0, 7.6, 3.4],
    )
    return float(height)


def _curve(path: NDArray[np.float64], radii: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Four points for one, on a cubic through the given points."""
    reach = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(path, axis=0), axis=1))])
    fine = np.interp(np.linspace(0, len(path) - 1, 4 * len(path) - 3), np.arange(len(path)), reach)
    size = np.broadcast_to(np.asarray(radii, dtype=np.float64), (len(path),))
    return CubicSpline(reach, path)(fine), np.interp(fine, reach, size)


THORACIC = np.linspace(31.6, 52.4, 14)
"""Borders of the thirteen thoracic vertebrae along the reference axis, mm."""
LUMBAR = np.array([52.4, 55.1, 57.95, 60.95, 64.05, 67.15, 70.1])
SACRAL = np.array([70.1, 72.9, 75.4, 77.7, 79.8])
CERVICAL = np.array([24.0, 24.9, 26.3, 27.3, 28.3, 29.35, 30.45, 31.6])


def _vertebra(bones: Bones, first: float, last: float, kind: str) -> None:
    """One vertebra between its discs: body with two end plates, arch, processes."""
    gap = 0.16 if kind != "lumbar" else 0.2
    a, b = first + gap, last - gap
    middle, long = (a + b) / 2, b - a
    z = spine_height(middle)
    za, zb = spine_height(a), spine_height(b)
    radius = {"cervical": 0.8, "thoracic": 0.82, "lumbar": 1.05, "sacral": 1.0}[kind]
    inset = min(radius * 0.55, long * 0.3)
    half = radius * 0.95
    bones.tube([(a + inset, 0, za), (b - inset, 0, zb)], radius * 0.92, marrow=0.76, trabecular=0.30)
    for end, height in ((a + 0.12, za), (b - 0.12, zb)):  # end plates make the discs visible
        bones.tube([(end, -half * 0.78, height), (end, half * 0.78, height)], 0.21, density=0.75)
    top = z + radius + 0.9
    arch = {"cervical": 1.75, "thoracic": 1.15, "lumbar": 1.45, "sacral": 1.5}[kind]
    for side in (-1.0, 1.0):
        # Pedicle and articular processes: a strip along the side of the canal.
        bones.tube(
            [(a + 0.1 * long, side * arch, top - 0.9), (b + 0.05 * long, side * arch * 0.8, top - 0.35)],
            [0.32, 0.24],
            density=0.6 if kind == "thoracic" else 0.75,
        )
        bones.tube([(middle, side * arch, top - 0.7), (middle + 0.15 * long, side * 0.25, top)], 0.2, density=0.6)
        if kind == "lumbar":
            bones.tube(
                [
                    (middle, side * 1.0, z),
                    (a + 0.05 * long, side * 2.1, z - 0.4),
                    (a - 0.22 * long, side * 2.9, z - 0.8),
                ],
                [0.34, 0.26, 0.16],
                density=0.75,
            )
            bones.tube([(b - 0.1, side * 1.3, top - 0.5), (b + 0.75, side * 1.15, top - 0.3)], [0.3, 0.2])
        elif kind == "thoracic":
            bones.tube(
                [(middle - 0.2, side * 0.9, z + 0.9), (middle - 0.1, side * 1.9, z + 1.1)], [0.28, 0.3], density=0.7
            )
        elif kind == "cervical":
            bones.tube([(middle, side * 0.8, z), (middle + 0.3, side * 2.2, z - 0.3)], [0.3, 0.22])
    if kind != "cervical":
        rise = 1.5 if kind != "thoracic" else 1.2
        bones.tube([(middle - 0.1 * long, 0, top), (middle + 0.25 * long, 0, top + rise)], [0.24, 0.2], density=0.9)


def add_spine(bones: Bones) -> None:
    """Atlas to the tip of the tail."""
    # Atlas: a ring with wings.
    z = spine_height(24.4)
    for side in (-1.0, 1.0):
        bones.tube([(24.2, 0, z - 0.9), (24.3, side * 1.7, z), (24.7, side * 2.9, z)], [0.35, 0.55, 0.35], density=0.9)
        bones.tube([(24.3, side * 1.7, z), (24.6, 0, z + 1.9)], [0.4, 0.3], density=0.8)
    for borders, kind in ((CERVICAL[1:], "cervical"), (THORACIC, "thoracic"), (LUMBAR, "lumbar"), (SACRAL, "sacral")):
        for first, last in pairwise(borders):
            _vertebra(bones, float(first), float(last), kind)
    # The second thoracic vertebra carries a long spine.
    z = spine_height(34.0) + 1.8
    bones.tube([(33.9, 0, z), (33.6, 0, z + 2.6)], [0.3, 0.4])
    # Sacrum: fused wings.
    for side in (-1.0, 1.0):
        wing = [(70.6, side * 1.6, 11.0), (73.2, side * 2.3, 10.2), (77.0, side * 1.9, 8.8), (79.6, side * 1.3, 7.4)]
        bones.tube(wing, [0.5, 0.85, 0.6, 0.4], density=0.4, curved=True)
    add_caudal(bones)


def add_caudal(bones: Bones) -> None:
    """Vertebrae of the tail, lying in the tail's own axis."""
    scale = bones.animal.scale
    end = (bones.animal.length + bones.animal.tail - 1.0) / scale
    s = float(SACRAL[-1])
    number = 0
    while s < end - 1.0:
        share = (s - 79.8) / (end - 79.8)
        long = 2.1 + 2.1 * np.clip((number - 1) / 6.0, 0.0, 1.0) - 2.6 * max(share - 0.35, 0.0) / 0.65
        last = min(s + max(long, 1.4), end)
        thick = 0.95 * (1.0 - share) ** 0.8 + 0.22
        z = tail_height(np.array([s + 0.2, last - 0.2]))
        middle = (s + last) / 2
        inset = min(0.12 + 0.75 * thick, 0.42 * (last - s))
        bones.tube(
            [(s + inset, 0, z[0]), (middle, 0, z.mean()), (last - inset, 0, z[1])],
            [thick * 0.9, thick * 0.6, thick * 0.88],
            marrow=0.72,
            trabecular=0.35,
            tail=True,
        )
        for plate, height in ((s + 0.24, z[0]), (last - 0.24, z[1])):
            bones.tube([(plate, -thick * 0.62, height), (plate, thick * 0.62, height)], 0.16, density=0.6, tail=True)
        if number < 8:
            reach = (1.9 - 0.2 * number) * 0.9
            for side in (-1.0, 1.0):
                bones.tube(
                    [(middle, side * 0.5, z.mean()), (middle + 0.5, side * (0.5 + reach), z.mean())],
                    [0.35, 0.22],
                    density=0.7,
                    tail=True,
                )
        s = last
        number += 1


def tail_height(s: NDArray[np.float64]) -> NDArray[np.float64]:
    """Height of the tail's centre over the bed, mm, at axis position `s` of the reference animal."""
    return np.interp(s, [79.0, 85.0, 95.0, 170.0], [7.4, 3.8, 2.0, 0.7])


def cage(s: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Half width, centre height and half height of the rib cage at axis position `s` (mm, reference animal)."""
    where = [30.0, 32.5, 36.0, 40.0, 45.0, 50.0, 55.0, 60.0]
    wide = np.interp(s, where, [2.5, 3.9, 6.0, 7.9, 9.5, 10.4, 11.0, 11.2])
    centre = np.interp(s, where, [6.4, 6.6, 6.9, 7.3, 7.8, 8.1, 8.3, 8.3])
    tall = np.interp(s, where, [2.2, 3.2, 4.4, 5.4, 6.2, 6.6, 6.6, 6.4])
    return wide, centre, tall


def add_ribs(bones: Bones) -> None:
    """Thirteen pairs of ribs, the costal cartilages that calcify in adults, sternebrae and xiphoid."""
    rng = bones.animal.stream(1)
    for number in range(13):
        head = float(THORACIC[number]) + 0.2
        slant = 2.2 + 0.42 * number + rng.normal(0.0, 0.08)
        floating = number >= 10
        reach = (2.25 if number < 7 else 2.15 - 0.14 * (number - 6)) - (0.25 if floating else 0.0)
        for side in (-1.0, 1.0):
            angle = np.linspace(0.22, reach, 12) + rng.normal(0.0, 0.012)
            s = head + slant * (1.0 - np.cos(np.minimum(angle, 2.0) * 0.95)) * 1.05
            wide, centre, tall = cage(s)
            v = side * wide * np.sin(angle) ** 0.85
            path = np.stack([s, v, centre + tall * np.cos(angle)], axis=1)
            start = np.array([[head, side * 0.9, path[0, 2]]])
            size = np.linspace(0.36, 0.25, 13) * (0.85 if number in (0, 12) else 1.0)
            whole = np.concatenate([start, path])
            bones.tube(whole[:8], size[:8], density=0.85)
            # The lower half is a group of its own, as it lies under the upper; it starts a radius later.
            join = (whole[7] + (whole[8] - whole[7]) * 0.45)[None, :]
            bones.tube(np.concatenate([join, whole[8:]]), size[7:], density=0.85)
            if number < 10:  # cartilage: forwards to the breastbone
                last = path[-1]
                target = np.array([30.5 + 2.45 * min(number, 7), side * 0.7, 2.4 if number < 7 else 2.8])
                if number >= 7:
                    target = np.array([47.8 + 0.9 * (number - 7), side * (1.6 + 0.9 * (number - 7)), 2.4])
                bend = np.array(
                    [last[0] + 0.6, 0.55 * last[1] + 0.45 * target[1], 0.6 * last[2] + 0.4 * target[2] - 0.4]
                )
                t = np.linspace(0.0, 1.0, 7)[:, None]
                curve = (1 - t) ** 2 * last + 2 * t * (1 - t) * bend + t**2 * target
                bones.tube(curve, 0.24, density=0.30)
    for number in range(6):
        a = 30.2 + 2.6 * number
        half = 0.26 if number == 0 else 0.18
        for off in (-half, half):
            bones.tube([(a + 0.3, off, 2.3), (a + 2.3, off, 2.3)], 0.42, marrow=0.6, density=0.75)
    bones.tube([(46.2, 0, 2.4), (49.2, 0, 2.6)], [0.42, 0.25], density=0.7)
    bones.ball((49.9, 0, 2.6), (0.9, 1.0, 0.25), density=0.25)


def add_girdles(bones: Bones) -> None:
    """Scapulae, clavicles and pelvis."""
    for side in (-1.0, 1.0):
        # Scapula: a thin triangle with thick borders and a spine that ends in the acromion.
        neck, corner, back = (31.9, side * 6.0, 7.0), (37.8, side * 3.4, 12.4), (40.6, side * 6.0, 10.6)
        bones.tube([neck, (34.2, side * 4.0, 10.6), corner], [0.42, 0.24, 0.22], density=0.9)
        bones.tube([neck, back], [0.5, 0.26], density=0.95)
        bones.tube([corner, back], [0.2, 0.24], density=0.8)
        bones.tube([(31.0, side * 7.3, 8.2), (33.4, side * 6.2, 10.4), (38.6, side * 4.6, 12.2)], [0.3, 0.34, 0.16])
        for share in np.linspace(0.12, 0.9, 9):  # the blade itself, as overlapping thin rods
            near = np.array(neck) * (1 - share) + np.array(corner) * share
            far = np.array(neck) * (1 - share) + np.array(back) * share
            bones.tube([near, far], 0.36, density=0.13)
        bones.ball((31.9, side * 6.1, 6.9), (0.7, 0.6, 0.6), density=0.45)
        clavicle = [(30.9, side * 0.9, 3.0), (30.2, side * 2.8, 4.2), (30.4, side * 5.0, 6.4), (30.9, side * 6.9, 7.9)]
        bones.tube(clavicle, [0.3, 0.22, 0.22, 0.28], curved=True)
        hip = (76.6, side * 4.3, 6.8)
        ilium = [(66.9, side * 3.0, 11.6), (69.2, side * 2.75, 11.2), (73.0, side * 3.2, 9.4), hip]
        bones.tube(ilium, [0.42, 0.66, 0.52, 0.7], marrow=0.66, trabecular=0.25, curved=True)
        bones.tube([(66.9, side * 3.0, 11.6), (70.4, side * 3.3, 10.2)], [0.36, 0.3], density=0.6)
        ischium = [hip, (79.6, side * 4.1, 6.6), (82.3, side * 4.1, 6.6), (83.8, side * 3.2, 5.6)]
        bones.tube(ischium, [0.66, 0.48, 0.62, 0.42], marrow=0.66, trabecular=0.25, curved=True)
        bones.tube([(83.8, side * 3.2, 5.6), (82.6, side * 1.5, 3.9), (80.4, side * 0.5, 3.0)], [0.38, 0.3, 0.42])
        bones.tube(
            [(76.9, side * 3.7, 6.2), (78.2, side * 2.3, 4.2), (80.4, side * 0.5, 3.0)], [0.4, 0.32, 0.42], density=0.85
        )
        bones.tube([(75.7, side * 3.7, 6.9), (77.4, side * 3.8, 6.7)], 0.7, density=0.2)
