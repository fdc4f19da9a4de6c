"""What a scanner delivers, made into line integrals: fields, logarithm, bad bins, rings.

Counts I, flat field I₀ (no object) and dark field d (no beam) give p = −ln((I − d) / (I₀ − d)). A bin that counted
nothing would give infinity: its counts are lifted to a floor, 0.1 as in LoDoPaB-CT unless told otherwise. Intensities
that were divided by the open beam already need a far lower one: at 0.1 no line integral passes 2.3.

A bin whose gain has drifted since its flat field was taken adds the same error to every view, which back-projection
turns into a ring. Two published ways to remove what stays constant along the angle:

    sorting    each bin's values are sorted along the views, smoothed across the bins by a median, and put back in
               their old order, so that only bins of the same rank are compared (N. T. Vo, R. C. Atwood, M. Drakopoulos,
               "Superior techniques for eliminating ring artifacts in X-ray micro-tomography", Optics Express 26, 2018,
               algorithm 3)
    mean       the mean over the views, less the same smoothed by a median, is subtracted (after F. Boin, A. Haibel,
               "Compensation of ring artefacts in synchrotron tomographic images", Optics Express 14, 2006, who divide;
               a gain is a difference in line integrals)
"""

from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import median_filter

from transmodal.errors import UserError

RingMethod = Literal["sorting", "mean"]
RING_METHODS: tuple[RingMethod, ...] = get_args(RingMethod)

_DEAD = 0.2  # of the usual signal
_HOT = 5.0  # times the usual signal
_SPREADS = 10.0  # of the dark field, beyond which a bin is noisy or leaks


def to_line_integrals(
    counts: NDArray[Any], flat: NDArray[Any] | float, dark: NDArray[Any] | float = 0.0, *, floor: float = 0.1
) -> NDArray[np.float32]:
    """Correct counts by flat and dark field and take the negative logarithm.

    Args:
        counts: (views, bins) or (views, rows, bins), 0 or above.
        flat: counts without object: one number, (bins) or (rows, bins), or several frames of these, which are averaged.
        dark: counts without beam, likewise.
        floor: counts above dark to which fewer are lifted, above 0.

    Returns:
        Line integrals without unit, float32, of the shape of `counts`; 0 in bins whose flat field is not above the
        dark one: `find_bad_bins` finds them, `interpolate_bad_bins` fills them.

    Raises:
        UserError: shapes that disagree, values that are not finite, a flat field nowhere above the dark one, counts
            that are nowhere above it (no photons), a floor that is not above 0.
    """
    signal, beam = _signal(counts, flat, dark, floor)
    np.maximum(signal, np.float32(floor), out=signal)
    alive = np.broadcast_to(beam > 0, signal.shape)
    transmission = np.divide(signal, beam, out=np.ones(signal.shape, np.float32), where=alive)
    integrals: NDArray[np.float32] = -np.log(transmission)
    return integrals


def lifted_rays(
    counts: NDArray[Any], flat: NDArray[Any] | float, dark: NDArray[Any] | float = 0.0, *, floor: float = 0.1
) -> NDArray[np.bool_]:
    """Return which rays counted less than the floor, and thus have a line integral of the floor and not their own.

    Args:
        counts, flat, dark, floor: as for `to_line_integrals`.

    Returns:
        Of the shape of `counts`; False in bins whose flat field is not above the dark one.

    Raises:
        UserError: as `to_line_integrals`.
    """
    signal, beam = _signal(counts, flat, dark, floor)
    lifted: NDArray[np.bool_] = (signal < np.float32(floor)) & (beam > 0)
    return lifted


def open_beam(flat: NDArray[Any] | float, dark: NDArray[Any] | float = 0.0) -> float:
    """Return what a bin counts without object, above the dark field: the median over the bins."""
    return float(np.median(np.asarray(flat, np.float32)) - np.median(np.asarray(dark, np.float32)))


