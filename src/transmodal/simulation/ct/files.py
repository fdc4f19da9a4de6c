"""What all commands of `transmodal ct` share about files: how images are read, what may be written, what was."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from transmodal.errors import UserError
from transmodal.images import Image, read
from transmodal.images.dicom_geometry import UnevenSlices
from transmodal.images.dicom_writer import storable
from transmodal.images.formats import format_of_name, format_to_write

_PAIRS = {".hdr": ".img", ".img": ".hdr"}  # one image in two files


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
        UserError: it is one of them, or lies in such a folder and exists.
    """
    written = [out, *([out.with_suffix(_PAIRS[out.suffix])] if out.suffix in _PAIRS else [])]
    for file in (file for file in written if file.exists()):
        for path in (path for path in inputs if path is not None and path.exists()):
            if file.samefile(path) or (path.is_dir() and file.parent.samefile(path)):
                raise UserError(f"{out} is the input itself, or a part of it; choose another output")


def require_free(overwrite: bool, *outputs: Path) -> None:
    """Refuse to write over files that are there.

    Args:
        overwrite: the user has said so.
        outputs: to be written; folders are left to the format's writer, which takes empty ones alone.

    Raises:
        UserError: one of them exists.
    """
    if overwrite:
        return
    for out in outputs:
        if out.is_file():
            raise UserError(f"{out} exists; choose another output, or say --overwrite")


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


def told_rounding(out: Path, rounded: str) -> list[str]:
    """Return the note on what `ready_to_write` rounded, if anything."""
    return [f"{out.name} is DICOM, which stores {rounded}"] if rounded else []


def numbers_of(array: NDArray[Any]) -> str:
    """Return the numbers of values along each axis: "180×726"."""
    return "×".join(str(count) for count in array.shape)
