"""Tumours of the liver: where they lie, how large they are asked to be, and how they grow from visit to visit.

A tumour is a lumpy ellipsoid that ends where the room for it does (wall, kidneys, the next tumour); the liver bulges
around it. Its radius is solved for, so that its largest axial cross-section at the last visit is the area asked for;
the liver's room may hold less.
Volumes grow exponentially: V(t) = V(last) 2^((t − last)/T), with a doubling time T of each tumour's own. A tumour below
`SMALLEST` is not there yet.
"""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from transmodal.simulation.abdomen.anatomy import Animal, Points, Site, Visit
from transmodal.simulation.abdomen.bodies import Bodies
from transmodal.simulation.brain.fields import Grid, Volume
from transmodal.simulation.brain.shapes import Point, intersection

SMALLEST = 0.25
"""mm³: a sphere of 0.8 mm; below, a tumour is not in the image."""
WEEK = 7.0
CAPSULE = 0.7
"""mm of liver around a tumour that bulges out of it."""
BULGE = 3.0
"""mm that a tumour reaches beyond the healthy liver's surface at most."""

_GAP = 1.8  # mm of liver between two tumours
_SQUEEZE = 1.8  # mm that the stomach gives way
_TRIES = 3
_TOLERANCE = 0.98
_EXCESS = 1.35  # radius of the first tumour at most, of that of a ball of the size asked for
_EXCESS_OF_OTHERS = 1.15  # which, squeezed into what is left, would else become crescents
_NODES = 34  # of the grid on which a tumour is measured, along each axis
_REACH = 1.65  # radii that this grid covers to each side
_WAVES = 9


@dataclass(frozen=True)
class Tumour:
    """One tumour of an animal.

    `centre`: animal mm. `stretch`: factors of its axes. `waves`: (9, 5) of its lumps: wave vector, phase, height.
    `contrast`: HU against liver. `doubling_days`: of its volume. `wanted`: mm² asked for, 0 for one that came later.
    `radii`, `areas`, `volumes`: mm, mm² (largest axial cross-section) and mm³ at each visit, 0 before it is there.
    """

    centre: Point
    stretch: Point
    waves: NDArray[np.float64]
    contrast: float
    doubling_days: float
    wanted: float
    radii: tuple[float, ...] = ()
    areas: tuple[float, ...] = ()
    volumes: tuple[float, ...] = ()

    def surface(self, offsets: NDArray[np.floating[Any]]) -> NDArray[np.floating[Any]]:
        """How far points lie from its surface, in radii; `offsets` (3, …) from its centre, in radii."""
        scaled = offsets / np.array(self.stretch).reshape(3, *[1] * (offsets.ndim - 1))
        away = np.sqrt((scaled**2).sum(axis=0))
        lumps = np.zeros_like(away)
        for kx, ky, kz, phase, height in self.waves:
            lumps += height * np.sin(kx * scaled[0] + ky * scaled[1] + kz * scaled[2] + phase)
        return np.asarray(away - 1 - lumps)

    def distance(self, points: NDArray[np.floating[Any]], visit: int = -1) -> NDArray[np.floating[Any]]:
        """Distance in mm of points (3, …), animal mm, to the surface it has where nothing is in its way.

        `visit` counts from 0, −1 is the last.
        """
        radius = self.radii[visit]
        middle = np.array(self.centre).reshape(3, *[1] * (points.ndim - 1))
        return np.asarray(radius * self.surface((points - middle) / radius))

    def within(self, free: NDArray[np.floating[Any]], room: NDArray[np.floating[Any]], visit: int = -1) -> Volume:
        """Distance to it where room ends it; corners are rounded.

        `free`: its own distance there, as `distance` gives it; `room`: distance to what it may fill, mm.
        """
        softness = min(0.4 * self.radii[visit], 2.0)
        return intersection(np.asarray(free, dtype=np.float32), np.asarray(room, dtype=np.float32), softness)

    def kept_clear(self, points: NDArray[np.floating[Any]]) -> NDArray[np.floating[Any]]:
        """Distance in mm of points (3, …), animal mm, to what tumours that were placed after it may fill."""
        return np.asarray(_GAP - self.distance(points))


