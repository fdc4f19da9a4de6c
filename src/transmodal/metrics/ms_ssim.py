"""Multi-scale structural similarity, in two and three dimensions, with or without a mask.

Z. Wang, E. P. Simoncelli, A. C. Bovik, "Multi-scale structural similarity for image quality assessment", Asilomar
Conference on Signals, Systems and Computers, 2003. Over five scales, each half as fine as the one before, with the
means of contrast-structure cs and of SSIM as in ``ssim.py``:

    MS-SSIM = cs_1^0.0448 cs_2^0.2856 cs_3^0.3001 cs_4^0.2363 SSIM_5^0.1333

The next scale holds the means of 2 x 2 (2 x 2 x 2) pixels; an odd last row, column or plane is pooled with itself, as
the authors' own code does by mirroring it. Where a scale's mean is negative, which no real power takes, it counts as
0, and so the score is 0 (torchmetrics and piq call this rule "relu").
"""

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from transmodal.metrics.pairs import checked_mask, checked_pair, checked_range, read_only, refuse_not_finite
from transmodal.metrics.ssim import MARGIN, WINDOW, sums_of

WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
SMALLEST_SIDE = (WINDOW - 1) * 2 ** (len(WEIGHTS) - 1) + 1  # 161 pixels: eleven of them are left at the last scale


def ms_ssim(predicted: Any, truth: Any, *, data_range: float, mask: Any = None, spatial_dims: int = 2) -> float:
    """Multi-scale structural similarity of two images: 1 for equal ones, never below 0.

    Args:
        predicted: real array (H, W), or (D, H, W) with ``spatial_dims=3``; one channel, in the truth's units.
        truth: real array of the same shape, at least 161 pixels along every axis.
        data_range: R in the same units, positive.
        mask: boolean array of the same shape. The mean of each scale is then taken over the pixels of the mask whose
            whole window lies inside the image. At the next scale a pixel belongs to the mask where any of those
            pooled into it does: thin structures stay, and the region grows by less than one pixel of that scale.
        spatial_dims: 2 or 3, the dimension of the window and of the pooling; it must be the arrays' own.

    Returns:
        The product of the five means, each to the power of its weight.

    Raises:
        ValueError: shapes, types, dimension or range do not fit; an axis is shorter than 161; the mask has at one
            scale no pixel with a whole window; or a pixel that counts is not finite.
    """
    reference = checked_range(data_range)
    first, second = checked_pair(predicted, truth)
    if spatial_dims not in (2, 3):
        raise ValueError(f"ms_ssim: spatial_dims must be 2 or 3, got {spatial_dims!r}")
    if first.ndim != spatial_dims:
        raise ValueError(
            f"ms_ssim: an array of shape {first.shape} has not {spatial_dims} axes; "
            "score channels and slices separately"
        )
    if min(first.shape) < SMALLEST_SIDE:
        raise ValueError(
            f"ms_ssim: every axis needs at least {SMALLEST_SIDE} pixels for five scales, the shape is {first.shape}; "
            "use ssim, or score a thin volume by its slices (--dimension 2)"
        )
    region = checked_mask(mask, first.shape)
    halved = _halved_slice if spatial_dims == 2 else _halved_volume
    score = 1.0
    for scale, weight in enumerate(WEIGHTS):
        if scale > 0:
            first, second = read_only(halved(first)), read_only(halved(second))
            region = None if region is None else read_only(_any_of_each_pair(region))
        if region is not None and not region[(slice(MARGIN, -MARGIN),) * spatial_dims].any():
            raise ValueError(
                f"ms_ssim: mask selects at scale {scale + 1} of {len(WEIGHTS)} no pixel that is {MARGIN * 2**scale} "
                "or more pixels of the image from every border"
            )
        similarity, _, contrast_structure, pixels = sums_of(first, second, region, reference)
        refuse_not_finite(similarity, "ms_ssim")
        mean = (similarity if scale == len(WEIGHTS) - 1 else contrast_structure) / pixels
        score *= max(mean, 0.0) ** weight
    return score


def _any_of_each_pair(mask: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Halve a mask along every axis; an odd last element stays alone."""
    for axis in range(mask.ndim):
        mask = np.maximum.reduceat(mask, np.arange(0, mask.shape[axis], 2), axis=axis)
    return np.ascontiguousarray(mask)


@njit(cache=True, nogil=True, fastmath={"contract", "nsz"}, error_model="numpy")
def _add_pairs(row: NDArray[Any], weight: float, pairs: NDArray[np.float64]) -> None:
    """Add to each element the weighted sum of two neighbours of a row, whose odd last one is taken twice."""
    whole = row.size // 2
    for j in range(whole):
        pairs[j] += weight * (np.float64(row[2 * j]) + np.float64(row[2 * j + 1]))
    if pairs.size > whole:
        pairs[whole] += weight * 2.0 * np.float64(row[row.size - 1])


@njit(cache=True, nogil=True, error_model="numpy")
def _halved_slice(image: NDArray[Any]) -> NDArray[np.float64]:
    height, width = image.shape
    coarse = np.zeros(((height + 1) // 2, (width + 1) // 2))
    for i in range(coarse.shape[0]):
        _add_pairs(image[2 * i], 0.25, coarse[i])
        _add_pairs(image[min(2 * i + 1, height - 1)], 0.25, coarse[i])
    return coarse


@njit(cache=True, nogil=True, error_model="numpy")
def _halved_volume(image: NDArray[Any]) -> NDArray[np.float64]:
    depth, height, width = image.shape
    coarse = np.zeros(((depth + 1) // 2, (height + 1) // 2, (width + 1) // 2))
    for k in range(coarse.shape[0]):
        for plane in (2 * k, min(2 * k + 1, depth - 1)):
            for i in range(coarse.shape[1]):
                _add_pairs(image[plane, 2 * i], 0.125, coarse[k, i])
                _add_pairs(image[plane, min(2 * i + 1, height - 1)], 0.125, coarse[k, i])
    return coarse
