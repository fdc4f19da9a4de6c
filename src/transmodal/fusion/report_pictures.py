"""Pictures of a report on a nuclear study: regions over the anatomy, and curves with their fits."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke
from scipy import ndimage

from transmodal.fusion.curves import TimeActivity
from transmodal.fusion.kinetic_fit import KineticFit
from transmodal.fusion.regions import Regions
from transmodal.images.image import Image
from transmodal.images.synthetic import mark_of
from transmodal.reporting.charts import Chart, Theme, bare_axis, for_both_themes
from transmodal.reporting.display import panel
from transmodal.reporting.figures import CASE_BACKGROUND, CASE_TEXT, plain_number, png_bytes

_WIDTH = 11.0
_TALLEST = 7.0  # inches
_ACROSS = 3
_WARNING = "#ffb454"
_NAME_SIZE = 8.0  # of names within the picture, points
_LOGARITHMIC = 60.0  # a later frame than so many times the first is drawn on a logarithmic axis


def regions_picture(regions: Regions, anatomy: Image) -> bytes:
    """Draw the outlines of all regions over the anatomy, with their names below; a PNG file's bytes.

    A synthetic anatomy is labelled as such above the picture, in the words of an overlay's label.
    """
    shown, label = panel(anatomy), anatomy_label(anatomy)
    height_mm, width_mm = shown.size
    tall = min(_WIDTH * height_mm / width_mm, _TALLEST)
    rows = -(-sum(len(name) + 4 for name in regions.names) // 120)
    above = 0.3 if label else 0.0
    height = above + tall + 0.3 + 0.24 * rows
    figure = Figure(figsize=(_WIDTH, height), dpi=110, facecolor=CASE_BACKGROUND)
    axes = figure.add_axes((0, 1 - (above + tall) / height, 1, tall / height))
    # A colour map is passed over where the pixels are colours.
    axes.imshow(shown.pixels, extent=(0, width_mm, height_mm, 0), interpolation="antialiased", cmap="gray")
    axes.set_axis_off()
    taken: list[tuple[float, float, float]] = []
    for mask, name, role, ink in zip(regions.masks, regions.names, regions.roles, regions.colours, strict=True):
        if not mask.any():
            continue
        wide = np.pad(mask.astype(np.float32), 1)  # a rim, so that a region at the border is closed
        steps = [length / count for length, count in zip(shown.size, mask.shape, strict=True)]
        down, across = ((np.arange(count) - 0.5) * step for count, step in zip(wide.shape, steps, strict=True))
        style = "dashed" if role == "background" else "solid"
        thick = 2.4 if role else 1.4
        # A rim lets any ink be seen on bone and air alike; it goes first, so that a dashed line stays dashed.
        axes.contour(across, down, wide, levels=[0.5], colors=[_rim(ink)], linewidths=thick + 1.8)
        axes.contour(across, down, wide, levels=[0.5], colors=[ink], linestyles=style, linewidths=thick)
        taken.append(free_place(mask, steps, len(name), width_mm, taken))
        y, x, _ = taken[-1]
        axes.text(
            x, y, name, color=ink, size=_NAME_SIZE, ha="center", va="center", parse_math=False, clip_on=True,
            path_effects=[withStroke(linewidth=2, foreground=_rim(ink))], zorder=3,
        )  # fmt: skip
    axes.set_xlim(0, width_mm)
    axes.set_ylim(height_mm, 0)
    if label:
        across = 0.12 / _WIDTH
        figure.text(across, 1 - above / 2 / height, label, color=_WARNING, size=11, weight="bold", va="center")
    _names(figure, regions, height)
    return png_bytes(figure)


def free_place(
    mask: npt.NDArray[np.bool_],
    steps: Sequence[float],
    letters: int,
    width_mm: float,
    taken: Sequence[tuple[float, float, float]],
) -> tuple[float, float, float]:
    """Return where a name is written: the place deepest within its region at which it covers no other name.

    Args:
        mask: (H, W).
        steps: (row, column) size of its pixels, mm.
        letters: of the name.
        width_mm: of the picture.
        taken: what was returned for the names before.

    Returns:
        Middle (y, x) and length of the name, mm. Where no place is free, the deepest.
    """
    point = width_mm / _WIDTH / 72
    length, high = 0.6 * _NAME_SIZE * letters * point, 1.3 * _NAME_SIZE * point
    depth = ndimage.distance_transform_edt(np.pad(mask, 1), sampling=steps)[1:-1, 1:-1]
    y, x = ((np.arange(count) + 0.5) * step for count, step in zip(mask.shape, steps, strict=True))
    free = np.ones(mask.shape, bool)
    for other_y, other_x, other_length in taken:
        free &= (np.abs(y - other_y)[:, None] >= high) | (np.abs(x - other_x)[None] >= (length + other_length) / 2)
    depth = np.where(free, depth, 0.0) if (free & mask).any() else depth
    row, column = np.unravel_index(depth.argmax(), depth.shape)
    return float(y[row]), float(x[column]), length


def _rim(ink: str) -> str:
    """Return a light rim for dark inks and a dark one for light inks."""
    red, green, blue = to_rgb(ink)
    return "#10141a" if 0.2126 * red + 0.7152 * green + 0.0722 * blue > 0.4 else "#f4f6f8"


def anatomy_label(anatomy: Image) -> str:
    """Return what is written on a picture of a synthetic anatomy, as `Overlay.label` has it; else ""."""
    return "synthetic anatomy, not for diagnosis" if mark_of(anatomy) else ""


def _names(figure: Figure, regions: Regions, height: float) -> None:
    x, y = 0.12, height - (height - 0.3) - 0.14 + 0.24 * (-(-sum(len(name) + 4 for name in regions.names) // 120) - 1)
    for name, role, ink in zip(regions.names, regions.roles, regions.colours, strict=True):
        words = f"{name} ({role})" if role else name
        wide = 0.2 + 0.09 * len(words)
        if x + wide > _WIDTH:
            x, y = 0.12, y - 0.24
        stroke = [withStroke(linewidth=2, foreground=_rim(ink))]
        figure.text(
            x / _WIDTH, y / height, words, color=ink, size=9, weight="bold", parse_math=False, path_effects=stroke
        )
        x += wide
    if not regions.names:
        figure.text(0.01, 0.01, "no region", color=CASE_TEXT)


def curves_chart(curves: TimeActivity, fits: Mapping[str, KineticFit], *, target: str = "") -> Chart:
    """Draw the curve of every region with its 95 % error bars and its fit, each on an axis of its own.

    Args:
        curves: in %ID where it is known, else in counts a second, decay-corrected where that can be, else in counts.
        fits: by region; regions without a model have none drawn.
        target: drawn first, in another colour.
    """
    names = sorted(curves.names, key=lambda name: name != target)

    def draw(theme: Theme) -> Figure:
        across = min(_ACROSS, len(names))
        down = -(-len(names) // across)
        figure = Figure(figsize=(8.6, 0.3 + 2.15 * down), dpi=120)
        for place, name in enumerate(names):
            axis = bare_axis(figure, theme, (down, across, place + 1))
            _curve(axis, curves, fits.get(name, KineticFit()), name, theme, int(name == target))
            if place >= len(names) - across:
                unit = "min after the injection" if curves.starts is not None else "frame"
                axis.set_xlabel(unit, color=theme.faint, size=8)
            if place % across == 0:
                axis.set_ylabel(unit_of(curves), color=theme.faint, size=8)
        return figure

    return for_both_themes(draw)


def unit_of(curves: TimeActivity) -> str:
    """Return what curves are drawn in."""
    if curves.scale is not None:
        return "%ID" if curves.scale.unit == "%ID" else "net counts/s, decay-corrected"
    return "net counts a second" if curves.rate is not None else "net counts"


def _curve(axis: Any, curves: TimeActivity, fitted: KineticFit, name: str, theme: Theme, colour: int) -> None:
    place, scale = curves.number(name), curves.scale
    if scale is not None:
        values, spread = scale.values[place], scale.deviations[place]
    elif curves.rate is not None and curves.durations is not None:
        values, spread = curves.rate[place], curves.net_sd[place] / curves.durations
    else:
        values, spread = curves.net[place], curves.net_sd[place]
    long = np.zeros(len(values)) if curves.durations is None else curves.durations
    x = np.arange(1.0, len(values) + 1) if curves.starts is None else (curves.starts + long / 2) / 60
    half = None if curves.starts is None else long / 120
    ink = theme.colours[colour % len(theme.colours)]
    axis.axhline(0, color=theme.rule, linewidth=1)
    if fitted.model:
        first, last = fitted.observed
        times = np.geomspace(max(first, float(long[0]) / 4, 1.0), last, 300)
        axis.plot(times / 60, fitted.curve(times), color=theme.text, linewidth=1.2, zorder=1)
    axis.errorbar(
        x, values, yerr=1.96 * spread, xerr=half, fmt="o", color=ink, markersize=2.6, elinewidth=1, capsize=0, zorder=2
    )
    first_x = x[x > 0].min(initial=np.inf)
    if curves.starts is not None and x.max() > _LOGARITHMIC * first_x:
        axis.set_xscale("log")
        axis.xaxis.set_major_formatter(lambda value, _: plain_number(value))
        axis.xaxis.set_minor_formatter(lambda value, _: "")
    axis.set_title(name, color=theme.text, size=9, loc="left", parse_math=False)
    axis.grid(color=theme.rule, linewidth=0.7)
    axis.locator_params(axis="y", nbins=4)
