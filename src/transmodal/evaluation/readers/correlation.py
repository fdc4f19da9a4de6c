"""Does a metric say what readers say? Kendall's τ_b and Spearman's ρ, by image and by system, with intervals.

τ_b = (C − D)/√((n₀ − n₁)(n₀ − n₂)) (Kendall, Biometrika 33, 1945); ρ is Pearson's correlation of mid-ranks. Both are
computed for thousands of weighted resamples at once: a subject that was drawn twice brings its images twice, and an
image paired with its own copy is a tie on both sides, as in a resample that is written out.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas

from transmodal.evaluation.intervals import FEWEST_SUBJECTS
from transmodal.evaluation.readers.answers import REAL, TIE, Answers
from transmodal.evaluation.readers.resampling import (
    RESAMPLES,
    Array,
    Estimate,
    draws,
    expanded_percentiles,
    over_subjects,
)

CONSTANT = "not defined: the metric or the readers' answers are the same throughout"
TOO_FEW_SYSTEMS = 3
FEWEST_SYSTEMS_TO_DRAW = 5


@dataclass(frozen=True)
class RankCorrelation:
    """How one metric's order goes with the readers'.

    Attributes:
        kendall, spearman: with intervals over subjects.
        kendall_by_system, spearman_by_system: the same numbers with intervals over systems, which hold for other
            systems than those shown; without an interval below five.
        items: how many images or systems were compared.
        left_out: of those, how many had no metric value.
    """

    kendall: Estimate
    spearman: Estimate
    kendall_by_system: Estimate
    spearman_by_system: Estimate
    items: int
    left_out: int


def kendall_tau_b(first: npt.ArrayLike, second: npt.ArrayLike, weights: npt.ArrayLike | None = None) -> Array:
    """Return τ_b for each row of weights; NaN where one side is constant.

    Args:
        first, second: (n,) values; ±inf are the largest and smallest.
        weights: (B, n), how often each item counts; None counts each once.
    """
    one, other = np.asarray(first, np.float64), np.asarray(second, np.float64)
    counts = np.ones((1, one.size)) if weights is None else np.asarray(weights, np.float64)
    # Comparisons instead of differences: ∞ − ∞ has no sign.
    signs = [(side[:, None] > side).astype(np.float64) - (side[:, None] < side) for side in (one, other)]

    def pairs(matrix: Array) -> Array:
        return np.asarray(((counts @ matrix) * counts).sum(1))

    difference = pairs(signs[0] * signs[1])
    untied = [pairs(np.abs(sign)) for sign in signs]
    return _ratio(difference, np.sqrt(untied[0] * untied[1]))


def spearman_rho(first: npt.ArrayLike, second: npt.ArrayLike, weights: npt.ArrayLike | None = None) -> Array:
    """Return Spearman's ρ for each row of weights; arguments as in `kendall_tau_b`."""
    one, other = np.asarray(first, np.float64), np.asarray(second, np.float64)
    counts = np.ones((1, one.size)) if weights is None else np.asarray(weights, np.float64)
    ranks = [_mid_ranks(side, counts) for side in (one, other)]
    total = counts.sum(1, keepdims=True)
    centred = [rank - (rank * counts).sum(1, keepdims=True) / total for rank in ranks]
    spread = np.sqrt((centred[0] ** 2 * counts).sum(1) * (centred[1] ** 2 * counts).sum(1))
    return _ratio((centred[0] * centred[1] * counts).sum(1), np.where(spread > 1e-9, spread, 0.0))


def reader_scores(answers: Answers, criterion: str | None = None) -> pandas.DataFrame:
    """Return what readers thought of each synthetic image: system, case, subject, value; higher is better.

    Args:
        answers: of a rating: the mean rating over readers. Of "real-or-synthetic" and "which-is-real": the share of
            readers who took the image for real. Answers to repeats are left out.
        criterion: of a rating; None takes the mean over the criteria.

    Raises:
        ValueError: a preference study has no score of an image; see `pair_agreement`.
    """
    if answers.kind == "preference":
        raise ValueError("a preference study scores pairs, not images")
    table = answers.table[(answers.table["repeat"] == 0) & (answers.table["system"] != REAL)]
    if answers.kind == "rating":
        table = table if criterion is None else table[table["criterion"] == criterion]
        value = table["answer"].astype(float)
    elif answers.kind == "real-or-synthetic":
        value = (table["answer"] == "real").astype(float)
    else:
        value = (table["answer"] != table["real_side"]).astype(float)
    by_reader = (
        table.assign(value=value).groupby(["system", "case", "subject", "reader"], observed=True)["value"].mean()
    )
    return by_reader.groupby(["system", "case", "subject"], observed=True).mean().reset_index()


