"""One visit of one simulated animal: HU, labels and tumours on one grid."""

from dataclasses import asdict, dataclass, field
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from transmodal.errors import UserError
from transmodal.simulation.abdomen.anatomy import REST, Animal, Site, Visit, coarse_grid
from transmodal.simulation.abdomen.bodies import make_bodies
from transmodal.simulation.abdomen.canvas import Canvas, cut, parts_of
from transmodal.simulation.abdomen.gut import Loop, fill_loops, lay_loops
from transmodal.simulation.abdomen.painting import Scene, gas_level, paint
from transmodal.simulation.abdomen.skeleton import Strands, make_strands
from transmodal.simulation.abdomen.tissues import (
    AGENT_CONTRAST,
    FIRST_TUMOUR,
    LABEL,
    NATIVE_CONTRAST,
    draw_hounsfield,
)
from transmodal.simulation.abdomen.tumours import Ground, Tumour, grow_tumours, lumps_of
from transmodal.simulation.brain.fields import Grid, Volume, transfer

FULL_SIZE = (192, 192, 96)
FIELD = (32.0, 32.0, 40.0)
"""mm, of an image whose spacing is not given."""
LARGEST_AREA = 160.0
"""mm²; no liver of these animals holds a tumour of a larger cross-section."""

_COARSE = 0.5  # mm; the bodies are smooth at this step
_REST_GRID = Grid((61, 61, 88), (-18.0, -18.0, -27.0), (0.6, 0.6, 0.6))
_SLAB = 1_200_000  # voxels painted at once
_TEXTURE_LOW, _TEXTURE_SHAPE = (-34.0, -34.0, -26.0), (172, 172, 132)
_TEXTURE_STEP = 0.4  # mm; half the grain


@dataclass(frozen=True)
class Wishes:
    """What is asked of tumours and image.

    `tumours`: how many in a liver, from and to. `tumour_area`: mm², largest axial cross-section at the last visit,
    from and to. `tumour_contrast`: HU against liver, None: −30, with a liver agent −130. `doubling_days`: of a
    tumour's volume. `new_per_week`: tumours expected to appear between two visits. `liver_agent`: a contrast agent
    makes liver and spleen bright. `noise`: HU, white, standard deviation.
    """

    tumours: tuple[int, int] = (1, 3)
    tumour_area: tuple[float, float] = (10.0, 130.0)
    tumour_contrast: float | None = None
    doubling_days: float = 7.0
    new_per_week: float = 0.3
    liver_agent: bool = False
    noise: float = 8.0

    @property
    def contrast(self) -> float:
        """HU of tumours against liver."""
        if self.tumour_contrast is not None:
            return self.tumour_contrast
        return AGENT_CONTRAST if self.liver_agent else NATIVE_CONTRAST

    def check(self) -> None:
        """Refuse what no animal has.

        Raises:
            UserError: which number is out of range.
        """
        low, high = self.tumours
        if not 0 <= low <= high <= 20:
            raise UserError(
                f"{low} to {high} tumours per liver are out of range; give two numbers from 0 to 20 in order"
            )
        small, large = self.tumour_area
        if not 1 <= small <= large <= LARGEST_AREA:
            raise UserError(
                f"tumour areas of {small:g} to {large:g} mm² are out of range; give two numbers from 1 to "
                f"{LARGEST_AREA:g} in order: no liver here holds a larger one"
            )
        for name, value, least, most, unit in (
            ("tumour contrast", self.contrast, -200, 300, "HU"),
            ("doubling time", self.doubling_days, 1, 365, "days"),
            ("rate of new tumours", self.new_per_week, 0, 5, "a week"),
            ("noise", self.noise, 0, 500, "HU"),
        ):
            if not least <= value <= most:
                raise UserError(f"a {name} of {value:g} {unit} is out of range; give {least} to {most}")


@dataclass(frozen=True)
class AbdomenCase:
    """One visit. `ct`: HU, float32 (X, Y, Z), axes to the animal's left, back and head; `labels`: uint8 on the same
    grid, see `tissues.LABELS`; `affine`: index to RAS+ mm; `tumours`: one entry a tumour that is there, as it is in the
    labels; `meta`: how it was made."""

    ct: Volume
    labels: NDArray[np.uint8]
    affine: NDArray[np.float64]
    tumours: list[dict[str, Any]]
    meta: dict[str, Any] = field(default_factory=dict)


