"""Where the pixels of a DICOM object lie in the patient, in RAS+ millimetres.

Source: DICOM PS3.3 C.7.6.2.1.1 (Image Plane), C.7.6.16.2.3 and .4 (Plane Position and Orientation of frames),
C.8.8.3.2 (Grid Frame Offset Vector), 10.7.1.3 (pixel spacing: value 1 is the distance between rows).
DICOM's world is LPS+, ours RAS+: x and y change sign.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from transmodal.errors import UserError
from transmodal.images.image import picture_affine

Vector = npt.NDArray[np.float64]
_LPS_TO_RAS = np.array([-1.0, -1.0, 1.0])
# In the order in which they are believed; ImagerPixelSpacing is in the detector's plane, magnification not removed.
_PIXEL_SIZES = ("PixelSpacing", "ImagerPixelSpacing", "NominalScannedPixelSpacing")


@dataclass(frozen=True)
class Plane:
    """One slice or frame.

    Attributes:
        position: (3,) centre of the first pixel, LPS mm, or None when unknown.
        down: (3,) unit vector along growing row index, LPS, or None.
        right: (3,) unit vector along growing column index, LPS, or None.
        pixel_size: (row, column) mm, or None when unknown.
        pixel_size_from: the attribute that said it.
        thickness: mm, 1 when unknown.
    """

    position: Vector | None = None
    down: Vector | None = None
    right: Vector | None = None
    pixel_size: tuple[float, float] | None = None
    pixel_size_from: str = ""
    thickness: float = 1.0

    @property
    def is_placed(self) -> bool:
        """True when the patient coordinates of every pixel are known."""
        return self.position is not None and self.down is not None and self.pixel_size is not None

    @property
    def normal(self) -> Vector:
        """(3,) the direction in which slices are counted, LPS."""
        assert self.right is not None and self.down is not None
        return np.cross(self.right, self.down)


@dataclass(frozen=True)
class Stack:
    """How planes become a volume.

    Attributes:
        order: (slice, repeat) index into the planes; more than one repeat gives channels.
        affine: (4, 4) RAS mm.
        corners: (slices, 3) centre of each slice's first pixel, LPS mm.
    """

    order: npt.NDArray[np.int64]
    affine: npt.NDArray[np.float64]
    corners: npt.NDArray[np.float64]

    @property
    def off_grid(self) -> float:
        """How far a slice lies at most from where the affine puts it, mm; 0 where that is rounding."""
        if len(self.corners) < 3:
            return 0.0
        even = np.linspace(self.corners[0], self.corners[-1], len(self.corners))
        furthest = float(np.linalg.norm(self.corners - even, axis=1).max())
        return furthest if furthest > _tolerance(float(np.linalg.norm(even[1] - even[0]))) else 0.0


def plane_of(dataset: Any, *groups: Any) -> Plane:
    """Read a plane from a data set, or from an Enhanced object's functional groups (per frame first, then shared)."""
    position = _numbers(_find("ImagePositionPatient", "PlanePositionSequence", dataset, groups), 3)
    orientation = _numbers(_find("ImageOrientationPatient", "PlaneOrientationSequence", dataset, groups), 6)
    size, origin = None, ""
    for keyword in _PIXEL_SIZES:
        found = _numbers(_find(keyword, "PixelMeasuresSequence", dataset, groups), 2)
        if found is not None and (found > 0).all():
            size, origin = (float(found[0]), float(found[1])), keyword
            break
    gap = _numbers(_find("SpacingBetweenSlices", "PixelMeasuresSequence", dataset, groups), 1)
    thickness = _numbers(_find("SliceThickness", "PixelMeasuresSequence", dataset, groups), 1)
    depth = next((float(each[0]) for each in (thickness, gap) if each is not None and each[0] > 0), 1.0)
    right = down = None
    if orientation is not None:
        lengths = np.linalg.norm(orientation.reshape(2, 3), axis=1)
        if (np.abs(lengths - 1) < 0.01).all() and abs(orientation[:3] @ orientation[3:]) < 0.01:
            right, down = orientation[:3] / lengths[0], orientation[3:] / lengths[1]
    return Plane(position, down, right, size, origin, depth)


