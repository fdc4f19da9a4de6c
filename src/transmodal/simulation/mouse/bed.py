"""The bed on which the animal lies and the cover over it: how thick they are for a ray, and where they end.

The bed is a flat tray with raised rims along both long sides; the cover is a thin clear
half-tube of acrylic over the animal. Both stand in the field, so their edges are faintly seen in either image.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from transmodal.errors import UserError
from transmodal.simulation.mouse.pose import FIELD_HEIGHT, FIELD_WIDTH

Map = NDArray[np.float32]
Material = Literal["plastic", "acrylic"]


@dataclass(frozen=True)
class Misalignment:
    """How far the photograph is off the X-ray: rotation about the field's centre, shift right and down, scale."""

    rotation_degrees: float = 0.0
    shift_mm: tuple[float, float] = (0.0, 0.0)
    scale: float = 1.0


@dataclass(frozen=True)
class Acquisition:
    """How one pair is taken: the bed, the cover, which pose (a number), and whether the photograph is off.

    An acrylic bed is clear, whatever `bed_colour` says.
    """

    bed_material: Material = "plastic"
    bed_colour: Literal["white", "black", "clear"] = "white"
    cover: bool = False
    pose: int = 1
    misalignment: Misalignment = Misalignment()

    def __post_init__(self) -> None:
        if self.bed_material not in ("plastic", "acrylic"):
            raise UserError(f"bed material {self.bed_material!r} is unknown: give plastic or acrylic")
        known = ("white", "black") if self.bed_material == "plastic" else ("white", "black", "clear")
        if self.bed_colour not in known:
            raise UserError(
                f"bed colour {self.bed_colour!r} is unknown for {self.bed_material}: give {' or '.join(known)}"
            )
        if self.misalignment.scale <= 0.0:
            raise UserError(f"the misalignment's scale is {self.misalignment.scale}: give a number above 0")

    @property
    def bed(self) -> str:
        """One word for manifests: white, black or acrylic."""
        return "acrylic" if self.bed_material == "acrylic" else self.bed_colour


@dataclass(frozen=True)
class BedMaps:
    """Thickness along the ray in mm: `bed`, `cover`; `rim`, 1 on the side rims; `wall`, mm outwards from their foot."""

    bed: Map
    cover: Map
    rim: Map
    wall: Map


def make_bed(acquisition: Acquisition, shape: tuple[int, int], pixel: float, rng: np.random.Generator) -> BedMaps:
    """Thickness maps of bed and cover, which lie a little differently every time (`rng`)."""
    y = (np.arange(shape[0], dtype=np.float64)[:, None] + 0.5) * pixel
    x = (np.arange(shape[1], dtype=np.float64)[None, :] + 0.5) * pixel
    y = y + (x - FIELD_WIDTH / 2) * rng.normal(0.0, 0.002)
    centre = FIELD_HEIGHT / 2 + rng.normal(0.0, 0.25)
    half = 23.2 if acquisition.bed_material == "plastic" else 22.6
    off = np.abs(y - centre) - half
    rim = 1.0 / (1.0 + np.exp(-off / 0.09)) + 0.0 * x
    base, wall = (2.0, 5.0) if acquisition.bed_material == "plastic" else (3.0, 2.5)
    fillet = 1.4 * np.exp(np.minimum(off, 0.0) / 0.8) * (off < 0.05)
    thickness = base + rim * wall + fillet
    cover = np.zeros(shape)
    if acquisition.cover:
        radius, sheet = 21.3, 1.0
        lift = np.abs(y - centre + rng.normal(0.0, 0.3))
        outer = np.sqrt(np.maximum(radius**2 - lift**2, 0.0))
        inner = np.sqrt(np.maximum((radius - sheet) ** 2 - lift**2, 0.0))
        ends = 1.0 / (1.0 + np.exp(-(x - 1.6 - rng.normal(0.0, 0.3)) / 0.06))
        cover = np.minimum(outer - inner, 6.0) * ends
    return BedMaps(
        thickness.astype(np.float32),
        cover.astype(np.float32),
        np.broadcast_to(rim, shape).astype(np.float32),
        np.broadcast_to(off, shape).astype(np.float32),
    )
