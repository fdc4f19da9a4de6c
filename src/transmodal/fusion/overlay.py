"""Activity in colour over an anatomical picture.

Method: S0's overlay as METHODS section 7 gives it. The activity is resampled linearly on the anatomy's grid, for
display only: nothing is counted on it. A value stays that of one nuclear pixel, whatever the anatomy's pixels.
"""

import math
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from transmodal.errors import UserError
from transmodal.fusion.activity import UNITS, Activity, activity_of, chosen_frames
from transmodal.fusion.colours import COLOURS, colours_of
from transmodal.fusion.fields import doubts_of_overlap, require_overlap, require_picture, require_sizes
from transmodal.fusion.hot_spots import HotSpot, hot_spot
from transmodal.fusion.registration import Registration
from transmodal.images.image import Image, Source
from transmodal.images.nuclear.frame_order import in_time_order
from transmodal.images.nuclear.series import NuclearSeries
from transmodal.images.registration import coverage, resample
from transmodal.images.synthetic import mark_of
from transmodal.reporting.display import luminance

_RGB = ("red", "green", "blue")


@dataclass(frozen=True)
class OverlaySettings:
    """How an overlay is made.

    Attributes:
        unit: "counts", "Bq" or "%ID", each for one nuclear pixel.
        frames: numbers from 0, in the order of their times, of the frames that go in together; None for all, or for
            those of `between`.
        between: (from, to) s after the injection; None for any time.
        decay_correct: bring frames back to the injection; %ID always is.
        threshold: share of the scale's top below which nothing is shown, 0 to 1; 0.1 to 0.2 is usual.
        upper: top of the scale, in the unit; None for the greatest value in the anatomy's field.
        opacity: of the colours, 0 to 1.
        gamma: power of the share of the scale before it is coloured; below 1 lifts what is faint.
        colours: a key of `colours.COLOURS`.
        window: values of the anatomy that are shown black and white; None for `window_percentiles`.
        window_percentiles: of the anatomy's values.
        keep_colour: leave a photograph in colour instead of its luminance; the window then holds for each channel.
    """

    unit: str = "counts"
    frames: tuple[int, ...] | None = None
    between: tuple[float, float] | None = None
    decay_correct: bool = False
    threshold: float = 0.15
    upper: float | None = None
    opacity: float = 0.5
    gamma: float = 1.0
    colours: str = "hot"
    window: tuple[float, float] | None = None
    window_percentiles: tuple[float, float] = (0.5, 99.5)
    keep_colour: bool = False

    def __post_init__(self) -> None:
        """Check ranges.

        Raises:
            UserError: a value is out of its range; it is named.
        """
        if self.unit not in UNITS:
            raise UserError(f"no unit {self.unit!r} of activity; choose one of {', '.join(UNITS)}")
        if self.colours not in COLOURS:
            raise UserError(f"no colours {self.colours!r}; choose one of {', '.join(COLOURS)}")
        for name, value in (("threshold", self.threshold), ("opacity", self.opacity)):
            if not 0.0 <= value <= 1.0:
                raise UserError(f"{name} is {value:g}; give a share from 0 to 1, such as 0.15 for 15 %")
        if not (math.isfinite(self.gamma) and self.gamma > 0):
            raise UserError(f"gamma is {self.gamma:g}; give a number above 0, 1 for none")
        if self.upper is not None and not (math.isfinite(self.upper) and self.upper > 0):
            raise UserError(f"the top of the colour scale is {self.upper:g}; give a finite value above 0")
        if self.window is not None and not (np.isfinite(self.window).all() and self.window[0] < self.window[1]):
            raise UserError(f"the window {self.window[0]:g} to {self.window[1]:g} is empty; give (black, white)")
        low, high = self.window_percentiles
        if not 0 <= low < high <= 100:
            raise UserError(f"the window's percentiles are {low:g} and {high:g}; give two that rise, from 0 to 100")


@dataclass(frozen=True, eq=False)
class Backdrop:
    """An anatomical picture ready to be drawn over.

    Attributes:
        image: as it was read.
        shades: (H, W, 3) float32 in 0…1.
        window: its values shown as 0 and 1.
        window_from: how the window was found, in words.
        mark: how it was made, when it is synthetic; else empty.
    """

    image: Image
    shades: npt.NDArray[np.float32]
    window: tuple[float, float]
    window_from: str
    mark: str

    @cached_property
    def pixels(self) -> npt.NDArray[np.uint8]:
        """The shades as they are drawn, (H, W, 3) uint8, read-only; once for all frames of an animation."""
        pixels = _drawn(self.shades)
        pixels.flags.writeable = False
        return pixels


