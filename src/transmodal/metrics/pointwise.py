"""Pixel-by-pixel errors: MSE, MAE, NRMSE, NMAE and PSNR, all from one pass over the two images.

With e = predicted - truth over the n compared pixels, y = truth and R = data_range:

    MSE = sum(e^2) / n                  squared units of the image
    MAE = sum(|e|) / n                  units of the image
    NRMSE = sqrt(MSE) / d               d = sqrt(mean(y^2)) "euclidean", max(y) - min(y) "min-max", |mean(y)| "mean"
    NMAE = MAE / d                      d = max(y) - min(y) "max-min", max(y) "max", mean(|y|) "mean-magnitude"
    PSNR = 10 log10(R^2 / MSE)          dB

Sums are kept in float64. The definitions are those of scikit-image (``skimage.metrics``), except that "mean" takes
the magnitude of the mean, so that an image in HU cannot have a negative error, and that no range is ever guessed.
Papers that print an NMAE seldom name its denominator; here it is always named.
"""

import math
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
from numba import njit
from numpy.typing import NDArray

from transmodal.metrics.pairs import checked_mask, checked_pair, checked_range, refuse_not_finite

Normalisation = Literal["euclidean", "min-max", "mean"]
Denominator = Literal["max-min", "max", "mean-magnitude"]

# Sums may be reordered into vector lanes, but NaN must stay NaN: "nnan" is left out on purpose.
_REORDERED = {"reassoc", "contract", "nsz"}
_CHUNK = 4096  # pixels; both images' chunks stay in the first-level cache for the second look at the truth


@dataclass(frozen=True)
class PointwiseScores:
    """The five errors of one pair, with what they were made with.

    ``mse`` in squared units, ``mae`` in units, ``nrmse`` and ``nmae`` without unit, ``psnr`` in dB (``inf`` when mse
    is 0). ``normalisation`` names the denominator of the NRMSE, ``denominator`` that of the NMAE.
    """

    mse: float
    mae: float
    nrmse: float
    nmae: float
    psnr: float
    data_range: float
    normalisation: Normalisation
    denominator: Denominator
    pixels: int


@dataclass(frozen=True)
class _Sums:
    squared_error: float
    absolute_error: float
    truth: float
    squared_truth: float
    truth_magnitude: float
    smallest_truth: float
    largest_truth: float
    pixels: int


def pointwise(
    predicted: Any,
    truth: Any,
    *,
    data_range: float,
    mask: Any = None,
    normalisation: Normalisation = "euclidean",
    denominator: Denominator = "max-min",
) -> PointwiseScores:
    """Score a predicted image against the truth by all five errors at once.

    Args:
        predicted: real array of any shape, in the truth's units.
        truth: real array of the same shape.
        data_range: R in the same units, positive; for instance 65535 for a full 16-bit scale, 4024 for CT in HU.
        mask: boolean array of the same shape; only pixels where it is True are compared. None compares all.
        normalisation: the denominator of the NRMSE, from the truth's compared pixels.
        denominator: that of the NMAE, from the truth's compared pixels.

    Returns:
        The five errors. Equal images give MSE, MAE, NRMSE and NMAE 0 and PSNR +inf. A truth whose denominator is 0
        (all zero; constant, for "min-max" and "max-min") or negative ("max", where all values are) gives NRMSE or
        NMAE +inf, unless the images are equal.

    Raises:
        ValueError: shapes or types do not fit, the range is not positive, the mask is empty, a denominator is
            unknown, or a compared pixel is not finite.
    """
    reference = checked_range(data_range)
    sums = _summed(predicted, truth, mask, "pointwise")
    return PointwiseScores(
        mse=sums.squared_error / sums.pixels,
        mae=sums.absolute_error / sums.pixels,
        nrmse=_nrmse(sums, normalisation),
        nmae=_nmae(sums, denominator),
        psnr=_psnr(sums.squared_error / sums.pixels, reference),
        data_range=reference,
        normalisation=normalisation,
        denominator=denominator,
        pixels=sums.pixels,
    )


def mse(predicted: Any, truth: Any, *, mask: Any = None) -> float:
    """Mean squared error in squared units of the image. Arguments and refusals as in :func:`pointwise`."""
    sums = _summed(predicted, truth, mask, "mse")
    return sums.squared_error / sums.pixels


def mae(predicted: Any, truth: Any, *, mask: Any = None) -> float:
    """Mean absolute error in units of the image. Arguments and refusals as in :func:`pointwise`."""
    sums = _summed(predicted, truth, mask, "mae")
    return sums.absolute_error / sums.pixels


def nrmse(predicted: Any, truth: Any, *, normalisation: Normalisation = "euclidean", mask: Any = None) -> float:
    """Root of the MSE over a denominator from the truth. Arguments and refusals as in :func:`pointwise`."""
    return _nrmse(_summed(predicted, truth, mask, "nrmse"), normalisation)


