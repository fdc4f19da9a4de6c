"""Translators of volumes are evaluated: regions, missing inputs, any to any, lesions."""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas
import pytest
from tests.data.brains import TINY_TRANSLATOR, make_brains
from tests.evaluation.test_run_evaluation import told
from tests.reporting.test_html import parse

from transmodal.errors import UserError
from transmodal.evaluation.intervals import block_interval
from transmodal.evaluation.run import evaluate_run
from transmodal.evaluation.scoring import CaseImages, CaseToScore, score_cases
from transmodal.evaluation.slices import slice_intervals, slice_intervals_in_words
from transmodal.evaluation.wording import scoring_files_in_words
from transmodal.images import Image, read
from transmodal.metrics.policy import Policy
from transmodal.training.recipe import Recipe
from transmodal.training.run import Run
from transmodal.training.train import train
from transmodal.translation import Translator, load_translator


def recipe(**changes: Any) -> Recipe:
    return Recipe.model_validate(TINY_TRANSLATOR | changes)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """T1 and T2, of which either may be missing, to FLAIR; subject s5 lacks T1, s4 its own mask of the brain."""
    folder = tmp_path_factory.mktemp("volumes")
    manifest = make_brains(folder)
    rows = manifest.read_text().splitlines(keepends=True)
    manifest.write_text("".join(row for row in rows if not row.startswith(("s5,,T1,", "s6,,brain,"))))
    return train(recipe(), manifest, folder / "run", cache=folder / "cache", quiet=True)


