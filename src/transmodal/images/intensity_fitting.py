"""Fitting an intensity map: what `IntensitySettings` ask for, measured on the images of the training subjects only.

Sources of the maps for MRI: Nyúl, Udupa and Zhang (2000) and Shinohara et al. (2014), see
`transmodal.images.intensity_statistics`.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt

from transmodal.errors import UserError
from transmodal.images.intensity import FittedMap, Pixels, Region, UnsignedType
from transmodal.images.intensity_maps import PiecewiseMap, bounds_at, levels_of, on_chain
from transmodal.images.intensity_settings import IntensitySettings
from transmodal.images.intensity_statistics import (
    mean_and_deviation,
    nyul_landmarks,
    percentile_range,
    range_inside,
    shares_outside,
    values_inside,
    white_stripe,
)

Z_LIMITS = (-3.0, 5.0)  # standard deviations of the brain: lesions and fluid are bright, nothing is as dark
LIMIT_PERCENTILES = (0.1, 99.9)  # where no limits are given: an enhancing tumour can be less than 1 % of a brain
STANDARD_SCALE = (1.0, 100.0)  # Nyúl's: percentile 1 goes to 1, percentile 99 to 100


def fit(
    settings: IntensitySettings, training_images: Iterable[Pixels | tuple[Pixels, Region | None]], modality: str
) -> FittedMap:
    """Fit one modality's map on the images of the training subjects.

    Args:
        settings: which map.
        training_images: pixel arrays in their own units, or pairs of pixels and the region (True where the brain or
            body is) that the map looks at; read once, in order, none kept.
        modality: for messages.

    Raises:
        UserError: no training image, all values equal, a type without a range; an empty region, or for z-score, nyul
            and white-stripe an image that is constant inside its region.
    """
    images = _with_regions(training_images, modality)
    if settings.map == "fixed":
        assert settings.low is not None and settings.high is not None
        return _fit_given(settings.low, settings.high, images)
    if settings.map == "nyul":
        return _fit_nyul(settings, images, modality)
    if settings.map in ("z-score", "white-stripe"):
        return _fit_z(settings, images, modality)
    return _fit_range(settings, images, modality)


def _with_regions(
    images: Iterable[Pixels | tuple[Pixels, Region | None]], modality: str
) -> Iterator[tuple[Pixels, Region | None]]:
    for number, item in enumerate(images, 1):
        pixels, region = item if isinstance(item, tuple) else (item, None)
        if region is not None and not np.any(region):
            raise UserError(f"The region of training image {number} of {modality} is empty; give it another mask")
        yield pixels, region


@dataclass
class _Ranges:
    """What the training images say of their ranges.

    Attributes:
        dtypes: their pixel types.
        lows, highs: the range of each image in which there is something to see.
        places: with `anchor_zero`, where the darkest values of each lie in [-1, 1].
    """

    dtypes: set[np.dtype[Any]] = field(default_factory=set)
    lows: list[float] = field(default_factory=list)
    highs: list[float] = field(default_factory=list)
    places: list[float] = field(default_factory=list)


def _ranges_of(settings: IntensitySettings, images: Iterable[tuple[Pixels, Region | None]]) -> _Ranges:
    found = _Ranges()
    for pixels, region in images:
        found.dtypes.add(pixels.dtype)
        if region is None and settings.foreground and not pixels.any():
            continue  # an empty image says nothing about the range of what is not empty
        low, high = range_inside(
            pixels, region, settings.percentiles, foreground=settings.foreground, anchor_zero=settings.anchor_zero
        )
        found.lows.append(low)
        found.highs.append(high)
        if settings.anchor_zero:
            darkest, _ = range_inside(pixels, region, settings.percentiles, foreground=settings.foreground)
            found.places.append(max(-1.0, 2 * darkest / high - 1) if high > 0 else -1.0)
    return found


def _fit_range(settings: IntensitySettings, images: Iterable[tuple[Pixels, Region | None]], modality: str) -> FittedMap:
    """Fit the range of the integer type, of all training images, or of the typical one."""
    found = _ranges_of(settings, images)
    if not found.dtypes:
        raise UserError(f"No training image of {modality} to fit its intensity map on; check the split column")
    eight_bit = found.dtypes == {np.dtype(np.uint8)}
    if settings.map == "type-range" or (settings.map == "auto" and eight_bit):
        return _fit_type(found.dtypes, modality)
    if not found.lows:
        raise UserError(f"All training images of {modality} are zero throughout; there is nothing to learn")
    number = len(found.lows)
    dtype: UnsignedType | None = None
    tails: tuple[float, float] | None = None
    if settings.map == "image-percentiles":
        low, high = float(np.median(found.lows)), float(np.median(found.highs))
        kind: Literal["one-range", "image-percentiles"] = "image-percentiles"
        origin = f"median over {number} training images of the percentiles {settings.percentiles}"
        tails = (float(np.median(found.places)) if found.places else -1.0, 1.0) if settings.stretch_tails else None
    else:
        low, high = float(min(found.lows)), float(max(found.highs))
        # Counts of another type have another scale; signed integers and floats are in a unit (HU), whatever holds them.
        dtype = _unsigned(next(iter(found.dtypes))) if len(found.dtypes) == 1 else None
        kind, origin = "one-range", f"extremes over {number} training images of percentiles {settings.percentiles}"
    if not high > low:
        raise UserError(f"All training images of {modality} are constant ({low:g}); there is nothing to learn")
    same = settings.model_dump(include={"percentiles", "foreground", "anchor_zero"})
    return FittedMap(kind=kind, low=low, high=high, dtype=dtype, tails=tails, origin=origin, **same)


def _fit_type(dtypes: set[np.dtype[Any]], modality: str) -> FittedMap:
    """Return the range of the one integer type that all images have."""
    if len(dtypes) > 1:
        raise UserError(f"{modality} images have several pixel types ({', '.join(sorted(map(str, dtypes)))}); "
                        f"give intensity.{modality} a fixed map")  # fmt: skip
    own = next(iter(dtypes))
    low, high = type_range(own)
    origin = "range of the files' integer type"
    return FittedMap(kind="one-range", low=low, high=high, dtype=_unsigned(own), origin=origin)


def type_range(dtype: np.dtype[Any]) -> tuple[float, float]:
    """Return the range of an unsigned integer type.

    Raises:
        UserError: the type has no natural range (floats, signed integers).
    """
    if dtype.kind != "u":
        raise UserError(f"Pixels of type {dtype} have no natural range; give map: fixed with low and high")
    return 0.0, float(np.iinfo(dtype).max)


def _unsigned(dtype: np.dtype[Any]) -> UnsignedType | None:
    names: tuple[UnsignedType, ...] = get_args(UnsignedType)
    return next((name for name in names if name == dtype.name), None)


def _fit_given(low: float, high: float, images: Iterable[tuple[Pixels, Region | None]]) -> FittedMap:
    """Return a given range, and what it cuts off the training images: a value outside never comes back."""
    outside, total, lowest, highest = np.zeros(2), 0, high, low
    for pixels, _ in images:
        outside += np.multiply(shares_outside(pixels, low, high), pixels.size)
        total += pixels.size
        lowest, highest = min(lowest, float(pixels.min())), max(highest, float(pixels.max()))
    below, above = (outside / max(1, total)).tolist()
    origin = "given in the recipe"
    if below or above:
        origin += (
            f"; of the training values, which go from {lowest:g} to {highest:g}, {below:.2%} are below {low:g} and "
            f"{above:.2%} above {high:g}: they are cut to it"
        )
    return FittedMap(kind="one-range", low=low, high=high, origin=origin, cut=(below, above) if total else None)


def _training_values(
    settings: IntensitySettings, images: Iterable[tuple[Pixels, Region | None]], modality: str
) -> Iterator[tuple[int, npt.NDArray[Any]]]:
    """Yield number and values of each training image that has any; raise where there is none."""
    count = used = 0
    for count, (pixels, region) in enumerate(images, 1):
        values = values_inside(pixels, region, foreground=settings.foreground)
        if values.size:
            used += 1
            yield count, values
    if not count:
        raise UserError(f"No training image of {modality} to fit its intensity map on; check the split column")
    if not used:
        raise UserError(f"All training images of {modality} are zero throughout; there is nothing to learn")


def _constant(number: int, modality: str, values: npt.NDArray[Any], kind: str) -> UserError:
    if kind == "white-stripe" and values.min() < values.max():
        return UserError(
            f"Training image {number} of {modality} has one single value throughout its white stripe; take z-score"
        )
    what = f"constant ({values.flat[0]:g})" if values.min() == values.max() else "nearly constant"
    return UserError(
        f"Training image {number} of {modality} is {what} where its {kind} map looks; leave the case out or give a mask"
    )


def _fit_z(settings: IntensitySettings, images: Iterable[tuple[Pixels, Region | None]], modality: str) -> FittedMap:
    """Fit z-score or white-stripe: limits if none are given, and the median range for the way back."""
    kind: Literal["z-score", "white-stripe"] = "z-score" if settings.map == "z-score" else "white-stripe"
    scales, extents = [], []
    for number, values in _training_values(settings, images, modality):
        scale = white_stripe(values, settings.contrast) if settings.contrast else mean_and_deviation(values)
        if scale is None or bounds_at(scale, settings.limits or Z_LIMITS) is None:
            raise _constant(number, modality, values, kind)
        scales.append(scale)
        ends = percentile_range(values, LIMIT_PERCENTILES, foreground=False)
        extents.append([(end - scale[0]) / scale[1] for end in ends])
    limits = settings.limits or (Z_LIMITS if kind == "z-score" else _roomy(extents))
    low, high = _median_pair([[centre + limit * deviation for limit in limits] for centre, deviation in scales])
    unit = "standard deviations" + (" of white matter" if kind == "white-stripe" else "")
    return FittedMap(
        kind=kind,
        low=low,
        high=high,
        foreground=settings.foreground,
        contrast=settings.contrast,
        limits=limits,
        origin=f"median over {len(scales)} training images of {limits[0]:.4g} to {limits[1]:.4g} {unit}",
    )


def _fit_nyul(settings: IntensitySettings, images: Iterable[tuple[Pixels, Region | None]], modality: str) -> FittedMap:
    """Fit Nyúl's standard scale: each training image's landmarks brought to 1 to 100, and their mean."""
    landmarks, standards, ends = [], [], []
    for number, values in _training_values(settings, images, modality):
        own = nyul_landmarks(values)
        if own is None:
            raise _constant(number, modality, values, "nyul")
        first, last = STANDARD_SCALE
        landmarks.append(own)
        standards.append(first + (own - own[0]) * (last - first) / (own[-1] - own[0]))
        ends.append(percentile_range(values, LIMIT_PERCENTILES, foreground=False))
    standard = np.mean(standards, axis=0)
    limits = settings.limits
    if limits is None:
        pairs = zip(landmarks, ends, strict=True)
        limits = _roomy([[on_chain(end, own, standard) for end in outer] for own, outer in pairs])
    typical = np.median(landmarks, axis=0)
    back = PiecewiseMap.through(typical, levels_of(standard, limits))
    return FittedMap(
        kind="nyul",
        low=back.low,
        high=back.high,
        foreground=settings.foreground,
        limits=limits,
        landmarks=tuple(typical.tolist()),
        standard=tuple(standard.tolist()),
        origin=f"Nyúl's standard scale of {len(landmarks)} training images from {limits[0]:.4g} to {limits[1]:.4g}",
    )


def _roomy(pairs: Sequence[Sequence[float]]) -> tuple[float, float]:
    """Return limits that cut next to nothing in nine of ten training images: what is clipped never comes back."""
    lows, highs = np.transpose(pairs)
    return float(np.percentile(lows, 10)), float(np.percentile(highs, 90))


def _median_pair(pairs: Iterable[Iterable[float]]) -> tuple[float, float]:
    low, high = np.median([tuple(pair) for pair in pairs], axis=0).tolist()
    return low, high
