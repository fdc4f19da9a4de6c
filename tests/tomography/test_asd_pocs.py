import numpy as np
import pytest
from tests.data.matrix_projector import MatrixProjector

from transmodal.errors import UserError
from transmodal.tomography.asd_pocs import asd_pocs
from transmodal.tomography.geometry import Grid, covering
from transmodal.tomography.iterative import sart
from transmodal.tomography.total_variation import total_variation

GRID = Grid((32, 32), (1.2, 1.2))


def phantom() -> np.ndarray:
    y, x = np.mgrid[:32, :32] / 15.5 - 1
    image = np.where(x**2 + y**2 < 0.7, 0.02, 0.0)
    image[(x - 0.3) ** 2 + y**2 < 0.06] = 0.04
    return image.astype(np.float32)


@pytest.fixture(scope="module")
def projector() -> MatrixProjector:
    return MatrixProjector(GRID, covering(GRID, 10))


def error(image: np.ndarray) -> float:
    return float(np.linalg.norm(image - phantom()) / np.linalg.norm(phantom()))


def test_descents_make_up_for_missing_views(projector: MatrixProjector) -> None:
    sinogram = projector.forward(phantom())
    alone = sart(sinogram, projector, iterations=40, relaxation=1.0).image
    result = asd_pocs(sinogram, projector, 0.001, iterations=40)
    assert error(result.image) < 0.4 * error(alone)
    assert total_variation(result.image, GRID.spacing) < total_variation(alone, GRID.spacing)
    assert result.image.min() >= 0
    assert len(result.objective) == result.iterations == 40
    assert result.objective[-1] == pytest.approx(total_variation(result.image, GRID.spacing), rel=1e-5)


def test_without_descents_it_is_sart(projector: MatrixProjector) -> None:
    sinogram = projector.forward(phantom())
    bare = asd_pocs(sinogram, projector, 0.0, iterations=1, descents=0).image
    np.testing.assert_array_equal(bare, sart(sinogram, projector, iterations=1, relaxation=1.0).image)


def test_the_residual_comes_down_to_the_discrepancy(projector: MatrixProjector) -> None:
    generator = np.random.default_rng(0)
    sinogram = projector.forward(phantom())
    sinogram = sinogram + generator.normal(scale=0.02, size=sinogram.shape).astype(np.float32)
    result = asd_pocs(sinogram, projector, 0.02, iterations=40)
    residual = projector.forward(result.image) - sinogram
    assert np.sqrt(np.mean(residual**2)) < 0.024
    assert error(result.image) < 0.7 * error(sart(sinogram, projector, iterations=40, relaxation=1.0).image)


def test_an_empty_scan_stays_empty(projector: MatrixProjector) -> None:
    result = asd_pocs(np.zeros(projector.beam.shape), projector, 0.01, iterations=3)
    np.testing.assert_array_equal(result.image, 0)


def test_settings_that_cannot_be_are_refused(projector: MatrixProjector) -> None:
    for settings in ({"iterations": 0}, {"descents": -1}, {"relaxation": 2.5}):
        with pytest.raises(UserError, match="ASD-POCS needs"):
            asd_pocs(np.zeros(projector.beam.shape), projector, 0.01, **settings)
    with pytest.raises(UserError, match="ASD-POCS needs"):
        asd_pocs(np.zeros(projector.beam.shape), projector, -1.0)
