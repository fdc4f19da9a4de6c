"""Reversible intensity maps: from a file's own units to [-1, 1] for a network, and back.

A map is *described* by `IntensitySettings` (in a recipe), *fitted* once, on training subjects only, into a `FittedMap`
(stored in the translator's card), and *made concrete* for one image as a `LinearMap`.
"""

from collections.abc import Iterable
from math import isfinite
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field, model_validator

from transmodal.errors import UserError

UnsignedType = Literal["uint8", "uint16", "uint32", "uint64"]
PERCENTILE_SAMPLE = 200_000  # values drawn from one image; a percentile of more does not change visibly


class LinearMap(BaseModel):
    """low → −1 and high → +1, in the image's own unit; values outside are clipped on the way in.

    Clipping is the only thing that `invert` cannot undo.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    low: float
    high: float

    @model_validator(mode="after")
    def _has_extent(self) -> "LinearMap":
        _require_extent(self.low, self.high)
        return self

    def apply(self, pixels: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
        """Return float32 values in [-1, 1]."""
        # A small difference of large numbers is lost in float32; 16-bit integers and float32 files lose nothing.
        exact = pixels.dtype.itemsize <= 2 or pixels.dtype == np.float32
        scaled = np.subtract(pixels, self.low, dtype=np.float32 if exact else np.float64)
        scaled *= 2.0 / (self.high - self.low)
        scaled -= 1.0
        return np.clip(scaled, -1.0, 1.0, out=scaled).astype(np.float32, copy=False)

    def invert(self, values: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
        """Return values in the image's own unit (float64: 16-bit and HU values survive the way back)."""
        return (np.asarray(values, np.float64) + 1.0) * (0.5 * (self.high - self.low)) + self.low


class IntensitySettings(BaseModel):
    """How the values of one modality are brought to [-1, 1].

    map:
        type-range            0…255 or 0…65535, by the integer type of the files
        fixed                 `low` and `high` in the image's unit (HU, counts)
        training-percentiles  one range for all, fitted on the training images
        image-percentiles     each image by its own percentiles (MRI, which has no absolute unit); the way back uses
                              the median range of the training images
        auto                  type-range for 8-bit files, training-percentiles 0 to 100 otherwise
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    map: Literal["auto", "type-range", "fixed", "training-percentiles", "image-percentiles"] = "auto"
    low: float | None = Field(None, description="lower bound in the image's unit, for map: fixed")
    high: float | None = Field(None, description="upper bound in the image's unit, for map: fixed")
    percentiles: tuple[float, float] = Field((0.0, 100.0), description="for the two percentile maps")
    foreground: bool = Field(False, description="take percentiles among non-zero values only (skull-stripped MRI)")
    anchor_zero: bool = Field(False, description="the lower end is 0, so that a background of 0 comes back as 0")

    @model_validator(mode="after")
    def _is_complete(self) -> "IntensitySettings":
        if self.map == "fixed":
            if self.low is None or self.high is None:
                raise ValueError("map: fixed needs low and high")
            _require_extent(self.low, self.high)
        if self.map != "fixed" and (self.low is not None or self.high is not None):
            raise ValueError(f"low and high belong to map: fixed, not to {self.map}")
        lower, upper = self.percentiles
        if not 0 <= lower < upper <= 100:
            raise ValueError("percentiles must rise within 0 to 100")
        return self


class FittedMap(BaseModel):
    """An intensity map ready for use, with the range that belongs to the way back."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["one-range", "image-percentiles"]
    low: float
    high: float
    percentiles: tuple[float, float] = (0.0, 100.0)
    foreground: bool = False
    anchor_zero: bool = False
    dtype: UnsignedType | None = Field(
        None, description="the integer type whose values alone the range fits; None: any type in the same unit"
    )
    origin: str = Field(description="where the range comes from, in words")

    @model_validator(mode="after")
    def _has_extent(self) -> "FittedMap":
        _require_extent(self.low, self.high)
        return self

    def for_image(self, pixels: npt.NDArray[Any]) -> LinearMap:
        """Return the map of one image; for `image-percentiles` it depends on the image's own values."""
        if self.kind == "one-range":
            return self.inverse
        low, high = percentile_range(pixels, self.percentiles, foreground=self.foreground, anchor_zero=self.anchor_zero)
        return LinearMap(low=low, high=high if high > low else low + 1.0)

    @property
    def inverse(self) -> LinearMap:
        """The map that takes a network's output back to units."""
        return LinearMap(low=self.low, high=self.high)


def percentile_range(
    pixels: npt.NDArray[Any], percentiles: tuple[float, float], *, foreground: bool, anchor_zero: bool = False
) -> tuple[float, float]:
    """Return two percentiles of an image's values, exact for 0 and 100, from a random subsample in between.

    The subsample is the same for every image of a size. An image without a non-zero value has the range (0, 0).
    """
    values = np.asarray(pixels).reshape(-1)
    if foreground:
        values = values[values != 0]
    if values.size == 0:
        return 0.0, 0.0
    lower, upper = percentiles
    sample = values
    if values.size > PERCENTILE_SAMPLE and (lower > 0 or upper < 100):
        # At random, because an even step can fall in with the rows, or see one colour of three.
        sample = values[np.random.default_rng(0).integers(0, values.size, PERCENTILE_SAMPLE)]
    low = values.min() if lower == 0 else np.percentile(sample, lower)
    high = values.max() if upper == 100 else np.percentile(sample, upper)
    return 0.0 if anchor_zero else float(low), float(high)


def type_range(dtype: np.dtype[Any]) -> tuple[float, float]:
    """Return the range of an unsigned integer type.

    Raises:
        UserError: the type has no natural range (floats, signed integers).
    """
    if dtype.kind != "u":
        raise UserError(f"Pixels of type {dtype} have no natural range; give map: fixed with low and high")
    return 0.0, float(np.iinfo(dtype).max)


def fit(settings: IntensitySettings, training_images: Iterable[npt.NDArray[Any]], modality: str) -> FittedMap:
    """Fit one modality's map on the images of the training subjects.

    Args:
        settings: which map.
        training_images: pixel arrays in their own units; read once, in order, none kept.
        modality: for messages.

    Raises:
        UserError: no training image, all values equal, or a type without a range.
    """
    if settings.map == "fixed":
        assert settings.low is not None and settings.high is not None
        return FittedMap(kind="one-range", low=settings.low, high=settings.high, origin="given in the recipe")
    dtypes: set[np.dtype[Any]] = set()
    lows, highs = [], []
    for pixels in training_images:
        dtypes.add(pixels.dtype)
        if settings.foreground and not pixels.any():
            continue  # an empty image says nothing about the range of what is not empty
        low, high = percentile_range(
            pixels, settings.percentiles, foreground=settings.foreground, anchor_zero=settings.anchor_zero
        )
        lows.append(low)
        highs.append(high)
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
    if settings.map == "image-percentiles":
        low, high = float(np.median(lows)), float(np.median(highs))
        kind: Literal["one-range", "image-percentiles"] = "image-percentiles"
        origin = f"median over {len(lows)} training images of the percentiles {settings.percentiles}"
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
        origin=origin,
    )


def _unsigned(dtype: np.dtype[Any]) -> UnsignedType | None:
    names: tuple[UnsignedType, ...] = get_args(UnsignedType)
    return next((name for name in names if name == dtype.name), None)


def _require_extent(low: float, high: float) -> None:
    if not (isfinite(low) and isfinite(high) and high > low):
        raise ValueError(f"a range needs finite bounds, high ({high:g}) above low ({low:g})")
