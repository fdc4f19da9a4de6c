"""Structural similarity with Wang's window, in two and three dimensions.

Z. Wang, A. C. Bovik, H. R. Sheikh, E. P. Simoncelli, "Image quality assessment: from error visibility to structural
similarity", IEEE Transactions on Image Processing 13(4), 2004. With Gaussian-weighted (sigma 1.5, 11 taps an axis)
local means m, population variances v and covariance c of predicted (p) and truth (t), C1 = (0.01 R)^2 and
C2 = (0.03 R)^2:

    luminance           l  = (2 m_p m_t + C1) / (m_p^2 + m_t^2 + C1)
    contrast-structure  cs = (2 c + C2) / (v_p + v_t + C2)
    SSIM                   = mean of l * cs over the pixels whose whole window lies inside the image

Equal to scikit-image's ``structural_similarity`` with gaussian_weights=True, sigma=1.5,
use_sample_covariance=False. All arithmetic is float64; float32 would lose flat regions to cancellation.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from transmodal.metrics.pairs import checked_mask, checked_pair, checked_range, read_only, refuse_not_finite

WINDOW = 11  # taps an axis
MARGIN = WINDOW // 2  # pixels at each border that have no whole window
SIGMA = 1.5  # pixels
K1, K2 = 0.01, 0.03

_GAUSSIAN = [math.exp(-0.5 * (tap / SIGMA) ** 2) for tap in range(MARGIN + 1)]
# Half of the symmetric window, centre first. Plain numbers, because numba turns them into constants of the code.
_W0, _W1, _W2, _W3, _W4, _W5 = (tap / (2.0 * sum(_GAUSSIAN) - _GAUSSIAN[0]) for tap in _GAUSSIAN)

# Reordering fills vector lanes; "nnan" is left out so that NaN reaches the sum and is refused there.
_REORDERED = {"reassoc", "contract", "arcp", "nsz"}

# Rows of a plane that are finished together: long enough for the vector lanes, short enough for the cache.
_STRIP = 16


@dataclass(frozen=True)
class SsimComponents:
    """Means over the same pixels of SSIM and of its two factors, all without unit.

    ``ssim`` is the mean of the product, which is not the product of the two means.
    """

    ssim: float
    luminance: float
    contrast_structure: float
    data_range: float
    spatial_dims: int
    pixels: int


def ssim(predicted: Any, truth: Any, *, data_range: float, mask: Any = None, spatial_dims: int = 2) -> float:
    """Structural similarity of two images: 1 for equal ones, at least -1.

    Args:
        predicted: real array (H, W), or (D, H, W) with ``spatial_dims=3``; one channel, in the truth's units.
        truth: real array of the same shape, at least 11 pixels along every axis.
        data_range: R in the same units, positive.
        mask: boolean array of the same shape. The mean is then taken over the pixels where it is True and the whole
            window lies inside the image; the windows themselves still see their surroundings.
        spatial_dims: 2 or 3, the dimension of the window; it must be the arrays' own.

    Returns:
        The mean over all pixels that are 5 or more from every border.

    Raises:
        ValueError: shapes, types, dimension or range do not fit; an axis is shorter than 11; the mask selects no
            pixel with a whole window; or a pixel that counts is not finite.
    """
    return ssim_components(predicted, truth, data_range=data_range, mask=mask, spatial_dims=spatial_dims).ssim


def ssim_components(
    predicted: Any, truth: Any, *, data_range: float, mask: Any = None, spatial_dims: int = 2
) -> SsimComponents:
    """SSIM with its luminance and contrast-structure factors apart, as multi-scale SSIM needs them.

    Arguments and refusals as in :func:`ssim`.
    """
    reference, sums = _scored(predicted, truth, data_range, mask, spatial_dims, None)
    total, luminance, contrast_structure, pixels = sums
    return SsimComponents(
        ssim=total / pixels,
        luminance=luminance / pixels,
        contrast_structure=contrast_structure / pixels,
        data_range=reference,
        spatial_dims=spatial_dims,
        pixels=int(pixels),
    )


def ssim_map(predicted: Any, truth: Any, *, data_range: float, spatial_dims: int = 2) -> NDArray[np.float64]:
    """Local SSIM of every pixel that has a whole window.

    Arguments and refusals as in :func:`ssim`.

    Returns:
        float64, 10 smaller than the images along every axis: element (i, j) belongs to pixel (i + 5, j + 5).
    """
    shape = tuple(max(length - 2 * MARGIN, 0) for length in np.shape(truth))
    local = np.empty(shape, np.float64)
    _scored(predicted, truth, data_range, None, spatial_dims, local)
    return local


def _scored(
    predicted: Any, truth: Any, data_range: float, mask: Any, spatial_dims: int, local: NDArray[np.float64] | None
) -> tuple[float, tuple[float, float, float, int]]:
    reference = checked_range(data_range)
    first, second = checked_pair(predicted, truth)
    if spatial_dims not in (2, 3):
        raise ValueError(f"ssim: spatial_dims must be 2 or 3, got {spatial_dims!r}")
    if first.ndim != spatial_dims:
        raise ValueError(
            f"ssim: an array of shape {first.shape} has not {spatial_dims} axes; score channels and slices separately"
        )
    if min(first.shape) < WINDOW:
        thin = "; score a thin volume by its slices (--dimension 2)" if spatial_dims == 3 else ""
        raise ValueError(
            f"ssim: every axis needs at least {WINDOW} pixels for its window, the shape is {first.shape}{thin}"
        )
    region = checked_mask(mask, first.shape)
    if region is not None and not region[(slice(MARGIN, -MARGIN),) * spatial_dims].any():
        raise ValueError(f"ssim: mask selects no pixel that is {MARGIN} or more from every border")

    sums = sums_of(first, second, region, reference, local)
    refuse_not_finite(sums[0], "ssim")
    return reference, sums


def sums_of(
    first: NDArray[Any],
    second: NDArray[Any],
    region: NDArray[np.uint8] | None,
    data_range: float,
    local: NDArray[np.float64] | None = None,
) -> tuple[float, float, float, int]:
    """Sum SSIM, luminance and contrast-structure over the pixels with whole windows, without any check.

    Args:
        first: (H, W) or (D, H, W), as :func:`~transmodal.metrics.pairs.checked_pair` gives it.
        second: the same type and shape.
        region: the mask as :func:`~transmodal.metrics.pairs.checked_mask` gives it.
        data_range: R.
        local: receives the map of SSIM.

    Returns:
        The three sums and the number of pixels. NaN where a pixel that counts is not finite.
    """
    # A constant taken off both images changes no variance and keeps the squares small: 16-bit images with a
    # narrow range would lose digits otherwise.
    centre = float(second[tuple(length // 2 for length in second.shape)])
    offset = centre if math.isfinite(centre) else 0.0
    constants = (offset, (K1 * data_range) ** 2, (K2 * data_range) ** 2)
    region = read_only(np.empty((0,) * second.ndim, np.uint8)) if region is None else region
    local = np.empty((0,) * second.ndim, np.float64) if local is None else local
    kernel = _sums_of_slice if second.ndim == 2 else _sums_of_volume
    sums: tuple[float, float, float, int] = kernel(first, second, region, local, *constants)
    return sums


@njit(cache=True, nogil=True, fastmath=_REORDERED, error_model="numpy")
def _moments_across(x: NDArray[Any], y: NDArray[Any], start: int, offset: float, moments: NDArray[np.float64]) -> None:
    """Blur x, y, x^2 + y^2 and xy over the eleven rows from ``start`` on into the four rows of ``moments``.

    The two variances are only ever needed as a sum, so that four moments do for five. Products are made anew in
    each window: cheaper than keeping eleven rows of them.
    """
    x0, x1, x2, x3 = x[start], x[start + 1], x[start + 2], x[start + 3]
    x4, x5, x6, x7 = x[start + 4], x[start + 5], x[start + 6], x[start + 7]
    x8, x9, x10 = x[start + 8], x[start + 9], x[start + 10]
    y0, y1, y2, y3 = y[start], y[start + 1], y[start + 2], y[start + 3]
    y4, y5, y6, y7 = y[start + 4], y[start + 5], y[start + 6], y[start + 7]
    y8, y9, y10 = y[start + 8], y[start + 9], y[start + 10]
    mean_x, mean_y, power, product = moments[0], moments[1], moments[2], moments[3]
    for j in range(x.shape[1]):
        a0, a1, a2, a3 = x0[j] - offset, x1[j] - offset, x2[j] - offset, x3[j] - offset
        a4, a5, a6, a7 = x4[j] - offset, x5[j] - offset, x6[j] - offset, x7[j] - offset
        a8, a9, a10 = x8[j] - offset, x9[j] - offset, x10[j] - offset
        b0, b1, b2, b3 = y0[j] - offset, y1[j] - offset, y2[j] - offset, y3[j] - offset
        b4, b5, b6, b7 = y4[j] - offset, y5[j] - offset, y6[j] - offset, y7[j] - offset
        b8, b9, b10 = y8[j] - offset, y9[j] - offset, y10[j] - offset
        mean_x[j] = _W0 * a5 + _W1 * (a4 + a6) + _W2 * (a3 + a7) + _W3 * (a2 + a8) + _W4 * (a1 + a9) + _W5 * (a0 + a10)
        mean_y[j] = _W0 * b5 + _W1 * (b4 + b6) + _W2 * (b3 + b7) + _W3 * (b2 + b8) + _W4 * (b1 + b9) + _W5 * (b0 + b10)
        power[j] = (
            _W0 * (a5 * a5 + b5 * b5)
            + _W1 * (a4 * a4 + a6 * a6 + b4 * b4 + b6 * b6)
            + _W2 * (a3 * a3 + a7 * a7 + b3 * b3 + b7 * b7)
            + _W3 * (a2 * a2 + a8 * a8 + b2 * b2 + b8 * b8)
            + _W4 * (a1 * a1 + a9 * a9 + b1 * b1 + b9 * b9)
            + _W5 * (a0 * a0 + a10 * a10 + b0 * b0 + b10 * b10)
        )
        product[j] = (
            _W0 * (a5 * b5)
            + _W1 * (a4 * b4 + a6 * b6)
            + _W2 * (a3 * b3 + a7 * b7)
            + _W3 * (a2 * b2 + a8 * b8)
            + _W4 * (a1 * b1 + a9 * b9)
            + _W5 * (a0 * b0 + a10 * b10)
        )


@njit(cache=True, nogil=True, fastmath=_REORDERED, error_model="numpy")
def _blur_down(plane: NDArray[np.float64], start: int, width: int, blurred: NDArray[np.float64]) -> None:
    """Blur eleven rows of a plane that lies flat, for as many pixels from ``start`` on as ``blurred`` holds."""
    n = blurred.size
    rows = plane[start : start + 10 * width + n]
    r0, r1, r2, r3 = rows[:n], rows[width:], rows[2 * width :], rows[3 * width :]
    r4, r5, r6, r7 = rows[4 * width :], rows[5 * width :], rows[6 * width :], rows[7 * width :]
    r8, r9, r10 = rows[8 * width :], rows[9 * width :], rows[10 * width :]
    for j in range(n):
        blurred[j] = (
            _W0 * r5[j]
            + _W1 * (r4[j] + r6[j])
            + _W2 * (r3[j] + r7[j])
            + _W3 * (r2[j] + r8[j])
            + _W4 * (r1[j] + r9[j])
            + _W5 * (r0[j] + r10[j])
        )


@njit(cache=True, nogil=True, fastmath=_REORDERED, error_model="numpy")
def _blur_along(row: NDArray[np.float64], j: int) -> float:
    return (
        _W0 * row[j + 5]
        + _W1 * (row[j + 4] + row[j + 6])
        + _W2 * (row[j + 3] + row[j + 7])
        + _W3 * (row[j + 2] + row[j + 8])
        + _W4 * (row[j + 1] + row[j + 9])
        + _W5 * (row[j] + row[j + 10])
    )


@njit(cache=True, nogil=True, fastmath=_REORDERED, error_model="numpy")
def _factors_of_row(
    moments: NDArray[np.float64],
    offset: float,
    c1: float,
    c2: float,
    luminance: NDArray[np.float64],
    contrast_structure: NDArray[np.float64],
) -> None:
    mean_x, mean_y, power, product = moments[0], moments[1], moments[2], moments[3]
    for j in range(luminance.size):
        m_x, m_y = _blur_along(mean_x, j), _blur_along(mean_y, j)
        variances = _blur_along(power, j) - m_x * m_x - m_y * m_y
        covariance = _blur_along(product, j) - m_x * m_y
        m_x += offset
        m_y += offset
        luminance[j] = (2.0 * m_x * m_y + c1) / (m_x * m_x + m_y * m_y + c1)
        contrast_structure[j] = (2.0 * covariance + c2) / (variances + c2)


@njit(cache=True, nogil=True, fastmath=_REORDERED, error_model="numpy")
def _sum_row(
    luminance: NDArray[np.float64], contrast_structure: NDArray[np.float64], mask_row: NDArray[np.uint8]
) -> tuple[float, float, float, int]:
    total = light = contrast = 0.0
    if mask_row.size == 0:
        for j in range(luminance.size):
            total += luminance[j] * contrast_structure[j]
            light += luminance[j]
            contrast += contrast_structure[j]
        return total, light, contrast, luminance.size
    pixels = 0
    for j in range(luminance.size):
        if mask_row[j + MARGIN]:
            total += luminance[j] * contrast_structure[j]
            light += luminance[j]
            contrast += contrast_structure[j]
            pixels += 1
    return total, light, contrast, pixels


@njit(cache=True, nogil=True, error_model="numpy")
def _sums_of_slice(
    x: NDArray[Any],
    y: NDArray[Any],
    mask: NDArray[np.uint8],
    local: NDArray[np.float64],
    offset: float,
    c1: float,
    c2: float,
) -> tuple[float, float, float, int]:
    height, width = x.shape
    moments = np.empty((4, width))
    factors = np.empty((2, width - 2 * MARGIN))
    no_mask = mask.reshape(mask.size)[:0]
    total = light = contrast = 0.0
    pixels = 0
    for i in range(height - 2 * MARGIN):
        _moments_across(x, y, i, offset, moments)
        _factors_of_row(moments, offset, c1, c2, factors[0], factors[1])
        row = _sum_row(factors[0], factors[1], mask[i + MARGIN] if mask.size else no_mask)
        total, light, contrast, pixels = total + row[0], light + row[1], contrast + row[2], pixels + row[3]
        if local.size:
            local[i] = factors[0] * factors[1]
    return total, light, contrast, pixels


@njit(cache=True, nogil=True, error_model="numpy")
def _sums_of_volume(
    x: NDArray[Any],
    y: NDArray[Any],
    mask: NDArray[np.uint8],
    local: NDArray[np.float64],
    offset: float,
    c1: float,
    c2: float,
) -> tuple[float, float, float, int]:
    depth, height, width = x.shape
    # A plane is one long row to the pass along the depth: no short rows, no leftovers beside the vector lanes.
    flat_x, flat_y = x.reshape(depth, height * width), y.reshape(depth, height * width)
    planes = np.empty((4, height * width))
    strip = _STRIP * width
    moments = np.empty((4, strip))
    factors = np.empty((2, strip - 2 * MARGIN))
    no_mask = mask.reshape(mask.size)[:0]
    total = light = contrast = 0.0
    pixels = 0
    for k in range(depth - 2 * MARGIN):
        _moments_across(flat_x, flat_y, k, offset, planes)
        for top in range(0, height - 2 * MARGIN, _STRIP):
            rows = min(_STRIP, height - 2 * MARGIN - top)
            for moment in range(4):
                _blur_down(planes[moment], top * width, width, moments[moment, : rows * width])
            n = rows * width - 2 * MARGIN
            # Windows that run over the end of one row into the next are computed too, and not looked at.
            _factors_of_row(moments, offset, c1, c2, factors[0, :n], factors[1, :n])
            for i in range(rows):
                first, last = i * width, (i + 1) * width - 2 * MARGIN
                row = _sum_row(
                    factors[0, first:last],
                    factors[1, first:last],
                    mask[k + MARGIN, top + i + MARGIN] if mask.size else no_mask,
                )
                total, light, contrast, pixels = total + row[0], light + row[1], contrast + row[2], pixels + row[3]
                if local.size:
                    local[k, top + i] = factors[0, first:last] * factors[1, first:last]
    return total, light, contrast, pixels