@dataclass(frozen=True, eq=False)
class Overlay:
    """Activity over anatomy, and all that is needed to say how it came about.

    Attributes:
        pixels: (H, W, 3) uint8 on the anatomy's grid.
        values: (H, W) float32, the activity there for one nuclear pixel; NaN outside the nuclear field.
        backdrop: the anatomy.
        series: the frames.
        activity: what of them is shown.
        registration: nuclear field to anatomy.
        settings: as given.
        lower: value below which nothing is shown.
        upper: top of the colour scale.
        overlap: share of the nuclear field that lies in the anatomy.
        said: what a user should know, a line each.
    """

    pixels: npt.NDArray[np.uint8]
    values: npt.NDArray[np.float32]
    backdrop: Backdrop
    series: NuclearSeries
    activity: Activity
    registration: Registration
    settings: OverlaySettings
    lower: float
    upper: float
    overlap: float
    said: tuple[str, ...] = field(default=())

    @property
    def image(self) -> Image:
        """The colours as an image on the anatomy's grid, with the anatomy's source."""
        return self.backdrop.image.with_pixels(self.pixels, channels=_RGB, quantity="intensity")

    @property
    def is_synthetic(self) -> bool:
        """Whether anatomy or activity was not acquired."""
        return bool(self.label)

    @property
    def label(self) -> str:
        """What is written on the picture when anatomy or activity is synthetic; else empty."""
        parts = [("anatomy", self.backdrop.mark), ("activity", mark_of(self.series.frame(0)))]
        named = " and ".join(name for name, mark in parts if mark)
        return f"synthetic {named}, not for diagnosis" if named else ""


def blend(
    anatomy: npt.NDArray[np.floating[Any]],
    values: npt.NDArray[np.floating[Any]],
    *,
    lower: float,
    upper: float,
    opacity: float = 0.5,
    gamma: float = 1.0,
    colours: str = "hot",
    drawn: npt.NDArray[np.uint8] | None = None,
) -> npt.NDArray[np.uint8]:
    """Lay activity in colour over an anatomy.

    out = (1 − α·w)·anatomy + α·w·colour(v), with v = (clip(value, 0, upper) / upper) ** gamma, α the opacity, w = 0
    where the value is below `lower` or not known, else 1; then rounded to 0…255 (METHODS, section 7). The scale begins
    at 0, not at the threshold, so that twice the activity is twice as far up the colours (with gamma 1).

    Args:
        anatomy: (H, W) or (H, W, 3) in 0…1.
        values: (H, W), NaN where nothing is known.
        lower: in the unit of the values.
        upper: likewise, above 0.
        opacity: 0…1.
        gamma: above 0.
        colours: a key of COLOURS.
        drawn: (H, W, 3), the anatomy in 0…255 where it is known already; it saves time.

    Returns:
        (H, W, 3) uint8.
    """
    shades = np.broadcast_to(anatomy[..., None] if anatomy.ndim == 2 else anatomy, (*values.shape, 3))
    result = (_drawn(shades) if drawn is None else drawn).copy()
    with np.errstate(invalid="ignore"):
        shown = values >= lower  # False for NaN
    share = (np.clip(values[shown].astype(np.float64), 0.0, upper) / upper) ** gamma
    result[shown] = _drawn((1.0 - opacity) * shades[shown].astype(np.float64) + opacity * colours_of(share, colours))
    return result


def _drawn(shades: npt.NDArray[np.floating[Any]]) -> npt.NDArray[np.uint8]:
    """Return shades of 0…1 as 0…255."""
    return np.rint(np.clip(shades.astype(np.float64), 0.0, 1.0) * 255.0).astype(np.uint8)


