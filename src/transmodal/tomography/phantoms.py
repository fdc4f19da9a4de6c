"""Bodies of ellipses whose line integrals are known exactly, and the head phantom of Shepp and Logan.

L. A. Shepp, B. F. Logan, "The Fourier reconstruction of a head section", IEEE Transactions on Nuclear Science 21(3),
1974. The modified phantom has the contrasts of P. A. Toft, "The Radon transform", thesis, Technical University of
Denmark, 1996, table B.3: the original's are 1 % of the brain and cannot be seen without a narrow window.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from transmodal.errors import UserError
from transmodal.tomography.geometry import Beam, ConeBeam, Grid
from transmodal.tomography.rays import fan_of, plane_lines

Array = npt.NDArray[np.float32]
Floats: TypeAlias = npt.NDArray[np.floating[Any]]


@dataclass(frozen=True)
class Ellipse:
    """An ellipse in a slice.

    Attributes:
        attenuation: 1/mm, added to that of other shapes at the same place; may be negative.
        centre: (y, x) from the rotation axis, in mm.
        semi_axes: along y and x before it is turned, in mm.
        angle: degrees, turned from x to y, which on the screen is clockwise.
    """

    attenuation: float
    centre: tuple[float, float]
    semi_axes: tuple[float, float]
    angle: float = 0.0

    def __post_init__(self) -> None:
        _check(self.semi_axes)

    def to_unit(self) -> Floats:
        """Return the matrix (2, 2) that makes a unit circle of it, after its centre is taken off."""
        return np.diag(1 / np.asarray(self.semi_axes)) @ _turned_back(self.angle)


@dataclass(frozen=True)
class Ellipsoid:
    """An ellipsoid in a volume.

    Attributes:
        attenuation: 1/mm, added to that of other shapes at the same place; may be negative.
        centre: (z, y, x), from the rotation axis and the plane of the source, in mm.
        semi_axes: along z, y and x before it is turned, in mm.
        angle: degrees about z, from x to y.
    """

    attenuation: float
    centre: tuple[float, float, float]
    semi_axes: tuple[float, float, float]
    angle: float = 0.0

    def __post_init__(self) -> None:
        _check(self.semi_axes)

    def to_unit(self) -> Floats:
        """Return the matrix (3, 3) that makes a unit sphere of it, after its centre is taken off."""
        turned = np.eye(3)
        turned[1:, 1:] = _turned_back(self.angle)
        return np.diag(1 / np.asarray(self.semi_axes)) @ turned


@dataclass(frozen=True)
class Sphere:
    """A sphere in a volume.

    Attributes:
        attenuation: 1/mm, added to that of other shapes at the same place; may be negative.
        centre: (z, y, x), from the rotation axis and the plane of the source, in mm.
        radius: mm.
    """

    attenuation: float
    centre: tuple[float, float, float]
    radius: float

    def __post_init__(self) -> None:
        _check((self.radius,))

    def to_unit(self) -> Floats:
        """Return the matrix (3, 3) that makes a unit sphere of it, after its centre is taken off."""
        return np.eye(3) / self.radius


Shape: TypeAlias = Ellipse | Ellipsoid | Sphere

# Attenuation of the original and of the modified phantom; x and y of the centre, with y up; semi-axes along x and y;
# degrees anticlockwise. Half the field is 1.
_HEAD = (
    (2.0, 1.0, 0.0, 0.0, 0.69, 0.92, 0.0),
    (-0.98, -0.8, 0.0, -0.0184, 0.6624, 0.874, 0.0),
    (-0.02, -0.2, 0.22, 0.0, 0.11, 0.31, -18.0),
    (-0.02, -0.2, -0.22, 0.0, 0.16, 0.41, 18.0),
    (0.01, 0.1, 0.0, 0.35, 0.21, 0.25, 0.0),
    (0.01, 0.1, 0.0, 0.1, 0.046, 0.046, 0.0),
    (0.01, 0.1, 0.0, -0.1, 0.046, 0.046, 0.0),
    (0.01, 0.1, -0.08, -0.605, 0.046, 0.023, 0.0),
    (0.01, 0.1, 0.0, -0.605, 0.023, 0.023, 0.0),
    (0.01, 0.1, 0.06, -0.605, 0.023, 0.046, 0.0),
)


def shepp_logan(field: float = 50.0, unit: float = 0.02, *, modified: bool = True) -> tuple[Ellipse, ...]:
    """Return the head phantom, its face up.

    Args:
        field: mm, edge of the square that holds it; the head is 0.92 of it high.
        unit: 1/mm, of a value of 1 in the published table: 0.02 makes the original's brain water.
        modified: with Toft's contrasts (skull 1, brain 0.2); else the original's (2 and 1.02).
    """
    half = field / 2
    return tuple(
        Ellipse(
            (values[1] if modified else values[0]) * unit, (-y * half, x * half), (down * half, right * half), -turn
        )
        for *values, x, y, right, down, turn in _HEAD
    )


def rasterise(shapes: Sequence[Shape], grid: Grid, *, oversampling: int = 4) -> Array:
    """Return the attenuation of shapes on a grid, in 1/mm; pixels at an edge hold the part that is covered.

    Args:
        shapes: ellipses for a slice, ellipsoids and spheres for a volume.
        grid: of the image.
        oversampling: points that are tried along each edge of a pixel; 1 asks its centre alone.

    Raises:
        UserError: a shape with more or fewer axes than the grid.
    """
    _check_axes(shapes, len(grid.shape))
    image = np.zeros(grid.shape, dtype=np.float32)
    finer = grid.finer(oversampling)
    for shape in shapes:
        box = [_range(shape, grid, axis) for axis in range(len(grid.shape))]
        if any(low >= high for low, high in box):
            continue
        # Line by line of the first axis: a volume tried at 4³ points a voxel would take 64 times its memory.
        points = [
            finer.positions(axis)[low * oversampling : high * oversampling] - shape.centre[axis]
            for axis, (low, high) in enumerate(box)
        ]
        rest = np.meshgrid(*points[1:], indexing="ij")
        for line in range(box[0][0], box[0][1]):
            begin = (line - box[0][0]) * oversampling
            covered = sum(_inside(shape, first, rest) for first in points[0][begin : begin + oversampling])
            part = _mean(np.asarray(covered, dtype=np.float32), oversampling) / oversampling
            region: tuple[Any, ...] = (line, *(slice(low, high) for low, high in box[1:]))
            image[region] += np.float32(shape.attenuation) * part
    return image


def line_integrals(shapes: Sequence[Shape], beam: Beam) -> Array:
    """Return the exact integrals of attenuation along the rays to the middles of a detector's bins.

    Args:
        shapes: ellipses for a parallel or fan beam, ellipsoids and spheres for a cone.
        beam: the scanner.

    Returns:
        (views, bins), for a cone (views, rows, bins); dimensionless.

    Raises:
        UserError: a shape with more or fewer axes than the scan.
    """
    _check_axes(shapes, 3 if isinstance(beam, ConeBeam) else 2)
    integrals = np.zeros(beam.shape, dtype=np.float32)
    for view, (points, directions) in enumerate(_lines(beam)):
        total = np.zeros(beam.shape[1:])
        for shape in shapes:
            matrix = shape.to_unit()
            point = (points - np.asarray(shape.centre)) @ matrix.T
            direction = directions @ matrix.T
            # The ray point + t·direction leaves the unit sphere at the roots of a·t² + 2·b·t + c.
            a = np.sum(direction**2, axis=-1)
            b = np.sum(point * direction, axis=-1)
            c = np.sum(point**2, axis=-1) - 1
            total += shape.attenuation * 2 * np.sqrt(np.maximum(b**2 - a * c, 0)) / a
        integrals[view] = total
    return integrals


def _lines(beam: Beam) -> Iterator[tuple[Floats, Floats]]:
    """Yield for each view a point of each ray in mm and its direction, of length 1, in the order of a grid's axes."""
    flat = fan_of(beam) if isinstance(beam, ConeBeam) else beam
    y, x, down, right = plane_lines(flat)
    for view in range(len(beam.angles)):
        points = np.stack([y[view], x[view]], axis=-1)
        directions = np.stack([down[view], right[view]], axis=-1)
        if isinstance(beam, ConeBeam):
            steepness = beam.row_positions[:, None] / np.hypot(beam.positions, beam.source_to_detector)
            level = np.broadcast_to(directions, (*steepness.shape, 2))
            directions = np.concatenate([steepness[..., None], level], axis=-1)
            directions = directions / np.sqrt(1 + steepness**2)[..., None]
            points = np.concatenate([np.zeros((beam.bins, 1)), points], axis=-1)
        yield points, directions


