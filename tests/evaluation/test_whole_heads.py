"""Heads with their fat, and a mask of the brain for each case: the mask says where maps look and what is scored."""

import json
from pathlib import Path

import numpy as np
import pytest
from tests.training.brains import AFFINE, SHAPE, write_brains

from transmodal.datasets.cache import prepare_cases
from transmodal.datasets.manifest import Manifest
from transmodal.datasets.preparation import Preparation
from transmodal.datasets.preparation_fitting import fit_preparation
from transmodal.evaluation.run import evaluate_run
from transmodal.images import Image, read, write
from transmodal.metrics.policy import Policy
from transmodal.training.recipe import Recipe
from transmodal.training.recipe_loading import load_recipe
from transmodal.training.run import Run
from transmodal.training.train import train
from transmodal.translation import load_translator

FAT = 3000  # the brain reaches 1200


def recipe() -> Recipe:
    changed = {
        "preparation.grid": {"size": [40, 36]},
        "supervised.network": {"filters": 8, "levels": 3, "dropout": 0},
        "train.epochs": 12,
        "evaluation.metrics": ["psnr", "ssim"],
    }
    return load_recipe("t1-to-t2", scale="smoke", overrides=changed)


def write_heads(folder: Path) -> Path:
    """Write brains in a ring of bright fat, and the modality `mask`, of the brain alone."""
    manifest = write_brains(folder)
    grid = np.stack(np.meshgrid(*(np.linspace(-1, 1, n) for n in SHAPE), indexing="ij"))
    radius = np.sqrt((grid[:2] ** 2).sum(0))
    rows = manifest.read_text().splitlines()
    generator = np.random.default_rng(0)
    for subject in range(4):
        for name in ("T1", "T2"):
            path = folder / f"sub{subject}_{name}.nii.gz"
            brain = read(path)
            inside = brain.pixels != 0
            fat = (generator.normal(FAT, 50, SHAPE) * ((radius > 0.85) & (radius < 1.2) & ~inside)).astype(np.int16)
            write(brain.with_pixels(brain.pixels + fat), path)
        write(Image(inside.astype(np.uint8), AFFINE), folder / f"sub{subject}_mask.nii.gz")
        split = ("train", "train", "validation", "test")[subject]
        rows.append(f"sub{subject},,mask,sub{subject}_mask.nii.gz,{split}")
    manifest.write_text("\n".join(rows) + "\n")
    return manifest


def strip(manifest: Path) -> None:
    """Take the fat away."""
    for case in Manifest.read(manifest).cases():
        inside = read(case.files["mask"]).pixels
        for name in ("T1", "T2"):
            image = read(case.files[name])
            write(image.with_pixels(image.pixels * inside), case.files[name])


def prepared(manifest: Path, folder: Path) -> tuple[Preparation, list[dict[str, np.ndarray]], np.ndarray]:
    cases, names = Manifest.read(manifest).cases(split="train"), ("T1", "T2")
    made = fit_preparation(recipe().preparation, cases, names, 2, inputs=["T1"])
    ready = prepare_cases(cases, made, names, folder / "cache", inputs=["T1"])
    return made, [each.arrays() for each in ready], ready[0].foreground


@pytest.fixture
def heads(tmp_path: Path) -> Path:
    return write_heads(tmp_path / "heads")


def test_the_brain_fills_the_range_as_if_there_were_no_head(heads: Path, tmp_path: Path) -> None:
    whole, of_heads, foreground = prepared(heads, tmp_path)
    for arrays in of_heads:
        for name in ("T1", "T2"):
            inside = np.asarray(arrays[name])[np.asarray(arrays["#region"]) != 0]
            assert np.ptp(np.percentile(inside, [1, 99])) > 0.5 and np.percentile(inside, 99) > 0.9
    strip(heads)
    alone, of_brains, expected = prepared(heads, tmp_path)
    assert whole == alone
    np.testing.assert_array_equal(foreground, expected)
    # The network's grid is as fine as the files', so that no fat is smoothed into the brain.
    for first, second in zip(of_heads, of_brains, strict=True):
        inside = np.asarray(second["#region"]) != 0
        np.testing.assert_array_equal(np.asarray(first["T2"])[inside], np.asarray(second["T2"])[inside])


