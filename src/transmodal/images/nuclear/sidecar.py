"""The sidecar of a nuclear image: what a TIFF or PNG cannot say of its frames, as JSON beside it.

`NAME.nuclear.json` lies beside NAME.tif, or beside the folder NAME of one picture a frame. Every key may be left out;
what is then not known is refused only by what needs it. Unknown keys are refused by name.
"""

import json
import reprlib
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from transmodal.errors import UserError
from transmodal.images.files import write_text
from transmodal.images.formats import stem_of
from transmodal.images.nuclear.isotopes import Isotope, isotope_named
from transmodal.images.nuclear.series import CREDIBLE_MBQ, Injection, NuclearSeries

SUFFIX = ".nuclear.json"
_MEGA = 1e6
_KEYS = (
    "isotope",
    "half_life_s",
    "agent",
    "frames",
    "injected",
    "sensitivity_cps_per_MBq",
    "energy_window_keV",
    "saturation_counts",
    "pixel_mm",
    "synthetic",
    "derivation",
)
_INJECTED = ("before_MBq", "before_at_s", "after_MBq", "after_at_s")
_FRAMES = ("start_s", "duration_s")
_LONGEST = 60 * 86400.0
"""Frames that begin later than two months after the injection are taken for a mistake of the unit."""
_MOST_HALF_LIVES = 10.0
"""A syringe is measured within so many half-lives of the injection; a thousandth is left of it after ten."""
_LEAST_SENSITIVITY, _MOST_SENSITIVITY = 1e-2, 1e6


@dataclass(frozen=True)
class Sidecar:
    """What a sidecar says; None or empty where it says nothing. Units as in `NuclearSeries`."""

    isotope: Isotope | None = None
    agent: str = ""
    starts: npt.NDArray[np.float64] | None = None
    durations: npt.NDArray[np.float64] | None = None
    injection: Injection | None = None
    sensitivity: float | None = None
    energy_window: tuple[float, float] | None = None
    saturation: float | None = None
    pixel_mm: tuple[float, float] | None = None
    derivation: str = ""
    synthetic: bool = False

    @property
    def overrides(self) -> frozenset[str]:
        """What of `acquired` it says better, so that a header's mistake there does no harm."""
        names = ("isotope", "injection", "starts", "durations")
        return frozenset(name for name in names if getattr(self, name) is not None)


def sidecar_path(path: Path) -> Path:
    """Return where the sidecar of an image or of a folder of frames lies."""
    name = path.name if path.is_dir() else stem_of(path)
    return path.with_name(name + SUFFIX)


def read_sidecar(path: Path) -> Sidecar:
    """Read a sidecar.

    Raises:
        UserError: it is no JSON, has an unknown key, or a value that cannot be; the key is named.
    """
    try:
        said = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"Cannot read the sidecar {path}: {error}; write JSON as docs/nuclear.md shows it") from error
    said = _group(said, _KEYS, str(path))
    isotope = None
    if "isotope" in said:
        half_life = _number(said["half_life_s"], f"{path}: half_life_s") if "half_life_s" in said else None
        isotope = isotope_named(str(said["isotope"]), half_life, str(path))
    elif "half_life_s" in said:
        raise UserError(f"{path} says a half-life and no isotope; add isotope, such as Tc-99m")
    frames = _group(said.get("frames", {}), _FRAMES, f"{path}: frames")
    return Sidecar(
        isotope=isotope,
        agent=str(said.get("agent", "")),
        starts=_times(frames, "start_s", path),
        durations=_times(frames, "duration_s", path),
        injection=_injection(said["injected"], path) if "injected" in said else None,
        sensitivity=_sensitivity(said, path),
        energy_window=_window(said, path),
        saturation=_positive(said, "saturation_counts", path),
        pixel_mm=_sizes(said, path),
        derivation=str(said.get("derivation", "")),
        synthetic=said.get("synthetic") is True,
    )


def write_sidecar(series: NuclearSeries, path: Path, *, synthetic: bool, derivation: str = "") -> Path:
    """Write the sidecar of a series that lies at `path`; return the sidecar's path."""
    said: dict[str, Any] = {}
    if series.isotope is not None:
        said |= {"isotope": series.isotope.name, "half_life_s": series.isotope.half_life}
    if series.agent:
        said["agent"] = series.agent
    frames = {"start_s": series.starts, "duration_s": series.durations}
    if any(times is not None for times in frames.values()):
        said["frames"] = {name: times.tolist() for name, times in frames.items() if times is not None}
    if series.injection is not None:
        syringe = series.injection
        said["injected"] = {
            "before_MBq": syringe.before / _MEGA,
            "before_at_s": syringe.before_at,
            "after_MBq": syringe.after / _MEGA,
            "after_at_s": syringe.after_at,
        }
    if series.sensitivity is not None:
        said["sensitivity_cps_per_MBq"] = series.sensitivity
    if series.energy_window is not None and 0 <= series.energy_window[0] < series.energy_window[1]:
        said["energy_window_keV"] = list(series.energy_window)
    if series.saturation is not None:
        said["saturation_counts"] = series.saturation
    if series.has_physical_size:
        said["pixel_mm"] = list(series.spacing)
    said |= {"synthetic": synthetic} | ({"derivation": derivation} if derivation else {})
    return write_text(sidecar_path(path), json.dumps(said, indent=1, ensure_ascii=False) + "\n")


def _group(said: Any, known: tuple[str, ...], where: str) -> dict[str, Any]:
    if not isinstance(said, dict):
        raise UserError(f"{where} is no JSON object; write {{…}} with {', '.join(known)}")
    unknown = [repr(key) for key in said if key not in known]
    if unknown:
        raise UserError(f"{where} has the unknown key {', '.join(unknown)}; known are {', '.join(known)}")
    return said


