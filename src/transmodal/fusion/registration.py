"""Where the field of a nuclear camera lies in an anatomical picture, and how far off that may be in mm.

Fits and leave-one-out errors are those of `images.transform`. The error at a place follows from the residuals by linear
error propagation through the least-squares fit, which for rigid fits is the target registration error of Fitzpatrick,
West and Maurer, IEEE TMI 17 (1998) 694, here in two dimensions and for every kind that is fitted.

Every map goes from the nuclear world to the anatomy's world, both in mm, x right and y down, as `index_to_world` says.
"""

import json
import reprlib
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from transmodal.datasets.fiducials import Fiducials
from transmodal.datasets.manifest import CaseFiles
from transmodal.errors import UserError
from transmodal.fusion.fields import doubts_of_overlap, require_overlap, require_sizes, require_two, shared_field
from transmodal.fusion.registration_doubts import (
    doubts_of_error,
    doubts_of_names,
    doubts_of_places,
    doubts_of_scale,
    doubts_of_side,
    explained_by,
    millimetres,
)
from transmodal.images.files import write_text
from transmodal.images.guard import require_file
from transmodal.images.image import Image
from transmodal.images.nuclear.series import NuclearSeries
from transmodal.images.registration import FITS, Transform, target_registration_error

KINDS = ("scale", "rigid", "similarity", "affine")
"""scale: two parallel fields, one scale and an offset, no rotation. The others as in `images.transform`."""
_FORMAT = "transmodal registration 1"
_PARAMETERS = {"scale": 3, "rigid": 3, "similarity": 4, "affine": 6}
_FARTHEST = 1e6  # mm; a field beyond a kilometre is a mistake, and squares of far larger places overflow
Points = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Registration:
    """A map from the nuclear world to the anatomy's world, with what is known of its error.

    Attributes:
        transform: nuclear mm to anatomy mm.
        how: where it comes from, in words.
        kind: one of KINDS; "given" where it was read, "identity" where the two share their field.
        names: of the points; empty without points.
        nuclear: (n, 2) mm, the points in the nuclear world.
        anatomy: (n, 2) mm, the same points in the anatomy's.
        residual_mm: (n,) distance of each point after the fit to all; it flatters.
        left_out_mm: (n,) distance of each point under the fit to the others; NaN where the others fix no fit.
        error_mm: mean of `left_out_mm`, or what the file says; None when not known.
        said: what a user should know, a line each.
    """

    transform: Transform
    how: str
    kind: str = "given"
    names: tuple[str, ...] = ()
    nuclear: Points | None = None
    anatomy: Points | None = None
    residual_mm: Points | None = None
    left_out_mm: Points | None = None
    error_mm: float | None = None
    said: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.error_mm is not None and not 0 <= self.error_mm < np.inf:
            raise ValueError(f"an error is a finite number of mm from 0 on, or None; not {self.error_mm}")

    def error_text(self) -> str:
        """Return the error in words: "1.3 mm", "< 0.01 mm" or "not known"."""
        return "not known" if self.error_mm is None else millimetres(self.error_mm)

    def table(self) -> list[dict[str, Any]]:
        """Return a row a point: its name, both places, residual and leave-one-out error, mm."""
        if self.nuclear is None or self.anatomy is None or self.residual_mm is None or self.left_out_mm is None:
            return []
        columns = zip(self.names, self.nuclear, self.anatomy, self.residual_mm, self.left_out_mm, strict=True)
        return [
            {
                "point": name,
                "nuclear_x_mm": float(moving[0]),
                "nuclear_y_mm": float(moving[1]),
                "anatomy_x_mm": float(fixed[0]),
                "anatomy_y_mm": float(fixed[1]),
                "residual_mm": float(residual) if np.isfinite(residual) else None,
                "leave_one_out_mm": float(left_out) if np.isfinite(left_out) else None,
            }
            for name, moving, fixed, residual, left_out in columns
        ]

    def error_at(self, place: npt.ArrayLike) -> float | None:
        """Return the expected distance in mm between where a target is put and where it is.

        Root mean square over repeated marking of the same points, the marks' scatter taken from the residuals. It
        grows away from the points. The target's own blur is not in it.

        Args:
            place: (2,) mm in the anatomy.

        Returns:
            None without points, or with just as many as fix the fit, which leave no residual to judge by.
        """
        if self.nuclear is None or self.residual_mm is None or self.kind not in KINDS:
            return None
        mapped = self.transform.apply(self.nuclear)
        centre = mapped.mean(axis=0)
        design = _directions(self.kind, mapped - centre)
        spare = design.shape[0] * 2 - design.shape[2]
        if spare <= 0:
            return None
        variance = float((self.residual_mm**2).sum()) / spare
        covariance = np.linalg.pinv(np.einsum("nak,nal->kl", design, design))
        there = _directions(self.kind, (np.asarray(place, dtype=np.float64) - centre)[None])[0]
        return float(np.sqrt(variance * np.trace(there @ covariance @ there.T)))

    def to_json(self) -> str:
        """Return text that a person can read and `read_registration` takes as a device's calibration."""
        content = {
            "format": _FORMAT,
            "how": self.how,
            "kind": self.kind,
            "error_mm": self.error_mm,
            "transform": json.loads(self.transform.to_json()),
            "points": self.table(),
            "said": list(self.said),
        }
        return json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n"

    def write(self, path: str | Path) -> Path:
        """Write `to_json`; return the path."""
        return write_text(path, self.to_json())


