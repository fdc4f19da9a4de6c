"""The weight of total variation that scores best on training cases: what makes it a fair baseline."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from transmodal.errors import UserError
from transmodal.tomography.iterative import Floats

_EXTENSIONS = 4  # times that the grid grows towards a best weight on its edge


@dataclass(frozen=True)
class Candidate:
    """A weight and what it scored: the mean over the cases, and each of them."""

    weight: float
    score: float
    cases: tuple[float, ...]


@dataclass(frozen=True)
class Tuning:
    """The best weight and all that were tried.

    Attributes:
        weight: the best.
        table: every candidate, by rising weight.
        cases: numbers of the cases used, rising.
        on_edge: the best is the smallest or the largest weight tried: a better one may lie beyond.
    """

    weight: float
    table: tuple[Candidate, ...]
    cases: tuple[int, ...]
    on_edge: bool


def log_grid(lowest: float, highest: float, count: int) -> tuple[float, ...]:
    """Return weights of equal ratios.

    Raises:
        UserError: not 0 < lowest < highest, or fewer than two.
    """
    if not 0 < lowest < highest < np.inf or count < 2:
        raise UserError(
            f"a grid of weights needs 0 < lowest < highest and two of them, not {lowest}, {highest}, {count}"
        )
    return tuple(float(weight) for weight in np.geomspace(lowest, highest, count))


def tune_tv(
    sinograms: Sequence[NDArray[Any]],
    truths: Sequence[NDArray[Any]],
    reconstruct: Callable[[NDArray[Any], float], Floats],
    score: Callable[[Floats, NDArray[Any]], float],
    weights: Sequence[float],
    *,
    better: Literal["higher", "lower"] = "higher",
    most: int | None = None,
    seed: int = 0,
    progress: Callable[[Candidate], None] | None = None,
) -> Tuning:
    """Try weights on training cases and pick the one with the best mean score.

    If that is the first or the last, the grid goes on beyond it by its own ratio, four times at most.

    Args:
        sinograms: of training cases, never of those that are scored later.
        truths: images of the same cases, as `score` wants them.
        reconstruct: takes a sinogram and a weight, such as `lambda y, w: tv_fista(y, projector, w).image`; what it
            does besides (iterations, start) must be done again with the weight found.
        score: takes what `reconstruct` gives and the truth.
        weights: two or more, above 0 and rising, such as `log_grid` gives.
        better: which end of the score is.
        most: cases to use at most, drawn without repetition; all by default.
        seed: of that draw.
        progress: called with each candidate.

    Raises:
        UserError: no cases, or not as many truths as sinograms; weights that do not rise; a score that is no number.
    """
    if not sinograms or len(sinograms) != len(truths):
        raise UserError(
            f"tuning needs as many truths as sinograms and at least one, not {len(truths)}, {len(sinograms)}"
        )
    rising = [float(weight) for weight in weights]
    if len(rising) < 2 or rising[0] <= 0 or any(low >= high for low, high in pairwise(rising)):
        raise UserError(f"tuning needs two or more rising weights above 0, not {rising}")
    count = len(sinograms) if most is None else max(1, min(most, len(sinograms)))
    cases = np.sort(np.random.default_rng(seed).permutation(len(sinograms))[:count])
    sign = 1.0 if better == "higher" else -1.0

    def attempt(weight: float) -> Candidate:
        scores = tuple(float(score(reconstruct(sinograms[case], weight), truths[case])) for case in cases)
        if not np.isfinite(scores).all():
            raise UserError(f"tuning: weight {weight:g} scored {scores}, which cannot be compared")
        candidate = Candidate(weight, float(np.mean(scores)), scores)
        if progress is not None:
            progress(candidate)
        return candidate

    table = [attempt(weight) for weight in rising]
    best = _best(table, sign)
    for _ in range(_EXTENSIONS):
        if best == 0:
            table.insert(0, attempt(table[0].weight ** 2 / table[1].weight))
        elif best == len(table) - 1:
            table.append(attempt(table[-1].weight ** 2 / table[-2].weight))
        else:
            break
        best = _best(table, sign)
    on_edge = best in (0, len(table) - 1)
    return Tuning(table[best].weight, tuple(table), tuple(int(case) for case in cases), on_edge)


def _best(table: list[Candidate], sign: float) -> int:
    return max(range(len(table)), key=lambda number: sign * table[number].score)
