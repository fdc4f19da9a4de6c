"""`transmodal data degrade`: pairs of a worse and a clean CT, out of a manifest of clean ones."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from transmodal.cli.ct import options
from transmodal.cli.data.output import counted, print_json, print_list, print_table
from transmodal.errors import UserError

if TYPE_CHECKING:
    from transmodal.datasets.ct_pair_settings import PairSettings
    from transmodal.datasets.ct_pairs import Pairs
    from transmodal.datasets.manifest import Manifest

EXAMPLES = """
[bold]Examples[/bold]

  transmodal data degrade manifest.csv -o sparse --step 'photon-noise photons=1e5' --vary angles=30,60,90 --mix

  transmodal data degrade manifest.csv -o dose --size 256 --vary dose=1,4,25 --each --also tv

  transmodal data degrade manifest.csv -o metal --step metal --name metal --also li --also nmar
"""


def degrade(
    manifest: Annotated[Path, typer.Argument(metavar="CSV", help="A manifest with clean CT in HU.")],
    out: options.PairsFolder,
    modality: Annotated[str, typer.Option(metavar="NAME", help="The clean images.")] = "CT",
    step: options.Steps = None,
    steps: options.ListSteps = False,
    recipe: options.StepsFile = None,
    vary: options.Vary = None,
    each: options.Each = False,
    mix: options.Mix = False,
    copies: options.Copies = 0,
    name: options.DegradedName = "degraded",
    also: options.Also = None,
    tv_weight: options.TvWeight = None,
    tv_iterations: options.TvIterations = 150,
    keep_sinogram: options.Sinograms = False,
    size: options.LongerEdge = None,
    seed: options.Seed = 0,
    geometry: options.Geometry = None,
    views: options.Views = None,
    degrees: options.Degrees = None,
    beam: options.PlaneBeam = "parallel",
    source_to_axis: options.FanSourceToAxis = None,
    source_to_detector: options.FanSourceToDetector = None,
    bins: options.Bins = None,
    pitch: options.Pitch = None,
    curved: options.Curved = False,
    finer: options.Finer = 2,
    rays_per_bin: options.RaysPerBin = 1,
    filter: options.FbpFilter = "hann",
    cutoff: options.Cutoff = 1.0,
    padding: options.Padding = None,
    allow_uneven: options.Uneven = False,
    workers: options.Workers = None,
    as_json: options.AsJson = False,
) -> None:
    """Make pairs out of clean CT: for every case what a worse scan would have given, and the clean image.

    Slices stay slices; volumes are degraded slice by slice along the patient's axis. Subjects, sessions, splits and
    free columns are kept; new columns are angles, photons, seed, degradation and what was varied. What is finished is
    not made again. Cases that fail are listed, the rest is made; the exit status is then 2.
    """
    from transmodal.datasets.manifest import Manifest

    settings = settings_of(
        modality,
        clean=modality,
        step=step,
        recipe=recipe,
        vary=vary,
        each=each,
        mix=mix,
        copies=copies,
        name=name,
        also=also,
        tv_weight=tv_weight,
        tv_iterations=tv_iterations,
        keep_sinogram=keep_sinogram,
        size=size,
        seed=seed,
        allow_uneven=allow_uneven,
        scanner={
            "geometry": geometry,
            "kind": beam,
            "views": views,
            "degrees": degrees,
            "source_to_axis": source_to_axis,
            "source_to_detector": source_to_detector,
            "bins": bins,
            "pitch": pitch,
            "curved": curved,
        },
        process={
            "filter": filter,
            "cutoff": cutoff,
            "padding": padding,
            "finer": finer,
            "rays_per_bin": rays_per_bin,
        },
    )
    make(Manifest.read(manifest), out, settings, workers, as_json)


def settings_of(
    modality: str,
    *,
    clean: str,
    step: list[str] | None,
    recipe: Path | None,
    vary: list[str] | None,
    each: bool,
    mix: bool,
    copies: int,
    name: str,
    also: list[str] | None,
    tv_weight: float | None,
    tv_iterations: int,
    keep_sinogram: bool,
    size: int | None,
    seed: int,
    allow_uneven: bool,
    scanner: dict[str, Any],
    process: dict[str, Any],
) -> "PairSettings":
    """Return what the options of this command, and of `data simulate ct`, ask for.

    Raises:
        UserError: options that exclude each other, or that would be ignored.
    """
    from transmodal.datasets.ct_pair_settings import PairSettings
    from transmodal.simulation.ct.companions import Companion
    from transmodal.simulation.ct.pairs import Output
    from transmodal.simulation.ct.steps import all_steps, levels_of

    steps = all_steps(step or [], recipe)
    levels = levels_of(steps, vary or [])
    if not levels[0].steps:
        raise UserError("Say what makes the scan worse: --step 'fewer-angles angles=60', --vary angles=30,60 --mix …")
    if len(levels) > 1 and each == mix:
        raise UserError("--vary needs either --each (every level for every case) or --mix (one level a case)")
    if len(levels) == 1 and (each or mix):
        raise UserError("--each and --mix spread levels: give --vary several values, or leave them out")
    chosen = list(dict.fromkeys(also or []))
    if "tv" not in chosen and tv_weight is not None:
        raise UserError("--tv-weight is for --also tv; add it, or leave the weight out")
    companions = tuple(
        Companion(other, tv_weight, tv_iterations) if other == "tv" else Companion(other) for other in chosen
    )
    return PairSettings(
        modality=modality,
        levels=tuple(levels),
        spread="mix" if mix else "each",
        process=options.process_of(options.scanner_of(**scanner), **process),
        output=Output(name, clean, companions, keep_sinogram, size, allow_uneven),
        copies=copies,
        seed=seed,
    )


def make(manifest: "Manifest", out: Path, settings: "PairSettings", workers: int | None, as_json: bool) -> None:
    """Make the pairs and tell what became of them.

    Raises:
        typer.Exit: with 2, once all is told, where cases failed.
    """
    import os

    from transmodal.cli.progress import Progress
    from transmodal.datasets.ct_pairs import degrade_manifest

    with Progress("Degrading") as bar:
        pairs = degrade_manifest(
            manifest,
            out,
            settings,
            workers=workers or os.cpu_count(),
            progress=lambda done, total: bar.show("Degrading", done, total),
            tuning=lambda done, total: bar.show("Tuning total variation, levels", done, total),
        )
    _tell(pairs, as_json)
    if pairs.failed:
        raise typer.Exit(2)


def _tell(pairs: "Pairs", as_json: bool) -> None:
    from transmodal.datasets.manifest import Manifest

    written = Manifest.read(pairs.manifest)
    if as_json:
        print_json(
            {
                "manifest": str(pairs.manifest),
                "pairs": len(written.cases()),
                "made": pairs.made,
                "reused": pairs.reused,
                "levels": pairs.by_level,
                "modalities": written.modalities,
                "tv_weights": {label: weight.to_json() for label, weight in pairs.weights.items()},
                "failed": [{"case": case, "reason": reason} for case, reason in pairs.failed],
                "notes": pairs.notes,
            }
        )
        return
    if len(pairs.by_level) > 1:
        print_table(["level", "pairs"], pairs.by_level.items())
    if pairs.weights:
        rows = [
            (label, f"{weight.weight:.4g}", weight.psnr, len(weight.cases)) for label, weight in pairs.weights.items()
        ]
        print_table(["level", "weight of total variation", "PSNR in tuning, dB", "training slices"], rows)
    for note in pairs.notes:
        typer.echo(f"Note: {note}")
    if edges := [label or "the level" for label, weight in pairs.weights.items() if weight.on_edge]:
        typer.echo(f"Note: the best weight of {', '.join(edges)} is the last one tried; a better one may lie beyond")
    failed = [f"{case}: {reason}" for case, reason in pairs.failed]
    print_list(f"{counted(len(failed), 'case')} failed", failed)
    reused = f", {pairs.reused} of them made before" if pairs.reused else ""
    typer.echo(
        f"{pairs.manifest}: {counted(len(written.cases()), 'pair')} of {counted(len(written.subjects), 'subject')}"
        f"{reused}; modalities {', '.join(written.modalities)}"
    )
