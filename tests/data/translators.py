"""Translators without training: fresh weights from a seed, which is all that reading, writing and naming need."""

from pathlib import Path
from typing import Any

import torch

import transmodal
from transmodal.datasets.preparation import ModalityPreparation, Preparation
from transmodal.datasets.sample_grid import GridSettings, SliceSettings
from transmodal.images.intensity import FittedMap
from transmodal.methods.method import Ports
from transmodal.methods.pix2pix import Pix2Pix, Pix2PixSettings
from transmodal.translation.card import Card, TrainingSummary
from transmodal.translation.model_folder import save_translator

COLOURS = ("red", "green", "blue")


def modality(dtype: str, high: float, *, channels: tuple[str, ...] = (), file_format: str) -> ModalityPreparation:
    """Describe a modality of the range 0 to `high`."""
    own = dtype if dtype.startswith("u") else None
    fitted = FittedMap.model_validate({"kind": "one-range", "low": 0, "high": high, "dtype": own, "origin": "a test"})
    return ModalityPreparation(
        channels=channels, intensity=fitted, dtype=dtype, quantity="intensity", format=file_format
    )


PHOTO = {"photo": modality("uint8", 255, channels=COLOURS, file_format="png")}
XRAY = {"xray": modality("uint16", 65535, file_format="png")}
T1, T2 = {"T1": modality("int16", 1000, file_format="nifti")}, {"T2": modality("int16", 2000, file_format="nifti")}


def make_translator(
    folder: Path,
    inputs: dict[str, ModalityPreparation],
    targets: dict[str, ModalityPreparation],
    *,
    spatial_dims: int = 2,
    slices: SliceSettings | None = None,
    seed: int = 0,
    generator: dict[str, Any] | None = None,
    **grid: object,
) -> Path:
    """Write a translator with random weights and return its folder."""
    settings = Pix2PixSettings.model_validate(
        {"generator": {"filters": 4, "downsamplings": 2, **(generator or {})}, "discriminator": {"filters": 2}}
    )
    channels = {name: part.channel_count for name, part in (inputs | targets).items()}
    ports = Ports({name: channels[name] for name in inputs}, {name: channels[name] for name in targets}, spatial_dims)
    torch.manual_seed(seed)
    method = Pix2Pix(settings, ports)
    for weights in method.generator.parameters():
        weights.data.mul_(5)  # so that outputs are not all in the middle of the range
    summary = TrainingSummary(run="run", recipe="test", seed=seed, epochs=0, validation={}, subjects={}, cases={})
    card = Card(
        transmodal=transmodal.__version__,
        name="test",
        intended_use="Tests.",
        method="pix2pix",
        settings=settings.model_dump(mode="json"),
        inputs=ports.inputs,
        targets=ports.targets,
        shape=(32,) * spatial_dims,
        preparation=Preparation(
            spatial_dims=spatial_dims,
            grid=GridSettings.model_validate(grid),
            slices=slices,
            modalities=inputs | targets,
        ),
        training=summary,
    )
    return save_translator(method, card, folder)
