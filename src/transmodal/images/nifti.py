"""NIfTI-1 and NIfTI-2, single files and pairs; and what nibabel reads besides: Analyze, MGH, MINC-1, PAR/REC, AFNI.

Source: the NIfTI-1 and NIfTI-2 header definitions (nifti1.h, nifti2.h). The array is kept in the file's own order with
its affine as it is: no reorientation, no resampling.
"""

import gzip
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import nibabel
import nibabel.filebasedimages
import nibabel.spatialimages
import numpy as np
import numpy.typing as npt

from transmodal.errors import UserError
from transmodal.images.files import atomic_path
from transmodal.images.geometry import Geometry
from transmodal.images.guard import quiet, reading, require_believable_size
from transmodal.images.image import Image, Source
from transmodal.images.note import NOTICE, Note

_MM_PER_UNIT = {"meter": 1000.0, "mm": 1.0, "micron": 1e-3, "unknown": 1.0}
_COMMENT = 6  # the extension code for plain text
_WRITABLE = {np.dtype(name) for name in ["u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8", "f4", "f8"]}
_FORMS = ("sform_code", "qform_code", "quatern_b", "quatern_c", "quatern_d", "qoffset_x", "qoffset_y", "qoffset_z",
          "srow_x", "srow_y", "srow_z")  # fmt: skip
_MOST_BYTES_BY_CONTENT = 2**32
_DESCRIPTION = 79  # bytes of a header's description
_NO_SIZE = b"transmodal: pixels have no physical size"


def read(path: Path) -> Image:
    """Read a picture, a volume, or a volume with a fourth axis of channels.

    Integers stay integers while the scale is trivial; scaled values become float32 (stored on up to 16 bits) or
    float64. Lengths are brought to mm. A fourth or fifth axis longer than 1 becomes the channels t0, t1, … .

    Raises:
        UserError: the file is damaged, incomplete, too large, or holds something other than an image.
    """
    with reading(path, "NIfTI"), _opened(path) as opened:
        geometry, note = _describe(opened, path)
        stored = np.asanyarray(opened.dataobj)
        if stored.dtype.fields:
            stored = np.stack([stored[name] for name in stored.dtype.names or ()], axis=-1)
        pixels = stored.reshape((*geometry.shape, *([len(geometry.channels)] if geometry.channels else [])))
        return Image(
            pixels.astype(geometry.dtype, copy=False),
            geometry.affine,
            geometry.channels,
            note.quantity if note else "intensity",
            geometry.has_physical_size,
            Source(path, "nifti", opened.header, _derivation(opened)),
        )


def read_geometry(path: Path) -> Geometry:
    """Read the header of anything `read` reads."""
    with reading(path, "NIfTI"), _opened(path) as opened:
        return _describe(opened, path)[0]


def write(image: Image, path: Path, derivation: str | None = None) -> None:
    """Write `.nii`, `.nii.gz`, or a pair `.hdr` and `.img`, without scaling.

    A NIfTI header in `image.source` gives its units, its codes for the spaces and its description. What the
    header cannot hold (channel names, quantity, an affine beyond single precision) stands in a text extension, as does
    `derivation`, of which the header's own description has place for the beginning.

    Raises:
        UserError: NIfTI cannot hold these pixels exactly.
    """
    pixels = image.pixels
    if pixels.dtype.newbyteorder("=") not in _WRITABLE:
        raise UserError(f"NIfTI cannot hold {pixels.dtype} values of {image.name}; convert them, or write .npy instead")
    if image.channels:
        shape = (*image.shape, *([1] * (3 - image.spatial_dims)), len(image.channels))
        pixels = pixels.reshape(shape)
    kept = image.source.header if isinstance(image.source.header, nibabel.Nifti1Header) else None
    is_second = isinstance(kept, nibabel.Nifti2Header) or max(pixels.shape) > 32767
    is_pair = path.suffix.lower() in (".hdr", ".img")
    kinds = {
        (False, False): nibabel.Nifti1Image,
        (False, True): nibabel.Nifti1Pair,
        (True, False): nibabel.Nifti2Image,
        (True, True): nibabel.Nifti2Pair,
    }
    with quiet():
        made = _with_header(kinds[is_second, is_pair], pixels, image, kept, derivation)
        _save(made, path, is_pair)


