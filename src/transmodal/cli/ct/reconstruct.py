"""`transmodal ct reconstruct`: from projections to an image."""

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from transmodal.cli.ct import options
from transmodal.errors import UserError

EXAMPLES = """
[bold]Examples[/bold]

  transmodal ct reconstruct sinogram.npy -o image.nii.gz

  transmodal ct reconstruct sinogram.npy -o smooth.tif --filter hann --cutoff 0.8

  transmodal ct reconstruct sinogram.npy -o tv.tif --method tv-fista --weight 0.3 --iterations 100

  transmodal ct reconstruct cone.mha -o volume.nii.gz --size 128 --unit attenuation

  transmodal ct reconstruct counts.tif --geometry scan.json -o image.tif --raw --flat flat.tif --dark dark.tif --rings
"""

_RAW: dict[str, Any] = {"rich_help_panel": "Raw data"}
_ITERATIVE: dict[str, Any] = {"rich_help_panel": "Iterative methods"}


def reconstruct(
    sinogram: Annotated[Path, typer.Argument(metavar="SINOGRAM", help="Line integrals, or counts with --raw.")],
    out: Annotated[
        Path, typer.Option("--out", "-o", metavar="IMAGE", help="The image: .nii.gz, .tif, .mha, .npy, .dcm …")
    ],
    geometry: Annotated[
        Path | None, typer.Option(metavar="JSON", help="Of the scan; default NAME.geometry.json beside it.")
    ] = None,
    method: Annotated[
        Literal["fbp", "fdk", "sirt", "sart", "tv", "tv-fista", "asd-pocs"] | None,
        typer.Option(
            help="Default fbp, of a cone beam fdk. Total variation: tv by PDHG, tv-fista by FISTA, asd-pocs by sweeps "
            "of sart and descents."
        ),
    ] = None,
    filter: Annotated[
        str | None,
        typer.Option(help="Of fbp and fdk: ramp (default), shepp-logan, cosine, hamming, hann."),
    ] = None,
    cutoff: Annotated[
        float | None, typer.Option(metavar="0…1", help="Of the filter, against the Nyquist frequency; default 1.")
    ] = None,
    padding: Annotated[
        str | None, typer.Option(metavar="NAME", help="Of fbp and fdk, for truncated projections: edge or water.")
    ] = None,
    weight: Annotated[
        float | None, typer.Option(metavar="λ", help="Of total variation, against the rays.", **_ITERATIVE)
    ] = None,
    iterations: Annotated[
        int | None,
        typer.Option(
            min=1, help="At most; default sirt 100, sart 10, tv 500, tv-fista 100, asd-pocs 30.", **_ITERATIVE
        ),
    ] = None,
    non_negative: Annotated[
        bool | None,
        typer.Option("--non-negative/--signed", help="Attenuation of 0 or above; the default.", **_ITERATIVE),
    ] = None,
    tolerance: Annotated[
        float | None, typer.Option(min=0, help="Stop when so little changes, relative.", **_ITERATIVE)
    ] = None,
    relaxation: Annotated[
        float | None, typer.Option(metavar="0…2", help="Of sirt (default 1), sart (0.5), asd-pocs (1).", **_ITERATIVE)
    ] = None,
    subsets: Annotated[int | None, typer.Option(min=1, help="Of sart and asd-pocs; default 10.", **_ITERATIVE)] = None,
    discrepancy: Annotated[
        float | None,
        typer.Option(
            help="Of sirt and sart: stop when the rays' residual is down to this; asd-pocs needs it: the noise.",
            **_ITERATIVE,
        ),
    ] = None,
    photons: Annotated[
        float | None,
        typer.Option(help="Of tv: weigh the rays by the noise of so many in the open beam.", **_ITERATIVE),
    ] = None,
    electronic_noise: Annotated[
        float | None,
        typer.Option(min=0, metavar="COUNTS", help="Beside --photons: σ of the detector's own noise.", **_ITERATIVE),
    ] = None,
    unit: Annotated[
        Literal["HU", "attenuation"] | None,
        typer.Option(help="Of the image; default that of the projected one, else HU."),
    ] = None,
    water: options.Water = 0.0192,
    size: Annotated[
        str | None, typer.Option(metavar="N[,N…]", help="Pixels: edges of a slice, or rows,columns (slices first).")
    ] = None,
    spacing: Annotated[str | None, typer.Option(metavar="MM[,MM…]", help="Pixel size; in the same order.")] = None,
    raw: Annotated[bool, typer.Option("--raw", help="The file holds counts.", **_RAW)] = False,
    flat: Annotated[
        str | None, typer.Option(metavar="FILE|NUMBER", help="Counts without object; frames are averaged.", **_RAW)
    ] = None,
    dark: Annotated[str | None, typer.Option(metavar="FILE|NUMBER", help="Counts without beam.", **_RAW)] = None,
    floor: Annotated[
        float | None,
        typer.Option(help="Counts to which fewer are lifted; default 0.1, normalised take 1e-6.", **_RAW),
    ] = None,
    rings: Annotated[bool, typer.Option("--rings", help="Suppress rings.", **_RAW)] = False,
    ring_method: Annotated[
        Literal["sorting", "mean"], typer.Option(help="How: by sorting along the views, or by their mean.", **_RAW)
    ] = "sorting",
    device: options.Device = "cpu",
    overwrite: options.Overwrite = False,
    as_json: options.AsJson = False,
) -> None:
    """Reconstruct projections, on the grid of the image that was projected where that is known."""
    from transmodal.cli.data.output import progress_bar
    from transmodal.simulation.ct.reconstruct_files import Raw, reconstruct_file
    from transmodal.tomography.hounsfield import HounsfieldScale
    from transmodal.tomography.reconstruction import Settings

    if raw and flat is None:
        raise UserError("--raw needs --flat: counts without object, as a file or a number")
    if not raw and not flat is dark is floor is None:
        raise UserError("--flat, --dark and --floor are for counts: say --raw, or leave them out")
    counts = options.numbers("--size", size)
    if any(not count.is_integer() for count in counts):
        raise UserError(f"--size {size} counts pixels; give whole numbers")
    settings = Settings(
        method=method,
        filter=filter,  # type: ignore[arg-type]
        cutoff=cutoff,
        padding=padding,  # type: ignore[arg-type]
        weight=weight,
        photons=photons,
        electronic_noise=electronic_noise,
        iterations=iterations,
        non_negative=non_negative,
        tolerance=tolerance,
        relaxation=relaxation,
        subsets=subsets,
        discrepancy=discrepancy,
    )
    with progress_bar("Reconstructing") as on_progress:
        done = reconstruct_file(
            sinogram,
            out,
            settings,
            geometry=geometry,
            unit=unit,
            scale=HounsfieldScale(water),
            size=tuple(int(count) for count in counts),
            spacing=options.numbers("--spacing", spacing),
            raw=Raw(flat or "", dark or "0", 0.1 if floor is None else floor) if raw else None,
            rings=ring_method if rings else None,
            device=device,
            overwrite=overwrite,
            progress=on_progress,
        )
    options.tell(done, as_json)
