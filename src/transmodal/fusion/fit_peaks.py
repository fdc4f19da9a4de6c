"""Where a fitted curve is highest, how high, and when half of that has left: between the first frame and the last.

Within the first frame nothing is told apart: of it the mean counts, as one value at its beginning. A sum of
exponentials may have any spike in there that no frame has seen.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from transmodal.fusion.curve_models import Model, area_between, peak_time, slope_at, value_at
from transmodal.fusion.least_squares import Problem, Quantity, covariance, delta_interval
from transmodal.fusion.model_averaging import Found

Array = npt.NDArray[np.float64]
MOMENT = 1e-6
"""Of the observation: a time that counts as its beginning."""
_LOOKS = 300
_HALVINGS = 26
_STEPS = np.concatenate([[0.0], np.geomspace(1e-3, 1.0, 60)])  # from the peak to the end, at which half may be gone


def log_value(model: Model, parameters: Array, times: npt.ArrayLike, floor: float = 1e-300) -> Array:
    """Return the logarithm of the curve at one time each, (…,); that of `floor` where it is below."""
    return np.asarray(np.log(np.maximum(value_at(model, parameters, times)[..., 0], floor)))


def window_of(problem: Problem, observed: tuple[float, float]) -> tuple[float, float, float]:
    """Return beginning and end of the first frame, and the end of the last, s."""
    return observed[0], float(problem.starts[0] + problem.durations[0]), observed[1]


@dataclass(frozen=True)
class Peak:
    """Logarithm of the highest value: of the curve after the first frame, or that frame's mean.

    Attributes:
        model: of the curve.
        first, opening, last: see `window_of`, s.
    """

    model: Model
    first: float
    opening: float
    last: float

    def mean(self, parameters: Array) -> Array:
        """Return the mean of the first frame, without decay."""
        if self.opening <= self.first:
            return value_at(self.model, parameters, [self.first])[..., 0]
        return area_between(self.model, parameters, self.first, self.opening) / (self.opening - self.first)

    def top(self, parameters: Array) -> tuple[Array, Array]:
        """Return when the curve is highest, `first` for the first frame, and how high."""
        after = peak_time(self.model, parameters, self.opening, self.last)
        mean, value = self.mean(parameters), value_at(self.model, parameters, after[..., None])[..., 0]
        opening = mean >= value
        return np.where(opening, self.first, after), np.where(opening, mean, value)

    def __call__(self, parameters: Array) -> Array:
        return _log(self.top(parameters)[1])

    def near(self, theta: Array) -> Quantity:
        """Return the value where the peak of `theta` is: there it changes as the peak does."""
        when = self.top(theta)[0][:, None]
        return lambda parameters: self._height(parameters, when)

    def _height(self, parameters: Array, when: Array) -> Array:
        value = value_at(self.model, parameters, when[..., None])[..., 0]
        return _log(np.where(when <= self.first, self.mean(parameters), value))


@dataclass(frozen=True)
class PeakTime(Peak):
    """Logarithm of the time of the highest value."""

    def __call__(self, parameters: Array) -> Array:
        return self._log(self.top(parameters)[0])

    def near(self, theta: Array) -> Quantity:
        """Return one step of Newton from the peak of `theta` to where the slope is 0; an edge stays."""
        when = self.top(theta)[0][:, None]
        terms = self.model.terms(theta)
        bent = (terms.amplitudes * terms.rates**2 * np.exp(-terms.rates * when)).sum(-1)[:, None]
        inside = (when > self.opening) & (when < self.last) & (bent < 0)

        def local(parameters: Array) -> Array:
            step = slope_at(self.model, parameters, when[..., None])[..., 0] / np.where(inside, bent, -np.inf)
            return self._log(np.clip(when - step, self.first, self.last))

        return local

    def _log(self, times: Array) -> Array:
        return np.asarray(np.log(np.maximum(times, MOMENT * self.last)))


@dataclass(frozen=True)
class HalfLeft(Peak):
    """Logarithm of the time, after the peak, at which half of it has left; that of the end where it has not."""

    def __call__(self, parameters: Array) -> Array:
        top, value = self.top(parameters)
        half = value[..., None] / 2
        times = top[..., None] + (self.last - top)[..., None] * _STEPS
        below = value_at(self.model, parameters, times) < half
        place = np.maximum(below.argmax(-1), 1)[..., None]
        low, high = (np.take_along_axis(times, place - back, -1)[..., 0] for back in (1, 0))
        terms = self.model.terms(parameters)
        for _ in range(_HALVINGS):
            middle = (low + high) / 2
            above = (terms.amplitudes * np.exp(-terms.rates * middle[..., None])).sum(-1) > half[..., 0]
            low, high = np.where(above, middle, low), np.where(above, high, middle)
        return np.asarray(np.log(np.maximum(np.where(below.any(-1), (low + high) / 2, self.last), MOMENT * self.last)))

    def near(self, theta: Array) -> Quantity:
        """Return one step of Newton from the moment of `theta` to where half is left; the end stays."""
        top, moment = self.top(theta)[0][:, None], np.exp(self(theta))[:, None]
        value = np.maximum(value_at(self.model, theta, moment), 1e-300)
        steep = slope_at(self.model, theta, moment) / value
        inside = (moment < self.last * (1 - 1e-9)) & (steep < 0)

        def local(parameters: Array) -> Array:
            left = log_value(self.model, parameters, moment[..., None]) - self._height(parameters, top)
            step = (left + np.log(2.0)) / np.where(inside, steep, -np.inf)
            return np.asarray(np.log(np.clip(moment - step, MOMENT * self.last, self.last)))

        return local


def never_half(
    model: Model, problem: Problem, theta: Array, threshold: Array, observed: tuple[float, float], found: Found | None
) -> Found:
    """Return when half has left, also where that is not before the end: after it, if surely more is left there."""
    last = observed[1]
    peak = Peak(model, *window_of(problem, observed))

    def left(parameters: Array) -> Array:
        return log_value(model, parameters, [last]) - peak(parameters) + np.log(2.0)

    surely = delta_interval(problem, theta, left, threshold)[1] > 0
    end = np.full(len(theta), np.log(last))
    if found is None:
        found = (end, end, end, np.zeros(len(theta)))
    value, low, high, sd = found
    late = value >= end - 1e-6
    low = np.where(late, np.where(surely, end, -np.inf), low)
    return value, low, np.where(late, np.inf, high), sd


def at_the_edges(
    model: Model, problem: Problem, theta: Array, threshold: Array, observed: tuple[float, float], found: Found | None
) -> Found:
    """Return the logarithm of the peak time with its ends, where it is the first or the last moment observed, too.

    There no likelihood has a profile.
    """
    first, last = observed
    flat = where_flat(model, problem, theta, threshold, observed)
    if found is None:
        return flat
    edge = (found[0] <= np.log(max(first, MOMENT * last)) + 1e-9) | (found[0] >= np.log(last) - 1e-9)
    value, low, high, sd = (np.where(edge, *pair) for pair in zip(flat, found, strict=True))
    return value, low, high, sd


def where_flat(model: Model, problem: Problem, theta: Array, threshold: Array, observed: tuple[float, float]) -> Found:
    """Return the logarithm of the peak time, and around it where the curve may be as high, by the delta method.

    It ends where the curve surely falls, or surely rises towards it, or is surely lower than the peak surely is, and is
    open where it is neither. Within the first frame nothing is told apart, nor in the last.
    """
    first, last = observed
    begin = MOMENT * last
    own = Peak(model, *window_of(problem, observed))
    when = own.top(theta)[0]
    surely = np.exp(delta_interval(problem, theta, own, threshold)[1])[:, None]
    times = first + (last - first) * np.concatenate([[0.0], np.geomspace(1e-4, 1.0, _LOOKS)])
    slope, value = slope_at(model, theta, times), value_at(model, theta, times)
    slope_reach = _reach(model, problem, theta, threshold, times, slope=True)
    lower = value + _reach(model, problem, theta, threshold, times, slope=False) - surely
    low, high = np.full((2, len(theta)), np.log(begin))
    for place, top in enumerate(when):
        after = min(_crossing(times, margin[place], top, 1) for margin in (slope + slope_reach, lower))
        high[place] = np.log(max(after, own.opening))
        before = max(_crossing(times, margin[place], top, -1) for margin in (slope_reach - slope, lower))
        if top > first:
            low[place] = np.log(max(min(before, problem.starts[-1]), begin))
    early, late = when <= max(first, begin), when >= last * (1 - 1e-9)
    low, high = np.where(early | (low <= np.log(begin)), -np.inf, low), np.where(late, np.inf, high)
    return np.log(np.maximum(when, begin)), low, high, np.zeros(len(theta))


def _crossing(times: Array, margin: Array, top: float, side: int) -> float:
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


def _reach(model: Model, problem: Problem, theta: Array, threshold: Array, times: Array, *, slope: bool) -> Array:
    """Return how far the value, or the slope, at some times may lie off, (B, T), by the delta method."""
    step = 1e-5
    shifts = np.eye(theta.shape[-1]) * step
    around = theta[:, None, :]
    of = slope_at if slope else value_at
    by_parameter = (of(model, around + shifts, times) - of(model, around - shifts, times)) / (2 * step)
    variance = np.einsum("bpt,bpq,bqt->bt", by_parameter, covariance(problem, theta), by_parameter)
    return np.asarray(np.sqrt(np.maximum(variance, 0.0) * threshold[:, None]))


def _log(values: Array) -> Array:
    return np.asarray(np.log(np.maximum(values, 1e-300)))
