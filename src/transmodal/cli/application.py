"""The explicit table of commands."""

from typing import Annotated

import typer

import transmodal
from transmodal.cli import ct, data, fuse, rate
from transmodal.cli import demo as demo_command
from transmodal.cli import doctor as doctor_command
from transmodal.cli import evaluate as evaluate_command
from transmodal.cli import score as score_command
from transmodal.cli import train as train_command
from transmodal.cli import translate as translate_command

application = typer.Typer(
    name="transmodal",
    help="Learn to turn one kind of biomedical image into another, prove how good the result is, put it to use.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
    add_completion=False,
)


def _print_version(requested: bool) -> None:
    if requested:
        typer.echo(f"transmodal {transmodal.__version__}")
        raise typer.Exit()


@application.callback()
def top(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and leave.")
    ] = False,
) -> None:
    """Learn to turn one kind of biomedical image into another, prove how good the result is, put it to use."""


application.command("demo", epilog=demo_command.EXAMPLES)(demo_command.demo)
application.add_typer(data.application, name="data")
application.add_typer(ct.application, name="ct")
application.command("train", epilog=train_command.EXAMPLES)(train_command.train)
application.command("translate", epilog=translate_command.EXAMPLES)(translate_command.translate)
application.command("evaluate", epilog=evaluate_command.EXAMPLES)(evaluate_command.evaluate)
application.command("score", epilog=score_command.EXAMPLES)(score_command.score)
application.add_typer(rate.application, name="rate")
application.add_typer(fuse.application, name="fuse")
application.command("doctor", epilog=doctor_command.EXAMPLES)(doctor_command.doctor)
