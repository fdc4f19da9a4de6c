"""Intervals for what several readers said about the same cases: draws of subjects, and of readers too.

Answers of one study are not independent: one reader gives many, and one case gets many. Two ways are here.

`over_subjects` draws whole subjects with replacement and keeps the readers: its interval holds for these readers.

`over_readers_and_subjects` resamples both. Drawing both at once (the pigeonhole bootstrap: Owen, Annals of Applied
Statistics 1(2), 2007) counts the noise of the single answers three times. Readers, subjects and cells (what one reader
said about one subject) are therefore drawn in turn and their variances put together by inclusion and exclusion,
readers + subjects − cells (Cameron, Gelbach and Miller, "Robust Inference with Multiway Clustering", Journal of
Business & Economic Statistics 29(2), 2011), with Student's t and Satterthwaite's degrees of freedom.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import stats

from transmodal.evaluation.intervals import CONFIDENCE, FEWEST_SUBJECTS

Array = npt.NDArray[np.float64]

RESAMPLES = 2000
FEWEST_READERS = 4
_CHUNK = 4_000_000  # weights held at once
_LARGEST_SHARE_UNDEFINED = 0.05

# Gets the weights of the answers (B, answers) and of the readers (B, readers), all 1 for the study itself; gives what
# is estimated (B, quantities), NaN where a draw leaves it undefined.
Statistic = Callable[[Array, Array], Array]


@dataclass(frozen=True)
class Estimate:
    """A number with its 95 % interval, or the words why it has none.

    Attributes:
        value: None where it is not defined; `note` then says why.
        low, high: 95 % interval; None where there is none; ±inf where a side has no limit.
        n: how many units went in.
        unit: what they are: "subjects", "answers", "items" …
        note: why a value or an interval is missing, or what it holds for.
    """

    value: float | None
    low: float | None = None
    high: float | None = None
    n: int = 0
    unit: str = ""
    note: str = ""

    def to_json(self) -> dict[str, Any]:
        """Return the number, its interval, its count and its words."""
        return {
            "value": self.value,
            "ci95": [self.low, self.high],
            "n": self.n,
            "unit": self.unit,
            **({"note": self.note} if self.note else {}),
        }


@dataclass(frozen=True)
class Layout:
    """Who said each answer, and about whom.

    Attributes:
        reader, subject: number of the reader and of the subject of each answer, from 0.
        readers, subjects: how many there are.
    """

    reader: npt.NDArray[np.intp]
    subject: npt.NDArray[np.intp]
    readers: int
    subjects: int

    @classmethod
    def of(cls, readers: Any, subjects: Any) -> "Layout":
        """Number the names of readers and subjects of the answers."""
        reader_names, reader = np.unique(np.asarray(readers, dtype=object).astype(str), return_inverse=True)
        subject_names, subject = np.unique(np.asarray(subjects, dtype=object).astype(str), return_inverse=True)
        return cls(reader, subject, len(reader_names), len(subject_names))


def draws(units: int, resamples: int, seed: int) -> Array:
    """Return how often each of `units` is drawn in each resample, with replacement: (resamples, units)."""
    generator = np.random.default_rng(seed)
    return generator.multinomial(units, np.full(units, 1.0 / units), resamples).astype(np.float64)


def over_subjects(
    statistic: Callable[[Array], Array],
    subjects: int,
    *,
    seed: int = 0,
    resamples: int = RESAMPLES,
    undefined: str = "not defined for these answers",
) -> list[Estimate]:
    """Estimate with intervals that hold for these readers: whole subjects are drawn.

    Args:
        statistic: weights of the subjects (B, subjects) → (B, quantities), NaN where it is not defined.
        subjects: how many there are.
        seed, resamples: of the bootstrap.
        undefined: the words for a quantity that the study leaves undefined.

    Returns:
        One estimate a quantity; the percentiles are widened for few subjects as in `evaluation.intervals`.
    """
    values = statistic(np.ones((1, subjects)))[0]
    if subjects < FEWEST_SUBJECTS:
        return [_without_interval(value, subjects, f"{subjects} subjects: no interval", undefined) for value in values]
    drawn = np.concatenate([statistic(part) for part in _drawn_in_chunks(subjects, resamples, seed, subjects)])
    return [_percentiles(value, drawn[:, place], subjects, undefined) for place, value in enumerate(values)]


def over_readers_and_subjects(
    statistic: Statistic,
    layout: Layout,
    *,
    bounds: tuple[float, float] = (-np.inf, np.inf),
    seed: int = 0,
    resamples: int = RESAMPLES,
    undefined: str = "not defined for these answers",
) -> list[Estimate]:
    """Estimate with intervals that hold for readers like these and cases like these.

    With fewer than four readers, readers in general cannot be spoken of: subjects alone are drawn, and the note says
    so.

    Args:
        statistic: see `Statistic`.
        layout: of the answers.
        bounds: the values that the quantity can take; the interval is cut there.
        seed, resamples: of the bootstrap.
        undefined: the words for a quantity that the study leaves undefined.
    """
    readers, subjects = layout.readers, layout.subjects
    if readers < FEWEST_READERS or subjects < FEWEST_SUBJECTS:

        def of_subjects(weights: Array) -> Array:
            return statistic(weights[:, layout.subject], np.ones((len(weights), readers)))

        estimates = over_subjects(of_subjects, subjects, seed=seed, resamples=resamples, undefined=undefined)
        who = "this reader" if readers == 1 else f"these {readers} readers"
        words = f"the interval holds for {who} only"
        return [
            each if each.low is None else Estimate(each.value, each.low, each.high, each.n, each.unit, words)
            for each in estimates
        ]
    values = statistic(np.ones((1, len(layout.reader))), np.ones((1, readers)))[0]
    _, cell = np.unique(layout.reader * subjects + layout.subject, return_inverse=True)
    cells = int(cell.max()) + 1
    variances = [
        _variance(statistic, layout, owner, units, resamples, seed + place)
        for place, (owner, units) in enumerate(((layout.reader, readers), (layout.subject, subjects), (cell, cells)))
    ]
    freedoms = (readers - 1, subjects - 1, (readers - 1) * (subjects - 1))
    return [
        _combined(value, [float(part[place]) for part in variances], freedoms, bounds, layout, undefined)
        for place, value in enumerate(values)
    ]


def _variance(
    statistic: Statistic, layout: Layout, owner: npt.NDArray[np.intp], units: int, resamples: int, seed: int
) -> Array:
    """Return the bootstrap variance of the statistic when the units that own the answers are drawn."""
    by_reader = owner is layout.reader
    parts = []
    for part in _drawn_in_chunks(units, resamples, seed, len(layout.reader)):
        readers = part if by_reader else np.ones((len(part), layout.readers))
        parts.append(statistic(part[:, owner], readers))
    values = np.concatenate(parts)
    known = np.isfinite(values)
    enough = known.mean(0) >= 1 - _LARGEST_SHARE_UNDEFINED
    values = np.where(known, values, 0.0)
    count = np.maximum(known.sum(0), 2)
    mean = values.sum(0) / count
    variance = np.where(known, (values - mean) ** 2, 0.0).sum(0) / (count - 1)
    # A bootstrap over n units gives (n − 1)/n of the variance.
    return np.where(enough, variance * units / (units - 1), np.nan)


def _combined(
    value: float,
    variances: list[float],
    freedoms: tuple[int, int, int],
    bounds: tuple[float, float],
    layout: Layout,
    undefined: str,
) -> Estimate:
    subjects = layout.subjects
    if not np.isfinite(value):
        return _without_interval(value, subjects, "", undefined)
    if not np.isfinite(variances).all():
        return _without_interval(value, subjects, "no interval: too many resamples leave it undefined", undefined)
    of_readers, of_subjects, of_cells = variances
    # The difference can fall below what readers or subjects alone bring when one of them brings nearly nothing.
    variance = max(of_readers + of_subjects - of_cells, of_readers, of_subjects)
    if variance <= 1e-24:
        return _without_interval(value, subjects, "no interval: the answers show no spread", undefined)
    freedom = variance**2 / sum(part**2 / degrees for part, degrees in zip(variances, freedoms, strict=True))
    reach = float(stats.t.ppf(0.5 + CONFIDENCE / 2, max(freedom, 1.0))) * np.sqrt(variance)
    low, high = max(bounds[0], value - reach), min(bounds[1], value + reach)
    return Estimate(float(value), float(low), float(high), subjects, "subjects")


def expanded_percentiles(values: Array, units: int) -> tuple[float, float]:
    """Return the 95 % interval of bootstrap values, widened for few units (Hesterberg 2015; see `intervals`)."""
    t = stats.t.ppf(0.5 - CONFIDENCE / 2, units - 1)
    tail = float(stats.norm.cdf(t * np.sqrt(units / (units - 1))))
    low, high = np.quantile(values, [tail, 1 - tail])
    return float(low), float(high)


def _percentiles(value: float, drawn: Array, subjects: int, undefined: str) -> Estimate:
    if not np.isfinite(value):
        return _without_interval(value, subjects, "", undefined)
    known = drawn[np.isfinite(drawn)]
    if known.size < (1 - _LARGEST_SHARE_UNDEFINED) * drawn.size:
        return _without_interval(value, subjects, "no interval: too many resamples leave it undefined", undefined)
    if np.ptp(known) < 1e-12:
        return _without_interval(value, subjects, "no interval: the answers show no spread", undefined)
    low, high = expanded_percentiles(known, subjects)
    return Estimate(float(value), low, high, subjects, "subjects")


def _without_interval(value: float, subjects: int, note: str, undefined: str) -> Estimate:
    if not np.isfinite(value):
        return Estimate(None, n=subjects, unit="subjects", note=undefined)
    return Estimate(float(value), n=subjects, unit="subjects", note=note)


def _drawn_in_chunks(units: int, resamples: int, seed: int, wide: int) -> Iterator[Array]:
    """Give `draws` in parts small enough that weights of so many answers fit into memory."""
    generator = np.random.default_rng(seed)
    step = max(1, _CHUNK // max(1, wide))
    for start in range(0, resamples, step):
        count = min(step, resamples - start)
        yield generator.multinomial(units, np.full(units, 1.0 / units), count).astype(np.float64)
