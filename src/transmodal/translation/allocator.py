"""Keep freed memory in the process while a network runs on the CPU.

glibc gives blocks of more than a few MB back to the system as soon as they are freed, and the system clears every page
of the next one. With activations of tens of MB that is a sixth of a training step and up to half of a pass in float32.
Telling glibc to keep them changes no number. What is kept between others can raise the peak where blocks are of very
different sizes: a volume in one pass does without.
"""

import ctypes
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3  # names of parameters in <malloc.h>
KEPT, USUAL = 1 << 30, 32 << 20  # glibc's own threshold grows to 32 MB with what is freed

_users = 0
_turn = threading.Lock()


@contextmanager
def freed_memory_kept() -> Iterator[None]:
    """Keep freed memory while the block runs, then give it back; does nothing where there is no glibc.

    Blocks within blocks, and in several threads, keep it until the last has ended.
    """
    library = ctypes.CDLL(None) if sys.platform == "linux" else None
    if library is None or not hasattr(library, "mallopt") or not hasattr(library, "malloc_trim"):
        yield
        return
    _enter(library)
    try:
        yield
    finally:
        _leave(library)


def _enter(library: ctypes.CDLL) -> None:
    global _users
    with _turn:
        _users += 1
        if _users == 1:
            library.mallopt(MMAP_THRESHOLD, KEPT)
            library.mallopt(TRIM_THRESHOLD, KEPT)


def _leave(library: ctypes.CDLL) -> None:
    global _users
    with _turn:
        _users -= 1
        if _users == 0:
            library.mallopt(MMAP_THRESHOLD, USUAL)
            library.mallopt(TRIM_THRESHOLD, 2 * USUAL)
            library.malloc_trim(0)
