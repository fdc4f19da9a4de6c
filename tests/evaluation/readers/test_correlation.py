"""Rank correlations beside SciPy, and metrics beside readers."""

import numpy as np
import pandas
import pytest
from scipy import stats

from transmodal.evaluation.readers.correlation import (
    by_image,
    by_system,
    kendall_tau_b,
    pair_agreement,
    reader_scores,
    spearman_rho,
)
from transmodal.evaluation.readers.simulated import SimulatedReader, World, simulate


def _pair(ties: bool) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(0)
    first = generator.normal(size=40)
    second = first + generator.normal(size=40)
    return (np.round(first), np.round(second)) if ties else (first, second)


@pytest.mark.parametrize("ties", [False, True])
def test_correlations_equal_scipy(ties: bool) -> None:
    first, second = _pair(ties)
    assert kendall_tau_b(first, second)[0] == pytest.approx(stats.kendalltau(first, second).statistic)
    assert spearman_rho(first, second)[0] == pytest.approx(stats.spearmanr(first, second).statistic)


@pytest.mark.parametrize("ties", [False, True])
def test_weights_are_the_same_as_writing_the_resample_out(ties: bool) -> None:
    first, second = _pair(ties)
    counts = np.random.default_rng(1).multinomial(40, np.full(40, 1 / 40), 3)
    for row, tau, rho in zip(
        counts, kendall_tau_b(first, second, counts), spearman_rho(first, second, counts), strict=True
    ):
        one, other = np.repeat(first, row), np.repeat(second, row)
        assert tau == pytest.approx(stats.kendalltau(one, other).statistic)
        assert rho == pytest.approx(stats.spearmanr(one, other).statistic)


def test_infinite_values_are_the_largest_and_constants_are_undefined() -> None:
    assert kendall_tau_b([1, 2, np.inf, np.inf], [1, 2, 3, 3])[0] == pytest.approx(1.0)
    assert spearman_rho([1, 2, np.inf], [3, 2, 1])[0] == pytest.approx(-1.0)
    assert np.isnan(kendall_tau_b([1, 1, 1], [1, 2, 3])[0]) and np.isnan(spearman_rho([1, 1, 1], [1, 2, 3])[0])


def _items(noise: float, subjects: int = 30) -> pandas.DataFrame:
    generator = np.random.default_rng(2)
    rows = [(f"m{system}", f"s{subject}") for subject in range(subjects) for system in range(6)]
    table = pandas.DataFrame(rows, columns=["system", "subject"])
    table["value"] = generator.normal(size=len(table))
    table["metric"] = table["value"] + noise * generator.normal(size=len(table))
    return table


def test_images_are_correlated_with_intervals_over_subjects_and_over_systems() -> None:
    items = _items(1.0)
    found = by_image(items, resamples=400)
    assert found.kendall.value == pytest.approx(stats.kendalltau(items["metric"], items["value"]).statistic)
    assert found.kendall.low < found.kendall.value < found.kendall.high  # type: ignore[operator]
    assert (found.kendall.unit, found.kendall_by_system.unit, found.items) == ("subjects", "systems", 180)
    missing = by_image(items.assign(metric=items["metric"].where(items["system"] != "m0")), resamples=50)
    assert (missing.items, missing.left_out) == (150, 30)


def test_constant_answers_and_few_systems_have_words() -> None:
    flat = by_image(_items(1.0).assign(value=3.0), resamples=50)
    assert flat.kendall.value is None and flat.spearman.note.startswith("not defined")
    two = _items(1.0)
    two = two[two["system"].isin(["m0", "m1"])]
    assert by_image(two, resamples=50).kendall_by_system.note == "2 systems: no interval"
    wide = two.pivot(index="subject", columns="system", values="value")
    assert by_system(wide, wide).kendall.note == "2 systems: needs three"


def test_systems_are_correlated_by_their_means() -> None:
    items = _items(0.3)
    items["metric"] += items["system"].str[1:].astype(int)
    items["value"] += items["system"].str[1:].astype(int)
    metric, value = (items.pivot(index="subject", columns="system", values=name) for name in ("metric", "value"))
    found = by_system(metric, value, resamples=300)
    assert found.kendall.value == pytest.approx(stats.kendalltau(metric.mean(), value.mean()).statistic)
    assert found.spearman.value == pytest.approx(stats.spearmanr(metric.mean(), value.mean()).statistic)
    worse = by_system(-metric, value, resamples=50)
    assert worse.kendall.value == pytest.approx(-1.0)


def test_a_metric_foretells_choices_where_its_difference_points_to_them() -> None:
    table = pandas.DataFrame(
        {"subject": list("stuvw"), "first": "A", "second": "B", "answer": ["A", "B", "A", "tie", "B"]}
    )
    found = pair_agreement(table, [1.0, -1.0, -1.0, 1.0, 0.0], resamples=50)
    assert found.value == pytest.approx((1 + 1 + 0 + 0.5) / 4)
    assert pair_agreement(table, [np.nan] * 5).value is None


def test_reader_scores_are_means_over_readers() -> None:
    readers = [SimulatedReader("a"), SimulatedReader("b")]
    ratings = simulate("rating", ["A", "B"], 10, readers, World(), criteria=("x", "y"), repeats=0.3)
    found = reader_scores(ratings, "x")
    first = ratings.table[(ratings.table["repeat"] == 0) & (ratings.table["criterion"] == "x")]
    expected = first.groupby(["system", "case"])["answer"].mean()
    assert found.set_index(["system", "case"])["value"].to_dict() == pytest.approx(expected.to_dict())
    seen = simulate("real-or-synthetic", ["A"], 10, readers, World())
    assert "real" not in set(reader_scores(seen)["system"])
    with pytest.raises(ValueError, match="scores pairs"):
        reader_scores(simulate("preference", ["A", "B"], 5, readers, World()))
