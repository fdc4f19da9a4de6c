"""What `transmodal ct` does to files: project an image, reconstruct projections, degrade an image."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from transmodal.errors import UserError
from transmodal.images import Image, read, write
from transmodal.images.files import write_text
from transmodal.images.formats import format_of_name, stem_of
from transmodal.simulation.ct.degrading import Process, degrade_slices
from transmodal.simulation.ct.pairs import NOTICE, software
from transmodal.simulation.ct.steps import Level
from transmodal.tomography.acquisition import Scan, upsampled
from transmodal.tomography.devices import require_device
from transmodal.tomography.geometry import Beam, ConeBeam, Grid
from transmodal.tomography.hounsfield import HounsfieldScale
from transmodal.tomography.raw import (
    RING_METHODS,
    RingMethod,
    find_bad_bins,
    interpolate_bad_bins,
    suppress_rings,
    to_line_integrals,
)
from transmodal.tomography.reconstruction import Settings, projector_on, reconstruct
from transmodal.tomography.scan_files import (
    ScanGeometry,
    geometry_beside,
    in_slices,
    read_field,
    read_geometry,
    read_projections,
    require_projection_name,
    write_geometry,
    write_projections,
)
from transmodal.tomography.scanners import Scanner, grid_seen
from transmodal.tomography.slices import Place, attenuation_slices, hounsfield_slices, place_of, unknown_place
from transmodal.tomography.truncation import looks_truncated

Progress = Callable[[int, int], None]

RECORD = ".degraded.json"
_COUNTS = 100.0  # no line integral through a body is larger


@dataclass
class Done:
    """What was written.

    Attributes:
        path: the file asked for.
        beside: further files.
        said: one sentence.
        notes: what the user should read.
    """

    path: Path
    beside: list[Path] = field(default_factory=list)
    said: str = ""
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Reading:
    """How an image file is read.

    Attributes:
        spacing: mm, for files that say none.
        series: of a DICOM folder that holds several.
        allow_uneven: take volumes with tilted or uneven slices, one slice at a time.
    """

    spacing: float | None = None
    series: str | None = None
    allow_uneven: bool = False

    def read(self, path: Path) -> Image:
        """Read an image."""
        return read(path, spacing=self.spacing, series=self.series, allow_uneven=self.allow_uneven)


def project_file(
    path: Path,
    out: Path,
    scanner: Scanner,
    *,
    reading: Reading | None = None,
    unit: str = "HU",
    scale: HounsfieldScale | None = None,
    finer: int | None = None,
    device: str = "cpu",
    progress: Progress | None = None,
) -> Done:
    """Project an image and write its projections and their geometry.

    Args:
        path: of a slice, or of a volume: slice by slice along the patient's axis, under a cone beam as a whole.
        out: .npy, .tif, .nii.gz, .mha or .nrrd.
        scanner: fits its detector to the image unless told otherwise.
        reading: of the image.
        unit: of its values, "HU" or "attenuation".
        scale: of the Hounsfield units.
        finer: so many times finer, and shifted, is the grid that is projected, lest a reconstruction on the image's
            own grid look better than it is; 1 is the image's own. By default 2, of a cone beam 1.
        device: where the rays are summed: "cpu" by compiled code, any other by torch.
        progress: called with (slices done, of how many).
    """
    require_projection_name(out)
    require_device(device)
    image = (reading or Reading()).read(path)
    place = place_of(image)
    slices = attenuation_slices(image, unit, scale or HounsfieldScale())
    is_cone = scanner.kind == "cone" if scanner.beam is None else isinstance(scanner.beam, ConeBeam)
    if is_cone and len(place.shape) != 3:
        raise UserError(f"{path} is a single slice; a cone beam needs a volume, a slice --beam parallel or fan")
    if is_cone and finer not in (None, 1):
        raise UserError("a volume is projected on its own grid: leave --finer out of a cone beam")
    grid = Grid(slices.shape, place.spacing) if is_cone else Grid(slices.shape[1:], place.spacing[-2:])
    beam = scanner.beam_for(grid)
    if is_cone:
        made = projector_on(device, grid, beam).forward(slices)
    else:
        made = np.empty((len(slices), *beam.shape), np.float32)
        for index, each in enumerate(slices):
            made[index] = _project_slice(each, grid, beam, 2 if finer is None else finer, device)
            if progress is not None:
                progress(index + 1, len(slices))
    sinogram = made[0] if len(place.shape) == 2 else made
    kept = Place(place.shape, place.affine, "HU" if unit == "HU" else "1/mm")
    beside = write_geometry(geometry_beside(out), ScanGeometry(beam, grid, kept))
    write_projections(out, sinogram, f"Simulated projections of {path.name}, not for diagnosis")
    done = Done(out, [beside], f"{_size(sinogram)} line integrals, {_beam(beam)}")
    if looks_truncated(made, beam):
        done.notes.append("the object reaches beyond the detector: projections are truncated; give more --bins")
    return done


def _project_slice(
    attenuation: NDArray[np.float32], grid: Grid, beam: Beam, finer: int, device: str
) -> NDArray[np.float32]:
    if finer < 1:
        raise UserError(f"--finer is 1 or more, not {finer}")
    if finer == 1:
        return projector_on(device, grid, beam).forward(attenuation)
    assert not isinstance(beam, ConeBeam)
    fine = Scan(attenuation[None], grid, beam, HounsfieldScale(), finer=finer).fine_grid
    return projector_on(device, fine, beam).forward(upsampled(attenuation, grid, fine))


@dataclass(frozen=True)
class Raw:
    """What makes counts line integrals.

    Attributes:
        flat, dark: files, or numbers.
        rings: how rings are suppressed, None not at all.
    """

    flat: str
    dark: str = "0"
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
        progress: called with (done, of how many).
    """
    where = geometry or geometry_beside(path)
    if geometry is None and not where.is_file():
        raise UserError(f"{path} has no {where.name} beside it; say where the scan's geometry is by --geometry")
    if format_of_name(out) is None and out.suffix:
        raise UserError(f"Cannot tell from its name how to write {out}; end it with .nii.gz, .tif, .mha or .npy")
    require_device(device)
    scan = read_geometry(where)
    method = settings.method_for(scan.beam)
    done = Done(out)
    given = read_projections(path)
    if raw is not None:
        given = _line_integrals(given, raw, scan.beam)
    projections = in_slices(given, scan.beam, views_first=raw is not None, name=str(path))
    if raw is None and float(np.nanmax(projections)) > _COUNTS:
        done.notes.append(f"values reach {np.nanmax(projections):.4g}, much for line integrals; of counts say --raw")
    suppress = rings or (raw.rings if raw else None)
    if suppress is not None:
        projections = _without_rings(projections, suppress, scan.beam)
    grid = grid_for(scan, size, spacing)
    if looks_truncated(projections, scan.beam) and method in ("fbp", "fdk") and settings.padding is None:
        done.notes.append("projections look truncated; --padding edge or water may remove the bright rim")
    found = reconstruct(projections, grid, scan.beam, settings, progress, device)
    chosen = unit or ("attenuation" if scan.place is not None and scan.place.quantity == "1/mm" else "HU")
    values = (scale or HounsfieldScale()).to_hounsfield(found.image) if chosen == "HU" else found.image
    image = _placed(values, scan, grid, "HU" if chosen == "HU" else "1/mm")
    if format_of_name(out) == "dicom" or not out.suffix:
        image = _for_dicom(image)
    out.parent.mkdir(parents=True, exist_ok=True)
    write(image, out, f"Reconstructed by transmodal ({found.method}) from {path.name}, not for diagnosis")
    stopped = found.describe()
    done.said = f"{_size(image.pixels)} by {found.method} in {image.quantity}" + (f"; {stopped}" if stopped else "")
    return done


