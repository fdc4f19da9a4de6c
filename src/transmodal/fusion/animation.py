"""A dynamic study as a moving picture: GIF by Pillow, MP4 by OpenCV. For looking at, not for measuring.

Frames follow each other as they did in the study, so many times faster. Both formats lose colours: a GIF has 256 of
them, the same for all frames; MP4 (MPEG-4 part 2) stores colour at half the resolution. While Pillow writes a GIF it
keeps one byte a pixel of every frame: MP4 is the better choice for long studies over large pictures.
"""

import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import PIL.Image
from matplotlib.colors import to_rgb

import transmodal
from transmodal.errors import UserError
from transmodal.fusion.activity import activity_of, chosen_frames
from transmodal.fusion.colours import lookup
from transmodal.fusion.framing import framed
from transmodal.fusion.mp4_comment import write_comment
from transmodal.fusion.overlay import Overlay, OverlaySettings, backdrop_of, fuse_frames, greatest_inside, hot_spot_of
from transmodal.fusion.registration import Registration
from transmodal.fusion.writing import derivation_of, now, overlay_content, require_other_place, title_of, write_content
from transmodal.images.files import atomic_path
from transmodal.images.guard import quiet_stderr
from transmodal.images.image import Image
from transmodal.images.nuclear.frame_order import in_time_order
from transmodal.images.nuclear.series import NuclearSeries
from transmodal.reporting.figures import CASE_BACKGROUND

_SHORTEST = 0.04  # s that a frame is shown at least; a GIF counts in 0.01 s, and viewers slow down below 0.02
_RATE = 25  # pictures a second in an MP4
_GREYS = 64  # of the 256 colours of a GIF; steps of 4, which the eye hardly sees
_BAR = 48  # of the 256, for the colour bar
_GREY = 12  # colours whose channels differ by no more are left to the greys
_LONGEST = 600.0  # s that a GIF lasts at most: a frame holds 655, and frames that look alike become one
_LAST = 1.0  # s that the last frame stays, before a GIF begins again


@dataclass(frozen=True, eq=False)
class Drawn:
    """One frame of a study over its anatomy, as it is shown.

    Attributes:
        number: of the frame in the study, from 0.
        end: when it ends, s after the injection; None where that is not known.
        lower: value below which nothing is shown.
        upper: top of the colour scale.
        texts: all that is written beside it.
        shape: (h, w) of the framed picture.
        packed: its pixels, deflated: hundreds of frames of a large X-ray would fill the memory otherwise.
    """

    number: int
    end: float | None
    lower: float
    upper: float
    texts: tuple[str, ...]
    shape: tuple[int, int]
    packed: bytes

    @property
    def picture(self) -> npt.NDArray[np.uint8]:
        """The framed overlay, (h, w, 3) uint8."""
        return np.frombuffer(zlib.decompress(self.packed), np.uint8).reshape(*self.shape, 3)


@dataclass(frozen=True, eq=False)
class Animation:
    """A dynamic study over its anatomy.

    Attributes:
        first: the overlay of the first frame, for what all have in common.
        frames: all that are shown, in order.
        shown: (F,) s for which each is shown.
        speed: seconds of the study in a second of the animation; None where frames are shown equally long.
        said: what a user should know, a line each.
    """

    first: Overlay
    frames: tuple[Drawn, ...]
    shown: npt.NDArray[np.float64]
    speed: float | None
    said: tuple[str, ...] = ()

    def __len__(self) -> int:
        """Return how many frames are shown."""
        return len(self.frames)

    def picture(self, number: int) -> npt.NDArray[np.uint8]:
        """Return a framed overlay by its place in the animation, (h, w, 3) uint8; all are of one even size."""
        height, width = (max(frame.shape[axis] for frame in self.frames) for axis in (0, 1))
        picture = np.empty((height + height % 2, width + width % 2, 3), np.uint8)
        picture[:] = _background()
        drawn = self.frames[number].picture
        picture[: drawn.shape[0], : drawn.shape[1]] = drawn
        return picture

    def pictures(self) -> Iterator[npt.NDArray[np.uint8]]:
        """Yield the framed overlays one after another, as `picture` gives them."""
        return (self.picture(number) for number in range(len(self)))


