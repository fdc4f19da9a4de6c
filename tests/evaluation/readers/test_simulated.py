"""Simulated readers have the skill, agreement and preferences that were planted."""

import numpy as np
import pytest
from scipy import stats

from transmodal.evaluation.readers.agreement import cohen_kappa, fleiss_kappa
from transmodal.evaluation.readers.answers import COLUMNS, REAL, Kind
from transmodal.evaluation.readers.detection import yes_no
from transmodal.evaluation.readers.simulated import (
    SimulatedReader,
    World,
    make_trials,
    planted_detection_kappa,
    planted_rating_kappa,
    play,
    simulate,
)

PAIR = [SimulatedReader("a", 1.2, 0.3, noise=0.7), SimulatedReader("b", 1.2, 0.3, noise=0.7)]


@pytest.mark.parametrize("kind", list(COLUMNS))
def test_answers_have_the_columns_of_their_kind_and_the_seed_decides(kind: Kind) -> None:
    one, same, other = (
        simulate(kind, ["A", "B"], 12, PAIR, World(), repeats=0.25, seed=seed).table for seed in (1, 1, 2)
    )
    assert tuple(one.columns) == COLUMNS[kind]
    assert one.equals(same) and not one.equals(other)
    assert (one["repeat"] == 1).any() and (one["seconds"] > 0).all()


def test_trials_are_balanced() -> None:
    table = make_trials("real-or-synthetic", ["A", "B"], 20, ["a"])
    assert (table["system"] == REAL).sum() == 20 and (table["system"] == "A").sum() == 10
    sides = make_trials("which-is-real", ["A", "B"], 21, ["a"])["real_side"].value_counts()
    assert abs(sides["left"] - sides["right"]) == 1


def test_skill_is_the_planted_one() -> None:
    table = simulate("real-or-synthetic", ["A"], 6000, PAIR[:1], World()).table
    fake, said = table["system"] != REAL, table["answer"] == "synthetic"
    found = yes_no(int((fake & said).sum()), 6000, int((~fake & said).sum()), 6000)
    assert found.d_prime.value == pytest.approx(1.2, abs=0.07)
    assert found.criterion.value == pytest.approx(0.3, abs=0.04)
    pairs = simulate("which-is-real", ["A"], 6000, PAIR[:1], World()).table
    right = (pairs["answer"] == pairs["real_side"]).mean()
    assert np.sqrt(2) * stats.norm.ppf(right) == pytest.approx(1.2, abs=0.08)


def test_agreement_between_readers_is_the_closed_form() -> None:
    world = World(agreement=0.4, consistency=0.6)
    table = simulate("real-or-synthetic", ["A"], 5000, PAIR, world).table
    wide = table.assign(code=table["answer"] == "synthetic").pivot(
        index=["system", "case"], columns="reader", values="code"
    )
    codes = wide.to_numpy(int)
    found = cohen_kappa(codes[:, 0], codes[:, 1], np.arange(len(codes)), 2, resamples=10).value
    assert found == pytest.approx(planted_detection_kappa(1.2, 0.3, 0.4), abs=0.03)
    assert planted_detection_kappa(1.2, 0.3, 0.4) > planted_detection_kappa(1.2, 0.3, 0.0) + 0.1
    assert planted_detection_kappa(1.2, 0.3, 1.0) == pytest.approx(1.0)


def test_agreement_of_ratings_is_the_closed_form() -> None:
    world = World({"A": -0.6, "B": 0.5}, case_spread=0.9, agreement=0.3)
    table = simulate("rating", ["A", "B"], 3000, PAIR, world).table
    codes = table.pivot(index=["system", "case"], columns="reader", values="answer").to_numpy(int) - 1
    found, _ = fleiss_kappa(codes, np.arange(len(codes)), 5, weights="quadratic", resamples=10)
    assert found.value == pytest.approx(planted_rating_kappa(PAIR[0], world, 5, [-0.6, 0.5]), abs=0.02)


def test_single_preferences_follow_bradley_and_terry_whatever_readers_share() -> None:
    world = World({"A": 0.8, "B": 0.0}, agreement=0.5)
    table = simulate("preference", ["A", "B"], 6000, PAIR[:1], world).table
    assert (table["answer"] == "A").mean() == pytest.approx(1 / (1 + np.exp(-0.8)), abs=0.02)
    ties = simulate("preference", ["A", "B"], 500, PAIR[:1], World(tie_width=0.5)).table
    assert 0.1 < (ties["answer"] == "tie").mean() < 0.4


def test_side_bias_consistency_and_offset_show() -> None:
    leftish = SimulatedReader("a", 0.5, side_bias=0.8, offset=1.0)
    table = simulate("which-is-real", ["A"], 2000, [leftish], World()).table
    assert (table["answer"] == "left").mean() > 0.65
    ratings = simulate("rating", ["A"], 500, [leftish, SimulatedReader("b")], World()).table
    means = ratings.groupby("reader")["answer"].mean()
    assert means["a"] > means["b"] + 0.5
    for consistency, share in ((1.0, 1.0), (0.0, 0.62)):
        again = simulate("real-or-synthetic", ["A"], 1500, PAIR[:1], World(consistency=consistency), repeats=1.0)
        answers = again.table.pivot(index=["system", "case"], columns="repeat", values="answer")
        assert (answers[0] == answers[1]).mean() == pytest.approx(share, abs=0.05)


def test_impossible_worlds_and_unknown_readers_are_refused() -> None:
    with pytest.raises(ValueError, match="agreement ≤ consistency"):
        World(agreement=0.7, consistency=0.2)
    trials = make_trials("rating", ["A"], 2, ["nobody"])
    with pytest.raises(ValueError, match="'nobody'"):
        play("rating", trials, PAIR, World(), criteria=("x",), points=5)
