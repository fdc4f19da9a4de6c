"""Stacks of patches in one file (HDF5, .npz) as a folder of images with a manifest, which everything else can use.

Such files seldom say whose a patch is. Where they are ordered by person, so many each, it can be told; otherwise every
patch counts as a subject of its own, and scores of patches of people that were trained on would be too good.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from transmodal.datasets.hdf5 import read_arrays
from transmodal.datasets.manifest_csv import write_rows
from transmodal.errors import UserError, nearest
from transmodal.images import Image, picture_affine, write

COLUMNS = ("subject", "session", "modality", "path", "patch", "label_mm2")


@dataclass(frozen=True)
class Stack:
    """What is in a file, and what it is to become.

    Attributes:
        path: .h5, .hdf5 or .npz.
        images, labels: names of the arrays, (patches, rows, columns) or (patches, 1, rows, columns).
        spacing: pixel size in mm, rows and columns.
        per_subject: consecutive patches of one person; 1 makes a subject of each.
        modality, label_modality: in the manifest.
        quantity: of the image's values.
        prefix: before the number of each subject; other in each of several files, whose subjects are others.
    """

    path: Path
    images: str = "images"
    labels: str = "labels"
    spacing: tuple[float, float] = (1.0, 1.0)
    per_subject: int = 1
    modality: str = "ct"
    label_modality: str = "seg"
    quantity: str = "intensity"
    prefix: str = "s"


def unpack(stack: Stack, out: str | Path, *, progress: Callable[[int, int], None] = lambda done, total: None) -> Path:
    """Write every patch and its label map as NIfTI, and manifest.csv; return it.

    Raises:
        UserError: the file or an array is missing, shapes or label values do not suit, patches cannot be divided among
            subjects, the prefix cannot begin a file's name, or the folder holds something.
    """
    images, labels = _arrays(stack)
    count = len(images)
    if stack.per_subject < 1 or count % stack.per_subject:
        raise UserError(f"{count} patches cannot be divided into {stack.per_subject} a subject; give a divisor")
    if not stack.prefix.isprintable() or set(stack.prefix) & set("/\\") or stack.prefix != stack.prefix.strip():
        raise UserError(f"The prefix {stack.prefix!r} cannot be part of a file name; use letters and digits")
    if min(stack.spacing) <= 0:
        raise UserError(f"A pixel size of {stack.spacing} is none; give two positive numbers in mm")
    out = Path(out)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UserError(f"{out} is not an empty folder; choose another")
    affine, pixel = picture_affine(stack.spacing), stack.spacing[0] * stack.spacing[1]
    rows = []
    for number in range(count):
        subject = f"{stack.prefix}{number // stack.per_subject + 1:04d}"
        session = f"p{number % stack.per_subject + 1:02d}" if stack.per_subject > 1 else ""
        own = labels[number].astype(np.uint8)
        stem = f"{subject}_{session}" if session else subject
        parts = {
            stack.modality: Image(np.ascontiguousarray(images[number]), affine, quantity=stack.quantity),
            stack.label_modality: Image(own, affine, quantity="label"),
        }
        for modality, image in parts.items():
            path = Path(modality) / f"{stem}_{modality}.nii.gz"
            (out / modality).mkdir(parents=True, exist_ok=True)
            write(image, out / path)
            area = f"{np.count_nonzero(own) * pixel:g}"
            rows.append([subject, session, modality, path.as_posix(), str(number + 1), area])
        progress(number + 1, count)
    manifest = out / "manifest.csv"
    write_rows(manifest, list(COLUMNS), rows)
    return manifest


def _arrays(stack: Stack) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    arrays = _read(stack.path)
    found = []
    for name in (stack.images, stack.labels):
        if name not in arrays:
            known = ", ".join(f"{key} {'×'.join(map(str, array.shape))}" for key, array in arrays.items()) or "nothing"
            raise UserError(f"{stack.path} has no array {name!r}; it holds {known}; {nearest(name, list(arrays))}")
        array = arrays[name]
        if array.ndim == 4 and 1 in (array.shape[1], array.shape[-1]):
            array = array[:, 0] if array.shape[1] == 1 else array[..., 0]
        if array.ndim != 3 or array.dtype.kind not in "iuf":
            shape = "×".join(map(str, array.shape))
            raise UserError(f"{name} of {stack.path} is {shape} {array.dtype}; it must be patches × rows × columns")
        found.append(array)
    images, labels = found
    if images.shape != labels.shape:
        raise UserError(f"{stack.path}: {stack.images} and {stack.labels} have different shapes; name those of one set")
    if labels.size and ((labels % 1 != 0).any() or labels.min() < 0 or labels.max() > 255):
        raise UserError(f"{stack.labels} of {stack.path} are no labels: they must be whole numbers from 0 to 255")
    if images.dtype.kind == "f" and not np.isfinite(images).all():
        raise UserError(f"{stack.images} of {stack.path} hold NaN or infinite values; mend them")
    native: npt.NDArray[Any] = images.astype(images.dtype.newbyteorder("="), copy=False)
    return native, labels


def _read(path: Path) -> dict[str, npt.NDArray[Any]]:
    if path.suffix.lower() != ".npz":
        return read_arrays(path)
    try:
        with np.load(path, allow_pickle=False) as content:
            return {name: content[name] for name in content.files}
    except (OSError, ValueError, EOFError) as error:
        raise UserError(f"Cannot read {path}: {error}; it must be an .npz of plain arrays") from error
