"""A volume's translation on one page: slices down, inputs, prediction, truth and error across, lesions outlined."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure
from scipy import ndimage

from transmodal.images import Image
from transmodal.reporting.display import panel
from transmodal.reporting.figures import CASE_BACKGROUND, CASE_FAINT, CASE_TEXT, plain_number, png_bytes

Mask = npt.NDArray[np.bool_]
PLACES = (0.3, 0.5, 0.7)  # of the region's extent, where slices are cut
_OUTLINE = "#56b4e9"  # sky blue of Okabe and Ito
_APART = 2  # voxels between a lesion and its outline, so that the line hides nothing of it
_MARGIN = 3  # voxels around the region
_WIDTH = 11.0  # inches
_SIDE, _RIGHT, _TOP, _GAP = 0.62, 0.72, 0.58, 0.06


@dataclass(frozen=True)
class Volume:
    """What a montage shows; all on one grid.

    Attributes:
        inputs: modality → volume, each shown between its own 0.5th and 99.5th percentiles of what is not 0.
        predicted, truth: on the scale that they are compared on.
        region: where the case is scored; errors elsewhere are not shown. None is everywhere.
        lesions: True inside; None where they are not known.
        axis: along which slices are cut.
    """

    inputs: Mapping[str, Image]
    predicted: Image
    truth: Image
    region: Mask | None = None
    lesions: Mask | None = None
    axis: int = 2


def choose_slices(volume: Volume) -> list[tuple[int, str]]:
    """Return (index, name) of the slices to show: three through the region, and one through the largest lesion.

    The slice of the lesion is where most of it is seen; it replaces one that lies next to it.
    """
    inside = volume.truth.pixels != 0 if volume.region is None else volume.region
    there = np.flatnonzero(inside.any(axis=_others(volume.axis)))
    low, high = (int(there[0]), int(there[-1])) if there.size else (0, inside.shape[volume.axis] - 1)
    chosen = {round(low + place * (high - low)): "" for place in PLACES}
    if volume.lesions is not None and volume.lesions.any():
        numbered, _ = ndimage.label(volume.lesions)
        sizes = np.bincount(numbered.ravel())
        sizes[0] = 0
        area = (numbered == sizes.argmax()).sum(axis=_others(volume.axis))
        index = int(area.argmax())
        close = max(1, (high - low) // 20)
        chosen = {place: name for place, name in chosen.items() if abs(place - index) > close}
        chosen[index] = "largest lesion"
    return sorted(chosen.items())


def montage(
    volume: Volume,
    *,
    value_range: tuple[float, float],
    error_limit: float,
    target: str,
    title: str = "",
    scores: Mapping[str, float] | None = None,
    unit: str = "",
) -> bytes:
    """Draw a volume's montage.

    Args:
        volume: what to show.
        value_range: (low, high) shown black and white in prediction and truth.
        error_limit: the absolute error at the end of the one colour bar.
        target: modality of prediction and truth.
        title: a line above, taken literally.
        scores: name → value, printed beside the title.
        unit: of prediction and truth.

    Returns:
        A PNG file's bytes.
    """
    slices = choose_slices(volume)
    columns = [*((name, name) for name in volume.inputs), ("predicted", f"{target}, predicted"),
               ("truth", f"{target}, true"), ("error", "|predicted − true|")]  # fmt: skip
    shown = _stacks(volume, value_range, error_limit)
    first = panel(shown["truth"][0], axis=volume.axis, index=slices[0][0])
    width = (_WIDTH - _SIDE - _RIGHT) / len(columns)
    height = (width - _GAP) * first.size[0] / first.size[1] + _GAP
    tall = _TOP + len(slices) * height + 0.1
    figure = Figure(figsize=(_WIDTH, tall), dpi=110, facecolor=CASE_BACKGROUND)
    drawn: Any = None
    for row, (index, name) in enumerate(slices):
        for column, (key, heading) in enumerate(columns):
            box = (_SIDE + column * width, tall - _TOP - (row + 1) * height, width - _GAP, height - _GAP)
            axes = figure.add_axes((box[0] / _WIDTH, box[1] / tall, box[2] / _WIDTH, box[3] / tall))
            stack, low, high = shown[key]
            drawn = _draw(axes, stack, volume, index, vmin=low, vmax=high, cmap="magma" if key == "error" else "gray")
            if row == 0:
                axes.set_title(heading, color=CASE_TEXT, size=9, loc="left", pad=4, parse_math=False)
        label = f"slice {index + 1}" + (f"\n{name}" if name else "")
        middle = (tall - _TOP - (row + 0.5) * height) / tall
        figure.text(0.24 / _WIDTH, middle, label, color=CASE_FAINT, size=7.5, rotation=90, va="center", ha="center")
    _finish(figure, drawn, tall, height * len(slices), unit, title, scores or {})
    return png_bytes(figure)


def _stacks(volume: Volume, value_range: tuple[float, float], limit: float) -> dict[str, tuple[Image, float, float]]:
    """Return column → (volume cut to the region, black, white)."""
    inside = volume.truth.pixels != 0 if volume.region is None else volume.region
    box = _box(inside)
    error = np.abs(volume.predicted.pixels - volume.truth.pixels).astype(np.float32)
    if volume.region is not None:
        error[~volume.region] = 0
    found = {}
    for name, image in volume.inputs.items():
        grey = image.pixels[..., 0] if image.channels else image.pixels
        values = grey[grey != 0]
        low, high = np.percentile(values, (0.5, 99.5)) if values.size else (0.0, 1.0)
        # Black is 0 where that is the background, so that the brain's edge is seen.
        low = min(float(low), 0.0) if volume.region is not None and low > 0 else float(low)
        found[name] = (_cut(image, grey, box), low, max(float(high), low + 1e-6))
    found["predicted"] = (_cut(volume.predicted, volume.predicted.pixels, box), *value_range)
    found["truth"] = (_cut(volume.truth, volume.truth.pixels, box), *value_range)
    found["error"] = (_cut(volume.truth, error, box), 0.0, limit)
    return {name: (_whole_along(stack, volume, box), low, high) for name, (stack, low, high) in found.items()}


def _whole_along(stack: Image, volume: Volume, box: tuple[slice, ...]) -> Image:
    """Return a cut volume with the slices before and after the box as zeros, so that indices stay those of the file."""
    length = volume.truth.shape[volume.axis]
    widths = [(0, 0)] * 3
    widths[volume.axis] = (box[volume.axis].start, length - box[volume.axis].stop)
    return replace(stack, pixels=np.pad(stack.pixels, widths))


def _draw(axes: Any, stack: Image, volume: Volume, index: int, **how: Any) -> Any:
    shown = panel(stack, axis=volume.axis, index=index)
    height, width = shown.size
    drawn = axes.imshow(shown.pixels, extent=(0, width, height, 0), interpolation="antialiased", **how)
    axes.set_axis_off()
    if volume.lesions is None:
        return drawn
    inside = volume.truth.pixels != 0 if volume.region is None else volume.region
    box = _box(inside)
    marked = _whole_along(_cut(volume.truth, volume.lesions.astype(np.float32), box), volume, box)
    outline = panel(marked, axis=volume.axis, index=index).pixels > 0
    wide = ndimage.distance_transform_edt(~outline) if outline.any() else np.zeros(1)
    if wide.max() > _APART:
        steps = [length / count for length, count in zip(shown.size, outline.shape, strict=True)]
        across, down = ((np.arange(count) + 0.5) * step for count, step in zip(outline.shape[::-1], steps[::-1],
                                                                                strict=True))  # fmt: skip
        axes.contour(across, down, wide, levels=[_APART], colors=[_OUTLINE], linewidths=0.8)
    return drawn


def _finish(
    figure: Figure, drawn: Any, tall: float, height: float, unit: str, title: str, scores: Mapping[str, float]
) -> None:
    bar = figure.colorbar(
        drawn,
        cax=figure.add_axes(
            ((_WIDTH - _RIGHT + 0.08) / _WIDTH, (tall - _TOP - height + _GAP) / tall, 0.1 / _WIDTH,
             (height - _GAP) / tall)
        ),
    )  # fmt: skip
    bar.outline.set_visible(False)
    bar.ax.tick_params(colors=CASE_FAINT, labelsize=7, length=2, pad=2)
    bar.ax.yaxis.set_major_formatter(lambda value, _: plain_number(value))
    line = "   ".join(f"{name.upper()} {plain_number(value)}" for name, value in scores.items())
    line += f"   (errors in {unit})" if unit else ""
    top = 1 - 0.2 / tall
    figure.text(_SIDE / _WIDTH, top, title, color=CASE_TEXT, size=11, weight="bold", va="center", parse_math=False)
    right = (_WIDTH - _RIGHT) / _WIDTH
    figure.text(right, top, line, color=CASE_TEXT, size=9, va="center", ha="right", parse_math=False)


def _others(axis: int) -> tuple[int, ...]:
    return tuple(other for other in range(3) if other != axis)


def _box(inside: Mask) -> tuple[slice, ...]:
    found: Sequence[tuple[slice, ...] | None] = ndimage.find_objects(inside.astype(np.uint8))
    if not found or found[0] is None:
        return tuple(slice(0, length) for length in inside.shape)
    return tuple(
        slice(max(0, side.start - _MARGIN), min(length, side.stop + _MARGIN))
        for side, length in zip(found[0], inside.shape, strict=True)
    )


def _cut(image: Image, pixels: npt.NDArray[Any], box: tuple[slice, ...]) -> Image:
    return replace(image, pixels=np.ascontiguousarray(pixels[box]), channels=())
