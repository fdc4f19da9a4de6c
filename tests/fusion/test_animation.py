"""A dynamic study as GIF and MP4, read back."""

import json
import tracemalloc
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import PIL.Image
import pytest

from transmodal.errors import UserError
from transmodal.fusion.animation import Animation, animate, write_animation
from transmodal.fusion.colours import COLOURS, lookup
from transmodal.fusion.framing import framed
from transmodal.fusion.mp4_comment import read_comment, write_comment
from transmodal.fusion.overlay import OverlaySettings, fuse
from transmodal.fusion.registration import register
from transmodal.images import Image, Source, picture_affine
from transmodal.images.note import NOTICE
from transmodal.images.nuclear import NuclearSeries


def animation(xray: Image, study: NuclearSeries, **how: object) -> Animation:
    return animate(xray, study, register(xray, study), **how)  # type: ignore[arg-type]


def test_all_frames_share_one_scale_unless_told(xray: Image, study: NuclearSeries) -> None:
    assert [frame.upper for frame in animation(xray, study).frames] == [800] * 4
    assert [frame.upper for frame in animation(xray, study, own_scales=True).frames] == [800, 400, 200, 100]
    assert [f.upper for f in animation(xray, study, settings=OverlaySettings(upper=50.0)).frames] == [50] * 4


def test_frames_are_shown_as_long_as_they_lasted(xray: Image, study: NuclearSeries) -> None:
    made = animation(xray, study, seconds=6.0)
    # The third frame stands until the fourth begins, 60 s after it ended itself.
    np.testing.assert_allclose(made.shown, np.array([60, 60, 180, 300]) / 100)
    assert made.speed == pytest.approx(100)
    unknown = animation(xray, replace(study, starts=None, durations=None), seconds=6.0)
    np.testing.assert_allclose(unknown.shown, 1.5)
    assert unknown.speed is None and any("equally long" in line for line in unknown.said)


def test_frames_of_a_series_in_memory_are_shown_in_the_order_of_their_times(xray: Image, study: NuclearSeries) -> None:
    order = [2, 0, 3, 1]
    assert study.starts is not None and study.durations is not None
    mixed = replace(study, frames=study.frames[order], starts=study.starts[order], durations=study.durations[order])
    made, expected = animation(xray, mixed), animation(xray, study)
    assert [frame.end for frame in made.frames] == [60.0, 120.0, 240.0, 600.0]
    np.testing.assert_array_equal(made.shown, expected.shown)
    for one, other in zip(made.pictures(), expected.pictures(), strict=True):
        np.testing.assert_array_equal(one, other)
    whole = fuse(xray, mixed, register(xray, mixed))
    assert (whole.activity.start, whole.activity.end) == (0.0, 600.0)
    assert any("not in the order of their times" in line for line in whole.said)


def test_frames_over_one_backdrop_leave_no_trace_in_each_other(xray: Image, study: NuclearSeries) -> None:
    counts = np.zeros_like(study.frames[:2])
    counts[0, 2:5, 2:6], counts[1, 6:9, 12:16] = 600, 300
    assert study.starts is not None and study.durations is not None
    two = replace(study, frames=counts, starts=study.starts[:2], durations=study.durations[:2])
    made = animation(xray, two)
    alone = [
        fuse(xray, two, register(xray, two), OverlaySettings(frames=(frame,), upper=made.first.upper))
        for frame in (0, 1)
    ]
    assert (alone[0].pixels != alone[1].pixels).any(axis=2).sum() > 100
    np.testing.assert_array_equal(made.first.pixels, alone[0].pixels)
    for shown, expected in zip(made.frames, alone, strict=True):
        np.testing.assert_array_equal(shown.picture, framed(expected).pixels)
    with pytest.raises(ValueError, match="read-only"):
        made.first.backdrop.pixels[0, 0] = 0


def test_each_frame_says_its_time_and_its_correction(xray: Image, study: NuclearSeries) -> None:
    made = animation(xray, study, settings=OverlaySettings(decay_correct=True, unit="Bq"))
    said = [" | ".join(frame.texts) for frame in made.frames]
    assert ["1 to 2 min after injection" in each for each in said] == [False, True, False, False]
    assert all("decay-corrected" in each and "Bq in a pixel" in each for each in said)