def room_of(bodies: Bodies) -> Volume:
    """Distance to what tumours may fill: the liver and what it pushes aside, but no wall, no kidney, and of the
    stomach its outer part."""
    taken = np.minimum(bodies.kidneys, bodies.stomach + np.float32(_SQUEEZE))
    clear = np.maximum(bodies.abdomen, -taken) + np.float32(CAPSULE)
    return np.maximum(clear, bodies.liver - np.float32(BULGE))


@dataclass(frozen=True)
class Lump:
    """A tumour at one visit on a grid of image coordinates around it: `free`, its own distance, `others`, distance to
    what the tumours before it leave, None where there are none; `number` from 1."""

    number: int
    tumour: Tumour
    grid: Grid
    free: Volume
    others: Volume | None


def lumps_of(tumours: list[Tumour], visit: Visit) -> list[Lump]:
    """Evaluate the tumours that are there at a visit."""
    made = []
    for number, tumour in enumerate(tumours, 1):
        radius = tumour.radii[visit.number - 1]
        if not radius:
            continue
        middle = visit.to_image(np.array([tumour.centre]))[0]
        step = radius / 9  # the shape is smooth at this step
        nodes = int(np.ceil((1.7 * radius + CAPSULE + 0.5) / step))
        low = middle - nodes * step
        grid = Grid((2 * nodes + 1,) * 3, (float(low[0]), float(low[1]), float(low[2])), (step,) * 3)
        points = np.stack(visit.to_animal(grid.coordinates()))
        clear = [other.kept_clear(points) for other in tumours[: number - 1]]
        others = np.max(clear, axis=0).astype(np.float32) if clear else None
        free = tumour.distance(points, visit.number - 1).astype(np.float32)
        made.append(Lump(number, tumour, grid, free, others))
    return made


@dataclass(frozen=True)
class Ground:
    """Where tumours grow: `room`, distance to what a tumour may fill, and `liver`, both on the resting grid."""

    site: Site
    room: Volume
    liver: Volume

    @staticmethod
    def of(site: Site, bodies: Bodies) -> "Ground":
        """The room in a resting animal."""
        return Ground(site, room_of(bodies), bodies.liver)

    def without(self, tumour: Tumour) -> "Ground":
        """The ground that is left when a tumour has taken its part."""
        grid = self.site.grid
        reach = 1.8 * tumour.radii[-1] + 2 * _GAP
        bounds = [
            np.flatnonzero(np.abs(axis - middle) <= reach)
            for axis, middle in zip(grid.axes, tumour.centre, strict=True)
        ]
        place = tuple(slice(int(bound[0]), int(bound[-1]) + 1) for bound in bounds)
        axes = [axis[part] for axis, part in zip(grid.axes, place, strict=True)]
        room = self.room.copy()
        room[place] = np.maximum(room[place], tumour.kept_clear(np.stack(np.meshgrid(*axes, indexing="ij"))))
        return replace(self, room=room)

    def at(self, field: Volume, points: Points) -> NDArray[np.float32]:
        """A field at points (3, …), animal mm."""
        low, step = np.array(self.site.grid.low), np.array(self.site.grid.step)
        shape = (3, *[1] * (points.ndim - 1))
        index = (points - low.reshape(shape)) / step.reshape(shape)
        return np.asarray(ndimage.map_coordinates(field, index, order=1, mode="nearest"))


