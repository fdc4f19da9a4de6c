"""The recipes against artefacts: their own command makes the pairs, and a tiny training beats the classical remedy."""

import shlex
from pathlib import Path

import numpy as np
import pandas
import pytest

import transmodal
from transmodal.cli import main
from transmodal.datasets.ct_sources import phantom_manifest
from transmodal.datasets.splits import split_by_subject
from transmodal.errors import UserError
from transmodal.training.recipe import Recipe
from transmodal.training.recipe_loading import load_recipe, shipped_recipes
from transmodal.training.run import Run
from transmodal.training.train import train

SIZE = 64
REMEDIES = {
    "ct-metal": "li",
    "ct-scatter": "scatter-corrected",
    "ct-rings": "ring-suppressed",
    "ct-beam-hardening": "water-corrected",
}
RECIPES = (*REMEDIES, "ct-decomposition")


def command_of(name: str) -> list[str]:
    """Return the words of the `data degrade` that stands in a recipe's comment."""
    lines = [line.removeprefix("#").strip() for line in shipped_recipes()[name].read_text("utf-8").splitlines()]
    first = next(number for number, line in enumerate(lines) if line.startswith("transmodal data degrade"))
    written = lines[first]
    while written.endswith("\\"):
        first += 1
        written = written[:-1] + lines[first]
    return shlex.split(written)


@pytest.fixture(scope="module")
def bodies(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six phantoms, split."""
    folder = tmp_path_factory.mktemp("bodies")
    manifest = split_by_subject(phantom_manifest(folder, 6, SIZE, seed=1), fractions=(0.7, 0.15, 0.15))
    return manifest.write(folder / "slices.csv")


def make_pairs(name: str, bodies: Path, folder: Path) -> pandas.DataFrame:
    """Run the recipe's own command on the phantoms, small and without copies, and return the manifest's table."""
    words = command_of(name)[1:]
    words[words.index("degrade") + 1], words[words.index("-o") + 1] = str(bodies), str(folder)
    for option, value in (("--size", str(SIZE)), ("--copies", "0")):
        if option in words:
            words[words.index(option) + 1] = value
    with pytest.raises(SystemExit) as ended:
        main([*words, "--views", "180", "--workers", "1"])
    assert not ended.value.code
    return pandas.read_csv(folder / "manifest.csv")


def train_tiny(recipe: Recipe, folder: Path) -> Run:
    return train(recipe, folder / "manifest.csv", folder / "run", cache=folder / "cache", quiet=True)


def tiny(name: str, epochs: int = 6) -> Recipe:
    changes = {"preparation.grid.size": None, "supervised.network.filters": 8, "supervised.adam.learning_rate": 0.005}
    changes |= {
        "train.epochs": epochs,
        "train.validate_every": max(1, epochs),
        "train.average_weights": 0.8,
        "train.batch_size": 4,
    }
    return load_recipe(
        name, scale="smoke", overrides=changes | {"sampling.patch": [48, 48], "sampling.patches_per_case": 16}
    )


def of_tested_phantom(pairs: pandas.DataFrame, folder: Path) -> dict[str, transmodal.Image]:
    """Return the images of the tested phantom."""
    rows = pairs[pairs["split"] == "test"]
    return {name: transmodal.read(folder / path) for name, path in zip(rows["modality"], rows["path"], strict=True)}


def error_of(image: transmodal.Image, truth: transmodal.Image, recipe: Recipe) -> float:
    """Return the root of the mean squared error within the range that the recipe is scored in."""
    assert recipe.evaluation.range is not None
    pixels, true = (np.clip(each.pixels.astype(np.float32), *recipe.evaluation.range) for each in (image, truth))
    return float(np.sqrt(np.square(pixels - true).mean()))


@pytest.mark.parametrize(("name", "remedy"), REMEDIES.items())
def test_a_tiny_training_beats_scan_and_remedy(name: str, remedy: str, bodies: Path, tmp_path: Path) -> None:
    recipe, pairs = tiny(name), make_pairs(name, bodies, tmp_path)
    assert remedy in recipe.inputs and set(recipe.modalities) <= set(pairs["modality"])
    translator = transmodal.load_translator(train_tiny(recipe, tmp_path).model)
    images = of_tested_phantom(pairs, tmp_path)
    given = {modality: images[modality] for modality in recipe.inputs}
    made = translator(given)
    assert made.quantity == "HU"
    error = {modality: error_of(image, images["CT"], recipe) for modality, image in given.items()}
    assert error_of(made, images["CT"], recipe) < 0.9 * min(error.values()), error


def test_a_tiny_training_tells_water_and_bone_apart(bodies: Path, tmp_path: Path) -> None:
    recipe, pairs = tiny("ct-decomposition"), make_pairs("ct-decomposition", bodies, tmp_path)
    assert set(recipe.modalities) <= set(pairs["modality"]), "the command writes what the recipe reads"
    run = train_tiny(recipe, tmp_path)
    losses = pandas.read_csv(run.log)["g_loss"]
    assert losses.iloc[-1] < 0.8 * losses.iloc[0]
    images = of_tested_phantom(pairs, tmp_path)
    made = transmodal.load_translator(run.model).translate_case({name: images[name] for name in recipe.inputs})
    assert {image.quantity for image in made.values()} == {"g/cm3"} and set(made) == set(recipe.targets)
    by_network = sum(error_of(image, images[target], recipe) for target, image in made.items())
    by_likelihood = sum(error_of(images[target.removeprefix("true-")], images[target], recipe) for target in made)
    assert by_network < 0.9 * by_likelihood


@pytest.mark.parametrize("name", RECIPES)
@pytest.mark.parametrize("scale", ["smoke", "small", "paper"])
def test_scores_and_windows_have_the_unit_of_the_target(name: str, scale: str) -> None:
    recipe = load_recipe(name, scale=scale)
    assert set(recipe.preparation.intensity) == set(recipe.modalities)
    maps = {target: recipe.preparation.intensity[target] for target in recipe.targets}
    low, high = recipe.evaluation.range or (0, 0)
    assert all(each.low <= low < high <= each.high for each in maps.values())
    assert recipe.evaluation.unit == ("g/cm3" if name == "ct-decomposition" else "HU")
    assert recipe.supervised.residual


def test_each_density_is_a_correction_of_its_own(bodies: Path, tmp_path: Path) -> None:
    recipe, pairs = tiny("ct-decomposition", epochs=0), make_pairs("ct-decomposition", bodies, tmp_path)
    images = of_tested_phantom(pairs, tmp_path)
    translator = transmodal.load_translator(train_tiny(recipe, tmp_path).model)
    made = translator.translate_case({name: images[name] for name in recipe.inputs})
    for target, image in made.items():
        np.testing.assert_allclose(image.pixels, images[target.removeprefix("true-")].pixels, atol=1e-5)


@pytest.mark.parametrize("corrects", ["[water]", "[water, CT]"])
def test_a_correction_without_its_input_is_refused_in_one_line(corrects: str) -> None:
    with pytest.raises(
        UserError, match=r"supervised.corrects needs one of the inputs .* for each of the targets"
    ) as told:
        load_recipe("ct-decomposition", overrides=[f"supervised.corrects={corrects}"])
    assert "\n" not in str(told.value)


def test_a_correction_in_another_unit_is_refused() -> None:
    swapped = ["supervised.corrects=[water, window-20-65-keV]"]
    with pytest.raises(UserError, match="window-20-65-keV and true-cortical_bone need one range in one unit"):
        load_recipe("ct-decomposition", overrides=swapped)
