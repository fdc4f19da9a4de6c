"""Do readers agree, with each other and with themselves? Cohen's and Fleiss's kappa, percent agreement, ICC.

Cohen (Educational and Psychological Measurement 20(1), 1960; weighted: Psychological Bulletin 70(4), 1968):
κ = (p_o − p_e)/(1 − p_e). Fleiss (Psychological Bulletin 76(5), 1971) for many readers, here with weights and for
unequal numbers of readers an item (Gwet, "Handbook of Inter-Rater Reliability", 4th edition, 2014, chapter 3); with
equal numbers and no weights it is Fleiss's.
ICC(2,1) and ICC(2,k): Shrout and Fleiss, Psychological Bulletin 86(2), 1979.
"""

from typing import Literal

import numpy as np
import numpy.typing as npt
from scipy import stats

from transmodal.evaluation.intervals import CONFIDENCE
from transmodal.evaluation.readers.resampling import RESAMPLES, Array, Estimate, over_subjects

Weights = Literal["none", "linear", "quadratic"]
MISSING = -1
SAME_ANSWERS = "not defined: all answers are the same, so that chance alone agrees fully"


def agreement_weights(categories: int, weights: Weights = "none") -> Array:
    """Return how much two answers agree, 1 fully and 0 not at all: (categories, categories).

    Args:
        categories: how many there are, in order.
        weights: "none": 1 for equal answers, else 0; "linear": 1 − |i − j|/(k − 1); "quadratic": its square instead.
    """
    if weights == "none":
        return np.eye(categories)
    place = np.arange(categories)
    apart = np.abs(place[:, None] - place) / max(1, categories - 1)
    return np.asarray(1 - apart if weights == "linear" else 1 - apart**2, np.float64)


