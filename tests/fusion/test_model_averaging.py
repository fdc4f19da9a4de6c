"""Averaged intervals against closed forms of mixtures of normal tails."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from transmodal.fusion.model_averaging import Alternative, averaged, averaged_ends, weights_of

Z = stats.norm.ppf(0.975)


def ends(values: list[float], spreads: list[float], weights: list[float]) -> tuple[float, float]:
    value, spread = np.array(values), np.array(spreads)
    return averaged_ends(value, value - Z * spread, value + Z * spread, np.array(weights))


def test_one_model_or_models_that_agree_keep_their_interval() -> None:
    assert ends([2.0, 9.0], [0.5, 1.0], [1.0, 0.0]) == pytest.approx((2 - Z * 0.5, 2 + Z * 0.5))
    assert ends([2.0, 2.0], [0.5, 0.5], [0.3, 0.7]) == pytest.approx((2 - Z * 0.5, 2 + Z * 0.5))


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.floats(-5, 5), st.floats(0.01, 3), st.floats(0.1, 1)), min_size=2, max_size=5),
)
def test_beyond_each_end_lie_two_and_a_half_per_cent_of_the_mixture(models: list[tuple[float, float, float]]) -> None:
    values, spreads, weights = (np.array(each) for each in zip(*models, strict=True))
    weights = weights / weights.sum()
    low, high = ends(list(values), list(spreads), list(weights))
    assert (weights * stats.norm.cdf(low, values, spreads)).sum() == pytest.approx(0.025, abs=1e-6)
    assert (weights * stats.norm.sf(high, values, spreads)).sum() == pytest.approx(0.025, abs=1e-6)


def test_an_open_end_of_a_model_of_weight_opens_the_interval() -> None:
    values, lows, highs = np.array([1.0, 1.0]), np.array([0.0, 0.0]), np.array([2.0, np.inf])
    assert averaged_ends(values, lows, highs, np.array([0.9, 0.1])) == (pytest.approx(0.0), np.inf)
    low, high = averaged_ends(values, lows, highs, np.array([0.97, 0.03]))
    assert low == pytest.approx(0.0) and 2.0 < high < 2.2


def test_weights_are_those_of_akaike_and_leave_out_what_has_hardly_any() -> None:
    weights = weights_of(np.array([[0.0, 10.0], [2.0, 0.0], [40.0, 1.0]]))
    assert weights[:, 0] == pytest.approx([1 / (1 + np.exp(-1)), np.exp(-1) / (1 + np.exp(-1)), 0.0])
    assert weights[0, 1] == 0.0 and weights.sum(axis=0) == pytest.approx(1.0)


def test_the_value_stays_that_of_the_chosen_model_and_lies_inside() -> None:
    one = np.array([1.0, 1.0])
    found = {"peak": (one, one - 0.1, one + 0.1, one), "half-time": (one, one, one, one)}
    other = Alternative.of_some(
        np.array([0.0, 0.9]), np.array([1]), {"peak": tuple(np.array([x]) for x in (3.0, 2.9, 3.1, 0))}
    )  # type: ignore[dict-item]
    result = averaged(found, np.array([1.0, 0.1]), [other])
    value, low, high, _ = result["peak"]
    assert (value == 1.0).all() and low[0] == pytest.approx(0.9) and high[0] == pytest.approx(1.1)
    assert low[1] <= 1.0 and 3.0 < high[1] < 3.2
    assert result["half-time"] is found["half-time"]
