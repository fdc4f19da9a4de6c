"""Whether an input looks like the images a translator was trained on: its modality, its range, its sharpness.

Some twenty numbers describe a prepared image inside its region: percentiles of the intensity and of the gradient,
saturation, correlation over distance, the size of the region, how its middle and rim differ from the rest. A Gaussian
is fitted to those of the training cases, and the score of an image is its Mahalanobis distance (as for features of a
network: Lee et al., NeurIPS 2018), divided by the root of their number, so that about 1 is usual.

A few cases say little about a covariance of twenty numbers, so it starts from one set beforehand, which counts as much
as `PRIOR_CASES` cases (the mean of an inverse Wishart posterior): how much these numbers differ between people under
one protocol. With one to four training cases the threshold is hence mostly that belief, and says so. On brains of one
protocol prepared by their own percentiles, another person scores up to 0.9 and T2 taken for T1 from 1.6 on; T1, T1 with
contrast agent and FLAIR are too much alike for these numbers to tell them apart.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field, model_validator

PRIOR_CASES = 5.0
USUAL = 1.2  # the threshold that is set beforehand, in units of the score
MARGIN = 1.25  # of the threshold over the strangest training case
ENOUGH_CASES = 8  # for the threshold to rest on the cases
SAMPLE = 400_000  # voxels for percentiles
LAGS = (1, 2, 4, 8)
AT_THE_END = 1e-3  # of the range [-1, 1]: what lies so close to an end is counted as cut
SMALLEST_GRADIENT, SMALLEST_SHARE = 1e-3, 1e-4  # under the logarithms


@dataclass(frozen=True)
class _Feature:
    words: str
    group: str
    width: float  # standard deviation between people, set beforehand


FEATURES: dict[str, _Feature] = {
    **{
        f"intensity_{percent}": _Feature(f"the {percent}th percentile of its intensity", "intensity", 0.15)
        for percent in (5, 10, 25, 50, 75, 90, 95)
    },
    "skewness": _Feature("the skewness of its intensity", "shape", 0.4),
    "bright_edges": _Feature("the correlation of intensity and gradient", "shape", 0.1),
    "dark_share": _Feature("the share of voxels cut at the lower end of the range", "ends", 0.08),
    "bright_share": _Feature("the share of voxels cut at the upper end of the range", "ends", 0.08),
    **{
        f"gradient_{percent}": _Feature(f"the {percent}th percentile of its gradient (logarithm)", "gradient", 0.3)
        for percent in (25, 50, 75, 95)
    },
    **{
        f"correlation_{lag}": _Feature(f"the correlation of voxels {lag} apart", "correlation", width)
        for lag, width in zip(LAGS, (0.06, 0.08, 0.1, 0.1), strict=True)
    },
    "region_share": _Feature("the share of the image that its region fills (logarithm)", "region", 0.3),
    "middle": _Feature("the intensity in the middle against the median", "places", 0.12),
    "rim": _Feature("the intensity at the rim against the median", "places", 0.12),
}
WITHIN_GROUP = 0.5  # correlation of features of one group, set beforehand


def describe_image(
    stack: npt.NDArray[Any], region: npt.NDArray[Any] | None = None, *, spatial_dims: int | None = None
) -> npt.NDArray[np.float64]:
    """Return the features of a prepared image, in the order of `FEATURES`.

    Args:
        stack: (samples, C, *spatial) in [-1, 1], as `Preparation.prepare` gives it.
        region: (samples, 1, *spatial), not 0 inside; None takes all that is not at the lower end of the range.
        spatial_dims: None takes it from the stack.

    Returns:
        (features,) finite, whatever the image holds.
    """
    dims = stack.ndim - 2 if spatial_dims is None else spatial_dims
    values = np.asarray(stack, np.float32).mean(axis=1)  # (samples, *spatial)
    inside = values > -1 + AT_THE_END if region is None else np.asarray(region)[:, 0] != 0
    share = float(inside.mean()) if inside.size else 0.0
    if not inside.any():
        inside = np.ones_like(inside)
    box = tuple(
        slice(int(found[0]), int(found[-1]) + 1)
        for axis in range(inside.ndim)
        for found in [np.flatnonzero(inside.any(axis=tuple(other for other in range(inside.ndim) if other != axis)))]
    )
    values, inside = values[box], inside[box]
    every = values[inside]
    sample = every if every.size <= SAMPLE else every[np.random.default_rng(0).integers(0, every.size, SAMPLE)]
    centred = np.where(inside, values - every.mean(dtype=np.float64).astype(np.float32), 0).astype(np.float32)
    median = float(np.median(sample))
    middle, rim = _by_place(values, inside, dims)
    gradient, bright_edges = _gradients(values, inside, dims)
    features = [
        *np.percentile(sample, (5, 10, 25, 50, 75, 90, 95)),
        _skewness(sample),
        bright_edges,
        math.sqrt(float((sample <= -1 + AT_THE_END).mean())),
        math.sqrt(float((sample >= 1 - AT_THE_END).mean())),
        *np.log(np.percentile(gradient, (25, 50, 75, 95)) + SMALLEST_GRADIENT),
        *(_correlation(centred, inside, dims, lag) for lag in LAGS),
        math.log(share + SMALLEST_SHARE),
        middle - median,
        rim - median,
    ]
    return np.nan_to_num(np.array(features, np.float64))


def _gradients(
    values: npt.NDArray[np.float32], inside: npt.NDArray[np.bool_], dims: int
) -> tuple[npt.NDArray[np.float32], float]:
    """Return |difference of neighbours| over all axes where both lie inside, and its correlation with their mean.

    Dark fluid makes edges dark (T1), bright fluid makes them bright (T2).
    """
    steps, means = [], []
    for axis in range(values.ndim - dims, values.ndim):
        (first, second), (low, high) = _shifted(inside, axis, 1), _shifted(values, axis, 1)
        both = first & second
        a, b = low[both], high[both]
        if a.size > SAMPLE:
            chosen = np.random.default_rng(axis).integers(0, a.size, SAMPLE)
            a, b = a[chosen], b[chosen]
        steps.append(np.abs(b - a))
        means.append((a + b) / 2)
    step, mean = np.concatenate(steps), np.concatenate(means)
    if not step.size:
        return np.zeros(1, np.float32), 0.0
    scale = float(step.std(dtype=np.float64)) * float(mean.std(dtype=np.float64))
    together = float(np.mean((step - step.mean(dtype=np.float64)) * (mean - mean.mean(dtype=np.float64))))
    return step, together / scale if scale > 0 else 0.0


def _skewness(sample: npt.NDArray[np.float32]) -> float:
    centred = sample - sample.mean(dtype=np.float64)
    deviation = float(centred.std())
    return float(np.mean((centred / deviation) ** 3)) if deviation > 1e-6 else 0.0


def _correlation(centred: npt.NDArray[np.float32], inside: npt.NDArray[np.bool_], dims: int, lag: int) -> float:
    """Return the correlation of voxels inside that lie `lag` apart, the mean over the axes that are long enough."""
    found = []
    for axis in range(centred.ndim - dims, centred.ndim):
        if centred.shape[axis] <= lag:
            continue
        (low, high), (first, second) = _shifted(centred, axis, lag), _shifted(inside, axis, lag)
        both = first & second
        a, b = low[both], high[both]
        scale = math.sqrt(float(a @ a) * float(b @ b))
        if scale > 0:
            found.append(float(a @ b) / scale)
    return float(np.mean(found)) if found else 0.0


def _by_place(values: npt.NDArray[np.float32], inside: npt.NDArray[np.bool_], dims: int) -> tuple[float, float]:
    """Return the mean intensity of the fifth of the region nearest to its centre, and of the farthest fifth.

    Distances are counted in standard deviations of the region along each axis, so that its shape does not matter.
    """
    places = np.nonzero(inside)
    if places[0].size > SAMPLE:
        chosen = np.random.default_rng(0).integers(0, places[0].size, SAMPLE)
        places = tuple(axis[chosen] for axis in places)
    distance = np.zeros(places[0].size, np.float64)
    for axis in places[-dims:]:
        deviation = axis.std()
        if deviation > 0:
            distance += ((axis - axis.mean()) / deviation) ** 2
    near, far = np.percentile(distance, (20, 80))
    here = values[places]
    return float(here[distance <= near].mean(dtype=np.float64)), float(here[distance >= far].mean(dtype=np.float64))


def _shifted(array: npt.NDArray[Any], axis: int, lag: int) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    before = [slice(None)] * array.ndim
    after = [slice(None)] * array.ndim
    before[axis], after[axis] = slice(None, -lag), slice(lag, None)
    return array[tuple(before)], array[tuple(after)]


@dataclass(frozen=True)
class Verdict:
    """What came of one image.

    Attributes:
        score: about 1 for an image like those of the training.
        threshold: above it the image is unlike them.
        warning: one line, or None where the image looks familiar.
    """

    score: float
    threshold: float
    warning: str | None


class Familiarity(BaseModel):
    """What the training images of one modality look like; part of a translator's card."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    modality: str
    names: tuple[str, ...] = Field(description="of the features")
    mean: tuple[float, ...]
    precision: tuple[tuple[float, ...], ...] = Field(description="inverse of the covariance of a further image")
    threshold: float = Field(gt=0)
    cases: int = Field(ge=1, description="training cases it was fitted on")

    @model_validator(mode="after")
    def _is_complete(self) -> "Familiarity":
        if self.names != tuple(FEATURES):
            raise ValueError("the features are not those of this version")
        size = len(self.names)
        if len(self.mean) != size or len(self.precision) != size or any(len(row) != size for row in self.precision):
            raise ValueError(f"mean and precision need {size} numbers a side")
        if not np.isfinite(self.mean).all() or not np.isfinite(self.precision).all():
            raise ValueError("mean and precision must be finite")
        return self

    @classmethod
    def fit(cls, features: Sequence[npt.NDArray[np.float64]], modality: str) -> "Familiarity":
        """Fit on the training cases, one row of features each.

        The threshold is the strangest training case's score under the fit of all the others, and a quarter more; with
        fewer than 8 cases never below the one set beforehand.

        Args:
            features: of `describe_image`, one a case; at least one.
            modality: for messages.

        Raises:
            ValueError: no case, or not the features of this version.
        """
        rows = np.asarray(features, np.float64)
        if rows.ndim != 2 or not len(rows) or rows.shape[1] != len(FEATURES):
            raise ValueError(f"{modality}: features of shape {rows.shape} are not those of one case or more")
        mean, precision = _fit(rows)
        threshold = USUAL
        if len(rows) > 1:
            others = [_fit(np.delete(rows, number, 0)) for number in range(len(rows))]
            strangest = max(_score(row, *other) for row, other in zip(rows, others, strict=True))
            threshold = MARGIN * strangest if len(rows) >= ENOUGH_CASES else max(USUAL, MARGIN * strangest)
        return cls(
            modality=modality,
            names=tuple(FEATURES),
            mean=tuple(round(float(value), 5) for value in mean),
            precision=tuple(tuple(round(float(value), 4) for value in row) for row in precision),
            threshold=round(threshold, 3),
            cases=len(rows),
        )

    def score(self, features: npt.NDArray[np.float64]) -> float:
        """Return the distance of an image from the training images; about 1 is usual."""
        return _score(np.asarray(features, np.float64), np.array(self.mean), np.array(self.precision))

    def judge(self, features: npt.NDArray[np.float64]) -> Verdict:
        """Score an image and put a warning into words where it is unlike the training images."""
        score = self.score(features)
        if score <= self.threshold:
            return Verdict(score, self.threshold, None)
        spread = np.sqrt(np.diag(np.linalg.inv(np.array(self.precision))))
        off = (np.asarray(features, np.float64) - self.mean) / spread
        most = int(np.abs(off).argmax())
        words = FEATURES[self.names[most]].words
        warning = (
            f"looks unlike the {self.modality} images of the training: {words} is {features[most]:.2f}, there "
            f"{self.mean[most]:.2f} ± {spread[most]:.2f} (score {score:.1f}, up to {self.threshold:.1f} is familiar); "
            f"check that it is {self.modality}, prepared as those were"
        )
        return Verdict(score, self.threshold, warning)

    def describe(self) -> str:
        """Return one sentence for the card: what the threshold rests on."""
        known = f"{self.cases} training case{'s' if self.cases > 1 else ''}"
        if self.cases >= ENOUGH_CASES:
            return f"Familiar {self.modality}: score up to {self.threshold:.1f}, from leaving out each of {known}."
        return (
            f"Familiar {self.modality}: score up to {self.threshold:.1f}, mostly set beforehand, because {known} "
            "cannot tell how much people differ."
        )


