"""Checkpoints: everything that a resume needs, tensors and plain values only, loaded without unpickling objects."""

from pathlib import Path
from typing import Any

import torch
from torch import nn

from transmodal.errors import UserError
from transmodal.images.files import atomic_path

VERSION = 1
WRITER_FAILED = ("PytorchStreamWriter", "inline_container")  # how torch says that a file could not be written


def save_checkpoint(path: Path, content: dict[str, Any]) -> None:
    """Write a checkpoint whole or not at all.

    Raises:
        UserError: the folder cannot be written, or has no space left.
    """
    try:
        with atomic_path(path) as temporary:
            _write(temporary, path, {"version": VERSION, **content})
    except OSError as error:  # a folder that has the name
        raise UserError(f"Cannot write {path}: {error.strerror}; move what is there away and --resume") from error


def _write(temporary: Path, path: Path, content: dict[str, Any]) -> None:
    try:
        temporary.touch()  # torch tells in a RuntimeError of many lines what this tells by its number
        torch.save(content, temporary)
    except OSError as error:
        raise UserError(
            f"Cannot write {path}: {error.strerror}; make the run's folder writable, or its disk, and --resume"
        ) from error
    except RuntimeError as error:
        if not any(word in str(error) for word in WRITER_FAILED):
            raise
        raise UserError(f"Cannot write {path} to its end; free space on its disk and --resume") from error


def load_checkpoint(path: Path) -> dict[str, Any]:
    """Read a checkpoint onto the CPU.

    Raises:
        UserError: it is missing, damaged, of another version, or holds anything but tensors and plain values.
    """
    if not path.is_file():
        raise UserError(f"There is no checkpoint {path}; train into a new --out")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # damaged bytes make the unpickler trip over anything at all
        raise UserError(
            f"{path} is damaged or holds more than tensors ({type(error).__name__}); train into a new --out"
        ) from error
    if not isinstance(content, dict) or content.get("version") != VERSION:
        raise UserError(f"{path} was written by another version of transmodal; train into a new --out")
    return content


def all_finite(module: nn.Module) -> bool:
    """Say whether every weight is a finite number."""
    return all(bool(torch.isfinite(weights).all()) for weights in module.state_dict().values())
