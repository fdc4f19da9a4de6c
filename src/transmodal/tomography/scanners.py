"""A scanner by a few numbers: its detector is made such that it sees the whole of a grid."""

import math
from dataclasses import dataclass
from typing import Literal

from transmodal.errors import UserError
from transmodal.tomography.geometry import Beam, ConeBeam, FanBeam, Grid, ParallelBeam, evenly

Kind = Literal["parallel", "fan", "cone"]


@dataclass(frozen=True)
class Scanner:
    """What a user says about a scanner; what is None follows from the grid that it shall see.

    Attributes:
        kind: of the beam.
        views: evenly over the arc.
        degrees: the arc; by default 180 of a parallel beam and 360 of others.
        start: degrees, of the first view.
        source_to_axis, source_to_detector: mm, of a fan or cone beam.
        bins, pitch: of the detector; by default as many as see the grid, as wide as its pixels on the axis.
        rows, row_pitch: the same along the slices, of a cone beam.
        offset: mm, of the detector's middle.
        curved: the detector of a fan beam lies on a circle around the source.
        beam: everything, from a file; the rest is not looked at.
    """

    kind: Kind = "parallel"
    views: int = 720
    degrees: float | None = None
    start: float = 0.0
    source_to_axis: float | None = None
    source_to_detector: float | None = None
    bins: int | None = None
    pitch: float | None = None
    rows: int | None = None
    row_pitch: float | None = None
    offset: float = 0.0
    curved: bool = False
    beam: Beam | None = None

    def __post_init__(self) -> None:
        if self.beam is not None:
            return
        distances = (self.source_to_axis, self.source_to_detector)
        if self.kind == "parallel" and any(distance is not None for distance in distances):
            raise UserError("parallel rays have no source: leave --source-to-axis out, or say --beam fan or cone")
        if self.kind != "parallel" and None in distances:
            raise UserError(
                f"a {self.kind} beam needs --source-to-axis and --source-to-detector in mm, for example 541 and 949 of "
                "a clinical scanner, 200 and 306 of a mouse's"
            )
        if self.kind != "cone" and (self.rows is not None or self.row_pitch is not None):
            raise UserError("rows of the detector belong to a cone beam: say --beam cone, or leave them out")
        if self.curved and self.kind != "fan":
            raise UserError("a curved detector belongs to a fan beam: say --beam fan, or leave --curved out")

    def beam_for(self, grid: Grid) -> Beam:
        """Return the beam for a grid: a slice's of a parallel or fan beam, a volume's of a cone.

        Raises:
            UserError: the source would run through the grid, or settings are out of range.
        """
        if self.beam is not None:
            return self.beam
        arc = self.degrees if self.degrees is not None else 180.0 if self.kind == "parallel" else 360.0
        if not 0 < arc <= 3600:
            raise UserError(f"the arc of a scan lies above 0 and up to 3600 degrees, not {arc:g}")
        angles = evenly(self.views, arc, self.start)
        pixel = min(grid.spacing[-2:])
        reach = math.hypot(*grid.extent[-2:]) / 2 + math.hypot(*grid.centre[-2:])
        if self.kind == "parallel":
            pitch = self.pitch or pixel
            return ParallelBeam(angles, self.bins or _bins(reach, pitch, self.offset), pitch, self.offset)
        assert self.source_to_axis is not None and self.source_to_detector is not None
        near, far = self.source_to_axis, self.source_to_detector
        if not 0 < near < far:  # the beam's own check says what is wrong
            return FanBeam(angles, 1, 1.0, near, far)
        if reach >= near:
            raise UserError(
                f"the image reaches {reach:.4g} mm from the axis, the source runs at {near:.4g} mm: give a larger "
                "--source-to-axis"
            )
        pitch = self.pitch or pixel * far / near
        half = far * (math.asin(reach / near) if self.curved else math.tan(math.asin(reach / near)))
        bins = self.bins or _bins(half, pitch, self.offset)
        if self.kind == "fan":
            return FanBeam(angles, bins, pitch, near, far, self.offset, self.curved)
        row_pitch = self.row_pitch or grid.spacing[0] * far / near
        tall = (grid.extent[0] / 2 + abs(grid.centre[0])) * far / (near - reach)
        return ConeBeam(
            angles, self.rows or _bins(tall, row_pitch, 0.0), bins, row_pitch, pitch, near, far, self.offset
        )


def grid_seen(beam: Beam) -> Grid:
    """Return a grid for a scan whose image nobody knows: as wide as the detector, bins for pixels."""
    magnification = 1.0 if isinstance(beam, ParallelBeam) else beam.magnification
    pixel = beam.pitch / magnification
    if isinstance(beam, ConeBeam):
        return Grid((beam.rows, beam.bins, beam.bins), (beam.row_pitch / magnification, pixel, pixel))
    return Grid((beam.bins, beam.bins), (pixel, pixel))


def _bins(reach: float, pitch: float, offset: float) -> int:
    """Return how many bins of a pitch see so far on both sides."""
    if not (math.isfinite(pitch) and pitch > 0):
        raise UserError(f"the pitch of a detector must be above 0 mm, not {pitch}")
    return math.ceil(2 * (reach + abs(offset)) / pitch) + 1
