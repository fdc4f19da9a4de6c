"""Gaussian noise on the reconstructed image: the crudest model of a noisy CT, white where true noise is not."""

from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from transmodal.tomography.degradations.degradation import Degradation


class ImageNoise(Degradation):
    """Add N(0, σ²) to every pixel on its own."""

    kind: Literal["image-noise"] = "image-noise"
    order: ClassVar[int] = 60
    sigma_hu: float = Field(gt=0.0, le=10000.0, description="standard deviation, HU")

    def describe(self) -> str:
        """Say in one sentence, with numbers, what it does."""
        return f"Gaussian noise of {self.sigma_hu:g} HU was added to the image."

    def finish(self, image: NDArray[np.float32], random: np.random.Generator) -> NDArray[np.float32]:
        """Return the noisy image."""
        return image + np.float32(self.sigma_hu) * random.standard_normal(image.shape, dtype=np.float32)
