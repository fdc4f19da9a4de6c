"""How scores and progress look in a terminal; shared by `evaluate` and `score`."""

from types import TracebackType

from rich import progress as bars
from rich.console import Console
from rich.table import Table
from rich.text import Text

from transmodal.evaluation.intervals import Summary
from transmodal.evaluation.report import interval_text, over, titled
from transmodal.evaluation.scores import Scores
from transmodal.evaluation.sets import describe_set_score
from transmodal.reporting.figures import plain_number


class Progress:
    """A progress bar on standard error; nothing where that is no terminal."""

    def __init__(self, name: str) -> None:
        console = Console(stderr=True)
        self._bar = bars.Progress(
            bars.TextColumn("{task.description}", markup=False),
            bars.BarColumn(),
            bars.MofNCompleteColumn(),
            bars.TimeRemainingColumn(),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self._task = self._bar.add_task(name, total=None)

    def __enter__(self) -> "Progress":
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def show(self, what: str, done: int, total: int) -> None:
        """Move the bar."""
        self._bar.update(self._task, description=what, completed=done, total=total)


def print_scores(scores: Scores, *, title: str) -> None:
    """Print each metric of each system, paired differences, set-level scores, and the policy beneath them."""
    console = Console(highlight=False)
    console.width = max(console.width, 100)
    metrics, systems = scores.policy.metrics, scores.systems
    console.print(Text(title, style="bold"))
    table = _table("", systems[0], *systems[1:])
    for metric in metrics:
        others = [plain(scores.summary_of(metric, system)) for system in systems[1:]]
        table.add_row(titled(metric, scores), with_interval(scores.summary_of(metric)), *others)
    console.print(table)
    intervals = ", 95 % intervals" if any(summary.ci95[0] is not None for summary in scores.summary.values()) else ""
    console.print(f"means over {over(scores)}{intervals}\n")
    if systems[1:]:
        table = _table(f"{systems[0]} minus", *systems[1:])
        for metric in metrics:
            summaries = [scores.difference(metric, systems[0], other) for other in systems[1:]]
            table.add_row(titled(metric, scores), *(with_interval(summary) for summary in summaries))
        console.print(table)
        console.print("paired differences\n")
    for metric, summary in scores.summary.items():
        if summary.left_out:
            console.print(f"{titled(metric, scores)}: infinite for {summary.left_out} cases, which are in no mean")
    for name, score in next(iter(scores.sets.values()), {}).items():
        console.print(Text(describe_set_score(name, score)))
    console.print(Text(scores.policy.describe()))


def plain(summary: Summary) -> str:
    """Return a mean for the terminal."""
    if summary.mean is None:
        return "∞" if summary.left_out else "—"
    return plain_number(summary.mean)


def with_interval(summary: Summary) -> str:
    """Return a mean and its interval for the terminal."""
    return plain(summary) + (f" ({interval_text(summary)})" if summary.ci95[0] is not None else "")


def _table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False)
    table.add_column(Text(columns[0]), no_wrap=True)
    for column in columns[1:]:
        table.add_column(Text(column), justify="right", no_wrap=True)
    return table
