"""`transmodal fuse curves`: a dynamic study from its frames to curves, half-times, answers and a report."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from transmodal.cli.data.output import print_json, print_table, progress_bar
from transmodal.cli.fuse.options import (
    AboveOption,
    ActivityArgument,
    AnatomyArgument,
    BackgroundOption,
    DepthOption,
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
    UnitOption,
    WindowNumber,
    XrayOption,
    attenuations,
    background_named,
    prepare,
    say,
    unit_named,
)

if TYPE_CHECKING:
    from transmodal.fusion.kinetic_fit import KineticFit

EXAMPLES = """
[bold]Examples[/bold]

  transmodal fuse curves xray.png bone.tif --organs runs/xray-to-organs --target skeleton -o study

  transmodal fuse curves photo.png bone.tif --xray runs/xray --organs runs/organs --register points.csv -o study

  transmodal fuse curves xray.png tumour.dcm --polygons drawn.json --background muscle --target tumour -o study

  transmodal fuse curves xray.png fdg.tif --labels organs.png --background ring --depth kidneys=4,0.0155 -o study
"""


def curves(
    image: AnatomyArgument,
    activity: ActivityArgument,
    out: Annotated[Path, typer.Option("--out", "-o", metavar="DIR", help="The folder to write into.")],
    organs: OrgansOption = None,
    labels: LabelsOption = None,
    names: NamesOption = None,
    polygons: PolygonsOption = None,
    above: AboveOption = None,
    leave_out: LeaveOutOption = None,
    target: Annotated[
        str,
        typer.Option(
            metavar="REGION", help="What the questions are about. Default: a region of that role, or a tumour."
        ),
    ] = "",
    background: BackgroundOption = None,
    ring: RingOption = (2.0, 2.0),
    depth: DepthOption = None,
    later_frame: Annotated[
        float | None, typer.Option(metavar="S", help="How long the later scan counts, for when to make it.")
    ] = None,
    register: RegisterOption = None,
    kind: KindOption = "similarity",
    xray: XrayOption = None,
    spacing: SpacingOption = None,
    unit: UnitOption = "counts",
    energy_window: WindowNumber = None,
    detector: DetectorNumber = None,
    device: DeviceOption = "auto",
    overwrite: OverwriteOption = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print fits and answers as JSON.")] = False,
) -> None:
    """Follow each region through time: curves in %ID, half-times, peak and area with intervals, six answers, a report.

    Writes report.html, curves.csv, fits.csv, organs.csv, answers.csv, pictures, and what the models made.
    """
    import sys

    from transmodal.fusion.biodistribution import fits_table, follow, in_words
    from transmodal.fusion.outputs import STUDIED, require_new_results
    from transmodal.fusion.overlay import OverlaySettings
    from transmodal.fusion.region_sources import RegionSources

    sources = RegionSources(organs, labels, names, polygons, above, tuple(leave_out or ()))
    inputs = (image, activity, register, labels, names, polygons)
    require_new_results(out, STUDIED, inputs, overwrite=overwrite)
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
    with progress_bar("Curves, fits and report") as on_progress:
        made = follow(
            found.anatomy,
            found.series,
            found.registration,
            found.regions,
            out,
            background=background_named(background, ring, found.regions),
            attenuation=attenuations(depth or []),
            target=target,
            frame_length=later_frame,
            settings=OverlaySettings(unit=unit_named(unit)),
            said=found.said,
            facts=found.facts,
            commands=[" ".join(["transmodal", *map(_quoted, sys.argv[1:])])],
            progress=on_progress,
            overwrite=overwrite,
        )
    fits = fits_table(made.fits)
    said = list(made.curves.said)
    say([line for line in said if line not in made.curves.doubts], as_json)  # those stand as warnings below
    if as_json:
        answers = made.answers.table().to_dict("records") if made.answers is not None else []
        print_json(
            {
                "report": str(made.files["report"]),
                "facts": dict(made.curves.facts),
                "registration": in_words(found.registration),
                "fits": fits.astype(object).where(fits.notna(), None).to_dict("records"),
                "answers": answers,
                "said": said,
            }
        )
        return
    asked = "" if made.answers is None else made.answers.target
    rows = [
        [f"{name} (target)" if name == asked else name, _model(fit), *(_text(fit, key) for key in _SHOWN)]
        for name, fit in made.fits.items()
    ]
    if rows:
        print_table(["region", "model", *_SHOWN.values()], rows)
    if made.answers is not None:
        for each in made.answers.answers:
            typer.echo(f"{each.question}\n  {each.answer}")
            if each.remark:
                typer.echo(f"  ({each.remark})")
    elif rows:
        typer.echo("No region is the target; with --target REGION the report answers where it goes, and when.")
    for line in made.curves.doubts:
        typer.echo(f"warning: {line}")
    typer.echo(f"Report: {made.files['report']}")


_SHOWN = {
    "peak": "peak",
    "peak_time": "at",
    "half_left_time": "half left at",
    "uptake_half_time": "uptake half-time",
    "clearance_half_time": "biological half-life, or slowest",
}


def _model(fit: "KineticFit") -> str:
    """Return the model, and its misfit where that is large."""
    from transmodal.fusion.misfit import misfit_note

    note = misfit_note(fit)
    return f"{fit.model}; {note}" if note else fit.model or "none"


def _text(fit: "KineticFit", key: str) -> str:
    """Return a quantity and its interval in a few words; the report has the notes."""
    estimate = fit.estimates.get(key)
    if estimate is None:
        return "–"
    interval = estimate.interval()
    return f"{estimate.text()} ({interval})" if interval and estimate.value is not None else estimate.text()


def _quoted(word: str) -> str:
    import shlex

    return shlex.quote(word)
