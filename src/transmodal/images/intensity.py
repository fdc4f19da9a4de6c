"""Reversible intensity maps: from a file's own units to [-1, 1] for a network, and back.

A map is *described* by `IntensitySettings` (in a recipe), *fitted* once, on training subjects only, into a `FittedMap`
(stored in the translator's card), and *made concrete* for one image as a `LinearMap` or a `PiecewiseMap`
(`transmodal.images.intensity_maps`). What is measured in an image stands in `transmodal.images.intensity_statistics`.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field, model_validator

from transmodal.errors import UserError
from transmodal.images.intensity_maps import LinearMap, PiecewiseMap, on_chain, require_extent
from transmodal.images.intensity_statistics import (
    LANDMARK_PERCENTILES,
    Contrast,
    mean_and_deviation,
    nyul_landmarks,
    percentile_range,
    values_inside,
    white_stripe,
)

__all__ = [
    "NOT_OF_MAP",
    "FittedMap",
    "IntensitySettings",
    "LinearMap",
    "PiecewiseMap",
    "fit",
    "percentile_range",
    "type_range",
]

UnsignedType = Literal["uint8", "uint16", "uint32", "uint64"]
Pixels = npt.NDArray[Any]
Region = npt.NDArray[np.bool_]
Z_LIMITS = (-3.0, 5.0)  # standard deviations of the brain: lesions and fluid are bright, nothing is as dark
LIMIT_PERCENTILES = (0.1, 99.9)  # where no limits are given: an enhancing tumour can be less than 1 % of a brain
WIDEST_LIMIT = 1e4  # standard deviations, or places on the standard scale
MORE_CUT, LEAST_CUT = 1.5, 1e-3  # times what was cut in training, and a share: beyond, it is worth a word
STANDARD_SCALE = (1.0, 100.0)  # Nyúl's: percentile 1 goes to 1, percentile 99 to 100


class IntensitySettings(BaseModel):
    """How the values of one modality are brought to [-1, 1].

    map:
        type-range            0…255 or 0…65535, by the integer type of the files
        fixed                 `low` and `high` in the image's unit (HU, counts)
        training-percentiles  one range for all, fitted on the training images
        image-percentiles     each image by its own percentiles (MRI, which has no absolute unit); the way back uses
                              the median range of the training images
        auto                  type-range for 8-bit files, training-percentiles 0 to 100 otherwise

    For MRI, measured in each image inside the brain's region:
        z-score               mean 0 and standard deviation 1
        nyul                  the percentiles 1, 10, 20, …, 90, 99 go to the standard scale of the training images,
                              straight between and beyond (Nyúl, Udupa and Zhang 2000)
        white-stripe          mean 0 and standard deviation 1 of normal white matter (Shinohara et al. 2014); needs
                              `contrast`
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    map: Literal[
        "auto", "type-range", "fixed", "training-percentiles", "image-percentiles", "z-score", "nyul", "white-stripe"
    ] = "auto"
    low: float | None = Field(None, description="lower bound in the image's unit, for map: fixed")
    high: float | None = Field(None, description="upper bound in the image's unit, for map: fixed")
    percentiles: tuple[float, float] = Field((0.0, 100.0), description="for the two percentile maps")
    foreground: bool = Field(
        False, description="without a region: look at non-zero values only (skull-stripped MRI); with one, it decides"
    )
    anchor_zero: bool = Field(False, description="the lower end is 0, so that a background of 0 comes back as 0")
    stretch_tails: bool = Field(
        True,
        description="for map: image-percentiles with a region: the darkest and the brightest per cent of an output are "
        "stretched, so that its own percentiles lie where those of true images do",
    )
    contrast: Contrast | None = Field(None, description="for map: white-stripe; T1 also after contrast agent")
    limits: tuple[float, float] | None = Field(
        None,
        description="what goes to -1 and +1, for z-score (in sd; none: -3 and 5), white-stripe (in sd of white matter) "
        "and nyul (on the scale 1 to 100); none for these two: fitted, so that nine of ten training images keep what "
        "lies between their percentiles 0.1 and 99.9",
    )

    @model_validator(mode="after")
    def _is_complete(self) -> "IntensitySettings":
        if self.map == "fixed":
            if self.low is None or self.high is None:
                raise ValueError("map: fixed needs low and high")
            require_extent(self.low, self.high)
        if self.map != "fixed" and (self.low is not None or self.high is not None):
            raise ValueError(f"low and high belong to map: fixed, not to {self.map}")
        lower, upper = self.percentiles
        if not 0 <= lower < upper <= 100:
            raise ValueError("percentiles must rise within 0 to 100")
        self._keeps_to_its_map()
        return self

    def _keeps_to_its_map(self) -> None:
        standardises = self.map in ("z-score", "nyul", "white-stripe")
        if standardises and (self.percentiles != (0.0, 100.0) or self.anchor_zero):
            raise ValueError(f"percentiles and anchor_zero belong to the percentile maps; {self.map} takes limits")
        if self.limits is not None:
            if not standardises:
                raise ValueError(f"limits belong to z-score, nyul and white-stripe, not to {self.map}")
            require_extent(*self.limits)
            if max(map(abs, self.limits)) > WIDEST_LIMIT:
                raise ValueError(f"limits beyond ±{WIDEST_LIMIT:g} would leave an image no contrast")
        if (self.map == "white-stripe") != (self.contrast is not None):
            raise ValueError("map: white-stripe needs contrast: T1, T2 or FLAIR; no other map takes it")


