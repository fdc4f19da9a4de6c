"""The analysis finds what was planted in simulated studies, and says in words what it cannot."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas
import pytest

from transmodal.errors import UserError
from transmodal.evaluation.files import write_evaluation
from transmodal.evaluation.readers.analysis import analyse_answers
from transmodal.evaluation.readers.answers import REAL, Answers, Kind
from transmodal.evaluation.readers.expert_weights import FittedWaem, fit_waem, weighted_terms
from transmodal.evaluation.readers.metric_scores import join, load_scores
from transmodal.evaluation.readers.report import page_of
from transmodal.evaluation.readers.simulated import (
    SimulatedReader,
    World,
    planted_detection_kappa,
    planted_rating_kappa,
    simulate,
)
from transmodal.evaluation.scores import Scores
from transmodal.evaluation.waem import terms_of
from transmodal.metrics.policy import Policy
from transmodal.reporting.html import render

READERS = [SimulatedReader(f"r{number}", 1.0, 0.2) for number in range(5)]
METRICS = ("mse", "nrmse", "psnr", "ssim")


def made_scores(systems: int = 12, cases: int = 30, seed: int = 0, spread: float = 0.15) -> Scores:
    """Scores of systems whose four metrics and FNSD are independent of each other."""
    generator = np.random.default_rng(seed)
    names = [f"m{number:02d}" for number in range(systems)]
    level = generator.normal(size=(5, systems))
    rows = []
    for case in range(cases):
        part = level[:4] + spread * generator.normal(size=(4, systems))
        values = (0.01 * np.exp(-0.2 * part[0]), 0.2 * np.exp(-0.1 * part[1]), 25 + 2 * part[2], 0.8 + 0.03 * part[3])
        rows += [
            {"system": name, "case": f"c{case:03d}", "subject": f"s{case:03d}"}
            | {metric: values[number][place] for number, metric in enumerate(METRICS)}
            for place, name in enumerate(names)
        ]
    policy = Policy(
        metrics=METRICS, range=(0, 1), scale="physical", clip=False, mask="none", dimension=2, unit="intensity"
    )
    sets = {
        name: {"fnsd": {"value": float(4 * np.exp(-0.2 * level[4, place])), "n": cases, "features": "blocks"}}
        for place, name in enumerate(names)
    }
    return Scores(policy, pandas.DataFrame(rows), sets=sets)


def planted(scores: Scores, weights: list[float], size: float = 1.0) -> World:
    terms = terms_of(scores)
    utility = ((terms - terms.mean()) / terms.std()).to_numpy() @ np.asarray(weights)
    return World(
        {str(name): size * float(value) for name, value in zip(terms.index, utility, strict=True)}, agreement=0.1
    )


def study(kind: Kind, systems: list[str], world: World | None = None, **more: object) -> Answers:
    return simulate(kind, systems, 30, READERS, world or World(agreement=0.1), **more)  # type: ignore[arg-type]


def test_skill_and_agreement_are_recovered() -> None:
    found = analyse_answers(study("real-or-synthetic", ["A", "B"], World(agreement=0.3), repeats=0.2), resamples=300)
    d_prime, kappa = found.means["d_prime"], found.agreement[""].fleiss
    assert d_prime.low <= 1.0 <= d_prime.high  # type: ignore[operator]
    assert kappa.low <= planted_detection_kappa(1.0, 0.2, 0.3) <= kappa.high  # type: ignore[operator]
    assert len(found.agreement[""].pairs) == 10
    assert set(found.called_real) == {"A", "B", REAL}
    assert all(reader.consistency is not None and reader.detection is not None for reader in found.readers)


def test_pairs_of_real_and_synthetic_are_scored_by_sides() -> None:
    biased = [replace(reader, side_bias=1.0) for reader in READERS]
    answers = simulate("which-is-real", ["A"], 60, biased, World())
    found = analyse_answers(answers, resamples=200)
    assert found.readers[0].left is not None and found.readers[0].left.share > 0.5  # type: ignore[operator]
    assert np.mean([reader.detection.criterion.value for reader in found.readers if reader.detection]) < -0.3
    right = (answers.table["answer"] == answers.table["real_side"]).mean()
    assert found.means["accuracy"].value == pytest.approx(right)
    assert found.called_real["A"].value == pytest.approx(1 - right)


def test_repeats_count_for_consistency_only() -> None:
    answers = study("real-or-synthetic", ["A"], World(), repeats=0.5)
    first = replace(answers, table=answers.table[answers.table["repeat"] == 0])
    one, other = analyse_answers(answers, resamples=50), analyse_answers(first, resamples=50)
    assert one.means["accuracy"] == other.means["accuracy"]
    assert one.readers[0].consistency is not None and other.readers[0].consistency is None
    assert any("No item was repeated" in note for note in other.notes)


@pytest.mark.parametrize("kind", ["real-or-synthetic", "preference", "rating"])
@pytest.mark.parametrize(("readers", "cases"), [(2, 12), (2, 3), (5, 12)])
def test_captions_say_whom_intervals_speak_of(kind: Kind, readers: int, cases: int) -> None:
    scores = made_scores(3, cases)
    world = planted(scores, [0.2] * 5)
    found = analyse_answers(simulate(kind, scores.systems, cases, READERS[:readers], world), scores, resamples=60)
    page = render(page_of(found))
    these = "2 readers, fewer than 4: intervals hold for these readers only"
    none = "3 subjects, fewer than 4: no intervals over subjects"
    assert (these in page, these in found.notes) == ((readers == 2, readers == 2))
    assert (none in page, none in found.notes) == ((cases == 3, cases == 3))
    general = "95 % intervals over readers and subjects" in page
    assert general == (readers == 5)
    restricted = "95 % intervals over subjects: the interval holds for these 2 readers only" in page
    assert restricted == (readers == 2 and cases == 12)
    assert ("95 % intervals over subjects" in page.split("Metrics against readers")[1]) == (cases == 12)
    assert ("without intervals" in page.split("Readers</h2>")[0]) == (cases == 3)


@pytest.mark.parametrize("kind", ["rating", "real-or-synthetic"])
def test_consistency_is_not_tested_against_one_half(kind: Kind) -> None:
    found = analyse_answers(study(kind, ["A", "B"], repeats=0.5), resamples=50)
    for reader in found.readers:
        assert reader.consistency is not None and reader.consistency.low is not None
        assert reader.consistency.p is None and reader.consistency_kappa


@pytest.mark.parametrize("kind", ["rating", "preference"])
def test_planted_weights_are_recovered(kind: Kind) -> None:
    scores, weights = made_scores(), [0.1, 0.1, 0.3, 0.4, 0.1]
    answers = study(kind, scores.systems, planted(scores, weights))
    fitted = fit_waem(answers, scores, ridge=0.1, resamples=150)
    for (term, (low, high)), weight in zip(fitted.intervals.items(), weights, strict=True):
        assert low <= weight <= high, term
        assert high - low < 0.35
    assert fitted.agreement is not None and fitted.agreement.tau_b is not None and fitted.agreement.tau_b > 0.6


@pytest.mark.parametrize("kind", ["rating", "preference"])
@pytest.mark.parametrize(("systems", "given"), [(3, False), (5, False), (6, True)])
def test_weights_of_too_few_systems_have_no_intervals(kind: Kind, systems: int, given: bool) -> None:
    scores = made_scores(systems)
    fitted = fit_waem(study(kind, scores.systems, planted(scores, [0.2] * 5)), scores, resamples=20)
    assert len(fitted.waem.weights) == 5 and bool(fitted.intervals) == given
    assert any(f"{systems} systems for 5 weights" in note for note in fitted.notes) != given
    assert any("Leaving one system out needs 4" in note for note in fitted.notes) == (systems == 3)


def test_a_set_level_term_without_spread_is_held_fixed() -> None:
    scores = made_scores(12)
    answers = study("rating", scores.systems, planted(scores, [0.3, 0.3, 0.2, 0.2, -1.0]))
    found = analyse_answers(answers, scores, ridge=0.1, resamples=30)
    assert isinstance(found.waem, FittedWaem) and found.waem.without == {"1/fnsd": "held fixed"}
    assert set(found.waem.intervals) == {"1/mse", "1/nrmse", "psnr", "ssim"}
    assert "<small>held fixed</small>" in render(page_of(found))


def test_weighted_terms_are_the_terms_of_the_resample() -> None:
    scores = made_scores(4, 8)
    table = scores.table.copy()
    table.loc[0, "psnr"] = np.inf
    table["subject"] = "s" + (table["case"].str[1:].astype(int) // 2).astype(str)
    scores = replace(scores, table=table)
    subjects = sorted(set(table["subject"]))
    terms = weighted_terms(scores, subjects)
    pandas.testing.assert_frame_equal(terms(np.ones(4)), terms_of(scores), check_names=False)
    twice = [
        table[table["subject"] == name].assign(subject=new) for name, new in (("s0", "x"), ("s0", "y"), ("s2", "z"))
    ]
    drawn = replace(scores, table=pandas.concat(twice, ignore_index=True))
    pandas.testing.assert_frame_equal(terms(np.asarray([2.0, 0, 1, 0])), terms_of(drawn), check_names=False)


def test_agreement_of_ratings_and_tests_between_systems() -> None:
    world = World({"A": -0.7, "B": 0.0, "C": 0.7}, agreement=0.2)
    found = analyse_answers(study("rating", ["A", "B", "C"], world, criteria=("realism", "anatomy")), resamples=300)
    truth = planted_rating_kappa(READERS[0], world, 5, [-0.7, 0.0, 0.7])
    for result in found.agreement.values():
        assert result.weights == "quadratic"
        assert result.fleiss.low <= truth <= result.fleiss.high  # type: ignore[operator]
        assert result.icc_mean.value > result.icc_single.value  # type: ignore[union-attr, operator]
    assert len(found.tests) == 6
    assert all(test.p <= test.p_holm <= 1 for test in found.tests)  # type: ignore[operator]
    far = next(test for test in found.tests if (test.first, test.second) == ("A", "C"))
    assert far.p_holm < 0.01 and far.difference.high < 0  # type: ignore[operator]


def test_metrics_are_turned_so_that_one_is_agreement() -> None:
    scores = made_scores(6, spread=1.0)
    world = planted(scores, [1.0, 0, 0, 0, 0], size=1.5)
    for kind in ("rating", "preference"):
        found = analyse_answers(study(kind, scores.systems, world), scores, resamples=100)
        by_name = {result.metric: result for result in found.metrics}
        assert by_name["mse"].lower_is_better and not by_name["ssim"].lower_is_better
        assert by_name["mse"].systems.kendall.value > 0.6  # type: ignore[operator]
        assert by_name["fnsd"].images is None and by_name["fnsd"].systems.kendall.value is not None
        if kind == "rating":
            assert by_name["mse"].images.kendall.low > 0  # type: ignore[union-attr, operator]
        else:
            assert by_name["mse"].pairs.low > 0.5  # type: ignore[union-attr, operator]


def test_people_and_programs_are_never_put_together() -> None:
    answers = replace(study("real-or-synthetic", ["A"], repeats=0.1), simulated=("r0", "r1"))
    found = analyse_answers(answers, resamples=50)
    assert [reader.name for reader in found.readers] == ["r2", "r3", "r4"] and not found.simulated
    assert "the simulated readers r0, r1" in found.notes[0]
    assert "simulated" not in found.who


def test_simulated_readers_are_called_so_in_every_output() -> None:
    found = analyse_answers(study("rating", ["A", "B"]), resamples=50)
    assert found.who == "5 simulated readers" and found.to_json()["simulated_readers"] is True
    page = render(page_of(found))
    assert "Simulated readers: programs gave these answers" in page
    assert page.count("<small>simulated</small>") == 5


def hard(kind: Kind, what: str) -> Answers:
    """A study that a user can have and no textbook shows."""
    answers = study(kind, ["A", "B", "C"], repeats=0.1)
    table = answers.table
    if what == "one reader":
        return replace(answers, table=table[table["reader"] == "r0"], unanswered={"r0": 0})
    if what == "one answer":
        return replace(answers, table=table.iloc[:1], unanswered={"r0": 65, "r1": 66})
    if what == "incomplete":
        return replace(answers, table=table.drop(index=table.index[5:40]), unanswered={**answers.unanswered, "r0": 35})
    if what == "two subjects":
        return replace(answers, table=table.assign(subject=np.where(table["case"] < "c015", "s", "t")))
    same: dict[str, int | str] = {
        "rating": 3,
        "preference": "tie",
        "which-is-real": "left",
        "real-or-synthetic": "real",
    }
    return replace(answers, table=table.assign(answer=[same[kind]] * len(table)))


@pytest.mark.parametrize("what", ["one reader", "one answer", "incomplete", "two subjects", "all the same"])
@pytest.mark.parametrize("kind", ["real-or-synthetic", "which-is-real", "preference", "rating"])
def test_hard_studies_give_defined_values_or_words(kind: Kind, what: str) -> None:
    scores = made_scores(3)
    table = scores.table.assign(system=scores.table["system"].map({"m00": "A", "m01": "B", "m02": "C"}))
    found = analyse_answers(hard(kind, what), replace(scores, table=table, sets={}), resamples=40)
    text = json.dumps(found.to_json(), allow_nan=False)

    def check(value: object) -> None:
        if isinstance(value, dict):
            if "value" in value and "ci95" in value and "p" not in value and value["value"] is None:
                assert value.get("note"), value
            for item in value.values():
                check(item)
        elif isinstance(value, list):
            for item in value:
                check(item)

    check(json.loads(text))
    page = render(page_of(found))
    assert "nan" not in page.split("</style>")[1].replace("base64", "").lower().split("data:image")[0]


def test_nobody_and_unfit_scores_are_refused_in_one_line() -> None:
    answers = study("rating", ["A", "B"])
    with pytest.raises(UserError, match="Nobody has answered"):
        analyse_answers(replace(answers, table=answers.table.iloc[:0]))
    with pytest.raises(UserError, match=r"No system of the study \(A, B\) is in the scores"):
        analyse_answers(answers, made_scores(3))
    scores = made_scores(2)
    named = scores.table.assign(system=scores.table["system"].map({"m00": "A", "m01": "B"}))
    with pytest.raises(UserError, match="No case of the study"):
        analyse_answers(answers, replace(scores, table=named.assign(case="z" + named["case"])))
    few = analyse_answers(answers, replace(scores, table=named), resamples=30)
    assert isinstance(few.waem, str) and "fewer than 3 systems" in few.waem


def test_scores_come_back_from_disk_and_slices_find_their_volume(tmp_path: Path) -> None:
    scores = made_scores(4)
    table = scores.table.copy()
    table.loc[0, "psnr"] = np.inf
    table.loc[1, "ssim"] = np.nan
    write_evaluation(tmp_path, {"": replace(scores, table=table)}, {"": pandas.DataFrame()}, {})
    loaded = load_scores(tmp_path)
    pandas.testing.assert_frame_equal(loaded.table, table, check_dtype=False)
    assert loaded.policy == scores.policy and loaded.sets["m00"]["fnsd"] == scores.sets["m00"]["fnsd"]
    answers = study("rating", scores.systems)
    sliced = replace(answers, table=answers.table.assign(case=answers.table["case"] + "_slice012"))
    joined = join(sliced, loaded)
    assert len(joined.scores.table) == len(table) and joined.scores.table["case"].str.endswith("_slice012").all()
    assert any("slices" in note for note in joined.notes)


def test_subjects_are_those_that_group_more_cases() -> None:
    scores = made_scores(3)
    grouped = replace(scores, table=scores.table.assign(subject="p" + scores.table["case"].str[1:3]))
    joined = join(study("rating", scores.systems), grouped)
    assert joined.answers.table["subject"].nunique() == 3 and "subjects are those of the scores" in joined.notes
    kept = join(replace(study("rating", scores.systems, cases_a_subject=10)), scores)
    assert kept.scores.table["subject"].nunique() == 3


def test_damaged_or_several_scores_are_refused_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"has no cases\.csv"):
        load_scores(tmp_path)
    scores = made_scores(3)
    write_evaluation(
        tmp_path, {"t2": scores, "flair": scores}, {"t2": pandas.DataFrame(), "flair": pandas.DataFrame()}, {}
    )
    with pytest.raises(UserError, match="scores of t2, flair; name one of them with --target"):
        load_scores(tmp_path)
    assert len(load_scores(tmp_path, "flair").table) == len(scores.table)
    (tmp_path / "summary.json").write_text("{", encoding="utf-8")
    with pytest.raises(UserError, match="holds no scores that can be read"):
        load_scores(tmp_path)


def test_fitted_weights_stand_in_the_report() -> None:
    scores = made_scores(5)
    answers = study("preference", scores.systems, planted(scores, [0.2] * 5))
    found = analyse_answers(answers, scores, resamples=60)
    assert isinstance(found.waem, FittedWaem)
    page = render(page_of(found, ["transmodal rate analyse study"]))
    for words in ("WAEM weights", "1/fnsd", "Each system foretold by a fit without it", "Kendall τ_b", "preferred to"):
        assert words in page
