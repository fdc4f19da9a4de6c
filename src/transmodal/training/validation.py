"""Validation during training: scores in physical units on the prepared grid, and pictures to look at.

Fast on purpose. The scores to publish come from `transmodal evaluate`, on the files' own grid.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from transmodal.datasets.batch_keys import DEPTH, REGION
from transmodal.datasets.cache import PreparedCase
from transmodal.datasets.preparation import Preparation
from transmodal.images.files import atomic_path
from transmodal.methods import Method, Ports
from transmodal.metrics.ssim import ssim
from transmodal.translation.forward import Inputs, translate_stacks
from transmodal.translation.volume_predictor import VolumePredictor

HIGHER_IS_BETTER = {"psnr": True, "ssim": True, "mae": False, "dice": True}
IMAGE_SCORES = ("psnr", "ssim", "mae")
SMALLEST_FOR_SSIM = 11  # pixels a side: the width of Wang's window


def validate(
    method: Method,
    ports: Ports,
    cases: Sequence[PreparedCase],
    preparation: Preparation,
    device: torch.device,
    *,
    minimum_foreground: float,
    slices: int | None = None,
    predict_volume: VolumePredictor | None = None,
) -> dict[str, float]:
    """Return mean scores over cases (and targets).

    psnr (dB) of the squared error over all samples of a case, ssim the mean over its samples (absent for images under
    11 pixels a side), mae in the target's unit. The range of psnr and ssim is the target's intensity map's. With a
    region, errors count inside it only. Where inputs may be missing, each target is made from all other modalities.

    Args:
        method: on `device`.
        ports: of the method.
        cases: prepared.
        preparation: fitted.
        device: where the method lies.
        minimum_foreground: slices with less are left out.
        slices: at most so many of each case, evenly spaced; None takes all.
        predict_volume: takes volumes through the method within the memory there is; None takes them whole.
    """
    scores: dict[str, list[float]] = {name: [] for name in IMAGE_SCORES}
    for case in cases:
        arrays = case.arrays()
        samples = np.flatnonzero(case.foreground >= minimum_foreground)
        if not len(samples):
            continue
        if slices is not None and len(samples) > slices:
            samples = samples[np.linspace(0, len(samples) - 1, slices).round().astype(int)]
        for targets, given in tasks(ports, arrays):
            outputs = translate_samples(method, ports, given, samples, device, predict_volume)
            for target in targets:
                units = preparation.modalities[target].intensity
                region = arrays.get(REGION)
                errors = [
                    sample_errors(output, arrays[target][sample], None if region is None else region[sample])
                    for sample, output in zip(samples, outputs[target], strict=True)
                ]
                scores["psnr"].append(psnr_of(float(np.mean([error["mse"] for error in errors]))))
                scores["mae"].append(float(np.mean([error["mae"] for error in errors])) * (units.high - units.low) / 2)
                if all("ssim" in error for error in errors):
                    scores["ssim"].append(float(np.mean([error["ssim"] for error in errors])))
    return {name: float(np.mean(values)) for name, values in scores.items() if values}


def tasks(ports: Ports, arrays: Mapping[str, npt.NDArray[Any]]) -> list[tuple[list[str], dict[str, npt.NDArray[Any]]]]:
    """Return what is to be made of what: targets, and the input stacks (with the region) that they are made of.

    One task for all targets that are no input; one more for each target that is, from all inputs but itself.
    """
    inputs = {name: arrays[name] for name in (*ports.inputs, REGION, DEPTH) if name in arrays}
    there = [name for name in ports.targets if name in arrays]
    found = []
    pure = [name for name in there if name not in ports.inputs]
    if pure and any(name in inputs for name in ports.inputs):
        found.append((pure, inputs))
    for target in there:
        others = {name: stack for name, stack in inputs.items() if name != target}
        if target in ports.inputs and any(name in others for name in ports.inputs):
            found.append(([target], others))
    return found


def sample_errors(
    predicted: npt.NDArray[np.float32], truth: npt.NDArray[np.float32], region: npt.NDArray[Any] | None = None
) -> dict[str, float]:
    """Return mse and mae, and ssim where the sample is large enough, of one sample (C, *spatial) in [-1, 1].

    Args:
        predicted, truth: the sample.
        region: (1, *spatial), not 0 where errors count; None counts all.
    """
    inside = None if region is None or not region.any() else region[0] != 0
    error = predicted.astype(np.float64) - truth
    counted = error if inside is None else error[:, inside]
    errors = {"mse": float(np.mean(counted**2)), "mae": float(np.mean(np.abs(counted)))}
    if min(truth.shape[1:]) >= SMALLEST_FOR_SSIM:
        channels = [
            ssim(mine + 1.0, true + 1.0, data_range=2.0, spatial_dims=truth.ndim - 1, mask=inside)
            for mine, true in zip(predicted, truth, strict=True)
        ]
        errors["ssim"] = float(np.mean(channels))
    return errors


def psnr_of(mean_squared_error: float) -> float:
    """Return the PSNR in dB of an error on [-1, 1]; 126 dB, that of float32 itself, at most."""
    return float(10 * np.log10(4.0 / max(mean_squared_error, 1e-12)))


def translate_samples(
    method: Method,
    ports: Ports,
    stacks: Mapping[str, npt.NDArray[Any]],
    samples: Sequence[int] | npt.NDArray[np.intp],
    device: torch.device,
    predict_volume: VolumePredictor | None = None,
) -> dict[str, npt.NDArray[np.float32]]:
    """Translate some samples of a prepared case; returns target → (samples, C, *spatial) in [-1, 1]."""
    chosen = [int(sample) for sample in samples]
    return translate_stacks(method, Inputs(stacks, ports), device, samples=chosen, predict_volume=predict_volume)


def draw_samples(
    method: Method,
    ports: Ports,
    cases: Sequence[PreparedCase],
    preparation: Preparation,
    folder: Path,
    label: str,
    device: torch.device,
    *,
    number: int = 4,
    predict_volume: VolumePredictor | None = None,
) -> None:
    """Write pictures of input, prediction, truth and error of a few cases, spread over the list."""
    from transmodal.reporting.figures import case_figure

    chosen = [cases[index] for index in np.linspace(0, len(cases) - 1, min(number, len(cases))).astype(int)]
    for prepared in chosen:
        arrays = prepared.arrays()
        sample = int(np.argmax(prepared.foreground)) if len(prepared.foreground) > 1 else 0
        for targets, given in tasks(ports, arrays):
            outputs = translate_samples(method, ports, given, [sample], device, predict_volume)
            source = next(name for name in ports.inputs if name in given)
            for target in targets:
                units = preparation.modalities[target].intensity.inverse
                truth, predicted = arrays[target][sample], outputs[target][0]
                region = arrays[REGION][sample] if REGION in arrays else None
                errors = sample_errors(predicted, truth, region)
                scores = {"mae": errors["mae"] * (units.high - units.low) / 2, "psnr": psnr_of(errors["mse"])}
                scores |= {"ssim": errors["ssim"]} if "ssim" in errors else {}
                picture = case_figure(
                    _to_picture(given[source][sample]),
                    _to_picture(units.invert(predicted if region is None else np.where(region, predicted, -1.0))),
                    _to_picture(units.invert(truth)),
                    value_range=(units.low, units.high),
                    title=f"{prepared.case.id}, {label}",
                    scores=scores,
                    unit=preparation.modalities[target].quantity,
                    names=(source, f"{target}, synthetic", target),
                )
                suffix = f"_{target}" if len(ports.targets) > 1 else ""
                with atomic_path(folder / f"{label.replace(' ', '_')}_{prepared.case.id}{suffix}.png") as temporary:
                    temporary.write_bytes(picture)


def _to_picture(values: npt.NDArray[np.floating]) -> npt.NDArray[np.floating]:
    """(C, *spatial) → what a figure shows: (row, column) grey or (row, column, 3) in 0..1; volumes by their middle."""
    if values.ndim == 4:
        values = values[..., values.shape[-1] // 2]
    if values.shape[0] in (3, 4):
        return np.clip((np.moveaxis(values[:3], 0, -1) + 1) / 2, 0, 1)
    return values[0]