def animate(
    anatomy: Image,
    series: NuclearSeries,
    registration: Registration,
    settings: OverlaySettings | None = None,
    *,
    own_scales: bool = False,
    seconds: float = 10.0,
    progress: Callable[[int, int], None] | None = None,
) -> Animation:
    """Lay each frame of a dynamic study over the anatomy.

    Args:
        anatomy: as in `fuse`.
        series: the frames.
        registration: of the nuclear field to the anatomy.
        settings: which frames, and how they are shown; `upper` None takes the greatest value of all of them.
        own_scales: give each frame its own colour scale; then colours cannot be compared between frames.
        seconds: how long the animation lasts; each frame is shown as long as it was measured, so many times faster.
        progress: called with (done, total).

    Raises:
        UserError: as `fuse` and as `require_animation`.
    """
    settings = settings or OverlaySettings()
    require_animation(settings, own_scales=own_scales, seconds=seconds)
    series = in_time_order(series)
    frames = chosen_frames(series, settings.frames, settings.between)
    backdrop = backdrop_of(anatomy, settings)
    hidden: list[str] = []
    if settings.upper is None and not own_scales:
        each = [activity_of(series, settings.unit, (frame,), settings.decay_correct) for frame in frames]
        tops = [greatest_inside(activity, series, anatomy, registration) for activity in each]
        spot = hot_spot_of(each[int(np.argmax(tops))], series, anatomy, registration)
        hidden += [spot.note()] if spot else []
        settings = replace(settings, upper=max(tops) if max(tops) > 0 else 1.0)
    first, drawn = None, []
    for number, frame in enumerate(frames):
        overlay = fuse_frames(backdrop, series, (frame,), registration, settings)
        first = first or overlay
        drawn.append(_drawn(overlay))
        if progress is not None:
            progress(number + 1, len(frames))
    assert first is not None  # `chosen_frames` returns one at least
    shown, speed, said = _times_shown(series, frames, seconds)
    return Animation(first, tuple(drawn), shown, speed, tuple(dict.fromkeys([*first.said, *hidden, *said])))


def require_animation(settings: OverlaySettings, *, own_scales: bool, seconds: float) -> None:
    """Check that an animation can be made so.

    Raises:
        UserError: it would last no time, or its scales are to differ and to have one top.
    """
    if not (np.isfinite(seconds) and seconds > 0):
        raise UserError(f"an animation of {seconds:g} s shows nothing; give a length above 0")
    if own_scales and settings.upper is not None:
        raise UserError(
            f"each frame cannot have its own scale (--own-scales, own_scales=) and all the top {settings.upper:g} "
            "(--upper, upper=); choose one"
        )


def _background() -> npt.NDArray[np.uint8]:
    return np.rint(np.array(to_rgb(CASE_BACKGROUND)) * 255).astype(np.uint8)


def _drawn(overlay: Overlay) -> Drawn:
    with_writing = framed(overlay)
    height, width = with_writing.pixels.shape[:2]
    activity = overlay.activity
    packed = zlib.compress(with_writing.pixels.tobytes(), 1)
    return Drawn(
        activity.frames[0], activity.end, overlay.lower, overlay.upper, with_writing.texts, (height, width), packed
    )


def write_animation(animation: Animation, path: str | Path) -> Path:
    """Write an animation, and what it was made of beside it; return its path.

    Args:
        animation: to be written.
        path: .gif or .mp4.

    Raises:
        UserError: another suffix, a GIF of more than ten minutes, the place is that of an input, or OpenCV cannot
            write MP4 here.
    """
    path = Path(path)
    write = {".gif": _write_gif, ".mp4": _write_mp4}.get(path.suffix.lower())
    if write is None:
        raise UserError(f"Cannot write the animation {path}; end it with .gif or .mp4")
    frames, lasting = animation.frames, float(animation.shown.sum())
    if path.suffix.lower() == ".gif" and lasting > _LONGEST:
        raise UserError(
            f"a GIF cannot last {lasting:.4g} s; write {path.with_suffix('.mp4').name}, or let it last {_LONGEST:g} s "
            "at most (--seconds, seconds=)"
        )
    require_other_place(path, animation.first)
    content = overlay_content(animation.first, path)
    content["activity"] |= {"frames": [frame.number + 1 for frame in frames], "end_s": frames[-1].end}
    content["scale"]["upper"] = sorted({frame.upper for frame in frames})
    content["scale"]["lower"] = sorted({frame.lower for frame in frames})
    content |= {
        "framed": True,
        "shown_s": animation.shown.tolist(),
        "times_faster": animation.speed,
        "said": list(animation.said),
    }
    write_content(path, content)
    with atomic_path(path) as temporary:
        write(animation, temporary, path)
    write_content(path, content | {"written": now()})
    return path


