"""A training with a pre-training, stopped anywhere, goes on with what was left of both."""

from pathlib import Path

import pytest
import torch
from tests.training.brains import write_brains

from transmodal.training import fit
from transmodal.training.checkpoint import load_checkpoint, save_checkpoint
from transmodal.training.recipe_loading import load_recipe
from transmodal.training.run import Run
from transmodal.training.train import PRETRAINING, train

SETTINGS = {
    "train.epochs": 1,
    "train.max_minutes": 2,
    "pretraining": {"subjects": 1, "size": [48, 48, 31], "epochs": 2, "share_of_time": 0.5},
}


@pytest.fixture(scope="module")
def brains(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_brains(tmp_path_factory.mktemp("brains"), 4)


class Watched:
    """Training steps that are counted by stage, and can be told to ask for a stop."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.steps: dict[str, int] = {}
        self.stop_in = ""
        original = fit.Trainer.train_step

        def counting(trainer: fit.Trainer, batch: dict[str, torch.Tensor]) -> dict[str, float]:
            stage = PRETRAINING if trainer.run.folder.name == PRETRAINING else "main"
            self.steps[stage] = self.steps.get(stage, 0) + 1
            trainer.stop_asked = stage == self.stop_in
            return original(trainer, batch)

        monkeypatch.setattr(fit.Trainer, "train_step", counting)


def stopped(brains: Path, folder: Path) -> None:
    recipe = load_recipe("t1-to-t2", scale="smoke", overrides=SETTINGS)
    with pytest.raises(KeyboardInterrupt):
        train(recipe, brains, folder / "run", cache=folder / "cache", quiet=True, device="cpu")


def resumed(folder: Path) -> Run:
    return train("t1-to-t2", "", folder / "run", resume=True, cache=folder / "cache", quiet=True, device="cpu")


def position(run: Path) -> dict[str, float]:
    return load_checkpoint(run / "checkpoints" / "last.ckpt")["position"]


def spend(run: Path, minutes: float) -> None:
    """Make a checkpoint tell that so much time was spent."""
    path = run / "checkpoints" / "last.ckpt"
    content = load_checkpoint(path)
    content["position"]["seconds"] = 60 * minutes
    save_checkpoint(path, content)


def test_a_stop_in_the_pretraining_does_not_end_it(
    brains: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    watched = Watched(monkeypatch)
    watched.stop_in = PRETRAINING
    stopped(brains, tmp_path)
    first = tmp_path / "run" / PRETRAINING
    assert watched.steps == {PRETRAINING: 1} and (first / "model" / "translator.json").exists()
    allowed = position(first)["minutes"]
    assert allowed <= 1
    watched.stop_in = ""
    run = resumed(tmp_path)
    assert position(first)["epoch"] == 2 and position(first)["minutes"] == allowed
    assert watched.steps[PRETRAINING] == position(first)["step"] > 1 and position(run.folder)["epoch"] == 1


def test_a_resumed_training_has_the_minutes_that_the_pretraining_left(
    brains: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    watched = Watched(monkeypatch)
    watched.stop_in = "main"
    stopped(brains, tmp_path)
    run, steps = tmp_path / "run", dict(watched.steps)
    left = position(run)["minutes"]
    assert 0 < left < 2 and steps["main"] == 1
    spend(run, left + 0.01)
    watched.stop_in = ""
    resumed(tmp_path)
    assert watched.steps == steps, "its time was up"

    # Stopped before the first checkpoint: what the finished pre-training took is not given again.
    (run / "checkpoints" / "last.ckpt").unlink()
    spend(run / PRETRAINING, 1.8)
    resumed(tmp_path)
    assert watched.steps[PRETRAINING] == steps[PRETRAINING]
    assert position(run)["minutes"] == pytest.approx(0.2, abs=1e-3)
