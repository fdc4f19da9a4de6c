"""What a segmentation must beat: label maps that need no learning worth the name.

- *intensity interval*: of each class every pixel whose input value lies in one interval, that with the best Dice over
  all training pixels: a threshold as one would set by hand, at its best;
- *most frequent label*: what most training label maps have at that place of the field, the same for every input;
- *empty map*: nothing, which in data with few lesions is hard to beat by pixels and useless.

All are fitted on training subjects only and stream through the images: none is kept.
"""

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from transmodal.datasets.label_classes import LabelClasses
from transmodal.datasets.labels import require_label_map
from transmodal.errors import UserError
from transmodal.evaluation.baselines import Baseline, orientations_of, oriented_like, resized, turned
from transmodal.images import Image
from transmodal.images.reorientation import label_map_onto
from transmodal.reporting.display import luminance

BINS = 512


class SegmentationBaselines:
    """The baselines of one run: `add` the training pairs, then `predict`."""

    def __init__(self, classes: LabelClasses, source_range: tuple[float, float]) -> None:
        """Begin.

        Args:
            classes: of the target.
            source_range: the input's values between which intervals are looked for, those beyond count at its ends.
        """
        self.classes, self.range = classes, source_range
        self.counts: npt.NDArray[np.float64] = np.zeros((1 + len(classes.names), BINS))  # all pixels, then each class
        self.shares: npt.NDArray[np.float32] | None = None  # (classes, *turned shape), summed over pairs
        self.pairs = 0

    def add(self, given: Image, target: Image) -> None:
        """Take in a training pair.

        Raises:
            UserError: the target is no label map, or they lie on different grids.
        """
        require_label_map(target)
        target = label_map_onto(target, given)
        masks = self.classes.masks_of(target.pixels)
        bins = self._bins(given)
        self.counts[0] += np.bincount(bins.ravel(), minlength=BINS)
        for number, mask in enumerate(masks, 1):
            self.counts[number] += np.bincount(bins[mask], minlength=BINS)
        forth, _ = orientations_of(target)
        where = [turned(mask.astype(np.float32), forth) for mask in masks]
        if self.shares is None:
            self.shares = np.zeros((len(masks), *where[0].shape), np.float32)
        for total, mask in zip(self.shares, where, strict=True):
            total += resized(mask, total.shape)
        self.pairs += 1

    def intervals(self) -> list[tuple[float, float]]:
        """Return the interval of each class, in the input's unit."""
        low, high = self.range
        edges = np.linspace(low, high, BINS + 1)
        return [(float(edges[first]), float(edges[last + 1])) for first, last in map(self._best, self.counts[1:])]

    def predict(self, given: Image, truth: Image, region: Any = None) -> dict[Baseline, Image]:
        """Return each baseline's label map on the truth's grid; of the truth only the grid is looked at."""
        bins = self._bins(oriented_like(given, truth))
        inside = [(bins >= first) & (bins <= last) for first, last in map(self._best, self.counts[1:])]
        forth, back = orientations_of(truth)
        shape = turned(np.broadcast_to(np.uint8(0), truth.shape), forth).shape
        made: dict[Baseline, Any] = {"intensity interval": np.stack(inside)}
        if self.shares is not None:
            placed = [turned(resized(share / self.pairs, shape), back) for share in self.shares]
            made["most frequent label"] = self.classes.decide(np.stack(placed))
        made["empty map"] = np.zeros((len(self.classes.names), *truth.shape), bool)
        return {name: replace(truth, pixels=self.classes.paint(masks)) for name, masks in made.items()}

    def _bins(self, given: Image) -> npt.NDArray[np.intp]:
        grey = luminance(given.pixels) if given.channels else given.pixels.astype(np.float32)
        low, high = self.range
        return np.clip((grey - low) * (BINS / (high - low)), 0, BINS - 1).astype(np.intp)

    def _best(self, own: npt.NDArray[np.float64]) -> tuple[int, int]:
        """Return first and last bin of the interval with the best Dice over all training pixels."""
        sums, everything = np.cumsum(np.r_[0, own]), np.cumsum(np.r_[0, self.counts[0]])
        overlap = sums[None, 1:] - sums[:-1, None]  # [first, last]
        found = everything[None, 1:] - everything[:-1, None]
        with np.errstate(invalid="ignore", divide="ignore"):
            dice = np.where(found > 0, 2 * overlap / (found + own.sum()), 0.0)
        first, last = np.unravel_index(int(np.triu(dice).argmax()), dice.shape)
        return int(first), int(last)


def fit_segmentation_baselines(
    training_pairs: Iterable[tuple[Image, Image]],
    classes: LabelClasses,
    source_range: tuple[float, float],
    on_bad: Callable[[UserError], None],
) -> SegmentationBaselines | None:
    """Fit all baselines in one pass over the training pairs; None where there is no usable one.

    Args:
        training_pairs: (input, label map) of training subjects; read once, in order, none kept.
        classes: of the label maps.
        source_range: of the input's values.
        on_bad: called with what is wrong with the last pair, which is then left out.
    """
    fitted = SegmentationBaselines(classes, source_range)
    for given, target in training_pairs:
        try:
            fitted.add(given, target)
        except UserError as error:
            on_bad(error)
    return fitted if fitted.pairs else None
