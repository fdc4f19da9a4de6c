"""A device by name or the best there is: CUDA before the CPU, Apple's GPU only when named, and mistakes in one line."""

import inspect
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from tests.data.translators import PHOTO, XRAY, make_translator

from transmodal.cli.evaluate import evaluate
from transmodal.cli.rate import new
from transmodal.cli.train import train
from transmodal.cli.translate import translate
from transmodal.errors import UserError
from transmodal.translation.devices import choose_device
from transmodal.translation.model_folder import load_translator


def machine(monkeypatch: pytest.MonkeyPatch, gpus: int, *, apple: bool = False) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: apple)


@pytest.mark.parametrize(
    ("gpus", "apple", "name", "device"),
    [
        (0, False, "auto", "cpu"),
        (0, True, "auto", "cpu"),  # where some operations are missing, and float64
        (2, False, "auto", "cuda"),
        (0, True, "mps", "mps"),
        (2, False, "cuda:1", "cuda:1"),
        (2, False, "cpu", "cpu"),
    ],
)
def test_a_name_stands_for_a_device(
    monkeypatch: pytest.MonkeyPatch, gpus: int, apple: bool, name: str, device: str
) -> None:
    machine(monkeypatch, gpus, apple=apple)
    assert choose_device(name) == device


@pytest.mark.parametrize("name", ["cuda:2", "cuda:x", "cuda:", "cuda:-1", "mps", "warp-drive", "Auto", ""])
def test_a_device_that_is_not_there_is_told_in_one_line(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    machine(monkeypatch, 2)
    with pytest.raises(UserError, match=r"^There is no device .* it can use cpu, cuda:0 to cuda:1$"):
        choose_device(name)


def test_a_translator_takes_auto(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    machine(monkeypatch, 0, apple=True)
    folder = make_translator(tmp_path / "model", PHOTO, XRAY)
    assert load_translator(folder, device="auto").device == torch.device("cpu")
    assert load_translator(folder).device == torch.device("cpu")


@pytest.mark.parametrize("command", [train, evaluate, translate, new])
def test_commands_take_the_best_device_unless_told(command: Callable[..., None]) -> None:
    assert inspect.signature(command).parameters["device"].default == "auto"
