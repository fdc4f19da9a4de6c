"""Layout `side-by-side`: both images of a pair joined in one file (A|B), as the pix2pix data sets are kept.

The parts are cut out once, into one folder a modality, losslessly: bit depth and channels stay. All parts keep the
pixel size and lie on the same grid, so that they are a pair.
"""

import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np

from transmodal.datasets.layouts.listing import SPLIT_FOLDERS, Found, Index, Listing, Options
from transmodal.datasets.layouts.subjects import SubjectNames
from transmodal.errors import UserError
from transmodal.images import Image, read, write
from transmodal.images.files import write_text

_AXIS = {"horizontal": 1, "vertical": 0}
_WRITABLE = {".png": ".png", ".tif": ".tif", ".tiff": ".tif"}
SETTINGS_FILE = "side-by-side.json"


def recognise(listing: Listing) -> str | None:
    """Return None: nothing tells a joined pair from one wide picture, so the user says it."""
    return None


def index(listing: Listing, options: Options) -> Index:
    """Cut every image into its parts and make a row of each part; files cut before are not cut again.

    Folders called train, val and test, as the published data sets have them, become the split.

    Raises:
        UserError: the names of the parts are not said, the out folder holds parts cut otherwise, or no image can be
            cut.
    """
    if len(options.modalities) < 2 or options.direction not in _AXIS:
        raise UserError(
            "The layout 'side-by-side' needs the names of the parts: --modalities photo,xray means photo left and xray "
            "right (with --direction vertical: photo on top)"
        )
    out = options.out or listing.folder
    made = [out / modality for modality in options.modalities]  # parts of an earlier run are no sources
    images = [found for found in listing.images if not any(map(found.path.is_relative_to, made))]
    _require_same_settings(listing.folder, out, options)
    names, result, modalities = SubjectNames(options), Index(), list(options.modalities)
    tasks = []
    for found, name in zip(images, _case_names(images), strict=True):
        columns = names.columns(name)
        if columns is None:
            result.skipped.append((found.relative, "does not match --subject-pattern"))
            continue
        if (split := SPLIT_FOLDERS.get(found.folders[0].lower()) if found.folders else None) is not None:
            columns["split"] = split
        suffix = _WRITABLE.get(found.path.suffix.lower(), ".png")
        parts = [out / modality / f"{name}{suffix}" for modality in modalities]
        tasks.append((found, columns, parts))
    with ThreadPoolExecutor() as pool:
        outcomes = pool.map(lambda task: _try_to_cut(task[0].path, task[2], options.direction), tasks)
        for done, ((found, columns, parts), problem) in enumerate(zip(tasks, outcomes, strict=True), 1):
            if problem:
                result.skipped.append((found.relative, problem))
            else:
                for modality, part in zip(modalities, parts, strict=True):
                    result.rows.append({**columns, "modality": modality, "path": str(part)})
            if options.on_progress:
                options.on_progress(done, len(tasks))
    if not result.rows:
        raise UserError(
            f"No image in {listing.folder} can be cut: {result.skipped[0][1] if result.skipped else 'none'}"
        )
    if hint := names.hint([columns["subject"] for _, columns, _ in tasks]):
        result.notes.append(hint)
    return result


def cut(image: Image, parts: int, direction: str) -> list[Image]:
    """Cut a picture into equal parts, all on the grid of the first.

    Args:
        image: with two spatial axes.
        parts: how many, at least 2.
        direction: "horizontal" cuts the columns, left first; "vertical" the rows, top first.

    Raises:
        UserError: it is a volume, or its size cannot be divided.
    """
    axis = _AXIS[direction]
    if image.spatial_dims != 2:
        raise UserError(f"{image.name} is a volume; only pictures can be cut side by side")
    if image.shape[axis] % parts:
        what = "columns" if axis else "rows"
        raise UserError(
            f"{image.name} has {image.shape[axis]} {what}, which {parts} equal parts cannot share; crop it first"
        )
    pieces = np.split(image.pixels, parts, axis=axis)
    return [replace(image, pixels=np.ascontiguousarray(piece)) for piece in pieces]


def _try_to_cut(source: Path, parts: Sequence[Path], direction: str) -> str | None:
    """Write the parts of one file unless they are there and newer; return what went wrong."""
    changed = source.stat().st_mtime
    if all(part.exists() and part.stat().st_mtime >= changed for part in parts):
        return None
    try:
        for piece, part in zip(cut(read(source), len(parts), direction), parts, strict=True):
            write(piece, part)
    except UserError as error:
        return str(error)
    return None


def _case_names(images: Sequence[Found]) -> list[str]:
    """Return the stems, with the folders before them where a stem alone is not unique (train/1, test/1)."""
    stems = [found.stem for found in images]
    if len(set(stems)) == len(stems):
        return stems
    return ["-".join((*found.folders, found.stem)) for found in images]


def _require_same_settings(folder: Path, out: Path, options: Options) -> None:
    """Refuse to mix parts that were cut otherwise, and remember how these are cut."""
    settings = {"source": str(folder), "parts": list(options.modalities), "direction": options.direction}
    record = out / SETTINGS_FILE
    if record.exists() and json.loads(record.read_text(encoding="utf-8")) != settings:
        raise UserError(f"{out} holds images cut with other settings ({record.name}); choose another output folder")
    write_text(record, json.dumps(settings, indent=2) + "\n")
