"""All that is to be said about several systems scored on the same cases, as numbers; `comparison_report` shows them.

Paired differences with interval, Wilcoxon test, Holm correction and effect size; ranks with their stability; WAEM;
Pareto front and rank aggregation. Baselines always take part; whether they set WAEM's scale is decided in `_waem`.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Any

import numpy as np
import pandas

from transmodal.errors import UserError
from transmodal.evaluation.baselines import is_baseline
from transmodal.evaluation.intervals import Summary
from transmodal.evaluation.ranking import (
    MOST_FOR_KEMENY,
    Floats,
    Ranking,
    SubjectSums,
    by_case,
    condorcet_winner,
    enough_subjects,
    kemeny,
    mean_ranks,
    on_pareto_front,
    rank,
    resampled_means,
    subject_sums,
)
from transmodal.evaluation.scores import Scores
from transmodal.evaluation.significance import SignedRank, holm, signed_rank, subject_differences
from transmodal.evaluation.waem import FEWEST_SYSTEMS, Waem, equal_weights, given_weights, terms_of
from transmodal.evaluation.waem_terms import MSE_FLOOR, NRMSE_FLOOR
from transmodal.evaluation.wording import bare_title
from transmodal.metrics import METRICS, metric_of

LEVEL = 0.05
_FAR = 10.0  # standard deviations of the development systems


@dataclass(frozen=True)
class Difference:
    """One pair of systems in one metric.

    Attributes:
        metric, first, second: the difference is first − second, paired by case.
        summary: its mean and interval.
        test: over subjects.
        p_holm: corrected over all tests of the table that it stands in.
        favour: the test's rank-biserial correlation, turned so that positive speaks for the first system.
    """

    metric: str
    first: str
    second: str
    summary: Summary
    test: SignedRank
    p_holm: float | None
    favour: float | None

    def to_json(self) -> dict[str, Any]:
        """Return the difference for a JSON file."""
        about = {"metric": self.metric, "first": self.first, "second": self.second}
        return (
            about | self.summary.to_json() | self.test.to_json() | {"p_holm": self.p_holm, "favours_first": self.favour}
        )


@dataclass(frozen=True)
class WaemResult:
    """WAEM of every system, or why there is none.

    Attributes:
        waem: weights; None with a `reason`.
        terms: systems × terms, in their units.
        scores: system → WAEM.
        ranking: with its stability: subjects are drawn again, set-level distances and standardisation stay.
        notes: in words, all that a reader must know: what is missing or floored, which systems set the scale.
        reason: why there is no score.
    """

    waem: Waem | None
    terms: pandas.DataFrame
    scores: dict[str, float]
    ranking: Ranking | None
    notes: tuple[str, ...]
    reason: str = ""

    def to_json(self) -> dict[str, Any]:
        """Return weights, terms and scores for a JSON file."""
        if self.waem is None:
            return {"value": None, "reason": self.reason, "notes": list(self.notes)}
        return {
            "title": self.waem.title,
            "weights_from": self.waem.fitted_on,
            "scores": self.scores,
            "terms": self.terms.to_dict("index"),
            "ranking": self.ranking and self.ranking.to_json(),
            "notes": list(self.notes),
            "waem": self.waem.model_dump(mode="json"),
        }


@dataclass(frozen=True)
class Aggregate:
    """Ranks over several metrics without weights.

    Attributes:
        metrics: which took part, set-level ones among them; each has one vote.
        ranking: by mean rank (Borda).
        kemeny: the order that contradicts the metrics least; None above eight systems.
        contradictions: pairs and metrics that it turns round, of how many.
        condorcet: the system that beats each other one in more metrics than it loses, or None.
        pareto: systems that no other is at least as good as in all metrics and better than in one.
        pareto_shares: system → share of resamples in which it is on the front; None below four subjects.
        kemeny_same: share of resamples with the same Kemeny order; None below four subjects.
    """

    metrics: tuple[str, ...]
    ranking: Ranking
    kemeny: tuple[str, ...] | None
    contradictions: tuple[int, int]
    condorcet: str | None
    pareto: tuple[str, ...]
    pareto_shares: dict[str, float] | None
    kemeny_same: float | None

    def to_json(self) -> dict[str, Any]:
        """Return the aggregate for a JSON file."""
        return {
            "metrics": list(self.metrics),
            "mean_ranks": self.ranking.means,
            "mean_rank_order": self.ranking.to_json(),
            "kemeny_order": self.kemeny and list(self.kemeny),
            "kemeny_contradictions": self.contradictions[0],
            "kemeny_votes": self.contradictions[1],
            "kemeny_share_with_the_same_order": self.kemeny_same,
            "condorcet_winner": self.condorcet,
            "pareto_front": list(self.pareto),
            "pareto_shares": self.pareto_shares,
        }


@dataclass(frozen=True)
class SystemComparison:
    """Everything: differences of the first system from each other one, of all pairs, ranks, aggregate, WAEM.

    `notes` say which metrics are not ranked, since some system has no value in most subjects.
    """

    against_first: tuple[Difference, ...]
    all_pairs: tuple[Difference, ...]
    rankings: dict[str, Ranking]
    aggregate: Aggregate | None
    waem: WaemResult
    verdicts: tuple[str, ...]
    notes: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return the comparison for summary.json."""
        return {
            "test": "Wilcoxon signed-rank over subjects, two-sided; p_holm: Holm over all rows of a table",
            "against_first": [difference.to_json() for difference in self.against_first],
            "all_pairs": [difference.to_json() for difference in self.all_pairs],
            "rankings": {metric: ranking.to_json() for metric, ranking in self.rankings.items()},
            "aggregate": self.aggregate and self.aggregate.to_json(),
            "waem": self.waem.to_json(),
            "verdicts": list(self.verdicts),
            "notes": list(self.notes),
        }


