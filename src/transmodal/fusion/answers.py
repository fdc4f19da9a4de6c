"""The questions that a study of one animal is for, answered from its curves in words, numbers and intervals.

Does the compound reach the target, and how much of it? Where else does it go? How long does it stay? When is the peak?
When should the animal go to the scanner? All answers are planar: what lies over or under a region is in its counts.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas
from scipy import stats

from transmodal.errors import UserError
from transmodal.fusion.curves import TimeActivity
from transmodal.fusion.estimates import DASH, Estimate, time_text
from transmodal.fusion.kinetic_fit import KineticFit, fit, fit_region
from transmodal.fusion.regions import target_of
from transmodal.images.nuclear.decay import to_injection
from transmodal.reporting.figures import plain_number

Array = npt.NDArray[np.float64]
_SURE = 3.0  # standard deviations from which counts are called activity
_OF_BEST = 0.9
_MOMENTS = 400
SURROUNDINGS = ("soft tissue", "body", "whole body", "background")


@dataclass(frozen=True)
class Answer:
    """One question: its answer in a sentence, and the numbers behind it."""

    question: str
    answer: str
    numbers: tuple[tuple[str, str], ...] = ()
    remark: str = ""


@dataclass(frozen=True)
class Window:
    """When a measure is within 90 % of its best; s after the injection.

    Attributes:
        begin, end: of the window.
        best: the moment of the best.
        value: of the measure there.
        open_end: the best lies at the end of what was observed, so that later may be better.
        from_fit: whether the curve was fitted; else frames were compared.
    """

    begin: float
    end: float
    best: float
    value: float
    open_end: bool
    from_fit: bool

    def text(self) -> str:
        """Return "between 1.2 h and 2.5 h after the injection"."""
        open_end = ", when the observation ended" if self.open_end else ""
        return f"between {time_text(self.begin)} and {time_text(self.end)} after the injection{open_end}"


@dataclass(frozen=True, eq=False)
class Answers:
    """All answers about one target.

    Attributes:
        target: its name.
        answers: in the order of the questions.
        organs: a row a region: peak %ID with interval, when, share at the end; highest first.
        contrast: window of the target-to-background; None where unknown, as the following.
        yielded: window of the net counts of one frame.
        visible: window in which the net counts of one frame stand out most from their noise.
        frame_length: s, for which both hold.
    """

    target: str
    answers: tuple[Answer, ...]
    organs: pandas.DataFrame
    contrast: Window | None
    yielded: Window | None
    visible: Window | None
    frame_length: float | None

    def table(self) -> pandas.DataFrame:
        """Return question, answer and remark, a row each."""
        rows = [(each.question, each.answer, each.remark) for each in self.answers]
        return pandas.DataFrame(rows, columns=["question", "answer", "remark"])


def fit_all(curves: TimeActivity, *, at: Sequence[float] = ()) -> dict[str, KineticFit]:
    """Fit every region's curve; empty where there is no %ID to fit."""
    if curves.percent_id is None:
        return {}
    return {name: fit_region(curves, name, at=at) for name in curves.names}


def answer(
    curves: TimeActivity,
    fits: Mapping[str, KineticFit] | None = None,
    *,
    target: str = "",
    frame_length: float | None = None,
) -> Answers:
    """Answer the questions.

    Args:
        curves: of all regions.
        fits: of `fit_all`; made where not given.
        target: the region asked about; "" for the one with that role or a name such as tumour.
        frame_length: s, of the later scan; None for the longest frame of this one.

    Raises:
        UserError: no region is the target.
    """
    name = target_of(curves.names, curves.roles, target)
    if not name:
        raise UserError(f"no region is the target; name one of {', '.join(curves.names)}")
    fits = fit_all(curves) if fits is None else fits
    own = fits.get(name, KineticFit())
    length = frame_length or (None if curves.durations is None else float(curves.durations.max()))
    beside = fit_background(curves, name) if own.model else None
    contrast = contrast_window(curves, name, own, beside)
    yielded = None if length is None else counts_window(own, length)
    visible = None if length is None else visible_window(curves, name, own, beside, length)
    organs = organs_by_peak(curves, fits)
    answers = (
        _reaches(curves, name),
        _amount(own),
        _elsewhere(curves, organs, name),
        _stays(own, curves.half_life),
        _peak(own),
        _scanner(contrast, yielded, visible, length),
    )
    return Answers(name, answers, organs, contrast, yielded, visible, length)


