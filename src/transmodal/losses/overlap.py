"""Losses of overlap, for segmentations.

Milletari, Navab, Ahmadi, "V-Net", 3DV 2016, with plain sums below the line, as TC-MGAN (Xin et al., ISBI 2020) has it.
"""

from torch import Tensor


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
