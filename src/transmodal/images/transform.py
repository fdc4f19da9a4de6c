"""Linear maps between the worlds of two images, fitted to fiducials, and their error in mm.

Sources: rigid and similarity, Umeyama, IEEE TPAMI 13 (1991) 376; homography by the normalised direct linear transform,
Hartley and Zisserman, Multiple View Geometry, algorithm 4.2; target registration error, Fitzpatrick, West and
Maurer, IEEE TMI 17 (1998) 694.

Points are in the world of `Image.affine`, in mm: for pictures x to the right and y down, (point, 2); for volumes RAS+,
(point, 3). Every map goes from the moving image's points to the fixed image's points.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from transmodal.errors import UserError
from transmodal.images.files import write_text
from transmodal.images.guard import require_file

KINDS = ("rigid", "similarity", "affine", "homography")
_FORMAT = "transmodal transform 1"
_DIRECTION = "moving points to fixed points, mm"
Points = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Transform:
    """A map from moving points to fixed points.

    Attributes:
        kind: one of KINDS.
        matrix: (d + 1, d + 1) on homogeneous points in mm, d = 2 or 3.
    """

    kind: str
    matrix: npt.NDArray[np.float64]

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"a transform is one of {', '.join(KINDS)}, not {self.kind!r}")
        if self.matrix.shape not in ((3, 3), (4, 4)) or not np.isfinite(self.matrix).all():
            raise ValueError(f"a transform is a finite 3 by 3 or 4 by 4 matrix, not {self.matrix.shape}")
        if abs(np.linalg.det(self.matrix)) < 1e-12:
            raise ValueError("a transform can be inverted; this one flattens space")

    @classmethod
    def identity(cls, dims: int) -> "Transform":
        """Return the map that moves nothing."""
        return cls("rigid", np.eye(dims + 1))

    @property
    def dims(self) -> int:
        """2 or 3."""
        return len(self.matrix) - 1

    def apply(self, points: npt.ArrayLike) -> Points:
        """Map moving points (…, d) to fixed points (…, d), mm."""
        points = np.asarray(points, dtype=np.float64)
        mapped = points @ self.matrix[:-1, :-1].T + self.matrix[:-1, -1]
        weight = points @ self.matrix[-1, :-1] + self.matrix[-1, -1]
        return np.asarray(mapped / weight[..., None])

    def inverse(self) -> "Transform":
        """Return the map from fixed points to moving points."""
        return Transform(self.kind, np.asarray(np.linalg.inv(self.matrix), dtype=np.float64))

    def to_json(self) -> str:
        """Return text that a person can read and `from_json` gives back exactly."""
        axes = "x right, y down" if self.dims == 2 else "right, anterior, superior (RAS+)"
        said = {"format": _FORMAT, "kind": self.kind, "maps": _DIRECTION, "axes": axes, "matrix": self.matrix.tolist()}
        return json.dumps(said, indent=1).replace("\n   ", " ").replace("\n  ]", "]") + "\n"

    @classmethod
    def from_json(cls, text: str, name: str | Path = "the transform") -> "Transform":
        """Read the text of a transform file.

        Raises:
            UserError: it is not one, or maps in another direction.
        """
        try:
            said = json.loads(text)
            if said["format"] != _FORMAT or said["maps"] != _DIRECTION:
                raise ValueError(f"its format is {said['format']!r} and it maps {said['maps']!r}")
            return cls(str(said["kind"]), np.array(said["matrix"], dtype=np.float64))
        except (ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
            raise UserError(f"{name} is no transform file ({error}); write one with 'transmodal data align'") from error

    def write(self, path: str | Path) -> Path:
        """Write a transform file; return its path."""
        return write_text(path, self.to_json())

    @classmethod
    def read(cls, path: str | Path) -> "Transform":
        """Read a transform file.

        Raises:
            UserError: the file is missing or no transform.
        """
        require_file(Path(path))
        try:
            text = Path(path).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise UserError(f"{path} is no transform file ({error}); name a JSON file") from error
        return cls.from_json(text, path)


def rigid_from_fiducials(moving: npt.ArrayLike, fixed: npt.ArrayLike) -> Transform:
    """Fit rotation and translation by least squares to at least d points (d, mm)."""
    return _umeyama("rigid", moving, fixed)


def similarity_from_fiducials(moving: npt.ArrayLike, fixed: npt.ArrayLike) -> Transform:
    """Fit rotation, translation and one scale by least squares to at least d points (d, mm)."""
    return _umeyama("similarity", moving, fixed)


def affine_from_fiducials(moving: npt.ArrayLike, fixed: npt.ArrayLike) -> Transform:
    """Fit an affine map by least squares.

    Args:
        moving: (point, d) mm, at least d + 1 points that do not lie on one line (one plane in 3-D).
        fixed: (point, d) mm, the same points in the fixed image.

    Raises:
        UserError: too few, not finite, or degenerate points.
    """
    source, target = _checked(moving, fixed, "affine")
    centre = source.mean(axis=0)
    design = np.column_stack([source - centre, np.ones(len(source))])
    # Scaling the spread to 1 keeps the rank test independent of the unit.
    spread = max(float(np.abs(design[:, :-1]).max()), 1e-300)
    if np.linalg.matrix_rank(design[:, :-1] / spread, tol=1e-6) < source.shape[1]:
        raise UserError(_degenerate("affine", source.shape[1]))
    solution = np.linalg.lstsq(design, target, rcond=None)[0]
    matrix = np.eye(source.shape[1] + 1)
    matrix[:-1, :-1] = solution[:-1].T
    matrix[:-1, -1] = solution[-1] - matrix[:-1, :-1] @ centre
    return _made("affine", matrix)


def homography_from_fiducials(moving: npt.ArrayLike, fixed: npt.ArrayLike) -> Transform:
    """Fit a plane homography, as between a camera's and a detector's view of a bed.

    Args:
        moving: (point, 2) mm, at least 4 points, no three on one line among four of them.
        fixed: (point, 2) mm.

    Raises:
        UserError: too few, not finite, or degenerate points, or points in 3-D.
    """
    source, target = _checked(moving, fixed, "homography")
    if source.shape[1] != 2:
        raise UserError("a homography maps pictures; align volumes by an affine")
    source, normalise_source = _normalised(source)
    target, normalise_target = _normalised(target)
    x, y = source.T
    u, v = target.T
    zero, one = np.zeros_like(x), np.ones_like(x)
    rows = np.concatenate(
        [
            np.column_stack([x, y, one, zero, zero, zero, -u * x, -u * y, -u]),
            np.column_stack([zero, zero, zero, x, y, one, -v * x, -v * y, -v]),
        ]
    )
    _, singular, vectors = np.linalg.svd(rows)
    # One null direction is the answer; a second one means that the points do not fix it.
    if singular[7] < 1e-8 * singular[0]:
        raise UserError(_degenerate("homography", 2))
    matrix = np.linalg.inv(normalise_target) @ vectors[-1].reshape(3, 3) @ normalise_source
    if abs(matrix[2, 2]) < 1e-12 * np.abs(matrix).max():
        raise UserError(_degenerate("homography", 2))
    return _made("homography", matrix / matrix[2, 2])


FITS: dict[str, Callable[[npt.ArrayLike, npt.ArrayLike], Transform]] = {
    "rigid": rigid_from_fiducials,
    "similarity": similarity_from_fiducials,
    "affine": affine_from_fiducials,
    "homography": homography_from_fiducials,
}


def fiducials_needed(kind: str, dims: int) -> int:
    """Return the least number of fiducials that fix a transform."""
    return {"rigid": dims, "similarity": dims, "affine": dims + 1, "homography": 4}[kind]


def target_registration_error(transform: Transform, moving: npt.ArrayLike, fixed: npt.ArrayLike) -> Points:
    """Return the distance in mm between every mapped moving point and its fixed point, (point,)."""
    return np.asarray(np.linalg.norm(transform.apply(moving) - np.asarray(fixed, dtype=np.float64), axis=-1))


def leave_one_out_error(kind: str, moving: npt.ArrayLike, fixed: npt.ArrayLike) -> Points:
    """Return for every fiducial its distance in mm under the fit to all the others, (point,).

    The error at the fiducials that were fitted flatters; this one does not.

    Raises:
        UserError: without one of them, the fiducials do not fix the transform.
    """
    moving, fixed = np.asarray(moving, dtype=np.float64), np.asarray(fixed, dtype=np.float64)
    errors = []
    for left_out in range(len(moving)):
        others = np.arange(len(moving)) != left_out
        fitted = FITS[kind](moving[others], fixed[others])
        errors.append(target_registration_error(fitted, moving[left_out], fixed[left_out]))
    return np.asarray(errors)


def _umeyama(kind: str, moving: npt.ArrayLike, fixed: npt.ArrayLike) -> Transform:
    """Fit rotation, translation and perhaps a scale, without reflection."""
    source, target = _checked(moving, fixed, kind)
    dims = source.shape[1]
    centre_source, centre_target = source.mean(axis=0), target.mean(axis=0)
    centred = source - centre_source
    left, singular, right = np.linalg.svd((target - centre_target).T @ centred)
    if singular[dims - 2] <= 1e-12 * max(float(singular[0]), 1e-300):
        raise UserError(_degenerate(kind, dims - 1))
    signs = np.ones(dims)
    signs[-1] = np.sign(np.linalg.det(left) * np.linalg.det(right))
    rotation = left @ np.diag(signs) @ right
    scale = float((singular * signs).sum() / (centred**2).sum()) if kind == "similarity" else 1.0
    matrix = np.eye(dims + 1)
    matrix[:-1, :-1] = scale * rotation
    matrix[:-1, -1] = centre_target - scale * rotation @ centre_source
    return _made(kind, matrix)


def _made(kind: str, matrix: npt.NDArray[np.float64]) -> Transform:
    """Build a transform from fitted numbers; a fit that flattens space is the fiducials' fault."""
    try:
        return Transform(kind, matrix)
    except ValueError as error:
        raise UserError(_degenerate(kind, len(matrix) - 1)) from error


