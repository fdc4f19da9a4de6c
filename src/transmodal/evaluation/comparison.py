"""Several runs side by side: scored under one policy on the cases that they share, with paired differences."""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas

import transmodal
from transmodal.errors import UserError
from transmodal.evaluation.baselines import is_baseline
from transmodal.evaluation.comparison_report import comparison_blocks
from transmodal.evaluation.files import write_evaluation
from transmodal.evaluation.groups import choose_groupings, group_table
from transmodal.evaluation.report import cases_table, group_blocks, result_blocks
from transmodal.evaluation.run import TRANSLATOR, RunEvaluation
from transmodal.evaluation.scores import Scores
from transmodal.evaluation.segmentation_comparison import compare_sizes, size_comparison, write_sizes
from transmodal.evaluation.slices import slices_table
from transmodal.evaluation.system_comparison import SystemComparison, compare_systems
from transmodal.evaluation.waem import Waem
from transmodal.evaluation.wording import counted
from transmodal.images.files import write_text
from transmodal.reporting.html import Commands, Report, Section, Table, Text, render


@dataclass(frozen=True)
class Comparison:
    """Runs compared.

    Attributes:
        scores: target → scores in which each run is a system, the first run first.
        systems: target → tests, ranks, WAEM and aggregated ranks of the runs and the baselines.
        report: the HTML file.
    """

    scores: dict[str, Scores]
    systems: dict[str, SystemComparison]
    report: Path


def compare(
    evaluations: Sequence[RunEvaluation],
    out: str | Path,
    *,
    waem: Waem | str | Path | Sequence[float] | None = None,
) -> Comparison:
    """Compare evaluated runs on the cases and targets that they share, and write the comparison.

    Args:
        evaluations: of two runs or more, scored on one split under one policy.
        out: folder for comparison.html, cases.csv, groups.csv, summary.json and, of segmentations, sizes.csv.
        waem: fitted weights or the file that holds them, or five raw ones a, b, c, d, e; None takes equal ones on
            standardised terms.

    Raises:
        UserError: the runs share no target or case, were scored under different policies or with different models, or
            WAEM's weights cannot be applied.
    """
    weights = Waem.load(waem) if isinstance(waem, str | Path) else waem
    names = _distinct_names(evaluations)
    first = evaluations[0]
    targets = [target for target in first.scores if all(target in each.scores for each in evaluations)]
    if not targets:
        raise UserError(f"The runs {', '.join(names)} have no target modality in common; compare runs of one task")
    scores = {
        target: _joined(dict(zip(names, (each.scores[target] for each in evaluations), strict=True)))
        for target in targets
    }
    asked = [tuple(factors) for factors in first.groupings]
    groups = {target: group_table(part, asked or choose_groupings(part)) for target, part in scores.items()}
    systems = {target: compare_systems(part, waem=weights) for target, part in scores.items()}
    out = Path(out)
    content = {target: part.to_json() for target, part in systems.items()}
    about = {"runs": names, "comparison": content[targets[0]] if len(targets) == 1 else content}
    write_evaluation(out, scores, groups, about)
    sizes = None
    if all(targets[0] in each.segmentations for each in evaluations):  # a segmentation has one target
        details = {name: each.segmentations[targets[0]] for name, each in zip(names, evaluations, strict=True)}
        sizes = compare_sizes(details, scores[targets[0]])
    write_sizes(out, sizes)
    repeat = _command(evaluations, scores[targets[0]].split, out, waem)
    page = _page(names, evaluations, scores, groups, systems, sizes, repeat)
    return Comparison(scores, systems, write_text(out / "comparison.html", render(page)))


def _command(
    evaluations: Sequence[RunEvaluation], split: str, out: Path, waem: Waem | str | Path | Sequence[float] | None
) -> str:
    """Return the command that makes this comparison again, with every option that its numbers depend on."""
    first = evaluations[0]
    words = ["transmodal", "evaluate", *(str(each.run.folder) for each in evaluations), "--split", split]
    words += first.options
    if isinstance(waem, Waem):
        words += ["--waem", "WEIGHTS.json"]
    elif isinstance(waem, str | Path):
        words += ["--waem", str(waem)]
    elif waem is not None:
        words += ["--waem-weights", ",".join(f"{weight:g}" for weight in waem)]
    return shlex.join([*words, "--out", str(out)])