def compare_systems(scores: Scores, *, waem: Waem | Sequence[float] | None = None) -> SystemComparison:
    """Compare all systems of one evaluation.

    Args:
        scores: of two systems or more.
        waem: weights that were fitted, or five raw ones a, b, c, d, e; None takes equal ones on standardised terms.

    Raises:
        UserError: there is one system only, or the given weights cannot be applied.
    """
    systems = scores.systems
    if len(systems) < 2:
        raise UserError("A comparison needs two systems or more; name another run or folder")
    all_pairs = differences(scores, list(combinations(systems, 2)))
    against_first = _corrected([each for each in all_pairs if each.first == systems[0]])
    sums = {metric: subject_sums(scores, metric) for metric in scores.policy.columns}
    ranked = {
        metric: each
        for metric, each in sums.items()
        if np.isfinite(each.means).all() and 2 * int((each.counts > 0).sum()) >= len(each.counts)
    }
    notes = tuple(
        f"{METRICS[metric_of(metric).name].title} is not ranked: all systems have a value together in "
        f"{int((each.counts > 0).sum())} of {len(each.counts)} subjects only."
        for metric, each in sums.items()
        if metric not in ranked
    )
    drawn = resampled_means(ranked, seed=scores.seed) if enough_subjects(ranked) else {}
    rankings = {
        metric: rank(
            systems,
            each.means,
            drawn.get(metric),
            higher_is_better=metric_of(metric).direction == "higher",
            left_out=each.left_out,
        )
        for metric, each in ranked.items()
    }
    result = _waem(scores, waem, drawn)
    verdicts = tuple(_verdict(all_pairs, system) for system in systems if not is_baseline(system))
    return SystemComparison(
        against_first,
        all_pairs,
        rankings,
        _aggregate(scores, ranked, drawn),
        result,
        tuple(verdict for verdict in verdicts if verdict),
        notes,
    )