def _signal(
    counts: NDArray[Any], flat: NDArray[Any] | float, dark: NDArray[Any] | float, floor: float
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return counts and flat field above the dark one, once they agree.

    Raises:
        UserError: as `to_line_integrals`.
    """
    if not (np.isfinite(floor) and floor > 0):
        raise UserError(f"the floor of the counts must be above 0, not {floor}: the logarithm of 0 is infinite")
    given = np.asarray(counts)
    if given.ndim < 2:
        raise UserError(f"counts need at least two axes, (views, bins), not shape {given.shape}")
    darkness = _field(dark, given.shape[1:], "dark")
    beam = _field(flat, given.shape[1:], "flat") - darkness
    if not (beam > 0).any():
        raise UserError("the flat field is nowhere above the dark field: are the two swapped?")
    if not np.isfinite(given).all():
        raise UserError("the counts hold values that are not finite")
    signal = given - darkness
    if not (signal > 0).any():
        raise UserError("no bin counted a photon above the dark field: was the beam on, are counts and dark swapped?")
    return signal, beam


def find_bad_bins(flat: NDArray[Any], dark: NDArray[Any] | float = 0.0) -> NDArray[np.bool_]:
    """Find the bins that count nothing, far too much, or without a beam.

    Args:
        flat: counts without object, (bins) or (rows, bins), the mean of its frames.
        dark: counts without beam, likewise, or one number.

    Returns:
        True where the signal lies outside 0.2…5 times its median, or the dark field 10 spreads (1.48 times the median
        absolute deviation, at least one count) from its own median. The shape of `flat`.

    Raises:
        UserError: shapes that disagree, a flat field whose median is not above the dark one's.
    """
    shape = np.shape(flat)
    darkness = np.broadcast_to(_field(dark, shape, "dark"), shape)
    signal = _field(flat, shape, "flat") - darkness
    usual = float(np.median(signal))
    if usual <= 0:
        raise UserError("the flat field is mostly not above the dark field: are the two swapped?")
    centre = float(np.median(darkness))
    spread = max(1.48 * float(np.median(np.abs(darkness - centre))), 1.0)
    bad: NDArray[np.bool_] = (
        (signal < _DEAD * usual) | (signal > _HOT * usual) | (np.abs(darkness - centre) > _SPREADS * spread)
    )
    return bad


def _field(values: NDArray[Any] | float, shape: tuple[int, ...], name: str) -> NDArray[np.float32]:
    """Return a field as float32, its frames averaged."""
    field = np.asarray(values, dtype=np.float32)
    if field.ndim == len(shape) + 1 and field.shape[1:] == shape:
        field = field.mean(axis=0)
    if field.ndim and field.shape != shape:
        raise UserError(
            f"the {name} field has shape {field.shape}, one view {shape}: they must agree; take a {name} field of the "
            "same detector, cropped or binned as the counts, or one number"
        )
    if not np.isfinite(field).all():
        raise UserError(f"the {name} field holds values that are not finite")
    return field


def interpolate_bad_bins(projections: NDArray[Any], bad: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Replace bins by straight lines between their good neighbours along the bins, at the ends by the nearest one.

    Args:
        projections: (…, views, bins), or (…, views, rows, bins) if `bad` has rows.
        bad: (bins) or (rows, bins). A row without a good bin is taken from the nearest rows that have some.

    Returns:
        float32, a copy.

    Raises:
        UserError: shapes that disagree, no good bin at all.
    """
    mask: NDArray[np.bool_] = np.asarray(bad, dtype=np.bool_)
    mended = np.array(projections, dtype=np.float32)
    if mask.ndim not in (1, 2) or mended.shape[-mask.ndim :] != mask.shape:
        raise UserError(f"the mask of bad bins has shape {mask.shape}, the projections {mended.shape}")
    if mask.all():
        raise UserError("every bin is marked as bad: there is nothing to interpolate from")
    if mask.ndim == 1:
        _mend(mended, mask)
        return mended
    empty: NDArray[np.bool_] = np.all(mask, axis=1)
    for row in np.flatnonzero(mask.any(axis=1) & ~empty):
        _mend(mended[..., row, :], mask[row, :])
    _mend(mended.swapaxes(-1, -2), empty)
    return mended


def _mend(values: NDArray[np.float32], bad: NDArray[np.bool_]) -> None:
    """Interpolate the last axis in place."""
    wrong, good = np.flatnonzero(bad), np.flatnonzero(~bad)
    if not wrong.size:
        return
    after = np.searchsorted(good, wrong)
    left = good[np.maximum(after - 1, 0)]
    right = good[np.minimum(after, good.size - 1)]
    left = np.where(after == 0, right, left)
    share = np.where(right > left, (wrong - left) / np.maximum(right - left, 1), 0.0).astype(np.float32)
    values[..., wrong] = values[..., left] * (1 - share) + values[..., right] * share


def suppress_rings(projections: NDArray[Any], method: RingMethod = "sorting", width: int = 9) -> NDArray[np.float32]:
    """Remove from line integrals what single bins add to every view.

    Args:
        projections: (views, bins), or (views, rows, bins), whose rows are treated one by one.
        method: one of `RING_METHODS`.
        width: bins of the median, odd, more than twice as wide as the widest stripe; the wider, the more detail
            "sorting" loses.

    Returns:
        float32 of the same shape.

    Raises:
        UserError: an unknown method, a width that is even or below 3, fewer than two axes.
    """
    if method not in RING_METHODS:
        raise UserError(f"unknown ring suppression {method!r}: one of {', '.join(RING_METHODS)}")
    if width < 3 or width % 2 == 0:
        raise UserError(f"the width of the ring suppression must be an odd number of bins from 3 on, not {width}")
    given = np.array(projections, dtype=np.float32)
    if given.ndim not in (2, 3):
        raise UserError(f"projections are (views, bins) or (views, rows, bins), not of shape {given.shape}")
    if method == "mean":
        mean = given.mean(axis=0)
        smooth = median_filter(mean, (1,) * (mean.ndim - 1) + (width,), mode="reflect")
        cleaned: NDArray[np.float32] = given - (mean - smooth)
        return cleaned
    rows = given.reshape(len(given), -1, given.shape[-1])
    for row in range(rows.shape[1]):
        order = np.argsort(rows[:, row], axis=0, kind="stable")
        ranked = np.take_along_axis(rows[:, row], order, axis=0)
        smooth = median_filter(ranked, (1, width), mode="reflect")
        np.put_along_axis(rows[:, row], order, smooth, axis=0)
    return given