def test_a_gif_holds_every_frame_its_time_and_the_colours(xray: Image, study: NuclearSeries, tmp_path: Path) -> None:
    made = animation(xray, study, seconds=6.0)
    file = write_animation(made, tmp_path / "a.gif")
    pictures = list(made.pictures())
    with PIL.Image.open(file) as gif:
        assert gif.n_frames == 4 and gif.size == pictures[0].shape[1::-1]
        times = []
        for number, picture in enumerate(pictures):
            gif.seek(number)
            times.append(gif.info["duration"])
            difference = np.abs(np.array(gif.convert("RGB")).astype(int) - picture)
            assert difference.mean() < 3 and np.percentile(difference, 99.5) < 40
            anatomy = np.array(gif.convert("RGB"))[framed(made.first).top + 4, 40:600].astype(int)
            assert np.ptp(anatomy, axis=1).max() == 0  # greys stay grey
    assert times == [600, 600, 1800, 3000]
    content = json.loads((tmp_path / "a.gif.fusion.json").read_text())
    assert content["activity"]["frames"] == [1, 2, 3, 4] and content["times_faster"] == 100 and content["written"]
    assert content["scale"]["upper"] == [800]


def test_rare_colours_of_the_scale_survive_the_256_of_a_gif(xray: Image, study: NuclearSeries, tmp_path: Path) -> None:
    made = animation(xray, study)
    column = bar_of(write_animation(made, tmp_path / "a.gif"), made)
    for share in (0.3, 0.5, 0.8):
        row = round((1 - share) * 299)
        assert np.abs(column[row] - lookup("hot")[round(share * 255)] * 255).max() < 12


@pytest.mark.parametrize(("colours", "gamma"), [*((name, 1.0) for name in COLOURS), ("hot", 0.5)])
def test_the_colour_bar_of_a_gif_has_many_steps_and_greys_stay_grey(
    colours: str, gamma: float, study: NuclearSeries, tmp_path: Path
) -> None:
    # Every share of the scale lies over every grey, so that a GIF's colours are scarce.
    greys = np.random.default_rng(0).integers(0, 60000, (320, 640)).astype(np.uint16)
    ramp = np.tile(np.linspace(0, 800, 20), (10, 1)).astype(np.uint16)
    shades = Image(greys, picture_affine((20 / 320, 40 / 640)))
    made = animation(
        shades, replace(study, frames=ramp[None].repeat(4, 0)), settings=OverlaySettings(colours=colours, gamma=gamma)
    )
    file = write_animation(made, tmp_path / "a.gif")
    shown = slice(1, 250)  # above the threshold, below the outline
    column, expected = bar_of(file, made)[shown], bar_in(made.picture(0), made)[shown]
    assert len(np.unique(column, axis=0)) >= 40
    assert np.abs(column - expected).max() < 16
    with PIL.Image.open(file) as gif:
        back = np.array(gif.convert("RGB")).astype(int)
    grey = np.ptp(made.picture(0), axis=2) == 0
    assert grey.sum() > 10_000 and np.ptp(back[grey], axis=1).max() == 0


def bar_of(file: Path, made: Animation) -> np.ndarray:
    """Return the colours of the colour bar in the first picture of a GIF, from the top down, (300, 3)."""
    with PIL.Image.open(file) as gif:
        return bar_in(np.array(gif.convert("RGB")), made)


def bar_in(picture: np.ndarray, made: Animation) -> np.ndarray:
    """Return them in the middle of the bar's width."""
    drawn = framed(made.first)
    return picture[drawn.top + 10 : drawn.top + 310, drawn.left + 640 + 15 + 8].astype(int)


def pictures_of(film: Path) -> list[np.ndarray]:
    """Return the pictures of a film, RGB."""
    movie, back = cv2.VideoCapture(str(film)), []
    while (got := movie.read())[0]:
        back.append(got[1][..., ::-1])
    movie.release()
    return back


def test_an_mp4_holds_every_frame_for_its_time(xray: Image, study: NuclearSeries, tmp_path: Path) -> None:
    made = animation(xray, study, seconds=1.0)
    file = write_animation(made, tmp_path / "a.mp4")
    assert not [each for each in tmp_path.iterdir() if each.name.startswith(".")]
    pictures = list(made.pictures())
    back = pictures_of(file)
    assert back[0].shape == pictures[0].shape
    assert len(back) == 25
    for at, which in ((0, 0), (3, 1), (24, 3)):
        assert np.abs(back[at].astype(int) - pictures[which]).mean() < 6


