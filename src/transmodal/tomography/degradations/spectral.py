"""A photon-counting detector with thresholds: one sinogram for each window of energies.

From them two materials (or more) are decomposed ray by ray and images of a single energy are made; see
`material_decomposition`.
"""

from itertools import pairwise
from typing import Literal, Self

import numpy as np
from pydantic import Field, model_validator

from transmodal.tomography.degradations.polychromatic import Polychromatic
from transmodal.tomography.materials import DENSITIES, HIGHEST_KEV, LOWEST_KEV
from transmodal.tomography.polychromatic import Response
from transmodal.tomography.spectrum import Detector


class SpectralBins(Polychromatic):
    """Count the photons of each window by itself: an ideal detector, without charge sharing or escape."""

    kind: Literal["spectral-bins"] = "spectral-bins"
    detector: Detector = "counting"
    thresholds_kev: tuple[float, ...] = Field((20.0, 65.0), min_length=1, description="where each window begins")
    decomposition: Literal["maximum-likelihood", "polynomial", "none"] = "maximum-likelihood"
    basis: tuple[str, ...] = Field(("water", "cortical_bone"), min_length=1, description="materials decomposed into")
    mono_kev: tuple[float, ...] = Field((70.0,), min_length=1, description="energies of the virtual images")
    water_correction: bool = Field(True, description="of the images of the windows themselves")

    @model_validator(mode="after")
    def _possible(self) -> Self:
        edges = (*self.thresholds_kev, self.tube.kvp)
        if edges[0] < LOWEST_KEV or any(lower >= upper for lower, upper in pairwise(edges)):
            raise ValueError(
                f"thresholds_kev {list(self.thresholds_kev)} must rise from {LOWEST_KEV:g} keV at least and stay below "
                f"the tube's {self.tube.kvp:g} kV"
            )
        if self.detector != "counting":
            raise ValueError("spectral-bins needs a counting detector")
        if unknown := [name for name in self.basis if name not in DENSITIES]:
            raise ValueError(f"unknown basis material {', '.join(unknown)}; known are {', '.join(DENSITIES)}")
        if len(set(self.basis)) < len(self.basis):
            raise ValueError("basis names a material twice")
        if self.decomposition != "none" and len(self.basis) > len(self.thresholds_kev):
            raise ValueError(f"{len(self.basis)} materials need as many windows, not {len(self.thresholds_kev)}")
        if any(not LOWEST_KEV <= energy <= HIGHEST_KEV for energy in self.mono_kev):
            raise ValueError(f"mono_kev must lie from {LOWEST_KEV:g} to {HIGHEST_KEV:g}")
        return self

    def windows(self) -> list[str]:
        """Return the names of the windows: "20-65 keV"."""
        edges = (*self.thresholds_kev, self.tube.kvp)
        return [f"{lower:g}-{upper:g} keV" for lower, upper in pairwise(edges)]

    def describe(self) -> str:
        """Say in one sentence, with numbers, what it does."""
        then = ""
        if self.decomposition != "none":
            method = {"maximum-likelihood": "maximum likelihood", "polynomial": "polynomials"}[self.decomposition]
            mono = ", ".join(f"{energy:g}" for energy in self.mono_kev)
            then = f", decomposed into {' and '.join(self.basis)} by {method}, shown at {mono} keV"
        return f"Photons of {self.tube.describe()} were counted in windows of {' and '.join(self.windows())}{then}."

    def response(self) -> Response:
        """Return what each window sees of the open beam."""
        spectrum = self.tube.spectrum()
        edges = (*self.thresholds_kev, self.tube.kvp + 1)
        counted = np.stack(
            [
                np.where((spectrum.energies >= lower) & (spectrum.energies < upper), spectrum.photons, 0.0)
                for lower, upper in pairwise(edges)
            ]
        )
        shares = counted.sum(axis=1)
        return Response(spectrum.energies, counted / shares[:, None], shares / shares.sum())