def _times_shown(
    series: NuclearSeries, frames: tuple[int, ...], seconds: float
) -> tuple[npt.NDArray[np.float64], float | None, list[str]]:
    """Return for how long each frame is shown, the speed, and what is to be said of it."""
    picked = list(frames)
    if series.durations is None or not (series.durations[picked] > 0).all():
        return (
            np.full(len(picked), max(seconds / len(picked), _SHORTEST)),
            None,
            ["the frames' durations are not known; each is shown equally long"],
        )
    lasting = series.durations[picked].astype(np.float64)
    if series.starts is not None and len(picked) > 1:
        # A frame stands until the next begins, so that pauses are seen as such.
        lasting[:-1] = np.maximum(np.diff(series.starts[picked]), 0.0)
    speed = float(lasting.sum()) / seconds
    shown = np.maximum(lasting / speed, _SHORTEST)
    short = int((lasting / speed < _SHORTEST).sum())
    said = [f"{short} frames are too short for this speed and are shown for {_SHORTEST:g} s each"] if short else []
    return shown, speed, said


def _write_gif(animation: Animation, temporary: Path, path: Path) -> None:
    palette = _palette(animation)
    drawn = (
        PIL.Image.fromarray(picture).quantize(palette=palette, dither=PIL.Image.Dither.NONE)
        for picture in animation.pictures()
    )
    # Times are rounded where frames end, so that roundings do not add up.
    ends = np.rint(np.cumsum(animation.shown) * 100).astype(int) * 10
    lasting = np.maximum(np.diff(ends, prepend=0), 20)
    lasting[-1] = max(lasting[-1], int(_LAST * 1000))
    comment = derivation_of(animation.first).encode("ascii", "replace")[:255]
    next(drawn).save(
        temporary,
        format="GIF",
        save_all=True,
        append_images=drawn,
        duration=lasting.tolist(),
        loop=0,
        optimize=False,
        disposal=1,
        comment=comment,
    )


def _palette(animation: Animation) -> PIL.Image.Image:
    """Return up to 256 colours for all frames: even greys, background, colour bar, and what occurs in 16 of them.

    Every colour that occurs counts once, however many pixels have it, or the anatomy would take them all.
    """
    last = len(animation) - 1
    seen = np.zeros(1 << 18, np.bool_)
    for at in np.linspace(0, last, min(16, last + 1)):
        red, green, blue = np.moveaxis(animation.picture(round(at)) >> 2, 2, 0)  # steps of 4, which nobody sees
        seen[red.astype(np.intp) << 12 | green.astype(np.intp) << 6 | blue] = True
    packed = np.flatnonzero(seen)
    colours = _no_greys(np.stack([packed >> 12, packed >> 6 & 0x3F, packed & 0x3F], axis=1) << 2 | 2)
    bar = _no_greys(_bar_colours(animation.first.settings))
    greys = np.repeat(np.linspace(0, 255, _GREYS).round()[:, None], 3, axis=1)
    fixed = np.concatenate([greys, _background()[None], bar]).astype(np.uint8)
    entries = [fixed]
    if len(colours):
        row = PIL.Image.fromarray(colours[None].astype(np.uint8))
        cut = row.quantize(256 - len(fixed), method=PIL.Image.Quantize.MEDIANCUT).getpalette() or []
        entries.append(_no_greys(np.array(cut, np.uint8).reshape(-1, 3)))  # means of colours may be grey
    palette = PIL.Image.new("P", (1, 1))
    palette.putpalette(np.concatenate(entries)[:256].ravel().tolist())
    return palette


def _bar_colours(settings: OverlaySettings) -> npt.NDArray[np.float64]:
    """Return evenly spaced colours of the colour bar from the threshold to the top, (n, 3) in 0…255."""
    table = lookup(settings.colours)
    share = np.linspace(settings.threshold**settings.gamma, 1.0, _BAR)
    return np.rint(table[np.unique(np.rint(share * (len(table) - 1)).astype(np.intp))] * 255)


def _no_greys(colours: npt.NDArray[Any]) -> npt.NDArray[Any]:
    return colours[np.ptp(colours, axis=1) > _GREY]


def _write_mp4(animation: Animation, temporary: Path, path: Path) -> None:
    ends = np.rint(np.cumsum(animation.shown) * _RATE).astype(int)
    repeats = np.maximum(np.diff(ends, prepend=0), 1)
    height, width = animation.picture(0).shape[:2]
    with quiet_stderr():
        writer = cv2.VideoWriter(str(temporary), cv2.VideoWriter.fourcc(*"mp4v"), _RATE, (width, height))
    if not writer.isOpened():
        raise UserError(f"OpenCV cannot write {path} as MP4 (mp4v) here; write a .gif instead")
    for picture, times in zip(animation.pictures(), repeats, strict=True):
        for _ in range(int(times)):
            writer.write(picture[..., ::-1])
    writer.release()
    if not temporary.is_file() or temporary.stat().st_size == 0:
        raise UserError(f"OpenCV wrote nothing to {path}; check the place and its free space, or write a .gif instead")
    first = animation.first
    write_comment(temporary, title_of(first), derivation_of(first), f"transmodal {transmodal.__version__}")
