"""Losses of regression, pixel by pixel: mean absolute, Euclidean, Charbonnier, and difference of gradients.

Avula et al., "Medical Image Translation Using Convolutional Neural Networks" (MAE and Euclidean); Charbonnier et al.,
ICIP 1994, as Lai et al., CVPR 2017, use it; Mathieu, Couprie, LeCun, ICLR 2016, eq. 6 (gradient difference).

Every loss here and in ``structural.py`` is first the mean over the pixels of one image (one channel of one sample),
by their weights, and then the mean over the images that have any weight: the loss of a batch is the mean of the losses
of its images, whatever their regions' sizes.
"""

import torch
from torch import Tensor


def pixel_weights(
    target: Tensor,
    *,
    region: Tensor | None = None,
    labels: Tensor | None = None,
    lesion_weight: float = 1.0,
    wanted: Tensor | None = None,
) -> Tensor | None:
    """Return how much each pixel counts, or None where all count alike.

    Args:
        target: (N, C, *spatial), for its shape.
        region: (N, 1, *spatial), not 0 inside; pixels outside count nothing.
        labels: (N, 1, *spatial), classes; pixels of a class above 0 count `lesion_weight` times.
        lesion_weight: 0 or more; 1 leaves labels out.
        wanted: (N, C, 1, …), 0 or 1: channels that count at all.

    Returns:
        (N, C, *spatial), type of the target, 0 or more.
    """
    if labels is not None and lesion_weight == 1.0:
        labels = None
    if region is None and labels is None and wanted is None:
        return None
    weights = torch.ones_like(target)
    if region is not None:
        weights = weights * (region != 0)
    if labels is not None:
        weights = torch.where(labels > 0, weights * lesion_weight, weights)
    return weights if wanted is None else weights * wanted


def mean_absolute(predicted: Tensor, target: Tensor, weights: Tensor | None = None) -> Tensor:
    """Mean of |ŷ − y|.

    Args:
        predicted, target: (N, C, *spatial).
        weights: the same shape, as `pixel_weights` gives it.
    """
    return mean_of_images((predicted.float() - target).abs(), weights)


def euclidean(
    predicted: Tensor, target: Tensor, weights: Tensor | None = None, *, free_of_size: bool = False
) -> Tensor:
    """‖ŷ − y‖₂ of each image, as printed: it grows with the root of the number of pixels.

    Args:
        predicted, target: (N, C, *spatial).
        weights: the same shape, of the squares.
        free_of_size: divide by the root of the sum of weights (the number of pixels): the root of the mean squared
            error, so that one factor before this loss suits images of every size.
    """
    error = predicted.float() - target
    # Not √Σe²: that has no gradient where all errors are 0.
    weighted = error if weights is None else error * weights.sqrt()
    norms = torch.linalg.vector_norm(weighted.flatten(2), dim=2)  # (N, C)
    if weights is None:
        return norms.mean() / (error[0, 0].numel() ** 0.5 if free_of_size else 1.0)
    totals = weights.flatten(2).sum(2)
    if free_of_size:
        norms = norms / totals.clamp(min=torch.finfo(norms.dtype).tiny).sqrt()
    return _mean_of_counting(norms, totals)


def charbonnier(predicted: Tensor, target: Tensor, weights: Tensor | None = None, *, epsilon: float = 1e-3) -> Tensor:
    """Mean of √((ŷ − y)² + ε²): smooth where the mean absolute error has its corner.

    Args:
        predicted, target: (N, C, *spatial).
        weights: the same shape.
        epsilon: ε, in the unit of the images.
    """
    return mean_of_images(((predicted.float() - target).square() + epsilon**2).sqrt(), weights)


def gradient_difference(predicted: Tensor, target: Tensor, weights: Tensor | None = None) -> Tensor:
    """Sum over the axes of the mean of ||∂ŷ| − |∂y||, differences of neighbouring pixels: it punishes blur.

    A difference counts as little as the lesser of its two pixels.

    Args:
        predicted, target: (N, C, *spatial), at least two pixels an axis.
        weights: the same shape.

    Raises:
        ValueError: an axis of one pixel.
    """
    if min(predicted.shape[2:]) < 2:
        raise ValueError(f"gradient_difference: every axis needs two pixels, the shape is {tuple(predicted.shape)}")
    predicted, total = predicted.float(), predicted.new_zeros((), dtype=torch.float32)
    for axis in range(2, predicted.ndim):
        error = (predicted.diff(dim=axis).abs() - target.diff(dim=axis).abs()).abs()
        counted = None
        if weights is not None:
            length = weights.shape[axis] - 1
            counted = torch.minimum(weights.narrow(axis, 0, length), weights.narrow(axis, 1, length))
        total = total + mean_of_images(error, counted)
    return total


def mean_of_images(values: Tensor, weights: Tensor | None) -> Tensor:
    """Mean over the pixels of each image by their weights, then over the images that have any; 0 if none has.

    Args:
        values: (N, C, *spatial).
        weights: the same shape, or None.
    """
    if weights is None:
        return values.mean()
    totals = weights.flatten(2).sum(2)
    means = (values * weights).flatten(2).sum(2) / totals.clamp(min=torch.finfo(values.dtype).tiny)
    return _mean_of_counting(means, totals)


def _mean_of_counting(of_images: Tensor, totals: Tensor) -> Tensor:
    """Mean of (N, C) values over the images whose weights do not sum to 0."""
    counting = totals > 0
    return torch.where(counting, of_images, torch.zeros_like(of_images)).sum() / counting.sum().clamp(min=1)
