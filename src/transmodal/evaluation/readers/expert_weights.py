"""Weights of WAEM fitted to what readers said, with intervals over readers and subjects, and leave-one-out agreement.

The estimators stand in `evaluation.waem`. Here the readers' side is prepared and resampled: in each draw the same
subjects bring their answers and their metric values, and with four readers or more the readers are drawn, too. A
set-level distance cannot be resampled from its table and stays as it is.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas

from transmodal.errors import UserError
from transmodal.evaluation.intervals import FEWEST_SUBJECTS
from transmodal.evaluation.readers.answers import REAL, Answers
from transmodal.evaluation.readers.preferences import wins_of_answers
from transmodal.evaluation.readers.resampling import FEWEST_READERS, Array
from transmodal.evaluation.scores import Scores
from transmodal.evaluation.waem import (
    RIDGE,
    Agreement,
    Experts,
    Waem,
    bootstrap_weights,
    fit_to_preferences,
    fit_to_ratings,
    leave_one_out,
    terms_of,
)
from transmodal.evaluation.waem_terms import MSE_FLOOR, NRMSE_FLOOR, PSNR_CEILING

RESAMPLES = 1000
HELD_FIXED = "held fixed"
_NO_SPREAD = 1e-6


@dataclass(frozen=True)
class FittedWaem:
    """Weights with their uncertainty.

    Attributes:
        waem: the weights, with all that is needed to apply them.
        intervals: term → (low, high), 95 % percentiles; empty where `notes` say why.
        without: term → why it has no interval while others have one.
        refused: resamples that could not be fitted.
        resamples: how many were drawn.
        agreement: leave-one-system-out, or None where `notes` say why.
        scores: system → WAEM under these weights.
        notes: in words: what was drawn, what is missing.
    """

    waem: Waem
    intervals: dict[str, tuple[float, float]]
    refused: int
    resamples: int
    agreement: Agreement | None
    scores: dict[str, float]
    notes: tuple[str, ...]
    without: dict[str, str] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Return all of it for a JSON file."""
        return {
            "waem": self.waem.model_dump(mode="json"),
            "ci95": {term: list(limits) for term, limits in self.intervals.items()},
            "without_ci95": dict(self.without),
            "resamples": self.resamples,
            "resamples_refused": self.refused,
            "leave_one_out": None if self.agreement is None else self.agreement.to_json(),
            "scores": self.scores,
            "notes": list(self.notes),
        }


def fit_waem(
    answers: Answers, scores: Scores, *, ridge: float = RIDGE, resamples: int = RESAMPLES, seed: int = 0
) -> FittedWaem:
    """Fit the weights of WAEM to the answers of a rating or preference study.

    Args:
        answers: ratings count as the mean over criteria, subjects and readers; repeats are left out.
        scores: of the systems that readers saw (`metric_scores.join`).
        ridge: strength towards equal weights; see `evaluation.waem`.
        resamples: of the bootstrap; each is a fit.
        seed: of the bootstrap.

    Raises:
        UserError: the study asked neither for ratings nor for preferences, or the fit refuses (fewer than three
            systems, no term that differs …).
    """
    if answers.kind not in ("rating", "preference"):
        raise UserError(f"WAEM is fitted to ratings or preferences, and this study asked {answers.kind}")
    table = answers.table[answers.table["repeat"] == 0]
    table = _without_real(table, answers.kind)
    readers, subjects = sorted(set(table["reader"])), sorted(set(table["subject"]))
    experts = _experts_of(table, answers, readers, subjects)
    terms = terms_of(scores)
    said = experts(np.ones(len(readers)), np.ones(len(subjects)))
    if isinstance(said, pandas.DataFrame):
        waem = fit_to_preferences(terms, said, ridge=ridge)
    else:
        waem = fit_to_ratings(terms, said, ridge=ridge)
    notes = []
    intervals: dict[str, tuple[float, float]] = {}
    without: dict[str, str] = {}
    refused = 0
    if len(subjects) < FEWEST_SUBJECTS:
        notes.append(f"{len(subjects)} subjects: no intervals")
    if len(waem.systems) <= len(waem.weights):
        # n systems have n − 1 differences: what those leave open, the ridge decides, the same in each draw.
        notes.append(
            f"{len(waem.systems)} systems for {len(waem.weights)} weights: what the answers leave open, the ridge "
            "towards equal weights decides; no intervals, since they would be far too narrow"
        )
    elif len(subjects) >= FEWEST_SUBJECTS:
        draw_readers = len(readers) >= FEWEST_READERS
        drawn = "readers and subjects" if draw_readers else "subjects; the intervals hold for these readers only"
        notes.append(f"intervals: {resamples} bootstrap draws of {drawn}")
        draw = _drawing(scores, experts, readers, subjects, draw_readers)
        found = bootstrap_weights(draw, ridge=ridge, resamples=resamples, seed=seed)
        refused = found.refused
        limits = {str(term): (float(row["low"]), float(row["high"])) for term, row in found.table.iterrows()}
        held = [term for term in limits if term not in _MEANS]
        without = {term: HELD_FIXED for term in held if np.ptp(limits[term]) < _NO_SPREAD}
        intervals = {term: pair for term, pair in limits.items() if term not in without}
        if held:
            notes.append(f"{', '.join(held)}: one value a system, {HELD_FIXED} in every draw")
        if refused:
            notes.append(f"{refused} draws could not be fitted and are in no interval")
    agreement = None
    try:
        agreement = leave_one_out(terms, said, ridge=ridge)
    except UserError as error:
        notes.append(str(error))
    known = terms.loc[[name for name in terms.index if name in waem.systems]]
    values = {str(name): float(value) for name, value in waem.score(known).items()}
    return FittedWaem(waem, intervals, refused, resamples, agreement, values, tuple(notes), without)