def differences(scores: Scores, pairs: Sequence[tuple[str, str]]) -> tuple[Difference, ...]:
    """Return the paired differences of each pair in each metric; Holm's correction is over all of them."""
    found = []
    for metric in scores.policy.columns:
        table = by_case(scores, metric)
        subjects = table.index.get_level_values("subject").astype(str).tolist()
        sign = 1.0 if metric_of(metric).direction == "higher" else -1.0
        for first, second in pairs:
            test = signed_rank(subject_differences(table[first].to_numpy(), table[second].to_numpy(), subjects))
            favour = None if test.rank_biserial is None else sign * test.rank_biserial
            summary = scores.difference(metric, first, second)
            found.append(Difference(metric, first, second, summary, test, None, favour))
    return _corrected(found)


def _corrected(found: Sequence[Difference]) -> tuple[Difference, ...]:
    corrected = holm([each.test.p for each in found])
    return tuple(replace(each, p_holm=p_holm) for each, p_holm in zip(found, corrected, strict=True))


def set_level(scores: Scores) -> dict[str, list[float]]:
    """Return the set-level metrics that every system has at one N, one value a system."""
    names = dict.fromkeys(name for values in scores.sets.values() for name in values)
    found = {}
    for name in names:
        each = [dict(scores.sets.get(system, {}).get(name, {})) for system in scores.systems]
        values = [score.get("value") for score in each]
        if all(value is not None and np.isfinite(value) for value in values) and len({s.get("n") for s in each}) == 1:
            found[name] = [float(value) for value in values if value is not None]
    return found


def _aggregate(scores: Scores, sums: dict[str, SubjectSums], drawn: dict[str, Floats]) -> Aggregate | None:
    systems = scores.systems
    sets = set_level(scores)
    metrics = (*sums, *sets)
    if not metrics:
        return None
    sign = np.array([1.0 if metric_of(metric).direction == "higher" else -1.0 for metric in metrics])
    means = [each.means for each in sums.values()] + [np.asarray(values) for values in sets.values()]
    goodness = np.stack(means, axis=-1) * sign
    resamples = None
    if drawn:
        count = len(next(iter(drawn.values())))
        held = [np.tile(np.asarray(values), (count, 1)) for values in sets.values()]
        resamples = np.stack([*(drawn[metric] for metric in sums), *held], axis=-1) * sign
    ranking = rank(
        systems,
        mean_ranks(goodness),
        None if resamples is None else mean_ranks(resamples),
        higher_is_better=False,
    )
    order = same = None
    against, votes = 0, int((goodness[:, None, :] > goodness[None, :, :]).sum())
    if len(systems) <= MOST_FOR_KEMENY:
        found, contradictions = kemeny(goodness[None])
        order, against = tuple(systems[place] for place in found[0]), int(contradictions[0])
        if resamples is not None:
            same = float((kemeny(resamples)[0] == found[0]).all(axis=1).mean())
    winner = condorcet_winner(goodness)
    front = on_pareto_front(goodness)
    shares = None
    if resamples is not None:
        shares = dict(zip(systems, on_pareto_front(resamples).mean(axis=0).tolist(), strict=True))
    return Aggregate(
        metrics,
        ranking,
        order,
        (against, votes),
        None if winner is None else systems[winner],
        tuple(system for system, inside in zip(systems, front, strict=True) if inside),
        shares,
        same,
    )


