"""What a file format cannot say about an image, as one line of JSON that travels inside the file.

A PNG keeps whole pixels per metre, a NIfTI header keeps its affine in single precision, and few formats name channels
or the unit of their values. The writers add this note where the format has a place for text; the readers believe
it only while it still fits what the header says, so that a file changed by another program is read by its header.
"""

import json
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from transmodal.images.image import Image

KEY = "transmodal"
NOTICE = "Synthetic image, not for diagnosis."


@dataclass(frozen=True)
class Note:
    """The geometry and meaning of an image, without its pixels.

    Attributes:
        shape: the whole array's shape, channels included.
        affine: as in Image.
        channels: as in Image.
        quantity: as in Image.
        has_physical_size: as in Image.
        derivation: how the image was made, for whoever opens the file; empty says nothing.
    """

    shape: tuple[int, ...]
    affine: npt.NDArray[np.float64]
    channels: tuple[str, ...]
    quantity: str
    has_physical_size: bool
    derivation: str = ""

    @classmethod
    def of(cls, image: Image, derivation: str | None = None) -> "Note":
        """Return the note of an image."""
        known = bool(image.has_physical_size)
        return cls(image.pixels.shape, image.affine, image.channels, image.quantity, known, derivation or "")

    @classmethod
    def parse(cls, text: str | bytes) -> "Note | None":
        """Return the note that a file carries, or None when the text is not one."""
        try:
            if isinstance(text, bytes):
                text = text.decode("utf-8")
            said = json.loads(text.strip("\0 \n"))[KEY]
            affine = np.array(said["affine"], dtype=np.float64)
            if affine.shape != (4, 4) or not np.isfinite(affine).all():
                return None
            return cls(
                tuple(int(length) for length in said["size"]),
                affine,
                tuple(str(name) for name in said["channels"]),
                str(said["quantity"]),
                bool(said["has_physical_size"]),
                str(said.get("derivation", "")),
            )
        except (ValueError, KeyError, TypeError, RecursionError, OverflowError):
            return None

    @property
    def text(self) -> str:
        """The note as one line of ASCII; floats are written so that they come back exactly."""
        # Not "shape": tifffile takes a description with that word for its own.
        said: dict[str, Any] = {
            "size": list(self.shape),
            "affine": self.affine.tolist(),
            "channels": list(self.channels),
            "quantity": self.quantity,
            "has_physical_size": self.has_physical_size,
        }
        if self.derivation:
            said["derivation"] = self.derivation
        return json.dumps({KEY: said})

    @property
    def spatial_dims(self) -> int:
        """2 or 3."""
        return len(self.shape) - bool(self.channels)

    def fits(self, shape: tuple[int, ...], dims: tuple[int, ...] = (2, 3)) -> bool:
        """Say whether the note can belong to an array of this shape."""
        names_fit = not self.channels or (bool(shape) and shape[-1] == len(self.channels))
        return self.shape == tuple(shape) and names_fit and self.spatial_dims in dims
