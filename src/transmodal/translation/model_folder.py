"""A translator as a folder of plain files: weights, card, README; no pickle, and no code of the folder is run."""

import json
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path

import torch
from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from transmodal.errors import UserError
from transmodal.images.files import sha256_of, write_text
from transmodal.methods import METHODS, Method, make_method
from transmodal.translation.card import FORMAT_VERSION, Card
from transmodal.translation.devices import choose_device
from transmodal.translation.translator import Translator

WEIGHTS, CARD = "model.safetensors", "translator.json"


def _is_no_weight(method: Method) -> Iterator[bool]:
    """Say of each buffer whether it stays out of the weights' file."""
    stored = method.state_dict()
    return (name not in stored for name, _ in method.named_buffers())


def save_translator(method: Method, card: Card, folder: str | Path) -> Path:
    """Write a translator's folder whole or not at all: weights, card, README.

    Args:
        method: only the submodules that translation needs are written.
        card: its `weights_sha256` is filled in here.
        folder: replaced when it exists.

    Raises:
        UserError: the folder cannot be written.
    """
    folder = Path(folder)
    beside = folder.parent / f".{uuid.uuid4().hex[:8]}.{folder.name}"
    try:
        beside.mkdir(parents=True)
        weights = {key: value.detach().cpu().contiguous() for key, value in _translation_weights(method).items()}
        save_file(weights, beside / WEIGHTS)
        card = card.model_copy(update={"weights_sha256": sha256_of(beside / WEIGHTS)})
        write_text(beside / CARD, json.dumps(card.model_dump(mode="json"), indent=2, ensure_ascii=False) + "\n")
        write_text(beside / "README.md", describe(card))
        old = folder.parent / f".{uuid.uuid4().hex[:8]}.old"
        if folder.exists():
            folder.rename(old)
        beside.rename(folder)
        shutil.rmtree(old, ignore_errors=True)
    except (OSError, SafetensorError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UserError(f"Cannot write {folder}: {reason}; free space or choose a folder you may write to") from error
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    return folder


def load_translator(folder: str | Path, *, device: str = "cpu") -> Translator:
    """Load a translator, or the translator of a run, from its folder. No code of the folder is run.

    Args:
        folder: of the translator or of the run.
        device: where it works: "cpu", "cuda", "cuda:1", "mps", or "auto", which takes a CUDA GPU where there is one.

    Raises:
        UserError: no translator there, a newer format, an unknown method, weights other than the card's, or a device
            that is not there.
    """
    device = choose_device(device)
    folder = _folder_of(folder)
    card = read_card(folder)
    weights_file = _checked_weights(folder, card)
    try:
        _, settings_class = METHODS[card.method]
        settings = settings_class.model_validate(card.settings)
        with torch.device("meta"):  # no time spent on random weights that are replaced at once
            method = make_method(card.method, settings, card.ports)
        if any(_is_no_weight(method)):  # tables that are no weights have to be made
            method = make_method(card.method, settings, card.ports)
        method.eval()
        missing, unexpected = method.load_state_dict(load_file(weights_file), strict=False, assign=True)
    except (ValidationError, SafetensorError, ValueError, RuntimeError, KeyError) as error:
        raise UserError(f"{folder} cannot be loaded: {error}; was it written by another version?") from error
    needed = [key for key in missing if key.split(".")[0] in method.translation_modules]
    if needed or unexpected:
        raise UserError(f"{weights_file} does not fit the network that its card describes; copy the folder again")
    for name in [name for name, _ in method.named_children() if name not in method.translation_modules]:
        delattr(method, name)
    return Translator(method, card, device)


def read_weights(folder: str | Path) -> dict[str, Tensor]:
    """Return the weights of a translator, or of a run's translator: name → tensor on the CPU.

    Raises:
        UserError: no translator there, or weights other than the card's.
    """
    folder = _folder_of(folder)
    try:
        return load_file(_checked_weights(folder, read_card(folder)))
    except SafetensorError as error:
        raise UserError(f"{folder / WEIGHTS} is damaged: {error}; copy the folder again") from error


def _folder_of(folder: str | Path) -> Path:
    folder = Path(folder)
    if not (folder / CARD).is_file() and (folder / "model" / CARD).is_file():
        folder = folder / "model"
    if not (folder / CARD).is_file():
        raise UserError(f"{folder} holds no translator ({CARD} is missing); give a run or its model folder")
    return folder


def _checked_weights(folder: Path, card: Card) -> Path:
    weights_file = folder / WEIGHTS
    if not weights_file.is_file():
        raise UserError(f"{folder} lacks {WEIGHTS}; copy the whole folder again")
    if sha256_of(weights_file) != card.weights_sha256:
        raise UserError(
            f"The weights in {weights_file} are not the ones the card describes (SHA-256 differs); "
            "copy the folder again from its source"
        )
    return weights_file


def read_card(folder: str | Path) -> Card:
    """Read and check a translator's card.

    Raises:
        UserError: it is no card, or one of a newer format.
    """
    file = Path(folder) / CARD
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        version = content.get("format_version")
        if version != FORMAT_VERSION:
            raise UserError(f"{file} has format {version}, this version reads {FORMAT_VERSION}; update transmodal")
        return Card.model_validate(content)
    except (OSError, UnicodeDecodeError, json.JSONDecodeError, AttributeError, ValidationError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(f"{file} is no translator card: {reason}; copy the folder again") from error


def describe(card: Card) -> str:
    """Return the README of a translator."""
    scores = ", ".join(f"{name} {value:.4g}" for name, value in card.training.validation.items()) or "none"
    maps = "\n".join(
        f"- {name}: {part.intensity.low:g} to {part.intensity.high:g} {part.quantity}, {part.dtype} "
        f"({part.intensity.origin})"
        for name, part in card.preparation.modalities.items()
    )
    return f"""# {card.name}

{card.description}

**{card.notice}** {card.intended_use}

Turns {", ".join(card.inputs)} into {", ".join(card.targets)} with the method {card.method}.

    transmodal translate -m THIS_FOLDER -i IN -o OUT

Trained by transmodal {card.transmodal} on {card.training.subjects.get("train", 0)} subjects
({card.training.cases.get("train", 0)} cases), seed {card.training.seed}, {card.training.epochs:g} epochs.
Data licence: {card.training.data_licence}. Validation: {scores}.

Intensity maps:
{maps}

SHA-256 of {WEIGHTS}: {card.weights_sha256}
"""


def _translation_weights(method: Method) -> dict[str, Tensor]:
    return {key: value for key, value in method.state_dict().items() if key.split(".")[0] in method.translation_modules}