_OF_MAPS = {  # settings that only these maps take
    "low": ("fixed",),
    "high": ("fixed",),
    "percentiles": ("training-percentiles", "image-percentiles"),
    "anchor_zero": ("training-percentiles", "image-percentiles"),
    "stretch_tails": ("image-percentiles",),
    "contrast": ("white-stripe",),
    "limits": ("z-score", "nyul", "white-stripe"),
}
NOT_OF_MAP: dict[str, frozenset[str]] = {
    kind: frozenset(name for name, kinds in _OF_MAPS.items() if kind not in kinds)
    for kind in get_args(IntensitySettings.model_fields["map"].annotation)
}
"""Map → the settings that it does not take."""


class FittedMap(BaseModel):
    """An intensity map ready for use, with the range that belongs to the way back."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["one-range", "image-percentiles", "z-score", "nyul", "white-stripe"]
    low: float
    high: float
    percentiles: tuple[float, float] = (0.0, 100.0)
    foreground: bool = False
    anchor_zero: bool = False
    dtype: UnsignedType | None = Field(
        None, description="the integer type whose values alone the range fits; None: any type in the same unit"
    )
    contrast: Contrast | None = None
    limits: tuple[float, float] | None = Field(
        None, description="z-score, white-stripe: standard deviations, nyul: places on the standard scale, at -1 and +1"
    )
    landmarks: tuple[float, ...] = Field((), description="nyul: medians over the training images, in their unit")
    standard: tuple[float, ...] = Field((), description="nyul: where the landmarks go, 1 to 100; means over training")
    tails: tuple[float, float] | None = Field(
        None, description="image-percentiles: where these lie in true images, in [-1, 1]; None: outputs stay as made"
    )
    origin: str = Field(description="where the range comes from, in words")
    cut: tuple[float, float] | None = Field(
        None,
        description="a range given in the recipe: shares of the training values below and above it, which are lost",
    )

    @model_validator(mode="after")
    def _is_complete(self) -> "FittedMap":
        require_extent(self.low, self.high)
        if self.depends_on_image and self.kind != "image-percentiles":
            if self.limits is None:
                raise ValueError(f"a fitted map of kind {self.kind} needs limits")
            require_extent(*self.limits)
        if self.kind == "white-stripe" and self.contrast is None:
            raise ValueError("a fitted map of kind white-stripe needs its contrast")
        if self.kind == "nyul":
            if not len(self.landmarks) == len(self.standard) == len(LANDMARK_PERCENTILES):
                raise ValueError(f"a fitted map of kind nyul needs {len(LANDMARK_PERCENTILES)} landmarks and levels")
            _ = self.inverse  # or its landmarks have no extent
        return self

    @property
    def depends_on_image(self) -> bool:
        """Whether each image has a map of its own, so that its values have no absolute unit."""
        return self.kind != "one-range"

    def for_image(self, pixels: Pixels, region: Region | None = None) -> LinearMap | PiecewiseMap:
        """Return the map of one image; except for `one-range` it depends on the image's own values.

        Args:
            pixels: in the image's unit.
            region: True where the brain or body is, of the shape of `pixels`; None takes the values that are not 0
                where `foreground` is set, else all.

        Returns:
            For z-score, nyul and white-stripe, of an image that is empty or constant inside its region: `inverse`,
            the map of the typical training image.

        Raises:
            UserError: the region has another shape.
        """
        if self.kind == "one-range":
            return self.inverse
        if self.kind == "image-percentiles":
            low, high = _own_range(pixels, region, self)
            return LinearMap(low=low, high=high if high > low else low + 1.0)
        values = values_inside(pixels, region, foreground=self.foreground)
        if self.kind == "nyul":
            landmarks = nyul_landmarks(values)
            return self.inverse if landmarks is None else self._through(landmarks)
        scale = white_stripe(values, self.contrast) if self.contrast is not None else mean_and_deviation(values)
        bounds = None if scale is None or self.limits is None else _bounds(scale, self.limits)
        return self.inverse if bounds is None else LinearMap(low=bounds[0], high=bounds[1])

    def cuts(self, pixels: Pixels) -> str | None:
        """Say what a range given in the recipe cuts off an image, where it is more than it cut off in training.

        Args:
            pixels: in the image's unit.

        Returns:
            A clause for a warning; None where nothing is to be said, or the range is not a given one.
        """
        if self.cut is None:
            return None
        shares = _shares_outside(pixels, self.low, self.high)
        clauses = [
            f"{share:.2%} of its values are {where} {end:g} and cut to it (they reach {reached:g}; in training it was "
            f"{known:.2%})"
            for share, known, where, end, reached in zip(
                shares, self.cut, ("below", "above"), (self.low, self.high), (pixels.min(), pixels.max()), strict=True
            )
            if share > MORE_CUT * known + LEAST_CUT
        ]
        return "; ".join(clauses) or None

    @property
    def inverse(self) -> LinearMap | PiecewiseMap:
        """The map that takes a network's output back to units: that of the typical training image."""
        return self._through(self.landmarks) if self.kind == "nyul" else LinearMap(low=self.low, high=self.high)

    def _through(self, landmarks: npt.ArrayLike) -> PiecewiseMap:
        assert self.limits is not None
        return PiecewiseMap.through(landmarks, _levels(self.standard, self.limits))