@pytest.fixture(scope="module")
def any_to_any(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Each of T1, T2 and FLAIR from the others."""
    folder = tmp_path_factory.mktemp("any")
    names = ["T1", "T2", "FLAIR"]
    changed = recipe(inputs=names, targets=names, train={"epochs": 1, "batch_size": 8, "sample_every": 100})
    return train(changed, make_brains(folder), folder / "run", cache=folder / "cache", quiet=True)


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[tuple[list[str], list[str], bool]]:
    """What translators are asked for: inputs, targets, whether a mask came along."""
    seen = []
    own = Translator.translate_case

    def watched(self: Translator, images: Mapping[str, Image], **options: Any) -> dict[str, Image]:
        seen.append((list(images), list(options["targets"]), options.get("mask") is not None))
        return own(self, images, **options)

    monkeypatch.setattr(Translator, "translate_case", watched)
    return seen


def test_a_case_is_translated_from_what_it_has_inside_its_own_mask(
    run: Run, calls: list[tuple[list[str], list[str], bool]]
) -> None:
    scores = evaluate_run(run.folder).scores["FLAIR"]
    assert list(scores.cases["case"]) == ["s5", "s6"] and scores.inputs == ("T1", "T2")
    assert calls[:2] == [(["T2"], ["FLAIR"], True), (["T1", "T2"], ["FLAIR"], False)]
    systems = ["translator", "mean target", "input luminance", "intensity lookup", "identity"]
    assert scores.systems == systems
    assert all(len(scores.of(system)) == 2 for system in systems)
    page = parse(run.report.read_text()).text
    assert "The translator was given T1, T2, as far as a case has them" in page


def test_given_restricts_what_a_translator_gets(
    run: Run, calls: list[tuple[list[str], list[str], bool]], capsys: pytest.CaptureFixture[str]
) -> None:
    told(capsys, "evaluate", run.folder, "--given", "T1")
    assert calls[0] == (["T1"], ["FLAIR"], False)
    summary = json.loads((run.evaluation / "summary.json").read_text())
    assert [case["case"] for case in summary["cases"]] == ["s6"] and summary["inputs"] == ["T1"]
    assert "--given T1" in parse(run.report.read_text()).text
    for given, what in (("T3", "takes T1, T2"), ("", "nothing else is given")):
        _, error = told(capsys, "evaluate", run.folder, "--given", given, status=2)
        assert what in error and error.count("\n") == 1


def test_a_modality_that_goes_both_ways_is_never_made_of_itself(
    any_to_any: Run, calls: list[tuple[list[str], list[str], bool]]
) -> None:
    scores = evaluate_run(any_to_any.folder).scores
    assert {target: part.inputs for target, part in scores.items()} == {
        "T1": ("T2", "FLAIR"),
        "T2": ("T1", "FLAIR"),
        "FLAIR": ("T1", "T2"),
    }
    assert all(targets[0] not in given and len(given) == 2 for given, targets, _ in calls)
    alone = evaluate_run(any_to_any.folder, given=["T1"]).scores
    assert list(alone) == ["T2", "FLAIR"]


def test_predictions_are_scored_in_the_unit_of_the_truth(run: Run) -> None:
    scores = evaluate_run(run.folder).scores["FLAIR"]
    assert (scores.policy.percentiles_of, scores.policy.mask) == ("truth", "foreground")
    policy = Policy(metrics=("mae",), sets=(), scale="percentile", percentiles_of="truth", mask="brain")
    scores = evaluate_run(run.folder, policy=policy).scores["FLAIR"]
    assert list(scores.cases["case"]) == ["s5"]  # s6 has no file of its brain
    case = next(case for case in run.manifest.cases(split="test") if case.id == "s5")
    truth, brain = read(case.files["FLAIR"]), read(case.files["brain"])
    translator = load_translator(run.model)
    made = translator.translate_case({"T2": read(case.files["T2"])}, mask=brain)["FLAIR"]
    intensity = translator.card.preparation.modalities["FLAIR"].intensity
    normalised = intensity.inverse.apply(made.pixels)
    true = intensity.for_image(truth.pixels)
    inside = brain.pixels != 0
    low, high = np.percentile(truth.pixels[inside], (0.5, 99.5))
    there = np.clip((true.invert(normalised)[inside] - low) / (high - low), 0, 1)
    wanted = np.clip((truth.pixels[inside] - low) / (high - low), 0, 1)
    assert scores.cases["mae"][0] == pytest.approx(np.abs(there - wanted).mean(), rel=1e-4)


def test_lesions_are_scored_beside_the_rest(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    out, _ = told(capsys, "evaluate", run.folder, "--lesions", "lesions")
    assert "lesions, translator: contrast " in out and "1 case with a lesion, 1 without one" in out
    table = pandas.read_csv(run.evaluation / "cases.csv").set_index(["system", "case"])
    assert np.isnan(table.loc[("translator", "s6"), "lesion_mae"])
    assert table.loc[("translator", "s5"), "lesion_contrast_truth"] > 0.2
    summary = json.loads((run.evaluation / "summary.json").read_text())
    assert summary["lesions"]["systems"]["identity"]["cases_without"] == 1
    page = parse(run.report.read_text()).text
    assert "In the lesions of 'lesions'" in page and "--lesions lesions" in page
    with pytest.raises(UserError, match="No image of modality 'lesion'"):
        evaluate_run(run.folder, policy=Policy(lesions="lesion"))


def test_every_combination_of_inputs_makes_every_target_that_is_not_given(
    any_to_any: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    out, _ = told(capsys, "evaluate", any_to_any.folder, "--combinations")
    assert out.count("●") == 3 + 6 and out.count("○") == 6 + 3  # three rows of one input, three of two; all is nothing
    table = pandas.read_csv(any_to_any.evaluation / "combinations.csv")
    assert len(table) == 3 * 2 + 3
    assert not any(row["target"] in row["given"].split("+") for _, row in table.iterrows())
    row = table[(table["given"] == "T1+T2") & (table["target"] == "FLAIR")].iloc[0]
    assert (row["given_T1"], row["given_FLAIR"], row["cases"]) == (1, 0, 2)
    main = evaluate_run(any_to_any.folder).scores["FLAIR"].summary_of("psnr").mean  # all that is left: T1 and T2
    assert row["psnr"] == pytest.approx(main, rel=1e-6)
    assert not (any_to_any.evaluation / "combinations.csv").exists()  # of an evaluation before
    alone = evaluate_run(any_to_any.folder, given=["T2"]).scores["T1"].summary_of("psnr").mean
    assert table[(table["given"] == "T2") & (table["target"] == "T1")].iloc[0]["psnr"] == pytest.approx(alone, rel=1e-6)


def test_combinations_say_how_much_of_the_lesions_each_keeps(any_to_any: Run) -> None:
    policy = any_to_any.recipe.evaluation.model_copy(update={"lesions": "lesions"})
    evaluation = evaluate_run(any_to_any.folder, policy=policy, combinations=True)
    found = evaluation.combinations
    assert found is not None
    whole = found.cell(("T1", "T2"), "FLAIR")
    main = evaluation.scores["FLAIR"].lesion_summary["translator"]  # all that is left: T1 and T2
    assert whole is not None and main.share is not None
    assert whole["lesion_share"] == pytest.approx(main.share, rel=1e-6)
    assert whole["lesion_mae"] == pytest.approx(main.values["mae"].mean, rel=1e-6)
    assert found.cell(("T1",), "FLAIR") != whole
    assert "How much of the lesions' contrast is kept" in parse(any_to_any.report.read_text()).text


def test_a_case_takes_part_in_the_combinations_that_it_has(run: Run) -> None:
    found = evaluate_run(run.folder, combinations=True).combinations
    assert found is not None
    numbers = {row["given"]: row["cases"] for _, row in found.table.iterrows()}
    assert numbers == {"T1": 1, "T2": 2, "T1+T2": 1}
    page = parse(run.report.read_text()).text
    assert "Missing modalities" in page and "--combinations" in page


def test_intervals_over_slices_are_paired_and_leave_out_what_the_mask_leaves_out() -> None:
    generator = np.random.default_rng(0)
    truth = np.zeros((20, 20, 60), np.float32)
    truth[4:16, 4:16, 5:50] = generator.uniform(0.2, 0.8, (12, 12, 45))
    truth[4:16, 4:16, 50:55] = 0
    truth[8:10, 8:10, 50:55] = 0.5  # slices with four pixels
    depth = 0.1 * np.sin(np.arange(60) / 6)  # shared by both systems
    image = Image(truth, np.eye(4))

    def off_by(error: float) -> Image:
        return image.with_pixels((truth + error + depth).astype(np.float32))

    policy = Policy(
        metrics=("mae", "psnr"), sets=(), range=(0, 1), mask="foreground", dimension=2, slice_pixels=4
    ).resolved(unit="units", dimension=3)
    images = CaseImages({"good": off_by(0.2), "bad": off_by(0.3)}, image)
    scores = score_cases([CaseToScore("one", "one", lambda: images)], policy)
    table = slice_intervals(scores).set_index(["metric", "system"])
    mine, other = table.loc[("mae", "good")], table.loc[("mae", "bad")]
    assert mine["slices"] == other["slices"] == 45
    assert mine["mean"] == pytest.approx(scores.cases["mae"][0])
    assert mine["low"] < mine["mean"] < mine["high"] and mine["high"] - mine["low"] > 0.02
    assert other["difference"] == pytest.approx(-0.1, abs=1e-3)
    assert other["difference_high"] - other["difference_low"] < 1e-3  # what both share is gone
    (line,) = slice_intervals_in_words(scores)
    assert line.startswith("one, PSNR over 45 slices: ") and "minus bad +" in line


def test_it_is_said_that_scores_in_the_unit_of_the_truth_are_not_those_of_files(
    run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    told_first = "The output is first put into the truth's own unit"
    said, _ = told(capsys, "evaluate", run.folder)
    command = (
        "'transmodal score --scale percentile --percentiles-of each --mask DIR-OF-brain --dimension 2 "
        "--slice-axis ARRAY-AXIS-OF-axial --metrics mae,psnr,ssim' scores files as written, each by its own "
        "percentiles, else under this policy, but has no option for images emptied outside the mask."
    )
    assert told_first in " ".join(said.split()) and command in " ".join(said.split())
    assert told_first in parse(run.report.read_text()).text and command in parse(run.report.read_text()).text
    assert json.loads((run.evaluation / "summary.json").read_text())["unit_of_output"].startswith(told_first)
    scores = evaluate_run(run.folder, policy=run.recipe.evaluation.model_copy(update={"percentiles_of": "each"}))
    assert "unit_of_output" not in scores.scores["FLAIR"].to_json()


def test_the_command_for_written_files_says_what_of_the_policy_it_cannot_keep() -> None:
    policy = Policy(scale="percentile", mask="brain", slice_pixels=2000, nrmse="min-max", metrics=("mae", "nrmse"))
    told_of = scoring_files_in_words(policy.resolved(dimension=2))
    options = "--mask DIR-OF-brain --dimension 2 --slice-pixels 2000 --metrics mae,nrmse --nrmse min-max' scores"
    assert options in told_of and told_of.endswith("policy.")
    whole = Policy(scale="percentile", mask="none", slice_axis=0, aggregation="cases").resolved(dimension=3)
    told_of = scoring_files_in_words(whole)
    assert "--percentiles-of each --dimension 3 --slice-axis 0'" in told_of and "the mean over cases" in told_of


def test_a_target_that_no_case_of_the_split_has_is_skipped_and_named(
    any_to_any: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    unevaluated = shutil.ignore_patterns("evaluation")
    folder = Path(shutil.copytree(any_to_any.folder, tmp_path / "run", ignore=unevaluated))
    manifest = folder / "manifest.csv"
    rows = manifest.read_text().splitlines(keepends=True)

    def without(*modalities: str) -> None:
        kept = (row for row in rows if not (",test" in row and any(f",{name}," in row for name in modalities)))
        manifest.write_text("".join(kept))

    without("FLAIR")
    out, error = told(capsys, "evaluate", folder, "--json")
    assert (
        list(json.loads(out)["targets"]) == ["T1", "T2"] and "no test case" in json.loads(out)["not_evaluated"]["FLAIR"]
    )
    assert error.startswith("not evaluated: run, FLAIR: ") and error.count("\n") == 1
    assert "FLAIR was not evaluated" in parse((folder / "report.html").read_text()).text
    assert list(json.loads((folder / "evaluation" / "summary.json").read_text())["not_evaluated"]) == ["FLAIR"]
    without("T1", "T2", "FLAIR")
    _, error = told(capsys, "evaluate", folder, status=2)
    assert "has no test case with T1" in error and error.count("\n") == 1


def test_a_run_is_evaluated_as_its_translator_is_to_be_used(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    plain = evaluate_run(run.folder).scores["FLAIR"].summary["mae"].mean
    told(capsys, "evaluate", run.folder, "--flips", "1", "--precision", "bf16", "--memory", "2")
    summary = json.loads((run.evaluation / "summary.json").read_text())
    assert (summary["translation"]["flips"], summary["translation"]["precision"]) == ([1], "bf16")
    assert summary["summary"]["mae"]["mean"] != plain
    assert "--flips 1 --precision bf16 --memory 2" in parse(run.report.read_text()).text
    for words in (("--flips", "2"), ("--flips", "0,0"), ("--window", "0,0,0"), ("--precision", "int8")):
        _, error = told(capsys, "evaluate", run.folder, *words, status=2)
        assert error.count("\n") == 1 and "Traceback" not in error


def test_volumes_too_coarse_for_slice_pixels_say_how_to_score_them(
    run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    _, error = told(capsys, "evaluate", run.folder, "--slice-pixels", "2000", status=2)
    assert error.count("\n") == 1 and "more than 2000 pixels" in error and "--slice-pixels 0" in error
    assert "leave the case" not in error
    said, _ = told(capsys, "evaluate", run.folder, "--slice-pixels", "10")
    assert "with more than 10 pixels of the mask" in " ".join(said.split())
    assert "--slice-pixels 10" in parse(run.report.read_text()).text


def test_blocks_of_alike_neighbours_widen_the_interval_of_their_mean() -> None:
    generator = np.random.default_rng(1)
    covered = {1: 0, 12: 0}
    for trial in range(60):
        for alike in covered:
            rows = np.repeat(generator.normal(0, 1, 144 // alike), alike)
            low, high = block_interval(rows, seed=trial, resamples=400)
            assert low is not None and high is not None
            covered[alike] += low <= 0 <= high
    assert covered[1] > 48 and covered[12] > 42  # of 60; an interval that takes rows for independent covers 30 of 12s
    assert block_interval(np.ones(15)) == (None, None)
