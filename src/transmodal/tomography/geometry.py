"""Where source, detector and voxels are: parallel and fan beams in two dimensions, a circular cone beam in three.

The rotation axis is the origin. In a slice x runs right along the columns and y down along the rows, in a volume z
along the slices, which are the first axis. At view angle θ the unit vector u = (cos θ, sin θ) runs along the bins and
w = (−sin θ, cos θ) along the central ray, from the source to the detector. Bin k of n lies at (k − (n − 1)/2)·pitch +
offset along u. The source of a diverging beam stands at −source_to_axis·w, its flat detector at a distance of
source_to_detector from it; a curved one holds bins of equal angle, their pitch being the length of the arc.

The defaults of `micro_ct` are those of a mouse scanner with voxels of 0.085 mm in a field of 50 mm (source document
3); its distances are not published and stay settings.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, Self

import numpy as np
import numpy.typing as npt

from transmodal.errors import UserError


@dataclass(frozen=True)
class Grid:
    """Pixels or voxels around the rotation axis.

    Attributes:
        shape: (rows, columns) or (slices, rows, columns).
        spacing: mm, one an axis of `shape`.
        centre: mm, of the grid's middle from the rotation axis, in the order of `shape`: (y, x) or (z, y, x). Empty
            for the axis itself.
    """

    shape: tuple[int, ...]
    spacing: tuple[float, ...]
    centre: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "shape", tuple(int(count) for count in self.shape))
        object.__setattr__(self, "spacing", tuple(float(length) for length in self.spacing))
        object.__setattr__(self, "centre", tuple(float(place) for place in self.centre) or (0.0,) * len(self.shape))
        if len(self.shape) not in (2, 3) or min(self.shape) < 1:
            raise UserError(f"a CT grid has 2 or 3 axes of at least one voxel, not shape {self.shape}")
        if len(self.spacing) != len(self.shape) or len(self.centre) != len(self.shape):
            raise UserError(
                f"spacing and centre of a CT grid of shape {self.shape} need {len(self.shape)} numbers each"
            )
        if not all(np.isfinite(length) and length > 0 for length in self.spacing):
            raise UserError(f"voxel spacing must be above 0 mm, not {self.spacing}")

    @property
    def extent(self) -> tuple[float, ...]:
        """Edge lengths in mm."""
        return tuple(count * length for count, length in zip(self.shape, self.spacing, strict=True))

    def positions(self, axis: int) -> npt.NDArray[np.floating[Any]]:
        """Return the voxel centres along an axis of `shape`, in mm."""
        middle = (self.shape[axis] - 1) / 2
        return (np.arange(self.shape[axis]) - middle) * self.spacing[axis] + self.centre[axis]

    def finer(self, factor: int) -> "Grid":
        """Return a grid of the same extent with each voxel cut into `factor` along every axis."""
        return replace(
            self,
            shape=tuple(count * factor for count in self.shape),
            spacing=tuple(length / factor for length in self.spacing),
        )


def _angles(angles: Sequence[float] | npt.NDArray[Any]) -> tuple[float, ...]:
    """Return view angles as floats.

    Whether they look like degrees is asked where a user's own list comes in (`geometry_json`): a few neighbouring
    views of a fine scan reach no further than radians do.

    Raises:
        UserError: none, or not finite.
    """
    values = np.asarray(angles, dtype=np.float64).ravel()
    if values.size == 0 or not np.isfinite(values).all():
        raise UserError("view angles must be finite numbers, in degrees, and at least one")
    return tuple(float(value) for value in values)


@dataclass(frozen=True)
class ParallelBeam:
    """Parallel rays in a plane.

    Attributes:
        angles: degrees, one a view.
        bins: of the detector.
        pitch: mm between bins.
        offset: mm, of the detector's middle from the rotation axis, along u.
    """

    angles: tuple[float, ...]
    bins: int
    pitch: float
    offset: float = 0.0
    kind: Literal["parallel"] = field(default="parallel", init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "angles", _angles(self.angles))
        _check_detector(self.bins, self.pitch)

    @property
    def shape(self) -> tuple[int, int]:
        """Of the sinogram: (views, bins)."""
        return len(self.angles), self.bins

    @property
    def positions(self) -> npt.NDArray[np.floating[Any]]:
        """Of the bins along u, in mm."""
        return (np.arange(self.bins) - (self.bins - 1) / 2) * self.pitch + self.offset

    def at(self, angles: Sequence[float] | npt.NDArray[Any]) -> Self:
        """Return the same scanner with other view angles."""
        return replace(self, angles=_angles(angles))


@dataclass(frozen=True)
class FanBeam:
    """Rays from a point in a plane.

    Attributes:
        angles: degrees, one a view.
        bins: of the detector.
        pitch: mm between bins, on the detector.
        source_to_axis, source_to_detector: mm.
        offset: mm, of the detector's middle from the central ray, along u, on the detector.
        curved: the detector lies on a circle around the source.
    """

    angles: tuple[float, ...]
    bins: int
    pitch: float
    source_to_axis: float
    source_to_detector: float
    offset: float = 0.0
    curved: bool = False
    kind: Literal["fan"] = field(default="fan", init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "angles", _angles(self.angles))
        _check_detector(self.bins, self.pitch)
        _check_distances(self.source_to_axis, self.source_to_detector)

    @property
    def shape(self) -> tuple[int, int]:
        """Of the sinogram: (views, bins)."""
        return len(self.angles), self.bins

    @property
    def magnification(self) -> float:
        """Of an object on the axis."""
        return self.source_to_detector / self.source_to_axis

    @property
    def positions(self) -> npt.NDArray[np.floating[Any]]:
        """Of the bins along u on the detector (along the arc of a curved one), in mm."""
        return (np.arange(self.bins) - (self.bins - 1) / 2) * self.pitch + self.offset

    @property
    def fan_angles(self) -> npt.NDArray[np.floating[Any]]:
        """Of each bin's ray against the central ray, in radians, positive along u."""
        ratio = self.positions / self.source_to_detector
        return ratio if self.curved else np.arctan(ratio)

    def at(self, angles: Sequence[float] | npt.NDArray[Any]) -> Self:
        """Return the same scanner with other view angles."""
        return replace(self, angles=_angles(angles))


