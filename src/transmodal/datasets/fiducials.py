"""Fiducials: points that a person marked in both images of a pair.

A CSV with a row a point: `modality`, `point` (its name), the place, and `subject` and `session`. The place is in mm
(`x_mm`, `y_mm`, for volumes `z_mm`, in the image's own world) or in pixels counted from 0 (`row`, `column`, for volumes
`slice`). A blank subject holds for every case: a camera that never moved needs its points marked once.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from transmodal.datasets.manifest import CaseFiles
from transmodal.datasets.manifest_csv import read_rows
from transmodal.errors import UserError
from transmodal.images import Image
from transmodal.images.registration import index_to_world

_MM = ("x_mm", "y_mm", "z_mm")
_PIXELS = ("row", "column", "slice")
_COLUMNS = ("subject", "session", "modality", "point", *_MM, *_PIXELS)
Points = dict[str, tuple[float, ...]]


@dataclass(frozen=True)
class Fiducials:
    """All marked points of a data set.

    Attributes:
        points: (subject, session, modality) to point name to coordinates; a blank subject or session holds for all.
        in_mm: whether coordinates are mm or pixel indices.
        name: the file, for messages.
    """

    points: dict[tuple[str, str, str], Points]
    in_mm: bool
    name: str

    @classmethod
    def read(cls, path: str | Path) -> "Fiducials":
        """Read a CSV of fiducials.

        Raises:
            UserError: the file is missing or no such table, a coordinate is no number, a point is marked twice.
        """
        path = Path(path)
        rows, numbers = read_rows(path, needed=("modality", "point"), known=_COLUMNS, remedy="mark the points first")
        in_mm = "x_mm" in rows[0]
        columns = _MM if in_mm else _PIXELS
        if any(column not in rows[0] for column in columns[:2]):
            raise UserError(
                f"{path} says no places; give the columns x_mm and y_mm, or row and column (pixels); of a picture both "
                "count from 0 in the middle of the first pixel"
            )
        points: dict[tuple[str, str, str], Points] = {}
        for row, number in zip(rows, numbers, strict=True):
            cells = [row.get(column, "") for column in columns]
            try:
                place = tuple(float(cell) for cell in cells if cell)
            except ValueError:
                place = ()
            if len(place) < 2 or not np.isfinite(place).all() or not all(cells[: len(place)]):
                raise UserError(
                    f"Row {number} of {path} has no proper place ({', '.join(cells)}); write 2 or 3 numbers"
                )
            of_image = points.setdefault((row.get("subject", ""), row.get("session", ""), row["modality"]), {})
            if row["point"] in of_image:
                raise UserError(f"The point {row['point']} of row {number} of {path} is marked twice; delete one")
            of_image[row["point"]] = place
        return cls(points, in_mm, str(path))

    def of(self, case: CaseFiles, modality: str) -> Points:
        """Return the points of one image: its own, or those of its subject, or those that hold for all."""
        for key in ((case.subject, case.session), (case.subject, ""), ("", case.session), ("", "")):
            if found := self.points.get((*key, modality)):
                return found
        return {}

    def pairs_mm(
        self, case: CaseFiles, moving: str, fixed: str, images: tuple[Image, Image]
    ) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        """Return the points that are marked in both images, as two (n, dims) arrays in mm, in one order.

        Args:
            images: the moving and the fixed image, for pixels to mm.

        Raises:
            UserError: no point is marked in both, or a point has another number of coordinates than its image.
        """
        in_moving, in_fixed = self.of(case, moving), self.of(case, fixed)
        shared = [name for name in in_moving if name in in_fixed]
        if not shared:
            raise UserError(
                f"No point of case {case.id} is marked in both {moving} and {fixed} in {self.name}; mark some"
            )
        return (
            self._in_mm([in_moving[name] for name in shared], images[0]),
            self._in_mm([in_fixed[name] for name in shared], images[1]),
        )

    def _in_mm(self, places: list[tuple[float, ...]], image: Image) -> npt.NDArray[np.float64]:
        dims = image.spatial_dims
        if any(len(place) != dims for place in places):
            raise UserError(f"The points for {image.name} in {self.name} need {dims} coordinates each; mend the table")
        coordinates = np.array(places, dtype=np.float64)
        if self.in_mm:
            return coordinates
        to_world = index_to_world(image)
        return np.asarray(coordinates @ to_world[:-1, :-1].T + to_world[:-1, -1])
