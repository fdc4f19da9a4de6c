"""Which tissue fills each voxel: soft fractions that sum to one inside the brain mask and to zero outside.

Borders are ramps one voxel wide, as an imager sees them (partial volume).
"""

from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from transmodal.simulation.brain.anatomy import Anatomy, Bodies
from transmodal.simulation.brain.fields import Grid, Volume, smooth_noise, transfer

TISSUES = (
    "csf",
    "grey",
    "white",
    "striatum",
    "thalamus",
    "pallidum",
    "vessel",
    "plexus",
    "oedema",
    "necrosis",
    "enhancing",
    "tumour",
    "plaque",
)
"""Order of the fractions. `tumour` is solid tumour that takes up no contrast agent; `plaque` is a lesion of multiple
sclerosis."""


@dataclass
class TissueMap:
    """`fractions`: (tissue, X, Y, Z) in `TISSUES` order. `mask`: the brain, bool. `depth`: distance to the nearest
    fluid around the brain and in its folds, mm. `ventricle`: distance to the ventricles, mm."""

    fractions: NDArray[np.float32]
    mask: NDArray[np.bool_]
    depth: Volume
    ventricle: Volume

    def cover(self, tissue: str, share: Volume) -> None:
        """Put `share` (0 to 1) of a tissue over what lies there."""
        kept = 1 - share
        for each in self.fractions:
            if each.any():
                each *= kept
        self.fractions[TISSUES.index(tissue)] += share * self.mask

    def of(self, tissue: str) -> Volume:
        """Fraction of one tissue, (X, Y, Z)."""
        return np.asarray(self.fractions[TISSUES.index(tissue)])


def ramp(distance: Volume, width: float) -> Volume:
    """Share of a voxel inside a border at signed `distance` (mm, negative inside)."""
    return np.clip(np.float32(0.5) - distance / np.float32(width), 0, 1, dtype=np.float32)


def make_tissues(anatomy: Anatomy, bodies: Bodies, coarse: Grid, grid: Grid) -> TissueMap:
    """Fill the voxels of `grid` from bodies on `coarse`."""
    fine = {each.name: transfer(getattr(bodies, each.name), coarse, grid) for each in fields(Bodies)}
    width = max(grid.spacing, 0.8)
    mask = fine["dura"] < 0
    below = _cerebral_depth(anatomy, fine, grid)
    cortex = anatomy.cortex + 0.35 * smooth_noise(anatomy.stream(10), 22.0, grid)
    small = fine["cerebellum"] < fine["cerebrum"]
    cortex = np.where(small, 0.75 * cortex, cortex).astype(np.float32)
    ventricle = np.minimum(fine["lateral_ventricles"], fine["fourth_ventricle"])
    ventricle = np.minimum(ventricle, np.hypot(fine["slit"], fine["slit_end"]) - np.float32(2.2 * anatomy.ventricles))
    ventricle += 0.35 * smooth_noise(anatomy.stream(11), 9.0, grid)
    tissue = TissueMap(np.zeros((len(TISSUES), *grid.shape), np.float32), mask, below, ventricle)
    tissue.fractions[TISSUES.index("white")] = mask
    # The brain stem and what lies around the third ventricle have no cortex; grey matter is mixed into them.
    inner = np.minimum(fine["stem"] + 1.0, np.maximum(fine["midline_end"] - 4.0, fine["stem"] - 10.0))
    covered = ramp(below - cortex, width) * ramp(-inner, 3.0)
    tissue.cover("grey", covered)
    tissue.cover("grey", 0.42 * ramp(inner, 3.0) * ramp(fine["stem"], 3.0))
    wobble = 0.5 * smooth_noise(anatomy.stream(12), 8.0, grid)
    for name, body in (("thalamus", "thalamus"), ("striatum", "striatum"), ("pallidum", "pallidum")):
        tissue.cover(name, ramp(fine[body] + wobble, 1.6 * width))
    tissue.cover("grey", ramp(fine["hippocampus"] + wobble, width))
    # Age leaves a bright seam of loosened white matter around the ventricles.
    seam = np.exp(-np.maximum(ventricle, 0) / np.float32(0.8 + anatomy.caps)) * np.float32(0.2 * anatomy.caps)
    tissue.cover("plaque", np.clip(seam, 0, 0.5) * tissue.of("white"))
    _cover_fluid(anatomy, tissue, fine, below, width)
    _cover_vessels(anatomy, tissue, fine, below, grid, width)
    return tissue


def _cerebral_depth(anatomy: Anatomy, fine: dict[str, Volume], grid: Grid) -> Volume:
    """Distance to the fluid around the brain and in its folds, mm, negative in the fluid."""
    surface = np.minimum(fine["cerebrum"], fine["cerebellum"])
    surface = np.minimum(surface, fine["stem"])
    outside = np.hypot(fine["midline"], np.maximum(-fine["midline_end"], 0))
    depth = np.minimum(-surface, outside)
    # Opening of a sulcus: half its width, mm; wide at the surface, nothing but touching banks below.
    open_ = 0.2 + 0.55 * anatomy.atrophy + 0.45 * smooth_noise(anatomy.stream(13), 20.0, grid)
    small = fine["cerebellum"] < fine["cerebrum"]
    open_ = np.where(small, 0.15, open_).astype(np.float32)
    entry = np.exp(-np.maximum(depth, 0) / 3.0) * np.where(small, 0.2, 0.7)
    height = np.abs(fine["sulcus"])
    wave = np.float32(np.pi / anatomy.gyrus)
    steep = np.maximum(fine["sulcus_slope"] / wave, 0.05)
    steep = np.where(small, np.maximum(fine["sulcus_slope"] / np.float32(0.9), 0.05), steep)
    phase = np.arctan2(height, steep) / np.where(small, np.float32(0.9), wave)
    # Beyond its reach a sulcus has an end, around which the cortex turns.
    bank = np.hypot(phase, np.maximum(np.maximum(depth - fine["reach"], -1.5 * fine["centre"]), 0)) - np.clip(
        open_ + entry, 0.0, 2.2
    )
    cleft = np.minimum(
        outside - np.float32(0.55 + 0.5 * anatomy.atrophy), fine["sylvian"] - np.float32(0.65 + 0.8 * anatomy.atrophy)
    )
    cleft = np.where(small, outside - 0.4, cleft)
    return np.minimum(np.minimum(bank, cleft), -surface).astype(np.float32)


def _cover_fluid(anatomy: Anatomy, tissue: TissueMap, fine: dict[str, Volume], below: Volume, width: float) -> None:
    tissue.cover("csf", ramp(below, width))
    tissue.cover("csf", ramp(tissue.ventricle, width))
    tissue.cover("plexus", 0.75 * ramp(fine["plexus"], width) * ramp(tissue.ventricle + 0.5, width))


def _cover_vessels(
    anatomy: Anatomy, tissue: TissueMap, fine: dict[str, Volume], below: Volume, grid: Grid, width: float
) -> None:
    """Veins run in the fluid: where two independent fields are both near zero."""
    one = smooth_noise(anatomy.stream(14), 11.0, grid)
    two = smooth_noise(anatomy.stream(15), 11.0, grid)
    vein = ramp((np.hypot(one, two) * 3.4 - 0.9).astype(np.float32), 1.4 * width) * ramp(below - 0.6, 1.2)
    tissue.cover("vessel", np.maximum(vein, ramp(fine["sinus"], width) * tissue.mask))
