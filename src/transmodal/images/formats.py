"""Reading and writing in one place: which file is what, and which module knows it.

A file is recognised by its content, never by its name, save for the few formats that have no mark of their own.
A written file's format follows from its suffix. To add a format: one module with `read`, `read_geometry` and, if it
can, `write`; one line in FORMATS; one rule in `_recognise`.
"""

import bz2
import gzip
import importlib
import re
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

import numpy as np

from transmodal.errors import UserError
from transmodal.images.geometry import Geometry
from transmodal.images.guard import require_file
from transmodal.images.image import Image


@dataclass(frozen=True)
class Format:
    """One way of keeping an image in a file.

    Attributes:
        name: what people call it.
        module: where `read(path)`, `read_geometry(path)` and, when suffixes are given, `write(image, path)` are.
        suffixes: the file names that `write` accepts; empty for a format that is only read.
        holds: what can be written without loss, for messages.
    """

    name: str
    module: str
    suffixes: tuple[str, ...] = ()
    holds: str = ""

    def load(self) -> ModuleType:
        """Import the module; its libraries are loaded only when a file needs them."""
        return importlib.import_module(self.module)


FORMATS: dict[str, Format] = {
    "png": Format("PNG", "transmodal.images.png", (".png",), "pictures of uint8 or uint16, up to RGB and alpha"),
    "jpeg": Format("JPEG", "transmodal.images.photograph"),
    "bmp": Format("BMP", "transmodal.images.photograph"),
    "tiff": Format("TIFF", "transmodal.images.tiff", (".tif", ".tiff"), "integers and floats, channels, pages"),
    "nifti": Format(
        "NIfTI",
        "transmodal.images.nifti",
        (".nii", ".nii.gz", ".hdr", ".img"),
        "integers and floats, channels, volumes with their affine",
    ),
    "dicom": Format("DICOM", "transmodal.images.dicom", (".dcm",), "numbers on 16 bits, volumes as a folder"),
    "metaimage": Format(
        "MetaImage", "transmodal.images.metaimage", (".mha", ".mhd"), "integers and floats, channels, volumes"
    ),
    "nrrd": Format("NRRD", "transmodal.images.metaimage", (".nrrd", ".nhdr"), "integers and floats, channels, volumes"),
    "minc": Format("MINC-2", "transmodal.images.metaimage"),
    "npy": Format("NumPy", "transmodal.images.numpy_array", (".npy",), "any numbers, geometry in a JSON beside it"),
}

# Recognised, so that the message can say what the file is and what to do with it.
_REFUSED = {
    "hdf5": "an HDF5 file (MATLAB or a data set); 'transmodal data unpack' makes images of stacked patches, others: "
    "save them as NIfTI or .npy",
    "zip": "a ZIP archive; unpack it first",
    "gif": "a GIF picture; save it as PNG",
    "webp": "a WebP picture; save it as PNG",
    "pdf": "a PDF document; export the image as PNG or TIFF",
    "tar": "a tar archive; unpack it first",
    "tractography": "a tractogram (streamlines), which holds no image; name an image file",
    "text": "a text file, whatever its name says; name an image file",
    "compressed": "a compressed file without an image inside; unpack it and look",
    "pickle": "a Python pickle, which is never opened because it can run code; save it as .npy",
    "ecat": "an ECAT scan; convert it to NIfTI",
    "jpeg2000": "a bare JPEG 2000 stream; save it as TIFF or PNG",
    "xml": "an XML document; name an image file",
}


def read(
    path: str | Path,
    *,
    spacing: float | Sequence[float] | None = None,
    quantity: str | None = None,
    series: str | None = None,
    allow_uneven: bool = False,
) -> Image:
    """Read an image file, or a folder that holds one DICOM series.

    Args:
        path: the file or folder. Its format is found from its content.
        spacing: pixel size in mm, one number or one for each spatial axis in array order. It replaces what the file
            says and keeps directions and origin; photographs need it to have a physical size.
        quantity: what the values mean; replaces what the format implies.
        series: SeriesInstanceUID, when a DICOM folder holds several series.
        allow_uneven: accept DICOM slices at uneven distances or with gantry tilt; the affine is then the mean one.

    Returns:
        The image, values rescaled as the file prescribes, never reduced to fewer bits.

    Raises:
        UserError: the file is missing, damaged, of an unknown format, or holds no image.
    """
    path = Path(path)
    if path.is_dir():
        options: dict[str, Any] = {"series": series, "allow_uneven": allow_uneven}
        image: Image = FORMATS["dicom"].load().read_series(path, **options)
    else:
        image = FORMATS[_format_of(path)].load().read(path)
    if spacing is not None:
        image = _with_spacing(image, spacing)
    return image if quantity is None else replace(image, quantity=quantity)