class _Measure:
    """Area and volume of one tumour as functions of its radius."""

    def __init__(self, tumour: Tumour, ground: Ground) -> None:
        axis = np.linspace(-_REACH, _REACH, _NODES)
        self.offsets = np.stack(np.meshgrid(axis, axis, axis, indexing="ij"))
        self.shape = tumour.surface(self.offsets)
        self.tumour, self.ground = tumour, ground

    def __call__(self, radius: float) -> tuple[float, float]:
        """(mm², mm³)."""
        points = radius * self.offsets + np.array(self.tumour.centre).reshape(3, 1, 1, 1)
        room = self.ground.at(self.ground.room, points)
        distance = replace(self.tumour, radii=(radius,)).within(radius * self.shape, room)
        step = radius * 2 * _REACH / (_NODES - 1)
        slices = np.clip(0.5 - distance / step, 0, 1).sum(axis=(0, 1)) * step**2
        return float(slices.max()), float(slices.sum() * step)

    def solve(self, wanted: float, which: int, highest: float) -> float:
        """The radius up to `highest` at which area (0) or volume (1) is as wanted, or comes nearest."""
        low, high = 0.0, highest
        for _ in range(14):
            middle = (low + high) / 2
            low, high = (middle, high) if self(middle)[which] < wanted else (low, middle)
        return (low + high) / 2


def grow_tumours(
    animal: Animal,
    ground: Ground,
    *,
    count: tuple[int, int],
    area: tuple[float, float],
    contrast: float,
    visits: int,
    doubling_days: float,
    new_per_week: float,
) -> list[Tumour]:
    """Place an animal's tumours and follow them through its visits.

    Args:
        animal: whose liver it is.
        ground: its resting body.
        count: how many at the last visit, from and to; those that come later are more.
        area: mm² of the largest axial cross-section at the last visit, from and to. The largest tumour's is uniform in
            it, those of the others between its low end and half the largest. The first is made as large as its place
            allows; others get the low end where there is no room for more, and are left out where there is none for it.
        contrast: HU against liver; each tumour's own differs by 8 %.
        visits: a week apart.
        doubling_days: of the volume; each tumour's own differs by 15 %.
        new_per_week: tumours expected to appear between two visits.

    Returns:
        The tumours, largest first, later ones last.
    """
    rng = animal.stream(60)
    number = int(rng.integers(count[0], count[1] + 1))
    areas = [float(rng.uniform(*area)) for _ in range(min(number, 1))]
    half = max(area[0], 0.5 * max(areas, default=0.0))
    areas += sorted((float(rng.uniform(area[0], half)) for _ in range(number - 1)), reverse=True)
    late = int(rng.poisson(new_per_week * (visits - 1)))
    tumours: list[Tumour] = []
    for wanted in areas:
        tumour = _draw(rng, contrast, doubling_days, wanted)
        for smaller in (tumour, replace(tumour, wanted=round(area[0], 3))):
            best = _best_placed(rng, smaller, tumours, ground, visits)
            if best and (not tumours or best.areas[-1] >= area[0] * _TOLERANCE):
                tumours.append(best)
                ground = ground.without(best)
                break
    for _ in range(late):
        days = WEEK * float(rng.uniform(0, visits - 1))
        tumour = _draw(rng, contrast, doubling_days, 0.0)
        volume = 2 * SMALLEST * 2 ** (days / tumour.doubling_days)
        ball = (volume * 3 / (4 * np.pi)) ** (1 / 3)
        if placed := _settled(rng, tumour, tumours, ground, ball):
            measure = _Measure(placed, ground)
            radius = measure.solve(volume, 1, _EXCESS_OF_OTHERS * ball)
            tumours.append(_followed(placed, measure, radius, visits))
            ground = ground.without(tumours[-1])
    return tumours


