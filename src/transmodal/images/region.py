"""Where the brain or the body is: from the zeros of a stripped volume, or by Otsu's threshold against the air.

Source of the threshold: Otsu, IEEE Transactions on Systems, Man, and Cybernetics 9 (1979) 62.
"""

from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from scipy import ndimage

HOW = ("nonzero", "otsu", "auto")
How = Literal["nonzero", "otsu", "auto"]

_SPECK = 0.1  # components smaller than this share of the largest are specks, not anatomy
_SAMPLED = 1_000_000  # values that a histogram is made of; more would not move a threshold
_CLIPPED = (0.1, 99.0)  # percentiles: a few bright vessels or a hot artefact would stretch every bin
_BINS = 256
_BORDER_OF_ZEROS = 0.5  # a share of the border voxels that only a background set to 0 reaches


def find_region(pixels: npt.NDArray[Any], how: How = "nonzero") -> npt.NDArray[np.bool_]:
    """Find where the brain, head or body is.

    Args:
        pixels: one value a point, 2-D or 3-D, any unit. NaN and infinity count as outside.
        how: "nonzero" for images whose background was set to exactly 0: everything else, with holes filled and
            without specks (components below a tenth of the largest); small negative values inside belong to it.
            "otsu" for a head or body in air: above Otsu's threshold, the largest component, holes filled slice by
            slice (last axis), so that the air in a sinus or a lung is inside although it may open to the outside
            in another slice. "auto": nonzero where most of the border is exactly 0, else otsu.

    Returns:
        The region, shape of `pixels`; all False when there is none (only zeros, one value everywhere).

    Raises:
        ValueError: `how` is unknown or the image is not 2-D or 3-D.
    """
    pixels = np.asarray(pixels)
    if how not in HOW:
        raise ValueError(f"a region is found by {', '.join(HOW)}, not {how!r}")
    if pixels.ndim not in (2, 3):
        raise ValueError(f"a region has 2 or 3 axes, not {pixels.ndim}")
    if how == "auto":
        how = "nonzero" if _has_border_of_zeros(pixels) else "otsu"
    finite = np.isfinite(pixels) if pixels.dtype.kind == "f" else np.ones(1, dtype=bool)
    if how == "nonzero":
        return _within_box((pixels != 0) & finite, lambda found: _filled(_without_specks(found), by_slice=False))
    threshold = _otsu_threshold(pixels)
    if threshold is None:
        return np.zeros(pixels.shape, dtype=bool)
    return _within_box((pixels > threshold) & finite, lambda found: _filled(_largest(found), by_slice=True))


def _has_border_of_zeros(pixels: npt.NDArray[Any]) -> bool:
    faces = [np.take(pixels, (0, -1), axis=axis).ravel() for axis in range(pixels.ndim)]
    return bool((np.concatenate(faces) == 0).mean() > _BORDER_OF_ZEROS)


def _within_box(found: npt.NDArray[np.bool_], change: Any) -> npt.NDArray[np.bool_]:
    """Apply a change inside the bounding box only, which is a fraction of most volumes."""
    box = []
    for axis in range(found.ndim):
        used = np.flatnonzero(found.any(axis=tuple(other for other in range(found.ndim) if other != axis)))
        if not used.size:
            return np.zeros(found.shape, dtype=bool)
        box.append(slice(int(used[0]), int(used[-1]) + 1))
    result = np.zeros(found.shape, dtype=bool)
    result[tuple(box)] = change(np.ascontiguousarray(found[tuple(box)]))
    return result


def _otsu_threshold(pixels: npt.NDArray[Any]) -> float | None:
    """Return the value that best parts the clipped histogram in two classes; None for one value everywhere.

    The histogram is of square roots above the darkest value: on the values themselves, a bright brain or fat makes the
    threshold part bright tissue from dark tissue (in FLAIR, the brain from the head) instead of tissue from air.
    """
    # A stride that shares no factor with a power of two walks over all columns instead of always the same ones.
    values = pixels.ravel()[:: max(1, pixels.size // _SAMPLED) | 1].astype(np.float64)
    values = values[np.isfinite(values)]
    if not values.size:
        return None
    low, high = np.percentile(values, _CLIPPED)
    if not low < high:
        low, high = float(values.min()), float(values.max())
    if not low < high:
        return None
    roots = np.sqrt(np.clip(values, low, high) - low)
    counts, edges = np.histogram(roots, _BINS, (0.0, float(np.sqrt(high - low))))
    centres = (edges[:-1] + edges[1:]) / 2
    below, above = np.cumsum(counts)[:-1], np.cumsum(counts[::-1])[::-1][1:]
    sums = np.cumsum(counts * centres)
    with np.errstate(invalid="ignore", divide="ignore"):
        between = below * above * (sums[:-1] / below - (sums[-1] - sums[:-1]) / above) ** 2
    between = np.nan_to_num(between)
    # Between two far modes the measure is flat: its middle is the fairest place.
    best = np.flatnonzero(between >= between.max() * (1 - 1e-9))
    return float(low + edges[int(best[len(best) // 2]) + 1] ** 2)


def _component_sizes(found: npt.NDArray[np.bool_]) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int64]]:
    """Return the numbered components (neighbours share a side) and their sizes; the background's size is 0."""
    numbered = np.empty(found.shape, dtype=np.int32)
    ndimage.label(found, output=numbered)
    sizes = np.bincount(numbered.ravel())
    sizes[0] = 0
    return numbered, sizes


def _without_specks(found: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    numbered, sizes = _component_sizes(found)
    return np.asarray((sizes >= _SPECK * sizes.max()) & (sizes > 0))[numbered]


def _largest(found: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    numbered, sizes = _component_sizes(found)
    return np.asarray(numbered == sizes.argmax())


def _filled(found: npt.NDArray[np.bool_], *, by_slice: bool) -> npt.NDArray[np.bool_]:
    """Fill what is enclosed: background that no path of shared sides leads out of the box (or out of its slice).

    By numbering the background once; scipy's `binary_fill_holes` grows from the border and takes seconds a volume.
    """
    in_plane = by_slice and found.ndim == 3
    structure = ndimage.generate_binary_structure(found.ndim, 1)
    if in_plane:
        structure[1, 1, ::2] = False
    numbered = np.empty(found.shape, dtype=np.int32)
    count = ndimage.label(~found, structure, output=numbered)
    is_outside = np.zeros(count + 1, dtype=bool)
    for axis in range(2 if in_plane else found.ndim):
        is_outside[np.take(numbered, (0, -1), axis=axis)] = True
    is_outside[0] = False
    return ~is_outside[numbered]
