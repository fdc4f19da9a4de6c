"""Which system readers prefer, and how they rate each: wins, Bradley–Terry strengths, mean ratings, paired tests.

Bradley and Terry, Biometrika 39, 1952: logit P(i is preferred to j) = s_i − s_j. A tie counts half a win for each. So
that strengths stay finite where one system wins always, every pair that was shown gets 1/k of a win on each side, k the
number of systems: for two systems half a win each, Jeffreys's prior.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas
from scipy.sparse.csgraph import connected_components

from transmodal.evaluation.intervals import FEWEST_SUBJECTS
from transmodal.evaluation.readers.answers import TIE
from transmodal.evaluation.readers.resampling import (
    RESAMPLES,
    Array,
    Estimate,
    Layout,
    draws,
    over_readers_and_subjects,
)

_STEPS = 60


@dataclass(frozen=True)
class Strength:
    """How much one system is preferred.

    Attributes:
        system: its name.
        strength: Bradley–Terry log odds; the mean over systems is 0.
        share: of its comparisons won, ties as halves.
        first: share of bootstrap resamples over subjects in which none is stronger, equally strong ones all counted;
            None below four subjects, which tell nothing about stability.
    """

    system: str
    strength: Estimate
    share: float
    first: float | None


def wins_matrix(table: pandas.DataFrame, systems: Sequence[str]) -> pandas.DataFrame:
    """Count how often the system of the row was preferred to that of the column; a tie is half a win for each.

    Args:
        table: with the columns first, second, answer of a preference study.
        systems: rows and columns, in this order.
    """
    counts = wins_of_answers(table, systems).sum(0)
    return pandas.DataFrame(counts, index=list(systems), columns=list(systems))


def bradley_terry(wins: npt.ArrayLike, shown: npt.ArrayLike | None = None) -> Array:
    """Return the strengths of k systems, mean 0, by Newton's method.

    Args:
        wins: (…, k, k), row preferred to column; several matrices are solved at once.
        shown: (k, k), which pairs readers saw and thus get 1/k of a win on each side; None takes those with an answer.

    Raises:
        ValueError: the systems fall into groups that were never compared with each other.
    """
    counted: Array = np.asarray(wins, np.float64)
    count = counted.shape[-1]
    pairs = counted.reshape(-1, count, count).sum(0)
    met = (pairs + pairs.T > 0) if shown is None else np.asarray(shown, bool)
    if connected_components(met, directed=False)[0] > 1:
        raise ValueError("some systems were never compared with the others, not even through a third")
    counted = counted + met * (1 - np.eye(count)) / count
    games = counted + np.swapaxes(counted, -1, -2)
    strengths = np.zeros(counted.shape[:-1])
    for _ in range(_STEPS):
        expected = 1 / (1 + np.exp(strengths[..., None, :] - strengths[..., :, None]))
        gradient = counted.sum(-1) - (games * expected).sum(-1)
        information = games * expected * (1 - expected)
        # The Hessian knows differences only; 1/k in every cell pins the mean.
        hessian = np.eye(count) * information.sum(-1)[..., None] - information + 1 / count
        step = np.linalg.solve(hessian, gradient[..., None])[..., 0]
        largest = np.abs(step).max(-1, keepdims=True)
        strengths = strengths + step / np.maximum(1.0, largest / 2)
        if largest.max() < 1e-10:
            break
    return np.asarray(strengths - strengths.mean(-1, keepdims=True), np.float64)


def strengths(
    table: pandas.DataFrame, systems: Sequence[str], *, seed: int = 0, resamples: int = RESAMPLES
) -> list[Strength]:
    """Estimate the strength of each system; intervals over readers and subjects (see `resampling`).

    Args:
        table: of a preference study: reader, subject, first, second, answer.
        systems: in this order.

    Raises:
        ValueError: as `bradley_terry`.
    """
    each = wins_of_answers(table, systems)
    count = len(systems)
    flat = each.reshape(len(each), -1)
    pairs = each.sum(0) + each.sum(0).T
    shown = pairs > 0

    def statistic(answers: Array, _: Array) -> Array:
        return bradley_terry((answers @ flat).reshape(-1, count, count), shown)

    layout = Layout.of(table["reader"], table["subject"])
    estimates = over_readers_and_subjects(statistic, layout, seed=seed, resamples=resamples)
    drawn = statistic(draws(layout.subjects, min(resamples, 1000), seed)[:, layout.subject], np.ones(1))
    best = (drawn > drawn.max(1, keepdims=True) - 1e-9).mean(0)  # equal but for rounding
    won = each.sum(0).sum(1) / np.maximum(pairs.sum(1), 1e-12)
    return [
        Strength(system, estimate, float(share), float(first) if layout.subjects >= FEWEST_SUBJECTS else None)
        for system, estimate, share, first in zip(systems, estimates, won, best, strict=True)
    ]


def mean_ratings(
    table: pandas.DataFrame, systems: Sequence[str], *, seed: int = 0, resamples: int = RESAMPLES
) -> dict[str, Estimate]:
    """Estimate each system's mean rating: over a reader's answers, then over readers; both are resampled.

    Args:
        table: of a rating study, one criterion: reader, subject, system, answer.
        systems: those to estimate.
    """
    result = {}
    for system in systems:
        part = table[table["system"] == system]
        layout = Layout.of(part["reader"], part["subject"])
        ratings = part["answer"].to_numpy(float)
        of_reader = np.eye(layout.readers)[layout.reader]

        def statistic(answers: Array, readers: Array, ratings: Array = ratings, of_reader: Array = of_reader) -> Array:
            numbers = answers @ of_reader
            with np.errstate(invalid="ignore", divide="ignore"):
                means = np.where(numbers > 0, (answers * ratings) @ of_reader / numbers, 0.0)
            weights = np.where(numbers > 0, readers, 0.0)
            return (means * weights).sum(1, keepdims=True) / weights.sum(1, keepdims=True)

        if len(part):
            result[system] = over_readers_and_subjects(statistic, layout, seed=seed, resamples=resamples)[0]
        else:
            result[system] = Estimate(None, note="no answer")
    return result


def subject_means(table: pandas.DataFrame) -> pandas.DataFrame:
    """Return subjects × systems: the mean over readers of each reader's mean rating of the subject's images."""
    by_reader = table.groupby(["subject", "system", "reader"], observed=True)["answer"].mean()
    return by_reader.groupby(["subject", "system"], observed=True).mean().unstack("system")


def wins_of_answers(table: pandas.DataFrame, systems: Sequence[str]) -> Array:
    """Return (answers, k, k) with 1 where an answer preferred the row to the column, ½ both ways for a tie."""
    place = {system: number for number, system in enumerate(systems)}
    first, second = (table[side].map(place).to_numpy(int) for side in ("first", "second"))
    answer = table["answer"].to_numpy()
    share = np.where(answer == TIE, 0.5, (answer == table["first"].to_numpy()).astype(float))
    wins = np.zeros((len(table), len(systems), len(systems)))
    rows = np.arange(len(table))
    wins[rows, first, second] = share
    wins[rows, second, first] = 1 - share
    return wins
