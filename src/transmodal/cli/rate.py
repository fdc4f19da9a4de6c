"""`transmodal rate …`: make a blinded reader study, show it in the browser, analyse it."""

from pathlib import Path
from typing import Annotated, Any

import typer

from transmodal.cli import rate_analyse

application = typer.Typer(
    help="Reader studies: make a blinded study, show it in the browser, analyse the answers.",
    no_args_is_help=True,
    rich_markup_mode="rich",
)

NEW_EXAMPLES = """
[bold]Examples[/bold]

  transmodal rate new reading --kind real-or-synthetic --system pix2pix=made --real xray

  transmodal rate new prefer --kind preference --runs runs/a --runs runs/b --reference input

  transmodal rate new likert --kind rating --system a=made_a --system b=made_b --cases 30
"""

SERVE_EXAMPLES = """
[bold]Examples[/bold]

  transmodal rate serve reading

  transmodal rate serve reading --host 0.0.0.0 --readers ana,ben
"""


def new(
    study: Annotated[Path, typer.Argument(metavar="STUDY", help="The folder to make.")],
    kind: Annotated[str, typer.Option(metavar="KIND", help="real-or-synthetic, which-is-real, preference or rating.")],
    system: Annotated[
        list[str] | None, typer.Option(metavar="NAME=DIR", help="Images of one system; can be repeated.")
    ] = None,
    real: Annotated[Path | None, typer.Option(metavar="DIR", help="The true images, of the same names.")] = None,
    runs: Annotated[
        list[Path] | None,
        typer.Option(metavar="RUN", help="Instead of folders: a run's translations and true targets; repeatable."),
    ] = None,
    split: Annotated[str, typer.Option(help="Of runs: test, validation or train.")] = "test",
    reference: Annotated[
        str | None,
        typer.Option(metavar="DIR", help="Images shown beside, of the same names; the word input, with runs."),
    ] = None,
    reference_title: Annotated[str, typer.Option(metavar="TEXT", help="What stands on them.")] = "for comparison",
    title: Annotated[str, typer.Option(metavar="TEXT", help="Of the page; do not name a system.")] = "Reader study",
    question: Annotated[str | None, typer.Option(metavar="TEXT", help="Of each trial; default the kind's own.")] = None,
    criteria: Annotated[str, typer.Option(metavar="A,B", help="Of a rating.")] = "realism,anatomy,artefacts",
    points: Annotated[int, typer.Option(help="Of a rating's scale, 1 the worst.")] = 5,
    ties: Annotated[bool, typer.Option("--ties", help="Let readers call two images equal (preference).")] = False,
    cases: Annotated[int | None, typer.Option(metavar="N", help="Take N cases, spread over subjects.")] = None,
    repeats: Annotated[float, typer.Option(help="Share of the trials that come again later.")] = 0.15,
    readers_see: Annotated[
        str | None,
        typer.Option(metavar="all|one", help="All versions of a case, or one of each, readers taking turns."),
    ] = None,
    seed: Annotated[
        int | None, typer.Option(help="Of choice and order. Default: drawn, and kept in key.json.", show_default=False)
    ] = None,
    limits: Annotated[
        tuple[float, float] | None,
        typer.Option(
            "--range", metavar="LO HI", help="Values that are shown; default the true images' least and greatest."
        ),
    ] = None,
    percentiles: Annotated[
        tuple[float, float] | None, typer.Option(metavar="LO HI", help="Map each image by its own percentiles (MRI).")
    ] = None,
    slices: Annotated[
        str, typer.Option("--slice", metavar="LIST", help="Of volumes: middle, or numbers from 0, as 60,77,90.")
    ] = "middle",
    slice_axis: Annotated[int, typer.Option(min=0, max=2, help="Array axis of the slices.")] = 2,
    subject_pattern: Annotated[
        str | None,
        typer.Option(metavar="REGEX", help="Takes the subject out of a name, for example '(?P<subject>.+)_pose'."),
    ] = None,
    device: Annotated[
        str,
        typer.Option(help="Where translators of runs work: auto (a CUDA GPU if there is one, else the CPU), cpu, …"),
    ] = "auto",
) -> None:
    """Make a blinded study from folders of images or from runs.

    Images get one grid, one scale, one rounding, random names and one
    date; key.json alone says what is what, and readers never get it.
    """
    from transmodal.cli.data.output import counted, progress_bar
    from transmodal.evaluation.readers.making import StudySettings, make_study

    settings: dict[str, Any] = {
        "kind": kind, "title": title, "question": question, "points": points, "ties": ties, "cases": cases,
        "repeats": repeats, "readers_see": _choice("--readers-see", readers_see, ("all", "one")), "seed": seed,
        "limits": limits, "percentiles": percentiles, "slices": _slices(slices), "axis": slice_axis,
        "criteria": tuple(name.strip() for name in criteria.split(",")), "reference_title": reference_title,
    }  # fmt: skip
    materials = _materials(kind, system or [], real, runs or [], split, reference, subject_pattern, device)
    warnings: list[str] = []
    with progress_bar("Making the study") as on_progress:
        made = make_study(
            study,
            materials,
            StudySettings(**settings),
            on_progress=lambda what, done, total: on_progress(done, total),
            on_warning=warnings.append,
        )
    for warning in warnings:
        typer.echo(f"warning: {warning}", err=True)
    if materials.left_out:
        named = ", ".join(materials.left_out[:5]) + (", …" if len(materials.left_out) > 5 else "")
        typer.echo(f"{counted(len(materials.left_out), 'case')} left out, not every folder has them: {named}")
    for fact, value in made.key.about.items():
        if fact != "sources":
            typer.echo(f"{fact}: {value}")
    typer.echo(f"Keep {study / 'key.json'} from readers: it says what is what.")
    typer.echo(f"Study: {study}, {made.workload()}; show it with 'transmodal rate serve {study}'")


