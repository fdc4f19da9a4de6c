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
from transmodal.fusion.background import SURROUNDINGS
from transmodal.fusion.curves import TimeActivity
from transmodal.fusion.estimates import DASH, Estimate, time_text, written
from transmodal.fusion.kinetic_fit import KineticFit, fit_region
from transmodal.fusion.regions import target_of
from transmodal.fusion.scan_times import Window, contrast_window, counts_window, fit_background, visible_window
from transmodal.reporting.figures import plain_number

Array = npt.NDArray[np.float64]
_SURE = 3.0  # standard deviations from which counts are called activity


@dataclass(frozen=True)
class Answer:
    """One question: its answer in a sentence, and the numbers behind it."""

    question: str
    answer: str
    numbers: tuple[tuple[str, str], ...] = ()
    remark: str = ""


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
    """Fit every region's curve, in %ID or else in decay-corrected counts a second; empty without isotope or times."""
    if curves.scale is None:
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
        UserError: no region is the target, or the later scan would last no time.
    """
    if frame_length is not None and not 0 < frame_length < math.inf:
        raise UserError(f"a later frame of {frame_length:g} s; give how long it counts, above 0 s")
    name = target_of(curves.names, curves.roles, target)
    if not name:
        raise UserError(f"no region is the target; name one of {', '.join(curves.names)}")
    fits = fit_all(curves) if fits is None else fits
    own = fits.get(name, KineticFit())
    length = frame_length or _longest(curves)
    beside = fit_background(curves, name) if own.model else None
    contrast = contrast_window(curves, name, own, beside)
    yielded = None if length is None else counts_window(own, length)
    visible = None if length is None else visible_window(curves, name, own, beside, length)
    organs = organs_by_peak(curves, fits)
    answers = (
        _reaches(curves, name),
        _amount(curves, own, organs, name),
        _elsewhere(curves, organs, name),
        _stays(curves, own),
        _peak(curves, own),
        _scanner(contrast, yielded, visible, length),
    )
    return Answers(name, answers, organs, contrast, yielded, visible, length)


def organs_by_peak(curves: TimeActivity, fits: Mapping[str, KineticFit]) -> pandas.DataFrame:
    """Return a row a region, the highest peak first: that of the fit, or of the highest frame where there is none.

    Frames before the injection take no part. Columns: region, peak, low, high, unit (%ID, counts/s or counts),
    peak_time_s, last (in the last frame), net_counts of all frames and their z (NaN without background), model.
    """
    values, spread, unit = _shown(curves)
    after = np.flatnonzero(curves.after_injection)
    rows = []
    for place, name in enumerate(curves.names):
        fitted = fits.get(name, KineticFit())
        best = int(after[values[place, after].argmax()]) if after.size else None
        peak, when = fitted.estimates.get("peak"), fitted.estimates.get("peak_time")
        moment = math.nan if when is None or when.value is None else when.value
        if best is not None:
            value, sd = float(values[place, best]), float(spread[place, best])
            peak = peak or Estimate(value, value - 1.96 * sd, value + 1.96 * sd, unit, "Poisson")
            if math.isnan(moment) and curves.starts is not None:
                durations = np.zeros_like(curves.starts) if curves.durations is None else curves.durations
                moment = float((curves.starts + durations / 2)[best])
        peak = peak or Estimate(math.nan, math.nan, math.nan, unit)
        net, _, z = _signal(curves, place)
        rows.append(
            {
                "region": name,
                "peak": peak.value,
                "low": peak.low,
                "high": peak.high,
                "unit": unit,
                "peak_time_s": moment,
                "last": float(values[place, -1]),
                "net_counts": net,
                "z": z,
                "model": fitted.model,
            }
        )
    return pandas.DataFrame(rows).sort_values("peak", ascending=False, kind="stable", ignore_index=True)


def _shown(curves: TimeActivity) -> tuple[Array, Array, str]:
    """Return values and standard deviations (R, F) in the best unit that is known."""
    scale = curves.scale
    return (curves.net, curves.net_sd, "counts") if scale is None else (scale.values, scale.deviations, scale.unit)


def _signal(curves: TimeActivity, place: int) -> tuple[float, float, float]:
    """Return the net counts of all frames after the injection, their standard deviation, and how many of it they are.

    The last is NaN without background: from 0, counts of air are as sure as those of a tumour.
    """
    after = curves.after_injection
    net = float(curves.net[place, after].sum())
    sd = math.sqrt(float((curves.net_sd[place, after] ** 2).sum()))
    is_known = bool(curves.is_corrected[place]) and sd > 0
    return net, sd, net / sd if is_known else math.nan


def _longest(curves: TimeActivity) -> float | None:
    """Return the longest frame after the injection, s."""
    if curves.durations is None or not curves.after_injection.any():
        return None
    return float(curves.durations[curves.after_injection].max())


def _reaches(curves: TimeActivity, name: str) -> Answer:
    question = f"Does the compound reach the target ({name})?"
    place, after = curves.number(name), curves.after_injection
    net, sd, z = _signal(curves, place)
    frames = f"{after.sum()} frame{'' if after.sum() == 1 else 's'}"
    if not after.any():
        return Answer(question, "Cannot be told: no frame lies after the injection.")
    if not curves.is_corrected[place]:
        text = f"Cannot be told without a background: {plain_number(net)} counts in {frames}, nothing taken off."
        interval = f"{plain_number(net - 1.96 * sd)} to {plain_number(net + 1.96 * sd)}"
        remark = "what lies over and under it, air and the camera itself give counts too; name a background"
        return Answer(question, text, ((f"counts, {frames}", f"{plain_number(net)} ({interval})"),), remark)
    verdict = "Yes" if z >= _SURE else "Not shown"
    low, high = net - 1.96 * sd, net + 1.96 * sd
    numbers = [
        (f"net counts, {frames}", f"{plain_number(net)} ({plain_number(low)} to {plain_number(high)})"),
        ("standard deviations above background", f"{_deviations(z)} (p {max(stats.norm.sf(z), 1e-99):.2g})"),
    ]
    ratio = ""
    background, counts = (float(each[place, after].sum()) for each in (curves.background, curves.counts))
    if background > 0:
        value = counts / background
        unsure = float((curves.background_sd[place, after] ** 2).sum()) / background**2
        spread = value * math.sqrt(1 / max(counts, 1.0) + unsure)
        interval = f"{plain_number(value - 1.96 * spread)} to {plain_number(value + 1.96 * spread)}"
        numbers.append(("target to background", f"{plain_number(value)} ({interval})"))
        ratio = f", {plain_number(value)} times the background of the same area ({interval})"
    sure = "" if math.isnan(z) else f", {_deviations(z)} standard deviations above background"
    return Answer(question, f"{verdict}: {plain_number(net)} net counts{sure}{ratio}.", tuple(numbers))


def _deviations(z: float) -> str:
    """Return how many standard deviations; beyond a hundred the exact number says nothing."""
    return "more than 100" if z > 100 else f"{z:.1f}"


def _amount(curves: TimeActivity, own: KineticFit, organs: pandas.DataFrame, name: str) -> Answer:
    question = "How much of it?"
    needs = "" if curves.percent_id is not None else f"for %ID {_listed(curves.missing)} must be known"
    if not own.model:
        text = _amount_of_frames(curves, organs, name)
        return Answer(question, text, remark=_joined(_why(curves, own), needs, _PLANAR))
    peak = own.estimates["peak"]
    numbers = [("peak", peak.sentence())]
    if own.area is not None:
        numbers.append(("area under the curve, observed", own.area.observed.sentence()))
        share = "" if math.isnan(own.area.tail_share) else f"; {100 * own.area.tail_share:.0f} % of it in the tail"
        numbers.append(("area with the tail", own.area.total.sentence() + share))
    text = f"{peak.text()} at the peak (95 %: {peak.interval()})."
    return Answer(question, text, tuple(numbers), _joined(needs, _PLANAR))


def _amount_of_frames(curves: TimeActivity, organs: pandas.DataFrame, name: str) -> str:
    """Return the highest frame's value, or what is the most there can be where nothing is seen."""
    place, after = curves.number(name), curves.after_injection
    if not after.any():
        return "Not known."
    values, spread, unit = _shown(curves)
    if _signal(curves, place)[2] < _SURE and (spread[place, after] > 0).all():
        # The highest of frames without activity is that of their noise.
        weights = spread[place, after] ** -2.0
        most = max(float((values[place, after] * weights).sum() / weights.sum() + 1.645 * weights.sum() ** -0.5), 0.0)
        return f"Not above background: less than {written(most, unit)} on average of all frames (95 %)."
    which = "in the one frame" if after.sum() == 1 else "in the highest frame"
    return f"{_peak_of(organs, name)}, {which}."


