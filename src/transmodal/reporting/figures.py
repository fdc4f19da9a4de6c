"""Figures of a run, as PNG bytes: a case beside its truth, training curves, scores of every case, scores by group.

Drawn with matplotlib's object interface (no pyplot, no display, no global state), so that the trainer, worker
processes and the server may call it at any time. Colours are the Okabe–Ito set, which colour-blind readers can tell
apart (Okabe and Ito, "Color Universal Design", 2008); maps of errors use the perceptually even, dark-centred map
"berlin" (Crameri, Scientific colour maps, 2018; in matplotlib since 3.10), in which black means no error.
"""

import io
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from transmodal.images import Image
from transmodal.reporting.display import Panel, fullest_slice, panel

CASE_BACKGROUND, CASE_TEXT, CASE_FAINT = "#0f1318", "#e8ecf1", "#8a94a3"
_SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
_WIDE = 1.55  # pictures wider than this stand in two rows, so that each stays large


def case_figure(
    input: Image | npt.NDArray[Any] | None,
    prediction: Image | npt.NDArray[Any],
    truth: Image | npt.NDArray[Any],
    *,
    value_range: tuple[float, float],
    title: str = "",
    scores: Mapping[str, float] | None = None,
    unit: str = "",
    error_limit: float | None = None,
    slice_axis: int = 2,
    names: tuple[str, str, str] = ("input", "prediction", "truth"),
) -> bytes:
    """Draw input, prediction, truth and signed error of one case side by side.

    Prediction and truth share one grey window. Axes are in mm when the image has a physical size. Of a volume the slice
    in which the truth varies most is shown.

    Args:
        input: what the translator saw; RGB is shown in colour, None leaves the panel out.
        prediction, truth: the target modality, on one grid and in one unit.
        value_range: (low, high) shown black and white in prediction and truth, in their unit.
        title: a line above the pictures, taken literally.
        scores: name → value, printed under the title, e.g. {"psnr": 24.1}.
        unit: the unit of prediction and truth, and of the colour bar.
        error_limit: error at the ends of the colour bar; None takes a quarter of the range, so that pictures of one
            training can be compared over the epochs.
        slice_axis: the array axis along which volumes are cut.
        names: what to write over the three pictures.

    Returns:
        A PNG file's bytes.
    """
    index = fullest_slice(truth, slice_axis) if isinstance(truth, Image) else None
    predicted, true = (panel(image, axis=slice_axis, index=index) for image in (prediction, truth))
    panels = [(names[1], predicted), (names[2], true)]
    if input is not None:
        same_depth = isinstance(input, Image) and isinstance(truth, Image) and input.shape == truth.shape
        panels.insert(0, (names[0], panel(input, axis=slice_axis, index=index if same_depth else None)))
    low, high = value_range
    limit = error_limit or 0.25 * (high - low)
    count = len(panels) + 1
    aspect = true.size[1] / true.size[0]
    rows = 2 if aspect > _WIDE and count == 4 else 1
    columns = count // rows
    width = 11.0
    panel_width = (width - 0.55 * columns - 0.9) / columns
    height = rows * (panel_width / aspect + 0.55) + 0.55
    figure = Figure(figsize=(width, height), dpi=110, facecolor=CASE_BACKGROUND)
    grid = figure.subplots(rows, columns, squeeze=False)
    left, right, top, bottom = 0.5 / width, 1 - 0.8 / width, 1 - 0.62 / height, 0.38 / height
    figure.subplots_adjust(left, bottom, right, top, wspace=0.55 / panel_width, hspace=0.5 * aspect / panel_width)
    axes = list(grid.flat)
    for axis, (name, shown) in zip(axes, panels, strict=False):
        window = value_range if name != names[0] else None
        _draw_panel(axis, name, shown, vmin=window and window[0], vmax=window and window[1], cmap="gray")
    error = Panel(predicted.pixels - true.pixels, true.size, true.unit)
    drawn = _draw_panel(
        axes[-1], f"prediction − truth{f' ({unit})' if unit else ''}", error, vmin=-limit, vmax=limit, cmap="berlin"
    )
    _colour_bar(figure, axes[-1], drawn)
    line = "   ".join(f"{key.upper()} {plain_number(value)}" for key, value in (scores or {}).items())
    figure.text(left, 1 - 0.2 / height, title, color=CASE_TEXT, size=11, weight="bold", va="center", parse_math=False)
    figure.text(right, 1 - 0.2 / height, line, color=CASE_TEXT, size=9, va="center", ha="right", parse_math=False)
    return png_bytes(figure)


def png_bytes(figure: Figure) -> bytes:
    """Return a figure as the bytes of a PNG file."""
    stream = io.BytesIO()
    FigureCanvasAgg(figure).print_png(stream, pil_kwargs={"compress_level": 6})
    return stream.getvalue()


def plain_number(value: float) -> str:
    """Write a number for people: four digits, thousands apart, powers of ten when very large or small, a true minus."""
    if not np.isfinite(value):
        return "∞" if value > 0 else "−∞" if value < 0 else "—"
    if value and not 1e-4 <= abs(value) < 1e6:
        digits, exponent = f"{value:.3e}".split("e")
        text = f"{digits}×10{str(int(exponent)).translate(_SUPERSCRIPTS)}"
    else:
        text = f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"
    return text.replace(",", "\u202f").replace("-", "−")


def p_text(p: float | None) -> str:
    """Write a p value for people: two digits, and no smaller than can be believed; a dash for None."""
    if p is None:
        return "—"
    return "< 0.0001" if p < 1e-4 else f"{p:.2g}" if p < 0.1 else f"{p:.2f}"


def _draw_panel(axis: Any, name: str, shown: Panel, **how: Any) -> Any:
    height, width = shown.size
    drawn = axis.imshow(shown.pixels, extent=(0, width, height, 0), interpolation="antialiased", **how)
    axis.set_title(name, color=CASE_TEXT, size=9, loc="left", pad=4, parse_math=False)
    axis.tick_params(colors=CASE_FAINT, labelsize=7, length=2.5, pad=2)
    axis.locator_params(nbins=6)
    axis.set_xlabel(shown.unit, color=CASE_FAINT, size=7, labelpad=0, loc="right")
    for spine in axis.spines.values():
        spine.set_visible(False)
    return drawn


def _colour_bar(figure: Figure, axis: Any, drawn: Any) -> None:
    box = axis.get_position()
    width = figure.get_figwidth()
    bar = figure.colorbar(drawn, cax=figure.add_axes((box.x1 + 0.1 / width, box.y0, 0.1 / width, box.height)))
    bar.outline.set_visible(False)
    bar.ax.tick_params(colors=CASE_FAINT, labelsize=7, length=2, pad=2)
    bar.ax.yaxis.set_major_formatter(lambda value, _: plain_number(value))