def _with_header(kind: Any, pixels: npt.NDArray[Any], image: Image, kept: Any, derivation: str | None) -> Any:
    """Return the nibabel image with units, codes and, where needed, the note."""
    unit = kept.get_xyzt_units()[0] if kept is not None else "mm"
    if _MM_PER_UNIT.get(unit) is None or unit == "unknown":
        unit = "mm"
    affine = image.affine.copy()
    affine[:3] /= _MM_PER_UNIT[unit]
    made = kind(pixels, affine, dtype=pixels.dtype)
    header = made.header
    header.set_data_dtype(pixels.dtype)
    header.set_xyzt_units(unit, "sec" if len(image.channels) > 1 else None)
    codes = (2, 0)
    if kept is not None:
        codes = (int(kept["sform_code"]), int(kept["qform_code"]))
        header["descrip"] = kept["descrip"]
        header["intent_code"], header["intent_name"] = kept["intent_code"], kept["intent_name"]
    # Without any code the affine would be lost, so one stays.
    made.set_sform(affine, codes[0] or (0 if codes[1] and _is_rigid(affine) else 2))
    if codes[1] and _is_rigid(affine):
        made.set_qform(affine, codes[1])
    if kept is not None and _is_same_grid(kept, image):
        # Other programs prefer the qform, or take codes 0 and 0 otherwise: both forms stay as they were.
        for name in _FORMS:
            header[name] = kept[name]
        header["pixdim"][:4] = kept["pixdim"][:4]
        made = kind(pixels, header.get_best_affine(), header, dtype=pixels.dtype)
        header = made.header
    if derivation:
        header["descrip"] = derivation.encode("ascii", "replace")[:_DESCRIPTION]
    if not image.has_physical_size:
        header["descrip"] = _NO_SIZE
    usual = tuple(f"t{index}" for index in range(len(image.channels)))
    exact = np.array_equal(_header_affine(made), image.affine)
    plain = image.channels == usual and image.quantity == "intensity" and image.has_physical_size
    if derivation or not (
        plain and exact and (len(image.channels) != 1) and (not image.channels or image.spatial_dims == 3)
    ):
        header.extensions.append(
            nibabel.nifti1.Nifti1Extension(_COMMENT, Note.of(image, derivation).text.encode("ascii"))
        )
    return made


def _is_same_grid(kept: Any, image: Image) -> bool:
    """Say whether the image still lies where the header of its source says, to single precision."""
    shape = (*image.shape, 1)[:3]
    if (*kept.get_data_shape()[:3], 1)[:3] != shape:
        return False
    affine = kept.get_best_affine()
    affine[:3] *= _MM_PER_UNIT.get(kept.get_xyzt_units()[0], 1.0)
    return bool(np.allclose(affine, image.affine, rtol=1e-6, atol=1e-6 * np.abs(affine).max()))


def _is_rigid(affine: npt.NDArray[np.float64]) -> bool:
    """Say whether a quaternion can hold the affine: its axes are perpendicular."""
    lengths = np.linalg.norm(affine[:3, :3], axis=0)
    if (lengths == 0).any():
        return False
    axes = affine[:3, :3] / lengths
    return bool(np.allclose(axes.T @ axes, np.eye(3), atol=1e-5))


