"""Projections on disk, and the scan's geometry beside them as NAME.geometry.json.

The file's axes are those that its format's readers expect: .npy as in memory, (views, bins), (slices, views, bins) or
(views, rows, bins); a page of a TIFF for each slice or cone-beam view; NIfTI, MetaImage and NRRD with bins first, as
their fastest axis. The JSON holds `grid` and `beam` as `geometry_json.to_json` writes them and, where an image was
projected, `image`: shape, affine, axis of the slices, quantity, so that a reconstruction lies where the image lay.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from transmodal.errors import UserError
from transmodal.images import Image, read, write
from transmodal.images.files import write_text
from transmodal.images.formats import format_of_name, recognise
from transmodal.images.guard import reading, require_file
from transmodal.tomography.geometry import Beam, ConeBeam, Grid, check_projections
from transmodal.tomography.geometry_json import beam_from, grid_from, to_json
from transmodal.tomography.sidecar import geometry_beside
from transmodal.tomography.slices import Place

__all__ = [
    "ScanGeometry",
    "geometry_beside",
    "in_slices",
    "read_field",
    "read_geometry",
    "read_projections",
    "require_projection_name",
    "says_line_integrals",
    "write_geometry",
    "write_projections",
]

_MEANING = "line integral"
_WRITTEN = {"npy": ".npy", "tiff": ".tif", "nifti": ".nii.gz", "metaimage": ".mha", "nrrd": ".nrrd"}


@dataclass(frozen=True, eq=False)
class ScanGeometry:
    """What is known of a scan.

    Attributes:
        beam: where the rays ran.
        grid: of the image, None where nobody said.
        place: of the image that was projected, None where nobody said.
        mark: how the image that was projected was made, when it is synthetic; else empty.
    """

    beam: Beam
    grid: Grid | None = None
    place: Place | None = None
    mark: str = ""

    def to_json(self) -> str:
        """Return the text of the file."""
        assert self.grid is not None
        entries = json.loads(to_json(self.grid, self.beam))
        if self.place is not None:
            entries["image"] = self.place.to_json()
        if self.mark:
            entries["synthetic"] = self.mark
        return json.dumps(entries, indent=2) + "\n"


def write_geometry(path: Path, geometry: ScanGeometry) -> Path:
    """Write the geometry of a scan."""
    return write_text(path, geometry.to_json())


def read_geometry(path: Path) -> ScanGeometry:
    """Read the geometry of a scan: `beam` with perhaps `grid` and `image`, or what is in `beam` alone.

    Raises:
        UserError: no such file, no JSON, an unknown entry, a value that cannot be.
    """
    require_file(path)
    name = str(path)
    try:
        entries = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{name} is no JSON file ({error}); it holds the geometry of a scan") from error
    if isinstance(entries, dict) and "kind" in entries:
        entries = {"beam": entries}
    if not isinstance(entries, dict) or not isinstance(entries.get("beam"), dict):
        raise UserError(f"{name} holds no geometry of a scan: it needs the entry 'beam' with kind, angles, bins, pitch")
    if unknown := sorted(set(entries) - {"beam", "grid", "image", "synthetic"}):
        raise UserError(f"{name}: unknown {', '.join(unknown)}; a geometry has beam, grid, image and synthetic")
    _require_numbers(entries["beam"], name)
    try:
        grid = grid_from(entries["grid"], name) if entries.get("grid") else None
        beam = beam_from(entries["beam"], name)
    except (TypeError, ValueError, OverflowError) as error:
        raise UserError(f"{name} holds a value that is none: {error}") from error
    except UserError as error:
        raise error if name in str(error) else UserError(f"{name}: {error}") from error
    place = Place.from_json(entries["image"], name) if entries.get("image") else None
    if place is not None and grid is not None and len(grid.shape) == 2 and place.stacked_shape[1:] != grid.shape:
        raise UserError(f"{name}: the grid has shape {grid.shape}, the image's slices {place.stacked_shape[1:]}")
    mark = entries.get("synthetic") or ""
    if not isinstance(mark, str):
        raise UserError(f"{name}: synthetic is {mark!r}; write in words how the image was made that was projected")
    return ScanGeometry(beam, grid, place, mark)


def require_projection_name(path: Path) -> None:
    """Refuse a name whose format holds no line integrals.

    Raises:
        UserError: with the names that do.
    """
    if format_of_name(path) not in _WRITTEN:
        raise UserError(f"Cannot write projections as {path.name}; end it with {', '.join(_WRITTEN.values())}")


def _require_numbers(beam: dict[str, Any], name: str) -> None:
    """Refuse texts where a beam has numbers.

    Raises:
        UserError: with the entry.
    """
    for entry, value in beam.items():
        if entry == "angles":
            if not isinstance(value, list) or not all(_is_number(angle) for angle in value):
                raise UserError(f"{name}: angles must be numbers, in degrees, one a view")
        elif entry not in ("kind", "curved", "angle_unit") and not _is_number(value):
            raise UserError(f"{name}: {entry} must be a number, not {value!r}")


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def write_projections(path: Path, projections: NDArray[Any], derivation: str = "") -> Path:
    """Write projections as float32.

    Args:
        path: .npy, .tif, .nii.gz, .mha or .nrrd.
        projections: (views, bins), (slices, views, bins) or (views, rows, bins).
        derivation: how they were made.

    Raises:
        UserError: another name, or the place cannot be written.
    """
    require_projection_name(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.ascontiguousarray(_to_file(np.asarray(projections, np.float32), format_of_name(path) or ""))
    return write(Image(pixels, quantity=_MEANING, has_physical_size=False), path, derivation or None)


def read_projections(path: Path) -> NDArray[Any]:
    """Read projections, or counts, in the order that `write_projections` takes them.

    Raises:
        UserError: the file is no array of two or three axes.
    """
    if path.is_file() and recognise(path) == "npy":
        return read_field(path)
    image = read(path)
    if image.channels:
        raise UserError(f"{path} has the channels {', '.join(image.channels)}; projections have one value a bin")
    return np.ascontiguousarray(_from_file(image.pixels, image.source.format))


def says_line_integrals(path: Path) -> bool:
    """Say whether a file notes that its values are line integrals, as those of `write_projections` do."""
    return read(path).quantity == _MEANING


def read_field(path: Path) -> NDArray[Any]:
    """Read a flat or dark field, which may be a single row of bins in a .npy."""
    require_file(path)
    if recognise(path) != "npy":
        return read_projections(path)
    with reading(path, "a NumPy array"):
        values = np.load(path, allow_pickle=False)
    if values.dtype.kind not in "buif" or not 1 <= values.ndim <= 3 or values.size == 0:
        raise UserError(
            f"{path} holds {values.dtype} values of shape {values.shape}; projections are two or three axes"
        )
    found: NDArray[Any] = values
    return found


def _to_file(projections: NDArray[Any], format: str) -> NDArray[Any]:
    if format == "nifti" or (format in ("metaimage", "nrrd", "minc") and projections.ndim == 3):
        return projections.T
    if format in ("tiff", "dicom") and projections.ndim == 3:
        return np.moveaxis(projections, 0, 2)
    return projections


def _from_file(pixels: NDArray[Any], format: str) -> NDArray[Any]:
    if format in ("tiff", "dicom") and pixels.ndim == 3:
        return np.moveaxis(pixels, 2, 0)
    return _to_file(pixels, format)


def in_slices(projections: NDArray[Any], beam: Beam, *, views_first: bool = False, name: str = "") -> NDArray[Any]:
    """Return projections as reconstruction takes them: (slices, views, bins), or (views, rows, bins) of a cone.

    Args:
        projections: of a parallel or fan beam (views, bins), (slices, views, bins), or (views, slices, bins), as
            detectors with rows deliver them, where that is the only way in which the numbers fit.
        beam: the scanner.
        views_first: prefer (views, slices, bins) where both fit.
        name: of the file, for messages.

    Raises:
        UserError: the shape disagrees with the geometry, with a hint where axes look swapped.
    """
    called = name or "the sinogram"
    if isinstance(beam, ConeBeam):
        if projections.ndim != 3:
            raise UserError(f"{called} has shape {projections.shape}, the geometry {beam.shape} (views, rows, bins)")
        check_projections(projections, beam, called)
        return projections
    if projections.ndim == 2:
        check_projections(projections, beam, called)
        return projections[None]
    rows_fit = projections.ndim == 3 and (projections.shape[0], projections.shape[2]) == beam.shape
    slices_fit = projections.ndim == 3 and projections.shape[1:] == beam.shape
    if rows_fit and (views_first or not slices_fit):
        return np.ascontiguousarray(np.moveaxis(projections, 1, 0))
    check_projections(projections, beam, called)
    return projections
