"""What may be done to a clean slice before it is scanned: fewer pixels, or another position of the patient."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import affine_transform

from transmodal.errors import UserError
from transmodal.images.padding import AIR_HU

Slices = NDArray[np.float32]

_DEGREES = 15.0
_SCALE = 1.2
_SHIFT = 0.04  # of the field


def shrunk(slices: Slices, spacing: tuple[float, float], size: int) -> tuple[Slices, tuple[float, float]]:
    """Return slices whose longer edge has so many pixels, each the mean over its area, and their spacing.

    Slices that are not larger stay as they are.

    Args:
        slices: (slices, rows, columns).
        spacing: mm, of rows and columns.
        size: pixels.

    Raises:
        UserError: fewer than 8 pixels.
    """
    if size < 8:
        raise UserError(f"--size {size} is too small for a CT slice; give 8 pixels or more")
    rows, columns = slices.shape[-2:]
    factor = size / max(rows, columns)
    if factor >= 1:
        return slices, spacing
    counts = (max(round(rows * factor), 1), max(round(columns * factor), 1))
    down, across = _areas(rows, counts[0]), _areas(columns, counts[1])
    made: Slices = np.ascontiguousarray(down @ slices @ across.T, dtype=np.float32)
    return made, (spacing[0] * rows / counts[0], spacing[1] * columns / counts[1])


def _areas(old: int, new: int) -> NDArray[np.float32]:
    """Return the matrix (new, old) of how much of a new pixel each old one covers; rows sum to 1."""
    edges = np.arange(new + 1) * (old / new)
    low, high = edges[:-1, None], edges[1:, None]
    pixel = np.arange(old)
    covered = np.clip(np.minimum(high, pixel + 1) - np.maximum(low, pixel), 0.0, 1.0)
    return (covered / covered.sum(axis=1, keepdims=True)).astype(np.float32)


@dataclass(frozen=True)
class Pose:
    """Another position of the same anatomy.

    Attributes:
        degrees: turned.
        scale: larger above 1.
        shift: of the field's height and width, down and right.
        mirrored: left for right.
    """

    degrees: float
    scale: float
    shift: tuple[float, float]
    mirrored: bool

    @classmethod
    def drawn(cls, seed: int) -> "Pose":
        """Draw a pose: up to 15 degrees, 20 percent and 4 percent of the field."""
        random = np.random.default_rng(seed)
        down, right = random.uniform(-_SHIFT, _SHIFT, size=2)
        return cls(
            round(float(random.uniform(-_DEGREES, _DEGREES)), 3),
            round(float(np.exp(random.uniform(-np.log(_SCALE), np.log(_SCALE)))), 4),
            (round(float(down), 4), round(float(right), 4)),
            bool(random.integers(2)),
        )

    def apply(self, slices: Slices, spacing: tuple[float, float]) -> Slices:
        """Return slices (slices, rows, columns) in HU in this pose, by cubic splines; air comes in from outside."""
        turn = np.radians(self.degrees)
        # From a place in the result, mm from the middle in (y, x), to where it was.
        back = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]]) / self.scale
        if self.mirrored:
            back = np.diag([1.0, -1.0]) @ back
        steps = np.asarray(spacing)
        matrix = back * steps[None, :] / steps[:, None]
        shape = np.asarray(slices.shape[-2:])
        middle = (shape - 1) / 2
        offset = middle - matrix @ (middle + np.asarray(self.shift) * shape)
        moved = np.stack(
            [affine_transform(each, matrix, offset, order=3, mode="constant", cval=AIR_HU) for each in slices]
        )
        # Splines overshoot at edges; no pixel shall be denser than what was there.
        return np.clip(moved, slices.min(), slices.max()).astype(np.float32)

    def describe(self) -> str:
        """Say in one sentence what was done."""
        mirrored = ", mirrored" if self.mirrored else ""
        return f"The slice was turned by {self.degrees:g}°, scaled by {self.scale:g} and moved{mirrored}."
