"""DICOM files and series: rescaled values on the patient's RAS+ grid.

Source: DICOM PS3.3, PS3.5, PS3.10. What the pixels mean is in `dicom_pixels`, where they lie in `dicom_geometry`, how a
derived image is written in `dicom_writer`.
"""

import gzip
import io
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pydicom

from transmodal.errors import UserError
from transmodal.images import dicom_pixels
from transmodal.images.dicom_geometry import (
    Plane,
    Stack,
    first_plane,
    frame_planes,
    plane_affine,
    plane_of,
    stack_planes,
)
from transmodal.images.dicom_segmentation import Layout, is_segmentation, layout_of
from transmodal.images.dicom_writer import write
from transmodal.images.geometry import Geometry
from transmodal.images.guard import reading, require_believable_size
from transmodal.images.image import Image, Source

__all__ = ["DicomHeader", "read", "read_geometry", "read_series", "read_series_geometry", "write"]

_PIXELS = ("PixelData", "FloatPixelData", "DoubleFloatPixelData")


@dataclass(frozen=True)
class DicomHeader:
    """What `Image.source.header` holds for DICOM.

    Attributes:
        dataset: the file's, or the first slice's, attributes without pixels. Padding values and windows are here.
        instances: (SOPClassUID, SOPInstanceUID) of the files, in the order of the slices.
        pixel_size_from: "PixelSpacing" (in the patient or calibrated), "ImagerPixelSpacing" (in the detector's
            plane, magnification not removed), "NominalScannedPixelSpacing", or "" when the size is unknown.
        burned_in: writing was drawn into the pixels since they were read (a label, a colour bar).
        off_grid: how far a slice lies at most from where the affine puts it, mm; 0 where that is rounding.
        title: description of a series that is written, at most 64 characters; "" for the beginning of its derivation.
    """

    dataset: Any = field(repr=False)
    instances: tuple[tuple[str, str], ...] = ()
    pixel_size_from: str = ""
    burned_in: bool = False
    off_grid: float = 0.0
    title: str = ""


def read(path: Path) -> Image:
    """Read one DICOM file.

    One frame gives (row, column); frames with places in the patient give (row, column, slice), sorted along the
    normal; frames at the same places, or without places, become channels f0, f1, …; colours become channels. A
    segmentation of binary segments becomes a label map of their numbers, later segments over earlier ones.
    MONOCHROME1 is turned round within its stored range, so that greater values are always brighter.

    Raises:
        UserError: the file is damaged, or holds no image.
    """
    with reading(path, "DICOM"):
        dataset = _load(path)
        dicom_pixels.require_image(dataset, path)
        if (layout := _segments(dataset)) is not None:
            return _label_map(dataset, path, layout)
        geometry, stack, plane = _describe(dataset, path)
        pixels = _arrange(dicom_pixels.values(dataset, path), stack, bool(dicom_pixels.channel_names(dataset)))
        off_grid = 0.0 if stack is None else stack.off_grid
        header = DicomHeader(_without_pixels(dataset), (_instance(dataset),), plane.pixel_size_from, off_grid=off_grid)
        return Image(
            pixels,
            geometry.affine,
            geometry.channels,
            dicom_pixels.quantity_of(dataset),
            geometry.has_physical_size,
            Source(path, "dicom", header, _derivation(dataset)),
        )


def read_geometry(path: Path) -> Geometry:
    """Read the header of one DICOM file."""
    with reading(path, "DICOM"):
        dataset = _load(path, stop_before_pixels=True)
        dicom_pixels.require_image(dataset, path, with_pixels=False)
        if (layout := _segments(dataset)) is not None:
            return _label_geometry(dataset, path, layout)
        return _describe(dataset, path)[0]


def _derivation(dataset: Any) -> str:
    return str(dataset.get("DerivationDescription") or "")


def _segments(dataset: Any) -> Layout | None:
    """Return where the frames of a segmentation belong; None of other objects, and where frames say no place."""
    planes = frame_planes(dataset, dicom_pixels.frame_count(dataset)) if is_segmentation(dataset) else None
    return None if planes is None else layout_of(dataset, planes)


def _label_geometry(dataset: Any, path: Path, layout: Layout) -> Geometry:
    dicom_pixels.require_pixels(dataset, path)
    planes = layout.planes
    affine, _ = plane_affine(planes[0])
    shape: tuple[int, ...] = (int(dataset.Rows), int(dataset.Columns))
    if len(planes) > 1:
        affine, shape = stack_planes(planes, False, path).affine, (*shape, len(planes))
    dtype = np.dtype(np.uint8 if layout.segment_of.max() <= 255 else np.uint16)
    require_believable_size(path, shape, dtype.itemsize, 0, most_expansion=None)
    return Geometry(path, "dicom", shape, affine, dtype)


