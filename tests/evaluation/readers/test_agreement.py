"""Kappa and ICC, beside published examples and independent formulas."""

import itertools

import numpy as np
import pytest

from transmodal.evaluation.readers.agreement import agreement_weights, cohen_kappa, fleiss_kappa, intraclass_correlation

# Fleiss 1971: 10 subjects, 14 raters, 5 categories; κ = 0.210 and P̄ = 0.378.
FLEISS = [
    (0, 0, 0, 0, 14), (0, 2, 6, 4, 2), (0, 0, 3, 5, 6), (0, 3, 9, 2, 0), (2, 2, 8, 1, 1),
    (7, 7, 0, 0, 0), (3, 2, 6, 3, 0), (2, 5, 3, 2, 2), (6, 5, 2, 1, 0), (0, 2, 2, 3, 7),
]  # fmt: skip
# Shrout and Fleiss 1979: 6 targets, 4 judges.
SHROUT = [[9, 2, 5, 8], [6, 1, 3, 2], [8, 4, 6, 8], [7, 1, 2, 6], [10, 5, 6, 9], [6, 2, 4, 7]]


def test_fleiss_gives_the_published_value() -> None:
    answers = np.asarray([np.repeat(np.arange(5), counts) for counts in FLEISS])
    kappa, observed = fleiss_kappa(answers, np.arange(10), 5)
    assert kappa.value == pytest.approx(0.210, abs=5e-4)
    assert observed.value == pytest.approx(0.378, abs=5e-4)


def test_cohen_gives_the_textbook_value() -> None:
    # 50 grants: both yes 20, only A 5, only B 10, both no 15: p_o 0.7, p_e 0.5.
    first, second = np.repeat([1, 1, 0, 0], [20, 5, 10, 15]), np.repeat([1, 0, 1, 0], [20, 5, 10, 15])
    assert cohen_kappa(first, second, np.arange(50), 2).value == pytest.approx(0.4)


@pytest.mark.parametrize(("weights", "power"), [("none", 0), ("linear", 1), ("quadratic", 2)])
def test_weighted_kappa_equals_one_minus_the_ratio_of_disagreements(weights: str, power: int) -> None:
    generator = np.random.default_rng(0)
    first = generator.integers(0, 5, 80)
    second = np.clip(first + generator.integers(-1, 2, 80), 0, 4)

    def disagreement(one: int, other: int) -> float:
        return float(abs(one - other) ** power) if power else float(one != other)

    seen = np.mean([disagreement(a, b) for a, b in zip(first, second, strict=True)])
    by_chance = np.mean([disagreement(a, b) for a, b in itertools.product(first, second)])
    found = cohen_kappa(first, second, np.arange(80), 5, weights=weights)  # type: ignore[arg-type]
    assert found.value == pytest.approx(1 - seen / by_chance)


def test_weighted_fleiss_counts_pairs_of_readers() -> None:
    generator = np.random.default_rng(3)
    table = np.clip(generator.integers(0, 4, 30)[:, None] + generator.integers(-1, 2, (30, 4)), 0, 3)
    weights = agreement_weights(4, "quadratic")
    seen = np.mean([weights[a, b] for row in table for a, b in itertools.permutations(row, 2)])
    by_chance = np.mean([weights[a, b] for a, b in itertools.product(table.ravel(), repeat=2)])
    found, observed = fleiss_kappa(table, np.arange(30), 4, weights="quadratic")
    assert found.value == pytest.approx((seen - by_chance) / (1 - by_chance))
    assert observed.value == pytest.approx(seen)


def test_items_that_one_reader_answered_say_nothing_of_agreement() -> None:
    full = np.asarray([[0, 0], [1, 1], [0, 1], [1, 1], [0, 0]])
    more = np.concatenate([full, [[0, -1], [-1, 1], [-1, -1]]])
    assert fleiss_kappa(more, np.arange(8), 2)[0].value == fleiss_kappa(full, np.arange(5), 2)[0].value
    assert cohen_kappa(more[:, 0], more[:, 1], np.arange(8), 2).n == 5


def test_equal_answers_throughout_leave_kappa_undefined_in_words() -> None:
    kappa, observed = fleiss_kappa(np.ones((6, 3), int), np.arange(6), 2)
    assert kappa.value is None and "all answers are the same" in kappa.note
    assert observed.value == 1.0
    assert cohen_kappa([1, 1], [1, 1], [0, 1], 2).value is None
    assert cohen_kappa([1, -1], [-1, 1], [0, 1], 2).note == "no item was answered by both"
    assert fleiss_kappa([[0, -1]], ["s"], 2)[0].note == "no item was answered by two readers"


def test_icc_gives_the_published_values_and_intervals() -> None:
    single, mean = intraclass_correlation(SHROUT)
    assert (single.value, mean.value) == pytest.approx((0.290, 0.620), abs=5e-4)
    assert (single.low, single.high) == pytest.approx((0.019, 0.761), abs=2e-3)
    assert (mean.low, mean.high) == pytest.approx((0.071, 0.927), abs=2e-3)


def test_icc_without_readers_items_or_spread_has_words() -> None:
    assert intraclass_correlation([[1], [2]])[0].note.startswith("needs two readers")
    assert intraclass_correlation([[3, 3], [3, 3]])[0].note == "not defined: all ratings are the same"
    assert intraclass_correlation(np.asarray([[1, 1], [2, 2], [np.nan, 3]]))[0].value == pytest.approx(1.0)


def test_images_of_one_subject_widen_the_interval() -> None:
    generator = np.random.default_rng(5)
    truth = np.repeat(generator.integers(0, 2, 20), 6)
    flip = np.repeat(generator.random(20) < 0.25, 6)
    first, second = truth, np.where(flip, 1 - truth, truth)
    alone = cohen_kappa(first, second, np.arange(120), 2)
    together = cohen_kappa(first, second, np.repeat(np.arange(20), 6), 2)
    assert together.value == pytest.approx(alone.value)
    assert together.high - together.low > 1.5 * (alone.high - alone.low)  # type: ignore[operator]
