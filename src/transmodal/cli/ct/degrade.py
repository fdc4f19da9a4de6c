"""`transmodal ct degrade`: what a worse scan would have given."""

from pathlib import Path
from typing import Annotated

import typer

from transmodal.cli.ct import options
from transmodal.errors import UserError

EXAMPLES = """
[bold]Examples[/bold]

  transmodal ct degrade slice.dcm -o sparse.tif --step 'fewer-angles angles=60' --step 'photon-noise photons=1e5'

  transmodal ct degrade chest.nii.gz -o low.nii.gz --step 'photon-noise dose_divisor=25' --keep-sinogram

  transmodal ct degrade slice.dcm -o metal.tif --step 'metal material=iron count=2 radius_mm=3,6' --seed 7

  transmodal ct degrade slice.dcm -o worn.tif --recipe degradation.yaml
"""


def degrade(
    image: Annotated[Path, typer.Argument(metavar="IMAGE", help="A clean CT slice or volume in HU.")],
    out: Annotated[Path, typer.Option("--out", "-o", metavar="OUT", help="The image: .nii.gz, .tif, .mha, .dcm …")],
    step: options.Steps = None,
    steps: options.ListSteps = False,
    recipe: options.StepsFile = None,
    seed: options.Seed = 0,
    keep_sinogram: Annotated[
        bool, typer.Option("--keep-sinogram", help="Write OUT.sinogram.npy with its geometry.")
    ] = False,
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
    spacing: options.PixelSize = None,
    series: options.Series = None,
    allow_uneven: options.Uneven = False,
    overwrite: options.Overwrite = False,
    as_json: options.AsJson = False,
) -> None:
    """Scan a clean CT image with all that makes scans worse, and reconstruct it: a degraded image on the same grid.

    Beside OUT lies NAME.degraded.json, which says what was done and that the image is simulated.
    Degradations: fewer-angles, limited-angle, limited-field, rigid-motion, breathing, beam-hardening, metal,
    spectral-bins, detector-blur, scatter, photon-noise, rings, image-noise; --steps lists their settings.
    """
    from transmodal.cli.data.output import progress_bar
    from transmodal.simulation.ct.degrade_files import degrade_file
    from transmodal.simulation.ct.files import Reading
    from transmodal.simulation.ct.steps import all_steps, levels_of

    asked = all_steps(step or [], recipe)
    if not asked:
        raise UserError("Say what makes the scan worse: --step 'fewer-angles angles=60', or --recipe FILE")
    scanner = options.scanner_of(
        geometry,
        kind=beam,
        views=views,
        degrees=degrees,
        source_to_axis=source_to_axis,
        source_to_detector=source_to_detector,
        bins=bins,
        pitch=pitch,
        curved=curved,
    )
    process = options.process_of(
        scanner, filter=filter, cutoff=cutoff, padding=padding, finer=finer, rays_per_bin=rays_per_bin
    )
    with progress_bar("Degrading slices") as on_progress:
        done = degrade_file(
            image,
            out,
            levels_of(asked)[0],
            process,
            seed=seed,
            reading=Reading(spacing, series, allow_uneven),
            keep_sinogram=keep_sinogram,
            geometry=geometry,
            overwrite=overwrite,
            progress=on_progress,
        )
    options.tell(done, as_json)
