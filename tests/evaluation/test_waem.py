"""WAEM: its terms in stated units, weights given, equal and fitted to experts, and what refuses."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas
import pytest
from scipy import optimize

from transmodal.errors import UserError
from transmodal.evaluation.scores import Scores
from transmodal.evaluation.waem import (
    Waem,
    bootstrap_weights,
    choose_ridge,
    equal_weights,
    fit_to_preferences,
    fit_to_ratings,
    given_weights,
    leave_one_out,
    tau_b,
    terms_of,
)
from transmodal.evaluation.waem_solvers import bradley_terry_slopes, least_squares_slopes
from transmodal.metrics.policy import Policy

NAMES = ["1/mse", "1/nrmse", "psnr", "ssim", "1/fid"]
PLANTED = np.array([0.0, 0.15, 0.25, 0.4, 0.2])
METRICS = ("mse", "nrmse", "psnr", "ssim")


def scores_of(
    values: dict[str, list[list[float]]], sets: dict[str, dict[str, dict[str, object]]] | None = None
) -> Scores:
    """Scores of systems: a list of mse, nrmse, psnr, ssim for each case; two cases a subject."""
    rows = [
        {"system": system, "case": f"c{number}", "subject": f"s{number // 2}", **dict(zip(METRICS, case, strict=True))}
        for system, listed in values.items()
        for number, case in enumerate(listed)
    ]
    policy = Policy(metrics=METRICS, range=(0, 10), unit="HU", dimension=2).resolved()
    return Scores(policy, pandas.DataFrame(rows), sets=sets or {})


def systems(count: int, seed: int = 0) -> pandas.DataFrame:
    """Terms of systems, in scales as different as the real ones."""
    scale = np.array([200.0, 3.0, 2.0, 0.05, 0.01])
    values = np.random.default_rng(seed).normal(size=(count, 5)) * scale + 5 * scale
    return pandas.DataFrame(values, index=[f"model{number}" for number in range(count)], columns=NAMES)


def standardised(terms: pandas.DataFrame) -> pandas.DataFrame:
    return (terms - terms.mean()) / terms.std(ddof=1)


def ratings_of(terms: pandas.DataFrame, noise: float = 0.0, seed: int = 1) -> pandas.Series:
    error = noise * np.random.default_rng(seed).normal(size=len(terms))
    return 3.0 + 1.2 * (standardised(terms) @ PLANTED) + error


def preferences_of(terms: pandas.DataFrame, answers: int, slope: float = 4.0, seed: int = 2) -> pandas.DataFrame:
    generator = np.random.default_rng(seed)
    utility = slope * (standardised(terms) @ PLANTED)
    rows = []
    for place, first in enumerate(terms.index):
        for second in terms.index[place + 1 :]:
            wins = generator.binomial(answers, 1 / (1 + np.exp(utility[second] - utility[first])))
            rows.append((first, second, wins, answers - wins))
    return pandas.DataFrame(rows, columns=["first", "second", "first_wins", "second_wins"])


def test_terms_are_reciprocals_of_the_means_over_subjects_on_the_scale_of_range_one() -> None:
    sets = {
        name: {"fid": {"value": value, "n": 3, "features": "pool3", "sha256": "ab"}}
        for name, value in {"a": 50.0, "b": 80.0}.items()
    }
    scores = scores_of(
        {"a": [[1, 0.1, 20, 0.8], [3, 0.3, 30, 0.6], [6, 0.5, 10, 0.4]], "b": [[4, 0.2, 25, 0.5]] * 3}, sets
    )
    terms = terms_of(scores)
    assert list(terms.columns) == NAMES
    # Subject s0 has two cases, s1 one: MSE (2 + 6) / 2 = 4 over R² = 100.
    assert terms.loc["a"].tolist() == pytest.approx([25.0, 1 / 0.35, 17.5, 0.55, 0.02])
    assert terms.attrs["made_with"] == {
        "data_range": 10.0,
        "unit": "HU",
        "nrmse": "euclidean",
        "set_metric": "fid",
        "features": "pool3, weights SHA-256 ab",
        "n": 3,
    }
    assert terms.attrs["notes"] == []


def test_perfect_images_meet_stated_floors_and_are_noted() -> None:
    scores = scores_of({"truth": [[0, 0, np.inf, 1]] * 2, "b": [[4, 0.2, 25, 0.5]] * 2})
    terms = terms_of(scores)
    assert terms.loc["truth"].tolist() == pytest.approx([1e10, 1e5, 100.0, 1.0])
    assert np.isfinite(terms.to_numpy()).all()
    assert any("100 dB" in note for note in terms.attrs["notes"])
    assert sum("floor" in note for note in terms.attrs["notes"]) == 2


def test_fnsd_stands_in_only_under_another_name_and_only_at_equal_n() -> None:
    values = {"a": [[1, 0.1, 20, 0.8]], "b": [[4, 0.2, 25, 0.5]]}

    def sets(n: int) -> dict[str, dict[str, dict[str, object]]]:
        return {
            name: {"fid": {"value": None, "reason": "no weights"}, "fnsd": {"value": 4.0, "n": count, "features": "f"}}
            for name, count in {"a": 7, "b": n}.items()
        }

    terms = terms_of(scores_of(values, sets(7)))
    assert list(terms.columns) == [*NAMES[:4], "1/fnsd"]
    assert any("WAEM with FNSD" in note for note in terms.attrs["notes"])
    waem = given_weights([0, 0, 1, 0, 8], terms)
    assert waem.title == "WAEM with FNSD"
    assert waem.score(terms).to_dict() == {"a": 22.0, "b": 27.0}
    with pytest.raises(UserError, match=r"1/fid, which is not there.*--fid-weights"):
        Waem(weights={"1/fid": 1.0}, standardised=False, fitted_on="x").score(terms)
    different = terms_of(scores_of(values, sets(9)))
    assert list(different.columns) == NAMES[:4]
    assert any("different N" in note for note in different.attrs["notes"])
    with pytest.raises(UserError, match="1/fid"):
        given_weights([0, 0, 1, 0, 8], different)


@pytest.mark.parametrize("weights", [[1, 2, 3], [1, 1, 1, 1, -1], [0, 0, 0, 0, 0], [1, np.nan, 0, 0, 0]])
def test_weights_that_make_no_score_are_refused(weights: list[float]) -> None:
    with pytest.raises(UserError, match="WAEM"):
        given_weights(weights, systems(3))


def test_raw_weights_are_the_sum_as_the_source_writes_it() -> None:
    terms = systems(3)
    waem = given_weights([1, 2, 3, 4, 5], terms)
    by_hand = terms.to_numpy() @ np.array([1.0, 2, 3, 4, 5])
    assert waem.score(terms).to_numpy() == pytest.approx(by_hand)
    assert waem.contributions(terms).sum(axis=1).to_numpy() == pytest.approx(by_hand)


def test_equal_weights_are_the_mean_of_standardised_terms_and_say_that_no_expert_was_asked() -> None:
    terms = systems(6)
    waem = equal_weights(terms, development=list(terms.index[:5]))
    development = terms.iloc[:5]
    expected = ((terms - development.mean()) / development.std(ddof=1)).mean(axis=1)
    assert waem.score(terms).to_numpy() == pytest.approx(expected.to_numpy())
    assert waem.label == "WAEM (equal weights, no experts)"
    assert waem.systems == tuple(terms.index[:5])


def test_a_constant_term_is_dropped_with_a_note_and_nothing_but_constants_is_refused() -> None:
    terms = systems(5).assign(psnr=21.5)
    waem = fit_to_ratings(terms, ratings_of(systems(5)))
    assert "psnr" not in waem.weights
    assert any("psnr is the same" in note for note in waem.notes)
    with pytest.raises(UserError, match="no term differs"):
        equal_weights(terms[["psnr"]])


def test_terms_that_cancel_score_zero_and_not_their_rounding() -> None:
    terms = pandas.DataFrame({"psnr": [20.1, 30.3, 25.7], "ssim": [-20.1, -30.3, -25.7]}, index=["a", "b", "c"])
    scored = equal_weights(terms).score(terms)
    assert scored.tolist() == [0.0, 0.0, 0.0]


def test_ratings_of_twelve_systems_give_back_the_planted_weights() -> None:
    terms = systems(12)
    waem = fit_to_ratings(terms, ratings_of(terms), ridge=1e-6)
    assert [waem.weights[name] for name in NAMES] == pytest.approx(PLANTED, abs=1e-3)
    noisy = fit_to_ratings(terms, ratings_of(terms, noise=0.1))
    assert [noisy.weights[name] for name in NAMES] == pytest.approx(PLANTED, abs=0.08)
    assert sum(noisy.weights.values()) == pytest.approx(1)


def test_preferences_among_twelve_systems_give_back_the_planted_weights() -> None:
    terms = systems(12)
    waem = fit_to_preferences(terms, preferences_of(terms, 4000), ridge=1e-6)
    assert [waem.weights[name] for name in NAMES] == pytest.approx(PLANTED, abs=0.01)
    few = fit_to_preferences(terms, preferences_of(terms, 10))
    assert [few.weights[name] for name in NAMES] == pytest.approx(PLANTED, abs=0.12)


def farthest(waem: Waem) -> float:
    """How far the weights are from equal."""
    return max(abs(weight - 1 / len(waem.weights)) for weight in waem.weights.values())


@pytest.mark.parametrize(
    ("fit", "experts"),
    [
        (fit_to_ratings, lambda terms: ratings_of(terms, 0.3)),
        (fit_to_preferences, lambda terms: preferences_of(terms, 500)),
    ],
)
def test_the_ridge_draws_four_systems_to_equal_weights(
    fit: Callable[..., Waem], experts: Callable[[pandas.DataFrame], object]
) -> None:
    terms = systems(4, seed=12)
    distances = [farthest(fit(terms, experts(terms), ridge=ridge)) for ridge in (1e-6, 1.0, 10.0, 1e4)]
    assert distances == sorted(distances, reverse=True)
    assert distances[0] > 0.19
    assert distances[2] < 0.1
    assert distances[3] < 1e-3


def test_the_least_squares_slopes_minimise_the_stated_objective() -> None:
    generator = np.random.default_rng(0)
    terms, ratings = generator.normal(size=(8, 4)), generator.normal(size=8)

    def objective(slopes: np.ndarray) -> float:
        return float(((ratings - terms @ slopes) ** 2).sum() + 0.7 * ((slopes - slopes.mean()) ** 2).sum())

    independent = optimize.minimize(objective, np.full(4, 0.1), method="SLSQP", bounds=[(0, None)] * 4, tol=1e-12)
    assert objective(least_squares_slopes(terms, ratings, 0.7)) <= independent.fun + 1e-9


def test_one_term_alone_gives_the_slope_of_a_logistic_regression() -> None:
    difference, wins, losses = np.array([1.0, 2.0, -1.0]), np.array([7.0, 9.0, 2.0]), np.array([3.0, 1.0, 8.0])

    def gradient(slope: float) -> float:
        return float(difference @ (wins - (wins + losses) / (1 + np.exp(-slope * difference))))

    root = optimize.brentq(gradient, 0, 10)
    assert bradley_terry_slopes(difference[:, None], wins, losses, 3, 5.0)[0] == pytest.approx(root, rel=2e-3)


def test_a_thousand_answers_about_four_systems_are_still_four_systems() -> None:
    terms = systems(4, seed=5)
    once = preferences_of(terms, 20)
    often = once.assign(first_wins=once["first_wins"] * 1000, second_wins=once["second_wins"] * 1000)
    first, second = (fit_to_preferences(terms, table).weights for table in (once, often))
    assert list(first.values()) == pytest.approx(list(second.values()), abs=1e-4)


def test_one_system_that_always_wins_gives_finite_weights() -> None:
    terms = systems(4)
    best = ratings_of(terms).idxmax()
    rows = [(best, other, 5, 0) for other in terms.index if other != best]
    table = pandas.DataFrame(rows, columns=["first", "second", "first_wins", "second_wins"])
    assert np.isfinite(list(fit_to_preferences(terms, table).weights.values())).all()


def test_a_fit_that_cannot_be_is_refused_by_name() -> None:
    terms = systems(5)
    ratings = ratings_of(terms)
    with pytest.raises(UserError, match=r"fewer than 3 systems and 2 have both"):
        fit_to_ratings(terms, ratings.iloc[:2])
    with pytest.raises(UserError, match="all systems are the same"):
        fit_to_ratings(terms, ratings * 0 + 3)
    with pytest.raises(UserError, match="no combination"):
        fit_to_ratings(terms[["ssim"]], -terms["ssim"])
    with pytest.raises(UserError, match="named twice or has none"):
        fit_to_ratings(terms, ratings.where(ratings.index != "model1"))
    table = preferences_of(terms, 9)
    with pytest.raises(UserError, match="first_wins"):
        fit_to_preferences(terms, table.drop(columns="first_wins"))
    with pytest.raises(UserError, match="0 or more"):
        fit_to_preferences(terms, table.assign(first_wins=-1))
    with pytest.raises(UserError, match="fewer than 3 systems and 0 have"):
        fit_to_preferences(terms, table.assign(first_wins=0, second_wins=0))
    reversed_wins = table.rename(columns={"first_wins": "second_wins", "second_wins": "first_wins"})
    alone = (standardised(terms) @ PLANTED).to_frame("ssim")
    with pytest.raises(UserError, match="no combination"):
        fit_to_preferences(alone, reversed_wins)
    with pytest.raises(UserError, match="needs 4 systems"):
        leave_one_out(terms.iloc[:3], ratings)


def test_systems_that_readers_saw_without_terms_stay_out_and_are_named() -> None:
    terms = systems(5)
    ratings = pandas.concat([ratings_of(terms), pandas.Series({"real": 5.0})])
    waem = fit_to_ratings(terms, ratings)
    assert waem.systems == tuple(terms.index)
    assert any("real" in note for note in waem.notes)


def test_leaving_one_out_agrees_where_the_weights_hold_and_not_where_ratings_are_noise() -> None:
    terms = systems(12)
    good = leave_one_out(terms, ratings_of(terms, 0.1))
    assert good.tau_b is not None and good.tau_b > 0.7
    assert good.r_squared is not None and good.r_squared > 0.7
    shuffled = pandas.Series(np.random.default_rng(3).normal(size=12), terms.index)
    bad = leave_one_out(terms, shuffled)
    assert bad.r_squared is not None and bad.r_squared < 0.2
    choices = leave_one_out(terms, preferences_of(terms, 30))
    assert choices.tau_b is not None and choices.tau_b > 0.7
    assert choices.log_likelihood is not None and choices.log_likelihood > choices.chance + 0.1
    json.dumps(choices.to_json(), allow_nan=False)


def test_the_left_out_system_has_no_say_in_its_own_prediction() -> None:
    terms = systems(6)
    ratings = ratings_of(terms, 0.1)
    changed = ratings.copy()
    changed["model2"] += 50
    first, second = leave_one_out(terms, ratings), leave_one_out(terms, changed)
    assert first.table.loc["model2", "predicted"] == pytest.approx(second.table.loc["model2", "predicted"])
    assert first.table.loc["model1", "predicted"] != pytest.approx(second.table.loc["model1", "predicted"])


def test_the_ridge_chosen_is_strong_for_noise_and_weak_for_clear_ratings() -> None:
    terms = systems(12)
    uneven = 3.0 + standardised(terms) @ np.array([0.0, 0.0, 0.0, 1.0, 0.0])
    assert choose_ridge(terms, uneven) <= 0.1
    even = 3.0 + standardised(terms).mean(axis=1) + 0.3 * np.random.default_rng(0).normal(size=12)
    assert choose_ridge(terms, even) >= 10


def test_intervals_of_the_weights_hold_the_planted_ones_and_count_what_was_refused() -> None:
    terms = systems(12)
    raters = np.stack([ratings_of(terms, 0.3, seed).to_numpy() for seed in range(16)])

    def draw(generator: np.random.Generator) -> tuple[pandas.DataFrame, pandas.Series]:
        drawn = raters[generator.integers(0, 16, 16)].mean(axis=0)
        return terms, pandas.Series(drawn if generator.uniform() > 0.1 else drawn * 0, terms.index)

    intervals = bootstrap_weights(draw, ridge=0.01, resamples=150)
    assert intervals.used + intervals.refused == 150
    assert 3 <= intervals.refused <= 40
    assert ((intervals.table["low"] <= PLANTED + 0.02) & (intervals.table["high"] >= PLANTED - 0.02)).all()
    with pytest.raises(UserError, match="No resample could be fitted"):
        bootstrap_weights(lambda generator: (terms, pandas.Series(1.0, terms.index)), resamples=3)


def test_weights_survive_a_file_and_a_file_with_anything_else_is_refused(tmp_path: Path) -> None:
    terms = systems(6)
    waem = fit_to_ratings(terms, ratings_of(terms))
    path = waem.save(tmp_path / "waem.json")
    assert Waem.load(path) == waem
    content = json.loads(path.read_text())
    assert content["format"] == "transmodal-waem/1"
    for change, message in (
        ({"colour": "red"}, "colour"),
        ({"format": "transmodal-waem/9"}, "transmodal-waem/1"),
        ({"weights": {**content["weights"], "psnr": 9.0}}, "sum to one"),
        ({"weights": {"vif": 1.0}}, "vif"),
        ({"spread": {**content["spread"], "psnr": 0.0}}, "spread"),
    ):
        path.write_text(json.dumps(content | change))
        with pytest.raises(UserError, match=message) as refusal:
            Waem.load(path)
        assert "\n" not in str(refusal.value)
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(UserError, match="WAEM weights"):
        Waem.load(path)
    with pytest.raises(UserError, match="no file"):
        Waem.load(tmp_path / "absent.json")


def test_weights_found_under_other_circumstances_are_used_with_a_caution() -> None:
    sets = {name: {"fnsd": {"value": 4.0, "n": 7, "features": "f"}} for name in "ab"}
    terms = terms_of(scores_of({"a": [[1, 0.1, 20, 0.8]], "b": [[4, 0.2, 25, 0.5]]}, sets))
    waem = equal_weights(terms)
    assert waem.cautions(terms) == []
    terms.attrs["made_with"] = terms.attrs["made_with"] | {"n": 80}
    assert len(waem.cautions(terms)) == 1
    assert "7" in waem.cautions(terms)[0] and "80" in waem.cautions(terms)[0]


def test_tau_b_counts_ties_as_by_hand() -> None:
    # Pairs: 6; C = 4, D = 1, one tie in the second: 3 / sqrt(6 · 5).
    assert tau_b([1, 2, 3, 4], [1, 3, 2, 3]) == pytest.approx(3 / np.sqrt(30))
    assert tau_b([1, 1], [1, 2]) is None
