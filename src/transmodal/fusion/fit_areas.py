"""Area under a curve: what the frames hold, and what the fit says comes before, between and after them.

Between frames that do not touch, a trapezoid misses what a curve does there: an hour's gap in a curve that halves in
40 minutes gives 9 % too much. So the fit fills the gaps; the plain trapezoid over middles is given beside it.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from transmodal.fusion.curve_models import area_between, value_at
from transmodal.fusion.estimates import Estimate
from transmodal.fusion.fit_quantities import LONGEST
from transmodal.fusion.least_squares import Problem, covariance, gradient, residuals_of
from transmodal.fusion.model_averaging import averaged_ends
from transmodal.images.nuclear.decay import mean_over

Array = npt.NDArray[np.float64]
_HOUR = 3600.0
_NOTHING = 0.01  # of the highest frame: the fit does not say what a frame's shape is
_NEGLIGIBLE = 0.01  # of the observed area: a tail so small need not be known for the total
_TELLING = 100.0  # a bound further below the value says nothing
_NO_TAIL = "no end is seen: from nothing after the last frame to decay alone, or to a rise that goes on"
_OTHER = "a model that fits no worse lets it have no end"


@dataclass(frozen=True)
class Area:
    """Areas under the decay-corrected curve, in its unit times hours (%ID·h), and under the decaying one.

    Attributes:
        observed: from the first frame to the last: what each frame holds, and the fit in gaps between them.
        trapezoid: of the frames' decay-corrected values at their middles, for comparison.
        before: from the injection to the first frame, by the fit.
        tail: after the last frame, by the fit.
        total: all three; not determined where the tail is not.
        tail_share: of the tail in the total, 0…1; NaN where that is not determined.
        decaying: the same total with the isotope's decay (of %ID: MBq·h per 100 MBq injected); where the tail is not
            determined, bounds: nothing after the last frame, and what was there then leaving by decay alone.
    """

    observed: Estimate
    trapezoid: float
    before: float
    tail: Estimate
    total: Estimate
    tail_share: float
    decaying: Estimate


def areas(
    problem: Problem,
    theta: Array,
    threshold: Array,
    half_life: float,
    seen: tuple[float, float],
    unit: str = "%ID",
) -> list[Area]:
    """Return the areas of each curve.

    Args:
        problem: curves with decay in them, means of frames.
        theta: (B, P), their fits.
        threshold: (B,), of Δχ²; 3.84 for 95 %, more where frames scatter.
        half_life: of the isotope, s; infinite when not known.
        seen: beginning of the first frame and end of the last, s.
        unit: of the curves.

    Intervals of sums are by the delta method with the correlation of frames and fit: both are linear in the frames.
    """
    decay = 0.0 if np.isinf(half_life) else float(np.log(2.0) / half_life)
    constant = mean_over(half_life, problem.starts, problem.durations)
    corrected, decaying = _parts(problem, theta, seen, 0.0), _parts(problem, theta, seen, decay)
    middles = problem.starts + problem.durations / 2
    trapezoids = np.atleast_1d(np.trapezoid(problem.values / constant, middles, axis=1)) / _HOUR
    reach, of_area = np.sqrt(threshold), f"{unit}·h"
    made = []
    # Of what stays, the tail would be as long as the bound of its rate lets it be.
    endless = problem.model.terms(theta).rates.min(-1) < np.log(2.0) / (LONGEST * (seen[1] - seen[0]))
    no_isotope = Estimate(None, unit=of_area, note="no isotope is known")
    lingering, lingering_sd = _by_decay_alone(problem, theta, seen[1], decay)
    for i in range(len(theta)):
        observed, before, tail, total = ((value[i] / _HOUR, sd[i] / _HOUR) for value, sd in corrected)
        seen_estimate = _closed(*observed, reach[i], of_area)
        tail_estimate, total_estimate = _open(*tail, reach[i], of_area), _open(*total, reach[i], of_area)
        if endless[i] and tail[0] > _NEGLIGIBLE * observed[0]:
            tail_estimate = Estimate(None, 0.0, np.inf, of_area, note="the curve shows no end")
        if tail_estimate.value is None and tail[0] + reach[i] * tail[1] > _NEGLIGIBLE * observed[0]:
            total_estimate = Estimate(None, observed[0], np.inf, of_area, "", "the curve has no end that the data show")
        held, earlier, late, all_decaying = ((value[i] / _HOUR, sd[i] / _HOUR) for value, sd in decaying)
        with_decay = _open(*all_decaying, reach[i], of_area) if decay else no_isotope
        if decay and tail_estimate.value is None and max(late[0], lingering[i]) > _NEGLIGIBLE * held[0]:
            so_far, margin = held[0] + max(earlier[0], 0.0), reach[i] * (held[1] + earlier[1])
            lasting = so_far + lingering[i] + margin + reach[i] * lingering_sd[i]
            rising = with_decay.high if with_decay.high is not None else np.inf  # more may come than was there
            low, high = float(max(so_far - margin, 0.0)), float(max(lasting, rising))
            with_decay = Estimate(None, low, high, of_area, "delta method", _NO_TAIL)
        made.append(
            Area(
                seen_estimate,
                float(trapezoids[i]),
                float(before[0]),
                _not_below(tail_estimate, 0.0),
                _not_below(total_estimate, max(seen_estimate.low or 0.0, 0.0)),
                float(tail[0] / total[0]) if total_estimate.value is not None else np.nan,
                with_decay,
            )
        )
    return made


def across_models(chosen: Sequence[Area], scores: Array, weights: Array, every: Sequence[Sequence[Area]]) -> list[Area]:
    """Return areas whose intervals allow for not knowing the model (`model_averaging`); values stay the chosen one's.

    A model that does not determine an area says nothing of it, unless it fits the curve better than the chosen one.

    Args:
        chosen: of B curves.
        scores: (K, B), AIC of other models above the chosen one's.
        weights: (K + 1, B), of the chosen model and of the others; 0 where a model says nothing.
        every: (K, B), of the others; anything where the weight is 0.
    """
    result = []
    for i, own in enumerate(chosen):
        there = [k for k in range(len(every)) if weights[k + 1, i] > 0]
        share = weights[[0, *(k + 1 for k in there)], i]
        better = [True, *(bool(scores[k, i] < 0) for k in there)]
        areas_there = [own, *(every[k][i] for k in there)]
        observed, tail, total, decaying = (
            _across([getattr(area, name) for area in areas_there], share, better)
            for name in ("observed", "tail", "total", "decaying")
        )
        tail, total = _not_below(tail, 0.0), _not_below(total, max(observed.low or 0.0, 0.0))
        known = own.tail_share if total.value is not None else np.nan
        made = replace(own, observed=observed, tail=tail, total=total, decaying=decaying, tail_share=known)
        result.append(made)
    return result


def _not_below(estimate: Estimate, least: float) -> Estimate:
    """Raise the lower end of an interval to what is known to be there; the value's own side stays."""
    most = np.inf if estimate.value is None else estimate.value
    return estimate if estimate.low is None else replace(estimate, low=min(max(estimate.low, least), most))


