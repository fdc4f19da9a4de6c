"""Isotopes that are imaged, and their half-lives.

Tc-99m and F-18 as METHODS.md of this project gives them (6.0067 h; 109.77 min, European Pharmacopoeia). The others are
common knowledge of the field and were not looked up in a table of nuclear data: give the half-life in the sidecar where
its last digits matter.
"""

import re
from dataclasses import dataclass
from typing import Literal

from transmodal.errors import UserError

_MINUTE, _HOUR, _DAY = 60.0, 3600.0, 86400.0


@dataclass(frozen=True)
class Isotope:
    """One radionuclide.

    Attributes:
        name: element and mass number, "Tc-99m".
        half_life: in seconds.
        emission: "single" photons, seen through a collimator, or annihilation pairs seen in "coincidence".
    """

    name: str
    half_life: float
    emission: Literal["single", "coincidence"] = "single"


ISOTOPES: dict[str, Isotope] = {
    isotope.name: isotope
    for isotope in (
        Isotope("Tc-99m", 6.0067 * _HOUR),
        Isotope("In-111", 2.8047 * _DAY),
        Isotope("I-123", 13.22 * _HOUR),
        Isotope("I-125", 59.4 * _DAY),
        Isotope("I-131", 8.025 * _DAY),
        Isotope("Ga-67", 3.2617 * _DAY),
        Isotope("Tl-201", 3.042 * _DAY),
        Isotope("Lu-177", 6.647 * _DAY),
        Isotope("F-18", 109.77 * _MINUTE, "coincidence"),
        Isotope("C-11", 20.36 * _MINUTE, "coincidence"),
        Isotope("N-13", 9.965 * _MINUTE, "coincidence"),
        Isotope("Ga-68", 67.71 * _MINUTE, "coincidence"),
        Isotope("Cu-64", 12.701 * _HOUR, "coincidence"),
        Isotope("Zr-89", 78.41 * _HOUR, "coincidence"),
        Isotope("I-124", 4.176 * _DAY, "coincidence"),
    )
}

_SYMBOLS = {
    "technetium": "Tc", "indium": "In", "iodine": "I", "gallium": "Ga", "thallium": "Tl", "lutetium": "Lu",
    "fluorine": "F", "carbon": "C", "nitrogen": "N", "copper": "Cu", "zirconium": "Zr",
}  # fmt: skip
TOLERANCE = 0.02
"""How far a stated half-life may lie from the table's, relative; tables differ by far less."""

_UNITS = {"seconds": 1.0, "minutes": _MINUTE, "hours": _HOUR, "days": _DAY}


def canonical_name(text: str) -> str:
    """Return "Tc-99m" for the ways in which files write it: "99mTc", "Tc99m", "TC-99M", "^99m^Technetium".

    Raises:
        UserError: there is no element or no mass number in it.
    """
    found = re.fullmatch(r"(?:(\d{1,3}m?)([a-z]+)|([a-z]+?)(\d{1,3}m?))", re.sub(r"[\s^_\-*]", "", text).lower())
    if found is None:
        raise UserError(f"{text!r} is no isotope; write element and mass number, such as Tc-99m or F-18")
    mass, element = found[1] or found[4], found[2] or found[3]
    return f"{_SYMBOLS.get(element, element.capitalize())}-{mass}"


def isotope_named(text: str, half_life: float | None = None, where: str = "the isotope") -> Isotope:
    """Return an isotope by its name, and check the half-life that a file states beside it.

    Args:
        text: in any usual writing.
        half_life: in seconds, as stated; None for the table's.
        where: the file, for messages.

    Raises:
        UserError: the isotope is unknown and no half-life is given, or the half-life is not that of the isotope, as
            when hours are written where seconds are meant.
    """
    name = canonical_name(text)
    known = ISOTOPES.get(name)
    if half_life is None:
        if known is None:
            raise UserError(
                f"{where}: no half-life of {name} is known here (known: {', '.join(ISOTOPES)}); give half_life_s"
            )
        return known
    if not half_life > 0:
        raise UserError(f"{where}: the half-life of {name} is {half_life:g} s; give seconds above 0")
    if known is None:
        return Isotope(name, half_life)
    if abs(half_life / known.half_life - 1) > TOLERANCE:
        hint = next(
            (
                f"; it looks like {unit}: write {half_life * seconds:.6g}"
                for unit, seconds in _UNITS.items()
                if abs(half_life * seconds / known.half_life - 1) <= TOLERANCE
            ),
            f"; {name} has {known.half_life:.6g}: leave the half-life out, or mend the isotope",
        )
        raise UserError(f"{where}: a half-life of {half_life:g} s is not that of {name}{hint}")
    return Isotope(name, half_life, known.emission)
