"""The report of a run: report.html, with the evidence first and everything needed to repeat it last."""

import csv
import math
import shlex
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import transmodal
from transmodal.evaluation.baselines import is_baseline
from transmodal.evaluation.combinations import combination_blocks
from transmodal.evaluation.report import cases_table, group_blocks, result_blocks
from transmodal.evaluation.scores import Scores
from transmodal.evaluation.segmentation_report import segmentation_sections
from transmodal.evaluation.segmenter import describe_tables
from transmodal.evaluation.slices import slice_interval_blocks, slices_table
from transmodal.evaluation.thresholds import describe_thresholds
from transmodal.evaluation.wording import counted
from transmodal.images.files import write_text
from transmodal.metrics import METRICS
from transmodal.reporting.charts import curves_chart
from transmodal.reporting.html import Block, Commands, Details, Picture, Report, Section, Table, Text, render
from transmodal.training.recipe import LAST
from transmodal.training.run import Run
from transmodal.translation.card import Card

if TYPE_CHECKING:
    from transmodal.evaluation.run import RunEvaluation

_FEW_SUBJECTS = 5
_NAMED = 10
_NOT_CURVES = ("epoch", "step", "seconds", "minutes", "time", "learning_rate")


def write_report(evaluation: "RunEvaluation", card: Card) -> None:
    """Write RUN/report.html.

    Raises:
        UserError: the folder cannot be written.
    """
    run, scores = evaluation.run, evaluation.scores
    first = next(iter(scores.values()))
    several = len(scores) > 1
    sections = []
    for target, part in scores.items():
        of = f": {target}" if several else ""
        blocks: list[Block] = [Text(warning, "warning") for warning in warnings(evaluation, target, card)]
        sections.append(Section(f"Result{of}", blocks + result_blocks(part)))
        pictures: list[Block] = [
            Picture(picture.png, picture.caption, picture.caption) for picture in evaluation.pictures[target]
        ]
        sections.append(Section(f"Cases{of}", [*pictures, cases_table(part)]))
        if target in evaluation.segmentations:
            sections += segmentation_sections(evaluation.segmentations[target], part, of)
            told: list[Block] = [Text(line, "note") for line in describe_thresholds(evaluation.thresholds)]
            sections += [Section(f"Thresholds{of}", told)] if told else []
        volumes = slices_table(part)
        if volumes is not None:
            sections.append(Section(f"Slices{of}", [*slice_interval_blocks(part), volumes]))
        groups = group_blocks(part, evaluation.groups[target])
        if groups:
            sections.append(Section(f"Groups{of}", groups))
    if evaluation.combinations is not None:
        sections.append(Section("Missing modalities", combination_blocks(evaluation.combinations)))
    if evaluation.downstream:
        what = (
            "A small segmenter (U-Net on slices) learnt from the real targets of the training subjects, and was shown "
            "the synthetic and the real target of each case. Below 0, synthetic images serve it worse."
        )
        lines: list[Block] = [Text(line) for line in describe_tables(evaluation.downstream)]
        sections.append(Section("A segmenter's view", [Text(what, "note"), *lines]))
    curves = curve_blocks(run)
    if curves:
        sections.append(Section("Training", curves))
    of_data = fold_blocks(evaluation, card) if evaluation.folds else data_blocks(run, card)
    if evaluation.data is not None:
        of_data.insert(0, Text(f"Scored on other data: {evaluation.data}. These are the test cases below.", "note"))
    sections += [Section("Data", of_data), Section("Repeat it", repeat_blocks(evaluation, card))]
    today = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
    page = Report(
        title=run.name,
        kicker=f"{' + '.join(run.recipe.inputs)} → {' + '.join(run.recipe.targets)}",
        facts=(
            f"recipe {run.recipe.name}",
            f"method {run.recipe.method}",
            f"{scored_cases(evaluation, first.split)}: "
            f"{counted(len(first.cases), 'case')} of {counted(first.subjects, 'subject')}",
            f"evaluated {today}",
        ),
        notice=f"{card.notice} {card.intended_use}",
        sections=sections,
        footer=f"Made by transmodal {transmodal.__version__}. This file holds everything it shows and loads nothing.",
    )
    write_text(run.report, render(page))


def scored_cases(evaluation: "RunEvaluation", split: str) -> str:
    """Return which cases were scored, for titles."""
    if evaluation.data is not None:
        return str(evaluation.data)
    return "all folds" if evaluation.folds else f"{split} split"


def warnings(evaluation: "RunEvaluation", target: str, card: Card) -> list[str]:
    """Return what a careful reader must know before believing the numbers."""
    scores = evaluation.scores[target]
    found = [f"{name} was not evaluated: {reason}." for name, reason in evaluation.skipped.items()]
    if scores.split == "validation" and evaluation.run.recipe.best != LAST:
        found.append(
            "These are validation cases: the best checkpoint was chosen on them, so the scores are somewhat too good. "
            "Report scores of test subjects."
        )
    if scores.split == "train":
        found.append("These are training cases: the scores say nothing about new subjects.")
    if scores.subjects < _FEW_SUBJECTS:
        number = "one subject" if scores.subjects == 1 else f"{scores.subjects} subjects"
        found.append(f"Only {number} scored: a mean over so few says little, whatever the number of images.")
    if card.training.epochs == 0:
        found.append("The translator was not trained (0 epochs).")
    found += baseline_warnings(scores)
    return found


