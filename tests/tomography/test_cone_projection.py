"""Projection of volumes: against a second implementation and exact integrals; its adjoint is exact."""

import numpy as np
import pytest
from hypothesis import given, settings
from tests.data.scans import cone_beams, joseph, volume_grids

from transmodal.errors import UserError
from transmodal.tomography import threads
from transmodal.tomography.geometry import ConeBeam, FanBeam, Grid, evenly
from transmodal.tomography.phantoms import Ellipsoid, Sphere, line_integrals, rasterise
from transmodal.tomography.projection import backproject, project
from transmodal.tomography.rays import cone_rays

THIN = Grid((40, 16, 18), (0.1, 0.9, 1.0), (0.3, 0.5, -0.4))
STEEP = ConeBeam((0.0, 33.0, 90.0, 200.0), 12, 14, 1.5, 2.0, 25.0, 45.0, 0.4, 1.2)


@settings(deadline=None, max_examples=40)
@given(grid=volume_grids(), beam=cone_beams())
def test_the_adjoint_is_exact(grid: Grid, beam: ConeBeam) -> None:
    generator = np.random.default_rng(0)
    volume = generator.uniform(0.5, 1.5, grid.shape).astype(np.float32)
    projections = generator.uniform(0.5, 1.5, beam.shape).astype(np.float32)
    forwards = np.sum(project(volume, grid, beam).astype(np.float64) * projections)
    backwards = np.sum(backproject(projections, grid, beam).astype(np.float64) * volume)
    assert forwards == pytest.approx(backwards, rel=2e-6, abs=1e-6)


@settings(deadline=None, max_examples=15)
@given(grid=volume_grids(), beam=cone_beams())
def test_projections_are_those_of_a_loop_over_rays(grid: Grid, beam: ConeBeam) -> None:
    volume = np.random.default_rng(1).uniform(0.5, 1.5, grid.shape).astype(np.float32)
    expected = joseph(volume, grid, beam)
    np.testing.assert_allclose(project(volume, grid, beam), expected, rtol=1e-5, atol=1e-5 * expected.max() + 1e-6)


def test_slices_lead_steep_rays_through_thin_slices() -> None:
    volume = np.random.default_rng(2).uniform(0.5, 1.5, THIN.shape).astype(np.float32)
    share = np.mean([cone_rays(THIN, STEEP).slices_lead(view).mean() for view in range(4)])
    assert 0.2 < share < 0.9  # the scan has rays of both kinds
    expected = joseph(volume, THIN, STEEP)
    np.testing.assert_allclose(project(volume, THIN, STEEP), expected, rtol=2e-5, atol=1e-5 * expected.max())
    projections = np.random.default_rng(3).uniform(0.5, 1.5, STEEP.shape).astype(np.float32)
    forwards = np.sum(project(volume, THIN, STEEP).astype(np.float64) * projections)
    backwards = np.sum(backproject(projections, THIN, STEEP).astype(np.float64) * volume)
    assert forwards == pytest.approx(backwards, rel=1e-6)


def test_the_adjoint_is_the_transposed_matrix() -> None:
    grid = Grid((4, 3, 5), (0.4, 1.0, 1.1), (0.2, 0.4, -0.5))
    beam = ConeBeam((0.0, 77.0, 200.0), 4, 5, 1.5, 1.7, 12.0, 25.0, 0.3, -0.4)
    columns = [project(pixel, grid, beam).ravel() for pixel in np.eye(60, dtype=np.float32).reshape(60, *grid.shape)]
    rows = [backproject(ray, grid, beam).ravel() for ray in np.eye(60, dtype=np.float32).reshape(60, *beam.shape)]
    assert np.count_nonzero(columns) > 200
    np.testing.assert_allclose(np.transpose(columns), rows, rtol=3e-7, atol=1e-7)


