"""Tensors of a published network from a file that the user names, read without executing anything from it.

Nothing is downloaded and no code travels with weights: a file is ``.safetensors``, or what ``torch.save`` wrote of
tensors alone. Every refusal is one line that says what to get instead.
"""

import hashlib
import math
import warnings
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor


def read_weights(path: str | Path, *, what: str, remedy: str) -> dict[str, Tensor]:
    """Read a state dict, on the CPU.

    Args:
        path: a ``.safetensors`` file or a PyTorch file.
        what: the network, for the refusal: "Inception weights".
        remedy: what to get instead, for the refusal.

    Raises:
        ValueError: the file is missing, unreadable, no table of tensors, or holds NaN or infinite weights.
    """
    path = Path(path)
    if not path.is_file():
        raise ValueError(f"{what}: {path} is not a file; {remedy}")
    try:
        state = load_file(path) if path.suffix == ".safetensors" else _tensors_alone(path)
    except (SafetensorError, OSError, RuntimeError, EOFError, KeyError, ValueError, TypeError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ValueError(f"{what}: {path} cannot be read ({reason[:120]}); {remedy}") from None
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise ValueError(f"{what}: {path} is not a table of tensors; {remedy}")
    if any(not math.isfinite(float(value.float().sum())) for value in state.values()):
        raise ValueError(f"{what}: {path} holds NaN or infinite weights; {remedy}")
    return {str(name): value for name, value in state.items()}


def refuse_other_names(
    expected: dict[str, torch.Size], state: dict[str, Tensor], *, path: str | Path, what: str, remedy: str
) -> None:
    """Refuse a state dict whose names or shapes are not the expected ones.

    Raises:
        ValueError: a tensor lacks, is there besides, or has another shape.
    """
    missing = [name for name in expected if name not in state]
    unknown = [name for name in state if name not in expected]
    wrong = [name for name in expected if name in state and state[name].shape != expected[name]]
    for names, how in ((missing, "lacks"), (unknown, "has besides"), (wrong, "has another shape of")):
        if names:
            raise ValueError(f"{what}: {path} {how} {names[0]} (and {len(names) - 1} more); {remedy}")


def sha256_of(path: str | Path) -> str:
    """Give the hexadecimal digest of a file."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _tensors_alone(path: Path) -> Any:
    from pickle import UnpicklingError  # only the name of the error; weights_only refuses everything but tensors

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of an odd pickle; the one line of the refusal says enough
            return torch.load(path, map_location="cpu", weights_only=True)
    except UnpicklingError:
        raise ValueError("not a file of tensors alone") from None
