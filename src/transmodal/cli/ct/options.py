"""Options that several commands on CT share, each declared once, and what they become."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from transmodal.errors import UserError

if TYPE_CHECKING:
    from transmodal.simulation.ct.degrading import Process
    from transmodal.simulation.ct.files import Done
    from transmodal.tomography.scanners import Scanner

_SCANNER: dict[str, Any] = {"rich_help_panel": "Scanner"}
_RECONSTRUCTION: dict[str, Any] = {"rich_help_panel": "Reconstruction"}
_LEVELS: dict[str, Any] = {"rich_help_panel": "Levels"}
_IMAGES: dict[str, Any] = {"rich_help_panel": "Images"}

Geometry = Annotated[
    Path | None,
    typer.Option(metavar="JSON", help="A scan's geometry in a file; instead of the options below.", **_SCANNER),
]
Views = Annotated[int | None, typer.Option(min=1, help="Projections, evenly over the arc; default 720.", **_SCANNER)]
Degrees = Annotated[
    float | None, typer.Option(help="The arc; default 180 of parallel rays, 360 of others.", **_SCANNER)
]
PlaneBeam = Annotated[Literal["parallel", "fan"], typer.Option("--beam", help="Kind of rays.", **_SCANNER)]
SourceToAxis = Annotated[float | None, typer.Option(metavar="MM", help="Of a fan or cone beam.", **_SCANNER)]
SourceToDetector = Annotated[float | None, typer.Option(metavar="MM", help="Of a fan or cone beam.", **_SCANNER)]
FanSourceToAxis = Annotated[
    float | None, typer.Option("--source-to-axis", metavar="MM", help="Of a fan beam.", **_SCANNER)
]
FanSourceToDetector = Annotated[
    float | None, typer.Option("--source-to-detector", metavar="MM", help="Of a fan beam.", **_SCANNER)
]
Bins = Annotated[int | None, typer.Option(min=1, help="Of the detector; default as many as see the image.", **_SCANNER)]
Pitch = Annotated[
    float | None, typer.Option(metavar="MM", help="Between bins; default a pixel on the axis.", **_SCANNER)
]
Offset = Annotated[float, typer.Option(metavar="MM", help="Of the detector's middle.", **_SCANNER)]
Curved = Annotated[bool, typer.Option("--curved", help="The detector of a fan beam is an arc.", **_SCANNER)]

Steps = Annotated[
    list[str] | None,
    typer.Option(
        "--step", metavar="'NAME …'", help="A degradation in quotes, as 'photon-noise photons=1e5'; repeatable."
    ),
]


def _list_steps(requested: bool) -> None:
    if not requested:
        return
    from transmodal.tomography.degradations import DEGRADATIONS, settings_of

    for kind, made in DEGRADATIONS.items():
        typer.echo(f"{kind}: {str(made.__doc__).strip().splitlines()[0]}")
        for name, default, meaning in settings_of(kind):
            typer.echo(f"    {name} ({default or 'must be given'}){f': {meaning}' if meaning else ''}")
    raise typer.Exit()


ListSteps = Annotated[
    bool,
    typer.Option(
        "--steps", callback=_list_steps, is_eager=True, help="List all degradations with their settings, and leave."
    ),
]
StepsFile = Annotated[
    Path | None, typer.Option("--recipe", metavar="YAML", help="Degradations in a file: a list, each with its kind.")
]
Seed = Annotated[int, typer.Option(min=0, help="Of noise, metal and whatever is drawn.")]
FbpFilter = Annotated[
    str, typer.Option("--filter", help="ramp, shepp-logan, cosine, hamming or hann.", **_RECONSTRUCTION)
]
Cutoff = Annotated[
    float, typer.Option(metavar="0…1", help="Of the filter, against the Nyquist frequency.", **_RECONSTRUCTION)
]
Padding = Annotated[
    str | None, typer.Option(metavar="NAME", help="For truncated projections: edge or water.", **_RECONSTRUCTION)
]
Finer = Annotated[
    int,
    typer.Option(min=2, help="How many times finer the simulation's grid is than the image's.", **_SCANNER),
]
RaysPerBin = Annotated[int, typer.Option(min=1, help="Whose intensities a bin averages.", **_SCANNER)]

PairsFolder = Annotated[Path, typer.Option("--out", "-o", metavar="DIR", help="The folder to fill.")]
Vary = Annotated[
    list[str] | None,
    typer.Option(
        metavar="NAME=LIST",
        help="Levels: angles=30,60,90, dose=1,4,25 (divisors), photons=1e4,1e5, or any setting, as metal.count=1,2,3; "
        "repeatable.",
        **_LEVELS,
    ),
]
Each = Annotated[bool, typer.Option("--each", help="Every level for every case, as sessions of their own.", **_LEVELS)]
Mix = Annotated[bool, typer.Option("--mix", help="One level a case, all of them equally often.", **_LEVELS)]
Copies = Annotated[
    int,
    typer.Option(
        min=0, help="So many more of every training case, turned, scaled and moved before the scan.", **_LEVELS
    ),
]
DegradedName = Annotated[str, typer.Option(metavar="NAME", help="Modality of the degraded images.", **_IMAGES)]
Also = Annotated[
    list[str] | None,
    typer.Option(
        metavar="NAME",
        help="Further images of the same data: tv, li, nmar, ring-suppressed, scatter-corrected, water-corrected, "
        "spectral, densities; repeatable.",
        **_IMAGES,
    ),
]
TvWeight = Annotated[
    float | None,
    typer.Option(metavar="λ", help="Of --also tv; default the best on training cases, for each level.", **_IMAGES),
]
TvIterations = Annotated[int, typer.Option(min=1, help="Of --also tv, by FISTA.", **_IMAGES)]
Sinograms = Annotated[bool, typer.Option("--keep-sinogram", help="As modality sinogram, with its geometry.", **_IMAGES)]
LongerEdge = Annotated[
    int | None,
    typer.Option(metavar="N", help="First average slices down to so many pixels along the longer edge.", **_IMAGES),
]

Uneven = Annotated[
    bool,
    typer.Option("--allow-uneven", help="Take volumes with tilted or uneven slices, slice by slice."),
]
PixelSize = Annotated[float | None, typer.Option("--spacing", metavar="MM", help="For files that say no pixel size.")]
Series = Annotated[str | None, typer.Option(metavar="UID", help="Where a DICOM folder holds several.")]
Water = Annotated[float, typer.Option(metavar="1/MM", help="Attenuation of water, which fixes the Hounsfield scale.")]
Device = Annotated[str, typer.Option(help="Where it is computed: cpu, or by torch cuda, cuda:1, mps.")]
Workers = Annotated[int | None, typer.Option(min=1, help="Processes; default one a core.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Write over outputs that are there.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print what was done as JSON.")]


def scanner_of(geometry: Path | None, preset: str | None = None, **settings: Any) -> "Scanner":
    """Return the scanner of a file, one known by name with what was said otherwise, or that of the options.

    Args:
        geometry: a file.
        preset: a key of `scanners.SCANNERS`.
        settings: of `Scanner`; what is None was not said.

    Raises:
        UserError: options that exclude each other.
    """
    from transmodal.tomography.scan_files import read_geometry
    from transmodal.tomography.scanners import SCANNERS, Scanner

    plain = Scanner()
    given = {name: value for name, value in settings.items() if value is not None}
    if geometry is None and preset is None:
        return Scanner(**given)
    said = [name for name, value in given.items() if value != getattr(plain, name) or name == "views"]
    if geometry is not None:
        if said or preset is not None:
            names = ", ".join("--" + {"kind": "beam"}.get(name, name).replace("_", "-") for name in said)
            raise UserError(f"{names or '--scanner'} and --geometry exclude each other; leave one of them out")
        return Scanner(beam=read_geometry(geometry).beam)
    known = SCANNERS[str(preset)]
    if given.get("kind", known.kind) != known.kind:
        raise UserError(f"--scanner {preset} has a {known.kind} beam: leave --beam out")
    return replace(known, **{name: value for name, value in given.items() if name in said})


def process_of(scanner: "Scanner", **settings: Any) -> "Process":
    """Return scanner and reconstruction of a degradation."""
    from transmodal.simulation.ct.degrading import Process
    from transmodal.tomography.filters import FILTERS
    from transmodal.tomography.truncation import PADDINGS

    if settings["filter"] not in FILTERS:
        raise UserError(f"--filter {settings['filter']} is unknown: one of {', '.join(FILTERS)}")
    if not 0 < settings["cutoff"] <= 1:
        raise UserError(f"--cutoff {settings['cutoff']:g} must lie above 0 and be 1 at most")
    if settings["padding"] not in (None, *PADDINGS):
        raise UserError(f"--padding {settings['padding']} is unknown: one of {', '.join(PADDINGS)}")
    return Process(scanner=scanner, **settings)


def numbers(option: str, text: str | None) -> tuple[float, ...]:
    """Return the numbers of an option that takes one or several with commas.

    Raises:
        UserError: a part is no number.
    """
    try:
        return tuple(float(part) for part in text.split(",")) if text else ()
    except ValueError as error:
        raise UserError(f"{option} {text} is not clear; give a number, or several with commas") from error


def tell(done: "Done", as_json: bool) -> None:
    """Print what a command has written."""
    from transmodal.cli.data.output import print_json

    if as_json:
        print_json(
            {
                "file": str(done.path),
                "beside": [str(path) for path in done.beside],
                "said": done.said,
                "notes": done.notes,
            }
        )
        return
    for note in done.notes:
        typer.echo(f"Note: {note}")
    beside = f" (with {', '.join(path.name for path in done.beside)})" if done.beside else ""
    typer.echo(f"{done.path}: {done.said}{beside}")
