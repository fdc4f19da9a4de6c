"""A projector as a plain sparse matrix: small, slow to make, and independent of the compiled one."""

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import scipy.sparse

from transmodal.tomography.geometry import Grid, ParallelBeam


@dataclass
class MatrixProjector:
    """Parallel rays sampled four times a pixel, the image interpolated bilinearly at each sample."""

    grid: Grid
    beam: ParallelBeam
    singular_value: float | None = field(default=None)

    @cached_property
    def matrix(self) -> scipy.sparse.csr_matrix:
        rows, columns = self.grid.shape
        height, width = self.grid.spacing
        step = min(height, width) / 4
        reach = np.hypot(*self.grid.extent) / 2
        along = np.arange(-reach, reach, step) + step / 2
        angles = np.deg2rad(self.beam.angles)[:, None, None]
        across = self.beam.positions[None, :, None]
        x = across * np.cos(angles) - along * np.sin(angles)
        y = across * np.sin(angles) + along * np.cos(angles)
        i, j = y / height + (rows - 1) / 2, x / width + (columns - 1) / 2
        ray = np.broadcast_to(np.arange(i.shape[0] * i.shape[1]).reshape(*i.shape[:2], 1), i.shape)
        top, left = np.floor(i).astype(int), np.floor(j).astype(int)
        parts = []
        for down in (0, 1):
            for right in (0, 1):
                weight = (1 - np.abs(i - top - down)) * (1 - np.abs(j - left - right)) * step
                r, c = top + down, left + right
                inside = (r >= 0) & (r < rows) & (c >= 0) & (c < columns)
                parts.append((weight[inside], (ray[inside], (r * columns + c)[inside])))
        values = np.concatenate([part[0] for part in parts])
        places = tuple(np.concatenate([part[1][axis] for part in parts]) for axis in (0, 1))
        shape = (self.beam.shape[0] * self.beam.shape[1], rows * columns)
        return scipy.sparse.csr_matrix((values, places), shape=shape)

    def forward(self, image: np.ndarray) -> np.ndarray:
        flat = image.reshape(-1, self.matrix.shape[1]).T.astype(np.float64)
        seen = (self.matrix @ flat).T.astype(np.float32)
        return seen.reshape(image.shape[:-2] + self.beam.shape)

    def adjoint(self, sinogram: np.ndarray) -> np.ndarray:
        flat = sinogram.reshape(-1, self.matrix.shape[0]).T.astype(np.float64)
        spread = (self.matrix.T @ flat).T.astype(np.float32)
        return spread.reshape(sinogram.shape[:-2] + self.grid.shape)

    def norm(self) -> float:
        if self.singular_value is None:
            start = np.ones(min(self.matrix.shape))
            self.singular_value = float(scipy.sparse.linalg.svds(self.matrix, k=1, v0=start)[1][0])
        return self.singular_value

    def row_sums(self) -> np.ndarray:
        return self.forward(np.ones(self.grid.shape, np.float32))

    def column_sums(self) -> np.ndarray:
        return self.adjoint(np.ones(self.beam.shape, np.float32))
