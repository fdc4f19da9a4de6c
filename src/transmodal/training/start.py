"""Start a training from the weights of another one (transfer learning)."""

from pathlib import Path

import torch
from torch import Tensor

from transmodal.datasets.manifest import Manifest
from transmodal.errors import UserError
from transmodal.methods import Method
from transmodal.training.checkpoint import load_checkpoint
from transmodal.training.run import Run
from transmodal.translation.model_folder import read_weights


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


def refuse_known_subjects(source: str | Path, manifest: Manifest) -> None:
    """Refuse weights that were trained on a subject which shall validate or test the new training.

    Args:
        source: what `train.start_from` names. Of a run, or the translator in it, the manifest tells whom it was trained
            on, and the recipe what it started from itself; other translators tell neither.
        manifest: of the new training, with its split column.

    Raises:
        UserError: a validation or test subject has the name of one that was trained on.
    """
    held_back = {case.subject: case.split for case in manifest.cases() if case.split in ("validation", "test")}
    for run in _earlier_runs(Path(source)):
        known = {case.subject for case in run.manifest.cases() if case.split == "train"} & held_back.keys()
        if known:
            first = min(known)
            more = f" and {len(known) - 1} more" if len(known) > 1 else ""
            raise UserError(
                f"train.start_from: {run.folder} was trained on {first} ({held_back[first]} here){more}, whose scores "
                f"would be too good; give --data the split of {run.folder / 'manifest.csv'}, or, where they are other "
                "subjects of the same name, other names"
            )


def subjects_learnt_from(source: str | Path) -> dict[str, str]:
    """Return the subjects that trained a run or chose its best checkpoint, or trained what it started from.

    Args:
        source: as for `refuse_known_subjects`.

    Returns:
        Subject → "train" or "validation", with the run's folder where it is an earlier one.
    """
    found: dict[str, str] = {}
    for number, run in enumerate(_earlier_runs(Path(source))):
        for case in run.manifest.cases():
            if case.split == "train" or (case.split == "validation" and not number):
                found.setdefault(case.subject, f"{case.split} in {run.folder}" if number else str(case.split))
    return found


def _earlier_runs(source: Path) -> list[Run]:
    """Return the run that weights come from, then the one that it started from, and so on."""
    found: dict[Path, Run] = {}
    while True:
        folder = source if (source / "recipe.yaml").is_file() else source.parent
        if folder.resolve() in found or not (folder / "recipe.yaml").is_file():
            return list(found.values())
        run = Run.open(folder)
        found[folder.resolve()] = run
        if run.recipe.train.start_from is None:
            return list(found.values())
        source = Path(run.recipe.train.start_from)
