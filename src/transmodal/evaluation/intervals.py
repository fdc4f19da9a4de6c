"""Summaries of many cases as one number with its uncertainty: bootstrap over subjects.

Images of one subject are alike; counting each as new evidence makes intervals too narrow. Whole subjects are therefore
drawn with replacement (Davison and Hinkley, "Bootstrap Methods and their Application", 1997, section 3.8). The plain
percentile interval covers too little for few subjects; its percentiles are widened by Student's t as Hesterberg
describes ("What Teachers Should Know About the Bootstrap", The American Statistician 69(4), 2015, "expanded percentile
interval"). Below four subjects even that covers the truth less than nine times in ten, and no interval is given.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from scipy import special

RESAMPLES = 5000
FEWEST_SUBJECTS = 4
CONFIDENCE = 0.95
_CHUNK = 500_000  # drawn subjects held at once: a few megabytes, which also fit the cache


@dataclass(frozen=True)
class Summary:
    """Many per-case values as one.

    Attributes:
        mean: over subjects of their means, or over cases, as the aggregation says; None when nothing is finite.
        sd: sample standard deviation over the same units; None below two.
        median: over the same units.
        ci95: bootstrap 95 % interval of the mean; (None, None) below four subjects.
        n: how many units, subjects or cases, the mean is over.
        subjects, cases: how many with a finite value went in.
        left_out: cases without a finite value (PSNR of an image identical to its truth is +inf), never in the mean.
        infinite: how many of those are infinite; the others are undefined there.
    """

    mean: float | None
    sd: float | None
    median: float | None
    ci95: tuple[float | None, float | None]
    n: int
    subjects: int
    cases: int
    left_out: int
    infinite: int = 0

    def to_json(self) -> dict[str, Any]:
        """Return the five numbers of the public JSON."""
        return {"mean": self.mean, "sd": self.sd, "median": self.median, "ci95": list(self.ci95), "n": self.n}


def summarise(
    values: Sequence[float] | npt.NDArray[np.float64],
    subjects: Sequence[str],
    *,
    aggregation: Literal["subjects", "cases"] = "subjects",
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> Summary:
    """Summarise one value a case.

    Args:
        values: one a case, any unit; ±inf and NaN are left out and counted.
        subjects: whose case it is, one a value.
        aggregation: "subjects": mean over subjects of each subject's mean; "cases": mean over cases. The interval
            draws whole subjects in both.
        seed: of the bootstrap; the same seed gives the same interval.
        resamples: how many bootstrap samples.

    Raises:
        ValueError: there are not as many subjects as values.
    """
    return summarise_columns({"": values}, subjects, aggregation=aggregation, seed=seed, resamples=resamples)[""]


def summarise_columns(
    columns: Mapping[str, Sequence[float] | npt.NDArray[np.float64]],
    subjects: Sequence[str],
    *,
    aggregation: Literal["subjects", "cases"] = "subjects",
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> dict[str, Summary]:
    """Summarise several values a case, as `summarise` does each.

    Columns that are finite in the same cases share the drawn subjects, which are what takes the time.
    """
    values = {name: np.asarray(column, np.float64) for name, column in columns.items()}
    for column in values.values():
        if len(subjects) != column.size:
            raise ValueError(f"{column.size} values but {len(subjects)} subjects")
    alike: dict[bytes, list[str]] = {}
    for name, column in values.items():
        alike.setdefault(np.isfinite(column).tobytes(), []).append(name)
    owners = np.asarray(subjects, dtype=object)
    found: dict[str, Summary] = {}
    for names in alike.values():
        finite = np.isfinite(values[names[0]])
        kept = np.stack([values[name][finite] for name in names], axis=1)  # (cases, columns)
        found |= zip(names, _summaries(kept, owners[finite], int((~finite).sum()), aggregation, seed, resamples),
                     strict=True)  # fmt: skip
    return {name: replace(found[name], infinite=int(np.isinf(values[name]).sum())) for name in columns}


def _summaries(
    kept: npt.NDArray[np.float64],
    subjects: npt.NDArray[np.object_],
    left_out: int,
    aggregation: str,
    seed: int,
    resamples: int,
) -> list[Summary]:
    """Summarise the columns of finite values (cases, columns)."""
    if len(kept) == 0:
        return [Summary(None, None, None, (None, None), 0, 0, 0, left_out)] * kept.shape[1]
    names, owner = np.unique(subjects.astype(str), return_inverse=True)
    counts = np.bincount(owner).astype(np.float64)
    sums: npt.NDArray[np.float64] = np.zeros((len(names), kept.shape[1]))  # (subjects, columns)
    np.add.at(sums, owner, kept)
    if aggregation == "subjects":
        sums, counts = sums / counts[:, None], np.ones_like(counts)
        units = sums
    else:
        units = kept
    intervals = _intervals(sums, counts, seed, resamples)
    return [
        Summary(
            mean=float(sums[:, place].sum() / counts.sum()),
            sd=float(units[:, place].std(ddof=1)) if len(units) > 1 else None,
            median=float(np.median(units[:, place])),
            ci95=interval,
            n=len(units),
            subjects=len(names),
            cases=len(kept),
            left_out=left_out,
        )
        for place, interval in enumerate(intervals)
    ]


def paired_difference(
    first: Sequence[float] | npt.NDArray[np.float64],
    second: Sequence[float] | npt.NDArray[np.float64],
    subjects: Sequence[str],
    *,
    aggregation: Literal["subjects", "cases"] = "subjects",
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> Summary:
    """Summarise first − second over the same cases.

    Pairs in which a value is infinite or NaN are left out and counted, except that two equal infinite values differ
    by 0. Arguments and refusals as in `summarise`.
    """
    one, other = np.asarray(first, np.float64), np.asarray(second, np.float64)
    with np.errstate(invalid="ignore"):
        difference = np.where(one == other, 0.0, one - other)
    return summarise(difference, subjects, aggregation=aggregation, seed=seed, resamples=resamples)


def _intervals(
    sums: npt.NDArray[np.float64], counts: npt.NDArray[np.float64], seed: int, resamples: int
) -> list[tuple[float | None, float | None]]:
    """Return the interval of Σsums/Σcounts of each column when whole subjects are drawn with replacement."""
    subjects, columns = sums.shape
    if subjects < FEWEST_SUBJECTS:
        return [(None, None)] * columns
    generator = np.random.default_rng(seed)
    means = np.empty((resamples, columns))
    step = max(1, _CHUNK // subjects)
    for start in range(0, resamples, step):
        drawn = generator.integers(0, subjects, (min(step, resamples - start), subjects))
        # How often each subject was drawn, a row a resample: a product with all columns instead of a look-up in each.
        drawn += subjects * np.arange(len(drawn))[:, None]
        often = np.bincount(drawn.ravel(), minlength=drawn.size).reshape(drawn.shape).astype(np.float64)
        means[start : start + len(drawn)] = (often @ sums) / (often @ counts)[:, None]
    t = special.stdtrit(subjects - 1, 0.5 - CONFIDENCE / 2)  # the quantile of Student's t; scipy.stats loads slowly
    tail = float(special.ndtr(t * np.sqrt(subjects / (subjects - 1))))
    return [(float(low), float(high)) for low, high in np.quantile(means, [tail, 1 - tail], axis=0).T]


def block_interval(
    values: npt.NDArray[np.float64], *, seed: int = 0, resamples: int = RESAMPLES
) -> tuple[float | None, float | None]:
    """Return a 95 % interval of the mean of values in a row, such as those of a volume's slices.

    Neighbours are alike, so that blocks of √n of them are drawn, from a circle, so that the ends count as much as the
    middle (Politis and Romano, "A Circular Block-Resampling Procedure for Stationary Data", 1992). It says how far
    another place of the same volume might lie, and nothing about other people.

    Args:
        values: in their order; those that are not finite are left out.
        seed: of the bootstrap.
        resamples: how many bootstrap samples.

    Returns:
        (low, high); (None, None) of fewer than 16 values, which are fewer than 4 blocks.
    """
    finite = np.asarray(values, np.float64)
    finite = finite[np.isfinite(finite)]
    if finite.size < FEWEST_SUBJECTS**2:
        return None, None
    length = round(math.sqrt(finite.size))
    sums = np.convolve(np.concatenate([finite, finite[: length - 1]]), np.ones(length), "valid")
    blocks = math.ceil(finite.size / length)
    starts = np.random.default_rng(seed).integers(0, sums.size, (resamples, blocks))
    means = sums[starts].sum(axis=1) / (blocks * length)
    low, high = np.percentile(means, [100 * (1 - CONFIDENCE) / 2, 100 * (1 + CONFIDENCE) / 2])
    return float(low), float(high)
