"""Read planar nuclear frames from DICOM NM, from TIFF and from folders of pictures; write stacks of raw counts."""

import re
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from transmodal.errors import UserError
from transmodal.images.formats import is_image_file, read, write
from transmodal.images.image import Image, picture_affine
from transmodal.images.note import NOTICE
from transmodal.images.nuclear.dicom_kind import counts_that_differ
from transmodal.images.nuclear.dicom_nm import Acquired, acquired, refuse_choice
from transmodal.images.nuclear.doubts import doubts_of
from transmodal.images.nuclear.frame_order import in_time_order
from transmodal.images.nuclear.series import NuclearSeries
from transmodal.images.nuclear.sidecar import (
    SUFFIX,
    Sidecar,
    read_sidecar,
    require_credible,
    sidecar_path,
    write_sidecar,
)

_ROUNDED = 1.0
"""Seconds that whole seconds in a header may hide of a frame's end."""


def read_nuclear(path: str | Path, *, energy_window: int | None = None, detector: int | None = None) -> NuclearSeries:
    """Read the frames of one field of view.

    A DICOM NM object, one or several frames, or a PET object of counts; a TIFF of one page a frame; a PNG or another
    picture of one frame; or a folder with one of these for each frame, in the order of their names (2 before 10). A
    sidecar `NAME.nuclear.json` beside it says what the file does not, and goes before what the header says. Counts are
    kept as they are stored.

    Args:
        path: the file or folder.
        energy_window: which of several energy windows of a DICOM object, from 1; None for the first with photons of
            the isotope, else the first.
        detector: which of several detectors of a DICOM object, from 1; None for the first.

    Raises:
        UserError: there is no image, or no such window or detector, it holds no planar counts in time, or the header
            or sidecar cannot be true.
    """
    path = Path(path)
    files = _files_of(path)
    images = [read(file) for file in files]
    _require_counts(images)
    beside = sidecar_path(path)
    sidecar = read_sidecar(beside) if beside.is_file() else Sidecar()
    image = _stacked(images, path, is_sized=sidecar.pixel_mm is not None) if path.is_dir() else images[0]
    _require_place(path, beside)
    frames = _frames(image)
    headers = [_header_of(each) for each in images]
    known = Acquired(np.arange(len(frames)))
    if all(header is not None for header in headers):
        choice = (energy_window, detector)
        known = acquired(headers, files, len(frames), path, *choice, sidecar.overrides, sidecar.isotope)
        differing = counts_that_differ(headers, [each.pixels for each in images])
        differing = [f"{path.name}: {line}" for line in differing]
        known = replace(known, said=(*known.said, *differing), doubts=(*known.doubts, *differing))
    else:
        refuse_choice(path, energy_window, detector)
    frames = frames[known.chosen]
    starts = sidecar.starts if sidecar.starts is not None else known.starts
    durations = sidecar.durations if sidecar.durations is not None else known.durations
    for key, times in (("start_s", starts), ("duration_s", durations)):
        if times is not None and len(times) != len(frames):
            raise UserError(f"{path} has {len(frames)} frames, but frames.{key} of {beside.name} {len(times)}; mend it")
    affine, has_size = image.affine, image.has_physical_size
    if sidecar.pixel_mm is not None:
        if has_size and not np.allclose(image.spacing[:2], sidecar.pixel_mm, rtol=1e-3):
            raise UserError(
                f"{path} has pixels of {image.spacing[0]:g}×{image.spacing[1]:g} mm, its sidecar says "
                f"{sidecar.pixel_mm[0]:g}×{sidecar.pixel_mm[1]:g}; mend pixel_mm or leave it out"
            )
        if not has_size:
            affine, has_size = picture_affine(sidecar.pixel_mm), True
    derivation = image.source.derivation
    if sidecar.synthetic and NOTICE not in derivation:
        derivation = " ".join(filter(None, [NOTICE, derivation or sidecar.derivation]))
    isotope = sidecar.isotope or known.isotope
    if sidecar.injection is not None and isotope is not None:
        require_credible(sidecar.injection, isotope, beside)
    saturation, too_much = _saturation(sidecar.saturation, frames, path)
    series = NuclearSeries(
        frames,
        affine,
        starts,
        durations,
        isotope,
        sidecar.injection or known.injection,
        sidecar.sensitivity,
        sidecar.agent or known.agent,
        sidecar.energy_window or known.energy_window,
        saturation,
        has_size,
        replace(image.source, derivation=derivation),
        (*known.said, *too_much),
        known.doubts,
    )
    return _checked(series)


