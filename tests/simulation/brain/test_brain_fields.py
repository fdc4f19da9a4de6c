"""Random fields belong to the head and not to the grid; distances are distances."""

import numpy as np
import pytest

from transmodal.simulation.brain.fields import Grid, smooth_noise, stripes, transfer
from transmodal.simulation.brain.scanner import rician
from transmodal.simulation.brain.shapes import ellipsoid, intersection, tube, union

COARSE = Grid((41, 41, 41), (-40.0, -40.0, -40.0), (2.0, 2.0, 2.0))


def test_transfer_is_exact_for_straight_fields_and_follows_flipped_axes():
    x, y, z = COARSE.coordinates()
    target = Grid((10, 9, 8), (20.3, 15.1, -9.7), (-1.5, -1.5, 1.5))
    a, b, c = target.coordinates()
    made = transfer((x + 2 * y - z).astype(np.float32), COARSE, target)
    np.testing.assert_allclose(made, a + 2 * b - c, atol=2e-4)


def test_noise_has_unit_spread_and_belongs_to_the_head():
    fine = Grid((80, 80, 80), (-39.5, -39.5, -39.5), (1.0, 1.0, 1.0))
    sparse = Grid((38, 38, 38), (-35.5, -35.5, -35.5), (2.0, 2.0, 2.0))
    noise, again = (smooth_noise(np.random.default_rng(3), 8.0, grid) for grid in (fine, sparse))
    np.testing.assert_allclose(noise[4::2, 4::2, 4::2], again, atol=1e-5)
    assert noise.std() == pytest.approx(1.0, abs=0.12)
    assert abs(noise.mean()) < 0.15


def test_stripes_have_one_wavelength():
    noise = stripes(np.random.default_rng(1), 20.0)
    power = np.abs(np.fft.fftn(noise)) ** 2
    frequency = np.fft.fftfreq(64, 4.0)
    radius = np.sqrt(frequency[:, None, None] ** 2 + frequency[None, :, None] ** 2 + frequency**2)
    assert float((power * radius).sum() / power.sum()) == pytest.approx(1 / 20, rel=0.1)


def test_distances_are_right_where_they_are_known():
    at = tuple(np.broadcast_to(axis, COARSE.shape) for axis in COARSE.coordinates())
    away = np.sqrt(at[0] ** 2 + at[1] ** 2 + at[2] ** 2)
    ball = ellipsoid(at, (0, 0, 0), (15, 15, 15))
    np.testing.assert_allclose(ball[away > 1], (away - 15)[away > 1], atol=1e-3)
    rod = tube(at, [(-10, 0, 0, 3), (10, 0, 0, 3)])
    assert rod[20, 20, 20] == pytest.approx(-3) and rod[20, 30, 20] == pytest.approx(17)
    assert rod[40, 20, 20] == pytest.approx(27)
    both = union(ball, rod, 4.0)
    assert (both <= np.minimum(ball, rod) + 1e-5).all() and (both >= np.minimum(ball, rod) - 1.001).all()
    assert (intersection(ball, rod) == np.maximum(ball, rod)).all()


def test_noise_without_signal_is_rayleigh_and_with_much_signal_gaussian():
    rng = np.random.default_rng(0)
    dark = rician(rng, np.zeros(200_000, np.float32), 2.0)
    assert dark.mean() == pytest.approx(2.0 * np.sqrt(np.pi / 2), rel=0.01)
    assert dark.std() == pytest.approx(2.0 * np.sqrt(2 - np.pi / 2), rel=0.01)
    bright = rician(rng, np.full(200_000, 100.0, np.float32), 2.0)
    assert bright.mean() == pytest.approx(100 + 2.0**2 / 200, rel=1e-3)
    assert bright.std() == pytest.approx(2.0, rel=0.02)
    weak = rician(rng, np.full(200_000, 3.0, np.float32), 2.0)
    assert (weak.astype(float) ** 2).mean() == pytest.approx(3.0**2 + 2 * 2.0**2, rel=0.01)  # E M² = A² + 2 σ²
