"""`transmodal data unpack`: patches that are stacked in one HDF5 or .npz file as a folder of images with a manifest."""

from pathlib import Path
from typing import Annotated

import typer

from transmodal.cli.data.output import counted, print_json, progress_bar

EXAMPLES = """
[bold]Examples[/bold]

  transmodal data unpack val_patches.h5 -o lung --spacing 2 2 --per-subject 10

  transmodal data unpack patches.npz -o patches --images x --labels y
"""


def unpack(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="An HDF5 file (.h5, .hdf5) or .npz.")],
    out: Annotated[Path, typer.Option("--out", "-o", metavar="DIR", help="The folder to fill.")],
    images: Annotated[
        str, typer.Option(metavar="NAME", help="The array of images, patches × rows × columns.")
    ] = "images",
    labels: Annotated[str, typer.Option(metavar="NAME", help="The array of label maps.")] = "labels",
    spacing: Annotated[tuple[float, float], typer.Option(metavar="ROW COLUMN", help="Pixel size in mm.")] = (1.0, 1.0),
    per_subject: Annotated[
        int,
        typer.Option(
            min=1,
            help="Consecutive patches of one person, where the file is ordered so. Default: each is a subject, and "
            "nothing keeps a person on one side of a split.",
        ),
    ] = 1,
    modality: Annotated[str, typer.Option(help="Of the images, in the manifest.")] = "ct",
    label_modality: Annotated[str, typer.Option(help="Of the label maps.")] = "seg",
    quantity: Annotated[str, typer.Option(help="What the images' values are, such as HU.")] = "intensity",
    prefix: Annotated[
        str,
        typer.Option(
            metavar="NAME", help="Before each subject's number, so that those of two files differ: val- for val-0001."
        ),
    ] = "s",
    as_json: Annotated[bool, typer.Option("--json", help="Print the summary as JSON.")] = False,
) -> None:
    """Write the patches of a file as NIfTI images and label maps, with a manifest to split and train on."""
    from transmodal.datasets.stacked import Stack, unpack

    stack = Stack(file, images, labels, spacing, per_subject, modality, label_modality, quantity, prefix)
    with progress_bar("Unpacking") as on_progress:
        manifest = unpack(stack, out, progress=on_progress)
    patches = (len(manifest.read_text().splitlines()) - 1) // 2
    subjects = patches // per_subject
    if as_json:
        print_json({"manifest": str(manifest), "patches": patches, "subjects": subjects})
    else:
        typer.echo(f"{manifest}: {counted(patches, 'image')} of {counted(subjects, 'subject')}")
        if per_subject == 1:
            typer.echo("Every patch counts as a subject; where several are of one person, say how many: --per-subject")
