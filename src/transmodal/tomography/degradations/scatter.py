"""Scattered photons: a smooth light over the projection that makes dense regions too bright, thus too low in HU.

I = I_primary + S, along the bins, with

    constant   S = k
    gaussian   S = k·(I_primary ∗ Gaussian)
    forward    S = k·((I_primary·p) ∗ Gaussian), p = −ln I_primary: the object scatters, not the air beside it (B.
               Ohnesorge et al., "Efficient object scatter correction algorithm for third and fourth generation CT
               scanners", European Radiology 9, 1999)

Simple forms, no vendor's model.
"""

from dataclasses import replace
from typing import Any, ClassVar, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator
from scipy.ndimage import gaussian_filter1d

from transmodal.tomography.degradations.degradation import Degradation, PlaneBeam, Reading
from transmodal.tomography.degradations.detector import FWHM_PER_SIGMA, check_width

_DARK = 1e-9
_SHADOW = 0.9  # a ray with less transmission has passed the object
_WIDEST = 10.0  # times the detector's width: beyond, a Gaussian is a constant, and takes ever longer


class Scatter(Degradation):
    """Add scatter, by its strength or by the ratio of scatter to primary that it shall have behind the object."""

    kind: Literal["scatter"] = "scatter"
    order: ClassVar[int] = 41
    shape: Literal["constant", "gaussian", "forward"] = "gaussian"
    ratio: float | None = Field(None, gt=0.0, le=20.0, description="scatter to primary, mean behind the object; or:")
    amplitude: float | None = Field(None, gt=0.0, le=20.0, description="k; a constant's share of the open beam")
    fwhm_mm: float = Field(200.0, gt=0.0, description="of the Gaussian, on the detector")

    @model_validator(mode="after")
    def _one_of_two(self) -> Self:
        if (self.ratio is None) == (self.amplitude is None):
            raise ValueError("scatter needs either ratio (of scatter to primary) or amplitude")
        return self

    def describe(self) -> str:
        """Say in one sentence, with numbers, what it does."""
        light = "Constant" if self.shape == "constant" else f"{self.shape.capitalize()} ({self.fwhm_mm:g} mm wide)"
        if self.ratio is not None:
            return f"{light} scatter of {self.ratio:g} times the primary behind the object was added."
        return f"{light} scatter of amplitude {self.amplitude:g} was added."

    def pattern(self, transmission: NDArray[np.float32], pitch: float) -> NDArray[np.float32]:
        """Return the scatter of unit amplitude for a primary; pitch in mm on the detector."""
        if self.shape == "constant":
            return np.ones_like(transmission)
        light = transmission
        if self.shape == "forward":
            light = -transmission * np.log(np.clip(transmission, _DARK, 1.0))
        sigma = self.fwhm_mm / FWHM_PER_SIGMA / pitch
        made: NDArray[np.float32] = gaussian_filter1d(light, sigma, axis=-1, mode="nearest")
        return made

    def acquire(self, beam: PlaneBeam) -> PlaneBeam:
        """Return the beam as it is.

        Raises:
            UserError: the Gaussian is far wider than the detector.
        """
        if self.shape != "constant":
            check_width(self.kind, self.fwhm_mm, beam, _WIDEST)
        return beam

    def read(self, reading: Reading, random: np.random.Generator) -> tuple[Reading, dict[str, Any]]:
        """Return primary and scatter together; note for each slice the ratios found behind the object and k."""
        primary = reading.transmission
        scatter = self.pattern(primary, reading.beam.pitch)
        amplitudes, ratios, largest = [], [], []
        for index in range(primary.shape[1]):  # each slice is an object of its own
            before, light = primary[:, index], scatter[:, index]
            shadow = before < _SHADOW
            if not shadow.any():
                shadow = np.ones_like(shadow)
            of_unit = float(light[shadow].mean(dtype=np.float64) / before[shadow].mean(dtype=np.float64))
            amplitude = self.ratio / of_unit if self.ratio is not None else float(self.amplitude or 0.0)
            light *= np.float32(amplitude)
            amplitudes.append(amplitude)
            ratios.append(amplitude * of_unit)
            largest.append(float((light / np.maximum(before, _DARK)).max()))
        notes = {"amplitude": amplitudes, "scatter_to_primary": ratios, "largest_scatter_to_primary": largest}
        return replace(reading, transmission=primary + scatter), notes
