"""Phantoms and their exact integrals."""

import numpy as np
import pytest
import skimage.data

from transmodal.errors import UserError
from transmodal.tomography.geometry import ConeBeam, FanBeam, Grid, ParallelBeam
from transmodal.tomography.phantoms import Ellipse, Ellipsoid, Sphere, line_integrals, rasterise, shepp_logan

DISC = Ellipse(0.02, (1.0, -2.0), (10.0, 10.0))
BALL = Sphere(0.02, (0.0, 1.0, -2.0), 10.0)


def test_chords_of_a_disc_are_exact() -> None:
    beam = ParallelBeam((0.0, 90.0), 31, 1.0)
    sinogram = line_integrals([DISC], beam)
    for view, middle in enumerate((-2.0, 1.0)):
        chord = 2 * np.sqrt(np.maximum(100 - (beam.positions - middle) ** 2, 0))
        np.testing.assert_allclose(sinogram[view], 0.02 * chord, rtol=1e-6)


def test_a_turned_ellipse_is_seen_turned() -> None:
    # Turned from x to y by 30°, its long axis lies along u at 30°.
    ellipse = Ellipse(1.0, (0.0, 0.0), (2.0, 8.0), 30.0)
    sinogram = line_integrals([ellipse], ParallelBeam((30.0, 120.0), 1, 1.0))
    np.testing.assert_allclose(sinogram[:, 0], [4.0, 16.0], rtol=1e-6)
    image = rasterise([ellipse], Grid((21, 21), (1.0, 1.0)), oversampling=1)
    assert image[10 + 3, 10 + 5] == 1 and image[10 - 3, 10 + 5] == 0


def test_a_fan_and_a_cone_see_a_ball_alike_in_the_middle() -> None:
    angles = (0.0, 50.0, 200.0)
    for curved in (False, True):
        fan = line_integrals([DISC], FanBeam(angles, 41, 1.3, 60.0, 100.0, 0.4, curved=curved))
        assert fan.max() == pytest.approx(0.02 * 20, rel=2e-3)
    cone = ConeBeam(angles, 3, 41, 2.0, 1.3, 60.0, 100.0, 0.4)
    flat = line_integrals([DISC], FanBeam(angles, 41, 1.3, 60.0, 100.0, 0.4))
    np.testing.assert_allclose(line_integrals([BALL], cone)[:, 1], flat, rtol=1e-6)


def test_an_ellipsoid_of_equal_axes_is_a_sphere() -> None:
    cone = ConeBeam((10.0,), 9, 9, 3.0, 3.0, 60.0, 100.0)
    round_one = Ellipsoid(0.02, BALL.centre, (10.0, 10.0, 10.0), 33.0)
    np.testing.assert_allclose(line_integrals([round_one], cone), line_integrals([BALL], cone), rtol=1e-5)


def test_a_high_ellipsoid_is_cut_along_z_by_steep_rays() -> None:
    tower = Ellipsoid(1.0, (0.0, 0.0, 0.0), (30.0, 1.0, 1.0))
    cone = ConeBeam((0.0,), 3, 1, 40.0, 1.0, 60.0, 100.0)
    level, steep = line_integrals([tower], cone)[0, 1, 0], line_integrals([tower], cone)[0, 2, 0]
    assert level == pytest.approx(2.0)
    # (t − 60)² + (0.4·t)²/900 = 1, with √1.16 mm of ray in each unit of t.
    a, b, c = 1 + 0.16 / 900, -60.0, 3599.0
    assert steep == pytest.approx(2 * np.sqrt(b * b - a * c) / a * np.sqrt(1.16), rel=1e-5)


def test_attenuation_times_area_is_kept_on_a_grid() -> None:
    grid = Grid((60, 50), (0.5, 0.7), (1.0, -2.0))
    image = rasterise([DISC], grid)
    assert image.sum() * 0.35 == pytest.approx(0.02 * np.pi * 100, rel=1e-3)
    assert image.max() == pytest.approx(0.02)
    assert 0 < np.count_nonzero((image > 0) & (image < 0.0199)) < 160  # the edge alone is partly covered


def test_attenuation_times_volume_is_kept_on_a_grid() -> None:
    grid = Grid((30, 25, 22), (0.8, 1.0, 1.1), (0.0, 1.0, -2.0))
    assert rasterise([BALL], grid).sum() * 0.88 == pytest.approx(0.02 * 4000 / 3 * np.pi, rel=1e-3)


def test_shapes_are_cut_by_the_grid_and_add_up() -> None:
    grid = Grid((8, 8), (1.0, 1.0), (1.0, -2.0))
    image = rasterise([DISC, DISC, Ellipse(5.0, (90.0, 0.0), (3.0, 3.0))], grid)
    np.testing.assert_allclose(image, 0.04)


def test_the_modified_head_is_that_of_scikit_image() -> None:
    theirs = skimage.data.shepp_logan_phantom()
    ours = rasterise(shepp_logan(400.0, 1.0), Grid(theirs.shape, (1.0, 1.0)))
    assert np.abs(ours - theirs).mean() < 0.01
    assert np.abs(ours[::-1] - theirs).mean() > 0.03  # the right way up


def test_the_original_head_has_a_brain_of_water_in_bone() -> None:
    head = rasterise(shepp_logan(50.0, 0.02, modified=False), Grid((100, 100), (0.5, 0.5)))
    assert head[50, 50] == pytest.approx(0.02 * 1.02)
    assert head.max() == pytest.approx(0.04)


def test_what_is_no_shape_is_refused() -> None:
    with pytest.raises(UserError, match="above 0 mm"):
        Sphere(1.0, (0.0, 0.0, 0.0), 0.0)
    with pytest.raises(UserError, match="Sphere has 3 axes, the grid or scan has 2"):
        rasterise([BALL], Grid((4, 4), (1.0, 1.0)))
    with pytest.raises(UserError, match="Ellipse has 2 axes, the grid or scan has 3"):
        line_integrals([DISC], ConeBeam((0.0,), 2, 2, 1.0, 1.0, 10.0, 20.0))
