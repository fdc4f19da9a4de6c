"""`transmodal data simulate ct`: clean CT files, or phantoms, and pairs out of them in one command."""

from pathlib import Path
from typing import Annotated

import typer

from transmodal.cli.ct import options
from transmodal.cli.data import degrade
from transmodal.cli.data.output import progress_bar
from transmodal.errors import UserError

EXAMPLES = """
[bold]Examples[/bold]

  transmodal data simulate ct phantoms --phantoms 40 -o pairs --step 'fewer-angles angles=60'

  transmodal data simulate ct ct_slices -o pairs --size 256 --step 'photon-noise photons=1e5' --vary angles=30,60 --mix

  transmodal data simulate ct a.nii.gz b.nii.gz -o low-dose --step 'photon-noise photons=1e5 dose_divisor=25'
"""

PHANTOMS = "phantoms"


def simulate_ct(
    sources: Annotated[
        list[Path],
        typer.Argument(metavar="FILES|DIR|phantoms", help="Clean CT in HU: files, one folder, or the word phantoms."),
    ],
    out: options.PairsFolder,
    phantoms: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Make so many simulated bodies; default 20.")
    ] = None,
    subject_pattern: Annotated[
        str | None,
        typer.Option(metavar="REGEX", help="Takes the subject out of a file's stem; groups subject, session …"),
    ] = None,
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
    """Make pairs of a degraded and a clean CT, out of files or of simulated bodies.

    What 'data index --layout ct' and 'data degrade' do, one after the other. Subjects come from PatientID or folders
    (or --subject-pattern), sessions from dates and planes. Phantoms are ellipses of 400 mm fields, of --size pixels
    (default 256). Cases that fail are listed, the rest is made; the exit status is then 2.
    """
    from transmodal.datasets.ct_sources import clean_manifest, phantom_manifest

    settings = degrade.settings_of(
        "CT",
        clean="CT",
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
    if [str(source) for source in sources] == [PHANTOMS]:
        with progress_bar("Drawing phantoms") as on_progress:
            manifest = phantom_manifest(out, phantoms or 20, size or 256, seed, on_progress)
    elif phantoms is not None:
        raise UserError(f"--phantoms goes with the word {PHANTOMS} instead of files")
    else:
        with progress_bar("Indexing images") as on_progress:
            manifest, notes = clean_manifest(sources, out, subject_pattern, on_progress)
        if not as_json:
            for note in notes:
                typer.echo(f"Note: {note}")
    degrade.make(manifest, out, settings, workers, as_json)
