"""What the analysis of a reader study found, as plain data that goes into a report, a terminal or a JSON file."""

import math
from dataclasses import dataclass, field
from typing import Any

import pandas

from transmodal.evaluation.readers.answers import Answers
from transmodal.evaluation.readers.correlation import RankCorrelation
from transmodal.evaluation.readers.detection import Detection, Proportion
from transmodal.evaluation.readers.expert_weights import FittedWaem
from transmodal.evaluation.readers.preferences import Strength
from transmodal.evaluation.readers.resampling import Estimate


@dataclass(frozen=True)
class ReaderResult:
    """One reader.

    Attributes:
        name: of the reader.
        simulated: whether a program played him.
        answered, unanswered: trials.
        seconds: median time of an answer.
        detection: skill; None in studies that do not ask what is real.
        consistency: share of repeated items that got the same answer again, without p: chance is not one half there,
            see `consistency_kappa`; None without repeats.
        consistency_kappa: criterion ("" where there is none) → κ of the two occasions, quadratic weights for ratings.
        left: how often the left image was chosen, against one half; None for single images.
    """

    name: str
    simulated: bool
    answered: int
    unanswered: int
    seconds: float | None
    detection: Detection | None = None
    consistency: Proportion | None = None
    consistency_kappa: dict[str, Estimate] = field(default_factory=dict)
    left: Proportion | None = None


@dataclass(frozen=True)
class AgreementResult:
    """How the readers agree with each other.

    Attributes:
        weights: of κ: "none" or "quadratic".
        fleiss: κ of all.
        observed: share of pairs of readers that agree (weighted as κ).
        pairs: (reader, reader, Cohen's κ).
        icc_single, icc_mean: ICC(2,1) and ICC(2,k) of ratings; None elsewhere.
    """

    weights: str
    fleiss: Estimate
    observed: Estimate
    pairs: tuple[tuple[str, str, Estimate], ...]
    icc_single: Estimate | None = None
    icc_mean: Estimate | None = None


@dataclass(frozen=True)
class RatingTest:
    """A paired test of two systems: mean difference first − second over subjects, Wilcoxon's p, Holm's p."""

    criterion: str
    first: str
    second: str
    difference: Estimate
    p: float | None
    p_holm: float | None
    rank_biserial: float | None
    note: str = ""


@dataclass(frozen=True)
class MetricResult:
    """How one metric goes with the readers; metrics are turned so that 1 is full agreement.

    Attributes:
        metric: its name.
        criterion: of a rating; "mean" is the mean over criteria; "" elsewhere.
        lower_is_better: whether it was turned.
        images: over images; None for preferences and set-level scores.
        pairs: preferences: share of choices to which the metric points; None elsewhere.
        systems: over systems.
    """

    metric: str
    criterion: str
    lower_is_better: bool
    images: RankCorrelation | None
    pairs: Estimate | None
    systems: RankCorrelation


@dataclass(frozen=True)
class Analysis:
    """Everything that was found; what the kind of study does not have is empty or None.

    Attributes:
        answers: that were analysed.
        simulated: whether they all come from programs.
        readers: one result each, those without an answer too.
        pooled: all answers as if independent, which they are not.
        means: "accuracy", "d_prime", "sensitivity", "specificity": mean over readers.
        called_real: system → share of its images taken for real, mean over readers.
        agreement: criterion, "" where there is none → result; empty for one reader.
        ratings: criterion → system → mean rating.
        tests: of ratings.
        wins: row preferred to column.
        strengths: of the systems.
        metrics: beside the readers; empty without scores.
        waem: fitted weights; or the words why there are none.
        notes: what was left out, and why.
        name: of the study's folder; "" where the answers come from none.
    """

    answers: Answers
    simulated: bool
    readers: tuple[ReaderResult, ...]
    pooled: Detection | None = None
    means: dict[str, Estimate] = field(default_factory=dict)
    called_real: dict[str, Estimate] = field(default_factory=dict)
    agreement: dict[str, AgreementResult] = field(default_factory=dict)
    ratings: dict[str, dict[str, Estimate]] = field(default_factory=dict)
    tests: tuple[RatingTest, ...] = ()
    wins: pandas.DataFrame | None = None
    strengths: tuple[Strength, ...] = ()
    metrics: tuple[MetricResult, ...] = ()
    waem: FittedWaem | str = "not fitted: no scores were given"
    notes: tuple[str, ...] = ()
    name: str = ""

    @property
    def heading(self) -> str:
        """The study's title, with its name where the title does not say it."""
        if not self.name or self.name.lower() in self.answers.title.lower():
            return self.answers.title
        return f"{self.answers.title}: {self.name}"

    @property
    def who(self) -> str:
        """Who answered, in words: never "readers" alone where programs did."""
        count = len([reader for reader in self.readers if reader.answered])
        return f"{count} {'simulated ' if self.simulated else ''}reader{'' if count == 1 else 's'}"

    def to_json(self) -> dict[str, Any]:
        """Return what `--json` prints; a value that does not exist is null and has a note, infinity is the text inf."""
        answers = self.answers
        content = {
            "name": self.name,
            "title": answers.title,
            "kind": answers.kind,
            "simulated_readers": self.simulated,
            "systems": answers.systems,
            "criteria": answers.criteria,
            "points": answers.points,
            "about": dict(answers.about),
            "notes": self.notes,
            "readers": self.readers,
            "pooled": self.pooled,
            "means_over_readers": self.means,
            "called_real": self.called_real,
            "agreement": self.agreement,
            "ratings": self.ratings,
            "rating_tests": self.tests,
            "wins": None if self.wins is None else self.wins.to_dict("index"),
            "strengths": self.strengths,
            "metrics_against_readers": self.metrics,
            "waem": {"not_fitted": self.waem} if isinstance(self.waem, str) else self.waem.to_json(),
        }
        result: dict[str, Any] = _plain(content)
        return result


def _plain(value: Any) -> Any:
    """Turn dataclasses into dictionaries (those that know how say it themselves) and infinity into text."""
    if hasattr(value, "to_json"):
        return _plain(value.to_json())
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, tuple | list):
        return [_plain(item) for item in value]
    if hasattr(value, "__dataclass_fields__"):
        return {name: _plain(getattr(value, name)) for name in value.__dataclass_fields__}
    value = value.item() if hasattr(value, "item") else value
    if isinstance(value, float) and not math.isfinite(value):
        return None if math.isnan(value) else "inf" if value > 0 else "-inf"
    return value