def organs_by_peak(curves: TimeActivity, fits: Mapping[str, KineticFit]) -> pandas.DataFrame:
    """Return a row a region, the highest peak first: %ID of the fit, or of the highest frame where there is none.

    Columns: region, peak, low, high, unit, peak_time_s, last (in the last frame), net_counts and their z over all
    frames, model.
    """
    rows = []
    for place, name in enumerate(curves.names):
        values = curves.percent_id[place] if curves.percent_id is not None else curves.net[place]
        spread = curves.percent_id_sd[place] if curves.percent_id_sd is not None else curves.net_sd[place]
        fitted = fits.get(name, KineticFit())
        best = int(values.argmax())
        peak = fitted.estimates.get("peak") or Estimate(
            float(values[best]), float(values[best] - 1.96 * spread[best]), float(values[best] + 1.96 * spread[best]),
            how="Poisson",
        )  # fmt: skip
        when = fitted.estimates.get("peak_time")
        moment = when.value if when is not None else None
        if moment is None and curves.starts is not None:
            durations = np.zeros_like(curves.starts) if curves.durations is None else curves.durations
            moment = float((curves.starts + durations / 2)[best])
        net, sd = curves.net[place].sum(), math.sqrt(float((curves.net_sd[place] ** 2).sum()))
        rows.append(
            {
                "region": name,
                "peak": peak.value,
                "low": peak.low,
                "high": peak.high,
                "unit": "%ID" if curves.percent_id is not None else "counts",
                "peak_time_s": math.nan if moment is None else moment,
                "last": float(values[-1]),
                "net_counts": float(net),
                "z": float(net / sd) if sd > 0 else math.nan,
                "model": fitted.model,
            }
        )
    return pandas.DataFrame(rows).sort_values("peak", ascending=False, kind="stable", ignore_index=True)


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
        return _window(times, ratio, last, from_fit=True)
    values = curves.target_to_background[place]
    known = np.isfinite(values) & (curves.starts >= 0)
    if not known.any():
        return None
    middles = (curves.starts + curves.durations / 2)[known]
    return _window(middles, values[known], float(middles[-1]), from_fit=False)


def fit_background(curves: TimeActivity, name: str) -> KineticFit | None:
    """Fit the background over the area of a region, in the %ID of that region; None where it is not known."""
    place = curves.number(name)
    if curves.percent_of_count is None or curves.starts is None or curves.durations is None:
        return None
    one = curves.percent_of_count[place]
    if not curves.background[place].any():
        return None
    return fit(
        curves.starts, curves.durations, curves.background[place] * one, curves.background_sd[place] * one,
        half_life=curves.half_life,
    )  # fmt: skip


def visible_window(
    curves: TimeActivity, name: str, own: KineticFit, beside: KineticFit | None, length: float
) -> Window | None:
    """Return when a frame should begin so that its net counts stand out most from their noise, N / √(N + 2B).

    It weighs contrast against counts. None where target or background have no fit.
    """
    if not own.model or beside is None or not beside.model or curves.percent_of_count is None or curves.rate is None:
        return None
    assert curves.starts is not None and curves.durations is not None and curves.half_life is not None
    one = curves.percent_of_count[curves.number(name)]
    of_percent = float((to_injection(curves.half_life, curves.starts, curves.durations) / one / curves.durations)[0])
    begins = np.linspace(0.0, own.observed[1], _MOMENTS)
    net, under = (
        of_percent * np.array([each.counted(float(begin), length) for begin in begins]) for each in (own, beside)
    )
    return _window(begins, net / np.sqrt(np.maximum(net + 2 * under, 1e-12)), own.observed[1], from_fit=True)


