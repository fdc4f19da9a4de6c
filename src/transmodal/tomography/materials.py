"""How strongly materials attenuate X-rays of 10 to 150 keV.

The numbers stand in `attenuation_table`. Between them the logarithm of the coefficient is a cubic spline of the
logarithm of the energy, one for each stretch between absorption edges: within 0.1 % of the source above 20 keV.
"""

from functools import cache

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.interpolate import CubicSpline, PPoly

from transmodal.errors import UserError
from transmodal.tomography.attenuation_table import MASS_ATTENUATION

LOWEST_KEV, HIGHEST_KEV = 10.0, 150.0

DENSITIES: dict[str, float] = {name: entry[0] for name, entry in MASS_ATTENUATION.items()}
"""g/cm³ of every known material."""

_CM_PER_MM = 0.1


def mass_attenuation(material: str, energies: ArrayLike) -> NDArray[np.float64]:
    """Return the total mass attenuation coefficient μ/ρ, coherent scattering included.

    Args:
        material: a key of `DENSITIES`.
        energies: keV, 10 to 150.

    Returns:
        cm²/g, in the shape of `energies`.

    Raises:
        UserError: an unknown material, or energies outside the table.
    """
    if material not in MASS_ATTENUATION:
        raise UserError(f"unknown material {material!r}; known are {', '.join(DENSITIES)}")
    wanted = np.asarray(energies, dtype=np.float64)
    if wanted.size and not (wanted.min() >= LOWEST_KEV and wanted.max() <= HIGHEST_KEV):
        raise UserError(
            f"{material}: attenuation is known from {LOWEST_KEV:g} to {HIGHEST_KEV:g} keV, not from {wanted.min():g} "
            f"to {wanted.max():g}; are these eV or MeV?"
        )
    edges, pieces = _splines(material)
    logarithm = np.log(wanted)
    found = np.empty_like(logarithm)
    stretch = np.searchsorted(edges, wanted)
    for index, piece in enumerate(pieces):
        inside = stretch == index
        found[inside] = piece(logarithm[inside])
    return np.exp(found)


def attenuation(material: str, energies: ArrayLike, density: float | None = None) -> NDArray[np.float64]:
    """Return the linear attenuation coefficient μ.

    Args:
        material: a key of `DENSITIES`.
        energies: keV, 10 to 150.
        density: g/cm³; by default the material's own.

    Returns:
        1/mm, in the shape of `energies`.

    Raises:
        UserError: as `mass_attenuation`.
    """
    coefficients = mass_attenuation(material, energies)
    return coefficients * (DENSITIES[material] if density is None else density) * _CM_PER_MM


@cache
def _splines(material: str) -> tuple[NDArray[np.float64], tuple[PPoly, ...]]:
    """Return the absorption edges in keV and one spline for each stretch between them."""
    _, edges, rows = MASS_ATTENUATION[material]
    energies, coefficients = np.asarray(rows).T
    bounds = np.asarray(edges)
    stretch = np.searchsorted(bounds, energies)
    pieces = []
    for index in range(len(edges) + 1):
        logarithm, value = np.log(energies[stretch == index]), np.log(coefficients[stretch == index])
        if len(logarithm) >= 4:
            pieces.append(CubicSpline(logarithm, value))
        else:  # between L edges: two or three numbers carry a straight line each
            pieces.append(PPoly(np.stack([np.diff(value) / np.diff(logarithm), value[:-1]]), logarithm))
    return bounds, tuple(pieces)
