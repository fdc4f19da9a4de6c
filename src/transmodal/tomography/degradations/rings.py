"""Bins that answer too strongly, too weakly or not at all: stripes in the sinogram, rings in the image."""

from dataclasses import replace
from typing import Any, ClassVar, Literal, Self

import numpy as np
from pydantic import Field, model_validator

from transmodal.tomography.degradations.degradation import Degradation, Reading
from transmodal.tomography.raw import interpolate_bad_bins

_LEAST_GAIN = 0.05


class Rings(Degradation):
    """Multiply each bin by its own gain N(1, σ), the same in all views: p becomes p − ln g."""

    kind: Literal["rings"] = "rings"
    order: ClassVar[int] = 43
    gain_sd: float = Field(0.02, ge=0.0, le=0.5, description="σ of the gains")
    dead_fraction: float = Field(0.0, ge=0.0, le=0.5, description="of the bins that read nothing")
    interpolate_dead: bool = Field(True, description="dead bins are filled in from their neighbours, as scanners do")

    @model_validator(mode="after")
    def _does_something(self) -> Self:
        if self.gain_sd == 0 and self.dead_fraction == 0:
            raise ValueError("rings: neither gain_sd nor dead_fraction is above 0")
        return self

    def describe(self) -> str:
        """Say in one sentence, with numbers, what it does."""
        filled = ", filled in from their neighbours" if self.interpolate_dead else ""
        dead = f", {100 * self.dead_fraction:.3g} % of the bins were dead{filled}" if self.dead_fraction else ""
        return f"Gains of the bins differed by {100 * self.gain_sd:.3g} % (standard deviation){dead}."

    def read(self, reading: Reading, random: np.random.Generator) -> tuple[Reading, dict[str, Any]]:
        """Return the readings behind those gains; note the dead bins of each slice."""
        channels, slices, _, bins = reading.transmission.shape
        gains = np.maximum(random.normal(1.0, self.gain_sd, (channels, slices, 1, bins)), _LEAST_GAIN)
        dead = np.zeros((slices, bins), dtype=bool)  # in every channel
        count = round(self.dead_fraction * bins)
        for row in dead:
            row[random.choice(bins, count, replace=False)] = True
        read = reading.transmission * gains.astype(np.float32)
        for index, row in enumerate(dead):
            if not row.any():
                continue
            if self.interpolate_dead and not row.all():
                read[:, index] = interpolate_bad_bins(read[:, index], row)
            else:
                read[:, index][..., row] = 0.0
        notes = {"dead_bins": [np.flatnonzero(row).tolist() for row in dead]} if count else {}
        return replace(reading, transmission=read), notes
