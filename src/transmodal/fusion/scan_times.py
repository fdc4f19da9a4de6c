"""When an animal should go to the scanner: by contrast, by counts, and by what stands out most from its noise."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from transmodal.fusion.curves import TimeActivity
from transmodal.fusion.estimates import time_text
from transmodal.fusion.kinetic_fit import KineticFit, fit

Array = npt.NDArray[np.float64]
_OF_BEST = 0.9
_MOMENTS = 400


def between_text(begin: float, end: float) -> str:
    """Return "between 1.2 h and 2.5 h", or "at 1.2 h" where both are written alike; s."""
    first, last = time_text(begin), time_text(end)
    return f"at {first}" if first == last else f"between {first} and {last}"


@dataclass(frozen=True)
class Window:
    """When a measure is within 90 % of its best; s after the injection.

    Attributes:
        begin, end: of the window.
        best: the moment of the best.
        value: of the measure there.
        open_end: the best lies at the end of what was observed, so that later may be better.
        from_fit: whether the curve was fitted; else frames were compared.
        open_begin: it begins with the first frame, some time after the injection, so that earlier may be as good.
    """

    begin: float
    end: float
    best: float
    value: float
    open_end: bool
    from_fit: bool
    open_begin: bool = False

    def text(self) -> str:
        """Return "between 1.2 h and 2.5 h after the injection"."""
        open_end = ", when the observation ended" if self.open_end else ""
        return f"{between_text(self.begin, self.end)} after the injection{open_end}"


def contrast_window(
    curves: TimeActivity, name: str, own: KineticFit, beside: KineticFit | None = None
) -> Window | None:
    """Return when the target-to-background is within 90 % of its best; None without background.

    Of the fits of target and background (`fit_background`), where both are there: frames with few counts have the
    wildest ratios.
    """
    place = curves.number(name)
    if curves.target_to_background is None or curves.starts is None or curves.durations is None:
        return None
    if own.model and beside is not None and beside.model:
        first, last = own.observed
        times = np.unique(np.concatenate([[_begin(curves)], np.linspace(first, last, _MOMENTS)]))
        times = times[times >= _begin(curves)]
        ratio = 1.0 + own.curve(times) / np.maximum(beside.curve(times), 1e-12)
        return _window(times, ratio, own.observed, from_fit=True)
    values = curves.target_to_background[place]
    known = np.isfinite(values) & (curves.starts >= 0)
    if known.sum() < 2:  # of one frame there is no course
        return None
    middles = (curves.starts + curves.durations / 2)[known]
    return _window(middles, values[known], (float(curves.starts[known][0]), float(middles[-1])), from_fit=False)


def fit_background(curves: TimeActivity, name: str) -> KineticFit | None:
    """Fit the background over the area of a region, in the unit of that region.

    None where it was not counted: a constant rate has no variances, by which a fit could weigh its frames.
    """
    place, scale = curves.number(name), curves.scale
    if scale is None or curves.starts is None or curves.durations is None:
        return None
    if not curves.background_sd[place].any():
        return None
    one = scale.of_count[place]
    return fit(
        curves.starts, curves.durations, curves.background[place] * one, curves.background_sd[place] * one,
        half_life=curves.half_life, unit=scale.unit,
    )  # fmt: skip


def visible_window(
    curves: TimeActivity, name: str, own: KineticFit, beside: KineticFit | None, length: float
) -> Window | None:
    """Return when a frame should begin so that its net counts stand out most from their noise, N / √(N + 2B).

    It weighs contrast against counts. Moments before the first frame take no part. None where target or background
    have no fit.
    """
    scale = curves.scale
    if not own.model or beside is None or not beside.model or scale is None or curves.undecayed is None:
        return None
    of_value = float(1.0 / (scale.of_count[curves.number(name)] * curves.undecayed)[0])  # counts a second
    begins = np.linspace(*own.observed, _MOMENTS)
    net, under = (
        of_value * np.array([each.counted(float(begin), length) for begin in begins]) for each in (own, beside)
    )
    return _window(begins, net / np.sqrt(np.maximum(net + 2 * under, 1e-12)), own.observed, from_fit=True)


def counts_window(own: KineticFit, length: float) -> Window | None:
    """Return when a frame of some length should begin to count within 90 % of the most; None without a fit.

    Moments before the first frame take no part: a curve is not followed to where nothing was counted.
    """
    if not own.model:
        return None
    begins = np.linspace(*own.observed, _MOMENTS)
    counts = np.array([own.counted(float(begin), length) for begin in begins])
    return _window(begins, counts, own.observed, from_fit=True)


def _begin(curves: TimeActivity) -> float:
    """Return the middle of the first frame: a ratio is not followed to where nothing was counted."""
    assert curves.starts is not None and curves.durations is not None
    place = int(np.argmax(curves.starts >= 0))
    return float(curves.starts[place] + curves.durations[place] / 2)


def _window(times: Array, values: Array, observed: tuple[float, float], *, from_fit: bool) -> Window:
    best = int(values.argmax())
    good = values >= _OF_BEST * values[best]
    first, end = best, best
    while first > 0 and good[first - 1]:
        first -= 1
    while end < len(times) - 1 and good[end + 1]:
        end += 1
    open_end = end == len(times) - 1 and times[end] >= observed[1] * (1 - 1e-9)
    return Window(
        float(times[first]), float(times[end]), float(times[best]), float(values[best]), open_end, from_fit,
        open_begin=first == 0 and observed[0] > 0,
    )  # fmt: skip
