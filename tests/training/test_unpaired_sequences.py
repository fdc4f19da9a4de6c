"""StarGAN learns from people of one sequence each, and from several data sets with sequences of their own."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas
import pytest
from tests.training.brains import write_brains

from transmodal.cli import main
from transmodal.errors import UserError
from transmodal.images import Image, read, write
from transmodal.training.recipe_loading import load_recipe
from transmodal.training.run import Run
from transmodal.training.train import train
from transmodal.translation.model_folder import load_translator

T1, T2 = ("T1",), ("T2",)
TWO = {"inputs": ["T1", "T2"], "targets": ["T1", "T2"]}
REST = ("T1ce", "FLAIR", "seg")


def as_words(settings: dict[str, Any]) -> list[str]:
    """Return settings as words of a command line."""
    words = [f"{name}={value}".replace("'", "").replace(" ", "") for name, value in settings.items()]
    return [part for word in words for part in ("--set", word)]


def write_discs(folder: Path, people: int) -> Path:
    """Write heads with a ball in them that is bright in T1 and dark in T2; only the last of the people has both."""
    rows = ["subject,session,modality,path,split"]
    place = np.stack(np.meshgrid(*(np.linspace(-1, 1, n) for n in (16, 16, 10)), indexing="ij"))
    head = (place[:2] ** 2).sum(0) < 0.95
    for person in range(people):
        generator = np.random.default_rng(person)
        centre = np.array([*generator.uniform(-0.4, 0.4, 2), 0]).reshape(3, 1, 1, 1)
        ball = (((place - centre) / np.array([0.45, 0.45, 1.5]).reshape(3, 1, 1, 1)) ** 2).sum(0) < 1
        values = {"T1": 300 + 600 * ball, "T2": 900 - 600 * ball}
        is_last = person == people - 1
        for name in values if is_last else [("T1", "T2")[person % 2]]:
            noisy = values[name] + 10 * generator.normal(size=ball.shape)
            path = folder / f"p{person}_{name}.nii.gz"
            write(Image(np.where(head, noisy, 0).astype(np.int16), np.eye(4)), path)
            rows.append(f"p{person},,{name},{path.name},{'test' if is_last else 'train'}")
    manifest = folder / "manifest.csv"
    manifest.write_text("\n".join(rows) + "\n")
    return manifest


def test_people_of_one_sequence_each_train_to_translate(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    manifest = write_discs(tmp_path, 13)
    settings: dict[str, Any] = {
        **TWO, "preparation.grid.size": [16, 16], "augmentation.flip_horizontal": 0, "stargan.critic_steps": 2,
        "stargan.adam.learning_rate": 1e-3, "stargan.generator.filters": 8, "stargan.discriminator.filters": 16,
        "stargan.discriminator.layers": 2, "train.epochs": 9, "train.batch_size": 8, "train.constant_share": 1,
    }  # fmt: skip
    words = ["train", "mri-stargan", "--scale", "smoke", "--data", str(manifest), "--out", str(tmp_path / "run")]
    with pytest.raises(SystemExit) as ended:
        main([*words, "--cache", str(tmp_path / "cache"), "--device", "cpu", *as_words(settings)])
    assert ended.value.code == 0, capsys.readouterr().err

    run = Run.open(tmp_path / "run")
    log = pandas.read_csv(run.log)
    assert log["g_rec"].iloc[-1] < 0.5 * log["g_rec"].iloc[0]
    translator = load_translator(run.model)
    assert translator.card.training.cases == {"train": 12, "test": 1}
    case = run.manifest.cases(split="test")[0]
    source, truth = (read(case.files[name]).pixels.astype(float) for name in ("T1", "T2"))
    made = translator.translate_case({"T1": read(case.files["T1"])})["T2"].pixels
    error, baseline = (np.abs(image - truth)[source != 0].mean() for image in (made, source))
    assert error < 0.6 * baseline


def test_pairs_alone_validate(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    without = {0: (*REST, *T1), 1: (*REST, *T2), 2: REST, 3: (*REST, *T2), 4: REST, 5: (*REST, *T1)}
    manifest = write_brains(tmp_path / "data", 6, without=without)
    table = pandas.read_csv(manifest)
    table.loc[table["subject"] == "sub3", "split"] = "validation"
    table.to_csv(manifest, index=False)
    run = trained(manifest, tmp_path, quiet=False)
    assert load_translator(run.model).card.training.cases == {"train": 3, "validation": 1}
    assert np.isfinite(pandas.read_csv(run.log)["validation_psnr"].iloc[-1])
    told = " ".join(capsys.readouterr().err.split())
    assert "2 incomplete cases are left out: sub3 (no T2), sub5 (no T1); validation and test need pairs" in told


def test_a_sequence_that_nobody_in_the_training_has_is_told(tmp_path: Path) -> None:
    without = {0: (*REST, *T2), 1: (*REST, *T2), 2: REST, 3: REST}
    manifest = write_brains(tmp_path / "data", 4, without=without)
    with pytest.raises(UserError, match="T2"):
        trained(manifest, tmp_path)


@pytest.mark.parametrize("own", ["b", "c"])
def test_data_sets_with_sequences_of_their_own_train_together(own: str, tmp_path: Path) -> None:
    without = {0: (*REST, *T1), 1: (*REST, *T2), 2: ("T1ce", "T2", "seg"), 3: ("T1", "T1ce", "T2", "seg")}
    manifest = write_brains(tmp_path / "data", 6, without=without)
    table = pandas.read_csv(manifest)
    table["dataset"] = table["subject"].map({"sub0": "a", "sub1": "a"}).fillna(own)
    table.to_csv(manifest, index=False)
    chosen = ["T1", "T2", "FLAIR"]
    settings: dict[str, Any] = {
        "inputs": chosen,
        "targets": chosen,
        "stargan.datasets": {"a": ["T1", "T2"], "b": ["T1", "FLAIR"]},
    }
    if own == "c":
        with pytest.raises(UserError, match=r"data set 'c'.*stargan.datasets has a, b"):
            trained(manifest, tmp_path, **settings)
        return
    run = trained(manifest, tmp_path, **settings)
    case = run.manifest.cases(split="test")[0]
    assert set(load_translator(run.model).translate_case({"T1": read(case.files["T1"])})) == {"T2", "FLAIR"}


def test_a_target_that_is_no_input_trains_from_people_who_have_nothing_else(tmp_path: Path) -> None:
    manifest = write_brains(tmp_path / "data", 6, without={n: (*REST, *(T2 if n < 2 else T1)) for n in range(5)})
    run = trained(manifest, tmp_path, inputs=["T1"], targets=["T2"])
    regions = [file for file in (tmp_path / "cache").glob("*.npy") if np.load(file).dtype == np.uint8]
    assert len(regions) == 4, "each person of the training has their own"
    assert load_translator(run.model).card.training.cases == {"train": 4, "test": 1}


def trained(manifest: Path, folder: Path, *, quiet: bool = True, **settings: Any) -> Run:
    recipe = load_recipe("mri-stargan", scale="smoke", overrides={**TWO, "stargan.critic_steps": 2, **settings})
    return train(recipe, manifest, folder / "run", cache=folder / "cache", quiet=quiet, device="cpu")
