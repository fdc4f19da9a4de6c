"""Validation during training: scores in physical units on the prepared grid, and pictures to look at.

Fast on purpose. The scores to publish come from `transmodal evaluate`, on the files' own grid.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from transmodal.datasets.cache import PreparedCase
from transmodal.datasets.preparation import Preparation
from transmodal.images.files import atomic_path
from transmodal.methods import Method
from transmodal.metrics.ssim import ssim

HIGHER_IS_BETTER = {"psnr": True, "ssim": True, "mae": False}
SMALLEST_FOR_SSIM = 11  # pixels a side: the width of Wang's window


def validate(
    method: Method,
    cases: Sequence[PreparedCase],
    preparation: Preparation,
    targets: Sequence[str],
    device: torch.device,
    *,
    minimum_foreground: float,
) -> dict[str, float]:
    """Return mean scores over cases (and targets).

    psnr (dB) of the squared error over all samples of a case, ssim the mean over its samples (absent for images under
    11 pixels a side), mae in the target's unit. The range of psnr and ssim is the target's intensity map's.
    """
    scores: dict[str, list[float]] = {name: [] for name in HIGHER_IS_BETTER}
    for case in cases:
        arrays = case.arrays()
        samples = np.flatnonzero(case.foreground >= minimum_foreground)
        if not len(samples):
            continue
        of_targets: dict[str, list[dict[str, float]]] = {target: [] for target in targets}
        for sample in samples:
            outputs = translate_sample(method, arrays, int(sample), device)
            for target in targets:
                of_targets[target].append(sample_errors(outputs[target], arrays[target][sample]))
        for target in targets:
            units = preparation.modalities[target].intensity
            errors = of_targets[target]
            scores["psnr"].append(psnr_of(float(np.mean([error["mse"] for error in errors]))))
            scores["mae"].append(float(np.mean([error["mae"] for error in errors])) * (units.high - units.low) / 2)
            if all("ssim" in error for error in errors):
                scores["ssim"].append(float(np.mean([error["ssim"] for error in errors])))
    return {name: float(np.mean(values)) for name, values in scores.items() if values}


def sample_errors(predicted: npt.NDArray[np.float32], truth: npt.NDArray[np.float32]) -> dict[str, float]:
    """Return mse and mae, and ssim where the sample is large enough, of one sample (C, *spatial) in [-1, 1]."""
    error = predicted.astype(np.float64) - truth
    errors = {"mse": float(np.mean(error**2)), "mae": float(np.mean(np.abs(error)))}
    if min(truth.shape[1:]) >= SMALLEST_FOR_SSIM:
        channels = [
            ssim(mine + 1.0, true + 1.0, data_range=2.0, spatial_dims=truth.ndim - 1)
            for mine, true in zip(predicted, truth, strict=True)
        ]
        errors["ssim"] = float(np.mean(channels))
    return errors


def psnr_of(mean_squared_error: float) -> float:
    """Return the PSNR in dB of an error on [-1, 1]; 126 dB, that of float32 itself, at most."""
    return float(10 * np.log10(4.0 / max(mean_squared_error, 1e-12)))


def translate_sample(
    method: Method, arrays: dict[str, npt.NDArray[np.float32]], sample: int, device: torch.device
) -> dict[str, npt.NDArray[np.float32]]:
    """Translate one prepared sample; returns target → (C, *spatial) in [-1, 1]."""
    batch = {name: torch.from_numpy(np.array(array[sample]))[None].to(device) for name, array in arrays.items()}
    was_training = method.training
    method.eval()
    with torch.inference_mode():
        outputs = method.translate(batch)
    method.train(was_training)
    return {target: output[0].float().cpu().numpy() for target, output in outputs.items()}


def draw_samples(
    method: Method,
    cases: Sequence[PreparedCase],
    preparation: Preparation,
    inputs: Sequence[str],
    targets: Sequence[str],
    folder: Path,
    label: str,
    device: torch.device,
    *,
    number: int = 4,
) -> None:
    """Write pictures of input, prediction, truth and error of a few cases, spread over the list."""
    from transmodal.reporting.figures import case_figure

    chosen = [cases[index] for index in np.linspace(0, len(cases) - 1, min(number, len(cases))).astype(int)]
    for prepared in chosen:
        arrays = prepared.arrays()
        sample = int(np.argmax(prepared.foreground)) if len(prepared.foreground) > 1 else 0
        outputs = translate_sample(method, arrays, sample, device)
        for target in targets:
            units = preparation.modalities[target].intensity.inverse
            truth, predicted = arrays[target][sample], outputs[target]
            errors = sample_errors(predicted, truth)
            scores = {"mae": errors["mae"] * (units.high - units.low) / 2, "psnr": psnr_of(errors["mse"])}
            scores |= {"ssim": errors["ssim"]} if "ssim" in errors else {}
            picture = case_figure(
                _to_picture(arrays[inputs[0]][sample]),
                _to_picture(units.invert(predicted)),
                _to_picture(units.invert(truth)),
                value_range=(units.low, units.high),
                title=f"{prepared.case.id}, {label}",
                scores=scores,
                unit=preparation.modalities[target].quantity,
                names=(inputs[0], f"{target}, synthetic", target),
            )
            suffix = f"_{target}" if len(targets) > 1 else ""
            with atomic_path(folder / f"{label.replace(' ', '_')}_{prepared.case.id}{suffix}.png") as temporary:
                temporary.write_bytes(picture)


def _to_picture(values: npt.NDArray[np.floating]) -> npt.NDArray[np.floating]:
    """(C, *spatial) → what a figure shows: (row, column) grey or (row, column, 3) in 0..1; volumes by their middle."""
    if values.ndim == 4:
        values = values[..., values.shape[-1] // 2]
    if values.shape[0] in (3, 4):
        return np.clip((np.moveaxis(values[:3], 0, -1) + 1) / 2, 0, 1)
    return values[0]
