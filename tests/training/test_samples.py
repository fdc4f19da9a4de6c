"""What a training draws its batches from: slices stratified by the lesions of the recipe, of prepared cases."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import torch
from lightning.fabric import Fabric
from tests.data.abdomens import AFFINE, SHAPE, TINY_SEGMENTATION, abdomen, write_abdomens
from tests.data.recipes import changed

from transmodal.datasets.batch_keys import LABELS
from transmodal.datasets.cache import PreparedCase, prepare_cases
from transmodal.datasets.epochs import EpochSampler
from transmodal.datasets.manifest import Manifest
from transmodal.datasets.preparation_fitting import fit_preparation
from transmodal.datasets.sampling import Samples
from transmodal.datasets.strata import EMPTY
from transmodal.images import Image, write
from transmodal.training import fit
from transmodal.training.recipe import Recipe
from transmodal.training.samples import make_sampler, make_samples
from transmodal.training.train import train

SIDE, LIVER, TUMOUR = 16, 1, 2
PIXEL = (0.5, 1.0)  # mm, so that pixels and mm² differ
EDGES = [4, 10]  # mm²: up to 7 pixels, 8 to 20, more
TUMOURS = {"a": [0, 0, 4, 12, 12, 40, 12, 0, 12, 12], "b": [0, 6, 12, 30, 12, 8, 0, 20, 0, 12]}  # pixels, by slice
EXPECTED = {
    "a": [EMPTY, EMPTY, 0, 1, 1, 2, 1, EMPTY, 1, 1],
    "b": [EMPTY, 0, 1, 2, 1, 1, EMPTY, 1, EMPTY, 1],
}
SLICES = 10
NO_LIVER = (0, 9)  # these slices have a tumour, at most


def labels_of(tumours: list[int]) -> np.ndarray:
    """Return a label map: 8 rows of liver, with a tumour of so many pixels in it."""
    labels = np.zeros((SIDE, SIDE, SLICES), np.uint8)
    labels[4:12] = LIVER
    labels[..., NO_LIVER] = 0
    for number, pixels in enumerate(tumours):
        rows, columns = np.unravel_index(np.arange(pixels), (5, 8))
        labels[5 + rows, 3 + columns, number] = TUMOUR
    return labels


def recipe_with(**changes: Any) -> Recipe:
    """Return the tiny segmentation of nested classes with strata, with dotted changes, `sampling__strata`."""
    content = json.loads(json.dumps(TINY_SEGMENTATION))
    content["segmentation"] |= {"classes": {"liver": [1, 2], "tumour": 2}, "activation": "sigmoid"}
    content["sampling"] = {"strata": {"edges": EDGES}}
    return changed(content, **changes)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two mice to train on and one, b again with another name, that is not; CT and label maps."""
    folder = tmp_path_factory.mktemp("strata")
    rows = ["subject,modality,path,split"]
    for subject, like, split in (("a", "a", "train"), ("b", "b", "train"), ("c", "b", "validation")):
        labels = labels_of(TUMOURS[like])
        values = 20.0 * labels + np.random.default_rng(0).normal(0, 5, labels.shape)
        affine = np.diag([*PIXEL, 3.0, 1.0])
        write(Image(values.astype(np.float32), affine, quantity="HU"), folder / f"{subject}.nii.gz")
        write(Image(labels, affine, quantity="label"), folder / f"{subject}_organs.nii.gz")
        rows += [f"{subject},ct,{subject}.nii.gz,{split}", f"{subject},organs,{subject}_organs.nii.gz,{split}"]
    (folder / "manifest.csv").write_text("\n".join(rows) + "\n")
    return folder


def samples_of(recipe: Recipe, data: Path) -> Samples:
    """Return the samples of a, b and c, prepared as in a training."""
    cases = Manifest.read(data / "manifest.csv").cases()
    assert [case.subject for case in cases] == ["a", "b", "c"]
    preparation = fit_preparation(
        recipe.preparation, cases, recipe.modalities, 2, inputs=recipe.inputs, labels=recipe.label_maps
    )
    prepared: list[PreparedCase] = prepare_cases(
        cases, preparation, recipe.images, data / "cache", inputs=recipe.inputs, labels=recipe.along
    )
    return make_samples(recipe, preparation, prepared)


