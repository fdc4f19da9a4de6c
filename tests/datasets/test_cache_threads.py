"""Cached arrays read by several threads."""

import gc
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from transmodal.datasets.cache import _load
from transmodal.images import read


def deeper(levels: int, call: Callable[[], object]) -> None:
    """Call from so many frames deeper."""
    if levels:
        deeper(levels - 1, call)
    else:
        call()


@pytest.mark.parametrize("reader", [_load, read])
def test_headers_are_parsed_by_one_thread_at_a_time(reader: Callable[[Path], object], tmp_path: Path) -> None:
    """Python before 3.11.8 mixes up how deep two threads are that parse while garbage is collected."""
    np.save(tmp_path / "a.npy", np.zeros((3, 4)))
    failed: list[BaseException] = []

    def work(levels: int) -> None:
        for _ in range(150):
            try:
                deeper(levels, lambda: reader(tmp_path / "a.npy"))
            except BaseException as error:
                failed.append(error)
                return

    def pause(*_: object) -> None:
        time.sleep(1e-5)

    thresholds = gc.get_threshold()
    gc.callbacks.append(pause)
    gc.set_threshold(1)
    try:
        threads = [threading.Thread(target=work, args=(7 * number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        gc.set_threshold(*thresholds)
        gc.callbacks.remove(pause)
    assert not failed