def _label_map(dataset: Any, path: Path, layout: Layout) -> Image:
    geometry = _label_geometry(dataset, path, layout)
    labels = layout.labels(dicom_pixels.values(dataset, path)).reshape(geometry.shape)
    header = DicomHeader(_without_pixels(dataset), (_instance(dataset),), layout.planes[0].pixel_size_from)
    return Image(labels, geometry.affine, (), "label", True, Source(path, "dicom", header, _derivation(dataset)))


def read_series(folder: Path, *, series: str | None = None, allow_uneven: bool = False) -> Image:
    """Read the slices of one series that lie in a folder as (row, column, slice).

    Slices that repeat at every position (echoes, time points) become channels t0, t1, … in the order of their
    instance numbers. A folder with one file gives what that file gives.

    Args:
        folder: where the files lie; its subfolders are not searched.
        series: SeriesInstanceUID, needed when the folder holds several.
        allow_uneven: accept gantry tilt and uneven distances; the affine then has the mean step.

    Raises:
        UserError: no DICOM image, several series, a damaged slice, or slices that make no even stack.
    """
    return read_stack(folder, series=series, allow_uneven=allow_uneven)[0]


def read_stack(folder: Path, *, series: str | None = None, allow_uneven: bool = False) -> tuple[Image, Stack | None]:
    """Read a series as `read_series` does, and say where each slice lies; None for a folder with one file."""
    files = _files_of_series(folder, series)
    if len(files) == 1:
        return read(files[0][0]), None
    headers = [dataset for _, dataset in files]
    geometry, stack = _describe_series(files, folder, allow_uneven)
    require_believable_size(
        folder, (*geometry.shape, max(len(geometry.channels), 1)), geometry.dtype.itemsize, 0, most_expansion=None
    )
    frames = np.empty((len(files), *_frame_shape(headers[0])), geometry.dtype)
    for index, (path, _) in enumerate(files):
        with reading(path, "DICOM"):
            dataset = _load(path)
            dicom_pixels.require_image(dataset, path)
            dicom_pixels.require_pixels(dataset, path)
            frames[index] = dicom_pixels.values(dataset, path)[0]
    first = headers[int(stack.order[0, 0])]
    instances = tuple(_instance(headers[int(index)]) for index in stack.order[:, 0])
    size_from = plane_of(first).pixel_size_from
    header = DicomHeader(_without_pixels(first), instances, size_from, off_grid=stack.off_grid)
    pixels = _arrange(frames, stack, bool(dicom_pixels.channel_names(first)))
    source = Source(folder, "dicom", header, _derivation(first))
    return Image(pixels, geometry.affine, geometry.channels, dicom_pixels.quantity_of(first), True, source), stack


def read_series_geometry(folder: Path, *, series: str | None = None, allow_uneven: bool = False) -> Geometry:
    """Read the headers of a series in a folder."""
    files = _files_of_series(folder, series)
    if len(files) == 1:
        return read_geometry(files[0][0])
    return _describe_series(files, folder, allow_uneven)[0]


def _load(path: Path, stop_before_pixels: bool = False) -> Any:
    """Read a data set, packed with gzip or not, with or without preamble."""
    with path.open("rb") as stream:
        packed = stream.read(2) == b"\x1f\x8b"
    # The bound keeps a gzip bomb from filling the memory.
    origin: Any = path
    if packed:
        with gzip.open(path) as stream:
            data = stream.read(2**31)
        origin = io.BytesIO(data)
    return pydicom.dcmread(origin, force=True, stop_before_pixels=stop_before_pixels)


def _without_pixels(dataset: Any) -> Any:
    for keyword in _PIXELS:
        if keyword in dataset:
            del dataset[keyword]
    return dataset


def _instance(dataset: Any) -> tuple[str, str]:
    return str(dataset.get("SOPClassUID", "")), str(dataset.get("SOPInstanceUID", ""))


def _frame_shape(dataset: Any) -> tuple[int, ...]:
    colours = dicom_pixels.channel_names(dataset)
    return (int(dataset.Rows), int(dataset.Columns), *([len(colours)] if colours else []))


def _describe(dataset: Any, path: Path, allow_uneven: bool = True) -> tuple[Geometry, Stack | None, Plane]:
    """Return the geometry of one file, how its frames stack (None: they do not) and its first plane."""
    frames, colours = dicom_pixels.frame_count(dataset), dicom_pixels.channel_names(dataset)
    rows, columns = int(dataset.Rows), int(dataset.Columns)
    dicom_pixels.require_pixels(dataset, path)
    dtype = dicom_pixels.value_dtype(dataset)
    planes = frame_planes(dataset, frames)
    stack = _stack_frames(planes, allow_uneven, path) if planes and frames > 1 else None
    if stack is not None and planes:
        channels = _channels("f", stack.order.shape[1], colours)
        shape = (rows, columns, stack.order.shape[0])
        return Geometry(path, "dicom", shape, stack.affine, dtype, channels), stack, planes[0]
    plane = planes[0] if planes else first_plane(dataset)
    affine, known = plane_affine(plane)
    channels = _channels("f", frames, colours)
    return Geometry(path, "dicom", (rows, columns), affine, dtype, channels, known), None, plane


