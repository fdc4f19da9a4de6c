"""What all commands of `transmodal ct` share about files: how images are read, what may be written, what was."""

import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

import transmodal
from transmodal.errors import UserError
from transmodal.images import Image, read, write
from transmodal.images.dicom_geometry import UnevenSlices
from transmodal.images.dicom_values import storable
from transmodal.images.files import holds_slices_alone
from transmodal.images.formats import format_of_name, format_to_write
from transmodal.images.synthetic import NOTICE, drop_sidecar, marked

_PAIRS = {".hdr": ".img", ".img": ".hdr", ".mhd": ".raw", ".nhdr": ".raw"}  # one image in two files


@dataclass
class Done:
    """What was written.

    Attributes:
        path: the file asked for.
        beside: further files.
        said: one sentence.
        notes: what the user should read.
    """

    path: Path
    beside: list[Path] = field(default_factory=list)
    said: str = ""
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Reading:
    """How an image file is read.

    Attributes:
        spacing: mm, for files that say none.
        series: of a DICOM folder that holds several.
        allow_uneven: take volumes with tilted or uneven slices, one slice at a time.
    """

    spacing: float | None = None
    series: str | None = None
    allow_uneven: bool = False

    def read(self, path: Path) -> Image:
        """Read an image."""
        try:
            return read(path, spacing=self.spacing, series=self.series, allow_uneven=self.allow_uneven)
        except UnevenSlices as error:
            raise UnevenSlices(f"{error}; or take it slice by slice with --allow-uneven") from error


def off_grid_of(image: Image) -> float:
    """Return how far a slice of an image lies at most from where its affine puts it, mm."""
    return float(getattr(image.source.header, "off_grid", 0.0))


def off_grid_note(millimetres: float, what: str = "slices lie") -> str:
    """Say that uneven slices were put on an even grid, and what to do.

    Args:
        millimetres: the largest error.
        what: begins the sentence, for data of several images.
    """
    return (
        f"{what} unevenly and were put on an even grid: up to {millimetres:.2g} mm off their places; where that "
        "matters put them on an even grid first, by 'transmodal data straighten'"
    )


def require_other_file(out: Path, *inputs: Path | None) -> None:
    """Refuse to write over what is read.

    Args:
        out: to be written.
        inputs: files, or the folder of a series; those that are None or not there do not matter.

    Raises:
        UserError: it is one of them, lies in such a folder and exists, or is a folder that holds one.
    """
    for file in (file for file in _written_with(out) if file.exists()):
        for path in (path for path in inputs if path is not None and path.exists()):
            if file.samefile(path) or (path.is_dir() and file.parent.samefile(path)):
                raise UserError(f"{out} is the input itself, or a part of it; choose another output")
            if file.resolve() in path.resolve().parents and file.is_dir():
                raise UserError(f"{out} is the folder of {path.name}, which is read; choose another output")


def _written_with(out: Path) -> list[Path]:
    """Return all files that hold an image of this name: the second half of some formats, the JSON of an array."""
    suffix = out.suffix.lower()
    pair = [out.with_suffix(_PAIRS[suffix])] if suffix in _PAIRS else []
    return [out, *pair, *([out.with_name(f"{out.name}.json")] if suffix == ".npy" else [])]


def require_free(overwrite: bool, *outputs: Path) -> None:
    """Refuse to write over what is there.

    Args:
        overwrite: the user has said so.
        outputs: to be written; a folder, of a volume in DICOM, may be empty, or with `overwrite` hold slices alone.

    Raises:
        UserError: one of them, or a file that belongs to it, exists; a folder that may not be replaced.
    """
    for file in (file for out in outputs for file in _written_with(out)):
        if file.is_dir():
            _require_free_folder(file, overwrite)
        elif file.exists() and not overwrite:
            raise UserError(f"{file} exists; choose another output, or say --overwrite")


def _require_free_folder(folder: Path, overwrite: bool) -> None:
    if format_of_name(folder) is not None:
        raise UserError(f"{folder} is a folder, where a file shall be written; choose another output")
    if not holds_slices_alone(folder):
        raise UserError(
            f"{folder} is a folder that holds more than DICOM slices, and --overwrite is for files; "
            "choose another output"
        )
    if not overwrite and any(folder.iterdir()):
        raise UserError(f"{folder} holds slices already; choose another output, or say --overwrite")


def lifted_note(lifted: int, rays: int, floor: float, option: str) -> str:
    """Say how many of all rays counted less than the floor, and by which option it is set."""
    return (
        f"{lifted} of {rays} rays ({100 * lifted / rays:.3g} %) counted less than the floor of {floor:g} and were "
        f"lifted to it ({option})"
    )


def require_image_name(out: Path) -> None:
    """Refuse a name whose format holds no CT image.

    Raises:
        UserError: with names that do.
    """
    known = format_of_name(out)
    if (known is None and out.suffix) or known == "png":
        why = "pictures hold no Hounsfield units" if known else "its name does not tell how"
        raise UserError(f"Cannot write {out}: {why}; end it with .nii.gz, .tif, .mha, .npy or .dcm")


def ready_to_write(image: Image, out: Path) -> tuple[Image, str]:
    """Return an image as its file will hold it: DICOM takes whole Hounsfield units of 16 bits, others what there is.

    Returns:
        The image, and in words how it was rounded for that; empty where nothing was.

    Raises:
        UserError: attenuation that shall become DICOM.
    """
    if format_to_write(image, out) != "dicom":
        return image, ""
    if image.quantity != "HU":
        raise UserError("DICOM holds whole Hounsfield units; say --unit HU, or write .nii.gz")
    return storable(image)


def write_image(image: Image, out: Path, derivation: str, made_of: str = "") -> None:
    """Write an image where `require_free` found that it may be, in the stead of what was there.

    Slices of an earlier series go, and so does a sidecar that calls an earlier image of this name synthetic.

    Args:
        image: to be written.
        out: the file, or the folder of a series.
        derivation: how it was made.
        made_of: the mark of a synthetic image that it comes from; it is carried on, with a sidecar. "" where acquired.
    """
    out.parent.mkdir(parents=True, exist_ok=True)
    if image.spatial_dims == 3 and holds_slices_alone(out):
        shutil.rmtree(out)
    if not made_of:
        write(image, out, derivation)
        drop_sidecar(out)
        return
    whole = f"{NOTICE} {derivation}; of what was synthetic: {made_of.replace(NOTICE, '').strip()}"
    said = {"notice": NOTICE, "synthetic": True, "transmodal": transmodal.__version__, "derivation": whole}
    with marked(out, said | {"output": out.name, "quantity": image.quantity, "shape": list(image.shape)}):
        write(image, out, whole)


def told_rounding(out: Path, rounded: str) -> list[str]:
    """Return the note on what `ready_to_write` rounded, if anything."""
    return [f"{out.name} is DICOM, which stores {rounded}"] if rounded else []


def numbers_of(array: NDArray[Any]) -> str:
    """Return the numbers of values along each axis: "180×726"."""
    return "×".join(str(count) for count in array.shape)
