"""A translator from any of T1, T2 and FLAIR to any other; with random weights, what it sees shows in what it makes."""

from pathlib import Path

import torch

from tests.data.translators import T1, T2, make_translator
from transmodal.datasets.regions import RegionSettings
from transmodal.datasets.sample_grid import SliceSettings
from transmodal.methods.pix2pix import Pix2Pix, Pix2PixSettings
from transmodal.translation.model_folder import load_translator, save_translator


def make_any_to_any(folder: Path, *, region: bool = False) -> Path:
    """Write the translator and return its folder; with a region if asked."""
    all_of_them = T1 | T2 | {"FLAIR": T2["T2"]}
    card = load_translator(make_translator(folder, all_of_them, all_of_them, slices=SliceSettings())).card
    preparation = card.preparation
    if region:
        preparation = preparation.model_copy(update={"region": RegionSettings(modality="mask")})
    card = card.model_copy(update={"missing_inputs": True, "preparation": preparation})
    torch.manual_seed(0)
    method = Pix2Pix(Pix2PixSettings.model_validate(card.settings), card.ports)
    for weights in method.generator.parameters():
        weights.data.mul_(5)
    return save_translator(method, card, folder)
