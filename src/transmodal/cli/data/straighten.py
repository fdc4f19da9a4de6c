"""`transmodal data straighten`: a tilted or uneven DICOM series on an even grid."""

from pathlib import Path
from typing import Annotated

import typer

from transmodal.cli.data.output import print_json

EXAMPLES = """
[bold]Examples[/bold]

  transmodal data straighten head-ct/ -o head.nii.gz

  transmodal data straighten head-ct/ -o head.nii.gz --spacing 2.5
"""


def straighten(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="The slices of one DICOM series.")],
    out: Annotated[Path, typer.Option("--out", "-o", metavar="FILE", help="The volume: .nii.gz, .nii, .mha …")],
    series: Annotated[str | None, typer.Option(metavar="UID", help="Where the folder holds several.")] = None,
    spacing: Annotated[
        float | None, typer.Option(metavar="MM", help="Of the new slices; default: the median distance.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print what was done as JSON.")] = False,
) -> None:
    """Put a DICOM series with gantry tilt, uneven distances or missing slices on an even, rectangular grid.

    Each slice is moved within its plane to where it belongs, and slices of equal distance are interpolated between
    them. A hole of more than four distances is refused.
    """
    from transmodal.errors import UserError
    from transmodal.images import write
    from transmodal.images.straightening import straighten as straightened

    if not folder.is_dir():
        raise UserError(f"{folder} is no folder; name the one that holds the slices")
    made = straightened(folder, series=series, spacing=spacing)
    out.parent.mkdir(parents=True, exist_ok=True)
    write(made.image, out)
    if as_json:
        print_json(
            {
                "file": str(out),
                "tilt_degrees": made.tilt,
                "distances_mm": list(made.distances),
                "spacing_mm": made.spacing,
                "shape": list(made.image.shape),
            }
        )
    else:
        typer.echo(f"{out}: {made.describe()}")
