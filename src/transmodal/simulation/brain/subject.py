"""One simulated subject: anatomy and lesions into T1, T1ce, T2, FLAIR and a label map on one grid."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray

from transmodal.errors import UserError
from transmodal.simulation.brain.anatomy import HALF_HEIGHT, MIDDLE, Anatomy, Bodies, make_bodies
from transmodal.simulation.brain.fields import Grid, Volume
from transmodal.simulation.brain.lesions import Glioma, Lesions, grow_glioma, grow_plaques, label_map
from transmodal.simulation.brain.scanner import Exposure, clean_signals, expose, texture
from transmodal.simulation.brain.signals import TYPICAL, Tissue, draw_sequences, draw_tissues
from transmodal.simulation.brain.tissues import make_tissues

FULL_SIZE = (240, 240, 155)
"""The grid of BraTS at 1 mm."""

_SMALLEST_FIELD = (160.0, 190.0, 2 * HALF_HEIGHT + 1)  # mm between the outermost voxels that the largest brain needs
_COARSE = 2.0  # mm; the bodies are smooth at this step
_FINEST = 2.5  # mm; coarser images are made finer and averaged, or gyri would alias


@dataclass(frozen=True)
class BrainCase:
    """One subject, all volumes (X, Y, Z) on one grid.

    `images`: float32 magnitudes by modality, exactly 0 outside `mask`, above 0 inside, in arbitrary units of their
    own. `labels`: uint8, see `lesions.TUMOUR_LABELS`. `affine`: index to RAS+ mm. `meta`: how it was made.
    """

    images: dict[str, Volume]
    labels: NDArray[np.uint8]
    mask: NDArray[np.bool_]
    affine: NDArray[np.float64]
    meta: dict[str, Any] = field(default_factory=dict)


def grid_of(size: tuple[int, int, int], spacing: float | None = None) -> Grid:
    """The grid of an image in head coordinates, axes to the left, back and top as in BraTS.

    Arguments: `size`, voxels; `spacing`, mm, None: such that the field is that of BraTS, 240 x 240 x 155 mm.
    Raises UserError when a brain does not fit.
    """
    if min(size) < 8 or max(size) > 1024:
        raise UserError(f"image size {_times(size)} is out of range; give 8 to 1024 voxels along each axis")
    step = _step_of(size) if spacing is None else float(spacing)
    if spacing is None and step < 0.3:
        raise UserError(
            f"{_times(size)} voxels would be of {step:.2f} mm, finer than can be made; give fewer, at most "
            f"{_times(tuple(int(full / 0.3) for full in FULL_SIZE))}"
        )
    if spacing is None and (step > 20 or not _fits(size, step)):
        raise UserError(
            f"a brain does not fit into {_times(size)} voxels; give a larger size, at least {_times(_least_size(size))}"
        )
    if not 0.3 <= step <= 20:
        raise UserError(f"a spacing of {step:.3g} mm is out of range; give 0.3 to 20 mm, or change the size")
    if not _fits(size, step):
        needed = max(least / (n - 1) for n, least in zip(size, _SMALLEST_FIELD, strict=True))
        raise UserError(
            f"a brain does not fit into {_times(size)} voxels of {step:.3g} mm; give a spacing of at least "
            f"{np.ceil(needed * 100) / 100:.2f} mm, or leave the spacing out"
        )
    half = [(n - 1) / 2 * step for n in size]
    low = (MIDDLE[0] + half[0], MIDDLE[1] + half[1], MIDDLE[2] - half[2])
    return Grid((size[0], size[1], size[2]), low, (-step, -step, step))


def _step_of(size: tuple[int, ...]) -> float:
    return max(full / n for full, n in zip(FULL_SIZE, size, strict=True))


def _fits(size: tuple[int, ...], step: float) -> bool:
    return all((n - 1) * step >= least - 1e-6 for n, least in zip(size, _SMALLEST_FIELD, strict=True))


def _least_size(size: tuple[int, ...]) -> tuple[int, ...]:
    """The first size near the proportions of BraTS, nowhere below the one given, that holds a brain unspaced."""
    for side in range(8, FULL_SIZE[0]):
        slices = math.ceil(side * FULL_SIZE[2] / FULL_SIZE[0])
        for shape in ((side, side, slices), (side, side, slices + 1)):
            larger = tuple(max(least, n) for least, n in zip(shape, size, strict=True))
            if _step_of(larger) <= 20 and _fits(larger, _step_of(larger)):
                return larger
    return FULL_SIZE


def affine_of(grid: Grid) -> NDArray[np.float64]:
    """Index to RAS+ mm with the origin where BraTS has it: the first voxel right-most, last row at zero, bottom."""
    step = grid.spacing
    affine = np.diag([-step, -step, step, 1.0])
    affine[1, 3] = (grid.shape[1] - 1) * step
    return affine


def simulate_brain(
    seed: int,
    *,
    size: tuple[int, int, int] = FULL_SIZE,
    spacing: float | None = None,
    lesions: Lesions = "tumour",
    field_strength: float | None = None,
    anatomy: Anatomy | None = None,
    tissues: Mapping[str, Tissue] | None = None,
) -> BrainCase:
    """Simulate one subject.

    Arguments: `seed`, from 0; `size`, voxels; `spacing`, mm (None: the field of BraTS divided by the size); `lesions`,
    "tumour", "ms" or "none"; `field_strength`, 1.5 or 3 tesla, None: drawn; `anatomy`, None: drawn from the seed;
    `tissues`, constants by name instead of the typical ones (the subject's own still scatter around them).
    Returns the case; on one machine equal arguments give equal bits. Raises UserError for values out of range.
    """
    if seed < 0:
        raise UserError(f"the seed is {seed}; give a whole number from 0")
    if lesions not in get_args(Lesions):
        raise UserError(f"lesions {lesions!r} are unknown; give one of {', '.join(get_args(Lesions))}")
    if field_strength not in (None, *TYPICAL):
        raise UserError(f"a field of {field_strength} tesla has no tissue table; give 1.5 or 3")
    grid = grid_of(size, spacing)
    anatomy = anatomy or Anatomy.draw(seed)
    fractions, mask, part, grown = _fill(anatomy, grid, lesions)
    rng = anatomy.stream(50)
    tesla = field_strength or float(rng.choice(list(TYPICAL)))
    sequences = draw_sequences(rng, tesla)
    constants = draw_tissues(rng, tesla, typical=tissues)
    inside = fractions[:, mask]
    clean = clean_signals(inside, sequences, constants, tesla, texture(rng, part[0], mask))
    images, exposures = {}, {}
    for number, (modality, sequence) in enumerate(sequences.items()):
        own = anatomy.stream(60 + number)
        exposures[modality] = Exposure.draw(own)
        white = sequence.signal(constants["white"], tesla)
        volume = expose(own, clean[modality], white, exposures[modality], part[0], mask)
        images[modality] = _in_full(volume, grid, part[1])
    labels = label_map(fractions, mask, lesions)
    meta = {
        "seed": seed,
        "synthetic": True,
        "lesions": lesions,
        "spacing_mm": grid.spacing,
        "field_tesla": tesla,
        **grown,
        "volumes_ml": _volumes(labels, grid.spacing),
        "anatomy": asdict(anatomy),
        "sequences": {name: asdict(each) for name, each in sequences.items()},
        "exposures": {name: asdict(each) for name, each in exposures.items()},
        "tissues": {name: asdict(each) for name, each in constants.items()},
    }
    return BrainCase(images, _in_full(labels, grid, part[1]), _in_full(mask, grid, part[1]), affine_of(grid), meta)


def _times(size: tuple[int, ...]) -> str:
    return " x ".join(map(str, size))


def _volumes(labels: NDArray[np.uint8], spacing: float) -> dict[str, float]:
    counts = np.bincount(labels.ravel(), minlength=5)
    return {str(label): round(float(counts[label]) * spacing**3 / 1000, 3) for label in (1, 2, 4)}


def _in_full(part: NDArray[Any], grid: Grid, place: tuple[slice, ...]) -> NDArray[Any]:
    whole = np.zeros(grid.shape, part.dtype)
    whole[place] = part
    return whole


def _fill(
    anatomy: Anatomy, grid: Grid, lesions: Lesions
) -> tuple[NDArray[np.float32], NDArray[np.bool_], tuple[Grid, tuple[slice, ...]], dict[str, Any]]:
    """Tissue fractions and mask on the part of the grid that the brain fills, that part, and what grew there."""
    factor = max(1, int(np.ceil(grid.spacing / _FINEST - 1e-6)))
    coarse = _whole_head()
    bodies = make_bodies(anatomy, coarse)
    grown: dict[str, Any] = {}
    glioma = None
    if lesions == "tumour":
        glioma = Glioma.draw(anatomy, bodies, coarse)
        bodies = make_bodies(anatomy, coarse, glioma.push)
        grown = {"glioma": asdict(glioma)}
    part, place = _crop(grid, bodies, coarse)
    fine = part.finer(factor)
    tissue = make_tissues(anatomy, bodies, coarse, fine)
    if glioma is not None:
        grow_glioma(anatomy, glioma, tissue, fine)
    elif lesions == "ms":
        grown = {"plaques": grow_plaques(anatomy, tissue, fine)}
    if factor == 1:
        return tissue.fractions, tissue.mask, (part, place), grown
    fractions = _averaged(tissue.fractions, factor)
    filled = fractions.sum(axis=0)
    mask = filled >= 0.5
    fractions *= mask / np.maximum(filled, 0.5)
    return fractions, mask, (part, place), grown


def _whole_head() -> Grid:
    """The coarse grid on which the bodies are evaluated; the same for every image, or anatomies would differ."""
    return Grid((89, 107, 84), (-88.0, -121.0, -82.0), (_COARSE, _COARSE, _COARSE))


def _averaged(fractions: NDArray[np.float32], factor: int) -> NDArray[np.float32]:
    count, *shape = fractions.shape
    x, y, z = (n // factor for n in shape)
    blocks = fractions.reshape(count, x, factor, y, factor, z, factor)
    return np.ascontiguousarray(blocks.mean(axis=(2, 4, 6), dtype=np.float32))


def _crop(grid: Grid, bodies: Bodies, coarse: Grid) -> tuple[Grid, tuple[slice, ...]]:
    """The part of a grid that holds the brain, and where it lies in the whole."""
    inside = bodies.dura < 2.0
    places, lows = [], []
    for axis in range(3):
        others = tuple(other for other in range(3) if other != axis)
        reached = coarse.axes[axis][inside.any(axis=others)]
        wanted = np.flatnonzero((grid.axes[axis] >= reached[0] - 2) & (grid.axes[axis] <= reached[-1] + 2))
        places.append(slice(int(wanted[0]), int(wanted[-1]) + 1))
        lows.append(float(grid.axes[axis][wanted[0]]))
    shape = tuple(place.stop - place.start for place in places)
    return Grid((shape[0], shape[1], shape[2]), (lows[0], lows[1], lows[2]), grid.step), tuple(places)
