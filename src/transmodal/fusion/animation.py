"""A dynamic study as a moving picture: GIF by Pillow, MP4 by OpenCV. For looking at, not for measuring.

Frames follow each other as they did in the study, so many times faster. Both formats lose colours: a GIF has 256 of
them, the same for all frames; MP4 (MPEG-4 part 2) stores colour at half the resolution.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import PIL.Image
from matplotlib.colors import to_rgb

import transmodal
from transmodal.errors import UserError
from transmodal.fusion.activity import activity_of, chosen_frames
from transmodal.fusion.framing import framed
from transmodal.fusion.mp4_comment import write_comment
from transmodal.fusion.overlay import Overlay, OverlaySettings, backdrop_of, fuse_frames, greatest_inside, hot_spot_of
from transmodal.fusion.registration import Registration
from transmodal.fusion.writing import derivation_of, now, overlay_content, require_other_place, title_of, write_content
from transmodal.images.files import atomic_path
from transmodal.images.guard import quiet_stderr
from transmodal.images.image import Image
from transmodal.images.nuclear.series import NuclearSeries
from transmodal.reporting.figures import CASE_BACKGROUND

_SHORTEST = 0.04  # s that a frame is shown at least; a GIF counts in 0.01 s, and viewers slow down below 0.02
_RATE = 25  # pictures a second in an MP4
_GREYS = 80  # of the 256 colours of a GIF; steps of 3, which the eye hardly sees
_GREY = 12  # colours whose channels differ by no more are left to the greys
_LAST = 1.0  # s that the last frame stays, before a GIF begins again


@dataclass(frozen=True, eq=False)
class Animation:
    """A dynamic study over its anatomy.

    Attributes:
        overlays: one for each frame.
        shown: (F,) s for which each is shown.
        speed: seconds of the study in a second of the animation; None where frames are shown equally long.
        said: what a user should know, a line each.
    """

    overlays: tuple[Overlay, ...]
    shown: npt.NDArray[np.float64]
    speed: float | None
    said: tuple[str, ...] = ()

    def pictures(self) -> list[npt.NDArray[np.uint8]]:
        """Return the framed overlays, (h, w, 3) uint8, all of one even size."""
        drawn = [framed(overlay).pixels for overlay in self.overlays]
        height, width = (max(each.shape[axis] for each in drawn) for axis in (0, 1))
        ground = np.rint(np.array(to_rgb(CASE_BACKGROUND)) * 255).astype(np.uint8)
        pictures = []
        for each in drawn:
            picture = np.empty((height + height % 2, width + width % 2, 3), np.uint8)
            picture[:] = ground
            picture[: each.shape[0], : each.shape[1]] = each
            pictures.append(picture)
        return pictures


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
        UserError: as `fuse`, or the animation would last no time.
    """
    settings = settings or OverlaySettings()
    if not (np.isfinite(seconds) and seconds > 0):
        raise UserError(f"an animation of {seconds:g} s shows nothing; give a length above 0")
    frames = chosen_frames(series, settings.frames, settings.between)
    backdrop = backdrop_of(anatomy, settings)
    hidden: list[str] = []
    if settings.upper is None and not own_scales:
        each = [activity_of(series, settings.unit, (frame,), settings.decay_correct) for frame in frames]
        tops = [greatest_inside(activity, series, anatomy, registration) for activity in each]
        spot = hot_spot_of(each[int(np.argmax(tops))], series, anatomy, registration)
        hidden += [spot.note()] if spot else []
        settings = replace(settings, upper=max(tops) if max(tops) > 0 else 1.0)
    overlays = []
    for number, frame in enumerate(frames):
        overlays.append(fuse_frames(backdrop, series, (frame,), registration, settings))
        if progress is not None:
            progress(number + 1, len(frames))
    shown, speed, said = _times_shown(series, frames, seconds)
    return Animation(tuple(overlays), shown, speed, tuple(dict.fromkeys([*overlays[0].said, *hidden, *said])))