def register(
    anatomy: Image,
    series: NuclearSeries,
    calibration: str | Path | None = None,
    *,
    kind: str = "similarity",
    nuclear_name: str = "nuclear",
    anatomy_name: str | None = None,
    subject: str | None = None,
    session: str = "",
) -> Registration:
    """Register the nuclear field to the anatomy by what is at hand, and check that the two fields overlap.

    Args:
        anatomy: a picture.
        series: the frames.
        calibration: a table of points (.csv), a transform or registration (.json); None when the two share their field.
        kind: of the fit to points; one of KINDS.
        nuclear_name: the modality of the nuclear points in the table.
        anatomy_name: the modality of the anatomical points; None for the only other one.
        subject: whose points; None for those that hold for all, or of the only subject in the table.
        session: which visit's points.

    Raises:
        UserError: both are one file, as `register_by_points`, `read_registration` and `register_shared`, or the fields
            do not overlap.
    """
    require_two(anatomy, series)
    if calibration is None:
        found = register_shared(anatomy, series)
    elif Path(calibration).suffix.lower() == ".json":
        found = read_registration(calibration)
        found = replace(found, said=(*found.said, *doubts_of_error(found.error_mm, series, found.transform)))
    else:
        table = Fiducials.read(calibration)
        found = register_by_points(
            anatomy,
            series,
            table,
            kind=kind,
            nuclear_name=nuclear_name,
            anatomy_name=anatomy_name,
            subject=subject,
            session=session,
        )
    require_sizes(anatomy, series, unless_shared=calibration is None)
    with explained_by(found.said):
        require_overlap(anatomy, series, found.transform)
    return replace(found, said=(*found.said, *doubts_of_overlap(anatomy, series, found.transform)))


def register_shared(anatomy: Image, series: NuclearSeries) -> Registration:
    """Return the registration of two images that show the same field.

    Raises:
        UserError: one has no physical size, or their fields differ.
    """
    transform, how = shared_field(anatomy, series)
    return Registration(transform, how, "identity", said=(f"no points: {how}; its error is not known",))


def read_registration(path: str | Path) -> Registration:
    """Read the fixed transform of a device: a transform file, or a registration that was written.

    Raises:
        UserError: the file is missing or neither, or its error cannot be one.
    """
    path = Path(path)
    require_file(path)
    try:
        content = json.loads(path.read_text(encoding="utf-8"), parse_int=float)
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{path} is no transform file ({error}); name a JSON file, or a CSV of points") from error
    error_mm: float | None = None
    if isinstance(content, dict) and content.get("format") == _FORMAT:
        transform = Transform.from_json(json.dumps(content.get("transform")), path)
        error_mm = _stated_error(content.get("error_mm"), path)
    else:
        transform = Transform.from_json(json.dumps(content), path)
    if transform.dims != 2:
        raise UserError(f"{path} maps volumes; a planar field needs a transform of pictures (3 by 3)")
    said = [] if error_mm is not None else [f"{path} says no error in mm"]
    said += doubts_of_scale(transform)
    return Registration(transform, f"fixed transform of {path.name}", error_mm=error_mm, said=tuple(said))