def nmae(predicted: Any, truth: Any, *, denominator: Denominator, mask: Any = None) -> float:
    """Mean absolute error over a named denominator from the truth. Arguments and refusals as in :func:`pointwise`."""
    return _nmae(_summed(predicted, truth, mask, "nmae"), denominator)


def psnr(predicted: Any, truth: Any, *, data_range: float, mask: Any = None) -> float:
    """Peak signal-to-noise ratio in dB, +inf for equal images. Arguments and refusals as in :func:`pointwise`."""
    reference = checked_range(data_range)
    sums = _summed(predicted, truth, mask, "psnr")
    return _psnr(sums.squared_error / sums.pixels, reference)


def _summed(predicted: Any, truth: Any, mask: Any, metric: str) -> _Sums:
    first, second = checked_pair(predicted, truth)
    region = checked_mask(mask, first.shape)
    if region is None:
        values = _sums_everywhere(first.ravel(), second.ravel())
    else:
        values = _sums_inside(first.ravel(), second.ravel(), region.ravel())
    refuse_not_finite(values[0] + values[3], metric)
    return _Sums(*values)


def _nrmse(sums: _Sums, normalisation: str) -> float:
    if normalisation == "euclidean":
        denominator = math.sqrt(sums.squared_truth / sums.pixels)
    elif normalisation == "min-max":
        denominator = sums.largest_truth - sums.smallest_truth
    elif normalisation == "mean":
        denominator = abs(sums.truth / sums.pixels)
    else:
        names = ", ".join(get_args(Normalisation))
        raise ValueError(f"normalisation must be one of {names}, got {normalisation!r}")
    return _over(math.sqrt(sums.squared_error / sums.pixels), denominator)


def _nmae(sums: _Sums, denominator: str) -> float:
    if denominator == "max-min":
        value = sums.largest_truth - sums.smallest_truth
    elif denominator == "max":
        value = sums.largest_truth
    elif denominator == "mean-magnitude":
        value = sums.truth_magnitude / sums.pixels
    else:
        names = ", ".join(get_args(Denominator))
        raise ValueError(f"denominator must be one of {names}, got {denominator!r}")
    return _over(sums.absolute_error / sums.pixels, value)


def _over(error: float, denominator: float) -> float:
    if error == 0.0:
        return 0.0
    return error / denominator if denominator > 0.0 else math.inf


def _psnr(mean_squared_error: float, data_range: float) -> float:
    if mean_squared_error == 0.0:
        return math.inf
    return 20.0 * math.log10(data_range) - 10.0 * math.log10(mean_squared_error)


@njit(cache=True, nogil=True, fastmath=True)
def _extent(values: NDArray[Any]) -> tuple[float, float]:
    # Minimum and maximum fill vector lanes only when NaN may be ignored; the sums beside it catch NaN.
    smallest = largest = values[0]
    for value in values:
        smallest = min(smallest, value)
        largest = max(largest, value)
    return smallest, largest


@njit(cache=True, nogil=True, fastmath=_REORDERED, error_model="numpy")
def _sums_everywhere(
    predicted: NDArray[Any], truth: NDArray[Any]
) -> tuple[float, float, float, float, float, float, float, int]:
    squared = absolute = total = power = magnitude = 0.0
    smallest, largest = np.inf, -np.inf
    for start in range(0, truth.size, _CHUNK):
        p, t = predicted[start : start + _CHUNK], truth[start : start + _CHUNK]
        chunk_squared = chunk_absolute = chunk_total = chunk_power = chunk_magnitude = 0.0
        for j in range(t.size):
            value = np.float64(t[j])
            error = np.float64(p[j]) - value
            chunk_squared += error * error
            chunk_absolute += abs(error)
            chunk_total += value
            chunk_power += value * value
            chunk_magnitude += abs(value)
        low, high = _extent(t)
        smallest, largest = min(smallest, np.float64(low)), max(largest, np.float64(high))
        squared += chunk_squared
        absolute += chunk_absolute
        total += chunk_total
        power += chunk_power
        magnitude += chunk_magnitude
    return squared, absolute, total, power, magnitude, smallest, largest, truth.size


@njit(cache=True, nogil=True, fastmath=_REORDERED, error_model="numpy")
def _sums_inside(
    predicted: NDArray[Any], truth: NDArray[Any], mask: NDArray[np.uint8]
) -> tuple[float, float, float, float, float, float, float, int]:
    squared = absolute = total = power = magnitude = 0.0
    smallest, largest = np.inf, -np.inf
    pixels = 0
    for j in range(truth.size):
        if mask[j]:
            value = np.float64(truth[j])
            error = np.float64(predicted[j]) - value
            squared += error * error
            absolute += abs(error)
            total += value
            power += value * value
            magnitude += abs(value)
            smallest = min(smallest, value)
            largest = max(largest, value)
            pixels += 1
    return squared, absolute, total, power, magnitude, smallest, largest, pixels
