"""A segmenter of our own tells whether lesions are still found in synthetic images."""

from pathlib import Path

import numpy as np
import pandas
import pytest
from tests.data.brains import TINY_TRANSLATOR, make_brains
from tests.evaluation.test_run_evaluation import told
from tests.reporting.test_html import parse

from transmodal.datasets.manifest import Manifest
from transmodal.datasets.preparation import PreparationSettings
from transmodal.datasets.preparation_fitting import fit_preparation
from transmodal.errors import UserError
from transmodal.evaluation.segmenter import Segmenter
from transmodal.images import read
from transmodal.metrics.overlap import dice
from transmodal.training.recipe import Recipe
from transmodal.training.train import train


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Manifest:
    return Manifest.read(make_brains(tmp_path_factory.mktemp("brains"), subjects=7))


@pytest.mark.parametrize("grid", [{}, {"shrink": 2}])
def test_it_finds_what_it_learnt_on_the_images_own_grid(manifest: Manifest, grid: dict[str, float]) -> None:
    training = manifest.cases(split="train")
    settings = PreparationSettings.model_validate({"slices": {"axis": "coronal"}, "grid": grid})
    preparation = fit_preparation(settings, training, ["FLAIR"], 2)
    segmenter = Segmenter(preparation, "FLAIR", "lesions")
    segmenter.fit(training, steps=60)
    case = manifest.cases(split="test")[0]
    image, true = read(case.files["FLAIR"]), read(case.files["lesions"]).pixels
    found = segmenter(image)
    assert found.shape == image.shape
    assert dice(found, true, label=1) > (0.8 if not grid else 0.5)
    hidden = image.with_pixels(np.where(true, np.median(image.pixels[image.pixels > 0]), image.pixels))
    assert dice(segmenter(hidden), true, label=1) < 0.2
    again = Segmenter(preparation, "FLAIR", "lesions")
    again.fit(training, steps=60)
    assert np.array_equal(again(image), found)


def test_a_volume_network_has_a_segmenter_of_slices(manifest: Manifest) -> None:
    training = manifest.cases(split="train")
    settings = PreparationSettings.model_validate({"grid": {"size": (12, 12, 8)}})
    segmenter = Segmenter(fit_preparation(settings, training, ["FLAIR"], 3), "FLAIR", "lesions")
    segmenter.fit(training, steps=2)
    image = read(training[0].files["FLAIR"])
    assert segmenter(image).shape == image.shape


def test_evaluate_compares_synthetic_with_real(
    manifest: Manifest, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = Recipe.model_validate(TINY_TRANSLATOR)
    run = train(recipe, manifest, tmp_path / "run", cache=tmp_path / "cache", quiet=True)
    out, _ = told(capsys, "evaluate", run.folder, "--segment", "lesions", "--segment-steps", 40)
    assert "run: FLAIR, lesions found: Dice " in out and "on real images" in out
    table = pandas.read_csv(run.evaluation / "downstream.csv").set_index("case")
    assert list(table.index) == ["s6", "s7"]
    assert table.loc["s6", "dice_real"] > table.loc["s6", "dice_synthetic"]
    page = parse(run.report.read_text()).text
    assert "A segmenter's view" in page and "--segment lesions --segment-steps 40" in page
    _, error = told(capsys, "evaluate", run.folder, "--segment", "lesion", status=2)
    assert "No image of modality 'lesion'" in error and error.count("\n") == 1


def test_without_a_lesion_to_learn_from_it_is_refused(tmp_path: Path) -> None:
    manifest = Manifest.read(make_brains(tmp_path, subjects=1, splits={"s1": "train"}))
    preparation = fit_preparation(PreparationSettings.model_validate({"slices": {}}), manifest.cases(), ["T1"], 2)
    with pytest.raises(UserError, match="No training case has T1 and a lesion"):
        Segmenter(preparation, "T1", "lesions").fit(manifest.cases())
    with pytest.raises(UserError, match="No training case has T1 and tumour"):
        Segmenter(preparation, "T1", "tumour").fit(manifest.cases())
