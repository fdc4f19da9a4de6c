"""`transmodal ct …`: project, reconstruct, degrade; one file a command."""

import typer

from transmodal.cli.ct import degrade, project, reconstruct

application = typer.Typer(
    help="CT: project images, reconstruct projections, degrade images.",
    no_args_is_help=True,
    rich_markup_mode="rich",
)
application.command("project", epilog=project.EXAMPLES)(project.project)
application.command("reconstruct", epilog=reconstruct.EXAMPLES)(reconstruct.reconstruct)
application.command("degrade", epilog=degrade.EXAMPLES)(degrade.degrade)
