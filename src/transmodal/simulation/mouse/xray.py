"""The radiograph: Beer-Lambert over a spectrum, a blurring detector, photon and electronic noise, flat field.

Signal of one pixel: sum over energies of S(E) D(E) exp(-sum over materials of mu(E) t), with the tube's photons S, the
detector's response D and the chords t; divided by the same sum without matter and scaled so that air reads 60000.
"""

from dataclasses import dataclass
from functools import lru_cache

import cv2
import numba
import numpy as np
from numpy.typing import NDArray

from transmodal.simulation.mouse.attenuation import (
    ENERGIES_KEV,
    caesium_iodide_response,
    linear_attenuation,
    tungsten_spectrum,
)

Map = NDArray[np.float32]

AIR_LEVEL = 60000.0
"""Grey value of air without bed, of 65535."""


@dataclass(frozen=True)
class Tube:
    """Settings of the X-ray system; lengths in mm, `photons` a pixel of the published size in air."""

    peak_kilovolt: float = 35.0
    aluminium: float = 0.8
    screen: float = 0.15
    blur: float = 0.065
    photons: float = 9000.0
    electronic: float = 0.0012
    scatter: float = 0.035


@lru_cache(maxsize=16)
def _weights(tube: Tube) -> NDArray[np.float64]:
    weights = tungsten_spectrum(tube.peak_kilovolt, tube.aluminium) * caesium_iodide_response(tube.screen)
    return weights / weights.sum()


@numba.njit(cache=True, fastmath=True)
def _attenuate(lengths, coefficients, weights):  # type: ignore[no-untyped-def]
    """lengths (M, N) mm float32, coefficients (M, E) 1/mm, weights (E,) -> (N,) transmission."""
    materials, pixels = lengths.shape
    result = np.empty(pixels, np.float32)
    for pixel in range(pixels):
        total = np.float32(0.0)
        for energy in range(len(weights)):
            exponent = np.float32(0.0)
            for material in range(materials):
                exponent += coefficients[material, energy] * lengths[material, pixel]
            total += weights[energy] * np.exp(-exponent)
        result[pixel] = total
    return result


def transmission(lengths: dict[str, Map], tube: Tube | None = None) -> Map:
    """Share of the detector's signal that is left behind the given thicknesses.

    Arguments: `lengths`, mm of each material of `attenuation.DENSITY`, arrays of one shape; `tube`, its settings.
    Returns an array of that shape, 1 where nothing stands in the way. Raises ValueError for an unknown material.
    Source: Beer-Lambert's law, energy-integrating detector.
    """
    tube = tube or Tube()
    weights = _weights(tube)
    used = weights > 1e-4  # energies that no photon of note has would only cost time
    energies, pooled = ENERGIES_KEV[used], weights[used]
    coefficients = np.stack([linear_attenuation(name, energies) for name in lengths]).astype(np.float32)
    stack = np.stack([np.ravel(length) for length in lengths.values()]).astype(np.float32)
    shape = np.shape(next(iter(lengths.values())))
    return _attenuate(stack, coefficients, (pooled / pooled.sum()).astype(np.float32)).reshape(shape)


def expose(clean: Map, pixel: float, rng: np.random.Generator, tube: Tube | None = None) -> NDArray[np.uint16]:
    """The detector's image of a transmission map.

    Arguments: `clean` (H, W), 0 to 1; `pixel` in mm; `rng`, the noise; `tube`, its settings.
    Returns grey values (H, W), air at 60000. Photons are counted a pixel of 0.0977 mm and scaled with its area.
    """
    tube = tube or Tube()
    wide = cv2.resize(clean, None, fx=0.125, fy=0.125, interpolation=cv2.INTER_AREA)
    wide = cv2.GaussianBlur(wide, (0, 0), max(6.0 / pixel / 8.0, 0.5), borderType=cv2.BORDER_REPLICATE)
    wide = cv2.resize(wide, (clean.shape[1], clean.shape[0]), interpolation=cv2.INTER_LINEAR)
    signal = (1.0 - tube.scatter) * clean + tube.scatter * wide
    photons = tube.photons * (pixel / 0.09765625) ** 2
    noisy = rng.poisson(np.maximum(signal, 0.0) * photons).astype(np.float32) / np.float32(photons)
    noisy = cv2.GaussianBlur(noisy, (0, 0), max(tube.blur / pixel, 0.3))
    noisy += rng.standard_normal(clean.shape, dtype=np.float32) * np.float32(tube.electronic)
    return np.clip(np.rint(noisy * AIR_LEVEL), 0, 65535).astype(np.uint16)
