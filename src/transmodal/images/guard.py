"""What every reader needs around a decoder that it does not own: errors in one line, no noise, no bombs.

Decoders of damaged files raise whatever they happen to trip over, warn through `warnings` and `logging`, and allocate
what a header claims. `reading` is the one place where any exception becomes a `UserError`.
"""

import logging
import os
import sys
import threading
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from math import prod
from pathlib import Path
from typing import Any

from transmodal.errors import UserError

_NOISY_LOGGERS = ("nibabel", "nibabel.global", "pydicom", "tifffile", "PIL")
_lock = threading.Lock()
_stderr_lock = threading.RLock()
_readers_inside = 0
_undo: list[Any] = []

# DEFLATE cannot expand a byte to more than 1032 bytes (zlib's technical notes).
_MOST_DEFLATE_EXPANDS = 1032


@contextmanager
def quiet() -> Iterator[None]:
    """Drop warnings and log lines of the decoders.

    `warnings.catch_warnings` alone is not safe when several threads read: the last to leave would restore the
    silence of another. So the first to enter saves the state and the last to leave restores it.
    """
    global _readers_inside
    with _lock:
        _readers_inside += 1
        if _readers_inside == 1:
            caught = warnings.catch_warnings()
            caught.__enter__()
            warnings.simplefilter("ignore")
            loggers = [logging.getLogger(name) for name in _NOISY_LOGGERS]
            _undo[:] = [caught, [(logger, logger.level) for logger in loggers]]
            for logger in loggers:
                logger.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        with _lock:
            _readers_inside -= 1
            if _readers_inside == 0:
                caught, levels = _undo
                caught.__exit__(None, None, None)
                for logger, level in levels:
                    logger.setLevel(level)


@contextmanager
def quiet_stderr() -> Iterator[None]:
    """Send the process's standard error nowhere, for C++ decoders that print there what they also raise.

    It acts on the whole process, so it belongs around one decoding call and nothing longer.
    """
    with _stderr_lock:
        sys.stderr.flush()
        kept = os.dup(2)
        nowhere = os.open(os.devnull, os.O_WRONLY)
        try:
            os.dup2(nowhere, 2)
            yield
        finally:
            os.dup2(kept, 2)
            os.close(kept)
            os.close(nowhere)


@contextmanager
def reading(path: str | Path, format_name: str) -> Iterator[None]:
    """Turn whatever a decoder raises on a bad file into one line.

    Raises:
        UserError: the block raised anything; the message names the file, the format and the decoder's reason.
    """
    try:
        with quiet():
            yield
    except UserError:
        raise
    except MemoryError as error:
        raise UserError(
            f"Cannot read {path} as {format_name}: not enough memory; close other programs or crop the image"
        ) from error
    except Exception as error:
        raise UserError(
            f"Cannot read {path} as {format_name}: {_reason(error)}; "
            "the file may be damaged or incomplete: copy or export it again"
        ) from error


def _reason(error: Exception) -> str:
    """Return a decoder's message cut to a length that fits a line, or the exception's name when it has none."""
    text = " ".join(str(error).split()).rstrip(".;: ")
    if isinstance(error, KeyError) or not text:
        text = f"{type(error).__name__} {text}".strip()
    return text if len(text) <= 200 else text[:197] + "..."


def require_file(path: Path) -> None:
    """Raise a UserError unless `path` is a readable file that holds at least one byte."""
    try:
        size = path.stat().st_size
    except OSError as error:
        if path.is_symlink():
            raise UserError(f"{path} is a link to a file that does not exist; mend the link") from error
        raise UserError(f"Cannot find {path} ({error.strerror}); check the path") from error
    except ValueError as error:
        raise UserError(f"{str(path)!r} is no path that a file can have; check the path") from error
    if not path.is_file():
        raise UserError(f"{path} is not a file; name an image file")
    if size == 0:
        raise UserError(f"{path} is empty (0 bytes); copy or export it again")
    if not os.access(path, os.R_OK):
        raise UserError(f"Cannot read {path}: permission denied; change the file's permissions")


def require_believable_size(
    path: str | Path,
    shape: Sequence[int],
    bytes_per_value: float,
    stored_bytes: int,
    *,
    most_expansion: float | None = _MOST_DEFLATE_EXPANDS,
) -> None:
    """Refuse a header that claims no pixels, or more than the file or the machine can hold, before allocating.

    Args:
        path: the file, for the message.
        shape: what the header claims, channels included.
        bytes_per_value: bytes of one decoded value (an eighth for one bit).
        stored_bytes: bytes of the file that can hold pixels.
        most_expansion: decoded bytes that one stored byte can give at most: 1 for uncompressed data, 1032 for
            DEFLATE; None when the compression has no bound.

    Raises:
        UserError: with the reason.
    """
    size_text = "×".join(str(int(length)) for length in shape)
    if any(length <= 0 for length in shape) or not shape:
        raise UserError(f"{path} holds no pixels (its header says {size_text or 'no size'}); export it again")
    claimed = prod(int(length) for length in shape) * bytes_per_value
    if most_expansion is not None and claimed > stored_bytes * most_expansion + 64:
        raise UserError(
            f"{path} is incomplete or its header is wrong: {size_text} pixels need more than its "
            f"{stored_bytes} bytes; copy or export it again"
        )
    memory = _memory_of_this_machine()
    if claimed > memory / 2:
        raise UserError(
            f"{path} claims {size_text} pixels ({claimed / 2**30:.1f} GiB) and this machine has "
            f"{memory / 2**30:.1f} GiB of memory; crop or resample it first"
        )


def _memory_of_this_machine() -> float:
    import psutil

    return float(psutil.virtual_memory().total)
