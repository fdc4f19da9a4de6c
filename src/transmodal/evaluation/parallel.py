"""Work on many things at once, in order, with few of them in memory.

Threads suffice where the work is long and leaves Python (volumes, networks). Thousands of small pictures spend most of
their time in Python itself, which one process does one thread at a time; they are worked on by processes. Those are
started afresh, never by a fork of this one, which may hold threads and locks of torch and numba.
"""

import multiprocessing
import os
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

from transmodal.errors import UserError

Item = TypeVar("Item")
Result = TypeVar("Result")

CHUNK = 8  # items that a process gets at a time: few enough to share the work evenly, enough to hide the passing on
MANY = 200  # small images; below, starting processes takes longer than they save
_AHEAD = 3  # chunks a worker that may wait for their turn
_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS", "NUMBA_NUM_THREADS")

_PRELOADED = ["transmodal.evaluation.folders", "transmodal.images.png"]  # once, for all workers

_work: Callable[[Any], Any] | None = None  # of a worker process; set once when it starts


def cores() -> int:
    """Return how many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return max(1, len(os.sched_getaffinity(0)))
    return os.cpu_count() or 1


def is_large_folder(folder: Path) -> bool:
    """Say, without looking into files, whether a folder holds so many that processes are worth their start."""
    try:
        with os.scandir(folder) as entries:
            return sum(1 for _ in islice(entries, MANY)) == MANY
    except OSError:
        return False


def start_early() -> None:
    """Let the process from which workers are made load what they need, while this one goes on; Windows has none."""
    if sys.platform != "win32":
        from multiprocessing import forkserver

        multiprocessing.get_context("forkserver").set_forkserver_preload(_PRELOADED)
        with _one_thread_each():
            forkserver.ensure_running()


def map_in_order(
    work: Callable[[Item], Result], items: Iterable[Item], *, workers: int, processes: bool = False
) -> Iterator[tuple[Item, Result]]:
    """Do the work on every item, several at a time.

    Args:
        work: a function; for processes one that can be pickled, which each process receives once.
        items: taken as they are needed, never more than a few ahead; for processes they must be picklable.
        workers: how many threads or processes; 1 works here and now.
        processes: processes instead of threads.

    Yields:
        Each item with its result, in the order of the items.

    Raises:
        UserError: a process was ended from outside, as a system short of memory does.
    """
    if workers <= 1:
        for item in items:
            yield item, work(item)
    elif processes:
        yield from _by_processes(work, items, workers)
    else:
        with ThreadPoolExecutor(workers) as pool:
            for chunk, results in _ahead(pool, lambda part: [work(part[0])], _chunks(items, 1), _AHEAD * workers):
                yield chunk[0], results[0]


def _by_processes(work: Callable[[Item], Result], items: Iterable[Item], workers: int) -> Iterator[tuple[Item, Result]]:
    context = multiprocessing.get_context("spawn" if sys.platform == "win32" else "forkserver")
    if sys.platform != "win32":
        context.set_forkserver_preload(_PRELOADED)
    with _one_thread_each():
        pool = ProcessPoolExecutor(workers, context, initializer=_start, initargs=(work,))
        try:
            for chunk, results in _ahead(pool, _work_on, _chunks(items, CHUNK), _AHEAD * workers):
                yield from zip(chunk, results, strict=True)
        except BrokenProcessPool as error:
            raise UserError(
                "A worker process was ended from outside, perhaps for want of memory; use fewer --workers"
            ) from error
        finally:
            pool.shutdown(cancel_futures=True)


def _ahead(
    pool: Executor,
    work: Callable[[list[Item]], list[Result]],
    chunks: Iterable[list[Item]],
    most: int,
) -> Iterator[tuple[list[Item], list[Result]]]:
    waiting: deque[tuple[list[Item], Future[list[Result]]]] = deque()
    for chunk in chunks:
        waiting.append((chunk, pool.submit(work, chunk)))
        if len(waiting) >= most:
            first, future = waiting.popleft()
            yield first, future.result()
    while waiting:
        first, future = waiting.popleft()
        yield first, future.result()


def _chunks(items: Iterable[Item], size: int) -> Iterator[list[Item]]:
    iterator = iter(items)
    while chunk := list(islice(iterator, size)):
        yield chunk


def _start(work: Callable[[Any], Any]) -> None:
    global _work
    _work = work
    import cv2

    cv2.setNumThreads(1)
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(1)


def _work_on(chunk: list[Any]) -> list[Any]:
    assert _work is not None
    return [_work(item) for item in chunk]


@contextmanager
def _one_thread_each() -> Iterator[None]:
    """Let libraries that processes load now use one thread each: the processes are what uses the cores."""
    before = {name: os.environ.get(name) for name in _THREADS}
    os.environ.update(dict.fromkeys(_THREADS, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
