"""How a recipe says that the values of a modality are brought to [-1, 1]: which map, and its settings.

`transmodal.images.intensity_fitting.fit` makes a `FittedMap` of it.
"""

from typing import Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, model_validator

from transmodal.images.intensity_maps import require_extent
from transmodal.images.intensity_statistics import Contrast

WIDEST_LIMIT = 1e4  # standard deviations, or places on the standard scale


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
