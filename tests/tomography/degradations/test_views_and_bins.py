import numpy as np
import pytest

from transmodal.errors import UserError
from transmodal.tomography.degradations import FewerAngles, LimitedAngle, LimitedField
from transmodal.tomography.geometry import FanBeam, ParallelBeam, evenly
from transmodal.tomography.scan import degrade

BEAM = ParallelBeam(evenly(180, 180.0), 101, 2.0)


def test_a_number_of_angles_is_spread_evenly() -> None:
    assert FewerAngles(angles=60).acquire(BEAM).angles == evenly(60, 180.0)
    uneven = np.diff(FewerAngles(angles=70).acquire(BEAM).angles)
    assert len(uneven) == 69 and uneven.min() >= 2 and uneven.max() <= 3


def test_every_tenth_view_is_a_tenth_of_the_angles() -> None:
    assert FewerAngles(every=10).acquire(BEAM).angles == evenly(18, 180.0)


def test_more_angles_than_there_are_are_refused() -> None:
    with pytest.raises(UserError, match="200 views cannot be kept of 180"):
        FewerAngles(angles=200).acquire(BEAM)


def test_a_limited_angle_keeps_its_arc() -> None:
    kept = LimitedAngle(degrees=90, start=30).acquire(BEAM).angles
    assert kept[0] == pytest.approx(30) and kept[-1] == pytest.approx(119) and len(kept) == 90
    with pytest.raises(UserError, match="the scan has one every 1°"):
        LimitedAngle(degrees=0.5, start=10.2).acquire(BEAM)


def _fan(degrees: float, views: int = 360) -> FanBeam:
    return FanBeam(evenly(views, degrees), 101, 2.0, 300.0, 500.0)


@pytest.mark.parametrize(("degrees", "start"), [(120, 300), (90, -45), (360, -10), (30, 700)])
def test_a_limited_angle_may_pass_the_beginning_of_a_full_turn(degrees: float, start: float) -> None:
    kept = np.asarray(LimitedAngle(degrees=degrees, start=start).acquire(_fan(360.0)).angles)
    assert kept == pytest.approx(start + np.arange(degrees))  # as the sentence says: none is missing, in their order
    assert set(np.mod(kept, 360)) <= set(_fan(360.0).angles)


def test_after_half_a_turn_parallel_rays_return() -> None:
    kept = LimitedAngle(degrees=60, start=150).acquire(BEAM).angles
    assert kept == pytest.approx(np.arange(150, 210))
    with pytest.raises(UserError, match="200° cannot be kept of 180°"):
        LimitedAngle(degrees=200).acquire(BEAM)
    assert len(LimitedAngle(degrees=180).acquire(BEAM).angles) == 180


@pytest.mark.parametrize(("degrees", "start"), [(60, 200), (20, 300), (90, -45), (300, 0)])
def test_an_arc_that_the_scan_has_not_gone_through_is_refused(degrees: float, start: float) -> None:
    with pytest.raises(UserError, match="the scan has them from 0° to 219° alone"):
        LimitedAngle(degrees=degrees, start=start).acquire(_fan(220.0, 220))
    assert len(LimitedAngle(degrees=220).acquire(_fan(220.0, 220)).angles) == 220


def test_a_scan_that_jumps_about_keeps_its_order_in_time() -> None:
    beam = _fan(360.0).at([0.0, 180.0, 90.0, 270.0, 45.0, 225.0, 135.0, 315.0])
    assert LimitedAngle(degrees=180, start=270).acquire(beam).angles == (360.0, 270.0, 405.0, 315.0)


def test_an_image_of_an_arc_past_zero_is_that_of_the_arc_turned() -> None:
    down, right = np.mgrid[:48, :48] - 23.5
    image = np.where(np.hypot(down, right) < 16, 0.0, -1000.0) + np.where(np.hypot(down, right - 8) < 4, 300.0, 0.0)
    ends = degrade(image, (2.0, 2.0), [LimitedAngle(degrees=120, start=300)], beam=_fan(360.0, 90)).image
    # Turned by 60°, the object is scanned from 0° to 120° with the same result.
    turned = _fan(360.0, 90).at(np.asarray(evenly(90, 360.0)) - 60.0)
    same = degrade(image, (2.0, 2.0), [LimitedAngle(degrees=120, start=-60)], beam=turned).image
    assert ends == pytest.approx(same, abs=0.5)


def test_a_limited_field_keeps_the_bins_in_their_places() -> None:
    narrow = LimitedField(diameter_mm=50).acquire(BEAM)
    assert narrow.bins == 25
    assert narrow.positions == pytest.approx(np.arange(-24, 25, 2))
    with pytest.raises(UserError, match="no bin sees a circle"):
        LimitedField(diameter_mm=0.5).acquire(ParallelBeam(evenly(18, 180.0), 100, 2.0))


@pytest.mark.parametrize("curved", [False, True])
def test_a_limited_field_of_a_fan_is_measured_at_the_axis(curved: bool) -> None:
    beam = FanBeam(evenly(90, 360.0), 400, 1.0, 500.0, 1000.0, offset=0.25, curved=curved)
    narrow = LimitedField(diameter_mm=100).acquire(beam)
    reach = beam.source_to_axis * np.abs(np.sin(narrow.fan_angles))
    assert reach.max() <= 50 < reach.max() + 0.6
    assert set(np.round(narrow.positions, 6)) <= set(np.round(beam.positions, 6))
