"""A scan's geometry as JSON: what `ct project` writes beside its sinograms, and what users write of their scanners.

A list of angles that reaches no further than 2π looks like radians and is refused, unless the file says
`"angle_unit": "degrees"`, as those written here do.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, Field, asdict, fields
from typing import Any

import numpy as np

from transmodal.errors import UserError
from transmodal.tomography.geometry import Beam, ConeBeam, FanBeam, Grid, ParallelBeam, evenly

MOST_VIEWS = 1_000_000
"""More is no scan but a slip of the keyboard."""

MOST_DEGREES = 3600.0
"""Ten turns: larger angles are indices or times."""

_KINDS: dict[str, type[ParallelBeam] | type[FanBeam] | type[ConeBeam]] = {
    "parallel": ParallelBeam,
    "fan": FanBeam,
    "cone": ConeBeam,
}
_HINTS = {
    "angles": "angles (or views)",
    "bins": "bins (their number)",
    "pitch": "pitch (mm between bins)",
    "rows": "rows (their number)",
    "row_pitch": "row_pitch (mm between rows)",
    "source_to_axis": "source_to_axis (mm)",
    "source_to_detector": "source_to_detector (mm)",
}
_FEW = 7  # views that may well lie within 6.28 degrees
_ROUNDING = 1e-6


def to_json(grid: Grid, beam: Beam) -> str:
    """Return a scan's geometry as JSON."""
    return json.dumps({"grid": asdict(grid), "beam": {**asdict(beam), "angle_unit": "degrees"}}, indent=2) + "\n"


def beam_from(entries: Mapping[str, Any], name: str = "geometry") -> Beam:
    """Build a geometry from what a JSON or YAML file holds.

    Args:
        entries: `kind` and the attributes of its class; instead of `angles` also `views` with `degrees` and `start`;
            with them perhaps `angle_unit`, which is "degrees".
        name: of the file, for messages.

    Raises:
        UserError: an unknown kind or key, a missing one, a value that is none, angles that look like radians.
    """
    given = dict(entries)
    kind = given.pop("kind", None)
    if kind not in _KINDS:
        raise UserError(f"{name}: kind must be parallel, fan or cone, not {kind!r}")
    unit = given.pop("angle_unit", None)
    if unit not in (None, "degrees"):
        raise UserError(f"{name}: angle_unit must be degrees, not {unit!r}; multiply radians by 180/π")
    for count in ("views", "rows", "bins"):
        if count in given:
            given[count] = _whole(given[count], count, name)
    if not isinstance(given.get("curved", False), bool):
        raise UserError(f"{name}: curved must be true or false, not {given['curved']!r}")
    if "angles" in given:
        _check_degrees(given["angles"], name, said=unit is not None)
    elif "views" in given:
        given["angles"] = _evenly(given, kind, name)
    made = _KINDS[kind]
    known = {entry.name for entry in fields(made) if entry.init}
    if unknown := sorted(set(given) - known):
        raise UserError(f"{name}: unknown {', '.join(unknown)}; a {kind} beam has {', '.join(sorted(known))}")
    if missing := [entry.name for entry in fields(made) if _is_required(entry) and entry.name not in given]:
        words = " and ".join(_HINTS.get(entry, entry) for entry in missing)
        raise UserError(f"{name}: a {kind} beam needs {words}; add {'it' if len(missing) == 1 else 'them'} to the beam")
    return made(**given)


def _is_required(entry: Field[Any]) -> bool:
    return entry.init and entry.default is MISSING and entry.default_factory is MISSING


def grid_from(entries: Mapping[str, Any], name: str = "geometry") -> Grid:
    """Build a grid from what a JSON or YAML file holds: `shape`, `spacing` and perhaps `centre`.

    Raises:
        UserError: an unknown or missing key, a number of voxels that is not whole.
    """
    if unknown := sorted(set(entries) - {"shape", "spacing", "centre"}):
        raise UserError(f"{name}: unknown {', '.join(unknown)}; a grid has shape, spacing and centre")
    if missing := sorted({"shape", "spacing"} - set(entries)):
        raise UserError(f"{name}: {', '.join(missing)} missing from the grid")
    shape = tuple(_whole(count, "the grid's shape", name) for count in entries["shape"])
    return Grid(shape, tuple(entries["spacing"]), tuple(entries.get("centre", ())))


def _whole(value: Any, what: str, name: str) -> int:
    """Return a number that counts something.

    Raises:
        UserError: it does not.
    """
    if isinstance(value, bool) or not isinstance(value, int | float) or not float(value).is_integer():
        raise UserError(f"{name}: {what} must be a whole number, not {value!r}")
    return int(value)


def _evenly(given: dict[str, Any], kind: str, name: str) -> tuple[float, ...]:
    """Take number of views, arc and start out of the entries and return the angles.

    Raises:
        UserError: more views or a wider arc than any scan has.
    """
    views = given.pop("views")
    arc = float(given.pop("degrees", 180.0 if kind == "parallel" else 360.0))
    start = float(given.pop("start", 0.0))
    if views > MOST_VIEWS:
        raise UserError(f"{name}: {views} views are more than any scan has, at most {MOST_VIEWS}")
    if not (0 < abs(arc) <= MOST_DEGREES and math.isfinite(start)):
        raise UserError(f"{name}: the arc of a scan lies above 0 and up to {MOST_DEGREES:g} degrees, not {arc:g}")
    return evenly(views, arc, start)


def _check_degrees(angles: Sequence[float], name: str, *, said: bool) -> None:
    """Refuse a user's angles that are apparently radians, indices or times.

    Args:
        angles: as given; what is no list of finite numbers is left to the beam.
        name: of the file.
        said: the file says that they are degrees.

    Raises:
        UserError: with the remedy.
    """
    values = np.abs(np.asarray(angles, dtype=np.float64).ravel())
    if values.size == 0 or not np.isfinite(values).all():
        return
    reach = float(values.max())
    if not said and values.size > _FEW and 0 < reach <= 2 * np.pi + _ROUNDING:
        raise UserError(
            f"{name}: {values.size} view angles reach no further than {reach:.3f}: degrees are wanted, these look like "
            'radians; multiply them by 180/π, or say "angle_unit": "degrees"'
        )
    if reach > MOST_DEGREES:
        raise UserError(
            f"{name}: a view angle of {reach:g}: degrees are wanted, at most ten turns; are these indices or times?"
        )
