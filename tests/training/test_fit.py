"""Training end to end on pairs with a known mapping: it learns, it resumes to the bit, it stops as asked."""

import csv
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.data.pairs import make_pairs

from transmodal.errors import UserError
from transmodal.training import fit
from transmodal.training.checkpoint import load_checkpoint
from transmodal.training.recipe_loading import load_recipe
from transmodal.training.run import Run
from transmodal.training.train import train

TINY = {
    "preparation.grid.shrink": 1,
    "augmentation.jitter": 1.0,
    "pix2pix.generator.filters": 8,
    "pix2pix.generator.downsamplings": 3,
    "pix2pix.discriminator.filters": 8,
    "pix2pix.discriminator.layers": 1,
    "train.batch_size": 2,
    "train.validate_every": 2,
    "train.sample_every": 100,
}


def tiny_recipe(**changes: object):
    return load_recipe("photo-to-xray", scale="smoke", overrides=TINY | changes)


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_pairs(tmp_path_factory.mktemp("pairs"))


def rows(run: Run) -> list[dict[str, str]]:
    with run.log.open(newline="") as stream:
        return list(csv.DictReader(stream))


@pytest.mark.parametrize("adversarial", ["cross-entropy", "mean-squared-error", "wgan-gp", "wgan-noconstraint"])
def test_each_loss_learns_a_known_mapping(adversarial: str, pairs: Path, tmp_path: Path) -> None:
    recipe = tiny_recipe(**{
        "pix2pix.adversarial": adversarial, "pix2pix.critic_steps": 1, "train.epochs": 40,
        "pix2pix.adam.learning_rate": 1e-3,
    })  # fmt: skip
    run = train(recipe, pairs, tmp_path / "run", cache=tmp_path / "cache", quiet=True)
    log = rows(run)
    assert float(log[-1]["g_l1"]) < 0.5 * float(log[0]["g_l1"])
    validation = [float(row["validation_psnr"]) for row in log if row["validation_psnr"]]
    assert max(validation) > 18, validation
    card = json.loads((run.model / "translator.json").read_text())
    assert card["training"]["validation"]["psnr"] == pytest.approx(max(validation), rel=1e-4)


def final_weights(run: Run) -> dict[str, torch.Tensor]:
    content = load_checkpoint(run.last_checkpoint)
    flat = dict(content["modules"])
    for name, state in content["optimisers"].items():
        for index, moments in state["state"].items():
            flat |= {f"{name}.{index}.{key}": value for key, value in moments.items()}
    return flat


def assert_same_weights(first: Run, second: Run) -> None:
    mine, theirs = final_weights(first), final_weights(second)
    assert mine.keys() == theirs.keys()
    for key, value in mine.items():
        assert torch.equal(value, theirs[key]), key


def test_same_seed_gives_the_same_weights_and_another_seed_others(pairs: Path, tmp_path: Path) -> None:
    runs = [
        train(tiny_recipe(**{"train.seed": seed}), pairs, tmp_path / name, cache=tmp_path / "cache", quiet=True)
        for name, seed in (("a", 1), ("b", 1), ("c", 2))
    ]
    assert_same_weights(runs[0], runs[1])
    with pytest.raises(AssertionError):
        assert_same_weights(runs[0], runs[2])