def by_image(items: pandas.DataFrame, *, seed: int = 0, resamples: int = RESAMPLES) -> RankCorrelation:
    """Correlate over images.

    Args:
        items: system, subject, metric (oriented: higher is better) and value (of the readers), one row an image.
    """
    known = items[items["metric"].notna() & items["value"].notna()]
    one, other = known["metric"].to_numpy(float), known["value"].to_numpy(float)
    parts = []
    for unit, fewest, named in (
        ("subject", FEWEST_SUBJECTS, "subjects"),
        ("system", FEWEST_SYSTEMS_TO_DRAW, "systems"),
    ):
        names, owner = np.unique(known[unit].astype(str), return_inverse=True)
        parts += [
            _drawn(statistic, one, other, owner, len(names), fewest, named, seed, resamples)
            for statistic in (kendall_tau_b, spearman_rho)
        ]
    return RankCorrelation(parts[0], parts[1], parts[2], parts[3], len(known), len(items) - len(known))


def by_system(
    metric: pandas.DataFrame, value: pandas.DataFrame, *, seed: int = 0, resamples: int = RESAMPLES
) -> RankCorrelation:
    """Correlate over systems: the mean of the metric with the mean of the readers, both over subjects.

    Args:
        metric: subjects × systems, oriented; ±inf and NaN stay out of the means.
        value: subjects × systems, of the readers.
    """
    systems = [str(name) for name in metric.columns if name in value.columns]
    subjects = [name for name in value.index if name in metric.index]
    metric, value = metric.loc[subjects, systems], value.loc[subjects, systems]
    tables = [_finite_parts(part) for part in (metric, value)]
    means = [_weighted_means(table, np.ones((1, len(subjects))))[0] for table in tables]
    known = np.isfinite(means[0]) & np.isfinite(means[1])
    if known.sum() < TOO_FEW_SYSTEMS:
        missing = Estimate(None, n=int(known.sum()), unit="systems", note=f"{known.sum()} systems: needs three")
        return RankCorrelation(missing, missing, missing, missing, int(known.sum()), int((~known).sum()))
    tables = [(sums[:, known], counts[:, known]) for sums, counts in tables]
    estimates = []
    for statistic in (_tau_of_rows, _rho_of_rows):

        def over(drawn: Array, statistic: Callable[[Array, Array], Array] = statistic) -> Array:
            return statistic(*(_weighted_means(table, drawn) for table in tables))[:, None]

        estimates += over_subjects(over, len(subjects), seed=seed, resamples=resamples, undefined=CONSTANT)
    one, other = means[0][known], means[1][known]
    place = np.arange(one.size)
    for statistic in (kendall_tau_b, spearman_rho):
        estimates.append(
            _drawn(statistic, one, other, place, one.size, FEWEST_SYSTEMS_TO_DRAW, "systems", seed, resamples)
        )
    return RankCorrelation(
        estimates[0], estimates[1], estimates[2], estimates[3], int(known.sum()), int((~known).sum())
    )


