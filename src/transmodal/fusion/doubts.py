"""What puts numbers of regions in doubt.

Regions below the camera's blur or covered by others, counts below zero, saturated pixels, more than was injected,
counts in no region.
"""

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from transmodal.fusion.background import BODY, SURROUNDINGS, fine_masks
from transmodal.fusion.regions import RegionWeights, share_line
from transmodal.fusion.units import InUnits
from transmodal.reporting.figures import plain_number

Array = npt.NDArray[np.float64]
FEWEST_PIXELS = 10.0
"""Of the nuclear grid. A camera's blur is commonly two to three pixels wide: that of a point fills so many."""
COVERED = 0.3
"""Of a region with the gaps between its parts: held by other regions, from which it counts as covered."""
_GAP = 4.0  # mm between parts of one region that belong together: more than the ribs of a mouse are apart
_WHOLE = 100.0  # %ID
_LEAST = 5.0  # %ID of a whole field; a mouse in it shows tens, after attenuation
_SURE = 3.0  # standard deviations
_OVERLAP = 0.01  # of a region's area, from which it is not added to others
_MISSED = 0.15  # of all counts, in no region where regions hold the body; 0.03 on simulated mice
_MOST = 0.95  # of a region's area within the field; less is a doubt
_SHARED = 0.05  # of a region's area in the background region, from which that is said
_WORTH = 0.05  # of a pixel's area
_NEAR = 2  # pixels


def partly_outside(regions: RegionWeights) -> list[str]:
    """Return a line for each region of which a good part lies outside the nuclear field."""
    shares = zip(regions.names, regions.shares, strict=False)  # those made in memory may have none
    return [share_line(name, float(share)) for name, share in shares if share < _MOST]


def small_regions(regions: RegionWeights) -> list[str]:
    """Return a line about the regions of fewer than `FEWEST_PIXELS` nuclear pixels; none where there are none."""
    small = [
        f"{name} ({plain_number(round(float(pixels), 1))})"
        for name, pixels in zip(regions.names, regions.pixels, strict=True)
        if pixels < FEWEST_PIXELS
    ]
    if not small:
        return []
    return [
        f"Regions of fewer than {FEWEST_PIXELS:g} nuclear pixels, smaller than the camera's blur: {', '.join(small)}. "
        "Part of their counts lies outside them, and counts of their neighbours inside: their values may be far off."
    ]


@lru_cache(maxsize=1)  # the same regions are often counted again
def covered_regions(regions: RegionWeights) -> tuple[str, ...]:
    """Return a line about the regions between whose parts others lie, as the lungs' between ribs in a label map.

    Such a map gives each pixel to one organ alone. What lies behind bone is counted as bone: the organ's own value is
    too low, and that of what covers it holds both.
    """
    if len(regions.outlines) != len(regions.names):
        return ()
    masks = fine_masks(regions)
    fine, coarse = masks[0].shape, regions.weights.shape[1:]
    cell = [length * many / few for length, many, few in zip(regions.spacing, coarse, fine, strict=True)]
    organs = [place for place, name in enumerate(regions.names) if name not in SURROUNDINGS]
    found = []
    for place in organs:
        whole = _closed(masks[place], cell)
        over = {
            regions.names[other]: int((whole & masks[other] & ~masks[place]).sum())
            for other in organs
            if other != place
        }
        share = sum(over.values()) / max(int(whole.sum()), 1)
        if share >= COVERED:
            chief = max(over, key=lambda name: over[name])
            found.append((share, f"{regions.names[place]} ({100 * share:.0f} %, most by {chief})"))
    if not found:
        return ()
    named = ", ".join(words for _, words in sorted(found, reverse=True))
    return (
        f"Covered by other regions: {named}. In the plane they lie over each other, and the map gives each pixel to "
        "one: values of the covered are too low, and those of what covers them hold both.",
    )