def write_animation(animation: Animation, path: str | Path) -> Path:
    """Write an animation, and what it was made of beside it; return its path.

    Args:
        animation: to be written.
        path: .gif or .mp4.

    Raises:
        UserError: another suffix, the place is that of an input, or OpenCV cannot write MP4 here.
    """
    path = Path(path)
    write = {".gif": _write_gif, ".mp4": _write_mp4}.get(path.suffix.lower())
    if write is None:
        raise UserError(f"Cannot write the animation {path}; end it with .gif or .mp4")
    first, last = animation.overlays[0], animation.overlays[-1]
    require_other_place(path, first)
    content = overlay_content(first, path)
    content["activity"] |= {
        "frames": [overlay.activity.frames[0] + 1 for overlay in animation.overlays],
        "end_s": last.activity.end,
    }
    content["scale"]["upper"] = sorted({overlay.upper for overlay in animation.overlays})
    content["scale"]["lower"] = sorted({overlay.lower for overlay in animation.overlays})
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
    pictures = animation.pictures()
    palette = _palette(pictures)
    drawn = [
        PIL.Image.fromarray(picture).quantize(palette=palette, dither=PIL.Image.Dither.NONE) for picture in pictures
    ]
    # Times are rounded where frames end, so that roundings do not add up.
    ends = np.rint(np.cumsum(animation.shown) * 100).astype(int) * 10
    lasting = np.maximum(np.diff(ends, prepend=0), 20)
    lasting[-1] = max(lasting[-1], int(_LAST * 1000))
    comment = derivation_of(animation.overlays[0]).encode("ascii", "replace")[:255]
    drawn[0].save(
        temporary,
        format="GIF",
        save_all=True,
        append_images=drawn[1:],
        duration=lasting.tolist(),
        loop=0,
        optimize=False,
        disposal=1,
        comment=comment,
    )


def _palette(pictures: list[npt.NDArray[np.uint8]]) -> PIL.Image.Image:
    """Return 256 colours that suit all frames: even greys, and colours that occur in up to 16 frames, evenly chosen.

    Every colour that occurs counts once, however many pixels have it, or the anatomy would take them all.
    """
    chosen = np.stack([pictures[round(at)] for at in np.linspace(0, len(pictures) - 1, min(16, len(pictures)))])
    coarse = (chosen & 0xFC).astype(np.uint32)  # steps of 4, which nobody sees, keep the list short
    packed = np.unique(coarse[..., 0] << 16 | coarse[..., 1] << 8 | coarse[..., 2])
    colours = np.stack([packed >> 16, packed >> 8 & 0xFF, packed & 0xFF], axis=1).astype(np.uint8)
    colours = colours[np.ptp(colours, axis=1) > _GREY]
    entries = np.repeat(np.linspace(0, 255, _GREYS).round().astype(np.uint8)[:, None], 3, axis=1).ravel().tolist()
    if len(colours):
        row = PIL.Image.fromarray(colours[None] | 2)
        entries += row.quantize(256 - _GREYS, method=PIL.Image.Quantize.MEDIANCUT).getpalette() or []
    palette = PIL.Image.new("P", (1, 1))
    palette.putpalette(entries[: 3 * 256])
    return palette


def _write_mp4(animation: Animation, temporary: Path, path: Path) -> None:
    pictures = animation.pictures()
    ends = np.rint(np.cumsum(animation.shown) * _RATE).astype(int)
    repeats = np.maximum(np.diff(ends, prepend=0), 1)
    height, width = pictures[0].shape[:2]
    with quiet_stderr():
        writer = cv2.VideoWriter(str(temporary), cv2.VideoWriter.fourcc(*"mp4v"), _RATE, (width, height))
    if not writer.isOpened():
        raise UserError(f"OpenCV cannot write {path} as MP4 (mp4v) here; write a .gif instead")
    for picture, times in zip(pictures, repeats, strict=True):
        for _ in range(int(times)):
            writer.write(picture[..., ::-1])
    writer.release()
    if not temporary.is_file() or temporary.stat().st_size == 0:
        raise UserError(f"OpenCV wrote nothing to {path}; check the place and its free space, or write a .gif instead")
    first = animation.overlays[0]
    write_comment(temporary, title_of(first), derivation_of(first), f"transmodal {transmodal.__version__}")
