"""`transmodal evaluate` on a segmentation run: the right metrics, baselines, files, report and comparison."""

import json
import re
from pathlib import Path
from typing import Any

import pandas
import pytest
from tests.data.abdomens import TINY_SEGMENTATION, write_abdomens
from typer.testing import CliRunner

from transmodal.cli.application import application
from transmodal.errors import UserError
from transmodal.evaluation.run import RunEvaluation, evaluate_run
from transmodal.metrics.policy import Policy
from transmodal.training.recipe import Recipe
from transmodal.training.train import train


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two runs on the same manifest, one of them barely trained."""
    folder = tmp_path_factory.mktemp("abdomens")
    manifest = write_abdomens(folder)
    for name, epochs, flips in (("good", 20, []), ("poor", 1, [1])):
        recipe = {
            **TINY_SEGMENTATION,
            "segmentation": TINY_SEGMENTATION["segmentation"] | {"flips": flips},
            "train": TINY_SEGMENTATION["train"] | {"epochs": epochs},
        }
        train(Recipe.model_validate(recipe), manifest, folder / name, cache=folder / "cache", quiet=True)
    return folder


@pytest.fixture(scope="module")
def evaluation(folder: Path) -> RunEvaluation:
    return evaluate_run(folder / "good", policy=Policy(areas=(20.0,)))


def run_cli(*words: Any) -> Any:
    return CliRunner().invoke(application, [str(word) for word in words])


def test_a_segmentation_is_scored_class_by_class_against_its_own_baselines(evaluation: RunEvaluation) -> None:
    scores = evaluation.scores["organs"]
    assert scores.columns[:4] == ("dice[liver]", "dice[tumour]", "hd95[liver]", "hd95[tumour]")
    assert scores.systems == ["translator", "intensity interval", "most frequent label", "empty map"]
    tumour, liver = scores.summary["dice[tumour]"].mean, scores.summary["hd95[liver]"].mean
    assert tumour is not None and tumour > 0.85 and liver is not None and liver < 2
    assert scores.summary_of("dice[tumour]", "empty map").mean == 0
    lesions = evaluation.segmentations["organs"].by_lesion(scores.policy).set_index(["system", "size"])
    assert lesions.loc[("translator", "all"), "found"] == 4 and lesions.loc[("empty map", "all"), "missed"] == 4


def test_its_files_hold_sizes_lesions_and_volumes(evaluation: RunEvaluation) -> None:
    place = evaluation.run.evaluation
    areas, lesions, volumes = (pandas.read_csv(place / f"{name}.csv") for name in ("areas", "lesions", "volumes"))
    assert {"area_true", "area_predicted", "dice"} <= set(areas) and set(areas["class"]) == {"tumour"}
    assert set(lesions["outcome"]) <= {"found", "missed", "false"}
    assert sorted(set(volumes["session"])) == ["w0", "w1"] and set(volumes["class"]) == {"liver", "tumour"}
    summary = json.loads((place / "summary.json").read_text())
    assert summary["segmentation"]["area_edges"] == [20.0]
    assert summary["policy"]["classes"] == {"liver": [1], "tumour": [2]}
    assert "at least 10 % of it" in summary["segmentation"]["criterion"]
    groups = pandas.read_csv(place / "groups.csv")
    mine = groups[groups["group_by"].str.startswith("area of tumour") & (groups["system"] == "translator")]
    assert mine["group"].tolist() == ["< 20", "≥ 20"] and mine["dice[tumour]"].notna().all()
    assert (place / "montage-organs-worst.png").is_file()


def test_the_report_tells_them_with_pictures_and_growth(evaluation: RunEvaluation) -> None:
    page = evaluation.report.read_text()
    sought = ["Dice of tumour", "Sizes", "area of tumour (mm²)", "Lesions", "is found when at least", "Volumes"]
    sought += [
        "Volume of tumour over visits",
        "predicted doubling time",
        "images with tumour",
        "most frequent label",
        "the worst case by Dice of tumour",
        "--areas 20",
    ]
    for words in sought:
        assert words in page, words


def test_the_command_prints_sizes_and_takes_edges(folder: Path) -> None:
    words = ("evaluate", folder / "good", "--split", "validation", "--workers", "1", "--flips", "0,1")
    result = run_cli(*words, "--areas", "20,40", "--metrics", "dice")
    assert result.exit_code == 0, result.output
    assert "Dice of tumour by its area in a slice (mm²): < 20:" in result.output and "lesions found" in result.output


def test_json_tells_sizes_too(folder: Path) -> None:
    told = json.loads(run_cli("evaluate", folder / "poor", "--split", "validation", "--workers", "1", "--json").output)
    assert told["segmentation"]["areas"][0]["size"] == "< 50" and "dice[liver]" in told["summary"]


def test_flips_are_those_of_the_recipe_unless_asked_for(folder: Path) -> None:
    told = []
    for words in ((), ("--flips", "none")):
        result = run_cli("evaluate", folder / "poor", "--split", "validation", "--workers", "1", *words)
        assert result.exit_code == 0, result.output
        summary = json.loads((folder / "poor" / "evaluation" / "summary.json").read_text())
        told.append((summary.get("translation", {}).get("flips"), summary["summary"]["dice[liver]"]["mean"]))
        assert ("--flips none" in (folder / "poor" / "report.html").read_text()) == bool(words)
    assert told[0][0] == [1] and told[1][0] is None and told[0][1] != told[1][1]


def test_other_peoples_data_are_scored_beside_the_runs_own(folder: Path, tmp_path: Path) -> None:
    run_cli("evaluate", folder / "poor", "--workers", "1")
    own = (folder / "poor" / "evaluation" / "summary.json").read_bytes()
    theirs = write_abdomens(tmp_path, subjects=2)
    lines = theirs.read_text().replace("\nm", "\nx")
    theirs.write_text("".join(line.rpartition(",")[0] + "\n" for line in lines.splitlines()))  # no split
    result = run_cli("evaluate", folder / "poor", "--data", theirs, "--workers", "1")
    assert result.exit_code == 0 and f"organs, all of {theirs}" in result.output.replace("\n", ""), result.output
    place = folder / "poor" / "other-data"
    cases = pandas.read_csv(place / "evaluation" / "cases.csv")
    assert sorted(set(cases["case"])) == ["x0_w0", "x0_w1", "x1_w0", "x1_w1"]
    assert {"translator", "intensity interval"} <= set(cases["system"]), "baselines are of the run's training subjects"
    assert json.loads((place / "evaluation" / "summary.json").read_text())["data"] == f"all of {theirs}"
    page = (place / "report.html").read_text()
    assert f"Scored on other data: all of {theirs}" in page and f"--data {theirs}" in page
    assert (folder / "poor" / "evaluation" / "summary.json").read_bytes() == own

    split = theirs.read_text().splitlines()
    theirs.write_text(
        "\n".join([split[0] + ",split", *(line + ("," if "x0" in line else ",test") for line in split[1:])])
    )
    result = run_cli("evaluate", folder / "poor", "--data", theirs, "--workers", "1", "--out", tmp_path / "out")
    assert result.exit_code == 0, result.output
    cases = pandas.read_csv(tmp_path / "out" / "evaluation" / "cases.csv")
    assert sorted(set(cases["case"])) == ["x1_w0", "x1_w1"]
    assert json.loads((tmp_path / "out" / "evaluation" / "summary.json").read_text())["data"].startswith(
        "the test split"
    )


def test_data_of_those_that_were_trained_on_are_refused(folder: Path, tmp_path: Path) -> None:
    theirs = write_abdomens(tmp_path, subjects=5)
    evaluate_run(folder / "poor", data=theirs, into=tmp_path / "out")  # m3 and m4, which test the run, too
    text = theirs.read_text()
    for changed, reason in (
        (re.sub("(train|validation)$", "test", text, flags=re.M), r"3 subjects .*: m0 \(train\), m1 \(train\), m2 \(v"),
        (text.replace(",ct,", ",CT,"), "no case with ct and organs; it has CT, organs"),
    ):
        theirs.write_text(changed)
        with pytest.raises(UserError, match=reason):
            evaluate_run(folder / "poor", data=theirs, into=tmp_path / "refused")
    with pytest.raises(UserError, match="leave --split validation out"):
        evaluate_run(folder / "poor", data=theirs, split="validation")
    assert not (tmp_path / "refused").exists()


def test_what_makes_no_sense_of_label_maps_is_refused(folder: Path) -> None:
    for words, reason in (
        (("--areas", "40,20"), "areas must rise"),
        (("--areas", "a"), "write rising numbers"),
        (("--metrics", "psnr"), "psnr compares images, and organs is a label map"),
        (("--segment", "organs"), "makes label maps"),
    ):
        refused = run_cli("evaluate", folder / "good", *words)
        assert isinstance(refused.exception, UserError) and reason in str(refused.exception), words


def test_two_segmentations_are_compared_over_the_same_cases(folder: Path) -> None:
    runs = (folder / "good", folder / "poor")
    result = run_cli("evaluate", *runs, "--workers", "1", "--metrics", "dice", "--out", folder / "both")
    assert result.exit_code == 0, result.output
    table = pandas.read_csv(folder / "both" / "cases.csv").groupby("system")["dice[tumour]"].mean()
    assert table["good"] > table["poor"]
    sizes = pandas.read_csv(folder / "both" / "sizes.csv").set_index(["size", "run"])
    assert sizes.loc[("all", "good"), "slices"] == sizes.loc[("all", "poor"), "slices"] == 8
    difference = sizes.loc[("all", "good"), "dice"] - sizes.loc[("all", "poor"), "dice"]
    assert sizes.loc[("all", "poor"), "difference"] == pytest.approx(difference) and difference > 0
    assert "first − this run" in (folder / "both" / "comparison.html").read_text()


def test_pictures_without_a_pixel_size_are_scored_by_what_needs_none(tmp_path: Path) -> None:
    manifest = write_abdomens(tmp_path, visits=1, shape=(32, 40), suffix=".png")
    recipe = {
        **TINY_SEGMENTATION,
        "preparation": {"intensity": {"ct": {"map": "type-range"}}},
        "segmentation": {**TINY_SEGMENTATION["segmentation"], "classes": {"organ": [1, 2]}},
        "train": TINY_SEGMENTATION["train"] | {"epochs": 2, "validate_every": 2},
    }
    run = train(Recipe.model_validate(recipe), manifest, tmp_path / "run", cache=tmp_path / "cache", quiet=True)
    scores = evaluate_run(run.folder).scores["organs"]
    assert scores.columns == ("dice[organ]", "relative_volume_error[organ]")
