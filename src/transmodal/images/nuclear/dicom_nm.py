"""What DICOM nuclear medicine objects say of their frames: times, energy windows, detectors, isotope, injection.

Source: DICOM PS3.3 C.8.4 (NM: multi-frame, isotope, detector, phase, time slot), C.8.9.2 (PET isotope). Activities are
in MBq in NM objects and in Bq in PET objects.
"""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from transmodal.errors import UserError
from transmodal.images.nuclear.dicom_kind import require_planar_counts
from transmodal.images.nuclear.dicom_times import (
    Times,
    begun_at,
    first,
    frame_times,
    injected_at,
    run_of,
    seconds_between,
    vector,
)
from transmodal.images.nuclear.doubts import holds_photons, in_words, leaves_out
from transmodal.images.nuclear.isotopes import Isotope, canonical_name, isotope_named, name_of_code
from transmodal.images.nuclear.series import CREDIBLE_MBQ, Injection

_GENIE = (0x0011, "GEMS_GENIE_1", 0x0D)  # "Radio Nuclide Name" of a GE console, where the standard sequence is missing
_LEAST_PET = 1e4
"""Bq; less in a PET object, which states Bq, is a number of MBq: up to 10 000 MBq are injected, never 0.01 MBq."""


@dataclass(frozen=True)
class Acquired:
    """What the headers say; None where they say nothing.

    `chosen` are the frames of one energy window and detector, `doubts` those of `said` that bear on what is counted.
    """

    chosen: npt.NDArray[np.int64]
    starts: Times = None
    durations: Times = None
    isotope: Isotope | None = None
    injection: Injection | None = None
    agent: str = ""
    energy_window: tuple[float, float] | None = None
    said: tuple[str, ...] = ()
    doubts: tuple[str, ...] = ()


def acquired(
    headers: list[Any],
    files: list[Path],
    frames: int,
    path: Path,
    energy_window: int | None = None,
    detector: int | None = None,
    overridden: frozenset[str] = frozenset(),
    isotope: Isotope | None = None,
) -> Acquired:
    """Read the header of one object of several frames, or those of one object a frame.

    Args:
        headers: the attributes of each file.
        files: their names, for messages.
        frames: how many frames there are altogether.
        path: the file or folder, for messages.
        energy_window: number of the energy window to take, from 1; None for the first with photons of the isotope, else
            the first.
        detector: number of the detector to take, from 1; None for the first.
        overridden: what is known better ("isotope", "injection", "starts", "durations"); it is not read, so that a
            mistake in it does no harm.
        isotope: where it is known better; None for that of the headers.

    Raises:
        UserError: the frames are no planar counts, there is no such window or detector, or a header contradicts itself.
    """
    doubts = [line for header, file in zip(headers, files, strict=True) for line in require_planar_counts(header, file)]
    said = [*doubts]
    chosen, number = _chosen(headers, files, frames, path, (energy_window, detector), isotope, said)
    parts = [(headers[0], files[0], chosen, frames)]
    if len(headers) > 1:
        parts = [(headers[index], files[index], np.zeros(1, np.int64), 1) for index in chosen]
    starts, durations = _times(parts, overridden, said)
    drugs = [(each[0], first(each[0], "RadiopharmaceuticalInformationSequence"), each[1]) for each in parts]
    isotopes = [] if "isotope" in overridden else [_isotope(*each, said) for each in drugs]
    injections = [] if "injection" in overridden else [_injection(*each) for each in drugs]
    agents = [str((drug.get("Radiopharmaceutical") if drug is not None else "") or "") for _, drug, _ in drugs]
    files = [file for *_, file in drugs]
    if len(files) > 1:
        _tell_apart([str(header.get("PatientID") or "") for header, *_ in drugs], "patient", files, said)
        _tell_apart(agents, "compound", files, said)
    window = _window(parts[0][0], number, said)
    agreed = _agreed(isotopes, lambda isotope: isotope.name, "isotope", files, said)
    doubt = leaves_out(_ranges(parts[0][0], number), isotope or agreed) if window is None else ""
    for lines in (said, doubts):
        lines.extend(filter(None, [doubt]))
    injected = _agreed(injections, lambda given: f"{given.before / 1e6:.4g} MBq", "injected", files, said)
    return Acquired(
        chosen,
        starts,
        durations,
        agreed,
        injected,
        next(filter(None, agents), ""),
        window,
        *(tuple(f"{path.name}: {line}" for line in dict.fromkeys(lines)) for lines in (said, doubts)),
    )


