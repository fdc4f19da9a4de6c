"""Overlap of two label maps.

    Dice = 2 |A n B| / (|A| + |B|)

L. R. Dice, "Measures of the amount of ecologic association between species", Ecology 26, 1945. Nothing is added to
numerator or denominator: a smoothed Dice, as losses use it, is another number. Where neither map has the label there is
nothing to overlap, and the value is NaN: absent in both, to be left out of a mean and counted.
"""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray


def dice(predicted: Any, truth: Any, *, label: int | None = None) -> float:
    """Dice coefficient of one label: 1 for equal regions, 0 for disjoint ones or where one map lacks the label.

    Args:
        predicted: label map of any dimension: whole numbers of any type, or boolean.
        truth: label map of the same shape.
        label: which value to compare; None compares everything that is not 0.

    Returns:
        The coefficient; NaN where the label is absent in both maps.

    Raises:
        ValueError: shapes differ, a map is empty of pixels, or holds anything but whole numbers.
    """
    first, second = label_regions(predicted, truth, label)
    total = int(np.count_nonzero(first)) + int(np.count_nonzero(second))
    return 2.0 * int(np.count_nonzero(first & second)) / total if total else math.nan


def label_regions(predicted: Any, truth: Any, label: int | None) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Give where each of two label maps has the label, or anything but 0 where ``label`` is None.

    Raises:
        ValueError: as in :func:`dice`.
    """
    first, second = (_whole_numbers(labels, name) for labels, name in ((predicted, "predicted"), (truth, "truth")))
    if first.shape != second.shape:
        raise ValueError(f"predicted and truth have different shapes: {first.shape} and {second.shape}")
    if first.size == 0 or first.ndim == 0:
        raise ValueError(f"predicted and truth hold no pixels to compare: shape {first.shape}")
    if label is None:
        return first != 0, second != 0
    return first == label, second == label


def _whole_numbers(labels: Any, name: str) -> NDArray[Any]:
    if isinstance(labels, np.ma.MaskedArray):
        raise ValueError(f"{name} is a masked array; pass its data")
    array = np.asarray(labels)
    if array.dtype.kind in "bui":
        return array
    if array.dtype.kind != "f":
        raise ValueError(f"{name} must be a label map of whole numbers, got {array.dtype}")
    if not (np.isfinite(array).all() and (array == np.rint(array)).all()):
        raise ValueError(f"{name} must be a label map of whole numbers, it holds fractions or NaN")
    return array
