"""Reversible intensity maps: from a file's own units to [-1, 1] for a network, and back.

A map is *described* by `IntensitySettings` (in a recipe), *fitted* once, on training subjects only, into a `FittedMap`
(stored in the translator's card), and *made concrete* for one image as a `LinearMap` or a `PiecewiseMap`. The settings,
the fit and the concrete maps stand in `intensity_settings`, `intensity_fitting` and `intensity_maps` beside this file,
what is measured in an image in `intensity_statistics`.
"""

from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field, model_validator

from transmodal.images.intensity_maps import LinearMap, PiecewiseMap, bounds_at, levels_of, require_extent
from transmodal.images.intensity_statistics import (
    LANDMARK_PERCENTILES,
    Contrast,
    mean_and_deviation,
    nyul_landmarks,
    range_inside,
    shares_outside,
    values_inside,
    white_stripe,
)

UnsignedType = Literal["uint8", "uint16", "uint32", "uint64"]
Pixels = npt.NDArray[Any]
Region = npt.NDArray[np.bool_]
MORE_CUT, LEAST_CUT = 1.5, 1e-3  # times what was cut in training, and a share: beyond, it is worth a word


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
            low, high = range_inside(
                pixels, region, self.percentiles, foreground=self.foreground, anchor_zero=self.anchor_zero
            )
            return LinearMap(low=low, high=high if high > low else low + 1.0)
        values = values_inside(pixels, region, foreground=self.foreground)
        if self.kind == "nyul":
            landmarks = nyul_landmarks(values)
            return self.inverse if landmarks is None else self._through(landmarks)
        scale = white_stripe(values, self.contrast) if self.contrast is not None else mean_and_deviation(values)
        bounds = None if scale is None or self.limits is None else bounds_at(scale, self.limits)
        return self.inverse if bounds is None else LinearMap(low=bounds[0], high=bounds[1])

    def cuts(self, pixels: Pixels, padding: Region | None = None) -> str | None:
        """Say what a range given in the recipe cuts off an image, where it is more than it cut off in training.

        Args:
            pixels: in the image's unit.
            padding: True where a CT holds padding instead of a measurement, see `padding_of`; it is told as such.

        Returns:
            A clause for a warning; None where nothing is to be said, or the range is not a given one.
        """
        if self.cut is None:
            return None
        most_below, most_above = (MORE_CUT * known + LEAST_CUT for known in self.cut)
        below, above = shares_outside(pixels, self.low, self.high)
        clauses, measured = list[str](), pixels
        if padding is not None and below > most_below:
            padding = padding & (pixels < self.low)
            if padding.any():
                clauses.append(_told_padding(pixels, padding, self.low))
                measured = pixels[~padding]
                below -= float(padding.mean())
        clauses += [
            f"{share:.2%} of its values are {where} {end:g} and cut to it (they reach {reached:g}; in training it was "
            f"{known:.2%})"
            for share, most, known, where, end, reached in (
                (below, most_below, self.cut[0], "below", self.low, measured.min(initial=self.low)),
                (above, most_above, self.cut[1], "above", self.high, measured.max(initial=self.high)),
            )
            if share > most
        ]
        return "; ".join(clauses) or None

    @property
    def inverse(self) -> LinearMap | PiecewiseMap:
        """The map that takes a network's output back to units: that of the typical training image."""
        return self._through(self.landmarks) if self.kind == "nyul" else LinearMap(low=self.low, high=self.high)

    def _through(self, landmarks: npt.ArrayLike) -> PiecewiseMap:
        assert self.limits is not None
        return PiecewiseMap.through(landmarks, levels_of(self.standard, self.limits))


def _told_padding(pixels: Pixels, padding: Region, low: float) -> str:
    least, greatest = pixels[padding].min(), pixels[padding].max()
    values = f"{least:g}" if least == greatest else f"{least:g} to {greatest:g}"
    return f"{padding.mean():.2%} of its values are padding ({values}), taken as air ({low:g})"
