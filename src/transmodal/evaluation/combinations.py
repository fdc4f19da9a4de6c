"""How well each target is made of each combination of inputs: the table of missing modalities.

Rows are the non-empty subsets of the inputs (15 of four), written with dots as papers print them: ● given, ○ missing.
Every subset is cut out of the same cases, so that its numbers differ from the next row's by the inputs alone; a case
that lacks a modality takes part in the subsets that it has.
"""

import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import pandas

from transmodal.datasets.manifest import CaseFiles
from transmodal.errors import UserError
from transmodal.evaluation.asked import Progress
from transmodal.evaluation.intervals import summarise_columns
from transmodal.evaluation.lesions import LesionPlaces, lesion_places, lesion_values
from transmodal.evaluation.pairs import score_pair
from transmodal.evaluation.parallel import map_in_order
from transmodal.evaluation.scores import Scores
from transmodal.evaluation.target import TargetJob
from transmodal.evaluation.wording import bare_title
from transmodal.images import Image, read
from transmodal.metrics import metric_of
from transmodal.reporting.figures import plain_number
from transmodal.reporting.html import Block, Cell, Table, Text

GIVEN, MISSING = "●", "○"
_SHOWN = ("psnr", "ssim")  # in the report; the file has every metric
_OF_LESIONS = ("lesion_mae", "lesion_contrast", "lesion_contrast_truth")
SHARE = "lesion_share"


@dataclass(frozen=True)
class Combinations:
    """Scores of every combination of inputs.

    Attributes:
        inputs: of the translator, in the order of the dots.
        targets: that were made.
        metrics: the columns of scores.
        cases: one row a combination, target and case: given ("T1+T2"), target, case, subject, and the metrics; where
            lesions are scored, what `lesion_values` gives, as lesion_mae and so on.
        table: one row a combination and target: given, a column of 1 and 0 for each input ("given_T1"), target, cases,
            subjects, and for each metric its mean, `_low` and `_high` (95 % over subjects); where lesions are scored
            so for lesion_mae, lesion_contrast and lesion_contrast_truth, and lesion_share, the second over the third.
        failed: (case, why) of those that could not be translated or scored, and are in no row.
    """

    inputs: tuple[str, ...]
    targets: tuple[str, ...]
    metrics: tuple[str, ...]
    cases: pandas.DataFrame
    table: pandas.DataFrame
    failed: tuple[tuple[str, str], ...] = ()

    def cell(self, given: Sequence[str], target: str) -> dict[str, Any] | None:
        """Return the row of a combination and target; None where there is none."""
        found = self.table[(self.table["given"] == "+".join(given)) & (self.table["target"] == target)]
        return None if found.empty else {str(name): value for name, value in found.iloc[0].to_dict().items()}


def subsets(inputs: Sequence[str]) -> list[tuple[str, ...]]:
    """Return the non-empty subsets, the smallest first, each in the order of the inputs."""
    return [subset for size in range(1, len(inputs) + 1) for subset in combinations(inputs, size)]


def dots(inputs: Sequence[str], given: Sequence[str]) -> list[str]:
    """Return a dot for each input: ● given, ○ missing."""
    return [GIVEN if name in given else MISSING for name in inputs]


