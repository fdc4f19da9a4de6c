"""Make images that nothing but their content tells apart: one grid, one scale, one rounding, one size and date.

Names of files are drawn at random, files are written in the order of these names, without header or metadata; values
are rounded to the grey levels of the coarsest source, so that 8-bit truth and 32-bit output have one look in any
histogram; made images get no grey that is darker or brighter than those of the true images; all dates are equal. What
stays is what readers are asked about: the content.
"""

import os
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from transmodal.errors import UserError
from transmodal.evaluation.readers.answers import REAL
from transmodal.evaluation.readers.materials import Material
from transmodal.evaluation.readers.study import Pictures
from transmodal.images import Image, require_same_grid
from transmodal.reporting.display import panel

REFERENCE = ""  # stands for the image beside, where a system's name would stand
_FULL = 65535
_FEW = 16  # an image with fewer values says nothing about how finely its source is quantised
_NAME_BYTES = 12
_TINY = 1e-6  # levels; more than float64 errs


@dataclass(frozen=True)
class Spooled:
    """One picture laid aside, float32, until all are known."""

    case: str
    subject: str
    system: str
    path: Path
    shape: tuple[int, ...]
    low: float
    high: float
    step: float
    dtype: np.dtype[Any]


@dataclass
class Tally:
    """What clipping did to the pictures of one system.

    Attributes:
        clipped: pixels that lay outside the values they were brought to.
        pixels: all pixels.
        varies: one picture has two values left.
    """

    clipped: int = 0
    pixels: int = 0
    varies: bool = False

    @property
    def share(self) -> float:
        """Clipped pixels of all, 0 to 1."""
        return self.clipped / self.pixels


