"""Scores of many cases by one or several systems, with the policy that they were made under.

A *system* is whatever made the images: the translator, a baseline, another program. All systems of one `Scores` were
scored on the same cases, so that their differences are paired.
"""

import math
from array import array
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import pandas

from transmodal.errors import UserError
from transmodal.evaluation.intervals import Summary, paired_difference, summarise, summarise_columns
from transmodal.evaluation.lesions import COLUMNS as LESION_COLUMNS
from transmodal.evaluation.lesions import LesionSummary, lesion_places, lesion_values, summarise_lesions
from transmodal.evaluation.pairs import SliceSum, score_in_full, score_without_truth
from transmodal.evaluation.parallel import map_in_order
from transmodal.evaluation.resources import Resources
from transmodal.images import Image
from transmodal.metrics.policy import Policy

KEYS = ("system", "case", "subject")
SLICE_VOLUMES = 200  # volumes whose slices are kept one by one; more have subjects enough without
IN_UNIT_OF_TRUTH = (
    "The output is first put into the truth's own unit by the truth's intensity map, which a file cannot know: these "
    "are not the scores of the written files."
)
SLICE_COLUMNS = (*KEYS, "metric", "slices", "total", "mean")


@dataclass(frozen=True)
class CaseImages:
    """The images of one case: what each system made, the truth, perhaps a mask, and perhaps its lesions."""

    predictions: Mapping[str, Image]
    truth: Image
    mask: Image | npt.NDArray[np.bool_] | None = None
    lesions: Image | None = None


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


class Gatherer(Protocol):
    """What takes something more out of each case while its images are in memory: features of the whole set.

    `of_case` works anywhere, in a thread or another process; `join` is called here, in the order of the cases, so that
    the result does not depend on who was faster.
    """

    def of_case(self, images: CaseImages, policy: Policy) -> Any:
        """Return what is to be kept of one case, small and picklable."""
        ...

    def join(self, kept: Any) -> None:
        """Take in what `of_case` returned."""
        ...


@dataclass(frozen=True)
class ScoredCase:
    """One case with its scores.

    Attributes:
        case, subject, factors: of the case.
        values: system → column → value.
        slices: system → column → sum over a volume's slices.
        truth: the values of the truth itself, under metrics that need no truth.
        kept: what the gatherer took.
        lesions: system → what `lesion_values` gives, where lesions are scored; empty where the case has no map of them.
    """

    case: str
    subject: str
    factors: Mapping[str, str]
    values: Mapping[str, Mapping[str, float]]
    slices: Mapping[str, Mapping[str, SliceSum]] = field(default_factory=dict)
    truth: Mapping[str, float] = field(default_factory=dict)
    kept: Any = None
    lesions: Mapping[str, Mapping[str, float]] = field(default_factory=dict)


