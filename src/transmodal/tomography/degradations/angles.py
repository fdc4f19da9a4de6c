"""Fewer views, or views from a part of the circle alone.

The reconstruction weighs each view by the arc that it stands for.
"""

from typing import ClassVar, Literal, Self

import numpy as np
from pydantic import Field, model_validator

from transmodal.errors import UserError
from transmodal.tomography.degradations.degradation import Degradation, PlaneBeam
from transmodal.tomography.geometry import ParallelBeam
from transmodal.tomography.scan_weights import scanned_arcs

_HALF_TURN = 180.0
_SAME_ANGLE = 1e-9  # degrees


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
    start: float = Field(0.0, ge=-720.0, le=720.0, description="degrees, where the arc begins")

    def describe(self) -> str:
        """Say in one sentence, with numbers, what it does."""
        return f"Views from {self.start:g}° to {self.start + self.degrees:g}° were kept."

    def acquire(self, beam: PlaneBeam) -> PlaneBeam:
        """Return the beam with the views inside the arc, its end excluded.

        Angles are compared modulo a full turn, those of a half scan of parallel rays modulo 180°, and come out between
        the start of the arc and its end: an arc may pass 0°.

        Raises:
            UserError: the scan has less of the arc than asked for, or no view in it.
        """
        angles = np.asarray(beam.angles)
        half = isinstance(beam, ParallelBeam) and np.ptp(angles) <= _HALF_TURN + _SAME_ANGLE
        period = _HALF_TURN if half else 2 * _HALF_TURN
        self._check_arc(beam.angles, period)
        offsets = np.mod(angles - self.start + _SAME_ANGLE, period) - _SAME_ANGLE
        turns = np.round((self.start + offsets - angles) / period)
        kept = (angles + turns * period)[offsets < self.degrees - _SAME_ANGLE]
        if not kept.size:
            step = float(np.diff(np.sort(np.mod(angles, period))).mean()) if len(angles) > 1 else period
            raise UserError(
                f"limited-angle: no view between {self.start:g}° and {self.start + self.degrees:g}°; the scan has one "
                f"every {step:.4g}°"
            )
        # A scan that goes round steadily begins its arc at the start; any other keeps its order in time.
        return beam.at(np.sort(kept) if (np.diff(angles) > 0).all() else kept)

    def _check_arc(self, angles: tuple[float, ...], period: float) -> None:
        """Refuse an arc that the scan has not gone through.

        Raises:
            UserError: with what the scan has.
        """
        arcs = scanned_arcs(angles, period)
        if not arcs:
            if self.degrees <= period + _SAME_ANGLE:
                return
            raise UserError(
                f"limited-angle: {self.degrees:g}° cannot be kept of {period:g}°: after those the same rays return"
            )
        step = float(np.median(np.diff(np.unique(angles))))
        if any((self.start - first + step) % period + self.degrees <= length + 2 * step for first, length in arcs):
            return
        there = ", ".join(f"{first + step / 2:.4g}° to {first + length - step / 2:.4g}°" for first, length in arcs)
        raise UserError(
            f"limited-angle: views from {self.start:g}° to {self.start + self.degrees:g}° cannot be kept, the scan has "
            f"them from {there} alone; keep less, or scan a wider arc"
        )
