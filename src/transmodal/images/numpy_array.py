"""NumPy's .npy files, with the geometry in a JSON file beside them (`name.npy.json`)."""

import threading
from pathlib import Path

import numpy as np

from transmodal.errors import UserError
from transmodal.images.files import atomic_path, write_text
from transmodal.images.geometry import Geometry
from transmodal.images.guard import reading, require_believable_size
from transmodal.images.image import Image, Source
from transmodal.images.note import Note

_RGB = ("red", "green", "blue", "alpha")
PARSING = threading.Lock()
"""Held while a header is parsed: Python before 3.11.8 may fail where two threads do so (CPython issue 106905)."""


def read(path: Path) -> Image:
    """Read an array; nothing pickled is ever loaded.

    Without a sidecar, two axes are a picture, three a volume (a colour picture for uint8 or uint16 with a last axis
    of 3 or 4), four a volume with channels; the pixel size is then unknown.

    Raises:
        UserError: the file is damaged, holds objects, text or complex numbers, or its sidecar does not belong to it.
    """
    geometry, note = _read_header(path)
    with reading(path, "a NumPy array"):
        with PARSING:
            pixels = np.load(path, allow_pickle=False)
        pixels = np.ascontiguousarray(pixels, dtype=geometry.dtype)
        source = Source(path, "npy", derivation=note.derivation if note else "")
        quantity = note.quantity if note else "intensity"
        return Image(pixels, geometry.affine, geometry.channels, quantity, geometry.has_physical_size, source)


def read_geometry(path: Path) -> Geometry:
    """Read the header of an array and its sidecar."""
    return _read_header(path)[0]


def write(image: Image, path: Path, derivation: str | None = None) -> None:
    """Write the array, and the sidecar unless the geometry and meaning are what `read` would assume.

    Raises:
        UserError: the pixels are no plain numbers.
    """
    if image.pixels.dtype.kind not in "buif":
        raise UserError(f"Cannot write {path}: {image.pixels.dtype} values are no plain numbers; convert them")
    sidecar = _sidecar(path)
    channels = _channels_without_sidecar(image.pixels.shape, image.pixels.dtype)
    plain = (
        not derivation and not image.has_physical_size and image.quantity == "intensity" and image.channels == channels
    )
    with atomic_path(path) as temporary:
        with temporary.open("wb") as stream:
            np.save(stream, image.pixels, allow_pickle=False)
        if plain and np.array_equal(image.affine, np.eye(4)):
            sidecar.unlink(missing_ok=True)
        else:
            write_text(sidecar, Note.of(image, derivation).text + "\n")


def _sidecar(path: Path) -> Path:
    return path.with_name(path.name + ".json")


def _channels_without_sidecar(shape: tuple[int, ...], dtype: np.dtype) -> tuple[str, ...]:
    """Guess as documented in `read`."""
    if len(shape) == 3 and shape[2] in (3, 4) and dtype in (np.uint8, np.uint16):
        return _RGB[: shape[2]]
    return tuple(f"c{index}" for index in range(shape[3])) if len(shape) == 4 else ()


def _read_header(path: Path) -> tuple[Geometry, Note | None]:
    """Return the geometry and the sidecar's note, checked against the file's size."""
    with reading(path, "a NumPy array"), path.open("rb") as stream:
        version = np.lib.format.read_magic(stream)
        reader = {
            (1, 0): np.lib.format.read_array_header_1_0,
            (2, 0): np.lib.format.read_array_header_2_0,
        }.get(version)
        if reader is None:
            raise UserError(f"{path} has .npy version {version}; save it again as plain numbers")
        with PARSING:
            shape, _, dtype = reader(stream)
        if dtype.kind not in "buif" or dtype.hasobject:
            raise UserError(f"{path} holds {dtype} values, not plain numbers; save it as integers or floats")
        stored = path.stat().st_size - stream.tell()
        if len(shape) < 2 or len(shape) > 4:
            raise UserError(f"{path} has {len(shape)} axes; an image has 2 or 3, and perhaps one of channels")
        require_believable_size(path, shape, dtype.itemsize, stored, most_expansion=1)
        if int(np.prod(shape)) * dtype.itemsize > stored:
            raise UserError(f"{path} is incomplete; copy or export it again")
    dtype = dtype.newbyteorder("=")
    sidecar = _sidecar(path)
    if not sidecar.exists():
        channels = _channels_without_sidecar(shape, dtype)
        spatial = shape[: len(shape) - bool(channels)]
        return Geometry(path, "npy", spatial, np.eye(4), dtype, channels, False), None
    with reading(sidecar, "the geometry of an array"):
        note = Note.parse(sidecar.read_bytes())
    if note is None or not note.fits(shape):
        raise UserError(f"{sidecar} does not describe {path.name} (shape {shape}); remove it or write both anew")
    spatial = shape[: note.spatial_dims]
    geometry = Geometry(path, "npy", spatial, note.affine, dtype, note.channels, note.has_physical_size)
    return geometry, note
