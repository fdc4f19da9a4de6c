"""Start a training from the weights of another one (transfer learning)."""

from pathlib import Path

import torch
from torch import Tensor

from transmodal.errors import UserError
from transmodal.methods import Method
from transmodal.training.checkpoint import load_checkpoint
from transmodal.translation.translator import read_weights


def start_from(method: Method, source: str | Path) -> list[str]:
    """Take over every weight of another run or translator that fits by name and shape.

    Args:
        method: whose weights are replaced in place.
        source: a run (its best, else its last checkpoint: discriminators too) or a translator's folder.

    Returns:
        The names of the weights that kept their random values.

    Raises:
        UserError: no run or translator there, or none of its weights fits.
    """
    source = Path(source)
    checkpoints = [source / "checkpoints" / name for name in ("best.ckpt", "last.ckpt")]
    found = next((path for path in checkpoints if path.is_file()), None)
    weights: dict[str, Tensor] = load_checkpoint(found)["modules"] if found is not None else read_weights(source)
    own = method.state_dict()
    fitting = {name: value for name, value in weights.items() if name in own and own[name].shape == value.shape}
    learnt = [name for name in fitting if fitting[name].is_floating_point() and fitting[name].dim() > 1]
    if not learnt:
        raise UserError(f"train.start_from: no weight of {source} fits this network; take the same method and sizes")
    with torch.no_grad():
        for name, value in fitting.items():
            own[name].copy_(value)
    return [name for name in own if name not in fitting]