def baseline_warnings(scores: Scores) -> list[str]:
    """Say which training cases the baselines do without, or why there are no baselines."""
    bad = scores.not_in_baselines
    named = "; ".join(f"{case} ({reason})" for case, reason in bad[:_NAMED])
    named += f"; and {len(bad) - _NAMED} more" if len(bad) > _NAMED else ""
    if any(map(is_baseline, scores.systems)):
        return [f"The baselines do without {counted(len(bad), 'unusable training case')}: {named}."] if bad else []
    if bad:
        why = f"none of the {counted(len(bad), 'training case')} can be used: {named}"
    else:
        why = "there is no training case to fit them on"
    return [f"Baselines are not available: {why}. Nothing stands beside the translator."]


def curve_blocks(run: Run) -> list[Block]:
    """Return the training curves in log.csv; nothing when there is none."""
    if not run.log.is_file():
        return []
    with run.log.open(newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    if not rows or "epoch" not in rows[0]:
        return []
    names = [name for name in rows[0] if name and name not in _NOT_CURVES]
    names.sort(key=lambda name: not name.startswith("validation"))  # stable: what was measured on other subjects first
    columns = {name: [_number(row.get(name)) for row in rows] for name in names}
    columns = {
        _titled(name): values for name, values in columns.items() if sum(math.isfinite(value) for value in values) > 1
    }
    if not columns:
        return []
    chart = curves_chart(columns, x=[_number(row["epoch"]) for row in rows])
    return [Picture(chart, f"Training curves: {', '.join(columns)}", f"{run.log.name}, one value an epoch.")]


def data_blocks(run: Run, card: Card) -> list[Block]:
    """Return subjects and cases by split, the seed, intensity maps and the licence of the data."""
    table = run.manifest.table
    rows = []
    for split in ("train", "validation", "test"):
        part = table[table["split"] == split] if "split" in table else table[:0]
        rows.append(
            [split, str(part["subject"].nunique()), str(len(part.groupby(["subject", "session"]))), str(len(part))]
        )
    maps = [
        [name, plain_range(unit.intensity.low, unit.intensity.high), unit.quantity, unit.intensity.origin]
        for name, unit in card.preparation.modalities.items()
    ]
    factors = ", ".join(run.manifest.factors) or "none"
    return [
        Table(["split", "subjects", "cases", "images"], rows, "A subject stands in one split only."),
        Table(["modality", "range", "quantity", "where the range comes from"], maps, "Intensity maps.", words=4),
        Text(
            f"Seed {run.recipe.train.seed}. Factors in the manifest: {factors}. "
            f"Licence of the data: {card.training.data_licence}.",
            "note",
        ),
    ]


def fold_blocks(evaluation: "RunEvaluation", card: Card) -> list[Block]:
    """Return who stands where in each fold of a cross-validation, the seed and the licence of the data."""
    rows = []
    for run in evaluation.folds:
        table = run.manifest.table
        sides = [table[table["split"] == split] for split in ("train", "validation", "test")]
        rows.append([run.name, *(str(part["subject"].nunique()) for part in sides)])
    return [
        Table(
            ["fold", "train", "validation", "test"],
            rows,
            "Subjects. Each is a test subject of one fold, and scored with its translator, which never saw it.",
        ),
        Text(
            f"Seed {evaluation.run.recipe.train.seed}. Licence of the data: {card.training.data_licence}. Intensity "
            "maps and baselines are fitted in each fold on its own training subjects.",
            "note",
        ),
    ]


def repeat_blocks(evaluation: "RunEvaluation", card: Card) -> list[Block]:
    """Return the commands that make this run and report again, with versions and machine."""
    run = evaluation.run
    words = ["--split", next(iter(evaluation.scores.values())).split]
    words += evaluation.options
    remark = "Translations were made without the noise z (no dropout), so that one translator always has these scores."
    if run.recipe.train.max_minutes is not None:
        remark += (
            f" The training was limited to {run.recipe.train.max_minutes:g} minutes (train.max_minutes): how far it "
            "comes depends on the machine and its load, so that it cannot be repeated to the bit."
        )
    folder = shlex.quote(str(run.folder))
    first, folds = (f"{folder}/fold-1", f" --folds {len(evaluation.folds)}") if evaluation.folds else (folder, "")
    commands = [
        f"transmodal train {first}/recipe.yaml --data {folder}/manifest.csv --out NEW-RUN{folds}",
        f"transmodal evaluate NEW-RUN {shlex.join(words)}",
    ]
    weights = {} if folds else {"weights (SHA-256)": card.weights_sha256}
    environment = {**run.environment, **weights, "evaluated by": transmodal.__version__}
    rows = [[key, _plain(value)] for key, value in environment.items()]
    recipe = run.recipe.to_yaml().splitlines()
    return [
        Commands(commands),
        Text(remark, "note"),
        Details("Environment of the training", [Table(["", "value"], rows, words=2)]),
        Details("The recipe, every default written out", [Commands(recipe)]),
    ]


def plain_range(low: float, high: float) -> str:
    """Return a range for people."""
    return f"{low:g} to {high:g}"


def _titled(column: str) -> str:
    words = [METRICS[word].title if word in METRICS else word for word in column.split("_")]
    return " ".join(words)


def _number(text: str | None) -> float:
    try:
        return float(text) if text else math.nan
    except ValueError:
        return math.nan


def _plain(value: Any) -> str:
    if isinstance(value, Sequence) and not isinstance(value, str):
        return ", ".join(map(str, value))
    return "none" if value is None else str(value)
