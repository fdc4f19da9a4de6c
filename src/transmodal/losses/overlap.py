"""Losses of overlap, for segmentations.

Milletari, Navab, Ahmadi, "V-Net", 3DV 2016, with plain sums below the line, as TC-MGAN (Xin et al., ISBI 2020) and
nnU-Net (Isensee et al., Nature Methods 18, 2021) have it, the latter with the cross-entropy beside it.
"""

import torch
from torch import Tensor
from torch.nn import functional


def soft_dice_loss(probability: Tensor, truth: Tensor, *, smooth: float = 1.0) -> Tensor:
    """1 − (2 Σ pt + smooth) / (Σ p + Σ t + smooth) of each image, mean over the images.

    Args:
        probability: (N, C, *spatial) in [0, 1].
        truth: the same shape, 0 or 1.
        smooth: pixels added on both sides: an empty image that is found empty costs 0.
    """
    predicted, real = probability.float().flatten(1), truth.float().flatten(1)
    overlap = 2 * (predicted * real).sum(1) + smooth
    return (1 - overlap / (predicted.sum(1) + real.sum(1) + smooth)).mean()


def class_dice_loss(
    probability: Tensor, truth: Tensor, *, together: bool = True, counted: Tensor | None = None, smooth: float = 1.0
) -> Tensor:
    """1 − the mean over classes of (2 Σ pt + smooth) / (Σ p + Σ t + smooth).

    Args:
        probability: (N, classes, *spatial) in [0, 1].
        truth: the same shape, 0 or 1.
        together: one sum over all images of the batch, so that an image without a class has no Dice of its own; else
            sums of each image, and the mean over images too.
        counted: (N, 1, *spatial), 0 where pixels do not count; None counts all.
        smooth: pixels added on both sides: a class that is nowhere and found nowhere costs 0.
    """
    predicted, real = probability.float(), truth.float()
    if counted is not None:
        predicted, real = predicted * counted, real * counted
    axes = tuple(axis for axis in range(predicted.ndim) if axis != 1 and (together or axis != 0))
    overlap = 2 * (predicted * real).sum(axes) + smooth
    return (1 - overlap / (predicted.sum(axes) + real.sum(axes) + smooth)).mean()


def class_cross_entropy(
    logits: Tensor, truth: Tensor, *, exclusive: bool, weights: Tensor | None = None, counted: Tensor | None = None
) -> Tensor:
    """Cross-entropy of every pixel with its class, weighted by class, mean over the weights.

    Args:
        logits: (N, 1 + classes, *spatial) of the background and the classes where they are exclusive (softmax), else
            (N, classes, *spatial), each a yes or no of its own (sigmoid).
        truth: (N, classes, *spatial), 0 or 1; exclusive classes never both 1.
        exclusive: whether the classes share one decision.
        weights: (1 + classes,), what a pixel of the background and of each class counts; None counts all alike.
        counted: (N, 1, *spatial), 0 where pixels do not count; None counts all.
    """
    ones = (1,) * (logits.ndim - 2)
    real = truth.float()
    if exclusive:
        everything = torch.cat([1 - real.sum(1, keepdim=True), real], dim=1)
        error = -(functional.log_softmax(logits.float(), dim=1) * everything)  # (N, 1 + classes, *spatial)
        weight = everything if weights is None else everything * weights.view(1, -1, *ones)
        error = error if weights is None else error * weights.view(1, -1, *ones)
    else:
        error = functional.binary_cross_entropy_with_logits(logits.float(), real, reduction="none")
        weight = torch.ones_like(real)
        if weights is not None:
            weight = torch.where(real > 0, weights[1:].view(1, -1, *ones), weights[0])
            error = error * weight
    if counted is not None:
        error, weight = error * counted, weight * counted
    return error.sum() / weight.sum().clamp(min=1e-6)