def _stated_error(value: Any, path: Path) -> float | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= _FARTHEST:
        raise UserError(f"{path}: error_mm is {reprlib.repr(value)}; write mm from 0 on, or null where it is not known")
    return float(value)


def register_by_points(
    anatomy: Image,
    series: NuclearSeries,
    table: Fiducials,
    *,
    kind: str = "similarity",
    nuclear_name: str = "nuclear",
    anatomy_name: str | None = None,
    subject: str | None = None,
    session: str = "",
) -> Registration:
    """Fit the map from the nuclear field to the anatomy to points that are marked in both.

    Args:
        anatomy: the picture in which they are marked; gives mm to points that are marked in pixels.
        series: likewise.
        table: of fiducials of a device, or of the landmarks of one case.
        kind: one of KINDS.
        nuclear_name, anatomy_name, subject, session: as in `register`.

    Raises:
        UserError: an image has no physical size, the table does not say which points are meant, there are too few
            points, or they lie on one place or line, farther off than any field, or with two columns exchanged.
    """
    if kind not in KINDS:
        raise UserError(f"no kind {kind!r} of registration; choose one of {', '.join(KINDS)}")
    require_sizes(anatomy, series)
    nuclear_name, fixed_name = _modalities(table, nuclear_name, anatomy_name)
    case = CaseFiles(_subject(table, subject), session, {})
    moving, fixed = table.pairs_mm(case, nuclear_name, fixed_name, (series.frame(0), anatomy))
    farthest = float(np.abs(np.concatenate([moving, fixed])).max(initial=0.0))
    if farthest > _FARTHEST:
        raise UserError(f"{table.name} has a point at {farthest:g} mm, outside of any field; write mm, or pixels")
    of_moving, of_fixed = table.of(case, nuclear_name), table.of(case, fixed_name)
    names = tuple(name for name in of_moving if name in of_fixed)
    with explained_by(places := doubts_of_places(names, ((moving, series.frame(0)), (fixed, anatomy)), table)):
        transform = _fit(kind, moving, fixed)
    residual = target_registration_error(transform, moving, fixed)
    left_out = _left_out(kind, moving, fixed)
    known = left_out[np.isfinite(left_out)]
    error = float(known.mean()) if len(known) == len(names) else None
    said = [*doubts_of_names(tuple(of_moving), tuple(of_fixed), nuclear_name, fixed_name), *places]
    if error is None:
        said.append(f"{len(names)} points fix a {kind} without any to spare: its error is not known; mark more")
    said += doubts_of_error(error, series, transform, names, left_out, _without_one(kind, moving, fixed), residual)
    said += [*doubts_of_scale(transform), *doubts_of_side(kind, moving, fixed, residual)]
    how = f"{kind} fit to {len(names)} points of {Path(table.name).name}"
    return Registration(transform, how, kind, names, moving, fixed, residual, left_out, error, tuple(said))


def _modalities(table: Fiducials, nuclear: str, anatomy: str | None) -> tuple[str, str]:
    """Return the modalities of the nuclear and of the anatomical points as the table writes them, capitals or not."""
    known = sorted({modality for _, _, modality in table.points})
    nuclear = _as_written(nuclear, known)
    if nuclear not in known:
        raise UserError(
            f"{table.name} has no points of {nuclear!r} (it has {', '.join(known)}); write {nuclear} in the column "
            "modality for the points of the nuclear image, and one other name, such as xray, for those of the anatomy"
        )
    if anatomy is not None:
        anatomy = _as_written(anatomy, known)
        if anatomy not in known or anatomy == nuclear:
            raise UserError(f"{table.name} has no points of {anatomy!r} besides {nuclear!r}; name another modality")
        return nuclear, anatomy
    others = [modality for modality in known if modality != nuclear]
    if len(others) != 1:
        raise UserError(
            f"{table.name} has points of {', '.join(known)}; say which of them are the anatomy's"
            if others
            else f"{table.name} has points of {nuclear!r} only; mark the same points in the anatomy"
        )
    return nuclear, others[0]


