"""Validation of a segmentation during training: Dice of its classes on the prepared grid, and pictures to look at.

Fast on purpose, and without the tidying that use does. The scores to publish come from `transmodal evaluate`, on the
files' own grid.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from transmodal.datasets.batch_keys import DEPTH, LABELS, REGION
from transmodal.datasets.cache import PreparedCase
from transmodal.datasets.label_classes import LabelClasses, Masks
from transmodal.datasets.preparation import Preparation
from transmodal.images.files import atomic_path
from transmodal.methods import Method, Ports
from transmodal.metrics.overlap import dice
from transmodal.training.validation import translate_samples
from transmodal.translation.volume_predictor import VolumePredictor

LABELLED_SHARE = 0.75  # of the slices that are looked at, where there are so many


def score_names(classes: LabelClasses) -> tuple[str, ...]:
    """Return the names of the scores: dice, the mean over classes, and where there are several that of each."""
    return ("dice", *(f"dice_{name}" for name in classes.names if len(classes.names) > 1))


def validate_segmentation(
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
    """Return the Dice of each class, mean over the cases that have or are given it, and the mean over classes.

    Arguments as of `validation.validate`; of many slices three quarters of those that are taken show a class.
    """
    (target,) = ports.targets
    classes = preparation.classes_of(target)
    found: dict[str, list[float]] = {name: [] for name in classes.names}
    for case in cases:
        arrays = case.arrays()
        samples = _chosen(arrays[LABELS], np.flatnonzero(case.foreground >= minimum_foreground), slices)
        if not len(samples):
            continue
        predicted = _predicted(method, ports, arrays, samples, device, predict_volume, classes)
        for name, made, true in zip(classes.names, predicted, true_masks(arrays, samples, classes), strict=True):
            value = dice(made.reshape(1, -1), true.reshape(1, -1))
            if np.isfinite(value):
                found[name].append(value)
    means = {f"dice_{name}": float(np.mean(values)) for name, values in found.items() if values}
    if not means:
        return {}
    return {"dice": float(np.mean(list(means.values()))), **(means if len(found) > 1 else {})}


def draw_segmentations(
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
    """Write pictures of a few cases, spread over the list, with true and predicted contours."""
    from transmodal.reporting.contours import ContourPanel, contour_figure
    from transmodal.reporting.display import Panel

    (target,) = ports.targets
    classes = preparation.classes_of(target)
    for place in np.linspace(0, len(cases) - 1, min(number, len(cases))).astype(int):
        case, arrays = cases[place], cases[place].arrays()
        sample = _telling(arrays[LABELS], classes, int(np.argmax(case.foreground)))
        source = next(name for name in ports.inputs if name in arrays)
        image = arrays[source][sample, 0]
        predicted = _predicted(method, ports, arrays, np.array([sample]), device, predict_volume, classes)[:, 0]
        true = true_masks(arrays, np.array([sample]), classes)[:, 0]
        if image.ndim == 3:
            depth = int(true.any(0).sum((0, 1)).argmax()) if true.any() else image.shape[-1] // 2
            # From (i, j) of a volume towards right and anterior to rows from the front and columns from the left.
            image, predicted, true = (
                np.swapaxes(each[..., depth], -1, -2)[..., ::-1, ::-1] for each in (image, predicted, true)
            )
        units = preparation.modalities[source].intensity.inverse
        spacing = case.spacing or (1.0, 1.0)
        steps = spacing[:2] if len(spacing) == 2 else spacing[1::-1]
        panel = Panel(
            units.invert(np.asarray(image, np.float32)).astype(np.float32),
            (image.shape[0] * steps[0], image.shape[1] * steps[1]),
            "mm",
        )
        values = {name: dice(made, own) for name, made, own in zip(classes.names, predicted, true, strict=True)}
        picture = contour_figure(
            [ContourPanel(panel, dict(zip(classes.names, true, strict=True)),
                          dict(zip(classes.names, predicted, strict=True)), source)],
            colours={each.name: each.colour for each in classes.classes},
            window=(units.low, units.high),
            title=f"{case.case.id}, {label}",
            scores={f"Dice of {name}": value for name, value in values.items() if np.isfinite(value)},
        )  # fmt: skip
        with atomic_path(folder / f"{label.replace(' ', '_')}_{case.case.id}.png") as temporary:
            temporary.write_bytes(picture)


def label_frequencies(cases: Sequence[PreparedCase], numbers: int, minimum_foreground: float) -> tuple[float, ...]:
    """Return the share of the training pixels that have each prepared number, (numbers,)."""
    counts = np.zeros(numbers)
    for case in cases:
        for sample in np.flatnonzero(case.foreground >= minimum_foreground):
            counts += np.bincount(np.asarray(case.arrays()[LABELS][sample]).ravel(), minlength=numbers)
    return tuple(float(share) for share in counts / max(1.0, counts.sum()))


def true_masks(arrays: dict[str, npt.NDArray[Any]], samples: npt.NDArray[np.intp], classes: LabelClasses) -> Masks:
    """Return where each class is in samples of a prepared case: (classes, samples, *spatial)."""
    return classes.membership()[:, np.asarray(arrays[LABELS])[samples, 0]]


def _predicted(
    method: Method,
    ports: Ports,
    arrays: dict[str, npt.NDArray[Any]],
    samples: npt.NDArray[np.intp],
    device: torch.device,
    predict_volume: VolumePredictor | None,
    classes: LabelClasses,
) -> Masks:
    given = {name: arrays[name] for name in (*ports.inputs, REGION, DEPTH) if name in arrays}
    (made,) = translate_samples(method, ports, given, samples, device, predict_volume).values()
    return classes.decide(np.moveaxis(made, 1, 0))


def _chosen(labels: npt.NDArray[Any], samples: npt.NDArray[np.intp], most: int | None) -> npt.NDArray[np.intp]:
    """Return the samples to look at: all, or so many, evenly spaced among those with and without a class."""
    if most is None or len(samples) <= most:
        return samples
    labelled = np.array([bool(np.asarray(labels[sample]).any()) for sample in samples])
    wanted = min(int(labelled.sum()), max(round(LABELLED_SHARE * most), most - int((~labelled).sum())))
    with_class, without = samples[labelled], samples[~labelled]
    parts = [_evenly(with_class, wanted), _evenly(without, most - wanted)]
    return np.sort(np.concatenate(parts))


def _telling(labels: npt.NDArray[Any], classes: LabelClasses, otherwise: int) -> int:
    """Return the sample that shows most of the last class that there is."""
    for members in classes.membership()[::-1]:
        areas = members[np.asarray(labels)[:, 0]].reshape(len(labels), -1).sum(1)
        if areas.any():
            return int(areas.argmax())
    return otherwise


def _evenly(samples: npt.NDArray[np.intp], number: int) -> npt.NDArray[np.intp]:
    return samples[np.linspace(0, len(samples) - 1, number).round().astype(int)] if number else samples[:0]