def read_geometry(path: str | Path) -> Geometry:
    """Read what an image file's header says, without decoding pixels.

    Args:
        path: a file, or a folder with one DICOM series.

    Returns:
        Shape, affine, dtype and channels as `read` would give them.

    Raises:
        UserError: the header cannot be read, or holds no image. A damaged pixel area is not seen.
    """
    path = Path(path)
    if path.is_dir():
        geometry: Geometry = FORMATS["dicom"].load().read_series_geometry(path)
    else:
        geometry = FORMATS[_format_of(path)].load().read_geometry(path)
    return geometry


def write(image: Image, path: str | Path, derivation: str | None = None) -> Path:
    """Write an image without changing a value; the suffix chooses the format.

    Args:
        image: what to write.
        path: the file; `.dcm` for a DICOM slice, a name without suffix for a volume as a folder of DICOM slices.
        derivation: how the image was made, said in the file: in DICOM's DerivationDescription, in NIfTI's description,
            in the note of other formats (for .npy in the JSON beside it).

    Returns:
        The path.

    Raises:
        UserError: the suffix is unknown, the format cannot hold these pixels exactly, or the place cannot be
            written.
    """
    path = Path(path)
    key = format_to_write(image, path)
    if key is None:
        known = ", ".join(suffix for each in FORMATS.values() for suffix in each.suffixes)
        raise UserError(f"Cannot tell from its name how to write {path}; end it with one of {known}")
    if image.pixels.size == 0:
        raise UserError(f"Cannot write {path}: the image has no pixels (shape {image.pixels.shape})")
    module = FORMATS[key].load()
    try:
        module.write(image, path, derivation)
    except OSError as error:
        raise UserError(f"Cannot write {path}: {error.strerror or error}; choose another place or name") from error
    return path


def is_image_file(path: str | Path) -> bool:
    """Say whether a file looks like an image that `read` knows, by its first bytes; never raises."""
    try:
        return recognise(Path(path)) in FORMATS
    except (UserError, OSError, ValueError):
        return False


def format_of_name(path: str | Path) -> str | None:
    """Return the key in FORMATS that a file name stands for, or None."""
    name = Path(path).name.lower()
    for key, each in FORMATS.items():
        if name.endswith(each.suffixes or ("\0",)):
            return key
    return None


def format_to_write(image: Image, path: str | Path) -> str | None:
    """Return the key in FORMATS of what `write` makes there: a volume whose name has no suffix is a DICOM folder."""
    path = Path(path)
    found = format_of_name(path)
    return "dicom" if found is None and not path.suffix and image.spatial_dims == 3 else found


def _format_of(path: Path) -> str:
    """Recognise a file that must be an image."""
    require_file(path)
    try:
        key = recognise(path)
    except OSError as error:
        raise UserError(f"Cannot read {path}: {error.strerror or error}; check the file") from error
    if key in FORMATS:
        return key
    if key in _REFUSED:
        raise UserError(f"{path} is {_REFUSED[key]}")
    known = ", ".join(each.name for each in FORMATS.values())
    raise UserError(f"{path} is no image in a known format ({known}); convert it to one of these")


_PACKED = re.compile(r"\.(gz|bz2)$", re.IGNORECASE)
# Digits after a dot belong to the name: DICOM files and folders are often called by their UID.
_SUFFIX = re.compile(r"(\.ome(?=\.tiff?$))?(\.[A-Za-z][A-Za-z0-9]{0,4})?$", re.IGNORECASE)


def stem_of(path: str | Path) -> str:
    """Return a file's name without its image suffixes: "T1" of "T1.nii.gz", "a.1" of "a.1.png"."""
    unpacked = _PACKED.sub("", Path(path).name)
    return _SUFFIX.sub("", unpacked) or unpacked


def recognise(path: Path) -> str:
    """Return a key of FORMATS, a key of the refused kinds, or "" for a file, by its content.

    Raises:
        OSError: the file cannot be opened.
    """
    with path.open("rb") as stream:
        start = stream.read(1024)
    if not start:
        return ""
    unpacked = _unpacked_start(start, path)
    if unpacked is None:
        return "compressed"
    return _recognise(unpacked, path.name.lower(), packed=unpacked is not start)


def _unpacked_start(start: bytes, path: Path) -> bytes | None:
    """Look inside gzip and bzip2; None when there is nothing to see."""
    openers: dict[bytes, Any] = {b"\x1f\x8b": gzip.open, b"BZh": bz2.open}
    for magic, opener in openers.items():
        if start.startswith(magic):
            try:
                with opener(path, "rb") as stream:
                    inside: bytes = stream.read(1024)
                return inside or None
            except (OSError, EOFError, zlib.error):
                return None
    return start