def test_resume_in_mid_epoch_gives_the_same_weights(
    pairs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = tiny_recipe(**{"train.epochs": 4, "augmentation.rotation_degrees": 10, "augmentation.noise": 0.05})
    whole = train(recipe, pairs, tmp_path / "whole", cache=tmp_path / "cache", quiet=True)

    class Crash(Exception):
        pass

    original = fit.Trainer.train_step

    def crashing(self: fit.Trainer, batch: dict[str, torch.Tensor]) -> dict[str, float]:
        if self.position.step == 6:  # epochs have 4 steps: in the middle of the second
            self.save()
        if self.position.step == 7:
            raise Crash
        return original(self, batch)

    monkeypatch.setattr(fit.Trainer, "train_step", crashing)
    with pytest.raises(Crash):
        train(recipe, pairs, tmp_path / "broken", cache=tmp_path / "cache", quiet=True)
    monkeypatch.undo()
    broken = train(recipe, pairs, tmp_path / "broken", cache=tmp_path / "cache", resume=True, quiet=True)
    assert_same_weights(whole, broken)
    for mine, theirs in zip(rows(whole), rows(broken), strict=True):
        for clock in ("seconds", "waiting_share"):
            mine.pop(clock), theirs.pop(clock)
        assert mine == theirs


def test_short_epochs_are_not_all_saved_and_a_resume_gives_the_same_weights(
    pairs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[tuple[str, int]] = []
    save = fit.save_checkpoint

    def recording(path: Path, content: dict[str, Any]) -> None:
        written.append((path.name, content["position"]["epoch"] if "position" in content else content["epoch"]))
        save(path, content)

    monkeypatch.setattr(fit, "save_checkpoint", recording)
    monkeypatch.setattr(fit, "SECONDS_BETWEEN_SAVES", 1e9)  # whatever this machine takes for an epoch
    recipe = tiny_recipe(**{"train.epochs": 5, "train.validate_every": 3})
    whole = train(recipe, pairs, tmp_path / "whole", cache=tmp_path / "cache", quiet=True)
    last = [epoch for name, epoch in written if name == "last.ckpt"]
    assert {epoch for name, epoch in written if name == "best.ckpt"} <= set(last), "a new best is saved whole"
    assert last[0] == 1 and 3 in last and last[-1] == 5 and not {2, 4} & set(last)

    original = fit.Trainer.train_step

    def crashing(self: fit.Trainer, batch: dict[str, torch.Tensor]) -> dict[str, float]:
        if self.position.step == 18:  # in the fifth epoch
            raise KeyboardInterrupt
        return original(self, batch)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(fit.Trainer, "train_step", crashing)
        train(recipe, pairs, tmp_path / "broken", cache=tmp_path / "cache", quiet=True)
    assert load_checkpoint(tmp_path / "broken" / "checkpoints" / "last.ckpt")["position"]["epoch"] == 3
    broken = train(recipe, pairs, tmp_path / "broken", cache=tmp_path / "cache", resume=True, quiet=True)
    assert_same_weights(whole, broken)
    assert [row["step"] for row in rows(whole)] == [row["step"] for row in rows(broken)]

    written.clear()
    monkeypatch.setattr(fit, "SECONDS_BETWEEN_SAVES", 0.0)
    train(recipe, pairs, tmp_path / "long", cache=tmp_path / "cache", quiet=True)
    assert {1, 2, 3, 4, 5} <= {epoch for name, epoch in written if name == "last.ckpt"}


def start_training(recipe: Path, pairs: Path, run: Path, cache: Path, *more: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "transmodal", "train", str(recipe), "--data", str(pairs), "--out", str(run)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    options = ["--cache", str(cache), "--quiet", "--device", "cpu", *more]
    with (run.parent / "errors.txt").open("wb") as errors:
        return subprocess.Popen([*command, *options], env=environment, stdout=subprocess.DEVNULL, stderr=errors)


def test_sigkill_and_resume_give_the_same_weights(pairs: Path, tmp_path: Path) -> None:
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(tiny_recipe(**{"train.epochs": 30, "train.checkpoint_minutes": 1e-4}).to_yaml())
    cache = tmp_path / "cache"
    whole = start_training(recipe, pairs, tmp_path / "whole", cache)
    assert whole.wait(120) == 0
    killed = start_training(recipe, pairs, tmp_path / "killed", cache)
    log = tmp_path / "killed" / "log.csv"
    while not log.exists() or log.read_text().count("\n") < 4:
        time.sleep(0.01)
        assert killed.poll() is None, "ended before it was killed"
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    assert not (tmp_path / "killed" / "model").exists()
    changed = start_training(recipe, pairs, tmp_path / "killed", cache, "--resume", "--seed", "5")
    assert changed.wait(60) == 2
    assert "the one given differs" in (tmp_path / "errors.txt").read_text()
    resumed = start_training(recipe, pairs, tmp_path / "killed", cache, "--resume")
    assert resumed.wait(120) == 0
    assert_same_weights(Run.open(tmp_path / "whole"), Run.open(tmp_path / "killed"))


def test_a_stop_signal_leaves_a_checkpoint_and_a_translator(pairs: Path, tmp_path: Path) -> None:
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(tiny_recipe(**{"train.epochs": 10000}).to_yaml())
    process = start_training(recipe, pairs, tmp_path / "run", tmp_path / "cache")
    log = tmp_path / "run" / "log.csv"
    while not log.exists():
        time.sleep(0.01)
        assert process.poll() is None
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 130, "not as if it had finished"
    run = Run.open(tmp_path / "run")
    assert run.last_checkpoint.exists() and (run.model / "translator.json").exists()


def test_a_stop_in_the_last_batch_leaves_a_whole_run(
    pairs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = fit.Trainer.train_step

    def stopping(self: fit.Trainer, batch: dict[str, torch.Tensor]) -> dict[str, float]:
        self.stop_asked = self.position.step == 7  # of 2 epochs of 4 steps
        return original(self, batch)

    monkeypatch.setattr(fit.Trainer, "train_step", stopping)
    run = train(tiny_recipe(), pairs, tmp_path / "run", cache=tmp_path / "cache", quiet=True)
    assert rows(run)[-1]["step"] == "8" and rows(run)[-1]["validation_psnr"]


def test_augmenting_in_workers_changes_no_weight(pairs: Path, tmp_path: Path) -> None:
    runs = []
    for workers in (0, 2):
        recipe = tiny_recipe(**{"train.loader_workers": workers, "augmentation.rotation_degrees": 10})
        runs.append(train(recipe, pairs, tmp_path / str(workers), cache=tmp_path / "cache", quiet=True))
    assert_same_weights(*runs)


@pytest.mark.parametrize(
    "change",
    [{"train.gradient_clip": 1e-3}, {"pix2pix.adam.weight_decay": 0.1}, {"train.constant_share": 0.0}],
)
def test_what_steers_the_optimiser_reaches_it(change: dict[str, float], pairs: Path, tmp_path: Path) -> None:
    runs = [
        train(tiny_recipe(**settings), pairs, tmp_path / name, cache=tmp_path / "cache", quiet=True)
        for name, settings in (("plain", {}), ("changed", change))
    ]
    with pytest.raises(AssertionError):
        assert_same_weights(*runs)


def test_a_training_that_fails_before_its_first_checkpoint_leaves_room_for_the_next(
    pairs: Path, tmp_path: Path
) -> None:
    options = {"cache": tmp_path / "cache", "quiet": True}
    with pytest.raises(UserError, match="no longer a finite number"):
        train(tiny_recipe(**{"pix2pix.adam.learning_rate": 1e30}), pairs, tmp_path / "run", **options)
    train(tiny_recipe(**{"train.epochs": 1}), pairs, tmp_path / "run", **options)


def test_a_mask_that_the_manifest_lacks_is_told_before_training(pairs: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="No image of modality 'lungs'"):
        train(tiny_recipe(**{"evaluation.mask": "lungs"}), pairs, tmp_path / "run", quiet=True)


def test_zero_epochs_write_an_untrained_run(pairs: Path, tmp_path: Path) -> None:
    recipe = tiny_recipe(**{"train.epochs": 0, "data_licence": "CC BY 4.0"})
    run = train(recipe, pairs, tmp_path / "run", cache=tmp_path / "cache", quiet=True)
    summary = json.loads((run.model / "translator.json").read_text())["training"]
    assert summary["epochs"] == 0 and summary["data_licence"] == "CC BY 4.0"
    assert load_checkpoint(run.last_checkpoint)["position"]["step"] == 0


def test_early_stop_ends_after_patience(pairs: Path, tmp_path: Path) -> None:
    recipe = tiny_recipe(**{
        "train.epochs": 50, "train.patience": 3, "train.validate_every": 1, "pix2pix.adam.learning_rate": 1e-12,
    })  # fmt: skip
    run = train(recipe, pairs, tmp_path / "run", cache=tmp_path / "cache", quiet=True)
    assert len(rows(run)) < 50


def test_max_minutes_ends_in_time_with_the_schedule_run_down(pairs: Path, tmp_path: Path) -> None:
    recipe = tiny_recipe(**{"train.epochs": 100000, "train.max_minutes": 0.03, "train.validate_every": 1000})
    started = time.monotonic()
    run = train(recipe, pairs, tmp_path / "run", cache=tmp_path / "cache", quiet=True)
    assert time.monotonic() - started < 30
    last = rows(run)[-1]
    assert float(last["learning_rate"]) == 0
    assert last["validation_psnr"], "the end is validated"


def test_nan_in_the_loss_stops_and_keeps_the_last_good_checkpoint(
    pairs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = fit.Trainer.train_step

    def poisoned(self: fit.Trainer, batch: dict[str, torch.Tensor]) -> dict[str, float]:
        if self.position.step == 6:
            batch = {name: tensor * float("nan") for name, tensor in batch.items()}
        return original(self, batch)

    monkeypatch.setattr(fit.Trainer, "train_step", poisoned)
    with pytest.raises(UserError, match=r"no longer a finite number at step 7 \(epoch 2, batch 3\)"):
        train(tiny_recipe(), pairs, tmp_path / "run", cache=tmp_path / "cache", quiet=True)
    content = load_checkpoint(tmp_path / "run" / "checkpoints" / "last.ckpt")
    assert content["position"]["epoch"] == 1
    assert all(torch.isfinite(weights).all() for weights in content["modules"].values())
    assert (tmp_path / "run" / "model" / "translator.json").exists()


def test_a_quiet_training_says_nothing(pairs: Path, tmp_path: Path) -> None:
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(tiny_recipe(**{"train.precision": "bf16", "train.epochs": 1}).to_yaml())
    assert start_training(recipe, pairs, tmp_path / "run", tmp_path / "cache").wait(60) == 0
    assert (tmp_path / "errors.txt").read_text() == ""


def test_bf16_trains(pairs: Path, tmp_path: Path) -> None:
    recipe = tiny_recipe(**{"train.precision": "bf16", "train.epochs": 10, "pix2pix.adversarial": "wgan-gp",
                            "pix2pix.critic_steps": 2})  # fmt: skip
    run = train(recipe, pairs, tmp_path / "run", cache=tmp_path / "cache", quiet=True)
    log = rows(run)
    assert np.isfinite([float(row["g_l1"]) for row in log]).all()
    assert float(log[-1]["g_l1"]) < float(log[0]["g_l1"])


def test_intensity_maps_are_fitted_on_training_subjects_only(pairs: Path, tmp_path: Path) -> None:
    from transmodal.images import read, write

    copy = make_pairs(tmp_path / "pairs")
    test_image = copy.parent / "xray" / "mouse05_pose0.png"  # a test subject
    image = read(test_image)
    bright = image.pixels.copy()
    bright[0, 0] = 65535
    write(image.with_pixels(bright), test_image)
    run = train(tiny_recipe(**{"train.epochs": 0}), copy, tmp_path / "run", cache=tmp_path / "cache", quiet=True)
    card = json.loads((run.model / "translator.json").read_text())
    assert card["preparation"]["modalities"]["xray"]["intensity"]["high"] <= 60000


def test_two_processes_train_as_one_with_twice_the_batch(pairs: Path, tmp_path: Path) -> None:
    # Nothing that depends on the batch or the process: no batch norm, no dropout; SGD-like tolerance of float sums.
    changes = {"pix2pix.generator.norm": "instance", "pix2pix.generator.dropout": 0, "train.epochs": 1}
    changes |= {"pix2pix.discriminator.norm": "instance"}
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(tiny_recipe(**changes, **{"train.batch_size": 2}).to_yaml())
    process = start_training(recipe, pairs, tmp_path / "two", tmp_path / "cache", "--devices", "2")
    assert process.wait(180) == 0, (tmp_path / "errors.txt").read_text()
    two = Run.open(tmp_path / "two")
    assert [row["step"] for row in rows(two)] == ["2"], "8 samples, 2 processes of batches of 2"
    whole = tiny_recipe(**changes, **{"train.batch_size": 4})
    one = train(whole, pairs, tmp_path / "one", cache=tmp_path / "cache", quiet=True)
    mine, theirs = load_checkpoint(one.last_checkpoint)["modules"], load_checkpoint(two.last_checkpoint)["modules"]
    moved = 0.0
    for key, value in mine.items():
        # Adam moves a weight by its rate whatever the gradient's size, so rounding can turn single steps around.
        assert (value - theirs[key]).abs().float().mean() < 2e-5, key
        moved = max(moved, float(value.abs().max()))
    assert moved > 0


def test_a_user_error_in_the_first_of_two_processes_ends_both(pairs: Path, tmp_path: Path) -> None:
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(tiny_recipe(inputs=["photograph"]).to_yaml())
    process = start_training(recipe, pairs, tmp_path / "run", tmp_path / "cache", "--devices", "2")
    assert process.wait(120) == 2
    lines = (tmp_path / "errors.txt").read_text().splitlines()
    assert len([line for line in lines if "No image of modality" in line]) == 1
    assert not any("Traceback" in line for line in lines)


def test_ssim_chooses_the_best_checkpoint_where_asked(pairs: Path, tmp_path: Path) -> None:
    recipe = tiny_recipe(**{"train.best": "ssim", "train.epochs": 6, "train.validate_every": 1})
    run = train(recipe, pairs, tmp_path / "run", cache=tmp_path / "cache", quiet=True)
    scores = [float(row["validation_ssim"]) for row in rows(run)]
    assert load_checkpoint(run.best_checkpoint)["scores"]["ssim"] == pytest.approx(max(scores), rel=1e-4)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"inputs": ["photograph"]}, "No image of modality 'photograph'"),
        ({"preparation.grid.shrink": 8}, "too small for a discriminator of 1 layers"),
    ],
)
def test_a_bad_recipe_is_one_clear_line(change: dict[str, object], message: str, pairs: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=message):
        train(tiny_recipe(**change), pairs, tmp_path / "run", cache=tmp_path / "cache", quiet=True)
    assert not (tmp_path / "run" / "model").exists()
