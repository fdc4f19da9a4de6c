"""What a DICOM nuclear medicine object says of its frames: times, energy windows, detectors, isotope, injection.

Source: DICOM PS3.3 C.8.4 (NM: multi-frame, isotope, detector, phase, time slot), C.8.9.2 (PET isotope). Activities are
in MBq in NM objects and in Bq in PET objects; durations are in milliseconds.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from transmodal.errors import UserError
from transmodal.images.nuclear.isotopes import Isotope, canonical_name, isotope_named
from transmodal.images.nuclear.series import Injection

_GENIE = (0x0011, "GEMS_GENIE_1", 0x0D)  # "Radio Nuclide Name" of a GE console, where the standard sequence is missing


@dataclass(frozen=True)
class Acquired:
    """What the header says; None where it says nothing. `chosen` are the frames of one energy window and detector."""

    chosen: npt.NDArray[np.int64]
    starts: npt.NDArray[np.float64] | None
    durations: npt.NDArray[np.float64] | None
    isotope: Isotope | None
    injection: Injection | None
    agent: str
    energy_window: tuple[float, float] | None
    said: tuple[str, ...]


def acquired(dataset: Any, frames: int, path: Path, energy_window: int = 1, detector: int = 1) -> Acquired:
    """Read the header of an NM object.

    Args:
        dataset: the attributes.
        frames: how many frames the pixels have.
        path: the file, for messages.
        energy_window: number of the energy window to take, from 1.
        detector: number of the detector to take, from 1.

    Raises:
        UserError: there is no such window or detector, or the header contradicts itself.
    """
    said: list[str] = []
    chosen = np.arange(frames)
    for keyword, number, word in (
        ("EnergyWindowVector", energy_window, "energy window"),
        ("DetectorVector", detector, "detector"),
    ):
        vector = _vector(dataset, keyword, frames)
        if vector is None:
            continue
        known = sorted(set(vector.tolist()))
        if number not in known:
            raise UserError(f"{path} has no {word} {number}; it has {', '.join(map(str, known))}")
        if len(known) > 1:
            said.append(f"{path.name}: {word} {number} of {', '.join(map(str, known))} was taken")
        chosen = chosen[vector[chosen] == number]
    if not len(chosen):
        raise UserError(f"{path} has no frame of energy window {energy_window} and detector {detector}; choose others")
    offsets, durations = _times(dataset, chosen, frames)
    drug = _first(dataset, "RadiopharmaceuticalInformationSequence")
    isotope = _isotope(dataset, drug, path)
    begun = _moment(dataset, "AcquisitionDateTime", "AcquisitionDate", "AcquisitionTime")
    injected_at = _injected_at(drug, begun)
    starts = None
    if offsets is not None and begun is not None and injected_at is not None:
        starts = np.asarray(offsets + (begun - injected_at).total_seconds(), dtype=np.float64)
    return Acquired(
        chosen,
        starts,
        durations,
        isotope,
        _injection(dataset, drug, path),
        str((drug.get("Radiopharmaceutical") if drug is not None else "") or ""),
        _window(dataset, energy_window),
        tuple(said),
    )


def _vector(dataset: Any, keyword: str, frames: int) -> npt.NDArray[np.int64] | None:
    value = dataset.get(keyword)
    if value is None or value == "":
        return None
    numbers = np.atleast_1d(np.asarray(value, dtype=np.int64))
    return numbers if len(numbers) == frames else None


def _first(dataset: Any, keyword: str) -> Any:
    sequence = dataset.get(keyword) if dataset is not None else None
    return sequence[0] if sequence else None


def _seconds(value: Any) -> float | None:
    """Return milliseconds as seconds; None where nothing, or no duration, is said."""
    try:
        return float(value) / 1000.0 if value not in (None, "") and float(value) > 0 else None
    except (TypeError, ValueError):
        return None


def _times(
    dataset: Any, chosen: npt.NDArray[np.int64], frames: int
) -> tuple[npt.NDArray[np.float64] | None, npt.NDArray[np.float64] | None]:
    """Return begin after the acquisition's own begin and duration of each chosen frame, s."""
    phases = dataset.get("PhaseInformationSequence") or []
    vector = _vector(dataset, "PhaseVector", frames)
    slices = _vector(dataset, "TimeSliceVector", frames)
    if phases and vector is not None and slices is not None and vector.max() <= len(phases):
        return _phased(phases, vector[chosen], slices[chosen])
    rotation = _first(dataset, "RotationInformationSequence") or dataset
    duration = _seconds(dataset.get("ActualFrameDuration")) or _seconds(rotation.get("ActualFrameDuration"))
    if duration is None:
        return (np.zeros(1), None) if len(chosen) == 1 else (None, None)
    # Without phases the frames of one window and detector are one after another.
    return np.asarray(np.arange(len(chosen)) * duration), np.full(len(chosen), duration)