def _checked(moving: npt.ArrayLike, fixed: npt.ArrayLike, kind: str) -> tuple[Points, Points]:
    """Return both sets as (point, d) arrays that can be fitted."""
    source, target = np.asarray(moving, dtype=np.float64), np.asarray(fixed, dtype=np.float64)
    if source.ndim != 2 or source.shape != target.shape or source.shape[1] not in (2, 3):
        raise UserError(
            f"fiducials come in pairs of points with 2 or 3 coordinates; these have the shapes {source.shape} and "
            f"{target.shape}: give every point in both images"
        )
    needed = fiducials_needed(kind, source.shape[1])
    if len(source) < needed:
        raise UserError(f"{len(source)} fiducials do not fix a transform of kind {kind}; mark at least {needed}")
    if not (np.isfinite(source).all() and np.isfinite(target).all()):
        raise UserError("a fiducial's coordinate is not a finite number; correct it")
    return source, target


def _degenerate(kind: str, dims: int) -> str:
    lie = {1: "at one place", 2: "on one line", 3: "in one plane"}[dims]
    return f"the fiducials lie {lie} and do not fix a transform of kind {kind}; mark others farther apart"


def _normalised(points: Points) -> tuple[Points, npt.NDArray[np.float64]]:
    """Move the centroid to 0 and the mean distance to √2, which makes the direct linear transform well posed."""
    centre = points.mean(axis=0)
    distance = float(np.linalg.norm(points - centre, axis=1).mean())
    scale = np.sqrt(2) / distance if distance > 0 else 1.0
    matrix = np.array([[scale, 0, -scale * centre[0]], [0, scale, -scale * centre[1]], [0, 0, 1]])
    return (points - centre) * scale, matrix