def _number(value: Any, where: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) <= sys.float_info.max:
        raise UserError(f"{where} is {reprlib.repr(value)}; write a number")
    return float(value)


def _positive(said: dict[str, Any], key: str, path: Path) -> float | None:
    if key not in said:
        return None
    value = _number(said[key], f"{path}: {key}")
    if value <= 0:
        raise UserError(f"{path}: {key} is {value:g}; write a number above 0")
    return value


def _sensitivity(said: dict[str, Any], path: Path) -> float | None:
    """Read the sensitivity; collimators count some tens to thousands a second for each MBq, PET up to some 1e5."""
    value = _positive(said, "sensitivity_cps_per_MBq", path)
    if value is not None and value < _LEAST_SENSITIVITY:
        raise UserError(
            f"{path}: sensitivity_cps_per_MBq is {value:g}; that looks like counts a second for each Bq or kBq: "
            f"times 1e6 it is {value * 1e6:g}, times 1000 {value * 1e3:g}"
        )
    if value is not None and value > _MOST_SENSITIVITY:
        raise UserError(
            f"{path}: sensitivity_cps_per_MBq is {value:g}, more than one count for each decay; give counts a second "
            "for each MBq, not each GBq or Ci"
        )
    return value


def _pair(said: dict[str, Any], key: str, path: Path) -> tuple[float, float] | None:
    if key not in said:
        return None
    value = said[key]
    if not isinstance(value, list) or len(value) != 2:
        raise UserError(f"{path}: {key} is {reprlib.repr(value)}; write two numbers in brackets")
    first, second = (_number(each, f"{path}: {key}") for each in value)
    return first, second


def _sizes(said: dict[str, Any], path: Path) -> tuple[float, float] | None:
    sizes = _pair(said, "pixel_mm", path)
    if sizes is not None and min(sizes) <= 0:
        raise UserError(f"{path}: pixel_mm is [{sizes[0]:g}, {sizes[1]:g}]; write numbers above 0")
    return sizes


def _window(said: dict[str, Any], path: Path) -> tuple[float, float] | None:
    window = _pair(said, "energy_window_keV", path)
    if window is not None and not 0 <= window[0] < window[1]:
        raise UserError(
            f"{path}: energy_window_keV is [{window[0]:g}, {window[1]:g}]; write the lower limit, then the upper "
            "one, none below 0"
        )
    return window


def _times(frames: dict[str, Any], key: str, path: Path) -> npt.NDArray[np.float64] | None:
    if key not in frames:
        return None
    value = frames[key]
    if not isinstance(value, list) or not value:
        raise UserError(f"{path}: frames.{key} is {reprlib.repr(value)}; write one number a frame, in brackets")
    times = np.array([_number(each, f"{path}: frames.{key}") for each in value])
    if key == "duration_s" and (times <= 0).any():
        raise UserError(f"{path}: frames.duration_s has {times.min():g}; write seconds above 0")
    if (np.abs(times) > _LONGEST).any():
        raise UserError(
            f"{path}: frames.{key} has {times[np.abs(times).argmax()]:g} s, which is more than two months; write "
            "seconds, not milliseconds"
        )
    return times


def _injection(said: Any, path: Path) -> Injection:
    said = _group(said, _INJECTED, f"{path}: injected")
    if "before_MBq" not in said:
        raise UserError(f"{path}: injected says no before_MBq, the activity of the full syringe; add it")
    values = {key: _number(said.get(key, 0.0), f"{path}: injected.{key}") for key in _INJECTED}
    least, most = CREDIBLE_MBQ
    if values["before_MBq"] > 0 and not least <= values["before_MBq"] <= most:
        raise UserError(
            f"{path}: injected.before_MBq is {values['before_MBq']:g} MBq; mice get 0.1 to 100, people up to some "
            "thousands: write MBq, not Bq, kBq or another unit"
        )
    if values["after_MBq"] > most:
        raise UserError(f"{path}: injected.after_MBq is {values['after_MBq']:g} MBq; write MBq, not Bq or kBq")
    for key in ("before_at_s", "after_at_s"):
        if abs(values[key]) > _LONGEST:
            raise UserError(
                f"{path}: injected.{key} is {values[key]:g} s, more than two months from the injection; write seconds, "
                "not milliseconds"
            )
    try:
        return Injection(
            values["before_MBq"] * _MEGA, values["before_at_s"], values["after_MBq"] * _MEGA, values["after_at_s"]
        )
    except UserError as error:
        raise UserError(f"{path}: {error}") from error


def require_credible(injection: Injection, isotope: Isotope, path: Path) -> None:
    """Refuse a syringe whose times or activities cannot be, once its isotope is known.

    Args:
        injection: as the sidecar states it.
        isotope: of the sidecar or of the file's header.
        path: the sidecar, for messages.

    Raises:
        UserError: it was measured more than ten half-lives from the injection, or held at that time no activity that
            is injected.
    """
    for key, moment in (("before_at_s", injection.before_at), ("after_at_s", injection.after_at)):
        half_lives = abs(moment) / isotope.half_life
        if half_lives > _MOST_HALF_LIVES:
            raise UserError(
                f"{path}: injected.{key} is {moment:g} s, {half_lives:.3g} half-lives of {isotope.name} from the "
                "injection; write seconds, negative for before it"
            )
    try:
        held = injection.activity(isotope) / _MEGA
    except UserError as error:
        raise UserError(f"{path}: {error}") from error
    least, most = CREDIBLE_MBQ
    if not least <= held <= most:
        raise UserError(
            f"{path}: injected gives {held:.3g} MBq at the time of the injection; mice get 0.1 to 100, people up to "
            "some thousands: mend the activities (MBq) or their times (seconds)"
        )