def _save(made: Any, path: Path, is_pair: bool) -> None:
    """Write whole or not at all; of a pair, the header last."""
    if not is_pair:
        with atomic_path(path) as temporary:
            made.to_filename(temporary)
        return
    with tempfile.TemporaryDirectory() as folder:
        made.to_filename(Path(folder) / "pair.hdr")
        for suffix in (".img", ".hdr"):
            with atomic_path(path.with_suffix(suffix)) as temporary:
                shutil.copyfile(Path(folder) / f"pair{suffix}", temporary)


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """Open with nibabel, refuse what is no image, and close what nibabel leaves open (PAR/REC)."""
    path = _header_file(path)
    try:
        opened: Any = nibabel.load(path, mmap=False)
    except FileNotFoundError as error:
        raise UserError(f"{path} lacks the second file of its pair ({error.filename or error}); copy both") from error
    except (nibabel.filebasedimages.ImageFileError, OSError):
        opened = _open_by_content(path)
        if opened is None:
            raise
    try:
        if isinstance(opened, nibabel.Cifti2Image):
            raise UserError(f"{path} is CIFTI-2 (values on a surface or a matrix), not an image; map it to a volume")
        if not isinstance(opened, nibabel.spatialimages.SpatialImage):
            raise UserError(f"{path} holds no image ({type(opened).__name__}); name an image file")
        yield opened
    finally:
        stream = getattr(getattr(opened, "dataobj", None), "file_like", None)
        if stream is not None and hasattr(stream, "close"):
            stream.close()


def _header_file(path: Path) -> Path:
    """Return the header beside a PAR/REC or AFNI data file; any other path as it is."""
    name = path.name.lower()
    endings = {".rec": (".PAR", ".par"), ".brik.gz": (".HEAD", ".head"), ".brik": (".HEAD", ".head")}
    ending = next((each for each in endings if name.endswith(each)), None)
    if ending is None:
        return path
    stem = path.name[: -len(ending)]
    for each in endings[ending]:
        if path.with_name(stem + each).exists():
            return path.with_name(stem + each)
    raise UserError(f"{path} has no header file ({stem}{endings[ending][0]}) beside it; copy both")


def _open_by_content(path: Path) -> Any:
    """Open a NIfTI single file whose name hides what it is, packed or not; None when it is none."""
    with path.open("rb") as stream:
        packed = stream.read(2) == b"\x1f\x8b"
    with gzip.open(path) if packed else path.open("rb") as stream:
        data = stream.read(_MOST_BYTES_BY_CONTENT)
    for kind, magic, place in ((nibabel.Nifti1Image, b"n+1\0", 344), (nibabel.Nifti2Image, b"n+2\0", 4)):
        if data[place : place + 4] == magic:
            return kind.from_bytes(data)
    return None


def _stored_bytes(opened: Any) -> tuple[int, float | None]:
    """Return the size of the file that holds the pixels and how much it can expand."""
    holder = opened.file_map.get("image") or next(iter(opened.file_map.values()))
    if holder.filename is None:
        return len(holder.fileobj.getbuffer()), 1.0
    filename = Path(holder.filename)
    if not filename.exists():
        raise UserError(f"{filename} is missing, which holds the pixels; copy both files of the pair")
    name = filename.name.lower()
    expansion = 1032.0 if name.endswith((".gz", ".mgz")) else None if name.endswith((".bz2", ".zst")) else 1.0
    return filename.stat().st_size, expansion


def _header_affine(opened: Any) -> npt.NDArray[np.float64]:
    """Return the affine in mm, whatever unit the header says."""
    affine = np.array(opened.affine, dtype=np.float64)
    units = opened.header.get_xyzt_units()[0] if isinstance(opened.header, nibabel.Nifti1Header) else "mm"
    affine[:3] *= _MM_PER_UNIT.get(units, 1.0)
    return affine


