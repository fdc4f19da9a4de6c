"""Lesions in white matter: gliomas as BraTS labels them, and the small plaques of multiple sclerosis.

A glioma is an irregular core with its necrosis, a rim that takes up contrast agent, and oedema that spreads in white
matter and spares the cortex; it pushes the brain aside. Sizes are drawn so that they resemble those of the public
collections; no collection was fitted.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from transmodal.simulation.brain.anatomy import Anatomy, Bodies, Push
from transmodal.simulation.brain.fields import Grid, Volume, smooth_noise
from transmodal.simulation.brain.shapes import Point
from transmodal.simulation.brain.tissues import TISSUES, TissueMap, ramp

Lesions = Literal["tumour", "ms", "none"]

TUMOUR_LABELS = {1: "necrotic and non-enhancing core", 2: "oedema", 4: "enhancing tumour"}
"""The numbers of BraTS up to 2020."""
PLAQUE_LABELS = {1: "lesion of multiple sclerosis"}


@dataclass(frozen=True)
class Glioma:
    """One tumour, lengths in mm: `radius` of the core, `rim` its enhancing wall (0: none), `spread` of the oedema."""

    grade: Literal["HGG", "LGG"]
    centre: Point
    radius: float
    rim: float
    spread: float
    stretch: Point
    push: Push

    @staticmethod
    def draw(anatomy: Anatomy, bodies: Bodies, coarse: Grid) -> "Glioma":
        """Draw a tumour into the white matter of a brain given by its bodies on a coarse grid."""
        rng = anatomy.stream(30)
        high = bool(rng.random() < 0.72)
        radius = float(np.clip(np.exp(rng.normal(np.log(15.0 if high else 13.0), 0.32)), 6.0, 26.0))
        centre = _place(rng, bodies, coarse, 0.75 * radius)
        stretch = np.exp(rng.normal(0.0, 0.14, 3))
        stretch /= np.prod(stretch) ** (1 / 3)
        return Glioma(
            grade="HGG" if high else "LGG",
            centre=centre,
            radius=radius,
            rim=float(rng.uniform(2.2, 5.0)) if high else float(rng.choice([0.0, 0.0, 1.2])),
            spread=float(rng.uniform(5.0, 20.0)) if high else float(rng.uniform(2.0, 9.0)),
            stretch=(float(stretch[0]), float(stretch[1]), float(stretch[2])),
            push=Push(centre, 0.8 * radius, float(rng.uniform(0.1, 0.3)) * radius),
        )


def _place(rng: np.random.Generator, bodies: Bodies, coarse: Grid, clearance: float) -> Point:
    """A point of the hemispheres, away from the surface, the fluid and the stem."""
    x, y, z = coarse.coordinates()
    inside = np.minimum(-bodies.cerebrum, bodies.lateral_ventricles + 5)
    inside = np.minimum(np.minimum(inside, bodies.stem - 6), bodies.cerebellum - 4)
    inside = np.minimum(inside, np.abs(bodies.midline) - 4)
    room = inside * np.ones_like(x + y + z)
    # A large core may not find its whole room; it takes what the brain has.
    where = np.flatnonzero(room > min(clearance, 0.75 * float(room.max())))
    index = np.unravel_index(int(rng.choice(where)), coarse.shape)
    at = [float(axis[n]) for axis, n in zip(coarse.axes, index, strict=True)]
    return at[0], at[1], at[2]


def grow_glioma(anatomy: Anatomy, glioma: Glioma, tissue: TissueMap, grid: Grid) -> None:
    """Put oedema, core and rim into the tissue map, in place."""
    width = max(grid.spacing, 0.8)
    coordinates = grid.coordinates()
    offsets = [
        (a - np.float32(c)) / np.float32(s) for a, c, s in zip(coordinates, glioma.centre, glioma.stretch, strict=True)
    ]
    away = np.sqrt(offsets[0] ** 2 + offsets[1] ** 2 + offsets[2] ** 2)
    coarse_lumps = smooth_noise(anatomy.stream(31), max(glioma.radius, 8.0), grid)
    lumps = smooth_noise(anatomy.stream(32), 6.0, grid)
    core = away - np.float32(glioma.radius) * (1 + 0.16 * coarse_lumps) + 0.7 * lumps
    extent = glioma.spread * (1 + 0.45 * smooth_noise(anatomy.stream(33), 16.0, grid))
    white = tissue.of("white").copy()
    level = 0.8 + 0.12 * smooth_noise(anatomy.stream(34), 12.0, grid)
    tissue.cover("oedema", (ramp(core - extent, 4.0) * white * np.clip(level, 0, 1)).astype(np.float32))
    tissue.cover("tumour", ramp(core, 1.5 * width) * ramp(tissue.ventricle * -1, width))
    patches = smooth_noise(anatomy.stream(35), 9.0, grid)
    if glioma.rim > 0:
        wall = glioma.rim * (1 + 0.45 * patches)
        share = ramp(core, 1.5 * width) * np.clip(wall, 0, 1)
        hollow = ramp(core + wall, 1.5 * width)
        if glioma.grade == "HGG":
            tissue.cover("enhancing", share.astype(np.float32))
            tissue.cover("necrosis", (hollow * ramp(patches - 1.5, 0.6)).astype(np.float32))
        else:
            tissue.cover("enhancing", (share * ramp(1.0 - patches, 0.5)).astype(np.float32))


def grow_plaques(anatomy: Anatomy, tissue: TissueMap, grid: Grid) -> int:
    """Put plaques into white matter, most of them near the ventricles, in place; return how many."""
    rng = anatomy.stream(40)
    count = int(np.clip(np.exp(rng.normal(np.log(28.0), 0.6)), 4, 80))
    active = float(rng.choice([0.0, 0.0, 0.12]))
    # Drawn on a lattice of 2 mm that belongs to the head, so that another grid gets the same plaques.
    stride = max(1, round(2.0 / grid.spacing))
    seen = tuple(slice(stride // 2, None, stride) for _ in range(3))
    white = tissue.of("white")[seen]
    weight = white * (np.exp(-np.maximum(tissue.ventricle[seen], 0) / 5.0) + 0.12) * (tissue.depth[seen] > 3)
    running = np.cumsum(weight.ravel(), dtype=np.float64)
    if running.size == 0 or running[-1] <= 0:
        return 0
    chosen = np.searchsorted(running, rng.random(count) * running[-1])
    places = np.stack(np.unravel_index(chosen, white.shape), axis=1) * stride + stride // 2
    lumps = smooth_noise(anatomy.stream(41), 5.0, grid)
    total, enhancing = np.zeros(grid.shape, np.float32), np.zeros(grid.shape, np.float32)
    for place in places:
        radius = float(np.clip(np.exp(rng.normal(np.log(2.6), 0.45)), 1.3, 8.0))
        shape = np.exp(rng.normal(0.0, 0.22, 3))
        box, share = _blob(place, radius, shape, lumps, grid)
        np.maximum(total[box], share, out=total[box])
        if rng.random() < active:
            np.maximum(enhancing[box], 0.7 * share, out=enhancing[box])
    total *= np.clip(tissue.of("white") * 1.3, 0, 1)
    tissue.cover("plaque", total)
    tissue.cover("enhancing", enhancing * total)
    return count


def _blob(
    place: NDArray[np.int64], radius: float, shape: NDArray[np.float64], lumps: Volume, grid: Grid
) -> tuple[tuple[slice, ...], Volume]:
    reach = int(np.ceil(2.2 * radius / grid.spacing)) + 1
    box = tuple(slice(max(int(n) - reach, 0), int(n) + reach + 1) for n in place)
    axes = [
        ((np.arange(side.start, min(side.stop, size)) - n) * grid.spacing / scale).astype(np.float32)
        for side, size, n, scale in zip(box, grid.shape, place, shape, strict=True)
    ]
    away = np.sqrt(axes[0][:, None, None] ** 2 + axes[1][None, :, None] ** 2 + axes[2][None, None, :] ** 2)
    return box, 0.9 * ramp(away - np.float32(radius) * (1 + 0.2 * lumps[box]), 1.6)


def label_map(fractions: NDArray[np.float32], mask: NDArray[np.bool_], lesions: Lesions) -> NDArray[np.uint8]:
    """The lesions' labels, (X, Y, Z) uint8: the largest of a voxel's lesion tissues where they fill half of it."""
    labels = np.zeros(mask.shape, np.uint8)
    if lesions == "none":
        return labels
    index = TISSUES.index
    if lesions == "ms":
        labels[(fractions[index("plaque")] + fractions[index("enhancing")] > 0.45) & mask] = 1
        return labels
    core = fractions[index("necrosis")] + fractions[index("tumour")]
    enhancing, oedema = fractions[index("enhancing")], fractions[index("oedema")]
    some = (core + enhancing + oedema > 0.45) & mask
    labels[some] = 2
    labels[some & (core > oedema)] = 1
    labels[some & (enhancing >= core) & (enhancing > oedema)] = 4
    return labels
