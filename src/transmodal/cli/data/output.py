"""What the data commands share in speaking: results on standard output, progress on standard error."""

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import typer

from transmodal.errors import UserError


@contextmanager
def progress_bar(what: str) -> Iterator[Callable[[int, int], None]]:
    """Show a bar with the time left on standard error; give the function to call with (done, total)."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    console = Console(stderr=True)
    columns = (TextColumn(what), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task(what, total=None)

        def update(done: int, total: int) -> None:
            progress.update(task, completed=done, total=total)

        yield update


def print_table(heading: Sequence[str], rows: Iterable[Sequence[Any]], *, title: str | None = None) -> None:
    """Print a table on standard output; numbers stand right, text from files is never taken as markup."""
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    rows = [list(row) for row in rows]
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    for position, name in enumerate(heading):
        numbers = bool(rows) and all(isinstance(row[position], int | float) for row in rows)
        table.add_column(name, justify="right" if numbers else "left", overflow="fold")
    for row in rows:
        table.add_row(*(Text(_shown(cell)) for cell in row))
    console = Console(soft_wrap=False)
    if not console.is_terminal:
        console = Console(width=160)
    console.print(table)


def print_json(content: Any) -> None:
    """Print JSON on standard output."""
    typer.echo(json.dumps(content, indent=2, ensure_ascii=False))


def print_list(title: str, lines: Sequence[str], *, limit: int = 10) -> None:
    """Print a short list under a title, and how many more there are; nothing when it is empty."""
    if not lines:
        return
    typer.echo(f"{title}:")
    for line in lines[:limit]:
        typer.echo(f"  {line}")
    if len(lines) > limit:
        typer.echo(f"  … and {len(lines) - limit} more (--json lists all)")


def counted(number: int, noun: str) -> str:
    """Return "1 image", "2 images"."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def words(option: str, text: str | None) -> list[str]:
    """Split the comma-separated value of an option.

    Raises:
        UserError: a part is blank.
    """
    if text is None:
        return []
    parts = [part.strip() for part in text.split(",")]
    if not all(parts):
        raise UserError(f"{option} {text!r} has a blank part; separate names with single commas")
    return parts


def _shown(cell: Any) -> str:
    return f"{cell:.3f}" if isinstance(cell, float) else str(cell)
