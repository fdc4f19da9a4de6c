"""The command line: one file a command, each parses, calls and prints.

Nothing heavy is imported here or at the top of a command's file, so that `transmodal --help` answers at once.
"""

import sys
from typing import TYPE_CHECKING, NoReturn

from transmodal.errors import UserError

if TYPE_CHECKING:
    from typer.exceptions import TyperException

STOPPED = 130  # what a shell gives a program that Ctrl-C ended


def main(arguments: list[str] | None = None) -> None:
    """Run the command line; whatever a user can cause becomes one line on standard error and exit status 2."""
    from typer import Abort
    from typer.exceptions import TyperException

    from transmodal.cli.application import application

    try:
        status = application(args=arguments, prog_name="transmodal", standalone_mode=False)
    except UserError as error:
        _leave(str(error))
    except TyperException as error:  # wrong usage
        context = getattr(error, "ctx", None)
        command = context.command_path if context else "transmodal"
        message = error.format_message()
        if not message or "\n" in message:  # a group without a command: its help, which typer may have printed already
            print(message, file=sys.stderr, end="")
            sys.exit(2)
        said = f"{_plain(message)}{_hint(error)}"
        _leave(f"{said}{' See' if said.endswith('?') else '; see'} '{command} --help'")
    except Abort:
        status = STOPPED
    if status == STOPPED:
        print("transmodal: stopped by the user", file=sys.stderr)
    sys.exit(status if isinstance(status, int) else 0)


def _plain(message: str) -> str:
    """Return a message about wrong usage without the words of the library that found it."""
    return message.replace(": Value error, ", ": ").rstrip(".")


def _hint(error: "TyperException") -> str:
    """Return what the user may have meant: the nearest choice, or a degradation whose words are one option."""
    import difflib
    import re

    if found := re.search(r"'([^']*)' is not one of ('.+')", error.message):
        known = {name.lower(): name for name in re.findall("'([^']*)'", found[2])}
        if near := difflib.get_close_matches(found[1].lower(), known, n=1, cutoff=0.5):
            return f"; did you mean {known[near[0]]!r}?"
    context = getattr(error, "ctx", None)
    takes_steps = context is not None and any("--step" in option.opts for option in context.command.params)
    if takes_steps and re.match(r"Got unexpected extra argument.*=", error.message):
        return "; put a degradation and its settings in quotes, as --step 'photon-noise photons=1e5'"
    return ""


def _leave(message: str) -> NoReturn:
    print(f"transmodal: {' '.join(message.split())}", file=sys.stderr)
    sys.exit(2)