@dataclass(frozen=True)
class ConeBeam:
    """Rays from a point that circles in the plane z = 0, to a flat detector.

    Attributes:
        angles: degrees, one a view.
        rows, bins: of the detector; rows run along z.
        row_pitch, pitch: mm between rows and between bins, on the detector.
        source_to_axis, source_to_detector: mm.
        offset: mm, of the detector's middle from the central ray, along u, on the detector.
        row_offset: mm, the same along z.
    """

    angles: tuple[float, ...]
    rows: int
    bins: int
    row_pitch: float
    pitch: float
    source_to_axis: float
    source_to_detector: float
    offset: float = 0.0
    row_offset: float = 0.0
    kind: Literal["cone"] = field(default="cone", init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "angles", _angles(self.angles))
        _check_detector(self.bins, self.pitch)
        _check_detector(self.rows, self.row_pitch)
        _check_distances(self.source_to_axis, self.source_to_detector)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Of the projections: (views, rows, bins)."""
        return len(self.angles), self.rows, self.bins

    @property
    def magnification(self) -> float:
        """Of an object on the axis."""
        return self.source_to_detector / self.source_to_axis

    @property
    def positions(self) -> npt.NDArray[np.floating[Any]]:
        """Of the bins along u on the detector, in mm."""
        return (np.arange(self.bins) - (self.bins - 1) / 2) * self.pitch + self.offset

    @property
    def row_positions(self) -> npt.NDArray[np.floating[Any]]:
        """Of the rows along z on the detector, in mm."""
        return (np.arange(self.rows) - (self.rows - 1) / 2) * self.row_pitch + self.row_offset

    def at(self, angles: Sequence[float] | npt.NDArray[Any]) -> Self:
        """Return the same scanner with other view angles."""
        return replace(self, angles=_angles(angles))


Beam = ParallelBeam | FanBeam | ConeBeam


def _check_detector(count: int, pitch: float) -> None:
    """Refuse a detector without bins or with a pitch that is no length."""
    if count < 1:
        raise UserError(f"a detector needs at least one bin, not {count}")
    if not (np.isfinite(pitch) and pitch > 0):
        raise UserError(f"the pitch of a detector must be above 0 mm, not {pitch}")


def _check_distances(source_to_axis: float, source_to_detector: float) -> None:
    """Refuse a source on the axis, or a detector nearer than the axis."""
    if not 0 < source_to_axis < source_to_detector < np.inf:
        raise UserError(
            f"source to axis {source_to_axis:g} mm and source to detector {source_to_detector:g} mm: the first must "
            "lie above 0 and the second above the first"
        )


def evenly(views: int, degrees: float, start: float = 0.0) -> tuple[float, ...]:
    """Return view angles of equal steps that do not repeat the first.

    Args:
        views: how many.
        degrees: the arc: 180 or 360, or less for a limited angle.
        start: degrees.
    """
    if views < 1:
        raise UserError(f"a scan needs at least one view, not {views}")
    return tuple(start + degrees * index / views for index in range(views))


def covering(grid: Grid, views: int, degrees: float = 180.0) -> ParallelBeam:
    """Return parallel beams whose bins are as wide as a pixel and see the whole of a grid from every side.

    Args:
        grid: of a slice.
        views: evenly over `degrees`.
        degrees: the arc.
    """
    pitch = min(grid.spacing[-2:])
    diagonal = math.hypot(*grid.extent[-2:]) + 2 * math.hypot(*grid.centre[-2:])
    return ParallelBeam(evenly(views, degrees), int(np.ceil(diagonal / pitch)) + 1, pitch)


def micro_ct(
    views: int = 360,
    *,
    rows: int = 588,
    bins: int = 588,
    pixel: float = 0.13,
    voxel: float = 0.085,
    source_to_axis: float = 200.0,
) -> ConeBeam:
    """Return the cone beam of a mouse scanner.

    Args:
        views: over a full circle.
        rows, bins: of the detector; 588 see 50 mm.
        pixel: mm, of the detector: 0.13 in the XPAD3 (source document 3).
        voxel: mm, the pixel on the axis: 0.085, thus a magnification of 1.53 if pixels were not binned.
        source_to_axis: mm; not published.
    """
    magnification = pixel / voxel
    return ConeBeam(evenly(views, 360.0), rows, bins, pixel, pixel, source_to_axis, source_to_axis * magnification)


def check_projections(projections: npt.NDArray[Any], beam: Beam, name: str = "the sinogram") -> None:
    """Refuse projections whose last axes are not those of a geometry.

    Raises:
        UserError: with both shapes, and a hint where the axes are swapped.
    """
    wanted = beam.shape
    found = projections.shape[-len(wanted) :]
    if found == wanted:
        return
    axes = "(views, rows, bins)" if len(wanted) == 3 else "(views, bins)"
    swapped = f"its axes look swapped: {axes} is wanted"
    hint = swapped if found == wanted[::-1] else "take the geometry of this scan, or mend its views and bins"
    raise UserError(f"{name} has shape {projections.shape}, the geometry {wanted} {axes}; {hint}")
