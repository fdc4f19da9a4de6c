"""What of an acquisition can hardly be meant, in words: syringes measured on the wrong side of the injection, units."""

from collections.abc import Sequence

import numpy as np

from transmodal.errors import UserError
from transmodal.images.nuclear.isotopes import ISOTOPES, Isotope, canonical_name
from transmodal.images.nuclear.series import NuclearSeries

_SMALL_FIELD = 200.0  # mm, the longer side: a mouse, a rat's half, a pinhole over a thyroid
_MUCH_FOR_SMALL = 500.0  # MBq
_MEGA = 1e6
_LEAST_ENERGY = 10.0  # keV; softer photons do not leave a mouse
_SLACK = 1.0  # keV; the energies of isotopes are known to whole keV


def doubts_of(series: NuclearSeries) -> list[str]:
    """Return what a user should look at again, a line each."""
    return [*_isotope(series), *_window(series), *_sensitivity(series), *_syringe(series), *_picture(series)]


def holds_photons(window: tuple[float, float], isotope: Isotope) -> bool:
    """Return whether photons of the isotope that are known here fall into an energy window (low, high), keV."""
    low, high = window
    return low < high and any(low - _SLACK <= energy <= high + _SLACK for energy in isotope.energies)


def in_words(ranges: Sequence[tuple[float, float]]) -> str:
    """Return the ranges (low, high) of an energy window, keV, for a message; "" of none."""
    return f"{', '.join(f'{low:g} to {high:g}' for low, high in ranges)} keV" if ranges else ""


def leaves_out(ranges: Sequence[tuple[float, float]], isotope: Isotope | None) -> str:
    """Return that an energy window of these ranges (low, high), keV, leaves out the photons of the isotope, else ""."""
    if not ranges or isotope is None or not isotope.energies or any(holds_photons(each, isotope) for each in ranges):
        return ""
    known = " or ".join(f"{energy:g}" for energy in isotope.energies)
    return (
        f"the energy window of {in_words(ranges)} leaves out the photons of {isotope.name} ({known} keV): is it one "
        "for scatter, or of another isotope? --energy-window chooses between several"
    )


def _picture(series: NuclearSeries) -> list[str]:
    if series.frames.dtype != np.uint8 or series.isotope is not None or series.starts is not None:
        return []
    return [
        f"{series.name} has 8 bits and says neither isotope nor times: taken for counts; grey values of a picture or "
        "of a display are none"
    ]


def _isotope(series: NuclearSeries) -> list[str]:
    if series.isotope is None or not series.agent:
        return []
    try:
        labelled = canonical_name(series.agent)
    except UserError:  # "MDP" and "FDG" name none
        return []
    # "DOTA-TATE 177" may look like an isotope; one of the table is meant as one.
    if labelled not in ISOTOPES or labelled == series.isotope.name:
        return []
    return [
        f"{series.name}: the isotope is {series.isotope.name}, but the agent {series.agent!r} names {labelled}; mend "
        "one of them: decay is corrected by the isotope"
    ]


def _window(series: NuclearSeries) -> list[str]:
    if series.energy_window is None:
        return []
    low, high = series.energy_window
    stated = f"{series.name}: the energy window of {in_words([(low, high)])}"
    if not 0 <= low < high:
        return [f"{stated} is none; mend its limits in the header, or give energy_window_keV in a sidecar"]
    if high < _LEAST_ENERGY:
        return [f"{stated} lies below all that is imaged; are these MeV?"]
    line = leaves_out([(low, high)], series.isotope)
    return [f"{series.name}: {line}"] if line else []


def _sensitivity(series: NuclearSeries) -> list[str]:
    if series.sensitivity is None or series.sensitivity >= 1:
        return []
    return [
        f"{series.name}: a sensitivity of {series.sensitivity:g} counts a second for each MBq is very low; "
        f"were it for each kBq, write {series.sensitivity * 1e3:g}"
    ]


def _syringe(series: NuclearSeries) -> list[str]:
    syringe = series.injection
    if syringe is None:
        return []
    said = []
    if syringe.before_at > 0:
        said.append(
            f"{series.name}: the full syringe was measured {syringe.before_at:g} s after the injection, when it was "
            f"empty; was it before? write before_at_s {-syringe.before_at:g} (a label may state a later time)"
        )
    if syringe.after > 0 and syringe.after_at < 0:
        said.append(
            f"{series.name}: what was left in the syringe was measured {-syringe.after_at:g} s before the injection; "
            f"was it after? write after_at_s {-syringe.after_at:g}"
        )
    longest = max(length * step for length, step in zip(series.shape, series.spacing, strict=True))
    if series.has_physical_size and longest <= _SMALL_FIELD and syringe.before > _MUCH_FOR_SMALL * _MEGA:
        said.append(
            f"{series.name}: {syringe.before / _MEGA:g} MBq are much for a field of {longest:.0f} mm; mice get 0.1 to "
            "100 MBq: is a decimal point or the unit wrong?"
        )
    return said
