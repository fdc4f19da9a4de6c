"""A detector too narrow for the object: the outer rays are missing (interior tomography, truncated projections)."""

from dataclasses import replace
from typing import ClassVar, Literal

import numpy as np
from pydantic import Field

from transmodal.errors import UserError
from transmodal.tomography.degradations.degradation import Degradation, PlaneBeam
from transmodal.tomography.geometry import ParallelBeam


class LimitedField(Degradation):
    """Keep the bins that see a circle around the rotation axis."""

    kind: Literal["limited-field"] = "limited-field"
    order: ClassVar[int] = 12
    diameter_mm: float = Field(gt=0.0, description="of the circle on the rotation axis that is seen from every side")

    def describe(self) -> str:
        """Say in one sentence, with numbers, what it does."""
        return f"The detector saw a field of {self.diameter_mm:g} mm alone."

    def acquire(self, beam: PlaneBeam) -> PlaneBeam:
        """Return the beam with a narrower detector.

        Raises:
            UserError: no bin sees the circle.
        """
        if isinstance(beam, ParallelBeam):
            nearest = np.abs(beam.positions)
        else:  # how near to the axis each ray passes
            nearest = beam.source_to_axis * np.abs(np.sin(beam.fan_angles))
        seen = np.flatnonzero(nearest <= self.diameter_mm / 2)
        if seen.size == 0:
            raise UserError(
                f"limited-field: no bin sees a circle of {self.diameter_mm:g} mm; the pitch is {beam.pitch:g}"
            )
        middle = float(beam.positions[[seen[0], seen[-1]]].mean())
        return replace(beam, bins=int(seen[-1] - seen[0] + 1), offset=middle)