def _describe(opened: Any, path: Path) -> tuple[Geometry, Note | None]:
    """Return the geometry after checking the claimed size, and the note while it fits."""
    shape = tuple(int(length) for length in opened.shape)
    stored_dtype = np.dtype(opened.get_data_dtype())
    size, expansion = _stored_bytes(opened)
    require_believable_size(path, shape, stored_dtype.itemsize, size, most_expansion=expansion)
    colours = tuple(stored_dtype.names) if stored_dtype.names else ()
    if not colours and (stored_dtype.kind not in "uif" or stored_dtype.itemsize > 8):
        raise UserError(f"{path} holds {stored_dtype} values; save their magnitude as floats")
    affine = _header_affine(opened)
    if affine.shape != (4, 4) or not np.isfinite(affine).all() or not np.linalg.norm(affine[:3, :3], axis=0).all():
        raise UserError(f"{path} has no usable affine (zero or not finite); mend its header")
    note = _note(opened)
    array_shape = shape
    if note is not None:
        plain = (*note.shape[:-1], *([1] * (3 - note.spatial_dims)), note.shape[-1]) if note.channels else note.shape
        close = np.allclose(note.affine, affine, rtol=1e-5, atol=1e-5 * np.abs(affine).max())
        if plain == array_shape and close and note.fits(note.shape):
            spatial = note.shape[: note.spatial_dims]
            dtype = _dtype(opened, stored_dtype)
            return (
                Geometry(path, "nifti", spatial, note.affine, dtype, note.channels, note.has_physical_size),
                note,
            )
    spatial, channels = _split_axes(shape, path)
    if colours:
        if channels:
            raise UserError(f"{path} holds colours over time; save one time point")
        channels = ("red", "green", "blue", "alpha")[: len(colours)]
        return Geometry(path, "nifti", spatial, affine, np.dtype(np.uint8), channels), None
    return Geometry(path, "nifti", spatial, affine, _dtype(opened, stored_dtype), channels), None


def _split_axes(shape: tuple[int, ...], path: Path) -> tuple[tuple[int, ...], tuple[str, ...]]:
    """Return the spatial shape and the names of the channels."""
    if len(shape) < 2:
        raise UserError(f"{path} has {len(shape)} axis; an image has 2 or 3")
    spatial, rest = shape[:3], [length for length in shape[3:] if length > 1]
    if len(rest) > 1:
        raise UserError(f"{path} has {len(shape)} axes ({'×'.join(map(str, shape))}); save one of its series")
    return spatial, tuple(f"t{index}" for index in range(rest[0])) if rest else ()


def _dtype(opened: Any, stored: np.dtype) -> np.dtype:
    """Return the dtype of the values after scaling."""
    stored = stored.newbyteorder("=")
    if not _is_scaled(opened):
        return stored
    if stored.kind == "f":
        return stored if stored.itemsize >= 4 else np.dtype(np.float32)
    return np.dtype(np.float32 if stored.itemsize <= 2 else np.float64)


def _is_scaled(opened: Any) -> bool:
    """Say whether stored values are multiplied or shifted."""
    if isinstance(opened, nibabel.Minc1Image):
        return True  # each slice by its own range
    if hasattr(opened.header, "get_data_scaling"):  # PAR/REC and AFNI: a scale for each slice or sub-brick
        scaling = opened.header.get_data_scaling()
        if scaling is None:
            return False
        if isinstance(scaling, tuple):
            return not (np.all(np.asarray(scaling[0]) == 1) and np.all(np.asarray(scaling[1]) == 0))
        return not np.all(np.asarray(scaling) == 1)
    proxy = opened.dataobj
    return getattr(proxy, "slope", 1) != 1 or getattr(proxy, "inter", 0) != 0


def _derivation(opened: Any) -> str:
    """Return how our note says that the image was made, also where another program has changed its grid since."""
    note = _note(opened)
    if note is not None or not isinstance(opened.header, nibabel.Nifti1Header):
        return note.derivation if note is not None else ""
    # Programs that drop the note often keep the description, which begins the same.
    described = opened.header["descrip"].tobytes().rstrip(b"\0").decode("ascii", "replace")
    return described if described.startswith(NOTICE) else ""


def _note(opened: Any) -> Note | None:
    """Return the text extension that our writer adds."""
    for extension in getattr(opened.header, "extensions", []):
        if extension.get_code() == _COMMENT:
            found = Note.parse(extension.get_content())
            if found:
                return found
    return None
