"""Checkpoints: everything that a resume needs, tensors and plain values only, loaded without unpickling objects."""

import pickle
from pathlib import Path
from typing import Any

import torch
from torch import nn

from transmodal.errors import UserError
from transmodal.images.files import atomic_path

VERSION = 1


def save_checkpoint(path: Path, content: dict[str, Any]) -> None:
    """Write a checkpoint whole or not at all."""
    with atomic_path(path) as temporary:
        torch.save({"version": VERSION, **content}, temporary)


def load_checkpoint(path: Path) -> dict[str, Any]:
    """Read a checkpoint onto the CPU.

    Raises:
        UserError: it is missing, damaged, of another version, or holds anything but tensors and plain values.
    """
    if not path.is_file():
        raise UserError(f"There is no checkpoint {path}; train without --resume")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (RuntimeError, EOFError, OSError, ValueError, KeyError, pickle.UnpicklingError) as error:
        raise UserError(f"{path} cannot be read ({type(error).__name__}); train again without --resume") from error
    if not isinstance(content, dict) or content.get("version") != VERSION:
        raise UserError(f"{path} was written by another version of transmodal; train again")
    return content


def all_finite(module: nn.Module) -> bool:
    """Say whether every weight is a finite number."""
    return all(bool(torch.isfinite(weights).all()) for weights in module.state_dict().values())
