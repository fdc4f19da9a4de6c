"""Cases become `Scores`: one case after another is loaded, scored under the policy, and let go."""

import math
from array import array
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import pandas

from transmodal.errors import UserError
from transmodal.evaluation.lesions import COLUMNS as LESION_COLUMNS
from transmodal.evaluation.lesions import lesion_places, lesion_values
from transmodal.evaluation.pairs import SliceSum, score_in_full, score_without_truth
from transmodal.evaluation.parallel import map_in_order
from transmodal.evaluation.resources import Resources
from transmodal.evaluation.scores import KEYS, SLICE_COLUMNS, Scores
from transmodal.images import Image
from transmodal.metrics.policy import Policy

SLICE_VOLUMES = 200  # volumes whose slices are kept one by one; more have subjects enough without


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