def cohen_kappa(
    first: npt.ArrayLike,
    second: npt.ArrayLike,
    subjects: npt.ArrayLike,
    categories: int,
    *,
    weights: Weights = "none",
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> Estimate:
    """Estimate Cohen's κ of two readers, or of one reader on two occasions; the interval draws subjects.

    Args:
        first, second: categories 0, 1, … of the same items; −1 where there is no answer: the item is left out.
        subjects: whose image each item is.
        categories: how many there are.
        weights: see `agreement_weights`.

    Returns:
        Its `n` is the number of subjects; without a value where both always gave one and the same answer.
    """
    one, other, owner, count = _complete(np.stack([_codes(first), _codes(second)], axis=1), subjects)
    if not count:
        return Estimate(None, note="no item was answered by both")
    tables = np.zeros((count, categories, categories))
    np.add.at(tables, (owner, one, other), 1.0)
    agreement = agreement_weights(categories, weights)

    def statistic(drawn: Array) -> Array:
        joint = np.tensordot(drawn, tables, 1)
        joint = joint / joint.sum((1, 2), keepdims=True)
        by_chance = joint.sum(2)[:, :, None] * joint.sum(1)[:, None, :]
        return _kappa((joint * agreement).sum((1, 2)), (by_chance * agreement).sum((1, 2)))

    return over_subjects(statistic, count, seed=seed, resamples=resamples, undefined=SAME_ANSWERS)[0]


def fleiss_kappa(
    answers: npt.ArrayLike,
    subjects: npt.ArrayLike,
    categories: int,
    *,
    weights: Weights = "none",
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> tuple[Estimate, Estimate]:
    """Estimate Fleiss's κ of all readers and their percent agreement; the intervals draw subjects.

    Args:
        answers: categories 0, 1, … (items, readers); −1 where there is none. Items with fewer than two are left out.
        subjects: whose image each item is.
        categories: how many there are.
        weights: see `agreement_weights`.

    Returns:
        κ, and the observed agreement: the mean over items of the share of pairs of readers who agree (weighted).
    """
    codes = _codes(answers)
    counts = (codes[:, :, None] == np.arange(categories)).sum(1).astype(np.float64)  # (items, categories)
    numbers = counts.sum(1)
    kept = numbers >= 2
    if not kept.any():
        missing = Estimate(None, note="no item was answered by two readers")
        return missing, missing
    counts, numbers = counts[kept], numbers[kept]
    names, owner = np.unique(np.asarray(subjects, dtype=object)[kept].astype(str), return_inverse=True)
    agreement = agreement_weights(categories, weights)
    pairs = (counts * (counts @ agreement - 1)).sum(1) / (numbers * (numbers - 1))
    of_subject = np.eye(len(names))[owner].T  # (subjects, items)
    observed, shares, items = of_subject @ pairs, of_subject @ (counts / numbers[:, None]), of_subject.sum(1)

    def statistic(drawn: Array) -> Array:
        total = drawn @ items
        p_observed, p = drawn @ observed / total, drawn @ shares / total[:, None]
        p_chance = ((p @ agreement) * p).sum(1)
        return np.concatenate([_kappa(p_observed, p_chance), p_observed[:, None]], axis=1)

    kappa, percent = over_subjects(statistic, len(names), seed=seed, resamples=resamples, undefined=SAME_ANSWERS)
    return kappa, percent


def intraclass_correlation(ratings: npt.ArrayLike) -> tuple[Estimate, Estimate]:
    """Estimate ICC(2,1), the reliability of one reader's rating, and ICC(2,k), that of the mean of all k.

    Two-way random effects, absolute agreement (Shrout and Fleiss 1979), with their intervals by F.

    Args:
        ratings: (items, readers); rows with NaN are left out. Items count as independent.
    """
    table = np.asarray(ratings, np.float64)
    table = table[np.isfinite(table).all(1)]
    n, k = table.shape
    if n < 2 or k < 2:
        missing = Estimate(None, n=n, unit="items", note="needs two readers and two items that both rated")
        return missing, missing
    grand = table.mean()
    between_items = k * ((table.mean(1) - grand) ** 2).sum() / (n - 1)
    between_readers = n * ((table.mean(0) - grand) ** 2).sum() / (k - 1)
    residual = table - table.mean(1, keepdims=True) - table.mean(0) + grand
    error = (residual**2).sum() / ((n - 1) * (k - 1))
    denominator = between_items + (k - 1) * error + k * (between_readers - error) / n
    if denominator <= 1e-12:
        missing = Estimate(None, n=n, unit="items", note="not defined: all ratings are the same")
        return missing, missing
    single = (between_items - error) / denominator
    if error <= 1e-12 * denominator:
        low = high = None
    else:
        low, high = _icc_limits(single, between_items, between_readers, error, n, k)
    note = "" if low is not None else "no interval: the ratings differ by the readers' levels only"
    many = [_stepped_up(part, k) for part in (single, low, high)]
    return Estimate(float(single), low, high, n, "items", note), Estimate(many[0], many[1], many[2], n, "items", note)


def _icc_limits(
    single: float, items: float, readers: float, error: float, n: int, k: int
) -> tuple[float | None, float | None]:
    """Return the interval of ICC(2,1); `items`, `readers`, `error` are mean squares."""
    ratio = readers / error
    part = n * (1 + (k - 1) * single) - k * single
    freedom = (k - 1) * (n - 1) * (k * single * ratio + part) ** 2
    freedom /= (n - 1) * k**2 * single**2 * ratio**2 + part**2
    upper = 0.5 + CONFIDENCE / 2
    f_low, f_high = stats.f.ppf(upper, n - 1, freedom), stats.f.ppf(upper, freedom, n - 1)
    rest = k * readers + (k * n - k - n) * error
    low = n * (items - f_low * error) / (f_low * rest + n * items)
    high = n * (f_high * items - error) / (rest + n * f_high * items)
    return float(low), float(high)


def _stepped_up(single: float | None, k: int) -> float | None:
    """Return the reliability of the mean of k ratings (Spearman–Brown)."""
    if single is None:
        return None
    below = 1 + (k - 1) * single
    return float(k * single / below) if below > 0 else -np.inf


def _kappa(observed: Array, by_chance: Array) -> Array:
    room = 1 - by_chance
    return np.where(room > 1e-12, (observed - by_chance) / np.where(room > 1e-12, room, 1.0), np.nan)[:, None]


def _codes(values: npt.ArrayLike) -> npt.NDArray[np.intp]:
    return np.asarray(values, np.intp)


def _complete(
    pairs: npt.NDArray[np.intp], subjects: npt.ArrayLike
) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp], npt.NDArray[np.intp], int]:
    kept = (pairs != MISSING).all(1)
    names, owner = np.unique(np.asarray(subjects, dtype=object)[kept].astype(str), return_inverse=True)
    return pairs[kept, 0], pairs[kept, 1], owner, len(names)
