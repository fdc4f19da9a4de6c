"""`transmodal data simulate`: pairs out of physics."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from transmodal.cli.data.output import counted, print_json, progress_bar

application = typer.Typer(help="Make pairs out of physics, with a manifest.", no_args_is_help=True)


@application.callback()
def simulate() -> None:
    """Make pairs out of physics, with a manifest."""


@application.command()
def mouse(
    out: Annotated[Path, typer.Option("--out", "-o", metavar="DIR", help="The folder to fill.")],
    animals: Annotated[int, typer.Option(min=1, help="How many animals, half white, half black.")] = 156,
    poses: Annotated[int, typer.Option(min=1, help="Poses of each animal.")] = 5,
    size: Annotated[
        tuple[int, int], typer.Option(metavar="HEIGHT WIDTH", help="Pixels; the field is always 50 by 100 mm.")
    ] = (512, 1024),
    seed: Annotated[int, typer.Option(min=0, help="Of animals, poses and noise.")] = 0,
    workers: Annotated[int | None, typer.Option(min=1, help="Processes; default one a core.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the summary as JSON.")] = False,
) -> None:
    """Simulate mice: a photograph and an X-ray of the same body, with the organs as a label map.

    Pairs that are already there are not made again.

    \b
    Examples:
      transmodal data simulate mouse -o mice                          the published protocol, 780 pairs
      transmodal data simulate mouse --animals 12 --poses 2 --size 128 256 -o few
    """
    import os

    from transmodal.datasets.manifest import Manifest
    from transmodal.simulation.mouse import simulate_dataset

    with progress_bar("Simulating mice") as on_progress:
        manifest = simulate_dataset(
            out,
            animals=animals,
            poses=poses,
            size=size,
            seed=seed,
            workers=workers or os.cpu_count() or 1,
            progress=on_progress,
        )
    cases = len(Manifest.read(manifest).cases())
    if as_json:
        print_json({"manifest": str(manifest), "animals": animals, "pairs": cases})
    else:
        typer.echo(f"{manifest}: {counted(cases, 'pair')} of {counted(animals, 'animal')}")


@application.command()
def brain(
    out: Annotated[Path, typer.Option("--out", "-o", metavar="DIR", help="The folder to fill.")],
    subjects: Annotated[int, typer.Option(min=1, help="How many subjects.")] = 20,
    size: Annotated[tuple[int, int, int], typer.Option(metavar="X Y Z", help="Voxels to the left, back and top.")] = (
        240,
        240,
        155,
    ),
    spacing: Annotated[
        float | None,
        typer.Option(metavar="MM", help="Voxel size; default: such that the field is 240 by 240 by 155 mm or more."),
    ] = None,
    lesions: Annotated[
        Literal["tumour", "ms", "none"],
        typer.Option(help="A glioma each (labels 1 core, 2 oedema, 4 enhancing), plaques (label 1), or none."),
    ] = "tumour",
    seed: Annotated[int, typer.Option(min=0, help="Of anatomies, lesions, protocols and noise.")] = 0,
    workers: Annotated[int | None, typer.Option(min=1, help="Processes of about 1 GB; default one a core.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the summary as JSON.")] = False,
) -> None:
    """Simulate brains: T1, T1 after contrast, T2 and FLAIR volumes with a map of the lesions, under BraTS names.

    Subjects that are already there are not made again.

    \b
    Examples:
      transmodal data simulate brain -o brains                        20 subjects, 240 x 240 x 155 voxels of 1 mm
      transmodal data simulate brain --subjects 4 --size 80 80 52 -o few
      transmodal data simulate brain --lesions ms -o plaques
    """
    import os

    from transmodal.datasets.manifest import Manifest
    from transmodal.simulation.brain import simulate_dataset

    with progress_bar("Simulating brains") as on_progress:
        manifest = simulate_dataset(
            out,
            subjects=subjects,
            size=size,
            spacing=spacing,
            lesions=lesions,
            seed=seed,
            workers=workers or os.cpu_count() or 1,
            progress=on_progress,
        )
    cases = len(Manifest.read(manifest).cases())
    if as_json:
        print_json({"manifest": str(manifest), "subjects": cases})
    else:
        typer.echo(f"{manifest}: {counted(cases, 'subject')}")
