"""What a fitted curve says: half-times, peak, %ID at any time, each with its interval or why there is none."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from transmodal.fusion.curve_models import Model, half_time, peak_time, slope_at, value_at
from transmodal.fusion.estimates import Estimate, time_text
from transmodal.fusion.least_squares import Problem, Quantity, covariance, delta_interval, profile_interval
from transmodal.fusion.model_averaging import Found

Array = npt.NDArray[np.float64]
_MOMENT = 1e-6
"""Of the observation: a time that counts as its beginning."""
_LOOKS = 300
LONGEST = 10.0
"""Half-times longer than so many times the observation are not given as a number."""


def profiles(
    model: Model, problem: Problem, theta: Array, threshold: Array, observed: tuple[float, float], at: Sequence[float]
) -> dict[str, Found]:
    """Return value, ends and standard deviation of the logarithm of each quantity, (B,) each, by their profiles."""
    quantities = {**_shared(model, observed, at), **_half_times(model)}
    found = {name: profile_interval(problem, theta, quantity, threshold) for name, quantity in quantities.items()}
    found["peak_time"] = _at_the_edges(model, problem, theta, threshold, observed, found.get("peak_time"))
    if model.signed:  # what leaves last is seen only where it is there
        value, low, high, sd = found["clearance_half_time"]
        gone = model.terms(theta).amplitudes[..., 0] <= 0
        found["clearance_half_time"] = (np.where(gone, np.inf, value), np.where(gone, -np.inf, low), high, sd)
    return found


def by_slopes(
    model: Model, problem: Problem, theta: Array, threshold: Array, observed: tuple[float, float], at: Sequence[float]
) -> dict[str, Found]:
    """Return the same by the delta method, much quicker, of what means the same in every model: no half-times."""
    quantities = _shared(model, observed, at)
    quantities.pop("peak_time", None)
    found = {name: delta_interval(problem, theta, quantity, threshold) for name, quantity in quantities.items()}
    found["peak_time"] = _where_flat(model, problem, theta, threshold, observed)
    return found


def _half_times(model: Model) -> dict[str, Quantity]:
    def log_half_time(term: int) -> Quantity:
        return lambda parameters: np.log(half_time(model, parameters, term))

    terms = {
        "uptake_half_time": model.uptake, "clearance_half_time": model.clearance,
        "fast_clearance_half_time": model.fast,
    }  # fmt: skip
    return {name: log_half_time(term) for name, term in terms.items() if term is not None}


def _shared(model: Model, observed: tuple[float, float], at: Sequence[float]) -> dict[str, Quantity]:
    """Return the quantities that every model has: peak, its time where it may lie within, values at some times."""

    def value_when(time: float) -> Quantity:
        return lambda parameters: _log_value(model, parameters, [time])

    quantities: dict[str, Quantity] = {"peak": _Peak(model, *observed)}
    if model.can_rise and model.can_fall:
        quantities["peak_time"] = _PeakTime(model, *observed)
    return quantities | {f"at {time:g}": value_when(time) for time in at}


def _log_value(model: Model, parameters: Array, times: npt.ArrayLike) -> Array:
    return np.asarray(np.log(np.maximum(value_at(model, parameters, times)[..., 0], 1e-300)))


@dataclass(frozen=True)
class _Peak:
    """Logarithm of the highest value between two times."""

    model: Model
    first: float
    last: float

    def when(self, parameters: Array) -> Array:
        return peak_time(self.model, parameters, self.first, self.last)

    def __call__(self, parameters: Array) -> Array:
        return _log_value(self.model, parameters, self.when(parameters)[..., None])

    def near(self, theta: Array) -> Quantity:
        """Return the value where the peak of `theta` is: there it changes as the peak does."""
        when = self.when(theta)[:, None, None]
        return lambda parameters: _log_value(self.model, parameters, when)


@dataclass(frozen=True)
class _PeakTime(_Peak):
    """Logarithm of the time of the highest value."""

    def __call__(self, parameters: Array) -> Array:
        return self._log(self.when(parameters))

    def near(self, theta: Array) -> Quantity:
        """Return one step of Newton from the peak of `theta` to where the slope is 0; an edge stays."""
        when = self.when(theta)[:, None]
        terms = self.model.terms(theta)
        bent = (terms.amplitudes * terms.rates**2 * np.exp(-terms.rates * when)).sum(-1)[:, None]
        inside = (when > self.first) & (when < self.last) & (bent < 0)

        def local(parameters: Array) -> Array:
            step = slope_at(self.model, parameters, when[..., None])[..., 0] / np.where(inside, bent, -np.inf)
            return self._log(np.clip(when - step, self.first, self.last))

        return local

    def _log(self, times: Array) -> Array:
        return np.asarray(np.log(np.maximum(times, _MOMENT * self.last)))


def _at_the_edges(
    model: Model, problem: Problem, theta: Array, threshold: Array, observed: tuple[float, float], found: Found | None
) -> Found:
    """Return the logarithm of the peak time with its ends, where it is the first or the last moment observed, too.

    There no likelihood has a profile.
    """
    first, last = observed
    flat = _where_flat(model, problem, theta, threshold, observed)
    if found is None:
        return flat
    edge = (found[0] <= np.log(max(first, _MOMENT * last)) + 1e-9) | (found[0] >= np.log(last) - 1e-9)
    value, low, high, sd = (np.where(edge, *pair) for pair in zip(flat, found, strict=True))
    return value, low, high, sd


def _where_flat(model: Model, problem: Problem, theta: Array, threshold: Array, observed: tuple[float, float]) -> Found:
    """Return the logarithm of the peak time, and around it where the slope is not told from 0, by the delta method.

    It ends where the curve surely falls, or surely rises towards it, and is open where it does neither. Within the
    first frame nothing is told apart, nor in the last.
    """
    first, last = observed
    begin = _MOMENT * last
    peak = peak_time(model, theta, first, last)
    times = first + (last - first) * np.concatenate([[0.0], np.geomspace(1e-4, 1.0, _LOOKS)])
    slope = slope_at(model, theta, times)
    reach = _reach_of_slopes(model, problem, theta, threshold, times)
    low, high = np.full((2, len(theta)), np.log(begin))
    for place, top in enumerate(peak):
        after = _crossings(times, (slope + reach)[place], top, 1)
        high[place] = np.log(max(after, problem.starts[0] + problem.durations[0]))
        before = _crossings(times, (reach - slope)[place], top, -1)
        if top > first:
            low[place] = np.log(max(min(before, problem.starts[-1]), begin))
    early, late = peak <= max(first, begin), peak >= last * (1 - 1e-9)
    low, high = np.where(early | (low <= np.log(begin)), -np.inf, low), np.where(late, np.inf, high)
    return np.log(np.maximum(peak, begin)), low, high, np.zeros(len(theta))


def _crossings(times: Array, margin: Array, top: float, side: int) -> float:
    """Return where a margin first falls below 0, from a moment on to one side; infinite, or 0, where it does not."""
    beyond = np.flatnonzero((margin < 0) & ((times > top) if side > 0 else (times < top)))
    if not beyond.size:
        return np.inf if side > 0 else 0.0
    place = int(beyond[0] if side > 0 else beyond[-1])
    before = place - side
    if not 0 <= before < len(times) or margin[before] < 0 or (times[before] - top) * side < 0:
        return float(times[place])
    share = margin[before] / (margin[before] - margin[place])
    return float(times[before] + share * (times[place] - times[before]))


def _reach_of_slopes(model: Model, problem: Problem, theta: Array, threshold: Array, times: Array) -> Array:
    """Return how far the slope at some times may lie off, (B, T), by the delta method."""
    step = 1e-5
    shifts = np.eye(theta.shape[-1]) * step
    around = theta[:, None, :]
    by_parameter = (slope_at(model, around + shifts, times) - slope_at(model, around - shifts, times)) / (2 * step)
    variance = np.einsum("bpt,bpq,bqt->bt", by_parameter, covariance(problem, theta), by_parameter)
    return np.asarray(np.sqrt(np.maximum(variance, 0.0) * threshold[:, None]))


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
