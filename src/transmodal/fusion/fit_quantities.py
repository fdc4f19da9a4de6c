"""What a fitted curve says: half-times, peak, %ID at any time, each with its interval or why there is none."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from transmodal.fusion.curve_models import Model, half_time
from transmodal.fusion.estimates import Estimate, time_text
from transmodal.fusion.fit_peaks import (
    MOMENT,
    HalfLeft,
    Peak,
    PeakTime,
    at_the_edges,
    log_value,
    never_half,
    where_flat,
    window_of,
)
from transmodal.fusion.least_squares import Problem, Quantity, delta_interval, profile_interval
from transmodal.fusion.model_averaging import Found

Array = npt.NDArray[np.float64]
_WIDE = 0.25  # of a logarithm: beyond it the delta method is no longer trusted
_MOST = 700.0  # of a logarithm that is still a number
_TINY = 1e-4  # of the highest frame
LONGEST = 10.0
"""Half-times longer than so many times the observation are not given as a number."""


def profiles(
    model: Model, problem: Problem, theta: Array, threshold: Array, observed: tuple[float, float], at: Sequence[float]
) -> dict[str, Found]:
    """Return value, ends and standard deviation of the logarithm of each quantity, (B,) each, by their profiles."""
    quantities = {**_shared(model, window_of(problem, observed), at, _floor(problem)), **_half_times(model)}
    found = {name: profile_interval(problem, theta, quantity, threshold) for name, quantity in quantities.items()}
    found["peak_time"] = at_the_edges(model, problem, theta, threshold, observed, found.get("peak_time"))
    found["half_left_time"] = never_half(model, problem, theta, threshold, observed, found.get("half_left_time"))
    if model.signed:  # what leaves last is seen only where it is there
        value, low, high, sd = found["clearance_half_time"]
        gone = model.terms(theta).amplitudes[..., 0] <= 0
        found["clearance_half_time"] = (np.where(gone, np.inf, value), np.where(gone, -np.inf, low), high, sd)
    return found


def quickly(
    model: Model, problem: Problem, theta: Array, threshold: Array, observed: tuple[float, float], at: Sequence[float]
) -> dict[str, Found]:
    """Return the same of what means the same in every model (no half-times), by the delta method as far as that holds.

    Where it gives a wide interval the slopes at the fit say little, and the profile is taken; where that has no end
    either, the model says nothing, and the ends are NaN.
    """
    quantities = _shared(model, window_of(problem, observed), at, _floor(problem))
    quantities.pop("peak_time", None)
    found = {}
    for name, quantity in quantities.items():
        value, low, high, sd = delta_interval(problem, theta, quantity, threshold)
        doubtful = np.flatnonzero(high - value > _WIDE)
        if doubtful.size:
            own = profile_interval(problem.of(doubtful), theta[doubtful], quantity, threshold[doubtful])
            low[doubtful], high[doubtful] = own[1], own[2]
            if name != "half_left_time":  # may never be
                silent = doubtful[~(np.isfinite(own[1]) & np.isfinite(own[2]))]
                low[silent] = high[silent] = np.nan
        found[name] = (value, low, high, sd)
    found["peak_time"] = where_flat(model, problem, theta, threshold, observed)
    found["half_left_time"] = never_half(model, problem, theta, threshold, observed, found.get("half_left_time"))
    return found


def nothing_below(found: dict[str, Found], at: Sequence[float], values: Array) -> dict[str, Found]:
    """Return values at some times with 0 for what lies below a small part of the highest frame; `values` are (B, F)."""
    limit = np.log(3 * _TINY * np.abs(values).max(axis=1))
    result = dict(found)
    for name in (f"at {time:g}" for time in at):
        value, low, high, sd = found[name]
        none = value <= limit
        result[name] = (np.where(none, -np.inf, value), np.where(none | (low <= limit), -np.inf, low), high, sd)
    return result


def _floor(problem: Problem) -> float:
    return max(_TINY * float(np.abs(problem.values).max(axis=1).min()), 1e-300)


def _half_times(model: Model) -> dict[str, Quantity]:
    def log_half_time(term: int) -> Quantity:
        return lambda parameters: np.log(half_time(model, parameters, term))

    terms = {
        "uptake_half_time": model.uptake, "clearance_half_time": model.clearance,
        "fast_clearance_half_time": model.fast,
    }  # fmt: skip
    return {name: log_half_time(term) for name, term in terms.items() if term is not None}


def _shared(model: Model, window: tuple[float, float, float], at: Sequence[float], floor: float) -> dict[str, Quantity]:
    """Return the quantities that every model has: peak, its time where it may lie within, values at some times."""

    def value_when(time: float) -> Quantity:
        return lambda parameters: log_value(model, parameters, [time], floor)

    quantities: dict[str, Quantity] = {"peak": Peak(model, *window)}
    if model.can_rise and model.can_fall:
        quantities["peak_time"] = PeakTime(model, *window)
    if model.can_fall:
        quantities["half_left_time"] = HalfLeft(model, *window)
    return quantities | {f"at {time:g}": value_when(time) for time in at}


def estimate_of(
    name: str, logarithms: tuple[float, float, float, float], observed: tuple[float, float], of_curve: str = "%ID"
) -> Estimate:
    """Turn logarithms into an estimate, and refuse what the data do not determine; `of_curve` is the curve's unit."""
    value, low, high, sd = logarithms
    first, last = observed
    number, ends = _exp(value), (_exp(low), _exp(high))
    unit = "s" if name.endswith(("time", "life")) else of_curve
    if name == "peak_time":
        return _peak_time(number, ends, observed)
    if name == "half_left_time" and (number >= last * (1 - 1e-6) or not np.isfinite(ends[1])):
        is_there = number >= last * (1 - 1e-6)
        note = f"more than half of the peak {'is' if is_there else 'may be'} there when the observation ends"
        return Estimate(None, min(ends[0], last), np.inf, unit, "profile likelihood", note)
    if name.endswith("half_time"):
        longest = LONGEST * (last - first)
        if number > longest or ends[1] > longest:
            note = f"longer than {LONGEST:g} times the observation of {time_text(last - first)} cannot be excluded"
            return Estimate(None, ends[0], np.inf, unit, "profile likelihood", note)
        if ends[0] == 0.0:
            note = f"how much shorter than {time_text(ends[1])} it may be is not told by these frames"
            return Estimate(None, 0.0, ends[1], unit, "profile likelihood", note)
    if number == 0.0:
        return Estimate(0.0, 0.0, ends[1] if np.isfinite(ends[1]) else 0.0, unit, "profile likelihood")
    if not (np.isfinite(ends[0]) and np.isfinite(ends[1])):
        ends = (number * float(np.exp(-1.96 * sd)), number * float(np.exp(1.96 * sd)))
        return Estimate(
            number, *ends, unit, "delta method", "the profile has no end; the interval is the delta method's"
        )
    return Estimate(number, *ends, unit, "profile likelihood")


