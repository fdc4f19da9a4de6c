"""A title and a comment in an MP4 file itself, where players and archives show them.

OpenCV writes films without words about them. They go into moov/udta/meta/ilst, as QuickTime and iTunes have it
(QuickTime File Format, user data; ISO/IEC 14496-12, 8.10 and 8.11). The pictures are not moved: a moov that is not the
last box becomes free space, and a new one is appended.
"""

import struct
from pathlib import Path

from transmodal.errors import UserError

_TITLE, _COMMENT, _TOOL = b"\xa9nam", b"\xa9cmt", b"\xa9too"
_TEXT = 1  # UTF-8, of the well-known types of a data box


def write_comment(path: Path, title: str, comment: str, tool: str) -> None:
    """Put words into an MP4 file in place of those that it has.

    Args:
        path: the film; changed in place.
        title: what it is.
        comment: how it was made.
        tool: what made it.

    Raises:
        UserError: it is no MP4 file.
    """
    with path.open("r+b") as file:
        content = file.read()
        boxes = _boxes(content, 0, len(content))
        if b"moov" not in [kind for kind, _, _ in boxes]:
            raise UserError(f"{path} is no MP4 file with a moov box; write the film again, or a .gif")
        begin, end = next((begin, end) for kind, begin, end in boxes if kind == b"moov")
        inner = _boxes(content, begin + 8, end)
        kept = b"".join(content[first:last] for kind, first, last in inner if kind != b"udta")
        made = _box(b"moov", kept + _words(title, comment, tool))
        if end == boxes[-1][2]:
            file.seek(begin)
            file.truncate()
        else:
            file.seek(begin + 4)
            file.write(b"free")
            file.seek(0, 2)
        file.write(made)


def read_comment(path: Path) -> str:
    """Return the comment of an MP4 file; "" where it has none."""
    content = path.read_bytes()
    places = [(0, len(content))]
    for kind, header in ((b"moov", 8), (b"udta", 8), (b"meta", 12), (b"ilst", 8), (_COMMENT, 8), (b"data", 16)):
        places = [
            (begin + header, end)
            for first, last in places
            for found, begin, end in _boxes(content, first, last)
            if found == kind
        ]
    return content[slice(*places[0])].decode("utf-8", "replace") if places else ""


def _words(title: str, comment: str, tool: str) -> bytes:
    handler = _box(b"hdlr", bytes(8) + b"mdirappl" + bytes(9))
    items = b"".join(
        _box(kind, _box(b"data", struct.pack(">II", _TEXT, 0) + text.encode()))
        for kind, text in ((_TITLE, title), (_COMMENT, comment), (_TOOL, tool))
    )
    return _box(b"udta", _box(b"meta", bytes(4) + handler + _box(b"ilst", items)))


def _box(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I4s", 8 + len(content), kind) + content


def _boxes(content: bytes, begin: int, end: int) -> list[tuple[bytes, int, int]]:
    """Return (kind, begin, end) of the boxes that lie one after another in a part of a file."""
    found = []
    while begin + 8 <= end:
        length, kind = struct.unpack_from(">I4s", content, begin)
        if length == 1 and begin + 16 <= end:
            (length,) = struct.unpack_from(">Q", content, begin + 8)
        last = end if length == 0 else begin + length
        if not begin + 8 <= last <= end:
            break
        found.append((kind, begin, last))
        begin = last
    return found
