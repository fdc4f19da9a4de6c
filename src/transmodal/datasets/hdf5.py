"""Arrays out of an HDF5 file, as far as data sets of patches need it: plain arrays of numbers, stored in one piece.

Source: the HDF5 file format specification, version 1.1 as h5py and MATLAB write it by default (superblock 0, groups by
symbol tables, object headers of version 1). What is compressed, cut into chunks or written in the newest form is
refused with the remedy; nothing of the file is run.
"""

import struct
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from transmodal.errors import UserError

_SIGNATURE = b"\x89HDF\r\n\x1a\n"
_DATASPACE, _DATATYPE, _LAYOUT, _CONTINUATION = 0x01, 0x03, 0x08, 0x10
_REMEDY = "write it again in one piece: h5py's create_dataset without chunks and compression"
_MOST_NODES = 10_000


def read_arrays(path: str | Path) -> dict[str, npt.NDArray[Any]]:
    """Return name → array of the data sets in the file's root group, mapped into memory and read-only.

    Raises:
        UserError: the file is missing, no HDF5, damaged, or of a form that is not read here.
    """
    path = Path(path)
    try:
        return _File(path).arrays()
    except OSError as error:
        raise UserError(f"Cannot read {path}: {error.strerror or error}; check the file") from error
    except (struct.error, ValueError, IndexError, UnicodeDecodeError) as error:
        raise UserError(f"{path} is damaged, or no HDF5 file of the usual form: {error}; copy it again") from error


class _File:
    """One file, of which only the parts that are asked for are read."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.bytes = np.memmap(path, np.uint8, "r") if path.stat().st_size else np.zeros(0, np.uint8)
        if bytes(self.bytes[:8]) != _SIGNATURE:
            raise UserError(f"{path} is no HDF5 file; name one that ends in .h5")
        version, offsets, lengths = int(self.bytes[8]), int(self.bytes[13]), int(self.bytes[14])
        if version > 1 or (offsets, lengths) != (8, 8):
            raise UserError(f"{path} is an HDF5 file of another form (superblock {version}); {_REMEDY}")
        self.root = 56 + 4 * version  # where the root group's entry stands

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        tree, heap = self._numbers("<QQ", self.root + 24)
        if self._numbers("<I", self.root + 16)[0] != 1:
            raise UserError(f"{self.path} keeps its groups in another form; {_REMEDY}")
        names = self._numbers("<Q", heap + 24)[0]
        found = {}
        for name_at, header in self._entries(tree):
            array = self._array(header)
            if array is not None:
                found[self._text(names + name_at)] = array
        return found

    def _entries(self, tree: int) -> list[tuple[int, int]]:
        """Return (offset of the name, address of the header) of each member of a group, by its tree."""
        entries, waiting, seen = [], [tree], set[int]()
        while waiting:
            at = waiting.pop(0)
            if at in seen or len(seen) > _MOST_NODES:
                raise ValueError("its table of contents runs in circles")
            seen.add(at)
            kind = bytes(self.bytes[at : at + 4])
            if kind == b"TREE":
                count = self._numbers("<H", at + 6)[0]
                waiting += [self._numbers("<Q", at + 32 + 16 * place)[0] for place in range(count)]
            elif kind == b"SNOD":
                count = self._numbers("<H", at + 6)[0]
                entries += [self._numbers("<QQ", at + 8 + 40 * place) for place in range(count)]
            else:
                raise ValueError(f"no table of contents at byte {at}")
        return [(name, header) for name, header in entries]

    def _array(self, header: int) -> npt.NDArray[Any] | None:
        """Return the array of an object; None of groups."""
        messages = self._messages(header)
        if not {_DATASPACE, _DATATYPE, _LAYOUT} <= set(messages):
            return None
        shape = self._shape(messages[_DATASPACE])
        dtype = self._dtype(messages[_DATATYPE])
        address, stored = self._place(messages[_LAYOUT])
        size = int(np.prod(shape, dtype=object)) * dtype.itemsize
        if size > stored or address + size > len(self.bytes):
            raise ValueError(f"an array of {'×'.join(map(str, shape))} is not all there")
        return np.ndarray(shape, dtype, self.bytes[address : address + size].data)

    def _messages(self, header: int) -> dict[int, int]:
        """Return type → address of the first message of each type in an object's header."""
        version, _, count, _, length = self._numbers("<BBHII", header)
        if version != 1:
            raise UserError(f"{self.path} keeps its objects in another form; {_REMEDY}")
        found: dict[int, int] = {}
        blocks = [(header + 16, length)]
        for start, length in blocks:
            at = start
            while at + 8 <= start + length and count > 0:
                kind, size = self._numbers("<HH", at)
                found.setdefault(kind, at + 8)
                if kind == _CONTINUATION and len(blocks) < _MOST_NODES:
                    blocks.append(self._numbers("<QQ", at + 8))  # type: ignore[arg-type]
                at, count = at + 8 + size, count - 1
        return found

    def _shape(self, at: int) -> tuple[int, ...]:
        version, rank = int(self.bytes[at]), int(self.bytes[at + 1])
        return self._numbers(f"<{rank}Q", at + (8 if version == 1 else 4))

    def _dtype(self, at: int) -> np.dtype[Any]:
        kind, flags, size = int(self.bytes[at]) & 15, int(self.bytes[at + 1]), self._numbers("<I", at + 4)[0]
        order = ">" if flags & 1 else "<"
        if kind == 0 and size in (1, 2, 4, 8):
            return np.dtype(f"{order}{'i' if flags & 8 else 'u'}{size}")
        if kind == 1 and size in (2, 4, 8):
            return np.dtype(f"{order}f{size}")
        raise UserError(f"{self.path} holds something else than plain numbers; keep arrays of numbers only")

    def _place(self, at: int) -> tuple[int, int]:
        """Return address and bytes of an array's data."""
        version, layout = int(self.bytes[at]), int(self.bytes[at + 1])
        if version != 3 or layout != 1:
            raise UserError(f"{self.path} holds arrays that are compressed or in chunks; {_REMEDY}")
        address, size = self._numbers("<QQ", at + 2)
        return address, size

    def _numbers(self, form: str, at: int) -> tuple[int, ...]:
        return struct.unpack_from(form, self.bytes[at : at + struct.calcsize(form)].tobytes())

    def _text(self, at: int) -> str:
        text = self.bytes[at : at + 4096].tobytes()
        return text[: text.index(b"\0")].decode("utf-8")
