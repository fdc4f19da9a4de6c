"""Fewer views, or views from a part of the circle alone.

The reconstruction weighs each view by the arc that it stands for.
"""

from typing import ClassVar, Literal, Self

import numpy as np
from pydantic import Field, model_validator

from transmodal.errors import UserError
from transmodal.tomography.degradations.degradation import Degradation, PlaneBeam


class FewerAngles(Degradation):
    """A sparse-view scan: some of the full scan's views, spread evenly."""

    kind: Literal["fewer-angles"] = "fewer-angles"
    order: ClassVar[int] = 11
    angles: int | None = Field(None, ge=1, description="how many views are left; or else:")
    every: int | None = Field(None, ge=1, description="keep one view in so many; source document 3 took 10")

    @model_validator(mode="after")
    def _one_of_two(self) -> Self:
        if (self.angles is None) == (self.every is None):
            raise ValueError("fewer-angles needs either angles (how many are left) or every (10: each tenth)")
        return self

    def describe(self) -> str:
        """Say in one sentence, with numbers, what it does."""
        if self.every is not None:
            return f"One view in {self.every} was kept."
        return f"Of all views {self.angles} were kept, evenly spread."

    def acquire(self, beam: PlaneBeam) -> PlaneBeam:
        """Return the beam with fewer views.

        Raises:
            UserError: more views asked for than there are.
        """
        there = len(beam.angles)
        if self.angles is None:
            return beam.at(beam.angles[:: self.every])
        if self.angles > there:
            raise UserError(f"fewer-angles: {self.angles} views cannot be kept of {there}; give the scan more views")
        kept = (np.arange(self.angles) * there) // self.angles
        return beam.at(np.asarray(beam.angles)[kept])


class LimitedAngle(Degradation):
    """A scan that does not go round: tomosynthesis, a C-arm, an obstacle."""

    kind: Literal["limited-angle"] = "limited-angle"
    order: ClassVar[int] = 10
    degrees: float = Field(gt=0.0, le=360.0, description="the arc that is left")
    start: float = Field(0.0, description="degrees, where the arc begins")

    def describe(self) -> str:
        """Say in one sentence, with numbers, what it does."""
        return f"Views from {self.start:g}° to {self.start + self.degrees:g}° were kept."

    def acquire(self, beam: PlaneBeam) -> PlaneBeam:
        """Return the beam with the views inside the arc, its end excluded.

        Raises:
            UserError: no view lies there.
        """
        angles = np.asarray(beam.angles)
        inside = (angles >= self.start - 1e-9) & (angles < self.start + self.degrees - 1e-9)
        if not inside.any():
            raise UserError(
                f"limited-angle: no view between {self.start:g}° and {self.start + self.degrees:g}°; the scan has them "
                f"from {angles.min():g}° to {angles.max():g}°"
            )
        return beam.at(angles[inside])
