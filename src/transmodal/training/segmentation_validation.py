"""Validation of a segmentation during training: Dice of its classes on the prepared grid, and pictures to look at.

Without the tidying that use does.
"""

from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from transmodal.datasets.batch_keys import LABELS
from transmodal.datasets.cache import PreparedCase
from transmodal.datasets.label_classes import LabelClasses, Masks
from transmodal.metrics.overlap import dice
from transmodal.reporting.display import Panel
from transmodal.training.validation import Arrays, Validator, evenly

LABELLED_SHARE = 0.75  # of the slices that are looked at, where there are so many


class SegmentationValidator(Validator):
    """Scores and pictures of a label map.

    The Dice of each class, mean over the cases that have or are given it, and the mean over classes. Of many slices
    three quarters of those that are taken show a class.
    """

    @cached_property
    def target(self) -> str:
        """The one target."""
        (target,) = self.ports.targets
        return target

    @cached_property
    def classes(self) -> LabelClasses:
        """What the values of the target mean."""
        return self.preparation.classes_of(self.target)

    @property
    def score_names(self) -> tuple[str, ...]:
        """dice, the mean over classes, and where there are several that of each."""
        return ("dice", *(f"dice_{name}" for name in self.classes.names if len(self.classes.names) > 1))

    def case_scores(self, arrays: Arrays, samples: npt.NDArray[np.intp]) -> Iterator[tuple[str, float]]:
        columns = self.score_names[-len(self.classes.names) :]
        masks = self._predicted(arrays, samples), true_masks(arrays, samples, self.classes)
        for column, made, true in zip(columns, *masks, strict=True):
            value = dice(made.reshape(1, -1), true.reshape(1, -1))
            if np.isfinite(value):
                yield column, value

    def together(self, means: dict[str, float]) -> dict[str, float]:
        return {"dice": float(np.mean(list(means.values()))), **means} if means else {}

    def chosen(self, arrays: Arrays, samples: npt.NDArray[np.intp], number: int) -> npt.NDArray[np.intp]:
        return mostly_labelled(arrays[LABELS], samples, number)

    def pictures(self, case: PreparedCase, label: str) -> Iterator[tuple[str, bytes]]:
        """Yield true and predicted contours of the sample that tells most."""
        from transmodal.reporting.contours import ContourPanel, contour_figure

        arrays, classes = case.arrays(), self.classes
        sample = np.array([_telling(arrays[LABELS], classes, int(np.argmax(case.foreground)))])
        source = next(name for name in self.ports.inputs if name in arrays)
        image = arrays[source][sample[0], 0]
        predicted, true = self._predicted(arrays, sample)[:, 0], true_masks(arrays, sample, classes)[:, 0]
        if image.ndim == 3:
            depth = int(true.any(0).sum((0, 1)).argmax()) if true.any() else image.shape[-1] // 2
            # From (i, j) of a volume towards right and anterior to rows from the front and columns from the left.
            image, predicted, true = (
                np.swapaxes(each[..., depth], -1, -2)[..., ::-1, ::-1] for each in (image, predicted, true)
            )
        units = self.preparation.modalities[source].intensity.inverse
        values = {name: dice(made, own) for name, made, own in zip(classes.names, predicted, true, strict=True)}
        picture = contour_figure(
            [ContourPanel(_panel(units.invert(np.asarray(image, np.float32)), case.spacing or (1.0, 1.0)),
                          dict(zip(classes.names, true, strict=True)),
                          dict(zip(classes.names, predicted, strict=True)), source)],
            colours={each.name: each.colour for each in classes.classes},
            window=(units.low, units.high),
            title=f"{case.case.id}, {label}",
            scores={f"Dice of {name}": value for name, value in values.items() if np.isfinite(value)},
        )  # fmt: skip
        yield self.target, picture

    def _predicted(self, arrays: Arrays, samples: npt.NDArray[np.intp]) -> Masks:
        """Return where a method sees each class in samples of a prepared case: (classes, samples, *spatial)."""
        (made,) = self.translate(self.inputs(arrays), samples).values()
        return self.classes.decide(np.moveaxis(made, 1, 0))


def label_frequencies(cases: Sequence[PreparedCase], numbers: int, minimum_foreground: float) -> tuple[float, ...]:
    """Return the share of the training pixels that have each prepared number, (numbers,)."""
    counts = np.zeros(numbers)
    for case in cases:
        for sample in np.flatnonzero(case.foreground >= minimum_foreground):
            counts += np.bincount(np.asarray(case.arrays()[LABELS][sample]).ravel(), minlength=numbers)
    return tuple(float(share) for share in counts / max(1.0, counts.sum()))


def mostly_labelled(labels: npt.NDArray[Any], samples: npt.NDArray[np.intp], number: int) -> npt.NDArray[np.intp]:
    """Return so many of the samples (which are more), evenly spaced among those with and without a class.

    Args:
        labels: (samples, 1, *spatial) of a prepared case.
        samples: to choose from.
        number: of samples to choose.
    """
    labelled = np.array([bool(np.asarray(labels[sample]).any()) for sample in samples])
    wanted = min(int(labelled.sum()), max(round(LABELLED_SHARE * number), number - int((~labelled).sum())))
    return np.sort(np.concatenate([evenly(samples[labelled], wanted), evenly(samples[~labelled], number - wanted)]))


def true_masks(arrays: Arrays, samples: npt.NDArray[np.intp], classes: LabelClasses) -> Masks:
    """Return where each class is in samples of a prepared case: (classes, samples, *spatial)."""
    return classes.membership()[:, np.asarray(arrays[LABELS])[samples, 0]]


def _telling(labels: npt.NDArray[Any], classes: LabelClasses, otherwise: int) -> int:
    """Return the sample that shows most of the last class that there is."""
    for members in classes.membership()[::-1]:
        areas = members[np.asarray(labels)[:, 0]].reshape(len(labels), -1).sum(1)
        if areas.any():
            return int(areas.argmax())
    return otherwise


def _panel(image: npt.NDArray[np.floating], spacing: Sequence[float]) -> Panel:
    """Return a slice (row, column) in the size that it has in mm; spacing as of a sample."""
    rows, columns = spacing if len(spacing) == 2 else spacing[1::-1]
    return Panel(image.astype(np.float32), (image.shape[0] * rows, image.shape[1] * columns), "mm")