@dataclass(frozen=True)
class Scores:
    """All scores of one evaluation.

    Attributes:
        policy: complete; how every number was made.
        table: one row a system and case: system, case, subject, the factors, the policy's columns.
        factors: the names of the factor columns.
        split: "train", "validation", "test", or "" where there is none.
        failed: (case, why) of each case that could not be scored and is in no average.
        sets: set-level scores, system → name → what the summary file holds.
        seed: of the bootstrap.
        not_in_baselines: (case, why) of each training case that the baselines had to do without.
        resources: the models and networks that took part, as `Resources.describe` gives them.
        slices: of volumes scored by slices, one row a system, case and metric: how many slices have a finite value,
            their total and their mean; see `evaluation.slices`.
        truths: the truths' own values under metrics that need no truth (NIQE): case, subject, metrics.
        lesions: one row a system and case, where the policy scores lesions apart; see `evaluation.lesions`.
        slice_values: (system, case, metric) → value of every slice, NaN where one was left out, of the first 200
            volumes that were scored by slices.
        inputs: the modalities that a translator with missing inputs was given, as far as a case has them.
        in_unit_of_truth: the translator's output was put into each truth's own unit first; see `IN_UNIT_OF_TRUTH`.
    """

    policy: Policy
    table: pandas.DataFrame
    factors: tuple[str, ...] = ()
    split: str = ""
    failed: tuple[tuple[str, str], ...] = ()
    sets: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    seed: int = 0
    not_in_baselines: tuple[tuple[str, str], ...] = ()
    resources: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    slices: pandas.DataFrame = field(default_factory=lambda: pandas.DataFrame(columns=list(SLICE_COLUMNS)))
    truths: pandas.DataFrame = field(default_factory=lambda: pandas.DataFrame(columns=["case", "subject"]))
    lesions: pandas.DataFrame = field(default_factory=lambda: pandas.DataFrame(columns=list(LESION_COLUMNS)))
    inputs: tuple[str, ...] = ()
    in_unit_of_truth: bool = False
    slice_values: Mapping[tuple[str, str, str], npt.NDArray[np.float64]] = field(
        default_factory=dict, repr=False, compare=False
    )
    # Thousands of subjects take a second to resample, and reports ask for a summary many times.
    _summaries: dict[str, dict[str, Summary]] = field(default_factory=dict, init=False, repr=False, compare=False)
    _differences: dict[tuple[str, str, str], Summary] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns of the table that hold scores: the metrics, or metrics of labels as "dice[2]"."""
        return self.policy.columns

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
            metric: its column.
            system: None takes the one under test.
            rows: True for each row of `of(system)` that counts; None counts all.
        """
        name = system or self.systems[0]
        table = self.of(name)
        if rows is None:
            if name not in self._summaries:
                self._summaries[name] = summarise_columns(
                    {column: table[column].to_numpy(float) for column in self.columns},
                    table["subject"].tolist(),
                    aggregation=self.policy.aggregation,
                    seed=self.seed,
                )
            return self._summaries[name][metric]
        table = table[rows]
        return summarise(
            table[metric].to_numpy(float),
            table["subject"].tolist(),
            aggregation=self.policy.aggregation,
            seed=self.seed,
        )

    @property
    def summary(self) -> dict[str, Summary]:
        """Column → summary of the system under test."""
        return {metric: self.summary_of(metric) for metric in self.columns}

    @property
    def truth_summary(self) -> dict[str, Summary]:
        """Metric → summary of the truths themselves, of metrics that need no truth: what to compare them with."""
        return {
            metric: summarise(
                self.truths[metric].to_numpy(float),
                self.truths["subject"].tolist(),
                aggregation=self.policy.aggregation,
                seed=self.seed,
            )
            for metric in self.truths.columns
            if metric not in ("case", "subject")
        }

    @property
    def lesion_summary(self) -> dict[str, LesionSummary]:
        """System → summary of its lesions; empty where none are scored apart."""
        return summarise_lesions(self.lesions, aggregation=self.policy.aggregation, seed=self.seed)

    def difference(self, metric: str, first: str, second: str) -> Summary:
        """Summarise first − second, paired by case."""
        key = (metric, first, second)
        if key not in self._differences:
            both = self.of(first).merge(self.of(second), on=["case", "subject"], suffixes=("_first", "_second"))
            self._differences[key] = paired_difference(
                both[f"{metric}_first"].to_numpy(float),
                both[f"{metric}_second"].to_numpy(float),
                both["subject"].tolist(),
                aggregation=self.policy.aggregation,
                seed=self.seed,
            )
        return self._differences[key]

    def to_json(self) -> dict[str, Any]:
        """Return what `--json` prints: policy, cases and summary of the system under test, then all that is beyond.

        Infinite scores, which JSON cannot hold, become the text "inf"; a value that does not exist is null.
        """
        columns = ["case", "subject", *self.factors, *self.columns]
        summaries = self.summary
        content = {
            "policy": self.policy.model_dump(mode="json"),
            "policy_in_words": self.policy.describe(),
            **({"unit_of_output": IN_UNIT_OF_TRUTH} if self.in_unit_of_truth else {}),
            "conventions": self.policy.convention_facts(),
            "split": self.split,
            "number_of_cases": len(self.cases),
            "number_of_subjects": self.subjects,
            "cases": self.cases[columns].to_dict("records"),
            "summary": {metric: summary.to_json() for metric, summary in summaries.items()},
            "left_out": {metric: summary.left_out for metric, summary in summaries.items()},
            "left_out_as_infinite": {
                metric: summary.infinite for metric, summary in summaries.items() if summary.infinite
            },
            "systems": {
                system: {metric: self.summary_of(metric, system).to_json() for metric in self.columns}
                for system in self.systems
            },
            "differences": {
                f"{self.systems[0]} − {other}": {
                    metric: self.difference(metric, self.systems[0], other).to_json() for metric in self.columns
                }
                for other in self.systems[1:]
            },
            "sets": {system: dict(values) for system, values in self.sets.items()},
            "truth": {metric: summary.to_json() for metric, summary in self.truth_summary.items()},
            **({"inputs": list(self.inputs)} if self.inputs else {}),
            **self._lesions_json(),
            "resources": {name: dict(about) for name, about in self.resources.items()},
            "slices": self.slices.to_dict("records"),
            "failed": [{"case": case, "reason": reason} for case, reason in self.failed],
            "not_in_baselines": [{"case": case, "reason": reason} for case, reason in self.not_in_baselines],
            "bootstrap": {"over": "subjects", "seed": self.seed},
        }
        content_for_json: dict[str, Any] = for_json(content)
        return content_for_json

    def _lesions_json(self) -> dict[str, Any]:
        if self.lesions.empty:
            return {}
        systems = {system: summary.to_json() for system, summary in self.lesion_summary.items()}
        return {"lesions": {"systems": systems, "cases": self.lesions.to_dict("records")}}