def score_combinations(
    jobs: Sequence[Mapping[str, TargetJob]], scores: Mapping[str, Scores], *, workers: int, on_progress: Progress
) -> Combinations:
    """Score every combination of inputs of every case.

    Args:
        jobs: target → job that was scored, of the run or of each fold.
        scores: target → scores, for the policy.
        workers: threads that read and score.
        on_progress: called with (what, done, of how many combinations of cases).

    Raises:
        UserError: the translator cannot do without an input, or has one alone; nothing could be scored.
    """
    card = next(iter(jobs[0].values())).translator.card
    inputs = tuple(card.inputs)
    if not card.missing_inputs or len(inputs) < 2:
        raise UserError(
            f"{card.name} takes {', '.join(inputs)} and cannot do without; --combinations needs a translator with "
            "sampling.missing_inputs and several inputs"
        )
    work = [_Work(part, case) for part in jobs for case in _cases_of(part)]
    turn = threading.Lock()
    total, done = sum(len(each.given()) for each in work), [0]

    def advance() -> None:
        with turn:
            done[0] += 1
            on_progress("combinations", done[0], total)

    rows: list[dict[str, Any]] = []
    failed: list[tuple[str, str]] = []
    for each, outcome in map_in_order(lambda item: item.scored(advance), work, workers=workers):
        if isinstance(outcome, UserError):
            failed.append((each.case.id, str(outcome)))
        else:
            rows += outcome
    if not rows:
        raise UserError(f"No combination could be scored; the first reason: {failed[0][1]}" if failed else
                        "There is no combination to score; check the split")  # fmt: skip
    cases = pandas.DataFrame(rows)
    metrics = next(iter(scores.values())).policy.columns
    targets = tuple(name for name in card.targets if name in set(cases["target"]))
    table = _summarised(cases, inputs, targets, metrics, next(iter(scores.values())))
    return Combinations(inputs, targets, metrics, cases, table, tuple(failed))


@dataclass(frozen=True)
class _Work:
    """One case, whose combinations are scored while its images are in memory."""

    jobs: Mapping[str, TargetJob]
    case: CaseFiles

    def given(self) -> list[tuple[str, ...]]:
        """The subsets that the case has, and has another target for."""
        inputs = [name for name in self._any.translator.card.inputs if name in self.case.files]
        return [subset for subset in subsets(inputs) if self._targets_of(subset)]

    def scored(self, advance: Any) -> list[dict[str, Any]] | UserError:
        """Return the rows of the case, or why there are none."""
        try:
            return list(self._rows(advance))
        except UserError as error:
            return error

    def _rows(self, advance: Any) -> Iterator[dict[str, Any]]:
        there = dict.fromkeys(name for subset in self.given() for name in (*subset, *self._targets_of(subset)))
        images = {name: read(self.case.files[name]) for name in there}
        masks: dict[str, Image] = {}
        places: dict[str, LesionPlaces] = {}
        for subset in self.given():
            targets = self._targets_of(subset)
            given = {name: images[name] for name in subset}
            made = self._any.translate(self.case, given, targets)
            for target in targets:
                job = self.jobs[target]
                name = job.mask_name(self.case)
                if name is not None and name not in masks:
                    masks[name] = read(self.case.files[name])
                predicted = job.in_unit_of_truth(made[target], images[target], target, job.looked_at(self.case, given))
                mask = masks.get(name or "")
                predicted, truth = (job.inside_own_mask(image, mask) for image in (predicted, images[target]))
                values = score_pair(predicted, truth, job.policy, mask, job.resources)
                lesions = job.policy.lesions
                if lesions is not None and lesions in self.case.files:
                    if target not in places:
                        places[target] = lesion_places(truth, self._map_of(lesions), job.policy, mask)
                    of_lesions = lesion_values(predicted, truth, places[target], job.policy)
                    values = {**values, **{f"lesion_{name}": value for name, value in of_lesions.items()}}
                yield {
                    "given": "+".join(subset),
                    "target": target,
                    "case": self.case.id,
                    "subject": self.case.subject,
                    **values,
                }
            advance()

    def _map_of(self, lesions: str) -> Image:
        return read(self.case.files[lesions])

    @property
    def _any(self) -> TargetJob:
        return next(iter(self.jobs.values()))

    def _targets_of(self, subset: Sequence[str]) -> list[str]:
        return [
            name
            for name, job in self.jobs.items()
            if name not in subset and all(needed in self.case.files for needed in job.needed)
        ]


def _cases_of(jobs: Mapping[str, TargetJob]) -> list[CaseFiles]:
    by_id = {case.id: case for job in jobs.values() for case in job.cases}
    return [by_id[name] for name in sorted(by_id)]