def counts_window(own: KineticFit, length: float) -> Window | None:
    """Return when a frame of some length should begin to count within 90 % of the most; None without a fit."""
    if not own.model:
        return None
    begins = np.linspace(0.0, own.observed[1], _MOMENTS)
    counts = np.array([own.counted(float(begin), length) for begin in begins])
    return _window(begins, counts, own.observed[1], from_fit=True)


def _begin(curves: TimeActivity) -> float:
    """Return the middle of the first frame: a ratio is not followed to where nothing was counted."""
    assert curves.starts is not None and curves.durations is not None
    place = int(np.argmax(curves.starts >= 0))
    return float(curves.starts[place] + curves.durations[place] / 2)


def _window(times: Array, values: Array, last: float, *, from_fit: bool) -> Window:
    best = int(values.argmax())
    good = values >= _OF_BEST * values[best]
    first, end = best, best
    while first > 0 and good[first - 1]:
        first -= 1
    while end < len(times) - 1 and good[end + 1]:
        end += 1
    open_end = end == len(times) - 1 and times[end] >= last * (1 - 1e-9)
    return Window(float(times[first]), float(times[end]), float(times[best]), float(values[best]), open_end, from_fit)


def _reaches(curves: TimeActivity, name: str) -> Answer:
    place = curves.number(name)
    net = float(curves.net[place].sum())
    sd = math.sqrt(float((curves.net_sd[place] ** 2).sum()))
    z = net / sd if sd > 0 else 0.0
    verdict = "Yes" if z >= _SURE else "Not shown"
    low, high = net - 1.96 * sd, net + 1.96 * sd
    numbers = [
        ("net counts, all frames", f"{plain_number(net)} ({plain_number(low)} to {plain_number(high)})"),
        ("standard deviations above background", f"{z:.1f} (p {max(stats.norm.sf(z), 1e-99):.2g})"),
    ]
    ratio = ""
    background = float(curves.background[place].sum())
    if background > 0:
        value = float(curves.counts[place].sum()) / background
        spread = value * math.sqrt(
            1 / max(float(curves.counts[place].sum()), 1.0)
            + float((curves.background_sd[place] ** 2).sum()) / background**2
        )
        interval = f"{plain_number(value - 1.96 * spread)} to {plain_number(value + 1.96 * spread)}"
        numbers.append(("target to background", f"{plain_number(value)} ({interval})"))
        ratio = f", {plain_number(value)} times the background of the same area ({interval})"
    remark = "" if background > 0 else "no background was taken off: counts from over and under the target are in this"
    text = f"{verdict}: {plain_number(net)} net counts, {z:.1f} standard deviations above {'background' if background > 0 else '0'}{ratio}."  # noqa: E501
    return Answer(f"Does the compound reach the target ({name})?", text, tuple(numbers), remark)


def _amount(own: KineticFit) -> Answer:
    question = "How much of it?"
    if not own.model:
        return Answer(question, "Not known.", remark=" ".join(own.said) or "there is no %ID")
    peak = own.estimates["peak"]
    numbers = [("peak", peak.sentence())]
    if own.area is not None:
        numbers.append(("area under the curve, observed", own.area.observed.sentence()))
        share = "" if math.isnan(own.area.tail_share) else f"; {100 * own.area.tail_share:.0f} % of it in the tail"
        numbers.append(("area with the tail", own.area.total.sentence() + share))
    return Answer(question, f"{peak.text()} at the peak (95 %: {peak.interval()}).", tuple(numbers), _PLANAR)


def _elsewhere(curves: TimeActivity, organs: pandas.DataFrame, name: str) -> Answer:
    background = [own for own, role in zip(curves.names, curves.roles, strict=True) if role == "background"]
    unranked = [name, *SURROUNDINGS, *background]
    others = organs[(organs["z"] >= _SURE) & ~organs["region"].isin(unranked)]
    named = [f"{row['region']} ({plain_number(row['peak'])} {row['unit']})" for row in others.to_dict("records")]
    numbers = []
    for row in organs.to_dict("records"):
        interval = f"{plain_number(row['low'])} to {plain_number(row['high'])}"
        when = DASH if math.isnan(row["peak_time_s"]) else time_text(row["peak_time_s"])
        numbers.append((str(row["region"]), f"{plain_number(row['peak'])} {row['unit']} ({interval}) at {when}"))
    text = f"Highest first, at their peaks: {', '.join(named[:6])}." if named else "Nowhere else among these regions."
    surrounding = [each for each in curves.names if each in unranked and each != name]
    remark = f"{', '.join(surrounding)} not ranked: around organs, or background" if surrounding else ""
    return Answer("Where else does it go?", text, tuple(numbers), remark)


