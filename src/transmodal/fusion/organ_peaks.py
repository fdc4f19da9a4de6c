"""What every region holds at its peak, and how surely it holds more than its background."""

import math
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import pandas

from transmodal.fusion.curves import TimeActivity
from transmodal.fusion.estimates import Estimate
from transmodal.fusion.kinetic_fit import KineticFit
from transmodal.fusion.misfit import held, misfit

Array = npt.NDArray[np.float64]
MOST_OF_NONE = -math.log(0.05)
"""Counts that are expected at most, with 95 %, where none came."""


def organs_by_peak(curves: TimeActivity, fits: Mapping[str, KineticFit]) -> pandas.DataFrame:
    """Return a row a region, the highest peak first: that of the fit, or of the highest frame where there is none.

    Frames before the injection take no part. Columns: region, role, peak, low, high (NaN where the model does not
    hold), unit (%ID, counts/s or counts), peak_time_s, highest_frame, last (in the last frame), net_counts of all
    frames and their z (NaN without background), model, misfit (χ² by its degrees of freedom).
    """
    values, spread, unit = shown_values(curves)
    of_count = of_one_count(curves)
    after = np.flatnonzero(curves.after_injection)
    rows = []
    for place, name in enumerate(curves.names):
        fitted = held(fits.get(name, KineticFit()))
        best = int(after[values[place, after].argmax()]) if after.size else None
        peak, when = fitted.estimates.get("peak"), fitted.estimates.get("peak_time")
        moment = math.nan if when is None or when.value is None else when.value
        if best is not None:
            value, sd = float(values[place, best]), float(spread[place, best])
            if peak is None or peak.value is None:
                most = value + (1.96 * sd if sd > 0 else MOST_OF_NONE * of_count[place, best])
                peak = Estimate(value, value - 1.96 * sd, most, unit, "Poisson")
            if math.isnan(moment) and curves.starts is not None:
                durations = np.zeros_like(curves.starts) if curves.durations is None else curves.durations
                moment = float((curves.starts + durations / 2)[best])
        peak = peak or Estimate(math.nan, math.nan, math.nan, unit)
        net, _, z = net_signal(curves, place)
        rows.append(
            {
                "region": name,
                "role": curves.roles[place],
                "peak": peak.value,
                "low": math.nan if peak.low is None else peak.low,
                "high": math.nan if peak.high is None else peak.high,
                "unit": unit,
                "peak_time_s": moment,
                "highest_frame": math.nan if best is None else float(values[place, best]),
                "last": float(values[place, -1]),
                "net_counts": net,
                "z": z,
                "model": fitted.model,
                "misfit": misfit(fitted),
            }
        )
    return pandas.DataFrame(rows).sort_values("peak", ascending=False, kind="stable", ignore_index=True)


def shown_values(curves: TimeActivity) -> tuple[Array, Array, str]:
    """Return values and standard deviations (R, F) in the best unit that is known."""
    scale = curves.scale
    return (curves.net, curves.net_sd, "counts") if scale is None else (scale.values, scale.deviations, scale.unit)


def of_one_count(curves: TimeActivity) -> Array:
    """Return what one count adds to `shown_values`, (R, F)."""
    return np.ones(curves.net.shape) if curves.scale is None else curves.scale.of_count


def net_signal(curves: TimeActivity, place: int) -> tuple[float, float, float]:
    """Return the net counts of all frames after the injection, their standard deviation, and how many of it they are.

    The last is NaN without background: from 0, counts of air are as sure as those of a tumour.
    """
    after = curves.after_injection
    net = float(curves.net[place, after].sum())
    sd = math.sqrt(float((curves.net_sd[place, after] ** 2).sum()))
    is_known = bool(curves.is_corrected[place]) and sd > 0
    return net, sd, net / sd if is_known else math.nan
