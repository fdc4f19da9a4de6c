"""Is a difference between two systems more than chance: the paired test over subjects, its correction, its size.

The Wilcoxon signed-rank test (Wilcoxon, Biometrics Bulletin 1(6), 1945) of one difference a subject, exact also with
ties; Holm's correction over all tests of one table (Holm, Scandinavian Journal of Statistics 6(2), 1979); the
matched-pairs rank-biserial correlation as the size of the effect (Kerby, Comprehensive Psychology 3, 2014). The unit is
the subject: images of one subject are alike, and counting each as new evidence makes every p too small.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from scipy import stats

MOST_EXACT = 50  # subjects up to which the null distribution is counted out
FEWEST_FOR_A_TEST = 6  # with five subjects that all agree, p is 0.0625
_DIGITS = 12  # differences closer than this, relative to the largest, are the same number but for rounding

ZEROS_IN_WORDS = {
    "wilcoxon": "subjects without a difference are left out (Wilcoxon's rule)",
    "pratt": "subjects without a difference are ranked and then left out (Pratt's rule)",
}


@dataclass(frozen=True)
class SignedRank:
    """A Wilcoxon signed-rank test.

    Attributes:
        p: two-sided; None where no subject has a difference to look at. 1 where all differences are zero.
        positive, negative: sums of the ranks of positive and of negative differences.
        rank_biserial: (positive − negative) / (positive + negative), from −1 to 1; None where all are zero.
        n: subjects with a difference other than zero.
        zeros: subjects without one.
        exact: whether p was counted out over all 2ⁿ signs, else taken from the normal approximation.
        smallest_p: what p would be if all n subjects agreed: 2¹⁻ⁿ.
    """

    p: float | None
    positive: float
    negative: float
    rank_biserial: float | None
    n: int
    zeros: int
    exact: bool
    smallest_p: float

    @property
    def too_few(self) -> bool:
        """Whether so few subjects differ that no p below 0.05 can be reached, whatever they say."""
        return self.n < FEWEST_FOR_A_TEST

    def to_json(self) -> dict[str, Any]:
        """Return the test for a JSON file."""
        return {
            "p": self.p,
            "rank_biserial": self.rank_biserial,
            "n": self.n,
            "zeros": self.zeros,
            "exact": self.exact,
            "smallest_reachable_p": self.smallest_p,
        }


def subject_differences(
    first: Sequence[float] | npt.NDArray[np.float64],
    second: Sequence[float] | npt.NDArray[np.float64],
    subjects: Sequence[str],
) -> npt.NDArray[np.float64]:
    """Return one difference a subject: the mean over its cases of first − second.

    Args:
        first, second: one value a case, paired.
        subjects: whose case it is.

    Returns:
        In the order of sorted names; cases in which a value is infinite or NaN are left out, except that two equal
        infinite values differ by 0; subjects without a case left are not there.
    """
    one, other = np.asarray(first, np.float64), np.asarray(second, np.float64)
    if not len(one) == len(other) == len(subjects):
        raise ValueError(f"{len(one)} and {len(other)} values but {len(subjects)} subjects")
    with np.errstate(invalid="ignore"):
        difference = np.where(one == other, 0.0, one - other)
    finite = np.isfinite(difference)
    if not finite.any():
        return np.zeros(0)
    _, owner = np.unique(np.asarray(subjects, dtype=object)[finite].astype(str), return_inverse=True)
    return np.asarray(np.bincount(owner, difference[finite]) / np.bincount(owner), np.float64)


def signed_rank(
    differences: Sequence[float] | npt.NDArray[np.float64], *, zeros: Literal["wilcoxon", "pratt"] = "wilcoxon"
) -> SignedRank:
    """Test whether paired differences are symmetric around zero (two-sided).

    Up to 50 subjects p is exact, ties included: the sum of midranks is counted over all signs. Beyond, it is the normal
    approximation, whose variance Σrank²/4 holds with ties too, without continuity correction.

    Args:
        differences: one a subject, finite, any unit.
        zeros: what becomes of differences of zero; see `ZEROS_IN_WORDS`.

    Raises:
        ValueError: a difference is not finite.
    """
    values = np.asarray(differences, np.float64)
    if not np.isfinite(values).all():
        raise ValueError("the signed-rank test takes finite differences only")
    if values.size == 0:
        return SignedRank(None, 0.0, 0.0, None, 0, 0, True, 1.0)
    largest = float(np.abs(values).max())
    if largest > 0:
        values = np.round(values / largest, _DIGITS)
    different = values != 0
    n = int(different.sum())
    zero = int(values.size - n)
    if n == 0:
        return SignedRank(1.0, 0.0, 0.0, None, 0, zero, True, 1.0)
    ranked = values[different] if zeros == "wilcoxon" else values
    ranks = stats.rankdata(np.abs(ranked))[ranked != 0]
    above = ranked[ranked != 0] > 0
    positive, negative = float(ranks[above].sum()), float(ranks[~above].sum())
    exact = n <= MOST_EXACT
    p = _exact_p(ranks, min(positive, negative)) if exact else _approximate_p(ranks, positive)
    effect = (positive - negative) / (positive + negative)
    return SignedRank(p, positive, negative, effect, n, zero, exact, 2.0 ** (1 - n))


def _exact_p(ranks: npt.NDArray[np.float64], smaller: float) -> float:
    """Return twice the share of all sign patterns whose positive rank sum is at most `smaller`, at most 1."""
    doubled = np.rint(2 * ranks).astype(int)  # midranks are halves
    share = np.zeros(int(doubled.sum()) + 1)
    share[0] = 1.0
    for rank in doubled:
        moved = np.zeros_like(share)
        moved[rank:] = share[: share.size - rank]
        share = 0.5 * (share + moved)
    return float(min(1.0, 2.0 * share[: round(2 * smaller) + 1].sum()))


def _approximate_p(ranks: npt.NDArray[np.float64], positive: float) -> float:
    z = (positive - ranks.sum() / 2) / np.sqrt((ranks**2).sum() / 4)
    return float(min(1.0, 2 * stats.norm.sf(abs(z))))


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """Return Holm's adjusted p of each test: with m tests sorted upwards, max over j ≤ i of min(1, (m − j + 1)·p₍ⱼ₎).

    Rejecting where the adjusted p is at most α keeps the chance of one or more false rejections in the whole table at
    most α, however the tests depend on each other.

    Args:
        p_values: from 0 to 1; None, a test that could not be made, stays None and does not count.
    """
    known = [place for place, p in enumerate(p_values) if p is not None]
    order = sorted(known, key=lambda place: float(p_values[place] or 0.0))
    adjusted: list[float | None] = [None] * len(p_values)
    highest = 0.0
    for step, place in enumerate(order):
        highest = max(highest, min(1.0, (len(order) - step) * float(p_values[place] or 0.0)))
        adjusted[place] = highest
    return adjusted
