"""An image on disk and in memory. Knows nothing of learning.

`read` and `write` choose the format; each format's libraries are loaded when a file needs them.
"""

from transmodal.images.formats import FORMATS, is_image_file, read, read_geometry, write
from transmodal.images.geometry import Geometry
from transmodal.images.image import Image, Source, picture_affine, require_same_grid

__all__ = [
    "FORMATS",
    "Geometry",
    "Image",
    "Source",
    "is_image_file",
    "picture_affine",
    "read",
    "read_geometry",
    "require_same_grid",
    "write",
]
