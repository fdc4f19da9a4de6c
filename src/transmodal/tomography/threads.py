"""Compiled loops on several cores, with plain threads around kernels that release the interpreter's lock.

numba's own parallel loops end the process when a forked data-loading worker enters one (GNU OpenMP), or when two
threads do so at once (its work queue). Threads that live for one call do neither, and every kernel here gives the
same bits however its work was cut.
"""

import multiprocessing
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from numba import config

_WORTH_A_THREAD = 2_000_000  # interpolations, about 2 ms: below, starting threads costs as much as they save


def threads() -> int:
    """Return how many threads a kernel may use: NUMBA_NUM_THREADS, by default the cores; one in a worker process."""
    # The workers of a DataLoader are as many as there are cores already; torch keeps each to one thread too.
    return 1 if multiprocessing.current_process().daemon else int(config.NUMBA_NUM_THREADS)


def share(work: Callable[[int, int], None], total: int, chunk: int, interpolations: float) -> None:
    """Do the work on [0, total) in pieces, several at a time.

    Args:
        work: takes where a piece begins and ends; must write nothing that another piece touches.
        total: how much there is.
        chunk: the largest piece.
        interpolations: of all pieces together, by which threads are worth their start or not.
    """
    pieces = [(start, min(start + chunk, total)) for start in range(0, total, chunk)]
    workers = min(threads(), len(pieces), max(1, int(interpolations / _WORTH_A_THREAD)))
    if workers <= 1:
        for start, stop in pieces:
            work(start, stop)
        return
    with ThreadPoolExecutor(workers) as pool:
        for done in [pool.submit(work, start, stop) for start, stop in pieces]:
            done.result()