def plane_affine(plane: Plane) -> tuple[npt.NDArray[np.float64], bool]:
    """Return a slice's affine and whether its pixel size is known."""
    if not plane.is_placed:
        affine = picture_affine(plane.pixel_size or (1.0, 1.0))
        affine[2, 2] = plane.thickness
        return affine, plane.pixel_size is not None
    return _affine(plane, plane.normal * plane.thickness), True


class UnevenSlices(UserError):
    """The slices of a series lie sheared or at uneven distances, which no affine can say."""


def stack_planes(planes: list[Plane], allow_uneven: bool, name: str | Path) -> Stack:
    """Sort planes along their normal and give the affine of the volume.

    Raises:
        UserError: the planes are not parallel, do not share their pixel size, repeat unevenly, are tilted against
            their stacking direction or lie at uneven distances (the last two unless `allow_uneven`).
    """
    first = planes[0]
    if not all(plane.is_placed for plane in planes):
        raise UserError(
            f"{name}: some slices say no position in the patient (ImagePositionPatient); read the files one by one"
        )
    for plane in planes:
        if not _are_alike(plane, first):
            raise UserError(
                f"{name}: its slices differ in orientation or pixel size (localisers among them?); "
                "keep only the slices of one stack in the folder"
            )
    positions = np.array([plane.position for plane in planes])
    heights = positions @ first.normal
    by_height = np.argsort(heights, kind="stable")
    sorted_heights = heights[by_height]
    starts = np.flatnonzero(np.diff(sorted_heights, prepend=-np.inf) > 1e-3)
    repeats = len(planes) // len(starts)
    if not np.array_equal(starts, np.arange(len(starts)) * repeats) or len(planes) != len(starts) * repeats:
        raise UserError(
            f"{name}: {len(planes)} slices lie at {len(starts)} positions, some doubled; "
            "remove the doubled slices or split the series"
        )
    order = by_height.reshape(len(starts), repeats)
    order.sort(axis=1)
    corners = positions[order[:, 0]]
    if len(corners) == 1:
        step = first.normal * first.thickness
    else:
        step = (corners[-1] - corners[0]) / (len(corners) - 1)
        if not allow_uneven:
            _require_even(corners, first.normal, name)
    placed = Plane(corners[0], first.down, first.right, first.pixel_size, first.pixel_size_from, first.thickness)
    return Stack(order, _affine(placed, step), corners)


def _are_alike(plane: Plane, other: Plane) -> bool:
    """Say whether two placed planes are parallel and share their rotation and pixel size."""
    mine, theirs = (np.concatenate([[*each.right], [*each.down]]) for each in (plane, other))  # type: ignore[misc]
    assert plane.pixel_size is not None and other.pixel_size is not None
    return np.allclose(mine, theirs, atol=1e-3) and np.allclose(plane.pixel_size, other.pixel_size, rtol=1e-3)


def _require_even(corners: npt.NDArray[np.float64], normal: Vector, name: str | Path) -> None:
    """Refuse a gantry tilt and uneven or missing slices."""
    gaps = np.diff(corners @ normal)
    usual = float(np.median(gaps))
    drift = (corners[-1] - corners[0]) - normal * ((corners[-1] - corners[0]) @ normal)
    tilt = float(np.degrees(np.arctan2(np.linalg.norm(drift), gaps.sum())))
    remedy = "put it on an even grid with 'transmodal data straighten'"
    if np.linalg.norm(drift) > max(0.05 * usual, 0.05) and tilt > 0.05:
        raise UnevenSlices(f"{name}: its slices are sheared by a gantry tilt of {tilt:.1f}°; {remedy}")
    if np.abs(gaps - usual).max() > _tolerance(usual):
        where = int(np.abs(gaps - usual).argmax())
        ratio = gaps[where] / usual
        kind = (
            "slices seem to be missing" if ratio > 1.5 and abs(ratio - round(ratio)) < 0.05 else "distances are uneven"
        )
        raise UnevenSlices(
            f"{name}: {kind}: {gaps[where]:.3g} mm between slices {where + 1} and {where + 2}, "
            f"{usual:.3g} mm elsewhere; complete the series, or {remedy}"
        )


