"""`transmodal data …`: index, unpack, check, split, align, straighten, degrade, simulate; one file a command."""

import typer

from transmodal.cli.data import (
    align,
    check,
    degrade,
    index,
    simulate,
    simulate_ct,
    simulate_nuclear,
    split,
    straighten,
    unpack,
)

application = typer.Typer(
    help="Make, check and split manifests; align pairs; degrade and simulate data.",
    no_args_is_help=True,
    rich_markup_mode="rich",
)
application.command("index")(index.index)
application.command("check")(check.check)
application.command("split")(split.split)
application.command("align")(align.align)
application.command("straighten", epilog=straighten.EXAMPLES)(straighten.straighten)
application.command("unpack", epilog=unpack.EXAMPLES)(unpack.unpack)
application.command("degrade", epilog=degrade.EXAMPLES)(degrade.degrade)
simulate.application.command("ct", epilog=simulate_ct.EXAMPLES)(simulate_ct.simulate_ct)
simulate.application.command("nuclear", epilog=simulate_nuclear.EXAMPLES)(simulate_nuclear.simulate_nuclear)
application.add_typer(simulate.application, name="simulate")
