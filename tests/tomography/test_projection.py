"""Projection in the plane: against a second implementation, scikit-image and exact integrals; its adjoint is exact."""

import warnings
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import skimage.transform
from hypothesis import given, settings
from tests.data.scans import fan_beams, joseph, parallel_beams, plane_grids

from transmodal.errors import UserError
from transmodal.tomography import threads
from transmodal.tomography.geometry import FanBeam, Grid, ParallelBeam, covering, evenly
from transmodal.tomography.phantoms import Ellipse, line_integrals, rasterise
from transmodal.tomography.projection import backproject, project


def apart(one: np.ndarray, other: np.ndarray) -> float:
    """Return the root of the mean squared difference over that of the second."""
    return float(np.linalg.norm(one - other) / np.linalg.norm(other))


@settings(deadline=None, max_examples=60)
@given(grid=plane_grids(), parallel=parallel_beams(), fan=fan_beams())
def test_the_adjoint_is_exact(grid: Grid, parallel: ParallelBeam, fan: FanBeam) -> None:
    generator = np.random.default_rng(0)
    for beam in (parallel, fan):
        image = generator.uniform(0.5, 1.5, (2, *grid.shape)).astype(np.float32)
        sinogram = generator.uniform(0.5, 1.5, (2, *beam.shape)).astype(np.float32)
        forwards = np.sum(project(image, grid, beam).astype(np.float64) * sinogram)
        backwards = np.sum(backproject(sinogram, grid, beam).astype(np.float64) * image)
        assert forwards == pytest.approx(backwards, rel=2e-6, abs=1e-6)


@pytest.mark.parametrize("kind", ["parallel", "fan", "curved"])
def test_the_adjoint_is_the_transposed_matrix(kind: str) -> None:
    grid = Grid((7, 5), (0.8, 1.1), (0.4, -1.3))
    angles = (0.0, 20.0, 45.0, 90.0, 130.0, 250.0)
    beams: dict[str, ParallelBeam | FanBeam] = {
        "parallel": ParallelBeam(angles, 9, 0.7, 0.2),
        "fan": FanBeam(angles, 9, 2.0, 20.0, 35.0, 0.3),
        "curved": FanBeam(angles, 9, 2.5, 20.0, 35.0, 0.3, curved=True),
    }
    beam = beams[kind]
    pixels = np.eye(35, dtype=np.float32).reshape(35, *grid.shape)
    rays = np.eye(54, dtype=np.float32).reshape(54, *beam.shape)
    matrix, transposed = project(pixels, grid, beam).reshape(35, 54), backproject(rays, grid, beam).reshape(54, 35)
    assert np.count_nonzero(matrix) > 200
    np.testing.assert_allclose(matrix, transposed.T, rtol=3e-7, atol=1e-7)


@settings(deadline=None, max_examples=30)
@given(grid=plane_grids(), parallel=parallel_beams(), fan=fan_beams())
def test_projections_are_those_of_a_loop_over_rays(grid: Grid, parallel: ParallelBeam, fan: FanBeam) -> None:
    image = np.random.default_rng(1).uniform(0.5, 1.5, grid.shape).astype(np.float32)
    for beam in (parallel, fan):
        expected = joseph(image, grid, beam)
        np.testing.assert_allclose(project(image, grid, beam), expected, rtol=1e-5, atol=1e-5 * expected.max() + 1e-6)


@pytest.mark.parametrize("size", [64, 65])
def test_parallel_projections_agree_with_scikit_image(size: int) -> None:
    y, x = np.mgrid[:size, :size]
    smooth = np.exp(-(((x - 27) / 8) ** 2 + ((y - 35) / 5) ** 2 + (x - 27) * (y - 35) / 100)).astype(np.float32)
    smooth[smooth < 1e-4] = 0  # scikit-image wants nothing in the corners
    angles = np.arange(0.0, 360.0, 11.0)
    theirs = skimage.transform.radon(smooth, angles, circle=True)
    # scikit-image turns the other way, about pixel size // 2.
    beside = (size - 1) / 2 - size // 2
    beam = ParallelBeam(tuple(-angles), size, 1.0, beside)
    ours = project(smooth, Grid((size, size), (1.0, 1.0), (beside, beside)), beam).T
    assert np.abs(ours - theirs).max() < 0.01 * theirs.max()
    assert apart(ours, theirs) < 0.003


