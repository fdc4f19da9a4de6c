"""Files that say where regions are or what they are called: hand-drawn polygons, and the names of a label map's values.

Polygons: {"format": "transmodal regions 1", "unit": "mm", "regions": [{"name": "tumour", "polygon": [[x, y], …],
"role": "target"}]}. x runs right and y down. In pixels, x is the column and y the row, both counted from 0 in the
middle of the first pixel, as fiducials are.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from transmodal.errors import UserError
from transmodal.fusion.areas import crosses_itself, edges_of_polygon, signed_area
from transmodal.images.files import write_text
from transmodal.images.guard import require_file

FORMAT = "transmodal regions 1"
Role = Literal["target", "background", ""]
ROLES: tuple[Role, ...] = ("target", "background", "")
Unit = Literal["mm", "pixels"]
_UNITS: dict[str, Unit] = {"mm": "mm", "millimetres": "mm", "pixels": "pixels", "pixel": "pixels", "px": "pixels"}
_MARKS = ("synthetic", "notice")  # beside the names of a simulation's labels
_MOST_CORNERS = 2000  # all pairs of sides are compared


@dataclass(frozen=True, eq=False)
class Polygon:
    """One hand-drawn region.

    Attributes:
        name: what it shows.
        points: (n, 2) x, y, at least three; the last is joined to the first.
        role: what it is for: the "target", the "background", or neither.
    """

    name: str
    points: npt.NDArray[np.float64]
    role: Role = ""

    def __post_init__(self) -> None:
        if not self.name.strip():
            raise UserError("a polygon has no name; give each region one")
        if self.role not in ROLES:
            raise UserError(f"{self.name}: a region's role is target, background or nothing, not {self.role!r}")
        points = self.points
        if points.ndim != 2 or points.shape[1:] != (2,) or len(points) < 3:
            raise UserError(f"{self.name}: a polygon needs at least 3 points of x and y; draw it again")
        if not np.isfinite(points).all():
            raise UserError(f"{self.name}: a point of the polygon is not a finite number; correct it")
        if len(points) > _MOST_CORNERS:
            raise UserError(f"{self.name}: {len(points)} points are more than {_MOST_CORNERS}; draw it with fewer")
        if crosses_itself(points):
            raise UserError(f"{self.name}: the polygon crosses or touches itself; draw its points in order along it")
        if abs(signed_area(edges_of_polygon(points))) < 1e-9 * float(np.ptp(points, axis=0).max() or 1.0) ** 2:
            raise UserError(f"{self.name}: the polygon encloses nothing; its points lie on one line")


@dataclass(frozen=True)
class Polygons:
    """The polygons of a file, and the unit of their points."""

    polygons: tuple[Polygon, ...]
    unit: Unit = "mm"
    name: str = field(default="polygons in memory", compare=False)

    def __post_init__(self) -> None:
        if self.unit not in ("mm", "pixels"):
            raise UserError(f"{self.name}: the unit of polygons is mm or pixels (px), not {self.unit!r}")
        if not self.polygons:
            raise UserError(f"{self.name} holds no region; draw at least one")
        require_names_once([each.name for each in self.polygons], self.name)

    def to_json(self) -> str:
        """Return text that `read_polygons` gives back exactly."""
        regions = [
            {"name": each.name, "polygon": each.points.tolist(), **({"role": each.role} if each.role else {})}
            for each in self.polygons
        ]
        return json.dumps({"format": FORMAT, "unit": self.unit, "regions": regions}, indent=1) + "\n"


def read_polygons(path: str | Path) -> Polygons:
    """Read hand-drawn regions.

    Raises:
        UserError: the file is missing or no such file; a polygon has fewer than 3 points, crosses itself or encloses
            nothing; a name is there twice.
    """
    said = _read_json(path)
    try:
        if said["format"] != FORMAT:
            raise ValueError(f"its format is {said['format']!r}, not {FORMAT!r}")
        drawn = [
            (str(each["name"]), np.array(each["polygon"], dtype=np.float64), str(each.get("role") or ""))
            for each in said["regions"]
        ]
        unit = _UNITS.get(str(said["unit"]).strip().lower(), said["unit"])
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        reason = f"it lacks {error}" if isinstance(error, KeyError) else str(error)
        raise UserError(f"{path} is no file of regions ({reason}); see docs/nuclear.md for its form") from error
    try:
        return Polygons(tuple(Polygon(name, points, role) for name, points, role in drawn), unit, str(path))  # type: ignore[arg-type]
    except UserError as error:
        raise UserError(str(error) if str(path) in str(error) else f"{path}: {error}") from error


def write_polygons(path: str | Path, polygons: Iterable[Polygon], unit: Unit = "mm") -> Path:
    """Write hand-drawn regions; return the path."""
    return write_text(path, Polygons(tuple(polygons), unit, str(path)).to_json())


@dataclass(frozen=True)
class LabelNames:
    """What the values of a label map mean.

    Attributes:
        names: value → name, the background 0 left out.
        colours: name → "#rrggbb", for those that have one.
        source: the file.
    """

    names: Mapping[int, str]
    colours: Mapping[str, str] = field(default_factory=dict)
    source: str = "names in memory"

    def __post_init__(self) -> None:
        require_names_once(list(self.names.values()), self.source)


def read_label_names(path: str | Path) -> LabelNames:
    """Read the names of a label map's values.

    Args:
        path: `organs.json` of a simulated data set ({"2": {"name": "lungs", "colour": "#…"}}), {"2": "lungs"}, or the
            sidecar of a translated label map (its "labels" list value, name and colour).

    Raises:
        UserError: the file is missing or neither of these.
    """
    said = _read_json(path)
    try:
        listed = said["labels"] if isinstance(said.get("labels"), list) else None
        entries = (
            [(entry["value"], entry) for entry in listed]
            if listed is not None
            else [
                (value, entry if isinstance(entry, dict) else {"name": entry})
                for value, entry in said.items()
                if value not in _MARKS
            ]
        )
        names = {int(value): str(entry["name"]) for value, entry in entries if int(value) != 0}
        colours = {str(entry["name"]): str(entry["colour"]) for _, entry in entries if entry.get("colour")}
        if not names:
            raise ValueError("it names no value but the background")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(
            f'{path} does not name labels ({error}); write {{"2": {{"name": "lungs"}}}}, or name the sidecar of a '
            "translated label map"
        ) from error
    return LabelNames(names, colours, str(path))


def require_names_once(names: list[str], where: str) -> None:
    """Raise a UserError that says which name is there twice."""
    for place, name in enumerate(names):
        if name in names[:place]:
            raise UserError(f"{where}: two regions are called {name}; give each a name of its own")


def _read_json(path: str | Path) -> dict[str, Any]:
    require_file(Path(path))
    try:
        said = json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{path} is no JSON file ({error}); mend it") from error
    if not isinstance(said, dict):
        raise UserError(f"{path} does not hold a JSON object; see docs/nuclear.md for its form")
    return said
