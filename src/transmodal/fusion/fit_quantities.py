"""What a fitted curve says: half-times, peak, %ID at any time, each with its interval or why there is none."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from transmodal.fusion.curve_models import Model, half_time, peak_time
from transmodal.fusion.estimates import Estimate, time_text
from transmodal.fusion.least_squares import Problem, Quantity, profile_interval

Array = npt.NDArray[np.float64]
LONGEST = 10.0
"""Half-times longer than so many times the observation are not given as a number."""


def profiles(
    model: Model, problem: Problem, theta: Array, threshold: Array, observed: tuple[float, float], at: Sequence[float]
) -> dict[str, tuple[Array, Array, Array, Array]]:
    """Return value, ends and standard deviation of the logarithm of each quantity, (B,) each."""
    first, last = observed

    def log_half_time(term: int) -> Quantity:
        return lambda parameters: np.log(half_time(model, parameters, term))

    def log_value(parameters: Array, time: npt.ArrayLike) -> Array:
        terms = model.terms(parameters)
        value = (terms.amplitudes * np.exp(-terms.rates * np.asarray(time)[..., None])).sum(-1)
        return np.log(np.maximum(value, 1e-300))

    def value_when(time: float) -> Quantity:
        return lambda parameters: log_value(parameters, time)

    def log_peak(parameters: Array) -> Array:
        return log_value(parameters, np.clip(peak_time(model, parameters, last), first, last))

    def log_peak_time(parameters: Array) -> Array:
        return np.log(np.clip(peak_time(model, parameters, last), 1e-6 * last, 1e6 * last))

    quantities: dict[str, Quantity] = {"peak": log_peak}
    for name, term in (
        ("uptake_half_time", model.uptake), ("clearance_half_time", model.clearance),
        ("fast_clearance_half_time", model.fast),
    ):  # fmt: skip
        if term is not None:
            quantities[name] = log_half_time(term)
    if model.uptake is not None and model.clearance is not None:
        quantities["peak_time"] = log_peak_time
    for time in at:
        quantities[f"at {time:g}"] = value_when(time)
    found = {name: profile_interval(problem, theta, quantity, threshold) for name, quantity in quantities.items()}
    if "peak_time" not in found:  # a curve that only falls, or only rises
        # Within the first frame nothing is told apart; and of what only rises, only that the peak comes late.
        end = float(problem.starts[0] + problem.durations[0])
        edges = (0.0, 0.0, end, 0.0) if model.uptake is None else (np.inf, float(problem.starts[-1]), np.inf, 1.0)
        with np.errstate(divide="ignore"):
            value, low, high, sd = (np.full(len(theta), np.log(edge)) for edge in edges)
        found["peak_time"] = (value, low, high, sd)
    return found


def estimate_of(
    name: str, logarithms: tuple[float, float, float, float], observed: tuple[float, float], of_curve: str = "%ID"
) -> Estimate:
    """Turn logarithms into an estimate, and refuse what the data do not determine; `of_curve` is the curve's unit."""
    value, low, high, sd = logarithms
    first, last = observed
    number, ends = float(np.exp(value)), (float(np.exp(low)), float(np.exp(high)))
    unit = "s" if name.endswith(("time", "life")) else of_curve
    if name == "peak_time":
        if number > last or ends[1] > LONGEST * last:
            return Estimate(None, min(ends[0], last), np.inf, unit, "profile likelihood", "not reached while observed")
        if number <= max(first, 1e-5 * last):
            return Estimate(first, 0.0, ends[1], unit, "profile likelihood", "at or before the first frame")
        return Estimate(number, ends[0] if ends[0] > 1e-5 * last else 0.0, ends[1], unit, "profile likelihood")
    if name.endswith("half_time"):
        longest = LONGEST * (last - first)
        if number > longest or ends[1] > longest:
            note = f"longer than {LONGEST:g} times the observation of {time_text(last - first)} cannot be excluded"
            return Estimate(None, ends[0], np.inf, unit, "profile likelihood", note)
        if ends[0] == 0.0:
            return Estimate(None, 0.0, ends[1], unit, "profile likelihood", "too quick for these frames")
    if not (np.isfinite(ends[0]) and np.isfinite(ends[1])):
        ends = (number * float(np.exp(-1.96 * sd)), number * float(np.exp(1.96 * sd)))
        return Estimate(
            number, *ends, unit, "delta method", "the profile has no end; the interval is the delta method's"
        )
    return Estimate(number, *ends, unit, "profile likelihood")


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
