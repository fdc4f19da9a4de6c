"""A finite number of photons, and the noise of the electronics that count them."""

from dataclasses import replace
from typing import Any, ClassVar, Literal

import numpy as np
from pydantic import Field

from transmodal.tomography.degradations.degradation import Degradation, Reading


class PhotonNoise(Degradation):
    """Counts N ~ Poisson(I₀·transmission) + N(0, σ²), never below a floor, then p = −ln(N/I₀).

    For many counts the line integrals stay without bias and get the variance e^p/I₀. An integrating detector is taken
    to count as well: `photons` are then those that would have the same noise.
    """

    kind: Literal["photon-noise"] = "photon-noise"
    order: ClassVar[int] = 42
    photons: float = Field(1e5, gt=0.0, le=1e12, description="I₀, per ray in the open beam, all energies together")
    dose_divisor: float = Field(1.0, gt=0.0, description="divides the photons; source document 3 took 25")
    electronic_noise: float = Field(0.0, ge=0.0, description="σ in counts")
    floor: float = Field(0.1, gt=0.0, description="least counts: 0.1 as in LoDoPaB-CT; DeepLesion's metal study took 1")

    def describe(self) -> str:
        """Say in one sentence, with numbers, what it does."""
        dose = f" ({self.photons:g} at full dose, divided by {self.dose_divisor:g})" if self.dose_divisor != 1 else ""
        noise = f" with electronic noise of {self.electronic_noise:g} counts" if self.electronic_noise else ""
        began = self.photons / self.dose_divisor
        return f"Every ray began with {began:g} photons{dose}{noise}, at least {self.floor:g} counted."

    def read(self, reading: Reading, random: np.random.Generator) -> tuple[Reading, dict[str, Any]]:
        """Return noisy transmissions; note how many rays fell to the floor."""
        open_beam = self.photons / self.dose_divisor * reading.shares
        counts = random.poisson(reading.transmission * open_beam[:, None, None, None]).astype(np.float64)
        if self.electronic_noise:
            counts += self.electronic_noise * random.standard_normal(counts.shape)
        starved = int(np.count_nonzero(counts < self.floor))
        transmission = np.maximum(counts, self.floor) / open_beam[:, None, None, None]
        noisy = replace(reading, transmission=transmission.astype(np.float32), floor=self.floor / open_beam)
        return noisy, {"rays_at_the_floor": starved, "rays": counts.size}