def grid_of(size: tuple[int, int, int], spacing: tuple[float, float] | None = None) -> Grid:
    """The grid of an image in body coordinates, axes to the left, back and head.

    Arguments: `size`, voxels; `spacing`, mm in the slice and between slices, None: such that the field is 32 x 32 x 40
    mm or more.
    Raises UserError when an animal does not fit, or the field leaves it.
    """
    if min(size) < 8 or max(size) > 1024:
        raise UserError(f"image size {_times(size)} is out of range; give 8 to 1024 voxels along each axis")
    pixel, slice_ = spacing or (max(FIELD[0] / size[0], FIELD[1] / size[1]), FIELD[2] / size[2])
    if not (0.04 <= pixel <= 2 and 0.04 <= slice_ <= 5):
        raise UserError(
            f"a spacing of {pixel:.3g} x {slice_:.3g} mm is out of range; give 0.04 to 2 mm in the slice and 0.04 to 5 "
            "mm between slices, or change the size"
        )
    field_mm = (size[0] * pixel, size[1] * pixel, size[2] * slice_)
    if min(field_mm[:2]) < 0.98 * FIELD[0] or max(field_mm[:2]) > 64:
        raise UserError(
            f"a field of {field_mm[0]:.1f} x {field_mm[1]:.1f} mm does not suit an animal; give a size and spacing "
            f"that make {FIELD[0]:g} to 64 mm, or leave the spacing out"
        )
    if not 20 <= field_mm[2] <= 48:
        raise UserError(
            f"{size[2]} slices of {slice_:.3g} mm make {field_mm[2]:.1f} mm; give slices that make 20 to 48 mm, or "
            "leave the spacing out"
        )
    half = [(n - 1) / 2 * step for n, step in zip(size, (pixel, pixel, slice_), strict=True)]
    return Grid((size[0], size[1], size[2]), (half[0], half[1], -half[2]), (-pixel, -pixel, slice_))


def affine_of(grid: Grid) -> NDArray[np.float64]:
    """Index to RAS+ mm with the origin in the middle of the field."""
    affine = np.diag([*grid.step, 1.0])
    affine[:3, 3] = grid.low
    return affine


@dataclass(frozen=True)
class _Plan:
    """What an animal is before it is seen."""

    animal: Animal
    strands: Strands
    loops: list[Loop]
    tumours: list[Tumour]
    hounsfield: dict[str, float]


@lru_cache(maxsize=2)
def _plan(animal: Animal, visits: int, wishes: Wishes) -> _Plan:
    rest = Site.of(animal, REST, _REST_GRID)
    bodies = make_bodies(rest)
    tumours = grow_tumours(
        animal,
        Ground.of(rest, bodies),
        count=wishes.tumours,
        area=wishes.tumour_area,
        contrast=wishes.contrast,
        visits=visits,
        doubling_days=wishes.doubling_days,
        new_per_week=wishes.new_per_week,
    )
    hounsfield = draw_hounsfield(animal.stream(70), wishes.liver_agent)
    for name in ("cortical bone", "marrow", "rib", "cartilage"):
        hounsfield[name] = round(hounsfield[name] * animal.bone, 2)
    return _Plan(animal, make_strands(animal), lay_loops(animal, rest, bodies), tumours, hounsfield)


def simulate_abdomen(
    seed: int,
    visit: int = 1,
    *,
    visits: int | None = None,
    size: tuple[int, int, int] = FULL_SIZE,
    spacing: tuple[float, float] | None = None,
    wishes: Wishes | None = None,
    animal: Animal | None = None,
) -> AbdomenCase:
    """Simulate one visit of one animal.

    Arguments: `seed`, from 0; `visit`, from 1; `visits`, in all, a week apart, None: `visit` is the last; `size`,
    voxels; `spacing`, mm in the slice and between slices (None: a field of 32 x 32 x 40 mm); `wishes`, of tumours and
    image; `animal`, None: drawn from the seed.
    Returns the case; on one machine equal arguments give equal bits. Raises UserError for values out of range.
    """
    wishes = wishes or Wishes()
    wishes.check()
    visits = visit if visits is None else visits
    if seed < 0 or not 1 <= visit <= visits:
        raise UserError(f"seed {seed}, visit {visit} of {visits}: give a seed from 0 and visits from 1 to their number")
    grid = grid_of(size, spacing)
    plan = _plan(animal or Animal.draw(seed), visits, wishes)
    scene = _scene(plan, Visit.draw(plan.animal, visit), grid)
    ct, labels = _painted(scene, grid, wishes.noise)
    tumours = _measured(labels, grid, plan.tumours, visit)
    labels[labels >= FIRST_TUMOUR] = LABEL["tumour"]
    counts = np.bincount(labels.ravel(), minlength=len(LABEL) + 1)
    voxel = float(np.prod(np.abs(grid.step)))
    meta = {
        "seed": seed,
        "synthetic": True,
        "visit": visit,
        "visits": visits,
        "spacing_mm": [abs(step) for step in grid.step],
        "noise_hu": wishes.noise,
        "liver_agent": wishes.liver_agent,
        "hounsfield": plan.hounsfield,
        "volumes_mm3": {name: round(float(counts[number]) * voxel, 2) for name, number in LABEL.items()},
        "tumours": tumours,
        "animal": asdict(plan.animal),
        "pose": asdict(scene.visit),
    }
    return AbdomenCase(ct, labels, affine_of(grid), tumours, meta)


