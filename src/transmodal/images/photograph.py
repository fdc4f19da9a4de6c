"""JPEG and BMP pictures, read only: what a camera or a screen gives.

JPEG loses detail, so nothing is written with it. A density in these files is a print size, not a size of what is
depicted, so it is not believed: `read(path, spacing=…)` gives the pixel size.
"""

from pathlib import Path

import numpy as np
import PIL.Image
import PIL.ImageOps

from transmodal.errors import UserError
from transmodal.images.geometry import Geometry
from transmodal.images.guard import reading, require_believable_size
from transmodal.images.image import Image, Source, picture_affine

_CHANNELS: dict[str, tuple[str, ...]] = {
    "L": (),
    "RGB": ("red", "green", "blue"),
    "RGBA": ("red", "green", "blue", "alpha"),
    "CMYK": ("cyan", "magenta", "yellow", "black"),
}
_EXIF_ORIENTATION = 0x0112


def read(path: Path) -> Image:
    """Read a JPEG or BMP, uint8, turned upright as its EXIF orientation says.

    Raises:
        UserError: the file is damaged, incomplete or too large.
    """
    with reading(path, "a JPEG or BMP picture"), PIL.Image.open(path, formats=["JPEG", "BMP"]) as opened:
        mode = _mode(opened, path)
        picture = PIL.ImageOps.exif_transpose(opened)
        picture = picture if picture.mode == mode else picture.convert(mode)
        pixels = np.array(picture)
        source = Source(path, _format(opened))
        return Image(pixels, picture_affine((1.0, 1.0)), _CHANNELS[mode], "intensity", False, source)


def read_geometry(path: Path) -> Geometry:
    """Read the header of a JPEG or BMP."""
    with reading(path, "a JPEG or BMP picture"), PIL.Image.open(path, formats=["JPEG", "BMP"]) as opened:
        mode = _mode(opened, path)
        columns, rows = opened.size
        if opened.getexif().get(_EXIF_ORIENTATION, 1) in (5, 6, 7, 8):
            rows, columns = columns, rows
        affine = picture_affine((1.0, 1.0))
        dtype = np.dtype(np.uint8)
        return Geometry(path, _format(opened), (rows, columns), affine, dtype, _CHANNELS[mode], False)


def _format(opened: PIL.Image.Image) -> str:
    return "jpeg" if opened.format in ("JPEG", "MPO") else "bmp"


def _mode(opened: PIL.Image.Image, path: Path) -> str:
    """Check the claimed size and return the Pillow mode that keeps every value."""
    # JPEG's strongest compression is near 1:1000 (an end-of-block code for each block), run lengths in BMP less.
    require_believable_size(
        path, (*opened.size, len(opened.getbands())), 1 / 8, path.stat().st_size, most_expansion=2048
    )
    mode = {"1": "L", "P": "RGB"}.get(opened.mode, opened.mode)
    if mode not in _CHANNELS:
        raise UserError(f"{path} has pixels of Pillow's kind {opened.mode}; save it as PNG or TIFF")
    return mode
