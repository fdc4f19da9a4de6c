"""Means over subjects and their bootstrap intervals."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from transmodal.evaluation.intervals import paired_difference, summarise


def test_subjects_count_alike_however_many_cases_they_have() -> None:
    values, subjects = [1.0, 1.0, 1.0, 5.0], ["a", "a", "a", "b"]
    by_subject = summarise(values, subjects)
    assert by_subject.mean == pytest.approx(3.0)
    assert (by_subject.n, by_subject.subjects, by_subject.cases) == (2, 2, 4)
    by_case = summarise(values, subjects, aggregation="cases")
    assert by_case.mean == pytest.approx(2.0)
    assert by_case.n == 4


def test_sd_and_median_are_over_the_same_units_as_the_mean() -> None:
    summary = summarise([1.0, 3.0, 10.0, 4.0], ["a", "a", "b", "c"])
    assert summary.sd == pytest.approx(np.std([2.0, 10.0, 4.0], ddof=1))
    assert summary.median == pytest.approx(4.0)


def test_intervals_cover_the_truth_as_often_as_they_say() -> None:
    generator = np.random.default_rng(3)
    subjects = [str(subject) for subject in range(12) for _ in range(4)]
    hits = 0
    for trial in range(300):
        values = (generator.normal(0, 1, 12)[:, None] + generator.normal(0, 0.3, (12, 4))).ravel()
        low, high = summarise(values, subjects, seed=trial, resamples=600).ci95
        assert low is not None and high is not None
        hits += low <= 0 <= high
    assert 0.91 <= hits / 300 <= 0.985


def test_images_of_one_subject_are_no_new_evidence() -> None:
    generator = np.random.default_rng(0)
    once = generator.normal(0, 1, 10)
    alone = summarise(once, [str(i) for i in range(10)])
    repeated = summarise(np.repeat(once, 50), [str(i) for i in range(10) for _ in range(50)], aggregation="cases")
    assert alone.ci95 == pytest.approx(repeated.ci95)


def test_the_same_seed_gives_the_same_interval() -> None:
    values, subjects = list(np.arange(10.0)), [str(i) for i in range(10)]
    assert summarise(values, subjects, seed=4).ci95 == summarise(values, subjects, seed=4).ci95
    assert summarise(values, subjects, seed=4).ci95 != summarise(values, subjects, seed=5).ci95


def test_below_four_subjects_no_interval_is_given() -> None:
    assert summarise([1.0, 2.0, 3.0], ["a", "b", "c"]).ci95 == (None, None)
    assert summarise([1.0], ["a"]).sd is None


def test_infinite_values_are_left_out_and_counted() -> None:
    summary = summarise([10.0, np.inf, 20.0, np.nan], ["a", "b", "c", "d"])
    assert summary.mean == pytest.approx(15.0)
    assert (summary.n, summary.left_out) == (2, 2)
    nothing = summarise([np.inf], ["a"])
    assert (nothing.mean, nothing.n, nothing.left_out) == (None, 0, 1)


def test_pairing_removes_what_subjects_have_in_common() -> None:
    generator = np.random.default_rng(1)
    subjects = [str(i) for i in range(15)]
    easy_or_hard = generator.normal(20, 5, 15)
    better = easy_or_hard + 0.5 + generator.normal(0, 0.1, 15)
    difference = paired_difference(better, easy_or_hard, subjects)
    low, high = difference.ci95
    assert low is not None and high is not None
    assert 0.3 < low < 0.5 < high < 0.7
    assert difference.mean == pytest.approx(np.mean(better - easy_or_hard))


def test_two_perfect_predictions_do_not_differ() -> None:
    difference = paired_difference([np.inf, 3.0, np.inf], [np.inf, 1.0, 2.0], ["a", "b", "c"])
    assert difference.mean == pytest.approx(1.0)
    assert (difference.cases, difference.left_out) == (2, 1)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.floats(-1e6, 1e6), min_size=4, max_size=30), st.integers(1, 5))
def test_the_interval_lies_among_the_subjects_and_follows_shift_and_scale(values: list[float], factor: int) -> None:
    subjects = [str(i) for i in range(len(values))]
    summary = summarise(values, subjects, resamples=200)
    low, high = summary.ci95
    assert low is not None and high is not None and summary.mean is not None
    tolerance = 1e-6 * (1 + max(map(abs, values)))
    assert min(values) - tolerance <= low <= high + tolerance <= max(values) + 2 * tolerance
    moved = summarise([factor * value + 7 for value in values], subjects, resamples=200)
    assert moved.ci95[0] == pytest.approx(factor * low + 7, abs=10 * tolerance)


def test_values_and_subjects_must_agree_in_number() -> None:
    with pytest.raises(ValueError, match="2 values but 1 subjects"):
        summarise([1.0, 2.0], ["a"])
