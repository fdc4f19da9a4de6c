"""An image on disk and in memory. Knows nothing of learning."""

from transmodal.images.image import Image, Source, picture_affine, require_same_grid

__all__ = ["Image", "Source", "picture_affine", "require_same_grid"]