def score_cases(
    cases: Iterable[CaseToScore],
    policy: Policy,
    *,
    resources: Resources | None = None,
    workers: int = 1,
    processes: bool = False,
    split: str = "",
    gather: Gatherer | None = None,
    on_progress: Callable[[str], None] | None = None,
) -> Scores:
    """Score cases one by one in constant memory.

    Args:
        cases: in any order; the table keeps it.
        policy: what it leaves open (range apart) is taken from each truth, or, for processes, it must be complete.
        resources: the models that metrics need.
        workers: how many load and score at the same time.
        processes: processes instead of threads, for thousands of small images; cases, resources and gatherer must
            then be picklable.
        split: a word for the summary.
        gather: takes more out of each case while its images are in memory.
        on_progress: called with the case's name when it is done or has failed.

    Returns:
        The scores; a case that could not be loaded or scored stands in `failed` and nowhere else.

    Raises:
        UserError: there is no case, or not one could be scored (with the first reason).
    """
    rows = _Rows(policy.columns)
    failed: list[tuple[str, str]] = []
    work = _Work(policy, resources, gather)
    for case, outcome in map_in_order(work, cases, workers=workers, processes=processes):
        if isinstance(outcome, UserError):
            failed.append((case.case, str(outcome)))
        else:
            complete, scored = outcome
            if complete is not None and not rows.count:
                policy = complete
            rows.add(scored)
            if gather is not None:
                gather.join(scored.kept)
        if on_progress is not None:
            on_progress(case.case)
    if not rows.count:
        if not failed:
            raise UserError("There is no case to score; check the split or the folders")
        raise UserError(
            failed[0][1]
            if len(failed) == 1
            else f"None of {len(failed)} cases could be scored; the first: {failed[0][1]}"
        )
    described = {} if resources is None else resources.describe()
    return rows.scores(policy, split=split, failed=tuple(failed), resources=described)


