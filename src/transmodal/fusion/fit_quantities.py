"""What a fitted curve says: half-times, peak, %ID at any time, each with its interval or why there is none."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from transmodal.fusion.curve_models import Model, half_time, peak_time, slope_at, value_at
from transmodal.fusion.estimates import Estimate, time_text
from transmodal.fusion.least_squares import Problem, Quantity, covariance, profile_interval

Array = npt.NDArray[np.float64]
_Found = tuple[Array, Array, Array, Array]
_MOMENT = 1e-6
"""Of the observation: a time that counts as its beginning."""
_LOOKS = 300
LONGEST = 10.0
"""Half-times longer than so many times the observation are not given as a number."""


def profiles(
    model: Model, problem: Problem, theta: Array, threshold: Array, observed: tuple[float, float], at: Sequence[float]
) -> dict[str, tuple[Array, Array, Array, Array]]:
    """Return value, ends and standard deviation of the logarithm of each quantity, (B,) each."""
    first, last = observed

    def log_half_time(term: int) -> Quantity:
        return lambda parameters: np.log(half_time(model, parameters, term))

    def log_value(parameters: Array, times: npt.ArrayLike) -> Array:
        return np.log(np.maximum(value_at(model, parameters, times)[..., 0], 1e-300))

    def value_when(time: float) -> Quantity:
        return lambda parameters: log_value(parameters, [time])

    def when(parameters: Array) -> Array:
        return peak_time(model, parameters, first, last)

    def log_peak(parameters: Array) -> Array:
        return log_value(parameters, when(parameters)[..., None])

    def log_peak_time(parameters: Array) -> Array:
        return np.log(np.maximum(when(parameters), _MOMENT * last))

    quantities: dict[str, Quantity] = {"peak": log_peak}
    for name, term in (
        ("uptake_half_time", model.uptake), ("clearance_half_time", model.clearance),
        ("fast_clearance_half_time", model.fast),
    ):  # fmt: skip
        if term is not None:
            quantities[name] = log_half_time(term)
    if model.can_rise and model.can_fall:
        quantities["peak_time"] = log_peak_time
    for time in at:
        quantities[f"at {time:g}"] = value_when(time)
    found = {name: profile_interval(problem, theta, quantity, threshold) for name, quantity in quantities.items()}
    found["peak_time"] = _at_the_edges(model, problem, theta, threshold, observed, found.get("peak_time"))
    if model.signed:  # what leaves last is seen only where it is there
        value, low, high, sd = found["clearance_half_time"]
        gone = model.terms(theta).amplitudes[..., 0] <= 0
        found["clearance_half_time"] = (np.where(gone, np.inf, value), np.where(gone, -np.inf, low), high, sd)
    return found


def _at_the_edges(
    model: Model, problem: Problem, theta: Array, threshold: Array, observed: tuple[float, float], found: _Found | None
) -> _Found:
    """Return the logarithm of the peak time with its ends, where it is the first or the last moment observed, too.

    There no likelihood has a profile. The other end is where the slope is first told from 0: falling after the first
    moment, or rising before the last one, but within the first frame nothing is told apart.
    """
    first, last = observed
    times = first + (last - first) * np.concatenate([[0.0], np.geomspace(1e-4, 1.0, _LOOKS)])
    if found is None:
        value = np.full(len(theta), np.log(last) if model.can_rise else np.log(max(first, _MOMENT * last)))
        found = (value, value.copy(), value.copy(), np.zeros(len(theta)))
    value, low, high, sd = (each.copy() for each in found)
    early, late = value <= np.log(max(first, _MOMENT * last)) + 1e-9, value >= np.log(last) - 1e-9
    if not (early | late).any():
        return value, low, high, sd
    rising, falling = _slopes_told(model, problem, theta, threshold, times)
    for place in np.flatnonzero(early):
        end = times[falling[place].argmax()] if falling[place].any() else last
        low[place], high[place] = -np.inf, np.log(max(end, problem.starts[0] + problem.durations[0]))
    for place in np.flatnonzero(late):
        begin = times[np.flatnonzero(rising[place])[-1]] if rising[place].any() else first
        low[place], high[place] = np.log(max(min(begin, problem.starts[-1]), _MOMENT * last)), np.inf
    return value, low, high, sd


def _slopes_told(
    model: Model, problem: Problem, theta: Array, threshold: Array, times: Array
) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
    """Return where the fitted curve surely rises, and where it surely falls, (B, T) each; by the delta method."""
    step = 1e-5
    shifts = np.eye(theta.shape[-1]) * step
    around = theta[:, None, :]
    by_parameter = (slope_at(model, around + shifts, times) - slope_at(model, around - shifts, times)) / (2 * step)
    spread = covariance(problem, theta)
    variance = np.einsum("bpt,bpq,bqt->bt", by_parameter, spread, by_parameter)
    reach = np.sqrt(np.maximum(variance, 0.0) * threshold[:, None])
    slope = slope_at(model, theta, times)
    return slope > reach, slope < -reach


def estimate_of(
    name: str, logarithms: tuple[float, float, float, float], observed: tuple[float, float], of_curve: str = "%ID"
) -> Estimate:
    """Turn logarithms into an estimate, and refuse what the data do not determine; `of_curve` is the curve's unit."""
    value, low, high, sd = logarithms
    first, last = observed
    number, ends = float(np.exp(value)), (float(np.exp(low)), float(np.exp(high)))
    unit = "s" if name.endswith(("time", "life")) else of_curve
    if name == "peak_time":
        return _peak_time(number, ends, observed)
    if name.endswith("half_time"):
        longest = LONGEST * (last - first)
        if number > longest or ends[1] > longest:
            note = f"longer than {LONGEST:g} times the observation of {time_text(last - first)} cannot be excluded"
            return Estimate(None, ends[0], np.inf, unit, "profile likelihood", note)
        if ends[0] == 0.0:
            note = f"how much shorter than {time_text(ends[1])} it may be is not told by these frames"
            return Estimate(None, 0.0, ends[1], unit, "profile likelihood", note)
    if not (np.isfinite(ends[0]) and np.isfinite(ends[1])):
        ends = (number * float(np.exp(-1.96 * sd)), number * float(np.exp(1.96 * sd)))
        return Estimate(
            number, *ends, unit, "delta method", "the profile has no end; the interval is the delta method's"
        )
    return Estimate(number, *ends, unit, "profile likelihood")


