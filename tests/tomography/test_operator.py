"""A scan as an operator: its norm and its sums."""

import numpy as np
import pytest

from transmodal.errors import UserError
from transmodal.tomography import operator
from transmodal.tomography.geometry import ConeBeam, FanBeam, Grid, ParallelBeam, covering, evenly
from transmodal.tomography.operator import Projector

GRID = Grid((11, 13), (0.8, 0.7), (0.3, -0.4))
SCANS = {
    "parallel": Projector(GRID, covering(GRID, 9)),
    "limited angle": Projector(GRID, ParallelBeam(evenly(9, 60.0), 16, 0.9)),
    "fan": Projector(GRID, FanBeam(evenly(9, 360.0), 19, 1.5, 30.0, 60.0, 0.4)),
    "curved fan": Projector(GRID, FanBeam(evenly(9, 360.0), 19, 1.5, 30.0, 60.0, 0.4, curved=True)),
    "cone": Projector(
        Grid((4, 5, 6), (1.0, 0.9, 0.9)), ConeBeam(evenly(5, 360.0), 6, 7, 1.8, 1.8, 20.0, 40.0, 0.3, 0.2)
    ),
}


def matrix(projector: Projector) -> np.ndarray:
    """Return (rays, pixels), in float64."""
    count = int(np.prod(projector.grid.shape))
    columns = np.eye(count, dtype=np.float32).reshape(count, *projector.grid.shape)
    return np.stack([projector.forward(column).ravel() for column in columns], axis=1).astype(np.float64)


@pytest.mark.parametrize("name", SCANS)
def test_the_norm_is_the_largest_singular_value(name: str) -> None:
    projector = SCANS[name]
    largest = np.linalg.norm(matrix(projector), 2)
    assert projector.norm() == pytest.approx(largest, rel=1e-4)
    assert projector.norm(2) <= largest * (1 + 1e-6)


@pytest.mark.parametrize("name", SCANS)
def test_sums_are_those_of_the_matrix(name: str) -> None:
    projector = SCANS[name]
    full = matrix(projector)
    np.testing.assert_allclose(projector.row_sums().ravel(), full.sum(axis=1), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(projector.column_sums().ravel(), full.sum(axis=0), rtol=1e-5, atol=1e-6)
    assert projector.row_sums().shape == projector.beam.shape
    assert projector.column_sums().shape == projector.grid.shape


@pytest.mark.parametrize("name", SCANS)
def test_forward_and_adjoint_are_the_matrix_and_its_transpose(name: str) -> None:
    projector = SCANS[name]
    full = matrix(projector)
    generator = np.random.default_rng(0)
    image = generator.normal(size=projector.grid.shape).astype(np.float32)
    sinogram = generator.normal(size=projector.beam.shape).astype(np.float32)
    np.testing.assert_allclose(projector.forward(image).ravel(), full @ image.ravel(), atol=2e-5)
    np.testing.assert_allclose(projector.adjoint(sinogram).ravel(), full.T @ sinogram.ravel(), atol=2e-5)


def test_what_was_computed_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    projector = Projector(GRID, covering(GRID, 9))
    norm, rows, columns = projector.norm(), projector.row_sums(), projector.column_sums()
    monkeypatch.delattr(operator, "project_unchecked")
    monkeypatch.delattr(operator, "backproject_unchecked")
    assert projector.norm() == norm == projector.norm(3)
    assert projector.row_sums() is rows and projector.column_sums() is columns
    with pytest.raises(ValueError, match="read-only"):
        rows[0, 0] = 1


def test_a_scan_beside_the_grid_has_no_norm() -> None:
    assert Projector(GRID, ParallelBeam((0.0,), 4, 1.0, 90.0)).norm() == 0


def test_scans_that_do_not_fit_are_refused_at_once() -> None:
    with pytest.raises(UserError, match="wants a grid of"):
        Projector(Grid((2, 3, 4), (1, 1, 1)), covering(GRID, 3))
    with pytest.raises(ValueError, match="at least one step"):
        Projector(GRID, covering(GRID, 3)).norm(0)
