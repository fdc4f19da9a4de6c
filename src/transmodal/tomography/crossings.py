"""Which bins see a line of the image, and between which of its pixels their rays pass.

Projection and adjoint, in two and three dimensions, all ask here, so that they use the same weights bit for bit.
"""

from typing import Any

import numpy as np
from numba import njit

OPTIONS = {"contract", "nsz"}  # no "nnan": what is not finite shall come out as such


@njit(cache=True, nogil=True, fastmath=OPTIONS, error_model="numpy")
def move_window(
    intercept: Any, slope: Any, line: int, start: int, stop: int, width: int, low: int, high: int
) -> tuple[int, int]:
    """Return the bins, first and after the last, whose rays cross a line less than a pixel beside the image.

    Args:
        intercept, slope: of a view; crossings must only rise or only fall from `start` to `stop`.
        line: of the leading axis.
        start, stop: bins to look at.
        width: pixels of the line.
        low, high: the answer for a line or view nearby: the search begins there.
    """
    low, high = min(max(low, start), stop), min(max(high, start), stop)
    rising = intercept[stop - 1] + line * slope[stop - 1] >= intercept[start] + line * slope[start]
    sign = 1.0 if rising else -1.0
    enters = -1.0 if rising else -float(width)
    leaves = float(width) if rising else 1.0
    while low > start and sign * (intercept[low - 1] + line * slope[low - 1]) > enters:
        low -= 1
    while low < stop and sign * (intercept[low] + line * slope[low]) <= enters:
        low += 1
    while high > start and sign * (intercept[high - 1] + line * slope[high - 1]) >= leaves:
        high -= 1
    while high < stop and sign * (intercept[high] + line * slope[high]) < leaves:
        high += 1
    return low, high


@njit(cache=True, nogil=True, fastmath=OPTIONS, error_model="numpy")
def locate(
    intercept: Any, slope: Any, place: float, low: int, high: int, width: int, pixels: Any, fractions: Any
) -> None:
    """Find the first of the two pixels that each ray passes between, and the weight of the second.

    The line has a border of zeros, one pixel before and two behind, and rays farther out are held there.

    Args:
        intercept, slope: of the crossings, which are at intercept + place·slope, one a bin.
        place: on the leading axis.
        low, high: bins, the first and after the last.
        width: pixels of the line without its border.
        pixels: int32, written; behind the last comes −1, so it must be one longer than the bins.
        fractions: float32, written.
    """
    furthest = float(width + 1)
    for bin_ in range(np.uint64(low), np.uint64(high)):
        crossing = min(max(intercept[bin_] + place * slope[bin_] + 1.0, 0.0), furthest)
        pixel = np.int32(crossing)
        pixels[bin_] = pixel
        fractions[bin_] = np.float32(crossing - pixel)
    pixels[high] = np.int32(-1)
