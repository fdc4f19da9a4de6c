"""Scores of many cases by one or several systems, with the policy that they were made under.

A *system* is whatever made the images: the translator, a baseline, another program. All systems of one `Scores` were
scored on the same cases, so that their differences are paired.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas

from transmodal.evaluation.intervals import Summary, paired_difference, summarise, summarise_columns
from transmodal.evaluation.lesions import COLUMNS as LESION_COLUMNS
from transmodal.evaluation.lesions import LesionSummary, summarise_lesions
from transmodal.metrics.policy import Policy

KEYS = ("system", "case", "subject")
IN_UNIT_OF_TRUTH = (
    "The output is first put into the truth's own unit by the truth's intensity map, which a file cannot know: these "
    "are not the scores of the written files."
)
SLICE_COLUMNS = (*KEYS, "metric", "slices", "total", "mean")


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
            **self._systems_json(),
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

    def _systems_json(self) -> dict[str, Any]:
        first = self.systems[0]
        return {
            "systems": {
                system: {metric: self.summary_of(metric, system).to_json() for metric in self.columns}
                for system in self.systems
            },
            "differences": {
                f"{first} − {other}": {
                    metric: self.difference(metric, first, other).to_json() for metric in self.columns
                }
                for other in self.systems[1:]
            },
        }

    def _lesions_json(self) -> dict[str, Any]:
        if self.lesions.empty:
            return {}
        systems = {system: summary.to_json() for system, summary in self.lesion_summary.items()}
        return {"lesions": {"systems": systems, "cases": self.lesions.to_dict("records")}}


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
