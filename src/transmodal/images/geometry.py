"""What a file's header says about an image, read without its pixels."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from transmodal.images.image import Image


@dataclass(frozen=True, eq=False)
class Geometry:
    """An image without its pixels; the attributes mean what they mean in Image.

    Attributes:
        shape: spatial shape.
        dtype: what `read` would give.
        format: a key of FORMATS.
    """

    path: Path | None
    format: str
    shape: tuple[int, ...]
    affine: npt.NDArray[np.float64]
    dtype: np.dtype
    channels: tuple[str, ...] = ()
    has_physical_size: bool = True

    @property
    def spacing(self) -> tuple[float, ...]:
        """Distance between neighbours along each spatial axis, in mm (in pixels without a physical size)."""
        return tuple(float(length) for length in np.linalg.norm(self.affine[:3, : len(self.shape)], axis=0))

    @classmethod
    def of(cls, image: Image) -> "Geometry":
        """Return the geometry of an image in memory."""
        return cls(
            image.source.path,
            image.source.format,
            image.shape,
            image.affine,
            image.pixels.dtype,
            image.channels,
            image.has_physical_size,
        )
