"""A weighted sum of the losses of regression: w₁·MAE + w₂·Euclidean + w₃·(1 − SSIM) + …

The first three as Avula et al., "Medical Image Translation Using Convolutional Neural Networks", combine them (their
weights are not published).
"""

from collections.abc import Callable, Mapping

from torch import Tensor

from transmodal.losses.regression import charbonnier, euclidean, gradient_difference, mean_absolute
from transmodal.losses.structural import one_minus_ms_ssim, one_minus_ssim

TERMS: dict[str, Callable[[Tensor, Tensor, Tensor | None], Tensor]] = {
    "mae": mean_absolute,
    "euclidean": euclidean,
    "ssim": one_minus_ssim,
    "charbonnier": charbonnier,
    "ms_ssim": one_minus_ms_ssim,
    "gradient_difference": gradient_difference,
}


def combined(
    factors: Mapping[str, float],
    predicted: Tensor,
    target: Tensor,
    weights: Tensor | None = None,
    *,
    euclidean_free_of_size: bool = False,
) -> tuple[Tensor, dict[str, Tensor]]:
    """Return the sum of the terms, each times its factor, and the terms themselves without it.

    Args:
        factors: a key of `TERMS` → factor; terms of factor 0 are not computed.
        predicted, target: (N, C, *spatial) in [-1, 1].
        weights: the same shape, as `pixel_weights` gives it.
        euclidean_free_of_size: see `euclidean`.

    Raises:
        ValueError: no factor above 0, an unknown term, or images too small for one.
    """
    unknown = set(factors) - set(TERMS)
    if unknown or not any(factor > 0 for factor in factors.values()):
        raise ValueError(f"combined: needs a factor above 0 for some of {', '.join(TERMS)}, got {dict(factors)}")
    parts = {}
    for name, factor in factors.items():
        if factor > 0 and name == "euclidean":
            parts[name] = euclidean(predicted, target, weights, free_of_size=euclidean_free_of_size)
        elif factor > 0:
            parts[name] = TERMS[name](predicted, target, weights)
    total = sum((factors[name] * part for name, part in parts.items()), start=predicted.new_zeros(()).float())
    return total, parts
