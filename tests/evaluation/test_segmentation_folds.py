"""A cross-validated segmentation is evaluated as one: every subject once, by the fold that did not see it."""

import json
from pathlib import Path

import pandas
import pytest
from tests.data.patches import write_patches

from transmodal.datasets.manifest import Manifest
from transmodal.datasets.stacked import Stack, unpack
from transmodal.evaluation.run import evaluate_run
from transmodal.training.cross_validation import train_folds
from transmodal.training.recipe_loading import load_recipe


def test_sizes_and_lesions_are_those_of_all_folds(tmp_path: Path) -> None:
    stack = Stack(write_patches(tmp_path / "patches.npz", subjects=4), spacing=(2, 2), per_subject=5)
    manifest = unpack(stack, tmp_path / "lung")
    whole = train_folds(
        load_recipe("lung-tumour", scale="smoke"), manifest, tmp_path / "run", 2, cache=tmp_path / "cache", quiet=True
    )
    for run in whole.runs():
        assert len({case.subject for case in run.manifest.cases(split="train")}) == 2
        assert not run.manifest.cases(split="validation")
    evaluation = evaluate_run(whole.folder)
    scores, details = evaluation.scores["seg"], evaluation.segmentations["seg"]
    assert len(scores.cases) == 20 and set(scores.cases["fold"]) == {"fold-1", "fold-2"}
    assert scores.subjects == 4

    truth = {case.id: float(case.factors["label_mm2"]) for case in Manifest.read(manifest).cases()}
    areas = pandas.read_csv(whole.folder / "evaluation" / "areas.csv")
    mine = areas[areas["system"] == "translator"].set_index("case")["area_true"].to_dict()
    shown = {case: area for case, area in truth.items() if area > 0 or case in mine}  # not the empty that stayed so
    assert mine == pytest.approx(shown)
    lesions = details.by_lesion(scores.policy).set_index(["system", "size"])
    assert lesions.loc[("empty map", "all"), "missed"] == sum(area > 0 for area in truth.values()) == 16
    summary = json.loads((whole.folder / "evaluation" / "summary.json").read_text())
    assert summary["segmentation"]["area_edges"] == [164, 488]
    assert summary["summary"]["dice[tumour]"]["mean"] == pytest.approx(scores.cases["dice[tumour]"].mean())
