"""Total variation: of an image, to denoise one, and to reconstruct one from projections.

Total variation is the integral of the gradient's length (isotropic, forward differences): the perimeter of what is in
the image times how far it stands out. With attenuation in 1/mm it has no unit in a slice and mm in a volume, and does
not change with the grid. Reconstruction minimises

    F(x) = ½ Σ_rays weight · (A x − y)² + λ ∫ |∇x|,  x ≥ 0 unless told otherwise.

λ thus keeps its meaning when the grid is refined; what it is held against grows with the number of rays, as the
evidence does. With each ray's weight 1 and noise of variance σ² on the rays, λ grows with σ²; with `poisson_weights` F
is a negative logarithm of likelihood and prior, and λ does without.

PDHG: A. Chambolle, T. Pock, "A first-order primal-dual algorithm for convex problems with applications to imaging",
J. Math. Imaging Vision 40, 2011; for CT, E. Y. Sidky et al., Phys. Med. Biol. 57, 2012. FISTA: A. Beck, M. Teboulle,
SIAM J. Imaging Sciences 2(1), 2009, with the restart by function value of B. O'Donoghue, E. Candès, Found. Comput.
Math. 15, 2015.
"""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from transmodal.errors import UserError
from transmodal.tomography import _total_variation_kernels as kernels
from transmodal.tomography.filtered_back_projection import checked_projections
from transmodal.tomography.iterative import LinearProjector, Progress, Reconstruction, inner, start_image
from transmodal.tomography.tv_dual import DualAscent, Floats, TotalVariation, contiguous

WINDOW = 10  # iterations over which the objective must change by less than the tolerance
_POWER_ITERATIONS = 20
_MARGIN = 1.02  # of a norm by power iteration, which comes from below
_DEEPER = 16  # times the first number of inner iterations, at most


def total_variation(
    image: NDArray[Any], spacing: tuple[float, ...] | None = None, *, spatial_dims: int | None = None
) -> float:
    """Return ∫ |∇x| of an image.

    Args:
        image: (rows, columns) or (slices, rows, columns).
        spacing: mm, one an axis; 1 without.
        spatial_dims: 2 takes a stack of slices one by one and returns the sum; by default the image's own.

    Returns:
        The image's unit times mm in a slice, times mm² in a volume.

    Raises:
        UserError: not 2 or 3 axes, a spacing that does not fit, values that are not finite.
    """
    pixels, variation = _prepared(image, spacing, spatial_dims)
    return variation.value(pixels)


def denoise_tv(
    image: NDArray[Any],
    weight: float,
    iterations: int = 100,
    *,
    spacing: tuple[float, ...] | None = None,
    spatial_dims: int | None = None,
    accelerated: bool = False,
    lowest: float | None = None,
) -> Floats:
    """Return argmin_x ½ ‖x − image‖² + weight · Σ |∇x|, as near as the iterations come.

    Without spacing the weight is that of `skimage.restoration.denoise_tv_chambolle`, and so is the result: that of
    its `max_num_iter = iterations + 1` with `eps=0`, because it counts the unchanged image as its first.

    Args:
        image: (rows, columns) or (slices, rows, columns), in any unit.
        weight: in the image's unit times mm, at least 0: about the height of the noise that goes, times its size.
        iterations: of the dual ascent.
        spacing: mm, one an axis; 1 without, and the weight then counts in pixels.
        spatial_dims: 2 denoises a stack of slices one by one; by default the image's own.
        accelerated: with momentum (Beck and Teboulle) instead of Chambolle's ascent: nearer to the minimum after the
            same number of iterations, at 1.6 times the cost of each.
        lowest: no pixel of the result is below; this needs `accelerated`.

    Returns:
        float32, of the image's shape.

    Raises:
        UserError: not 2 or 3 axes, a spacing that does not fit, values that are not finite, a negative weight.
    """
    pixels, variation = _prepared(image, spacing, spatial_dims)
    if not (np.isfinite(weight) and weight >= 0):
        raise UserError(f"the weight of total variation must be 0 or above, not {weight}")
    if iterations < 1:
        raise UserError(f"denoising needs at least one iteration, not {iterations}")
    if lowest is not None and not accelerated:
        raise UserError("a lowest value needs accelerated=True; Chambolle's ascent knows no bounds")
    bound = -math.inf if lowest is None else lowest
    return DualAscent(variation, accelerated=accelerated).denoise(pixels, weight, iterations, bound)


