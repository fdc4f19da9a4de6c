"""A small hot place that sets the colours is said, and the target of a study is seen in spite of it."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from transmodal.fusion.animation import animate
from transmodal.fusion.biodistribution import follow
from transmodal.fusion.framing import captions_of
from transmodal.fusion.hot_spots import hot_spot, rounded_up
from transmodal.fusion.overlay import OverlaySettings, fuse
from transmodal.fusion.region_files import Polygon, Polygons
from transmodal.fusion.regions import regions_from_polygons
from transmodal.fusion.registration import register
from transmodal.fusion.target_scale import top_for
from transmodal.images import Image
from transmodal.images.nuclear import NuclearSeries

EVERYWHERE = np.ones((10, 20), bool)


@pytest.fixture
def bladder(study: NuclearSeries) -> NuclearSeries:
    """Four frames: 5 counts, a bone of 50 along row 2, a bladder of 1500 in each frame."""
    frames = np.full((4, 10, 20), 5, np.uint16)
    frames[:, 2, :] = 50
    frames[:, 6:8, 10:12] = 1500
    return replace(study, frames=frames)


def test_a_spot_hides_what_is_below_the_threshold(bladder: NuclearSeries) -> None:
    values = bladder.frames.sum(axis=0).astype(float)
    values[2] = 600.0
    found = hot_spot(values, EVERYWHERE)
    assert found is not None and found.pixels == 4 and found.beside == 600 and "--upper 600" in found.note()
    assert found.share == 0
    values[2] = 1000.0  # from 15 % of 6000 on it is shown
    assert hot_spot(values, EVERYWHERE) is None
    values[2, 3:] = 800.0
    found = hot_spot(values, EVERYWHERE)
    assert found is not None and found.share == pytest.approx(3000 / (3000 + 17 * 800 + 20 * (200 - 20 - 32)), rel=0.02)


def test_an_organ_is_no_spot() -> None:
    values = np.full((10, 20), 5.0)
    values[2], values[5:8, 5:15] = 60.0, 900.0
    assert hot_spot(values, EVERYWHERE) is None
    values[5:8, 5:13] = 5.0
    found = hot_spot(values, EVERYWHERE)
    assert found is not None and found.pixels == 6


def test_noise_and_emptiness_are_hidden_by_nothing() -> None:
    values = np.full((10, 20), 5.0)
    values[5, 10] = 60.0
    assert hot_spot(values, EVERYWHERE) is None and hot_spot(values * 0, EVERYWHERE) is None
    values[0] = 20.0
    assert hot_spot(np.where(EVERYWHERE, values, np.nan), ~EVERYWHERE) is None


def test_a_target_is_scaled_for_between_cold_and_hot() -> None:
    target, values = np.zeros((10, 20)), np.full((10, 20), 100.0)
    target[2] = 1.0
    assert top_for(target, values, 1000.0) == 100
    assert top_for(target, values, 150.0) is None and top_for(target, values, 3000.0) is None
    assert top_for(target * 0, values, 1000.0) is None
    assert top_for(target * 0.2, values, 1000.0) == 100  # thinner than a pixel


def test_numbers_are_rounded_up_to_two_digits() -> None:
    assert [rounded_up(value) for value in (20311.0, 600.0, 0.01234, 9.91)] == [21000, 600, 0.013, 10]


def test_pictures_say_what_sets_their_colours(xray: Image, bladder: NuclearSeries) -> None:
    bladder.frames[:, 1:4, :] = 200
    registration = register(xray, bladder)
    for said in (fuse(xray, bladder, registration).said, animate(xray, bladder, registration).said):
        assert any("a hot spot of 4 nuclear pixels sets the top" in line for line in said)
    given = fuse(xray, bladder, registration, OverlaySettings(upper=800))
    assert not any("hot spot" in line for line in given.said)
    assert "above 800 in the top colour" in captions_of(given)[0]


def test_a_report_shows_its_target(xray: Image, bladder: NuclearSeries, tmp_path: Path) -> None:
    bladder.frames[:, 1:4, :] = 200
    corners = np.array([[1.0, 2.5], [37.0, 2.5], [37.0, 6.5], [1.0, 6.5]])
    drawn = regions_from_polygons(Polygons((Polygon("bone", corners, "target"),)), xray)
    made = follow(xray, replace(bladder, injection=None), register(xray, bladder), drawn, tmp_path)
    assert made.overlay.upper == pytest.approx(800)
    assert "Scaled for bone" in (tmp_path / "report.html").read_text()
