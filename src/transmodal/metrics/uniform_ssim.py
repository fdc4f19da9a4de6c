"""Structural similarity with the 7 x 7 (7 x 7 x 7) uniform window, which many published tables were made with.

Equal to ``skimage.metrics.structural_similarity`` with its defaults, hence to every score that was made by calling it
so: the challenges and libraries in ``published_conventions.py`` did. With m, v and c the means, sample variances and
sample covariance over the n pixels of a window (sums of squares divided by n - 1), luminance, contrast-structure and
constants are as in ``ssim.py``. That module's Gaussian window is Wang's own; the two give different numbers, and only
this one belongs beside numbers that were made with it.
"""

import math
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from transmodal.metrics.pairs import checked_mask, checked_pair, checked_range, read_only, refuse_not_finite

WINDOW = 7  # taps an axis, all of one weight
MARGIN = WINDOW // 2  # pixels at each border that have no whole window
K1, K2 = 0.01, 0.03

# Reordering fills vector lanes; "nnan" is left out so that NaN reaches the sum and is refused there.
_REORDERED = {"reassoc", "contract", "arcp", "nsz"}
_STRIP = 16  # rows of a plane that are finished together: short enough for the cache


def uniform_ssim(predicted: Any, truth: Any, *, data_range: float, mask: Any = None, spatial_dims: int = 2) -> float:
    """Structural similarity with a uniform window: 1 for equal images, at least -1.

    Args:
        predicted: real array (H, W), or (D, H, W) with ``spatial_dims=3``; one channel, in the truth's units.
        truth: real array of the same shape, at least 7 pixels along every axis.
        data_range: R in the same units, positive.
        mask: boolean array of the same shape. The mean is then taken over the pixels where it is True and the whole
            window lies inside the image; the windows themselves still see their surroundings.
        spatial_dims: 2 or 3, the dimension of the window; it must be the arrays' own.

    Returns:
        The mean over all pixels that are 3 or more from every border.

    Raises:
        ValueError: shapes, types, dimension or range do not fit; an axis is shorter than 7; the mask selects no pixel
            with a whole window; or a pixel that counts is not finite.
    """
    return mean_of_power(predicted, truth, None, data_range=data_range, mask=mask, spatial_dims=spatial_dims)


def mean_of_power(
    predicted: Any, truth: Any, power: float | None, *, data_range: float, mask: Any = None, spatial_dims: int = 2
) -> float:
    """Mean of the local SSIM to a power, both of whose factors count as 0 where they are negative.

    Arguments and refusals as in :func:`uniform_ssim`; ``power`` is positive, None leaves the local SSIM as it is.
    """
    total, pixels = _scored(predicted, truth, data_range, mask, spatial_dims, 0.0 if power is None else power, None)
    return total / pixels


def uniform_ssim_map(predicted: Any, truth: Any, *, data_range: float, spatial_dims: int = 2) -> NDArray[np.float64]:
    """Local SSIM of every pixel that has a whole window.

    Arguments and refusals as in :func:`uniform_ssim`.

    Returns:
        float64, 6 smaller than the images along every axis: element (i, j) belongs to pixel (i + 3, j + 3).
    """
    local = np.empty(tuple(max(length - 2 * MARGIN, 0) for length in np.shape(truth)), np.float64)
    _scored(predicted, truth, data_range, None, spatial_dims, 0.0, local)
    return local


