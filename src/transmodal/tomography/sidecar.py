"""Where the geometry of a file of projections lies, which is also how such a file is known from an image."""

from pathlib import Path

from transmodal.images.formats import stem_of

SUFFIX = ".geometry.json"


def geometry_beside(path: Path) -> Path:
    """Return where the geometry of a file of projections lies: NAME.geometry.json."""
    return path.with_name(stem_of(path) + SUFFIX)


def is_projections(path: Path) -> bool:
    """Say whether a file holds projections, which lie on no image's grid."""
    return geometry_beside(path).is_file()