def _times(size: tuple[int, ...]) -> str:
    return " x ".join(map(str, size))


def _scene(plan: _Plan, visit: Visit, grid: Grid) -> Scene:
    site = Site.of(plan.animal, visit, coarse_grid(grid, _COARSE))
    bodies = make_bodies(site)
    return Scene(
        animal=plan.animal,
        visit=visit,
        site=site,
        bodies=bodies,
        strands=plan.strands.placed(plan.animal, visit),
        gut=fill_loops(plan.animal, visit, plan.loops, plan.hounsfield["food"]),
        lumps=lumps_of(plan.tumours, visit),
        hounsfield=plan.hounsfield,
        level=gas_level(site, bodies.stomach, visit.gas),
    )


def _painted(scene: Scene, grid: Grid, noise: float) -> tuple[Volume, NDArray[np.uint8]]:
    """HU and labels, tumours still by their numbers."""
    ct, labels = np.empty(grid.shape, np.float32), np.empty(grid.shape, np.uint8)
    parts = parts_of(grid)
    slices = max(1, _SLAB // (grid.shape[0] * grid.shape[1] * int(np.prod(parts))))
    lattice = Grid(_TEXTURE_SHAPE, _TEXTURE_LOW, (_TEXTURE_STEP,) * 3)
    grain = scene.animal.stream(71, scene.visit.number).standard_normal(lattice.shape, dtype=np.float32)
    grain *= np.float32(1.8)  # of unit spread once the spline has smoothed it
    photons = scene.animal.stream(72, scene.visit.number)
    for first in range(0, grid.shape[2], slices):
        last = min(first + slices, grid.shape[2])
        fine = cut(grid, first, last, parts)
        texture = transfer(grain, lattice, fine, smooth=True)
        canvas = Canvas(fine, scene.site.grid, texture, scene.hounsfield["air"])
        paint(canvas, scene)
        hu, label = canvas.finish(parts)
        for slice_ in range(first, last):  # one after another, so that slabs do not change the noise
            drawn = photons.standard_normal(grid.shape[:2], dtype=np.float32)
            ct[:, :, slice_] = hu[:, :, slice_ - first] + np.float32(noise) * drawn
        labels[:, :, first:last] = label
    return ct, labels


def _measured(labels: NDArray[np.uint8], grid: Grid, tumours: list[Tumour], visit: int) -> list[dict[str, Any]]:
    """The tumours of a visit as they are in the labels."""
    pixel, thick = abs(grid.step[0] * grid.step[1]), abs(grid.step[2])
    made = []
    for number, tumour in enumerate(tumours, 1):
        if not tumour.radii[visit - 1]:
            continue
        found = np.argwhere(labels == FIRST_TUMOUR + number)
        slices = np.bincount(found[:, 2]) if len(found) else np.zeros(1)
        middle = np.array(grid.low) + found.mean(axis=0) * np.array(grid.step) if len(found) else np.full(3, np.nan)
        made.append(
            {
                "tumour": number,
                "centre_mm": [round(float(place), 3) for place in middle] if len(found) else None,
                "volume_mm3": round(float(len(found)) * pixel * thick, 3),
                "area_mm2": round(float(slices.max()) * pixel, 3),
                "contrast_hu": tumour.contrast,
                "model_volume_mm3": tumour.volumes[visit - 1],
                "model_area_mm2": tumour.areas[visit - 1],
                "asked_area_mm2": tumour.wanted or None,
                "doubling_days": tumour.doubling_days,
            }
        )
    return made
