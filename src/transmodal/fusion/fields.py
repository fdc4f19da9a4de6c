"""The fields of view of two planar images: their outlines in mm, whether they share one, and whether they overlap."""

import cv2
import numpy as np
import numpy.typing as npt

from transmodal.errors import UserError
from transmodal.images.image import Image, picture_affine
from transmodal.images.nuclear.series import NuclearSeries
from transmodal.images.registration import Transform, index_to_world

Points = npt.NDArray[np.float64]
_SAME_FIELD = 0.02  # of a side: devices state their field in whole mm, pixels do not divide it evenly
_MOST = 0.5  # of the nuclear field, from which on its lying in the anatomy is worth no word
_PARALLEL = 0.999  # cosine of the angle between two planes


def outline(image: Image, transform: Transform | None = None) -> Points:
    """Return the four outer corners of a picture's pixels, (4, 2) mm, after a transform."""
    rows, columns = image.shape
    corners = np.array([[0, 0], [0, columns], [rows, columns], [rows, 0]]) - 0.5
    to_world = index_to_world(image)
    world = corners @ to_world[:2, :2].T + to_world[:2, 2]
    return world if transform is None else transform.apply(world)


def require_picture(anatomy: Image) -> None:
    """Raise a UserError when the anatomy is no picture."""
    if anatomy.spatial_dims != 2:
        raise UserError(f"{anatomy.name} is a volume; planar frames lie over a picture: give one slice or projection")


def require_two(anatomy: Image, series: NuclearSeries) -> None:
    """Raise a UserError when anatomy and activity are one file, or the anatomy is one of the frames."""
    picture, frames = anatomy.source.path, series.source.path
    if picture is None or frames is None or not (picture.exists() and frames.exists()):
        return
    if picture.samefile(frames) or (frames.is_dir() and picture.parent.samefile(frames)):
        raise UserError(
            f"{picture} is given as the anatomy and as the activity; name the anatomy first, then the counts"
        )


def require_sizes(anatomy: Image, series: NuclearSeries, *, unless_shared: bool = False) -> None:
    """Raise a UserError when an image has no physical size.

    Args:
        anatomy: the picture.
        series: the frames.
        unless_shared: accept two images without a size.
    """
    require_picture(anatomy)
    if unless_shared and not (anatomy.has_physical_size or series.has_physical_size):
        return
    if not anatomy.has_physical_size:
        raise UserError(
            f"{anatomy.name} says no pixel size, so that mm cannot be compared; give its pixel size in mm (--spacing)"
        )
    if not series.has_physical_size:
        raise UserError(f"{series.name} says no pixel size, so that mm cannot be compared; write pixel_mm in a sidecar")


def shared_field(anatomy: Image, series: NuclearSeries) -> tuple[Transform, str]:
    """Return the map between two images that show the same field, and why it is this one.

    Where both images have a place in a world, their worlds are taken for one. Pictures have none: their first pixel's
    centre is their 0, which lies elsewhere for other pixels, so that their fields are laid edge on edge.

    Raises:
        UserError: one has no physical size, the two fields differ in their size, or DICOM says that their frames of
            reference are not the same.
    """
    require_sizes(anatomy, series, unless_shared=True)
    frame = series.frame(0)
    if not (is_plain(anatomy) or is_plain(frame)) and anatomy.has_physical_size:
        frames = {uid for image in (anatomy, frame) if (uid := _frame_of_reference(image))}
        if len(frames) > 1:
            raise UserError(
                f"{anatomy.name} and {series.name} have different frames of reference, so that their places cannot be "
                "compared; give a calibration file of points or a transform"
            )
        return _through_the_world(anatomy, frame), "both images are taken to lie in one world"
    sizes = [np.array(image.shape) * image.spacing for image in (anatomy, frame)]
    unit = "mm" if anatomy.has_physical_size else "pixels"
    allowed = np.maximum(_SAME_FIELD * sizes[0], frame.spacing) if unit == "mm" else 0.5
    if (np.abs(sizes[0] - sizes[1]) > allowed).any():
        anatomical, nuclear = (f"{size[0]:.4g}×{size[1]:.4g} {unit}" for size in sizes)
        raise UserError(
            f"{anatomy.name} shows {anatomical} and {series.name} {nuclear}: that is not one field; give a calibration "
            "file of points or a transform"
        )
    matrix = np.eye(3)
    matrix[:2, 2] = outline(anatomy).mean(axis=0) - outline(frame).mean(axis=0)
    return Transform("rigid", matrix), "both images are taken to show one field, edge on edge"


