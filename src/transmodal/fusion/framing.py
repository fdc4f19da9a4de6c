"""An overlay with what it takes to read it: colour bar with its unit, scale bar in mm, time, label.

Drawn with Pillow rather than as a figure, so that the picture's part keeps every pixel, only repeated a whole number of
times where it is small. Nothing is drawn over the picture itself.
"""

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import matplotlib
import numpy as np
import numpy.typing as npt
import PIL.Image
import PIL.ImageDraw
import PIL.ImageFont
from matplotlib.ticker import MaxNLocator

from transmodal.fusion.colours import STEPS, lookup
from transmodal.fusion.estimates import span_text
from transmodal.fusion.overlay import Overlay
from transmodal.fusion.registration_doubts import far_off
from transmodal.reporting.figures import CASE_BACKGROUND, CASE_FAINT, CASE_TEXT, plain_number

_WARNING = "#ffb454"
_LEAST_LENGTH = 640  # pixels of the picture's longer side; smaller pictures are repeated up to there
_FONT_SHARE, _FONTS = 1 / 44, (13, 44)  # of the longer side, and the limits in pixels
_LEAST_WIDTH = 22  # of the canvas, in heights of the text
_NICE = (1.0, 2.0, 5.0)


@dataclass(frozen=True, eq=False)
class Framed:
    """A framed overlay.

    Attributes:
        pixels: (h, w, 3) uint8.
        top: row where the picture begins.
        left: column where the picture begins.
        zoom: (row, column) repetitions of each of its pixels.
        texts: all that is written, in order.
    """

    pixels: npt.NDArray[np.uint8]
    top: int
    left: int
    zoom: tuple[int, int]
    texts: tuple[str, ...]


