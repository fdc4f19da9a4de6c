"""Validation of images during training: psnr, ssim and error in physical units, and pictures of what was made."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from transmodal.datasets.batch_keys import REGION
from transmodal.datasets.cache import PreparedCase
from transmodal.metrics.ssim import ssim
from transmodal.training.validation import Arrays, Validator

IMAGE_SCORES = ("psnr", "ssim", "mae")
SMALLEST_FOR_SSIM = 11  # pixels a side: the width of Wang's window


class ImageValidator(Validator):
    """Scores and pictures of images.

    psnr (dB) of the squared error over all samples of a case, ssim the mean over its samples (absent for images under
    11 pixels a side), mae in the target's unit. The range of psnr and ssim is the target's intensity map's. With a
    region, errors count inside it only. Where inputs may be missing, each target is made from all other modalities.
    """

    score_names = IMAGE_SCORES

    def case_scores(self, arrays: Arrays, samples: npt.NDArray[np.intp]) -> Iterator[tuple[str, float]]:
        region = arrays.get(REGION)
        for targets, given in self._tasks(arrays):
            outputs = self.translate(given, samples)
            for target in targets:
                units = self.preparation.modalities[target].intensity
                errors = [
                    sample_errors(output, arrays[target][sample], None if region is None else region[sample])
                    for sample, output in zip(samples, outputs[target], strict=True)
                ]
                yield from _scores(errors, units.high - units.low).items()

    def pictures(self, case: PreparedCase, label: str) -> Iterator[tuple[str, bytes]]:
        """Yield input, prediction, truth and error of the sample with most foreground."""
        from transmodal.reporting.figures import case_figure

        arrays, sample = case.arrays(), int(np.argmax(case.foreground))
        region = arrays[REGION][sample] if REGION in arrays else None
        for targets, given in self._tasks(arrays):
            outputs = self.translate(given, [sample])
            source = next(name for name in self.ports.inputs if name in given)
            for target in targets:
                units = self.preparation.modalities[target].intensity.inverse
                truth, predicted = arrays[target][sample], outputs[target][0]
                picture = case_figure(
                    _to_picture(given[source][sample]),
                    _to_picture(units.invert(predicted if region is None else np.where(region, predicted, -1.0))),
                    _to_picture(units.invert(truth)),
                    value_range=(units.low, units.high),
                    title=f"{case.case.id}, {label}",
                    scores=_scores([sample_errors(predicted, truth, region)], units.high - units.low),
                    unit=self.preparation.modalities[target].quantity,
                    names=(source, f"{target}, synthetic", target),
                )
                yield target, picture

    def _tasks(self, arrays: Arrays) -> list[tuple[list[str], dict[str, npt.NDArray[Any]]]]:
        """Return what is to be made of what: targets, and the input stacks (with the region) that they are made of.

        One task for all targets that are no input; one more for each target that is, from all inputs but itself.
        """
        ports, inputs = self.ports, self.inputs(arrays)
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


def _scores(errors: Sequence[Mapping[str, float]], width: float) -> dict[str, float]:
    """Return the scores of samples by their errors in [-1, 1], a range that is so wide in the target's unit."""

    def mean(name: str) -> float:
        return float(np.mean([error[name] for error in errors]))

    scores = {"mae": mean("mae") * width / 2, "psnr": psnr_of(mean("mse"))}
    return scores | ({"ssim": mean("ssim")} if all("ssim" in error for error in errors) else {})


def _to_picture(values: npt.NDArray[np.floating]) -> npt.NDArray[np.floating]:
    """(C, *spatial) → what a figure shows: (row, column) grey or (row, column, 3) in 0..1; volumes by their middle."""
    if values.ndim == 4:
        values = values[..., values.shape[-1] // 2]
    if values.shape[0] in (3, 4):
        return np.clip((np.moveaxis(values[:3], 0, -1) + 1) / 2, 0, 1)
    return values[0]