@dataclass
class Spool:
    """All pictures of a study, laid aside one case at a time, and what must be the same for all.

    Attributes:
        folder: for temporary files.
        slices: "middle", or indices along `axis`; volumes give one case a slice.
        axis: the array axis along which volumes are cut.
        percentiles: map each image or volume by these percentiles of its own to 0–1; None leaves values as they are.
    """

    folder: Path
    slices: Literal["middle"] | Sequence[int] = "middle"
    axis: int = 2
    percentiles: tuple[float, float] | None = None
    pictures: list[Spooled] = field(default_factory=list)
    aspects: dict[str, float] = field(default_factory=dict)
    units: set[str] = field(default_factory=set)

    def add(self, material: Material) -> None:
        """Read a case, check that its images share a grid, and lay its pictures aside.

        Raises:
            UserError: other grids or channels, NaN, a slice that is not there, or a file that cannot be read.
        """
        images = material.load()
        first = next(iter(images.values()))
        for image in images.values():
            require_same_grid(first, image)
            _require_values(image)
        limits = {system: self._own_limits(image) for system, image in images.items()}
        self.units |= {image.quantity for image in images.values()}
        volume = first.spatial_dims == 3
        for index in self._indices(first) if volume else [None]:
            case = material.case if index is None else f"{material.case}_slice{index:03d}"
            for system, image in images.items():
                self._lay_aside(case, material.subject, system, image, index, limits[system])
            if material.load_reference is not None:
                beside = material.load_reference()
                _require_values(beside)
                if index is not None and beside.spatial_dims == 3:
                    require_same_grid(first, beside)
                place = index if beside.spatial_dims == 3 else None
                self._lay_aside(case, material.subject, REFERENCE, beside, place, None)

    def of(self, *, references: bool) -> list[Spooled]:
        """Return the pictures, or those shown beside."""
        return [picture for picture in self.pictures if (picture.system == REFERENCE) == references]

    def _indices(self, image: Image) -> list[int]:
        length = image.shape[self.axis]
        if self.slices == "middle":
            return [length // 2]
        beyond = next((index for index in self.slices if not 0 <= index < length), None)
        if beyond is not None:
            raise UserError(f"{image.name} has slices 0 to {length - 1} along axis {self.axis}, not {beyond}; "
                            "change --slice or --slice-axis")  # fmt: skip
        return list(self.slices)

    def _own_limits(self, image: Image) -> tuple[float, float] | None:
        """Return the image's own percentiles, of a whole volume: slices of one patient keep their contrast."""
        if self.percentiles is None:
            return None
        low, high = (float(value) for value in np.percentile(image.pixels, self.percentiles))
        if not high > low:
            raise UserError(f"{image.name} is constant between its percentiles {self.percentiles[0]:g} and "
                            f"{self.percentiles[1]:g}; take the case out, or state --range")  # fmt: skip
        return low, high

    def _lay_aside(
        self,
        case: str,
        subject: str,
        system: str,
        image: Image,
        index: int | None,
        limits: tuple[float, float] | None,
    ) -> None:
        pixels, aspect = _flat(image, self.axis, index)
        if limits is not None:
            pixels = np.clip((pixels - limits[0]) / (limits[1] - limits[0]), 0, 1).astype(np.float32)
        kind = "beside" if system == REFERENCE else "shown"
        if abs(self.aspects.setdefault(kind, aspect) - aspect) > 1e-3 * aspect:
            raise UserError(f"{image.name} has other pixel proportions than the images before it; "
                            "bring all on square pixels first")  # fmt: skip
        path = self.folder / f"{len(self.pictures)}.npy"
        np.save(path, pixels)
        low, high = float(pixels.min()), float(pixels.max())
        if image.pixels.dtype == np.uint8 and system == REFERENCE:
            low, high = 0.0, 255.0  # a photograph keeps its exposure
        step, dtype = quantisation_step(pixels), image.pixels.dtype
        self.pictures.append(Spooled(case, subject, system, path, pixels.shape, low, high, step, dtype))


def true_extremes(spooled: Sequence[Spooled]) -> tuple[float, float] | None:
    """Return the least and the greatest value of the true images; None where there is none."""
    true = [picture for picture in spooled if picture.system == REAL]
    return (min(each.low for each in true), max(each.high for each in true)) if true else None


def write_pictures(
    spooled: Sequence[Spooled],
    folder: Path,
    *,
    limits: tuple[float, float] | None,
    per_image: bool,
    unit: str,
    aspect: float,
    date: float,
    on_written: Callable[[], None] | None = None,
) -> tuple[Pictures, dict[str, Spooled], dict[str, Tally]]:
    """Write pictures blinded: raw, under random names, in the order of these names.

    Where there are true images, made ones are clipped to their extremes, whatever the limits: a grey that no true image
    has would tell a made one at a glance.

    Args:
        spooled: pictures of one sort.
        folder: for the files; made when absent.
        limits: the values that become 0 and 65535; None takes the least and the greatest of the true images, or of all
            where there is none.
        per_image: values were mapped image by image, so that rounding must suit the coarsest image, not the coarsest
            system.
        unit: of the values.
        aspect: height of a pixel over its width.
        date: of all files, in seconds since 1970.
        on_written: called after each file.

    Returns:
        How to read the files, opaque name → picture, and system → what clipping did to it.

    Raises:
        UserError: colour and grey are mixed, or all values are equal.
    """
    channels = {shape[2] if len(shape) == 3 else 1 for shape in (picture.shape for picture in spooled)}
    if len(channels) > 1:
        raise UserError("Some images are in colour and some are grey; convert them to one of the two")
    true = true_extremes(spooled)
    low, high = limits or true or (min(each.low for each in spooled), max(each.high for each in spooled))
    if not high > low:
        raise UserError(f"All values of all {'true ' if true else ''}images are {low:g}; "
                        "state --range, or check the images")  # fmt: skip
    rows, columns = (max(picture.shape[axis] for picture in spooled) for axis in (0, 1))
    levels = _common_levels(spooled, high - low, per_image)
    count: Literal[1, 3] = 3 if channels == {3} else 1
    sort = Pictures(
        width=columns, height=rows, channels=count, low=low, high=high, unit=unit, aspect=aspect, levels=levels
    )
    folder.mkdir(parents=True, exist_ok=True)
    names = {secrets.token_hex(_NAME_BYTES): picture for picture in spooled}
    tallies: dict[str, Tally] = {}
    # Written in the order of random names, places on the disk and the folder's own order say nothing either.
    for name in sorted(names):
        pixels, system = np.load(names[name].path), names[name].system
        bounds = made_bounds((low, high), true if system != REAL else None)
        _count(tallies.setdefault(system, Tally()), pixels, bounds)
        (folder / name).write_bytes(blinded(np.clip(pixels, *bounds), sort).tobytes())
        os.utime(folder / name, (date, date))
        if on_written:
            on_written()
    return sort, names, tallies


def made_bounds(limits: tuple[float, float], true: tuple[float, float] | None) -> tuple[float, float]:
    """Return what made images are clipped to: the extremes of the true images within the limits.

    Args:
        limits: the values that are shown.
        true: extremes of the true images; None where there is none.
    """
    if true is None:
        return limits
    return float(np.clip(true[0], *limits)), float(np.clip(true[1], *limits))


def _count(tally: Tally, pixels: npt.NDArray[Any], bounds: tuple[float, float]) -> None:
    outside = (pixels < bounds[0]) | (pixels > bounds[1])
    tally.clipped += int(np.count_nonzero(outside.any(axis=2) if outside.ndim == 3 else outside))
    tally.pixels += pixels.shape[0] * pixels.shape[1]
    # Against the ends of the bounds: the least and the greatest value become one where both lie beyond one end.
    least, greatest = np.clip((pixels.min(), pixels.max()), *bounds)
    tally.varies |= bool(least < greatest)


def blinded(pixels: npt.NDArray[Any], sort: Pictures) -> npt.NDArray[np.uint16]:
    """Return pixels on the common grid and scale, rounded to the common levels.

    Args:
        pixels: (rows, columns[, 3]), values in the unit of `sort.low` and `sort.high`.

    Returns:
        (sort.height, sort.width[, 3]) little-endian uint16; smaller pictures lie in the middle, the rest is 0.
    """
    steps = sort.levels - 1
    scaled = (np.clip(pixels.astype(np.float64), sort.low, sort.high) - sort.low) / (sort.high - sort.low)
    # Halves go up together: rounded to even, or by chance, integers half a level off would leave every second level
    # to images that are no integers.
    level = np.floor(scaled * steps + 0.5 + _TINY)
    rounded = np.rint(level * (_FULL / steps)).astype("<u2")
    canvas = np.zeros((sort.height, sort.width, *rounded.shape[2:]), "<u2")
    top, left = ((whole - part) // 2 for whole, part in zip(canvas.shape[:2], rounded.shape[:2], strict=True))
    canvas[top : top + rounded.shape[0], left : left + rounded.shape[1]] = rounded
    return canvas


def quantisation_step(pixels: npt.NDArray[Any]) -> float:
    """Return the distance of neighbouring values that an image's source can tell apart; 0 where it cannot be told."""
    values = np.unique(pixels.astype(np.float64))
    if len(values) < _FEW:
        return 0.0
    differences = np.diff(values)
    if not np.any(values % 1):
        return float(np.gcd.reduce(differences.astype(np.int64)))
    # A float image of integers with a slope: rounding in float32 may split one value into two close ones.
    tiny = 4 * float(np.finfo(np.float32).eps) * float(np.abs(values).max())
    return float(np.min(differences[differences > tiny], initial=np.inf)) if (differences > tiny).any() else 0.0


def _common_levels(spooled: Sequence[Spooled], extent: float, per_image: bool) -> int:
    """Return how many levels the coarsest source has over the range."""
    steps: dict[str, list[float]] = {}
    for picture in spooled:
        if picture.step > 0:
            steps.setdefault(picture.system, []).append(picture.step)
    # A system is as fine as its finest image: an image may happen to use every second value only.
    coarsest = max((max(each) if per_image else min(each) for each in steps.values()), default=0.0)
    levels = _FULL + 1 if coarsest <= 0 else 1 + round(extent / coarsest)
    return min(max(levels, 2), _FULL + 1)


def _flat(image: Image, axis: int, index: int | None) -> tuple[npt.NDArray[np.float32], float]:
    """Return (rows, columns[, 3]) as it is laid on the screen, and the height of a pixel over its width."""
    if image.channels and len(image.channels) not in (1, 3, 4):
        raise UserError(f"{image.name} has {len(image.channels)} channels; readers can be shown grey or colour images")
    if image.spatial_dims == 2:
        pixels = image.pixels.astype(np.float32)
        height, width = image.spacing if image.has_physical_size else (1.0, 1.0)
        if image.channels:
            pixels = pixels[..., 0] if len(image.channels) == 1 else pixels[..., :3]
        return pixels, height / width
    if image.channels:
        raise UserError(f"{image.name} is a volume in colour; readers can be shown grey volumes")
    shown = panel(image, axis=axis, index=index)
    rows, columns = shown.pixels.shape[:2]
    return np.ascontiguousarray(shown.pixels), (shown.size[0] / rows) / (shown.size[1] / columns)


def _require_values(image: Image) -> None:
    if image.pixels.dtype.kind not in "uifb":
        raise UserError(f"{image.name} holds {image.pixels.dtype} values; only real numbers can be shown")
    if image.pixels.dtype.kind == "f" and not np.isfinite(image.pixels).all():
        raise UserError(f"{image.name} holds NaN or infinite pixels; mend the image before it is shown")
