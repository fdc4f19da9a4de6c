"""The soft organs as intervals along the vertical ray: what lies where, in which part of the ray.

Each organ is a union of ellipsoids or tubes whose hull along the ray is its interval map. Lungs give way to heart and
liver, so that the heart's shadow and the dome of the diaphragm appear. Numbers are mm on the reference animal; the
animal's left is positive: stomach and spleen left, the right kidney further forward than the left one.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from transmodal.simulation.mouse.animal import Animal
from transmodal.simulation.mouse.shapes import add_groups, ellipsoid, hull, round_cones
from transmodal.simulation.mouse.skeleton import Bones

Map = NDArray[np.float32]


@dataclass(frozen=True)
class Organ:
    """One organ: where the ray enters and leaves it, mm over the bed; `low` > `high` where the ray misses it."""

    low: Map
    high: Map

    @property
    def thickness(self) -> Map:
        """Chord length in mm (H, W)."""
        return np.maximum(self.high - self.low, np.float32(0.0))

    def overlap(self, other: "Organ") -> Map:
        """Length of the ray inside both, mm."""
        return np.maximum(np.minimum(self.high, other.high) - np.maximum(self.low, other.low), np.float32(0.0))


class _Painter:
    def __init__(self, bones: Bones, shape: tuple[int, int], pixel: float) -> None:
        self.bones, self.shape, self.pixel = bones, shape, pixel

    def solids(self, parts: list[tuple[tuple[float, ...], tuple[float, ...], float]]) -> NDArray[np.float64]:
        rows = []
        animal = self.bones.animal
        for centre, semi_axes, yaw in parts:
            frame = self.bones.pose.frame(centre[0] * animal.scale)
            along = frame[0] * np.cos(yaw) + frame[1] * np.sin(yaw)
            left = -frame[0] * np.sin(yaw) + frame[1] * np.cos(yaw)
            size = np.array(semi_axes) * animal.scale * [1.0, 0.35 + 0.65 * animal.width, animal.height]
            rows.append(ellipsoid(self.bones.place([centre])[0], np.stack([along, left, frame[2]]), size))
        return np.concatenate(rows)

    def organ(self, solids: NDArray[np.float64]) -> Organ:
        low = np.full(self.shape, 1e9, np.float32)
        high = np.full(self.shape, -1e9, np.float32)
        hull(solids, self.pixel, low, high)
        return Organ(low, high)

    def parts(self, *parts: tuple[tuple[float, ...], tuple[float, ...], float]) -> Organ:
        return self.organ(self.solids(list(parts)))

    def tube(self, points: NDArray[np.float64], radii: NDArray[np.float64] | float) -> NDArray[np.float64]:
        size = np.broadcast_to(np.asarray(radii, dtype=np.float64), (len(points),)) * self.bones.animal.scale
        return round_cones(self.bones.place(points), size)


def _loops(animal: Animal) -> list[NDArray[np.float64]]:
    """Gut loops of this animal: winding paths (N, 3) in the lower abdomen, reference body coordinates."""
    rng = animal.stream(2)
    paths = []
    for _ in range(9):
        count = 26
        start = np.array([rng.uniform(59.0, 75.0), rng.uniform(-8.5, 8.5)])
        turn = (
            rng.uniform(0, 2 * np.pi) + np.cumsum(rng.normal(0.0, 0.42, count)) + np.arange(count) * rng.normal(0, 0.12)
        )
        path = start + np.cumsum(np.stack([np.cos(turn), np.sin(turn)], axis=1) * 1.1, axis=0)
        path[:, 0] = 67.5 + 9.5 * np.tanh((path[:, 0] - 67.5) / 9.5)
        path[:, 1] = 9.5 * np.tanh(path[:, 1] / 9.5)
        z = 4.0 + 2.0 * np.sin(np.arange(count) * 0.3 + rng.uniform(0, 6.28)) + rng.uniform(-0.5, 1.5)
        paths.append(np.concatenate([path, z[:, None]], axis=1))
    return paths


def make_organs(bones: Bones, shape: tuple[int, int], pixel: float) -> dict[str, Organ]:
    """Interval maps of the organs of one posed animal.

    Arguments: `bones`, which carries animal and pose; `shape` (H, W); `pixel` in mm.
    Returns organs by name; "food" is what bowels and stomach contain, "cavity" the abdomen as a whole.
    """
    paint = _Painter(bones, shape, pixel)
    rng = bones.animal.stream(3)
    jitter = rng.normal(0.0, 0.25, 40)
    organs = {
        "left lung": paint.parts(
            ((40.0, 4.1, 8.2), (8.2, 3.1, 4.8), 0.24),
            ((44.8, 5.3, 8.8), (8.6, 3.3, 5.3), 0.18),
            ((47.8, 5.8, 9.6), (5.0, 3.2, 4.4), 0.18),
        ),
        "right lung": paint.parts(
            ((38.6, -3.9, 8.2), (7.2, 3.2, 4.6), -0.24),
            ((44.0, -5.3, 8.6), (8.6, 3.6, 5.3), -0.18),
            ((47.8, -5.9, 9.6), (5.2, 3.2, 4.4), -0.18),
            ((45.6, -1.2, 6.2), (4.6, 1.8, 3.0), 0.0),
        ),
        "heart": paint.parts(
            ((41.2 + jitter[0], 0.7, 6.1), (4.5, 3.5, 3.5), 0.30), ((38.2, -0.3, 7.0), (2.7, 2.9, 2.4), 0.0)
        ),
        "liver": paint.parts(
            ((53.2 + jitter[1], -1.2, 6.6), (6.0, 8.7, 5.8), 0.0),
            ((54.6, -5.2, 6.2), (6.2, 4.8, 5.0), 0.0),
            ((54.0, 4.6, 5.4), (5.2, 4.4, 4.2), 0.0),
        ),
        "stomach": paint.parts(
            ((57.4 + jitter[2], 5.6, 7.0), (3.2, 4.8, 3.7), 0.35), ((58.6, 2.0, 6.4), (2.2, 3.0, 2.6), -0.2)
        ),
        "spleen": paint.organ(
            paint.tube(
                np.array([(57.2, 9.6, 9.4), (60.2, 10.7, 8.8), (63.4, 11.0, 8.0), (66.0, 10.4, 7.2)]),
                np.array([0.8, 1.25, 1.35, 0.9]),
            )
        ),
        "right kidney": paint.parts(((59.2 + jitter[3], -5.0, 11.6), (4.9, 2.8, 2.9), -0.10)),
        "left kidney": paint.parts(((62.9 + jitter[4], 5.3, 11.4), (4.9, 2.8, 2.9), 0.12)),
        "bladder": paint.parts(((78.2, 0.0, 3.8), (2.4 + 0.8 * rng.random(), 1.9 + 0.5 * rng.random(), 1.8), 0.0)),
        "cavity": paint.parts(((62.5, 0.0, 7.2), (13.5, 12.0, 6.4), 0.0), ((74.0, 0.0, 6.2), (8.0, 8.0, 4.6), 0.0)),
    }
    loops = [paint.tube(path, rng.uniform(1.05, 1.5)) for path in _loops(bones.animal)]
    caecum = paint.solids([((68.8, 3.8, 4.8), (4.4, 3.6, 3.0), 0.6), ((71.5, 0.6, 4.4), (3.2, 2.4, 2.4), -0.5)])
    organs["gut"] = paint.organ(np.concatenate([*loops, caecum]))
    organs["food"] = paint.parts(((57.6, 5.6, 6.8), (2.4, 3.7, 2.6), 0.35), ((69.0, 3.6, 4.6), (3.2, 2.6, 2.1), 0.6))
    organs["pellets"] = paint.organ(_pellets(paint, rng))
    organs["trachea"] = paint.organ(
        paint.tube(np.array([(19.0, 0, 3.6), (26.0, 0, 4.2), (32.0, 0, 5.4), (37.2, -0.2, 7.6)]), 0.62)
    )
    return organs


def gas_thickness(bones: Bones, shape: tuple[int, int], pixel: float) -> Map:
    """Gas along the ray in mm (H, W): bubbles in the loops, in the caecum and in the stomach.

    Bubbles add up, for the tissue between two that lie over each other is no gas.
    """
    paint = _Painter(bones, shape, pixel)
    rng = bones.animal.stream(4)
    bubbles = []
    for path in _loops(bones.animal):
        for _ in range(rng.integers(0, 4)):
            first = int(rng.integers(0, len(path) - 6))
            piece = path[first : first + int(rng.integers(2, 6))]
            bubbles.append(paint.tube(piece, rng.uniform(0.5, 1.1)))
    for centre, size in (((68.2, 4.6, 6.0), 1.5), ((56.8, 4.4, 8.6), 1.4)):
        share = size * rng.uniform(0.5, 1.15)
        half = (1.3 * share, share, 0.7 * share)
        bubbles.append(paint.solids([(centre, half, rng.uniform(-0.6, 0.6))]))
    starts = np.concatenate([[0], np.cumsum([len(bubble) for bubble in bubbles])]).astype(np.int64)
    maps = np.zeros((1, *shape), np.float32)
    weights = np.ones((len(bubbles), 1))
    add_groups(np.concatenate(bubbles), starts, weights, pixel, np.zeros(shape, np.float32), maps)
    return maps[0]


def _pellets(paint: _Painter, rng: np.random.Generator) -> NDArray[np.float64]:
    """Droppings in the last part of the colon, along the middle, left."""
    rows = []
    s = 68.0
    while s < 82.0:
        long = rng.uniform(1.3, 2.0)
        if rng.random() < 0.8:
            side = 2.2 * np.exp(-(((s - 66.0) / 8.0) ** 2)) + 0.2
            rows.append(paint.solids([((s, side, 7.4), (long, 1.0, 1.0), -0.15)]))
        s += 2 * long + rng.uniform(0.3, 1.0)
    return np.concatenate(rows) if rows else np.zeros((0, 10))
