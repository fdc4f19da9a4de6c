"""MetaImage (.mha, .mhd), NRRD (.nrrd, .nhdr) and, read only, MINC-2, all through SimpleITK.

ITK counts x first and lives in LPS+: volumes become (x, y, z) arrays with a RAS+ affine; a 2-D file is a picture,
(row, column), x to the right and y downwards.
"""

import re
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from transmodal.errors import UserError
from transmodal.images.files import atomic_path
from transmodal.images.geometry import Geometry
from transmodal.images.guard import quiet_stderr, reading, require_believable_size
from transmodal.images.image import Image, Source
from transmodal.images.itk import SimpleITK
from transmodal.images.note import KEY, Note

_LPS_TO_RAS = np.array([-1.0, -1.0, 1.0])
_WRITABLE = {np.dtype(name) for name in ("u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8", "f4", "f8")}
_NRRD_EXPANSION: dict[str, float | None] = {"raw": 1.0, "gzip": 1032.0, "gz": 1032.0, "bzip2": None, "bz2": None}
_MOST_HEADER_BYTES = 1 << 16


@dataclass(frozen=True)
class _Header:
    """What the text of a header says that ITK does not tell: format, data files, compression, whether sizes stand."""

    format: str
    reader: str
    stored_bytes: int
    most_expansion: float | None
    says_spacing: bool


def read(path: Path) -> Image:
    """Read a MetaImage, NRRD or MINC-2 file; vectors and a fourth axis become channels.

    Raises:
        UserError: the file is damaged or incomplete, or its data file is missing or outside its folder.
    """
    with reading(path, "MetaImage, NRRD or MINC"):
        header = _inspect(path)
        geometry, quantity = _describe(path, header)
        with quiet_stderr():
            opened = SimpleITK.ReadImage(str(path), imageIO=header.reader)
        array, note = SimpleITK.GetArrayFromImage(opened), _note(opened)
        pixels = _from_itk(array, opened.GetDimension(), opened.GetNumberOfComponentsPerPixel())
        shape = (*geometry.shape, *([len(geometry.channels)] if geometry.channels else []))
        return Image(
            np.ascontiguousarray(pixels.reshape(shape)),
            geometry.affine,
            geometry.channels,
            quantity,
            geometry.has_physical_size,
            Source(path, header.format, derivation=note.derivation if note else ""),
        )


def read_geometry(path: Path) -> Geometry:
    """Read the header of a MetaImage, NRRD or MINC-2 file."""
    with reading(path, "MetaImage, NRRD or MINC"):
        return _describe(path, _inspect(path))[0]


def write(image: Image, path: Path, derivation: str | None = None) -> None:
    """Write one file (`.mha`, `.nrrd`) or a header with a data file beside it (`.mhd`, `.nhdr`), uncompressed.

    The exact affine, channel names and quantity stand in a header line of our own.

    Raises:
        UserError: the format cannot hold these pixels exactly.
    """
    dtype = image.pixels.dtype.newbyteorder("=")
    if dtype not in _WRITABLE:
        raise UserError(f"{path.suffix} cannot hold {dtype} values of {image.name}; convert them, or write .npy")
    axes = image.affine[:3, :3] / np.maximum(np.linalg.norm(image.affine[:3, :3], axis=0), 1e-12)
    if image.spatial_dims == 3 and not np.allclose(axes.T @ axes, np.eye(3), atol=1e-4):
        raise UserError(f"{path.suffix} cannot hold the sheared grid of {image.name}; write .nii.gz or resample it")
    made = _to_itk(image, dtype)
    made.SetMetaData(KEY, Note.of(image, derivation).text)
    if path.suffix.lower() in (".mha", ".nrrd"):
        with atomic_path(path) as temporary, reading(path, "an image to write"), quiet_stderr():
            SimpleITK.WriteImage(made, str(temporary))
        return
    with tempfile.TemporaryDirectory() as folder:
        with reading(path, "an image to write"), quiet_stderr():
            SimpleITK.WriteImage(made, str(Path(folder) / path.name))
        # The header comes last: until then the old pair, or nothing, is there.
        for written in sorted(Path(folder).iterdir(), key=lambda each: each.name == path.name):
            with atomic_path(path.with_name(written.name)) as temporary:
                temporary.write_bytes(written.read_bytes())


