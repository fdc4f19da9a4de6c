"""What a detector reads when the rays hold many energies: ∑ w(E) exp(−∑ μ_m(E) L_m).

Tissue is taken apart into water and bone by its Hounsfield units, softly between two thresholds, as in H. Liao et al.,
"ADN: artifact disentanglement network", IEEE Transactions on Medical Imaging 39(3), 2020.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from transmodal.tomography.hounsfield import HounsfieldScale
from transmodal.tomography.materials import DENSITIES, attenuation

_CHUNK = 8192  # rays at a time, so that rays × energies stay in the cache


@dataclass(frozen=True, eq=False)
class Response:
    """What the channels of a detector see of the open beam.

    Attributes:
        energies: keV, (energies,).
        weights: of each energy in each channel's reading, (channels, energies); each row sums to 1.
        shares: of all photons in each channel, (channels,); they sum to 1 at most.
    """

    energies: NDArray[np.float64]
    weights: NDArray[np.float64]
    shares: NDArray[np.float64]

    def transmissions(self, paths: NDArray[Any], coefficients: NDArray[np.float64]) -> NDArray[np.float32]:
        """Return each channel's reading against its open beam.

        Args:
            paths: of every ray through every material, (materials, …), in the inverse unit of `coefficients`.
            coefficients: attenuation, (materials, energies).

        Returns:
            (channels, …), above 0 and at most 1 for paths that are not negative.
        """
        rays = np.ascontiguousarray(paths.reshape(len(paths), -1).T, dtype=np.float32)
        exponents = -coefficients.astype(np.float32)
        weights = self.weights.T.astype(np.float32)
        read = np.empty((len(rays), len(self.weights)), dtype=np.float32)
        for start in range(0, len(rays), _CHUNK):
            chunk = slice(start, start + _CHUNK)
            read[chunk] = np.exp(rays[chunk] @ exponents) @ weights
        # The roundings of 32 bits must not make an open ray brighter than the open beam.
        return np.minimum(np.ascontiguousarray(read.T), 1.0).reshape(-1, *paths.shape[1:])


@dataclass(frozen=True)
class Tissues:
    """Water and bone behind the pixels of a CT image.

    Attributes:
        scale: of the image.
        reference_kev: the energy at which the image's attenuation is meant.
        water_hu: all water up to here.
        bone_hu: all bone from here on.
    """

    scale: HounsfieldScale
    reference_kev: float = 70.0
    water_hu: float = 100.0
    bone_hu: float = 1500.0

    def coefficients(self, material: str, energies: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return a material's attenuation in 1/mm, adjusted so that water has the scale's value at the reference."""
        adjustment = self.scale.water / float(attenuation("water", self.reference_kev))
        return attenuation(material, energies) * adjustment

    def fractions(self, image: NDArray[Any]) -> NDArray[np.float32]:
        """Split an attenuation image into how much of each pixel water and cortical bone fill at their own density.

        Args:
            image: 1/mm, any shape.

        Returns:
            (2, …): water, then bone; 1 is pure water of 1 g/cm³, or bone of 1.92 g/cm³.
        """
        values = np.asarray(image, dtype=np.float32)
        share = (self.scale.to_hounsfield(values) - self.water_hu) / (self.bone_hu - self.water_hu)
        bone = values * np.clip(share, 0.0, 1.0)
        reference = np.asarray([self.reference_kev])
        of_bone = float(self.coefficients("cortical_bone", reference)[0])
        return np.stack([(values - bone) / np.float32(self.scale.water), bone / np.float32(of_bone)])

    def densities(self, image_hu: NDArray[Any]) -> dict[str, NDArray[np.float32]]:
        """Return the true maps that a material decomposition aims at.

        Args:
            image_hu: Hounsfield units; below −1000 counts as nothing.

        Returns:
            g/cm³ by material, each in the shape of the image.
        """
        water, bone = self.fractions(np.maximum(self.scale.to_attenuation(image_hu), 0.0))
        return {"water": water, "cortical_bone": bone * np.float32(DENSITIES["cortical_bone"])}