def _closed(mask: npt.NDArray[np.bool_], cell: Sequence[float]) -> npt.NDArray[np.bool_]:
    """Return a mask with what lies between its parts, up to `_GAP`."""
    pad = int(np.ceil(_GAP / min(cell)))
    own = np.pad(mask, pad)
    if not own.any():
        return mask
    grown = ndimage.distance_transform_edt(~own, sampling=cell) <= _GAP / 2
    closed = ndimage.distance_transform_edt(grown, sampling=cell) > _GAP / 2
    return np.asarray(closed[pad:-pad, pad:-pad] | mask)


def below_zero(frames: Array, regions: RegionWeights) -> list[str]:
    """Return a line about the regions that hold counts below zero, (F, H, W), which no detector counts."""
    lowest = frames.min(axis=0, initial=0.0)
    where = [
        name for name, own in zip(regions.names, regions.weights, strict=True) if lowest[own > 0].min(initial=0.0) < 0
    ]
    if not where:
        return []
    return [
        f"Counts below zero in {', '.join(where)}: something was taken off before. They are kept, but their "
        "errors are not Poisson, so that intervals are rough. Give the frames as they were counted."
    ]


def saturated(names: Sequence[str], pixels: npt.NDArray[np.int64]) -> list[str]:
    """Return a line about saturated pixels, (R, F) of each region and frame; none where there are none."""
    full = []
    for name, own in zip(names, pixels, strict=True):
        frames = np.flatnonzero(own)
        if frames.size:
            many = f"up to {own.max()} in {frames.size} of {own.size} frames" if frames.size > 1 else ""
            full.append(f"{name} ({many or f'{own.max()} in frame {frames[0] + 1}'})")
    if not full:
        return []
    return [
        f"Saturated pixels: {', '.join(full)}. The detector held no more: activity is too low there, and so is what "
        "follows from it."
    ]


def beyond_injected(
    regions: RegionWeights, percent: Array | None, deviations: Array | None, after: npt.NDArray[np.bool_]
) -> list[str]:
    """Return lines about more than 100 %ID, by three standard deviations: in one region, else in several together.

    Args:
        regions: whose overlap decides which may be added up.
        percent, deviations: (R, F) %ID; None where it is not known.
        after: (F,), which frames lie after the injection.
    """
    if percent is None or deviations is None or not after.any():
        return []
    values, spread = percent[:, after], deviations[:, after]
    beyond = (values - _SURE * spread).max(axis=1) > _WHOLE
    if beyond.any():
        most = values.max(axis=1)
        places = [place for place in np.argsort(-most, kind="stable") if beyond[place]]
        where = f"up to {', '.join(f'{plain_number(most[place])} %ID in {regions.names[place]}' for place in places)}"
    else:
        apart = _apart(regions.weights, values.max(axis=1))
        total, sd = values[apart].sum(axis=0), np.sqrt((spread[apart] ** 2).sum(axis=0))
        if not (total - _SURE * sd > _WHOLE).any():
            return []
        names = ", ".join(regions.names[place] for place in apart)
        where = f"up to {plain_number(float(total.max()))} %ID in {names} together, which do not overlap"
    return [
        f"More than was injected: {where}. Check that times are in seconds and the frames in their order, the injected "
        "activity in MBq, the sensitivity in counts a second for each MBq, and any correction for depth."
    ]


def little_injected(field: InUnits, after: npt.NDArray[np.bool_]) -> list[str]:
    """Return a line where all counts of the field, one region of F frames, are hardly anything of what was injected."""
    if field.percent_id is None or field.percent_id_sd is None or not after.any():
        return []
    most = float((field.percent_id + _SURE * field.percent_id_sd)[0, after].max())
    if not most < _LEAST:
        return []
    return [
        f"All counts of the nuclear field make up less than {plain_number(most)} %ID in every frame, hardly "
        "anything of what was injected. Check that the sensitivity is in counts a second (not a minute) for each MBq, "
        "the injected activity in MBq, and that times are in seconds; or most of it has left by then, or the field."
    ]


