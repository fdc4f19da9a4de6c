"""The recipes that restore CT: in HU all the way, what the window cuts is said, and any of their networks by --set."""

from pathlib import Path

import numpy as np
import pytest

import transmodal
from transmodal.errors import UserError
from transmodal.images import Image, picture_affine, write
from transmodal.methods.supervised import NOT_OF_KIND
from transmodal.training.monitor import Monitor
from transmodal.training.recipe_loading import load_recipe
from transmodal.training.run import Run
from transmodal.training.train import train
from transmodal.translation.options import Options

SIZE = 48
CT_RECIPES = (
    "ct-sparse-view",
    "ct-low-dose",
    "ct-metal",
    "ct-sparse-view-fbpconvnet",
    "ct-sparse-view-pix2pix",
)
AUTOENCODER = "ct-sparse-view-autoencoder"  # makes images, where the others make what is to be added
BY_SET = ("unet", "residual-unet", "slide-unet", "slide-autoencoder", "fbpconvnet", "monai-unet")
WINDOW = (-1024.0, 1500.0)


def slice_of(person: int, *, brightest: float = 900.0) -> np.ndarray:
    """A round body in air with a spine, in HU."""
    row, column = np.mgrid[:SIZE, :SIZE] / SIZE - 0.5
    body = row**2 + (column * (1.1 + 0.1 * person)) ** 2 < 0.16
    spine = (row - 0.2) ** 2 + column**2 < 0.01
    return np.where(spine, brightest, np.where(body, 40.0, -1000.0)).astype(np.float32)


def make_scans(folder: Path, inputs: tuple[str, ...] = ("degraded",), *, brightest: float = 900.0) -> Path:
    """Write noisy and clean slices of four people and return the manifest."""
    generator, rows = np.random.default_rng(0), ["subject,session,modality,path,split"]
    for person, split in enumerate(("train", "train", "validation", "test")):
        clean = slice_of(person, brightest=brightest)
        for modality in (*inputs, "CT"):
            noise = generator.normal(0, 60, clean.shape).astype(np.float32)
            path = folder / f"{person}_{modality}.tif"
            write(Image(clean if modality == "CT" else clean + noise, picture_affine((1, 1)), quantity="HU"), path)
            rows.append(f"p{person},1,{modality},{path.name},{split}")
    manifest = folder / "manifest.csv"
    manifest.write_text("\n".join(rows) + "\n")
    return manifest


def run_of(tmp_path: Path, manifest: Path, name: str, **changes: object) -> Run:
    recipe = load_recipe(name, scale="smoke", overrides={"preparation.grid.size": None, **changes})
    return train(recipe, manifest, tmp_path / "run", cache=tmp_path / "cache", quiet=True)


@pytest.mark.parametrize("name", [*CT_RECIPES, AUTOENCODER])
@pytest.mark.parametrize("scale", ["smoke", "small", "paper"])
def test_inputs_and_target_share_one_window_of_hu(name: str, scale: str) -> None:
    recipe = load_recipe(name, scale=scale)
    windows = {(each.map, each.low, each.high) for each in recipe.preparation.intensity.values()}
    assert windows == {("fixed", *WINDOW)} and set(recipe.preparation.intensity) == set(recipe.modalities)
    assert getattr(recipe, recipe.method).residual is (name != AUTOENCODER) and recipe.targets == ("CT",)
    policy = recipe.evaluation
    assert (policy.range, policy.unit, policy.clip, policy.metrics) == (WINDOW, "HU", True, ("mae", "psnr", "ssim"))


def test_what_the_autoencoder_makes_follows_from_what_it_is_given(tmp_path: Path) -> None:
    changes = {
        "train.epochs": 60,
        "train.batch_size": 2,
        "supervised.network.filters": 8,
        "train.average_weights": None,
    }
    run = run_of(tmp_path, make_scans(tmp_path), AUTOENCODER, **changes)
    translator = transmodal.load_translator(run.model)
    made = [translator(transmodal.read(tmp_path / f"{person}_degraded.tif")).pixels for person in (0, 3)]
    truth = slice_of(3)
    assert np.abs(made[1] - truth).mean() < 0.8 * np.abs(np.median(truth) - truth).mean(), "no grey does nearly as well"
    assert np.abs(made[0] - made[1]).max() > 100, "tanh at its end gives one grey for all images"


