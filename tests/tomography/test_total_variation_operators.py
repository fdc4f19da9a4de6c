"""The linear operators within total variation: gradient and divergence, their norm, the projection of weighted rays."""

import numpy as np
import pytest
from tests.data.matrix_projector import MatrixProjector

from transmodal.tomography import _total_variation_kernels as kernels
from transmodal.tomography.geometry import Grid, covering
from transmodal.tomography.total_variation import _MARGIN, _Problem, poisson_weights
from transmodal.tomography.tv_dual import TotalVariation

IMAGES = [((7, 9), (0.5, 2.0)), ((1, 6), (1.0, 1.0)), ((4, 5, 6), (1.5, 0.7, 1.0)), ((3, 1, 4), (1.0, 2.0, 0.5))]
NO_BOUND = np.float32(1e15)


def gradient(x: np.ndarray, variation: TotalVariation) -> np.ndarray:
    """Return ∇x by the compiled step, (axes, planes, rows, columns), in units of the image per mm."""
    dual, earlier = variation.dual()[0], variation.dual()[0]
    laid = np.ascontiguousarray(x.reshape(variation.layout)[0])
    kernels.ascend_from(laid, dual, earlier, variation.squares, variation.squares, NO_BOUND)
    return dual / _reciprocals(variation)


def divergence(u: np.ndarray, variation: TotalVariation) -> np.ndarray:
    """Return div u by the compiled step, in the layout of the image."""
    dual = (u * _reciprocals(variation)).astype(np.float32)
    made = np.empty(variation.layout[1:], np.float32)
    kernels.primal(np.zeros_like(made), dual, 0, made.shape[0], np.float32(-np.inf), made)
    return made


def _reciprocals(variation: TotalVariation) -> np.ndarray:
    """Return 1/h of each axis, by which the compiled steps keep a dual variable multiplied."""
    squares = variation.squares if variation.axes == 3 else variation.squares[[0, 2]]
    return np.sqrt(squares).reshape(-1, 1, 1, 1)


def dual_of(variation: TotalVariation, seed: int = 0) -> np.ndarray:
    """Return a random dual variable, zero behind the last pixel of each axis."""
    u = np.random.default_rng(seed).normal(size=variation.dual()[0].shape).astype(np.float32)
    u[0, -1] = 0
    u[-1, :, :, -1] = 0
    if variation.axes == 3:
        u[1, :, -1] = 0
    return u


@pytest.mark.parametrize(("shape", "spacing"), IMAGES)
def test_the_divergence_is_minus_the_adjoint_of_the_gradient(
    shape: tuple[int, ...], spacing: tuple[float, ...]
) -> None:
    variation = TotalVariation(shape, spacing)
    x = np.random.default_rng(1).normal(size=shape).astype(np.float32)
    u = dual_of(variation)
    forwards = float(np.sum(gradient(x, variation).astype(np.float64) * u))
    backwards = float(np.sum(divergence(u, variation).astype(np.float64) * x.reshape(variation.layout)[0]))
    assert forwards == pytest.approx(-backwards, rel=1e-5, abs=1e-5)


@pytest.mark.parametrize(("shape", "spacing"), IMAGES)
def test_the_gradient_is_forward_differences_per_mm(shape: tuple[int, ...], spacing: tuple[float, ...]) -> None:
    variation = TotalVariation(shape, spacing)
    x = np.random.default_rng(2).normal(size=shape).astype(np.float32)
    wanted = np.stack(
        [np.diff(x, axis=axis, append=np.take(x, [-1], axis)) / spacing[axis] for axis in range(len(shape))]
    )
    np.testing.assert_allclose(gradient(x, variation).reshape(wanted.shape), wanted, rtol=2e-6, atol=1e-6)
    # The direction of steepest descent is made by another step.
    large = np.float32(1e6)
    direction = variation.dual()[0]
    kernels.normalised_gradient(x.reshape(variation.layout)[0], direction, variation.squares, large)
    found = (direction * large / _reciprocals(variation)).reshape(wanted.shape)
    np.testing.assert_allclose(found, wanted, rtol=2e-6, atol=1e-6)


@pytest.mark.parametrize(("shape", "spacing"), [((9, 7), (0.5, 2.0)), ((4, 5, 3), (1.5, 0.7, 1.0))])
def test_the_bound_of_the_gradients_norm_holds_and_is_near(shape: tuple[int, ...], spacing: tuple[float, ...]) -> None:
    variation = TotalVariation(shape, spacing)
    pixels = np.eye(int(np.prod(shape)), dtype=np.float32).reshape(-1, *shape)
    matrix = np.stack([gradient(pixel, variation).ravel() for pixel in pixels], axis=1)
    largest = float(np.linalg.norm(matrix.astype(np.float64), 2) ** 2)
    # Differences along n pixels have the eigenvalues 4 sin²(πk / 2n), k < n.
    exact = sum(4 * np.cos(np.pi / (2 * count)) ** 2 / h**2 for count, h in zip(shape, spacing, strict=True))
    assert largest == pytest.approx(exact, rel=1e-5)
    assert largest < variation.squared_norm == pytest.approx(4 * sum(h**-2 for h in spacing))


@pytest.fixture(scope="module")
def weighted() -> tuple[_Problem, np.ndarray]:
    """A problem whose rays weigh differently, and its operator √w·A as a matrix."""
    grid = Grid((10, 9), (1.2, 0.9))
    projector = MatrixProjector(grid, covering(grid, 7))
    generator = np.random.default_rng(3)
    integrals = generator.uniform(0.0, 5.0, projector.beam.shape).astype(np.float32)
    weights = poisson_weights(integrals, 50.0, 3.0)
    problem = _Problem(integrals, projector, 0.1, True, weights, None)
    return problem, np.sqrt(weights).reshape(-1, 1) * projector.matrix.toarray()


def test_weighted_rays_are_projected_and_projected_back_by_their_roots(weighted: tuple[_Problem, np.ndarray]) -> None:
    problem, matrix = weighted
    generator = np.random.default_rng(4)
    x = generator.normal(size=problem.start.shape).astype(np.float32)
    y = generator.normal(size=problem.target.shape).astype(np.float32)
    np.testing.assert_allclose(problem.forward(x).ravel(), matrix @ x.ravel(), atol=1e-4)
    np.testing.assert_allclose(problem.adjoint(y).ravel(), matrix.T @ y.ravel(), atol=1e-4)
    forwards = float(np.sum(problem.forward(x).astype(np.float64) * y))
    assert forwards == pytest.approx(float(np.sum(problem.adjoint(y).astype(np.float64) * x)), rel=1e-5)


def test_the_norm_of_weighted_rays_is_no_less_than_it_is(weighted: tuple[_Problem, np.ndarray]) -> None:
    problem, matrix = weighted
    largest = float(np.linalg.norm(matrix, 2) ** 2)
    assert largest <= problem.squared_norm() <= _MARGIN * largest * (1 + 1e-5)
