"""Arcs of views and shares of rays."""

from dataclasses import replace

import numpy as np
import pytest

from transmodal.tomography.geometry import ConeBeam, FanBeam, ParallelBeam, evenly
from transmodal.tomography.scan_weights import is_displaced, ray_weights, scan_kind, view_weights, widened

FAN = FanBeam(evenly(360, 360), 101, 0.8, 100, 160)
WIDTH = 2 * float(np.rad2deg(np.abs(FAN.fan_angles).max()))  # of the fan, in degrees


@pytest.mark.parametrize(
    "angles",
    [evenly(180, 180), evenly(7, 180, 33), evenly(360, 360), evenly(271, 270), tuple(np.linspace(0, 180, 91)), (12.0,)],
)
def test_a_half_turn_weighs_pi(angles: tuple[float, ...]) -> None:
    weights = view_weights(angles, 180)
    assert weights.sum() == pytest.approx(np.pi)
    assert (weights > 0).all()


def test_random_and_golden_angles_weigh_their_whole_arc() -> None:
    golden = tuple(np.mod(np.arange(100) * 111.246, 180))
    assert view_weights(golden, 180).sum() == pytest.approx(np.pi)
    random = tuple(np.random.default_rng(0).uniform(0, 180, 200))
    assert view_weights(random, 180).sum() == pytest.approx(np.pi, rel=0.05)


def test_views_share_the_arc_with_those_at_the_same_angle() -> None:
    weights = np.rad2deg(view_weights((0.0, 10.0, 10.0, 20.0, 190.0, 40.0, 60.0, 120.0, 179.99999, 90.0, 150.0), 180))
    assert weights[1] == weights[2] == weights[4] == pytest.approx(10 / 3)
    assert weights[0] == weights[8] == pytest.approx(10)  # 30° from 150 and 10° to 10, halved, for two views


def test_a_view_beside_a_missing_arc_stands_for_one_step() -> None:
    assert np.allclose(np.rad2deg(view_weights(evenly(60, 120), 180)), 2)
    assert np.allclose(np.rad2deg(view_weights(evenly(60, 120, 100), 360)), 2)
    two_arcs = (*evenly(30, 60), *evenly(30, 60, 90))
    assert np.allclose(np.rad2deg(view_weights(two_arcs, 180)), 2)


def test_bursts_of_views_are_no_missing_arcs() -> None:
    angles = tuple(start + step for start in range(0, 180, 10) for step in (0.0, 1.0, 2.0))
    assert view_weights(angles, 180).sum() == pytest.approx(np.pi)


@pytest.mark.parametrize(
    ("angles", "parallel", "fan"),
    [
        (evenly(180, 180), "half", "limited"),
        (evenly(8, 180), "half", "limited"),
        (evenly(120, 120), "limited", "limited"),
        (evenly(360, 360), "full", "full"),
        (evenly(20, 360), "full", "full"),
        (evenly(240, 180 + WIDTH), "half", "half"),
        (evenly(240, 180 + WIDTH, 250), "half", "half"),
        (evenly(240, 300), "half", "half"),
        (evenly(240, 185 + WIDTH / 2), "half", "limited"),
        (tuple(-angle for angle in evenly(240, 240)), "half", "half"),
    ],
)
def test_the_kind_of_scan_follows_from_its_arc(angles: tuple[float, ...], parallel: str, fan: str) -> None:
    assert scan_kind(ParallelBeam(angles, 101, 0.5)) == parallel
    assert scan_kind(FAN.at(angles)) == fan
    assert scan_kind(replace(FAN, curved=True).at(angles)) == fan
    assert scan_kind(ConeBeam(angles, 5, 101, 0.8, 0.8, 100, 160)) == fan


@pytest.mark.parametrize("start", [0.0, 77.0, -300.0])
@pytest.mark.parametrize("arc", [180 + WIDTH, 300.0, 200.0, 120.0])
def test_the_shares_of_a_line_add_to_one(start: float, arc: float) -> None:
    # The other end of the ray (θ, γ) is (θ − 2γ + 180°, −γ); where the scan has both, between two of its views.
    beam = FAN.at(evenly(720, arc, start))
    shares = ray_weights(beam)
    assert shares.min() >= 0 and shares.max() <= 1
    fan = np.rad2deg(beam.fan_angles)
    angles = np.asarray(beam.angles)
    for bin in range(0, 101, 10):
        other = np.mod(angles - 2 * fan[bin] + 180 - start, 360)
        seen = (other > 0) & (other < angles[-1] - start)
        partner = np.interp(other[seen], angles - start, shares[:, 100 - bin])
        assert np.allclose(shares[seen, bin] + partner, 1, atol=1e-2)
        assert np.allclose(shares[~seen & (other > arc + 1) & (other < 359), bin], 1, atol=2e-3)


def test_a_full_turn_halves_and_a_displaced_detector_fades() -> None:
    assert (ray_weights(FAN) == 0.5).all()
    assert (ray_weights(replace(FAN, offset=0.2)) == 0.5).all()  # a quarter of a bin
    aside = replace(FAN, offset=24.0)
    assert is_displaced(aside) and not is_displaced(aside.at(evenly(250, 250)))
    shares = ray_weights(aside)[0]
    overlap = aside.positions < 16.4
    assert np.allclose(shares[overlap] + shares[overlap][::-1], 1, atol=1e-6)
    assert (shares[~overlap] == 1).all() and shares[0] < 0.01
    wide, added = widened(aside)
    assert added == (60, 0)
    assert np.allclose(wide.positions[60:], aside.positions)
    assert wide.positions[0] == pytest.approx(-wide.positions[-1])
    mirrored = replace(aside, offset=-24.0)
    assert np.allclose(ray_weights(mirrored)[0], shares[::-1])
    assert np.allclose(widened(mirrored)[0].positions[:101], mirrored.positions)
