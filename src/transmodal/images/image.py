"""One image in memory: pixels in the file's own units, with their geometry and where they came from."""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from transmodal.errors import UserError


@dataclass(frozen=True)
class Source:
    """Where an image came from.

    Attributes:
        path: the file or series folder that was read, or None for an image made in memory.
        format: a key of `transmodal.images.FORMATS` ("png", "tiff", "nifti", "dicom", …) or "memory".
        header: what the format's own writer needs to give the same geometry back (a nibabel header; for DICOM a
            `transmodal.images.dicom.DicomHeader`; None for most). Never needed to interpret `Image.pixels`.
        derivation: how the file says that the image was made; empty says nothing.
    """

    path: Path | None = None
    format: str = "memory"
    header: Any = field(default=None, repr=False, compare=False)
    derivation: str = field(default="", compare=False)


@dataclass(frozen=True, eq=False)
class Image:
    """Pixels with geometry.

    Attributes:
        pixels: array of the spatial axes in the file's own order, (row, column) for pictures and single slices,
            (i, j, k) for volumes, followed by one channel axis if `channels` is not empty. Values are in the unit
            that `quantity` names, rescaling already applied. Never reduced to 8 bits.
        affine: (4, 4) float64, array index to mm. For NIfTI, DICOM and MetaImage volumes the world is the patient's,
            RAS+. For pictures x runs right along the columns and y down along the rows. For a 2-D image the third
            column is the slice normal (times the thickness when that is known).
        channels: the names along the last axis, e.g. ("red", "green", "blue"); empty for one value a pixel.
        quantity: what a value means: "intensity", "HU", "label", "luminance", "counts", "Bq/mL", …
        has_physical_size: False when the file says no pixel size; spacing then counts pixels, not mm.
        source: the file that was read.
    """

    pixels: npt.NDArray[Any]
    affine: npt.NDArray[np.float64] = field(default_factory=lambda: np.eye(4))
    channels: tuple[str, ...] = ()
    quantity: str = "intensity"
    has_physical_size: bool = True
    source: Source = Source()

    def __post_init__(self) -> None:
        if self.affine.shape != (4, 4):
            raise ValueError(f"affine must be 4 by 4, not {self.affine.shape}")
        if self.spatial_dims not in (2, 3):
            raise ValueError(f"an image has 2 or 3 spatial axes, not {self.spatial_dims} (shape {self.pixels.shape})")
        if self.channels and self.pixels.shape[-1] != len(self.channels):
            raise ValueError(f"{len(self.channels)} channel names for a last axis of {self.pixels.shape[-1]}")

    @property
    def spatial_dims(self) -> int:
        """2 for a picture or a slice, 3 for a volume."""
        return self.pixels.ndim - bool(self.channels)

    @property
    def shape(self) -> tuple[int, ...]:
        """The spatial shape, without the channel axis."""
        return self.pixels.shape[: self.spatial_dims]

    @property
    def spacing(self) -> tuple[float, ...]:
        """Distance between neighbours along each spatial axis, in mm (in pixels without a physical size)."""
        return tuple(float(length) for length in np.linalg.norm(self.affine[:3, : self.spatial_dims], axis=0))

    @property
    def name(self) -> str:
        """The path for messages."""
        return str(self.source.path) if self.source.path else "an image in memory"

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> npt.NDArray[Any]:
        return np.array(self.pixels, dtype=dtype) if copy else np.asarray(self.pixels, dtype=dtype)

    def with_pixels(
        self, pixels: npt.NDArray[Any], *, channels: tuple[str, ...] = (), quantity: str | None = None
    ) -> "Image":
        """Return an image of other values on the same grid.

        Raises:
            ValueError: the spatial shape differs.
        """
        spatial = pixels.shape[: pixels.ndim - bool(channels)]
        if spatial != self.shape:
            raise ValueError(f"the grid has shape {self.shape}, the new pixels {spatial}")
        return replace(self, pixels=pixels, channels=channels, quantity=quantity or self.quantity)

    def same_grid(self, other: "Image", tolerance: float = 1e-3) -> bool:
        """Say whether two images have the same shape and every corner within `tolerance` mm of the other's.

        Pictures without a physical size are compared by shape alone.
        """
        if self.shape != other.shape:
            return False
        if not (self.has_physical_size and other.has_physical_size):
            return True
        # A linear function is largest at a corner: take each axis' step where it adds to the difference. This is the
        # largest distance over all corners, along each world axis, without building the corners.
        difference = self.affine[:3] - other.affine[:3]
        steps = difference[:, : self.spatial_dims] * (np.array(self.shape) - 1)
        farthest = np.maximum(
            difference[:, 3] + steps.clip(min=0).sum(axis=1), -difference[:, 3] - steps.clip(max=0).sum(axis=1)
        )
        return bool(farthest.max() <= tolerance)


def picture_affine(spacing: tuple[float, float]) -> npt.NDArray[np.float64]:
    """Return the affine of a picture: row index to y downwards, column index to x rightwards.

    Args:
        spacing: (row, column) pixel size in mm.
    """
    affine = np.zeros((4, 4))
    affine[1, 0], affine[0, 1] = spacing
    affine[2, 2] = affine[3, 3] = 1.0
    return affine


def require_same_grid(first: Image, second: Image) -> None:
    """Raise a UserError that names both files and what differs, unless the two images share their grid."""
    if first.shape != second.shape:
        raise UserError(
            f"{first.name} is {'×'.join(map(str, first.shape))} but {second.name} is "
            f"{'×'.join(map(str, second.shape))}; bring the pair on one grid with 'transmodal data align'"
        )
    if not first.same_grid(second):
        raise UserError(
            f"{first.name} and {second.name} have the same size but differ in "
            f"{' and '.join(_differences(first, second))}; "
            "bring them on one grid with 'transmodal data align'"
        )


def _differences(first: Image, second: Image, tolerance: float = 1e-3) -> list[str]:
    """Return in words what of two grids of one shape differs by more than `tolerance` mm somewhere in the image."""
    axes = slice(first.spatial_dims)
    reach = np.array(first.shape) - 1
    spacings = np.array([image.spacing for image in (first, second)])
    directions = np.array([image.affine[:3, axes] for image in (first, second)]) / spacings[:, None]
    origins = np.array([image.affine[:3, 3] for image in (first, second)])
    found = []
    if (np.abs(spacings[0] - spacings[1]) * reach > tolerance).any():
        found.append(f"pixel size {_numbers(spacings[0])} ≠ {_numbers(spacings[1])} mm")
    if (np.linalg.norm(directions[0] - directions[1], axis=0) * spacings.max(axis=0) * reach > tolerance).any():
        angles = np.degrees(2 * np.arcsin(np.linalg.norm(directions[0] - directions[1], axis=0).clip(0, 2) / 2))
        found.append(f"orientation (an axis is turned by {angles.max():.3g}°)")
    if (np.abs(origins[0] - origins[1]) > tolerance).any():
        found.append(f"origin {_numbers(origins[0])} ≠ {_numbers(origins[1])} mm")
    return found or ["position"]  # several differences below the tolerance, which add up


def _numbers(values: npt.NDArray[np.float64]) -> str:
    return f"({', '.join(f'{value + 0:.7g}' for value in values)})"