def warnings_for(
    familiarities: Mapping[str, Familiarity], features: Mapping[str, npt.NDArray[np.float64]]
) -> list[str]:
    """Return the warnings of a case: modality → features against modality → what training saw.

    A modality without a fit, or not given, is passed over. Where the image looks like another one, that is said.
    """
    warnings = []
    for modality, row in features.items():
        if modality not in familiarities:
            continue
        warning = familiarities[modality].judge(row).warning
        if warning is None:
            continue
        closest = min(familiarities.values(), key=lambda each: each.score(row))
        if closest.modality != modality and closest.judge(row).warning is None:
            warning += f"; it looks like {closest.modality}"
        warnings.append(f"{modality} {warning}")
    return warnings


def _fit(rows: npt.NDArray[np.float64]) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Return the mean, and the precision of one further case: its own covariance and that of the mean."""
    count = len(rows)
    mean = rows.mean(axis=0)
    centred = rows - mean
    covariance = (PRIOR_CASES * _prior() + centred.T @ centred) / (PRIOR_CASES + count - 1)
    return mean, np.linalg.inv(covariance * (1 + 1 / count))


def _prior() -> npt.NDArray[np.float64]:
    widths = np.array([feature.width for feature in FEATURES.values()])
    groups = np.array([feature.group for feature in FEATURES.values()])
    correlation = np.where(groups[:, None] == groups, WITHIN_GROUP, 0.0)
    np.fill_diagonal(correlation, 1.0)
    return correlation * widths[:, None] * widths


def _score(row: npt.NDArray[np.float64], mean: npt.NDArray[np.float64], precision: npt.NDArray[np.float64]) -> float:
    off = row - mean
    return math.sqrt(max(0.0, float(off @ precision @ off)) / len(row))
