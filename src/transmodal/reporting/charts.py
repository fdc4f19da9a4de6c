"""Charts of a report, each drawn for light and for dark pages: training curves, every case and subject, groups.

Colours are the Okabe–Ito set (see `figures`); systems are told apart by place and label too, never by colour alone.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure

from transmodal.reporting.figures import plain_number, png_bytes

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
_DARK_COLOURS = ("#56B4E9", "#E8843C", "#2BC79A", "#DFA0C4", "#F0B93A", "#8FC9F0")


@dataclass(frozen=True)
class Theme:
    """Colours of a page."""

    text: str
    faint: str
    rule: str
    colours: tuple[str, ...]


LIGHT = Theme("#1c2430", "#5b6675", "#dfe4ea", COLOURS)
DARK = Theme("#e6eaf0", "#9aa6b5", "#303945", _DARK_COLOURS)


@dataclass(frozen=True)
class Chart:
    """One chart as PNG files for a light and a dark page."""

    light: bytes
    dark: bytes


@dataclass(frozen=True)
class Row:
    """Values of one system or group, ready to be drawn in a line.

    Attributes:
        label: its name.
        cases: one value a case.
        subjects: whose case it is, one a value.
        mean, low, high: the summary and its interval; NaN draws nothing.
    """

    label: str
    cases: npt.NDArray[np.float64]
    subjects: Sequence[str]
    mean: float
    low: float
    high: float


def distribution_chart(rows: Sequence[Row], *, axis_label: str) -> Chart:
    """Show every case (small), every subject's mean (ring) and the mean with its interval (bar), a row a system.

    Args:
        rows: from top to bottom; values that are not finite are not drawn.
        axis_label: the metric with its unit.
    """

    def draw(theme: Theme) -> Figure:
        figure = Figure(figsize=(8.6, 0.75 + 0.62 * len(rows)), dpi=120)
        axis = _bare_axis(figure, theme)
        jitter = np.random.default_rng(0)
        for place, row in enumerate(rows):
            colour = theme.colours[place % len(theme.colours)]
            y = len(rows) - 1 - place
            finite = np.isfinite(row.cases)
            spread = jitter.uniform(-0.26, 0.02, finite.sum())
            axis.scatter(row.cases[finite], y + spread, s=9, color=colour, alpha=0.6, linewidths=0)
            means = _subject_means(row)
            axis.scatter(
                means, np.full(means.size, y + 0.17), s=26, facecolors="none", edgecolors=colour, linewidths=1.1
            )
            axis.plot([row.low, row.high], [y + 0.34] * 2, color=theme.text, linewidth=1.6, solid_capstyle="butt")
            axis.plot([row.mean], [y + 0.34], marker="D", color=theme.text, markersize=4.5)
        axis.set_yticks(range(len(rows)), [row.label for row in reversed(rows)])
        axis.set_ylim(-0.5, len(rows) - 0.4)
        axis.set_xlabel(axis_label, color=theme.faint, size=9)
        axis.grid(axis="x", color=theme.rule, linewidth=0.8)
        return figure

    return _both(draw)


def group_chart(rows: Sequence[Row], *, axis_label: str, reference: float | None = None) -> Chart:
    """Show each group's subjects (rings) and its mean with interval; a line marks the mean over all.

    Args:
        rows: one a group, from left to right.
        axis_label: the metric with its unit.
        reference: the mean over all groups.
    """

    def draw(theme: Theme) -> Figure:
        figure = Figure(figsize=(8.6, 2.9), dpi=120)
        axis = _bare_axis(figure, theme)
        jitter = np.random.default_rng(0)
        if reference is not None:
            axis.axhline(reference, color=theme.faint, linewidth=1, linestyle=(0, (4, 3)), zorder=0)
        for place, row in enumerate(rows):
            means = _subject_means(row)
            x = place + jitter.uniform(-0.16, 0.16, means.size)
            axis.scatter(x, means, s=24, facecolors="none", edgecolors=theme.colours[0], linewidths=1.1, alpha=0.8)
            axis.plot([place + 0.3] * 2, [row.low, row.high], color=theme.text, linewidth=1.6, solid_capstyle="butt")
            axis.plot([place + 0.3], [row.mean], marker="D", color=theme.text, markersize=4.5)
        labels = [row.label.replace(" × ", "\n") for row in rows]
        axis.set_xticks(range(len(rows)), labels)
        axis.set_xlim(-0.6, len(rows) - 0.3)
        axis.set_ylabel(axis_label, color=theme.faint, size=9)
        axis.grid(axis="y", color=theme.rule, linewidth=0.8)
        return figure

    return _both(draw)


def curves_chart(columns: Mapping[str, Sequence[float]], *, x: Sequence[float], x_label: str = "epoch") -> Chart:
    """Draw training curves, each quantity on an axis of its own so that none hides another.

    Args:
        columns: name → one value for each of `x`; NaN where it was not measured.
        x: epochs.
        x_label: under the lowest row.
    """

    def draw(theme: Theme) -> Figure:
        count = len(columns)
        across = min(3, count)
        down = -(-count // across)
        figure = Figure(figsize=(8.6, 0.35 + 1.65 * down), dpi=120)
        for place, (name, values) in enumerate(columns.items()):
            axis = _bare_axis(figure, theme, (down, across, place + 1))
            y = np.asarray(values, float)
            known = np.isfinite(y)
            mark = "o" if known.sum() < 25 else ""
            axis.plot(
                np.asarray(x, float)[known], y[known], color=theme.colours[0], linewidth=1.5, marker=mark, markersize=3
            )
            axis.set_title(name, color=theme.text, size=9, loc="left", parse_math=False)
            axis.grid(color=theme.rule, linewidth=0.7)
            axis.locator_params(axis="x", nbins=5, integer=True)
            axis.locator_params(axis="y", nbins=4)
            axis.yaxis.set_major_formatter(lambda value, _: plain_number(value))
            if place >= count - across:
                axis.set_xlabel(x_label, color=theme.faint, size=8)
        return figure

    return _both(draw)


def _subject_means(row: Row) -> npt.NDArray[np.float64]:
    finite = np.isfinite(row.cases)
    if not finite.any():
        return np.zeros(0)
    _, owner = np.unique(np.asarray(row.subjects, dtype=object)[finite].astype(str), return_inverse=True)
    return np.asarray(np.bincount(owner, row.cases[finite]) / np.bincount(owner), np.float64)


def _bare_axis(figure: Figure, theme: Theme, place: tuple[int, int, int] = (1, 1, 1)) -> Any:
    figure.set_layout_engine("constrained")
    axis = figure.add_subplot(*place)
    axis.set_facecolor("none")
    axis.tick_params(colors=theme.text, labelsize=8.5, length=0, pad=5)
    axis.set_axisbelow(True)
    for spine in axis.spines.values():
        spine.set_visible(False)
    return axis


def _both(draw: Callable[[Theme], Figure]) -> Chart:
    drawn = []
    for theme in (LIGHT, DARK):
        figure = draw(theme)
        figure.patch.set_alpha(0.0)
        for axis in figure.axes:  # names from a manifest are shown as they are, "$" included
            for label in (*axis.get_xticklabels(), *axis.get_yticklabels(), axis.xaxis.label, axis.yaxis.label):
                label.set_parse_math(False)
        drawn.append(png_bytes(figure))
    return Chart(*drawn)
