"""Make water read right: a polynomial of the line integral, fitted to what a spectrum gives behind water.

G. T. Herman, "Correction for beam hardening in computed tomography", Physics in Medicine and Biology 24, 1979; cubic
and from 0 to 500 mm as in H. Liao et al., "ADN: artifact disentanglement network", IEEE Transactions on Medical
Imaging 39(3), 2020. Bone keeps its dark bands.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from transmodal.errors import UserError
from transmodal.tomography.polychromatic import Response, Tissues


@dataclass(frozen=True)
class WaterCorrection:
    """A polynomial without constant term.

    Attributes:
        coefficients: of p, p², …
    """

    coefficients: tuple[float, ...]

    def apply(self, line_integrals: NDArray[Any]) -> NDArray[np.float32]:
        """Return line integrals, any shape, as a ray of the reference energy would have had in water."""
        values = np.asarray(line_integrals, dtype=np.float32)
        corrected = np.zeros_like(values)
        for coefficient in reversed(self.coefficients):
            corrected = (corrected + np.float32(coefficient)) * values
        return corrected


def water_readings(
    response: Response, tissues: Tissues, thickness_mm: NDArray[np.float64], channel: int = 0
) -> NDArray[np.float64]:
    """Return the line integrals that a channel reads behind water, (thicknesses,)."""
    water = tissues.coefficients("water", response.energies)
    transmission = np.exp(-thickness_mm[:, None] * water) @ response.weights[channel]
    return -np.log(transmission)


def fit_water_correction(
    response: Response, tissues: Tissues, *, channel: int = 0, longest_mm: float = 500.0, degree: int = 3
) -> WaterCorrection:
    """Fit the correction by least squares over thicknesses of water.

    Args:
        response: what the detector sees.
        tissues: for the value that water shall have.
        channel: of the response.
        longest_mm: of water; a body beyond it is corrected wrongly, and a mouse better with 50 than with 500.
        degree: of the polynomial.

    Raises:
        UserError: a length that is not above 0, a degree outside 1…8.
    """
    if not longest_mm > 0 or not 1 <= degree <= 8:
        raise UserError(f"water correction over {longest_mm:g} mm by degree {degree}: above 0 mm and degree 1 to 8")
    thickness = np.linspace(0.0, longest_mm, 1001)
    read = water_readings(response, tissues, thickness, channel)
    powers = read[:, None] ** np.arange(1, degree + 1)
    # Columns of equal length keep the least squares well conditioned.
    lengths = np.linalg.norm(powers, axis=0)
    found = np.linalg.lstsq(powers / lengths, thickness * tissues.scale.water, rcond=None)[0] / lengths
    return WaterCorrection(tuple(float(value) for value in found))


def calibration(response: Response, tissues: Tissues, thickness_mm: float, channel: int = 0) -> WaterCorrection:
    """Return the one factor that makes a given thickness of water read right."""
    read = float(water_readings(response, tissues, np.asarray([thickness_mm]), channel)[0])
    return WaterCorrection((thickness_mm * tissues.scale.water / read,))
