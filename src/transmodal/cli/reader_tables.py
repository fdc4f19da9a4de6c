"""How the analysis of a reader study looks in a terminal: tables where they fit, else a paragraph a row.

Nothing is cut: where a table is wider than the terminal, or than the 80 columns of a pipe, each of its rows is written
out with the names of its columns, and long names go on in the next line.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from rich.cells import cell_len
from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from transmodal.evaluation.readers.expert_weights import FittedWaem
from transmodal.evaluation.readers.resampling import Estimate
from transmodal.evaluation.readers.results import Analysis
from transmodal.evaluation.readers.wording import (
    DASH,
    estimate_text,
    interval_text,
    number,
    p_text,
    percent_interval,
    title_of,
)

_NARROWEST = 40
_BETWEEN = 2  # columns of a table


@dataclass
class Part:
    """One table.

    Attributes:
        columns: their names; the first names the rows.
        rows: as many cells each.
        notes: words → the rows that they are about, such as why there is no interval.
    """

    columns: Sequence[str]
    rows: list[Sequence[str]] = field(default_factory=list)
    notes: dict[str, list[str]] = field(default_factory=dict)

    def add(self, name: str, *cells: str, about: Iterable[Estimate | None] = ()) -> None:
        """Add a row; what the notes of `about` say is told beneath the table."""
        self.rows.append((name, *cells))
        for estimate in about:
            if estimate is not None and estimate.note and name not in self.notes.setdefault(estimate.note, []):
                self.notes[estimate.note].append(name)

    @property
    def width(self) -> int:
        """Columns of the terminal that the table needs."""
        lines = [self.columns, *self.rows]
        widest = [max(cell_len(line[place]) for line in lines) for place in range(len(self.columns))]
        return sum(widest) + _BETWEEN * (len(widest) - 1)


def print_analysis(analysis: Analysis) -> None:
    """Print the tables that matter most, and the notes."""
    console = Console(highlight=False)
    console.width = max(console.width, _NARROWEST)
    console.print(Text(f"{analysis.heading}, {analysis.who}", style="bold"))
    for part in _parts(analysis):
        _print(console, part)
        console.print()
    notes = list(analysis.notes)
    if isinstance(analysis.waem, str):
        notes += [f"WAEM {analysis.waem}"] if analysis.metrics else []
    else:
        notes += [f"WAEM: {note}" for note in (*analysis.waem.notes, *analysis.waem.waem.notes)]
    for note in notes:
        console.print(Text(note))


def _print(console: Console, part: Part) -> None:
    if part.width <= console.width:
        table = Table(box=None, pad_edge=False)
        for place, column in enumerate(part.columns):
            table.add_column(Text(column), justify="right" if place else "left", no_wrap=True)
        for row in part.rows:
            table.add_row(*(Text(cell) for cell in row))  # a reader may be called "[bold]"
        console.print(table)
    else:
        console.print(Text(part.columns[0], style="bold"))
        for name, *cells in part.rows:
            console.print(Text(name))
            told = "; ".join(f"{column}: {cell}" for column, cell in zip(part.columns[1:], cells, strict=True) if cell)
            console.print(Padding(Text(told), (0, 0, 0, 2)))
    for note, names in part.notes.items():
        whose = "" if len(names) == len(part.rows) else f"{', '.join(names)}: "
        console.print(Text(f"{whose}{note}"))


def _parts(analysis: Analysis) -> list[Part]:
    parts = [_skill(analysis)] if analysis.means else []
    for criterion, systems in analysis.ratings.items():
        part = Part((f"rating of {criterion}", "mean", "95 %"))
        for name, estimate in systems.items():
            part.add(name, estimate_text(estimate), _limits(estimate), about=[estimate])
        parts.append(part)
    if analysis.strengths:
        part = Part(("preference", "strength", "95 %", "won"))
        for each in sorted(analysis.strengths, key=lambda each: -(each.strength.value or 0.0)):
            strength = (estimate_text(each.strength), _limits(each.strength))
            part.add(each.system, *strength, f"{100 * each.share:.0f} %", about=[each.strength])
        parts.append(part)
    if analysis.agreement:
        part = Part(("agreement", "Fleiss κ", "95 %", "observed"))
        for criterion, found in analysis.agreement.items():
            cells = (estimate_text(found.fleiss), _limits(found.fleiss), estimate_text(found.observed))
            part.add(criterion or "all answers", *cells, about=[found.fleiss])
        parts.append(part)
    parts += [_metrics(analysis)] if analysis.metrics else []
    return [*parts, *([] if isinstance(analysis.waem, str) else [_weights(analysis.waem)])]


def _skill(analysis: Analysis) -> Part:
    part = Part(("reader", "right", "95 %", "p (chance)", "d′", "95 %"))
    for reader in analysis.readers:
        if reader.detection is not None and reader.detection.accuracy.share is not None:
            share, d_prime = reader.detection.accuracy, reader.detection.d_prime
            name = f"{reader.name} (simulated)" if reader.simulated else reader.name
            cells = (_percent(share.share), percent_interval(share.low, share.high), p_text(share.p))
            part.add(name, *cells, estimate_text(d_prime), _limits(d_prime), about=[d_prime])
    accuracy, d_prime = analysis.means["accuracy"], analysis.means["d_prime"]
    cells = (_percent(accuracy.value), percent_interval(accuracy.low, accuracy.high) or DASH, "")
    part.add("mean over readers", *cells, estimate_text(d_prime), _limits(d_prime), about=[accuracy, d_prime])
    return part


def _metrics(analysis: Analysis) -> Part:
    pairs = any(result.pairs for result in analysis.metrics)
    part = Part(("metric against readers", "choices foretold" if pairs else "τ_b, images", "95 %", "τ_b, systems"))
    for result in analysis.metrics:
        if result.criterion in ("", "mean") or len(analysis.answers.criteria) == 1:
            shown = result.pairs if pairs else result.images.kendall if result.images else None
            found = result.systems.kendall
            about = [shown, found if found.value is None else None]
            part.add(title_of(result.metric), estimate_text(shown), _limits(shown), estimate_text(found), about=about)
    return part


def _weights(waem: FittedWaem) -> Part:
    part = Part((waem.waem.title, "weight", "95 %"))
    for term, weight in waem.waem.weights.items():
        limits = " to ".join(number(limit) for limit in waem.intervals.get(term, ()))
        part.add(term, number(weight), limits or waem.without.get(term, DASH))
    return part


def _limits(estimate: Estimate | None) -> str:
    """Return an interval alone; why there is none stands beneath the table."""
    return DASH if estimate is None or estimate.low is None else interval_text(estimate)


def _percent(share: float | None) -> str:
    return DASH if share is None else f"{100 * share:.1f} %"