def _to_itk(image: Image, dtype: np.dtype) -> Any:
    """Return a SimpleITK image with the nearest geometry that ITK can hold."""
    pixels, dims = image.pixels.astype(dtype, copy=False), image.spatial_dims
    if dims == 3:
        pixels = np.transpose(pixels, (2, 1, 0, *range(3, pixels.ndim)))
    if len(image.channels) == 1:
        pixels = pixels[..., 0]
    made = SimpleITK.GetImageFromArray(np.ascontiguousarray(pixels), isVector=len(image.channels) > 1)
    spacing, direction, origin = _itk_geometry(image.affine, dims)
    made.SetSpacing(spacing.tolist())
    made.SetDirection(direction.ravel().tolist())
    made.SetOrigin(origin.tolist())
    return made


def _itk_geometry(affine: npt.NDArray[np.float64], dims: int) -> tuple[npt.NDArray[np.float64], ...]:
    """Return spacing, direction and origin as ITK can hold them; a 2-D image cannot say its place in space."""
    axes = [1, 0] if dims == 2 else [0, 1, 2]
    flip = np.ones(2) if dims == 2 else _LPS_TO_RAS
    spacing = np.linalg.norm(affine[:3, axes], axis=0)
    spacing = np.where(spacing > 0, spacing, 1.0)
    direction = flip[:, None] * affine[:dims, axes] / spacing
    # ITK refuses directions that are no rotation or reflection; a slice's direction out of the plane is lost.
    if not np.allclose(direction.T @ direction, np.eye(dims), atol=1e-4):
        direction = np.eye(dims)
    return spacing, direction, flip * affine[:dims, 3]


def _from_itk(array: npt.NDArray[Any], dims: int, components: int) -> npt.NDArray[Any]:
    """Bring (…, z, y, x[, vector]) to (x, y, z[, channel]), or keep (row, column[, channel])."""
    if dims == 2:
        return array
    if dims == 3:
        return np.transpose(array, (2, 1, 0, *range(3, array.ndim)))
    return np.transpose(array, (3, 2, 1, 0, *range(4, array.ndim)))


def _describe(path: Path, header: _Header) -> tuple[Geometry, str]:
    """Return geometry and quantity after checking what the header claims."""
    reader = SimpleITK.ImageFileReader()
    reader.SetFileName(str(path))
    reader.SetImageIO(header.reader)
    with quiet_stderr():
        reader.ReadImageInformation()
    dims, size = reader.GetDimension(), tuple(int(length) for length in reader.GetSize())
    components = reader.GetNumberOfComponents()
    if dims not in (2, 3, 4):
        raise UserError(f"{path} has {dims} axes; an image has 2 or 3")
    dtype = _dtype(reader.GetPixelID(), path)
    claimed = (*size, components)
    require_believable_size(path, claimed, dtype.itemsize, header.stored_bytes, most_expansion=header.most_expansion)
    affine = _affine(reader, dims)
    spatial = (size[1], size[0]) if dims == 2 else size[:3]
    repeats = size[3] if dims == 4 else 1
    channels = _channels(repeats, components)
    note = _note(reader)
    plain = (*spatial, len(channels)) if channels else spatial
    if note and note.fits(note.shape) and note.shape in (plain, (*plain, 1)) and _agrees(note, reader, dims):
        shape = note.shape[: note.spatial_dims]
        known = note.has_physical_size
        return Geometry(path, header.format, shape, note.affine, dtype, note.channels, known), note.quantity
    return Geometry(path, header.format, spatial, affine, dtype, channels, header.says_spacing), "intensity"


def _note(said: Any) -> Note | None:
    """Return our note in the metadata of a file's reader or of the image that was read."""
    return Note.parse(said.GetMetaData(KEY)) if said.HasMetaDataKey(KEY) else None


def _agrees(note: Note, reader: Any, dims: int) -> bool:
    """Say whether the header still holds the geometry that our writer gave it."""
    said = (reader.GetSpacing(), reader.GetDirection(), reader.GetOrigin())
    scale = float(np.abs(note.affine).max())
    return dims == note.spatial_dims and all(
        np.allclose(mine.ravel(), theirs, rtol=1e-4, atol=1e-6 * scale)
        for mine, theirs in zip(_itk_geometry(note.affine, dims), said, strict=True)
    )


def _affine(reader: Any, dims: int) -> npt.NDArray[np.float64]:
    """Return the RAS affine of a volume, or the picture affine of a 2-D file."""
    direction = np.array(reader.GetDirection()).reshape(dims, dims)
    spacing, origin = np.array(reader.GetSpacing()), np.array(reader.GetOrigin())
    columns = direction * spacing
    affine = np.eye(4)
    if dims == 2:
        affine[:2, :2] = columns[:, ::-1]
        affine[:2, 3] = origin
    else:
        flip = np.ones(3) if reader.GetImageIO() == "MINCImageIO" else _LPS_TO_RAS  # ITK leaves MINC's world as it is
        affine[:3, :3] = flip[:, None] * columns[:3, :3]
        affine[:3, 3] = flip * origin[:3]
    if not np.isfinite(affine).all() or not np.linalg.norm(affine[:3, :3], axis=0).all():
        raise ValueError("its geometry is not finite")
    return affine


