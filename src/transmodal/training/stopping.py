"""Ctrl-C and a cluster's SIGTERM as a wish to stop, which a training follows where it can be resumed."""

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def stop_signals_to(ask: Callable[[], None]) -> Iterator[None]:
    """Have a function called on each SIGINT and SIGTERM; outside the main thread the caller handles them."""

    def handle(number: int, frame: Any) -> None:
        ask()

    try:
        earlier = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    except ValueError:  # not in the main thread
        earlier = {}
    try:
        yield
    finally:
        for number, handler in earlier.items():
            signal.signal(number, handler)
