"""The command line: one file a command, each parses, calls and prints.

Nothing heavy is imported here or at the top of a command's file, so that `transmodal --help` answers at once.
"""

import sys

from transmodal.errors import UserError


def main(arguments: list[str] | None = None) -> None:
    """Run the command line; a UserError becomes one line on standard error and exit status 2."""
    from transmodal.cli.application import application

    try:
        application(args=arguments, prog_name="transmodal")
    except UserError as error:
        print(f"transmodal: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("transmodal: stopped by the user", file=sys.stderr)
        sys.exit(130)
