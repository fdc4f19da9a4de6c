"""Signal-to-noise ratio after the best affine regression: what FBPConvNet's authors call SNR.

With x the truth, counted from the lower limit of its scale, and y the prediction, over the n compared pixels:

    SNR = max over a, b of 10 log10(sum(x^2) / sum((x - (a y + b))^2))          dB

K. H. Jin et al., "Deep convolutional neural network for inverse problems in imaging", IEEE Transactions on Image
Processing 26(9), 2017. A wrong brightness or contrast of the whole image costs nothing. Theirs are images in which air
is 0; the lower limit takes that place here, so that HU do not count from water.
"""

import math
from typing import Any

import numpy as np

from transmodal.metrics.pairs import checked_mask, checked_pair, refuse_not_finite


def affine_snr(predicted: Any, truth: Any, *, limits: tuple[float, float], mask: Any = None) -> float:
    """Signal-to-noise ratio in dB of the prediction's best affine fit to the truth.

    Range: only its lower limit counts, as the zero of the truth. Clipping: none. Window: none.

    Args:
        predicted: real array of any shape, on any scale.
        truth: real array of the same shape.
        limits: (low, high) of the truth's scale; x = truth - low.
        mask: boolean array of the same shape; both the fit and the sums take the pixels inside. None takes all.

    Returns:
        The ratio, +inf for equal images. A constant prediction scores what the truth's own mean would.

    Raises:
        ValueError: shapes or types do not fit, the limits are not finite and in order, the mask is empty, a
            compared pixel is not finite, or the truth is constant: b alone fits it, whatever was predicted.
    """
    low, high = (float(limit) for limit in limits)
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise ValueError(f"limits must be two finite numbers, low before high, got {limits!r}")
    first, second = checked_pair(predicted, truth)
    region = checked_mask(mask, first.shape)
    y, x = (
        (image.ravel() if region is None else image[region.view(np.bool_)]).astype(np.float64)
        for image in (first, second)
    )
    x -= low
    signal = float(x @ x)
    refuse_not_finite(signal + float(y @ y), "affine_snr")
    if x.min() == x.max():
        raise ValueError("affine_snr: the truth is constant in the compared region, any prediction would fit it")
    x -= x.mean()
    y -= y.mean()
    # Centred, the best b is 0 and the best a the ratio of two sums; the residual is summed itself, since the
    # difference of large sums would lose it.
    spread = float(y @ y)
    if spread > 0.0:
        y *= float(x @ y) / spread
        x -= y
    noise = float(x @ x)
    return math.inf if noise == 0.0 else 10.0 * math.log10(signal / noise)
