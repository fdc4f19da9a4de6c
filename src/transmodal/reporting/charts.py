"""Charts of a report, each drawn for light and for dark pages: training curves, every case and subject, groups.

Colours are the Okabe–Ito set (see `figures`); systems are told apart by place and label too, never by colour alone.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

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
        axis = bare_axis(figure, theme)
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

    return for_both_themes(draw)


def group_chart(rows: Sequence[Row], *, axis_label: str, reference: float | None = None) -> Chart:
    """Show each group's subjects (rings) and its mean with interval; a line marks the mean over all.

    Args:
        rows: one a group, from left to right.
        axis_label: the metric with its unit.
        reference: the mean over all groups.
    """

    def draw(theme: Theme) -> Figure:
        figure = Figure(figsize=(8.6, 2.9), dpi=120)
        axis = bare_axis(figure, theme)
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

    return for_both_themes(draw)


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
            axis = bare_axis(figure, theme, (down, across, place + 1))
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

    return for_both_themes(draw)


@dataclass(frozen=True)
class RankGrid:
    """How often each system takes each rank: one square grid of a chart.

    Attributes:
        title: what was ranked.
        labels: systems from top to bottom.
        shares: systems × ranks, each row from 0 to 1 and summing to 1.
    """

    title: str
    labels: Sequence[str]
    shares: npt.NDArray[np.float64]


def paired_chart(
    labels: Sequence[str],
    subjects: npt.NDArray[np.float64],
    means: Sequence[tuple[float, float, float]],
    *,
    axis_label: str,
) -> Chart:
    """Show every subject as one line across the systems, with each system's mean and interval.

    Args:
        labels: the systems, from left to right.
        subjects: subjects × systems, each subject's mean; a value that is not finite breaks its line.
        means: (mean, low, high) of each system; NaN draws nothing.
        axis_label: the metric with its unit.
    """
    opacity = float(np.clip(12 / max(len(subjects), 1), 0.08, 0.7))

    def draw(theme: Theme) -> Figure:
        figure = Figure(figsize=(8.6, 3.6), dpi=120)
        axis = bare_axis(figure, theme)
        places = np.arange(len(labels))
        shown = np.where(np.isfinite(subjects), subjects, np.nan)
        for values in shown:
            axis.plot(places, values, color=theme.colours[0], linewidth=0.9, alpha=opacity, zorder=1)
        for place in places:
            axis.scatter(
                np.full(len(shown), place), shown[:, place], s=17, facecolors="none", edgecolors=theme.colours[0],
                linewidths=0.9, alpha=min(1.0, 2 * opacity), zorder=2,
            )  # fmt: skip
        for beside, (mean, low, high) in enumerate(means, 1):
            x = beside - 0.88  # a little to the right of the rings
            axis.plot([x] * 2, [low, high], color=theme.text, linewidth=2, solid_capstyle="butt", zorder=3)
            axis.plot([x], [mean], marker="D", color=theme.text, markersize=5, zorder=3)
        axis.set_xticks(places, [_wrapped(label) for label in labels])
        axis.set_xlim(-0.4, len(labels) - 0.6)
        axis.set_ylabel(axis_label, color=theme.faint, size=9)
        axis.grid(axis="y", color=theme.rule, linewidth=0.8)
        return figure

    return for_both_themes(draw)


def differences_chart(rows: Sequence[Row], *, axis_label: str, better: str) -> Chart:
    """Show each subject's paired difference (ring), and their mean with its interval (bar), a row a pair of systems.

    Args:
        rows: from top to bottom, one value a subject in `cases`; values that are not finite are not drawn.
        axis_label: the difference with its unit.
        better: on which side of zero the first system is better, "right" or "left".
    """

    def draw(theme: Theme) -> Figure:
        figure = Figure(figsize=(8.6, 0.95 + 0.52 * len(rows)), dpi=120)
        axis = bare_axis(figure, theme)
        jitter = np.random.default_rng(0)
        axis.axvline(0, color=theme.faint, linewidth=1.2, linestyle=(0, (4, 3)), zorder=0)
        for place, row in enumerate(rows):
            y = len(rows) - 1 - place
            values = _subject_means(row)
            colour = theme.colours[place % len(theme.colours)]
            axis.scatter(
                values, y + jitter.uniform(-0.22, 0.06, values.size), s=24, facecolors="none", edgecolors=colour,
                linewidths=1.1,
            )  # fmt: skip
            axis.plot([row.low, row.high], [y + 0.22] * 2, color=theme.text, linewidth=2, solid_capstyle="butt")
            axis.plot([row.mean], [y + 0.22], marker="D", color=theme.text, markersize=5)
        axis.set_yticks(range(len(rows)), [row.label for row in reversed(rows)])
        axis.set_ylim(-0.5, len(rows) - 0.4)
        arrow = "first better →" if better == "right" else "← first better"
        axis.set_xlabel(f"{axis_label}   ({arrow})", color=theme.faint, size=9)
        axis.grid(axis="x", color=theme.rule, linewidth=0.8)
        return figure

    return for_both_themes(draw)


def rank_chart(grids: Sequence[RankGrid]) -> Chart:
    """Show how often each system takes each rank when subjects are drawn again: darker is more often, in per cent.

    Args:
        grids: one a metric, three to a row; all of the same systems in any order.
    """
    across = min(3, len(grids))
    down = -(-len(grids) // across)
    systems = len(grids[0].labels)
    longest = max(len(label) for grid in grids for label in grid.labels)

    def draw(theme: Theme) -> Figure:
        figure = Figure(figsize=(8.6, down * (0.75 + 0.3 * systems)), dpi=120)
        for number, grid in enumerate(grids):
            axis = bare_axis(figure, theme, (down, across, number + 1))
            for row, shares in enumerate(grid.shares):
                for column, share in enumerate(shares):
                    box = (column + 0.53, row - 0.47)
                    axis.add_patch(Rectangle(box, 0.94, 0.94, facecolor=theme.rule, linewidth=0))
                    axis.add_patch(
                        Rectangle(box, 0.94, 0.94, facecolor=theme.colours[0], linewidth=0, alpha=float(share))
                    )
                    if share >= 0.005:
                        colour = "#ffffff" if share > 0.55 and theme is LIGHT else theme.text
                        colour = "#10151b" if share > 0.55 and theme is DARK else colour
                        axis.text(column + 1, row, f"{100 * share:.0f}", color=colour, size=8, ha="center", va="center")
            axis.set_xlim(0.45, systems + 0.55)
            axis.set_ylim(systems - 0.4, -0.6)
            axis.set_xticks(range(1, systems + 1))
            axis.set_yticks(range(systems), grid.labels, size=8.5 if longest < 20 else 7)
            axis.set_title(grid.title, color=theme.text, size=9, loc="left", parse_math=False)
        return figure

    return for_both_themes(draw)


def _wrapped(label: str) -> str:
    """Break a long label at a space, hyphen or slash near its middle."""
    if len(label) <= 14:
        return label
    breaks = [place for place, letter in enumerate(label[:-1]) if letter in " -_/"]
    if not breaks:
        return label
    middle = min(breaks, key=lambda place: abs(place - len(label) // 2))
    return label[: middle + 1].rstrip(" ") + "\n" + label[middle + 1 :]


def _subject_means(row: Row) -> npt.NDArray[np.float64]:
    finite = np.isfinite(row.cases)
    if not finite.any():
        return np.zeros(0)
    _, owner = np.unique(np.asarray(row.subjects, dtype=object)[finite].astype(str), return_inverse=True)
    return np.asarray(np.bincount(owner, row.cases[finite]) / np.bincount(owner), np.float64)


def bare_axis(figure: Figure, theme: Theme, place: tuple[int, int, int] = (1, 1, 1)) -> Any:
    """Add an axis without frame or background, in the colours of the page, at place (rows, columns, number)."""
    figure.set_layout_engine("constrained")
    axis = figure.add_subplot(*place)
    axis.set_facecolor("none")
    axis.tick_params(colors=theme.text, labelsize=8.5, length=0, pad=5)
    axis.set_axisbelow(True)
    for spine in axis.spines.values():
        spine.set_visible(False)
    return axis


def for_both_themes(draw: Callable[[Theme], Figure]) -> Chart:
    """Draw a chart twice, for light and for dark pages, on a transparent ground."""
    drawn = []
    for theme in (LIGHT, DARK):
        figure = draw(theme)
        figure.patch.set_alpha(0.0)
        for axis in figure.axes:  # names from a manifest are shown as they are, "$" included
            for label in (*axis.get_xticklabels(), *axis.get_yticklabels(), axis.xaxis.label, axis.yaxis.label):
                label.set_parse_math(False)
        drawn.append(png_bytes(figure))
    return Chart(*drawn)