def framed(overlay: Overlay) -> Framed:
    """Draw the frame around an overlay.

    The size depends on the overlay's size and on the texts below it, the picture's place on its size alone.
    """
    zoom = zoom_of(overlay)
    rows, columns = (length * factor for length, factor in zip(overlay.pixels.shape[:2], zoom, strict=True))
    size = int(np.clip(round(max(rows, columns) * _FONT_SHARE), *_FONTS))
    font, small, bold = _font(size), _font(round(0.85 * size)), _font(size, bold=True)
    line, margin = round(1.4 * size), size
    bar_height = max(rows, 9 * size)
    bar = _colour_bar(overlay, bar_height, font)
    width = max(columns + 3 * margin + bar.width, _LEAST_WIDTH * size)
    titles = titles_of(overlay)
    top, left = margin + line * len(titles) + size // 2, margin
    scale = _scale_bar(overlay, columns / zoom[1], zoom[1])
    *faint, registered = captions_of(overlay)
    far = far_off(overlay.registration.error_mm, overlay.series, overlay.registration.transform)
    below = [(text, small, CASE_FAINT) for text in faint]
    below.append((registered, small, _WARNING if far else CASE_FAINT))
    below += [(overlay.label, bold, _WARNING)] if overlay.label else []
    lines = [(part, face, ink) for text, face, ink in below for part in _wrapped(text, face, width - 2 * margin)]
    bottom = top + bar_height + size // 2
    height = bottom + (2 * line if scale else 0) + line * len(lines) + margin
    canvas = PIL.Image.new("RGB", (width, height), CASE_BACKGROUND)
    draw = PIL.ImageDraw.Draw(canvas)
    for number, title in enumerate(titles):
        face = _fitting(title, size, width - 2 * margin, bold=number == 0)
        draw.text((left, margin + number * line), title, font=face, fill=CASE_TEXT)
    canvas.paste(bar, (left + columns + margin, top))
    texts = [*titles, *(text for text, _, _ in below), f"{_unit_of(overlay)}"]
    if scale:
        length, text = scale
        draw.rectangle((left, bottom + size // 2, left + round(length) - 1, bottom + size // 2 + size // 4), CASE_TEXT)
        draw.text((left, bottom + size), text, font=font, fill=CASE_TEXT)
        texts.append(text)
        bottom += 2 * line
    for number, (text, face, ink) in enumerate(lines):
        draw.text((left, bottom + number * line), text, font=face, fill=ink)
    pixels = np.array(canvas)
    picture = overlay.pixels.repeat(zoom[0], axis=0).repeat(zoom[1], axis=1)
    pixels[top : top + rows, left : left + columns] = picture
    return Framed(pixels, top, left, zoom, tuple(texts))


def zoom_of(overlay: Overlay) -> tuple[int, int]:
    """Return how often each pixel is repeated along (row, column): small pictures grow, long pixels become long."""
    row, column = overlay.backdrop.image.spacing
    shape = (max(1, round(row / column)), max(1, round(column / row)))
    longest = max(length * factor for length, factor in zip(overlay.pixels.shape[:2], shape, strict=True))
    times = max(1, -(-_LEAST_LENGTH // longest))
    return shape[0] * times, shape[1] * times


def titles_of(overlay: Overlay) -> tuple[str, str, str]:
    """Return three lines: the agent and isotope, the time after the injection, the frames and their correction."""
    series, activity = overlay.series, overlay.activity
    isotope = series.isotope.name if series.isotope else ""
    plain = {ord(sign): None for sign in "- ^"}
    named = isotope and series.agent and _swapped(isotope) in series.agent.translate(plain).lower()
    what = series.agent if named else ", ".join(filter(None, [series.agent, isotope]))
    first, last = activity.frames[0] + 1, activity.frames[-1] + 1
    which = f"frame {first}" if len(activity.frames) == 1 else f"frames {first}–{last}"
    if 1 < len(activity.frames) < last - first + 1:
        which = f"{len(activity.frames)} frames from {first} to {last}"
    parts = [f"{which} of {len(series)}"]
    if len(activity.frames) > 1:
        parts.append("summed" if activity.unit == "counts" else "mean")
    if activity.decay_corrected:
        parts.append("decay-corrected to injection")
    return what or "activity", span_text(activity.start, activity.end), ", ".join(parts)


def _swapped(isotope: str) -> str:
    """Return "99mtc" of "Tc-99m", as agents are named."""
    element, _, mass = isotope.partition("-")
    return f"{mass}{element}".lower()


def captions_of(overlay: Overlay) -> tuple[str, ...]:
    """Return the lines below the picture, without the label: threshold, window of the anatomy; last registration."""
    lower, upper = plain_number(overlay.lower), plain_number(overlay.upper)
    settings, registration = overlay.settings, overlay.registration
    shown = f"shown from {lower} ({settings.threshold:.0%} of {upper}), opacity {settings.opacity:.0%}"
    if settings.gamma != 1:
        shown += f", gamma {settings.gamma:g}"
    if np.nanmax(overlay.values, initial=0.0) > overlay.upper:
        shown += f"; above {upper} in the top colour"
    window = "anatomy's window {} to {}".format(*map(plain_number, overlay.backdrop.window))
    error = f"registration error {registration.error_text()}".replace(" mm", "\u00a0mm")
    far = far_off(registration.error_mm, overlay.series, registration.transform)
    return shown, window, f"{error}, {far:.0f} nuclear pixels" if far else error


def _unit_of(overlay: Overlay) -> str:
    size = overlay.series.spacing
    pixel = f"{size[0]:.3g}×{size[1]:.3g} mm" if overlay.series.has_physical_size else "the camera"
    return f"{overlay.activity.unit} in a pixel of {pixel}"


def _scale_bar(overlay: Overlay, columns: float, zoom: int) -> tuple[float, str] | None:
    """Return length in drawn pixels and text of a round length, at most 30 % of the width; None without mm."""
    image = overlay.backdrop.image
    if not image.has_physical_size:
        return None
    column = image.spacing[1]
    length = round_length(0.3 * columns * column)
    return max(1.0, length / column * zoom), f"{length:g} mm"


def round_length(most: float) -> float:
    """Return the greatest of …, 1, 2, 5, 10, … that is not above `most`."""
    power = 10.0 ** np.floor(np.log10(most))
    return float(max(step * power for step in _NICE if step * power <= most * (1 + 1e-9)))


def _colour_bar(overlay: Overlay, height: int, font: PIL.ImageFont.FreeTypeFont) -> PIL.Image.Image:
    """Draw the bar from 0 to the top; below the threshold it is empty, as the picture is."""
    size = round(font.size)
    thick, gap, pad = size, size // 3, round(0.7 * size)  # pad: room for half a number above and below
    ticks = [float(tick) for tick in MaxNLocator(nbins=5).tick_values(0.0, overlay.upper)]
    ticks = [tick for tick in ticks if 0 <= tick <= overlay.upper * (1 + 1e-9)]
    numbers = [plain_number(tick) for tick in ticks]
    widest = max(round(font.getlength(number)) for number in numbers)
    unit_text = _unit_of(overlay)
    face = _fitting(unit_text, size, height)
    canvas = PIL.Image.new("RGB", (thick + 3 * gap + widest + round(1.7 * size), height), CASE_BACKGROUND)
    draw = PIL.ImageDraw.Draw(canvas)
    long = height - 2 * pad
    share = (np.arange(long)[::-1] + 0.5) / long  # of the scale, from the top down
    rows = lookup(overlay.settings.colours)[np.rint(share**overlay.settings.gamma * (STEPS - 1)).astype(int)]
    strip = np.repeat(np.rint(rows * 255).astype(np.uint8)[:, None], thick, axis=1)
    shown = share >= overlay.settings.threshold
    strip[~shown] = PIL.Image.new("RGB", (1, 1), CASE_BACKGROUND).getpixel((0, 0))
    canvas.paste(PIL.Image.fromarray(strip), (0, pad))
    draw.rectangle((0, pad, thick - 1, pad + long - 1), outline=CASE_FAINT)
    for tick, number in zip(ticks, numbers, strict=True):
        row = pad + round((1 - tick / overlay.upper) * (long - 1))
        draw.line((thick, row, thick + gap, row), CASE_FAINT)
        draw.text((thick + 2 * gap, row), number, font=font, fill=CASE_TEXT, anchor="lm")
    upright = PIL.Image.new("RGB", (height, round(1.5 * size)), CASE_BACKGROUND)
    PIL.ImageDraw.Draw(upright).text(
        (height // 2, round(0.7 * size)), unit_text, font=face, fill=CASE_TEXT, anchor="mm"
    )
    canvas.paste(upright.rotate(90, expand=True), (canvas.width - round(1.5 * size), 0))
    return canvas


def _wrapped(text: str, font: PIL.ImageFont.FreeTypeFont, width: int) -> list[str]:
    """Break a text between words into lines that are no wider than the canvas."""
    lines: list[str] = []
    for word in text.split(" "):
        if lines and font.getlength(f"{lines[-1]} {word}") <= width:
            lines[-1] += f" {word}"
        else:
            lines.append(word)
    return lines


def _fitting(text: str, size: int, width: int, *, bold: bool = False) -> PIL.ImageFont.FreeTypeFont:
    """Return the font, smaller where the text would be too wide, never below 8 pixels."""
    natural = _font(size, bold=bold).getlength(text)
    return _font(max(8, int(size * min(1.0, width / max(natural, 1.0)))), bold=bold)


@lru_cache(maxsize=32)
def _font(size: int, *, bold: bool = False) -> PIL.ImageFont.FreeTypeFont:
    """Return DejaVu Sans, which comes with matplotlib."""
    name = "DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf"
    return PIL.ImageFont.truetype(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / name, size)