def _joined(by_run: dict[str, Scores]) -> Scores:
    """Return one Scores whose systems are the runs' translators and the first run's baselines."""
    reference = next(iter(by_run.values()))
    shared = set(reference.cases["case"])
    for name, scores in by_run.items():
        if scores.policy != reference.policy:
            raise UserError(f"{name} was scored under another policy than the first run; evaluate them in one command")
        if scores.resources != reference.resources:
            raise UserError(
                f"{name} was scored with other models than the first run ({', '.join(reference.resources)}); name them "
                "with --niqe-model and --lpips-weights, so that all runs are scored with the same"
            )
        shared &= set(scores.cases["case"])
    if not shared:
        raise UserError(f"The runs {', '.join(by_run)} share no case; evaluate them on one split of one manifest")
    parts = [scores.of(TRANSLATOR).assign(system=name) for name, scores in by_run.items()]
    parts += [reference.of(system) for system in reference.systems if is_baseline(system)]
    table = pandas.concat(parts, ignore_index=True)
    table = table[table["case"].isin(shared)].reset_index(drop=True)
    # Set-level scores are of all cases of a run; where some are left out here, they belong to another set.
    sets = {name: scores.sets[TRANSLATOR] for name, scores in by_run.items() if len(scores.cases) == len(shared)}
    if len(reference.cases) == len(shared):
        sets |= {name: values for name, values in reference.sets.items() if is_baseline(name)}
    of_lesions = [
        scores.lesions[scores.lesions["system"] == TRANSLATOR].assign(system=name) for name, scores in by_run.items()
    ]
    of_lesions.append(reference.lesions[reference.lesions["system"].map(is_baseline)])
    with_lesions = [part[part["case"].isin(shared)] for part in of_lesions if len(part)]
    lesions = pandas.concat(with_lesions, ignore_index=True) if with_lesions else reference.lesions
    volumes = [
        scores.slices[scores.slices["system"] == TRANSLATOR].assign(system=name) for name, scores in by_run.items()
    ]
    volumes.append(reference.slices[reference.slices["system"].map(is_baseline)])
    filled = [part[part["case"].isin(shared)] for part in volumes if len(part)]
    slices = pandas.concat(filled, ignore_index=True) if filled else reference.slices
    failed = tuple(dict.fromkeys(failure for scores in by_run.values() for failure in scores.failed))
    columns = [name for name in reference.factors if name in table]
    truths = reference.truths[reference.truths["case"].isin(shared)].reset_index(drop=True)
    return replace(
        reference,
        table=table,
        factors=tuple(columns),
        sets=sets,
        failed=failed,
        slices=slices,
        truths=truths,
        lesions=lesions,
        slice_values=_slice_values(by_run, reference, shared),
    )


def _slice_values(
    by_run: dict[str, Scores], reference: Scores, shared: set[str]
) -> dict[tuple[str, str, str], npt.NDArray[np.float64]]:
    found = {}
    for name, scores in by_run.items():
        for (system, case, metric), values in scores.slice_values.items():
            if system == TRANSLATOR and case in shared:
                found[name, case, metric] = values
    kept = {key: values for key, values in reference.slice_values.items() if is_baseline(key[0]) and key[1] in shared}
    return found | kept


def _distinct_names(evaluations: Sequence[RunEvaluation]) -> list[str]:
    names = [evaluation.run.name for evaluation in evaluations]
    if len(set(names)) == len(names):
        return names
    return [str(evaluation.run.folder) for evaluation in evaluations]


def _page(
    names: Sequence[str],
    evaluations: Sequence[RunEvaluation],
    scores: dict[str, Scores],
    groups: dict[str, pandas.DataFrame],
    systems: dict[str, SystemComparison],
    sizes: pandas.DataFrame | None,
    repeat: str,
) -> Report:
    first = next(iter(scores.values()))
    sections = []
    for target, part in scores.items():
        of = f": {target}" if len(scores) > 1 else ""
        sections.append(Section(f"Result{of}", [*result_blocks(part), cases_table(part)]))
        sections.append(Section(f"Comparison{of}", comparison_blocks(part, comparison=systems[target])))
        if sizes is not None and len(sizes):
            sections.append(Section(f"Sizes{of}", size_comparison(sizes)))
        if not groups[target].empty:
            sections.append(Section(f"Groups{of}", group_blocks(part, groups[target])))
        volumes = slices_table(part)
        if volumes is not None:
            sections.append(Section(f"Slices{of}", [volumes]))
    rows = [
        [name, each.run.recipe.name, each.run.recipe.method, str(each.run.recipe.train.seed), str(each.report)]
        for name, each in zip(names, evaluations, strict=True)
    ]
    sections.append(Section("Runs", [Table(["run", "recipe", "method", "seed", "report"], rows, words=5)]))
    note = Text("All runs are scored under the policy of the first, on the cases that all of them have.", "note")
    sections.append(Section("Repeat it", [Commands([repeat]), note]))
    return Report(
        title=" against ".join(names),
        kicker="Comparison of runs",
        facts=(
            f"{first.split} split: {counted(len(first.cases), 'case')} of {counted(first.subjects, 'subject')}",
            f"evaluated {datetime.now(UTC).strftime('%Y-%m-%d %H:%M UTC')}",
        ),
        notice="Synthetic images, not for diagnosis.",
        sections=sections,
        footer=f"Made by transmodal {transmodal.__version__}. This file holds everything it shows and loads nothing.",
    )
