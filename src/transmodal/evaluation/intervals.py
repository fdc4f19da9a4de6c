"""Summaries of many cases as one number with its uncertainty: bootstrap over subjects.

Images of one subject are alike; counting each as new evidence makes intervals too narrow. Whole subjects are therefore
drawn with replacement (Davison and Hinkley, "Bootstrap Methods and their Application", 1997, section 3.8). The plain
percentile interval covers too little for few subjects; its percentiles are widened by Student's t as Hesterberg
describes ("What Teachers Should Know About the Bootstrap", The American Statistician 69(4), 2015, "expanded percentile
interval"). Below four subjects even that covers the truth less than nine times in ten, and no interval is given.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from scipy import stats

RESAMPLES = 5000
FEWEST_SUBJECTS = 4
CONFIDENCE = 0.95
_CHUNK = 4_000_000  # drawn subjects held at once


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
    """

    mean: float | None
    sd: float | None
    median: float | None
    ci95: tuple[float | None, float | None]
    n: int
    subjects: int
    cases: int
    left_out: int

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
    scores = np.asarray(values, np.float64)
    if len(subjects) != scores.size:
        raise ValueError(f"{scores.size} values but {len(subjects)} subjects")
    finite = np.isfinite(scores)
    left_out = int(scores.size - finite.sum())
    kept = scores[finite]
    if kept.size == 0:
        return Summary(None, None, None, (None, None), 0, 0, 0, left_out)
    names, owner = np.unique(np.asarray(subjects, dtype=object)[finite].astype(str), return_inverse=True)
    counts = np.bincount(owner).astype(np.float64)
    sums: npt.NDArray[np.float64] = np.bincount(owner, weights=kept).astype(np.float64)
    if aggregation == "subjects":
        sums, counts = sums / counts, np.ones_like(counts)
        units = sums
    else:
        units = kept
    return Summary(
        mean=float(sums.sum() / counts.sum()),
        sd=float(units.std(ddof=1)) if units.size > 1 else None,
        median=float(np.median(units)),
        ci95=_interval(sums, counts, seed, resamples),
        n=int(units.size),
        subjects=len(names),
        cases=int(kept.size),
        left_out=left_out,
    )


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


def _interval(
    sums: npt.NDArray[np.float64], counts: npt.NDArray[np.float64], seed: int, resamples: int
) -> tuple[float | None, float | None]:
    """Return the interval of Σsums/Σcounts when whole subjects are drawn with replacement."""
    subjects = sums.size
    if subjects < FEWEST_SUBJECTS:
        return None, None
    generator = np.random.default_rng(seed)
    means = np.empty(resamples)
    step = max(1, _CHUNK // subjects)
    for start in range(0, resamples, step):
        drawn = generator.integers(0, subjects, (min(step, resamples - start), subjects))
        means[start : start + len(drawn)] = sums[drawn].sum(1) / counts[drawn].sum(1)
    t = stats.t.ppf(0.5 - CONFIDENCE / 2, subjects - 1)
    tail = float(stats.norm.cdf(t * np.sqrt(subjects / (subjects - 1))))
    low, high = np.quantile(means, [tail, 1 - tail])
    return float(low), float(high)
