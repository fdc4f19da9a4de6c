"""Light that spreads in the scintillator, a focal spot that is no point: each bin reads some of its neighbours."""

from dataclasses import replace
from typing import Any, ClassVar, Literal

import numpy as np
from pydantic import Field
from scipy.ndimage import gaussian_filter1d

from transmodal.tomography.degradations.degradation import Degradation, Reading

FWHM_PER_SIGMA = 2.0 * np.sqrt(2.0 * np.log(2.0))


class DetectorBlur(Degradation):
    """Blur the transmitted intensities along the bins with a Gaussian, before they are counted."""

    kind: Literal["detector-blur"] = "detector-blur"
    order: ClassVar[int] = 40
    fwhm_mm: float = Field(gt=0.0, description="full width at half maximum, on the detector")

    def describe(self) -> str:
        """Say in one sentence, with numbers, what it does."""
        return f"The detector blurred by {self.fwhm_mm:g} mm (full width at half maximum)."

    def read(self, reading: Reading, random: np.random.Generator) -> tuple[Reading, dict[str, Any]]:
        """Return the blurred transmissions."""
        bins = self.fwhm_mm / FWHM_PER_SIGMA / reading.beam.pitch
        blurred = gaussian_filter1d(reading.transmission, bins, axis=-1, mode="nearest")
        return replace(reading, transmission=blurred), {}
