"""Intervals that allow for not knowing the model: those of all models that the frames leave open, by their weights.

Where two models fit alike, the interval of either one is that of a model that may be wrong: of the simpler one it is
too narrow. An end of the averaged interval is where the tails of all models, weighed by exp(−ΔAIC / 2), together hold
2.5 % (model-averaged tail areas: Turek and Fletcher, Computational Statistics & Data Analysis 56 (2012) 2809), each
tail taken as normal on the scale of the profile, with the spread that its own end says. Only quantities that mean the
same in every model are averaged: a value, the peak, its time; no half-time.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import special

Array = npt.NDArray[np.float64]
LEAST_WEIGHT = 0.05
"""Models of less weight are left out."""
_TAIL = 0.025
_REACH = float(special.ndtri(1 - _TAIL))


def weights_of(scores: Array) -> Array:
    """Return the Akaike weights of models, (K, B), from their AIC (K, B); 0 for those that are left out."""
    raw = np.exp(-0.5 * (scores - scores.min(axis=0)))
    weights = raw / raw.sum(axis=0)
    weights = np.where(weights >= LEAST_WEIGHT, weights, 0.0)
    return np.asarray(weights / weights.sum(axis=0))


Found = tuple[Array, Array, Array, Array]
"""Value, lower and upper end and standard deviation of a quantity's logarithm, (B,) each."""


@dataclass(frozen=True, eq=False)
class Alternative:
    """What another model says of B curves.

    Attributes:
        weights: of the model for each curve, (B,); 0 where it says nothing.
        found: quantity → what was found; anything where the weight is 0.
    """

    weights: Array
    found: Mapping[str, Found]

    @classmethod
    def of_some(cls, weights: Array, places: npt.NDArray[np.int64], found: Mapping[str, Found]) -> "Alternative":
        """Return one from what was found of some curves alone."""

        def spread(values: Array) -> Array:
            whole = np.zeros(len(weights))
            whole[places] = values
            return whole

        return cls(weights, {name: (*(spread(each) for each in own),) for name, own in found.items()})  # type: ignore[misc]


def averaged(found: Mapping[str, Found], weights: Array, others: Sequence[Alternative]) -> dict[str, Found]:
    """Return what the chosen model says of B curves, its intervals widened by what others say; values stay its own.

    Args:
        found: quantity → of the chosen model, (B,) each.
        weights: of the chosen model, (B,); with those of the others they add up to 1.
        others: models of some weight.
    """
    result = dict(found)
    for name, (value, low, high, sd) in found.items():
        those = [other for other in others if name in other.found]
        if not those:
            continue
        share = np.stack([weights, *(other.weights for other in those)])
        values, lows, highs = (
            np.stack([own, *(other.found[name][part] for other in those)])
            for part, own in enumerate((value, low, high))
        )
        ends = [averaged_ends(values[:, i], lows[:, i], highs[:, i], share[:, i]) for i in range(len(value))]
        below, above = np.array(ends).T
        result[name] = (value, np.fmin(below, value), np.fmax(above, value), sd)
    return result


def averaged_ends(values: Array, lows: Array, highs: Array, weights: Array) -> tuple[float, float]:
    """Return the ends of the averaged interval of one quantity.

    Args:
        values, lows, highs: of each model, (K,), on one scale; ends may be infinite.
        weights: of each model, (K,). Models of weight 0, and those whose ends are NaN, say nothing.
    """
    there = (weights > 0) & ~np.isnan(lows) & ~np.isnan(highs)
    if not there.any():
        return np.nan, np.nan
    if there.sum() == 1:
        return float(lows[there][0]), float(highs[there][0])
    weights = weights[there] / weights[there].sum()
    return -_end(-values[there], -lows[there], weights), _end(values[there], highs[there], weights)


def _end(values: Array, ends: Array, weights: Array) -> float:
    """Return the upper end: where the tails above it hold 2.5 %; infinite where they never do."""
    open_end = np.isinf(ends) & (ends > 0)
    if weights[open_end].sum() / 2 >= _TAIL:  # half of a tail without end lies above anything
        return np.inf
    beyond = weights[open_end].sum() / 2
    values, ends, weights = values[~open_end], ends[~open_end], weights[~open_end]
    spread = np.maximum(ends - values, 0.0) / _REACH

    def above(x: float) -> float:
        with np.errstate(divide="ignore", invalid="ignore"):
            z = np.where(spread > 0, (x - values) / spread, np.where(x >= values, np.inf, -np.inf))
        return float((weights * special.ndtr(-z)).sum()) + beyond

    low, high = float(values.min()), float(max(ends.max(), values.max()))
    high += high - low + 1.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if above(middle) > _TAIL else (low, middle)
    return high
