"""When the frames of a DICOM nuclear acquisition were counted, and when it was injected.

Source: DICOM PS3.3 C.8.4.14 (phases), C.8.4.10 (injection), PS3.5 6.2 (DA, TM, DT and their zones), PS3.3 C.12.1.1
(TimezoneOffsetFromUTC). Durations are in milliseconds there and in seconds here.
"""

import re
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from transmodal.errors import UserError
from transmodal.images.nuclear.dicom_kind import image_kind

Times = npt.NDArray[np.float64] | None
_DAY = timedelta(days=1)


@dataclass(frozen=True)
class Run:
    """When a whole acquisition began and ended, of all its files; the same where its length is not known."""

    begun: datetime
    ended: datetime


def vector(dataset: Any, keyword: str, frames: int) -> npt.NDArray[np.int64] | None:
    """Return the index of each frame; None where it is not said of every frame."""
    value = dataset.get(keyword)
    if value is None or value == "":
        return None
    numbers = np.atleast_1d(np.asarray(value, dtype=np.int64))
    return numbers if len(numbers) == frames else None


def first(dataset: Any, keyword: str) -> Any:
    """Return the first item of a sequence, or None."""
    sequence = dataset.get(keyword) if dataset is not None else None
    return sequence[0] if sequence else None


def frame_times(dataset: Any, chosen: npt.NDArray[np.int64], frames: int, path: Path) -> tuple[Times, Times]:
    """Return begin after the acquisition's own begin and duration of each chosen frame, s; None where not said.

    Raises:
        UserError: a frame is of a phase that the object does not have.
    """
    phases = dataset.get("PhaseInformationSequence") or []
    phase_of, slice_of = vector(dataset, "PhaseVector", frames), vector(dataset, "TimeSliceVector", frames)
    if phases and phase_of is not None and slice_of is not None:
        if phase_of.min() < 1 or phase_of.max() > len(phases) or slice_of.min() < 1:
            raise UserError(
                f"{path} has frames of phase {phase_of.min()} to {phase_of.max()} and time slices from "
                f"{slice_of.min()}, but describes the phases 1 to {len(phases)}; correct PhaseVector and "
                "TimeSliceVector, or give frames in a sidecar, start_s and duration_s"
            )
        starts, durations = _phased(phases, phase_of, slice_of)
        return (None, None) if starts is None or durations is None else (starts[chosen], durations[chosen])
    rotation = first(dataset, "RotationInformationSequence") or dataset
    duration = _seconds(dataset.get("ActualFrameDuration")) or _seconds(rotation.get("ActualFrameDuration"))
    if duration is None:
        return (np.zeros(1), None) if len(chosen) == 1 else (None, None)
    durations = np.full(len(chosen), duration)
    if len(chosen) > 1 and image_kind(dataset) in ("STATIC", "WHOLE BODY"):
        return None, durations  # such frames have no order in time
    # Without phases the frames of one window and detector are one after another.
    return np.asarray(np.arange(len(chosen)) * duration), durations


def _seconds(value: Any) -> float | None:
    """Return milliseconds as seconds; None where nothing, or no duration, is said."""
    try:
        return float(value) / 1000.0 if value not in (None, "") and float(value) > 0 else None
    except (TypeError, ValueError):
        return None


def _phased(phases: Any, phase_of: npt.NDArray[np.int64], slice_of: npt.NDArray[np.int64]) -> tuple[Times, Times]:
    begins, steps, lengths = [], [], []
    begin = 0.0
    for number, phase in enumerate(phases, 1):
        length, pause = _seconds(phase.get("ActualFrameDuration")), _seconds(phase.get("PauseBetweenFrames")) or 0.0
        if length is None:
            return None, None
        begin += _seconds(phase.get("PhaseDelay")) or 0.0
        seen = slice_of[phase_of == number]
        # NumberOfFramesInPhase counts those of all windows and detectors in some files; the slices do not.
        count = int(seen.max()) if len(seen) else int(phase.get("NumberOfFramesInPhase") or 1)
        begins.append(begin)
        steps.append(length + pause)
        lengths.append(length)
        begin += count * (length + pause)
    index = phase_of - 1
    starts = np.array(begins)[index] + (slice_of - 1) * np.array(steps)[index]
    return np.asarray(starts, dtype=np.float64), np.asarray(np.array(lengths)[index], dtype=np.float64)


