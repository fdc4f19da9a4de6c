"""What may be wrong with a registration, in words: a mistaken point, a mirrored field, a wrong unit or pixel size."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import numpy.typing as npt

from transmodal.datasets.fiducials import Fiducials
from transmodal.errors import UserError
from transmodal.images.image import Image
from transmodal.images.nuclear.series import NuclearSeries
from transmodal.images.registration import FITS, Transform, index_to_world, target_registration_error

_MIRRORED = 0.2  # a mirrored fit whose residual is this share of the plain one's, or less, is worth a word
_WORTH_A_LOOK = 1.0  # nuclear pixels from which a single point that does not fit is named
_ALONE = 0.3  # without a mistaken point the others' residual falls to this share, or less
_ENLARGED = 1.1  # times that one field in mm may be larger than the same in the other's mm: magnification, rounding
_FEW = 3  # points below which exchanged columns are said, not refused
_CLEARLY = 0.1  # of a field's shorter side: points farther outside are no fiducials just beside it
_FAR = 3.0  # nuclear pixels that a registration may be off before it is worth a word
Points = npt.NDArray[np.float64]


def millimetres(length: float) -> str:
    """Return a length in words, with no more digits than a registration has."""
    if length < 0.01:
        return "< 0.01 mm"
    return f"{length:.2g} mm" if length < 10 else f"{length:.0f} mm"


def doubts_of_error(
    error_mm: float | None,
    series: NuclearSeries,
    transform: Transform,
    names: Sequence[str] = (),
    left_out_mm: npt.ArrayLike = (),
    others_mm: npt.ArrayLike = (),
    residual_mm: npt.ArrayLike = (),
) -> list[str]:
    """Say that two fields fit badly, and which point is the likely cause.

    Args:
        error_mm: of the registration; None when not known.
        series: whose pixels are the measure.
        transform: nuclear points to anatomy points, mm; the error is in mm of the anatomy, and so are the pixels.
        names: of the points; empty where they are not known.
        left_out_mm: (point,) distance of each point under the fit to the others.
        others_mm: (point,) root mean square residual of the others under the fit to them; NaN where it is always 0.
        residual_mm: (point,) after the fit to all.
    """
    if error_mm is None:
        return []
    pixel = _pixel_mm(series, transform)
    off, is_far = error_mm / pixel, far_off(error_mm, series, transform) is not None
    begins = f"the registration is {millimetres(error_mm)} off, {off:.2g} nuclear pixels"
    if not len(names):
        return [f"{begins}, as its file says: regions hold counts of their neighbours"] if is_far else []
    others, residual = np.asarray(others_mm, dtype=float), np.asarray(residual_mm, dtype=float)
    if np.isfinite(others).any() and off > _WORTH_A_LOOK:
        best = int(np.nanargmin(others))
        if others[best] <= _ALONE * np.sqrt((residual**2).mean()):
            return [
                f"{begins}: the point {names[best]!r} seems mistaken, the others fit to {millimetres(others[best])} "
                "without it; check its two places"
            ]
    if not is_far:
        return []
    worst = int(np.argmax(left_out_mm))
    far = millimetres(float(np.asarray(left_out_mm)[worst]))
    return [f"{begins}, most of all at the point {names[worst]!r} ({far}); check the points, their unit and columns"]


def far_off(error_mm: float | None, series: NuclearSeries, transform: Transform) -> float | None:
    """Return by how many nuclear pixels, as they lie in the anatomy, a registration is off; None up to three."""
    off = None if error_mm is None else error_mm / _pixel_mm(series, transform)
    return off if off is not None and off > _FAR else None


def far_off_line(error_mm: float | None, series: NuclearSeries, transform: Transform) -> list[str]:
    """Return a line about what a large error does to the numbers; none where it is small or not known."""
    off = far_off(error_mm, series, transform)
    if error_mm is None or off is None:
        return []
    return [
        f"The registration is {millimetres(error_mm)} off, {off:.0f} nuclear pixels: regions hold counts of their "
        "neighbours."
    ]


def _pixel_mm(series: NuclearSeries, transform: Transform) -> float:
    """Return the side of the pixel in the middle of the nuclear field as it lies in the anatomy, mm."""
    row, column = (np.array(series.shape) - 1) / 2
    corners = np.array([[row, column], [row + 1, column], [row, column + 1]])
    to_world = index_to_world(series.frame(0))
    middle, down, right = transform.apply(corners @ to_world[:2, :2].T + to_world[:2, 2])
    return max(float(np.sqrt(abs(np.linalg.det(np.stack([down - middle, right - middle]))))), 1e-12)


def doubts_of_scale(transform: Transform) -> list[str]:
    """Say that a map between two fields in mm enlarges or shrinks one of them."""
    if transform.kind == "homography":
        return []
    factors = np.linalg.svd(transform.matrix[:2, :2], compute_uv=False)
    largest = float(max(factors, key=lambda factor: abs(np.log(max(factor, 1e-12)))))
    if 1 / _ENLARGED <= largest <= _ENLARGED:
        return []
    return [
        f"the registration scales the nuclear field by {largest:.3g}, though both fields are in mm: check both pixel "
        "sizes and the points; --kind rigid keeps mm as they are"
    ]


def doubts_of_side(kind: str, moving: Points, fixed: Points, residual: Points) -> list[str]:
    """Say that one field seems to be mirrored, as when one camera looks from below."""
    if kind == "affine" or len(moving) < 3:
        return []
    flipped = moving * np.array([-1.0, 1.0])
    mirrored = target_registration_error(FITS["similarity"](flipped, fixed), flipped, fixed)
    if residual.mean() <= 1e-6 or mirrored.mean() > _MIRRORED * residual.mean():
        return []
    return [
        f"the points fit {residual.mean() / max(mirrored.mean(), 1e-9):.0f} times better mirrored: one camera may look "
        "from the other side; fit an affine, or turn one image round"
    ]


def doubts_of_places(names: Sequence[str], marked: Sequence[tuple[Points, Image]], table: Fiducials) -> list[str]:
    """Say which points lie outside the image in which they are marked: a unit or a column may be wrong.

    Args:
        names: of the points.
        marked: (point, 2) mm and the image, for each of the two.
        table: from which the points were read.

    Raises:
        UserError: two columns look exchanged in both images, by three points or more, and half of those outside are
            clearly so; a fit does not show that.
    """
    columns = "x_mm and y_mm" if table.in_mm else "row and column"
    exchanged = [_look_exchanged(points, image, table.in_mm) for points, image in marked]
    if len(names) >= _FEW and all(exchanged) and all(_lie_clearly_outside(*each) for each in marked):
        where = " and ".join(image.name for _, image in marked)
        raise UserError(f"points lie outside {where}; {columns} look exchanged in {table.name}; exchange them")
    said = []
    for (points, image), is_exchanged in zip(marked, exchanged, strict=True):
        outside = [name for name, out in zip(names, _beyond(_index(points, image), image), strict=True) if out]
        why = "are they in the right unit? Of a picture, mm and pixels count from 0 in the middle of the first pixel"
        if is_exchanged:
            why = f"their {columns} look exchanged in {table.name}"
        said += [f"the points {', '.join(outside)} lie outside {image.name}; {why}"] if outside else []
    return said


def _look_exchanged(points: Points, image: Image, in_mm: bool) -> bool:
    """Return whether at least half of the points lie outside an image, and none once its columns are exchanged."""
    index = _index(points, image)
    other = _index(points[:, ::-1], image) if in_mm else index[:, ::-1]
    return bool(_beyond(index, image).mean() >= 0.5 and not _beyond(other, image).any())


def _lie_clearly_outside(points: Points, image: Image) -> bool:
    """Return whether at least half of the points outside an image lie off by more than a tenth of its shorter side."""
    index, spacing = _index(points, image), np.array(image.spacing)
    beyond = np.maximum(np.maximum(-0.5 - index, index - (np.array(image.shape) - 0.5)), 0.0) * spacing
    least = _CLEARLY * float((np.array(image.shape) * spacing).min())
    far = np.linalg.norm(beyond, axis=1)
    return bool((far[far > 0] > least).mean() >= 0.5)


def _index(points: Points, image: Image) -> Points:
    """Return row and column (point, 2) of places in mm."""
    to_index = np.linalg.inv(index_to_world(image))
    return np.asarray(points @ to_index[:2, :2].T + to_index[:2, 2])


def _beyond(index: Points, image: Image) -> npt.NDArray[np.bool_]:
    """Return which rows and columns (point, 2) lie outside an image, (point,)."""
    return np.asarray(((index < -0.5) | (index > np.array(image.shape) - 0.5)).any(axis=1))


def doubts_of_names(moving: Sequence[str], fixed: Sequence[str], nuclear: str, anatomy: str) -> list[str]:
    """Say which points are marked in one image only, where `nuclear` and `anatomy` are the names of the two."""
    said = []
    for here, there, image in ((moving, fixed, nuclear), (fixed, moving, anatomy)):
        alone = [name for name in here if name not in there]
        if alone:
            verb = "is" if len(alone) == 1 else "are"
            said.append(f"{', '.join(alone)} {verb} marked in {image} only: left out")
    return said


@contextmanager
def explained_by(said: Sequence[str]) -> Iterator[None]:
    """Add what is said of a registration to the refusal of what lies where it puts it.

    Raises:
        UserError: what was raised within, with the lines of `said` after it.
    """
    try:
        yield
    except UserError as error:
        if not said:
            raise
        raise UserError(f"{error}. Of the registration: {'; '.join(said)}") from error
