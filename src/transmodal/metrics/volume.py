"""How much larger or smaller a segmented region is than the true one, wherever it lies.

The volume is the number of voxels times that of one voxel, in mm³; of a picture or a slice the area, in mm². Both
errors are magnitudes: over many cases, too large and too small do not cancel.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from transmodal.metrics.overlap import label_regions


def volume_error(predicted: Any, truth: Any, *, label: int | None = None, spacing: Sequence[float]) -> float:
    """|predicted volume − true volume| of one label: in mm³ of a volume, in mm² of a picture.

    Args:
        predicted: label map of any dimension: whole numbers of any type, or boolean.
        truth: label map of the same shape.
        label: which value to compare; None compares everything that is not 0.
        spacing: distance between neighbours along each axis in mm, in the order of the axes.

    Returns:
        The error; 0 where the label is absent in both maps.

    Raises:
        ValueError: the maps cannot be compared (:func:`transmodal.metrics.overlap.dice`), or the spacing is not one
            positive number an axis.
    """
    first, second = label_regions(predicted, truth, label)
    steps = [float(step) for step in spacing]
    if len(steps) != first.ndim or not all(math.isfinite(step) and step > 0 for step in steps):
        raise ValueError(f"volume_error: spacing must be {first.ndim} positive numbers in mm, got {spacing!r}")
    return abs(int(np.count_nonzero(first)) - int(np.count_nonzero(second))) * math.prod(steps)


def relative_volume_error(predicted: Any, truth: Any, *, label: int | None = None) -> float:
    """|predicted volume − true volume| of one label in per cent of the true one.

    Arguments as of :func:`volume_error`, whatever the size of a voxel.

    Returns:
        The error; 0 where the label is absent in both maps, +inf where it is absent in the true one alone.

    Raises:
        ValueError: the maps cannot be compared.
    """
    first, second = (int(np.count_nonzero(region)) for region in label_regions(predicted, truth, label))
    if not second:
        return math.inf if first else 0.0
    return 100 * abs(first - second) / second
