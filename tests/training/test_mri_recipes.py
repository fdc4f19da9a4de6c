"""Every shipped MRI recipe trains at the scale smoke, and its translator works on the files' own grid."""

import dataclasses
from pathlib import Path

import numpy as np
import pandas
import pytest
import torch
from tests.training.brains import AFFINE, SHAPE, write_brains

from transmodal.cli import main
from transmodal.datasets.manifest import Manifest
from transmodal.errors import UserError
from transmodal.images import Image, read, write
from transmodal.training import fit
from transmodal.training.recipe_loading import load_recipe
from transmodal.training.run import Run
from transmodal.training.train import train
from transmodal.translation.model_folder import load_translator
from transmodal.translation.options import Options

RECIPES = [
    "t1-to-t2",
    "t2-to-flair",
    "t1-to-t2-pix2pix",
    "t1-to-t2-fcn8s",
    "t1-to-t2-volume",
    "t1-to-t2-volume-pix2pix",
    "t2-to-t1-t1ce-flair",
    "any-to-any",
    "missing-sequences",
    "mri-stargan",
]


@pytest.fixture(scope="module")
def brains(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_brains(tmp_path_factory.mktemp("brains"), 4)


def trained(name: str, manifest: Path, folder: Path, **settings: object) -> Run:
    recipe = load_recipe(name, scale="smoke", overrides={"train.epochs": 2, **settings})
    return train(recipe, manifest, folder / "run", cache=folder / "cache", quiet=True, device="cpu")


def translate(*words: object) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["translate", *map(str, words)])
    assert ended.value.code == 0


@pytest.mark.parametrize("name", RECIPES)
def test_a_shipped_recipe_trains_and_keeps_the_grid(name: str, brains: Path, tmp_path: Path) -> None:
    run = trained(name, brains, tmp_path)
    log = pandas.read_csv(run.log)
    assert np.isfinite(log.filter(like="loss").to_numpy(float)[-1]).all()
    assert np.isfinite(log["validation_psnr"].iloc[-1])
    translator = load_translator(run.model)
    case = next(case for case in run.manifest.cases(split="test"))
    given = {"T2": "T2"} if name == "t2-to-flair" or name.startswith("t2-to-t1") else {"T1": "T1"}
    outputs = translator.translate_case({modality: read(case.files[modality]) for modality in given})
    assert set(outputs) == set(translator.card.targets) - set(given)
    for image in outputs.values():
        assert image.shape == SHAPE and np.array_equal(image.affine, AFFINE) and image.pixels.dtype == np.int16
        assert image.pixels.std() > 0


def test_tc_mgan_logs_the_published_names_and_keeps_the_segmentors_subjects_apart(brains: Path, tmp_path: Path) -> None:
    run = trained("t2-to-t1-t1ce-flair", brains, tmp_path, **{"train.epochs": 4})
    names = ["d_loss", "g_loss", "s_loss", "d_real", "d_fake", "d_cls", "d_gp", "g_fake", "g_cls", "g_rec", "g_seg"]
    log = pandas.read_csv(run.log)
    assert set(names) <= set(log.columns) and np.isfinite(log[names].iloc[-1]).all()
    table = run.manifest.table
    parts = table.groupby("subject")["part"].agg(set)
    assert parts["sub0"] | parts["sub1"] == {"segmentor", "translator"} and parts["sub0"] != parts["sub1"]
    assert parts["sub3"] == {""}


def test_outside_the_region_the_output_is_zero_and_a_mask_wins(brains: Path, tmp_path: Path) -> None:
    run = trained("t1-to-t2", brains, tmp_path)
    translator = load_translator(run.model)
    source = read(next(iter(run.manifest.cases(["T1"], split="test"))).files["T1"])
    made = translator(source)
    assert not made.pixels[source.pixels == 0].any()
    half = np.zeros(SHAPE, np.uint8)
    half[:18] = 1
    mask = Image(half, AFFINE)
    masked = translator(source, mask=mask)
    assert not masked.pixels[18:].any() and masked.pixels[:18].any()
    with pytest.raises(UserError, match="empty region"):
        translator(source, mask=mask.with_pixels(np.zeros(SHAPE, np.uint8)))


