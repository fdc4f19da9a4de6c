"""`transmodal score`."""

from pathlib import Path
from typing import Annotated, Any

import typer

EXAMPLES = """
[bold]Examples[/bold]

  transmodal score predicted/ truth/ --range 0 65535

  transmodal score predicted/ truth/ --range -1024 3000 --mask bodies/ --metrics mae,psnr,ssim --json

  transmodal score t2-made/ t2/ --scale percentile --mask-foreground

  transmodal score made.png true.png --range 0 255
"""


def score(
    predicted: Annotated[Path, typer.Argument(help="A folder of images, or one image.")],
    truth: Annotated[Path, typer.Argument(help="A folder with images of the same names, or one image.")],
    limits: Annotated[
        tuple[float, float] | None,
        typer.Option("--range", metavar="LO HI", help="Range of the values. Needed, but for --scale percentile."),
    ] = None,
    mask: Annotated[Path | None, typer.Option(help="Masks of the same names (non-zero inside), or one mask.")] = None,
    mask_foreground: Annotated[
        bool, typer.Option("--mask-foreground", help="Compare only where the truth is above 0.")
    ] = False,
    metrics: Annotated[str, typer.Option(help="Names with commas between.")] = "mse,mae,nrmse,psnr,ssim",
    scale: Annotated[
        str, typer.Option(help="physical, or percentile: each image by its own percentiles to 0–1 (MRI).")
    ] = "physical",
    clip: Annotated[bool, typer.Option("--clip", help="Clip both images to the range first.")] = False,
    dimension: Annotated[int | None, typer.Option(min=2, max=3, help="2 scores volumes slice by slice.")] = None,
    slice_axis: Annotated[int, typer.Option(min=0, max=2, help="Array axis of the slices.")] = 2,
    subject_pattern: Annotated[
        str | None,
        typer.Option(metavar="REGEX", help="Takes the subject out of a name, for example '(?P<subject>.+)_pose'."),
    ] = None,
    workers: Annotated[int, typer.Option(min=1, help="Threads.")] = 2,
    as_json: Annotated[bool, typer.Option("--json", help="Print the scores as JSON, and nothing else.")] = False,
) -> None:
    """Score images made by any program: two folders matched by name, or two files.

    Cases that cannot be scored are listed and stand in no average;
    the exit status is then 2.
    """
    from transmodal.cli.scores import Progress, print_scores
    from transmodal.errors import UserError
    from transmodal.evaluation.files import to_text
    from transmodal.evaluation.folders import match, score_folders

    if mask is not None and mask_foreground:
        raise UserError("--mask and --mask-foreground are two masks; give one")
    policy = _policy(
        metrics=tuple(name.strip() for name in metrics.split(",")),
        range=limits,
        scale=scale,
        clip=clip or None,
        mask="foreground" if mask_foreground else "mask" if mask else "none",
        dimension=dimension,
        slice_axis=slice_axis,
    )
    total = len(match(predicted, truth)[0])
    done: list[str] = []
    with Progress("scoring") as progress:

        def advance(case: str) -> None:
            done.append(case)
            progress.show("scoring", len(done), total)

        scores = score_folders(
            predicted,
            truth,
            policy,
            mask=mask,
            subject_of=_subject_of(subject_pattern),
            workers=workers,
            on_progress=advance,
        )
    if as_json:
        typer.echo(to_text(scores.to_json()), nl=False)
    else:
        print_scores(scores, title=f"{predicted} against {truth}")
    for case, reason in scores.failed:
        typer.echo(f"not scored: {case}: {reason}", err=True)
    if scores.failed:
        all_cases = len(scores.failed) + len(scores.cases)
        raise UserError(f"{len(scores.failed)} of {all_cases} cases were not scored, listed above; mend or remove them")


def _policy(**settings: Any) -> Any:
    from pydantic import ValidationError

    from transmodal.errors import UserError
    from transmodal.metrics.policy import Policy

    try:
        return Policy(**settings)
    except ValidationError as error:
        problem = error.errors()[0]
        option = "--" + ".".join(str(part) for part in problem["loc"] if isinstance(part, str)).replace("_", "-")
        message = problem["msg"].removeprefix("Value error, ")
        raise UserError(f"{option}: {message}" if problem["loc"] else f"--{message}") from error


def _subject_of(pattern: str | None) -> Any:
    import re

    from transmodal.errors import UserError

    if pattern is None:
        return None
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise UserError(f"--subject-pattern {pattern!r} is no regular expression: {error}") from error
    if "subject" not in compiled.groupindex:
        raise UserError("--subject-pattern needs a group (?P<subject>…)")

    def subject_of(stem: str) -> str:
        found = compiled.search(stem)
        if found is None:
            raise UserError(f"--subject-pattern {pattern!r} does not fit the name {stem!r}; change one of them")
        return str(found["subject"])

    return subject_of
