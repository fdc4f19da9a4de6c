"""`transmodal fuse …`: nuclear images over anatomy; one file a command.

`transmodal fuse IMAGE ACTIVITY -o OUT` is the overlay; a word that is no command begins its arguments.
"""

from typing import Any

import typer
from typer.core import TyperGroup

from transmodal.cli.fuse import curves, overlay, regions


class _OverlayFirst(TyperGroup):
    """A group whose arguments are those of `overlay` unless they name another command."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if args and args[0] not in self.commands and args[0] not in ("-h", "--help"):
            args = ["overlay", *args]
        return super().parse_args(ctx, args)


application = typer.Typer(
    help="Lay nuclear images over anatomy, count in regions, follow them in time.\n\n"
    "[bold]transmodal fuse IMAGE ACTIVITY -o OUT[/bold] lays ACTIVITY over IMAGE; it is short for "
    "[bold]transmodal fuse overlay[/bold], whose --help has the options.",
    cls=_OverlayFirst,
    no_args_is_help=True,
    rich_markup_mode="rich",
)
application.command("overlay", epilog=overlay.EXAMPLES)(overlay.overlay)
application.command("regions", epilog=regions.EXAMPLES)(regions.regions)
application.command("curves", epilog=curves.EXAMPLES)(curves.curves)