def test_frames_of_a_large_xray_do_not_fill_the_memory() -> None:
    anatomy = Image(np.tile(np.linspace(0, 60000, 600).astype(np.uint16), (400, 1)), picture_affine((0.1, 0.1)))
    study = NuclearSeries(np.full((24, 10, 15), 5, np.uint16), picture_affine((4.0, 4.0)))
    registration = register(anatomy, study)
    animate(anatomy, study, registration, OverlaySettings(frames=(0, 1)))  # fonts and colours are read once
    peaks = []
    for frames in (4, 24):
        tracemalloc.start()
        made = animate(anatomy, study, registration, OverlaySettings(frames=tuple(range(frames))))
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        assert len(made) == frames and made.picture(frames - 1).shape[0] > 400
    assert peaks[1] - peaks[0] < 20 * anatomy.pixels.size  # an overlay takes ten bytes a pixel and more


def test_sizes_are_even_and_the_same(xray: Image, study: NuclearSeries) -> None:
    pictures = list(animation(xray, study, own_scales=True).pictures())
    assert len({each.shape for each in pictures}) == 1
    assert pictures[0].shape[0] % 2 == 0 and pictures[0].shape[1] % 2 == 0


def test_a_synthetic_anatomy_is_labelled_in_every_frame(xray: Image, study: NuclearSeries, tmp_path: Path) -> None:
    marked = replace(xray, source=Source(derivation=f"{NOTICE} xray made by a test"))
    made = animation(marked, study)
    assert all("synthetic anatomy, not for diagnosis" in frame.texts for frame in made.frames)
    file = write_animation(made, tmp_path / "a.gif")
    with PIL.Image.open(file) as gif:
        assert gif.info["comment"].decode().startswith(NOTICE)
    assert json.loads((tmp_path / "a.gif.fusion.json").read_text())["synthetic"] is True
    film = write_animation(made, tmp_path / "a.mp4")
    assert (
        read_comment(film).startswith(NOTICE) and "synthetic anatomy, not for diagnosis" in read_comment(film).lower()
    )
    assert film.read_bytes().count(b"udta") == 1
    said = read_comment(write_animation(animation(xray, study), tmp_path / "b.mp4"))
    assert said.startswith("Activity (counts") and NOTICE not in said


def test_words_are_put_into_films_of_any_order(xray: Image, study: NuclearSeries, tmp_path: Path) -> None:
    film = write_animation(animation(xray, study), tmp_path / "a.mp4")
    expected = pictures_of(film)
    film.write_bytes(film.read_bytes() + b"\x00\x00\x00\x0cfreelast")  # now moov is not the last box
    write_comment(film, "title", "Ünlike the first", "test")
    assert read_comment(film) == "Ünlike the first" and film.read_bytes().count(b"free") >= 2
    np.testing.assert_array_equal(pictures_of(film), expected)
    for content in (b"", b"GIF89a and more", bytes(64)):
        (tmp_path / "no.mp4").write_bytes(content)
        with pytest.raises(UserError, match="no MP4 file"):
            write_comment(tmp_path / "no.mp4", "", "", "")
        assert read_comment(tmp_path / "no.mp4") == ""


def test_what_cannot_be_written_is_said_and_leaves_nothing(
    xray: Image, study: NuclearSeries, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = animation(xray, study)
    with pytest.raises(UserError, match=r"end it with \.gif or \.mp4"):
        write_animation(made, tmp_path / "a.avi")
    with pytest.raises(UserError, match="length above 0"):
        animation(xray, study, seconds=0.0)
    with pytest.raises(UserError, match=r"own scale .* and all the top 50 .* choose one"):
        animation(xray, study, settings=OverlaySettings(upper=50.0), own_scales=True)
    long = animation(xray, study, seconds=700.0)  # a frame of a GIF holds 655 s
    with pytest.raises(UserError, match=r"a GIF cannot last 700 s; write a\.mp4, or let it last 600 s at most"):
        write_animation(long, tmp_path / "a.gif")
    assert not list(tmp_path.iterdir())

    class Closed:
        def isOpened(self) -> bool:
            return False

    monkeypatch.setattr(cv2, "VideoWriter", type("W", (), {"fourcc": lambda *_: 0, "__new__": lambda *_: Closed()}))
    with pytest.raises(UserError, match=r"cannot write .* as MP4 .* write a \.gif"):
        write_animation(made, tmp_path / "a.mp4")
    assert not (tmp_path / "a.mp4").exists()
    assert not [each for each in tmp_path.iterdir() if each.suffix == ".mp4"]