def poisson_weights(projections: NDArray[Any], photons: float, electronic: float = 0.0) -> Floats:
    """Return how much each ray is worth under photon noise: the reciprocal of the variance of −ln(counts / photons).

    Rays through air weigh most and have nothing to tell, but bind the steps of both methods, which then need several
    times as many iterations: `np.minimum(weights, np.median(weights))` loses little.

    Args:
        projections: line integrals without unit.
        photons: I₀ of each ray before the object.
        electronic: standard deviation of the detector's noise, in photons.

    Raises:
        UserError: no photons, or negative noise.
    """
    if not (np.isfinite(photons) and photons > 0 and electronic >= 0):
        raise UserError(f"weights need photons above 0 and electronic noise of 0 or above, not {photons}, {electronic}")
    counts = photons * np.exp(-np.asarray(projections, dtype=np.float64))
    return (counts**2 / (counts + electronic**2)).astype(np.float32)


def tv_pdhg(
    projections: NDArray[Any],
    projector: LinearProjector,
    weight: float,
    *,
    iterations: int = 500,
    non_negative: bool = True,
    ray_weights: NDArray[Any] | None = None,
    start: NDArray[Any] | None = None,
    data_step: float = 0.05,
    tolerance: float = 1e-5,
    progress: Progress | None = None,
) -> Reconstruction:
    """Reconstruct with total variation by the primal-dual method of Chambolle and Pock.

    The operator is (A, κ∇) with κ = ‖A‖ / ‖∇‖, so that both parts bind the steps alike: σ_A ‖A‖² = σ_∇ ‖∇‖² = 1/(2τ),
    with ‖∇‖² ≤ 4 Σ 1/h². Cheap iterations (one projection, one adjoint) and many of them; :func:`tv_fista` needs fewer.

    Args:
        projections: line integrals without unit, of the beam's shape; planar ones also (n, views, bins).
        projector: of the scan.
        weight: λ, at least 0; the module says what it means.
        iterations: at most.
        non_negative: only attenuation of 0 or above.
        ray_weights: of the projections' shape or one that broadcasts to it, at least 0, such as `poisson_weights`.
        start: image to begin with, 1/mm, such as FBP's; zeros without.
        data_step: σ_A. Small ones lend momentum to what the projections hardly see; near 1 is plain descent.
        tolerance: stop when the objective has stayed within this fraction of itself for ten iterations.
        progress: called after each iteration.

    Returns:
        The image after the last iteration; `objective` holds F of each iterate. It does not fall monotonically.

    Raises:
        UserError: shapes that disagree with the geometry, values that are not finite, settings out of range.
    """
    if not (np.isfinite(data_step) and data_step > 0):
        raise UserError(f"the data step must be above 0, not {data_step}")
    problem = _Problem(projections, projector, weight, non_negative, ray_weights, start)
    step = 1 / (2 * data_step * problem.squared_norm())  # τ
    ascent = np.float32(0.5 / problem.variation.squared_norm) * problem.variation.squares  # τ·σ_∇ / h²
    bound = np.float32(step * problem.tv_weight)
    image, seen = problem.start, problem.forward(problem.start)
    ahead, seen_ahead = image, seen
    residual_dual = np.zeros_like(seen)
    gradient_dual, earlier = problem.variation.dual(), problem.variation.dual()  # times τ
    objective: list[float] = []
    for iteration in range(1, iterations + 1):
        residual_dual += np.float32(data_step) * (seen_ahead - problem.target)
        residual_dual /= np.float32(1 + data_step)
        laid = ahead.reshape(problem.variation.layout)
        for index, slices in enumerate(laid):
            kernels.ascend_from(slices, gradient_dual[index], earlier[index], ascent, problem.variation.squares, bound)
        descended = image - np.float32(step) * problem.adjoint(residual_dual)
        following = problem.add_divergence(descended, gradient_dual)
        seen_following = problem.forward(following)
        ahead, seen_ahead = 2 * following - image, 2 * seen_following - seen
        image, seen = following, seen_following
        objective.append(problem.objective(image, seen))
        if progress is not None:
            progress(iteration, iterations, objective[-1])
        if has_come_to_rest(objective, tolerance):
            return Reconstruction(image, objective, iteration, "tolerance")
    return Reconstruction(image, objective, iterations, "iterations")