def _stays(own: KineticFit, half_life: float | None) -> Answer:
    question = "How long does it stay?"
    biological = own.estimates.get("clearance_half_time")
    if biological is None:
        return Answer(question, "Not known.", remark=" ".join(own.said) or "there is no curve to fit")
    numbers = [("biological half-life", biological.sentence())]
    effective = own.estimates.get("effective_half_life")
    if half_life is None or effective is None:
        text = f"Half of it leaves in {_plain(biological)}."
        return Answer(question, text, tuple(numbers), "no isotope is known: this is the effective half-life")
    numbers.append(("effective half-life", effective.sentence()))
    numbers.append(("physical half-life", time_text(half_life)))
    fast = own.estimates.get("fast_clearance_half_time")
    if fast is not None:
        numbers.append(("first, quicker half-life", fast.sentence()))
    text = f"Biological half-life {_plain(biological)}; with decay, effective half-life {_plain(effective)}."
    return Answer(question, text, tuple(numbers), biological.note)


def _peak(own: KineticFit) -> Answer:
    question = "When is the peak?"
    when = own.estimates.get("peak_time")
    if when is None:
        return Answer(question, "Not known.", remark=" ".join(own.said) or "there is no curve to fit")
    numbers = [("peak time", when.sentence()), ("%ID then", own.estimates["peak"].sentence())]
    uptake = own.estimates.get("uptake_half_time")
    if uptake is not None:
        numbers.append(("uptake half-time", uptake.sentence()))
    after = "" if when.value is None else " after the injection"
    return Answer(question, f"{_plain(when)}{after}.".capitalize(), tuple(numbers), when.note)


def _scanner(contrast: Window | None, yielded: Window | None, visible: Window | None, length: float | None) -> Answer:
    question = "When should the animal go to the scanner?"
    numbers = []
    if contrast is not None:
        best = f"best {plain_number(contrast.value)} at {time_text(contrast.best)}"
        source = "" if contrast.from_fit else "; from frames, not fitted"
        numbers.append(("target to background within 90 % of its best", f"{contrast.text()} ({best}{source})"))
    if yielded is not None and length is not None:
        most = f"most at {time_text(yielded.best)}"
        numbers.append((f"net counts of a {time_text(length)} frame within 90 %", f"begun {yielded.text()} ({most})"))
    if visible is not None:
        words = "net counts of such a frame over their noise within 90 %"
        numbers.append((words, f"begun {visible.text()} (best {visible.value:.3g} at {time_text(visible.best)})"))
    windows = [each for each in (contrast, yielded) if each is not None]
    if not windows:
        return Answer(question, "Not known.", remark="times and a background or %ID are needed")
    begin, end = max(each.begin for each in windows), min(each.end for each in windows)
    remark = ""
    if any(each.open_end for each in windows):
        remark = "the best lies where the observation ended: later may be better still"
    if begin <= end:
        both = " for contrast and counts alike" if len(windows) == 2 else ""
        text = f"Between {time_text(begin)} and {time_text(end)} after the injection{both}."
    else:
        text = f"For contrast {windows[0].text()}; for counts {windows[1].text()}. The two do not meet"
        text += f"; net counts stand out most from their noise {visible.text()}." if visible is not None else "."
    return Answer(question, text, tuple(numbers), remark)


def _plain(estimate: Estimate) -> str:
    interval = f" (95 %: {estimate.interval()})" if estimate.interval() and estimate.low != estimate.high else ""
    return f"{estimate.text()}{interval}"


_PLANAR = "planar: not corrected for what lies over or under it, nor for depth unless said; not %ID/g"
