"""One animal and its visits as numbers, and the way from the image through the animal to the reference body.

All anatomy is written for one reference mouse in mm: x to its right, y to its belly, z to its head, zero in the middle
of the liver's height. An animal is that reference with its own size, curvature and smooth warp; at a visit it lies in
the scanner, on its back, with its own pose. Poses move and turn whole axial slices, so that they change neither the
volume nor the axial area of anything.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from transmodal.simulation.brain.fields import Grid, Volume, transfer
from transmodal.simulation.brain.shapes import Coordinates, Point

_DOMAIN = 0x61626D6E  # keeps the random streams of abdomens apart from those of other simulations

_BOX_LOW, _BOX_HIGH = np.array([-20.0, -20.0, -32.0]), np.array([20.0, 20.0, 32.0])
_SPLINE_SPREAD = 0.4793  # mean over position of the sum of squared cubic B-spline weights, along one axis
_WARPS = ((14.0, 0.45), (6.5, 0.15))  # grain and spread of an animal's deformation, mm
_WIDE = 1.0  # mm; the warp is smooth at this step

Points = NDArray[np.float64]


@dataclass(frozen=True)
class Lattice:
    """Smooth noise of mean 0 and unit spread that belongs to the animal: a cubic B-spline over random nodes."""

    nodes: NDArray[np.float32]
    step: float

    @staticmethod
    def draw(rng: np.random.Generator, grain: float) -> "Lattice":
        """Draw noise whose blobs measure about `grain` mm."""
        step = grain / 2
        shape = tuple(int(np.ceil(length / step)) + 5 for length in _BOX_HIGH - _BOX_LOW)
        return Lattice(rng.standard_normal(shape, dtype=np.float32) / np.float32(_SPLINE_SPREAD**1.5), step)

    def at(self, coordinates: Coordinates | Points) -> Volume:
        """Values at three arrays of coordinates, mm."""
        index = [(axis - (low - 2 * self.step)) / self.step for axis, low in zip(coordinates, _BOX_LOW, strict=True)]
        made = ndimage.map_coordinates(
            self.nodes, np.stack(np.broadcast_arrays(*index)), order=3, prefilter=False, mode="nearest"
        )
        return np.asarray(made, dtype=np.float32)


@dataclass(frozen=True)
class Animal:
    """What differs between two animals; everything not given is drawn from `seed` by `Animal.draw`.

    `size`: factors of the reference along right, belly, head. `fat`: thickness under the skin, mm. `belly_fat`: share
    of fat between the organs, 0 to 1. `kyphosis`: mm that the ends of the spine bend towards the belly. `scoliosis`: mm
    that it winds sideways. `dome`: mm that the diaphragm is higher. `liver`, `kidneys`: mm that they are larger
    all around. `bone`: factor of its density.
    """

    seed: int
    size: Point = (1.0, 1.0, 1.0)
    fat: float = 0.6
    belly_fat: float = 0.5
    kyphosis: float = 0.0
    scoliosis: float = 0.0
    dome: float = 0.0
    liver: float = 0.0
    kidneys: float = 0.0
    bone: float = 1.0

    @staticmethod
    def draw(seed: int) -> "Animal":
        """Draw an adult animal; equal seeds give equal animals."""
        rng = np.random.default_rng([_DOMAIN, seed, 0])

        def near(middle: float, spread: float, low: float, high: float) -> float:
            return round(float(np.clip(rng.normal(middle, spread), low, high)), 4)

        whole = near(0.99, 0.025, 0.94, 1.03)
        return Animal(
            seed=seed,
            size=(near(whole, 0.02, 0.9, 1.06), near(whole, 0.02, 0.9, 1.07), near(whole, 0.02, 0.9, 1.07)),
            fat=near(0.6, 0.28, 0.2, 1.2),
            belly_fat=near(0.5, 0.22, 0.1, 0.95),
            kyphosis=near(0.0, 0.7, -1.4, 1.4),
            scoliosis=near(0.0, 0.3, -0.7, 0.7),
            dome=near(0.0, 0.5, -1.0, 1.0),
            liver=near(0.0, 0.3, -0.6, 0.6),
            kidneys=near(0.0, 0.15, -0.3, 0.3),
            bone=near(1.0, 0.07, 0.85, 1.15),
        )

    def stream(self, purpose: int, visit: int = 0) -> np.random.Generator:
        """A random stream for one fixed detail; `purpose` keeps details independent, `visit` visits, from 1."""
        return np.random.default_rng([_DOMAIN, self.seed, 1 + purpose, visit])

    def noise(self, purpose: int, grain: float) -> Lattice:
        """Smooth noise that stays with the animal."""
        return Lattice.draw(self.stream(purpose), grain)

    def _moved(self, at: Coordinates | Points) -> list[NDArray[np.floating[Any]]]:
        """The warp along each axis at animal coordinates, mm."""
        made = []
        for axis in range(1, 4):
            parts = [spread * self.noise(10 * axis + n, grain).at(at) for n, (grain, spread) in enumerate(_WARPS)]
            made.append(np.sum(parts, axis=0))
        return made

    def _curved(self, z: NDArray[np.floating[Any]]) -> tuple[NDArray[np.floating[Any]], NDArray[np.floating[Any]]]:
        """How far scoliosis and kyphosis move what lies at z of an animal of reference size, mm."""
        return np.asarray(self.scoliosis * np.sin(z / 8)), np.asarray(self.kyphosis * ((z / 20) ** 2 - 1 / 3))

    def warp_at(self, at: Coordinates) -> Coordinates:
        """The smooth deformation of this animal at its coordinates, mm."""
        x, y, z = (part.astype(np.float32) for part in self._moved(at))
        return x, y, z

    def reference(self, at: Coordinates, warp: Coordinates) -> Coordinates:
        """Where the reference has what lies at `at` in the animal, mm; `warp`: from `warp_at` there."""
        x, y, z = (axis / np.float32(factor) for axis, factor in zip(at, self.size, strict=True))
        side, front = (part.astype(np.float32) for part in self._curved(z))
        return x - side + warp[0], y - front + warp[1], z + warp[2]

    def place(self, points: Points) -> Points:
        """Reference points (N, 3) to the animal, mm: the inverse of `reference`."""
        size = np.array(self.size)
        placed = points * size
        for _ in range(8):  # the warp is gentle: each round gains a digit
            moved = np.stack(self._moved(placed.T), axis=1).astype(np.float64)
            side, front = self._curved(placed[:, 2] / size[2])
            moved[:, 0] -= side
            moved[:, 1] -= front
            placed = (points - moved) * size
        return placed


@dataclass(frozen=True)
class Visit:
    """How an animal lies in the scanner, and what changes inside it from week to week.

    `number` from 1, 0 for the animal at rest. `offset`: mm. `roll`: about the long axis, radians, `twist`: more
    of it per 20 mm towards the head. `lean`: mm to the right and to the belly per mm towards the head. `bend`: mm that
    the ends lie further right than the middle. `breath`: mm that the diaphragm is higher. `stomach`: mm that it
    is fuller all around. `gas`: share of the stomach.
    """

    number: int = 0
    offset: Point = (0.0, 0.0, 0.0)
    roll: float = 0.0
    twist: float = 0.0
    lean: tuple[float, float] = (0.0, 0.0)
    bend: float = 0.0
    breath: float = 0.0
    stomach: float = 0.0
    gas: float = 0.15

    @staticmethod
    def draw(animal: Animal, number: int) -> "Visit":
        """Draw visit `number`, from 1, of an animal."""
        rng = animal.stream(1, number)

        def near(middle: float, spread: float, limit: float) -> float:
            return round(middle + float(np.clip(rng.normal(0.0, spread), -limit, limit)), 4)

        return Visit(
            number=number,
            offset=(near(0, 0.3, 0.6), near(0, 0.3, 0.6), near(0, 0.4, 0.8)),
            roll=near(0, 0.05, 0.12),
            twist=near(0, 0.04, 0.10),
            lean=(near(0, 0.012, 0.025), near(0, 0.012, 0.025)),
            bend=near(0, 0.4, 0.9),
            breath=near(0, 0.25, 0.5),
            stomach=near(0, 0.4, 0.8),
            gas=near(0.16, 0.07, 0.12),
        )

    def _turn(self, z: NDArray[np.floating[Any]]) -> NDArray[np.floating[Any]]:
        return np.asarray(self.roll + self.twist * z / 20)

    def _middle(self, z: NDArray[np.floating[Any]]) -> tuple[NDArray[np.floating[Any]], NDArray[np.floating[Any]]]:
        x = self.offset[0] + self.lean[0] * z + self.bend * ((z / 20) ** 2 - 1 / 3)
        return np.asarray(x), np.asarray(self.offset[1] + self.lean[1] * z)

    def to_animal(self, at: Coordinates | Points) -> Coordinates:
        """Image coordinates to those of the animal that lies straight, mm."""
        x, y, z = at
        z = z - self.offset[2]
        cx, cy = self._middle(z)
        cos, sin = np.cos(self._turn(z)), np.sin(self._turn(z))
        x, y = x - cx, y - cy
        whole = np.broadcast_arrays(cos * x + sin * y, cos * y - sin * x, z)
        return whole[0].astype(np.float32), whole[1].astype(np.float32), whole[2].astype(np.float32)

    def to_image(self, points: Points) -> Points:
        """Animal points (N, 3) to the image, mm: the inverse of `to_animal`."""
        x, y, z = points.T
        cx, cy = self._middle(z)
        cos, sin = np.cos(self._turn(z)), np.sin(self._turn(z))
        return np.stack([cos * x - sin * y + cx, cos * y + sin * x + cy, z + self.offset[2]], axis=1)


REST = Visit()


def coarse_grid(grid: Grid, step: float, margin: float = 1.0) -> Grid:
    """The part of an endless lattice of `step` mm that covers a grid, so that every image sees the same nodes."""
    lows, shape = [], []
    for axis, low, high in zip(grid.axes, _BOX_LOW, _BOX_HIGH, strict=True):
        first = np.floor((max(min(axis[0], axis[-1]), low) - margin) / step)
        last = np.ceil((min(max(axis[0], axis[-1]), high) + margin) / step)
        lows.append(float(first * step))
        shape.append(int(last - first) + 1)
    return Grid((shape[0], shape[1], shape[2]), (lows[0], lows[1], lows[2]), (step, step, step))


@dataclass(frozen=True)
class Site:
    """An animal at a visit on a coarse grid: `own` animal coordinates, `reference` those of the reference, mm."""

    animal: Animal
    visit: Visit
    grid: Grid
    wide: Grid
    wide_own: Coordinates
    own: Coordinates
    reference: Coordinates

    @staticmethod
    def of(animal: Animal, visit: Visit, grid: Grid) -> "Site":
        """Look at an animal on a grid of image coordinates."""
        wide = coarse_grid(grid, _WIDE)
        wide_own = visit.to_animal(wide.coordinates())
        own = visit.to_animal(grid.coordinates())
        x, y, z = (transfer(part, wide, grid) for part in animal.warp_at(wide_own))
        return Site(animal, visit, grid, wide, wide_own, own, animal.reference(own, (x, y, z)))

    def noise(self, purpose: int, grain: float) -> Volume:
        """Smooth noise that stays with the animal, on the grid; grains from 2 mm."""
        return transfer(self.animal.noise(purpose, grain).at(self.wide_own), self.wide, self.grid)