GRID = Grid((160, 128), (0.25, 0.3125))
BEAMS = [
    covering(GRID, 30),
    ParallelBeam(evenly(30, 360.0), 150, 0.4, 3.0),
    FanBeam(evenly(30, 360.0), 180, 0.5, 120.0, 200.0, 2.0),
    FanBeam(evenly(30, 360.0), 180, 0.5, 120.0, 200.0, -2.0, curved=True),
]


@pytest.mark.parametrize("beam", BEAMS, ids=["covering", "parallel", "fan", "curved"])
@pytest.mark.parametrize("shift", [(0.0, 0.0), (1.0, -0.5)], ids=["centred", "off the axis"])
def test_projections_of_ellipses_tend_to_their_exact_integrals(
    beam: ParallelBeam | FanBeam, shift: tuple[float, float]
) -> None:
    bodies = (Ellipse(0.02, (1.0, -2.0), (14.0, 10.0), 20.0), Ellipse(-0.01, (4.0, 3.0), (3.0, 6.0), -30.0))
    grid = Grid(GRID.shape, GRID.spacing, shift)
    exact = line_integrals(bodies, beam)
    coarse, fine = (apart(project(rasterise(bodies, cut), cut, beam), exact) for cut in (grid, grid.finer(2)))
    assert coarse < 0.01
    assert fine < 0.6 * coarse  # what is left is the edges' width, and no error of scale or place


def test_line_integrals_are_in_mm_times_attenuation() -> None:
    grid = Grid((100, 40), (0.5, 0.5))
    beam = ParallelBeam((0.0, 90.0), 3, 1.0)
    sinogram = project(np.full(grid.shape, 0.02, np.float32), grid, beam)
    np.testing.assert_allclose(sinogram, [[1.0] * 3, [0.4] * 3], rtol=1e-5)


def test_bins_run_right_at_zero_degrees_and_down_at_ninety() -> None:
    grid = Grid((9, 9), (1.0, 1.0))
    image = np.zeros(grid.shape, np.float32)
    image[6, 1] = 1  # y = 2, x = −3
    sinogram = project(image, grid, ParallelBeam((0.0, 90.0, 180.0), 9, 1.0))
    assert sinogram.argmax(axis=1).tolist() == [1, 6, 7]


def test_a_fan_magnifies() -> None:
    grid = Grid((21, 21), (1.0, 1.0))
    image = np.zeros(grid.shape, np.float32)
    image[10, 16] = 1  # x = 6
    beam = FanBeam((0.0,), 61, 1.0, 100.0, 250.0)
    assert beam.positions[project(image, grid, beam).argmax()] == pytest.approx(15.0)


def test_the_border_fades_within_a_pixel() -> None:
    grid = Grid((1, 1), (1.0, 1.0))
    beam = ParallelBeam((0.0,), 9, 0.25)
    sinogram = project(np.ones((1, 1), np.float32), grid, beam)
    np.testing.assert_allclose(sinogram[0], [0, 0.25, 0.5, 0.75, 1, 0.75, 0.5, 0.25, 0], atol=1e-6)


def test_a_stack_gives_what_its_slices_give() -> None:
    generator = np.random.default_rng(2)
    grid, beam = Grid((20, 24), (1.0, 1.0)), FanBeam(evenly(8, 360.0), 30, 1.5, 60.0, 100.0)
    images = generator.random((9, *grid.shape)).astype(np.float32)
    sinograms = project(images, grid, beam)
    assert sinograms.shape == (9, 8, 30)
    np.testing.assert_array_equal(sinograms, [project(image, grid, beam) for image in images])
    np.testing.assert_array_equal(
        backproject(sinograms, grid, beam), [backproject(sinogram, grid, beam) for sinogram in sinograms]
    )


def test_threads_do_not_change_a_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    grid = Grid((70, 61), (1.0, 1.0))
    beam = FanBeam(evenly(50, 360.0), 90, 1.5, 100.0, 160.0)
    image = np.random.default_rng(3).random(grid.shape).astype(np.float32)
    results = []
    monkeypatch.setattr(threads, "_WORTH_A_THREAD", 1)
    for count in (1, 3):
        monkeypatch.setattr(threads.config, "NUMBA_NUM_THREADS", count)
        sinogram = project(image, grid, beam)
        results.append((sinogram, backproject(sinogram, grid, beam)))
    np.testing.assert_array_equal(results[0][0], results[1][0])
    np.testing.assert_array_equal(results[0][1], results[1][1])


