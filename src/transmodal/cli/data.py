"""`transmodal data …`: index, check, split, align, simulate."""

import typer

application = typer.Typer(help="Make, check and split manifests; align pairs; simulate data.", no_args_is_help=True)
