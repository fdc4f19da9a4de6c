"""PNG pictures, 8 and 16 bits, grey or colour, with their physical pixel size.

Source: W3C, Portable Network Graphics (PNG) Specification, third edition. Pillow decodes, except 16-bit colour, which
it would reduce to 8 bits: that is OpenCV's. The encoder is ours, because neither library writes 16-bit grey with
alpha, nor the pixel size of 16-bit colour.
"""

import io
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import PIL.Image
import PIL.ImageOps

from transmodal.errors import UserError
from transmodal.images.files import atomic_path
from transmodal.images.geometry import Geometry
from transmodal.images.guard import quiet_stderr, reading, require_believable_size
from transmodal.images.image import Image, Source, picture_affine
from transmodal.images.note import KEY, Note

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_CHANNELS: dict[int, tuple[str, ...]] = {
    1: (),
    2: ("grey", "alpha"),
    3: ("red", "green", "blue"),
    4: ("red", "green", "blue", "alpha"),
}
_COLOUR_TYPE = {1: 0, 2: 4, 3: 2, 4: 6}
# 72 and 96 dots per inch stand in files whose programs had nothing to say; they measure a screen, not a mouse.
_SCREEN_DENSITIES = {2834, 2835, 3779, 3780}
_MOST_HEADER_BYTES = 1 << 16
_PILLOW_REFUSES_ABOVE = 2 * 89_478_485


@dataclass
class _Header:
    rows: int
    columns: int
    bits: int
    colour_type: int
    has_transparency: bool = False
    density: tuple[int, int] | None = None  # pixels per metre along (row, column)
    note: Note | None = None

    @property
    def channel_count(self) -> int:
        if self.colour_type == 3:
            return 4 if self.has_transparency else 3
        return {0: 1, 2: 3, 4: 2, 6: 4}[self.colour_type]

    @property
    def dtype(self) -> np.dtype:
        return np.dtype(np.uint16 if self.bits == 16 else np.uint8)


def read(path: Path) -> Image:
    """Read a PNG: (row, column) or (row, column, channel), uint8 or uint16.

    A palette is replaced by its colours; fewer than 8 bits are stretched to 0…255; alpha stays a channel. The pixel
    size comes from the file's pHYs, unless that is a screen's 72 or 96 dots per inch.

    Raises:
        UserError: the file is damaged, incomplete or too large.
    """
    with reading(path, "PNG"):
        data = path.read_bytes()
        header = _scan(data, path)
        shape = (header.rows, header.columns, header.channel_count)
        require_believable_size(path, shape, header.bits / 8 if header.colour_type != 3 else 0.125, len(data))
        pixels = _decode(data, header)
        geometry, quantity = _geometry(path, header)
        pixels = pixels.reshape((*geometry.shape, *([len(geometry.channels)] if geometry.channels else [])))
        source = Source(path, "png", derivation=header.note.derivation if header.note else "")
        return Image(pixels, geometry.affine, geometry.channels, quantity, geometry.has_physical_size, source)


def read_geometry(path: Path) -> Geometry:
    """Read the chunks before the pixels."""
    with reading(path, "PNG"), path.open("rb") as stream:
        start = stream.read(_MOST_HEADER_BYTES)
        # Large colour profiles or metadata may stand before the pixels.
        whole = start if b"IDAT" in start else start + stream.read()
        return _geometry(path, _scan(whole, path, stop_at_pixels=True))[0]


def write(image: Image, path: Path, derivation: str | None = None) -> None:
    """Write a picture of uint8 or uint16; pixel size as pHYs, the exact affine and quantity in a text chunk.

    Raises:
        UserError: PNG cannot hold these pixels exactly.
    """
    pixels = image.pixels
    count = pixels.shape[-1] if image.channels else 1
    if image.spatial_dims != 2 or pixels.dtype not in (np.uint8, np.uint16) or count not in _COLOUR_TYPE:
        raise UserError(
            f"PNG cannot hold {image.name} exactly ({pixels.dtype}, shape {pixels.shape}): it holds uint8 or "
            f"uint16 pictures of 1 to 4 channels; write {path.name} as .tif, .nii.gz, .mha or .npy instead"
        )
    rows, columns = image.shape
    bits = pixels.dtype.itemsize * 8
    chunks = [(b"IHDR", struct.pack(">IIBBBBB", columns, rows, bits, _COLOUR_TYPE[count], 0, 0, 0))]
    if image.has_physical_size:
        row_density, column_density = (round(1000 / length) for length in image.spacing)
        if 0 < row_density < 2**31 and 0 < column_density < 2**31:
            chunks.append((b"pHYs", struct.pack(">IIB", column_density, row_density, 1)))
    chunks.append((b"tEXt", KEY.encode() + b"\0" + Note.of(image, derivation).text.encode("ascii")))
    chunks.append((b"IDAT", zlib.compress(_filtered(pixels), 1)))
    chunks.append((b"IEND", b""))
    with atomic_path(path) as temporary, temporary.open("wb") as stream:
        stream.write(_SIGNATURE)
        for kind, body in chunks:
            stream.write(struct.pack(">I", len(body)) + kind + body)
            stream.write(struct.pack(">I", zlib.crc32(kind + body)))


