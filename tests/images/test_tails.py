"""The ends of a synthetic image's histogram go where those of true images lie, and nothing else moves."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from transmodal.images.tails import FEWEST, stretch_tails


def pale(seed: int, spread: float, centre: float) -> np.ndarray:
    drawn = centre + spread * np.random.default_rng(seed).standard_normal((30, 20, 10))
    return drawn.clip(-0.99, 0.99).astype(np.float32)


@settings(deadline=None)
@given(
    seed=st.integers(0, 100),
    spread=st.floats(0.02, 0.4),
    centre=st.floats(-0.5, 0.5),
    low=st.floats(-1, -0.6),
    high=st.floats(0.6, 1),
)
def test_no_two_values_change_places_and_the_middle_stays(
    seed: int, spread: float, centre: float, low: float, high: float
) -> None:
    values = pale(seed, spread, centre)
    inside = np.ones(values.shape, bool)
    inside[:10] = False
    stretched = stretch_tails(values, inside, (0.5, 99.5), (low, high))
    assert stretched.dtype == np.float32 and stretched.min() >= -1 and stretched.max() <= 1
    order = np.argsort(values, axis=None)
    assert (np.diff(stretched.reshape(-1)[order]) >= 0).all()
    first, last = np.percentile(values[inside], [1, 99])
    middle = (values > first) & (values < last)
    assert stretched[middle] == pytest.approx(values[middle], abs=1e-6)
    ends = np.percentile(stretched[inside], [0.5, 99.5])
    if low < first and np.percentile(values[inside], 0.5) > -0.99:
        assert ends[0] == pytest.approx(low, abs=0.02)
    if high > last and np.percentile(values[inside], 99.5) < 0.99:
        assert ends[1] == pytest.approx(high, abs=0.02)


def test_ends_that_cannot_be_told_stay() -> None:
    values = pale(0, 0.1, 0)
    inside = np.ones(values.shape, bool)
    assert stretch_tails(values, inside, (0, 100), (-1, 1)) is values
    few = np.zeros(values.shape, bool)
    few.flat[: FEWEST - 1] = True
    assert stretch_tails(values, few, (0.5, 99.5), (-1, 1)) is values
    flat = np.full(values.shape, 0.25, np.float32)
    assert stretch_tails(flat, inside, (0.5, 99.5), (-1, 1)) is flat
    loud = (values * 20).clip(-1, 1)  # brighter than true images are
    assert stretch_tails(loud, inside, (0.5, 99.5), (-0.9, 0.9)) is loud


def test_channels_share_a_region() -> None:
    values = np.stack([pale(1, 0.1, 0), pale(2, 0.1, 0.2)], -1)
    inside = np.ones(values.shape[:3], bool)
    stretched = stretch_tails(values, inside, (0.5, 99.5), (-1, 1))
    assert np.percentile(stretched, 99.5) == pytest.approx(1, abs=0.02)
