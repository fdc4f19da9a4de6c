"""Can readers tell real from synthetic images? Accuracy against chance, sensitivity, specificity, d′ and criterion.

Signal detection theory as in Macmillan and Creelman, "Detection Theory: A User's Guide", 2nd edition, 2005: the signal
is "synthetic". Rates of 0 and 1 have no z value; counts are corrected log-linearly, (count + 0.5)/(number + 1) (Hautus,
Behavior Research Methods 27(1), 1995). Exact intervals of a share: Clopper and Pearson, Biometrika 26(4), 1934.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import stats

from transmodal.evaluation.intervals import CONFIDENCE
from transmodal.evaluation.readers.resampling import Array, Estimate, Layout, over_readers_and_subjects

CHANCE = 0.5
LOG_LINEAR = "rates are corrected log-linearly, (count + 0.5)/(number + 1)"


@dataclass(frozen=True)
class Proportion:
    """A share of independent trials with its exact interval and its test against chance.

    Attributes:
        successes, trials: counts; no trial leaves all others None.
        share: successes/trials.
        low, high: Clopper–Pearson 95 % interval.
        p: two-sided exact binomial p against one half.
    """

    successes: int
    trials: int
    share: float | None
    low: float | None
    high: float | None
    p: float | None

    def to_json(self) -> dict[str, Any]:
        """Return the counts, the share, its interval and its p."""
        return {
            "successes": self.successes,
            "trials": self.trials,
            "value": self.share,
            "ci95": [self.low, self.high],
            "p": self.p,
        }


@dataclass(frozen=True)
class Detection:
    """How well one reader tells synthetic from real.

    Attributes:
        accuracy: share of right answers.
        d_prime: distance of synthetic from real in standard deviations of the reader's noise; 0 is chance.
        criterion: c. Yes–no: above 0 the reader is inclined to say "real". Two alternatives: above 0, "right".
        sensitivity: share of synthetic images called synthetic; None for two alternatives.
        specificity: share of real images called real; None for two alternatives.
    """

    accuracy: Proportion
    d_prime: Estimate
    criterion: Estimate
    sensitivity: Proportion | None = None
    specificity: Proportion | None = None


def proportion(successes: int, trials: int) -> Proportion:
    """Return a share with its Clopper–Pearson interval and its exact two-sided binomial test against one half.

    Raises:
        ValueError: there are more successes than trials, or a count is negative.
    """
    if not 0 <= successes <= trials:
        raise ValueError(f"{successes} successes in {trials} trials")
    if not trials:
        return Proportion(0, 0, None, None, None, None)
    low, high = _clopper_pearson(successes, trials)
    p = float(stats.binomtest(successes, trials, CHANCE).pvalue)
    return Proportion(successes, trials, successes / trials, low, high, p)


def yes_no(hits: int, signals: int, false_alarms: int, noises: int) -> Detection:
    """Score single images that were called real or synthetic: d′ = z(H) − z(F), c = −(z(H) + z(F))/2.

    Args:
        hits: synthetic images called synthetic.
        signals: synthetic images shown.
        false_alarms: real images called synthetic.
        noises: real images shown.

    Returns:
        The intervals of d′ and c are normal, with the variance of Gourevitch and Galanter (Psychometrika 32(1), 1967):
        Σ H(1 − H)/(N φ(z)²) over both classes, a quarter of it for c.
    """
    accuracy = proportion(hits + noises - false_alarms, signals + noises)
    sensitivity, specificity = proportion(hits, signals), proportion(noises - false_alarms, noises)
    if not signals or not noises:
        missing = Estimate(None, note=f"saw no {'real' if signals else 'synthetic'} image")
        return Detection(accuracy, missing, missing, sensitivity, specificity)
    d_prime, criterion, variance = _yes_no_parts(hits, signals, false_alarms, noises)
    reach = float(stats.norm.ppf(0.5 + CONFIDENCE / 2) * np.sqrt(variance))
    n = signals + noises
    return Detection(
        accuracy,
        Estimate(d_prime, d_prime - reach, d_prime + reach, n, "answers"),
        Estimate(criterion, criterion - reach / 2, criterion + reach / 2, n, "answers"),
        sensitivity,
        specificity,
    )


def forced_choice(said_left_of_left: int, real_on_left: int, said_left_of_right: int, real_on_right: int) -> Detection:
    """Score pairs of which one image is real: d′ = √2 z(share right); c from the sides.

    The interval of d′ is that of Clopper and Pearson, transformed; it has no upper limit when all answers are right.
    c = −(z(L) + z(R))/2 with L and R the shares of "left" where the real image stood left and right.

    Args:
        said_left_of_left: times the real image stood on the left and was chosen.
        real_on_left: times that it stood there.
        said_left_of_right: times the synthetic image was chosen for being on the left.
        real_on_right: times the real image stood on the right.
    """
    correct, trials = said_left_of_left + real_on_right - said_left_of_right, real_on_left + real_on_right
    accuracy = proportion(correct, trials)
    if not trials:
        missing = Estimate(None, note="saw no pair")
        return Detection(accuracy, missing, missing)
    low, high = (float(np.sqrt(2) * stats.norm.ppf(limit)) for limit in _clopper_pearson(correct, trials))
    d_prime = Estimate(float(np.sqrt(2) * _z(correct, trials)), low, high, trials, "answers")
    if not real_on_left or not real_on_right:
        side = "left" if real_on_left else "right"
        return Detection(accuracy, d_prime, Estimate(None, note=f"the real image always stood on the {side}"))
    _, criterion, variance = _yes_no_parts(said_left_of_left, real_on_left, said_left_of_right, real_on_right)
    reach = float(stats.norm.ppf(0.5 + CONFIDENCE / 2) * np.sqrt(variance)) / 2
    return Detection(accuracy, d_prime, Estimate(criterion, criterion - reach, criterion + reach, trials, "answers"))


def mean_share(says: npt.ArrayLike, layout: Layout, *, seed: int = 0, resamples: int = 2000) -> Estimate:
    """Estimate the mean over readers of each reader's share, resampling readers and subjects.

    Args:
        says: 1 or 0 for each answer: right or wrong, called real or not.
        layout: of the answers.
    """
    values = np.asarray(says, np.float64)
    of_reader = np.eye(layout.readers)[layout.reader]  # (answers, readers)

    def statistic(answers: Array, readers: Array) -> Array:
        numbers = answers @ of_reader
        with np.errstate(invalid="ignore"):
            shares = (answers * values) @ of_reader / numbers
        return _mean_over_readers(shares, np.where(numbers > 0, np.maximum(readers, 0), 0))

    return over_readers_and_subjects(statistic, layout, bounds=(0, 1), seed=seed, resamples=resamples)[0]


def mean_d_prime(
    says_synthetic: npt.ArrayLike, is_synthetic: npt.ArrayLike, layout: Layout, *, seed: int = 0, resamples: int = 2000
) -> Estimate:
    """Estimate the mean over readers of the yes–no d′, resampling readers and subjects.

    Args:
        says_synthetic: 1 where the answer is "synthetic", else 0.
        is_synthetic: 1 where the image is.
        layout: of the answers.
    """
    said, true = np.asarray(says_synthetic, np.float64), np.asarray(is_synthetic, np.float64)
    of_reader = np.eye(layout.readers)[layout.reader]

    def statistic(answers: Array, readers: Array) -> Array:
        # A reader who was drawn twice is two readers, not one with twice the answers: the correction is for one.
        single = np.where(readers > 0, readers, 1)
        signals, hits, noises, alarms = (
            (answers * part) @ of_reader / single for part in (true, true * said, 1 - true, (1 - true) * said)
        )
        values = _z(hits, signals) - _z(alarms, noises)
        return _mean_over_readers(values, np.where((signals > 0) & (noises > 0), readers, 0))

    return over_readers_and_subjects(
        statistic, layout, seed=seed, resamples=resamples, undefined="no reader saw both real and synthetic images"
    )[0]


def mean_forced_choice_d_prime(
    is_right: npt.ArrayLike, layout: Layout, *, seed: int = 0, resamples: int = 2000
) -> Estimate:
    """Estimate the mean over readers of √2 z(share right), resampling readers and subjects."""
    right = np.asarray(is_right, np.float64)
    of_reader = np.eye(layout.readers)[layout.reader]

    def statistic(answers: Array, readers: Array) -> Array:
        single = np.where(readers > 0, readers, 1)
        numbers, correct = answers @ of_reader / single, (answers * right) @ of_reader / single
        return _mean_over_readers(np.sqrt(2) * _z(correct, numbers), np.where(numbers > 0, readers, 0))

    return over_readers_and_subjects(statistic, layout, seed=seed, resamples=resamples)[0]


def _mean_over_readers(values: Array, weights: Array) -> Array:
    total = weights.sum(1)
    with np.errstate(invalid="ignore"):
        return (np.where(weights > 0, values, 0.0) * weights).sum(1, keepdims=True) / total[:, None]


def _z(count: Any, number: Any) -> Any:
    """Return the z value of a rate after the log-linear correction."""
    return stats.norm.ppf((np.asarray(count, np.float64) + 0.5) / (np.asarray(number, np.float64) + 1.0))


def _yes_no_parts(hits: int, signals: int, false_alarms: int, noises: int) -> tuple[float, float, float]:
    z_hit, z_alarm = float(_z(hits, signals)), float(_z(false_alarms, noises))
    variance = 0.0
    for z, number in ((z_hit, signals), (z_alarm, noises)):
        rate = stats.norm.cdf(z)
        variance += rate * (1 - rate) / (number * stats.norm.pdf(z) ** 2)
    return z_hit - z_alarm, -(z_hit + z_alarm) / 2, float(variance)


def _clopper_pearson(successes: int, trials: int) -> tuple[float, float]:
    tail = (1 - CONFIDENCE) / 2
    low = stats.beta.ppf(tail, successes, trials - successes + 1) if successes else 0.0
    high = stats.beta.ppf(1 - tail, successes + 1, trials - successes) if successes < trials else 1.0
    return float(low), float(high)
