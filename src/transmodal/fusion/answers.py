"""The questions that a study of one animal is for, answered from its curves in words, numbers and intervals.

Does the compound reach the target, and how much of it? Where else does it go? How long does it stay? When is the peak?
When should the animal go to the scanner? All answers are planar: what lies over or under a region is in its counts.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas
from scipy import stats

from transmodal.errors import UserError
from transmodal.fusion.answer_words import Answer, joined, listed, plain, sentence, without_misfit
from transmodal.fusion.background import SURROUNDINGS
from transmodal.fusion.curve_models import OF_SEVERAL
from transmodal.fusion.curves import TimeActivity, ratio_to
from transmodal.fusion.estimates import DASH, time_text, written
from transmodal.fusion.kinetic_fit import KineticFit, fit_region
from transmodal.fusion.misfit import NOTED, WITHHELD, held, misfit, misfit_note
from transmodal.fusion.organ_peaks import MOST_OF_NONE, net_signal, of_one_count, organs_by_peak, shown_values
from transmodal.fusion.regions import target_of
from transmodal.fusion.scan_answer import SCAN, scan_answer
from transmodal.fusion.scan_times import Window, contrast_window, counts_window, fit_background, visible_window
from transmodal.reporting.figures import p_text, plain_number

_SURE = 3.0  # standard deviations from which counts are called activity
_MOST_RATIO = 100.0  # of a target to what lies beside it within an animal, some of which is over and under it, too
_BELOW = (
    "the background is higher than the region, so it is not that of the region: something hot lies in it, or part of "
    "the region outside the animal; name another background (--background), or mend the outlines"
)
_MANY = 100.0  # standard deviations, beyond which their number says nothing
COUNTS_ALONE = (
    "intervals are those of the counts alone: what lies over and under a region, calibration, outlines and "
    "registration are in none"
)


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
        doubts: what puts these numbers in doubt, a line each.
    """

    target: str
    answers: tuple[Answer, ...]
    organs: pandas.DataFrame
    contrast: Window | None
    yielded: Window | None
    visible: Window | None
    frame_length: float | None
    doubts: tuple[str, ...] = ()

    def table(self) -> pandas.DataFrame:
        """Return question, answer and remark, a row each; the first remark begins with the doubts."""
        remarks = [each.remark for each in self.answers]
        remarks[0] = " ".join(filter(None, [*self.doubts, remarks[0]]))
        rows = [(each.question, each.answer, said) for each, said in zip(self.answers, remarks, strict=True)]
        return pandas.DataFrame(rows, columns=["question", "answer", "remark"])


def fit_all(curves: TimeActivity, *, at: Sequence[float] = ()) -> dict[str, KineticFit]:
    """Fit every region's curve, in %ID or else in decay-corrected counts a second; empty without isotope or times.

    Where the model does not hold there are values, but no intervals (`misfit`); `fit_region` leaves them. What lies
    surely below its background has no curve.
    """
    if curves.scale is None:
        return {}
    return {
        name: KineticFit(said=(_BELOW,))
        if net_signal(curves, place)[2] <= -_SURE
        else held(fit_region(curves, name, at=at))
        for place, name in enumerate(curves.names)
    }


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
    fits = fit_all(curves) if fits is None else {region: held(each) for region, each in fits.items()}
    own = fits.get(name, KineticFit())
    length = frame_length or _longest(curves)
    beside = fit_background(curves, name) if own.model else None
    z = net_signal(curves, curves.number(name))[2]
    is_nothing = not own.model and z < _SURE  # whose contrast is that of its noise
    contrast = None if is_nothing else contrast_window(curves, name, own, beside)
    yielded = None if length is None else counts_window(own, length)
    visible = None if length is None else visible_window(curves, name, own, beside, length)
    organs = organs_by_peak(curves, fits)
    answers = (
        _reaches(curves, name),
        _amount(curves, own, organs, name),
        _elsewhere(curves, organs, name),
        _stays(curves, own),
        _peak(curves, own),
        Answer(SCAN, "Not known.", remark=_below(z) or "no activity above the background is shown that could be timed")
        if is_nothing
        else scan_answer(contrast, yielded, visible, length, (own, beside or KineticFit())),
    )
    return Answers(name, answers, organs, contrast, yielded, visible, length, curves.doubts)


