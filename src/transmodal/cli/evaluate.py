"""`transmodal evaluate`."""

from pathlib import Path
from typing import Annotated

import typer

EXAMPLES = """
[bold]Examples[/bold]

  transmodal evaluate runs/first

  transmodal evaluate runs/first --split validation --group-by coat,bed

  transmodal evaluate runs/cross-entropy runs/wasserstein --out compared

  transmodal evaluate runs/first --json > scores.json
"""


def evaluate(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN...", help="Folders of runs; several are compared.")],
    split: Annotated[str, typer.Option(help="test, validation or train.")] = "test",
    group_by: Annotated[
        list[str] | None,
        typer.Option(metavar="A,B", help="Factors to group by, crossed; can be repeated. Default: what fits."),
    ] = None,
    fid_weights: Annotated[
        Path | None, typer.Option(help="Inception weights (pt_inception-2015-12-05) for FID.", show_default=False)
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Folder of a comparison. Default: RUN/comparison of the first.")
    ] = None,
    workers: Annotated[int, typer.Option(min=1, help="Threads that read and score.")] = 2,
    device: Annotated[str, typer.Option(help="Where the translator works: cpu, cuda or mps.")] = "cpu",
    as_json: Annotated[bool, typer.Option("--json", help="Print the scores as JSON, and nothing else.")] = False,
) -> None:
    """Score a run per case and per group, beside baselines, with intervals; write its report.

    Writes RUN/report.html and, in RUN/evaluation/, cases.csv, groups.csv
    and summary.json.

    Several runs are scored under the policy of the first and compared by
    paired differences.

    Cases that cannot be scored are listed and stand in no average;
    the exit status is then 2.
    """
    from transmodal.cli.scores import Progress, print_scores
    from transmodal.evaluation.comparison import compare
    from transmodal.evaluation.files import to_text
    from transmodal.evaluation.run import evaluate_run
    from transmodal.evaluation.run_report import baseline_warnings

    groupings = [[name.strip() for name in names.split(",")] for names in group_by or []]
    evaluations = []
    policy = None
    for folder in runs:
        with Progress(folder.name) as progress:
            evaluation = evaluate_run(
                folder,
                split=split,
                policy=policy,
                fid_weights=fid_weights,
                groupings=groupings,
                workers=workers,
                device=device,
                on_progress=progress.show,
            )
        if len(evaluation.scores) == 1:
            policy = next(iter(evaluation.scores.values())).policy
        evaluations.append(evaluation)
    for warning in dict.fromkeys(
        line for each in evaluations for part in each.scores.values() if part.not_in_baselines
        for line in baseline_warnings(part)
    ):  # fmt: skip
        typer.echo(f"warning: {warning}", err=True)
    scores, report = evaluations[0].scores, evaluations[0].report
    if len(runs) > 1:
        comparison = compare(evaluations, out or runs[0] / "comparison")
        scores, report = comparison.scores, comparison.report
    if as_json:
        content = {target: part.to_json() for target, part in scores.items()}
        first = next(iter(content.values()))
        typer.echo(to_text(first if len(content) == 1 else {**first, "targets": content}), nl=False)
    else:
        for target, part in scores.items():
            print_scores(part, title=f"{target}, {split} split")
    failed = dict.fromkeys(failure for part in scores.values() for failure in part.failed)
    for case, reason in failed:
        typer.echo(f"not scored: {case}: {reason}", err=True)
    if not as_json:
        typer.echo(f"Report: {report}")
    if failed:
        raise typer.Exit(2)