def _exp(logarithm: float) -> float:
    return float(np.exp(logarithm)) if logarithm < _MOST else np.inf


def _peak_time(number: float, ends: tuple[float, float], observed: tuple[float, float]) -> Estimate:
    first, last = observed
    low = ends[0] if ends[0] > 10 * MOMENT * last else 0.0
    if number >= last * (1 - 1e-6):
        return Estimate(None, min(low, last), np.inf, "s", "profile likelihood", "not reached while observed")
    if not np.isfinite(ends[1]):
        note = "that it comes after the observation cannot be excluded"
        return Estimate(None, min(low, last), np.inf, "s", "profile likelihood", note)
    if number <= max(first, 10 * MOMENT * last):
        return Estimate(first, 0.0, ends[1], "s", "profile likelihood", "at or before the first frame")
    return Estimate(number, low, ends[1], "s", "profile likelihood")


def bound_only(estimate: Estimate) -> Estimate:
    """Keep only how long an uptake may have been at most, where none was chosen."""
    high = estimate.high if estimate.high is not None else np.inf
    return Estimate(None, 0.0, high, "s", "profile likelihood", "no uptake is seen; it was over by the first frames")


def beside_others(
    estimates: Mapping[str, Estimate], others: Mapping[Model, Array], observed: tuple[float, float]
) -> dict[str, Estimate]:
    """Return the half-times that other models put elsewhere, with a note of what those say.

    Args:
        estimates: of the chosen model.
        others: models that are as near by AIC, and their parameters (P,).
        observed: from the first frame's beginning to the last one's end, s.
    """
    noted = {}
    for name in ("uptake_half_time", "clearance_half_time"):
        own = estimates.get(name)
        if own is None or own.value is None:
            continue
        for model, theta in others.items():
            term = model.uptake if name == "uptake_half_time" else model.clearance
            if term is None or (model.signed and model.terms(theta).amplitudes[..., 0] <= 0):
                continue
            there = float(half_time(model, theta, term))
            if not own.holds(there):
                longest = LONGEST * (observed[1] - observed[0])
                text = time_text(there) if there <= longest else f"more than {time_text(longest)}"
                line = f"{text} by {model.name}, as near by AIC"
                noted[name] = replace(own, note="; ".join(filter(None, [own.note, line])))
                break
    return noted


def effective_of(biological: Estimate, physical: float) -> Estimate:
    """Return 1 / (1 / biological + 1 / physical) with its interval, which is closed even where the other is open."""

    def together(value: float | None) -> float | None:
        return None if value is None else 1.0 / ((1.0 / value if value > 0 else np.inf) + 1.0 / physical)

    value = together(biological.value)
    note = f"biological: {biological.note}" if biological.note else ""
    note = note if biological.value is not None else f"at most the physical half-life, {time_text(physical)}"
    return Estimate(value, together(biological.low), together(biological.high), "s", biological.how, note)
