"""The command line: one file a command, each parses, calls and prints.

Nothing heavy is imported here or at the top of a command's file, so that `transmodal --help` answers at once.
"""

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, NoReturn

from transmodal.errors import UserError, spelt_like

if TYPE_CHECKING:
    from typer.exceptions import TyperException

STOPPED = 130  # what a shell gives a program that Ctrl-C ended


def main(arguments: list[str] | None = None) -> None:
    """Run the command line; whatever a user can cause becomes one line on standard error and exit status 2."""
    from typer import Abort
    from typer.exceptions import TyperException

    from transmodal.cli.application import application

    given = sys.argv[1:] if arguments is None else arguments
    try:
        status = application(args=arguments, prog_name="transmodal", standalone_mode=False)
    except UserError as error:
        _leave(f"{error}{_quoted_step(given) if str(error).startswith('Cannot find') else ''}")
    except TyperException as error:  # wrong usage
        context = getattr(error, "ctx", None)
        command = context.command_path if context else "transmodal"
        message = error.format_message()
        if not message or "\n" in message:  # a group without a command: its help, which typer may have printed already
            print(message, file=sys.stderr, end="")
            sys.exit(2)
        said = f"{_plain(message)}{_hint(error, given)}"
        _leave(f"{said}{' See' if said.endswith('?') else '; see'} '{command} --help'")
    except Abort:
        status = STOPPED
    if status == STOPPED:
        print("transmodal: stopped by the user", file=sys.stderr)
    sys.exit(status if isinstance(status, int) else 0)


def _plain(message: str) -> str:
    """Return a message about wrong usage without the words of the library that found it."""
    return message.replace(": Value error, ", ": ").rstrip(".")


def _hint(error: "TyperException", given: Sequence[str]) -> str:
    """Return what the user may have meant: the nearest choice, or a degradation whose words are one option."""
    import re

    if found := re.search(r"'([^']*)' is not one of ('.+')", error.message):
        near = spelt_like(found[1], re.findall("'([^']*)'", found[2]))
        return f"; did you mean {near!r}?" if near else ""
    return _quoted_step(given) if error.message.startswith("Got unexpected extra argument") else ""


def _quoted_step(given: Sequence[str]) -> str:
    """Return a hint where the settings of a degradation follow it as words of their own, else nothing.

    They are then taken for a file, or push the file out of its place.
    """
    import re
    from itertools import pairwise, takewhile

    for place, (option, kind) in enumerate(pairwise([*given, ""])):
        if option == "--step" or option.startswith("--step="):
            kind, after = (kind, place + 2) if option == "--step" else (option.partition("=")[2], place + 1)
            settings = list(takewhile(re.compile(r"[a-z_][a-z0-9_.]*=").match, given[after:]))
            if settings:
                words = " ".join([kind, *settings])
                return f"; put a degradation and its settings in quotes, as --step '{words}'"
    return ""


def _leave(message: str) -> NoReturn:
    print(f"transmodal: {' '.join(message.split())}", file=sys.stderr)
    sys.exit(2)
