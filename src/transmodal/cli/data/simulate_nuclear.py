"""`transmodal data simulate nuclear`: frames of a nuclear camera over photographs and X-rays, with the truth."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from transmodal.cli.data.output import counted, print_json, progress_bar

EXAMPLES = """
[bold]Examples[/bold]

  transmodal data simulate nuclear -o bones               12 animals, 99mTc bone agent, an hour and two late frames

  transmodal data simulate nuclear --agent fdg --animals 4 --size 128 256 -o few

  transmodal data simulate nuclear --agent tumour --tumour 5 --frames "12x5min,@4h,10min" --activity 30 -o flanks
"""


def simulate_nuclear(
    out: Annotated[Path, typer.Option("--out", "-o", metavar="DIR", help="The folder to fill.")],
    animals: Annotated[int, typer.Option(min=1, help="How many animals, half white, half black.")] = 12,
    agent: Annotated[
        Literal["mdp", "fdg", "tumour"],
        typer.Option(help="A 99mTc bone agent, 18F glucose in coincidence, or a 99mTc agent that a tumour binds."),
    ] = "mdp",
    frames: Annotated[
        str | None,
        typer.Option(
            metavar="SCHEDULE",
            help="Such as '6x10s,10x5min,@2h,10min': frames one after the other from the injection on, @ waits until "
            "a time; default an hour of frames and late ones, as suits the agent.",
        ),
    ] = None,
    activity: Annotated[
        float | None, typer.Option(metavar="MBQ", help="Injected; default 20 of 99mTc, 8 of 18F.")
    ] = None,
    tumour: Annotated[float, typer.Option(metavar="MM", help="The tumour's diameter, with the tumour agent.")] = 7.0,
    size: Annotated[
        tuple[int, int],
        typer.Option(metavar="HEIGHT WIDTH", help="Pixels of the X-ray; the field is always 50 by 100 mm."),
    ] = (512, 1024),
    seed: Annotated[int, typer.Option(min=0, help="Of animals, poses, agents and noise.")] = 0,
    workers: Annotated[int | None, typer.Option(min=1, help="Processes; default one a core.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the summary as JSON.")] = False,
) -> None:
    """Simulate nuclear acquisitions: raw counts over time, with photograph, X-ray, organs and the true curves.

    Frames are TIFF stacks of raw counts with a sidecar; truth/ has every organ's curve, fiducials.csv points marked in
    both fields, transform.json the true map between them. How the agents spread is invented, not measured. Animals
    that are already there are not made again.
    """
    import os

    from transmodal.datasets.manifest import Manifest
    from transmodal.simulation.nuclear import simulate_dataset

    with progress_bar("Simulating acquisitions") as on_progress:
        manifest = simulate_dataset(
            out,
            animals=animals,
            agent=agent,
            frames=frames,
            activity=activity,
            tumour=tumour,
            size=size,
            seed=seed,
            workers=workers or os.cpu_count() or 1,
            progress=on_progress,
        )
    cases = len(Manifest.read(manifest).cases())
    if as_json:
        print_json({"manifest": str(manifest), "agent": agent, "acquisitions": cases})
    else:
        typer.echo(f"{manifest}: {counted(cases, 'acquisition')} with {agent}")
