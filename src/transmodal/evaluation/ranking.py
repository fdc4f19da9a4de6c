"""Which system is first, and would it stay first with other subjects: ranks, Pareto front, rank aggregation.

An order of means says nothing of how firm it is. Whole subjects are drawn with replacement and everything is ranked
again (as challenges do: Wiesenfarth et al., "Methods and open-source toolkit for analyzing and visualizing challenge
results", Scientific Reports 11, 2021). Aggregation over metrics needs no weights: the mean rank (Borda) and the order
with the fewest disagreements with the metrics (Kemeny, Daedalus 88(4), 1959), found exactly.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas
from scipy import stats

from transmodal.evaluation.intervals import FEWEST_SUBJECTS
from transmodal.evaluation.scores import Scores

Floats = npt.NDArray[np.float64]
RESAMPLES = 2000
MOST_FOR_KEMENY = 8
_CHUNK = 4_000_000  # multiplicities held at once
_DIGITS = 12


@dataclass(frozen=True)
class SubjectSums:
    """What the mean of one metric is made of, so that it can be made again from drawn subjects.

    Attributes:
        sums: subjects × systems; the mean of a system is Σ sums / Σ counts over subjects.
        counts: one a subject: how many values (of cases, or 1 for a subject's own mean) stand behind its sums.
        left_out: cases in which a system has no finite value; they count for none, so that all systems are ranked on
            the same cases.
    """

    sums: Floats
    counts: Floats
    left_out: int

    @property
    def means(self) -> Floats:
        """One a system; NaN when no case is left."""
        total = self.counts.sum()
        return np.asarray(self.sums.sum(axis=0) / total if total else np.full(self.sums.shape[1], np.nan))


def by_case(scores: Scores, metric: str) -> pandas.DataFrame:
    """Return one metric as (case, subject) × systems, in the order of the scores' systems."""
    table = scores.table.set_index(["case", "subject", "system"])[metric].unstack("system")
    return table[scores.systems].astype(float)


def subject_sums(scores: Scores, metric: str) -> SubjectSums:
    """Gather one metric by subject, under the policy's aggregation; subjects in the order of sorted names."""
    table = by_case(scores, metric)
    finite = np.isfinite(table.to_numpy()).all(axis=1)
    names, owner = np.unique(table.index.get_level_values("subject").astype(str), return_inverse=True)
    sums = np.zeros((len(names), table.shape[1]))
    np.add.at(sums, owner[finite], table.to_numpy()[finite])
    counts = np.bincount(owner[finite], minlength=len(names)).astype(float)
    if scores.policy.aggregation == "subjects":
        sums = sums / np.maximum(counts, 1.0)[:, None]
        counts = np.minimum(counts, 1.0)
    return SubjectSums(sums, counts, int((~finite).sum()))


def resampled_means(sums: Mapping[str, SubjectSums], *, resamples: int = RESAMPLES, seed: int = 0) -> dict[str, Floats]:
    """Draw whole subjects with replacement, the same for every metric, and return metric → resamples × systems.

    A resample without any usable case of a metric takes the mean over all subjects.
    """
    subjects = len(next(iter(sums.values())).counts)
    generator = np.random.default_rng(seed)
    parts: dict[str, list[Floats]] = {metric: [] for metric in sums}
    step = max(1, _CHUNK // subjects)
    for start in range(0, resamples, step):
        size = min(step, resamples - start)
        times = generator.multinomial(subjects, np.full(subjects, 1.0 / subjects), size).astype(float)
        for metric, each in sums.items():
            total = times @ each.counts
            means = times @ each.sums / np.maximum(total, 1e-300)[:, None]
            parts[metric].append(np.where(total[:, None] > 0, means, each.means))
    return {metric: np.concatenate(part) for metric, part in parts.items()}


@dataclass(frozen=True)
class Ranking:
    """Systems in order, with what resampling of subjects makes of it.

    Attributes:
        systems: in the order of the ranks, the best first; equal ones in the order given.
        ranks: system → rank from 1; equal means share the mean of their places.
        means: system → what was ranked.
        probabilities: system → probability of each rank 1, 2, …; equal systems share theirs. None below four subjects.
        intervals: system → 95 % interval of its rank; None below four subjects.
        neighbours: (better, worse, share of resamples in which the better stays ahead; a tie counts half).
        same_order: share of resamples that keep the whole order; None below four subjects.
        left_out: cases in which a system has no finite value, which are in no mean here.
    """

    systems: tuple[str, ...]
    ranks: dict[str, float]
    means: dict[str, float]
    probabilities: dict[str, tuple[float, ...]] | None
    intervals: dict[str, tuple[float, float]] | None
    neighbours: tuple[tuple[str, str, float | None], ...]
    same_order: float | None
    left_out: int = 0

    @property
    def line(self) -> str:
        """The order on one line: "a > b = c"."""
        parts = [self.systems[0]]
        for before, name in pairwise(self.systems):
            parts.append(f"{'=' if self.ranks[before] == self.ranks[name] else '>'} {name}")
        return " ".join(parts)

    def to_json(self) -> dict[str, Any]:
        """Return the ranking for a JSON file."""
        return {
            "order": list(self.systems),
            "ranks": self.ranks,
            "rank_probabilities": self.probabilities and {name: list(row) for name, row in self.probabilities.items()},
            "rank_ci95": self.intervals and {name: list(limits) for name, limits in self.intervals.items()},
            "neighbours": [
                {"better": better, "worse": worse, "share_that_keeps_the_order": share}
                for better, worse, share in self.neighbours
            ],
            "share_with_the_same_order": self.same_order,
            "cases_left_out": self.left_out,
        }


def rank(
    systems: Sequence[str], means: Floats, drawn: Floats | None, *, higher_is_better: bool, left_out: int = 0
) -> Ranking:
    """Rank systems by their means, with the stability of the order.

    Args:
        systems: their names.
        means: one finite value a system.
        drawn: the same of each resample, resamples × systems; None gives no stability.
        higher_is_better: which way to rank.
        left_out: for the record.

    Raises:
        ValueError: a mean is not finite.
    """
    if not np.isfinite(means).all():
        raise ValueError("systems are ranked by finite means")
    sign = -1.0 if higher_is_better else 1.0
    cost = _rounded(sign * np.asarray(means, np.float64))
    ranks = stats.rankdata(cost)
    order = np.argsort(cost, kind="stable")
    names = tuple(systems[place] for place in order)
    pairs = list(pairwise(order))
    probabilities = intervals = same = None
    shares: list[float | None] = [None] * len(pairs)
    if drawn is not None:
        costs = _rounded(sign * drawn)
        probabilities = {
            systems[place]: tuple(column.tolist()) for place, column in enumerate(rank_probabilities(costs).T)
        }
        between = np.quantile(stats.rankdata(costs, axis=1), [0.025, 0.975], axis=0, method="nearest")
        intervals = {name: (float(low), float(high)) for name, low, high in zip(systems, *between, strict=True)}
        shares = [float(((costs[:, a] < costs[:, b]) + 0.5 * (costs[:, a] == costs[:, b])).mean()) for a, b in pairs]
        keeps = [costs[:, a] == costs[:, b] if cost[a] == cost[b] else costs[:, a] < costs[:, b] for a, b in pairs]
        same = float(np.all(keeps, axis=0).mean()) if keeps else 1.0
    return Ranking(
        names,
        dict(zip(systems, ranks.tolist(), strict=True)),
        dict(zip(systems, np.asarray(means, float).tolist(), strict=True)),
        probabilities,
        intervals,
        tuple((systems[a], systems[b], share) for (a, b), share in zip(pairs, shares, strict=True)),
        same,
        left_out,
    )


def rank_probabilities(costs: Floats) -> Floats:
    """Return ranks × systems: how often each system takes each rank, lowest cost first; ties share their places."""
    lowest, highest = (stats.rankdata(costs, method=end, axis=1) for end in ("min", "max"))
    places = np.arange(1, costs.shape[1] + 1)[:, None, None]
    return np.asarray((((lowest <= places) & (places <= highest)) / (highest - lowest + 1)).mean(axis=1))


def on_pareto_front(goodness: Floats) -> npt.NDArray[np.bool_]:
    """Say which systems no other one dominates.

    Args:
        goodness: (..., systems, metrics), higher is better.

    Returns:
        (..., systems): False where another system is at least as good in every metric and better in one.
    """
    mine, other = goodness[..., :, None, :], goodness[..., None, :, :]
    dominated = ((other >= mine).all(axis=-1) & (other > mine).any(axis=-1)).any(axis=-1)
    return np.asarray(~dominated)


def mean_ranks(goodness: Floats) -> Floats:
    """Return (..., systems): each system's mean rank over metrics (Borda), from goodness (..., systems, metrics)."""
    return np.asarray(stats.rankdata(-goodness, axis=-2).mean(axis=-1))


def majorities(goodness: Floats) -> Floats:
    """Return (..., a, b): in how many metrics a is better than b, from goodness (..., systems, metrics)."""
    return np.asarray((goodness[..., :, None, :] > goodness[..., None, :, :]).sum(axis=-1), np.float64)


def condorcet_winner(goodness: Floats) -> int | None:
    """Return the system that beats each other one in more metrics than it loses; None where there is no such one."""
    wins = majorities(goodness)
    beats = wins > wins.T
    found = np.flatnonzero(beats.sum(axis=1) == len(wins) - 1)
    return int(found[0]) if found.size else None


def kemeny(goodness: Floats) -> tuple[npt.NDArray[np.int_], Floats]:
    """Find the order that contradicts the metrics least: the fewest (pair, metric) whose order it turns round.

    Exact, by dynamic programming over subsets of systems; among equally good orders, the one nearest to the mean ranks.

    Args:
        goodness: (resamples, systems, metrics), higher is better, at most 8 systems.

    Returns:
        (resamples, systems): systems from best to worst; (resamples,): pairs and metrics that contradict it.

    Raises:
        ValueError: there are more than 8 systems.
    """
    resamples, count, _ = goodness.shape
    if count > MOST_FOR_KEMENY:
        raise ValueError(f"the Kemeny order is found for at most {MOST_FOR_KEMENY} systems, not {count}")
    wins = majorities(goodness)
    borda = mean_ranks(goodness)
    # cost[a, b]: what it takes to put a before b. The small part is far below one contradiction in all pairs together.
    cost = np.swapaxes(wins, 1, 2) + 1e-4 * (borda[:, :, None] - borda[:, None, :]) / count**2
    best = np.full((1 << count, resamples), np.inf)
    last = np.zeros((1 << count, resamples), np.int_)
    best[0] = 0.0
    for subset in range(1, 1 << count):
        members = [place for place in range(count) if subset >> place & 1]
        for member in members:
            rest = subset ^ (1 << member)
            total = best[rest] + cost[:, [place for place in members if place != member], member].sum(axis=1)
            better = total < best[subset]
            best[subset][better] = total[better]
            last[subset][better] = member
    order = np.zeros((resamples, count), np.int_)
    subset_now = np.full(resamples, (1 << count) - 1)
    each = np.arange(resamples)
    for place in reversed(range(count)):
        order[:, place] = last[subset_now, each]
        subset_now ^= 1 << order[:, place]
    upper = np.triu_indices(count, 1)
    disagreements = wins[each[:, None], order[:, upper[1]], order[:, upper[0]]].sum(axis=1)
    return order, np.asarray(disagreements)


def enough_subjects(sums: Mapping[str, SubjectSums]) -> bool:
    """Say whether there are subjects enough to resample."""
    return bool(sums) and all(int((each.counts > 0).sum()) >= FEWEST_SUBJECTS for each in sums.values())


def _rounded(values: Floats) -> Floats:
    # Means that differ in the last bits only are equal; the scale is that of the values themselves.
    scale = max(float(np.abs(values).max()), 1e-300)
    return np.round(values / scale, _DIGITS)