@dataclass
class _Work:
    """What a worker does with a case."""

    policy: Policy
    resources: Resources | None
    gather: Gatherer | None

    def __call__(self, case: CaseToScore) -> tuple[Policy | None, ScoredCase] | UserError:
        try:
            images = case.load()
            policy = self.policy if self.policy.is_complete else complete_policy(self.policy, images.truth)
            full = {
                system: score_in_full(predicted, images.truth, policy, images.mask, self.resources)
                for system, predicted in images.predictions.items()
            }
            truth = score_without_truth(images.truth, policy, self.resources)
            lesions = _lesions_of(images, policy)
            kept = None if self.gather is None else self.gather.of_case(images, policy)
        except UserError as error:
            return error
        values = {system: scores.values for system, scores in full.items()}
        slices = {system: scores.slices for system, scores in full.items() if scores.slices}
        filled = None if policy is self.policy else policy
        return filled, ScoredCase(case.case, case.subject, case.factors, values, slices, truth, kept, lesions)


def _lesions_of(images: CaseImages, policy: Policy) -> dict[str, dict[str, float]]:
    if policy.lesions is None or images.lesions is None:
        return {}
    places = lesion_places(images.truth, images.lesions, policy, images.mask)
    return {
        system: lesion_values(predicted, images.truth, places, policy)
        for system, predicted in images.predictions.items()
    }


class _Rows:
    """The rows of a table, kept as columns of plain numbers so that ten thousand cases take a few megabytes."""

    def __init__(self, columns: tuple[str, ...]) -> None:
        self.columns = columns
        self.count = 0
        self._keys: dict[str, list[str]] = {key: [] for key in KEYS}
        self._factors: dict[str, list[str]] = {}
        self._values = {column: array("d") for column in columns}
        self._slices: list[tuple[Any, ...]] = []
        self._truths: list[dict[str, Any]] = []
        self._lesions: list[dict[str, Any]] = []
        self._volumes: dict[str, None] = {}
        self._slice_values: dict[tuple[str, str, str], npt.NDArray[np.float64]] = {}

    def add(self, scored: ScoredCase) -> None:
        # A free column of the manifest may be called "case" or "psnr" too.
        taken = {*KEYS, *self.columns}
        own = {f"{name} (factor)" if name in taken else name: value for name, value in scored.factors.items()}
        for system, values in scored.values.items():
            for key, value in zip(KEYS, (system, scored.case, scored.subject), strict=True):
                self._keys[key].append(value)
            for name in own:
                if name not in self._factors:
                    self._factors[name] = [""] * self.count
            for name, cells in self._factors.items():
                cells.append(own.get(name, ""))
            for column in self.columns:
                self._values[column].append(values[column])
            self.count += 1
        for system, sums in scored.slices.items():
            for column, each in sums.items():
                mean = each.total / each.slices if each.slices else math.nan
                self._slices.append((system, scored.case, scored.subject, column, each.slices, each.total, mean))
                self._volumes.setdefault(scored.case)
                if len(self._volumes) <= SLICE_VOLUMES:
                    self._slice_values[system, scored.case, column] = each.values
        for system, found in scored.lesions.items():
            self._lesions.append({"system": system, "case": scored.case, "subject": scored.subject, **found})
        if scored.truth:
            self._truths.append({"case": scored.case, "subject": scored.subject, **scored.truth})

    def scores(self, policy: Policy, **more: Any) -> Scores:
        numbers = {column: np.frombuffer(values, np.float64) for column, values in self._values.items()}
        table = pandas.DataFrame({**self._keys, **self._factors, **numbers})
        slices = pandas.DataFrame(self._slices, columns=list(SLICE_COLUMNS))
        truths = pandas.DataFrame(self._truths) if self._truths else pandas.DataFrame(columns=["case", "subject"])
        lesions = pandas.DataFrame(self._lesions, columns=list(LESION_COLUMNS))
        return Scores(
            policy,
            table,
            tuple(self._factors),
            slices=slices,
            truths=truths,
            lesions=lesions,
            slice_values=self._slice_values,
            **more,
        )


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


def for_json(value: Any) -> Any:
    """Return a value of plain types that JSON can hold: infinities as text, NaN as null."""
    if isinstance(value, Mapping):
        return {str(key): for_json(item) for key, item in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [for_json(item) for item in value]
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return None if math.isnan(value) else "inf" if value > 0 else "-inf"
    return value