@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (0.25, 1.0, 1.0)], ids=["cubes", "thin slices"])
def test_projections_of_spheres_tend_to_their_exact_integrals(spacing: tuple[float, float, float]) -> None:
    grid = Grid((int(40 / spacing[0]), 48, 48), spacing, (0.5, 0.0, -0.5))
    beam = ConeBeam(evenly(6, 360.0), 60, 60, 1.3, 1.3, 90.0, 140.0, 0.4, 1.0)
    bodies = (Sphere(0.02, (3.0, 2.0, -6.0), 9.0), Ellipsoid(0.01, (0.0, 0.0, 0.0), (14.0, 18.0, 12.0), 30.0))
    exact = line_integrals(bodies, beam)
    coarse, fine = (project(rasterise(bodies, cut, oversampling=3), cut, beam) for cut in (grid, grid.finer(2)))
    errors = [float(np.linalg.norm(found - exact) / np.linalg.norm(exact)) for found in (coarse, fine)]
    assert errors[0] < 0.03
    assert errors[1] < 0.6 * errors[0]  # what is left is the edges' width, and no error of scale or place
    inside = exact > 0.7 * exact.max()
    assert np.abs(fine[inside] / exact[inside] - 1).max() < 0.01
    assert fine.sum() == pytest.approx(exact.sum(), rel=0.001)


def test_the_middle_row_is_a_fan() -> None:
    generator = np.random.default_rng(4)
    grid = Grid((3, 20, 22), (1.0, 1.0, 1.1))
    beam = ConeBeam(evenly(7, 360.0), 1, 25, 1.0, 1.4, 50.0, 80.0, 0.5)
    volume = generator.random(grid.shape).astype(np.float32)
    fan = FanBeam(beam.angles, 25, 1.4, 50.0, 80.0, 0.5)
    expected = project(volume[1], Grid(grid.shape[1:], grid.spacing[1:]), fan)
    np.testing.assert_allclose(project(volume, grid, beam)[:, 0], expected, rtol=1e-6)


def test_detector_rows_rise_with_the_slices() -> None:
    grid = Grid((9, 9, 9), (1.0, 1.0, 1.0))
    volume = np.zeros(grid.shape, np.float32)
    volume[7, 4, 4] = 1  # z = 3 on the axis, magnified twice
    beam = ConeBeam((10.0,), 21, 21, 1.0, 1.0, 40.0, 80.0)
    assert np.unravel_index(project(volume, grid, beam)[0].argmax(), (21, 21)) == (16, 10)


def test_threads_do_not_change_a_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    volume = np.random.default_rng(5).random(THIN.shape).astype(np.float32)
    results = []
    monkeypatch.setattr(threads, "_WORTH_A_THREAD", 1)
    for count in (1, 3):
        monkeypatch.setattr(threads.config, "NUMBA_NUM_THREADS", count)
        projections = project(volume, THIN, STEEP)
        results.append((projections, backproject(projections, THIN, STEEP)))
    np.testing.assert_array_equal(results[0][0], results[1][0])
    np.testing.assert_array_equal(results[0][1], results[1][1])


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(UserError, match=r"wants a grid of \(slices, rows, columns\)"):
        project(np.ones((4, 4)), Grid((4, 4), (1.0, 1.0)), STEEP)
    with pytest.raises(UserError, match=r"shape \(16, 40, 18\), the grid \(40, 16, 18\)"):
        project(np.ones((16, 40, 18)), THIN, STEEP)
    with pytest.raises(UserError, match="at most 3 axes are wanted for a cone beam"):
        project(np.ones((2, *THIN.shape)), THIN, STEEP)
    with pytest.raises(UserError, match="holds 1 values that are not finite"):
        broken = np.ones(STEEP.shape)
        broken[0, 0, 0] = -np.inf
        backproject(broken, THIN, STEEP)
    with pytest.raises(UserError, match="the source circles"):
        project(np.ones((2, 60, 60)), Grid((2, 60, 60), (1.0, 1.0, 1.0)), STEEP)
