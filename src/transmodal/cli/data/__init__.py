"""`transmodal data …`: index, check, split, align, straighten, simulate; one file a command."""

import typer

from transmodal.cli.data import align, check, index, simulate, split, straighten

application = typer.Typer(
    help="Make, check and split manifests; align pairs; simulate data.", no_args_is_help=True, rich_markup_mode="rich"
)
application.command("index")(index.index)
application.command("check")(check.check)
application.command("split")(split.split)
application.command("align")(align.align)
application.command("straighten", epilog=straighten.EXAMPLES)(straighten.straighten)
application.add_typer(simulate.application, name="simulate")
