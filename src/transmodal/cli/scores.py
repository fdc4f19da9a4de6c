"""How scores look in a terminal; shared by `evaluate` and `score`."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.console import Console
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from transmodal.evaluation.intervals import Summary
from transmodal.evaluation.scores import Scores
from transmodal.evaluation.sets import describe_set_score, reason_of, said_once
from transmodal.evaluation.slices import slice_intervals_in_words
from transmodal.evaluation.wording import (
    bare_title,
    contrast_in_words,
    counted,
    interval_text,
    lead_metric,
    left_out_in_words,
    lesion_counts,
    notes,
    over,
    titled,
)
from transmodal.reporting.figures import plain_number

if TYPE_CHECKING:
    from transmodal.evaluation.combinations import Combinations
    from transmodal.evaluation.system_comparison import SystemComparison

_UNBOUNDED = 10_000  # columns: a measurement says no more than the width it is given
_ACROSS = 3  # metrics side by side, each with its interval


def print_scores(scores: Scores, *, title: str, comparison: "SystemComparison | None" = None) -> None:
    """Print each metric of each system, paired differences, set-level scores, and the policy beneath them.

    Args:
        scores: what to print.
        title: over the table.
        comparison: of the systems; adds p values, the ranking, WAEM, and where a system is worse than a baseline.
    """
    console = Console(highlight=False)
    console.width = max(console.width, 100 if len(scores.systems) <= _ACROSS + 1 else 112)
    metrics, systems = scores.columns, scores.systems
    console.print(Text(title, style="bold"))
    summaries = scores.summary
    intervals = ""
    if comparison is not None:  # systems have long names and may be many: one a row
        for part in _parts(metrics):
            table = _table("", *(titled(metric, scores) for metric in part))
            for system in systems:
                cells = (scores.summary_of(metric, system) for metric in part)
                table.add_row(Text(system), *(with_interval(summary).replace(" (", "\n(") for summary in cells))
            console.print(table)
    else:
        rows = [
            [
                titled(metric, scores),
                with_interval(scores.summary_of(metric)),
                *(plain(scores.summary_of(metric, system)) for system in systems[1:]),
            ]
            for metric in metrics
        ]
        if any(summary.ci95[0] is not None for summary in summaries.values()):
            intervals = ", 95 % intervals"
        _print_fitting(console, ["", *systems], rows)
    console.print(f"means over {over(scores)}{intervals}\n")
    if comparison is not None:
        _print_comparison(console, scores, comparison)
    elif systems[1:]:
        rows = [
            [
                titled(metric, scores),
                *(with_interval(scores.difference(metric, systems[0], other)) for other in systems[1:]),
            ]
            for metric in metrics
        ]
        _print_fitting(console, [f"{systems[0]} minus", *systems[1:]], rows)
        console.print("paired differences\n")
    for system, lesions in scores.lesion_summary.items():
        error = ", ".join(f"{name.upper()} {with_interval(lesions.values[name])}" for name in ("mae", "psnr"))
        console.print(Text(f"lesions, {system}: {contrast_in_words(lesions)}, {error}"))
    if not scores.lesions.empty:
        console.print(Text(f"{lesion_counts(scores)}\n"))
    lines = slice_intervals_in_words(scores)
    for line in lines:
        console.print(Text(line))
    if lines:
        console.print(Text("(95 %, over slices of one volume; they say nothing about other subjects)\n"))
    for metric, summary in summaries.items():
        if summary.left_out:
            console.print(Text(left_out_in_words(metric, summary, scores)))
    for name in next(iter(scores.sets.values()), {}):
        for system, values in scores.sets.items():
            if values[name].get("value") is not None:
                whose = f"{system}: " if len(scores.sets) > 1 else ""
                console.print(Text(whose + describe_set_score(name, values[name])))
    for sentence in said_once(scores.sets, lambda score: f" {reason_of(score)}" if score.get("value") is None else ""):
        console.print(Text(sentence))
    console.print(Text(" ".join([scores.policy.describe(), *notes(scores)])))


def _print_comparison(console: Console, scores: Scores, comparison: "SystemComparison") -> None:
    from transmodal.evaluation.comparison_report import reach_text, stability_text
    from transmodal.reporting.figures import p_text

    first, *others = scores.systems
    found = {(each.metric, each.second): each for each in comparison.against_first}
    for part in _parts(scores.columns):
        table = _table("minus", *(titled(metric, scores) for metric in part))
        for other in others:
            row = [found[metric, other] for metric in part]
            table.add_row(Text(other), *(_difference(each.summary, p_text(each.p_holm)) for each in row))
        console.print(table)
    tests = counted(len(comparison.against_first), "comparison")
    means = f"{first} minus each other system, paired, with 95 % intervals"
    console.print(Text(f"{means}; p: Wilcoxon over subjects, Holm over {tests}"))
    console.print(Text(reach_text(comparison.against_first)) if reach_text(comparison.against_first) else "")
    lead = lead_metric(scores)
    if lead in comparison.rankings:
        ranking = comparison.rankings[lead]
        console.print(Text(f"Ranking by {bare_title(lead)}: {ranking.line} ({stability_text(ranking)})"))
    if comparison.aggregate is not None:
        ranking = comparison.aggregate.ranking
        count = counted(len(comparison.aggregate.metrics), "metric")
        console.print(Text(f"Ranking by mean rank over {count}: {ranking.line} ({stability_text(ranking)})"))
    waem = comparison.waem
    if waem.waem is None or waem.ranking is None:
        console.print(Text(f"WAEM is not available: {waem.reason}"))
    else:
        values = ", ".join(f"{system} {plain_number(waem.scores[system])}" for system in waem.ranking.systems)
        console.print(Text(f"{waem.waem.label}: {values} ({stability_text(waem.ranking)})"))
        for note in waem.notes:
            console.print(Text(f"  {note}"))
    for note in comparison.notes:
        console.print(Text(note))
    for verdict in comparison.verdicts:
        console.print(Text(verdict, style="bold"))
    console.print()


def print_combinations(found: "Combinations", *, title: str) -> None:
    """Print the lead metric of each target by the inputs given, with dots."""
    from transmodal.evaluation.combinations import combination_rows

    metric = "psnr" if "psnr" in found.metrics else found.metrics[0]
    console = Console(highlight=False)
    console.width = max(console.width, 100)
    console.print(Text(f"{title}, {bare_title(metric)}", style="bold"))
    table = Table(box=None, pad_edge=False)
    for name in found.inputs:
        table.add_column(Text(name), justify="center", no_wrap=True)
    for name in found.targets:
        table.add_column(Text(f"→ {name}"), justify="right", no_wrap=True)
    for row in combination_rows(found, metric):
        table.add_row(*(Text(cell if isinstance(cell, str) else cell.text) for cell in row))
    console.print(table)
    console.print()


def plain(summary: Summary) -> str:
    """Return a mean for the terminal."""
    if summary.mean is None:
        return "∞" if summary.infinite else "—"
    return plain_number(summary.mean)


def with_interval(summary: Summary) -> str:
    """Return a mean and its interval for the terminal."""
    return plain(summary) + (f" ({interval_text(summary)})" if summary.ci95[0] is not None else "")


def _parts(metrics: Sequence[str]) -> list[Sequence[str]]:
    """Return the metrics in parts that stand side by side in 100 columns."""
    return [metrics[start : start + _ACROSS] for start in range(0, len(metrics), _ACROSS)]


def _difference(summary: Summary, p: str) -> str:
    lines = [plain(summary)] + ([f"({interval_text(summary)})"] if summary.ci95[0] is not None else [])
    return "\n".join([*lines, f"p {p}"])


def _print_fitting(console: Console, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table in which nothing is cut off: too wide for the lines, its intervals stand below the means, and if
    that does not help, its headings are broken."""
    for broken in (False, True):
        table = _table(*columns)
        for first, *values in rows:
            table.add_row(Text(first), *(value.replace(" (", "\n(") if broken else value for value in values))
        if Measurement.get(console, console.options.update(max_width=_UNBOUNDED), table).maximum <= console.width:
            break
    else:
        for column in table.columns:
            column.no_wrap, column.overflow = False, "fold"
    console.print(table)


def _table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False)
    table.add_column(Text(columns[0]), no_wrap=True)
    for column in columns[1:]:
        table.add_column(Text(column), justify="right", no_wrap=True)
    return table