def _as_written(name: str, known: list[str]) -> str:
    same = [each for each in known if each.lower() == name.lower()]
    return name if name in known or not same else same[0]


def _subject(table: Fiducials, subject: str | None) -> str:
    """Return whose points are meant: the named one's, or of the only one there is."""
    known = sorted({owner for owner, _, _ in table.points})
    if subject is None:
        named = [owner for owner in known if owner]
        if "" in known or not named:
            return ""
        if len(named) > 1:
            raise UserError(f"{table.name} has points of the subjects {', '.join(named[:6])}; say whose are meant")
        return named[0]
    if subject not in known and "" not in known:
        raise UserError(f"{table.name} has no points of {subject!r} (it has {', '.join(known[:6])}); mark some")
    return subject


def _fit(kind: str, moving: Points, fixed: Points) -> Transform:
    return scale_from_points(moving, fixed) if kind == "scale" else FITS[kind](moving, fixed)


def scale_from_points(moving: npt.ArrayLike, fixed: npt.ArrayLike) -> Transform:
    """Fit one scale and an offset by least squares, as between the parallel fields of one device.

    Args:
        moving: (point, 2) mm, at least two at different places.
        fixed: (point, 2) mm.

    Raises:
        UserError: too few points, or all at one place, or the scale comes out 0 or negative.
    """
    source, target = np.asarray(moving, dtype=np.float64), np.asarray(fixed, dtype=np.float64)
    if len(source) < 2:
        raise UserError(f"{len(source)} fiducials do not fix a scale and an offset; mark at least 2")
    centred, aimed = source - source.mean(axis=0), target - target.mean(axis=0)
    spread = float((centred**2).sum())
    scale = float((centred * aimed).sum()) / spread if spread > 1e-12 else 0.0
    if scale <= 1e-6:
        raise UserError("the points fix no positive scale between parallel fields; check them, or fit a similarity")
    matrix = np.diag([scale, scale, 1.0])
    matrix[:2, 2] = target.mean(axis=0) - scale * source.mean(axis=0)
    return Transform("similarity", matrix)


def _left_out(kind: str, moving: Points, fixed: Points) -> Points:
    """Return each point's distance under the fit to the others; NaN where those do not fix one."""
    errors = np.full(len(moving), np.nan)
    for point in range(len(moving)):
        others = np.arange(len(moving)) != point
        try:
            fitted = _fit(kind, moving[others], fixed[others])
        except UserError:
            continue
        errors[point] = target_registration_error(fitted, moving[point], fixed[point])
    return errors


def _without_one(kind: str, moving: Points, fixed: Points) -> Points:
    """Return for each point how badly the others fit without it, root mean square mm; NaN with too few to tell."""
    spread = np.full(len(moving), np.nan)
    if 2 * (len(moving) - 1) - _PARAMETERS[kind] < 2:
        return spread
    for point in range(len(moving)):
        others = np.arange(len(moving)) != point
        with suppress(UserError):
            fitted = _fit(kind, moving[others], fixed[others])
            residual = target_registration_error(fitted, moving[others], fixed[others])
            spread[point] = float(np.sqrt((residual**2).mean()))
    return spread


def _directions(kind: str, centred: Points) -> npt.NDArray[np.float64]:
    """Return how mapped points (n, 2), counted from their centre, move with each parameter of a fit: (n, 2, k)."""
    x, y = centred.T
    zero, one = np.zeros_like(x), np.ones_like(x)
    shift = [np.stack([one, zero], 1), np.stack([zero, one], 1)]
    turn, grow = np.stack([-y, x], 1), centred
    each: dict[str, Callable[[], list[Points]]] = {
        "scale": lambda: [grow],
        "rigid": lambda: [turn],
        "similarity": lambda: [turn, grow],
        "affine": lambda: [np.stack(pair, 1) for pair in ((x, zero), (y, zero), (zero, x), (zero, y))],
    }
    return np.stack(shift + each[kind](), axis=2)
