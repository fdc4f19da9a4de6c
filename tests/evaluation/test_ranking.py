"""Ranks and their stability, the Pareto front and rank aggregation, against brute force."""

from itertools import permutations

import numpy as np
import pandas
import pytest

from transmodal.evaluation.ranking import (
    condorcet_winner,
    kemeny,
    majorities,
    mean_ranks,
    on_pareto_front,
    rank,
    rank_probabilities,
    resampled_means,
    subject_sums,
)
from transmodal.evaluation.scores import Scores
from transmodal.metrics.policy import Policy


def scores_of(values: dict[str, list[float]], subjects: list[str], aggregation: str = "subjects") -> Scores:
    rows = [
        {"system": system, "case": f"c{number}", "subject": subject, "psnr": value}
        for system, listed in values.items()
        for number, (subject, value) in enumerate(zip(subjects, listed, strict=True))
    ]
    policy = Policy(metrics=("psnr",), range=(0, 1), unit="1", dimension=2, aggregation=aggregation).resolved()  # type: ignore[arg-type]
    return Scores(policy, pandas.DataFrame(rows))


@pytest.mark.parametrize(("aggregation", "expected"), [("subjects", [15.0, 20.0]), ("cases", [40 / 3, 20.0])])
def test_sums_give_the_mean_that_the_policy_asks_for(aggregation: str, expected: list[float]) -> None:
    scores = scores_of({"a": [10, 10, 20, np.inf], "b": [20, 20, 20, 1]}, ["s", "s", "t", "t"], aggregation)
    sums = subject_sums(scores, "psnr")
    assert sums.means.tolist() == pytest.approx(expected)
    assert sums.left_out == 1
    finite = scores_of({"a": [10, 10, 20], "b": [20, 20, 20]}, ["s", "s", "t"], aggregation)
    assert sums.means[0] == pytest.approx(finite.summary_of("psnr", "a").mean)


def test_whole_subjects_are_drawn_and_the_same_ones_for_every_metric() -> None:
    subjects = [f"s{number // 3}" for number in range(30)]
    values = np.random.default_rng(0).normal(size=30)
    sums = subject_sums(scores_of({"a": values.tolist(), "b": (values + 1).tolist()}, subjects), "psnr")
    drawn = resampled_means({"psnr": sums, "again": sums}, resamples=4000)
    assert (drawn["psnr"] == drawn["again"]).all()
    assert drawn["psnr"][:, 1] - drawn["psnr"][:, 0] == pytest.approx(np.ones(4000))
    by_subject = values.reshape(10, 3).mean(axis=1)
    assert drawn["psnr"][:, 0].std() == pytest.approx(by_subject.std() / np.sqrt(10), rel=0.05)
    assert drawn["psnr"][:, 0].mean() == pytest.approx(values.mean(), abs=0.02)


def test_systems_that_are_alike_swap_places_and_a_clear_winner_never() -> None:
    generator = np.random.default_rng(0)
    first, second = generator.normal(size=(2, 40))
    second += first.mean() - second.mean() - 1e-6
    best = first + 5
    sums = subject_sums(
        scores_of({"a": first.tolist(), "b": second.tolist(), "c": best.tolist()}, [f"s{n}" for n in range(40)]), "psnr"
    )
    ranking = rank(["a", "b", "c"], sums.means, resampled_means({"psnr": sums})["psnr"], higher_is_better=True)
    assert ranking.line == "c > a > b"
    assert ranking.probabilities is not None and ranking.intervals is not None
    assert ranking.probabilities["c"] == (1.0, 0.0, 0.0)
    assert ranking.probabilities["a"][1] == pytest.approx(0.5, abs=0.06)
    assert all(sum(row) == pytest.approx(1) for row in ranking.probabilities.values())
    assert ranking.intervals["c"] == (1, 1) and ranking.intervals["b"] == (2, 3)
    assert ranking.neighbours[0][:2] == ("c", "a") and ranking.neighbours[0][2] == 1.0
    assert ranking.same_order == pytest.approx(ranking.neighbours[1][2])


def test_lower_is_better_turns_the_order_and_ties_share_their_places() -> None:
    drawn = np.array([[1.0, 1.0, 3.0], [1.0, 2.0, 3.0]])
    ranking = rank(["a", "b", "c"], np.array([1.0, 1.0, 3.0]), drawn, higher_is_better=False)
    assert ranking.line == "a = b > c"
    assert ranking.ranks == {"a": 1.5, "b": 1.5, "c": 3.0}
    assert ranking.probabilities == {"a": (0.75, 0.25, 0.0), "b": (0.25, 0.75, 0.0), "c": (0.0, 0.0, 1.0)}
    assert rank(["a", "b"], np.array([1.0, 2.0]), None, higher_is_better=True).same_order is None
    with pytest.raises(ValueError, match="finite"):
        rank(["a"], np.array([np.nan]), None, higher_is_better=True)


def test_shares_of_ranks_sum_to_one_both_ways() -> None:
    shares = rank_probabilities(np.random.default_rng(0).integers(0, 3, (50, 4)).astype(float))
    assert shares.sum(axis=0) == pytest.approx(np.ones(4))
    assert shares.sum(axis=1) == pytest.approx(np.ones(4))


def test_the_pareto_front_is_that_of_brute_force() -> None:
    goodness = np.random.default_rng(0).integers(0, 4, (200, 5, 3)).astype(float)
    front = on_pareto_front(goodness)
    for systems, inside in zip(goodness, front, strict=True):
        for place, mine in enumerate(systems):
            dominated = any((other >= mine).all() and (other > mine).any() for other in systems)
            assert inside[place] == (not dominated)


def test_the_kemeny_order_is_that_of_brute_force() -> None:
    goodness = np.random.default_rng(1).integers(0, 5, (30, 5, 4)).astype(float)
    orders, contradictions = kemeny(goodness)
    for systems, order, against in zip(goodness, orders, contradictions, strict=True):
        wins = majorities(systems)

        def cost(candidate: tuple[int, ...], wins: np.ndarray = wins) -> float:
            return sum(wins[b, a] for place, a in enumerate(candidate) for b in candidate[place + 1 :])

        best = min(cost(candidate) for candidate in permutations(range(5)))
        assert cost(tuple(order)) == best == against
    with pytest.raises(ValueError, match="at most 8"):
        kemeny(np.zeros((1, 9, 2)))


def test_kemeny_breaks_what_is_equal_by_mean_rank_and_follows_a_condorcet_winner() -> None:
    # b is first twice and last once; a is always second or better, c the rest: a majority prefers b to each.
    goodness = np.array([[2.0, 2.0, 3.0], [3.0, 3.0, 1.0], [1.0, 1.0, 2.0]])
    assert condorcet_winner(goodness) == 1
    assert kemeny(goodness[None])[0][0].tolist() == [1, 0, 2]
    cycle = np.array([[3.0, 1.0, 2.0], [2.0, 3.0, 1.0], [1.0, 2.0, 3.0]])
    assert condorcet_winner(cycle) is None
    assert mean_ranks(cycle).tolist() == [2.0, 2.0, 2.0]
    split = np.array([[1.0, 9.0], [2.0, 1.0], [3.0, 0.0]])  # a is last and first: every order of a, c costs the same
    assert mean_ranks(split).tolist() == [2.0, 2.0, 2.0]