def _frame_of_reference(image: Image) -> str:
    dataset = getattr(image.source.header, "dataset", None)
    return str(dataset.get("FrameOfReferenceUID") or "") if dataset is not None else ""


def _through_the_world(anatomy: Image, frame: Image) -> Transform:
    """Return the map between the planes of two images that have a place in one world, along the anatomy's normal."""
    normals = [np.cross(*(image.affine[:3, :2].T / np.array(image.spacing)[:, None])) for image in (anatomy, frame)]
    if abs(float(normals[0] @ normals[1])) < _PARALLEL:
        raise UserError(
            f"{anatomy.name} and {frame.name} show planes that are not parallel; give a calibration file of points"
        )
    onto = np.eye(3)
    to_plane = np.linalg.pinv(anatomy.affine[:3, :2])
    onto[:2] = to_plane @ frame.affine[:3, [0, 1, 3]]
    onto[:2, 2] -= to_plane @ anatomy.affine[:3, 3]
    matrix = index_to_world(anatomy) @ onto @ np.linalg.inv(index_to_world(frame))
    return Transform("affine", matrix)


def require_overlap(anatomy: Image, series: NuclearSeries, transform: Transform) -> float:
    """Return the share of the nuclear field that lies in the anatomy, 0 to 1.

    Raises:
        UserError: the fields do not overlap; the gap is named.
    """
    frame = series.frame(0)
    anatomical, nuclear = outline(anatomy), outline(frame, transform)
    # Counted from the anatomy's centre in its own size: OpenCV cuts polygons in single precision.
    centre, size = anatomical.mean(axis=0), float(np.abs(anatomical - anatomical.mean(axis=0)).max())
    polygons = [((corners - centre) / size).astype(np.float32) for corners in (anatomical, nuclear)]
    common, whole = float(cv2.intersectConvexConvex(*polygons)[0]), float(cv2.contourArea(polygons[1]))
    if whole > 0 and common > 1e-6 * min(whole, cv2.contourArea(polygons[0])):
        return min(1.0, common / whole)
    unit = "mm" if anatomy.has_physical_size else "pixels"
    raise UserError(
        f"the field of {series.name} lies {_gap(anatomical, nuclear):.3g} {unit} outside {anatomy.name}: they do not "
        "overlap; check the registration, its unit and its direction (nuclear to anatomy)"
    )


def doubts_of_overlap(anatomy: Image, series: NuclearSeries, transform: Transform) -> list[str]:
    """Say that less than half of the nuclear field lies in the anatomy, and how large the two are where they differ.

    Raises:
        UserError: as `require_overlap`.
    """
    overlap = require_overlap(anatomy, series, transform)
    if overlap >= _MOST:
        return []
    line = f"only {overlap:.0%} of the nuclear field lie in {anatomy.name}"
    if anatomy.has_physical_size and series.has_physical_size:
        sizes = [np.array(image.shape) * image.spacing for image in (anatomy, series.frame(0))]
        if (np.abs(sizes[0] - sizes[1]) > np.maximum(_SAME_FIELD * sizes[0], series.spacing)).any():
            anatomical, nuclear = (f"{size[0]:.4g}×{size[1]:.4g} mm" for size in sizes)
            line += (
                f": the nuclear field is {nuclear} beside an anatomy of {anatomical}; check both pixel sizes (pixel_mm)"
            )
    return [line]


def _gap(first: Points, second: Points) -> float:
    """Return the distance between two convex polygons that do not overlap, from a corner of one to a side."""
    return min(_to_sides(first, second), _to_sides(second, first))


def _to_sides(corners: Points, polygon: Points) -> float:
    begin, side = polygon, np.roll(polygon, -1, axis=0) - polygon
    offset = corners[:, None] - begin
    along = np.clip((offset * side).sum(-1) / np.maximum((side**2).sum(-1), 1e-300), 0, 1)
    return float(np.linalg.norm(offset - along[..., None] * side, axis=-1).min())


def is_plain(image: Image) -> bool:
    """Say whether a picture has no place in a world but the corner of its own."""
    plain = picture_affine((image.spacing[0], image.spacing[1]))
    return bool(np.allclose(plain[:, [0, 1, 3]], image.affine[:, [0, 1, 3]], rtol=0, atol=1e-9))