def _longest(curves: TimeActivity) -> float | None:
    """Return the longest frame after the injection, s."""
    if curves.durations is None or not curves.after_injection.any():
        return None
    return float(curves.durations[curves.after_injection].max())


def _reaches(curves: TimeActivity, name: str) -> Answer:
    question = f"Does the compound reach the target ({name})?"
    place, after = curves.number(name), curves.after_injection
    net, sd, z = net_signal(curves, place)
    frames = f"{after.sum()} frame{'' if after.sum() == 1 else 's'}"
    if not after.any():
        return Answer(question, "Cannot be told: no frame lies after the injection.")
    if not curves.is_corrected[place]:
        text = f"Cannot be told without a background: {plain_number(net)} counts in {frames}, nothing taken off."
        interval = f"{plain_number(net - 1.96 * sd)} to {plain_number(net + 1.96 * sd)}"
        remark = "what lies over and under it, air and the camera itself give counts too; name a background"
        return Answer(question, text, ((f"counts, {frames}", f"{plain_number(net)} ({interval})"),), remark)
    low, high = net - 1.96 * sd, net + 1.96 * sd
    numbers = [
        (f"net counts, {frames}", f"{plain_number(net)} ({plain_number(low)} to {plain_number(high)})"),
        ("standard deviations above background", f"{_signed(z)} (p {p_text(float(stats.norm.sf(z)))})"),
    ]
    ratio, high = "", 0.0
    background, counts = (each[place, after].sum() for each in (curves.background, curves.counts))
    if background > 0:
        background_sd = np.sqrt((curves.background_sd[place, after] ** 2).sum())
        ratios = ratio_to(background, counts, background_sd, curves.count_variance[place])
        value, spread = (float(each) for each in ratios)
        interval = f"{plain_number(value - 1.96 * spread)} to {plain_number(value + 1.96 * spread)}"
        numbers.append(("target to background", f"{plain_number(value)} ({interval})"))
        high = value
        ratio = f", {plain_number(value)} times the background of the same area ({interval})"
    side = "below" if z < 0 else "above"
    sure = "" if math.isnan(z) else f", {_deviations(abs(z))} standard deviations {side} background"
    counted = f"{plain_number(net)} net counts{sure}{ratio}."
    if name in curves.from_activity:
        text = f"Cannot be told: {name} was drawn where the activity is highest, so it is reached by definition; it has"
        remark = "draw the target on the anatomy (--polygons, --labels or --organs) to ask that"
        return Answer(question, f"{text} {counted}", tuple(numbers), remark)
    return Answer(
        question, f"{'Yes' if z >= _SURE else 'Not shown'}: {counted}", tuple(numbers), _below(z) or _in_air(high)
    )


def _below(z: float) -> str:
    """Return what is wrong where a target lies surely below its background; "" where it does not."""
    return _BELOW if z <= -_SURE else ""


def _in_air(ratio: float) -> str:
    """Return what may be wrong where a target has so many times the counts of its background; else ""."""
    if not ratio > _MOST_RATIO:
        return ""
    return (
        f"more than {_MOST_RATIO:g} times its background: does that lie within the animal? Air has hardly any counts, "
        "and nothing of what lies over and under the target is taken off by it"
    )


def _signed(z: float) -> str:
    return f"below −{_MANY:g}" if z < -_MANY else _deviations(z).replace("-", "−")


