"""WAEM as a score of a system, its weights fitted to expert readers, and how far such a fit can be trusted.

WAEM = a/MSE + b/NRMSE + c·PSNR + d·SSIM + e/FID; terms and units stand in `waem_terms`, the weights themselves in
`waem_weights`, the two estimators (non-negative least squares on mean ratings, Bradley–Terry logit on pairwise
preferences, both with a ridge towards equal weights) in `waem_solvers`; all public names can be had from here.
Leave-one-model-out says how much of a fit would hold for the next system.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas
from scipy import stats
from scipy.special import log_expit

from transmodal.errors import UserError
from transmodal.evaluation.waem_solvers import Floats, bradley_terry_slopes, least_squares_slopes
from transmodal.evaluation.waem_terms import TERMS, terms_of
from transmodal.evaluation.waem_weights import (
    MadeWith,
    Standardised,
    Waem,
    equal_weights,
    given_weights,
    standardise,
    waem_of,
)

FEWEST_SYSTEMS = 3  # two points fit any slope
RIDGE = 1.0
RIDGES = (0.01, 0.1, 1.0, 10.0, 100.0, 1000.0)
PREFERENCE_COLUMNS = ("first", "second", "first_wins", "second_wins")
Experts = pandas.Series | pandas.DataFrame


def fit_to_ratings(terms: pandas.DataFrame, ratings: pandas.Series, *, ridge: float = RIDGE) -> Waem:
    """Fit weights to experts' mean ratings by non-negative least squares with a ridge towards equal weights.

    Args:
        terms: of `terms_of`; systems without a rating only stay out.
        ratings: system → mean rating, higher is better; any scale. Systems without terms (the true images) stay out.
        ridge: strength towards equal weights, in units in which terms and ratings have variance one.

    Raises:
        UserError: fewer than three systems have both, the ratings do not differ, no term differs, or no combination
            of the terms goes with the ratings.
    """
    model, slopes, notes = _fit_ratings(terms, ratings, ridge)
    return _fitted(model, slopes, terms, f"mean ratings of {len(model.systems)} systems", ridge, notes)


def fit_to_preferences(terms: pandas.DataFrame, preferences: pandas.DataFrame, *, ridge: float = RIDGE) -> Waem:
    """Fit weights to experts' pairwise preferences by a Bradley–Terry logit with a ridge towards equal weights.

    Args:
        terms: of `terms_of`.
        preferences: columns first, second (systems), first_wins, second_wins (answers; a tie counts half for each).
            Rows about a system without terms stay out.
        ridge: as in `fit_to_ratings`.

    Raises:
        UserError: fewer than three systems, no answer, no term differs, or no combination of the terms goes with the
            preferences.
    """
    model, slopes, notes = _fit_preferences(terms, preferences, ridge)
    return _fitted(model, slopes, terms, f"pairwise preferences among {len(model.systems)} systems", ridge, notes)


@dataclass(frozen=True)
class Agreement:
    """How weights fitted without a system predict what experts said of it.

    Attributes:
        table: system × ("predicted", "observed"): mean rating, or share of comparisons won, each predicted by a fit
            that did not see the system.
        tau_b: Kendall's τ_b between the two; None when one of them is constant.
        r_squared: 1 − Σ(observed − predicted)² / Σ(observed − mean of the others)²; ratings only.
        log_likelihood: mean over left-out answers; preferences only. `chance` is what a coin gives, ln ½.
        without_fit: left-out systems without which no term explained anything; they are predicted by the mean, or a
            coin.
    """

    table: pandas.DataFrame
    tau_b: float | None
    r_squared: float | None
    log_likelihood: float | None
    without_fit: tuple[str, ...]
    chance: float = math.log(0.5)

    def to_json(self) -> dict[str, Any]:
        """Return all of it for a JSON file."""
        return {
            "systems": {str(name): dict(row) for name, row in self.table.astype(float).to_dict("index").items()},
            "kendall_tau_b": self.tau_b,
            "r_squared": self.r_squared,
            "log_likelihood": self.log_likelihood,
            "log_likelihood_of_chance": None if self.log_likelihood is None else self.chance,
            "without_fit": list(self.without_fit),
        }


def leave_one_out(terms: pandas.DataFrame, experts: Experts, *, ridge: float = RIDGE) -> Agreement:
    """Fit as often as there are systems, each time without one, and compare its prediction with the experts.

    Args:
        terms: of `terms_of`.
        experts: what `fit_to_ratings` (a Series) or `fit_to_preferences` (a DataFrame) takes.
        ridge: as in `fit_to_ratings`.

    Raises:
        UserError: fewer than four systems, since three must remain; or as the fits refuse.
    """
    if isinstance(experts, pandas.DataFrame):
        preferences, _ = _known_preferences(terms, experts)
        systems = _pair_systems(terms, preferences)
        _refuse_too_few_to_leave_out(len(systems))
        return _leave_out_of_preferences(terms, preferences, systems, ridge)
    ratings, _ = _known_ratings(terms, experts)
    _refuse_too_few_to_leave_out(len(ratings))
    return _leave_out_of_ratings(terms, ratings, [str(name) for name in ratings.index], ridge)


def choose_ridge(terms: pandas.DataFrame, experts: Experts, candidates: Sequence[float] = RIDGES) -> float:
    """Return the ridge whose leave-one-model-out predictions are best, the stronger one of equals.

    Raises:
        UserError: as `leave_one_out`.
    """
    best, best_loss = max(candidates), math.inf
    for ridge in sorted(candidates, reverse=True):
        agreement = leave_one_out(terms, experts, ridge=ridge)
        if agreement.log_likelihood is None:
            loss = float(((agreement.table["predicted"] - agreement.table["observed"]) ** 2).sum())
        else:
            loss = -agreement.log_likelihood
        if loss < best_loss * (1 - 1e-9):
            best, best_loss = ridge, loss
    return best


@dataclass(frozen=True)
class WeightIntervals:
    """Bootstrap intervals of fitted weights: term × ("low", "median", "high"); resamples used and refused."""

    table: pandas.DataFrame
    used: int
    refused: int


def bootstrap_weights(
    draw: Callable[[np.random.Generator], tuple[pandas.DataFrame, Experts]],
    *,
    ridge: float = RIDGE,
    resamples: int = 1000,
    seed: int = 0,
) -> WeightIntervals:
    """Return 95 % percentile intervals of the weights.

    Args:
        draw: given a generator, returns terms and experts' answers of one resample, of readers, cases or both.
        ridge: as in the fits.
        resamples: how many.
        seed: of the generator.

    Returns:
        The intervals; a term that did not differ in a resample has weight 0 in it. Resamples that cannot be fitted are
        counted as refused and are in no interval.

    Raises:
        UserError: not one resample could be fitted, with the first reason.
    """
    generator = np.random.default_rng(seed)
    rows: list[dict[str, float]] = []
    reason = ""
    for _ in range(resamples):
        terms, experts = draw(generator)
        try:
            rows.append(_fit(terms, experts, ridge).weights)
        except UserError as error:
            reason = reason or str(error)
    if not rows:
        raise UserError(f"No resample could be fitted; the first: {reason}")
    names = [term for term in TERMS if any(term in row for row in rows)]
    drawn = pandas.DataFrame(rows, columns=names).fillna(0.0)
    table = drawn.quantile([0.025, 0.5, 0.975]).T.set_axis(["low", "median", "high"], axis=1)
    return WeightIntervals(table, len(rows), resamples - len(rows))


def _fitted(
    model: Standardised, slopes: Floats, terms: pandas.DataFrame, source: str, ridge: float, notes: list[str]
) -> Waem:
    total = float(slopes.sum())
    if not total:
        raise UserError(
            f"WAEM cannot be fitted to {source}: no combination of its terms goes with what the experts said"
        )
    weights = dict(zip(model.names, (slopes / total).tolist(), strict=True))
    return waem_of(model, weights, terms, source, ridge, notes)


def _fit(terms: pandas.DataFrame, experts: Experts, ridge: float) -> Waem:
    if isinstance(experts, pandas.DataFrame):
        return fit_to_preferences(terms, experts, ridge=ridge)
    return fit_to_ratings(terms, experts, ridge=ridge)


def _fit_ratings(
    terms: pandas.DataFrame, ratings: pandas.Series, ridge: float
) -> tuple[Standardised, Floats, list[str]]:
    known, notes = _known_ratings(terms, ratings)
    _refuse_few(len(known), "a rating")
    spread = float(known.std(ddof=1))
    if spread <= 1e-12 * max(1.0, float(known.abs().max())):
        raise UserError("WAEM cannot be fitted: the mean ratings of all systems are the same")
    model = standardise(terms.loc[known.index])
    aim = ((known - known.mean()) / spread).to_numpy(float)
    return model, least_squares_slopes(model.values, aim, ridge), notes


def _fit_preferences(
    terms: pandas.DataFrame, preferences: pandas.DataFrame, ridge: float
) -> tuple[Standardised, Floats, list[str]]:
    known, notes = _known_preferences(terms, preferences)
    systems = _pair_systems(terms, known)
    _refuse_few(len(systems), "an answer")
    model = standardise(terms.loc[systems])
    place = {name: number for number, name in enumerate(systems)}
    first, second = (model.values[[place[name] for name in known[side]]] for side in ("first", "second"))
    won, lost = (known[side].to_numpy(float) for side in ("first_wins", "second_wins"))
    return model, bradley_terry_slopes(first - second, won, lost, len(systems), ridge), notes


def _known_ratings(terms: pandas.DataFrame, ratings: pandas.Series) -> tuple[pandas.Series, list[str]]:
    if ratings.index.has_duplicates or not np.isfinite(ratings.to_numpy(float)).all():
        raise UserError("WAEM is fitted to one finite mean rating a system; a system is named twice or has none")
    known = ratings[ratings.index.isin(terms.index)].astype(float)
    return known, _not_used(set(terms.index) ^ set(ratings.index))


def _known_preferences(terms: pandas.DataFrame, preferences: pandas.DataFrame) -> tuple[pandas.DataFrame, list[str]]:
    missing = [name for name in PREFERENCE_COLUMNS if name not in preferences.columns]
    if missing:
        raise UserError(
            f"The table of preferences has no column {missing[0]}; it needs {', '.join(PREFERENCE_COLUMNS)}"
        )
    wins = preferences[["first_wins", "second_wins"]].to_numpy(float)
    if not np.isfinite(wins).all() or (wins < 0).any():
        raise UserError("Preferences are counted answers: first_wins and second_wins must be finite and 0 or more")
    inside = preferences["first"].isin(terms.index) & preferences["second"].isin(terms.index)
    known = preferences[inside & (preferences["first"] != preferences["second"]) & (wins.sum(axis=1) > 0)]
    met = set(preferences["first"]) | set(preferences["second"])
    return known, _not_used(set(terms.index) ^ met)


def _pair_systems(terms: pandas.DataFrame, known: pandas.DataFrame) -> list[str]:
    met = set(known["first"]) | set(known["second"])
    return [str(name) for name in terms.index if name in met]


def _not_used(names: set[Any]) -> list[str]:
    return [f"not in the fit, since either terms or answers are missing: {', '.join(sorted(map(str, names)))}"] * bool(
        names
    )


def _refuse_few(count: int, what: str) -> None:
    if count < FEWEST_SYSTEMS:
        raise UserError(
            f"WAEM cannot be fitted to fewer than {FEWEST_SYSTEMS} systems and {count} have both terms and {what}; "
            "show the readers more systems, or use equal weights"
        )


def _refuse_too_few_to_leave_out(count: int) -> None:
    if count <= FEWEST_SYSTEMS:
        raise UserError(f"Leaving one system out needs {FEWEST_SYSTEMS + 1} systems or more and there are {count}")


def _leave_out_of_ratings(terms: pandas.DataFrame, known: pandas.Series, systems: list[str], ridge: float) -> Agreement:
    predicted, reference, without = [], [], []
    for left in systems:
        rest = known.drop(left)
        mean = float(rest.mean())
        reference.append(mean)
        try:
            model, slopes, _ = _fit_ratings(terms, rest, ridge)
            lift = float(rest.std(ddof=1)) * float(slopes @ model.z(terms, left))
            explained = bool(slopes.any())
        except UserError:
            lift, explained = 0.0, False
        predicted.append(mean + lift)
        if not explained:
            without.append(left)
    table = pandas.DataFrame({"predicted": predicted, "observed": known.to_numpy(float)}, index=systems)
    error = float(((table["observed"] - table["predicted"]) ** 2).sum())
    scale = float(((table["observed"] - np.asarray(reference)) ** 2).sum())
    tau = None if len(without) == len(systems) else tau_b(table["predicted"], table["observed"])
    return Agreement(table, tau, 1 - error / scale if scale else None, None, tuple(without))


def _leave_out_of_preferences(
    terms: pandas.DataFrame, known: pandas.DataFrame, systems: list[str], ridge: float
) -> Agreement:
    predicted, observed, without = [], [], []
    likelihood = answers = 0.0
    for left in systems:
        its = (known["first"] == left) | (known["second"] == left)
        part = known[its]
        leads = (part["first"] == left).to_numpy()
        others = np.where(leads, part["second"], part["first"])
        won = np.where(leads, part["first_wins"], part["second_wins"]).astype(float)
        lost = np.where(leads, part["second_wins"], part["first_wins"]).astype(float)
        logit = np.zeros(len(part))
        try:
            model, slopes, _ = _fit_preferences(terms, known[~its], ridge)
            mine = model.z(terms, left)
            logit = np.asarray([float(slopes @ (mine - model.z(terms, other))) for other in others])
            explained = bool(slopes.any())
        except UserError:
            explained = False
        if not explained:
            without.append(left)
        likelihood += float(won @ log_expit(logit) + lost @ log_expit(-logit))
        answers += float((won + lost).sum())
        predicted.append(float((won + lost) @ np.exp(log_expit(logit)) / (won + lost).sum()))
        observed.append(float(won.sum() / (won + lost).sum()))
    table = pandas.DataFrame({"predicted": predicted, "observed": observed}, index=systems)
    return Agreement(table, tau_b(table["predicted"], table["observed"]), None, likelihood / answers, tuple(without))


def tau_b(first: Sequence[float] | pandas.Series, second: Sequence[float] | pandas.Series) -> float | None:
    """Return Kendall's τ_b = (C − D)/√((n₀ − n₁)(n₀ − n₂)), or None when one side is constant."""
    one, other = np.asarray(first, float), np.asarray(second, float)
    if one.size < 2 or (one == one[0]).all() or (other == other[0]).all():
        return None
    return float(stats.kendalltau(one, other, variant="b").statistic)


__all__ = [
    "Agreement",
    "MadeWith",
    "Waem",
    "WeightIntervals",
    "bootstrap_weights",
    "choose_ridge",
    "equal_weights",
    "fit_to_preferences",
    "fit_to_ratings",
    "given_weights",
    "leave_one_out",
    "tau_b",
    "terms_of",
]