def tv_fista(
    projections: NDArray[Any],
    projector: LinearProjector,
    weight: float,
    *,
    iterations: int = 100,
    inner_iterations: int = 10,
    non_negative: bool = True,
    ray_weights: NDArray[Any] | None = None,
    start: NDArray[Any] | None = None,
    tolerance: float = 1e-5,
    progress: Progress | None = None,
) -> Reconstruction:
    """Reconstruct with total variation by accelerated proximal gradient steps that never raise the objective.

    A hundred iterations from FBP come within about 2e-3 of the least objective (256², 60 views).

    The step is 1/‖A‖², shortened where the power iteration had fallen short. The proximal map is TV denoising whose
    dual is kept from step to step. A step that would raise the objective is not taken: the momentum starts afresh, and
    if even that does not help, inner iterations are doubled.

    Args:
        projections, projector, weight, non_negative, ray_weights, start, tolerance, progress: as for
            :func:`tv_pdhg`.
        iterations: at most; each takes one projection and one adjoint.
        inner_iterations: of the denoising, to begin with.

    Returns:
        The image of the lowest objective; `objective` holds the lowest F so far after each iteration.

    Raises:
        UserError: as :func:`tv_pdhg`.
    """
    if inner_iterations < 1:
        raise UserError(f"the proximal map needs at least one inner iteration, not {inner_iterations}")
    problem = _Problem(projections, projector, weight, non_negative, ray_weights, start)
    descent = _ProximalGradient(problem, inner_iterations)
    image, seen = problem.start, problem.forward(problem.start)
    point, seen_point, age = image, seen, 1.0
    lowest = problem.objective(image, seen)
    objective: list[float] = []
    for iteration in range(1, iterations + 1):
        candidate, seen_candidate = descent.step(point, seen_point)
        reached = problem.objective(candidate, seen_candidate)
        descended = reached < lowest
        if descended:
            following = (1 + math.sqrt(1 + 4 * age**2)) / 2
            momentum = np.float32((age - 1) / following)
            point = candidate + momentum * (candidate - image)
            seen_point = seen_candidate + momentum * (seen_candidate - seen)
            image, seen, age, lowest = candidate, seen_candidate, following, reached
        objective.append(lowest)
        if progress is not None:
            progress(iteration, iterations, lowest)
        if not descended:
            if age == 1 and not descent.deepen():
                return Reconstruction(image, objective, iteration, "no descent")
            point, seen_point, age = image, seen, 1.0
        elif has_come_to_rest(objective, tolerance):
            return Reconstruction(image, objective, iteration, "tolerance")
    return Reconstruction(image, objective, iterations, "iterations")


class _Problem:
    """F with everything given, checked; the weights of the rays are drawn into the projector as their roots."""

    def __init__(
        self,
        projections: NDArray[Any],
        projector: LinearProjector,
        weight: float,
        non_negative: bool,
        ray_weights: NDArray[Any] | None,
        start: NDArray[Any] | None,
    ) -> None:
        if not (np.isfinite(weight) and weight >= 0):
            raise UserError(f"the weight of total variation must be 0 or above, not {weight}")
        grid = projector.grid
        measured = checked_projections(projections, projector.beam, extra_axes=1 if len(grid.shape) == 2 else 0)
        self._projector = projector
        self._roots = None if ray_weights is None else _roots(ray_weights, measured.shape)
        self.target = measured if self._roots is None else self._roots * measured
        self.lowest = 0.0 if non_negative else -math.inf
        self.start = np.maximum(start_image(start, measured, projector), np.float32(self.lowest))
        self.variation = TotalVariation(self.start.shape, grid.spacing)
        self.weight = weight
        self.tv_weight = weight * self.variation.measure  # of Σ |∇x| instead of the integral

    def forward(self, image: Floats) -> Floats:
        seen = self._projector.forward(image)
        return seen if self._roots is None else self._roots * seen

    def adjoint(self, residual: Floats) -> Floats:
        return self._projector.adjoint(residual if self._roots is None else self._roots * residual)

    def objective(self, image: Floats, seen: Floats) -> float:
        residual = seen - self.target
        return 0.5 * inner(residual, residual) + self.weight * self.variation.value(image)

    def add_divergence(self, image: Floats, dual: Floats) -> Floats:
        """Return the image plus the divergence of a dual variable, not below the bound."""
        laid = image.reshape(self.variation.layout)
        result = np.empty_like(laid)
        for index, slices in enumerate(laid):
            kernels.primal(slices, dual[index], 0, slices.shape[0], np.float32(self.lowest), result[index])
        return result.reshape(image.shape)

    def squared_norm(self) -> float:
        """Return ‖A‖², rays weighted, and rather more than less.

        Raises:
            UserError: no ray meets the grid.
        """
        squared = self._projector.norm() ** 2 if self._roots is None else self._power_iteration()
        if not squared > 0:
            raise UserError("no ray meets the grid (or all ray weights are 0): compare its extent with the detector's")
        return _MARGIN * squared

    def _power_iteration(self) -> float:
        # Attenuation, lengths and weights have no negative values: ones are no bad beginning, and the same every time.
        image = np.ones(self.start.shape, np.float32)
        squared = 0.0
        for _ in range(_POWER_ITERATIONS):
            image = self.adjoint(self.forward(image))
            squared = math.sqrt(inner(image, image))
            if squared == 0:
                break
            image /= np.float32(squared)
        return squared