def sampler_of(recipe: Recipe, samples: Samples, own_cases: int = 2, rank: int = 0, processes: int = 1) -> EpochSampler:
    fabric = cast(Fabric, SimpleNamespace(global_rank=rank, world_size=processes))
    return make_sampler(recipe, samples, own_cases, fabric)


def drawn(sampler: EpochSampler, epoch: int) -> list[int]:
    """Return the indices of an epoch in their order."""
    sampler.start(epoch)
    keys = [key for batch in sampler for key in batch]
    assert {own for own, _ in keys} == {epoch}
    return [index for _, index in keys]


def test_strata_are_of_the_tumours_in_square_millimetres_and_not_of_the_liver(data: Path) -> None:
    samples = samples_of(recipe_with(), data)
    assert samples.index == [(case, number) for case in range(3) for number in range(SLICES)]
    strata = samples.strata()
    assert strata is not None
    assert strata.tolist() == EXPECTED["a"] + EXPECTED["b"] + EXPECTED["b"]


def test_other_lesion_classes_make_other_strata(data: Path) -> None:
    strata = samples_of(recipe_with(segmentation__lesions=["liver"]), data).strata()
    assert strata is not None  # the whole liver, in which the tumours lie, has 64 mm²
    assert strata[:SLICES].tolist() == [EMPTY, *[2] * 8, 1]
    assert samples_of(recipe_with(sampling__strata=None), data).strata() is None


def test_an_epoch_draws_every_stratum_equally_often_from_the_training_alone(data: Path) -> None:
    recipe = recipe_with(train__batch_size=1)
    samples = samples_of(recipe, data)
    expected = np.array(EXPECTED["a"] + EXPECTED["b"])
    sampler = sampler_of(recipe, samples)
    totals = np.zeros(20, int)
    for epoch in range(12):
        indices = np.array(drawn(sampler, epoch))
        assert len(indices) == 20 and indices.max() < 20, "none of the case that is not the training's own"
        counts = [int((expected[indices] == stratum).sum()) for stratum in (EMPTY, 0, 1, 2)]
        assert counts[0] == 6 == (expected == EMPTY).sum(), "as many empty ones as the data have"
        assert sorted(counts[1:]) == [4, 5, 5]
        totals += np.bincount(indices, minlength=20)
    assert totals.min() > 0
    rare, usual = totals[expected == 2].mean(), totals[expected == 1].mean()
    assert rare == pytest.approx(5 * usual, rel=0.15)  # 2 slices have large tumours, 10 middling ones
    assert drawn(sampler, 3) == drawn(sampler_of(recipe, samples), 3) != drawn(sampler, 4)


@pytest.mark.parametrize(("empty", "number"), [(0.0, 0), (0.1, 2), (0.5, 10)])
def test_the_share_of_slices_without_a_tumour_is_the_recipes(data: Path, empty: float, number: int) -> None:
    recipe = recipe_with(sampling__strata={"edges": EDGES, "empty": empty}, train__batch_size=4)
    sampler = sampler_of(recipe, samples_of(recipe, data))
    expected = np.array(EXPECTED["a"] + EXPECTED["b"])
    for epoch in range(3):
        strata = expected[drawn(sampler, epoch)]
        assert len(strata) == 20 and (strata == EMPTY).sum() == number
        assert np.ptp([(strata == stratum).sum() for stratum in range(3)]) <= 1


def test_without_strata_every_slice_comes_once(data: Path) -> None:
    recipe = recipe_with(sampling__strata=None, train__batch_size=4)
    assert sorted(drawn(sampler_of(recipe, samples_of(recipe, data)), 5)) == list(range(20))


def test_processes_share_an_epoch(data: Path) -> None:
    recipe = recipe_with(train__batch_size=5)
    samples = samples_of(recipe, data)
    parts = [drawn(sampler_of(recipe, samples, rank=rank, processes=2), 7) for rank in (0, 1)]
    assert [len(part) for part in parts] == [10, 10]
    assert sorted([*parts[0], *parts[1]]) == sorted(drawn(sampler_of(recipe, samples), 7))