def _check(semi_axes: Sequence[float]) -> None:
    if not all(np.isfinite(length) and length > 0 for length in semi_axes):
        raise UserError(f"the semi-axes of a shape must be above 0 mm, not {tuple(semi_axes)}")


def _check_axes(shapes: Sequence[Shape], axes: int) -> None:
    for shape in shapes:
        if len(shape.centre) != axes:
            raise UserError(f"{type(shape).__name__} has {len(shape.centre)} axes, the grid or scan has {axes}")


def _turned_back(angle: float) -> Floats:
    """Return the matrix for (y, x) that turns by −angle from x to y."""
    cosine, sine = np.cos(np.deg2rad(angle)), np.sin(np.deg2rad(angle))
    return np.array([[cosine, -sine], [sine, cosine]])


def _range(shape: Shape, grid: Grid, axis: int) -> tuple[int, int]:
    """Return the pixels of an axis, first and after the last, that a shape can touch."""
    # The farthest point along axis i of {p: ‖M·p‖ ≤ 1} is the norm of row i of M⁻¹.
    reach = float(np.linalg.norm(np.linalg.inv(shape.to_unit())[axis]))
    edge = grid.centre[axis] - grid.extent[axis] / 2
    low = int(np.floor((shape.centre[axis] - reach - edge) / grid.spacing[axis]))
    high = int(np.ceil((shape.centre[axis] + reach - edge) / grid.spacing[axis]))
    return max(low, 0), min(high, grid.shape[axis])


def _inside(shape: Shape, first: float, rest: Sequence[Floats]) -> npt.NDArray[np.float32]:
    """Say which points lie inside, all with the same first coordinate."""
    matrix = shape.to_unit()
    squares = [
        (row[0] * first + sum(weight * points for weight, points in zip(row[1:], rest, strict=True))) ** 2
        for row in matrix
    ]
    return np.asarray(sum(squares) <= 1, dtype=np.float32)


def _mean(points: Array, factor: int) -> Array:
    """Return means of blocks of `factor` along every axis."""
    blocks = points.reshape([part for count in points.shape for part in (count // factor, factor)])
    return blocks.mean(axis=tuple(range(1, blocks.ndim, 2)))