def _scored(
    predicted: Any,
    truth: Any,
    data_range: float,
    mask: Any,
    spatial_dims: int,
    power: float,
    local: NDArray[np.float64] | None,
) -> tuple[float, int]:
    reference = checked_range(data_range)
    first, second = checked_pair(predicted, truth)
    if spatial_dims not in (2, 3):
        raise ValueError(f"uniform_ssim: spatial_dims must be 2 or 3, got {spatial_dims!r}")
    if first.ndim != spatial_dims:
        raise ValueError(
            f"uniform_ssim: an array of shape {first.shape} has not {spatial_dims} axes; "
            "score channels and slices separately"
        )
    if min(first.shape) < WINDOW:
        raise ValueError(
            f"uniform_ssim: every axis needs at least {WINDOW} pixels for its window, the shape is {first.shape}"
        )
    region = checked_mask(mask, first.shape)
    if region is not None and not region[(slice(MARGIN, -MARGIN),) * spatial_dims].any():
        raise ValueError(f"uniform_ssim: mask selects no pixel that is {MARGIN} or more from every border")
    # A constant taken off both images changes no variance and saves digits.
    centre = float(second[tuple(length // 2 for length in second.shape)])
    offset = centre if math.isfinite(centre) else 0.0
    if spatial_dims == 2:  # a slice is a volume of planes that are one row high, and so is its window
        first, second = first[:, None], second[:, None]
        region = None if region is None else region[:, None]
        local = None if local is None else local[:, None]
    region = read_only(np.empty((0, 0, 0), np.uint8)) if region is None else region
    local = np.empty((0, 0, 0), np.float64) if local is None else local
    constants = (offset, (K1 * reference) ** 2, (K2 * reference) ** 2, power)
    total, pixels = _sums(first, second, region, local, WINDOW if spatial_dims == 3 else 1, *constants)
    refuse_not_finite(total, "uniform_ssim")
    return total, pixels


@njit(cache=True, nogil=True, fastmath=_REORDERED, error_model="numpy")
def _moments_across(x: NDArray[Any], y: NDArray[Any], start: int, offset: float, moments: NDArray[np.float64]) -> None:
    """Sum x, y, x^2 + y^2 and xy over seven planes, each laid out as one row, into the four rows of ``moments``.

    The two variances are only ever needed as a sum, so that four moments do for five.
    """
    sum_x, sum_y, power, product = moments[0], moments[1], moments[2], moments[3]
    x0, x1, x2, x3 = x[start], x[start + 1], x[start + 2], x[start + 3]
    x4, x5, x6 = x[start + 4], x[start + 5], x[start + 6]
    y0, y1, y2, y3 = y[start], y[start + 1], y[start + 2], y[start + 3]
    y4, y5, y6 = y[start + 4], y[start + 5], y[start + 6]
    for j in range(x0.size):
        a0, a1, a2, a3 = x0[j] - offset, x1[j] - offset, x2[j] - offset, x3[j] - offset
        a4, a5, a6 = x4[j] - offset, x5[j] - offset, x6[j] - offset
        b0, b1, b2, b3 = y0[j] - offset, y1[j] - offset, y2[j] - offset, y3[j] - offset
        b4, b5, b6 = y4[j] - offset, y5[j] - offset, y6[j] - offset
        sum_x[j] = a0 + a1 + a2 + a3 + a4 + a5 + a6
        sum_y[j] = b0 + b1 + b2 + b3 + b4 + b5 + b6
        power[j] = (
            (a0 * a0 + a1 * a1 + a2 * a2 + a3 * a3)
            + (a4 * a4 + a5 * a5 + a6 * a6)
            + (b0 * b0 + b1 * b1 + b2 * b2 + b3 * b3)
            + (b4 * b4 + b5 * b5 + b6 * b6)
        )
        product[j] = (a0 * b0 + a1 * b1 + a2 * b2 + a3 * b3) + (a4 * b4 + a5 * b5 + a6 * b6)


@njit(cache=True, nogil=True, fastmath=_REORDERED, error_model="numpy")
def _sum_down(plane: NDArray[np.float64], start: int, width: int, sums: NDArray[np.float64]) -> None:
    """Sum seven rows of a plane that lies flat, for as many pixels from ``start`` on as ``sums`` holds."""
    n = sums.size
    rows = plane[start : start + 6 * width + n]
    r0, r1, r2, r3 = rows[:n], rows[width:], rows[2 * width :], rows[3 * width :]
    r4, r5, r6 = rows[4 * width :], rows[5 * width :], rows[6 * width :]
    for j in range(n):
        sums[j] = (r0[j] + r1[j]) + (r2[j] + r3[j]) + (r4[j] + r5[j]) + r6[j]


@njit(cache=True, nogil=True, fastmath=_REORDERED, error_model="numpy")
def _sum_along(row: NDArray[np.float64], j: int) -> float:
    return (row[j] + row[j + 1]) + (row[j + 2] + row[j + 3]) + (row[j + 4] + row[j + 5]) + row[j + 6]


@njit(cache=True, nogil=True, fastmath=_REORDERED, error_model="numpy")
def _similarity_of_row(
    moments: NDArray[np.float64],
    offset: float,
    pixels: int,
    c1: float,
    c2: float,
    clipped: bool,
    similarity: NDArray[np.float64],
) -> None:
    sum_x, sum_y, power, product = moments[0], moments[1], moments[2], moments[3]
    share, sample = 1.0 / pixels, 1.0 / (pixels - 1.0)
    for j in range(similarity.size):
        s_x, s_y = _sum_along(sum_x, j), _sum_along(sum_y, j)
        variances = sample * (_sum_along(power, j) - share * (s_x * s_x + s_y * s_y))
        covariance = sample * (_sum_along(product, j) - share * s_x * s_y)
        m_x, m_y = share * s_x + offset, share * s_y + offset
        luminance = (2.0 * m_x * m_y + c1) / (m_x * m_x + m_y * m_y + c1)
        contrast_structure = (2.0 * covariance + c2) / (variances + c2)
        if clipped:  # compared so that NaN stays
            luminance = 0.0 if luminance < 0.0 else luminance
            contrast_structure = 0.0 if contrast_structure < 0.0 else contrast_structure
        similarity[j] = luminance * contrast_structure


@njit(cache=True, nogil=True, fastmath=_REORDERED, error_model="numpy")
def _sum_row(similarity: NDArray[np.float64], mask_row: NDArray[np.uint8], power: float) -> tuple[float, int]:
    total = 0.0
    if mask_row.size == 0 and power == 0.0:
        for value in similarity:
            total += value
        return total, similarity.size
    pixels = 0
    for j in range(similarity.size):
        if mask_row.size == 0 or mask_row[j + MARGIN]:
            total += similarity[j] if power == 0.0 else similarity[j] ** power
            pixels += 1
    return total, pixels


@njit(cache=True, nogil=True, error_model="numpy")
def _sums(
    x: NDArray[Any],
    y: NDArray[Any],
    mask: NDArray[np.uint8],
    local: NDArray[np.float64],
    window_height: int,
    offset: float,
    c1: float,
    c2: float,
    power: float,
) -> tuple[float, int]:
    """Sum the local SSIM, to the power unless that is 0, and count the pixels."""
    depth, height, width = x.shape
    margin = window_height // 2
    window = WINDOW * window_height * WINDOW
    # A plane is one long row to the pass along the depth: no short rows, no leftovers beside the vector lanes.
    flat_x, flat_y = x.reshape(depth, height * width), y.reshape(depth, height * width)
    planes = np.empty((4, height * width))
    strip = np.empty((4, min(_STRIP, height) * width))
    similarity = np.empty(strip.shape[1] - 2 * MARGIN)
    no_mask = mask.reshape(mask.size)[:0]
    total = 0.0
    pixels = 0
    for k in range(depth - 2 * MARGIN):
        _moments_across(flat_x, flat_y, k, offset, planes)
        for top in range(0, height - 2 * margin, _STRIP):
            rows = min(_STRIP, height - 2 * margin - top)
            for moment in range(4):
                if window_height > 1:
                    _sum_down(planes[moment], top * width, width, strip[moment, : rows * width])
            moments = strip if window_height > 1 else planes
            n = rows * width - 2 * MARGIN
            # Windows that run over the end of one row into the next are computed too, and not looked at.
            _similarity_of_row(moments, offset, window, c1, c2, power > 0.0, similarity[:n])
            for i in range(rows):
                first, last = i * width, (i + 1) * width - 2 * MARGIN
                row = similarity[first:last]
                part = _sum_row(row, mask[k + MARGIN, top + i + margin] if mask.size else no_mask, power)
                total, pixels = total + part[0], pixels + part[1]
                if local.size:
                    local[k, top + i] = row
    return total, pixels
