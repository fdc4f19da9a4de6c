"""Bradley–Terry strengths, wins and mean ratings."""

import numpy as np
import pandas
import pytest
from scipy import optimize

from transmodal.evaluation.readers.preferences import bradley_terry, mean_ratings, strengths, subject_means, wins_matrix
from transmodal.evaluation.readers.simulated import SimulatedReader, World, simulate

READERS = [SimulatedReader(f"r{number}") for number in range(5)]


def _answers(rows: list[tuple[str, str, str]]) -> pandas.DataFrame:
    table = pandas.DataFrame(rows, columns=["first", "second", "answer"])
    return table.assign(reader="r", subject=[f"s{number}" for number in range(len(table))])


def test_ties_are_half_a_win_for_each() -> None:
    wins = wins_matrix(_answers([("A", "B", "A"), ("A", "B", "tie"), ("A", "B", "B"), ("A", "B", "A")]), ["A", "B"])
    assert wins.loc["A", "B"] == 2.5 and wins.loc["B", "A"] == 1.5
    assert wins.loc["A", "A"] == 0


def test_two_systems_have_the_log_odds_with_half_a_win_added() -> None:
    found = bradley_terry([[0, 9], [3, 0]])
    assert found[0] - found[1] == pytest.approx(np.log(9.5 / 3.5))


def test_strengths_maximise_the_likelihood() -> None:
    wins = np.asarray([[0, 8, 3, 6], [2, 0, 4, 5], [7, 6, 0, 9], [4, 5, 1, 0]], float)
    padded = wins + (1 - np.eye(4)) / 4

    def loss(free: np.ndarray) -> float:
        values = np.append(free, 0.0)
        return float((padded * np.logaddexp(0, values - values[:, None])).sum())

    best = np.append(optimize.minimize(loss, np.zeros(3), tol=1e-12).x, 0.0)
    np.testing.assert_allclose(bradley_terry(wins), best - best.mean(), atol=1e-5)
    np.testing.assert_allclose(bradley_terry(np.stack([wins, wins.T]))[1], bradley_terry(wins.T), atol=1e-12)


def test_a_system_that_always_wins_has_a_finite_strength_and_islands_are_refused() -> None:
    assert np.isfinite(bradley_terry([[0, 30], [0, 0]])).all()
    apart = np.zeros((4, 4))
    apart[0, 1] = apart[2, 3] = 5
    with pytest.raises(ValueError, match="never compared"):
        bradley_terry(apart)


def test_planted_strengths_are_found() -> None:
    planted = {"A": -0.6, "B": 0.0, "C": 0.6}
    answers = simulate("preference", list(planted), 60, READERS, World(planted), seed=4)
    found = strengths(answers.table, list(planted), resamples=300)
    assert [each.strength.value for each in found] == pytest.approx(list(planted.values()), abs=0.2)
    assert all(each.strength.low <= planted[each.system] <= each.strength.high for each in found)  # type: ignore[operator]
    assert found[2].first == 1.0 and found[2].share > 0.6


def test_mean_ratings_are_means_over_readers_of_their_means() -> None:
    table = pandas.DataFrame(
        {"reader": ["a", "a", "a", "b"], "subject": ["s", "t", "u", "s"], "system": "A", "answer": [5, 5, 5, 1]}
    )
    assert mean_ratings(table, ["A", "B"])["A"].value == pytest.approx(3.0)
    assert mean_ratings(table, ["A", "B"])["B"].note == "no answer"
    assert subject_means(table).loc["s", "A"] == pytest.approx(3.0)
