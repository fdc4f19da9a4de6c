"""Padding of CT: pixels outside the scanner's field of view, whose values are no measurement.

Source: DICOM PS3.3 C.7.5.1.1.2 (Pixel Padding Value, of stored values); scanners also write −2000, −2048 or −3024 HU
without naming it.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

from transmodal.errors import UserError
from transmodal.images.image import Image

PADDING_HU = -1500.0
"""Values up to here lie outside the scanner's field of view: −2000 and −2048 are common."""
AIR_HU = -1000.0


def air_for_padding(
    values: npt.NDArray[np.float32], name: str
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.bool_]]:
    """Put air where a CT holds padding.

    Args:
        values: HU, of any shape.
        name: of the image, for the message.

    Returns:
        The values, and where padding was.

    Raises:
        UserError: there is nothing but padding.
    """
    outside = values <= PADDING_HU
    if outside.all():
        raise UserError(f"{name} is all padding, at most {PADDING_HU:g} HU")
    return np.where(outside, np.float32(AIR_HU), values), outside


def padding_of(image: Image) -> npt.NDArray[np.bool_] | None:
    """Return where an image holds the padding of CT, of the shape of its pixels; None where it holds none, or no HU.

    Padding is what lies at or below −1500 HU, and what the DICOM header names. Values of no known unit are none:
    phases of MR reach below −1500 too.
    """
    if image.quantity != "HU":
        return None
    padding = image.pixels <= PADDING_HU
    named = _named_by(getattr(image.source.header, "dataset", None))
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
