"""What the commands of `fuse` have in common: their options, and reading what these name."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from transmodal.fusion.background import Background
    from transmodal.fusion.region_sources import RegionSources
    from transmodal.fusion.regions import Regions
    from transmodal.fusion.registration import Registration
    from transmodal.fusion.units import Attenuation
    from transmodal.images import Image
    from transmodal.images.nuclear import NuclearSeries

AnatomyArgument = Annotated[
    Path, typer.Argument(metavar="IMAGE", help="The anatomy: an X-ray, true or synthetic, or a photograph.")
]
ActivityArgument = Annotated[
    Path,
    typer.Argument(
        metavar="ACTIVITY",
        help="Counts: DICOM NM, a TIFF of one page a frame, or a folder of pictures, with a sidecar.",
    ),
]
RegisterOption = Annotated[
    Path | None,
    typer.Option(
        "--register",
        metavar="FILE",
        help="Where the nuclear field lies: a CSV of points marked in both, or a transform (JSON). Default: both show "
        "the same field.",
    ),
]
KindOption = Annotated[str, typer.Option(help="Of the fit to points: scale, rigid, similarity or affine.")]
SpacingOption = Annotated[
    tuple[float, float] | None,
    typer.Option(metavar="ROW COLUMN", help="Pixel size in mm of an IMAGE that has none."),
]
XrayOption = Annotated[
    Path | None,
    typer.Option("--xray", metavar="MODEL", help="IMAGE is a photograph: make the X-ray by this model first."),
]
WindowNumber = Annotated[
    int | None,
    typer.Option(
        min=1,
        help="Which of several energy windows of a DICOM object. Default: the first with photons of the isotope, "
        "else the first.",
    ),
]
DetectorNumber = Annotated[
    int | None, typer.Option(min=1, help="Which of several detectors of a DICOM object. Default: the first.")
]
OrgansOption = Annotated[
    Path | None, typer.Option("--organs", metavar="MODEL", help="Find organs by this model, as of xray-to-organs.")
]
LabelsOption = Annotated[Path | None, typer.Option("--labels", metavar="MAP", help="A label map on the grid of IMAGE.")]
NamesOption = Annotated[
    Path | None, typer.Option("--names", metavar="JSON", help="Of the map's values. Default: what lies beside it.")
]
PolygonsOption = Annotated[
    Path | None, typer.Option("--polygons", metavar="JSON", help="Hand-drawn regions, in mm or pixels of IMAGE.")
]
AboveOption = Annotated[
    float | None,
    typer.Option("--above", metavar="SHARE", help="A region 'hot': where counts are above this share of the greatest."),
]
LeaveOutOption = Annotated[
    list[str] | None, typer.Option("--leave-out", metavar="REGION", help="A region that is not wanted; repeatable.")
]
BackgroundOption = Annotated[
    str | None,
    typer.Option(
        help="none; ring, around each region; a region's name; or counts a second in each pixel, as 0.02. Default: the "
        "region drawn as background, else none."
    ),
]
RingOption = Annotated[tuple[float, float], typer.Option(metavar="GAP WIDTH", help="Of the background ring, mm.")]
DepthOption = Annotated[
    list[str] | None,
    typer.Option(
        "--depth",
        metavar="REGION=MM,PER_MM",
        help="Tissue that the radiation of a region passes and its attenuation, as kidneys=4,0.0155: of single photons "
        "the depth, in coincidence (F-18 …) the whole thickness of the body; repeatable. Stated in the report.",
    ),
]
DeviceOption = Annotated[str, typer.Option(help="Where models run: auto, cpu, cuda or mps.")]
OverwriteOption = Annotated[bool, typer.Option("--overwrite", help="Write over results that are there.")]
UNITS = {"counts": "counts", "bq": "Bq", "percent-id": "%ID"}
UnitOption = Annotated[str, typer.Option(help="Of the colours: counts, bq or percent-id, for one nuclear pixel.")]


def unit_named(word: str) -> str:
    """Return the unit that a word of the command line means.

    Raises:
        UserError: it is none.
    """
    from transmodal.errors import UserError

    if word.lower() not in UNITS:
        raise UserError(f"--unit {word}: take {', '.join(UNITS)}")
    return UNITS[word.lower()]


def read_both(
    image: Path,
    activity: Path,
    register: Path | None,
    kind: str,
    spacing: tuple[float, float] | None,
    energy_window: int | None,
    detector: int | None,
) -> "tuple[Image, NuclearSeries, Registration]":
    """Read anatomy and activity, and find where they lie."""
    from transmodal.fusion.anatomy import read_anatomy
    from transmodal.fusion.registration import register as find
    from transmodal.images.nuclear.reading import read_nuclear

    anatomy = read_anatomy(image, spacing)
    series = read_nuclear(activity, energy_window=energy_window, detector=detector)
    return anatomy, series, find(anatomy, series, register, kind=kind)


def make_xray(
    photograph: Path, model: Path, out: Path, spacing: tuple[float, float] | None, device: str
) -> tuple[Path, tuple[str, ...]]:
    """Make a synthetic X-ray of a photograph; return its file, and what the model warned of.

    Raises:
        UserError: the photograph has no pixel size and none is given, or as `make_image`.
    """
    from transmodal.errors import UserError
    from transmodal.fusion.anatomy import make_image, read_anatomy

    if not read_anatomy(photograph, spacing).has_physical_size:
        raise UserError(f"{photograph} has no pixel size; give it with --spacing, such as 0.0977 0.0977 (mm)")
    return out, make_image(photograph, model, out, spacing=spacing, device=device)[1]


@dataclass(frozen=True)
class Prepared:
    """What `regions` and `curves` begin with: both images, where they lie, the regions, and what was said of it."""

    anatomy: "Image"
    series: "NuclearSeries"
    registration: "Registration"
    regions: "Regions"
    said: tuple[str, ...]
    facts: dict[str, str]


def prepare(
    image: Path,
    activity: Path,
    out: Path,
    sources: "RegionSources",
    *,
    register: Path | None,
    kind: str,
    xray: Path | None,
    spacing: tuple[float, float] | None,
    energy_window: int | None,
    detector: int | None,
    device: str,
) -> Prepared:
    """Make the X-ray where it is asked for, read both images, register them, and find the regions."""
    from transmodal.fusion.outputs import MADE, made_before
    from transmodal.fusion.region_sources import find_regions

    facts = {"anatomy": str(image), "activity": str(activity)}
    said: tuple[str, ...] = ()
    if xray is not None:
        facts |= {"anatomy": f"synthetic, made of {image}", "model of the anatomy": str(xray)}
        image, said = make_xray(image, xray, out / "xray.png", spacing, device)
        spacing = None
    if sources.organs is not None:
        facts["model of the organs"] = str(sources.organs)
    anatomy, series, registration = read_both(image, activity, register, kind, spacing, energy_window, detector)
    regions, warned = find_regions(
        sources, anatomy, series, registration, picture=image, folder=out, spacing=spacing, device=device
    )
    made = [name for name, model in zip(MADE, (xray, sources.organs), strict=True) if model is not None]
    say(made_before(out, made))
    return Prepared(anatomy, series, registration, regions, (*said, *warned), facts)


def background_named(word: str | None, ring: tuple[float, float], regions: "Regions") -> "Background":
    """Return the rule that a word of the command line means; without one, the region drawn as background, if any."""
    from transmodal.fusion.background import BODY, Background

    if word is None:
        return Background("region" if "background" in regions.roles else "none")
    if word not in regions.names:
        if word in ("none", "ring"):
            body = tuple(name for name in regions.names if name in BODY)  # no ring reaches into the air
            return Background(word, gap=ring[0], width=ring[1], inside=body)  # type: ignore[arg-type]
        with suppress(ValueError):
            return Background("constant", rate=float(word))
    return Background("region", region=word)


def attenuations(words: Sequence[str]) -> "dict[str, Attenuation]":
    """Return region → tissue and attenuation, as "kidneys=4,0.0155" gives them.

    Raises:
        UserError: it is written otherwise.
    """
    from transmodal.errors import UserError
    from transmodal.fusion.units import Attenuation

    found = {}
    for word in words:
        name, _, numbers = word.partition("=")
        try:
            tissue, per_mm = (float(number) for number in numbers.split(","))
        except ValueError as error:
            raise UserError(f"--depth {word}: write REGION=MM,PER_MM, as kidneys=4,0.0155") from error
        found[name.strip()] = Attenuation(tissue, per_mm)
    return found


def say(lines: Any, quiet: bool = False) -> None:
    """Print what a user should know on standard error, each line once."""
    for line in dict.fromkeys(lines):
        if not quiet:
            typer.echo(f"note: {line}", err=True)