def _across(estimates: Sequence[Estimate], weights: Array, better: Sequence[bool]) -> Estimate:
    """Return the first of some estimates of the same quantity, its interval widened by the others."""
    own = estimates[0]
    telling = [own.low is not None] + [
        each.low is not None and each.high is not None and (each.value is not None or is_better)
        for each, is_better in zip(estimates[1:], better[1:], strict=True)
    ]
    if not telling[0] or sum(telling) == 1:
        return own
    ends = [(each.low, each.high, each.value) for each, tells in zip(estimates, telling, strict=True) if tells]
    lows, highs = (np.array([end[side] for end in ends], dtype=np.float64) for side in (0, 1))
    values = np.array([low if value is None else value for low, _, value in ends], dtype=np.float64)
    low, high = averaged_ends(values, lows, highs, weights[np.array(telling)])
    if own.value is None:
        return replace(own, low=min(low, float(lows[0])), high=max(high, float(highs[0])))
    low, high = min(low, own.value), max(high, own.value)
    if np.isinf(high):
        return Estimate(None, low, np.inf, own.unit, own.how, _OTHER)
    return replace(own, low=low, high=high)


def _by_decay_alone(problem: Problem, theta: Array, last: float, decay: float) -> tuple[Array, Array]:
    """Return the area after the last frame if then nothing left but by decay, and its deviation, (B,), per hour."""
    if not decay:
        return np.zeros(len(theta)), np.zeros(len(theta))

    def lingering(parameters: Array) -> Array:
        there = value_at(problem.model, parameters, np.array([last]))[..., 0]
        return np.asarray(np.maximum(there, 0.0) * np.exp(-decay * last) / decay / _HOUR)

    slope = gradient(lingering, theta)
    variance = np.einsum("bp,bpq,bq->b", slope, covariance(problem, theta), slope)
    return lingering(theta), np.sqrt(np.maximum(variance, 0.0))


