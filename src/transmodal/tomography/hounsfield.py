"""Between Hounsfield units and attenuation in 1/mm: HU = 1000 (μ − μ_water) / (μ_water − μ_air)."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from transmodal.errors import UserError

Pixels = NDArray[np.float32]


@dataclass(frozen=True)
class HounsfieldScale:
    """What water and air attenuate, which fixes the Hounsfield scale.

    Attributes:
        water: 1/mm; the default holds near 70 keV and is that of H. Liao et al., "ADN: artifact disentanglement
            network", IEEE Transactions on Medical Imaging 39(3), 2020 (0.192 per cm).
        air: 1/mm.
    """

    water: float = 0.0192
    air: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.air < self.water < np.inf:
            raise UserError(f"a Hounsfield scale needs 0 ≤ air < water in 1/mm, not air {self.air}, water {self.water}")
        if self.water > 1:
            raise UserError(
                f"water attenuates {self.water:g} per mm: that is no unit of 1/mm; divide 1/cm by 10 and 1/m by 1000"
            )

    def to_attenuation(self, hu: Any) -> Pixels:
        """Return 1/mm for Hounsfield units, in the shape given; below −1000 HU it becomes negative."""
        step = (self.water - self.air) / 1000
        return np.asarray(hu, dtype=np.float32) * np.float32(step) + np.float32(self.water)

    def to_hounsfield(self, attenuation: Any) -> Pixels:
        """Return Hounsfield units for 1/mm, in the shape given."""
        step = (self.water - self.air) / 1000
        return (np.asarray(attenuation, dtype=np.float32) - np.float32(self.water)) / np.float32(step)


LODOPAB = HounsfieldScale(water=0.02, air=0.00002)
"""The constants of J. Leuschner et al., "LoDoPaB-CT, a benchmark dataset for low-dose computed tomography
reconstruction", Scientific Data 8, 2021: 20 and 0.02 per metre."""