def _without_real(table: pandas.DataFrame, kind: str) -> pandas.DataFrame:
    if kind == "rating":
        return table[table["system"] != REAL]
    return table[(table["first"] != REAL) & (table["second"] != REAL)]


def _experts_of(
    table: pandas.DataFrame, answers: Answers, readers: list[str], subjects: list[str]
) -> Callable[[Array, Array], Experts]:
    """Return a function that gives what the experts said when readers and subjects count so often."""
    systems = [name for name in answers.systems if name != REAL]
    reader = table["reader"].map({name: place for place, name in enumerate(readers)}).to_numpy(int)
    subject = table["subject"].map({name: place for place, name in enumerate(subjects)}).to_numpy(int)
    if answers.kind == "preference":
        wins = wins_of_answers(table, systems)
        upper = [(i, j) for i in range(len(systems)) for j in range(i + 1, len(systems))]

        def preferences(of_readers: Array, of_subjects: Array) -> Experts:
            total = np.tensordot(of_readers[reader] * of_subjects[subject], wins, 1)
            rows = [(systems[i], systems[j], total[i, j], total[j, i]) for i, j in upper]
            return pandas.DataFrame(rows, columns=["first", "second", "first_wins", "second_wins"])

        return preferences
    system = table["system"].map({name: place for place, name in enumerate(systems)}).to_numpy(int)
    shape = (len(readers), len(subjects), len(systems))
    sums, counts = np.zeros(shape), np.zeros(shape)
    np.add.at(sums, (reader, subject, system), table["answer"].to_numpy(float))
    np.add.at(counts, (reader, subject, system), 1.0)
    seen = counts > 0
    cells = np.where(seen, sums / np.where(seen, counts, 1.0), 0.0)

    def ratings(of_readers: Array, of_subjects: Array) -> Experts:
        weights = np.einsum("s,rsk->rk", of_subjects, seen.astype(float))
        means = np.einsum("s,rsk->rk", of_subjects, cells) / np.where(weights > 0, weights, 1.0)
        by_reader = of_readers[:, None] * (weights > 0)
        total = by_reader.sum(0)
        values = (by_reader * means).sum(0) / np.where(total > 0, total, 1.0)
        return pandas.Series(values, index=systems)[total > 0]

    return ratings


def _drawing(
    scores: Scores,
    experts: Callable[[Array, Array], Experts],
    readers: list[str],
    subjects: list[str],
    draw_readers: bool,
) -> Callable[[np.random.Generator], tuple[pandas.DataFrame, Experts]]:
    pool = sorted({*subjects, *scores.table["subject"]})
    own = np.asarray([pool.index(name) for name in subjects])
    terms = weighted_terms(scores, pool)

    def draw(generator: np.random.Generator) -> tuple[pandas.DataFrame, Experts]:
        of_pool = generator.multinomial(len(pool), np.full(len(pool), 1 / len(pool)))
        of_readers = np.ones(len(readers))
        if draw_readers:
            of_readers = generator.multinomial(len(readers), np.full(len(readers), 1 / len(readers))).astype(float)
        weights = of_pool.astype(float)
        return terms(weights), experts(of_readers, weights[own])

    return draw


def weighted_terms(scores: Scores, subjects: Sequence[str]) -> Callable[[Array], pandas.DataFrame]:
    """Return a function that gives `terms_of(scores)` as if each subject counted so often.

    It is `waem_terms.terms_of` with its means and floors, taken apart so that a draw costs no more than a few sums.

    Args:
        scores: as for `terms_of`.
        subjects: all subjects, in the order of the weights.
    """
    whole = terms_of(scores)
    systems = list(whole.index)
    place = {name: number for number, name in enumerate(subjects)}
    subject = scores.table["subject"].map(place).to_numpy(int)
    system = scores.table["system"].map({name: number for number, name in enumerate(systems)}).to_numpy(int)
    parts = {}
    for term, (metric, _) in _MEANS.items():
        if term in whole:
            values = scores.table[metric].to_numpy(float)
            values = np.minimum(values, PSNR_CEILING) if metric == "psnr" else values
            known = np.isfinite(values)
            sums, counts = np.zeros((2, len(subjects), len(systems)))
            np.add.at(sums, (subject[known], system[known]), values[known])
            np.add.at(counts, (subject[known], system[known]), 1.0)
            if scores.policy.aggregation == "subjects":
                sums, counts = sums / np.maximum(counts, 1.0), np.minimum(counts, 1.0)
            parts[term] = sums, counts

    def terms(weights: Array) -> pandas.DataFrame:
        columns = {}
        for term in whole:
            if term not in parts:
                columns[term] = whole[term].to_numpy()
                continue
            numbers = weights @ parts[term][1]
            with np.errstate(invalid="ignore"):
                means = (weights @ parts[term][0]) / numbers
            columns[term] = _MEANS[term][1](means, scores)
        return pandas.DataFrame(columns, index=whole.index)

    return terms


_MEANS: dict[str, tuple[str, Callable[[Array, Scores], Array]]] = {
    "1/mse": ("mse", lambda means, scores: 1 / np.maximum(means / scores.policy.data_range**2, MSE_FLOOR)),
    "1/nrmse": ("nrmse", lambda means, _: 1 / np.maximum(means, NRMSE_FLOOR)),
    "psnr": ("psnr", lambda means, _: means),
    "ssim": ("ssim", lambda means, _: means),
}
