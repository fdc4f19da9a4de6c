"""`transmodal rate analyse`."""

from pathlib import Path
from typing import Annotated

import typer

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
    from transmodal.cli.reader_tables import print_analysis
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