def _waem(scores: Scores, asked: Waem | Sequence[float] | None, drawn: dict[str, Floats]) -> WaemResult:
    terms = terms_of(scores)
    notes = list(terms.attrs["notes"])
    try:
        if isinstance(asked, Waem):
            waem = asked
            if waem.standardised:
                notes.append(
                    f"each term is centred and scaled as where the weights were found: {', '.join(waem.systems)}"
                )
            notes += [note for note in waem.notes if note not in notes] + waem.cautions(terms)
        elif asked is not None:
            waem = given_weights(asked, terms)
        else:
            # A baseline such as the mean target lies so far off in some terms that, with it in the scale, the
            # translators would all stand at one point. It is scored on their scale instead.
            own = [system for system in scores.systems if not is_baseline(system)]
            development = own if len(own) >= FEWEST_SYSTEMS else scores.systems
            waem = equal_weights(terms, development=development)
            notes += [note for note in waem.notes if note not in notes]
            few = "" if len(own) >= FEWEST_SYSTEMS or len(own) == len(scores.systems) else (
                f" (baselines among them, since there are fewer than {FEWEST_SYSTEMS} others)")  # fmt: skip
            notes.append(f"each term is centred and scaled over {', '.join(development)}{few}")
            if len(development) == 2:
                notes.append("with two systems a standardised term says only which is ahead, not by how much")
        values = waem.score(terms)
    except UserError as error:
        if asked is not None:
            raise
        return WaemResult(None, terms, {}, None, tuple(notes), str(error))
    notes += _off_the_scale(waem, terms)
    ranking = rank(
        scores.systems, values.to_numpy(float), _drawn_waem(waem, terms, scores, drawn), higher_is_better=True
    )
    return WaemResult(waem, terms, {str(name): float(value) for name, value in values.items()}, ranking, tuple(notes))


def _off_the_scale(waem: Waem, terms: pandas.DataFrame) -> list[str]:
    """Say which systems lie so far from the development systems that one term rules their score."""
    if not waem.standardised:
        return []
    parts = waem.contributions(terms)
    return [
        f"{system} lies {abs(float(row[term])) / waem.weights[term]:.0f} standard deviations off the scale in "
        f"{term.upper()}, which rules its score"
        for system, row in parts.iterrows()
        for term in [str((row.abs() / pandas.Series(waem.weights)[parts.columns]).idxmax())]
        if abs(float(row[term])) / waem.weights[term] > _FAR
    ]


def _drawn_waem(waem: Waem, terms: pandas.DataFrame, scores: Scores, drawn: dict[str, Floats]) -> Floats | None:
    """Return WAEM of every resample; None where a term cannot be drawn again."""
    total: Any = 0.0
    largest: Any = 0.0
    for term, weight in waem.weights.items():
        if not weight:
            continue
        metric = term.removeprefix("1/")
        if METRICS[metric].level == "set":
            values = terms[term].to_numpy(float)
        elif metric not in drawn:
            return None
        elif term == "1/mse":
            values = 1.0 / np.maximum(drawn[metric] / scores.policy.data_range**2, MSE_FLOOR)
        else:
            values = 1.0 / np.maximum(drawn[metric], NRMSE_FLOOR) if term == "1/nrmse" else drawn[metric]
        if waem.standardised:
            values = (values - waem.centre[term]) / waem.spread[term]
        total = total + weight * values
        largest = np.maximum(largest, np.abs(weight * values))
    # Terms that cancel leave rounding, which is no difference between systems.
    return np.where(np.abs(total) > 1e-12 * largest, total, 0.0) if np.ndim(total) == 2 else None


def _verdict(differences: Sequence[Difference], system: str) -> str:
    """Say in one line where a system is worse than a baseline; "" where it is not."""
    worse: dict[str, list[str]] = {}
    for each in differences:
        turn = 1.0 if each.first == system else -1.0
        baseline = each.second if each.first == system else each.first
        if system not in (each.first, each.second) or not is_baseline(baseline) or each.summary.mean is None:
            continue
        sign = turn if metric_of(each.metric).direction == "higher" else -turn
        if sign * each.summary.mean >= 0:
            continue
        low, high = each.summary.ci95
        remark = " (no interval)" if low is None or high is None else " (its interval includes 0)"
        sure = low is not None and high is not None and (low > 0 or high < 0)
        worse.setdefault(baseline, []).append(bare_title(each.metric) + ("" if sure else remark))
    if not worse:
        return ""
    parts = [f"{baseline} in {', '.join(metrics)}" for baseline, metrics in worse.items()]
    return f"{system} is worse than the baseline {'; and than the baseline '.join(parts)}."
