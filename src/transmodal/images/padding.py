"""Padding of CT: pixels outside the scanner's field of view, whose values are no measurement.

Source: DICOM PS3.3 C.7.5.1.1.2 (Pixel Padding Value, of stored values); scanners also write −2000, −2048 or −3024 HU
without naming it.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

from transmodal.images.image import Image

PADDING_HU = -1500.0
"""Values up to here lie outside the scanner's field of view: −2000 and −2048 are common."""


def padding_of(image: Image) -> npt.NDArray[np.bool_] | None:
    """Return where an image holds the padding of CT, of the shape of its pixels; None where it holds none, or no HU.

    Padding is what lies at or below −1500 HU, and what the DICOM header names.
    """
    if image.quantity not in ("HU", "intensity"):
        return None
    padding = image.pixels <= PADDING_HU
    named = _named_by(getattr(image.source.header, "dataset", None)) if image.quantity == "HU" else None
    if named is not None:
        padding |= image.pixels == named
    return padding if padding.any() else None


def _named_by(dataset: Any) -> float | None:
    """Return the padding value that a DICOM header names, in the image's unit."""
    from transmodal.images.dicom_pixels import scales

    stored = dataset.get("PixelPaddingValue") if dataset is not None else None
    if not isinstance(stored, int):
        return None
    if dataset.get("PixelRepresentation") == 1 and stored > np.iinfo(np.int16).max:
        stored -= 2**16  # written as unsigned
    slope, intercept = scales(dataset)[0]
    return stored * slope + intercept