_MAGIC: tuple[tuple[bytes, str], ...] = (
    (b"\x89PNG\r\n\x1a\n", "png"),
    (b"\xff\xd8\xff", "jpeg"),
    (b"II*\0", "tiff"),
    (b"MM\0*", "tiff"),
    (b"II+\0", "tiff"),
    (b"MM\0+", "tiff"),
    (b"\x93NUMPY", "npy"),
    (b"NRRD0", "nrrd"),
    (b"CDF\x01", "nifti"),
    (b"CDF\x02", "nifti"),
    (b"\x89HDF\r\n\x1a\n", "hdf5"),
    (b"PK\x03\x04", "zip"),
    (b"GIF8", "gif"),
    (b"%PDF", "pdf"),
    (b"TRACK", "tractography"),
    (b"mrtrix tracks", "tractography"),
    (b"MATRIX7", "ecat"),
    (b"\0\0\0\x0cjP", "jpeg2000"),
    (b"\xff\x4f\xff\x51", "jpeg2000"),
    (b"<?xml", "xml"),
)


def _recognise(start: bytes, name: str, packed: bool) -> str:
    """Tell the format from the first kilobyte, and from the name only where the format has no mark."""
    if start[128:132] == b"DICM":
        return "dicom"
    if start.startswith(b"\x89HDF") and name.endswith(".mnc"):
        return "minc"
    for magic, key in _MAGIC:
        if start.startswith(magic):
            return key
    if start[:2] == b"BM" and len(start) > 26 and start[6:10] == b"\0\0\0\0":
        return "bmp"
    if start[:4] == b"RIFF" and start[8:12] == b"WEBP":
        return "webp"
    if start[257:262] == b"ustar":
        return "tar"
    if _is_nifti_or_analyze(start, name):
        return "nifti"
    if _is_dicom_without_preamble(start):
        return "dicom"
    if start[:2] in (b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05") and start[-1:]:
        return "pickle"
    return _recognise_text(start, name)


def _is_nifti_or_analyze(start: bytes, name: str) -> bool:
    """NIfTI-1 and -2 and Analyze begin with the size of their header, MGH with its version (names only as a help)."""
    if len(start) >= 348 and start[344:348] in (b"n+1\0", b"ni1\0"):
        return True
    sizes = (int.from_bytes(start[:4], "little"), int.from_bytes(start[:4], "big"))
    if 540 in sizes and start[4:7] in (b"n+2", b"ni2"):
        return True
    if 348 in sizes and len(start) >= 348:
        return True
    if name.endswith((".mgh", ".mgz", ".mgh.gz")):
        return True
    return name.endswith((".par", ".rec", ".head", ".brik", ".brik.gz", ".nii", ".nii.gz", ".img", ".hdr"))


def _is_dicom_without_preamble(start: bytes) -> bool:
    """A data set that begins at once with a file-meta (0002) or identifying (0008) element."""
    if len(start) < 12:
        return False
    orders: tuple[Literal["little", "big"], ...] = ("little", "big")
    for order in orders:
        group = int.from_bytes(start[:2], order)
        element = int.from_bytes(start[2:4], order)
        explicit = start[4:6].isalpha() and start[4:6].isupper()
        length = int.from_bytes(start[4:8], order)
        if group in (0x0002, 0x0008) and element < 0x2000 and (explicit or length < 1024):
            return True
    return False


def _recognise_text(start: bytes, name: str) -> str:
    """Formats with a header in text, and plain text."""
    try:
        text = start.decode("utf-8", errors="strict")
    except UnicodeDecodeError as error:
        text = start[: error.start].decode("utf-8") if error.start > 40 else ""
    keys = {line.split("=")[0].strip() for line in text.splitlines() if "=" in line}
    if "NDims" in keys or ("ObjectType" in keys and name.endswith((".mha", ".mhd"))):
        return "metaimage"
    whole = len(text) >= len(start) - 3
    return "text" if text and whole and (text.isprintable() or "\n" in text) and "\0" not in text else ""


def _with_spacing(image: Image, spacing: float | Sequence[float]) -> Image:
    """Replace the pixel size and keep directions and origin."""
    dims = image.spatial_dims
    wanted = np.atleast_1d(np.asarray(spacing, dtype=np.float64))
    if wanted.size == 1:
        wanted = np.repeat(wanted, dims)
    if wanted.shape != (dims,) or not np.isfinite(wanted).all() or (wanted <= 0).any():
        raise UserError(
            f"spacing {spacing} does not suit {image.name}; give one positive number or {dims} of them, in mm"
        )
    affine = image.affine.copy()
    affine[:3, :dims] *= wanted / np.asarray(image.spacing)
    if not image.has_physical_size and dims == 3:
        affine[:3, 3] = 0.0
    return replace(image, affine=affine, has_physical_size=True)