def _summarised(
    cases: pandas.DataFrame,
    inputs: Sequence[str],
    targets: Sequence[str],
    metrics: Sequence[str],
    scores: Scores,
) -> pandas.DataFrame:
    rows = []
    for subset in subsets(inputs):
        for target in targets:
            part = cases[(cases["given"] == "+".join(subset)) & (cases["target"] == target)]
            if part.empty:
                continue
            row: dict[str, Any] = {"given": "+".join(subset)}
            row |= {f"given_{name}": int(name in subset) for name in inputs}
            row |= {"target": target, "cases": len(part), "subjects": part["subject"].nunique()}
            there = part[part["lesion_voxels"] > 0] if "lesion_voxels" in part else part.iloc[:0]
            for columns, of in ((metrics, part), (_OF_LESIONS, there)):
                if of.empty:
                    continue
                found = summarise_columns(
                    {name: of[name].to_numpy(float) for name in columns},
                    of["subject"].tolist(),
                    aggregation=scores.policy.aggregation,
                    seed=scores.seed,
                )
                for name, summary in found.items():
                    row |= {name: summary.mean, f"{name}_low": summary.ci95[0], f"{name}_high": summary.ci95[1]}
            if row.get("lesion_contrast_truth"):
                row[SHARE] = row["lesion_contrast"] / row["lesion_contrast_truth"]
            rows.append(row)
    return pandas.DataFrame(rows)


def combination_rows(found: Combinations, metric: str) -> list[list[Cell | str]]:
    """Return the table of one metric, or of `SHARE`: dots, then a cell for each target; empty where that is given.

    The best of each column is marked, but not of the share, which may exceed 1.
    """
    values = {
        (subset, target): row
        for subset in subsets(found.inputs)
        for target in found.targets
        if (row := found.cell(subset, target)) is not None
    }
    best: dict[str, float] = {}
    for target in found.targets if metric != SHARE else ():
        lower = metric_of(metric).direction == "lower"
        column = [
            float(row[metric]) for (_, name), row in values.items() if name == target and pandas.notna(row[metric])
        ]
        if column:
            best[target] = min(column) if lower else max(column)
    rows: list[list[Cell | str]] = []
    for subset in subsets(found.inputs):
        cells: list[Cell | str] = [*dots(found.inputs, subset)]
        for target in found.targets:
            cell = values.get((subset, target))
            if cell is None or pandas.isna(cell[metric]):
                cells.append("" if target in subset else "—")
                continue
            if metric == SHARE:
                cells.append(f"{100 * cell[SHARE]:.0f} %")
                continue
            low, high = cell[f"{metric}_low"], cell[f"{metric}_high"]
            between = "" if pandas.isna(low) else f"{plain_number(float(low))} to {plain_number(float(high))}"
            cells.append(Cell(plain_number(float(cell[metric])), between, float(cell[metric]) == best.get(target)))
        if any(cells[len(found.inputs) :]):
            rows.append(cells)
    return rows


def combination_blocks(found: Combinations) -> list[Block]:
    """Return what the report says of combinations."""
    numbers = sorted({int(number) for number in found.table["subjects"]})
    subjects = f"{numbers[0]}" if len(numbers) == 1 else f"{numbers[0]} to {numbers[-1]}"
    blocks: list[Block] = []
    headings = [*found.inputs, *(f"→ {target}" for target in found.targets)]
    for metric in dict.fromkeys([*(name for name in _SHOWN if name in found.metrics), found.metrics[0]]):
        arrow = "↑" if metric_of(metric).direction == "higher" else "↓"
        caption = (
            f"{bare_title(metric)} {arrow} of each target by what was given (● given, ○ missing); small: 95 % interval "
            f"over {subjects} subjects. Bold: best of the column. Empty: the target itself is given."
        )
        blocks.append(Table(headings, combination_rows(found, metric), caption, words=len(found.inputs)))
    blocks = blocks[: len(_SHOWN)]
    if SHARE in found.table:
        caption = (
            "How much of the lesions' contrast is kept: the mean inside minus the mean around, of the synthetic image, "
            "over that of the true one. Empty: the target itself is given."
        )
        blocks.append(Table(headings, combination_rows(found, SHARE), caption, words=len(found.inputs)))
    if found.failed:
        named = "; ".join(f"{case} ({why})" for case, why in found.failed[:10])
        blocks.append(Text(f"Cases in no combination: {named}.", "warning"))
    return blocks
