"""Structural similarity as a loss: 1 − SSIM and 1 − MS-SSIM, in two and three dimensions, differentiable.

Wang et al., IEEE TIP 13(4), 2004, and Wang, Simoncelli, Bovik, Asilomar 2003: Gaussian window of 11 taps and sigma 1.5,
k₁ = 0.01, k₂ = 0.03, population covariance, mean over the pixels whose whole window lies inside the image. With
d = p − t the two factors are written as what they lack of 1, which float32 holds to the last digit where images agree:

    luminance            l = 1 − m_d² / (m_p² + m_t² + C₁)
    contrast-structure  cs = 1 − v_d  / (v_p + v_t + C₂)

The window is applied along one axis after the other as a product with a banded matrix: on the CPU a convolution of one
channel would be many times slower.
"""

from collections.abc import Callable, Mapping
from functools import lru_cache

import torch
from torch import Tensor
from torch.nn import functional

from transmodal.losses.regression import mean_of_images

WINDOW = 11  # taps an axis
MARGIN = WINDOW // 2
SIGMA = 1.5  # pixels
K1, K2 = 0.01, 0.03
SCALE_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
# A factor below this counts as this: real powers of negative numbers are none, and their slope at 0 has no end.
SMALLEST_FACTOR = 1e-4

AVERAGE_POOLING = {2: functional.avg_pool2d, 3: functional.avg_pool3d}
GREATEST_POOLING = {2: functional.max_pool2d, 3: functional.max_pool3d}


def one_minus_ssim(
    predicted: Tensor,
    target: Tensor,
    weights: Tensor | None = None,
    *,
    value_range: tuple[float, float] = (-1.0, 1.0),
) -> Tensor:
    """1 − SSIM, the mean over the images.

    Where weights are given, windows that reach out of the region see the target there: nothing outside is learned
    from, and the value is that of an output that has been set to the background outside.

    Args:
        predicted, target: (N, C, *spatial), two or three spatial axes of 11 pixels or more; channels are images.
        weights: the same shape, as `pixel_weights` gives it.
        value_range: lowest and highest value of the images: luminance counts from the lowest.

    Raises:
        ValueError: an axis is shorter than 11.
    """
    _refuse_small(target, WINDOW, "one_minus_ssim")
    with torch.autocast(target.device.type, enabled=False):
        predicted, target = _from_zero(predicted, target, weights, value_range)
        luminance, contrast_structure = _factors(predicted, target, value_range[1] - value_range[0])
        return mean_of_images(1 - luminance * contrast_structure, _with_whole_windows(weights))


def one_minus_ms_ssim(
    predicted: Tensor,
    target: Tensor,
    weights: Tensor | None = None,
    *,
    value_range: tuple[float, float] = (-1.0, 1.0),
) -> Tensor:
    """1 − MS-SSIM, the mean over the images.

    Of images under 161 pixels a side the scales that have a whole window are taken, their exponents scaled to sum to
    1 as all five do.

    Args:
        predicted, target, weights, value_range: as for `one_minus_ssim`. At the next scale the weight of a pixel is
            the greatest of those pooled into it.

    Raises:
        ValueError: an axis is shorter than 11.
    """
    _refuse_small(target, WINDOW, "one_minus_ms_ssim")
    exponents = SCALE_WEIGHTS[: scales_of(min(target.shape[2:]))]
    with torch.autocast(target.device.type, enabled=False):
        predicted, target = _from_zero(predicted, target, weights, value_range)
        score = torch.ones(target.shape[:2], device=target.device)  # (N, C)
        counting = score if weights is None else torch.zeros_like(score)
        for scale, exponent in enumerate(exponents):
            if scale:
                predicted, target = _halved(predicted, AVERAGE_POOLING), _halved(target, AVERAGE_POOLING)
                weights = None if weights is None else _halved(weights, GREATEST_POOLING)
            luminance, contrast_structure = _factors(predicted, target, value_range[1] - value_range[0])
            factor = luminance * contrast_structure if scale == len(exponents) - 1 else contrast_structure
            counted = _with_whole_windows(weights)
            means, totals = _mean_of_each(factor, counted)
            # A scale whose region has no whole window says nothing.
            kept = torch.where(totals > 0, means, torch.ones_like(means)).clamp(min=SMALLEST_FACTOR)
            score = score * kept ** (exponent / sum(exponents))
            counting = torch.maximum(counting, (totals > 0).to(score.dtype))
        return ((1 - score) * counting).sum() / counting.sum().clamp(min=1)


