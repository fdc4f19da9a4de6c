"""What `transmodal score --out DIR` leaves: cases.csv, groups.csv, slices.csv, summary.json and report.html."""

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import pandas

import transmodal
from transmodal.evaluation.files import write_evaluation
from transmodal.evaluation.groups import group_table
from transmodal.evaluation.report import cases_table, counted, group_blocks, result_blocks
from transmodal.evaluation.scores import Scores
from transmodal.evaluation.slices import slices_table
from transmodal.images.files import write_text
from transmodal.reporting.html import Block, Commands, Report, Section, Text, render


def write_scores(
    folder: str | Path,
    scores: Scores,
    *,
    groupings: Sequence[Sequence[str]] = (),
    title: str,
    command: str = "",
    remarks: Sequence[str] = (),
) -> Path:
    """Write tables, summary and report, each whole or not at all, and return the report's path.

    Args:
        folder: made when absent; files of the same names are replaced.
        scores: what to report.
        groupings: which groups get a table.
        title: of the page.
        command: what makes it again.
        remarks: what a careful reader must know first.

    Raises:
        UserError: the folder cannot be written.
    """
    folder = Path(folder)
    groups = group_table(scores, groupings)
    write_evaluation(folder, {"": scores}, {"": groups}, {"title": title})
    return write_text(folder / "report.html", render(_page(scores, groups, title, command, remarks)))


def _page(scores: Scores, groups: pandas.DataFrame, title: str, command: str, remarks: Sequence[str]) -> Report:
    blocks: list[Block] = [Text(remark, "warning") for remark in remarks]
    sections = [Section("Result", [*blocks, *result_blocks(scores)])]
    if len(scores.systems) > 1:
        from transmodal.evaluation.comparison_report import comparison_blocks

        sections.append(Section("Comparison", comparison_blocks(scores)))
    grouped = group_blocks(scores, groups)
    if grouped:
        sections.append(Section("Groups", grouped))
    volumes = slices_table(scores)
    if volumes is not None:
        sections.append(Section("Slices", [volumes]))
    sections.append(Section("Cases", [cases_table(scores)]))
    if command:
        sections.append(Section("Repeat it", [Commands([command])]))
    return Report(
        title=title,
        kicker="Scores of images",
        facts=(
            f"{counted(len(scores.cases), 'case')} of {counted(scores.subjects, 'subject')}",
            f"scored {datetime.now(UTC).strftime('%Y-%m-%d %H:%M UTC')}",
        ),
        notice="Scores of images; none of them says that an image may serve for diagnosis.",
        sections=sections,
        footer=f"Made by transmodal {transmodal.__version__}. This file holds everything it shows and loads nothing.",
    )
