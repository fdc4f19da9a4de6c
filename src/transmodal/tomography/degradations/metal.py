"""Metal in the body: hips, screws, fillings, a probe. Dark bands between inserts and streaks around them.

Rays of many energies pass the metal, whose soft photons are gone at once; few photons are left (list `PhotonNoise`
too); and a bin at the trace's edge sees metal with a part of its width. The last is modelled as in H. Liao et al.,
"ADN: artifact disentanglement network", IEEE Transactions on Medical Imaging 39(3), 2020, by dividing the metal's path
there. Baselines that reduce metal: `corrections.metal`.
"""

from dataclasses import dataclass
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, model_validator
from scipy.ndimage import distance_transform_edt

from transmodal.errors import UserError
from transmodal.tomography.degradations.polychromatic import Polychromatic
from transmodal.tomography.geometry import Grid
from transmodal.tomography.materials import DENSITIES, attenuation

_BODY_HU = -300.0


class Insert(BaseModel):
    """A piece of metal whose cross-section is an ellipse.

    Attributes are in mm, from the rotation axis, y down and x right, and degrees, from the x axis towards y.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    y: float
    x: float
    radius: float = Field(gt=0.0, description="half the long axis")
    other_radius: float | None = Field(None, gt=0.0, description="half the short axis; by default a disc")
    degrees: float = 0.0

    def fraction(self, grid: Grid) -> NDArray[np.float32]:
        """Return how much of each pixel the insert fills, its edge spread over one pixel."""
        down = grid.positions(0)[:, None] - self.y
        right = grid.positions(1)[None, :] - self.x
        turn = np.radians(self.degrees)
        other = self.other_radius or self.radius
        along = (right * np.cos(turn) + down * np.sin(turn)) / self.radius
        across = (down * np.cos(turn) - right * np.sin(turn)) / other
        beyond = (np.hypot(along, across) - 1) * min(self.radius, other) / min(grid.spacing)
        return np.clip(0.5 - beyond, 0.0, 1.0).astype(np.float32)


@dataclass(frozen=True, eq=False)
class PlacedMetal:
    """Where the metal is.

    Attributes:
        fraction: of each pixel, (n, rows, columns).
        notes: the inserts of each slice, fit for JSON.
    """

    fraction: NDArray[np.float32]
    notes: dict[str, Any]


class Metal(Polychromatic):
    """Put metal into the body and pass a tube's whole spectrum through both.

    Without `inserts` and without a mask given to the scan, `count` ellipses are drawn into the body of each slice.
    """

    kind: Literal["metal"] = "metal"
    material: Literal["titanium", "iron", "copper", "gold"] = "titanium"
    density: float | None = Field(None, gt=0.0, le=25.0, description="g/cm³; by default the metal's own (ADN: gold 2)")
    inserts: tuple[Insert, ...] = Field((), description="the same in every slice")
    count: int = Field(2, ge=1, le=20, description="of inserts drawn")
    radius_mm: tuple[float, float] = Field((2.0, 6.0), description="least and largest half axis of those drawn")
    edge_divisor: float = Field(4.0, ge=1.0, description="of the metal's path in the bins at its edge; 1: no effect")
    water_correction: bool = Field(True, description="of the readings, as scanners do")

    @model_validator(mode="after")
    def _radii_rise(self) -> Self:
        if not 0 < self.radius_mm[0] <= self.radius_mm[1]:
            raise ValueError(f"radius_mm {list(self.radius_mm)} must be above 0, the smaller first")
        return self

    def describe(self) -> str:
        """Say in one sentence, with numbers, what it does."""
        drawn = f"{self.count} inserts of {self.radius_mm[0]:g} to {self.radius_mm[1]:g} mm radius"
        return self._sentence(f"{len(self.inserts)} given inserts" if self.inserts else drawn)

    def describe_mask(self) -> str:
        """Say what it does where a mask says where metal is, and nothing is drawn."""
        return self._sentence("a given mask")

    def _sentence(self, what: str) -> str:
        density = self.density or DENSITIES[self.material]
        return (
            f"Rays of {self.tube.describe()} passed tissue and {what} of {self.material} ({density:g} g/cm³), edges of "
            f"the trace divided by {self.edge_divisor:g}{self._corrected()}."
        )

    def coefficients(self, energies: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the metal's attenuation in 1/mm."""
        return attenuation(self.material, energies, self.density)

    def place(self, image_hu: NDArray[np.float32], grid: Grid, random: np.random.Generator) -> PlacedMetal:
        """Draw or take the inserts of each slice.

        Args:
            image_hu: (n, rows, columns) on `grid`.
            grid: on which the metal shall be.
            random: draws the inserts.

        Raises:
            UserError: a slice without tissue, inserts that no image of this size can hold.
        """
        self._check_radii(grid)
        fractions, notes, shares = [], [], []
        for slice_hu in image_hu:
            inserts = self.inserts or self._drawn(slice_hu, grid, random)
            parts = [insert.fraction(grid) for insert in inserts]
            fractions.append(np.maximum.reduce(parts))
            notes.append([insert.model_dump() for insert in inserts])
            shares.append(round(_share_of_body(fractions[-1], slice_hu), 4))
        return PlacedMetal(np.stack(fractions), {"inserts": notes, "share_of_body": shares})

    def _check_radii(self, grid: Grid) -> None:
        """Refuse inserts that are wider than the image.

        Raises:
            UserError: with both lengths.
        """
        half = min(grid.extent) / 2
        radii = [min(insert.radius, insert.other_radius or insert.radius) for insert in self.inserts]
        smallest = max(radii) if radii else self.radius_mm[0]
        if smallest > half:
            raise UserError(
                f"metal: an insert of {smallest:g} mm radius or more is wider than the image, {2 * half:.4g} mm; give "
                "a smaller radius_mm"
            )

    def edges_thinned(self, path: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the metal's path (…, bins) divided where its trace begins and ends."""
        trace = path > 0
        edge = trace.copy()
        edge[..., 1:-1] &= ~(trace[..., :-2] & trace[..., 2:])
        return np.where(edge, path / np.float32(self.edge_divisor), path)

    def _drawn(self, slice_hu: NDArray[np.float32], grid: Grid, random: np.random.Generator) -> tuple[Insert, ...]:
        """Draw ellipses whose middles lie in the body, as deep as they are large where the body allows."""
        body = slice_hu > _BODY_HU
        if not body.any():
            raise UserError(
                f"metal: no tissue above {_BODY_HU:g} HU to put it in; leave this slice out or give inserts"
            )
        depth = distance_transform_edt(np.pad(body, 1), sampling=grid.spacing)[1:-1, 1:-1]
        rows, columns = grid.positions(0), grid.positions(1)
        drawn = []
        for _ in range(self.count):
            radius, other = sorted(random.uniform(*self.radius_mm, size=2), reverse=True)
            places = np.argwhere(depth >= min(radius, depth.max()))
            row, column = places[random.integers(len(places))]
            degrees = random.uniform(0.0, 180.0)
            numbers = (rows[row], columns[column], radius, other, degrees)
            y, x, radius, other, degrees = (round(float(number), 3) for number in numbers)
            drawn.append(Insert(y=y, x=x, radius=radius, other_radius=other, degrees=degrees))
        return tuple(drawn)


def _share_of_body(fraction: NDArray[np.float32], slice_hu: NDArray[np.float32]) -> float:
    """Return how much of the body is metal, 0 to 1."""
    body = slice_hu > _BODY_HU
    return float(fraction[body].mean()) if body.any() else 0.0