def scales_of(shortest_side: int) -> int:
    """Return how many of the five scales have a whole window in images with this shortest side (pixels)."""
    scales = 0
    while scales < len(SCALE_WEIGHTS) and shortest_side >= WINDOW:
        shortest_side = (shortest_side + 1) // 2
        scales += 1
    return scales


def _from_zero(
    predicted: Tensor, target: Tensor, weights: Tensor | None, value_range: tuple[float, float]
) -> tuple[Tensor, Tensor]:
    target = target.float() - value_range[0]
    predicted = predicted.float() - value_range[0]
    return (predicted if weights is None else torch.where(weights > 0, predicted, target)), target


def _factors(predicted: Tensor, target: Tensor, data_range: float) -> tuple[Tensor, Tensor]:
    """Return the local luminance and contrast-structure of non-negative images, each (N, C, *spatial − 10)."""
    difference = predicted - target
    # A constant changes no variance; around the middle of the range squares are small and lose fewer digits.
    middle = data_range / 2
    powers = (predicted - middle).square() + (target - middle).square()
    moments = _blurred(torch.stack([target, difference, powers, difference.square()]))
    mean_t, mean_d, power, power_d = moments
    mean_p = mean_t + mean_d
    variances = power - (mean_p - middle).square() - (mean_t - middle).square()
    c1, c2 = (K1 * data_range) ** 2, (K2 * data_range) ** 2
    luminance = 1 - mean_d.square() / (mean_p.square() + mean_t.square() + c1)
    return luminance, 1 - (power_d - mean_d.square()) / (variances.clamp(min=0) + c2)


def _blurred(images: Tensor) -> Tensor:
    """Blur (moments, N, C, *spatial) along its spatial axes; each comes out 10 shorter."""
    for axis in range(3, images.ndim):
        matrix = _band(images.shape[axis], images.device)  # (length − 10, length)
        if axis == images.ndim - 1:
            images = images @ matrix.T
        else:
            images = (matrix @ images.flatten(axis + 1)).unflatten(-1, images.shape[axis + 1 :])
    return images


@lru_cache(maxsize=64)
def _band(length: int, device: torch.device) -> Tensor:
    """Return the matrix that blurs an axis: row i holds the window at i … i + 10."""
    with torch.inference_mode(False), torch.no_grad():  # made once, perhaps in inference, it must serve training too
        taps = torch.arange(-MARGIN, MARGIN + 1, dtype=torch.float64)
        window = torch.exp(-0.5 * (taps / SIGMA) ** 2)
        window = window / window.sum()
        rows = length - 2 * MARGIN
        matrix = torch.zeros(rows, length, dtype=torch.float64)
        for tap in range(WINDOW):
            matrix[torch.arange(rows), torch.arange(rows) + tap] = window[tap]
        return matrix.float().to(device)


def _with_whole_windows(weights: Tensor | None) -> Tensor | None:
    if weights is None:
        return None
    inside = slice(MARGIN, -MARGIN)
    return weights[(slice(None), slice(None), *(inside,) * (weights.ndim - 2))]


def _mean_of_each(values: Tensor, weights: Tensor | None) -> tuple[Tensor, Tensor]:
    """Return the mean of each image by its weights and the sum of these, both (N, C)."""
    if weights is None:
        means = values.flatten(2).mean(2)
        return means, torch.ones_like(means)
    totals = weights.flatten(2).sum(2)
    return (values * weights).flatten(2).sum(2) / totals.clamp(min=torch.finfo(values.dtype).tiny), totals


def _halved(images: Tensor, pooling: Mapping[int, Callable[..., Tensor]]) -> Tensor:
    """Pool 2 × 2 (× 2) pixels; an odd last row, column or plane is pooled with itself."""
    padding = [amount for size in reversed(images.shape[2:]) for amount in (0, size % 2)]
    if any(padding):
        images = functional.pad(images, padding, mode="replicate")
    halved: Tensor = pooling[images.ndim - 2](images, 2)
    return halved


def _refuse_small(images: Tensor, side: int, name: str) -> None:
    if images.ndim not in (4, 5) or min(images.shape[2:]) < side:
        raise ValueError(
            f"{name}: needs (N, C, *spatial) with {side} pixels an axis, the shape is {tuple(images.shape)}"
        )
