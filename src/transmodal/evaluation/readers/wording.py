"""Estimates, shares and p values as a table of a reader study shows them."""

import math
from collections.abc import Iterable

from transmodal.evaluation.readers.detection import Proportion
from transmodal.evaluation.readers.resampling import Estimate
from transmodal.metrics import metric_of
from transmodal.reporting.html import Cell

DASH = "—"


def number(value: float) -> str:
    """Return a number with three decimals and a true minus, which a rounded 0 has not."""
    return (f"{value:z.3f}" if math.isfinite(value) else "∞" if value > 0 else "-∞").replace("-", "−")


def estimate_text(estimate: Estimate | None) -> str:
    """Return a value for a table."""
    return DASH if estimate is None or estimate.value is None else number(estimate.value)


def interval_text(estimate: Estimate | Proportion | None) -> str:
    """Return a 95 % interval for a table, or why there is none."""
    if estimate is None:
        return ""
    if estimate.low is None or estimate.high is None:
        return getattr(estimate, "note", "") or ""
    return f"{number(estimate.low)} to {number(estimate.high)}"


def estimate_cell(estimate: Estimate | None) -> Cell:
    """Return value over interval."""
    return Cell(estimate_text(estimate), interval_text(estimate))


def intervals_in_words(estimates: Iterable[Estimate | None], over: str = "readers and subjects") -> str:
    """Return for a caption whom the intervals of these estimates speak of, or that there are none.

    Args:
        estimates: that the table or chart shows.
        over: what is drawn where an estimate's note restricts nothing.
    """
    shown = [estimate for estimate in estimates if estimate is not None and estimate.low is not None]
    restricted = list(dict.fromkeys(estimate.note for estimate in shown if estimate.note))
    if not shown:
        return "without intervals"
    if not restricted:
        return f"95 % intervals over {over}"
    whole = f"{over}; some over " if any(not estimate.note for estimate in shown) else ""
    return f"95 % intervals over {whole}subjects: {'; '.join(restricted)}"


def share_cell(share: Proportion | None) -> Cell:
    """Return a share in per cent over its interval."""
    if share is None or share.share is None:
        return Cell(DASH)
    return Cell(f"{100 * share.share:.1f} %", percent_interval(share.low, share.high))


def percent_interval(low: float | None, high: float | None) -> str:
    """Return an interval of shares in per cent."""
    return "" if low is None or high is None else f"{100 * low:.1f} to {100 * high:.1f}"


def p_text(p: float | None) -> str:
    """Return a p value for people."""
    return DASH if p is None else "< 0.001" if p < 0.001 else f"{p:.3f}"


def title_of(metric: str) -> str:
    """Return a metric's title."""
    return metric_of(metric).title + (f" {metric[metric.index('[') :]}" if "[" in metric else "")
