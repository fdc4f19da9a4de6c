"""What becomes of freed memory while a network runs on the CPU: kept for speed, or given back for a bound.

glibc gives blocks of more than a few MB back to the system as soon as they are freed, and the system clears every page
of the next one. With activations of tens of MB that is a sixth of a training step and up to half of a pass in float32.
Telling glibc to keep them changes no number. What is kept between others can raise the peak where blocks are of very
different sizes: a volume in one pass does without.

Where a bound is asked for, the opposite is told: left alone, glibc comes to keep blocks of up to 32 MB, which lie
between others, and a process that has done much before then takes more than what its tensors count.
"""

import ctypes
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3  # names of parameters in <malloc.h>
KEPT, USUAL = 1 << 30, 32 << 20  # glibc's own threshold grows to 32 MB with what is freed
GIVEN_BACK = 1 << 20  # smaller blocks are not worth a call of the system each

_keepers = _givers = 0
_turn = threading.Lock()


@contextmanager
def freed_memory_kept() -> Iterator[None]:
    """Keep freed memory while the block runs, then give it back; does nothing where there is no glibc.

    Blocks within blocks, and in several threads, keep it until the last has ended.
    """
    with _told(keepers=1):
        yield


@contextmanager
def freed_memory_given_back() -> Iterator[None]:
    """Give freed blocks of 1 MB and more back at once while the block runs; does nothing where there is no glibc.

    It goes before `freed_memory_kept`, in whatever thread that runs: a bound is a promise, speed is not.
    """
    with _told(givers=1):
        yield


def give_back_freed() -> None:
    """Give memory that is free already back to the system; does nothing where there is no glibc."""
    library = _glibc()
    if library is not None:
        library.malloc_trim(0)


def _glibc() -> ctypes.CDLL | None:
    library = ctypes.CDLL(None) if sys.platform == "linux" else None
    found = library is not None and hasattr(library, "mallopt") and hasattr(library, "malloc_trim")
    return library if found else None


@contextmanager
def _told(keepers: int = 0, givers: int = 0) -> Iterator[None]:
    library = _glibc()
    if library is None:
        yield
        return
    _tell(library, keepers, givers)
    try:
        yield
    finally:
        _tell(library, -keepers, -givers)


def _tell(library: ctypes.CDLL, keepers: int, givers: int) -> None:
    global _keepers, _givers
    with _turn:
        before = _threshold()
        _keepers, _givers = _keepers + keepers, _givers + givers
        now = _threshold()
        if now == before:
            return
        library.mallopt(MMAP_THRESHOLD, now)
        library.mallopt(TRIM_THRESHOLD, 2 * now if now == USUAL else now)
        if now < before:
            library.malloc_trim(0)


def _threshold() -> int:
    """Return the size in bytes from which freed blocks are given back."""
    if _givers:
        return GIVEN_BACK
    return KEPT if _keepers else USUAL
