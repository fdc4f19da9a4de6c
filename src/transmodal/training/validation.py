"""Validation during training: scores on the prepared grid, and pictures to look at, whatever a method makes.

Fast on purpose. The scores to publish come from `transmodal evaluate`, on the files' own grid.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
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
from transmodal.translation.forward import Inputs, translate_stacks
from transmodal.translation.volume_predictor import VolumePredictor

Arrays = Mapping[str, npt.NDArray[Any]]
"""Modality (or REGION, DEPTH, LABELS) → (samples, C, *spatial) of a prepared case."""

HIGHER_IS_BETTER = {"psnr": True, "ssim": True, "mae": False, "dice": True}


class Validator(ABC):
    """What validates a method on prepared cases: the loop over cases and samples, for every kind of target.

    To implement: `score_names`, `case_scores` and `pictures`; where they differ, `chosen` and `together`.

    Args:
        method: on `device`.
        ports: of the method.
        preparation: fitted.
        device: where the method lies.
        minimum_foreground: slices with less are not scored.
        slices: at most so many of each case are scored; None takes all.
        predict_volume: takes volumes through the method within the memory there is; None takes them whole.
    """

    def __init__(
        self,
        method: Method,
        ports: Ports,
        preparation: Preparation,
        device: torch.device,
        *,
        minimum_foreground: float,
        slices: int | None = None,
        predict_volume: VolumePredictor | None = None,
    ) -> None:
        self.method, self.ports, self.preparation, self.device = method, ports, preparation, device
        self.minimum_foreground, self.slices, self.predict_volume = minimum_foreground, slices, predict_volume

    @property
    @abstractmethod
    def score_names(self) -> tuple[str, ...]:
        """The names of the scores, in the order of their columns."""

    @abstractmethod
    def case_scores(self, arrays: Arrays, samples: npt.NDArray[np.intp]) -> Iterator[tuple[str, float]]:
        """Yield named scores of one case on some of its samples; a name may come once for each target."""

    @abstractmethod
    def pictures(self, case: PreparedCase, label: str) -> Iterator[tuple[str, bytes]]:
        """Yield a picture (PNG) of one sample of a case for each target, after the target's name."""

    def chosen(self, arrays: Arrays, samples: npt.NDArray[np.intp], number: int) -> npt.NDArray[np.intp]:
        """Return so many of the samples (which are more) to score: evenly spaced."""
        return evenly(samples, number)

    def together(self, means: dict[str, float]) -> dict[str, float]:
        """Return the scores of a validation, of the means over cases."""
        return means

    def scores(self, cases: Sequence[PreparedCase]) -> dict[str, float]:
        """Return mean scores over cases (and targets); a score that no case has is left out."""
        found: dict[str, list[float]] = {name: [] for name in self.score_names}
        for case in cases:
            arrays = case.arrays()
            samples = np.flatnonzero(case.foreground >= self.minimum_foreground)
            if self.slices is not None and len(samples) > self.slices:
                samples = self.chosen(arrays, samples, self.slices)
            if len(samples):
                for name, score in self.case_scores(arrays, samples):
                    found[name].append(score)
        return self.together({name: float(np.mean(values)) for name, values in found.items() if values})

    def draw(self, cases: Sequence[PreparedCase], folder: Path, label: str, *, number: int = 4) -> None:
        """Write pictures of a few cases, spread over the list."""
        for place in np.linspace(0, len(cases) - 1, min(number, len(cases))).astype(int):
            case = cases[place]
            for target, picture in self.pictures(case, label):
                suffix = f"_{target}" if len(self.ports.targets) > 1 else ""
                with atomic_path(folder / f"{label.replace(' ', '_')}_{case.case.id}{suffix}.png") as temporary:
                    temporary.write_bytes(picture)

    def inputs(self, arrays: Arrays) -> dict[str, npt.NDArray[Any]]:
        """Return what a method is given of a case: its inputs, and what tells of the region."""
        return {name: arrays[name] for name in (*self.ports.inputs, REGION, DEPTH) if name in arrays}

    def translate(
        self, given: Arrays, samples: Sequence[int] | npt.NDArray[np.intp]
    ) -> dict[str, npt.NDArray[np.float32]]:
        """Translate some samples of a prepared case; returns target → (samples, C, *spatial).

        In [-1, 1]; of a target that is a label map, the probabilities of its classes in [0, 1].
        """
        chosen = [int(sample) for sample in samples]
        inputs = Inputs(given, self.ports)
        return translate_stacks(self.method, inputs, self.device, samples=chosen, predict_volume=self.predict_volume)


def evenly(samples: npt.NDArray[np.intp], number: int) -> npt.NDArray[np.intp]:
    """Return so many of some samples, evenly spaced."""
    return samples[np.linspace(0, len(samples) - 1, number).round().astype(int)] if number else samples[:0]
