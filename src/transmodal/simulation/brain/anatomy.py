"""One subject's anatomy as numbers, and its bodies as distances.

Everything is written for a reference brain in stereotactic coordinates (mm; right, anterior, superior; zero near the
anterior commissure). A subject's brain is that reference seen through a smooth warp. Positions and sizes of ventricles
and nuclei are typical ones of adult atlases, rounded; they are meant to look right, not to be measured.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from transmodal.simulation.brain.fields import Grid, Volume, slope, smooth_noise, stripes
from transmodal.simulation.brain.shapes import Coordinates, Point, ellipsoid, intersection, tube, union

_DOMAIN = 0x627261696E  # keeps the random streams of brains apart from those of other simulations

MIDDLE = (0.0, -15.0, 5.0)
"""Middle of the field that is imaged, mm."""
HALF_HEIGHT = 73.0
"""No brain reaches farther up or down from there, mm."""

_CENTRE = (0.0, -16.0, 4.0)
_WARPS = ((70.0, 2.6), (34.0, 1.2), (16.0, 0.6))  # grain and spread of the deformation, mm
_STRIPE_STEP, _STRIPE_SIZE = 4.0, 64


@dataclass(frozen=True)
class Anatomy:
    """What differs between two healthy brains; everything not given is drawn from `seed` by `Anatomy.draw`.

    `size`: factors of the reference along right, anterior, superior. `ventricles`: factor of their radii. `atrophy`:
    mm that sulci are wider than in youth. `cortex`: thickness, mm. `gyrus`: distance between sulci, mm. `tilt`: head
    rotation about the three axes, radians. `caps`: spread of the bright seam around the ventricles, mm.
    """

    seed: int
    size: Point = (1.0, 1.0, 1.0)
    ventricles: float = 1.0
    atrophy: float = 0.3
    cortex: float = 2.7
    gyrus: float = 10.0
    tilt: Point = (0.0, 0.0, 0.0)
    caps: float = 1.0

    @staticmethod
    def draw(seed: int) -> "Anatomy":
        """Draw an adult brain; equal seeds give equal brains."""
        rng = np.random.default_rng([_DOMAIN, seed, 0])
        age = float(rng.beta(1.6, 1.4))  # 0 young, 1 old
        whole = float(np.clip(rng.normal(0.98, 0.022), 0.93, 1.02))
        width, length, height = (float(whole * np.clip(rng.normal(1.0, 0.018), 0.96, 1.04)) for _ in range(3))
        tilt = tuple(float(angle) for angle in np.clip(rng.normal(0.0, 0.02, 3), -0.05, 0.05))
        return Anatomy(
            seed=seed,
            size=(width, length, height),
            ventricles=float(np.clip(0.72 + 0.55 * age + rng.normal(0.0, 0.1), 0.62, 1.5)),
            atrophy=float(np.clip(0.75 * age + rng.normal(0.0, 0.1), 0.0, 1.0)),
            cortex=float(np.clip(2.95 - 0.35 * age + rng.normal(0.0, 0.1), 2.3, 3.2)),
            gyrus=float(np.clip(rng.normal(10.0, 0.6), 8.8, 11.5)),
            tilt=(tilt[0], tilt[1], tilt[2]),
            caps=float(np.clip(0.3 + 1.6 * age + rng.normal(0.0, 0.2), 0.1, 2.5)),
        )

    def stream(self, purpose: int) -> np.random.Generator:
        """A random stream for one fixed detail of this subject; `purpose` keeps details independent."""
        return np.random.default_rng([_DOMAIN, self.seed, 1 + purpose])


@dataclass(frozen=True)
class Push:
    """A mass that displaces what surrounds it: `centre` in head mm, `radius` mm, `amount` mm at its border."""

    centre: Point
    radius: float
    amount: float

    def source_of(self, at: Coordinates) -> Coordinates:
        """Where the tissue that now lies at `at` lay before."""
        offsets = [axis - np.float32(middle) for axis, middle in zip(at, self.centre, strict=True)]
        away = np.sqrt(offsets[0] ** 2 + offsets[1] ** 2 + offsets[2] ** 2)
        rate = np.float32(self.amount) / np.maximum(away, self.radius)
        rate = rate * np.exp(-np.maximum(away - self.radius, 0) / np.float32(1.6 * self.radius))
        return tuple(axis - offset * rate for axis, offset in zip(at, offsets, strict=True))


@dataclass(frozen=True)
class Bodies:
    """Distances (mm, negative inside) on a coarse grid, and what folds the cortex.

    `sulcus` and `sulcus_slope`: a field that is zero in the middle of each sulcus, and its gradient per mm.
    `reach`: mm that sulci go deep. `centre`: a body in which no sulcus runs. `midline`, `midline_end`: distance to the
    plane between the hemispheres, and to the border of the callosum in it, inside negative.
    """

    dura: Volume
    cerebrum: Volume
    cerebellum: Volume
    stem: Volume
    sulcus: Volume
    sulcus_slope: Volume
    reach: Volume
    centre: Volume
    midline: Volume
    midline_end: Volume
    sylvian: Volume
    lateral_ventricles: Volume
    slit: Volume
    slit_end: Volume
    fourth_ventricle: Volume
    striatum: Volume
    pallidum: Volume
    thalamus: Volume
    hippocampus: Volume
    plexus: Volume
    sinus: Volume


def reference_coordinates(anatomy: Anatomy, grid: Grid, push: Push | None = None) -> Coordinates:
    """Where each voxel of `grid` lies in the reference brain, mm."""
    at: Coordinates = tuple(np.broadcast_to(axis, grid.shape) for axis in grid.coordinates())  # type: ignore[assignment]
    if push is not None:
        at = push.source_of(at)
    rng = anatomy.stream(0)
    warp = [
        sum((smooth_noise(rng, grain, grid) * np.float32(by) for grain, by in _WARPS), np.float32(0)) for _ in range(3)
    ]
    # The middle of the brain stays straight: the falx holds it.
    warp[0] = warp[0] * (0.35 + 0.65 * np.tanh(np.abs(at[0]) / np.float32(25)))
    about = np.array(_CENTRE)
    turned = _rotation(anatomy.tilt) / np.array(anatomy.size)[:, None]
    x, y, z = (axis - np.float32(middle) for axis, middle in zip(at, about, strict=True))
    return tuple(
        (row[0] * x + row[1] * y + row[2] * z + np.float32(middle) + moved).astype(np.float32)
        for row, middle, moved in zip(turned.astype(np.float32), about, warp, strict=True)
    )


def _rotation(angles: Point) -> NDArray[np.float64]:
    matrix = np.eye(3)
    for axis, angle in enumerate(angles):
        one, two = (axis + 1) % 3, (axis + 2) % 3
        turn = np.eye(3)
        turn[one, one] = turn[two, two] = np.cos(angle)
        turn[one, two], turn[two, one] = -np.sin(angle), np.sin(angle)
        matrix = matrix @ turn
    return matrix


def make_bodies(anatomy: Anatomy, grid: Grid, push: Push | None = None) -> Bodies:
    """Evaluate the anatomy on a coarse grid (about 2 mm)."""
    at = reference_coordinates(anatomy, grid, push)
    x, y, z = at
    sides: Coordinates = (np.abs(x), y, z)  # both sides of the body at once
    cerebrum = _cerebrum(at)
    cerebellum = _cerebellum(sides)
    stem = _stem(at)
    whole = union(union(cerebrum, cerebellum, 16.0), stem, 16.0)
    rim = 1.3 + 0.8 * anatomy.atrophy + 0.5 * smooth_noise(anatomy.stream(1), 30.0, grid)
    dura = intersection(whole - np.maximum(rim, 0.6), -63.0 - z, 1.0)
    # The tallest heads reach the end of the field, where skull stripping cuts too.
    dura = np.maximum(dura, np.abs(grid.coordinates()[2] - np.float32(MIDDLE[2])) - np.float32(HALF_HEIGHT))
    sulcus = _folds(anatomy, at, cerebrum, cerebellum)
    reach = 17.0 + 5.0 * smooth_noise(anatomy.stream(2), 28.0, grid)
    third = np.sqrt(np.maximum(np.hypot((y + 15) / 16, (z + 1) / 10) - 1, 0)) * 8
    return Bodies(
        dura=dura,
        cerebrum=cerebrum,
        cerebellum=cerebellum,
        stem=stem,
        sulcus=sulcus,
        sulcus_slope=slope(sulcus, grid.spacing),
        reach=np.where(cerebellum < cerebrum, 10.0, np.clip(reach, 6.0, 28.0)).astype(np.float32),
        centre=ellipsoid(sides, (0.0, -9.0, 6.0), (33.0, 44.0, 24.0)),
        midline=x + 0.7 * smooth_noise(anatomy.stream(3), 24.0, grid),
        midline_end=_callosum(at),
        sylvian=_sylvian(sides, smooth_noise(anatomy.stream(5), 20.0, grid)),
        lateral_ventricles=_lateral_ventricles(sides, anatomy.ventricles),
        slit=x,
        slit_end=third.astype(np.float32),
        fourth_ventricle=ellipsoid(sides, (0.0, -45.0, -33.0), (7.5 * anatomy.ventricles**0.5, 5.5, 11.0), pitch=0.25),
        striatum=union(_caudate(sides), ellipsoid(sides, (26.5, 3.0, 1.0), (6.0, 18.0, 11.0), turn=0.20), 1.0),
        pallidum=ellipsoid(sides, (19.5, -3.0, -0.5), (4.6, 9.5, 6.5), turn=0.35),
        thalamus=ellipsoid(sides, (11.5, -18.0, 7.5), (9.0, 15.0, 9.5), turn=0.45),
        hippocampus=tube(sides, [(23, -4, -18, 7), (25, -14, -18, 5), (30, -30, -9, 4), (27, -38, 0, 2.5)]),
        plexus=tube(sides, [(14, -16, 20, 1.2), (20, -32, 18, 2.0), (25, -40, 10, 2.6), (29, -36, 0, 1.2)]),
        sinus=_sinus(at),
    )


def _cerebrum(at: Coordinates) -> Volume:
    x, y, z = at
    # Frontal lobes are narrower than parietal ones, and their base is flat.
    narrow = 1 - 0.0011 * np.maximum(y + 30, 0) - 0.0006 * np.maximum(-60 - y, 0)
    egg: Coordinates = ((x / narrow).astype(np.float32), y, z)
    bowl = ellipsoid(egg, (0.0, -15.0, 12.0), (69.0, 84.0, 55.0))
    base = (-17.0 - 0.07 * (y + 15)) - z
    lobes = ellipsoid((np.abs(x), y, z), (44.0, -10.0, -19.0), (21.0, 44.0, 20.0), turn=0.16, pitch=-0.12)
    return union(intersection(bowl, base.astype(np.float32), 10.0), lobes, 5.0)


def _cerebellum(sides: Coordinates) -> Volume:
    half = ellipsoid(sides, (23.0, -59.0, -34.5), (29.0, 28.0, 21.0), turn=-0.25)
    return union(half, ellipsoid(sides, (0.0, -60.0, -33.0), (13.0, 24.0, 20.0)), 6.0)


def _stem(at: Coordinates) -> Volume:
    shaft = tube(at, [(0, -20, 0, 15), (0, -26, -16, 13), (0, -34, -42, 12), (0, -42, -75, 7.5)], join=4.0)
    return union(shaft, ellipsoid(at, (0.0, -22.0, -31.0), (18.0, 13.5, 14.0)), 6.0)


def _callosum(at: Coordinates) -> Volume:
    """Distance outside of the oval under which the hemispheres are joined, seen from the side."""
    _, y, z = at
    near = np.hypot((y + 4) / 43, (z - 3) / 27)
    return np.asarray((near - 1) * 30, dtype=np.float32)


def _sylvian(sides: Coordinates, bend: Volume) -> Volume:
    """Distance to the lateral fissure and to the cleft over the insula."""
    x, y, z = sides
    height = z - (1.0 - 0.34 * (y + 4)) + 2.0 * bend
    ends = np.maximum(np.maximum(y - 27, -36 - y), 0)
    cleft = np.sqrt(height**2 + np.maximum(40 - x, 0) ** 2 + ends**2)
    island = 0.4 + np.sqrt(
        (x - 41 - 0.08 * (y + 4) + bend) ** 2 + np.maximum(np.abs(height) - 10, 0) ** 2 + (1.6 * ends) ** 2
    )
    return np.asarray(np.minimum(cleft, island), dtype=np.float32)


def _lateral_ventricles(sides: Coordinates, r: float) -> Volume:
    near = 3.4 + 2.9 * r  # wide horns grow away from the septum
    body = [
        (near + 5.5, 31.0, 4.0, 1.8 * r),
        (near + 1.5, 22.0, 8.0, 4.4 * r),
        (near, 6.0, 15.0, 4.3 * r),
        (near + 3.0, -10.0, 20.0, 4.4 * r),
        (near + 9.0, -26.0, 20.0, 5.0 * r),
        (25.0, -39.0, 13.0, 6.2 * r),
        (27.0, -52.0, 9.0, 4.2 * r),
        (23.0, -70.0, 6.0, 1.6 * r),
    ]
    temporal = [
        (26.0, -38.0, 10.0, 5.0 * r),
        (33.0, -34.0, -3.0, 2.8 * r),
        (34.0, -20.0, -14.0, 1.9 * r),
        (32.0, -8.0, -19.0, 1.5 * r),
    ]
    return union(tube(sides, body, join=3.0), tube(sides, temporal, join=2.0), 2.0)


def _caudate(sides: Coordinates) -> Volume:
    return tube(sides, [(12.5, 17, 2, 6.0), (14, 8, 11, 4.8), (18, -10, 20, 3.0), (24, -26, 19, 1.8)])


def _sinus(at: Coordinates) -> Volume:
    """Distance to the superior sagittal sinus, along the upper edge of the midline."""
    angle = np.linspace(0.35, 3.3, 14)
    points = [(0.0, -15 + 84 * np.cos(a), 12 + 55 * np.sin(a), 1.2 + 1.4 * a / 3.3) for a in angle]
    return tube(at, points, join=1.0)


def _folds(anatomy: Anatomy, at: Coordinates, cerebrum: Volume, cerebellum: Volume) -> Volume:
    """The field whose zeros are sulci: stripes carried inwards along the radius, a fan in the cerebellum."""
    about = (0.0, -15.0, 8.0)
    offsets = [axis - np.float32(middle) for axis, middle in zip(at, about, strict=True)]
    away = np.sqrt(offsets[0] ** 2 + offsets[1] ** 2 + offsets[2] ** 2) + 1.0
    # Looking up the noise nearly at the surface makes sheets that stand on it, as sulci do.
    stretch = ((away + np.maximum(-cerebrum, 0)) / away) ** 0.75
    nodes = [(offset * stretch) / np.float32(_STRIPE_STEP) + _STRIPE_SIZE / 2 for offset in offsets]
    noise = stripes(anatomy.stream(4), 2 * anatomy.gyrus, step=_STRIPE_STEP, size=_STRIPE_SIZE)
    folded = ndimage.map_coordinates(noise, nodes, order=2, mode="grid-wrap", output=np.float32)
    _, y, z = at
    fan = np.arctan2(z + 33, -(y + 44))
    leaf = np.sin(15 * fan + 1.2 * folded)
    return np.where(cerebellum < cerebrum, leaf, folded).astype(np.float32)