def test_calls_from_several_threads_do_not_disturb_each_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "_WORTH_A_THREAD", 1)
    monkeypatch.setattr(threads.config, "NUMBA_NUM_THREADS", 2)
    grid = Grid((40, 40), (1.0, 1.0))
    beam = covering(grid, 20)
    images = np.random.default_rng(4).random((6, *grid.shape)).astype(np.float32)
    with ThreadPoolExecutor(3) as pool:
        found = list(pool.map(lambda image: project(image, grid, beam), images))
    np.testing.assert_array_equal(found, project(images, grid, beam))


def test_other_layouts_and_types_are_taken() -> None:
    grid, beam = Grid((12, 10), (1.0, 1.0)), covering(Grid((12, 10), (1.0, 1.0)), 5)
    image = np.random.default_rng(5).integers(0, 9, (12, 10))
    expected = project(image.astype(np.float32), grid, beam)
    assert expected.dtype == np.float32
    np.testing.assert_array_equal(project(np.asfortranarray(image.astype(np.float64)), grid, beam), expected)
    frozen = image.astype(np.float32)
    frozen.flags.writeable = False
    np.testing.assert_array_equal(project(frozen, grid, beam), expected)
    np.testing.assert_array_equal(project(image, grid, beam), expected)


def test_rays_beside_the_grid_are_zero() -> None:
    grid, beam = Grid((8, 8), (1.0, 1.0)), ParallelBeam((0.0, 30.0), 5, 1.0, 40.0)
    assert not project(np.ones((8, 8)), grid, beam).any()
    assert not backproject(np.ones(beam.shape), grid, beam).any()


FAN = FanBeam((0.0,), 4, 1.0, 5.0, 20.0)


@pytest.mark.parametrize(
    ("image", "grid", "beam", "message"),
    [
        (
            np.ones((5, 4)),
            Grid((4, 5), (1, 1)),
            covering(Grid((4, 5), (1, 1)), 3),
            r"shape \(5, 4\), the grid \(4, 5\)",
        ),
        (np.ones((2, 2, 4, 5)), Grid((4, 5), (1, 1)), covering(Grid((4, 5), (1, 1)), 3), "at most 3 axes"),
        (np.array([[1, np.nan], [np.inf, 0]]), Grid((2, 2), (1, 1)), ParallelBeam((0.0,), 3, 1.0), "holds 2 values"),
        (np.ones((2, 2), complex), Grid((2, 2), (1, 1)), ParallelBeam((0.0,), 3, 1.0), "complex128"),
        (np.ones((2, 2, 2)), Grid((2, 2, 2), (1, 1, 1)), ParallelBeam((0.0,), 3, 1.0), r"wants a grid of \(rows"),
        (np.ones((9, 9)), Grid((9, 9), (1, 1)), FAN, "reaches 7.071 mm.*circles at 5 mm"),
        (np.ones((2, 2)), Grid((2, 2), (1, 1)), FanBeam((0.0,), 80, 1.0, 5, 20, curved=True), "must stay under 90"),
    ],
)
def test_what_does_not_fit_is_refused(image: np.ndarray, grid: Grid, beam: ParallelBeam, message: str) -> None:
    with pytest.raises(UserError, match=message):
        project(image, grid, beam)


def test_sinograms_that_do_not_fit_are_refused() -> None:
    grid, beam = Grid((4, 4), (1.0, 1.0)), ParallelBeam((0.0, 1.0), 5, 1.0)
    with pytest.raises(UserError, match="axes look swapped"):
        backproject(np.ones((5, 2)), grid, beam)
    with pytest.raises(UserError, match="holds 1 values that are not finite"):
        backproject(np.array([[np.nan, 1, 2, 3, 4], [0, 0, 0, 0, 0]]), grid, beam)


def test_warnings_stay_away_at_right_angles() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        grid = Grid((6, 6), (1.0, 1.0))
        project(np.ones((6, 6)), grid, ParallelBeam((0.0, 90.0, 180.0, 270.0, 45.0), 7, 1.0))
