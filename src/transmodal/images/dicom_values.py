"""How DICOM holds values: 8 or 16 bits, a slope and an intercept that give them back."""

import copy
import math
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pydicom
from pydicom.valuerep import format_number_as_ds

from transmodal.errors import UserError
from transmodal.images.image import Image

_UNSIGNED_16, _SIGNED_16 = np.iinfo(np.uint16), np.iinfo(np.int16)


@dataclass(frozen=True)
class _Header:
    """What the header of an image has to have that came from no DICOM file; see `dicom.DicomHeader`."""

    dataset: Any = field(repr=False)


def storable(image: Image) -> tuple[Image, str]:
    """Return an image with values that `dicom_writer.write` accepts, and in words what that changed.

    What DICOM holds exactly stays as it is. Hounsfield units become whole ones (int16, clipped to its range); other
    floats take 65536 even steps over their range, whose slope and intercept go into the header of the result.

    Args:
        image: values that are not finite, and channels, are left for it to refuse.

    Returns:
        The image, and how it is stored with the largest error, "whole HU, off by at most 0.5"; empty if unchanged.
    """
    pixels = image.pixels
    if image.channels or pixels.dtype.kind != "f" or not np.isfinite(pixels).all() or _exact(image) is not None:
        return image, ""
    if image.quantity == "HU":
        whole = np.clip(np.rint(pixels), _SIGNED_16.min, _SIGNED_16.max).astype(np.int16)
        made, how = image.with_pixels(whole), "whole HU"
    else:
        made, how = _on_a_scale(image), "65536 steps over its range"
    error = float(np.abs(made.pixels.astype(np.float64) - pixels).max())
    return made, f"{how}, off by at most {_two_digits_above(error):g}" if error else ""


def _on_a_scale(image: Image) -> Image:
    """Return the nearest float32 values that 16 bits give with a slope and intercept, which its header holds."""
    pixels = image.pixels.astype(np.float32).astype(np.float64)
    least, greatest = float(pixels.min()), float(pixels.max())
    # As the file's text says them, of at most 16 characters.
    slope, intercept = (format_number_as_ds(number) for number in ((greatest - least) / _UNSIGNED_16.max or 1.0, least))
    stored = np.clip(np.rint((pixels - float(intercept)) / float(slope)), 0, _UNSIGNED_16.max)
    header = image.source.header if hasattr(image.source.header, "dataset") else _Header(pydicom.Dataset())
    dataset = copy.deepcopy(header.dataset)  # a shallow copy shares its attributes
    dataset.RescaleSlope, dataset.RescaleIntercept = slope, intercept
    made = image.with_pixels((stored * float(slope) + float(intercept)).astype(np.float32))
    return replace(made, source=replace(image.source, header=replace(header, dataset=dataset)))


def _two_digits_above(number: float) -> float:
    """Return a positive number with two digits, rounded up."""
    step = 10.0 ** (math.floor(math.log10(number)) - 1)
    return math.ceil(number / step - 1e-9) * step


def stored_values(image: Image, path: Path) -> tuple[npt.NDArray[Any], Any, Any]:
    """Return 8- or 16-bit integers with the slope and intercept that give the values back exactly.

    Args:
        image: its values.
        path: where they go, for messages.

    Raises:
        UserError: no 16 bits give them back exactly.
    """
    pixels = image.pixels
    if pixels.dtype.kind not in "iuf":
        raise UserError(f"DICOM cannot hold {pixels.dtype} values of {image.name}; convert them to uint8 or int16")
    found = _exact(image)
    if found is not None:
        return found
    raise UserError(
        f"DICOM cannot hold the values for {path.name} exactly ({pixels.dtype}, 16 whole bits are needed): round them "
        f"to whole numbers first, or write them as .nii.gz, .mha or .tif"
    )


def _exact(image: Image) -> tuple[npt.NDArray[Any], Any, Any] | None:
    """Return what `stored_values` does; None where nothing gives the values back exactly."""
    pixels = image.pixels
    if pixels.dtype in (np.uint8, np.uint16, np.int16):
        return pixels, 1, 0
    whole = bool(np.isfinite(pixels).all()) and bool((np.rint(pixels) == pixels).all())
    if whole:
        least, greatest = int(pixels.min()), int(pixels.max())
        if _SIGNED_16.min <= least and greatest <= _SIGNED_16.max:
            return pixels.astype(np.int16), 1, 0
        if greatest - least <= _UNSIGNED_16.max:
            exact = pixels.astype(np.int64 if pixels.dtype != np.uint64 else np.uint64)
            return (exact - exact.dtype.type(least)).astype(np.uint16), 1, least
    return _stored_as_source(image)


def _stored_as_source(image: Image) -> tuple[npt.NDArray[Any], Any, Any] | None:
    """Try the slope and intercept of the header, as after reading a scaled MR or PET slice, or from `storable`."""
    dataset = getattr(image.source.header, "dataset", None)
    if dataset is None or "RescaleSlope" not in dataset or not np.isfinite(image.pixels).all():
        return None
    slope, intercept = float(dataset.RescaleSlope), float(dataset.get("RescaleIntercept", 0) or 0)
    if slope == 0:
        return None
    stored = np.rint((image.pixels.astype(np.float64) - intercept) / slope)
    fits = stored.min() >= 0 and stored.max() <= _UNSIGNED_16.max
    if not fits or not np.array_equal((stored * slope + intercept).astype(image.pixels.dtype), image.pixels):
        return None
    return stored.astype(np.uint16), dataset.RescaleSlope, dataset.get("RescaleIntercept", 0)
