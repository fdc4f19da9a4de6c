"""The foreground: all of a z-scored brain, and not the air of a CT."""

import numpy as np
import pytest

from transmodal.evaluation.foreground import foreground_of
from transmodal.evaluation.policy_application import own_region, region_of
from transmodal.images import Image
from transmodal.metrics.policy import Policy

POLICY = Policy(metrics=("mae",), sets=(), mask="foreground", range=(0, 10), unit="units").resolved(dimension=3)
BRAIN = np.zeros((10, 10, 10), bool)
BRAIN[2:8, 2:8, 2:8] = True


def on_zeros(values: np.ndarray) -> np.ndarray:
    return np.where(BRAIN, values, 0).astype(np.float32)


def test_the_foreground_of_a_z_scored_brain_is_all_of_it() -> None:
    pixels = on_zeros(np.random.default_rng(0).normal(0, 1, BRAIN.shape))
    assert np.array_equal(foreground_of(pixels, POLICY), BRAIN)
    region = region_of(Image(pixels), POLICY, None)
    assert region is not None and np.array_equal(region, BRAIN)
    own = own_region(pixels, POLICY)
    assert own is not None and np.array_equal(own, BRAIN)
    pixels[5, 5, 5] = np.nan
    assert foreground_of(pixels, POLICY).sum() == BRAIN.sum() - 1


@pytest.mark.parametrize("threshold", [-0.5, 0.5])
def test_a_stated_threshold_holds_as_it_is(threshold: float) -> None:
    pixels = on_zeros(np.random.default_rng(0).normal(0, 1, BRAIN.shape))
    found = foreground_of(pixels, POLICY.model_copy(update={"foreground_above": threshold}))
    assert np.array_equal(found, pixels > threshold)


def test_a_few_or_faint_negative_values_and_a_ct_change_nothing() -> None:
    generator = np.random.default_rng(0)
    ringing = on_zeros(generator.uniform(50, 100, BRAIN.shape))
    ringing[1, 2:6, 2:6] = -3.0
    faint = ringing + np.where(BRAIN, 0, generator.normal(0, 0.1, BRAIN.shape) * (generator.random(BRAIN.shape) > 0.3))
    ct = np.where(BRAIN, generator.integers(-10, 80, BRAIN.shape), -1000).astype(np.int16)
    for pixels in (ringing, faint, ct, ringing.clip(0).astype(np.uint16), np.full((2, 2), np.nan)):
        assert np.array_equal(foreground_of(pixels, POLICY), pixels > 0)


def test_the_policy_says_so() -> None:
    assert "truth above 0, or not 0 in images with negative values on a background of 0" in POLICY.describe()
    assert "truth above 5)" in POLICY.model_copy(update={"foreground_above": 5.0}).describe()
