import numpy as np
import pytest

from transmodal.errors import UserError
from transmodal.tomography.degradations import FewerAngles, LimitedAngle, LimitedField
from transmodal.tomography.geometry import FanBeam, ParallelBeam, evenly

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
    with pytest.raises(UserError, match="no view between 200° and 210°; the scan has them from 0° to 179°"):
        LimitedAngle(degrees=10, start=200).acquire(BEAM)


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