def test_strata_of_patches_are_those_of_their_slices(data: Path) -> None:
    recipe = recipe_with(sampling__patch=[8, 8], sampling__patches_per_case=3)
    strata = samples_of(recipe, data).strata()
    assert strata is not None
    assert strata.tolist() == [each for case in "abb" for each in EXPECTED[case] for _ in range(3)]


def batches_of(
    recipe: Recipe, manifest: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> tuple[list[dict[str, torch.Tensor]], fit.Trainer]:
    """Train; return the batches that were learnt from, and what learnt."""
    batches: list[dict[str, torch.Tensor]] = []
    trainers: set[fit.Trainer] = set()
    original = fit.Trainer.train_step

    def looking(self: fit.Trainer, batch: dict[str, torch.Tensor]) -> dict[str, float]:
        batches.append({name: tensor.clone() for name, tensor in batch.items()})
        trainers.add(self)
        return original(self, batch)

    monkeypatch.setattr(fit.Trainer, "train_step", looking)
    train(recipe, manifest, out, cache=out.parent / "cache", device="cpu", quiet=True)
    (trainer,) = trainers
    return batches, trainer


def test_a_training_sees_the_tumours_as_the_strata_say(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    changes: dict[str, Any] = {"train__epochs": 2, "train__batch_size": 5, "train__validate_every": 2}
    recipe = recipe_with(sampling__strata={"edges": EDGES, "empty": 0.1}, **changes)
    batches, _ = batches_of(recipe, data / "manifest.csv", tmp_path / "run", monkeypatch)
    assert len(batches) == 8
    pixels = torch.cat([(batch[LABELS] == TUMOUR).flatten(1).sum(1) for batch in batches])
    for epoch in pixels.view(2, 20):
        assert int((epoch == 0).sum()) == 2
        sizes = [((epoch > low) & (epoch <= high)).sum().item() for low, high in ((0, 7), (7, 20), (20, 99))]
        assert sizes == [6, 6, 6]


@pytest.mark.parametrize(("rule", "power"), [("inverse", 1.0), ("square-root", 0.5)])
@pytest.mark.parametrize("nested", [True, False])
def test_classes_of_a_training_weigh_by_their_shares_of_its_pixels(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rule: str, power: float, nested: bool
) -> None:
    write_abdomens(tmp_path, subjects=4)
    for visit in (0, 1):  # m1 validates, which says nothing about the training's shares
        labels = np.full(SHAPE, TUMOUR, np.uint8)
        write(Image(labels, AFFINE, quantity="label"), tmp_path / f"m1_w{visit}_organs.nii.gz")
    separate: dict[str, Any] = {
        "segmentation__classes": {"liver": 1, "tumour": 2},
        "segmentation__activation": "softmax",
    }
    changes = {} if nested else separate
    recipe = recipe_with(
        segmentation__class_weights=rule, sampling__strata=None, train__epochs=1, train__batch_size=12, **changes
    )
    batches, trainer = batches_of(recipe, tmp_path / "manifest.csv", tmp_path / "run", monkeypatch)
    assert len(batches) == 1
    own = np.stack([abdomen(0, visit)[1] for visit in (0, 1)])  # m2 and m3 test
    liver = np.isin(own, (1, 2)) if nested else own == 1
    expected = np.array([(own == 0).mean(), liver.mean(), (own == 2).mean()]) ** -power
    weights = trainer.method.weights
    assert isinstance(weights, torch.Tensor)
    np.testing.assert_allclose(weights.numpy(), expected / expected.mean(), rtol=1e-5)


def test_a_training_without_class_weights_weighs_all_alike(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_abdomens(tmp_path, subjects=4)
    recipe = recipe_with(sampling__strata=None, train__epochs=1, train__batch_size=12)
    _, trainer = batches_of(recipe, tmp_path / "manifest.csv", tmp_path / "run", monkeypatch)
    assert trainer.method.weights is None
