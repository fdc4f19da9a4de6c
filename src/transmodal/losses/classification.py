"""Losses of a class head: which modality does an image show?

Choi et al., "StarGAN", CVPR 2018, and its public code: cross-entropy where labels exclude each other, the sum of binary
cross-entropies over the labels where they do not. TC-MGAN (Xin et al., ISBI 2020) takes the second for modalities too.
"""

import torch
from torch import Tensor
from torch.nn import functional


def exclusive_label_loss(scores: Tensor, classes: Tensor, known: Tensor | None = None) -> Tensor:
    """Cross-entropy of one right label among the known ones, mean over the batch.

    Args:
        scores: (N, K), unbounded.
        classes: (N,) int64, below K.
        known: (N, K) of bool, the labels that a sample's data set has; its right label is among them. Scores of the
            others neither count nor get a gradient (StarGAN, section 3.3). None: all are known.
    """
    scores = scores.float()
    if known is not None:
        scores = scores.masked_fill(~known, -torch.inf)
    return functional.cross_entropy(scores, classes)


def independent_label_loss(scores: Tensor, truth: Tensor) -> Tensor:
    """Binary cross-entropy summed over the labels, mean over the batch.

    Args:
        scores: (N, K), unbounded.
        truth: (N, K), 0 or 1.
    """
    return functional.binary_cross_entropy_with_logits(scores.float(), truth.float(), reduction="sum") / len(scores)
