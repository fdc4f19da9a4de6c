"""Project an image file: line integrals and their geometry beside them."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from transmodal.errors import UserError
from transmodal.images.synthetic import drop_sidecar, mark_of
from transmodal.simulation.ct.files import (
    Done,
    Reading,
    numbers_of,
    off_grid_note,
    off_grid_of,
    require_free,
    require_other_file,
)
from transmodal.tomography.devices import require_device
from transmodal.tomography.finer_projection import project_finer
from transmodal.tomography.geometry import Beam, ConeBeam, Grid
from transmodal.tomography.hounsfield import HounsfieldScale
from transmodal.tomography.memory import require_memory
from transmodal.tomography.operator import Projector
from transmodal.tomography.reconstruction import projector_on
from transmodal.tomography.scan_files import (
    ScanGeometry,
    geometry_beside,
    require_projection_name,
    write_geometry,
    write_projections,
)
from transmodal.tomography.scanners import Scanner
from transmodal.tomography.slices import Place, attenuation_slices, place_of
from transmodal.tomography.truncation import looks_truncated

Progress = Callable[[int, int], None]


def project_file(
    path: Path,
    out: Path,
    scanner: Scanner,
    *,
    reading: Reading | None = None,
    unit: str = "HU",
    scale: HounsfieldScale | None = None,
    finer: int = 2,
    geometry: Path | None = None,
    device: str = "cpu",
    overwrite: bool = False,
    progress: Progress | None = None,
) -> Done:
    """Project an image and write its projections and their geometry.

    Args:
        path: of a slice, or of a volume: slice by slice along the patient's axis, under a cone beam as a whole.
        out: .npy, .tif, .nii.gz, .mha or .nrrd.
        scanner: fits its detector to the image unless told otherwise.
        reading: of the image.
        unit: of its values, "HU" or "attenuation".
        scale: of the Hounsfield units.
        finer: so many times finer, and shifted, is the grid that is projected, lest a reconstruction on the image's
            own grid look better than it is; 1 is the image's own.
        geometry: the file that the scanner came from, which is not written over.
        device: where the rays are summed: "cpu" by compiled code, any other by torch.
        overwrite: files that are there are written over.
        progress: called with (slices done, of how many), under a cone beam with slabs of the volume.

    Raises:
        UserError: an output that is the input or exists, an image or options that do not go together.
    """
    require_projection_name(out)
    beside = geometry_beside(out)
    for written in (out, beside):
        require_other_file(written, path, geometry)
    require_free(overwrite, out, beside)
    require_device(device)
    image = (reading or Reading()).read(path)
    place = place_of(image)
    slices = attenuation_slices(image, unit, scale or HounsfieldScale())
    is_cone = scanner.kind == "cone" if scanner.beam is None else isinstance(scanner.beam, ConeBeam)
    if is_cone and len(place.shape) != 3:
        raise UserError(f"{path} is a single slice; a cone beam needs a volume, a slice --beam parallel or fan")
    grid = Grid(slices.shape, place.spacing) if is_cone else Grid(slices.shape[1:], place.spacing[-2:])
    beam = scanner.beam_for(grid)
    made = _projected(slices, grid, beam, finer, device, progress)
    sinogram = made[0] if len(place.shape) == 2 else made
    mark = mark_of(image)
    said = f"Simulated projections of {path.name}, not for diagnosis"
    write_projections(out, sinogram, f"{mark}; {said}" if mark else said)
    drop_sidecar(out)
    kept = Place(place.shape, place.affine, "HU" if unit == "HU" else "1/mm")
    write_geometry(beside, ScanGeometry(beam, grid, kept, mark))
    done = Done(out, [beside], f"{numbers_of(sinogram)} line integrals, {_described(beam)}")
    if off_grid := off_grid_of(image):
        done.notes.append(off_grid_note(off_grid))
    if looks_truncated(made, beam):
        done.notes.append("the object reaches beyond the detector: projections are truncated; give more --bins")
    return done


def _projected(
    slices: NDArray[np.float32], grid: Grid, beam: Beam, finer: int, device: str, progress: Progress | None
) -> NDArray[np.float32]:
    """Return the projections of slices, (slices, views, bins), or of a volume, (views, rows, bins)."""

    def projector(fine: Grid, rays: Beam) -> Projector:
        return projector_on(device, fine, rays)

    if isinstance(beam, ConeBeam):
        return project_finer(slices, grid, beam, finer, projector, progress)
    shape = (len(slices), *beam.shape)
    require_memory(shape, "the sinogram of all slices", "take fewer views, or fewer slices")
    made = np.empty(shape, np.float32)
    for index, each in enumerate(slices):
        made[index] = project_finer(each, grid, beam, finer, projector)
        if progress is not None:
            progress(index + 1, len(slices))
    return made


def _described(beam: Beam) -> str:
    bins = f"{beam.rows}×{beam.bins}" if isinstance(beam, ConeBeam) else f"{beam.bins}"
    return f"{beam.kind} beam, {len(beam.angles)} views of {bins} bins of {beam.pitch:.4g} mm"
