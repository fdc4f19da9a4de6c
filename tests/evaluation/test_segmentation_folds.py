"""A cross-validated segmentation is evaluated as one: every subject once, by the fold that did not see it."""

import json
from pathlib import Path

import numpy as np
import pandas
import pytest
from tests.data.commands import run
from tests.data.patches import write_patches

from transmodal.datasets.manifest import Manifest
from transmodal.datasets.stacked import Stack, unpack
from transmodal.evaluation import thresholds
from transmodal.evaluation.asked import Asked
from transmodal.evaluation.run import evaluate_run
from transmodal.evaluation.scores import Scores
from transmodal.evaluation.segmentation_job import SegmentationJob
from transmodal.evaluation.target import TargetJob
from transmodal.evaluation.thresholds import TRIED, best_thresholds
from transmodal.images import read
from transmodal.training.cross_validation import CrossValidation, train_folds
from transmodal.training.recipe_loading import load_recipe
from transmodal.translation import load_translator
from transmodal.translation.options import Options


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("lung")
    return unpack(
        Stack(write_patches(folder / "patches.npz", subjects=4), spacing=(2, 2), per_subject=5), folder / "lung"
    )


@pytest.fixture(scope="module")
def whole(data: Path) -> CrossValidation:
    folder = data.parent.parent
    recipe = load_recipe("lung-tumour", scale="smoke")
    return train_folds(recipe, data, folder / "run", 2, cache=folder / "cache", quiet=True)


def test_sizes_and_lesions_are_those_of_all_folds(data: Path, whole: CrossValidation) -> None:
    for fold in whole.runs():
        assert len({case.subject for case in fold.manifest.cases(split="train")}) == 2
        assert not fold.manifest.cases(split="validation")
    evaluation = evaluate_run(whole.folder)
    scores, details = evaluation.scores["seg"], evaluation.segmentations["seg"]
    assert len(scores.cases) == 20 and set(scores.cases["fold"]) == {"fold-1", "fold-2"}
    assert scores.subjects == 4

    truth = {case.id: float(case.factors["label_mm2"]) for case in Manifest.read(data).cases()}
    areas = pandas.read_csv(whole.folder / "evaluation" / "areas.csv")
    mine = areas[areas["system"] == "translator"].set_index("case")["area_true"].to_dict()
    shown = {case: area for case, area in truth.items() if area > 0 or case in mine}  # not the empty that stayed so
    assert mine == pytest.approx(shown)
    lesions = details.by_lesion(scores.policy).set_index(["system", "size"])
    assert lesions.loc[("empty map", "all"), "missed"] == sum(area > 0 for area in truth.values()) == 16
    summary = json.loads((whole.folder / "evaluation" / "summary.json").read_text())
    assert summary["segmentation"]["area_edges"] == [164, 488]
    assert summary["summary"]["dice[tumour]"]["mean"] == pytest.approx(scores.cases["dice[tumour]"].mean())


def test_thresholds_of_a_fold_are_those_that_are_best_on_the_others() -> None:
    def curve(best: float, cases: int = 3) -> dict[str, np.ndarray]:
        rows = 0.9 - np.abs(np.array(TRIED) - best)
        return {"tumour": np.stack([rows + 0.01 * case for case in range(cases)])}

    assert best_thresholds([curve(0.2)]) == {"tumour": 0.2}
    assert best_thresholds([curve(0.2, 1), curve(0.8, 9)]) == {"tumour": 0.8}, "over cases, not over folds"
    flat = {"tumour": np.ones((4, len(TRIED)))}
    assert best_thresholds([flat]) == {"tumour": 0.5}, "of equally good ones the nearest to a half"
    assert best_thresholds([{"tumour": np.zeros((0, len(TRIED)))}]) == {"tumour": 0.5}


def test_each_fold_is_decided_by_the_thresholds_of_the_others(
    whole: CrossValidation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    best = {"fold-1": 0.3, "fold-2": 0.6}
    real = SegmentationJob.label_maps_by
    asked: dict[str, float] = {}

    def curves(job: SegmentationJob) -> dict[str, np.ndarray]:
        given = {name: read(job.cases[0].files[name]) for name in job.given_in(job.cases[0])}
        classes = job.translator.label_classes(job.target)
        assert classes is not None
        everything, nothing = (classes.with_changes(thresholds={"tumour": least}) for least in (1e-6, 1 - 1e-6))
        full, empty = real(job, job.cases[0], given, [everything, nothing])
        assert full.pixels.any() and not empty.pixels.any(), "one pass, decided in two ways"
        return {"tumour": np.array([1 - np.abs(np.array(TRIED) - best[job.run.name])])}

    def score(self: SegmentationJob, features: object = None) -> Scores:
        asked[self.run.name] = dict(self.asked.options.thresholds)["tumour"]
        return scored(self, features)

    scored = TargetJob.score
    monkeypatch.setattr(thresholds, "dice_at_thresholds", curves)
    monkeypatch.setattr(SegmentationJob, "score", score)
    status, told, _ = run(capsys, "evaluate", whole.folder, "--threshold", "folds", "--device", "cpu")
    assert status == 0
    assert asked == {"fold-1": 0.6, "fold-2": 0.3}
    assert "thresholds chosen on the other folds: fold-1: tumour 0.6; fold-2: tumour 0.3" in told
    assert "--threshold tumour=0." in told
    summary = json.loads((whole.folder / "evaluation" / "summary.json").read_text())
    assert summary["thresholds"]["fold-1"] == {"tumour": 0.6}
    assert "chosen on the other folds" in (whole.folder / "report.html").read_text()


def test_dice_at_thresholds_is_that_of_the_maps_that_would_be_written(whole: CrossValidation) -> None:
    run = whole.runs()[0]
    translator = load_translator(run.model)
    job = SegmentationJob(run, translator, "seg", Asked("test", run.recipe.evaluation))
    curves = thresholds.dice_at_thresholds(job)["tumour"]
    assert curves.shape == (len(job.cases), len(TRIED)) and ((curves >= 0) & (curves <= 1)).all()
    for row, case in ((0, job.cases[0]), (3, job.cases[3])):
        for tried in (0.05, 0.5):
            options = Options(thresholds=(("tumour", tried),))
            made = translator.translate_case(read(case.files["ct"]), options=options)["seg"]
            truth = read(case.files["seg"]).pixels > 0
            both = (made.pixels > 0).sum() + truth.sum()
            dice = 2 * ((made.pixels > 0) & truth).sum() / both if both else 1.0
            assert curves[row, TRIED.index(tried)] == pytest.approx(dice)


@pytest.mark.parametrize("words", [("--threshold", "tumour"), ("--threshold", "lung=0.2"), ("--threshold", "tumour=2")])
def test_thresholds_that_make_no_sense_are_refused_in_a_line(
    whole: CrossValidation, words: tuple[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    status, _, error = run(capsys, "evaluate", whole.folder, *words)
    assert status == 2 and "threshold" in error and "Traceback" not in error
    status, _, error = run(capsys, "evaluate", whole.runs()[0].folder, "--threshold", "folds")
    assert status == 2 and "cross-validation of a segmentation" in error
