"""Line integrals of solids against closed forms and against a dense march along the ray."""

import numpy as np
import pytest

from transmodal.simulation.mouse.shapes import add_groups, ellipsoid, hull, round_cones

PIXEL = 0.1


def chord(solids, shape=(80, 120)):
    low, high = np.full(shape, 1e9, np.float32), np.full(shape, -1e9, np.float32)
    hull(solids, PIXEL, low, high)
    return np.where(high > low, high - low, 0.0), low, high


def grid(shape=(80, 120)):
    y, x = np.mgrid[: shape[0], : shape[1]]
    return (x + 0.5) * PIXEL, (y + 0.5) * PIXEL


def marched(inside, x, y, z=np.arange(-6, 12, 0.005)):
    """Length of the ray at (x, y) inside a solid, by counting fine steps."""
    return inside(x, y, z).sum() * (z[1] - z[0])


def test_a_sphere_has_the_chord_of_the_closed_form():
    x, y = grid()
    expected = 2 * np.sqrt(np.maximum(2.5**2 - (x - 6.0) ** 2 - (y - 4.0) ** 2, 0.0))
    sphere = ellipsoid(np.array([6.0, 4.0, 3.0]), np.eye(3), np.array([2.5, 2.5, 2.5]))
    degenerate_cone = round_cones(np.array([[6.0, 4.0, 3.0], [6.0, 4.0, 3.0]]), np.array([2.5, 2.5]))
    assert np.abs(chord(sphere)[0] - expected).max() < 1e-4
    assert np.abs(chord(degenerate_cone)[0] - expected).max() < 1e-4


def test_a_turned_ellipsoid_has_its_volume():
    turn = np.linalg.qr(np.random.default_rng(1).normal(size=(3, 3)))[0]
    half = np.array([2.6, 1.4, 0.8])
    length, _, _ = chord(ellipsoid(np.array([6.0, 4.0, 3.0]), turn, half))
    assert length.sum() * PIXEL**2 == pytest.approx(4 / 3 * np.pi * half.prod(), rel=2e-3)


@pytest.mark.parametrize("end", [(8.0, 5.0, 3.0), (6.5, 4.2, 7.0), (5.0, 4.0, 6.0), (5.05, 4.0, 6.0)])
def test_a_round_cone_is_the_union_of_its_spheres(end):
    first, last, radii = np.array([5.0, 4.0, 2.0]), np.array(end), (1.2, 0.7)
    length, _, _ = chord(round_cones(np.array([first, last]), np.array(radii)))
    t = np.linspace(0, 1, 2001)
    centres, sizes = first + t[:, None] * (last - first), radii[0] + t * (radii[1] - radii[0])
    for row, column in ((40, 50), (44, 56), (42, 61), (36, 47), (47, 66), (70, 100)):
        x, y = (column + 0.5) * PIXEL, (row + 0.5) * PIXEL
        room = sizes**2 - (x - centres[:, 0]) ** 2 - (y - centres[:, 1]) ** 2
        root = np.sqrt(room[room > 0])
        z = centres[room > 0, 2]
        expected = (z + root).max() - (z - root).min() if len(z) else 0.0
        assert length[row, column] == pytest.approx(expected, abs=0.02)


def test_a_hollow_tube_leaves_its_wall_and_no_beads_at_the_joints():
    points = np.array([[2.0, 4.0, 2.0], [5.0, 4.0, 2.0], [10.0, 4.0, 2.0]])
    outer, inner = round_cones(points, np.full(3, 1.0)), round_cones(points, np.full(3, 0.6))
    maps = np.zeros((1, 80, 120), np.float32)
    scratch = np.zeros((80, 120), np.float32)
    starts = np.array([0, 2, 4])
    add_groups(np.concatenate([outer, inner]), starts, np.array([[1.0], [-1.0]]), PIXEL, scratch, maps)
    distance = 0.05  # the row's centre lies half a pixel off the axis
    wall = 2 * np.sqrt(1 - distance**2) - 2 * np.sqrt(0.36 - distance**2)
    assert np.allclose(maps[0, 40, 25:95], wall, atol=1e-4)
    assert not scratch.any()
