"""A translator is written of a generator that was trained: what goes before its turn does not take all of the time."""

from pathlib import Path
from typing import Any

import pandas
import pytest
import torch
from tests.training.brains import write_brains

from transmodal.errors import UserError
from transmodal.training import fit
from transmodal.training.checkpoint import load_checkpoint
from transmodal.training.recipe_loading import load_recipe
from transmodal.training.run import Run
from transmodal.training.train import train

PRETRAINING = "unified.tc_mgan.segmentor.pretraining_steps"


@pytest.fixture(scope="module")
def brains(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_brains(tmp_path_factory.mktemp("brains"), 4)


def trained(name: str, manifest: Path, folder: Path, settings: dict[str, Any], *, resume: bool = False) -> Run:
    recipe = load_recipe(
        name, scale="smoke", overrides={"train.sample_every": 100, "train.validate_every": 100, **settings}
    )
    return train(recipe, manifest, folder / "run", cache=folder / "cache", device="cpu", resume=resume)


def steps_by_name(monkeypatch: pytest.MonkeyPatch) -> list[set[str]]:
    """Watch which losses each step has."""
    seen: list[set[str]] = []
    original = fit.Trainer.train_step

    def watching(self: fit.Trainer, batch: dict[str, torch.Tensor]) -> dict[str, float]:
        parts = original(self, batch)
        seen.append({name for name in parts if name.endswith("_loss")})
        return parts

    monkeypatch.setattr(fit.Trainer, "train_step", watching)
    return seen


def test_the_segmentor_alone_takes_a_quarter_of_a_training_at_most(
    brains: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    seen = steps_by_name(monkeypatch)
    run = trained("t2-to-t1-t1ce-flair", brains, tmp_path, {PRETRAINING: 6000, "train.epochs": 4})
    quarter = len(seen) // 4
    assert quarter and all(names <= {"s_loss"} for names in seen[:quarter])
    assert any("g_loss" in names for names in seen[quarter : quarter + 3])
    told = " ".join(capsys.readouterr().err.split())
    assert told.count(f"{PRETRAINING}: 6000 is more than a quarter of this training") == 1
    assert run.model.is_dir() and pandas.read_csv(run.log)["g_loss"].notna().any()


def test_a_quarter_of_the_time_counts_where_time_is_the_limit(
    brains: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A step a minute, of 20 minutes.
    monkeypatch.setattr(fit.Trainer, "_agree", lambda self, seconds, stop: (60.0 * (self.position.step + 1), stop))
    seen = steps_by_name(monkeypatch)
    settings: dict[str, Any] = {PRETRAINING: 6000, "train.epochs": 100, "train.max_minutes": 20}
    trained("t2-to-t1-t1ce-flair", brains, tmp_path, settings)
    assert len(seen) == 20 and not any("g_loss" in names for names in seen[:5])
    assert any("g_loss" in names for names in seen[5:10])


def test_a_short_pretraining_stays_what_was_asked_for(
    brains: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    seen = steps_by_name(monkeypatch)
    trained("t2-to-t1-t1ce-flair", brains, tmp_path, {PRETRAINING: 2, "train.epochs": 4})
    assert len(seen) > 8 and any("g_loss" in names for names in seen[2:5])
    assert "more than a quarter" not in capsys.readouterr().err


def test_a_training_that_ends_before_the_generators_turn_writes_no_translator(brains: Path, tmp_path: Path) -> None:
    settings: dict[str, Any] = {"stargan.critic_steps": 1000, "train.epochs": 2}
    with pytest.raises(UserError, match=r"no translator: its generator had no turn in the \d+ steps.*critic_steps"):
        trained("mri-stargan", brains, tmp_path, settings)
    assert not (tmp_path / "run" / "model").exists() and not Run.open(tmp_path / "run").best_checkpoint.exists()
    with pytest.raises(UserError, match="had no turn"):
        trained("mri-stargan", brains, tmp_path, {}, resume=True)


def test_the_best_weights_are_those_of_a_trained_generator(brains: Path, tmp_path: Path) -> None:
    settings: dict[str, Any] = {PRETRAINING: 6000, "train.epochs": 5, "train.validate_every": 1}
    settings |= {"unified.tc_mgan.adam.learning_rate": 1e-9}  # so that no later epoch scores better
    run = trained("t2-to-t1-t1ce-flair", brains, tmp_path, settings)
    assert load_checkpoint(run.best_checkpoint)["epoch"] > 1


def test_a_stop_before_the_generators_turn_leaves_a_checkpoint_to_go_on_from(
    brains: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = fit.Trainer.train_step

    def stopping(self: fit.Trainer, batch: dict[str, torch.Tensor]) -> dict[str, float]:
        self.stop_asked = self.position.step == 1
        return original(self, batch)

    with monkeypatch.context() as patch:
        patch.setattr(fit.Trainer, "train_step", stopping)
        with pytest.raises(KeyboardInterrupt):
            trained("mri-stargan", brains, tmp_path, {"train.epochs": 2})
    assert not (tmp_path / "run" / "model").exists()
    assert trained("mri-stargan", brains, tmp_path, {}, resume=True).model.is_dir()