def _parts(problem: Problem, theta: Array, seen: tuple[float, float], decay: float) -> list[tuple[Array, Array]]:
    """Return observed, before, tail and total as (value, standard deviation), (B,) each, %ID·s."""
    model, (first, last) = problem.model, seen
    spread = covariance(problem, theta)
    _, slopes = residuals_of(problem, theta)
    # How the parameters follow the frames: (JᵀWJ)⁻¹JᵀW.
    follows = (spread @ slopes.transpose(0, 2, 1)) / np.sqrt(problem.variances)[:, None, :]  # (B, P, F)

    def before(parameters: Array) -> Array:
        return area_between(model, parameters, 0.0, first, decay)

    def gaps(parameters: Array) -> Array:
        total = np.zeros(parameters.shape[:-1])
        for end, start in zip((problem.starts + problem.durations)[:-1], problem.starts[1:], strict=True):
            if start > end:
                total = total + area_between(model, parameters, end, start, decay)
        return total

    def tail(parameters: Array) -> Array:
        return area_between(model, parameters, last, np.inf, decay)

    # How much area a frame's mean stands for: its duration, but for decay within it, which the fit's shape takes back.
    frames = zip(problem.starts, problem.durations, strict=True)
    own = np.stack([area_between(model, theta, start, start + long, decay) for start, long in frames], axis=-1)
    share = _share(own, problem, theta, decay)
    around, inside, after = (np.einsum("bp,bpf->bf", gradient(each, theta), follows) for each in (before, gaps, tail))
    inner = np.asarray((problem.values * share).sum(-1) + gaps(theta), dtype=np.float64)
    values = [inner, before(theta), tail(theta), inner + before(theta) + tail(theta)]
    by_frames = [share + inside, around, after, share + inside + around + after]
    return [
        (np.asarray(value, dtype=np.float64), np.sqrt((slope**2 * problem.variances).sum(-1)))
        for value, slope in zip(values, by_frames, strict=True)
    ]


def _share(own: Array, problem: Problem, theta: Array, decay: float) -> Array:
    """Return the area of each frame by its mean, (B, F), s; where the fit has nothing there, that of what stays."""

    def mean_of(rate: float) -> Array:
        life = np.log(2.0) / rate if rate else np.inf
        return np.asarray(mean_over(life, problem.starts, problem.durations), dtype=np.float64)

    constant = problem.durations * mean_of(decay) / mean_of(problem.decay)
    means = problem.means(theta)
    known = means > _NOTHING * np.abs(means).max(axis=-1, keepdims=True)
    share = np.where(known, own / np.where(known, means, 1.0), constant)
    return np.asarray(np.clip(share, constant / 2, constant * 2))


def _closed(value: float, sd: float, reach: float, unit: str) -> Estimate:
    return Estimate(float(value), float(value - reach * sd), float(value + reach * sd), unit, "delta method")


def _open(value: float, sd: float, reach: float, unit: str) -> Estimate:
    """Return an estimate on the scale of logarithms; not determined where its own interval is wider than tenfold."""
    if not np.isfinite(value) or value <= 0:
        return Estimate(None, 0.0, np.inf, unit, note="the curve shows no end")
    relative = reach * sd / value
    spread = float(np.exp(min(relative, 50.0)))
    low, high = float(value / spread), float(value * spread)
    if relative > np.log(10.0) / 2:
        least = low if spread < _TELLING else 0.0
        return Estimate(None, least, np.inf, unit, "delta method", "the frames end too early")
    return Estimate(float(value), low, high, unit, "delta method")