def write_stack(series: NuclearSeries, path: str | Path) -> Path:
    """Write the raw counts as a TIFF of one page a frame, and the sidecar; return the TIFF's path.

    The sidecar of an earlier stack goes first and the new one comes last: what is broken off leaves counts without
    times, never with those of others. That a stack is synthetic stands in the TIFF, too.

    Raises:
        UserError: the name is not that of a TIFF.
    """
    path = Path(path)
    if path.suffix.lower() not in (".tif", ".tiff"):
        raise UserError(f"{path} is no name for a stack of frames; end it with .tif")
    synthetic = NOTICE in series.source.derivation
    volume = Image(
        np.moveaxis(series.frames, 0, 2),
        series.affine,
        quantity="counts",
        has_physical_size=series.has_physical_size,
        source=series.source,
    )
    derivation = series.source.derivation or None
    with _put_aside(sidecar_path(path)):
        write(volume, path, derivation=derivation)
    write_sidecar(series, path, synthetic=synthetic, derivation=series.source.derivation)
    return path


@contextmanager
def _put_aside(sidecar: Path) -> Iterator[None]:
    """Take an earlier sidecar away; bring it back where the block fails, which leaves the earlier stack."""
    aside = sidecar.with_name(f".{uuid.uuid4().hex[:8]}.earlier.json")
    if not sidecar.is_file():
        yield
        return
    sidecar.rename(aside)
    try:
        yield
    except Exception:
        aside.rename(sidecar)
        raise
    aside.unlink()


def _require_place(path: Path, beside: Path) -> None:
    """Refuse a folder of frames whose only sidecar lies inside, where it would be passed over."""
    inside = sorted(path.glob(f"*{SUFFIX}")) if path.is_dir() and not beside.is_file() else []
    if inside:
        raise UserError(f"the sidecar {inside[0]} lies in the folder of frames; move it beside the folder, as {beside}")


def _files_of(path: Path) -> list[Path]:
    if not path.is_dir():
        return [path]
    files = sorted((file for file in path.iterdir() if is_image_file(file)), key=_natural)
    if not files:
        raise UserError(f"{path} holds no image; name a file, or a folder with one picture a frame")
    return files


def _stacked(images: list[Image], folder: Path, *, is_sized: bool) -> Image:
    """Return pictures of one frame each as one image of many.

    Args:
        images: alike in size, type and pixel size.
        folder: of all of them.
        is_sized: whether a sidecar says the pixel size, so that files may leave it out.
    """
    first = next((image for image in images if image.has_physical_size), images[0])
    if any(image.spatial_dims > 2 for image in images):
        raise UserError(f"{folder} holds stacks of many frames, such as {Path(first.name).name}; name one file")
    for other in images:
        if other.spatial_dims != 2 or other.channels or other.shape != first.shape:
            raise UserError(
                f"{other.name} is {other.pixels.shape}, but {first.name} is {first.pixels.shape}; give every frame as "
                "one picture of the same size, one value a pixel"
            )
        if _type_of(other) != _type_of(first):
            raise UserError(
                f"{other.name} has {_type_of(other)} pixels, but {first.name} {_type_of(first)}; export all frames "
                "again in one type: a narrower one may have cut off their counts"
            )
        both = first.has_physical_size and other.has_physical_size
        if not both and first.has_physical_size and not is_sized:
            raise UserError(
                f"{other.name} says no pixel size, but {first.name} {first.spacing[0]:g}×{first.spacing[1]:g} mm; give "
                "it to every frame, or as pixel_mm in a sidecar"
            )
        if both and not np.allclose(other.spacing, first.spacing, rtol=1e-3):
            raise UserError(
                f"{other.name} has pixels of {other.spacing[0]:g}×{other.spacing[1]:g} mm, but {first.name} of "
                f"{first.spacing[0]:g}×{first.spacing[1]:g} mm; give frames of one field"
            )
    pixels = np.stack([image.pixels for image in images], axis=2)
    said = [image.source.derivation for image in images]
    derivation = next((each for each in said if NOTICE in each), first.source.derivation)
    return replace(first, pixels=pixels, source=replace(first.source, path=folder, derivation=derivation))


def _type_of(image: Image) -> str:
    """Return the type in which a file holds its counts; rescaling may make another of each DICOM object's."""
    header = _header_of(image)
    if header is None:
        return str(image.pixels.dtype)
    return f"{'int' if header.get('PixelRepresentation') == 1 else 'uint'}{header.BitsAllocated}"


def _header_of(image: Image) -> Any:
    return getattr(image.source.header, "dataset", None)


