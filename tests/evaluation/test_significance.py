"""The signed-rank test, its correction and its effect size, against SciPy, enumeration and worked examples."""

from itertools import product

import numpy as np
import pytest
from scipy import stats

from transmodal.evaluation.significance import holm, signed_rank, subject_differences


@pytest.mark.parametrize("count", [3, 6, 14, 30])
def test_p_is_that_of_scipy_where_nothing_is_tied(count: int) -> None:
    values = np.random.default_rng(count).normal(0.4, 1, count)
    mine, other = signed_rank(values), stats.wilcoxon(values, method="exact")
    assert mine.p == pytest.approx(other.pvalue, rel=1e-12)
    assert min(mine.positive, mine.negative) == other.statistic
    assert mine.exact


@pytest.mark.parametrize("values", [[1, 1, 2, -2, 3, 3, 3, -1], [0.5, 0.5, 0.5, 0.5], [2, -2, 2, -2, 1]])
def test_p_is_exact_with_ties_too(values: list[float]) -> None:
    ranks = stats.rankdata(np.abs(values))
    observed = abs(float(np.sign(values) @ ranks))
    extreme = [abs(float(np.array(signs) @ ranks)) >= observed - 1e-9 for signs in product((-1, 1), repeat=len(values))]
    assert signed_rank(values).p == pytest.approx(np.mean(extreme))


@pytest.mark.parametrize(("zeros", "theirs"), [("wilcoxon", "wilcox"), ("pratt", "pratt")])
def test_many_subjects_take_the_normal_approximation(zeros: str, theirs: str) -> None:
    values = np.random.default_rng(1).integers(-5, 8, 90).astype(float)
    mine = signed_rank(values, zeros=zeros)  # type: ignore[arg-type]
    other = stats.wilcoxon(values, zero_method=theirs, method="asymptotic", correction=False)
    assert mine.p == pytest.approx(other.pvalue, rel=1e-9)
    assert not mine.exact
    assert mine.n == int((values != 0).sum())


def test_zeros_are_left_out_and_counted() -> None:
    with_zeros = signed_rank([0, 0, 1.5, -0.5, 2.5, 3])
    assert with_zeros.p == signed_rank([1.5, -0.5, 2.5, 3]).p
    assert (with_zeros.n, with_zeros.zeros) == (4, 2)
    nothing = signed_rank([0.0, 0.0, 0.0])
    assert (nothing.p, nothing.rank_biserial, nothing.n) == (1.0, None, 0)
    assert signed_rank([]).p is None


def test_differences_that_differ_by_rounding_only_are_ties_or_zero() -> None:
    assert signed_rank([0.3, 0.1 + 0.2, -1.0]).positive == 3.0
    assert signed_rank([0.1 + 0.2 - 0.3, 1.0, 2.0]).zeros == 1


def test_too_few_subjects_are_said_to_reach_no_small_p() -> None:
    five = signed_rank([1.0, 2, 3, 4, 5])
    assert five.p == five.smallest_p == 0.0625
    assert five.too_few
    six = signed_rank([1.0, 2, 3, 4, 5, 6])
    assert six.p == pytest.approx(0.03125)
    assert not six.too_few


def test_the_rank_biserial_correlation_is_as_by_hand() -> None:
    # Ranks 1, 2, 3, 4: positive 2 + 3 + 4 = 9, negative 1.
    assert signed_rank([-1.0, 2, 3, 4]).rank_biserial == pytest.approx(0.8)
    assert signed_rank([1.0, 2]).rank_biserial == 1.0
    with pytest.raises(ValueError, match="finite"):
        signed_rank([1.0, np.nan])


def test_the_mean_of_each_subject_comes_first() -> None:
    first, second = [3.0, 5, np.inf, np.inf, 1, np.nan], [1.0, 1, np.inf, 2, 0, 1]
    assert subject_differences(first, second, ["b", "b", "a", "c", "a", "d"]).tolist() == [0.5, 3.0]
    assert subject_differences([np.nan], [1.0], ["a"]).size == 0
    with pytest.raises(ValueError, match="subjects"):
        subject_differences([1.0], [1.0], ["a", "b"])


def test_holm_is_as_by_hand() -> None:
    # Holm 1979: 4·0.01, then 3·0.015, then max(0.045, 2·0.02) = 0.045, then 0.3.
    assert holm([0.02, 0.01, 0.3, 0.015]) == pytest.approx([0.045, 0.04, 0.3, 0.045])
    assert holm([0.5, None, 0.9]) == [1.0, None, 1.0]
    assert holm([]) == []


def test_holm_rejects_what_the_stepwise_procedure_rejects() -> None:
    generator = np.random.default_rng(0)
    for _ in range(50):
        p = generator.uniform(0, 0.08, 7)
        rejected = np.zeros(7, bool)
        for step, place in enumerate(np.argsort(p)):
            if p[place] > 0.05 / (7 - step):
                break
            rejected[place] = True
        adjusted = holm(p.tolist())
        assert [value is not None and value <= 0.05 for value in adjusted] == rejected.tolist()
