from collections.abc import Callable

import numpy as np
import pytest

from transmodal.tomography.degradations import Breathing, LimitedAngle, RigidMotion
from transmodal.tomography.scan import degrade

Discs = Callable[..., np.ndarray]


def _middle(image: np.ndarray) -> tuple[float, float]:
    """Return the centroid (y, x) of what is not air, in pixels from the middle."""
    mass = np.clip(image + 1000, 0, None)
    mass[mass < 300] = 0
    places = np.mgrid[: image.shape[0], : image.shape[1]] - (image.shape[0] - 1) / 2
    return tuple(float((mass * place).sum() / mass.sum()) for place in places)  # type: ignore[return-value]


def test_a_shift_before_nearly_all_views_shows_the_object_shifted(disc_hu: Discs) -> None:
    image = disc_hu(64, (0, 0, 12, 0))
    step = RigidMotion(shift_mm=(8.0, -4.0), moment=1e-6)
    assert _middle(degrade(image, (2.0, 2.0), [step], beam=90).image) == pytest.approx((4.0, -2.0), abs=0.1)


def test_a_turn_goes_from_x_towards_y(disc_hu: Discs) -> None:
    image = disc_hu(64, (0, 20, 6, 0))
    made = degrade(image, (1.0, 1.0), [RigidMotion(degrees=90.0, moment=1e-6)], beam=90).image
    assert _middle(made) == pytest.approx((20.0, 0.0), abs=0.15)


def test_poses_share_out_all_views_once() -> None:
    steps = (
        RigidMotion(shift_mm=(1, 0)),
        RigidMotion(degrees=3, course="steady", steps=7),
        Breathing(amplitude_mm=5, period_s=0.7),
    )
    for step in steps:
        poses = step.poses(100, -50.0, 50.0)
        assert sorted(np.concatenate([pose.views for pose in poses])) == list(range(100))
    steady = steps[1].poses(100, -50.0, 50.0)
    assert len(steady) == 7 and steady[0].at_rest and not steady[-1].at_rest


def test_breathing_moves_the_front_and_not_the_back() -> None:
    step = Breathing(amplitude_mm=6.0, period_s=2.0, scan_s=4.0, steps=5)
    poses = step.poses(400, front=-80.0, back=40.0)
    front = [float((pose.matrix @ [-80.0, 0.0] + pose.shift)[0]) for pose in poses]
    back = [float((pose.matrix @ [40.0, 10.0] + pose.shift)[0]) for pose in poses]
    assert min(front) == pytest.approx(-86.0) and max(front) == pytest.approx(-80.0)
    assert back == pytest.approx([40.0] * 5)
    highest = poses[int(np.argmin(front))].views  # two breaths: full at a quarter and at three quarters of the scan
    assert set(highest) == set(399 - highest) and 100 in highest and 300 in highest and 200 not in highest


def test_motion_within_a_scan_blurs_and_streaks(disc_hu: Discs) -> None:
    image = disc_hu(64, (0, 0, 20, 0), (0, 0, 6, 500))
    still = degrade(image, (1.0, 1.0), [], beam=90).image
    for step in (RigidMotion(shift_mm=(3.0, 0.0)), Breathing(amplitude_mm=5.0, period_s=1.0)):
        moved = degrade(image, (1.0, 1.0), [step], beam=90).image
        assert np.abs(moved - still).mean() > 15


def test_no_motion_is_refused() -> None:
    with pytest.raises(ValueError, match="neither shift_mm nor degrees"):
        RigidMotion()


@pytest.mark.parametrize(
    "step",
    [
        RigidMotion(shift_mm=(1.0, 0.0), moment=0.03),
        RigidMotion(degrees=3.0, course="steady", steps=40),
        Breathing(amplitude_mm=2.0, period_s=0.5, steps=40),
    ],
    ids=["early", "steady", "breathing"],
)
def test_motion_within_the_first_degrees_of_a_fine_scan_is_simulated(disc_hu: Discs, step: RigidMotion) -> None:
    # Poses of a few neighbouring views reach no further than 6.28°, and are degrees all the same.
    made = degrade(disc_hu(24, (0, 0, 8, 0)), (2.0, 2.0), [step], beam=720)
    assert made.sinogram.shape[0] == 720


@pytest.mark.parametrize("degrees", [5.0, 60.0])
def test_motion_within_a_limited_angle_is_simulated(disc_hu: Discs, degrees: float) -> None:
    steps = [RigidMotion(shift_mm=(1.0, 0.0), course="steady"), LimitedAngle(degrees=degrees)]
    made = degrade(disc_hu(24, (0, 0, 8, 0)), (2.0, 2.0), steps, beam=720)
    assert made.sinogram.shape[0] == 4 * degrees


def test_each_slice_of_a_stack_breathes_by_itself(disc_hu: Discs) -> None:
    stack = np.stack([disc_hu(32, (0, 0, 14, 0)), disc_hu(32, (6, 0, 5, 0))])
    step = Breathing(amplitude_mm=8.0, period_s=1.0)
    together = degrade(stack, (2.0, 2.0), [step], beam=30)
    for index, image in enumerate(stack):
        assert np.array_equal(together.sinogram[index], degrade(image, (2.0, 2.0), [step], beam=30).sinogram)
