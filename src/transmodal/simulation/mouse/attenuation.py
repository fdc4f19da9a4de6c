"""Mass attenuation coefficients, a tungsten spectrum and a caesium iodide detector for 10 to 60 keV.

The coefficients are tabulated approximate values at seven energies, close to the photon tables that national standards
institutes publish (total attenuation with coherent scattering), interpolated log-log between the nodes and split at
the K edges of iodine and caesium. They are meant for plausible contrast, not for dosimetry. The spectrum is Kramers'
law I(E) ~ (kVp - E) per energy (photons: divided by E) behind an aluminium filter, with the tungsten L lines left out
because 0.5 mm of aluminium and more absorb them.
"""

import numpy as np
from numpy.typing import NDArray

_NODES_KEV = np.array([10.0, 15.0, 20.0, 30.0, 40.0, 50.0, 60.0])

# cm²/g at the nodes above; approximate tabulated values, materials as in the ICRU-44 compositions where one exists.
_MASS_ATTENUATION: dict[str, tuple[float, ...]] = {
    "water": (5.329, 1.673, 0.8096, 0.3756, 0.2683, 0.2269, 0.2059),
    "soft": (5.379, 1.699, 0.8230, 0.3790, 0.2688, 0.2264, 0.2048),
    "adipose": (3.268, 1.083, 0.5677, 0.3063, 0.2396, 0.2123, 0.1974),
    "bone": (28.51, 9.032, 4.001, 1.331, 0.6655, 0.4242, 0.3148),
    "lung": (5.459, 1.721, 0.8316, 0.3815, 0.2699, 0.2270, 0.2053),
    "air": (5.120, 1.614, 0.7779, 0.3538, 0.2485, 0.2080, 0.1875),
    "acrylic": (3.357, 1.101, 0.5714, 0.3032, 0.2350, 0.2074, 0.1924),
    "polyethylene": (2.088, 0.7452, 0.4315, 0.2706, 0.2275, 0.2084, 0.1970),
    "plastic": (2.270, 0.7900, 0.4450, 0.2710, 0.2250, 0.2050, 0.1925),  # ABS, near polystyrene
    "aluminium": (26.23, 7.955, 3.441, 1.128, 0.5685, 0.3681, 0.2778),
}

DENSITY: dict[str, float] = {
    "water": 1.0,
    "soft": 1.06,
    "adipose": 0.95,
    "bone": 1.85,
    "lung": 0.27,
    "air": 0.0012,
    "acrylic": 1.19,
    "polyethylene": 0.94,
    "plastic": 1.05,
    "aluminium": 2.70,
}
"""Mass density in g/cm³; bone is a mouse's cortical bone, a little below man's 1.92; lung is inflated."""

# Caesium iodide: energy in keV and cm²/g, with both K edges as double nodes.
_CSI_KEV = np.array([10.0, 15.0, 20.0, 30.0, 33.16, 33.18, 35.97, 35.99, 40.0, 50.0, 60.0])
_CSI = np.array([171.0, 57.0, 26.7, 9.05, 6.92, 21.2, 17.2, 30.3, 23.0, 12.9, 7.92])

ENERGIES_KEV: NDArray[np.float64] = np.arange(10.0, 61.0, 1.0)
"""The energy grid of spectra made here, in keV."""


def linear_attenuation(material: str, energy_kev: NDArray[np.float64] | float) -> NDArray[np.float64]:
    """Linear attenuation coefficient of a material at its density.

    Arguments: `material`, a key of `DENSITY`; `energy_kev`, photon energies in keV, 10 to 60.
    Returns the coefficients in 1/mm, shaped like `energy_kev`.
    Raises ValueError for an unknown material or an energy outside the table.
    Source: tabulated approximate values (see the module), log-log interpolation.
    """
    if material not in _MASS_ATTENUATION:
        raise ValueError(f"unknown material {material!r}; known: {', '.join(sorted(_MASS_ATTENUATION))}")
    energy = np.asarray(energy_kev, dtype=np.float64)
    if np.any(energy < _NODES_KEV[0]) or np.any(energy > _NODES_KEV[-1]):
        raise ValueError("photon energies must lie within 10 to 60 keV, where the table is")
    values = np.log(np.array(_MASS_ATTENUATION[material]))
    mass = np.exp(np.interp(np.log(energy), np.log(_NODES_KEV), values))
    return mass * DENSITY[material] / 10.0


def tungsten_spectrum(peak_kilovolt: float, aluminium_mm: float) -> NDArray[np.float64]:
    """Photons per keV on `ENERGIES_KEV` of a tungsten tube behind aluminium, normalised to one photon.

    Arguments: `peak_kilovolt`, tube voltage in kV, above 11 and at most 60; `aluminium_mm`, filter in mm, from 0.
    Returns photon fractions that sum to one. Raises ValueError for a voltage outside the range.
    Source: Kramers' law for a thick target, Beer-Lambert in the filter; no characteristic lines.
    """
    if not 11.0 < peak_kilovolt <= 60.0:
        raise ValueError(f"tube voltage {peak_kilovolt} kV is outside 11 to 60 kV")
    photons = np.clip(peak_kilovolt / ENERGIES_KEV - 1.0, 0.0, None)
    photons *= np.exp(-linear_attenuation("aluminium", ENERGIES_KEV) * aluminium_mm)
    return photons / photons.sum()


def caesium_iodide_response(thickness_mm: float) -> NDArray[np.float64]:
    """Energy that an energy-integrating caesium iodide screen keeps of one photon, in keV, on `ENERGIES_KEV`.

    Arguments: `thickness_mm`, screen thickness in mm (packing as solid, 4.51 g/cm³).
    Returns E (1 - exp(-mu t)); fluorescence escape is neglected.
    Source: tabulated approximate values with both K edges.
    """
    mass = np.exp(np.interp(np.log(ENERGIES_KEV), np.log(_CSI_KEV), np.log(_CSI)))
    return ENERGIES_KEV * (1.0 - np.exp(-mass * 4.51 * thickness_mm / 10.0))
