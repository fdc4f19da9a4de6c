"""Volumes and label maps as alignment needs them: one value a voxel, sizes in mm, labels whole."""

from pathlib import Path

import numpy as np

from transmodal.errors import UserError
from transmodal.images import Image, read


def read_volume(path: Path) -> Image:
    """Read a single volume with a physical size.

    Raises:
        UserError: it is a picture, has several values a voxel (4-D, colours), or says no voxel size.
    """
    image = read(path)
    if image.channels:
        raise UserError(
            f"{path} holds {len(image.channels)} values a voxel ({', '.join(image.channels[:3])}…), not one volume; "
            "save the one to use"
        )
    if image.spatial_dims != 3:
        raise UserError(f"{path} is a picture, not a volume; align pictures with --moving and --fixed")
    if not image.has_physical_size:
        raise UserError(f"{path} says no voxel size, so nothing can be measured in mm; correct its header")
    return image


def read_labels(path: Path) -> Image:
    """Read a label map as integers.

    Raises:
        UserError: as `read_volume`, or a value is no whole number.
    """
    image = read_volume(path)
    if image.pixels.dtype.kind in "iub":
        return image
    if not np.isfinite(image.pixels).all() or (image.pixels != np.rint(image.pixels)).any():
        raise UserError(
            f"{path} holds values that are no whole numbers, so it is no label map; say which are by --labels"
        )
    low, high = float(image.pixels.min()), float(image.pixels.max())
    dtype = next(
        (kind for kind in (np.uint8, np.int16, np.int32) if np.iinfo(kind).min <= low <= high <= np.iinfo(kind).max),
        None,
    )
    if dtype is None:
        raise UserError(
            f"{path} holds values up to {high:g}, too large for labels; say which are label maps by --labels"
        )
    return image.with_pixels(image.pixels.astype(dtype))