def grid_for(scan: ScanGeometry, size: tuple[int, ...] = (), spacing: tuple[float, ...] = ()) -> Grid:
    """Return the grid of a reconstruction.

    Args:
        scan: whose grid it is where nothing else is said; without one, what the detector sees.
        size: pixels, one number or one an axis; alone it keeps the field.
        spacing: mm, one number or one an axis; alone it keeps the field.

    Raises:
        UserError: numbers that do not fit the axes.
    """
    grid = scan.grid or grid_seen(scan.beam)
    if len(grid.shape) != (3 if isinstance(scan.beam, ConeBeam) else 2):
        raise UserError(f"a {scan.beam.kind} beam does not go with a grid of shape {grid.shape}; mend the geometry")
    axes = len(grid.shape)
    counts = _each("--size", size, axes, tuple(float(count) for count in grid.shape))
    lengths = _each("--spacing", spacing, axes, grid.spacing)
    if size and not spacing:
        lengths = tuple(extent / count for extent, count in zip(grid.extent, counts, strict=True))
    if spacing and not size:
        counts = tuple(max(1, round(extent / length)) for extent, length in zip(grid.extent, lengths, strict=True))
    return Grid(tuple(int(count) for count in counts), lengths, grid.centre)


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


def _line_integrals(counts: NDArray[Any], raw: Raw, beam: Beam) -> NDArray[np.float32]:
    """Return the line integrals behind counts, bins without a sensible flat field interpolated."""
    flat, dark = _field(raw.flat, "--flat"), _field(raw.dark, "--dark")
    if not isinstance(beam, ConeBeam) and counts.ndim == 3:
        # Rows of a detector under parallel rays are slices: fields have (slices, bins), views come first.
        first = np.ascontiguousarray(np.moveaxis(in_slices(counts, beam, views_first=True, name="the counts"), 0, 1))
    else:
        first = in_slices(counts, beam, name="the counts")
        first = first[0] if counts.ndim == 2 else first
    integrals = to_line_integrals(first, flat, dark)
    if np.ndim(flat) > 0:
        shape = first.shape[1:]
        bad = find_bad_bins(_mean_frame(flat, shape), _mean_frame(dark, shape))
        if bad.any():
            integrals = interpolate_bad_bins(integrals, bad)
    return integrals


