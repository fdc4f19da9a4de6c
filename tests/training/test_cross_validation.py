"""Cross-validation: every subject is tested once, by a run that did not see it, and pooled with all others."""

import json
import shutil
from pathlib import Path

import pandas
import pytest
import yaml
from tests.data.brains import TINY_TRANSLATOR, make_brains
from tests.evaluation.test_run_evaluation import told
from tests.reporting.test_html import parse

from transmodal.datasets.manifest import Manifest
from transmodal.errors import UserError
from transmodal.training import cross_validation
from transmodal.training.cross_validation import CrossValidation, dealt_into_folds, fold_manifest
from transmodal.training.recipe import Recipe


@pytest.fixture(scope="module")
def brains(tmp_path_factory: pytest.TempPathFactory) -> Path:
    splits = {f"s{number}": "train" for number in range(1, 7)}
    return make_brains(tmp_path_factory.mktemp("brains"), subjects=6, splits=splits)


def test_every_subject_is_tested_once_and_never_seen_by_its_own_fold(brains: Path) -> None:
    manifest = dealt_into_folds(Manifest.read(brains), 3, seed=1)
    tested: list[str] = []
    for fold in (1, 2, 3):
        part = fold_manifest(manifest, fold, seed=1)
        sides = {split: {case.subject for case in part.cases(split=split)} for split in ("train", "validation", "test")}
        assert [len(sides[split]) for split in ("train", "validation", "test")] == [3, 1, 2]
        assert len(set.union(*sides.values())) == 6
        tested += sides["test"]
    assert sorted(tested) == [f"s{number}" for number in range(1, 7)]
    again = dealt_into_folds(Manifest.read(brains), 3, seed=1)
    assert again.table.equals(manifest.table)
    assert dealt_into_folds(manifest, 3, seed=99) is manifest  # its own folds win
    assert not dealt_into_folds(Manifest.read(brains), 3, seed=2).table.equals(manifest.table)


@pytest.mark.parametrize(("best", "held_back"), [("auto", 1), ("last", 0)])
def test_nobody_validates_where_no_score_chooses(
    brains: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, best: str, held_back: int
) -> None:
    parts: list[Manifest] = []
    monkeypatch.setattr(cross_validation, "train", lambda recipe, part, out, **_: parts.append(part))
    recipe = Recipe.model_validate(TINY_TRANSLATOR | {"train": {"best": best}})
    cross_validation.train_folds(recipe, brains, tmp_path / "out", 3)
    sides = [[len({case.subject for case in part.cases(split=side)}) for side in ("train", "validation", "test")]
             for part in parts]  # fmt: skip
    assert sides == [[4 - held_back, held_back, 2]] * 3


def test_of_two_people_each_is_trained_on_the_other(tmp_path: Path) -> None:
    manifest = dealt_into_folds(Manifest.read(make_brains(tmp_path, 2, splits={"s1": "train", "s2": ""})), 2, seed=0)
    parts = [fold_manifest(manifest, fold, seed=0) for fold in (1, 2)]
    sides = [{case.subject: case.split for case in part.cases()} for part in parts]
    assert [sorted(map(str, side.values())) for side in sides] == [["test", "train"], ["test", "train"]]
    assert sides[0]["s1"] != sides[1]["s1"]
    with pytest.raises(UserError, match="3 folds"):
        dealt_into_folds(manifest, 3, seed=0)


