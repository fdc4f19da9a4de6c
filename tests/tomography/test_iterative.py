import numpy as np
import pytest
from tests.data.matrix_projector import MatrixProjector

from transmodal.errors import UserError
from transmodal.tomography.geometry import Grid, ParallelBeam, covering
from transmodal.tomography.iterative import sart, sirt
from transmodal.tomography.operator import Projector

GRID = Grid((20, 20), (1.5, 1.5))


def phantom(size: int = 20) -> np.ndarray:
    """Attenuation of a disc with a denser and a hollow part, in 1/mm."""
    y, x = np.mgrid[:size, :size] * 2 / (size - 1) - 1
    image = np.where(x**2 + y**2 < 0.7, 0.02, 0.0)
    image[(x - 0.3) ** 2 + y**2 < 0.06] = 0.04
    image[(x + 0.35) ** 2 + (y - 0.2) ** 2 < 0.05] = 0.0
    return image.astype(np.float32)


@pytest.fixture(scope="module")
def projector() -> MatrixProjector:
    return MatrixProjector(GRID, covering(GRID, 24))


@pytest.fixture(scope="module")
def sinogram(projector: MatrixProjector) -> np.ndarray:
    return projector.forward(phantom())


def relative_error(image: np.ndarray, truth: np.ndarray) -> float:
    return float(np.linalg.norm(image - truth) / np.linalg.norm(truth))


def noisy(sinogram: np.ndarray, deviation: float = 0.02) -> np.ndarray:
    noise = np.random.default_rng(1).normal(scale=deviation, size=sinogram.shape)
    return (sinogram + noise).astype(np.float32)


def test_sirt_lowers_its_objective_at_every_step(projector: MatrixProjector, sinogram: np.ndarray) -> None:
    for relaxation in (0.3, 1.0, 1.9):
        result = sirt(noisy(sinogram), projector, iterations=40, relaxation=relaxation, non_negative=False)
        assert (np.diff(result.objective) < 0).all()
        assert len(result.objective) == result.iterations == 40
        assert result.stopped == "iterations"


def test_sirt_makes_the_steps_of_its_formula(projector: MatrixProjector, sinogram: np.ndarray) -> None:
    dense = projector.matrix.toarray()
    rows, columns = dense.sum(1), dense.sum(0)
    seen = rows > 1e-6 * rows.max()
    image = np.zeros(400)
    for _ in range(3):
        residual = sinogram.ravel() - dense @ image
        image += 0.7 / columns * (dense.T @ np.where(seen, residual / np.where(seen, rows, 1), 0))
    result = sirt(sinogram, projector, iterations=3, relaxation=0.7, non_negative=False)
    np.testing.assert_allclose(result.image.ravel(), image, rtol=1e-4, atol=1e-7)


def test_exact_projections_lead_back_to_the_image(projector: MatrixProjector, sinogram: np.ndarray) -> None:
    assert relative_error(sirt(sinogram, projector, iterations=300).image, phantom()) < 0.12
    assert relative_error(sart(sinogram, projector, iterations=60, relaxation=1.0).image, phantom()) < 0.06


def test_a_sweep_of_sart_does_more_than_a_step_of_sirt(projector: MatrixProjector, sinogram: np.ndarray) -> None:
    slow = sirt(sinogram, projector, iterations=10).image
    fast = sart(sinogram, projector, iterations=10, relaxation=1.0).image
    assert relative_error(fast, phantom()) < 0.7 * relative_error(slow, phantom())


def test_sart_with_one_subset_is_sirt(projector: MatrixProjector, sinogram: np.ndarray) -> None:
    both = [method(noisy(sinogram), projector, iterations=5, relaxation=0.9) for method in (sirt,)]
    both.append(sart(noisy(sinogram), projector, iterations=5, relaxation=0.9, subsets=1))
    np.testing.assert_allclose(both[0].image, both[1].image, rtol=1e-5, atol=1e-8)
    np.testing.assert_allclose(both[0].objective, both[1].objective, rtol=1e-5)


def test_attenuation_is_not_negative_unless_allowed(projector: MatrixProjector, sinogram: np.ndarray) -> None:
    given = noisy(sinogram, 0.1)
    for method in (sirt, sart):
        assert method(given, projector, iterations=10).image.min() == 0
        assert method(given, projector, iterations=10, non_negative=False).image.min() < 0


def test_the_order_of_subsets_is_that_of_the_seed(projector: MatrixProjector, sinogram: np.ndarray) -> None:
    given = noisy(sinogram)
    first, again, other, in_order = (sart(given, projector, iterations=2, seed=seed).image for seed in (3, 3, 4, None))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()
    assert (first != in_order).any()


