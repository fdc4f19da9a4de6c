"""Visual information fidelity in its pixel-domain form, VIFp.

H. R. Sheikh, A. C. Bovik, "Image information and visual quality", IEEE Transactions on Image Processing 15(2), 2006.
That paper works on wavelet sub-bands; the authors' own simpler code, which nearly everybody runs (piq, torchmetrics,
sewar), works on pixels and gives other numbers. This is the second one. Over four scales, with Gaussian windows of
N = 17, 9, 5, 3 taps and sigma = N / 5, local variances v_t of the truth and v_p of the prediction, their covariance c,
g = c / v_t and v_n = v_p - g c:

    VIF = sum log(1 + g^2 v_t / (v_n + s)) / sum log(1 + v_t / s)         s = 2 (R / 255)^2

The noise of the eye s is 2 on a scale of 0 to 255, and is carried over to R here. Each scale but the first is blurred
by its window and thinned out by two; only pixels with whole windows count. Where c < 0, or a variance is smaller than
1e-10 on the scale of 0 to 255, the prediction carries no information: g = 0. The score is not symmetric, and may
exceed 1 where the prediction has more contrast than the truth.
"""

import math
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from transmodal.metrics.pairs import checked_pair, checked_range, read_only, refuse_not_finite

TAPS = (17, 9, 5, 3)
SMALLEST_SIDE = 41  # pixels: three taps are left at the last scale
EYE_NOISE = 2.0  # variance on a scale of 0 to 255
NO_VARIANCE = 1e-10  # on the same scale

# Reordering fills vector lanes; "nnan" is left out so that NaN reaches the sum and is refused there.
_REORDERED = {"reassoc", "contract", "arcp", "nsz"}
_LOGARITHMS = 8  # factors that are multiplied before their logarithm is taken, which costs as much as the rest


