"""Beam hardening: soft photons are absorbed first, so that p grows less than the path. Cups, and dark bands by bone."""

from typing import Literal

from transmodal.tomography.degradations.polychromatic import Polychromatic


class BeamHardening(Polychromatic):
    """Pass a tube's whole spectrum through water and bone instead of one energy."""

    kind: Literal["beam-hardening"] = "beam-hardening"

    def describe(self) -> str:
        """Say in one sentence, with numbers, what it does."""
        detector = "an energy-integrating" if self.detector == "integrating" else "a photon-counting"
        return (
            f"Rays of {self.tube.describe()} passed water and bone (split from {self.water_hu:g} to "
            f"{self.bone_hu:g} HU) to {detector} detector{self._corrected()}."
        )
