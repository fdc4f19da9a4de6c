"""Between the grid of a file's image and the samples that a network sees: orientation, slices, size.

What a recipe says of it is `GridSettings` and `SliceSettings`; `SampleGrid` carries it out, and undoes it.
"""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from nibabel import orientations
from pydantic import BaseModel, ConfigDict, Field, model_validator

from transmodal.errors import UserError
from transmodal.images import Image

# Array axes of a slice stack (slice, row, column) in patient directions: shown upright, patient's right on the left.
SLICE_ORIENTATION = {"axial": "SPL", "coronal": "PIL", "sagittal": "LIP"}
VOLUME_ORIENTATION = "RAS"


class GridSettings(BaseModel):
    """The grid a network sees. At most one of the three; none keeps the files' own grid."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    shrink: float | None = Field(None, gt=0, description="divide every side by this factor")
    spacing: float | None = Field(None, gt=0, description="pixel size in mm, the same along all axes")
    size: tuple[int, ...] | None = Field(None, description="(rows, columns) or (i, j, k) in pixels")

    @model_validator(mode="after")
    def _is_one_choice(self) -> "GridSettings":
        if sum(choice is not None for choice in (self.shrink, self.spacing, self.size)) > 1:
            raise ValueError("give one of shrink, spacing and size; set the others to null")
        if self.size is not None and (len(self.size) not in (2, 3) or min(self.size) < 1):
            raise ValueError("size must be two or three positive numbers of pixels")
        return self

    def shape_for(self, shape: tuple[int, ...], spacing: tuple[float, ...], has_physical_size: bool) -> tuple[int, ...]:
        """Return the prepared shape of an image of this shape and spacing (mm).

        Raises:
            UserError: a spacing is asked of images that have no physical size, or the size has other dimensions.
        """
        if self.size is not None:
            if len(self.size) != len(shape):
                raise UserError(f"preparation.grid.size has {len(self.size)} numbers for images of {len(shape)} axes")
            return self.size
        if self.spacing is not None:
            if not has_physical_size:
                raise UserError(
                    "preparation.grid.spacing needs images with a pixel size; give them one, or use grid.shrink"
                )
            return tuple(max(1, round(n * step / self.spacing)) for n, step in zip(shape, spacing, strict=True))
        if self.shrink is not None:
            return tuple(max(1, round(n / self.shrink)) for n in shape)
        return shape


class SliceSettings(BaseModel):
    """How a volume becomes slices for a two-dimensional network."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    axis: Literal["axial", "coronal", "sagittal"] = "axial"
    minimum_foreground: float = Field(
        0.05, ge=0, le=1, description="share of non-zero pixels in every modality for a slice to be trained on"
    )
    neighbours: int = Field(0, ge=0, le=8, description="slices on each side that an input brings along (2.5-D)")


@dataclass(frozen=True)
class SampleGrid:
    """The way from a file's grid to the samples of a network, and back.

    Attributes:
        spatial_dims: of the network.
        grid: size or spacing of the samples.
        slices: how volumes become slices; None leaves pictures and volumes whole.
    """

    spatial_dims: Literal[2, 3]
    grid: GridSettings
    slices: SliceSettings | None

    def require_dimensions(self, image: Image) -> None:
        """Raise a UserError where an image has other spatial axes than the recipe takes."""
        wanted = 3 if self.slices is not None or self.spatial_dims == 3 else 2
        if image.spatial_dims != wanted:
            what = "volumes" if wanted == 3 else "two-dimensional images"
            pictures = "for pictures leave preparation.slices out and set spatial_dims: 2"
            remedy = pictures if wanted == 3 else "for volumes give the recipe preparation.slices or spatial_dims: 3"
            raise UserError(f"{image.name} has {image.spatial_dims} spatial axes; this recipe takes {what}; {remedy}")

    def to_stack(self, pixels: npt.NDArray[Any], affine: npt.NDArray[np.float64]) -> npt.NDArray[Any]:
        """Return pixels (*array axes, C) in the orientation the network knows: (samples, C, *spatial), own size."""
        if pixels.ndim == 4:
            pixels = orientations.apply_orientation(pixels, self._turns(affine)[0])
            return np.moveaxis(pixels, -1, 1) if self.slices is not None else np.moveaxis(pixels, -1, 0)[None]
        return np.moveaxis(pixels, -1, 0)[None]

    def from_stack(self, stack: npt.NDArray[Any], like: Image) -> npt.NDArray[Any]:
        """Return (samples, C, *spatial) of the size of `like` as its pixels (*array axes, C) lie."""
        if self.slices is None:
            pixels = np.moveaxis(stack[0], 0, -1)
        else:
            pixels = np.moveaxis(stack, 1, -1)
        if like.spatial_dims == 3:
            pixels = orientations.apply_orientation(pixels, self._turns(like.affine)[1])
        return pixels

    def stack_shape(self, image: Image) -> tuple[int, ...]:
        """Return the spatial shape of a sample on the image's own grid, in the network's axis order."""
        return self._geometry(image)[0]

    def prepared_shape(self, image: Image) -> tuple[int, ...]:
        """Return the spatial shape of a sample that an image on this grid becomes."""
        shape, spacing = self._geometry(image)
        return self.grid.shape_for(shape, spacing, image.has_physical_size)

    def prepared_spacing(self, image: Image) -> tuple[float, ...]:
        """Return the pixel size in mm along the spatial axes of a sample."""
        shape, spacing = self._geometry(image)
        prepared = self.prepared_shape(image)
        return tuple(step * old / new for step, old, new in zip(spacing, shape, prepared, strict=True))

    @property
    def _codes(self) -> tuple[str, ...]:
        return tuple(SLICE_ORIENTATION[self.slices.axis] if self.slices is not None else VOLUME_ORIENTATION)

    def _turns(self, affine: npt.NDArray[np.float64]) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
        """Return the way from a file's orientation to the network's, and the way back."""
        own, wanted = orientations.io_orientation(affine), orientations.axcodes2ornt(self._codes)
        return orientations.ornt_transform(own, wanted), orientations.ornt_transform(wanted, own)

    def _geometry(self, image: Image) -> tuple[tuple[int, ...], tuple[float, ...]]:
        """Return spatial shape and spacing in the network's axis order, on the image's own grid."""
        if image.spatial_dims == 2:
            return image.shape, image.spacing
        own = orientations.io_orientation(image.affine)[:, 0].astype(int)
        order = [int(np.flatnonzero(own == world)[0]) for world in orientations.axcodes2ornt(self._codes)[:, 0]]
        if self.slices is not None:
            order = order[1:]
        return tuple(image.shape[axis] for axis in order), tuple(image.spacing[axis] for axis in order)
