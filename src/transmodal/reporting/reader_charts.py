"""Charts of a reader study, for light and for dark pages: estimates with intervals, ratings, preferences."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from matplotlib.colors import LinearSegmentedColormap, to_rgb
from matplotlib.figure import Figure

from transmodal.reporting.charts import DARK, Chart, Theme, bare_axis, for_both_themes

_WORST_TO_BEST_LIGHT = ("#a83a00", "#e6b48a", "#d5dae1", "#8ab8de", "#0060a0")
_WORST_TO_BEST_DARK = ("#e8843c", "#8f5a35", "#4a5462", "#3a7fb5", "#6cbcf0")


@dataclass(frozen=True)
class IntervalRow:
    """One estimate in a chart.

    Attributes:
        label: on the left.
        value, low, high: NaN or None draws nothing; infinite limits end at the axis.
        group: rows of one group have one colour.
    """

    label: str
    value: float | None
    low: float | None = None
    high: float | None = None
    group: int = 0


def interval_chart(
    rows: Sequence[IntervalRow],
    *,
    axis_label: str,
    reference: float | None = None,
    reference_label: str = "",
    limits: tuple[float, float] | None = None,
) -> Chart:
    """Draw estimates with their intervals under each other, and a line that they are read against.

    Args:
        rows: from top to bottom.
        axis_label: what is estimated.
        reference: where the line stands, such as chance.
        reference_label: its name.
        limits: of the axis; None fits them.
    """

    def draw(theme: Theme) -> Figure:
        figure = Figure(figsize=(8.6, 0.85 + 0.34 * len(rows)), dpi=120)
        axis = bare_axis(figure, theme)
        if reference is not None:
            axis.axvline(reference, color=theme.faint, linewidth=1.1, linestyle=(0, (4, 3)), zorder=1)
            axis.annotate(
                reference_label, (reference, 1), xycoords=("data", "axes fraction"), xytext=(4, 1),
                textcoords="offset points", color=theme.faint, size=8, va="bottom",
            )  # fmt: skip
        finite = [part for row in rows for part in (row.value, row.low, row.high) if part is not None]
        finite = [part for part in finite if np.isfinite(part)] + ([] if reference is None else [reference])
        pad = 0.05 * (max(finite) - min(finite) or 1.0) if finite else 1.0
        edges = limits or ((min(finite) - pad, max(finite) + pad) if finite else (0.0, 1.0))
        for place, row in enumerate(rows):
            y, colour = len(rows) - 1 - place, theme.colours[row.group % len(theme.colours)]
            if row.low is not None and row.high is not None:
                low, high = max(row.low, edges[0]), min(row.high, edges[1])
                axis.plot([low, high], [y, y], color=colour, linewidth=2.2, solid_capstyle="butt", zorder=2)
            if row.value is not None:
                axis.plot([row.value], [y], marker="o", color=colour, markersize=5.5, zorder=3, clip_on=False)
        axis.set_xlim(*edges)
        axis.set_ylim(-0.6, len(rows) - 0.4)
        axis.set_yticks(range(len(rows)), [row.label for row in reversed(rows)])
        axis.set_xlabel(axis_label, color=theme.faint, size=9)
        axis.grid(axis="x", color=theme.rule, linewidth=0.8)
        return figure

    return for_both_themes(draw)


def ratings_chart(rows: Mapping[str, npt.NDArray[np.float64]]) -> Chart:
    """Draw for each system which share of its ratings was which point, the middle of the scale in the middle.

    Args:
        rows: label → counts of the points, from the worst to the best; from top to bottom.
    """
    points = max(len(counts) for counts in rows.values())

    def draw(theme: Theme) -> Figure:
        figure = Figure(figsize=(8.6, 1.05 + 0.36 * len(rows)), dpi=120)
        axis = bare_axis(figure, theme)
        ends = _WORST_TO_BEST_DARK if theme is DARK else _WORST_TO_BEST_LIGHT
        colours = LinearSegmentedColormap.from_list("points", [to_rgb(end) for end in ends])(np.linspace(0, 1, points))
        for place, counts in enumerate(rows.values()):
            share = counts / max(1.0, counts.sum())
            below = points // 2
            edge = -share[:below].sum() - (share[below] / 2 if points % 2 else 0.0)
            for point, part in enumerate(share):
                label = f"{point + 1}" if place == 0 else None
                y = len(rows) - 1 - place
                axis.barh(y, 100 * part, 0.66, left=100 * edge, color=colours[point], label=label)
                if part >= 0.07:
                    dark = sum(colours[point][:3]) < 1.55
                    axis.text(
                        100 * (edge + part / 2), y, f"{100 * part:.0f}", ha="center", va="center", size=7.5,
                        color="#ffffff" if dark else "#10151c",
                    )  # fmt: skip
                edge += part
        axis.axvline(0, color=theme.faint, linewidth=1, zorder=0)
        axis.set_yticks(range(len(rows)), list(rows)[::-1])
        axis.set_xlabel("share of the ratings, %, worse than the middle to the left", color=theme.faint, size=9)
        axis.xaxis.set_major_formatter(lambda value, _: f"{abs(value):.0f}")
        legend = figure.legend(
            loc="outside upper right", ncols=points, frameon=False, fontsize=8, handlelength=1, handleheight=1,
            labelcolor=theme.text, columnspacing=0.9, title=f"points, 1 the worst, {points} the best",
        )  # fmt: skip
        legend.get_title().set(color=theme.faint, size=8)
        return figure

    return for_both_themes(draw)


def preference_chart(names: Sequence[str], wins: npt.NDArray[np.float64]) -> Chart:
    """Draw how often the system of the row was preferred to that of the column.

    Args:
        names: of the systems.
        wins: (k, k) counts, ties as halves.
    """
    games = wins + wins.T
    share = np.where(games > 0, wins / np.where(games > 0, games, 1.0), np.nan)

    def draw(theme: Theme) -> Figure:
        count = len(names)
        ends = _WORST_TO_BEST_DARK if theme is DARK else _WORST_TO_BEST_LIGHT
        colours = LinearSegmentedColormap.from_list("share", [to_rgb(end) for end in ends])
        figure = Figure(figsize=(8.6, 1.0 + 0.5 * count), dpi=120)
        axis = bare_axis(figure, theme)
        axis.imshow(share, cmap=colours, vmin=0, vmax=1, aspect="auto")
        for row in range(count):
            for column in range(count):
                if games[row, column]:
                    dark = sum(colours(share[row, column])[:3]) < 1.55
                    axis.text(
                        column, row, f"{100 * share[row, column]:.0f} %  ({wins[row, column]:g})", ha="center",
                        va="center", size=8, color="#ffffff" if dark else "#10151c",
                    )  # fmt: skip
        axis.set_yticks(range(count), names)
        axis.set_xticks(range(count), names)
        axis.set_xlabel("preferred to", color=theme.faint, size=9)
        axis.xaxis.set_label_position("top")
        axis.xaxis.tick_top()
        return figure

    return for_both_themes(draw)
