"""Reconstruct a file of projections, or of a scanner's counts, into an image file."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from transmodal.errors import UserError
from transmodal.images import Image
from transmodal.images.guard import require_file
from transmodal.simulation.ct.files import (
    Done,
    lifted_note,
    numbers_of,
    ready_to_write,
    require_free,
    require_image_name,
    require_other_file,
    told_rounding,
    write_image,
)
from transmodal.tomography.devices import require_device
from transmodal.tomography.geometry import Beam, ConeBeam, Grid
from transmodal.tomography.hounsfield import HounsfieldScale
from transmodal.tomography.memory import require_memory
from transmodal.tomography.raw import (
    RING_METHODS,
    RingMethod,
    find_bad_bins,
    interpolate_bad_bins,
    lifted_rays,
    open_beam,
    suppress_rings,
    to_line_integrals,
)
from transmodal.tomography.reconstruction import Settings, reconstruct
from transmodal.tomography.scan_files import (
    ScanGeometry,
    geometry_beside,
    in_slices,
    read_field,
    read_geometry,
    read_projections,
    says_line_integrals,
)
from transmodal.tomography.scanners import grid_seen
from transmodal.tomography.slices import unknown_place
from transmodal.tomography.truncation import looks_truncated

Progress = Callable[[int, int], None]

_MUCH = 20.0  # of a billion photons two come through: hardly a line integral through a body
_COUNTS = 50.0  # of no ray would a photon be left: no line integral is larger
_THICKEST = 6.0  # a line integral through a large body; a floor that cuts those off is too high


@dataclass(frozen=True)
class Raw:
    """What makes counts line integrals.

    Attributes:
        flat, dark: files, or numbers.
        floor: counts above dark to which fewer are lifted.
        rings: how rings are suppressed, None not at all.
    """

    flat: str
    dark: str = "0"
    floor: float = 0.1
    rings: RingMethod | None = None


def reconstruct_file(
    path: Path,
    out: Path,
    settings: Settings,
    *,
    geometry: Path | None = None,
    unit: str | None = None,
    scale: HounsfieldScale | None = None,
    size: tuple[int, ...] = (),
    spacing: tuple[float, ...] = (),
    raw: Raw | None = None,
    rings: RingMethod | None = None,
    device: str = "cpu",
    overwrite: bool = False,
    progress: Progress | None = None,
) -> Done:
    """Reconstruct a file of projections and write the image.

    Args:
        path: line integrals, or counts with `raw`.
        out: an image of any format that holds floats; DICOM takes whole HU.
        settings: the method.
        geometry: a JSON file; by default that beside the projections.
        unit: "HU" or "attenuation"; by default that of the image that was projected, else HU.
        scale: of the Hounsfield units.
        size, spacing: of the image's grid; by default that of the geometry.
        raw: flat and dark field of counts.
        rings: how rings are suppressed in line integrals.
        device: see `reconstruct`.
        overwrite: a file that is there is written over.
        progress: called with (done, of how many).

    Raises:
        UserError: a missing file, an output that is an input or exists, counts without `raw`, shapes or settings that
            do not go together.
    """
    where = geometry or geometry_beside(path)
    if not path.is_dir():
        require_file(path)
    if geometry is None and not where.is_file():
        raise UserError(f"{path} has no {where.name} beside it; say where the scan's geometry is by --geometry")
    require_image_name(out)
    require_other_file(out, path, where, *([Path(raw.flat), Path(raw.dark)] if raw else []))
    require_free(overwrite, out)
    require_device(device)
    scan = read_geometry(where)
    method = settings.method_for(scan.beam)
    done = Done(out)
    given = read_projections(path)
    if raw is not None:
        given = _line_integrals(given, raw, scan.beam, done)
    projections = in_slices(given, scan.beam, views_first=raw is not None, name=str(path))
    if raw is None:
        _look_at_integrals(projections, path, done)
    suppress = rings or (raw.rings if raw else None)
    if suppress is not None:
        projections = _without_rings(projections, suppress, scan.beam)
    grid = grid_for(scan, size, spacing, len(projections))
    if looks_truncated(projections, scan.beam) and method in ("fbp", "fdk") and settings.padding is None:
        done.notes.append("projections look truncated; --padding edge or water may remove the bright rim")
    units = scale or HounsfieldScale()
    found = reconstruct(projections, grid, scan.beam, settings, progress, device, units.water)
    chosen = unit or ("attenuation" if scan.place is not None and scan.place.quantity == "1/mm" else "HU")
    values = units.to_hounsfield(found.image) if chosen == "HU" else found.image
    image, rounded = ready_to_write(_placed(values, scan, grid, "HU" if chosen == "HU" else "1/mm"), out)
    done.notes += told_rounding(out, rounded)
    how = f"Reconstruction by transmodal ({found.method}), not for diagnosis; made of {path.name}"
    write_image(image, out, how, made_of=scan.mark or _mark_beside(path, where))
    stopped = f"; {found.describe()}" if found.stops else ""
    done.said = f"{numbers_of(image.pixels)} by {found.method} in {image.quantity}{stopped}"
    return done


def _mark_beside(path: Path, where: Path) -> str:
    """Return the mark in the geometry beside the projections, where another was named."""
    beside = geometry_beside(path)
    return read_geometry(beside).mark if beside != where and beside.is_file() else ""


def grid_for(scan: ScanGeometry, size: tuple[int, ...] = (), spacing: tuple[float, ...] = (), slices: int = 1) -> Grid:
    """Return the grid of a reconstruction.

    Args:
        scan: whose grid it is where nothing else is said; without one, what the detector sees.
        size: pixels, one number or one an axis; alone it keeps the field.
        spacing: mm, one number or one an axis; alone it keeps the field.
        slices: that are reconstructed on it, if they are no volume of a cone beam.

    Raises:
        UserError: numbers that do not fit the axes, or an image that does not fit into memory.
    """
    grid = scan.grid or grid_seen(scan.beam)
    is_cone = isinstance(scan.beam, ConeBeam)
    if len(grid.shape) != (3 if is_cone else 2):
        raise UserError(f"a {scan.beam.kind} beam does not go with a grid of shape {grid.shape}; mend the geometry")
    axes = len(grid.shape)
    counts = _each("--size", size, axes, tuple(float(count) for count in grid.shape))
    lengths = _each("--spacing", spacing, axes, grid.spacing)
    if size and not spacing:
        lengths = tuple(extent / count for extent, count in zip(grid.extent, counts, strict=True))
    if spacing and not size:
        counts = tuple(max(1, round(extent / length)) for extent, length in zip(grid.extent, lengths, strict=True))
    shape = tuple(int(count) for count in counts)
    whole = shape if is_cone else (slices, *shape)
    require_memory(whole, "the image", "give a smaller --size, or a wider --spacing", copies=3)
    return Grid(shape, lengths, grid.centre)


def _each(option: str, given: tuple[float, ...], axes: int, own: tuple[float, ...]) -> tuple[float, ...]:
    if not given:
        return own
    if any(not np.isfinite(number) or number <= 0 for number in given):
        raise UserError(f"{option} {','.join(f'{number:g}' for number in given)} must be above 0")
    if len(given) == 1:
        # A single number of pixels is that of a slice's edges: a volume keeps its slices.
        return (*own[:-2], given[0], given[0]) if option == "--size" else given * axes
    if len(given) != axes:
        names = "slices,rows,columns" if axes == 3 else "rows,columns"
        raise UserError(f"{option} needs one number or {names}, not {len(given)}")
    return given


def _look_at_integrals(projections: NDArray[Any], path: Path, done: Done) -> None:
    """Note line integrals that are large, and refuse counts.

    Raises:
        UserError: values that are not finite, or that no line integral has, unless the file says that it holds some.
    """
    if not np.isfinite(projections).all():
        count = int(np.count_nonzero(~np.isfinite(projections)))
        raise UserError(
            f"{path} holds {count} values that are not finite, where line integrals are wanted; give the counts "
            "themselves by --raw --flat, or replace those values"
        )
    largest = float(projections.max())
    if largest > _COUNTS and not says_line_integrals(path):
        raise UserError(
            f"{path} holds values up to {largest:.4g}, which no line integral reaches: of counts say --raw --flat; "
            "of attenuation in other units than 1/mm, or of projections in per cent, scale them first"
        )
    if largest > _MUCH:
        done.notes.append(f"values reach {largest:.4g}, much for line integrals; of counts say --raw")


def _line_integrals(counts: NDArray[Any], raw: Raw, beam: Beam, done: Done) -> NDArray[np.float32]:
    """Return the line integrals behind counts, bins without a sensible flat field interpolated."""
    flat, dark = _field(raw.flat, "--flat"), _field(raw.dark, "--dark")
    if not isinstance(beam, ConeBeam) and counts.ndim == 3:
        # Rows of a detector under parallel rays are slices: fields have (slices, bins), views come first.
        first = np.ascontiguousarray(np.moveaxis(in_slices(counts, beam, views_first=True, name="the counts"), 0, 1))
    else:
        first = in_slices(counts, beam, name="the counts")
        first = first[0] if counts.ndim == 2 else first
    integrals = to_line_integrals(first, flat, dark, floor=raw.floor)
    lifted = lifted_rays(first, flat, dark, floor=raw.floor)
    if np.ndim(flat) > 0:
        shape = first.shape[1:]
        bad = find_bad_bins(_mean_frame(flat, shape), _mean_frame(dark, shape))
        if bad.any():
            integrals = interpolate_bad_bins(integrals, bad)
            lifted &= ~bad
    _note_floor(lifted, open_beam(flat, dark), raw.floor, done)
    return integrals


def _note_floor(lifted: NDArray[np.bool_], beam: float, floor: float, done: Done) -> None:
    """Note how many rays the floor has lifted, and a floor that is high against the open beam."""
    if count := int(np.count_nonzero(lifted)):
        done.notes.append(lifted_note(count, lifted.size, floor, "--floor"))
    highest = math.log(beam / floor) if beam > floor else 0.0
    if highest < _THICKEST:
        done.notes.append(
            f"the flat field lies only {beam:.4g} above the dark one: with a floor of {floor:g} no line integral "
            f"passes {highest:.3g}; of normalised intensities give a far lower --floor, such as 1e-6"
        )


def _mean_frame(field: Any, shape: tuple[int, ...]) -> Any:
    values = np.asarray(field, np.float32)
    return values.mean(axis=0) if values.ndim == len(shape) + 1 else values


def _field(text: str, option: str) -> Any:
    try:
        number = float(text)
    except ValueError:
        return read_field(Path(text)).astype(np.float32)
    if not np.isfinite(number):
        raise UserError(f"{option} {text} is no number of counts")
    return number


def _without_rings(projections: NDArray[Any], method: RingMethod, beam: Beam) -> NDArray[np.float32]:
    if method not in RING_METHODS:
        raise UserError(f"--rings {method} is unknown: one of {', '.join(RING_METHODS)}")
    if isinstance(beam, ConeBeam):
        return suppress_rings(projections, method)
    return np.stack([suppress_rings(sinogram, method) for sinogram in projections])


def _placed(values: NDArray[np.float32], scan: ScanGeometry, grid: Grid, quantity: str) -> Image:
    """Return (slices, rows, columns) as an image where the projected one lay, if anybody knows."""
    place = scan.place
    is_cone = isinstance(scan.beam, ConeBeam)
    if place is None or (not is_cone and place.stacked_shape[0] != len(values)):
        if not is_cone and len(values) == 1:
            place = unknown_place(grid.shape, grid.spacing)
        else:
            between = grid.spacing[0] if is_cone else min(grid.spacing)
            place = unknown_place(values.shape, (between, *grid.spacing[-2:]))
    return place.image(values, grid.spacing if is_cone else grid.spacing[-2:], quantity)