def begun_at(dataset: Any) -> datetime | None:
    """Return when an object's acquisition began, with its zone where one is said."""
    zone = _zone(str(dataset.get("TimezoneOffsetFromUTC") or ""))
    if moment := parsed(str(dataset.get("AcquisitionDateTime") or ""), zone):
        return moment
    date, time = str(dataset.get("AcquisitionDate") or ""), str(dataset.get("AcquisitionTime") or "")
    return parsed(date + time, zone) if date and time else None


def run_of(begins: list[datetime | None], times: list[tuple[Times, Times]]) -> Run | None:
    """Return when an acquisition in one or several files began and ended; None where one does not say its begin."""
    known = alike([moment for moment in begins if moment is not None])
    if not known or len(known) < len(begins):
        return None
    ends = [moment + timedelta(seconds=_length(*each)) for moment, each in zip(known, times, strict=True)]
    return Run(min(known), max(ends))


def _length(offsets: Times, durations: Times) -> float:
    if durations is None:
        return 0.0
    return float(durations.sum() if offsets is None else (offsets + durations).max())


def injected_at(dataset: Any, drug: Any, run: Run | None) -> tuple[datetime | None, str]:
    """Return when it was injected, and what is to be said of it.

    A clock time without a day is the last one before the acquisition began; one while it was running is an injection
    into the running acquisition.

    Args:
        dataset: the attributes.
        drug: the item on the radiopharmaceutical, or None.
        run: the whole acquisition.
    """
    if drug is None or run is None:
        return None, ""
    zone = _zone(str(dataset.get("TimezoneOffsetFromUTC") or ""))
    if moment := parsed(str(drug.get("RadiopharmaceuticalStartDateTime") or ""), zone):
        stated, ended = alike([moment, run.ended])
        if stated > ended:
            return None, (
                f"the injection is stated at {stated:%Y-%m-%d %H:%M:%S}, after the acquisition had ended at "
                f"{ended:%Y-%m-%d %H:%M:%S}; that is not used: give frames.start_s in a sidecar"
            )
        return moment, ""
    begun = run.begun.astimezone(zone) if zone is not None and run.begun.tzinfo is not None else run.begun
    moment = parsed(begun.strftime("%Y%m%d") + str(drug.get("RadiopharmaceuticalStartTime") or "-"), begun.tzinfo)
    if moment is None or moment <= begun:
        return moment, ""
    clocks = f"injected at {moment:%H:%M:%S} without a day, the acquisition began at {begun:%H:%M:%S}"
    if moment <= run.ended:
        return moment, f"{clocks}: taken as an injection while it was running"
    return moment - _DAY, f"{clocks}: taken as the day before"


def alike(moments: list[datetime]) -> list[datetime]:
    """Return moments that can be compared: with zones where every one has its own, else all as clocks show them."""
    if all(moment.tzinfo is not None for moment in moments):
        return moments
    return [moment.replace(tzinfo=None) for moment in moments]


def seconds_between(earlier: datetime, later: datetime) -> float:
    """Return the time from one moment to another, s."""
    first_one, second = alike([earlier, later])
    return (second - first_one).total_seconds()


def parsed(text: str, zone: Any = None) -> datetime | None:
    """Read DICOM's YYYYMMDDHHMMSS.FFFFFF&ZZXX; `zone` where it states none. None of what is no moment."""
    found = re.fullmatch(r"(\d{10}(?:\d\d){0,2})(\.\d{1,6})?([+-]\d{4})?", text.strip())
    if found is None:
        return None
    try:
        moment = datetime.strptime(found[1].ljust(14, "0"), "%Y%m%d%H%M%S")
    except ValueError:
        return None
    moment += timedelta(seconds=float(found[2] or 0.0))
    return moment.replace(tzinfo=_zone(found[3] or "") or zone)


def _zone(text: str) -> timezone | None:
    found = re.fullmatch(r"([+-])(\d\d)([0-5]\d)", text.strip())
    if found is None or int(found[2]) > 14:
        return None
    offset = timedelta(hours=int(found[2]), minutes=int(found[3]))
    return timezone(-offset if found[1] == "-" else offset)