def _peak_time(number: float, ends: tuple[float, float], observed: tuple[float, float]) -> Estimate:
    first, last = observed
    low = ends[0] if ends[0] > 10 * _MOMENT * last else 0.0
    if number >= last * (1 - 1e-6):
        return Estimate(None, min(low, last), np.inf, "s", "profile likelihood", "not reached while observed")
    if not np.isfinite(ends[1]):
        note = "that it comes after the observation cannot be excluded"
        return Estimate(None, min(low, last), np.inf, "s", "profile likelihood", note)
    if number <= max(first, 10 * _MOMENT * last):
        return Estimate(first, 0.0, ends[1], "s", "profile likelihood", "at or before the first frame")
    return Estimate(number, low, ends[1], "s", "profile likelihood")


def bound_only(estimate: Estimate) -> Estimate:
    """Keep only how long an uptake may have been at most, where none was chosen."""
    high = estimate.high if estimate.high is not None else np.inf
    return Estimate(None, 0.0, high, "s", "profile likelihood", "no uptake is seen; it was over by the first frames")


def effective_of(biological: Estimate, physical: float) -> Estimate:
    """Return 1 / (1 / biological + 1 / physical) with its interval, which is closed even where the other is open."""

    def together(value: float | None) -> float | None:
        return None if value is None else 1.0 / ((1.0 / value if value > 0 else np.inf) + 1.0 / physical)

    value = together(biological.value)
    note = "" if biological.value is not None else f"at most the physical half-life, {time_text(physical)}"
    return Estimate(value, together(biological.low), together(biological.high), "s", biological.how, note)
