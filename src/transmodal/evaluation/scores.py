"""Scores of many cases by one or several systems, with the policy that they were made under.

A *system* is whatever made the images: the translator, a baseline, another program. All systems of one `Scores` were
scored on the same cases, so that their differences are paired.
"""

import math
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas

from transmodal.errors import UserError
from transmodal.evaluation.intervals import Summary, paired_difference, summarise
from transmodal.evaluation.pairs import score_pair
from transmodal.images import Image
from transmodal.metrics.policy import Policy

KEYS = ("system", "case", "subject")


@dataclass(frozen=True)
class CaseImages:
    """The images of one case: what each system made, the truth, and perhaps a mask."""

    predictions: Mapping[str, Image]
    truth: Image
    mask: Image | npt.NDArray[np.bool_] | None = None


@dataclass(frozen=True)
class CaseToScore:
    """One case that is loaded when its turn comes, so that ten thousand need no more memory than a few.

    Attributes:
        case: its name in tables.
        subject: whose it is; intervals are over subjects.
        load: gives its images; called once, perhaps in a worker thread.
        factors: what it is grouped by, such as {"coat": "black"}.
    """

    case: str
    subject: str
    load: Callable[[], CaseImages]
    factors: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class ScoredCase:
    """One case with its scores, system → metric → value."""

    case: str
    subject: str
    factors: Mapping[str, str]
    values: Mapping[str, Mapping[str, float]]


@dataclass(frozen=True)
class Scores:
    """All scores of one evaluation.

    Attributes:
        policy: complete; how every number was made.
        table: one row a system and case: system, case, subject, the factors, the metrics.
        factors: the names of the factor columns.
        split: "train", "validation", "test", or "" where there is none.
        failed: (case, why) of each case that could not be scored and is in no average.
        sets: set-level scores, system → name → what the summary file holds.
        seed: of the bootstrap.
        not_in_baselines: (case, why) of each training case that the baselines had to do without.
    """

    policy: Policy
    table: pandas.DataFrame
    factors: tuple[str, ...] = ()
    split: str = ""
    failed: tuple[tuple[str, str], ...] = ()
    sets: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    seed: int = 0
    not_in_baselines: tuple[tuple[str, str], ...] = ()

    @property
    def systems(self) -> list[str]:
        """The systems in the order in which they were given; the first is the one under test."""
        return list(dict.fromkeys(self.table["system"]))

    @property
    def cases(self) -> pandas.DataFrame:
        """The table of the system under test: case, subject, factors, metrics."""
        return self.of(self.systems[0]).drop(columns="system")

    @property
    def subjects(self) -> int:
        """How many subjects were scored."""
        return int(self.table["subject"].nunique())

    def of(self, system: str) -> pandas.DataFrame:
        """Return the rows of one system."""
        return self.table[self.table["system"] == system].reset_index(drop=True)

    def summary_of(self, metric: str, system: str | None = None, rows: pandas.Series | None = None) -> Summary:
        """Summarise one metric of one system.

        Args:
            metric: its name in the policy.
            system: None takes the one under test.
            rows: True for each row of `of(system)` that counts; None counts all.
        """
        table = self.of(system or self.systems[0])
        table = table if rows is None else table[rows]
        return summarise(
            table[metric].to_numpy(float),
            table["subject"].tolist(),
            aggregation=self.policy.aggregation,
            seed=self.seed,
        )

    @property
    def summary(self) -> dict[str, Summary]:
        """Metric → summary of the system under test."""
        return {metric: self.summary_of(metric) for metric in self.policy.metrics}

    def difference(self, metric: str, first: str, second: str) -> Summary:
        """Summarise first − second, paired by case."""
        both = self.of(first).merge(self.of(second), on=["case", "subject"], suffixes=("_first", "_second"))
        return paired_difference(
            both[f"{metric}_first"].to_numpy(float),
            both[f"{metric}_second"].to_numpy(float),
            both["subject"].tolist(),
            aggregation=self.policy.aggregation,
            seed=self.seed,
        )

    def to_json(self) -> dict[str, Any]:
        """Return what `--json` prints: policy, cases and summary of the system under test, then all that is beyond.

        Infinite scores, which JSON cannot hold, become the text "inf"; a value that does not exist is null.
        """
        columns = ["case", "subject", *self.factors, *self.policy.metrics]
        content = {
            "policy": self.policy.model_dump(mode="json"),
            "policy_in_words": self.policy.describe(),
            "split": self.split,
            "number_of_cases": len(self.cases),
            "number_of_subjects": self.subjects,
            "cases": self.cases[columns].to_dict("records"),
            "summary": {metric: summary.to_json() for metric, summary in self.summary.items()},
            "left_out_as_infinite": {
                metric: summary.left_out for metric, summary in self.summary.items() if summary.left_out
            },
            "systems": {
                system: {metric: self.summary_of(metric, system).to_json() for metric in self.policy.metrics}
                for system in self.systems
            },
            "differences": {
                f"{self.systems[0]} − {other}": {
                    metric: self.difference(metric, self.systems[0], other).to_json() for metric in self.policy.metrics
                }
                for other in self.systems[1:]
            },
            "sets": {system: dict(values) for system, values in self.sets.items()},
            "failed": [{"case": case, "reason": reason} for case, reason in self.failed],
            "not_in_baselines": [{"case": case, "reason": reason} for case, reason in self.not_in_baselines],
            "bootstrap": {"over": "subjects", "seed": self.seed},
        }
        return _for_json(content)


