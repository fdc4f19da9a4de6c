"""`transmodal rate analyse`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rich.table import Table

    from transmodal.evaluation.readers.results import Analysis

EXAMPLES = """
[bold]Examples[/bold]

  transmodal rate analyse reading

  transmodal rate analyse likert --scores compared --out likert-analysis

  transmodal rate analyse prefer --scores runs/a/comparison --json > prefer.json
"""


def analyse(
    study: Annotated[Path, typer.Argument(metavar="STUDY", help="The folder of the study.")],
    scores: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="What 'evaluate --out' or 'score --out' wrote about the same images."),
    ] = None,
    target: Annotated[str | None, typer.Option(help="Of the scores, where several targets were scored.")] = None,
    ridge: Annotated[float, typer.Option(min=0.0, help="Of WAEM's weights: strength towards equal ones.")] = 1.0,
    seed: Annotated[int, typer.Option(help="Of the bootstrap.")] = 0,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Folder of the report. Default: STUDY/analysis.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the analysis as JSON, and nothing else.")] = False,
) -> None:
    """Analyse a reader study: skill, agreement, consistency, preferences, ratings.

    With --scores also how each metric goes with the readers, and the weights
    of WAEM that say best what they said.

    Writes report.html, analysis.json, and waem.json where weights were fitted,
    for 'transmodal evaluate --waem'.
    """
    from transmodal.evaluation.files import to_text
    from transmodal.evaluation.readers.analysis import analyse as analyse_study
    from transmodal.evaluation.readers.report import write_report
    from transmodal.images.files import write_text

    analysis = analyse_study(study, scores, target=target, ridge=ridge, seed=seed)
    folder = out or study / "analysis"
    text = to_text(analysis.to_json())
    write_text(folder / "analysis.json", text)
    if not isinstance(analysis.waem, str):
        analysis.waem.waem.save(folder / "waem.json")
    else:
        (folder / "waem.json").unlink(missing_ok=True)  # of an analysis before
    options = "".join(
        f" {name} {value}"
        for name, value, default in (
            ("--scores", scores, None),
            ("--target", target, None),
            ("--ridge", ridge, 1.0),
            ("--seed", seed, 0),
            ("--out", out, None),
        )
        if value != default
    )
    report = write_report(analysis, folder / "report.html", commands=[f"transmodal rate analyse {study}{options}"])
    if as_json:
        typer.echo(text, nl=False)
        return
    print_analysis(analysis)
    typer.echo(f"Report: {report}")


def print_analysis(analysis: "Analysis") -> None:
    """Print the tables that matter most, and the notes."""
    from rich.console import Console
    from rich.text import Text

    console = Console(highlight=False)
    console.width = max(console.width, 100)
    console.print(Text(f"{analysis.answers.title}: {analysis.who}", style="bold"))
    for table in _tables(analysis):
        console.print(table)
        console.print()
    for note in analysis.notes:
        console.print(Text(note))
    if isinstance(analysis.waem, str) and analysis.metrics:
        console.print(Text(f"WAEM {analysis.waem}"))


def _tables(analysis: "Analysis") -> "list[Table]":
    from transmodal.evaluation.readers.wording import (
        estimate_text,
        interval_text,
        number,
        p_text,
        percent_interval,
        title_of,
    )

    tables = []
    if analysis.means:
        table = _table("reader", "right", "95 %", "p (chance)", "d′", "95 %")
        for reader in analysis.readers:
            if reader.detection is not None and reader.detection.accuracy.share is not None:
                share, d_prime = reader.detection.accuracy, reader.detection.d_prime
                name = f"{reader.name} (simulated)" if reader.simulated else reader.name
                limits = percent_interval(share.low, share.high)
                found = (f"{100 * (share.share or 0):.1f} %", limits, p_text(share.p))
                _add(table, name, *found, estimate_text(d_prime), interval_text(d_prime))
        accuracy, d_prime = analysis.means["accuracy"], analysis.means["d_prime"]
        value = "—" if accuracy.value is None else f"{100 * accuracy.value:.1f} %"
        limits = percent_interval(accuracy.low, accuracy.high) or accuracy.note
        _add(table, "mean over readers", value, limits, "", estimate_text(d_prime), interval_text(d_prime))
        tables.append(table)
    for criterion, systems in analysis.ratings.items():
        table = _table(f"rating of {criterion}", "mean", "95 %")
        for name, estimate in systems.items():
            _add(table, name, estimate_text(estimate), interval_text(estimate))
        tables.append(table)
    if analysis.strengths:
        table = _table("preference", "strength", "95 %", "won")
        for each in sorted(analysis.strengths, key=lambda each: -(each.strength.value or 0.0)):
            _add(
                table,
                each.system,
                estimate_text(each.strength),
                interval_text(each.strength),
                f"{100 * each.share:.0f} %",
            )
        tables.append(table)
    if analysis.agreement:
        table = _table("agreement", "Fleiss κ", "95 %", "observed")
        for criterion, agreement in analysis.agreement.items():
            limits, observed = interval_text(agreement.fleiss), estimate_text(agreement.observed)
            _add(table, criterion or "all answers", estimate_text(agreement.fleiss), limits, observed)
        tables.append(table)
    if analysis.metrics:
        pairs = any(result.pairs for result in analysis.metrics)
        table = _table("metric against readers", "choices foretold" if pairs else "τ_b, images", "95 %", "τ_b, systems")
        for result in analysis.metrics:
            if result.criterion in ("", "mean") or len(analysis.answers.criteria) == 1:
                shown = result.pairs if pairs else result.images.kendall if result.images else None
                systems_tau = estimate_text(result.systems.kendall)
                _add(table, title_of(result.metric), estimate_text(shown), interval_text(shown), systems_tau)
        tables.append(table)
    if not isinstance(analysis.waem, str):
        waem = analysis.waem
        table = _table(waem.waem.title, "weight", "95 %")
        for term, weight in waem.waem.weights.items():
            limits = " to ".join(number(limit) for limit in waem.intervals.get(term, ()))
            _add(table, term, number(weight), limits)
        tables.append(table)
    return tables


def _add(table: "Table", *cells: str) -> None:
    from rich.text import Text

    table.add_row(*(Text(cell) for cell in cells))  # a reader may be called "[bold]"


def _table(*columns: str) -> "Table":
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False)
    table.add_column(Text(columns[0]), no_wrap=True)
    for column in columns[1:]:
        table.add_column(Text(column), justify="right", no_wrap=True)
    return table
