"""The weight of total variation that suits a level best, found on training slices."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from transmodal.simulation.ct.companions import by_total_variation
from transmodal.simulation.ct.degrading import Process, seed_of_slice
from transmodal.simulation.ct.pairs import Clean
from transmodal.simulation.ct.steps import Level
from transmodal.tomography.tv_tuning import log_grid, tune_tv

RANGE_HU = (-1024.0, 1500.0)
WEIGHTS = log_grid(0.03, 3.0, 5)
CASES = 4


@dataclass(frozen=True)
class TunedWeight:
    """A weight and how it was found.

    Attributes:
        weight: the best.
        table: mean PSNR in dB by weight.
        cases: how many slices it was tried on.
        on_edge: a better one may lie beyond those tried.
    """

    weight: float
    table: dict[str, float]
    cases: int
    on_edge: bool

    def to_json(self) -> dict[str, Any]:
        """Return what JSON can hold."""
        return asdict(self)


def tune(
    clean: Sequence[Clean],
    seeds: Sequence[int],
    level: Level,
    process: Process,
    iterations: int,
    progress: Callable[[], None] | None = None,
) -> TunedWeight:
    """Find the weight with the best mean PSNR over the middle slices of images, HU within −1024 to 1500.

    Args:
        clean: training images, never others.
        seeds: of each.
        level: that degrades them.
        process: scanner and reconstruction.
        iterations: of FISTA, as they will be made of all images.
        progress: called after each weight.
    """
    scans, truths = [], []
    for image, seed in zip(clean, seeds, strict=True):
        count = len(image.slices)
        middle = image.slices[count // 2]
        scans.append(process.scan(middle, image.spacing, level, seed_of_slice(seed, count // 2, count)))
        truths.append(np.clip(middle, *RANGE_HU))
    low, high = RANGE_HU

    def reconstruct(number: Any, weight: float) -> Any:
        return by_total_variation(scans[int(number)], weight, iterations)

    def score(image: Any, truth: Any) -> float:
        error = np.mean((np.clip(image, low, high) - truth) ** 2, dtype=np.float64)
        return float(10 * np.log10((high - low) ** 2 / max(error, 1e-9)))

    found = tune_tv(
        [np.asarray(number) for number in range(len(scans))],
        truths,
        reconstruct,
        score,
        WEIGHTS,
        progress=None if progress is None else lambda _: progress(),
    )
    table = {f"{candidate.weight:.4g}": round(candidate.score, 3) for candidate in found.table}
    return TunedWeight(found.weight, table, len(scans), found.on_edge)
