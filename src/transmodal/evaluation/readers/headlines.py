"""The large numbers of a reader study's report: which system is first, and whether the answers tell it apart.

A system counts as told apart where its interval lies above those of all others. That is stricter than a paired test of
the difference; the tests stand in the report, too.
"""

from collections.abc import Mapping, Sequence

from transmodal.evaluation.readers.answers import REAL
from transmodal.evaluation.readers.preferences import Strength
from transmodal.evaluation.readers.resampling import Estimate
from transmodal.evaluation.readers.wording import DASH, estimate_text, interval_text
from transmodal.reporting.html import Headline


def with_limits(estimate: Estimate) -> str:
    """Return the 95 % interval for a headline, or why there is none."""
    return f"95 %: {interval_text(estimate)}" if estimate.low is not None else estimate.note


def best_rated(criterion: str, means: Mapping[str, Estimate]) -> Headline:
    """Return the made system with the highest mean rating; true images are left out where others were rated.

    Args:
        criterion: of the ratings.
        means: system → mean rating.
    """
    made = {name: estimate for name, estimate in means.items() if name != REAL} or dict(means)
    known = {name: estimate.value for name, estimate in made.items() if estimate.value is not None}
    if not known:
        return Headline(f"Mean rating, {criterion}", DASH, "no answer")
    top = max(known.values())
    first = [name for name, value in known.items() if value == top]
    of_made = " of the made images" if REAL in means and REAL not in made else ""
    apart, remark = standing(first, made)
    label = f"Rated best{of_made}" if apart else f"Highest mean rating{of_made}"
    mean = f"mean {estimate_text(made[first[0]])}"
    limits = with_limits(made[first[0]]) if len(first) == 1 else ""
    return Headline(f"{label}, {criterion}", ", ".join(first), limits, f"{mean}; {remark}" if remark else mean)


def most_preferred(strengths: Sequence[Strength]) -> Headline:
    """Return the system with the highest Bradley–Terry strength."""
    top = max(each.strength.value or 0.0 for each in strengths)
    first = [each for each in strengths if abs((each.strength.value or 0.0) - top) < 1e-9]
    apart, remark = standing([each.system for each in first], {each.system: each.strength for each in strengths})
    if first[0].first is not None and len(first) == 1:
        remark += f"; strongest in {100 * first[0].first:.0f} % of resamples over subjects"
    names = ", ".join(each.system for each in first)
    label = "Preferred most" if apart else "Highest strength of preference"
    return Headline(label, names, f"{100 * first[0].share:.0f} % of its comparisons won, ties as halves", remark)


def standing(first: Sequence[str], estimates: Mapping[str, Estimate]) -> tuple[bool, str]:
    """Return whether the first system is told apart from the others, and that in words.

    Args:
        first: systems with the highest value, several where it is equal.
        estimates: of all systems.
    """
    others = {name: estimate for name, estimate in estimates.items() if name not in first}
    if len(first) > 1:
        return False, "equally high"
    if not others:
        return False, "no other system to compare with"
    best = estimates[first[0]]
    if best.low is None or all(each.high is None for each in others.values()):
        return False, f"stability unknown: {best.note}" if best.note else "stability unknown"
    close = [name for name, each in others.items() if each.high is None or each.high >= best.low]
    if close:
        return False, f"not told apart from {', '.join(close)}: intervals overlap"
    return True, "its interval lies above the others"