def _draw(rng: np.random.Generator, contrast: float, doubling_days: float, wanted: float) -> Tumour:
    stretch = np.exp(np.clip(rng.normal(0.0, 0.1, 3), -0.18, 0.18))
    stretch /= np.prod(stretch) ** (1 / 3)
    vectors = rng.normal(0.0, 1.0, (_WAVES, 3))
    vectors *= rng.uniform(1.5, 4.5, (_WAVES, 1)) / np.linalg.norm(vectors, axis=1, keepdims=True)
    heights = 0.16 / np.linalg.norm(vectors, axis=1)
    waves = np.column_stack([vectors, rng.uniform(0, 2 * np.pi, _WAVES), heights])
    return Tumour(
        centre=(0.0, 0.0, 0.0),
        stretch=(float(stretch[0]), float(stretch[1]), float(stretch[2])),
        waves=waves,
        contrast=round(contrast * (1 + 0.08 * float(np.clip(rng.normal(), -2, 2))), 2),
        doubling_days=round(doubling_days * float(np.exp(0.15 * np.clip(rng.normal(), -2, 2))), 3),
        wanted=round(wanted, 3),
    )


def _settled(
    rng: np.random.Generator, tumour: Tumour, others: list[Tumour], ground: Ground, radius: float
) -> Tumour | None:
    """Find a place in the liver, deep enough and away from the others; None where there is none."""
    grid = ground.site.grid
    depth = np.maximum(ground.liver, ground.room)
    nodes = np.argwhere(depth < -0.4)
    if not len(nodes):
        return None
    points = np.array(grid.low) + nodes * np.array(grid.step)
    inside = -depth[tuple(nodes.T)]
    free = np.full(len(points), np.inf)
    for other in others:
        free = np.minimum(free, np.linalg.norm(points - np.array(other.centre), axis=1) - 1.1 * other.radii[-1] - _GAP)
    # A large tumour takes the middle of its lobe; no liver is as thick as the largest ones are wide.
    fits = (free > radius) & (inside > min(0.8 * radius, 0.8 * float(inside.max())))
    if not fits.any():
        # What room there is decides: the tumour will be smaller than asked for.
        best = np.minimum(free, inside)
        if float(best.max()) < 0.5:
            return None
        fits = best >= 0.95 * best.max()
        radius = min(radius, float(free[fits].min()))
    place = points[int(rng.choice(np.flatnonzero(fits)))]
    centre = (round(float(place[0]), 3), round(float(place[1]), 3), round(float(place[2]), 3))
    return replace(tumour, centre=centre)


def _best_placed(
    rng: np.random.Generator, tumour: Tumour, others: list[Tumour], ground: Ground, visits: int
) -> Tumour | None:
    """The tumour in the first of some places that holds what is asked for, or in the one that holds most."""
    ball = float(np.sqrt(tumour.wanted / np.pi))
    best: tuple[float, float, Tumour, _Measure] | None = None
    for _ in range(_TRIES):
        placed = _settled(rng, tumour, others, ground, 1.1 * ball)
        if placed is None:
            return None
        measure = _Measure(placed, ground)
        radius = measure.solve(tumour.wanted, 0, (_EXCESS_OF_OTHERS if others else _EXCESS) * ball)
        reached = measure(radius)[0]
        if best is None or reached > best[0]:
            best = reached, radius, placed, measure
        if reached >= tumour.wanted * _TOLERANCE:
            break
    return _followed(best[2], best[3], best[1], visits) if best else None


def _followed(tumour: Tumour, measure: _Measure, radius: float, visits: int) -> Tumour:
    """The tumour with its sizes at all visits, given its radius at the last one."""
    last = measure(radius)
    sizes = [(radius, *last)]
    for weeks in range(1, visits):
        volume = last[1] * 2 ** (-WEEK * weeks / tumour.doubling_days)
        earlier = measure.solve(volume, 1, radius) if volume >= SMALLEST else 0.0
        sizes.append((earlier, *measure(earlier)) if earlier else (0.0, 0.0, 0.0))
    radii, areas, volumes = zip(*[[round(each, 4) for each in size] for size in reversed(sizes)], strict=True)
    return replace(tumour, radii=tuple(radii), areas=tuple(areas), volumes=tuple(volumes))