def pair_agreement(
    table: pandas.DataFrame, differences: Sequence[float], *, seed: int = 0, resamples: int = RESAMPLES
) -> Estimate:
    """Estimate how often a metric's difference points to the image that readers preferred.

    Args:
        table: of a preference study: reader, subject, first, second, answer; ties of readers are left out.
        differences: one an answer, oriented metric of `first` minus that of `second`; 0 counts half, NaN is left out.

    Returns:
        The share, ½ being chance; the interval is over subjects.
    """
    difference = np.asarray(differences, np.float64)
    kept = (table["answer"] != TIE).to_numpy() & ~np.isnan(difference)
    if not kept.any():
        return Estimate(None, note="no preference with a metric value for both images")
    sign = np.sign(difference[kept])
    chose_first = (table["answer"] == table["first"]).to_numpy()[kept]
    right = np.where(sign == 0, 0.5, (sign > 0) == chose_first).astype(float)
    names, owner = np.unique(table["subject"].to_numpy()[kept].astype(str), return_inverse=True)
    sums, counts = np.bincount(owner, right), np.bincount(owner).astype(float)

    def statistic(drawn: Array) -> Array:
        return ((drawn @ sums) / (drawn @ counts))[:, None]

    return over_subjects(statistic, len(names), seed=seed, resamples=resamples)[0]


def _drawn(
    statistic: Callable[..., Array],
    one: Array,
    other: Array,
    owner: npt.NDArray[np.intp],
    units: int,
    fewest: int,
    named: str,
    seed: int,
    resamples: int,
) -> Estimate:
    """Return a correlation with the interval that drawing the items' owners gives."""
    value = statistic(one, other)[0] if one.size > 1 else np.nan
    if not np.isfinite(value):
        return Estimate(None, n=units, unit=named, note=CONSTANT if one.size > 1 else "fewer than two images")
    if units < fewest:
        return Estimate(float(value), n=units, unit=named, note=f"{units} {named}: no interval")
    drawn = statistic(one, other, draws(units, resamples, seed)[:, owner])
    drawn = drawn[np.isfinite(drawn)]
    if drawn.size < 0.95 * resamples or np.ptp(drawn) < 1e-12:
        return Estimate(float(value), n=units, unit=named, note="no interval: resamples do not vary or are undefined")
    low, high = expanded_percentiles(drawn, units)
    return Estimate(float(value), low, high, units, named)


def _signs_of_rows(values: Array) -> Array:
    """Return the sign of each difference within each row: (B, k) → (B, k, k)."""
    return (values[:, :, None] > values[:, None, :]).astype(np.float64) - (values[:, :, None] < values[:, None, :])


def _tau_of_rows(first: Array, second: Array) -> Array:
    """Return τ_b of each row of two tables (B, k); NaN where a value is missing."""
    one, other = _signs_of_rows(first), _signs_of_rows(second)
    tau = _ratio((one * other).sum((1, 2)), np.sqrt(np.abs(one).sum((1, 2)) * np.abs(other).sum((1, 2))))
    return np.where(np.isfinite(first + second).all(1), tau, np.nan)


def _rho_of_rows(first: Array, second: Array) -> Array:
    """Return Spearman's ρ of each row of two tables (B, k): a centred mid-rank is half the sum of a row of signs."""
    one, other = _signs_of_rows(first).sum(2), _signs_of_rows(second).sum(2)
    rho = _ratio((one * other).sum(1), np.sqrt((one**2).sum(1) * (other**2).sum(1)))
    return np.where(np.isfinite(first + second).all(1), rho, np.nan)


def _mid_ranks(values: Array, counts: Array) -> Array:
    """Return the mid-rank of each item in each weighted sample: (B, n)."""
    _, start, group = np.unique(np.sort(values), return_index=True, return_inverse=True)
    order = np.argsort(values, kind="stable")
    of_group = np.add.reduceat(counts[:, order], start, axis=1)
    group = group[np.argsort(order, kind="stable")]
    return np.asarray((np.cumsum(of_group, 1) - of_group / 2)[:, group])


def _ratio(above: Array, below: Array) -> Array:
    return np.where(below > 0, above / np.where(below > 0, below, 1.0), np.nan)


def _finite_parts(table: pandas.DataFrame) -> tuple[Array, Array]:
    values = table.to_numpy(float)
    known = np.isfinite(values)
    return np.where(known, values, 0.0), known.astype(np.float64)


def _weighted_means(table: tuple[Array, Array], drawn: Array) -> Array:
    sums, counts = table
    numbers = drawn @ counts
    return np.where(numbers > 0, (drawn @ sums) / np.where(numbers > 0, numbers, 1.0), np.nan)
