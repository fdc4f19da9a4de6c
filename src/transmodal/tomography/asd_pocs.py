"""ASD-POCS: sweeps of SART with steps down the total variation between them, as long as the steps ask for.

E. Y. Sidky, X. Pan, "Image reconstruction in circular cone-beam computed tomography by constrained, total-variation
minimization", Phys. Med. Biol. 53, 2008. It looks for the image of least total variation among those that are not
negative and agree with the projections within a discrepancy. There is no weight λ; the discrepancy is in its place.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from transmodal.errors import UserError
from transmodal.tomography import _total_variation_kernels as kernels
from transmodal.tomography.filtered_back_projection import checked_projections
from transmodal.tomography.iterative import (
    Floats,
    LinearProjector,
    OrderedSubsets,
    Progress,
    Reconstruction,
    inner,
    start_image,
)
from transmodal.tomography.tv_dual import TotalVariation

_FIRST_STEP = 0.002  # α: of the first descents, against the first change by SART (the paper has 0.2)
_LARGEST_RATIO = 0.95  # r_max: a descent that undoes more of SART's change gets shorter
_SHORTER = 0.95  # α_red
_WEAKER = 0.995  # β_red, of SART's relaxation from sweep to sweep
_FLAT = 1e-8  # of the image's largest value per mm: gradients below have no direction


def asd_pocs(
    projections: NDArray[Any],
    projector: LinearProjector,
    discrepancy: float,
    *,
    iterations: int = 30,
    descents: int = 20,
    subsets: int = 10,
    relaxation: float = 1.0,
    seed: int | None = 0,
    start: NDArray[Any] | None = None,
    progress: Progress | None = None,
) -> Reconstruction:
    """Reconstruct by sweeps of SART, each followed by steepest descents of the total variation.

    Args:
        projections, projector, start, progress: as for `iterative.sart`.
        discrepancy: ε as the root mean square of the rays' residuals, as a rule the standard deviation of the noise:
            while the residual is below, descents are not shortened.
        iterations: sweeps.
        descents: of the total variation after each sweep.
        subsets: of views in a sweep.
        relaxation: of the first sweep; it falls by 0.5 % a sweep.
        seed: of the order of the subsets.

    Returns:
        The image as SART left it in the last sweep, thus not negative and the nearest to the projections; `objective`
        holds ∫ |∇x| of the image that each sweep ended with.

    Raises:
        UserError: shapes that disagree with the geometry, values that are not finite, settings out of range.
    """
    if iterations < 1 or descents < 0 or not 0 < relaxation < 2 or not (np.isfinite(discrepancy) and discrepancy >= 0):
        raise UserError(
            "ASD-POCS needs an iteration, a relaxation above 0 and below 2, and a discrepancy and descents of 0 or "
            f"above, not {iterations}, {relaxation:g}, {discrepancy:g}, {descents}"
        )
    measured = checked_projections(projections, projector.beam, 1 if len(projector.grid.shape) == 2 else 0)
    image = start_image(start, measured, projector)
    variation = TotalVariation(image.shape, projector.grid.spacing)
    ordered = OrderedSubsets(measured, projector, subsets, seed)
    found, step = image, 0.0
    objective: list[float] = []
    for iteration in range(1, iterations + 1):
        found, _, residual = ordered.sweep(image, relaxation, non_negative=True)
        objective.append(variation.value(found))
        if progress is not None:
            progress(iteration, iterations, objective[-1])
        by_sweep = _distance(found, image)
        step = _FIRST_STEP * by_sweep if iteration == 1 else step
        image = _descend(found, variation, step, descents)
        if _distance(image, found) > _LARGEST_RATIO * by_sweep and residual > discrepancy:
            step *= _SHORTER
        relaxation *= _WEAKER
    return Reconstruction(found, objective, iterations, "iterations")


def _descend(image: Floats, variation: TotalVariation, step: float, descents: int) -> Floats:
    """Take steps of equal length down the total variation."""
    laid = image.reshape(variation.layout)
    nothing = np.zeros(variation.layout[1:], np.float32)
    direction = np.empty_like(laid)
    dual = variation.dual()
    # Its square must be no denormal number, which some machines take for 0.
    smallest = np.float32(max(_FLAT * float(laid.max()), 1e-15))
    for _ in range(descents):
        for slices, gradient, towards in zip(laid, dual, direction, strict=True):
            kernels.normalised_gradient(slices, gradient, variation.squares, smallest)
            kernels.primal(nothing, gradient, 0, slices.shape[0], np.float32(-np.inf), towards)
        length = np.sqrt(inner(direction, direction))
        if length == 0:
            break
        laid = laid + np.float32(step / length) * direction
    return laid.reshape(image.shape)


def _distance(first: Floats, second: Floats) -> float:
    change = first - second
    return float(np.sqrt(inner(change, change)))
