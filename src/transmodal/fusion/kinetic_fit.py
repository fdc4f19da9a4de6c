"""Fitting curves: half-times, peak, and what a fit says at any time, with 95 % intervals.

Weighted least squares on the mean of each frame in closed form (`curve_models`), with decay inside the frame. The
variances are those of the fit, found by repetition: with variances of the counts themselves, frames with too few counts
would weigh most and pull every curve down.

The model is chosen by AIC (`model_fits.criterion`): the one with the fewest parameters that comes within 3 of the
least. The least alone takes a term too many in many curves, whose half-times are then about something else. Intervals
are profile likelihood; where the frames scatter more than counts do (χ² with p < 0.05), they are wider by
√(χ² / degrees of freedom), and Snedecor's F takes the place of χ². Those of peak, peak time, areas and values at some
time are averaged over all models that the frames leave open (`model_averaging`); half-times are the chosen model's own.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt
from scipy import stats

from transmodal.errors import UserError
from transmodal.fusion.curve_models import MODELS, Model, area_between, frame_means, value_at
from transmodal.fusion.curves import TimeActivity, require_half_life_fits
from transmodal.fusion.estimates import Estimate
from transmodal.fusion.fit_areas import Area, across_models, areas
from transmodal.fusion.fit_quantities import (
    beside_others,
    bound_only,
    effective_of,
    estimate_of,
    nothing_below,
    profiles,
    quickly,
)
from transmodal.fusion.model_averaging import Alternative, averaged, weights_of
from transmodal.fusion.model_fits import SCATTER, ModelFit, criterion, fit_model, threshold_of
from transmodal.images.nuclear.decay import mean_over
from transmodal.reporting.figures import p_text

Array = npt.NDArray[np.float64]
FEWEST = 4
_LEAST_Z = 3.0  # standard deviations that all frames together must be above 0
_CLOSE = 3.0  # of AIC
_ALIKE = 1.0  # of AIC: what a model so near says of half-times stands beside those of the chosen one
WIDER = "Intervals are wider for it."
"""Said where frames scatter more than counts do."""
# A curve that only rises, or only falls, is one of this model, too; its profile says how slow or quick the rest may be.
_WIDER = {"uptake": "uptake and clearance", "clearance": "uptake and clearance"}


@dataclass(frozen=True, eq=False)
class KineticFit:
    """One region's curve as a model.

    Attributes:
        model: a key of `curve_models.MODELS`; "" where nothing could be fitted, and `said` tells why.
        theta: (P,), logarithms of the parameters.
        estimates: "uptake_half_time", "clearance_half_time" (biological), "fast_clearance_half_time",
            "effective_half_life", "peak_time", "peak" and "half_left_time" (after the injection, of the peak, without
            decay), as far as the model has them; times in s.
        at: time in s → value then.
        area: under the curve; None without a fit.
        chi2, freedom, p: of the fit.
        aic: model → how far it is above the best; all that could be fitted.
        half_life: of the isotope, s; infinite when not known.
        observed: from the first frame's beginning to the last one's end, s.
        said: what a user should know, a line each.
        unit: of the curve, "%ID" or "counts/s", decay-corrected.
    """

    model: str = ""
    theta: Array = field(default_factory=lambda: np.zeros(0))
    estimates: Mapping[str, Estimate] = field(default_factory=dict)
    at: Mapping[float, Estimate] = field(default_factory=dict)
    area: Area | None = None
    chi2: float = np.nan
    freedom: int = 0
    p: float = np.nan
    aic: Mapping[str, float] = field(default_factory=dict)
    half_life: float = np.inf
    observed: tuple[float, float] = (0.0, 0.0)
    said: tuple[str, ...] = ()
    unit: str = "%ID"

    def curve(self, times: npt.ArrayLike) -> Array:
        """Return the value at times in s, decay-corrected to the injection.

        Raises:
            UserError: nothing was fitted.
        """
        self._require()
        return value_at(MODELS[self.model], self.theta, np.atleast_1d(np.asarray(times, dtype=np.float64)))

    def means(self, starts: Array, durations: Array) -> Array:
        """Return the decay-corrected mean of frames, as `TimeActivity.scale` holds it.

        Raises:
            UserError: nothing was fitted.
        """
        self._require()
        decay = np.log(2.0) / self.half_life
        own = frame_means(MODELS[self.model], self.theta, starts, durations, decay)[0]
        return np.asarray(own / mean_over(self.half_life, starts, durations))

    def counted(self, begin: float, length: float) -> float:
        """Return the integral of the decaying curve over a frame: counts, but for a factor."""
        self._require()
        decay = np.log(2.0) / self.half_life
        return float(area_between(MODELS[self.model], self.theta, begin, begin + length, decay))

    def _require(self) -> None:
        if not self.model:
            raise UserError(f"no curve was fitted: {' '.join(self.said)}")


def fit_region(
    curves: TimeActivity, name: str, *, models: Sequence[str] = tuple(MODELS), at: Sequence[float] = ()
) -> KineticFit:
    """Fit one region of time-activity curves; see `fit`.

    Raises:
        UserError: there is no such region, or no isotope or time.
    """
    place, scale = curves.number(name), curves.scale
    if scale is None or curves.starts is None or curves.durations is None:
        raise UserError("there is no curve to fit: isotope and times must be known")
    return fit(
        curves.starts, curves.durations, scale.values[place], scale.deviations[place], half_life=curves.half_life,
        models=models, at=at, of_count=scale.of_count[place] * curves.count_variance[place], unit=scale.unit,
    )  # fmt: skip


def fit(
    starts: npt.ArrayLike,
    durations: npt.ArrayLike,
    values: npt.ArrayLike,
    deviations: npt.ArrayLike,
    *,
    half_life: float | None = None,
    of_count: npt.ArrayLike | None = None,
    models: Sequence[str] = tuple(MODELS),
    at: Sequence[float] = (),
    unit: str = "%ID",
) -> KineticFit:
    """Fit one curve.

    Args:
        starts, durations: (F,) s after the injection; frames before it are left out.
        values: (F,) %ID or another unit, decay-corrected to the injection by the factor for a constant activity within
            each frame (as `TimeActivity.scale`); the fit takes this back, so that nothing is lost in long frames.
        deviations: (F,) standard deviations.
        half_life: of the isotope, s; None where values are not corrected for decay (then all half-lives are effective).
        of_count: (F,), by how much one more count changes a value; None keeps the variances as they are given.
        models: keys of `curve_models.MODELS` that may be chosen.
        at: times in s at which the value is wanted.
        unit: of the values.

    Returns:
        The fit; without a model where frames are too few or hold no activity.

    Raises:
        UserError: numbers of frames differ, a value is not finite, or the half-life does not fit the times.
    """
    one = None if of_count is None else np.asarray(of_count, dtype=np.float64)
    many = fit_many(
        starts, durations, np.asarray(values, np.float64)[None], np.asarray(deviations, np.float64)[None],
        half_life=half_life, of_count=one, models=models, at=at, unit=unit,
    )  # fmt: skip
    return many[0]


def fit_many(
    starts: npt.ArrayLike,
    durations: npt.ArrayLike,
    values: Array,
    deviations: Array,
    *,
    half_life: float | None = None,
    of_count: Array | None = None,
    models: Sequence[str] = tuple(MODELS),
    at: Sequence[float] = (),
    unit: str = "%ID",
) -> list[KineticFit]:
    """Fit many curves (B, F) with the same frames at once, much faster than one by one; see `fit`."""
    begin, long = np.asarray(starts, dtype=np.float64), np.asarray(durations, dtype=np.float64)
    _check(begin, long, values, deviations, models)
    life = np.inf if half_life is None else half_life
    if half_life is not None:
        require_half_life_fits(half_life, begin, long, "the curve")
    kept = begin >= 0
    begin, long = begin[kept], long[kept]
    decay = float(np.log(2.0) / life)
    factor = np.asarray(mean_over(life, begin, long))
    per_count = None if of_count is None else of_count[kept] * factor
    raw, variances = values[:, kept] * factor, _usable((deviations[:, kept] * factor) ** 2, per_count)
    observed = (float(begin[0]), float((begin + long).max())) if len(begin) else (0.0, 0.0)
    none = KineticFit(half_life=life, observed=observed, unit=unit)
    results = [none for _ in raw]
    fitted = _refusals(results, raw, variances, kept)
    if not fitted.size:
        return results
    tried = [fit_model(name, begin, long, decay, raw[fitted], variances[fitted], per_count) for name in models]
    every = [each for each in tried if each is not None]
    if not every:
        line = f"{len(begin)} frames are too few for {' or '.join(models)}."
        return [replace(none, said=(line,)) for _ in raw]
    scores = criterion(every)
    sizes = np.array([len(each.model.parameters) for each in every])[:, None]
    weights = weights_of(scores)
    close = scores <= scores.min(axis=0) + _CLOSE
    # Among equals in size, the lower score.
    chosen = np.where(close, sizes * 1e6 + scores - scores.min(axis=0), np.inf).argmin(axis=0)
    for number in range(len(every)):
        own = np.flatnonzero(chosen == number)
        if own.size:
            tables = [
                {other.model.name: float(scores[k, i] - scores[number, i]) for k, other in enumerate(every)}
                for i in own
            ]
            made = _describe(number, every, weights[:, own], own, tables, none, at)
            for place, one in zip(fitted[own], made, strict=True):
                results[place] = one
    return results


def _describe(
    number: int,
    every: Sequence[ModelFit],
    weights: Array,
    own: npt.NDArray[np.int64],
    tables: list[dict[str, float]],
    none: KineticFit,
    at: Sequence[float],
) -> list[KineticFit]:
    """Return the fits of those curves that chose a model, with all intervals; `none` has what all have in common.

    Args:
        number: of the chosen model among `every`.
        every: all models that could be fitted.
        weights: of each for these curves, (K, B).
        own: which curves these are.
        tables: model → AIC above the chosen one's, a table a curve.
        none: a fit of nothing.
        at: times in s at which the value is wanted.
    """
    fitted = every[number]
    model, half_life, observed = fitted.model, none.half_life, none.observed
    problem, theta, chi2 = fitted.problem.of(own), fitted.theta[own], fitted.chi2[own]
    freedom = fitted.freedom
    p = stats.chi2.sf(chi2, freedom)
    threshold = threshold_of(chi2, freedom)
    found = profiles(model, problem, theta, threshold, observed, at)
    wider = next((other for other in every if other.model.name == _WIDER.get(model.name)), None)
    if wider is not None:
        more = profiles(wider.model, wider.problem.of(own), wider.theta[own], threshold, observed, ())
        found = {**found, **{name: more[name] for name in _taken_from_wider(model)}}
    found = averaged(found, weights[number], _alternatives(number, every, weights, own, observed, at))
    found = nothing_below(found, at, problem.values)
    under = areas(problem, theta, threshold, half_life, observed, none.unit)
    under = _widened(under, number, every, weights, own, tables, none)
    fits = []
    for i in range(len(own)):
        estimates = {
            name: estimate_of(name, (value[i], low[i], high[i], sd[i]), observed, none.unit)
            for name, (value, low, high, sd) in found.items()
        }
        if wider is not None and model.uptake is None:
            estimates["uptake_half_time"] = bound_only(estimates["uptake_half_time"])
        others = [each for each in every if each is not fitted and tables[i][each.model.name] < _ALIKE]
        estimates |= beside_others(estimates, {other.model: other.theta[own[i]] for other in others}, observed)
        if "clearance_half_time" in estimates and np.isfinite(half_life):
            estimates["effective_half_life"] = effective_of(estimates["clearance_half_time"], half_life)
        values_at = {time: estimates.pop(f"at {time:g}") for time in at}
        said = _said(model, tables[i], float(chi2[i]), freedom, float(p[i]))
        fits.append(
            KineticFit(
                model.name, theta[i], estimates, values_at, under[i], float(chi2[i]), freedom, float(p[i]), tables[i],
                half_life, observed, said, none.unit,
            )
        )  # fmt: skip
    return fits


def _alternatives(
    number: int,
    every: Sequence[ModelFit],
    weights: Array,
    own: npt.NDArray[np.int64],
    observed: tuple[float, float],
    at: Sequence[float],
) -> list[Alternative]:
    """Return what models beside the chosen one say, of those curves for which they have weight."""
    made = []
    for other, weight in zip(every, weights, strict=True):
        places = np.flatnonzero(weight)
        if other is every[number] or not places.size:
            continue
        those = own[places]
        threshold = threshold_of(other.chi2[those], other.freedom)
        problem, theta = other.problem.of(those), other.theta[those]
        found = quickly(other.model, problem, theta, threshold, observed, at)
        made.append(Alternative.of_some(weight, places, found))
    return made


def _widened(
    under: list[Area],
    number: int,
    every: Sequence[ModelFit],
    weights: Array,
    own: npt.NDArray[np.int64],
    tables: list[dict[str, float]],
    none: KineticFit,
) -> list[Area]:
    """Return the areas of the chosen model with intervals that allow for the other models of weight."""
    others = [k for k in range(len(every)) if k != number and weights[k].any()]
    if not others:
        return under
    found = []
    for k in others:
        places = np.flatnonzero(weights[k])
        those = own[places]
        threshold = threshold_of(every[k].chi2[those], every[k].freedom)
        problem, theta = every[k].problem.of(those), every[k].theta[those]
        made = areas(problem, theta, threshold, none.half_life, none.observed, none.unit)
        whole = list(under)
        for place, area in zip(places, made, strict=True):
            whole[place] = area
        found.append(whole)
    scores = np.array([[table[every[k].model.name] for table in tables] for k in others])
    return across_models(under, scores, weights[[number, *others]], found)


def _taken_from_wider(model: Model) -> tuple[str, ...]:
    if model.clearance is None:  # only rises
        return ("clearance_half_time", "peak_time", "half_left_time", "uptake_half_time", "peak")
    return ("uptake_half_time",)


def _said(model: Model, aic: Mapping[str, float], chi2: float, freedom: int, p: float) -> tuple[str, ...]:
    others = sorted((value, name) for name, value in aic.items() if name != model.name)
    beside = f"; beside it {others[0][1]} ({others[0][0]:+.1f})" if others else ""
    lines = [f"Model by AIC: {model.name}, {model.formula}{beside}."]
    if others and others[0][0] < _CLOSE:
        nearly = "which is not excluded" if p >= SCATTER else "which misses them nearly as much or as little"
        lines.append(f"The frames hardly tell it from {others[0][1]}, {nearly}.")
    if p < SCATTER:
        lines.append(
            f"The frames scatter more about the curve than counts do (χ² {chi2:.1f} with {freedom} degrees of freedom, "
            f"p {p_text(p)}): the model is not the whole truth."
        )
        lines.append(WIDER)
    return tuple(lines)


def _refusals(
    results: list[KineticFit], raw: Array, variances: Array, kept: npt.NDArray[np.bool_]
) -> npt.NDArray[np.int64]:
    """Fill in why some curves cannot be fitted; return the places of the others."""
    good = []
    for place, (own, variance) in enumerate(zip(raw, variances, strict=True)):
        line = ""
        if kept.sum() < FEWEST:
            line = f"{int(kept.sum())} frames after the injection are too few for a curve; {FEWEST} are needed."
        else:
            z = float((own / variance).sum() / np.sqrt((1 / variance).sum()))
            best = float((own / np.sqrt(variance)).max())
            if max(z, best - 1.0) < _LEAST_Z:
                line = f"No net activity to fit: all frames together lie {z:.1f} standard deviations from 0."
        if line:
            results[place] = replace(results[place], said=(line,))
        else:
            good.append(place)
    return np.array(good, dtype=np.int64)


def _usable(variances: Array, per_count: Array | None) -> Array:
    """Give frames without any count the variance of one."""
    least = variances[variances > 0].min() if (variances > 0).any() else 1.0
    return np.maximum(variances, least * 1e-3 if per_count is None else per_count**2)


def _check(starts: Array, durations: Array, values: Array, deviations: Array, models: Sequence[str]) -> None:
    for name in models:
        if name not in MODELS:
            raise UserError(f"there is no model {name!r}; the models are {', '.join(MODELS)}")
    if not (starts.shape == durations.shape == values.shape[1:] == deviations.shape[1:]):
        raise UserError(f"{len(starts)} beginnings of frames but {values.shape[1]} values; give one for each frame")
    if not (np.isfinite(values).all() and np.isfinite(deviations).all() and np.isfinite(starts).all()):
        raise UserError("a value or time of the curve is not a finite number; leave the frame out")
    if (durations < 0).any() or (deviations < 0).any():
        raise UserError("a frame's duration or a standard deviation is below 0; mend it")
