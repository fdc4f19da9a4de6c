"""The command line: one file a command, each parses, calls and prints.

Nothing heavy is imported here or at the top of a command's file, so that `transmodal --help` answers at once.
"""

import sys
from typing import NoReturn

from transmodal.errors import UserError

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
        _leave(f"{message.rstrip('.')}; see '{command} --help'")
    except Abort:
        status = STOPPED
    if status == STOPPED:
        print("transmodal: stopped by the user", file=sys.stderr)
    sys.exit(status if isinstance(status, int) else 0)


def _leave(message: str) -> NoReturn:
    print(f"transmodal: {' '.join(message.split())}", file=sys.stderr)
    sys.exit(2)
