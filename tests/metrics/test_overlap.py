"""Dice against the written-out sets, its properties, its refusals."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from transmodal.metrics.overlap import dice


@settings(max_examples=50, deadline=None)
@given(
    maps=st.integers(1, 3).flatmap(
        lambda axes: st.tuples(*[arrays(np.uint8, (3,) * axes, elements=st.integers(0, 3))] * 2)
    ),
    label=st.sampled_from([None, 0, 1, 2, 5]),
)
def test_it_is_the_overlap_of_the_two_sets(maps: tuple[np.ndarray, np.ndarray], label: int | None) -> None:
    first, second = (
        {i for i, value in enumerate(labels.ravel()) if (value == label if label is not None else value > 0)}
        for labels in maps
    )
    value = dice(*maps, label=label)
    if first or second:
        assert value == 2 * len(first & second) / (len(first) + len(second))
        assert dice(maps[1], maps[0], label=label) == value
    else:
        assert math.isnan(value)


def test_a_region_that_one_map_lacks_scores_zero_and_one_that_both_lack_nothing() -> None:
    empty, full = np.zeros((4, 4), int), np.ones((4, 4), int)
    assert dice(empty, full) == dice(full, empty) == 0.0
    assert math.isnan(dice(empty, empty))
    assert math.isnan(dice(full, full, label=2))
    assert dice(full, full) == 1.0


@pytest.mark.parametrize("kind", [bool, np.int16, np.float32, np.uint64])
def test_any_type_of_whole_numbers_will_do(kind: type) -> None:
    first, second = np.array([[1, 1, 0, 0]]), np.array([[1, 0, 1, 0]])
    assert dice(first.astype(kind), second) == 0.5


@pytest.mark.parametrize(
    ("predicted", "truth", "message"),
    [
        (np.zeros((3, 3)), np.zeros((3, 4)), "different shapes"),
        (np.zeros((0, 3)), np.zeros((0, 3)), "no pixels"),
        (np.full((3, 3), 0.5), np.zeros((3, 3)), "predicted .* fractions or NaN"),
        (np.zeros((3, 3)), np.full((3, 3), np.nan), "truth .* fractions or NaN"),
        (np.zeros((3, 3), complex), np.zeros((3, 3)), "whole numbers, got complex"),
        (np.ma.zeros((3, 3)), np.zeros((3, 3)), "masked array"),
    ],
)
def test_what_is_no_label_map_is_refused(predicted: np.ndarray, truth: np.ndarray, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        dice(predicted, truth)
