"""`transmodal fuse IMAGE ACTIVITY -o OUT`: activity in colour over anatomy."""

from pathlib import Path
from typing import Annotated

import typer

from transmodal.cli.data.output import print_json, progress_bar
from transmodal.cli.fuse.options import (
    ActivityArgument,
    AnatomyArgument,
    DetectorNumber,
    DeviceOption,
    KindOption,
    OverwriteOption,
    RegisterOption,
    SpacingOption,
    UnitOption,
    WindowNumber,
    XrayOption,
    make_xray,
    read_both,
    say,
    unit_named,
)

_SECONDS = 10.0

EXAMPLES = """
[bold]Examples[/bold]

  transmodal fuse xray.png bone.tif -o over.png                      the sum of all frames, both of one field

  transmodal fuse xray.png bone.dcm --register points.csv --unit percent-id -o over.dcm

  transmodal fuse photo.png fdg.tif --spacing 0.0977 0.0977 --between 1800 3600 --threshold 0.2 -o over.tif

  transmodal fuse photo.png bone.tif --xray runs/photo-to-xray --register points.csv -o over.png

  transmodal fuse xray.png fdg.tif --register device.json --seconds 8 -o over.gif       every frame (or .mp4)
"""


def overlay(
    image: AnatomyArgument,
    activity: ActivityArgument,
    out: Annotated[
        Path, typer.Option("--out", "-o", help=".png, .tif or .dcm; .gif or .mp4 shows one frame after another.")
    ],
    register: RegisterOption = None,
    kind: KindOption = "similarity",
    xray: XrayOption = None,
    spacing: SpacingOption = None,
    unit: UnitOption = "counts",
    between: Annotated[
        tuple[float, float] | None,
        typer.Option(metavar="FROM TO", help="Only frames of this time, s after the injection."),
    ] = None,
    threshold: Annotated[
        float, typer.Option(metavar="SHARE", min=0, max=1, help="Of the top of the scale; nothing is shown below.")
    ] = 0.15,
    upper: Annotated[float | None, typer.Option(help="Top of the colour scale. Default: the greatest value.")] = None,
    opacity: Annotated[float, typer.Option(min=0, max=1, help="Of the colours.")] = 0.5,
    gamma: Annotated[float, typer.Option(help="Below 1 lifts what is faint.")] = 1.0,
    colours: Annotated[str, typer.Option(help="A colour map.")] = "hot",
    window: Annotated[
        tuple[float, float] | None, typer.Option(metavar="LOW HIGH", help="Of the anatomy. Default: percentiles.")
    ] = None,
    in_colour: Annotated[bool, typer.Option("--in-colour", help="Leave a photograph in colour.")] = False,
    decay_correct: Annotated[bool, typer.Option("--decay-correct", help="Bring counts back to the injection.")] = False,
    bare: Annotated[
        bool, typer.Option("--bare", help="No bar, scale and label drawn: the picture keeps grid and pixel size.")
    ] = False,
    seconds: Annotated[float | None, typer.Option(help=f"How long an animation lasts. Default: {_SECONDS:g}.")] = None,
    own_scales: Annotated[bool, typer.Option("--own-scales", help="Each frame of an animation in its own.")] = False,
    energy_window: WindowNumber = None,
    detector: DetectorNumber = None,
    device: DeviceOption = "auto",
    overwrite: OverwriteOption = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print what was made as JSON.")] = False,
) -> None:
    """Lay a nuclear image in colour over an anatomical picture; the counts themselves are not changed."""
    from transmodal.errors import UserError
    from transmodal.fusion.animation import animate, require_animation, write_animation
    from transmodal.fusion.outputs import require_new_file
    from transmodal.fusion.overlay import OverlaySettings, fuse
    from transmodal.fusion.writing import write_overlay

    settings = OverlaySettings(
        unit=unit_named(unit),
        between=between,
        decay_correct=decay_correct,
        threshold=threshold,
        upper=upper,
        opacity=opacity,
        gamma=gamma,
        colours=colours,
        window=window,
        keep_colour=in_colour,
    )
    moves = out.suffix.lower() in (".gif", ".mp4")
    if bare and moves:
        raise UserError(f"--bare: {out.name} shows the time of each frame beside it; leave --bare out")
    if not moves and (seconds is not None or own_scales):
        option = "--own-scales" if seconds is None else "--seconds"
        raise UserError(f"{option}: {out.name} is one picture; leave {option} out, or write a .gif or .mp4")
    lasting = _SECONDS if seconds is None else seconds
    require_animation(settings, own_scales=own_scales, seconds=lasting)
    made = out.with_name(f"{out.stem}-xray.png") if xray is not None else None
    require_new_file(out, made, overwrite=overwrite)
    if xray is not None and made is not None:
        image, warned = make_xray(image, xray, made, spacing, device)
        spacing = None
        say(warned, as_json)
    anatomy, series, registration = read_both(image, activity, register, kind, spacing, energy_window, detector)
    if moves:
        with progress_bar("Drawing frames") as on_progress:
            moving = animate(
                anatomy,
                series,
                registration,
                settings,
                own_scales=own_scales,
                seconds=lasting,
                progress=on_progress,
            )
        write_animation(moving, out)
        frames, said, first = len(moving), moving.said, moving.first
    else:
        first = fuse(anatomy, series, registration, settings)
        write_overlay(first, out, frame=not bare)
        frames, said = len(first.activity.frames), first.said
    say(said, as_json)
    if as_json:
        print_json(
            {
                "output": str(out),
                "frames": frames,
                "unit": settings.unit,
                "threshold": first.lower,
                "upper": first.upper,
                "registration": registration.how,
                "error_mm": registration.error_mm,
                "label": first.label,
                "said": list(said),
            }
        )
        return
    error = "" if registration.error_mm is None else f", {registration.error_text()} off on average"
    typer.echo(f"Registration: {registration.how}{error}")
    typer.echo(f"Output: {out}")
