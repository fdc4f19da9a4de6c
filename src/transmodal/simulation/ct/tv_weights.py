"""The weight of total variation that suits a level best, found on training slices."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from transmodal.errors import UserError
from transmodal.images.files import write_text
from transmodal.simulation.ct.companions import by_total_variation, noise_of
from transmodal.simulation.ct.degrading import Process, seed_of_slice
from transmodal.simulation.ct.pairs import Output, read_clean
from transmodal.simulation.ct.steps import Level
from transmodal.tomography.tv_tuning import log_grid, tune_tv

RANGE_HU = (-1024.0, 1500.0)
CASES = 6

_WEIGHTS = log_grid(0.0006, 0.0162, 4)  # of rays that count 1 in the open beam; the search goes on beyond


@dataclass(frozen=True)
class TunedWeight:
    """A weight and how it was found.

    Attributes:
        weight: the best.
        psnr: mean over the slices in dB that it reached, HU within −1024 to 1500.
        table: the same of every weight that was tried.
        cases: SHA-256 of the training images by case.
        on_edge: a better one may lie beyond those tried.
    """

    weight: float
    psnr: float
    table: dict[str, float]
    cases: dict[str, str]
    on_edge: bool

    def to_json(self) -> dict[str, Any]:
        """Return what JSON can hold."""
        return asdict(self)


@dataclass(frozen=True)
class TuneTask:
    """One level to tune.

    Attributes:
        file: to write.
        sources: training images, never others.
        cases: their names and SHA-256.
        seeds: of each.
        level, process, output: how they are degraded.
        iterations: of FISTA, as they will be made of all images.
    """

    file: Path
    sources: tuple[Path, ...]
    cases: dict[str, str]
    seeds: tuple[int, ...]
    level: Level
    process: Process
    output: Output
    iterations: int

    def found(self) -> TunedWeight | None:
        """Return the weight that the same cases gave before."""
        try:
            entries = json.loads(self.file.read_text(encoding="utf-8"))
            tuned = TunedWeight(**entries["tuned"])
        except (OSError, ValueError, KeyError, TypeError):
            return None
        return tuned if tuned.cases == self.cases and entries.get("level") == self.level.text() else None


def tune_level(task: TuneTask) -> None:
    """Find the weight of one level on the middle slices of its cases and write it.

    Raises:
        UserError: a case cannot be read.
    """
    output = task.output
    scans, truths = [], []
    for source, seed in zip(task.sources, task.seeds, strict=True):
        image = read_clean(source, output.size, None, output.allow_uneven)
        count = len(image.slices)
        middle = image.slices[count // 2]
        own = seed_of_slice(seed, count // 2, count)
        scans.append(task.process.scan(middle, image.spacing, task.level, own))
        truths.append(np.clip(middle, *RANGE_HU))
    low, high = RANGE_HU

    def reconstruct(number: Any, weight: float) -> Any:
        return by_total_variation(scans[int(number)], task.level, weight, task.iterations)

    def score(image: Any, truth: Any) -> float:
        error = np.mean((np.clip(image, low, high) - truth) ** 2, dtype=np.float64)
        return float(10 * np.log10((high - low) ** 2 / max(float(error), 1e-9)))

    numbers = [np.asarray(number) for number in range(len(scans))]
    found = tune_tv(numbers, truths, reconstruct, score, weights_for(task.level))
    table = {f"{candidate.weight:.4g}": round(candidate.score, 3) for candidate in found.table}
    best = max(candidate.score for candidate in found.table)
    tuned = TunedWeight(found.weight, round(best, 3), table, task.cases, found.on_edge)
    content = {"level": task.level.text(), "tuned": tuned.to_json()}
    write_text(task.file, json.dumps(content, indent=2, ensure_ascii=False) + "\n")


def weights_for(level: Level) -> Sequence[float]:
    """Return weights to begin with: rays count as many photons as they have under noise, else 1."""
    noise = noise_of(level)
    each = 1.0 if noise is None else noise.photons / noise.dose_divisor
    return [weight * each for weight in _WEIGHTS]


def tuned(task: TuneTask) -> TunedWeight:
    """Return the weight of a task that is done.

    Raises:
        UserError: it is not.
    """
    found = task.found()
    if found is None:
        raise UserError(f"{task.file} holds no weight of these cases; run again")
    return found
