"""Coordinates: poses and animals can be undone, and poses change no axial area."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from transmodal.simulation.abdomen.anatomy import REST, Animal, Lattice, Site, Visit, coarse_grid
from transmodal.simulation.abdomen.skeleton import make_strands
from transmodal.simulation.brain.fields import Grid

GRID = Grid((17, 17, 21), (-16.0, -16.0, -20.0), (2.0, 2.0, 2.0))
inside = st.floats(-15, 15)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 50), st.integers(1, 60), st.lists(st.tuples(inside, inside, inside), min_size=3, max_size=3))
def test_a_pose_can_be_undone_and_keeps_axial_areas(seed, number, corners):
    visit = Visit.draw(Animal(seed), number)
    points = np.array(corners)
    points[:, 2] = points[0, 2]
    placed = visit.to_image(points)
    back = np.stack(visit.to_animal(placed.T), axis=1)
    assert np.allclose(back, points, atol=1e-4)
    assert np.ptp(placed[:, 2]) < 1e-9
    area = [np.linalg.det((each[1:] - each[0])[:, :2]) for each in (points, placed)]
    assert area[1] == pytest.approx(area[0], abs=1e-6)


@pytest.mark.parametrize("seed", [0, 5])
def test_what_the_reference_has_is_found_where_it_was_placed(seed):
    animal = Animal.draw(seed)
    points = np.random.default_rng(seed).uniform((-10, -7, -18), (10, 7, 18), (50, 3))
    placed = animal.place(points).T
    found = np.stack(animal.reference(tuple(placed), animal.warp_at(tuple(placed))), axis=1)
    assert np.abs(found - points).max() < 0.01


def test_animals_differ_and_equal_seeds_give_equal_ones():
    assert Animal.draw(3) == Animal.draw(3) != Animal.draw(4)
    assert Visit.draw(Animal.draw(3), 1) == Visit.draw(Animal.draw(3), 1) != Visit.draw(Animal.draw(3), 2)


def test_noise_has_unit_spread_and_its_grain():
    axis = np.linspace(-18, 18, 60)
    x, y, z = np.meshgrid(axis, axis, axis, indexing="ij")
    noise = Lattice.draw(np.random.default_rng(0), 3.0).at((x, y, z))
    assert abs(noise.mean()) < 0.05 and noise.std() == pytest.approx(1.0, abs=0.06)
    near, far = (np.corrcoef(noise[:-lag].ravel(), noise[lag:].ravel())[0, 1] for lag in (1, 8))
    assert near > 0.8 and abs(far) < 0.1


def test_all_images_see_the_same_nodes():
    one, two = coarse_grid(GRID, 0.5), coarse_grid(Grid((40, 40, 40), (9.8, 9.8, -9.8), (-0.5, -0.5, 0.5)), 0.5)
    for own, other in zip(one.axes, two.axes, strict=True):
        assert set(np.round(other, 6)) <= set(np.round(own, 6))
    assert one.low[0] <= -17 and one.axes[0][-1] >= 17


def test_bones_lie_in_the_body_at_any_visit():
    from transmodal.simulation.abdomen.bodies import make_bodies

    animal = Animal.draw(8)
    for visit in (REST, Visit.draw(animal, 4)):
        site = Site.of(animal, visit, coarse_grid(GRID, 1.0))
        muscle = make_bodies(site).muscle
        strands = make_strands(animal).placed(animal, visit)
        for group in ("rib", "spine", "sternum", "pelvis"):
            ends = strands[group][:, :3]
            ends = ends[np.abs(ends[:, 2]) < 19]
            index = np.rint(ends - np.array(site.grid.low)).astype(int)
            assert (muscle[tuple(index.T)] < 0.7).all(), group