def _deviations(z: float) -> str:
    """Return how many standard deviations; beyond a hundred the exact number says nothing."""
    return f"more than {_MANY:g}" if z > _MANY else f"{z:.1f}"


def _amount(curves: TimeActivity, own: KineticFit, organs: pandas.DataFrame, name: str) -> Answer:
    question = "How much of it?"
    needs = "" if curves.percent_id is not None else f"for %ID {listed(curves.missing)} must be known"
    if not own.model:
        text = _amount_of_frames(curves, organs, name)
        return Answer(question, text, remark=joined(_why(curves, own), needs, _planar(curves, name), COUNTS_ALONE))
    peak = own.estimates["peak"]
    numbers = [("peak", peak.sentence())]
    if own.area is not None:
        numbers.append(("area under the curve, observed", own.area.observed.sentence()))
        share = "" if math.isnan(own.area.tail_share) else f"; {100 * own.area.tail_share:.0f} % of it in the tail"
        numbers.append(("area with the tail", own.area.total.sentence() + share))
    text = f"{plain(peak, ' at the peak')}.{sentence(misfit_note(own))}"
    highest = float(organs[organs["region"] == name]["highest_frame"].iloc[0])
    if misfit(own) > NOTED:
        text += f" The highest frame has {written(highest, own.unit)}."
    return Answer(question, text, tuple(numbers), joined(needs, _planar(curves, name), COUNTS_ALONE))


def _amount_of_frames(curves: TimeActivity, organs: pandas.DataFrame, name: str) -> str:
    """Return the highest frame's value, or what is the most there can be where nothing is seen."""
    place, after = curves.number(name), curves.after_injection
    if not after.any():
        return "Not known."
    values, spread, unit = shown_values(curves)
    of_count = of_one_count(curves)[place, after]
    net, sd, z = net_signal(curves, place)
    if net == sd == 0:
        most = MOST_OF_NONE / float((1 / of_count).sum())
        return f"Not one count: less than {written(most, unit)} on average of all frames (95 %)."
    if z <= -_SURE:
        return "Cannot be told: the background is higher than the target."
    if z < _SURE:
        # The highest of frames without activity is that of their noise.
        weights = np.where(spread[place, after] > 0, spread[place, after], of_count) ** -2.0
        most = max(float((values[place, after] * weights).sum() / weights.sum() + 1.645 * weights.sum() ** -0.5), 0.0)
        return f"Not above background: less than {written(most, unit)} on average of all frames (95 %)."
    which = "in the one frame" if after.sum() == 1 else "in the highest frame"
    return f"{_peak_of(organs, name)}, {which}."


def _peak_of(organs: pandas.DataFrame, name: str) -> str:
    row = organs[organs["region"] == name].iloc[0]
    return f"{written(row['peak'], row['unit'])} ({_between(row)})"


def _between(row: Any) -> str:
    """Return the interval of a row of `organs_by_peak` in words."""
    if math.isnan(row["low"]):
        return "no interval: the model does not hold" if row["misfit"] > WITHHELD else "no interval"
    return f"95 %: {plain_number(row['low'])} to {plain_number(row['high'])}"


def _why(curves: TimeActivity, own: KineticFit) -> str:
    """Return why there is no fit."""
    if own.said:
        return " ".join(own.said)
    if curves.counts.shape[1] == 1:
        return "one frame is no curve"
    if curves.scale is None:
        needs = [word for word in curves.missing if word not in _ONLY_FOR_PERCENT]
        return f"a curve needs {listed(needs)}" if needs else "a curve needs isotope and times"
    return "there is no curve to fit"


