"""The concrete maps of one image: image's unit → [-1, 1] for a network, and back.

A `LinearMap` or a `PiecewiseMap` is what `transmodal.images.intensity.FittedMap.for_image` returns: both have `low`,
`high`, `apply` and `invert`, both rise strictly between `low` and `high`, and both clip what lies outside.
"""

from math import isfinite
from typing import Any

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field, model_validator

SMALLEST_STEP = 1e-6  # of a map's extent: what float32 still tells apart in [-1, 1], with room to spare


class LinearMap(BaseModel):
    """low → −1 and high → +1, in the image's own unit; values outside are clipped on the way in.

    Clipping is the only thing that `invert` cannot undo.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    low: float
    high: float

    @model_validator(mode="after")
    def _has_extent(self) -> "LinearMap":
        require_extent(self.low, self.high)
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


class PiecewiseMap(BaseModel):
    """A rising chain of straight pieces from `low` → −1 to `high` → +1; values outside are clipped, both ways."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    knots: tuple[float, ...] = Field(
        description="in the image's unit, strictly rising, the first `low`, the last `high`"
    )
    levels: tuple[float, ...] = Field(description="where the knots go: strictly rising from -1 to +1")

    @model_validator(mode="after")
    def _rises(self) -> "PiecewiseMap":
        knots, levels = np.asarray(self.knots), np.asarray(self.levels)
        if len(knots) != len(levels) or len(knots) < 2:
            raise ValueError("a piecewise map needs as many levels as knots, and at least two")
        if not (np.isfinite(knots).all() and (np.diff(knots) > 0).all() and (np.diff(levels) > 0).all()):
            raise ValueError("the knots and the levels of a piecewise map rise strictly")
        if (levels[0], levels[-1]) != (-1.0, 1.0):
            raise ValueError("the levels of a piecewise map run from -1 to +1")
        return self

    @classmethod
    def through(cls, values: npt.ArrayLike, levels: npt.ArrayLike) -> "PiecewiseMap":
        """Return the map through the points (value, level), extended linearly at both ends to ±1, or cut there.

        Args:
            values: (n,) in the image's unit, not falling.
            levels: (n,) not falling, on the scale whose −1 and +1 the network sees; they may lie outside.

        Raises:
            ValueError: the values or the levels are all (nearly) the same, so that no line passes through them.
        """
        x, y = np.asarray(values, np.float64), np.asarray(levels, np.float64)
        if y[-1] - y[0] < SMALLEST_STEP:
            raise ValueError("the levels of a piecewise map reach over next to nothing of -1 to +1")
        kept = _rising_together(x, y)
        x, y = x[kept], y[kept]
        low, high = on_chain(-1.0, y, x), on_chain(1.0, y, x)
        inside = (y > -1.0 + SMALLEST_STEP) & (y < 1.0 - SMALLEST_STEP) & (x > low) & (x < high)
        return cls(knots=(low, *x[inside].tolist(), high), levels=(-1.0, *y[inside].tolist(), 1.0))

    @property
    def low(self) -> float:
        """The value that goes to −1."""
        return self.knots[0]

    @property
    def high(self) -> float:
        """The value that goes to +1."""
        return self.knots[-1]

    def apply(self, pixels: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
        """Return float32 values in [-1, 1]."""
        return np.interp(pixels, self.knots, self.levels).astype(np.float32)

    def invert(self, values: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
        """Return values in the image's own unit, from `low` to `high`."""
        return np.asarray(np.interp(np.asarray(values, np.float64), self.levels, self.knots), np.float64)


def require_extent(low: float, high: float) -> None:
    """Raise ValueError unless both bounds are finite and high lies above low."""
    if not (isfinite(low) and isfinite(high) and high > low):
        raise ValueError(f"a range needs finite bounds, high ({high:g}) above low ({low:g})")


def bounds_at(scale: tuple[float, float], limits: tuple[float, float]) -> tuple[float, float] | None:
    """Return the values at −1 and +1 from centre and deviation; None where float64 cannot tell them apart."""
    low, high = (scale[0] + limit * scale[1] for limit in limits)
    return (low, high) if high > low else None


def levels_of(standard: npt.ArrayLike, limits: tuple[float, float]) -> npt.NDArray[np.float64]:
    """Return places on a standard scale on the network's, on which the limits are −1 and +1."""
    return 2.0 * (np.asarray(standard, np.float64) - limits[0]) / (limits[1] - limits[0]) - 1.0


def on_chain(place: float, places: npt.NDArray[np.float64], values: npt.NDArray[np.float64]) -> float:
    """Return the value at a place of the chain through (places, values), whose end pieces go on for ever.

    Raises:
        ValueError: fewer than two points are left without those that (nearly) coincide.
    """
    kept = _rising_together(places, values)
    if kept.sum() < 2:
        raise ValueError("a piecewise map needs two points that differ")
    places, values = places[kept], values[kept]
    piece = int(np.clip(np.searchsorted(places, place) - 1, 0, len(places) - 2))
    slope = (values[piece + 1] - values[piece]) / (places[piece + 1] - places[piece])
    return float(values[piece] + (place - places[piece]) * slope)


def _rising_together(x: npt.NDArray[np.float64], y: npt.NDArray[np.float64]) -> npt.NDArray[np.bool_]:
    """Return which points to keep so that both coordinates rise: the first of those that (nearly) coincide.

    1e-250 keeps slopes finite.
    """
    step_x = max(SMALLEST_STEP * (x[-1] - x[0]), 4 * np.spacing(max(np.abs(x).max(), 1e-250)))
    step_y = max(SMALLEST_STEP * (y[-1] - y[0]), 4 * np.spacing(max(np.abs(y).max(), 1e-250)))
    kept = np.zeros(len(x), np.bool_)
    kept[0], last = True, 0
    for index in range(1, len(x)):
        if x[index] - x[last] > step_x and y[index] - y[last] > step_y:
            kept[index], last = True, index
    return kept
