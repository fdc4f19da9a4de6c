"""Light that spreads in the scintillator, a focal spot that is no point: each bin reads some of its neighbours."""

from dataclasses import replace
from typing import Any, ClassVar, Literal

import numpy as np
from pydantic import Field
from scipy.ndimage import gaussian_filter1d

from transmodal.errors import UserError
from transmodal.tomography.degradations.degradation import Degradation, PlaneBeam, Reading

FWHM_PER_SIGMA = 2.0 * np.sqrt(2.0 * np.log(2.0))


def check_width(kind: str, fwhm_mm: float, beam: PlaneBeam, times: float) -> None:
    """Refuse a Gaussian wider than so many times the detector.

    Raises:
        UserError: with both widths.
    """
    width = beam.bins * beam.pitch
    if fwhm_mm > times * width:
        limit = "its width" if times == 1 else f"{times:g} times its width"
        raise UserError(
            f"{kind}: fwhm_mm {fwhm_mm:g} on a detector of {width:.4g} mm; give {limit} at most, {times * width:.4g}"
        )


class DetectorBlur(Degradation):
    """Blur the transmitted intensities along the bins with a Gaussian, before they are counted."""

    kind: Literal["detector-blur"] = "detector-blur"
    order: ClassVar[int] = 40
    fwhm_mm: float = Field(gt=0.0, description="full width at half maximum, on the detector")

    def describe(self) -> str:
        """Say in one sentence, with numbers, what it does."""
        return f"The detector blurred by {self.fwhm_mm:g} mm (full width at half maximum)."

    def acquire(self, beam: PlaneBeam) -> PlaneBeam:
        """Return the beam as it is.

        Raises:
            UserError: the blur is wider than the detector.
        """
        check_width(self.kind, self.fwhm_mm, beam, 1.0)
        return beam

    def read(self, reading: Reading, random: np.random.Generator) -> tuple[Reading, dict[str, Any]]:
        """Return the blurred transmissions."""
        bins = self.fwhm_mm / FWHM_PER_SIGMA / reading.beam.pitch
        blurred = gaussian_filter1d(reading.transmission, bins, axis=-1, mode="nearest")
        return replace(reading, transmission=blurred), {}
