"""A scanner by a few numbers: its detector is made such that it sees the whole of a grid."""

import math
from dataclasses import dataclass
from typing import Literal

from transmodal.errors import UserError
from transmodal.tomography.geometry import Beam, ConeBeam, FanBeam, Grid, ParallelBeam, evenly, micro_ct
from transmodal.tomography.geometry_json import MOST_DEGREES, MOST_VIEWS
from transmodal.tomography.memory import require_memory

Kind = Literal["parallel", "fan", "cone"]

_COPIES = {"parallel": 16, "fan": 16, "cone": 2}
"""Of a sinogram that its projection holds at least: where each ray of a plane runs takes several numbers."""


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
        self._check_numbers()
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

    def _check_numbers(self) -> None:
        """Refuse lengths and angles that are none, and more views than any scan has.

        Raises:
            UserError: with the option.
        """
        for name in ("degrees", "start", "source_to_axis", "source_to_detector", "pitch", "row_pitch", "offset"):
            value = getattr(self, name)
            if value is not None and not math.isfinite(value):
                raise UserError(f"--{name.replace('_', '-')} {value} is no number of degrees or mm")
        for name in ("pitch", "row_pitch"):
            value = getattr(self, name)
            if value is not None and value <= 0:
                raise UserError(
                    f"--{name.replace('_', '-')} {value:g}: the pitch of a detector must be above 0 mm; leave it out "
                    "for that of the image"
                )
        if self.views > MOST_VIEWS:
            raise UserError(f"--views {self.views} is more than any scan has, at most {MOST_VIEWS}")

    def beam_for(self, grid: Grid) -> Beam:
        """Return the beam for a grid: a slice's of a parallel or fan beam, a volume's of a cone.

        Raises:
            UserError: the source would run through the grid, settings are out of range, or more rays than fit into
                memory.
        """
        beam = self._beam_for(grid) if self.beam is None else self.beam
        require_memory(
            beam.shape,
            "a sinogram of these views and bins",
            "take fewer views, or fewer and wider bins",
            copies=_COPIES[beam.kind],
        )
        return beam

    def _beam_for(self, grid: Grid) -> Beam:
        arc = self.degrees if self.degrees is not None else 180.0 if self.kind == "parallel" else 360.0
        if not 0 < arc <= MOST_DEGREES:
            raise UserError(f"the arc of a scan lies above 0 and up to {MOST_DEGREES:g} degrees, not {arc:g}")
        angles = evenly(self.views, arc, self.start)
        pixel = min(grid.spacing[-2:])
        reach = math.hypot(*grid.extent[-2:]) / 2 + math.hypot(*grid.centre[-2:])
        if self.kind == "parallel":
            pitch = pixel if self.pitch is None else self.pitch
            return ParallelBeam(angles, self._bins(reach, pitch), pitch, self.offset)
        assert self.source_to_axis is not None and self.source_to_detector is not None
        near, far = self.source_to_axis, self.source_to_detector
        if not 0 < near < far:  # the beam's own check says what is wrong
            return FanBeam(angles, 1, 1.0, near, far)
        if reach >= near:
            raise UserError(
                f"the image reaches {reach:.4g} mm from the axis, the source runs at {near:.4g} mm: give a larger "
                "--source-to-axis"
            )
        pitch = pixel * far / near if self.pitch is None else self.pitch
        half = far * (math.asin(reach / near) if self.curved else math.tan(math.asin(reach / near)))
        bins = self._bins(half, pitch)
        if self.kind == "fan":
            return FanBeam(angles, bins, pitch, near, far, self.offset, self.curved)
        row_pitch = grid.spacing[0] * far / near if self.row_pitch is None else self.row_pitch
        tall = (grid.extent[0] / 2 + abs(grid.centre[0])) * far / (near - reach)
        rows = _enough(tall, row_pitch) if self.rows is None else self.rows
        return ConeBeam(angles, rows, bins, row_pitch, pitch, near, far, self.offset)

    def _bins(self, reach: float, pitch: float) -> int:
        """Return the bins asked for, or as many as see so far on both sides."""
        return _enough(reach + abs(self.offset), pitch) if self.bins is None else self.bins


def _micro_ct() -> Scanner:
    beam = micro_ct()
    return Scanner(
        "cone",
        len(beam.angles),
        source_to_axis=beam.source_to_axis,
        source_to_detector=beam.source_to_detector,
        bins=beam.bins,
        pitch=beam.pitch,
        rows=beam.rows,
        row_pitch=beam.row_pitch,
    )


SCANNERS: dict[str, Scanner] = {"micro-ct": _micro_ct()}
"""Scanners known by name: that of `geometry.micro_ct`, with voxels of 0.085 mm on the axis."""


def grid_seen(beam: Beam) -> Grid:
    """Return a grid for a scan whose image nobody knows: as wide as the detector, bins for pixels."""
    magnification = 1.0 if isinstance(beam, ParallelBeam) else beam.magnification
    pixel = beam.pitch / magnification
    if isinstance(beam, ConeBeam):
        return Grid((beam.rows, beam.bins, beam.bins), (beam.row_pitch / magnification, pixel, pixel))
    return Grid((beam.bins, beam.bins), (pixel, pixel))


def _enough(reach: float, pitch: float) -> int:
    """Return how many bins of a pitch see so far on both sides."""
    return math.ceil(2 * reach / pitch) + 1