@pytest.mark.parametrize("name", CT_RECIPES)
def test_an_untrained_run_gives_its_input_back_in_hu(name: str, tmp_path: Path) -> None:
    inputs = load_recipe(name).inputs
    run = run_of(tmp_path, make_scans(tmp_path, inputs), name, **{"train.epochs": 0})
    translator = transmodal.load_translator(run.model)
    images = {modality: transmodal.read(tmp_path / f"3_{modality}.tif") for modality in inputs}
    made = translator(images)
    assert made.quantity == "HU" and made.pixels.dtype == np.float32
    np.testing.assert_allclose(made.pixels, np.clip(images[inputs[0]].pixels, *WINDOW), atol=1e-3)
    if name != "ct-sparse-view-pix2pix":  # what is corrected stays in float32 where the network computes in 16 bits
        half = translator.translate_case(images, options=Options(precision="bf16"))["CT"]
        assert np.array_equal(half.pixels, made.pixels)


def test_a_short_training_takes_noise_off(tmp_path: Path) -> None:
    inputs = ("li", "metal")
    changes = {"train.epochs": 4, "train.validate_every": 4, "train.average_weights": 0.8}
    changes |= {"sampling.patch": [32, 32], "sampling.patches_per_case": 32}
    changes |= {"supervised.network.filters": 8, "supervised.adam.learning_rate": 0.005}
    run = run_of(tmp_path, make_scans(tmp_path, inputs), "ct-metal", **changes)
    translator, truth = transmodal.load_translator(run.model), slice_of(3)
    images = {modality: transmodal.read(tmp_path / f"3_{modality}.tif") for modality in inputs}
    before = np.abs(images[inputs[0]].pixels - truth).mean()
    after = np.abs(translator(images).pixels - truth).mean()
    assert after < 0.75 * before, "noise of 60 HU, two people, 64 steps"


def test_what_the_window_cuts_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    monkeypatch.setattr(Monitor, "say", lambda self, line: said.append(line))
    run = run_of(tmp_path, make_scans(tmp_path, brightest=2000.0), "ct-sparse-view", **{"train.epochs": 0})
    told = [line for line in said if line.startswith("The range of CT")]
    assert len(told) == 1 and "from -1000 to 2000" in told[0]
    assert "0.00% are below -1024 and 3.21% above 1500" in told[0]
    assert "3.21% above 1500" in (run.model / "README.md").read_text(), "the card tells it too"
    said.clear()
    translator, scan = transmodal.load_translator(run.model), transmodal.read(tmp_path / "3_degraded.tif")
    translator.translate_case(scan, options=Options(warn=said.append))
    assert not any("cut" in line for line in said), "no more than in training"
    translator.translate_case(scan.with_pixels(scan.pixels + 1460), options=Options(warn=said.append))
    (line,) = (line for line in said if "and cut to it" in line)
    assert "(degraded)" in line and "are above 1500" in line and "in training it was" in line and "below" not in line


def test_a_window_that_cuts_nothing_says_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    monkeypatch.setattr(Monitor, "say", lambda self, line: said.append(line))
    changes = {f"preparation.intensity.{name}.{end}": value for name in ("degraded", "CT")
               for end, value in (("low", -2000), ("high", 2000))}  # fmt: skip
    run_of(tmp_path, make_scans(tmp_path), "ct-sparse-view", **{"train.epochs": 0}, **changes)
    assert not any("range" in line for line in said)