def _phased(
    phases: Any, phase_of: npt.NDArray[np.int64], slice_of: npt.NDArray[np.int64]
) -> tuple[npt.NDArray[np.float64] | None, npt.NDArray[np.float64] | None]:
    begins, steps, lengths = [], [], []
    begin = 0.0
    for phase in phases:
        length, pause = _seconds(phase.get("ActualFrameDuration")), _seconds(phase.get("PauseBetweenFrames")) or 0.0
        if length is None:
            return None, None
        begin += _seconds(phase.get("PhaseDelay")) or 0.0
        count = int(phase.get("NumberOfFramesInPhase") or 1)
        begins.append(begin)
        steps.append(length + pause)
        lengths.append(length)
        begin += count * (length + pause)
    index = phase_of - 1
    starts = np.array(begins)[index] + (slice_of - 1) * np.array(steps)[index]
    return np.asarray(starts, dtype=np.float64), np.asarray(np.array(lengths)[index], dtype=np.float64)


def _isotope(dataset: Any, drug: Any, path: Path) -> Isotope | None:
    code = _first(drug, "RadionuclideCodeSequence")
    name = str(code.get("CodeMeaning") or "") if code is not None else ""
    if not name:
        try:
            name = str(dataset.private_block(_GENIE[0], _GENIE[1])[_GENIE[2]].value or "")
        except KeyError:
            return None
    if not name:
        return None
    half_life = drug.get("RadionuclideHalfLife") if drug is not None else None
    try:
        canonical_name(name)
    except UserError:
        return None
    return isotope_named(name, float(half_life) if half_life else None, str(path))


def _injection(dataset: Any, drug: Any, path: Path) -> Injection | None:
    dose = drug.get("RadionuclideTotalDose") if drug is not None else None
    if not dose:
        return None
    value = float(dose) * (1.0 if dataset.get("Modality") == "PT" else 1e6)
    if value > 1e11:
        raise UserError(
            f"{path} says that {value / 1e6:.4g} MBq were injected; a nuclear image states MBq, this looks like Bq: "
            "correct RadionuclideTotalDose, or give the activity in a sidecar"
        )
    return Injection(value)


def _injected_at(drug: Any, begun: datetime | None) -> datetime | None:
    """Return when it was injected; of a clock time without a day, the last such time before the acquisition.

    An injection that begins within 12 hours after the acquisition is one into a running acquisition.
    """
    if drug is None:
        return None
    if moment := _parsed(str(drug.get("RadiopharmaceuticalStartDateTime") or "")):
        return moment
    clock = str(drug.get("RadiopharmaceuticalStartTime") or "")
    if begun is None or not clock:
        return None
    moment = _parsed(begun.strftime("%Y%m%d") + clock)
    return moment - timedelta(days=1) if moment and moment - begun > timedelta(hours=12) else moment


def _moment(dataset: Any, whole: str, day: str, clock: str) -> datetime | None:
    if moment := _parsed(str(dataset.get(whole) or "")):
        return moment
    date, time = str(dataset.get(day) or ""), str(dataset.get(clock) or "")
    return _parsed(date + time) if date and time else None


def _parsed(text: str) -> datetime | None:
    """Read DICOM's YYYYMMDDHHMMSS.FFFFFF, with a zone or without; the zone is left out, both moments share it."""
    digits = text.split("+")[0].split("-")[0].strip()
    whole, _, part = digits.partition(".")
    if len(whole) < 10 or not whole.isdigit():
        return None
    try:
        moment = datetime.strptime(whole[:14].ljust(14, "0"), "%Y%m%d%H%M%S")
    except ValueError:
        return None
    return moment + timedelta(seconds=float(f"0.{part}") if part.isdigit() else 0.0)


def _window(dataset: Any, number: int) -> tuple[float, float] | None:
    windows = dataset.get("EnergyWindowInformationSequence") or []
    if len(windows) < number:
        return None
    limits = _first(windows[number - 1], "EnergyWindowRangeSequence")
    if limits is None or limits.get("EnergyWindowLowerLimit") in (None, ""):
        return None
    return float(limits.EnergyWindowLowerLimit), float(limits.EnergyWindowUpperLimit)
