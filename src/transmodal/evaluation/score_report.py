"""What `transmodal score --out DIR` leaves: cases.csv, groups.csv, slices.csv, summary.json and report.html."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas

import transmodal
from transmodal.evaluation.comparison_report import comparison_blocks
from transmodal.evaluation.files import write_evaluation
from transmodal.evaluation.report import cases_table, group_blocks, result_blocks
from transmodal.evaluation.scores import Scores
from transmodal.evaluation.slices import slices_table
from transmodal.evaluation.system_comparison import SystemComparison
from transmodal.evaluation.wording import counted
from transmodal.images.files import write_text
from transmodal.reporting.html import Commands, Report, Section, Text, render


def write_scores(
    folder: str | Path, scores: Scores, groups: pandas.DataFrame, page: Report, more: Mapping[str, Any]
) -> Path:
    """Write tables, summary and report, each whole or not at all, and return the report's path.

    Args:
        folder: made when absent; files of the same names are replaced.
        scores: what to report.
        groups: of `groups.group_table`.
        page: of `score_page`.
        more: what stands in summary.json beside the scores.

    Raises:
        UserError: the folder cannot be written.
    """
    folder = Path(folder)
    write_evaluation(folder, {"": scores}, {"": groups}, {"title": page.title, **more})
    return write_text(folder / "report.html", render(page))


def score_page(
    scores: Scores,
    groups: pandas.DataFrame,
    *,
    title: str,
    command: str = "",
    comparison: SystemComparison | None = None,
    warnings: Sequence[str] = (),
) -> Report:
    """Return the page: result, comparison of systems, groups, volumes, cases, and how to make it again.

    Args:
        scores: of one or several systems.
        groups: of `groups.group_table`; may be empty.
        title: of the page.
        command: what makes it again.
        comparison: of `compare_systems`, for several systems; None makes it.
        warnings: lines about images that look wrong, told beside the result.
    """
    doubts = [Text(f"Warning: {warning}.", "warning") for warning in warnings]
    sections = [Section("Result", [*doubts, *result_blocks(scores)])]
    if len(scores.systems) > 1:
        sections.append(Section("Comparison", comparison_blocks(scores, comparison=comparison)))
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
