"""A picture to judge alignments by eye: chequerboards and outlines, before and after.

Volumes are shown in an axial and a sagittal slice, the patient's right on the left, as radiologists look at them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import nibabel
import numpy as np
import numpy.typing as npt
from scipy import ndimage

from transmodal.datasets.alignment import AlignmentReport, AlignmentSettings
from transmodal.datasets.manifest import Manifest
from transmodal.images import Image, picture_affine, read
from transmodal.images.files import atomic_path
from transmodal.images.registration import resample

_WIDTH = 320  # of one panel, in pixels
_TITLES = ("chequerboard before", "after", "outlines of fixed before", "after")
_INK = (235, 235, 235)
_OUTLINE = (0, 200, 255)  # BGR


@dataclass(frozen=True)
class Row:
    """One case of the montage: all images on the fixed grid."""

    title: str
    fixed: Image
    before: Image
    after: Image


def picture_alignments(
    report: AlignmentReport, before: Manifest, settings: AlignmentSettings, path: Path, *, most: int = 8
) -> list[str]:
    """Write the montage of up to `most` pairs, those over the threshold first, the others evenly chosen.

    Args:
        report: of the alignment.
        before: the manifest that was aligned.
        settings: as used.
        path: the PNG.

    Returns:
        The ids of the pictured cases; nothing is written when no pair was aligned.
    """
    done = [alignment for alignment in report.alignments if alignment.image]
    suspect = [alignment for alignment in done if alignment.status != "ok"][:most]
    sound = [alignment for alignment in done if alignment.status == "ok"]
    room = min(most - len(suspect), len(sound))
    chosen = suspect + [sound[round(at)] for at in np.linspace(0, len(sound) - 1, room)]
    files = {case.id: case.files for case in before.cases()}
    rows = []
    for alignment in chosen:
        fixed = read(files[alignment.case][settings.fixed], spacing=settings.fixed_spacing)
        moving = read(files[alignment.case][alignment.modality], spacing=settings.moving_spacing)
        as_it_lay = resample(moving, fixed)
        error = "" if alignment.error_mm is None else f", {alignment.error_mm:.2f} mm"
        title = f"{alignment.case}: {alignment.modality} on {settings.fixed}, {alignment.status}{error}"
        rows.append(Row(title, fixed, as_it_lay, read(report.manifest.folder / alignment.image)))
    if rows:
        write_montage(rows, path)
    return [alignment.case for alignment in chosen]


def write_montage(rows: Sequence[Row], path: Path) -> Path:
    """Write a PNG with a row a case: chequerboard before and after, outlines of fixed over moving before and after."""
    strips = [_captions(_TITLES)] if rows else [np.zeros((10, 10, 3), np.uint8)]
    for row in rows:
        strips += [_line(row.title), _panels(row)]
    return _write_strips(strips, path)


def write_volume_montage(rows: Sequence[Row], path: Path) -> Path:
    """Write a PNG with two strips a volume: an axial and a sagittal slice through the middle of the fixed volume."""
    strips = [_captions(_TITLES)]
    for row in rows:
        strips.append(_line(row.title))
        middle = _middle(_patient_axes(row.fixed))
        for view in ("axial", "sagittal"):
            fixed, before, after = (_slice(image, view, middle) for image in (row.fixed, row.before, row.after))
            strips.append(_panels(Row(row.title, fixed, before, after)))
    return _write_strips(strips, path)


def _panels(row: Row) -> npt.NDArray[np.uint8]:
    fixed, window = _grey(row.fixed), _window(row.before if np.any(row.before.pixels) else row.after)
    before, after = _grey(row.before, window), _grey(row.after, window)
    panels = [
        _chequerboard(fixed, before),
        _chequerboard(fixed, after),
        _outlined(fixed, before),
        _outlined(fixed, after),
    ]
    return np.hstack([_bordered(panel) for panel in panels])


def _write_strips(strips: Sequence[npt.NDArray[np.uint8]], path: Path) -> Path:
    picture = np.vstack(strips)
    with atomic_path(path) as temporary:
        temporary.write_bytes(cv2.imencode(".png", picture)[1].tobytes())
    return path


def _patient_axes(image: Image) -> npt.NDArray[Any]:
    """Return the volume with its axes turned and flipped to right, anterior, superior, as nearly as they go."""
    turned: npt.NDArray[Any] = nibabel.orientations.apply_orientation(
        image.pixels, nibabel.orientations.io_orientation(image.affine)
    )
    return turned


def _middle(values: npt.NDArray[Any]) -> tuple[int, ...]:
    """Return the index of the centre of mass, or of the grid's middle where all is dark."""
    mass = np.nan_to_num(values.astype(np.float64))
    mass -= mass.min()
    if not mass.any():
        return tuple(length // 2 for length in values.shape)
    return tuple(int(at) for at in np.rint(ndimage.center_of_mass(mass)))


def _slice(image: Image, view: str, middle: tuple[int, ...]) -> Image:
    """Return an upright slice of a volume as a picture with its pixel size: the patient's front up, or to the left."""
    values = _patient_axes(image)
    sizes = np.array(image.spacing)[np.argsort(nibabel.orientations.io_orientation(image.affine)[:, 0])]
    if view == "axial":
        pixels, spacing = values[::-1, ::-1, middle[2]].T, (sizes[1], sizes[0])
    else:
        pixels, spacing = values[middle[0], ::-1, ::-1].T, (sizes[2], sizes[1])
    return Image(np.ascontiguousarray(pixels), picture_affine((float(spacing[0]), float(spacing[1]))))


def _window(image: Image) -> tuple[float, float]:
    """Return the 1st and 99th percentile; zeros, which fill what no camera saw, do not count."""
    values = np.nan_to_num(np.asarray(image.pixels, dtype=np.float32))
    seen = values[values != 0]
    low, high = np.percentile(seen if seen.size else values, (1, 99))
    return float(low), float(high)


def _grey(image: Image, window: tuple[float, float] | None = None) -> npt.NDArray[np.uint8]:
    """Return the picture, or the middle slice of a volume, as 8-bit grey inside a window (default its own)."""
    pixels: npt.NDArray[Any] = np.asarray(image.pixels)
    spacing = image.spacing
    if image.spatial_dims == 3:
        pixels, spacing = np.swapaxes(pixels[:, ::-1, pixels.shape[2] // 2], 0, 1), (spacing[1], spacing[0])
    values = np.nan_to_num(pixels.astype(np.float32))
    if values.ndim == 3:
        values = values[..., :3].mean(axis=-1)
    low, high = window or _window(image)
    scaled = np.clip((values - low) / max(high - low, 1e-12) * 255, 0, 255).astype(np.uint8)
    height = max(1, round(_WIDTH * scaled.shape[0] * spacing[0] / (scaled.shape[1] * spacing[1])))
    smaller = scaled.shape[1] > _WIDTH
    resized: npt.NDArray[np.uint8] = cv2.resize(
        scaled, (_WIDTH, height), interpolation=cv2.INTER_AREA if smaller else cv2.INTER_LINEAR
    ).astype(np.uint8)
    return resized


def _chequerboard(fixed: npt.NDArray[np.uint8], moving: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    rows, columns = np.indices(fixed.shape) // (_WIDTH // 8)
    mixed = np.where((rows + columns) % 2 == 0, fixed, moving)
    return np.repeat(mixed[..., None], 3, axis=-1)


def _outlined(fixed: npt.NDArray[np.uint8], moving: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    smooth = cv2.GaussianBlur(fixed, (0, 0), 1.5)
    strength = np.hypot(cv2.Sobel(smooth, cv2.CV_32F, 1, 0), cv2.Sobel(smooth, cv2.CV_32F, 0, 1))
    strong = float(np.percentile(strength, 95))
    edges = cv2.Canny(smooth, strong / 2, strong)
    picture = np.repeat((moving * 0.85).astype(np.uint8)[..., None], 3, axis=-1)
    picture[edges > 0] = _OUTLINE
    return picture


def _bordered(panel: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    return np.pad(panel, ((2, 2), (2, 2), (0, 0)))


def _line(text: str) -> npt.NDArray[np.uint8]:
    return _text([(text, 4)])


def _captions(texts: Sequence[str]) -> npt.NDArray[np.uint8]:
    return _text([(text, 4 + number * (_WIDTH + 4)) for number, text in enumerate(texts)])


def _text(pieces: Sequence[tuple[str, int]]) -> npt.NDArray[np.uint8]:
    strip = np.zeros((22, len(_TITLES) * (_WIDTH + 4), 3), np.uint8)
    for text, left in pieces:
        plain = text.encode("ascii", "replace").decode()  # the built-in font knows ASCII only
        cv2.putText(strip, plain, (left, 16), cv2.FONT_HERSHEY_SIMPLEX, 0.45, _INK, 1, cv2.LINE_AA)
    return strip