def test_more_subsets_than_views_are_one_view_each(projector: MatrixProjector, sinogram: np.ndarray) -> None:
    most, classical = (sart(sinogram, projector, iterations=1, subsets=count, seed=None) for count in (999, 24))
    np.testing.assert_array_equal(most.image, classical.image)


def test_both_stop_when_the_residual_has_come_down_to_the_noise(
    projector: MatrixProjector, sinogram: np.ndarray
) -> None:
    for method in (sirt, sart):
        result = method(noisy(sinogram, 0.05), projector, iterations=500, discrepancy=0.05)
        assert result.stopped == "discrepancy"
        assert result.iterations == len(result.objective) < 500
        residual = noisy(sinogram, 0.05) - projector.forward(result.image)
        assert np.sqrt(np.mean(residual**2)) <= 0.0505


def test_both_stop_when_the_image_hardly_changes(projector: MatrixProjector, sinogram: np.ndarray) -> None:
    for method in (sirt, sart):
        rough = method(sinogram, projector, iterations=500, tolerance=0.02)
        fine = method(sinogram, projector, iterations=500, tolerance=0.005)
        assert rough.stopped == fine.stopped == "tolerance"
        assert rough.iterations < fine.iterations


def test_going_on_from_an_image_is_like_never_having_stopped(projector: MatrixProjector, sinogram: np.ndarray) -> None:
    whole = sirt(sinogram, projector, iterations=8).image
    half = sirt(sinogram, projector, iterations=4).image
    kept = half.copy()
    np.testing.assert_allclose(sirt(sinogram, projector, iterations=4, start=half).image, whole, rtol=1e-5, atol=1e-8)
    np.testing.assert_array_equal(half, kept)


def test_progress_tells_iteration_and_objective(projector: MatrixProjector, sinogram: np.ndarray) -> None:
    for method in (sirt, sart):
        told: list[tuple[int, int, float]] = []
        result = method(sinogram, projector, iterations=3, progress=lambda *news, told=told: told.append(news))
        assert told == [(number, 3, result.objective[number - 1]) for number in (1, 2, 3)]


def test_a_stack_is_reconstructed_slice_by_slice(projector: MatrixProjector, sinogram: np.ndarray) -> None:
    stack = np.stack([sinogram, 0.5 * noisy(sinogram)])
    for method in (sirt, sart):
        together = method(stack, projector, iterations=3).image
        apart = np.stack([method(one, projector, iterations=3).image for one in stack])
        np.testing.assert_allclose(together, apart, rtol=1e-5, atol=1e-8)


def test_pixels_and_rays_that_never_meet_are_left_alone() -> None:
    grid = Grid((12, 12), (1.0, 1.0))
    narrow = ParallelBeam((0.0, 45.0, 90.0), 4, 1.0)
    projector = MatrixProjector(grid, narrow)
    start = np.full((12, 12), 0.5, np.float32)
    unseen = projector.column_sums() == 0
    assert unseen.any()
    for method in (sirt, sart):
        result = method(np.zeros(narrow.shape, np.float32), projector, iterations=3, start=start)
        assert np.isfinite(result.image).all()
        np.testing.assert_array_equal(result.image[unseen], 0.5)
        assert result.image[~unseen].max() < 0.5


def test_the_compiled_projector_gives_what_the_matrix_gives(sinogram: np.ndarray, projector: MatrixProjector) -> None:
    compiled = Projector(GRID, projector.beam)
    for method in (sirt, sart):
        ours = method(sinogram, compiled, iterations=10).image
        assert relative_error(ours, method(sinogram, projector, iterations=10).image) < 0.08


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"iterations": 0}, "at least one iteration"),
        ({"relaxation": 2.0}, "relaxation"),
        ({"tolerance": -1.0}, "tolerance"),
        ({"discrepancy": float("nan")}, "discrepancy"),
        ({"start": np.zeros((3, 3))}, "start image has shape"),
        ({"start": np.full((20, 20), np.nan)}, "not finite"),
    ],
)
def test_settings_that_cannot_be_are_refused(
    projector: MatrixProjector, sinogram: np.ndarray, settings: dict[str, object], words: str
) -> None:
    for method in (sirt, sart):
        with pytest.raises(UserError, match=words):
            method(sinogram, projector, **settings)


def test_projections_that_do_not_fit_are_refused(projector: MatrixProjector, sinogram: np.ndarray) -> None:
    with pytest.raises(UserError, match="swapped"):
        sirt(sinogram.T, projector)
    with pytest.raises(UserError, match="not finite"):
        sart(np.where(sinogram > 0.5, np.inf, sinogram), projector)
    with pytest.raises(UserError, match="subset"):
        sart(sinogram, projector, subsets=0)