def within_background(regions: RegionWeights, background: str) -> list[str]:
    """Return a line about the regions of which a part lies in the background region; none where `background` is ""."""
    if not background:
        return []
    beside = regions.weights[regions.number(background)]
    within = []
    for name, own in zip(regions.names, regions.weights, strict=True):
        # Of a pixel that both hold in part, so much at least is in both.
        share = float(np.maximum(own + beside - 1.0, 0.0).sum() / own.sum())
        if name not in (background, *SURROUNDINGS) and share >= _SHARED:
            within.append(f"{name} ({100 * share:.0f} %)")
    if not within:
        return []
    return [
        f"Regions that lie in the background region {background} with a part of their area: {', '.join(within)}. What "
        "is taken off them is partly their own: draw the background beside them."
    ]


def _apart(weights: Array, values: Array) -> list[int]:
    """Return regions that do not overlap, beginning with the highest value."""
    covered, taken = np.zeros(weights.shape[1:]), []
    for place in np.argsort(-values, kind="stable"):
        own = weights[place]
        if np.maximum(covered + own - 1.0, 0.0).sum() <= _OVERLAP * own.sum():
            covered += own
            taken.append(int(place))
    return sorted(taken)


def hottest_pixel(frames: Array, regions: RegionWeights) -> tuple[str, list[str]]:
    """Return in words which regions hold the hottest pixel, and a line where none does.

    Args:
        frames: (F, H, W) counts, added up.
        regions: on that grid.
    """
    counts = frames.sum(axis=0)
    if not counts.max() > 0:
        return "", []
    row, column = np.unravel_index(counts.argmax(), counts.shape)
    where = f"row {row}, column {column}"
    shares = regions.weights[:, row, column]
    places = [place for place in np.argsort(-shares, kind="stable") if shares[place] >= _WORTH]
    held = [f"{regions.names[place]} ({100 * shares[place]:.0f} % of it)" for place in places]
    if held:
        beside = _beside(regions, int(row), int(column), [regions.names[place] for place in places])
        near = f", within {_NEAR} pixels of {_listed(beside)}" if beside else ""
        return f"the hottest pixel ({where}) lies in {_listed(held)}{near}", []
    line = (
        f"The hottest pixel of the nuclear image ({where}, {plain_number(float(counts.max()))} counts) lies in no "
        "region: what is there is not counted. Draw a region around it, or find it with --above 0.5."
    )
    return f"the hottest pixel ({where}) lies in no region", [line]


def counts_nowhere(frames: Array, regions: RegionWeights) -> tuple[str, list[str]]:
    """Return which share of the counts (F, H, W) lies in no region, and a line where regions of the body miss many."""
    counts = np.abs(frames).sum(axis=0)
    if not counts.sum() > 0:
        return "", []
    inside = np.clip(regions.weights.sum(axis=0), 0.0, 1.0)
    missed = 1.0 - float((counts * inside).sum() / counts.sum())
    body = [name for name in regions.names if name in BODY]
    line = (
        f"{100 * missed:.0f} % of all counts lie in no region, though {', '.join(body)} should hold the body: is the "
        "label map that of this animal, and the registration right?"
    )
    return f"{100 * missed:.1f} % of all counts", [line] if body and missed > _MISSED else []


def _beside(regions: RegionWeights, row: int, column: int, held: Sequence[str]) -> list[str]:
    """Return the regions near a pixel, whose counts may be those that it shows."""
    rows, columns = (slice(max(place - _NEAR, 0), place + _NEAR + 1) for place in (row, column))
    near = regions.weights[:, rows, columns].max(axis=(1, 2)) >= _WORTH
    unnamed = (*held, *SURROUNDINGS)
    return [name for name, is_near in zip(regions.names, near, strict=True) if is_near and name not in unnamed]


def _listed(words: Sequence[str]) -> str:
    return " and ".join(filter(None, [", ".join(words[:-1]), *words[-1:]]))
