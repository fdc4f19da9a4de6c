"""`transmodal data align`: bring the images of each pair on one grid."""

from pathlib import Path
from typing import Annotated

import typer


def align(
    manifest: Annotated[Path, typer.Argument(metavar="CSV", help="The manifest.")],
) -> None:
    """Align."""
