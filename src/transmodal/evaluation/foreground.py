"""The foreground of an image without a mask of its own: what exceeds a threshold, or what is not 0."""

from typing import Any

import numpy as np
import numpy.typing as npt

from transmodal.metrics.policy import Policy

_NEGATIVE_SHARE = 0.1  # of the values that are not 0: more than interpolation leaves at the rim of a brain
_ZERO_SHARE = 0.02  # of all pixels: a background was set to 0; in a CT few are water to the unit
_NOT_RINGING = 0.01  # of the largest magnitude


def foreground_of(pixels: npt.NDArray[Any], policy: Policy) -> npt.NDArray[np.bool_]:
    """Return True where an image exceeds `policy.foreground_above`.

    Where that is 0, in an image on a background of 0 that has negative values inside (z-scored files), True where the
    image is not 0, as in the preparation: above 0 lies but half of such a brain. NaN is never inside.
    """
    above = np.asarray(pixels > policy.foreground_above)
    if policy.foreground_above != 0 or not _has_negatives_on_zeros(pixels):
        return above
    return above | np.asarray(pixels < 0)


def _has_negatives_on_zeros(pixels: npt.NDArray[Any]) -> bool:
    if pixels.dtype.kind in "ub" or not pixels.size:
        return False
    least = np.nanmin(pixels) if not np.isnan(pixels).all() else 0
    if not least < 0:
        return False
    other = np.count_nonzero(pixels)
    if pixels.size - other < _ZERO_SHARE * pixels.size:
        return False
    smallest = _NOT_RINGING * max(float(np.nanmax(pixels)), -float(least))
    return bool(np.count_nonzero(pixels < -smallest) > _NEGATIVE_SHARE * other)
