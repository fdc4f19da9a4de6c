"""A predicted and a true image, checked and laid out for the kernels.

Every full-reference metric opens its arguments here, so that a wrong shape, a missing range or an empty mask is
refused in the same words everywhere.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

# These kinds hold nothing that float32 cannot hold exactly; everything else is scored in float64.
_EXACT_IN_FLOAT32 = {("u", 1), ("u", 2), ("i", 1), ("i", 2), ("f", 2), ("f", 4)}


def checked_pair(predicted: Any, truth: Any) -> tuple[NDArray[Any], NDArray[Any]]:
    """Give both images as C-contiguous arrays of one floating type.

    Args:
        predicted: array of any real type and shape; a CPU tensor without gradient is accepted too.
        truth: array of the same shape; the two types may differ.

    Returns:
        Both as float32 where float32 holds both types exactly (8- and 16-bit integers, float16, float32), else
        float64. An array that already fits is not copied; what is given back is read-only.

    Raises:
        ValueError: shapes differ, there is no pixel, or a type is boolean, complex, masked or not numeric.
    """
    first, second = _real_array(predicted, "predicted"), _real_array(truth, "truth")
    if first.shape != second.shape:
        raise ValueError(f"predicted and truth have different shapes: {first.shape} and {second.shape}")
    if first.size == 0 or first.ndim == 0:
        raise ValueError(f"predicted and truth hold no pixels to compare: shape {first.shape}")
    single = all((array.dtype.kind, array.dtype.itemsize) in _EXACT_IN_FLOAT32 for array in (first, second))
    kind = np.float32 if single else np.float64
    return read_only(np.ascontiguousarray(first, dtype=kind)), read_only(np.ascontiguousarray(second, dtype=kind))


def checked_range(data_range: Any) -> float:
    """Give the data range R (largest minus smallest possible value, in the images' units) as a float.

    Raises:
        ValueError: it is not one positive, finite number. No metric guesses it.
    """
    try:
        value = float(data_range)
    except (TypeError, ValueError):
        value = float("nan")
    if isinstance(data_range, bool | np.bool_) or not (np.isfinite(value) and value > 0):
        raise ValueError(f"data_range must be one positive finite number (maximum - minimum), got {data_range!r}")
    return value


def checked_mask(mask: Any, shape: tuple[int, ...]) -> NDArray[np.uint8] | None:
    """Give a boolean mask as C-contiguous uint8 of the images' shape, or None where there is none.

    Raises:
        ValueError: it is not boolean, has another shape, or selects nothing.
    """
    if mask is None:
        return None
    array = np.asarray(mask)
    if array.dtype != np.bool_:
        raise ValueError(f"mask must be boolean, got {array.dtype}; pass for instance labels > 0")
    if array.shape != shape:
        raise ValueError(f"mask has shape {array.shape}, the images have {shape}")
    if not array.any():
        raise ValueError("mask selects no pixel")
    return read_only(np.ascontiguousarray(array).view(np.uint8))


def read_only(array: NDArray[Any]) -> NDArray[Any]:
    """Give a view that cannot be written to.

    To numba a memory-mapped image and one in memory are two types, for each of which a kernel would be compiled anew.
    Read-only views of all images are one type.
    """
    view = array.view()
    view.flags.writeable = False
    return view


def refuse_not_finite(value: float, metric: str) -> None:
    """Refuse a score that NaN or infinite pixels have spoilt.

    The kernels carry NaN through to their sums, so that looking at the sum is enough and costs no pass of its own.

    Raises:
        ValueError: ``value`` is not finite.
    """
    if not np.isfinite(value):
        raise ValueError(f"{metric}: predicted or truth holds NaN or infinite pixels in the compared region")


def _real_array(values: Any, name: str) -> NDArray[Any]:
    if isinstance(values, np.ma.MaskedArray):
        raise ValueError(f"{name} is a masked array; pass its data, and the region to compare as mask=")
    array = np.asarray(values)
    if array.dtype.kind not in "uif":
        raise ValueError(f"{name} must hold real numbers, got {array.dtype}")
    return array
