"""Growth: sizes solved for, distances kept, small ones not yet there."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from transmodal.simulation.abdomen.anatomy import REST, Animal, Site
from transmodal.simulation.abdomen.bodies import make_bodies
from transmodal.simulation.abdomen.subject import _REST_GRID
from transmodal.simulation.abdomen.tumours import SMALLEST, Ground, _draw, _Measure, grow_tumours

ANIMAL = Animal.draw(6)


@pytest.fixture(scope="module")
def ground():
    site = Site.of(ANIMAL, REST, _REST_GRID)
    return Ground.of(site, make_bodies(site))


def grown(ground, seed=6, **wishes):
    asked = {"count": (3, 3), "area": (10, 50), "contrast": -30, "visits": 4, "doubling_days": 7, "new_per_week": 0.0}
    return grow_tumours(replace(ANIMAL, seed=seed), ground, **(asked | wishes))


@settings(max_examples=8, deadline=None)
@given(st.integers(0, 1000), st.floats(0.8, 5.0))
def test_a_tumour_in_free_room_has_the_volume_of_its_shape(ground, seed, radius):
    """Against the mean cube of the radius over directions, which is exact for a star."""
    tumour = _draw(np.random.default_rng(seed), -30, 7, 20.0)
    free = replace(ground, room=np.full_like(ground.room, -99))
    area, volume = _Measure(tumour, free)(radius)
    directions = np.random.default_rng(1).normal(size=(3, 4000))
    directions /= np.linalg.norm(directions, axis=0)
    low, high = np.zeros(4000), np.full(4000, 2.0)
    for _ in range(30):
        middle = (low + high) / 2
        within = tumour.surface(directions * middle) < 0
        low, high = np.where(within, middle, low), np.where(within, high, middle)
    assert volume == pytest.approx(4 / 3 * np.pi * radius**3 * np.mean(low**3), rel=0.05)
    assert 0.6 < area / (np.pi * radius**2) < 1.6


def test_areas_are_as_asked_where_there_is_room(ground):
    tumours = grown(ground, count=(1, 1), area=(55, 55))
    assert tumours[0].areas[-1] == pytest.approx(55, rel=0.01)
    assert tumours[0].areas[0] < tumours[0].areas[1] < tumours[0].areas[2] < tumours[0].areas[3]


def test_more_than_the_liver_holds_is_said_and_not_made(ground):
    (tumour,) = grown(ground, count=(1, 1), area=(160, 160), visits=1)
    assert tumour.wanted == 160 and 90 < tumour.areas[-1] < 159


def test_volumes_follow_the_doubling_time(ground):
    for tumour in grown(ground):
        for weeks, volume in enumerate(reversed(tumour.volumes)):
            expected = tumour.volumes[-1] * 2 ** (-7 * weeks / tumour.doubling_days)
            assert volume == (0 if expected < SMALLEST else pytest.approx(expected, rel=0.01))
        assert 4 < tumour.doubling_days < 12


def test_no_tumour_is_smaller_than_asked_and_none_touches_another(ground):
    for seed in range(4):
        tumours = grown(ground, seed, visits=1, area=(10, 130), count=(4, 4))
        assert tumours[0].areas[-1] >= tumours[-1].areas[-1] * 0.9
        assert all(tumour.areas[-1] >= 9.7 for tumour in tumours)
        axis = np.linspace(-12, 12, 49)
        points = np.stack(np.meshgrid(axis, axis, axis, indexing="ij"))
        made = []
        for number, tumour in enumerate(tumours):
            room = ground.at(ground.room, points)
            for other in tumours[:number]:
                room = np.maximum(room, other.kept_clear(points))
            made.append(tumour.within(tumour.distance(points), room))
        for number, one in enumerate(made):
            for two in made[:number]:
                assert np.maximum(one, two).min() > 0.2


def test_new_tumours_come_as_often_as_asked_and_small(ground):
    counts = [len(grown(ground, seed, count=(0, 0), new_per_week=0.5, visits=3)) for seed in range(12)]
    assert 0.4 < np.mean(counts) < 2.0
    for tumour in grown(ground, 3, count=(1, 1), new_per_week=3.0)[1:]:
        assert tumour.wanted == 0 and tumour.volumes[-1] < 2 * SMALLEST * 2 ** (21 / tumour.doubling_days) * 1.02