def score_cases(
    cases: Iterable[CaseToScore],
    policy: Policy,
    *,
    workers: int = 1,
    split: str = "",
    on_scored: Callable[[CaseToScore, CaseImages, ScoredCase], None] | None = None,
    on_progress: Callable[[str], None] | None = None,
) -> Scores:
    """Score cases one by one in constant memory.

    Args:
        cases: in any order; the table keeps it.
        policy: what it leaves open (range apart) is taken from the first truth.
        workers: threads that load and score at the same time.
        split: a word for the summary.
        on_scored: called with each case while its images are in memory, one call at a time.
        on_progress: called with the case's name when it is done or has failed.

    Returns:
        The scores; a case that could not be loaded or scored stands in `failed` and nowhere else.

    Raises:
        UserError: there is no case, or not one could be scored (with the first reason).
    """
    rows: list[dict[str, Any]] = []
    failed: list[tuple[str, str]] = []
    factors: dict[str, None] = {}
    lock = threading.Lock()
    complete: list[Policy] = []

    def score(case: CaseToScore) -> ScoredCase | UserError:
        try:
            images = case.load()
            with lock:
                if not complete:
                    complete.append(complete_policy(policy, images.truth))
            values = {
                system: score_pair(predicted, images.truth, complete[0], images.mask)
                for system, predicted in images.predictions.items()
            }
            scored = ScoredCase(case.case, case.subject, case.factors, values)
            if on_scored is not None:
                with lock:
                    on_scored(case, images, scored)
        except UserError as error:
            return error
        return scored

    for case, outcome in _in_order(score, cases, workers):
        if isinstance(outcome, UserError):
            failed.append((case.case, str(outcome)))
        else:
            # A free column of the manifest may be called "case" or "psnr" too.
            taken = {*KEYS, *policy.metrics}
            own = {f"{name} (factor)" if name in taken else name: value for name, value in outcome.factors.items()}
            factors |= dict.fromkeys(own)
            rows += [
                {"system": system, "case": case.case, "subject": case.subject, **own, **values}
                for system, values in outcome.values.items()
            ]
        if on_progress is not None:
            on_progress(case.case)
    if not rows:
        if not failed:
            raise UserError("There is no case to score; check the split or the folders")
        raise UserError(
            failed[0][1]
            if len(failed) == 1
            else f"None of {len(failed)} cases could be scored; the first: {failed[0][1]}"
        )
    table = pandas.DataFrame(rows, columns=[*KEYS, *factors, *policy.metrics])
    table[list(factors)] = table[list(factors)].fillna("")
    return Scores(complete[0], table, tuple(factors), split, tuple(failed))


def complete_policy(policy: Policy, truth: Image) -> Policy:
    """Return the policy with unit and dimension taken from a truth image where they are open.

    Raises:
        UserError: it has no range, with the remedy.
    """
    try:
        return policy.resolved(unit=truth.quantity, dimension=truth.spatial_dims)
    except ValueError as error:
        kind = truth.pixels.dtype
        hint = f"--range 0 {np.iinfo(kind).max}" if kind.kind == "u" else "--range LOW HIGH"
        raise UserError(
            f"{truth.name} ({kind}) does not say the range of its values, and a score without one means nothing; "
            f"give it, for example {hint}"
        ) from error


def _in_order(
    work: Callable[[CaseToScore], ScoredCase | UserError], cases: Iterable[CaseToScore], workers: int
) -> Iterator[tuple[CaseToScore, ScoredCase | UserError]]:
    """Map over cases with threads, in order, never more than a few ahead."""
    if workers <= 1:
        for case in cases:
            yield case, work(case)
        return
    waiting: list[tuple[CaseToScore, Future[ScoredCase | UserError]]] = []
    with ThreadPoolExecutor(workers) as pool:
        for case in cases:
            waiting.append((case, pool.submit(work, case)))
            if len(waiting) > 2 * workers:
                first, future = waiting.pop(0)
                yield first, future.result()
        for first, future in waiting:
            yield first, future.result()


def _for_json(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _for_json(item) for key, item in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_for_json(item) for item in value]
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return None if math.isnan(value) else "inf" if value > 0 else "-inf"
    return value
