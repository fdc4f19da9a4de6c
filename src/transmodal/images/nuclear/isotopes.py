"""Isotopes that are imaged, and their half-lives.

Tc-99m and F-18 as METHODS.md of this project gives them (6.0067 h; 109.77 min, European Pharmacopoeia). The others are
common knowledge of the field and were not looked up in a table of nuclear data: give the half-life in the sidecar where
its last digits matter. So are the energies, in whole keV, which serve to choose and to doubt an energy window, and for
nothing else.
"""

import re
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Literal

from transmodal.errors import UserError

_MINUTE, _HOUR, _DAY = 60.0, 3600.0, 86400.0
_PAIR = (511.0,)  # keV of both photons of an annihilation


@dataclass(frozen=True)
class Isotope:
    """One radionuclide.

    Attributes:
        name: element and mass number, "Tc-99m".
        half_life: in seconds.
        emission: "single" photons, seen through a collimator, or annihilation pairs seen in "coincidence".
        energies: keV of the gamma rays and X-rays that cameras count; empty where none are known here.
    """

    name: str
    half_life: float
    emission: Literal["single", "coincidence"] = "single"
    energies: tuple[float, ...] = ()


ISOTOPES: dict[str, Isotope] = {
    isotope.name: isotope
    for isotope in (
        Isotope("Tc-99m", 6.0067 * _HOUR, energies=(141,)),
        Isotope("In-111", 2.8047 * _DAY, energies=(23, 26, 171, 245)),
        Isotope("I-123", 13.22 * _HOUR, energies=(27, 31, 159)),
        Isotope("I-125", 59.4 * _DAY, energies=(27, 31, 35)),
        Isotope("I-131", 8.025 * _DAY, energies=(284, 364, 637)),
        Isotope("Ga-67", 3.2617 * _DAY, energies=(93, 185, 300)),
        Isotope("Tl-201", 3.042 * _DAY, energies=(71, 80, 135, 167)),
        Isotope("Lu-177", 6.647 * _DAY, energies=(55, 113, 208)),
        Isotope("F-18", 109.77 * _MINUTE, "coincidence", _PAIR),
        Isotope("C-11", 20.36 * _MINUTE, "coincidence", _PAIR),
        Isotope("N-13", 9.965 * _MINUTE, "coincidence", _PAIR),
        Isotope("Ga-68", 67.71 * _MINUTE, "coincidence", _PAIR),
        Isotope("Cu-64", 12.701 * _HOUR, "coincidence", _PAIR),
        Isotope("Zr-89", 78.41 * _HOUR, "coincidence", (*_PAIR, 909)),
        Isotope("I-124", 4.176 * _DAY, "coincidence", (*_PAIR, 603)),
    )
}

_ELEMENTS = (
    "H He Li Be B C N O F Ne Na Mg Al Si P S Cl Ar K Ca Sc Ti V Cr Mn Fe Co Ni Cu Zn Ga Ge As Se Br Kr Rb Sr Y Zr "
    "Nb Mo Tc Ru Rh Pd Ag Cd In Sn Sb Te I Xe Cs Ba La Ce Pr Nd Pm Sm Eu Gd Tb Dy Ho Er Tm Yb Lu Hf Ta W Re Os Ir "
    "Pt Au Hg Tl Pb Bi Po At Rn Fr Ra Ac Th Pa U Np Pu Am Cm"
)
_SYMBOLS = {
    "technetium": "Tc", "indium": "In", "iodine": "I", "gallium": "Ga", "thallium": "Tl", "lutetium": "Lu",
    "fluorine": "F", "carbon": "C", "nitrogen": "N", "copper": "Cu", "zirconium": "Zr", "oxygen": "O", "xenon": "Xe",
    "krypton": "Kr", "rubidium": "Rb", "yttrium": "Y", "samarium": "Sm", "rhenium": "Re", "radium": "Ra",
    "chromium": "Cr", "cobalt": "Co", "bromine": "Br", "phosphorus": "P", "strontium": "Sr", "terbium": "Tb",
    "scandium": "Sc", "actinium": "Ac", "lead": "Pb", "bismuth": "Bi", "astatine": "At", "holmium": "Ho",
} | {symbol.lower(): symbol for symbol in _ELEMENTS.split()}  # fmt: skip
_CODES = {
    "Tc-99m": "C-163A8 72454006", "In-111": "C-145A4 56609000", "I-123": "C-114A4 21572004",
    "I-125": "C-114A6 68630002", "I-131": "C-114B1 1368003", "Ga-67": "C-131A2 2008008", "Tl-201": "C-138A9 60057003",
    "Lu-177": "C-101ED 447553000", "F-18": "C-111A1 77004003", "C-11": "C-105A1 40565003", "N-13": "C-107A1 21576001",
    "Ga-68": "C-131A3 35337001", "Cu-64": "C-127A2 3932008", "Zr-89": "C-168A4 63360001", "I-124": "C-114A5 40937006",
}  # fmt: skip
"""SNOMED-RT and SNOMED CT codes in DICOM PS3.16, CID 18 and CID 4020, as pydicom's own tables give them."""
TOLERANCE = 0.02
"""How far a stated half-life may lie from the table's, relative; tables differ by far less."""

_UNITS = {"seconds": 1.0, "minutes": _MINUTE, "hours": _HOUR, "days": _DAY}


def canonical_name(text: str) -> str:
    """Return "Tc-99m" for the ways in which files write it.

    "99mTc", "Tc99m", "TC-99M", "^99m^Technetium", "Technetium Tc 99m", "99mTc pertechnetate", "Fluorine F^18^".

    Raises:
        UserError: there is no element beside a mass number in it, or several isotopes.
    """
    parts = re.findall(r"\d+m?|[a-z]+", re.sub(r"(\d)\s+m\b", r"\1m", text.lower()))
    found: dict[str, None] = {}
    for one, other in pairwise(parts):
        element, mass = (other, one) if one[0].isdigit() else (one, other)
        if element in _SYMBOLS and re.fullmatch(r"\d{1,3}m?", mass):
            found[f"{_SYMBOLS[element]}-{mass}"] = None
    # "Tc-99m in saline" names indium by accident: an isotope of the table goes before others.
    names = [name for name in found if name in ISOTOPES] or list(found)
    if len(names) != 1:
        how = "is no isotope" if not names else f"names several isotopes ({', '.join(names)})"
        raise UserError(f"{text!r} {how}; write element and mass number, such as Tc-99m or F-18")
    return names[0]


def name_of_code(value: str) -> str | None:
    """Return the isotope that a code of SNOMED stands for, "Tc-99m" of C-163A8; None of other codes."""
    return next((name for name, codes in _CODES.items() if value in codes.split()), None)


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
    try:
        name = canonical_name(text)
    except UserError as error:
        raise UserError(f"{where}: {error}") from error
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
    return replace(known, half_life=half_life)