def _stack_frames(planes: list[Plane], allow_uneven: bool, path: Path) -> Stack | None:
    """Stack frames; frames that make no stack (several orientations, doubled positions) have none."""
    try:
        stack = stack_planes(planes, allow_uneven, path)
    except UserError:
        return None
    return stack if stack.order.shape[0] > 1 else None


def _channels(letter: str, repeats: int, colours: tuple[str, ...]) -> tuple[str, ...]:
    """Name repeats and colours together."""
    if repeats == 1:
        return colours
    if not colours:
        return tuple(f"{letter}{index}" for index in range(repeats))
    return tuple(f"{letter}{index}.{colour}" for index in range(repeats) for colour in colours)


def _arrange(frames: npt.NDArray[Any], stack: Stack | None, has_colours: bool) -> npt.NDArray[Any]:
    """Bring (frame, row, column[, colour]) to (row, column[, slice][, channel])."""
    order = stack.order if stack is not None else np.arange(len(frames))[None]
    picked = frames[order]  # (slice, repeat, row, column[, colour])
    slices, repeats, rows, columns = picked.shape[:4]
    picked = picked if has_colours else picked[..., None]
    arranged = np.transpose(picked, (2, 3, 0, 1, 4)).reshape(rows, columns, slices, -1)
    if stack is None:
        arranged = arranged[:, :, 0]
    return np.ascontiguousarray(arranged if has_colours or repeats > 1 else arranged[..., 0])


def _files_of_series(folder: Path, series: str | None) -> list[tuple[Path, Any]]:
    """Return path and header of every image of the one series in a folder, by instance number."""
    from transmodal.images.formats import recognise

    found: dict[str, list[tuple[Path, Any]]] = {}
    try:
        candidates = sorted(each for each in folder.iterdir() if each.is_file() and not each.name.startswith("."))
    except OSError as error:
        raise UserError(f"Cannot list {folder}: {error.strerror}; check its permissions") from error
    for path in candidates:
        if recognise(path) != "dicom":
            continue
        with reading(path, "DICOM"):
            dataset = _load(path, stop_before_pixels=True)
            if isinstance(dataset.get("Rows"), int) and isinstance(dataset.get("Columns"), int):
                found.setdefault(str(dataset.get("SeriesInstanceUID", "")), []).append((path, dataset))
    if not found:
        raise UserError(f"{folder} is a folder without DICOM images; name an image file or a folder of one series")
    if series is not None and series not in found:
        raise UserError(f"{folder} holds no series {series}; it holds {_listed(found)}")
    if series is None and len(found) > 1:
        raise UserError(f"{folder} holds {len(found)} series: {_listed(found)}; choose one by read(path, series=UID)")
    files = found[series if series is not None else next(iter(found))]
    return sorted(files, key=lambda each: (_instance_number(each[1]), each[0].name))


def _instance_number(dataset: Any) -> int:
    try:
        return int(dataset.get("InstanceNumber") or 0)
    except (TypeError, ValueError):
        return 0


def _listed(found: dict[str, list[tuple[Path, Any]]]) -> str:
    texts = [
        f"{uid or 'without UID'} ({len(files)} files{_described(files[0][1])})" for uid, files in sorted(found.items())
    ]
    return ", ".join(texts[:6]) + (f" and {len(texts) - 6} more" if len(texts) > 6 else "")


def _described(dataset: Any) -> str:
    text = str(dataset.get("SeriesDescription", "") or "").strip()
    return f", {text}" if text else ""


def _describe_series(files: list[tuple[Path, Any]], folder: Path, allow_uneven: bool) -> tuple[Geometry, Stack]:
    """Return the geometry of the whole series and the order of its files."""
    headers = [dataset for _, dataset in files]
    with reading(folder, "a DICOM series"):
        if any(dicom_pixels.frame_count(dataset) > 1 for dataset in headers):
            raise UserError(f"{folder} holds several multi-frame files; read them one by one")
        shapes = sorted({_frame_shape(dataset) for dataset in headers})
        if len(shapes) > 1:
            sizes = ", ".join("×".join(map(str, shape)) for shape in shapes)
            raise UserError(f"{folder}: its slices have different sizes ({sizes}); keep those of one stack")
        stack = stack_planes([plane_of(dataset) for dataset in headers], allow_uneven, folder)
        dtypes = {dicom_pixels.value_dtype(dataset) for dataset in headers}
        dtype = np.result_type(*dtypes)
        channels = _channels("t", stack.order.shape[1], dicom_pixels.channel_names(headers[0]))
        shape = (*_frame_shape(headers[0])[:2], stack.order.shape[0])
        return Geometry(folder, "dicom", shape, stack.affine, np.dtype(dtype), channels), stack