def type_range(dtype: np.dtype[Any]) -> tuple[float, float]:
    """Return the range of an unsigned integer type.

    Raises:
        UserError: the type has no natural range (floats, signed integers).
    """
    if dtype.kind != "u":
        raise UserError(f"Pixels of type {dtype} have no natural range; give map: fixed with low and high")
    return 0.0, float(np.iinfo(dtype).max)


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
    dtypes: set[np.dtype[Any]] = set()
    lows, highs, places = [], [], []
    for pixels, region in images:
        dtypes.add(pixels.dtype)
        if region is None and settings.foreground and not pixels.any():
            continue  # an empty image says nothing about the range of what is not empty
        low, high = _own_range(pixels, region, settings)
        lows.append(low)
        highs.append(high)
        if settings.anchor_zero:
            darkest, _ = _own_range(pixels, region, settings.model_copy(update={"anchor_zero": False}))
            places.append(max(-1.0, 2 * darkest / high - 1) if high > 0 else -1.0)
    if not dtypes:
        raise UserError(f"No training image of {modality} to fit its intensity map on; check the split column")
    eight_bit = dtypes == {np.dtype(np.uint8)}
    if settings.map == "type-range" or (settings.map == "auto" and eight_bit):
        if len(dtypes) > 1:
            raise UserError(f"{modality} images have several pixel types ({', '.join(sorted(map(str, dtypes)))}); "
                            f"give intensity.{modality} a fixed map")  # fmt: skip
        own = dtypes.pop()
        low, high = type_range(own)
        origin = "range of the files' integer type"
        return FittedMap(kind="one-range", low=low, high=high, dtype=_unsigned(own), origin=origin)
    if not lows:
        raise UserError(f"All training images of {modality} are zero throughout; there is nothing to learn")
    dtype: UnsignedType | None = None
    tails: tuple[float, float] | None = None
    if settings.map == "image-percentiles":
        low, high = float(np.median(lows)), float(np.median(highs))
        kind: Literal["one-range", "image-percentiles"] = "image-percentiles"
        origin = f"median over {len(lows)} training images of the percentiles {settings.percentiles}"
        tails = (float(np.median(places)) if places else -1.0, 1.0) if settings.stretch_tails else None
    else:
        low, high = float(min(lows)), float(max(highs))
        # Counts of another type have another scale; signed integers and floats are in a unit (HU), whatever holds them.
        dtype = _unsigned(next(iter(dtypes))) if len(dtypes) == 1 else None
        kind, origin = "one-range", f"extremes over {len(lows)} training images of percentiles {settings.percentiles}"
    if not high > low:
        raise UserError(f"All training images of {modality} are constant ({low:g}); there is nothing to learn")
    return FittedMap(
        kind=kind,
        low=low,
        high=high,
        percentiles=settings.percentiles,
        foreground=settings.foreground,
        anchor_zero=settings.anchor_zero,
        dtype=dtype,
        tails=tails,
        origin=origin,
    )


