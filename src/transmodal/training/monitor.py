"""What a person sees of a training: a progress bar with losses and time left, and one line an epoch that matters."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn


class Monitor:
    """Shows progress on standard error, bars only to a person at a terminal; `quiet` shows nothing."""

    def __init__(self, *, quiet: bool = False) -> None:
        self.console = Console(stderr=True, quiet=quiet)
        self.has_bar = self.console.is_terminal and not quiet
        self._progress: Progress | None = None
        self._task: TaskID | None = None
        self._epochs, self._started, self._first = 0, 0.0, 0.0

    def say(self, line: str) -> None:
        """Print one line."""
        self.console.print(line, highlight=False, markup=False)

    @contextmanager
    def counting(self, what: str, total: int) -> Iterator[Callable[[], None]]:
        """Show a bar over `total` items; yields the function to call after each."""
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        with Progress(*columns, console=self.console, transient=True, disable=not self.has_bar) as progress:
            task = progress.add_task(what, total=total)
            yield lambda: progress.advance(task)

    @contextmanager
    def training(self, epochs: int, batches: int) -> Iterator[None]:
        """Show the training bar: epoch, share done, losses, time left."""
        columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.percentage:>3.0f} %"),
                   TextColumn("{task.fields[left]}"), TextColumn("{task.fields[losses]}"))  # fmt: skip
        self._epochs, self._started, self._first = epochs, time.monotonic(), -1.0
        with Progress(*columns, console=self.console, transient=True, disable=not self.has_bar) as progress:
            self._progress = progress
            self._task = progress.add_task("training", total=1.0, left="", losses="")
            yield
        self._progress = None

    def step(self, epoch: int, batch: int, share: float, parts: dict[str, float]) -> None:
        """Move the training bar."""
        if self._progress is None or self._task is None:
            return
        if self._first < 0:
            self._first, self._started = share, time.monotonic()
        gone, done = time.monotonic() - self._started, share - self._first
        left = f"{_duration(gone / done * (1 - share))} left" if done > 0 else ""
        losses = " ".join(f"{name} {value:.3g}" for name, value in parts.items() if name.endswith("_loss")
                          or name == "g_l1")  # fmt: skip
        self._progress.update(
            self._task,
            completed=min(share, 1.0),
            description=f"epoch {epoch + 1}/{self._epochs}, batch {batch}",
            left=left,
            losses=losses,
        )

    def epoch(self, row: dict[str, Any]) -> None:
        """Print an epoch that was validated."""
        scores = [
            f"{name.removeprefix('validation_')} {value:.4g}"
            for name, value in row.items()
            if name.startswith("validation_") and value is not None
        ]
        if scores:
            losses = [f"{name} {value:.3g}" for name, value in row.items() if name.startswith(("g_", "d_loss"))]
            self.say(f"epoch {row['epoch']:g}, {_duration(row['seconds'])}: {', '.join(losses)}; "
                     f"validation {', '.join(scores)}")  # fmt: skip


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