def backdrop_of(anatomy: Image, settings: OverlaySettings) -> Backdrop:
    """Window an anatomical picture to shades; colours become their luminance unless they are to be kept.

    Args:
        anatomy: a picture of any depth; 16 bits are reduced here, for the display only, and the window is told.
        settings: window, window_percentiles, keep_colour.

    Raises:
        UserError: it is a volume, or has no finite value.
    """
    require_picture(anatomy)
    pixels = anatomy.pixels
    in_colour = settings.keep_colour and len(anatomy.channels) >= 3
    if in_colour:
        values = pixels[..., :3].astype(np.float32)
    else:
        values = luminance(pixels) if anatomy.channels else pixels.astype(np.float32)
    finite = values[np.isfinite(values)]
    if not finite.size:
        raise UserError(f"{anatomy.name} has no finite value; export it again")
    if settings.window is not None:
        low, high = (float(end) for end in settings.window)
        window_from = "given"
    elif in_colour and pixels.dtype.kind == "u":
        low, high = 0.0, float(np.iinfo(pixels.dtype).max)  # stretching the channels would change the colours
        window_from = "the range of the file's type"
    else:
        low, high = (float(end) for end in np.percentile(finite, settings.window_percentiles))
        window_from = "percentiles {:g} and {:g}".format(*settings.window_percentiles)
    shades = np.clip((np.nan_to_num(values, nan=low) - low) / ((high - low) or 1.0), 0.0, 1.0).astype(np.float32)
    shades = shades if in_colour else np.repeat(shades[..., None], 3, axis=2)
    return Backdrop(anatomy, shades, (low, high), window_from, mark_of(anatomy))


def fuse(
    anatomy: Image,
    series: NuclearSeries,
    registration: Registration,
    settings: OverlaySettings | None = None,
) -> Overlay:
    """Lay the activity of some or all frames over an anatomical picture.

    Args:
        anatomy: an X-ray, a photograph or another picture.
        series: frames of raw counts.
        registration: of the nuclear field to the anatomy.
        settings: what to show and how; None for the defaults.

    Raises:
        UserError: the fields do not overlap, an image has no physical size, the anatomy is a volume, or the unit needs
            what is not known of the frames.
    """
    settings = settings or OverlaySettings()
    series = in_time_order(series)
    frames = chosen_frames(series, settings.frames, settings.between)
    return fuse_frames(backdrop_of(anatomy, settings), series, frames, registration, settings)


def fuse_frames(
    backdrop: Backdrop,
    series: NuclearSeries,
    frames: tuple[int, ...],
    registration: Registration,
    settings: OverlaySettings,
) -> Overlay:
    """Lay the activity of the named frames over a backdrop; as `fuse`, which chooses them by the settings."""
    anatomy = backdrop.image
    require_sizes(anatomy, series, unless_shared=registration.kind == "identity")
    overlap = require_overlap(anatomy, series, registration.transform)
    activity = activity_of(series, settings.unit, frames, settings.decay_correct)
    doubts = doubts_of_overlap(anatomy, series, registration.transform)
    said = list(dict.fromkeys([*series.said, *registration.said, *doubts]))
    upper = settings.upper
    if upper is None:
        upper = greatest_inside(activity, series, anatomy, registration)
        if upper <= 0:
            said.append(f"no activity above 0 lies in {anatomy.name}; the colour scale is empty")
            upper = 1.0
        spot = hot_spot_of(activity, series, anatomy, registration)
        said += [spot.note()] if spot else []
    flat = Image(
        activity.values.astype(np.float32),
        series.affine,
        quantity=settings.unit,
        has_physical_size=series.has_physical_size,
        source=Source(series.source.path),
    )
    grid = replace(anatomy, pixels=np.broadcast_to(np.float32(0), anatomy.shape), channels=())
    values = resample(flat, grid, registration.transform, order=1, fill=math.nan).pixels
    lower = settings.threshold * upper
    pixels = blend(
        backdrop.shades,
        values,
        lower=lower,
        upper=upper,
        opacity=settings.opacity,
        gamma=settings.gamma,
        colours=settings.colours,
        drawn=backdrop.pixels,
    )
    return Overlay(
        pixels, values, backdrop, series, activity, registration, settings, lower, upper, overlap, tuple(said)
    )


def greatest_inside(activity: Activity, series: NuclearSeries, anatomy: Image, registration: Registration) -> float:
    """Return the greatest value of the nuclear pixels whose centre lies in the anatomy; 0 without any."""
    inside = coverage(anatomy, series.frame(0), registration.transform.inverse())
    return float(activity.values[inside].max()) if inside.any() else 0.0


def hot_spot_of(
    activity: Activity, series: NuclearSeries, anatomy: Image, registration: Registration
) -> HotSpot | None:
    """Return the small hot place in the anatomy that sets the scale and hides the rest; None where there is none."""
    return hot_spot(activity.values, coverage(anatomy, series.frame(0), registration.transform.inverse()))
