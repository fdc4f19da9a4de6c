"""Distance between the surfaces of two segmented regions.

HD95 is here the larger of the two directed 95th percentiles: of the distances of each predicted surface voxel to the
nearest true one, and the other way round; percentiles are interpolated linearly. That is MONAI's definition. medpy
takes one percentile of both sets of distances together, which is another number.

A region's surface are its voxels that a step along one axis leaves (region minus its erosion by the cross of nearest
neighbours); beyond the border of the image nothing belongs to the region. Distances are between voxel centres, in mm.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt

from transmodal.metrics.overlap import label_regions

PERCENTILE = 95.0


def hd95(predicted: Any, truth: Any, *, label: int | None = None, spacing: Sequence[float]) -> float:
    """95 % Hausdorff distance of one label, in mm: 0 for equal regions, lower is better.

    Args:
        predicted: label map (H, W) or (D, H, W): whole numbers of any type, or boolean.
        truth: label map of the same shape.
        label: which value to compare; None compares everything that is not 0.
        spacing: distance between neighbours along each axis in mm, in the order of the axes.

    Returns:
        The distance; NaN where the label is absent in both maps, +inf where it is absent in one. Neither belongs in a
        mean: leave them out and count them.

    Raises:
        ValueError: the maps cannot be compared (:func:`transmodal.metrics.overlap.dice`), have not two or three axes,
            or the spacing is not one positive number an axis.
    """
    first, second = label_regions(predicted, truth, label)
    steps = _checked_spacing(spacing, first.ndim)
    box = _common_box(first, second)
    if box is None:
        return math.nan
    first, second = _surface(first[box]), _surface(second[box])
    if not (first.any() and second.any()):
        return math.inf
    return max(_directed(first, second, steps), _directed(second, first, steps))


def _directed(of: NDArray[np.bool_], to: NDArray[np.bool_], steps: tuple[float, ...]) -> float:
    distances = distance_transform_edt(~to, sampling=steps)
    return float(np.percentile(distances[of], PERCENTILE))


def _surface(region: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Keep the voxels of a region that have a neighbour outside it; by slices, which is faster than an erosion."""
    inside = region.copy()
    for axis in range(region.ndim):
        along, kept = np.moveaxis(region, axis, 0), np.moveaxis(inside, axis, 0)
        kept[1:] &= along[:-1]
        kept[:-1] &= along[1:]
        kept[0] = kept[-1] = False
    return region & ~inside


def _common_box(first: NDArray[np.bool_], second: NDArray[np.bool_]) -> tuple[slice, ...] | None:
    """Give the smallest box that holds both regions; outside it no surface lies and no distance ends."""
    either = first | second
    box = []
    for axis in range(either.ndim):
        occupied = np.flatnonzero(either.any(axis=tuple(other for other in range(either.ndim) if other != axis)))
        if occupied.size == 0:
            return None
        box.append(slice(int(occupied[0]), int(occupied[-1]) + 1))
    return tuple(box)


def _checked_spacing(spacing: Sequence[float], axes: int) -> tuple[float, ...]:
    if axes not in (2, 3):
        raise ValueError(f"hd95: label maps must have two or three axes, got {axes}")
    try:
        steps = tuple(float(step) for step in spacing)
    except (TypeError, ValueError):
        steps = ()
    if len(steps) != axes or not all(math.isfinite(step) and step > 0 for step in steps):
        raise ValueError(f"hd95: spacing must be {axes} positive numbers in mm, one an axis, got {spacing!r}")
    return steps