def _fit_given(low: float, high: float, images: Iterable[tuple[Pixels, Region | None]]) -> FittedMap:
    """Return a given range, and what it cuts off the training images: a value outside never comes back."""
    outside, total, lowest, highest = np.zeros(2), 0, high, low
    for pixels, _ in images:
        outside += np.multiply(_shares_outside(pixels, low, high), pixels.size)
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


def _shares_outside(pixels: Pixels, low: float, high: float) -> tuple[float, float]:
    below, above = (float(np.count_nonzero(outside)) / max(1, pixels.size) for outside in (pixels < low, pixels > high))
    return below, above


def _unsigned(dtype: np.dtype[Any]) -> UnsignedType | None:
    names: tuple[UnsignedType, ...] = get_args(UnsignedType)
    return next((name for name in names if name == dtype.name), None)


def _with_regions(
    images: Iterable[Pixels | tuple[Pixels, Region | None]], modality: str
) -> Iterator[tuple[Pixels, Region | None]]:
    for number, item in enumerate(images, 1):
        pixels, region = item if isinstance(item, tuple) else (item, None)
        if region is not None and not np.any(region):
            raise UserError(f"The region of training image {number} of {modality} is empty; give it another mask")
        yield pixels, region


def _own_range(pixels: Pixels, region: Region | None, how: IntensitySettings | FittedMap) -> tuple[float, float]:
    inside = pixels if region is None else values_inside(pixels, region, foreground=False)
    foreground = how.foreground and region is None
    return percentile_range(inside, how.percentiles, foreground=foreground, anchor_zero=how.anchor_zero)


def _bounds(scale: tuple[float, float], limits: tuple[float, float]) -> tuple[float, float] | None:
    """Return the values at −1 and +1 from centre and deviation; None where float64 cannot tell them apart."""
    low, high = (scale[0] + limit * scale[1] for limit in limits)
    return (low, high) if high > low else None


def _levels(standard: npt.ArrayLike, limits: tuple[float, float]) -> npt.NDArray[np.float64]:
    """Standard scale → the network's, on which the limits are −1 and +1."""
    return 2.0 * (np.asarray(standard, np.float64) - limits[0]) / (limits[1] - limits[0]) - 1.0


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
        if scale is None or _bounds(scale, settings.limits or Z_LIMITS) is None:
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
    back = PiecewiseMap.through(typical, _levels(standard, limits))
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
