"""Files that are whole or absent: write beside the place, flush, rename."""

import hashlib
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from transmodal.errors import UserError


@contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """Give a temporary path in the same folder; rename it to `path` when the block ends without an error.

    A crash, a kill or a full disk leaves the old file or none, never half of one. The temporary name keeps the
    final suffixes, because several writers choose the format by them.

    Raises:
        UserError: the folder cannot be made or written.
    """
    path = Path(path)
    temporary = path.parent / f".{uuid.uuid4().hex[:8]}.{path.name}"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"Cannot make the folder {path.parent}: {error.strerror}; choose another place") from error
    try:
        yield temporary
        with temporary.open("rb") as written:
            os.fsync(written.fileno())
        temporary.replace(path)
    except PermissionError as error:
        raise UserError(f"Cannot write {path}: {error.strerror}; choose a folder you may write to") from error
    except OSError as error:
        if error.errno in (28, 30, 122):  # no space left, read-only file system, quota
            raise UserError(f"Cannot write {path}: {error.strerror}; free space or choose another place") from error
        raise
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: str | Path, text: str) -> Path:
    """Write a UTF-8 text file whole or not at all; return its path."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
    return Path(path)


def holds_slices_alone(folder: Path) -> bool:
    """Say whether a folder is there and holds DICOM slices (.dcm), if anything: a series that may be written anew."""
    return folder.is_dir() and all(file.suffix == ".dcm" and file.is_file() for file in folder.iterdir())


def sha256_of(path: str | Path) -> str:
    """Return the SHA-256 of a file's bytes in hexadecimal."""
    with Path(path).open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