def _tolerance(usual: float) -> float:
    """Return a hundredth of a voxel's height, or the rounding of positions written with two decimals, mm."""
    return max(0.01 * usual, 0.021)


def first_plane(dataset: Any) -> Plane:
    """Return the plane of a single frame, or of the first of several."""
    groups = dataset.get("PerFrameFunctionalGroupsSequence") or [None]
    return plane_of(dataset, groups[0], (dataset.get("SharedFunctionalGroupsSequence") or [None])[0])


def frame_planes(dataset: Any, frames: int) -> list[Plane] | None:
    """Return the plane of every frame of a multi-frame object, or None when it says no places."""
    groups = dataset.get("PerFrameFunctionalGroupsSequence") or []
    if len(groups) == frames:
        shared = (dataset.get("SharedFunctionalGroupsSequence") or [None])[0]
        planes = [plane_of(dataset, group, shared) for group in groups]
        return planes if all(plane.is_placed for plane in planes) else None
    plane = plane_of(dataset)
    offsets = _numbers(dataset.get("GridFrameOffsetVector"), frames)
    if offsets is None and _is_reconstructed_emission(dataset):
        detector = (dataset.get("DetectorInformationSequence") or [None])[0]
        gap = _numbers(dataset.get("SpacingBetweenSlices"), 1)
        if detector is not None and gap is not None:
            plane, offsets = plane_of(dataset, None, detector), np.arange(frames) * gap[0]
    if offsets is None or not plane.is_placed or frames == 1:
        return None
    if abs(offsets[0]) > 1e-3:  # absolute z coordinates, the standard's other way
        offsets = offsets - offsets[0]
    assert plane.position is not None
    return [
        Plane(plane.position + plane.normal * offset, plane.down, plane.right, plane.pixel_size, plane.pixel_size_from)
        for offset in offsets
    ]


def _is_reconstructed_emission(dataset: Any) -> bool:
    image_type = dataset.get("ImageType") or []
    return dataset.get("Modality") == "NM" and len(image_type) > 2 and "RECON" in str(image_type[2])


def _affine(plane: Plane, step: Vector) -> npt.NDArray[np.float64]:
    """Return the RAS affine of a placed plane whose slices follow each other by `step` (LPS)."""
    assert plane.down is not None and plane.right is not None and plane.pixel_size is not None
    affine = np.eye(4)
    affine[:3, 0] = _LPS_TO_RAS * plane.down * plane.pixel_size[0]
    affine[:3, 1] = _LPS_TO_RAS * plane.right * plane.pixel_size[1]
    affine[:3, 2] = _LPS_TO_RAS * step
    affine[:3, 3] = _LPS_TO_RAS * plane.position
    return affine


def _find(keyword: str, sequence: str, dataset: Any, groups: tuple[Any, ...]) -> Any:
    """Look into the functional groups, then into the data set itself."""
    for group in groups:
        if group is None:
            continue
        items = group.get(sequence)
        for place in (items[0] if items else None, group):
            if place is not None and place.get(keyword) not in (None, ""):
                return place.get(keyword)
    return dataset.get(keyword)


def _numbers(value: Any, count: int) -> Vector | None:
    """Return `count` finite numbers, or None when the attribute is absent, empty or malformed."""
    if value is None or value == "":
        return None
    try:
        found = np.atleast_1d(np.asarray(value, dtype=np.float64))
    except (TypeError, ValueError):
        return None
    return found if found.shape == (count,) and np.isfinite(found).all() else None