def test_another_mask_never_meets_an_old_array(heads: Path, tmp_path: Path) -> None:
    made, _, _ = prepared(heads, tmp_path)
    cases = Manifest.read(heads).cases(split="train")
    mask = read(cases[0].files["mask"])
    before = prepare_cases(cases[:1], made, ("T1", "T2"), tmp_path / "cache", inputs=["T1"])[0].files
    write(mask.with_pixels(np.ones(SHAPE, np.uint8)), cases[0].files["mask"])
    after = prepare_cases(cases[:1], made, ("T1", "T2"), tmp_path / "cache", inputs=["T1"])[0]
    assert before["T1"] != after.files["T1"] and np.median(after.arrays()["T1"]) < np.median(np.load(before["T1"])) + 1


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("run")
    return train(recipe(), write_heads(folder / "heads"), folder / "run", cache=folder / "cache", quiet=True)


def test_the_translator_is_scored_inside_the_mask_and_beats_the_identity(run: Run, tmp_path: Path) -> None:
    scores = evaluate_run(run.folder).scores["T2"]
    means = {name: scores.of(name)["psnr"].mean() for name in scores.systems}
    assert means["translator"] > means["identity"] + 1, means
    sentence = json.loads((run.evaluation / "summary.json").read_text())["policy_in_words"]
    assert "inside the mask 'mask' of a case that has one, else the foreground" in sentence
    case = run.manifest.cases(split="test")[0]
    mask = read(case.files["mask"])
    made = load_translator(run.model)(read(case.files["T1"]), mask=mask)
    assert not made.pixels[mask.pixels == 0].any()
    # Whoever says so is scored in the whole head, where the output is 0.
    whole = run.recipe.evaluation.model_copy(update={"own_mask": "none"})
    outside = evaluate_run(run.folder, policy=whole, into=tmp_path).scores["T2"]
    assert outside.of("translator")["psnr"].mean() < means["translator"] - 3
    assert "mask 'mask'" not in outside.policy.describe()


def test_baselines_have_the_scores_that_they_have_without_a_head(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("transmodal.evaluation.sets.FEWEST_IMAGES", 2)
    monkeypatch.setattr("transmodal.evaluation.sets.FEWEST_BLOCKS", 2)
    first = evaluate_run(run.folder, into=tmp_path / "first").scores["T2"]
    originals = {file: file.read_bytes() for case in run.manifest.cases() for file in case.files.values()}
    try:
        strip(run.folder / "manifest.csv")
        second = evaluate_run(run.folder, into=tmp_path / "second").scores["T2"]
    finally:
        for file, content in originals.items():
            file.write_bytes(content)
    for system in ("input luminance", "intensity lookup", "identity"):
        for metric in ("psnr", "ssim"):
            assert np.isfinite(first.of(system)[metric]).all()
            assert first.of(system)[metric].mean() == pytest.approx(second.of(system)[metric].mean(), rel=1e-3)
    of_sets = [scores.sets["identity"]["fnsd"]["value"] for scores in (first, second)]
    assert of_sets[0] is not None and of_sets[0] == pytest.approx(of_sets[1], rel=1e-3)


def test_a_case_without_a_mask_is_scored_in_its_foreground(run: Run, tmp_path: Path) -> None:
    lines = (run.folder / "manifest.csv").read_text().splitlines(keepends=True)
    try:
        (run.folder / "manifest.csv").write_text("".join(line for line in lines if not line.startswith("sub3,,mask")))
        scores = evaluate_run(Run.open(run.folder).folder, into=tmp_path).scores["T2"]
    finally:
        (run.folder / "manifest.csv").write_text("".join(lines))
    assert scores.policy.own_mask == "mask" and len(scores.of("translator")) == 1


def test_pix2pix_is_fed_the_mask_and_outputs_are_zero_outside(run: Run, tmp_path: Path) -> None:
    pix2pix = load_recipe("t1-to-t2-pix2pix", scale="smoke")
    translator = load_translator(train(pix2pix, run.manifest, tmp_path / "run", cache=tmp_path, quiet=True).model)
    assert translator.card.ports.in_channels == 2 and translator.card.preparation.modalities["T2"].intensity.tails
    case = run.manifest.cases(split="test")[0]
    source, mask = read(case.files["T1"]), read(case.files["mask"])
    made, whole = translator(source, mask=mask).pixels, translator(source).pixels
    assert not made[mask.pixels == 0].any() and whole[mask.pixels == 0].any()


def test_an_own_mask_that_cannot_be_is_refused() -> None:
    with pytest.raises(ValueError, match="own_mask must be"):
        Policy(mask="foreground", own_mask="foreground")
