"""`transmodal ct project`: from an image to projections."""

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from transmodal.cli.ct import options

EXAMPLES = """
[bold]Examples[/bold]

  transmodal ct project slice.dcm -o sinogram.npy --views 180

  transmodal ct project slice.dcm -o fan.tif --beam fan --views 360 --source-to-axis 541 --source-to-detector 949

  transmodal ct project mouse.nii.gz -o cone.mha --beam cone --views 360 --source-to-axis 200 --source-to-detector 306

  transmodal ct project mouse.nii.gz -o mouse.mha --scanner micro-ct --views 180

  transmodal ct project slice.nii.gz -o again.npy --geometry sinogram.geometry.json
"""

_SCANNER: dict[str, Any] = {"rich_help_panel": "Scanner"}


def project(
    image: Annotated[Path, typer.Argument(metavar="IMAGE", help="A CT slice or volume in HU; a file or a series.")],
    out: Annotated[
        Path, typer.Option("--out", "-o", metavar="FILE", help="Line integrals: .npy, .tif, .nii.gz, .mha, .nrrd.")
    ],
    geometry: options.Geometry = None,
    scanner: Annotated[
        Literal["micro-ct"] | None,
        typer.Option(help="One known by name, a mouse's: cone beam, 588×588 bins, voxels of 0.085 mm.", **_SCANNER),
    ] = None,
    views: Annotated[
        int | None,
        typer.Option(min=1, help="Projections, evenly over the arc; default 180, of micro-ct 360.", **_SCANNER),
    ] = None,
    degrees: options.Degrees = None,
    beam: Annotated[
        Literal["parallel", "fan", "cone"] | None, typer.Option(help="Kind of rays; default parallel.", **_SCANNER)
    ] = None,
    source_to_axis: options.SourceToAxis = None,
    source_to_detector: options.SourceToDetector = None,
    bins: options.Bins = None,
    pitch: options.Pitch = None,
    rows: Annotated[
        int | None,
        typer.Option(min=1, help="Of a cone beam's detector; default as many as see it.", **_SCANNER),
    ] = None,
    row_pitch: Annotated[
        float | None,
        typer.Option(metavar="MM", help="Between rows; default a slice on the axis.", **_SCANNER),
    ] = None,
    offset: options.Offset = 0.0,
    curved: options.Curved = False,
    finer: Annotated[
        int,
        typer.Option(min=1, help="Project on a grid so many times finer, and shifted; 1: on the image's.", **_SCANNER),
    ] = 2,
    unit: Annotated[Literal["HU", "attenuation"], typer.Option(help="Of the image; attenuation is in 1/mm.")] = "HU",
    water: options.Water = 0.0192,
    spacing: options.PixelSize = None,
    series: options.Series = None,
    allow_uneven: options.Uneven = False,
    device: options.Device = "cpu",
    overwrite: options.Overwrite = False,
    as_json: options.AsJson = False,
) -> None:
    """Project a CT image: a slice, a volume slice by slice along the patient's axis, or as a whole under a cone beam.

    Beside FILE lies NAME.geometry.json: where rays and pixels were, and where the image lay. A .npy has NAME.npy.json
    too, which says that its values are line integrals.
    """
    from transmodal.cli.data.output import progress_bar
    from transmodal.simulation.ct.files import Reading
    from transmodal.simulation.ct.project_files import project_file
    from transmodal.tomography.hounsfield import HounsfieldScale

    chosen = options.scanner_of(
        geometry,
        scanner,
        kind=beam,
        views=views or (180 if scanner is None and geometry is None else None),
        degrees=degrees,
        source_to_axis=source_to_axis,
        source_to_detector=source_to_detector,
        bins=bins,
        pitch=pitch,
        rows=rows,
        row_pitch=row_pitch,
        offset=offset,
        curved=curved,
    )
    with progress_bar("Projecting") as on_progress:
        done = project_file(
            image,
            out,
            chosen,
            reading=Reading(spacing, series, allow_uneven),
            unit=unit,
            scale=HounsfieldScale(water),
            finer=finer,
            geometry=geometry,
            device=device,
            overwrite=overwrite,
            progress=on_progress,
        )
    options.tell(done, as_json)
