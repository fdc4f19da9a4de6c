"""An object that moves while it is scanned: views that disagree, thus doubled edges and streaks.

The views are taken one after the other at equal times. Motion is cut into poses, each an affine map; the image shows
the object before it moved.
"""

from dataclasses import dataclass
from typing import ClassVar, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from transmodal.tomography.degradations.degradation import Degradation


@dataclass(frozen=True, eq=False)
class Pose:
    """Where the object is during some views: a point at rest at r is found at matrix·r + shift.

    Attributes:
        views: their indices.
        matrix: (2, 2), for (y, x).
        shift: (y, x) in mm.
    """

    views: NDArray[np.intp]
    matrix: NDArray[np.float64]
    shift: NDArray[np.float64]

    @property
    def at_rest(self) -> bool:
        """Whether the object is where it was."""
        return bool(np.array_equal(self.matrix, np.eye(2)) and not self.shift.any())


class Motion(Degradation):
    """What all motions give: their poses."""

    order: ClassVar[int] = 20

    def poses(self, views: int, front: float, back: float) -> list[Pose]:
        """Return where the object is during which views.

        Args:
            views: of the scan.
            front, back: mm, y of the first and the last row with tissue.
        """
        raise NotImplementedError


class RigidMotion(Motion):
    """The whole object shifts and turns about the rotation axis, at one moment or steadily."""

    kind: Literal["rigid-motion"] = "rigid-motion"
    shift_mm: tuple[float, float] = Field((0.0, 0.0), description="(y down, x right)")
    degrees: float = Field(0.0, ge=-180.0, le=180.0, description="from the x axis towards y")
    course: Literal["sudden", "steady"] = "sudden"
    moment: float = Field(0.5, gt=0.0, lt=1.0, description="of a sudden motion, as a fraction of the scan")
    steps: int = Field(16, ge=2, le=1000, description="of a steady motion, from rest to the end")

    @model_validator(mode="after")
    def _does_something(self) -> Self:
        if self.shift_mm == (0.0, 0.0) and self.degrees == 0.0:
            raise ValueError("rigid-motion: neither shift_mm nor degrees differs from 0")
        return self

    def describe(self) -> str:
        """Say in one sentence, with numbers, what it does."""
        down, right = self.shift_mm
        when = f"{100 * self.moment:g} % into the scan" if self.course == "sudden" else "steadily during the scan"
        return f"The object moved by {down:g} mm down and {right:g} mm right and turned by {self.degrees:g}°, {when}."

    def poses(self, views: int, front: float, back: float) -> list[Pose]:
        """Return where the object is during which views."""
        time = (np.arange(views) + 0.5) / views
        if self.course == "sudden":
            progress = (time >= self.moment).astype(np.float64)
        else:
            progress = np.floor(time * self.steps) / (self.steps - 1)
        found = []
        for part in np.unique(progress):
            turn = np.radians(self.degrees) * part
            matrix = np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]])
            found.append(Pose(np.flatnonzero(progress == part), matrix, np.asarray(self.shift_mm) * part))
        return found


class Breathing(Motion):
    """The front of the body rises and falls while its back, the last row with tissue, lies still."""

    kind: Literal["breathing"] = "breathing"
    amplitude_mm: float = Field(gt=0.0, description="by which the front rises at full breath")
    period_s: float = Field(4.0, gt=0.0, description="of one breath")
    scan_s: float = Field(1.0, gt=0.0, description="from the first view to the last")
    steps: int = Field(12, ge=2, le=1000, description="heights that are told apart")

    def describe(self) -> str:
        """Say in one sentence, with numbers, what it does."""
        breaths = self.scan_s / self.period_s
        return (
            f"The front of the body rose by {self.amplitude_mm:g} mm with every breath of {self.period_s:g} s, "
            f"{breaths:.3g} breaths in a scan of {self.scan_s:g} s."
        )

    def poses(self, views: int, front: float, back: float) -> list[Pose]:
        """Return where the object is during which views."""
        time = (np.arange(views) + 0.5) / views * self.scan_s
        height = (1 - np.cos(2 * np.pi * time / self.period_s)) / 2
        step = np.round(height * (self.steps - 1))
        found = []
        for level in np.unique(step):
            rise = self.amplitude_mm * level / (self.steps - 1)
            stretch = 1 + rise / max(back - front, 1e-6)
            matrix = np.diag([stretch, 1.0])
            found.append(Pose(np.flatnonzero(step == level), matrix, np.array([back * (1 - stretch), 0.0])))
        return found
