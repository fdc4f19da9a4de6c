"""How an image is laid on the screen: which slice, which way up, how grey.

Pictures are shown as they are stored. Slices of patient volumes follow the radiological convention: the patient's right
on the left of the screen, anterior or superior up.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from transmodal.images import Image

_PATIENT_FORMATS = ("nifti", "dicom", "metaimage", "nrrd")
_LUMINANCE = np.array([0.2126, 0.7152, 0.0722])  # ITU-R BT.709


@dataclass(frozen=True)
class Panel:
    """One picture ready to be drawn.

    Attributes:
        pixels: (rows, columns) float32, or (rows, columns, 3) in [0, 1] for colour.
        size: (height, width) in mm, or in pixels when the image has no physical size.
        unit: "mm" or "px".
    """

    pixels: npt.NDArray[np.float32]
    size: tuple[float, float]
    unit: str


def fullest_slice(truth: Image, axis: int = 2) -> int:
    """Return the index of the slice whose values vary most: the one that shows something.

    Args:
        truth: a volume; for a picture the answer is 0.
        axis: the array axis along which slices are counted.
    """
    if truth.spatial_dims == 2:
        return 0
    volume = np.moveaxis(truth.pixels, axis, 0)
    step = max(1, min(volume.shape[1:3]) // 128)
    deviations = [float(np.std(part[::step, ::step].astype(np.float32))) for part in volume]
    return int(np.argmax(deviations))


def panel(image: Image | npt.NDArray[Any], *, axis: int = 2, index: int | None = None) -> Panel:
    """Lay an image, or one slice of a volume, on the screen.

    Args:
        image: a picture, a volume, or a bare array of (rows, columns[, channels]) without a physical size.
        axis: the array axis along which a volume is cut.
        index: which slice; None takes the fullest.

    Returns:
        The panel; three or more channels become colour scaled to their own maximum, others the first channel.
    """
    if not isinstance(image, Image):
        array = np.asarray(image)
        names = tuple(f"channel {number}" for number in np.arange(array.shape[-1])) if array.ndim == 3 else ()
        image = Image(array, channels=names, has_physical_size=False)
    unit = "mm" if image.has_physical_size else "px"
    spacing = image.spacing if image.has_physical_size else (1.0,) * image.spatial_dims
    pixels, axes = image.pixels, [0, 1]
    if image.spatial_dims == 3:
        pixels = np.take(pixels, fullest_slice(image, axis) if index is None else index, axis=axis)
        axes = [other for other in (0, 1, 2) if other != axis]
        if image.source.format in _PATIENT_FORMATS:
            pixels, axes = _radiological(pixels, axes, image.affine)
    size = (pixels.shape[0] * spacing[axes[0]], pixels.shape[1] * spacing[axes[1]])
    return Panel(_colour_or_grey(pixels, bool(image.channels)), size, unit)


def luminance(pixels: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
    """Return one channel out of a last axis of channels: Rec. 709 luminance for three or four, else the first."""
    if pixels.shape[-1] < 3:
        return pixels[..., 0].astype(np.float32)
    return (pixels[..., :3].astype(np.float32) @ _LUMINANCE.astype(np.float32)).astype(np.float32)


def _radiological(
    pixels: npt.NDArray[Any], axes: list[int], affine: npt.NDArray[np.float64]
) -> tuple[npt.NDArray[Any], list[int]]:
    directions = affine[:3, :3]
    world = [int(np.argmax(np.abs(directions[:, axis]))) for axis in axes]
    # Left–right lies across the screen; without it (a sagittal cut) anterior–posterior does.
    if world[0] < world[1]:
        pixels, axes, world = np.swapaxes(pixels, 0, 1), axes[::-1], world[::-1]
    for screen_axis in (0, 1):
        if directions[world[screen_axis], axes[screen_axis]] > 0:
            pixels = np.flip(pixels, screen_axis)
    return pixels, axes


def _colour_or_grey(pixels: npt.NDArray[Any], has_channels: bool) -> npt.NDArray[np.float32]:
    if not has_channels:
        return pixels.astype(np.float32)
    if pixels.shape[-1] < 3:
        return pixels[..., 0].astype(np.float32)
    full = np.iinfo(pixels.dtype).max if np.issubdtype(pixels.dtype, np.integer) else max(float(pixels.max()), 1e-12)
    if np.issubdtype(pixels.dtype, np.integer) and pixels.max() <= 255:
        full = 255  # 8-bit colours kept in a wider type
    return np.clip(pixels[..., :3].astype(np.float32) / full, 0.0, 1.0)