def _mean_frame(field_: Any, shape: tuple[int, ...]) -> Any:
    values = np.asarray(field_, np.float32)
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


def _for_dicom(image: Image) -> Image:
    if image.quantity != "HU":
        raise UserError("DICOM holds whole Hounsfield units; say --unit HU, or write .nii.gz")
    limits = np.iinfo(np.int16)
    return image.with_pixels(np.clip(np.rint(image.pixels), limits.min, limits.max).astype(np.int16))


def degrade_file(
    path: Path,
    out: Path,
    level: Level,
    process: Process | None = None,
    *,
    seed: int = 0,
    reading: Reading | None = None,
    keep_sinogram: bool = False,
    progress: Progress | None = None,
) -> Done:
    """Degrade a CT image and write it on its own grid, with a record beside it.

    Args:
        path: a slice, or a volume, which is degraded slice by slice along the patient's axis.
        out: an image of any format that holds floats; DICOM takes whole HU.
        level: what degrades it.
        process: scanner and reconstruction.
        seed: of everything drawn.
        reading: of the image.
        keep_sinogram: write OUT.sinogram.npy with its geometry.
        progress: called with (slices done, of how many).
    """
    if out.exists() and out.resolve() == path.resolve():
        raise UserError(f"{out} is the input itself; choose another output")
    if format_of_name(out) is None and out.suffix:
        raise UserError(f"Cannot tell from its name how to write {out}; end it with .nii.gz, .tif, .mha or .npy")
    image = (reading or Reading()).read(path)
    place = place_of(image)
    slices, padding = hounsfield_slices(image)
    spacing = (place.spacing[-2], place.spacing[-1])
    found = degrade_slices(slices, spacing, level, process, seed, keep_sinogram=keep_sinogram, progress=progress)
    said = level.describe()
    made = image.with_pixels(place.image(found.image).pixels, quantity="HU")
    if format_of_name(out) == "dicom" or not out.suffix:
        made = _for_dicom(made)
    out.parent.mkdir(parents=True, exist_ok=True)
    done = Done(out, said=said)
    record = {
        "notice": NOTICE,
        "synthetic": True,
        "transmodal": software(),
        "output": out.name,
        "source": str(path),
        "degradation": said,
        "seed": seed,
        "padding_pixels": padding,
        "scan": found.record,
    }
    done.beside.append(
        write_text(out.with_name(stem_of(out) + RECORD), json.dumps(record, indent=1, ensure_ascii=False))
    )
    write(made, out, f"{NOTICE} {said}")
    if found.sinogram is not None:
        file = out.with_name(f"{stem_of(out)}.sinogram.npy")
        write_projections(file, found.sinogram[0] if len(place.shape) == 2 else found.sinogram, f"{NOTICE} {said}")
        kept = ScanGeometry(found.beam, found.grid, Place(place.shape, place.affine, "HU"))
        done.beside += [file, write_geometry(geometry_beside(file), kept)]
    return done


def _size(array: NDArray[Any]) -> str:
    return "×".join(str(count) for count in array.shape)


def _beam(beam: Beam) -> str:
    bins = f"{beam.rows}×{beam.bins}" if isinstance(beam, ConeBeam) else f"{beam.bins}"
    return f"{beam.kind} beam, {len(beam.angles)} views of {bins} bins of {beam.pitch:.4g} mm"
