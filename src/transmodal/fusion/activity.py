"""From frames of counts to one picture of activity: which frames, in which unit, decay-corrected or not.

All values stay those of one nuclear pixel. Over several frames counts add up; Bq and %ID are means over their time.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from transmodal.errors import UserError
from transmodal.images.nuclear.decay import to_injection
from transmodal.images.nuclear.series import NuclearSeries

UNITS = ("counts", "Bq", "%ID")


@dataclass(frozen=True, eq=False)
class Activity:
    """One picture on the nuclear grid.

    Attributes:
        values: (H, W) float64 for each nuclear pixel, in the unit.
        unit: one of UNITS.
        frames: which went in, from 0.
        start: s after the injection, of the first frame; None when not known.
        end: of the last.
        decay_corrected: to the injection.
    """

    values: npt.NDArray[np.float64]
    unit: str
    frames: tuple[int, ...]
    start: float | None
    end: float | None
    decay_corrected: bool


def chosen_frames(
    series: NuclearSeries, frames: tuple[int, ...] | None = None, between: tuple[float, float] | None = None
) -> tuple[int, ...]:
    """Return the numbers, from 0, of the frames that are meant, in the order of time.

    Args:
        series: the frames.
        frames: numbers from 0; None for all.
        between: (from, to) s after the injection: frames whose middle lies there; infinite for no end; None for
            any time.

    Raises:
        UserError: both are given, a number is not there, a time is no number, or no frame lies in that time.
    """
    if frames is not None and between is not None:
        raise UserError("frames are chosen by their numbers or by their time, not by both; leave one out")
    if frames is not None:
        beyond = [number for number in frames if not 0 <= number < len(series)]
        if beyond or not frames:
            # People count from 1 on the command line; messages speak as they do.
            named = ", ".join(str(number + 1) for number in beyond) or "none"
            raise UserError(f"{series.name} has the frames 1 to {len(series)}, not {named}; choose among them")
        return tuple(sorted(set(frames)))
    if between is None:
        return tuple(range(len(series)))
    if np.isnan(between).any():
        raise UserError(f"from {between[0]:g} to {between[1]:g} s is no time; give two, such as 0 and 3600, or inf")
    if between[0] > between[1]:
        raise UserError(f"from {between[0]:g} to {between[1]:g} s is no time; give the earlier one first")
    starts, durations = series.require_times()
    middles = starts + durations / 2
    found = np.flatnonzero((middles >= between[0]) & (middles <= between[1]))
    if not len(found):
        raise UserError(
            f"{series.name} has no frame between {between[0]:g} and {between[1]:g} s after the injection (it has "
            f"{starts[0]:g} to {starts[-1] + durations[-1]:g} s); choose another time"
        )
    return tuple(int(number) for number in found)


def activity_of(
    series: NuclearSeries, unit: str = "counts", frames: tuple[int, ...] | None = None, decay_correct: bool = False
) -> Activity:
    """Return one picture of the frames that are meant.

    counts: Σ C_i·f_i, with f_i the decay correction of frame i to the injection, or 1. Bq: that over Σ Δt_i and the
    sensitivity. %ID: 100·Bq over the injected activity, always decay-corrected. Frames before the injection are left
    out where there are others.

    Args:
        series: the frames.
        unit: one of UNITS.
        frames: numbers from 0; None for all.
        decay_correct: bring each frame back to the injection.

    Raises:
        UserError: what the unit needs is not known: isotope and times for decay, durations and sensitivity for Bq, the
            injected activity for %ID.
    """
    if unit not in UNITS:
        raise UserError(f"no unit {unit!r} of activity; choose one of {', '.join(UNITS)}")
    numbers = tuple(range(len(series))) if frames is None else frames
    if series.starts is not None:
        numbers = tuple(number for number in numbers if series.starts[number] >= 0) or numbers
    picked = list(numbers)
    corrected = decay_correct or unit == "%ID"
    needed = {"counts": (), "Bq": ("durations", "sensitivity"), "%ID": ("durations", "sensitivity", "injection")}[unit]
    series.require(*needed, *(("isotope", "starts", "durations") if corrected else ()))
    factors = np.ones(len(picked))
    if corrected:
        isotope = series.require_isotope()
        starts, durations = series.require_times()
        factors = np.asarray(to_injection(isotope.half_life, starts[picked], durations[picked]))
    values = np.einsum("f,fhw->hw", factors, series.frames[picked].astype(np.float64))
    if unit != "counts":
        values = values / _counts_for_one_becquerel(series, picked)
    if unit == "%ID" and series.injection is not None:
        values = 100.0 * values / series.injection.activity(series.require_isotope())
    start = end = None
    if series.starts is not None:
        start = float(series.starts[picked[0]])
        end = start if series.durations is None else float(series.starts[picked[-1]] + series.durations[picked[-1]])
    return Activity(values, unit, numbers, start, end, corrected)


def _counts_for_one_becquerel(series: NuclearSeries, picked: list[int]) -> float:
    assert series.sensitivity is not None and series.durations is not None
    if not (series.durations[picked] > 0).all():
        raise UserError(f"{series.name} has frames that last no time; mend frames in its sidecar for Bq")
    return float(series.durations[picked].sum()) * series.sensitivity / 1e6