def _require_counts(images: list[Image]) -> None:
    """Refuse files whose own note says that their values are something else; DICOM objects are looked at closer."""
    for image in images:
        if _header_of(image) is None and image.quantity in ("Bq/mL", "SUV", "HU", "Gy", "label"):
            raise UserError(f"{image.name} holds {image.quantity}, no counts; export the counts")


def _natural(path: Path) -> tuple[list[tuple[int, int, str]], str]:
    """Order names so that frame 2 comes before frame 10."""
    parts = [part for part in re.split(r"(\d+)", path.name) if part]
    return [(0, int(part), "") if part.isdecimal() else (1, 0, part) for part in parts], path.name


def _frames(image: Image) -> npt.NDArray[Any]:
    """Return (F, H, W) of an image of counts."""
    if set(image.channels) & {"red", "green", "blue", "alpha"}:
        raise UserError(
            f"{image.name} is a picture in colour; counts are one value a pixel: export the counts, not the display"
        )
    pixels = image.pixels
    if image.spatial_dims == 2:
        pixels = pixels if image.channels else pixels[..., None]
    elif image.channels:
        raise UserError(f"{image.name} is a volume of {len(image.channels)} channels; planar frames are expected")
    if not np.isfinite(pixels).all():
        raise UserError(f"{image.name} has counts that are no numbers (NaN or infinite); export it again")
    return np.ascontiguousarray(np.moveaxis(pixels, -1, 0))


def _greatest(frames: npt.NDArray[Any]) -> float | None:
    """Return the greatest value that a file of 8 or 16 bits can hold; wider ones hold whatever is counted."""
    return float(np.iinfo(frames.dtype).max) if frames.dtype.kind in "iu" and frames.dtype.itemsize <= 2 else None


def _saturation(stated: float | None, frames: npt.NDArray[Any], path: Path) -> tuple[float | None, list[str]]:
    """Return the greatest value that can be held, and a line where the sidecar states more than the file can hold."""
    greatest = _greatest(frames)
    if stated is None or greatest is None or stated <= greatest:
        return stated or greatest, []
    line = (
        f"{path}: saturation_counts of its sidecar is {stated:g}, but the file has {8 * frames.dtype.itemsize} bits "
        f"and holds at most {greatest:g}; {greatest:g} was taken"
    )
    return greatest, [line]


def _require_succession(starts: npt.NDArray[np.float64], durations: npt.NDArray[np.float64], name: str) -> None:
    """Refuse frames of which one begins before another has ended, by more than rounding in headers makes.

    Starts in whole seconds hide up to one; of frames of a few seconds that is too much, of long ones less than drift.
    """
    shorter = np.minimum(durations[:-1], durations[1:])
    rounding = np.maximum(np.minimum(_ROUNDED, 0.1 * shorter), 0.01 * shorter)
    beyond = starts[:-1] + durations[:-1] - starts[1:] - rounding
    if len(beyond) and beyond.max() > 1e-6:
        worst = int(beyond.argmax())
        raise UserError(
            f"{name}: frame {worst + 2} begins at {starts[worst + 1]:g} s, before frame {worst + 1} has ended "
            f"({starts[worst] + durations[worst]:g} s); mend the times, which are seconds"
        )


def _beyond(series: NuclearSeries) -> str:
    """Return what is wrong where frames hold more than is said to be the most."""
    if series.saturation is None or float(series.frames.max()) <= series.saturation:
        return ""
    return f"; yet there are up to {series.frames.max():g}: mend saturation_counts"


def _checked(series: NuclearSeries) -> NuclearSeries:
    """Sort frames by time, and say what a user should know."""
    series = in_time_order(series)
    said, doubts = [], doubts_of(series)
    frames = series.frames
    if series.starts is not None and series.durations is not None:
        _require_succession(series.starts, series.durations, series.name)
    if frames.min() < 0:
        said.append(f"{series.name} has counts down to {frames.min():g}, below zero; they are kept")
    if frames.dtype.kind == "f" and not np.array_equal(frames, np.rint(frames)):
        doubts.insert(
            0, f"{series.name} has counts that are not whole: no raw counts, so that Poisson errors do not hold"
        )
    said += doubts
    full = series.saturated()
    if full.any():
        said.append(
            f"{series.name}: pixels stand at {series.saturation:g}, the most that can be held ({int(full.sum())} in "
            f"{int((full > 0).sum())} of {len(series)} frames): counts are missing there{_beyond(series)}"
        )
    return replace(series, said=(*series.said, *said), doubts=(*series.doubts, *doubts))