class _ProximalGradient:
    """Steps x ← prox(x − Aᵀ(A x − y) / L), with L and the dual of the proximal map kept."""

    def __init__(self, problem: _Problem, iterations: int) -> None:
        self._problem = problem
        self._dual = DualAscent(problem.variation, accelerated=True)
        self._curvature = problem.squared_norm()
        self._iterations = iterations
        self._most = _DEEPER * iterations

    def step(self, point: Floats, seen: Floats) -> tuple[Floats, Floats]:
        """Return the image that a step from a point leads to, and its projections."""
        problem = self._problem
        gradient = problem.adjoint(seen - problem.target)
        while True:
            descended = point - np.float32(1 / self._curvature) * gradient
            weight = problem.tv_weight / self._curvature
            image = self._dual.denoise(descended, weight, self._iterations, problem.lowest)
            seen_image = problem.forward(image)
            across, along = seen_image - seen, image - point
            curved, moved = inner(across, across), inner(along, along)
            if curved <= 1.0001 * self._curvature * moved:
                return image, seen_image
            self._curvature = _MARGIN * curved / moved

    def deepen(self) -> bool:
        """Double the inner iterations; say whether that was still possible."""
        self._iterations *= 2
        return self._iterations <= self._most


def has_come_to_rest(objective: list[float], tolerance: float) -> bool:
    """Say whether the last ten values stayed within a fraction of the last one; never for a tolerance of 0."""
    recent = objective[-WINDOW - 1 :]
    return tolerance > 0 and len(recent) > WINDOW and max(recent) - min(recent) <= tolerance * abs(recent[-1])


def _roots(ray_weights: NDArray[Any], shape: tuple[int, ...]) -> Floats:
    """Return the roots of the rays' weights.

    Raises:
        UserError: a shape that does not broadcast to the projections, or negative or infinite weights.
    """
    weights = np.asarray(ray_weights, dtype=np.float32)
    if weights.shape != shape[len(shape) - weights.ndim :]:
        raise UserError(f"ray weights have shape {weights.shape}, the projections {shape}")
    if not (np.isfinite(weights).all() and (weights >= 0).all()):
        raise UserError("ray weights must be finite and 0 or above")
    return np.sqrt(weights)


def _prepared(
    image: NDArray[Any], spacing: tuple[float, ...] | None, spatial_dims: int | None
) -> tuple[Floats, TotalVariation]:
    pixels = contiguous(image)
    axes = pixels.ndim if spatial_dims is None else spatial_dims
    if axes not in (2, 3) or not axes <= pixels.ndim <= 3 or pixels.size == 0:
        raise UserError(f"total variation in {axes} dimensions of an array of shape {pixels.shape}: give 2 or 3 axes")
    lengths = (1.0,) * axes if spacing is None else tuple(float(length) for length in spacing)
    if len(lengths) != axes or not all(np.isfinite(length) and length > 0 for length in lengths):
        raise UserError(f"spacing {spacing} must be {axes} lengths above 0 mm")
    if not np.isfinite(pixels).all():
        raise UserError("the image holds values that are not finite: replace or mask them first")
    return pixels, TotalVariation(pixels.shape, lengths)