def serve(
    study: Annotated[Path, typer.Argument(metavar="STUDY", help="A study made by 'rate new'.")],
    host: Annotated[str, typer.Option(help="Where to listen; beyond loopback --readers is needed.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes a free one.")] = 8700,
    readers: Annotated[
        str | None, typer.Option(metavar="A,B", help="Names; each gets a personal link, and others are not let in.")
    ] = None,
) -> None:
    """Show a study in the browser until Ctrl-C.

    Every answer is stored before the next image comes. The same link
    goes on where the reader stopped.
    """
    from transmodal.cli.data.output import words
    from transmodal.evaluation.readers.server import serve as serve_study

    serve_study(study, host=host, port=port, readers=words("--readers", readers), say=typer.echo)


def _materials(
    kind: str,
    systems: list[str],
    real: Path | None,
    runs: list[Path],
    split: str,
    reference: str | None,
    subject_pattern: str | None,
    device: str,
) -> Any:
    from transmodal.errors import UserError
    from transmodal.evaluation.readers.materials import INPUT, from_folders, from_runs

    if bool(runs) == bool(systems):
        raise UserError("Give either folders with --system NAME=DIR, or runs with --runs RUN")
    if runs:
        if real is not None:
            raise UserError("--real has no sense with --runs, which bring their true targets; leave it out")
        if reference not in (None, INPUT):
            raise UserError(f"With --runs, --reference is the word {INPUT}, not {reference}; change it")
        return from_runs(runs, with_real=kind != "preference", with_input=reference == INPUT, split=split,
                         device=device)  # fmt: skip
    folders: dict[str, Path] = {}
    for each in systems:
        name, equals, folder = each.partition("=")
        if not equals or not folder:
            raise UserError(f"--system {each} is not NAME=DIR; give the system a name, as in pix2pix={each}")
        if name in folders:
            raise UserError(f"Two systems are called {name!r}; give one another name")
        folders[name.strip()] = Path(folder)
    beside = None if reference is None else Path(reference)
    return from_folders(folders, real, reference=beside, subject_pattern=subject_pattern)


def _slices(text: str) -> Any:
    from transmodal.errors import UserError

    if text == "middle":
        return text
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError as error:
        raise UserError(f"--slice {text!r} is neither the word middle nor numbers with commas between") from error


def _choice(option: str, value: str | None, allowed: tuple[str, ...]) -> str | None:
    from transmodal.errors import UserError

    if value is not None and value not in allowed:
        raise UserError(f"{option} {value!r} is none of {', '.join(allowed)}")
    return value


application.command("new", epilog=NEW_EXAMPLES)(new)
application.command("serve", epilog=SERVE_EXAMPLES)(serve)
application.command("analyse", epilog=rate_analyse.EXAMPLES)(rate_analyse.analyse)
