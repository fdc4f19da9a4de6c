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


@application.command()
def abdomen(
    out: Annotated[Path, typer.Option("--out", "-o", metavar="DIR", help="The folder to fill.")],
    animals: Annotated[int, typer.Option(min=1, help="How many animals.")] = 20,
    visits: Annotated[int, typer.Option(min=1, help="Weekly visits of each; tumours grow between them.")] = 1,
    size: Annotated[tuple[int, int, int], typer.Option(metavar="X Y Z", help="Voxels to the left, back and head.")] = (
        192,
        192,
        96,
    ),
    spacing: Annotated[
        tuple[float, float] | None,
        typer.Option(
            metavar="MM MM", help="In the slice and between slices; default: such that the field is 32 by 32 by 40 mm."
        ),
    ] = None,
    tumours: Annotated[tuple[int, int], typer.Option(metavar="LOW HIGH", help="How many in a liver.")] = (1, 3),
    tumour_area: Annotated[
        tuple[float, float],
        typer.Option(
            metavar="LOW HIGH",
            help="Largest axial cross-section of a liver's largest tumour at the last visit, mm²; others have from "
            "LOW to half of it. Livers hold about 110 to 145.",
        ),
    ] = (10.0, 130.0),
    tumour_contrast: Annotated[
        float | None, typer.Option(metavar="HU", help="Against liver; default -30, with a liver agent -130.")
    ] = None,
    doubling_days: Annotated[float, typer.Option(metavar="DAYS", help="In which a tumour's volume doubles.")] = 7.0,
    new_tumours: Annotated[
        float, typer.Option(metavar="RATE", help="Tumours that are expected to appear from one visit to the next.")
    ] = 0.3,
    liver_agent: Annotated[
        bool, typer.Option("--liver-agent", help="After a contrast agent that liver and spleen take up.")
    ] = False,
    noise: Annotated[float, typer.Option(metavar="HU", help="White noise, standard deviation.")] = 8.0,
    seed: Annotated[int, typer.Option(min=0, help="Of animals, poses, tumours and noise.")] = 0,
    workers: Annotated[int | None, typer.Option(min=1, help="Processes; default one a core.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the summary as JSON.")] = False,
) -> None:
    """Simulate abdomens: CT volumes of mouse-like bodies with liver tumours, label maps and a table of tumours.

    Visits that are already there are not made again.

    \b
    Examples:
      transmodal data simulate abdomen -o abdomens                    20 animals, 192 x 192 x 96 voxels
      transmodal data simulate abdomen --animals 4 --visits 4 --tumour-area 60 120 -o growing
      transmodal data simulate abdomen --size 376 376 470 --spacing 0.085 0.085 --liver-agent -o fine
    """
    import os

    from transmodal.datasets.manifest import Manifest
    from transmodal.simulation.abdomen import Wishes, simulate_dataset

    with progress_bar("Simulating abdomens") as on_progress:
        manifest = simulate_dataset(
            out,
            animals=animals,
            visits=visits,
            size=size,
            spacing=spacing,
            wishes=Wishes(
                tumours=tumours,
                tumour_area=tumour_area,
                tumour_contrast=tumour_contrast,
                doubling_days=doubling_days,
                new_per_week=new_tumours,
                liver_agent=liver_agent,
                noise=noise,
            ),
            seed=seed,
            workers=workers or os.cpu_count() or 1,
            progress=on_progress,
        )
    cases = len(Manifest.read(manifest).cases())
    if as_json:
        print_json({"manifest": str(manifest), "animals": animals, "visits": cases})
    else:
        typer.echo(f"{manifest}: {counted(cases, 'visit')} of {counted(animals, 'animal')}")