def refuse_choice(path: Path, energy_window: int | None, detector: int | None) -> None:
    """Refuse a number of an energy window or detector, but 1, of what has none.

    Raises:
        UserError: one is named.
    """
    for word, number in (("energy window", energy_window), ("detector", detector)):
        if number not in (None, 1):
            raise UserError(f"{path} has no {word} {number}; leave --{word.replace(' ', '-')} out")


def _chosen(
    headers: list[Any],
    files: list[Path],
    frames: int,
    path: Path,
    wanted: tuple[int | None, int | None],
    isotope: Isotope | None,
    said: list[str],
) -> tuple[npt.NDArray[np.int64], int]:
    """Return the frames of one energy window and detector, `wanted`, and the window's number."""
    numbers = [_numbers(headers, frames, keyword) for keyword in ("EnergyWindowVector", "DetectorVector")]
    refuse_choice(path, *(None if each is not None else number for each, number in zip(numbers, wanted, strict=True)))
    chosen, taken, lines = np.arange(frames), [1, 1], ["", ""]
    # What is named goes first: the other is then taken of what is left.
    for place in sorted((0, 1), key=lambda place: wanted[place] is None):
        of_frames, number, word = numbers[place], wanted[place], ("energy window", "detector")[place]
        if of_frames is None:
            continue
        known = sorted(set(of_frames.tolist()))
        if number is not None and number not in known:
            raise UserError(f"{path} has no {word} {number}; it has {', '.join(map(str, known))}")
        left = {each: int(np.argmax(of_frames == each)) for each in sorted(set(of_frames[chosen].tolist()))}
        holders = {each: headers[frame if len(headers) > 1 else 0] for each, frame in left.items()}
        if number is None:
            number = _default(holders, isotope or _named(headers, files)) if place == 0 else next(iter(left))
        chosen, taken[place] = chosen[of_frames[chosen] == number], number
        if not len(chosen):
            raise UserError(f"{path} has no frame of energy window {wanted[0]} and detector {wanted[1]}; choose others")
        if len(known) > 1:
            limits = in_words(_ranges(holders[number], number)) if place == 0 else ""
            there = f"{', '.join(map(str, known[:-1]))} and {known[-1]}"
            lines[place] = f"{word} {number}{f' ({limits})' if limits else ''} was taken; there are {there}"
    said.extend(filter(None, lines))
    return chosen, taken[0]


def _numbers(headers: list[Any], frames: int, keyword: str) -> npt.NDArray[np.int64] | None:
    """Return the number of the window or detector of each frame, (F,); None where a header does not say it."""
    parts = [vector(header, keyword, frames if len(headers) == 1 else 1) for header in headers]
    stated = [part for part in parts if part is not None]
    return np.concatenate(stated) if len(stated) == len(parts) else None


def _default(holders: dict[int, Any], isotope: Isotope | None) -> int:
    """Return the first energy window with photons of the isotope, else the first; `holders` are headers by number."""
    fit = [
        number
        for number, header in holders.items()
        if isotope is not None and any(holds_photons(each, isotope) for each in _ranges(header, number))
    ]
    return next(iter([*fit, *holders]))


def _named(headers: list[Any], files: list[Path]) -> Isotope | None:
    """Return the isotope of the headers where they name one; what is wrong with it is said of chosen frames only."""
    found: dict[str, Isotope] = {}
    for header, file in zip(headers, files, strict=True):
        with suppress(UserError):
            isotope = _isotope(header, first(header, "RadiopharmaceuticalInformationSequence"), file, [])
            found |= {isotope.name: isotope} if isotope is not None else {}
    return next(iter(found.values())) if len(found) == 1 else None


def _times(
    parts: list[tuple[Any, Path, npt.NDArray[np.int64], int]], overridden: frozenset[str], said: list[str]
) -> tuple[Times, Times]:
    """Return start after the injection and duration of each chosen frame, s."""
    if {"starts", "durations"} <= overridden:
        return None, None
    times = [frame_times(header, chosen, frames, file) for header, file, chosen, frames in parts]
    durations = _joined([each[1] for each in times])
    if "starts" in overridden:
        return None, durations
    begins = [begun_at(header) for header, *_ in parts]
    run = run_of(begins, times)
    starts: list[Times] = []
    for (header, *_), begun, (offsets, _) in zip(parts, begins, times, strict=True):
        injected, line = injected_at(header, first(header, "RadiopharmaceuticalInformationSequence"), run)
        said.extend([line] if line else [])
        known = offsets is not None and begun is not None and injected is not None
        starts.append(offsets + seconds_between(injected, begun) if known else None)  # type: ignore[operator, arg-type]
    return _joined(starts), durations


