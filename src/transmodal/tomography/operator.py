"""A scan as a linear operator: projection, its adjoint, its norm, its row and column sums.

Iterative reconstruction sees a scan only through this.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

from transmodal.tomography.geometry import Beam, Grid
from transmodal.tomography.projection import backproject, backproject_unchecked, project, project_unchecked
from transmodal.tomography.rays import check_fit

Array = npt.NDArray[np.float32]

_TOLERANCE = 1e-6  # of the norm, relative: a step that raises it by less is the last


class Projector:
    """Joseph's projection A on a grid for a beam.

    Args:
        grid: of the image.
        beam: the scanner.

    Raises:
        UserError: the grid and the beam do not go together.
    """

    def __init__(self, grid: Grid, beam: Beam) -> None:
        check_fit(grid, beam)
        self.grid = grid
        self.beam = beam
        self._norm: tuple[int, float] | None = None
        self._row_sums: Array | None = None
        self._column_sums: Array | None = None

    def at(self, beam: Beam) -> "Projector":
        """Return the projector of another beam on the same grid."""
        return Projector(self.grid, beam)

    def forward(self, image: npt.NDArray[Any]) -> Array:
        """Return line integrals, as `projection.project` does."""
        return project(image, self.grid, self.beam)

    def adjoint(self, sinogram: npt.NDArray[Any]) -> Array:
        """Return the adjoint of `forward`, as `projection.backproject` does."""
        return backproject(sinogram, self.grid, self.beam)

    def row_sums(self) -> Array:
        """Return A·1, mm of each ray in the grid, in the shape of a sinogram; kept, thus read-only."""
        if self._row_sums is None:
            self._row_sums = self._project(np.ones(self.grid.shape, np.float32))
            self._row_sums.flags.writeable = False
        return self._row_sums

    def column_sums(self) -> Array:
        """Return Aᵀ·1, mm of all rays in each pixel, in the shape of an image; kept, thus read-only."""
        if self._column_sums is None:
            self._column_sums = self._backproject(np.ones(self.beam.shape, np.float32))
            self._column_sums.flags.writeable = False
        return self._column_sums

    def norm(self, iterations: int = 30) -> float:
        """Return the largest singular value of A, by power iteration; kept until more iterations are asked for.

        The weights are not negative, thus neither is the vector that belongs to it (Perron and Frobenius): iteration
        from an image of ones meets it and needs few steps. The estimate rises, and never passes the norm.

        Args:
            iterations: at most, each a projection and an adjoint; fewer if the estimate rises no more.

        Raises:
            ValueError: no iteration.
        """
        if iterations < 1:
            raise ValueError(f"power iteration needs at least one step, not {iterations}")
        if self._norm is None or self._norm[0] < iterations:
            self._norm = (iterations, self._power_iteration(iterations))
        return self._norm[1]

    def _project(self, image: Array) -> Array:
        return project_unchecked(image, self.grid, self.beam)

    def _backproject(self, sinogram: Array) -> Array:
        return backproject_unchecked(sinogram, self.grid, self.beam)

    def _power_iteration(self, iterations: int) -> float:
        image = np.full(self.grid.shape, 1 / np.sqrt(np.prod(self.grid.shape)), dtype=np.float32)
        squared = 0.0
        for _ in range(iterations):
            # ‖AᵀA·image‖, not ‖A·image‖²: both rise to the squared norm, this one is ahead.
            image = self._backproject(self._project(image))
            before, squared = squared, float(np.sqrt(np.sum(np.square(image, dtype=np.float64))))
            if squared == 0:  # no ray meets the grid
                return 0.0
            image /= np.float32(squared)
            if squared - before <= 2 * _TOLERANCE * squared:
                break
        return float(np.sqrt(squared))