def _elsewhere(curves: TimeActivity, organs: pandas.DataFrame, name: str) -> Answer:
    background = [own for own, role in zip(curves.names, curves.roles, strict=True) if role == "background"]
    unranked = [name, *SURROUNDINGS, *background]
    others = organs[~organs["region"].isin(unranked)]
    is_told = bool(curves.is_corrected.any())
    seen = others[others["z"] >= _SURE] if is_told else others
    named = [f"{row['region']} ({written(row['peak'], row['unit'])})" for row in seen.to_dict("records")]
    numbers = []
    for row in organs.to_dict("records"):
        when = DASH if math.isnan(row["peak_time_s"]) else time_text(row["peak_time_s"])
        numbers.append((str(row["region"]), f"{plain_number(row['peak'])} {row['unit']} ({_between(row)}) at {when}"))
    text = f"Highest first, at their peaks: {', '.join(named[:6])}." if named else "Nowhere else among these regions."
    if others.empty:
        text = f"No other organ was counted; in {name} are {_peak_of(organs, name)}."
    surrounding = [each for each in curves.names if each in unranked and each != name]
    remark = f"{', '.join(surrounding)} not ranked: around organs, or background" if surrounding else ""
    without = "" if is_told or others.empty else "no background was taken off: not all of these counts are the compound"
    off = [f"{row['region']} ({row['misfit']:.3g})" for row in seen.to_dict("records") if row["misfit"] > NOTED]
    doubted = f"curves that miss their frames, with χ²/ν: {', '.join(off)}" if off else ""
    remarks = joined(curves.hottest, without, doubted, remark)
    return Answer("Where else does it go?", text, tuple(numbers), remarks)


def _stays(curves: TimeActivity, own: KineticFit) -> Answer:
    question = "How long does it stay?"
    biological, half_life = own.estimates.get("clearance_half_time"), curves.half_life
    if biological is None:
        return Answer(question, "Not known.", remark=_why(curves, own))
    is_sum = own.model in OF_SEVERAL
    numbers = [("slowest half-life of the sum" if is_sum else "biological half-life", biological.sentence())]
    left = own.estimates.get("half_left_time")
    gone = ""
    if left is not None:
        numbers.insert(0 if is_sum else 1, ("half of the peak has left", left.sentence()))
        gone = f" Half of the peak has left {plain(left, ' after the injection')}." if left.value is not None else ""
    effective = own.estimates.get("effective_half_life")
    if half_life is None or effective is None:
        first = f"Half of it leaves in {plain(biological)}."
        text = f"{gone} {_SLOWEST} {plain(biological)}.".lstrip() if is_sum else first + gone
        remark = joined("no isotope is known: this is the effective half-life", _SUM if is_sum else "")
        return Answer(question, text + sentence(misfit_note(own)), tuple(numbers), remark)
    numbers.append(("effective half-life", effective.sentence()))
    numbers.append(("physical half-life", time_text(half_life)))
    fast = own.estimates.get("fast_clearance_half_time")
    if fast is not None:
        numbers.append(("first, quicker half-life", fast.sentence()))
    text = f"Biological half-life {plain(biological)}; with decay, effective half-life {plain(effective)}.{gone}"
    if is_sum:
        text = f"{gone} {_SLOWEST} {plain(biological)}; with decay {plain(effective)}."
    text = text.lstrip() + sentence(misfit_note(own))
    return Answer(question, text, tuple(numbers), joined(without_misfit(biological, own), _SUM if is_sum else ""))


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
    text = f"{plain(when, after)}.".capitalize() + sentence(misfit_note(own))
    return Answer(question, text, tuple(numbers), without_misfit(when, own))


_SLOWEST = "Slowest half-life of the sum in this region"
_SUM = "several organs lie in this region, and none of its half-lives is one organ's"
_ONLY_FOR_PERCENT = ("the sensitivity of the camera", "the injected activity")  # of what `in_units` misses


def _planar(curves: TimeActivity, name: str) -> str:
    """Return what the value of a region in the plane is not corrected for."""
    factor = curves.depth_factors.get(name)
    depth = ", nor for depth" if factor is None else f"; × {factor:.3g} for its depth"
    return f"planar: not corrected for what lies over or under it{depth}; not %ID/g"
