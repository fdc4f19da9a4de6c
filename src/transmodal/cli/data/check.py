"""`transmodal data check`: what is wrong with a data set."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from transmodal.cli.data.output import counted, print_json, print_table, progress_bar, words


def check(
    manifest: Annotated[Path, typer.Argument(metavar="CSV", help="The manifest.")],
    modalities: Annotated[
        str | None, typer.Option(metavar="LIST", help="Only these modalities, as photo,xray; default all.")
    ] = None,
    headers_only: Annotated[
        bool, typer.Option("--headers-only", help="Do not read pixels: quick, but blind to copies and NaN.")
    ] = False,
    workers: Annotated[int | None, typer.Option(min=1, help="Threads; default one a core.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="Print at most so many findings.")] = 40,
    as_json: Annotated[bool, typer.Option("--json", help="Print all findings as JSON.")] = False,
) -> None:
    """Look at every image of a manifest and say what is wrong.

    Finds missing and unreadable files, pairs on different grids, copies of one image, NaN,
    constant images, incomplete cases, and subjects on two sides of the split.
    The exit status is 2 when there is an error, 0 with warnings and notes.

    \b
    Examples:
      transmodal data check manifest.csv
      transmodal data check manifest.csv --modalities T1,T2 --json
    """
    from transmodal.datasets.checks import SEVERITIES, check_manifest
    from transmodal.datasets.manifest import Manifest

    table = Manifest.read(manifest)
    with progress_bar("Looking at images") as on_progress:
        findings = check_manifest(
            table,
            modalities=words("--modalities", modalities) or None,
            pixels=not headers_only,
            workers=workers,
            on_progress=on_progress,
        )
    counts = {severity: sum(finding.severity == severity for finding in findings) for severity in SEVERITIES}
    if as_json:
        print_json({"manifest": str(manifest), "counts": counts, "findings": [asdict(finding) for finding in findings]})
    else:
        shown = findings[:limit]
        if shown:
            rows = [(finding.severity, finding.case, finding.what, finding.remedy) for finding in shown]
            print_table(["severity", "case", "what", "remedy"], rows)
        if len(findings) > limit:
            typer.echo(f"… and {len(findings) - limit} more (--limit or --json shows them)")
        images = counted(len(table.table), "image")
        said = ", ".join(counted(number, severity) for severity, number in counts.items() if number)
        typer.echo(f"{manifest}: {images} checked, {said or 'nothing found'}")
    if counts["error"]:
        raise typer.Exit(2)
