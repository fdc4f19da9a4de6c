"""Degrade a CT image file: the image that a worse scan would have given, and a record beside it."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from transmodal.images import write
from transmodal.images.files import write_text
from transmodal.images.formats import stem_of
from transmodal.simulation.ct.degrading import DegradedSlices, Process, degrade_slices
from transmodal.simulation.ct.files import Done, Reading, ready_to_write, require_image_name, require_other_file
from transmodal.simulation.ct.pairs import NOTICE, software
from transmodal.simulation.ct.steps import Level
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
        progress: called with (slices done, of how many).
    """
    record, sinogram = out.with_name(stem_of(out) + RECORD), out.with_name(f"{stem_of(out)}.sinogram.npy")
    require_image_name(out)
    for written in (out, record, *((sinogram, geometry_beside(sinogram)) if keep_sinogram else ())):
        require_other_file(written, path, geometry)
    image = (reading or Reading()).read(path)
    place = place_of(image)
    slices, padding = hounsfield_slices(image)
    spacing = (place.spacing[-2], place.spacing[-1])
    found = degrade_slices(slices, spacing, level, process, seed, keep_sinogram=keep_sinogram, progress=progress)
    said = level.describe()
    made = ready_to_write(image.with_pixels(place.image(found.image).pixels, quantity="HU"), out)
    out.parent.mkdir(parents=True, exist_ok=True)
    write(made, out, f"{NOTICE} {said}")
    entries = {
        "notice": NOTICE,
        "synthetic": True,
        "transmodal": software(),
        "output": out.name,
        "source": str(path),
        "degradation": said,
        "seed": seed,
        "padding_pixels": padding,
        "scan": found.record,
    }
    done = Done(out, [write_text(record, json.dumps(entries, indent=1, ensure_ascii=False))], said, _notes(found))
    if found.sinogram is not None:
        kept = ScanGeometry(found.beam, found.grid, Place(place.shape, place.affine, "HU"))
        write_projections(sinogram, found.sinogram[0] if len(place.shape) == 2 else found.sinogram, f"{NOTICE} {said}")
        done.beside += [sinogram, write_geometry(geometry_beside(sinogram), kept)]
    return done


def _notes(found: DegradedSlices) -> list[str]:
    """Return what the user should read of a degraded image."""
    notes = []
    if found.truncated:
        where = f" in {found.truncated} of {len(found.image)} slices" if len(found.image) > 1 else ""
        notes.append(
            f"the object reaches beyond the detector{where}: give more --bins, or --padding edge or water against the "
            "bright rim"
        )
    shares: list[Any] = [entry.get("metal", {}).get("share_of_body", [0.0])[0] for entry in found.record["slices"]]
    if max(shares) > _MUCH_METAL:
        notes.append(f"metal fills {100 * max(shares):.3g} % of the body; give a smaller radius_mm or count")
    return notes
