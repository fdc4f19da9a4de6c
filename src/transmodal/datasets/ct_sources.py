"""Manifests of clean CT: out of a folder or files as the layout `ct` reads them, or of simulated bodies."""

import os
from collections.abc import Callable, Sequence
from pathlib import Path

import pandas

from transmodal.datasets.layouts import Options, ct, index_folder
from transmodal.datasets.layouts.listing import Found, Listing
from transmodal.datasets.manifest import Manifest
from transmodal.errors import UserError
from transmodal.images.formats import is_image_file, stem_of
from transmodal.images.guard import require_file
from transmodal.simulation.ct.bodies import write_bodies

CLEAN = "clean"
"""Where phantoms, and the manifest of clean images, lie in a folder of pairs."""


def clean_manifest(
    sources: Sequence[Path],
    out: Path,
    subject_pattern: str | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[Manifest, list[str]]:
    """Return a manifest of clean CT, written as OUT/clean.csv, and what the user should read.

    Args:
        sources: one folder, or files.
        out: of the pairs.
        subject_pattern: takes the subject out of a file's stem.
        progress: called with (files looked at, all files).

    Raises:
        UserError: several folders, a file that is no image, no CT among them.
    """
    options = Options(subject_pattern=subject_pattern, out=out, on_progress=progress)
    if len(sources) == 1 and sources[0].is_dir():
        indexed = index_folder(sources[0], "ct", options)
        manifest, skipped, notes = indexed.manifest, indexed.skipped, list(indexed.notes)
    else:
        manifest, skipped, notes = _of_files(sources, options)
    if skipped:
        notes.append(f"{len(skipped)} images were not taken, first {skipped[0][0]}: {skipped[0][1]}")
    _keep(manifest, out)
    return manifest, notes


def _of_files(sources: Sequence[Path], options: Options) -> tuple[Manifest, list[tuple[str, str]], list[str]]:
    for source in sources:
        if source.is_dir():
            raise UserError(f"{source} is a folder; give one folder alone, or files")
        require_file(source)
        if not is_image_file(source):
            raise UserError(f"{source} is no image; leave it out")
    paths = [Path(os.path.abspath(source)) for source in sources]  # noqa: PTH100 - symbolic links stay
    root = Path(os.path.commonpath([path.parent for path in paths]))
    images = [Found(path, path.relative_to(root).parts[:-1], stem_of(path.name)) for path in paths]
    made = ct.index(Listing(root, images, []), options)
    table = pandas.DataFrame(made.rows).fillna("")
    return Manifest(table, root, name="the files"), made.skipped, made.notes


def phantom_manifest(
    out: Path, count: int, size: int, seed: int, progress: Callable[[int, int], None] | None = None
) -> Manifest:
    """Draw bodies into OUT/clean and return their manifest.

    Raises:
        UserError: numbers out of range, or a folder with bodies of another size or seed.
    """
    from transmodal.simulation.data_set import claim

    folder = out / CLEAN
    claim(folder, {"simulation": "ct bodies", "format": 1, "synthetic": True, "size": size, "seed": seed})
    rows = [
        {"subject": subject, "session": "", "modality": ct.MODALITY, "path": str(path.absolute()), "phantom": "yes"}
        for subject, path in write_bodies(folder, count, size, seed, progress)
    ]
    manifest = Manifest(pandas.DataFrame(rows), folder, name="the phantoms")
    _keep(manifest, out)
    return manifest


def _keep(manifest: Manifest, out: Path) -> None:
    """Write the manifest of the clean images beside the pairs."""
    out.mkdir(parents=True, exist_ok=True)
    manifest.write(out / f"{CLEAN}.csv")


__all__ = ["clean_manifest", "phantom_manifest"]
