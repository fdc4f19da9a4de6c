"""One geometry for all images of a case: mirror, affine map, jitter crop and elastic field, composed before resampling.

Indices are in array order, (row, column) or (slice, row, column), and count pixel centres. The map goes from a pixel of
the result to the place in the source that it takes its value from: first the elastic displacement, then the jitter
crop, then the inverse of the affine map, then the mirror. Rotation, shear and the elastic field act in physical space:
with isotropic pixels a rotation in a 1:2 field is a true rotation.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Motion:
    """What is done to the content of an image, before it is turned into a map.

    Attributes:
        mirrored: for each spatial axis, whether it is reversed.
        angles: degrees; one in 2-D, positive turns the content counter-clockwise as displayed (rows downwards,
            columns to the right); three in 3-D, about the slice, row and column axis in turn.
        scale: factor, above 1 enlarges the content.
        shears: degrees; one in 2-D (columns move with rows), three in 3-D.
        shift: fraction of the field along each axis; positive moves the content towards higher indices.
        jitter_factor: the field is resized by this factor (at least 1) and a field of the old size is cut out.
        jitter_place: where it is cut out, along each axis in [0, 1]: 0 at the start, 1 at the end.
    """

    mirrored: tuple[bool, ...]
    angles: tuple[float, ...]
    scale: float
    shears: tuple[float, ...]
    shift: tuple[float, ...]
    jitter_factor: float
    jitter_place: tuple[float, ...]

    @property
    def is_mirror_only(self) -> bool:
        """Whether pixels only change places, so that nothing needs interpolation."""
        still = not any(self.angles) and not any(self.shears) and not any(self.shift)
        return still and self.scale == 1.0 and self.jitter_factor == 1.0


def rotation(angles: Sequence[float]) -> NDArray[np.float64]:
    """Give the matrix that turns content, (2, 2) for one angle and (3, 3) for three, degrees; see `Motion.angles`."""
    if len(angles) == 1:
        return _turn(angles[0], 2, 0, 1)
    return _turn(angles[0], 3, 1, 2) @ _turn(angles[1], 3, 0, 2) @ _turn(angles[2], 3, 0, 1)


def _turn(angle: float, dims: int, row: int, column: int) -> NDArray[np.float64]:
    # Rows point downwards, hence the sign: (row 0, column 1) goes to (row -sin, column cos), up on the screen.
    sine, cosine = np.sin(np.deg2rad(angle)), np.cos(np.deg2rad(angle))
    matrix = np.eye(dims)
    matrix[row, row], matrix[row, column] = cosine, -sine
    matrix[column, row], matrix[column, column] = sine, cosine
    return matrix


def shear(angles: Sequence[float]) -> NDArray[np.float64]:
    """Give the matrix that shears content: a later axis moves with the earlier ones; one angle or three, degrees."""
    dims = 2 if len(angles) == 1 else 3
    matrix = np.eye(dims)
    matrix[np.tril_indices(dims, -1)] = np.tan(np.deg2rad(angles))
    return matrix


def compose(motion: Motion, shape: Sequence[int], spacing: Sequence[float]) -> NDArray[np.float64]:
    """Compose mirror, affine map and jitter crop.

    Args:
        motion: what is done to the content.
        shape: pixels along each spatial axis.
        spacing: size of a pixel along each axis, any unit.

    Returns:
        (dims, dims + 1) matrix from (target index, 1) to source index, pixels, without the elastic displacement.
    """
    size, step = np.asarray(shape, np.float64), np.asarray(spacing, np.float64)
    centre = (size - 1.0) / 2.0
    content = rotation(motion.angles) @ shear(motion.shears) * motion.scale
    inverse = np.linalg.inv(content) * step[None, :] / step[:, None]
    # A pixel p from the centre lies at p / factor in the resized field, plus where the crop was put.
    room = size * (1.0 - 1.0 / motion.jitter_factor)
    crop = room * (np.asarray(motion.jitter_place) - 0.5)
    mirror = np.where(np.asarray(motion.mirrored), -1.0, 1.0)[:, None]
    linear = mirror * inverse / motion.jitter_factor
    offset = mirror[:, 0] * (inverse @ (crop - np.asarray(motion.shift) * size))
    return np.column_stack([linear, offset + centre - linear @ centre])


def elastic_control(
    generator: np.random.Generator,
    matrix: NDArray[np.float64],
    shape: Sequence[int],
    spacing: Sequence[float],
    amplitude: float,
    cells: int,
) -> NDArray[np.float32]:
    """Draw the control points of an elastic displacement.

    Args:
        generator: source of randomness.
        matrix: (dims, dims + 1), the map that follows the displacement.
        shape: pixels along each spatial axis.
        spacing: size of a pixel along each axis.
        amplitude: largest displacement along an axis, fraction of the shortest side of the field.
        cells: cells along the shortest side; the longer ones get as many more as they are longer.

    Returns:
        (dims, cells + 3, …) float32, source pixels, one lattice for each axis.
    """
    step = np.asarray(spacing, np.float64)
    field = np.asarray(shape, np.float64) * step
    lattice = tuple(max(1, round(float(length))) + 3 for length in cells * field / field.min())
    uniform = generator.uniform(-1.0, 1.0, (len(shape), *lattice))
    displacement = uniform * (amplitude * field.min() / step).reshape(-1, *[1] * len(shape))
    source: NDArray[np.float32] = np.tensordot(matrix[:, :-1], displacement, axes=1).astype(np.float32)
    return np.ascontiguousarray(source)