def _filtered(pixels: npt.NDArray[Any]) -> bytes:
    """Return the scan lines with the filter Sub or Up before each, whichever makes the line's bytes smaller."""
    rows = pixels.shape[0]
    lines = np.ascontiguousarray(pixels.astype(pixels.dtype.newbyteorder(">"), copy=False))
    flat = lines.reshape(rows, -1).view(np.uint8)
    step = pixels.dtype.itemsize * (pixels.shape[2] if pixels.ndim == 3 else 1)
    sub, up = flat.copy(), flat.copy()
    sub[:, step:] -= flat[:, :-step]
    up[1:] -= flat[:-1]
    magnitude = [np.abs(line.view(np.int8).astype(np.int16)).sum(1, dtype=np.int64) for line in (sub, up)]
    takes_up = magnitude[1] < magnitude[0]
    result = np.empty((rows, flat.shape[1] + 1), np.uint8)
    result[:, 0] = np.where(takes_up, 2, 1)
    result[:, 1:] = np.where(takes_up[:, None], up, sub)
    return result.tobytes()


def _scan(data: bytes, path: Path, stop_at_pixels: bool = False) -> _Header:
    """Walk through the chunks, check their sums and gather what they say."""
    if data[:8] != _SIGNATURE:
        raise UserError(f"{path} does not begin as a PNG; copy or export it again")
    header: _Header | None = None
    position, ended = 8, False
    while position + 12 <= len(data):
        (length,) = struct.unpack_from(">I", data, position)
        kind = data[position + 4 : position + 8]
        if kind == b"IDAT" and stop_at_pixels and header is not None:
            return header
        body = data[position + 8 : position + 8 + length]
        stored_sum = data[position + 8 + length : position + 12 + length]
        if len(stored_sum) < 4:
            break
        if struct.unpack(">I", stored_sum)[0] != zlib.crc32(body, zlib.crc32(kind)):
            raise UserError(f"{path} is damaged (a wrong check sum in its {kind!r}); copy or export it again")
        position += 12 + length
        if header is None:
            header = _parse_start(kind, body, path)
        else:
            _note_chunk(header, kind, body)
        if kind == b"IEND":
            ended = True
            break
    if header is None or not ended:
        raise UserError(f"{path} is incomplete: the PNG ends too early; copy or export it again")
    return header


def _parse_start(kind: bytes, body: bytes, path: Path) -> _Header:
    """Read IHDR."""
    if kind != b"IHDR" or len(body) != 13:
        raise UserError(f"{path} is damaged: a PNG begins with IHDR; copy or export it again")
    columns, rows, bits, colour_type = struct.unpack_from(">IIBB", body)
    if colour_type not in (0, 2, 3, 4, 6) or bits not in (1, 2, 4, 8, 16):
        raise UserError(f"{path} claims PNG colour type {colour_type} with {bits} bits; export it again")
    return _Header(rows, columns, bits, colour_type)


def _note_chunk(header: _Header, kind: bytes, body: bytes) -> None:
    """Gather pixel size, our note and whether the palette has transparent entries."""
    if kind == b"pHYs" and len(body) == 9:
        column_density, row_density, unit = struct.unpack(">IIB", body)
        if unit == 1 and column_density and row_density:
            header.density = (row_density, column_density)
    elif kind == b"tEXt" and body.startswith(KEY.encode() + b"\0"):
        header.note = Note.parse(body[len(KEY) + 1 :])
    elif kind == b"tRNS":
        header.has_transparency = True


def _decode(data: bytes, header: _Header) -> npt.NDArray[Any]:
    """Return (row, column) or (row, column, channel), uint8 or uint16."""
    colour_16_bit = header.bits == 16 and header.colour_type in (2, 4, 6)
    if not colour_16_bit and header.rows * header.columns <= _PILLOW_REFUSES_ABOVE:
        with PIL.Image.open(io.BytesIO(data), formats=["PNG"]) as opened:
            opened.load()
            if opened.mode == "P":
                picture = opened.convert("RGBA" if "transparency" in opened.info else "RGB")
            else:
                picture = opened.convert("L") if opened.mode == "1" else opened
            return np.array(picture).astype(header.dtype, copy=False)
    with quiet_stderr():
        pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if pixels is None or pixels.shape[:2] != (header.rows, header.columns) or pixels.dtype != header.dtype:
        raise ValueError("its pixels cannot be decoded")
    if pixels.ndim == 2:
        return np.ascontiguousarray(pixels)
    order = [2, 1, 0, 3][: pixels.shape[2]]
    if header.colour_type == 4:
        order = [0, 3]
    elif header.colour_type == 2:
        order = [2, 1, 0]
    return np.ascontiguousarray(pixels[:, :, order])


def _geometry(path: Path, header: _Header) -> tuple[Geometry, str]:
    """Return the geometry and the quantity, by our note while it fits the pixel size in pHYs, else by pHYs."""
    spatial = (header.rows, header.columns)
    channels = _CHANNELS[header.channel_count]
    note = header.note
    shape = (*spatial, header.channel_count)
    if note and (note.shape == shape or (note.shape == spatial and not channels)) and note.fits(note.shape, (2,)):
        spacing = np.linalg.norm(note.affine[:3, :2], axis=0)
        densities = tuple(round(1000 / length) if length > 0 else 0 for length in spacing)
        unsaid = header.density is None and (not note.has_physical_size or min(densities) == 0)
        if unsaid or densities == header.density:
            known = note.has_physical_size
            geometry = Geometry(path, "png", spatial, note.affine, header.dtype, note.channels, known)
            return geometry, note.quantity
    density = header.density
    known = density is not None and not set(density) <= _SCREEN_DENSITIES
    pixel_size = (1000 / density[0], 1000 / density[1]) if density and known else (1.0, 1.0)
    affine = picture_affine(pixel_size)
    return Geometry(path, "png", spatial, affine, header.dtype, channels, known), "intensity"