def test_any_subset_of_inputs_will_do_and_makes_the_others(brains: Path, tmp_path: Path) -> None:
    run = trained("missing-sequences", brains, tmp_path)
    translator = load_translator(run.model)
    case = next(iter(run.manifest.cases(split="test")))
    images = {name: read(case.files[name]) for name in ("T1", "T2", "FLAIR")}
    assert set(translator.translate_case(images)) == {"T1ce"}
    assert set(translator.translate_case({"T1": images["T1"]}, targets=["FLAIR"])) == {"FLAIR"}
    one, two = (translator.translate_case({name: images[name]}, targets=["FLAIR"])["FLAIR"] for name in ("T1", "T2"))
    assert not np.array_equal(one.pixels, two.pixels)
    with pytest.raises(UserError, match="say which it is"):
        translator(images["T1"])
    with pytest.raises(UserError, match="not 'PD'"):
        translator.translate_case({"T1": images["T1"]}, targets=["PD"])


def test_cases_that_lack_sequences_are_trained_on_where_the_recipe_allows_it(tmp_path: Path) -> None:
    manifest = write_brains(tmp_path / "data", 4, without={0: ("T1ce",), 1: ("FLAIR", "T2")})
    run = trained("missing-sequences", manifest, tmp_path)
    card = load_translator(run.model).card
    assert card.training.cases["train"] == 2 and card.missing_inputs
    with pytest.raises(UserError, match="No training case"):
        trained("t1-to-t2", write_brains(tmp_path / "other", 3, without={0: ("T2",)}), tmp_path / "refused")


def test_flips_and_bf16_change_little_and_are_recorded(brains: Path, tmp_path: Path) -> None:
    translator = load_translator(trained("t1-to-t2", brains, tmp_path).model)
    source = read(Manifest.read(brains).cases(["T1"], split="test")[0].files["T1"])
    plain = translator.translate_case(source)["T2"].pixels.astype(float)
    for options in (Options(flips=(1,)), Options(precision="bf16")):
        other = translator.translate_case(source, options=options)["T2"].pixels.astype(float)
        assert 0 < np.abs(other - plain).mean() < 0.1 * plain.max()
    assert dataclasses.replace(Options(), flips=(1,)).to_json()["flips"] == [1]


def test_a_training_can_start_from_another_ones_weights(brains: Path, tmp_path: Path) -> None:
    first = trained("t1-to-t2", brains, tmp_path / "first")
    start = {"train.start_from": str(first.folder)}
    second = trained("t1-to-t2", brains, tmp_path / "second", **start, **{"train.epochs": 0})
    third = trained("t1-to-t2", brains, tmp_path / "third", **{"train.epochs": 0})
    weights = [load_translator(run.model).method.state_dict() for run in (first, second, third)]
    name = next(key for key in weights[0] if weights[0][key].dim() > 1)
    assert weights[1][name].equal(weights[0][name]) and not weights[2][name].equal(weights[0][name])
    with pytest.raises(UserError, match="no weight of"):
        trained("t1-to-t2-fcn8s", brains, tmp_path / "fourth", **start)


def test_spread_over_passes_and_over_models_lies_beside_the_image(brains: Path, tmp_path: Path) -> None:
    dropout = {"supervised.network.dropout": 0.5}
    runs = [trained("t1-to-t2", brains, tmp_path / str(seed), **dropout, **{"train.seed": seed}) for seed in (0, 1)]
    source = Manifest.read(brains).cases(["T1"], split="test")[0].files["T1"]
    ensemble = ["-m", runs[0].folder, "-m", runs[1].folder]
    for number, options in enumerate((["-m", runs[0].folder, "--uncertainty", 3], ensemble)):
        out = tmp_path / f"out{number}"
        translate(*options, "-i", source, "-o", out)
        mean, sd = read(out / f"{source.name[:-7]}.nii.gz"), read(out / f"{source.name[:-7]}_sd.nii.gz")
        assert sd.pixels.dtype == np.float32 and sd.shape == mean.shape and sd.pixels.max() > 0
        assert not sd.pixels[read(source).pixels == 0].any()
        assert "standard deviation of T2" in (out / f"{source.name[:-7]}_sd.synthetic.json").read_text()
    plain = trained("t1-to-t2", brains, tmp_path / "plain")
    with pytest.raises(UserError, match="has no dropout"):
        load_translator(plain.model).translate_with_spread(read(source), passes=3)


