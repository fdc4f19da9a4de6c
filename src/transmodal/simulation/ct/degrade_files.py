"""Degrade a CT image file: the image that a worse scan would have given, and a record beside it."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from transmodal.images.files import write_text
from transmodal.images.formats import stem_of
from transmodal.simulation.ct.companions import noise_of
from transmodal.simulation.ct.degrading import DegradedSlices, Process, degrade_slices
from transmodal.simulation.ct.files import (
    Done,
    Reading,
    lifted_note,
    off_grid_note,
    off_grid_of,
    ready_to_write,
    require_free,
    require_image_name,
    require_other_file,
    told_rounding,
    write_image,
)
from transmodal.simulation.ct.pairs import NOTICE, software
from transmodal.simulation.ct.steps import Level
from transmodal.tomography.degradations import LimitedField
from transmodal.tomography.scan_files import ScanGeometry, geometry_beside, write_geometry, write_projections
from transmodal.tomography.slices import Place, hounsfield_slices, place_of

Progress = Callable[[int, int], None]

RECORD = ".degraded.json"
_MUCH_METAL = 0.5  # of the body


def degrade_file(
    path: Path,
    out: Path,
    level: Level,
    process: Process | None = None,
    *,
    seed: int = 0,
    reading: Reading | None = None,
    keep_sinogram: bool = False,
    geometry: Path | None = None,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> Done:
    """Degrade a CT image and write it on its own grid, with a record beside it.

    Args:
        path: a slice, or a volume, which is degraded slice by slice along the patient's axis.
        out: an image of any format that holds floats; DICOM takes whole HU.
        level: what degrades it.
        process: scanner and reconstruction.
        seed: of everything drawn.
        reading: of the image.
        keep_sinogram: write OUT.sinogram.npy with its geometry.
        geometry: the file that the scanner came from, which is not written over.
        overwrite: files that are there are written over.
        progress: called with (slices done, of how many).

    Raises:
        UserError: an output that is the input or exists, an image that is no CT, whatever the degradations refuse.
    """
    record, sinogram = out.with_name(stem_of(out) + RECORD), out.with_name(f"{stem_of(out)}.sinogram.npy")
    require_image_name(out)
    outputs = (out, record, *((sinogram, geometry_beside(sinogram)) if keep_sinogram else ()))
    for written in outputs:
        require_other_file(written, path, geometry)
    require_free(overwrite, *outputs)
    image = (reading or Reading()).read(path)
    place = place_of(image)
    slices, padding = hounsfield_slices(image)
    spacing = (place.spacing[-2], place.spacing[-1])
    found = degrade_slices(slices, spacing, level, process, seed, keep_sinogram=keep_sinogram, progress=progress)
    said = level.describe()
    made, rounded = ready_to_write(image.with_pixels(place.image(found.image).pixels, quantity="HU"), out)
    write_image(made, out, f"{NOTICE} {said}")
    entries = {
        "notice": NOTICE,
        "synthetic": True,
        "transmodal": software(),
        "output": out.name,
        "source": str(path),
        "degradation": said,
        "seed": seed,
        "padding_pixels": padding,
        **({"rounded": rounded} if rounded else {}),
        "scan": found.record,
    }
    beside = [write_text(record, json.dumps(entries, indent=1, ensure_ascii=False))]
    done = Done(out, beside, said, _notes(found, level, off_grid_of(image)))
    done.notes += told_rounding(out, rounded)
    if found.sinogram is not None:
        kept = ScanGeometry(found.beam, found.grid, Place(place.shape, place.affine, "HU"), f"{NOTICE} {said}")
        write_projections(sinogram, found.sinogram[0] if len(place.shape) == 2 else found.sinogram, f"{NOTICE} {said}")
        done.beside += [sinogram, write_geometry(geometry_beside(sinogram), kept)]
    return done


def _notes(found: DegradedSlices, level: Level, off_grid: float) -> list[str]:
    """Return what the user should read of a degraded image."""
    notes = [off_grid_note(off_grid)] if off_grid else []
    if found.truncated:
        where = f" in {found.truncated} of {len(found.image)} slices" if len(found.image) > 1 else ""
        on_purpose = any(isinstance(step, LimitedField) for step in level.steps)
        what = "the field that is seen" if on_purpose else "the detector"
        remedy = "" if on_purpose else "give more --bins, or "
        notes.append(f"the object reaches beyond {what}{where}: {remedy}--padding edge or water against the bright rim")
    if noise := noise_of(level):
        read = [entry[noise.kind] for entry in found.record["slices"]]
        lifted, rays = (sum(each[name] for each in read) for name in ("rays_at_the_floor", "rays"))
        if lifted:
            notes.append(lifted_note(lifted, rays, noise.floor, "photon-noise floor"))
    shares: list[Any] = [entry.get("metal", {}).get("share_of_body", [0.0])[0] for entry in found.record["slices"]]
    if max(shares) > _MUCH_METAL:
        notes.append(f"metal fills {100 * max(shares):.3g} % of the body; give a smaller radius_mm or count")
    return notes