def test_hu_are_hu_whatever_type_holds_them(tmp_path: Path) -> None:
    manifest = make_scans(tmp_path)
    scan = transmodal.read(tmp_path / "0_CT.tif")
    write(scan.with_pixels(np.round(scan.pixels).astype(np.int16)), tmp_path / "0_CT.tif")
    run = run_of(tmp_path, manifest, "ct-sparse-view", **{"train.epochs": 0})
    assert transmodal.load_translator(run.model).card.preparation.modalities["CT"].dtype == "float32"


@pytest.mark.parametrize("kind", BY_SET)
def test_another_network_leaves_out_what_it_does_not_have(kind: str) -> None:
    recipe = load_recipe("ct-sparse-view", overrides=[f"supervised.network.kind={kind}"])
    network = recipe.supervised.network
    assert network.kind == kind and network.filters == 24, "what it has stays"
    assert network.norm == ("none" if "norm" not in NOT_OF_KIND[kind] else "instance")
    own = load_recipe("ct-sparse-view", overrides=["supervised.network.kind=unet"])
    assert own == load_recipe("ct-sparse-view")


def test_what_the_user_sets_himself_is_refused_where_the_network_does_not_have_it() -> None:
    both = ["supervised.network.kind=fbpconvnet", "supervised.network.norm=batch"]
    with pytest.raises(UserError, match="norm is no setting of fbpconvnet"):
        load_recipe("ct-sparse-view", overrides=both)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (["preparation.intensity.CT.high=2000"], "degraded and CT need one range in one unit"),
        (["preparation.intensity.CT={map: auto, low: null, high: null}"], "need one range in one unit"),
        (["supervised.network.kind=fcn8s"], "fcn8s has no residual form"),
        (["supervised.network.kind=slide-unet", "supervised.network.dense=true"], "set sampling.patch: null"),
    ],
)
def test_what_contradicts_residuals_or_dense_layers_is_refused_in_one_line(changes: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message) as told:
        load_recipe("ct-sparse-view", overrides=changes)
    assert "\n" not in str(told.value)


def test_pix2pix_needs_one_unit_too() -> None:
    with pytest.raises(UserError, match=r"pix2pix.residual makes what is added to degraded"):
        load_recipe("ct-sparse-view-pix2pix", overrides=["preparation.intensity.degraded.low=-500"])


def test_a_dense_layer_meets_images_of_another_size_with_one_line(tmp_path: Path) -> None:
    changes = {"supervised.network.kind": "slide-unet", "supervised.network.dense": True, "train.epochs": 0}
    run = run_of(tmp_path, make_scans(tmp_path), "ct-sparse-view", **changes)
    translator = transmodal.load_translator(run.model)
    assert translator(transmodal.read(tmp_path / "3_degraded.tif")).shape == (SIZE, SIZE)
    with pytest.raises(UserError, match=r"takes images of 48×48 pixels, not 64×64"):
        translator(Image(np.zeros((64, 64), np.float32), picture_affine((1, 1)), quantity="HU"))


def test_fbpconvnet_trains_as_its_authors_did_at_the_scale_paper() -> None:
    recipe = load_recipe("ct-sparse-view-fbpconvnet", scale="paper")
    sgd, network = recipe.supervised.sgd, recipe.supervised.network
    assert sgd is not None and (sgd.momentum, sgd.largest_step, sgd.learning_rate) == (0.99, 0.01, 0.01)
    assert (network.kind, network.filters, network.levels) == ("fbpconvnet", 64, 5)
    assert (recipe.train.batch_size, recipe.train.epochs, recipe.sampling.patch) == (1, 151, None)
    assert recipe.supervised.loss.factors["euclidean"] == 1 and recipe.supervised.loss.mae == 0


def test_momentum_trains_a_run(tmp_path: Path) -> None:
    changes = {"supervised.sgd.learning_rate": 0.01, "train.epochs": 3}
    run = run_of(tmp_path, make_scans(tmp_path), "ct-sparse-view-fbpconvnet", **changes)
    assert "0.01" in run.log.read_text().splitlines()[1]
