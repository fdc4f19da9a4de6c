"""A scan as a linear operator whose projections torch computes on a device, for the iterative methods.

Rays are worked out and moved to the device once; each projection moves one image there and one sinogram back.
"""

from typing import Any

import numpy.typing as npt
import torch

from transmodal.tomography import torch_projection
from transmodal.tomography.geometry import Beam, Grid
from transmodal.tomography.operator import Array, Projector
from transmodal.tomography.projection import check_image, check_sinogram


class TorchProjector(Projector):
    """Joseph's projection A on a grid for a beam, computed by torch.

    Args:
        grid: of the image.
        beam: the scanner.
        device: where, "cuda" or any other that torch knows.

    Raises:
        UserError: the grid and the beam do not go together.
    """

    def __init__(self, grid: Grid, beam: Beam, device: torch.device | str) -> None:
        super().__init__(grid, beam)
        self.device = torch.device(device)

    def at(self, beam: Beam) -> "TorchProjector":
        """Return the projector of another beam on the same grid and device."""
        return TorchProjector(self.grid, beam, self.device)

    def forward(self, image: npt.NDArray[Any]) -> Array:
        """Return line integrals, as `projection.project` does."""
        return self._project(check_image(image, self.grid, self.beam))

    def adjoint(self, sinogram: npt.NDArray[Any]) -> Array:
        """Return the adjoint of `forward`, as `projection.backproject` does."""
        return self._backproject(check_sinogram(sinogram, self.beam))

    def _project(self, image: Array) -> Array:
        axes = len(self.grid.shape)
        sinograms = torch_projection.project(self._moved(image, axes), self.grid, self.beam)
        return self._returned(sinograms, image.shape[: image.ndim - axes])

    def _backproject(self, sinogram: Array) -> Array:
        axes = len(self.beam.shape)
        images = torch_projection.backproject(self._moved(sinogram, axes), self.grid, self.beam)
        return self._returned(images, sinogram.shape[: sinogram.ndim - axes])

    def _moved(self, values: Array, axes: int) -> torch.Tensor:
        return torch.tensor(values.reshape(-1, *values.shape[values.ndim - axes :]), device=self.device)

    def _returned(self, values: torch.Tensor, leading: tuple[int, ...]) -> Array:
        made: Array = values.reshape(*leading, *values.shape[1:]).cpu().numpy()
        return made
