"""A number with its interval, or with the reason why there is none, and how both are written for people."""

import math
from dataclasses import dataclass
from typing import Literal

from transmodal.reporting.figures import plain_number

DASH = "—"
How = Literal["profile likelihood", "delta method", "Poisson", ""]


@dataclass(frozen=True)
class Estimate:
    """One quantity.

    Attributes:
        value: None where the data do not determine it.
        low, high: 95 % interval; infinite (or 0) where it is open on that side, None where there is none.
        unit: "s", "%ID", "counts/s", "%ID·h", "1", …
        how: the interval was found.
        note: why there is no value, or what limits it.
    """

    value: float | None
    low: float | None = None
    high: float | None = None
    unit: str = ""
    how: How = ""
    note: str = ""

    @property
    def determined(self) -> bool:
        """Whether there is a value with an interval that is closed on both sides."""
        return self.value is not None and all(end is not None and math.isfinite(end) for end in (self.low, self.high))

    def holds(self, truth: float) -> bool:
        """Say whether the interval holds a value; an open side holds all."""
        low = -math.inf if self.low is None else self.low
        high = math.inf if self.high is None else self.high
        return low <= truth <= high

    def text(self) -> str:
        """Return the value, or "not determined: > 3.2 h", "not determined: 3.2 h to 6.01 h"."""
        if self.value is not None:
            return written(self.value, self.unit)
        if self.low and self.high is not None and 0 < self.low < self.high < math.inf:
            return f"not determined: {written(self.low, self.unit)} to {written(self.high, self.unit)}"
        if self.low is not None and self.low > 0 and (self.high is None or math.isinf(self.high)):
            return f"not determined: > {written(self.low, self.unit)}"
        if self.high is not None and math.isfinite(self.high):
            return f"not determined: < {written(self.high, self.unit)}"
        return "not determined"

    def interval(self) -> str:
        """Return "3.1 h to 4.2 h", or "" where there is no closed interval."""
        if not self.determined or self.low is None or self.high is None:
            return ""
        return f"{written(self.low, self.unit)} to {written(self.high, self.unit)}"

    def sentence(self) -> str:
        """Return value, interval and note on one line."""
        interval = f" (95 %: {self.interval()})" if self.interval() else ""
        return f"{self.text()}{interval}{f'; {self.note}' if self.note else ''}"


def written(value: float, unit: str) -> str:
    """Write a value with its unit; times in s, min, h or days, whichever is easiest to read."""
    if unit == "s":
        return time_text(value)
    return plain_number(value) if unit in ("", "1") else f"{plain_number(value)} {unit}"


def time_text(seconds: float) -> str:
    """Return "45 s", "12.3 min", "3.45 h" or "4.2 d" with three digits."""
    if not math.isfinite(seconds):
        return "∞" if seconds > 0 else DASH
    unit, size = _time_unit(seconds)
    return f"{float(f'{seconds / size:.3g}'):g} {unit}".replace("-", "−")


def span_text(start: float | None, end: float | None) -> str:
    """Return the time of frames in words, both ends in the unit that suits the later: "2 to 3 h after injection"."""
    if start is None or end is None:
        return "time after injection not known"
    unit, size = _time_unit(max(start, end, key=abs))
    first, last = (f"{value / size:.2f}".rstrip("0").rstrip(".").replace("-", "−") for value in (start, end))
    return f"{first} {unit} after injection" if first == last else f"{first} to {last} {unit} after injection"


def _time_unit(seconds: float) -> tuple[str, float]:
    """Return the unit in which a time is easiest to read, and its length in s."""
    for unit, size, most in (("s", 1.0, 120.0), ("min", 60.0, 7200.0), ("h", 3600.0, 4 * 86400.0)):
        if abs(seconds) < most:
            return unit, size
    return "d", 86400.0
