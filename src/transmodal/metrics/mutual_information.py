"""Normalised mutual information of two images, which need not share units, sign or contrast.

C. Studholme, D. L. G. Hill, D. J. Hawkes, "An overlap invariant entropy measure of 3D medical image alignment",
Pattern Recognition 32, 1999, with the entropies H of the joint histogram and of its two margins:

    NMI = (H(A) + H(B)) / H(A, B)

1 for independent images, 2 where either tells the other. Equal to scikit-image's ``normalized_mutual_information``
for the same number of bins, except that 0/0 is refused instead of scored. The value grows with the number of bins and
falls with that of pixels: compare only at equal bins, on images of one size.
"""

import math
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from transmodal.metrics.pairs import checked_mask, checked_pair, read_only

LARGEST_BINS = 4096  # the joint histogram then takes 128 MB
_CHUNK = 2048  # pixels whose bins are found together, in vector lanes


def nmi(predicted: Any, truth: Any, *, bins: int = 64, mask: Any = None) -> float:
    """Normalised mutual information: 2 for equal images or any one-to-one map of them, 1 for independent ones.

    Args:
        predicted: real array of any shape, in any unit.
        truth: real array of the same shape.
        bins: number of bins of each image, 2 to 4096, equally wide from its own smallest to its own largest value in
            the compared region.
        mask: boolean array of the same shape; only pixels where it is True are compared. None compares all.

    Returns:
        A value from 1 to 2. An image that is constant in the compared region tells nothing of the other: 1.

    Raises:
        ValueError: shapes, types or bins do not fit, the mask is empty, a compared pixel is not finite, or both images
            are constant in the compared region, so that there is no entropy at all.
    """
    if isinstance(bins, bool) or not isinstance(bins, int | np.integer) or not 2 <= bins <= LARGEST_BINS:
        raise ValueError(f"nmi: bins must be a whole number from 2 to {LARGEST_BINS}, got {bins!r}")
    first, second = checked_pair(predicted, truth)
    region = checked_mask(mask, first.shape)
    compared = [image.ravel() if region is None else image[region > 0] for image in (first, second)]
    edges = [_edges(values, int(bins), name) for values, name in zip(compared, ("predicted", "truth"), strict=True)]
    if any(each is None for each in edges):
        if all(each is None for each in edges):
            raise ValueError("nmi: both images are constant in the compared region and have no entropy")
        return 1.0
    joint = _joint_histogram(read_only(compared[0]), read_only(compared[1]), *edges).astype(np.float64)
    joint /= joint.sum()
    return (_entropy(joint.sum(axis=1)) + _entropy(joint.sum(axis=0))) / _entropy(joint)


def _entropy(shares: NDArray[np.float64]) -> float:
    filled = shares[shares > 0.0]
    return -float((filled * np.log(filled)).sum())


def _edges(values: NDArray[Any], bins: int, name: str) -> NDArray[np.float64] | None:
    """Return the edges of the bins, or None for a constant image."""
    low, high = float(values.min()), float(values.max())
    if not (math.isfinite(low) and math.isfinite(high)):
        raise ValueError(f"nmi: {name} holds NaN or infinite pixels in the compared region")
    if low == high:
        return None
    edges = np.linspace(low, high, bins + 1)
    if not (np.diff(edges) > 0).all():
        raise ValueError(f"nmi: {name} spans only {low!r} to {high!r}, too little for {bins} bins")
    return edges


@njit(cache=True, nogil=True)
def _bins_of(values: NDArray[Any], edges: NDArray[np.float64], places: NDArray[np.int32]) -> None:
    """Give for each value the bin whose lower edge is at or below it; the last one holds its upper edge too."""
    last = edges.size - 2
    per_unit = (last + 1) / (edges[last + 1] - edges[0])
    for j in range(values.size):
        value = np.float64(values[j])
        place = min(np.int32((value - edges[0]) * per_unit), np.int32(last))
        # The product may be off by one beside an edge, where whole numbers like to lie.
        step = np.int32(value >= edges[place + 1]) - np.int32(value < edges[place])
        places[j] = min(place + step, np.int32(last))


@njit(cache=True, nogil=True)
def _joint_histogram(
    first: NDArray[Any], second: NDArray[Any], first_edges: NDArray[np.float64], second_edges: NDArray[np.float64]
) -> NDArray[np.int64]:
    bins = first_edges.size - 1
    counts = np.zeros((bins, bins), np.int64)
    rows, columns = np.empty(_CHUNK, np.int32), np.empty(_CHUNK, np.int32)
    for start in range(0, first.size, _CHUNK):
        size = min(_CHUNK, first.size - start)
        _bins_of(first[start : start + size], first_edges, rows)
        _bins_of(second[start : start + size], second_edges, columns)
        for j in range(size):
            counts[rows[j], columns[j]] += 1
    return counts