def _agreed(values: list[Any], words: Callable[[Any], str], key: str, files: list[Path], said: list[str]) -> Any:
    """Return what all objects of a folder say, None where none does; objects that say nothing are told.

    Raises:
        UserError: two say different things, which no sidecar decides.
    """
    stated = [(value, file) for value, file in zip(values, files, strict=bool(values)) if value is not None]
    if not stated:
        return None
    for value, file in stated[1:]:
        if words(value) != words(stated[0][0]):
            raise UserError(
                f"{stated[0][1]} says {words(stated[0][0])} and {file.name} {words(value)}; put the frames of one "
                f"acquisition into a folder, or say {key} in a sidecar"
            )
    if len(stated) < len(values):
        said.append(f"{len(stated)} of {len(values)} files say {words(stated[0][0])}; it is taken for all")
    return stated[0][0]


def _tell_apart(values: list[str], word: str, files: list[Path], said: list[str]) -> None:
    """Say that the files of a folder name several patients or compounds."""
    named = {value: file for value, file in reversed(list(zip(values, files, strict=True))) if value}
    if len(named) > 1:
        each = ", ".join(f"{value!r} ({file.name})" for value, file in sorted(named.items()))
        said.append(f"the files name more than one {word}: {each}; are they one acquisition?")


def _joined(parts: list[Times]) -> Times:
    said = [part for part in parts if part is not None]
    return np.concatenate(said) if len(said) == len(parts) else None


def _isotope(dataset: Any, drug: Any, path: Path, said: list[str]) -> Isotope | None:
    """Return the isotope by its code or its name; a name that says nothing here is said."""
    code = first(drug, "RadionuclideCodeSequence")
    text = str(code.get("CodeMeaning") or "") if code is not None else ""
    coded = name_of_code(str(code.get("CodeValue") or "")) if code is not None else None
    if not text and coded is None:
        try:
            text = str(dataset.private_block(_GENIE[0], _GENIE[1])[_GENIE[2]].value or "")
        except KeyError:
            return None
    named = None
    try:
        named = canonical_name(text)
    except UserError:
        if text and coded is None:
            said.append(f"the isotope {text!r} is none that is known here; name it in a sidecar")
    if coded is not None and named is not None and coded != named:
        said.append(f"the isotope is {named} by name and {coded} by code; name it in a sidecar")
        return None
    name = coded or named
    if name is None:
        return None
    half_life = drug.get("RadionuclideHalfLife") if drug is not None else None
    try:
        return isotope_named(name, float(half_life) if half_life else None, str(path))
    except UserError as error:
        if half_life:
            raise UserError(f"{error}, or name it in a sidecar") from error
        said.append(f"no half-life of {name} is known here; give isotope and half_life_s in a sidecar")
        return None


def _injection(dataset: Any, drug: Any, path: Path) -> Injection | None:
    dose = drug.get("RadionuclideTotalDose") if drug is not None else None
    if not dose:
        return None
    least, most = CREDIBLE_MBQ
    is_pet = dataset.get("Modality") == "PT"
    value = float(dose) * (1.0 if is_pet else 1e6)
    if is_pet and value < _LEAST_PET:
        raise UserError(
            f"{path} says that {value:.4g} Bq were injected; a PET image states Bq, this looks like MBq: correct "
            "RadionuclideTotalDose, or give injected in a sidecar"
        )
    if not least * 1e6 <= value <= most * 1e6:
        states = "PET image states Bq" if is_pet else "nuclear image states MBq"
        looks = "too much for one" if is_pet else "Bq or kBq" if value > most * 1e6 else "another unit"
        raise UserError(
            f"{path} says that {value / 1e6:.4g} MBq were injected; a {states}, this looks like {looks}: correct "
            "RadionuclideTotalDose, or give injected in a sidecar"
        )
    return Injection(value)


def _ranges(dataset: Any, number: int) -> list[tuple[float, float]]:
    """Return the ranges (low, high) in keV that an energy window counts; those that are not filled in are left out."""
    windows = dataset.get("EnergyWindowInformationSequence") or []
    ranges = (windows[number - 1].get("EnergyWindowRangeSequence") or []) if 1 <= number <= len(windows) else []
    limits = [(each.get("EnergyWindowLowerLimit"), each.get("EnergyWindowUpperLimit")) for each in ranges]
    return [(float(low or 0), float(high)) for low, high in limits if high not in (None, "", 0)]


def _window(dataset: Any, number: int, said: list[str]) -> tuple[float, float] | None:
    """Return the limits of an energy window in keV; None where they are not filled in, or are of several ranges."""
    known = _ranges(dataset, number)
    if len(known) > 1:
        said.append(f"energy window {number} counts several ranges together: {in_words(known)}")
    return known[0] if len(known) == 1 else None