def test_subjects_set_aside_for_test_are_in_no_fold(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = make_brains(tmp_path / "data", 6)  # s5 and s6 are test subjects
    manifest = dealt_into_folds(Manifest.read(file), 2, seed=0)
    for fold in (1, 2):
        part = fold_manifest(manifest, fold, seed=0)
        assert {case.subject for case in part.cases() if case.split} == {"s1", "s2", "s3", "s4"}
    assert {case.subject for case in manifest.cases(split="test")} == {"s5", "s6"}
    with pytest.raises(UserError, match=r"choose 2 to 4 folds \(without the 2 whose split is test\)"):
        dealt_into_folds(Manifest.read(file), 5, seed=0)
    everyone = make_brains(tmp_path / "test", 2, splits={"s1": "test", "s2": "test"})
    assert set(dealt_into_folds(Manifest.read(everyone), 2, seed=0).table["fold"]) == {"1", "2"}

    monkeypatch.setattr(cross_validation, "train", lambda *_, **__: None)
    lines: list[str] = []
    cross_validation.train_folds(Recipe.model_validate(TINY_TRANSLATOR), file, tmp_path / "out", 2, say=lines.append)
    assert lines[0].endswith("s5, s6 (2)") and len(lines) == 3


def test_folds_are_trained_resumed_and_pooled(
    brains: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = tmp_path / "recipe.yaml"
    settings = TINY_TRANSLATOR | {"train": {"epochs": 1, "batch_size": 8, "sample_every": 100}}
    recipe.write_text(yaml.safe_dump(settings))
    out = tmp_path / "out"
    command = ["train", recipe, "--data", brains, "--out", out, "--folds", 3, "--cache", tmp_path / "c", "--quiet"]
    trained: list[str] = []
    own = cross_validation.train

    def stopping(recipe: object, manifest: Manifest, folder: Path, **options: object) -> object:
        if len(trained) == 1:
            raise KeyboardInterrupt
        trained.append(folder.name)
        return own(recipe, manifest, folder, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(cross_validation, "train", stopping)
    told(capsys, *command, status=130)
    monkeypatch.setattr(cross_validation, "train", own)
    assert trained == ["fold-1"] and CrossValidation.open(out).finished == (1,)
    _, error = told(capsys, "evaluate", out, status=2)
    assert "fold-2, fold-3 of 3 not trained to the end" in error and error.count("\n") == 1
    _, error = told(capsys, *command, status=2)
    assert "add --resume" in error
    first = (out / "fold-1" / "model" / "model.safetensors").stat().st_mtime_ns
    text, _ = told(capsys, "train", "--resume", "--out", out, "--cache", tmp_path / "c", "--quiet")
    assert text.splitlines()[-1] == f"Runs: {out}"
    assert (out / "fold-1" / "model" / "model.safetensors").stat().st_mtime_ns == first
    assert CrossValidation.open(out).unfinished == []

    told(capsys, "evaluate", out, "--lesions", "lesions")
    table = pandas.read_csv(out / "evaluation" / "cases.csv")
    mine = table[table["system"] == "translator"]
    assert sorted(mine["subject"]) == [f"s{number}" for number in range(1, 7)]
    for _, row in mine.iterrows():
        part = Manifest.read(out / row["fold"] / "manifest.csv")
        assert row["subject"] in {case.subject for case in part.cases(split="test")}
    summary = json.loads((out / "evaluation" / "summary.json").read_text())
    assert summary["number_of_subjects"] == 6
    assert summary["summary"]["psnr"]["mean"] == pytest.approx(mine["psnr"].mean(), rel=1e-6)
    assert (
        summary["summary"]["psnr"]["ci95"][0] is not None and summary["lesions"]["systems"]["translator"]["cases"] == 5
    )
    groups = pandas.read_csv(out / "evaluation" / "groups.csv")
    assert set(groups.loc[groups["group_by"] == "fold", "group"]) == {"fold-1", "fold-2", "fold-3"}
    page = parse((out / "report.html").read_text()).text
    assert "all folds: 6 cases of 6 subjects" in page and "--folds 3" in page and "which never saw it" in page
    one = tmp_path / "one"
    shutil.copytree(out / "fold-2", one)
    told(capsys, "evaluate", one)
    alone = pandas.read_csv(one / "evaluation" / "cases.csv").set_index(["system", "case"])
    pooled = table[table["fold"] == "fold-2"].set_index(["system", "case"])
    assert alone["psnr"].to_numpy() == pytest.approx(pooled.loc[alone.index, "psnr"].to_numpy(), rel=1e-6)

    lacking = out / "fold-1" / "manifest.csv"  # no test subject of the first fold has a target: the others are pooled
    rows = lacking.read_text().splitlines(keepends=True)
    lacking.write_text("".join(row for row in rows if not (",FLAIR," in row and ",test" in row)))
    told(capsys, "evaluate", out)
    rest = pandas.read_csv(out / "evaluation" / "cases.csv")
    assert set(rest["fold"]) == {"fold-2", "fold-3"}


def test_a_wrong_call_is_told_in_one_line(brains: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").touch()
    for arguments, what in (
        (["t1-to-t2", "--data", brains, "--out", tmp_path / "full", "--folds", 3], "not an empty folder"),
        (["t1-to-t2", "--data", brains, "--out", tmp_path / "new", "--folds", 9], "9 folds"),
        (["t1-to-t2", "--data", brains, "--out", tmp_path / "new", "--folds", 3, "--fold", 1], "give one"),
        (["t1-to-t2", "--data", brains, "--out", tmp_path / "new", "--folds", 3, "--devices", 2], "one process"),
    ):
        _, error = told(capsys, "train", *arguments, status=2)
        assert what in error and error.count("\n") == 1, error