def _channels(repeats: int, components: int) -> tuple[str, ...]:
    if repeats > 1 and components > 1:
        return tuple(f"t{repeat}.c{index}" for repeat in range(repeats) for index in range(components))
    if repeats > 1:
        return tuple(f"t{repeat}" for repeat in range(repeats))
    if components == 1:
        return ()
    if components in (3, 4):
        return ("red", "green", "blue", "alpha")[:components]
    return tuple(f"c{index}" for index in range(components))


def _dtype(pixel_id: int, path: Path) -> np.dtype:
    """Return the NumPy dtype of ITK's pixel kind."""
    name = SimpleITK.GetPixelIDValueAsString(pixel_id)
    found = re.search(r"(8|16|32|64)-bit (signed|unsigned) integer|(32|64)-bit float", name)
    if not found or "complex" in name:
        raise UserError(f"{path} holds {name} pixels; save their magnitude as floats")
    if found[3]:
        return np.dtype(f"f{int(found[3]) // 8}")
    return np.dtype(f"{'i' if found[2] == 'signed' else 'u'}{int(found[1]) // 8}")


def _inspect(path: Path) -> _Header:
    """Read the text of the header and find its data files."""
    with path.open("rb") as stream:
        start = stream.read(_MOST_HEADER_BYTES)
    size = path.stat().st_size
    if start.startswith(b"\x89HDF"):
        return _Header("minc", "MINCImageIO", size, 1032.0, True)
    if start.startswith(b"NRRD"):
        return _inspect_nrrd(path, start, size)
    return _inspect_metaimage(path, start, size)


def _inspect_metaimage(path: Path, start: bytes, size: int) -> _Header:
    before, _, after = start.partition(b"ElementDataFile")
    fields = _fields(before, b"=")
    name = after.partition(b"\n")[0].decode("utf-8", "replace").strip(" =\t\r")
    expansion: float | None = 1032.0 if fields.get("compresseddata", "").lower() == "true" else 1.0
    if not name:
        raise UserError(f"{path} is incomplete: its header names no data (ElementDataFile); copy it again")
    if name.split()[0].upper() == "LIST" or "%" in name:
        for line in after.splitlines()[1:]:
            _require_inside(path, line.decode("utf-8", "replace").strip())
        _require_inside(path, name.split()[0])
        size, expansion = 0, None
    elif name.upper() != "LOCAL":
        size = _size_of_data(path, name)
    says_spacing = "elementspacing" in fields or "elementsize" in fields
    return _Header("metaimage", "MetaImageIO", size, expansion, says_spacing)


def _inspect_nrrd(path: Path, start: bytes, size: int) -> _Header:
    text = re.split(rb"\r?\n\r?\n", start, maxsplit=1)[0]
    fields = _fields(text, b":")
    encoding = fields.get("encoding", "raw").lower()
    # Text takes at least two bytes for a value of at most eight.
    expansion = _NRRD_EXPANSION.get(encoding, 4.0)
    name = fields.get("data file") or fields.get("datafile")
    if name and (name.split()[0].upper() == "LIST" or "%" in name):
        for line in text.splitlines():
            if b":" not in line:
                _require_inside(path, line.decode("utf-8", "replace").strip())
        _require_inside(path, name.split()[0])
        size, expansion = 0, None
    elif name:
        size = _size_of_data(path, name)
    return _Header("nrrd", "NrrdImageIO", size, expansion, "spacings" in fields or "space directions" in fields)


def _fields(text: bytes, separator: bytes) -> dict[str, str]:
    """Return the header's `key = value` lines, keys in lower case."""
    found = {}
    for line in text.splitlines():
        key, mark, value = line.partition(separator)
        if mark:
            found[key.decode("utf-8", "replace").strip().lower()] = value.decode("utf-8", "replace").strip()
    return found


def _require_inside(path: Path, name: str) -> None:
    """Refuse a data file that a header places outside its folder."""
    if Path(name).is_absolute() or ".." in Path(name).parts:
        raise UserError(f"{path} points to data outside its folder ({name}); put both in one folder, mend the header")


def _size_of_data(path: Path, name: str) -> int:
    _require_inside(path, name)
    data = path.parent / name
    if not data.is_file():
        raise UserError(f"{path} lacks its data file {name}; copy both")
    return data.stat().st_size