def vif(predicted: Any, truth: Any, *, data_range: float) -> float:
    """Share of the truth's information that the prediction keeps: 0 for none, 1 for equal images.

    Args:
        predicted: real array (H, W), one channel, in the truth's units.
        truth: real array of the same shape, at least 41 pixels along both axes.
        data_range: R in the same units, positive; it says how large the noise of the eye is.

    Returns:
        The ratio of the two sums over all scales and pixels; 1 for equal images, even constant ones. A constant
        prediction of a truth that is not constant gives 0.

    Raises:
        ValueError: shapes, types, dimension or range do not fit; an axis is shorter than 41; the truth is constant,
            so that there is no information to keep; or a pixel is not finite.
    """
    reference = checked_range(data_range)
    first, second = checked_pair(predicted, truth)
    if first.ndim != 2:
        raise ValueError(f"vif: an array of shape {first.shape} has not 2 axes; score channels and slices separately")
    if min(first.shape) < SMALLEST_SIDE:
        raise ValueError(f"vif: every axis needs at least {SMALLEST_SIDE} pixels, the shape is {first.shape}")
    centre = float(second[second.shape[0] // 2, second.shape[1] // 2])
    offset = centre if math.isfinite(centre) else 0.0  # taken off both, it changes no variance and saves digits
    unit = (reference / 255.0) ** 2
    kept = available = 0.0
    for scale, taps in enumerate(TAPS):
        window = _gaussian(taps)
        if scale > 0:
            first, second = (read_only(_blurred_and_thinned(image, window, offset)) for image in (first, second))
            offset = 0.0
        sums = _information(first, second, window, offset, EYE_NOISE * unit, NO_VARIANCE * unit)
        kept, available = kept + sums[0], available + sums[1]
    refuse_not_finite(kept + available, "vif")
    if available > 0.0:
        return kept / available
    if np.array_equal(np.asarray(predicted), np.asarray(truth)):
        return 1.0
    raise ValueError("vif: the truth is constant and holds no information to keep; leave this image out")


def _gaussian(taps: int) -> NDArray[np.float64]:
    """Half of the symmetric window of sum 1, centre first."""
    window = np.exp(-0.5 * (np.arange(taps // 2 + 1) * 5.0 / taps) ** 2)
    return window / (2.0 * window.sum() - window[0])


@njit(cache=True, nogil=True, fastmath=_REORDERED, error_model="numpy")
def _moments_down(
    x: NDArray[Any],
    y: NDArray[Any],
    start: int,
    window: NDArray[np.float64],
    offset: float,
    moments: NDArray[np.float64],
) -> None:
    """Blur x, y, x^2, y^2 and xy over the rows from ``start`` on into the five rows of ``moments``."""
    half = window.size - 1
    mean_x, mean_y, power_x, power_y, product = moments[0], moments[1], moments[2], moments[3], moments[4]
    weight, x_row, y_row = window[0], x[start + half], y[start + half]
    for j in range(x.shape[1]):
        a, b = x_row[j] - offset, y_row[j] - offset
        mean_x[j], mean_y[j] = weight * a, weight * b
        power_x[j], power_y[j], product[j] = weight * (a * a), weight * (b * b), weight * (a * b)
    for tap in range(1, half + 1):
        weight = window[tap]
        x0, x1, y0, y1 = x[start + half - tap], x[start + half + tap], y[start + half - tap], y[start + half + tap]
        for j in range(x.shape[1]):
            a, b, c, d = x0[j] - offset, x1[j] - offset, y0[j] - offset, y1[j] - offset
            mean_x[j] += weight * (a + b)
            mean_y[j] += weight * (c + d)
            power_x[j] += weight * (a * a + b * b)
            power_y[j] += weight * (c * c + d * d)
            product[j] += weight * (a * c + b * d)


@njit(cache=True, nogil=True, fastmath=_REORDERED, error_model="numpy")
def _blur_along(row: NDArray[np.float64], window: NDArray[np.float64], blurred: NDArray[np.float64]) -> None:
    half, n = window.size - 1, blurred.size
    centre = row[half : half + n]
    for j in range(n):
        blurred[j] = window[0] * centre[j]
    for tap in range(1, half + 1):
        weight, before, after = window[tap], row[half - tap : half - tap + n], row[half + tap : half + tap + n]
        for j in range(n):
            blurred[j] += weight * (before[j] + after[j])


@njit(cache=True, nogil=True, fastmath=_REORDERED, error_model="numpy")
def _factors_of_row(
    moments: NDArray[np.float64],
    noise: float,
    nothing: float,
    kept: NDArray[np.float64],
    available: NDArray[np.float64],
) -> None:
    """Give what stands in the two logarithms for every pixel of a row."""
    mean_x, mean_y, power_x, power_y, product = moments[0], moments[1], moments[2], moments[3], moments[4]
    for j in range(kept.size):
        m_x, m_y = mean_x[j], mean_y[j]
        v_x, v_y, c = power_x[j] - m_x * m_x, power_y[j] - m_y * m_y, product[j] - m_x * m_y
        # Compared so that NaN falls through to the sums.
        v_x = 0.0 if v_x < nothing else v_x
        v_y = 0.0 if v_y < nothing else v_y
        none = (v_x == 0.0) | (v_y == 0.0) | (c < 0.0)
        g = 0.0 if none else c / v_y
        rest = v_x - g * c
        rest = 0.0 if rest < 0.0 else rest
        kept[j] = 1.0 + g * g * v_y / (rest + noise)
        available[j] = 1.0 + v_y / noise


@njit(cache=True, nogil=True, fastmath=_REORDERED, error_model="numpy")
def _sum_of_logarithms(factors: NDArray[np.float64], products: NDArray[np.float64]) -> float:
    """Sum the logarithms of factors of at least 1, by way of the products of eight of them.

    Factors stay below 1e5 within the data range, so that eight cannot overflow; where values far outside the range
    let them, the logarithms are taken one by one.
    """
    n = factors.size // _LOGARITHMS
    for j in range(n):
        products[j] = factors[j]
    for part in range(1, _LOGARITHMS):
        others = factors[part * n : (part + 1) * n]
        for j in range(n):
            products[j] *= others[j]
    total = 0.0
    for j in range(n):
        total += math.log(products[j])
    for j in range(n * _LOGARITHMS, factors.size):
        total += math.log(factors[j])
    if total == math.inf:
        total = 0.0
        for factor in factors:
            total += math.log(factor)
    return total


@njit(cache=True, nogil=True, error_model="numpy")
def _information(
    x: NDArray[Any], y: NDArray[Any], window: NDArray[np.float64], offset: float, noise: float, nothing: float
) -> tuple[float, float]:
    """Sum what is kept of the truth's information, and what there is, over one scale."""
    half = window.size - 1
    n = x.shape[1] - 2 * half
    down = np.empty((5, x.shape[1]))
    moments = np.empty((5, n))
    factors = np.empty((2, n))
    products = np.empty(n // _LOGARITHMS)
    kept = available = 0.0
    for i in range(x.shape[0] - 2 * half):
        _moments_down(x, y, i, window, offset, down)
        for moment in range(5):
            _blur_along(down[moment], window, moments[moment])
        _factors_of_row(moments, noise, nothing, factors[0], factors[1])
        kept += _sum_of_logarithms(factors[0], products)
        available += _sum_of_logarithms(factors[1], products)
    return kept, available


@njit(cache=True, nogil=True, fastmath=_REORDERED, error_model="numpy")
def _blurred_and_thinned(image: NDArray[Any], window: NDArray[np.float64], offset: float) -> NDArray[np.float64]:
    """Blur by the window and keep every second pixel that has a whole window, of every second such row."""
    half = window.size - 1
    height, width = (image.shape[0] - 2 * half + 1) // 2, (image.shape[1] - 2 * half + 1) // 2
    coarse = np.empty((height, width))
    down = np.empty(image.shape[1])
    along = np.empty(image.shape[1] - 2 * half)
    for i in range(height):
        middle = 2 * i + half
        for j in range(down.size):
            down[j] = window[0] * (image[middle, j] - offset)
        for tap in range(1, half + 1):
            weight, above, below = window[tap], image[middle - tap], image[middle + tap]
            for j in range(down.size):
                down[j] += weight * ((above[j] - offset) + (below[j] - offset))
        _blur_along(down, window, along)
        for j in range(width):
            coarse[i, j] = along[2 * j]
    return coarse