def _peak_of(organs: pandas.DataFrame, name: str) -> str:
    row = organs[organs["region"] == name].iloc[0]
    return f"{written(row['peak'], row['unit'])} (95 %: {plain_number(row['low'])} to {plain_number(row['high'])})"


def _why(curves: TimeActivity, own: KineticFit) -> str:
    """Return why there is no fit."""
    if own.said:
        return " ".join(own.said)
    if curves.scale is None:
        return "a curve needs isotope and times"
    return "one frame is no curve" if curves.counts.shape[1] == 1 else "there is no curve to fit"


def _elsewhere(curves: TimeActivity, organs: pandas.DataFrame, name: str) -> Answer:
    background = [own for own, role in zip(curves.names, curves.roles, strict=True) if role == "background"]
    unranked = [name, *SURROUNDINGS, *background]
    others = organs[~organs["region"].isin(unranked)]
    is_told = bool(curves.is_corrected.any())
    seen = others[others["z"] >= _SURE] if is_told else others
    named = [f"{row['region']} ({written(row['peak'], row['unit'])})" for row in seen.to_dict("records")]
    numbers = []
    for row in organs.to_dict("records"):
        interval = f"{plain_number(row['low'])} to {plain_number(row['high'])}"
        when = DASH if math.isnan(row["peak_time_s"]) else time_text(row["peak_time_s"])
        numbers.append((str(row["region"]), f"{plain_number(row['peak'])} {row['unit']} ({interval}) at {when}"))
    text = f"Highest first, at their peaks: {', '.join(named[:6])}." if named else "Nowhere else among these regions."
    if others.empty:
        text = f"No other organ was counted; in {name} are {_peak_of(organs, name)}."
    surrounding = [each for each in curves.names if each in unranked and each != name]
    remark = f"{', '.join(surrounding)} not ranked: around organs, or background" if surrounding else ""
    without = "" if is_told or others.empty else "no background was taken off: not all of these counts are the compound"
    return Answer("Where else does it go?", text, tuple(numbers), _joined(without, remark))


def _stays(curves: TimeActivity, own: KineticFit) -> Answer:
    question = "How long does it stay?"
    biological, half_life = own.estimates.get("clearance_half_time"), curves.half_life
    if biological is None:
        return Answer(question, "Not known.", remark=_why(curves, own))
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


def _peak(curves: TimeActivity, own: KineticFit) -> Answer:
    question = "When is the peak?"
    when = own.estimates.get("peak_time")
    if when is None:
        return Answer(question, "Not known.", remark=_why(curves, own))
    numbers = [("peak time", when.sentence()), (f"{own.unit} then", own.estimates["peak"].sentence())]
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
        return Answer(question, "Not known.", remark="frames over time are needed, and a background or a curve")
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


def _joined(*remarks: str) -> str:
    return "; ".join(filter(None, remarks))


def _listed(words: Sequence[str]) -> str:
    return " and ".join(filter(None, [", ".join(words[:-1]), *words[-1:]]))


_PLANAR = "planar: not corrected for what lies over or under it, nor for depth unless said; not %ID/g"
