"""Contours of a segmentation over its image: the true ones white, the predicted ones dashed in their class's colour.

White and colours lie on a dark edge, so that they are seen on bone as on air.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patheffects import AbstractPathEffect, Normal, Stroke

from transmodal.reporting.display import Panel
from transmodal.reporting.figures import CASE_BACKGROUND, CASE_TEXT, plain_number, png_bytes

Mask = npt.NDArray[np.bool_]

_WIDTH, _TOP, _GAP = 11.0, 0.72, 0.12
_KEY_ACROSS, _KEY_LINE = 5, 0.25  # entries beside each other; inches of a line
_MOST_ACROSS = 4
_TALLEST = 5.2  # inches of one panel
_TRUE = "#FFFFFF"
_LINE, _EDGE, _DASHES = 1.6, 3.0, (0, (3.2, 1.8))
_TINT = 0.14  # of what is predicted, so that a prediction of the whole picture is seen as one


@dataclass(frozen=True)
class ContourPanel:
    """One slice or picture, ready to be drawn.

    Attributes:
        image: what the network saw.
        truth, predicted: class → where it is, (rows, columns) of the image.
        heading: over it.
    """

    image: Panel
    truth: Mapping[str, Mask]
    predicted: Mapping[str, Mask]
    heading: str = ""


def contour_figure(
    panels: Sequence[ContourPanel],
    *,
    colours: Mapping[str, str],
    window: tuple[float, float],
    title: str = "",
    scores: Mapping[str, float] | None = None,
) -> bytes:
    """Draw slices twice, as they are and with the contours of all classes.

    Args:
        panels: up to four.
        colours: class → "#rrggbb".
        window: values shown black and white.
        title: a line above, taken literally.
        scores: name → value, printed beside it.

    Returns:
        A PNG file's bytes.
    """
    shown = list(panels)[:_MOST_ACROSS]
    stacked = len(shown) > 1
    columns, rows = (len(shown), 2) if stacked else (2, 1)
    aspect = max(each.image.size[0] / each.image.size[1] for each in shown)
    across = (_WIDTH - _GAP * (columns + 1)) / columns
    tall = min(across * aspect, _TALLEST)
    below = 0.25 + _KEY_LINE * math.ceil((1 + len(colours)) / _KEY_ACROSS)
    height = _TOP + rows * (tall + 0.28) + below
    figure = Figure(figsize=(_WIDTH, height), dpi=110, facecolor=CASE_BACKGROUND)
    for number, each in enumerate(shown):
        for with_contours in (False, True):
            column, row = (number, int(with_contours)) if stacked else (int(with_contours), 0)
            left = (_GAP + column * (across + _GAP)) / _WIDTH
            bottom = (height - _TOP - (row + 1) * (tall + 0.28) + 0.28) / height
            axes = figure.add_axes((left, bottom, across / _WIDTH, tall / height))
            _draw(axes, each, window, colours if with_contours else {})
            if row == 0:
                axes.set_title(each.heading, color=CASE_TEXT, size=9, loc="left", pad=4, parse_math=False)
    line = "   ".join(f"{name} {plain_number(value)}" for name, value in (scores or {}).items())
    top, left = 1 - 0.2 / height, _GAP / _WIDTH
    figure.text(left, top, title, color=CASE_TEXT, size=11, weight="bold", va="center", parse_math=False)
    figure.text(1 - left, top, line, color=CASE_TEXT, size=9, va="center", ha="right", parse_math=False)
    _legend(figure, colours, below / 2 / height)
    return png_bytes(figure)


def _draw(axes: Any, shown: ContourPanel, window: tuple[float, float], colours: Mapping[str, str]) -> None:
    height, width = shown.image.size
    axes.imshow(
        shown.image.pixels, extent=(0, width, height, 0), interpolation="antialiased", cmap="gray", vmin=window[0],
        vmax=window[1],
    )  # fmt: skip
    axes.set_axis_off()
    for name, colour in colours.items():
        for masks, line in ((shown.truth, _TRUE), (shown.predicted, colour)):
            mask = masks.get(name)
            if mask is None or not mask.any():
                continue
            # A rim of background, so that a region at the border is closed.
            wide = np.pad(mask.astype(np.float32), 1)
            steps = [length / count for length, count in zip(shown.image.size, mask.shape, strict=True)]
            down, across = ((np.arange(count) - 0.5) * step for count, step in zip(wide.shape, steps, strict=True))
            if masks is shown.predicted:
                axes.contourf(across, down, wide, levels=[0.5, 2], colors=[colour], alpha=_TINT)
            # Not clipped: of a line on the border, half would be gone.
            style = "solid" if masks is shown.truth else [_DASHES]
            axes.contour(across, down, wide, levels=[0.5], colors=[line], linewidths=_LINE, linestyles=style,
                         path_effects=_edged(), clip_on=False)  # fmt: skip
    axes.set_xlim(0, width)
    axes.set_ylim(height, 0)


def _edged() -> list[AbstractPathEffect]:
    return [Stroke(linewidth=_EDGE, foreground=CASE_BACKGROUND), Normal()]


def _legend(figure: Figure, colours: Mapping[str, str], middle: float) -> None:
    lines = [Line2D([], [], color=_TRUE, linewidth=2)]
    lines += [Line2D([], [], color=colour, linewidth=2, linestyle=_DASHES) for colour in colours.values()]
    words = ["true", *(f"{name}, predicted" for name in colours)]
    key = figure.legend(
        lines,
        words,
        loc="center left",
        bbox_to_anchor=(0, middle),
        ncols=min(len(words), _KEY_ACROSS),
        frameon=False,
        fontsize=11,
        labelcolor=CASE_TEXT,
        handlelength=2.8,
    )
    for text in key.get_texts():
        text.set_parse_math(False)
