"""`transmodal fuse regions`: counts in organs, drawn regions or hot spots, all frames together."""

from pathlib import Path
from typing import Annotated

import typer

from transmodal.cli.data.output import print_json, print_table
from transmodal.cli.fuse.options import (
    AboveOption,
    ActivityArgument,
    AnatomyArgument,
    BackgroundOption,
    DetectorNumber,
    DeviceOption,
    KindOption,
    LabelsOption,
    LeaveOutOption,
    NamesOption,
    OrgansOption,
    OverwriteOption,
    PolygonsOption,
    RegisterOption,
    RingOption,
    SpacingOption,
    WindowNumber,
    XrayOption,
    background_named,
    prepare,
    say,
)

EXAMPLES = """
[bold]Examples[/bold]

  transmodal fuse regions xray.png bone.tif --organs runs/xray-to-organs -o counted

  transmodal fuse regions xray.png bone.dcm --labels organs.png --register points.csv --background ring -o counted

  transmodal fuse regions photo.png bone.tif --xray runs/photo-to-xray --organs runs/xray-to-organs -o counted

  transmodal fuse regions xray.png tumour.tif --polygons drawn.json --above 0.4 --background muscle -o counted
"""


def regions(
    image: AnatomyArgument,
    activity: ActivityArgument,
    out: Annotated[Path, typer.Option("--out", "-o", metavar="DIR", help="The folder to write into.")],
    organs: OrgansOption = None,
    labels: LabelsOption = None,
    names: NamesOption = None,
    polygons: PolygonsOption = None,
    above: AboveOption = None,
    leave_out: LeaveOutOption = None,
    background: BackgroundOption = None,
    ring: RingOption = (2.0, 2.0),
    between: Annotated[
        tuple[float, float] | None,
        typer.Option(metavar="FROM TO", help="Only frames of this time, s after the injection."),
    ] = None,
    register: RegisterOption = None,
    kind: KindOption = "similarity",
    xray: XrayOption = None,
    spacing: SpacingOption = None,
    energy_window: WindowNumber = None,
    detector: DetectorNumber = None,
    device: DeviceOption = "auto",
    overwrite: OverwriteOption = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the table as JSON.")] = False,
) -> None:
    """Count in regions, all frames together: organs of a model or a label map, drawn polygons, hot spots.

    Writes regions.csv, regions.png, registration.json, counted.json (how it was made and what to doubt), and what the
    models made.
    """
    from transmodal.fusion.counting import count_regions
    from transmodal.fusion.outputs import COUNTED, require_new_results
    from transmodal.fusion.region_sources import RegionSources

    sources = RegionSources(organs, labels, names, polygons, above, tuple(leave_out or ()))
    inputs = (image, activity, register, labels, names, polygons)
    require_new_results(out, COUNTED, inputs, overwrite=overwrite)
    found = prepare(
        image,
        activity,
        out,
        sources,
        register=register,
        kind=kind,
        xray=xray,
        spacing=spacing,
        energy_window=energy_window,
        detector=detector,
        device=device,
    )
    made = count_regions(
        found.anatomy,
        found.series,
        found.registration,
        found.regions,
        out,
        background=background_named(background, ring, found.regions),
        between=between,
        said=found.said,
        facts=found.facts,
        overwrite=overwrite,
    )
    say(made.content["said"], as_json)
    if as_json:
        print_json({"output": str(out), **made.content})
        return
    table = made.content["regions"]
    shown = [name for name in ("region", "counts", "background_counts", "net_counts", "net_sd") if name in table[0]]
    known = ("percent_id", "percent_id_sd") if "percent_id" in table[0] else ("net_cps",)
    shown += [name for name in (*known, "target_to_background") if name in table[0]]
    print_table(
        [name.replace("_", " ").replace("percent id", "%ID") for name in shown],
        [[row[name] if row[name] is not None else "–" for name in shown] for row in table],
    )
    if made.content["counted"]:
        typer.echo(
            f"Counted: {made.content['counted']}; %ID and rates are averages over these frames (--between chooses some)"
        )
    how = made.content["facts"]["background"]
    typer.echo(f"Registration: {made.content['registration']}; background: {how}")
    typer.echo(f"Output: {out}")