def test_an_input_unlike_the_training_is_warned_of(
    brains: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = trained("t1-to-t2", brains, tmp_path)
    case = Manifest.read(brains).cases(["T1"], split="test")[0]
    assert load_translator(run.model).warnings(read(case.files["T1"])) == []
    strange = read(case.files["T1"])
    noise = np.random.default_rng(0).exponential(300, SHAPE) * (strange.pixels != 0)
    write(strange.with_pixels(noise.astype(np.int16)), tmp_path / "strange.nii.gz")
    translate("-m", run.folder, "-i", tmp_path / "strange.nii.gz", "-o", tmp_path / "made")
    assert "looks unlike the T1 images of the training" in capsys.readouterr().err.replace("\n", " ")


def test_pretraining_on_simulated_brains_lies_in_the_run_and_goes_on_after_a_stop(
    brains: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = {"subjects": 2, "size": [48, 48, 31], "epochs": 1, "rehearsal": 0.3}
    run = trained("t1-to-t2", brains, tmp_path / "whole", pretraining=first)
    card = load_translator(run.model).card
    assert card.training.pretraining == "2 simulated brains"
    assert card.training.subjects == {"train": 2, "validation": 1, "test": 1}
    simulated = load_translator(run.folder / "pretraining").card
    assert simulated.training.subjects == {"train": 2} and simulated.training.pretraining == ""

    original, steps = fit.Trainer.train_step, 0

    def crashing(self: fit.Trainer, batch: dict[str, torch.Tensor]) -> dict[str, float]:
        nonlocal steps
        steps += 1
        if steps == 3:
            raise KeyboardInterrupt
        return original(self, batch)

    monkeypatch.setattr(fit.Trainer, "train_step", crashing)
    with pytest.raises(KeyboardInterrupt):
        trained("t1-to-t2", brains, tmp_path / "whole" / "broken", pretraining=first)
    monkeypatch.undo()
    folder = tmp_path / "whole" / "broken"
    resumed = train("t1-to-t2", brains, folder / "run", resume=True, cache=folder / "cache", quiet=True, device="cpu")
    one, two = (load_translator(each.model).method.state_dict() for each in (run, resumed))
    assert all(one[name].equal(two[name]) for name in one)


def test_pretraining_needs_modalities_that_are_simulated(brains: Path, tmp_path: Path) -> None:
    manifest = tmp_path / "manifest.csv"
    lines = [line.split(",") for line in brains.read_text().replace(",T2,", ",PD,").splitlines()]
    for line in lines[1:]:
        line[3] = str(brains.parent / line[3])
    manifest.write_text("\n".join(",".join(line) for line in lines))
    with pytest.raises(UserError, match="No image of modality 'PD' in simulated brains"):
        trained("t1-to-t2", manifest, tmp_path, targets=["PD"], pretraining={"subjects": 1, "size": [48, 48, 31]})
    assert not (tmp_path / "run" / "recipe.yaml").exists()


def test_volumes_stored_in_several_types_train_together_where_each_has_its_own_scale(tmp_path: Path) -> None:
    manifest = write_brains(tmp_path / "data", 4)
    floats = tmp_path / "data" / "sub0_T2.nii.gz"
    image = read(floats)
    write(image.with_pixels(image.pixels.astype(np.float32)), floats)
    run = trained("t1-to-t2", manifest, tmp_path)
    assert load_translator(run.model).card.preparation.modalities["T2"].dtype == "float32"
    with pytest.raises(UserError, match=r"T2 images differ.*preparation.intensity.T2.map: image-percentiles"):
        trained("t1-to-t2", manifest, tmp_path / "refused", **{"preparation.intensity.T2.map": "training-percentiles"})


def test_a_recipe_of_any_to_any_tells_how_to_do_without_a_sequence(brains: Path, tmp_path: Path) -> None:
    rows = brains.read_text().splitlines(keepends=True)
    fewer = brains.with_name("fewer.csv")
    fewer.write_text("".join(row for row in rows if ",T1ce," not in row))
    with pytest.raises(UserError) as told:
        trained("missing-sequences", fewer, tmp_path)
    assert "no T1ce; to do without, add --set 'inputs=[T1,T2,FLAIR]' --set 'targets=[T1,T2,FLAIR]'" in str(told.value)
    chosen = {"inputs": ["T1", "T2", "FLAIR"], "targets": ["T1", "T2", "FLAIR"], "train.epochs": 1}
    assert trained("missing-sequences", fewer, tmp_path, **chosen).log.is_file()
