"""Memory that runs out in a training: volumes are validated in windows, and a step that fails is told in one line."""

from pathlib import Path

import numpy as np
import pandas
import pytest
import torch
from tests.data.pairs import make_pairs
from tests.training.brains import SHAPE, write_brains
from torch._subclasses.fake_tensor import FakeTensor

from transmodal.errors import UserError
from transmodal.methods import Method
from transmodal.training import fit
from transmodal.training.recipe_loading import load_recipe
from transmodal.training.train import train


@pytest.mark.parametrize("norm", ["batch", "instance"])
def test_volumes_are_validated_and_drawn_in_windows_that_fit_or_that_the_network_learnt_on(
    norm: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original, widths = fit.Trainer._make_method, set[tuple[int, ...]]()

    def with_little_memory(trainer: fit.Trainer) -> Method:
        method = original(trainer)
        translate = method.translate

        def limited(batch: dict[str, torch.Tensor], *, stochastic: bool = False) -> dict[str, torch.Tensor]:
            image = batch["T1"]
            if not isinstance(image, FakeTensor):  # what is only counted takes no memory
                widths.add(tuple(image.shape[2:]))
                if image[0].numel() >= np.prod(SHAPE):
                    raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate a lot")
            return translate(batch, stochastic=stochastic)

        monkeypatch.setattr(method, "translate", limited)
        return method

    monkeypatch.setattr(fit.Trainer, "_make_method", with_little_memory)
    recipe = load_recipe(
        "t1-to-t2-volume", scale="smoke", overrides={"train.epochs": 1, "supervised.network.norm": norm}
    )
    assert recipe.sampling.patch is not None
    manifest = write_brains(tmp_path / "data", 3)
    run = train(recipe, manifest, tmp_path / "run", cache=tmp_path / "cache", quiet=True, device="cpu")
    assert np.isfinite(pandas.read_csv(run.log)["validation_psnr"].iloc[-1])
    assert list(run.samples.glob("*.png"))
    if norm == "instance":  # its statistics are those of a patch
        assert widths == {tuple(recipe.sampling.patch)}
    else:
        assert len(widths) > 1


@pytest.mark.parametrize(
    "error", [RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"), MemoryError()]
)
def test_a_step_that_memory_does_not_suffice_for_names_the_remedy(
    error: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(trainer: fit.Trainer, batch: dict[str, torch.Tensor]) -> dict[str, float]:
        raise error

    monkeypatch.setattr(fit.Trainer, "train_step", failing)
    changes = {"preparation.grid.shrink": 1, "train.batch_size": 2}
    recipe = load_recipe("photo-to-xray", scale="smoke", overrides=changes)
    with pytest.raises(UserError, match=r"cpu ran out at step 1; take a smaller train.batch_size \(it is 2\) or"):
        train(recipe, make_pairs(tmp_path), tmp_path / "run", cache=tmp_path / "cache", quiet=True, device="cpu")
    assert not (tmp_path / "run").exists(), "the same command can be given again"


def test_other_errors_of_a_step_stay_what_they_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(trainer: fit.Trainer, batch: dict[str, torch.Tensor]) -> dict[str, float]:
        raise RuntimeError("shapes do not match")

    monkeypatch.setattr(fit.Trainer, "train_step", failing)
    recipe = load_recipe("photo-to-xray", scale="smoke", overrides={"preparation.grid.shrink": 1})
    with pytest.raises(RuntimeError, match="shapes do not match"):
        train(recipe, make_pairs(tmp_path), tmp_path / "run", cache=tmp_path / "cache", quiet=True, device="cpu")
