"""Algebraic reconstruction: SIRT, and SART over ordered subsets of views.

A. H. Andersen, A. C. Kak, "Simultaneous algebraic reconstruction technique (SART)", Ultrasonic Imaging 6, 1984;
J. Gregor, T. Benson, "Computational analysis and improvement of SIRT", IEEE Trans. Med. Imaging 27(7), 2008. With A the
projector, R and C the reciprocals of its row and column sums and ω the relaxation, a step is

    x ← x + ω C Aᵀ R (y − A x)

for all views at once (SIRT) or for one subset of views after the other (SART). SIRT lowers ½ ‖y − A x‖²_R for every
0 < ω < 2. Rays that miss the grid and pixels that no ray meets have sums of zero and are left alone.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, Protocol, cast

import numpy as np
from numpy.typing import NDArray

from transmodal.errors import UserError
from transmodal.tomography.filtered_back_projection import checked_projections
from transmodal.tomography.geometry import Beam, Grid

Floats = NDArray[np.float32]
Progress = Callable[[int, int, float], None]  # iteration from 1 on, of how many, objective
Stopped = Literal["iterations", "tolerance", "discrepancy", "no descent"]

_CACHED = 2**28  # numbers, 1 GB: column sums of all subsets beyond that are made anew in every sweep


class LinearProjector(Protocol):
    """What reconstruction needs of a projector; `operator.Projector` is one.

    Images are float32 of the grid's shape, projections of the beam's; planar ones may have a leading axis of slices.
    """

    @property
    def grid(self) -> Grid: ...

    @property
    def beam(self) -> Beam: ...

    def forward(self, image: NDArray[Any]) -> Floats:
        """Return line integrals."""
        ...

    def adjoint(self, sinogram: NDArray[Any]) -> Floats:
        """Return the exact transpose of `forward` applied to projections."""
        ...

    def norm(self) -> float:
        """Return the largest singular value."""
        ...

    def row_sums(self) -> Floats:
        """Return the projections of an image of ones."""
        ...

    def column_sums(self) -> Floats:
        """Return the adjoint of projections of ones."""
        ...


@dataclass(frozen=True)
class Reconstruction:
    """An image and how it was reached.

    Attributes:
        image: attenuation in 1/mm, float32.
        objective: what the method lowers, one value an iteration; its function says of which image.
        iterations: how many were made; as many as `objective` has values.
        stopped: "iterations" when all were made, "tolerance" when too little changed, "discrepancy" when the residual
            had come down to the noise, "no descent" when rounding left nothing to gain.
    """

    image: Floats
    objective: list[float]
    iterations: int
    stopped: Stopped


def sirt(
    projections: NDArray[Any],
    projector: LinearProjector,
    *,
    iterations: int = 100,
    relaxation: float = 1.0,
    non_negative: bool = True,
    start: NDArray[Any] | None = None,
    tolerance: float = 0.0,
    discrepancy: float | None = None,
    progress: Progress | None = None,
) -> Reconstruction:
    """Reconstruct by steps that take all views at once.

    Args:
        projections: line integrals without unit, of the beam's shape; planar ones also (n, views, bins).
        projector: of the scan.
        iterations: at most.
        relaxation: ω, above 0 and below 2.
        non_negative: set negative attenuation to 0 after each step.
        start: image to begin with, 1/mm; zeros without.
        tolerance: stop when a step changes the image by less than this fraction of its norm.
        discrepancy: stop when the root mean square of the residual's rays has come down to this, as a rule the
            standard deviation of the noise.
        progress: called after each iteration.

    Returns:
        The image; `objective` holds ½ ‖y − A x‖²_R of the image that each step set out from.

    Raises:
        UserError: shapes that disagree with the geometry, values that are not finite, settings out of range.
    """
    measured = checked_projections(projections, projector.beam, _leading(projector))
    _check_settings(iterations, relaxation, tolerance, discrepancy)
    image = start_image(start, measured, projector)
    rows, columns = reciprocal(projector.row_sums()), np.float32(relaxation) * reciprocal(projector.column_sums())
    objective: list[float] = []
    for iteration in range(1, iterations + 1):
        residual = measured - projector.forward(image)
        scaled = rows * residual
        objective.append(0.5 * inner(scaled, residual))
        if progress is not None:
            progress(iteration, iterations, objective[-1])
        if discrepancy is not None and root_mean_square(residual) <= discrepancy:
            return Reconstruction(image, objective, iteration, "discrepancy")
        following = image + columns * projector.adjoint(scaled)
        if non_negative:
            np.maximum(following, 0, out=following)
        settled = has_settled(image, following, tolerance)
        image = following
        if settled:
            return Reconstruction(image, objective, iteration, "tolerance")
    return Reconstruction(image, objective, iterations, "iterations")


def sart(
    projections: NDArray[Any],
    projector: LinearProjector,
    *,
    iterations: int = 10,
    subsets: int = 10,
    relaxation: float = 0.5,
    non_negative: bool = True,
    seed: int | None = 0,
    start: NDArray[Any] | None = None,
    tolerance: float = 0.0,
    discrepancy: float | None = None,
    progress: Progress | None = None,
) -> Reconstruction:
    """Reconstruct by sweeps over subsets of views, each a step of its own; about as many times faster than SIRT.

    With noisy or inconsistent projections and a fixed relaxation the image does not come to rest but circles near
    the least-squares solution, the closer the smaller ω is.

    Args:
        projections, projector, start, progress: as for :func:`sirt`; because each subset gets a projector, this one
            must have `at(beam)`, or a class that is made of a grid and a beam.
        iterations: sweeps over all views, at most.
        subsets: how many; subset s has the views s, s + subsets, s + 2·subsets, …. As many as there are views where
            those are fewer: the classical SART.
        relaxation: ω, above 0 and below 2.
        non_negative: set negative attenuation to 0 after each subset.
        seed: of the order of the subsets, drawn anew for each sweep; None takes them as they are numbered.
        tolerance, discrepancy: as for :func:`sirt`, of a whole sweep. The residual is that met on the way.

    Returns:
        The image; `objective` holds ½ ‖y − A x‖²_R, each ray with the image that its subset met in that sweep.

    Raises:
        UserError: as :func:`sirt`, and fewer than one subset.
    """
    measured = checked_projections(projections, projector.beam, _leading(projector))
    _check_settings(iterations, relaxation, tolerance, discrepancy)
    image = start_image(start, measured, projector)
    ordered = OrderedSubsets(measured, projector, subsets, seed)
    objective: list[float] = []
    for iteration in range(1, iterations + 1):
        before = image
        image, value, residual = ordered.sweep(image, relaxation, non_negative)
        objective.append(value)
        if progress is not None:
            progress(iteration, iterations, value)
        if discrepancy is not None and residual <= discrepancy:
            return Reconstruction(image, objective, iteration, "discrepancy")
        if has_settled(before, image, tolerance):
            return Reconstruction(image, objective, iteration, "tolerance")
    return Reconstruction(image, objective, iterations, "iterations")


@dataclass(frozen=True)
class _Subset:
    """Some views: their projector, projections, reciprocal row sums, and reciprocal column sums if kept."""

    projector: LinearProjector
    measured: Floats
    rows: Floats
    columns: Floats | None


class OrderedSubsets:
    """Views cut into interleaved subsets, with what a sweep over them needs.

    Args:
        measured: projections as `checked_projections` gives them.
        projector: of all views.
        subsets: how many, at least 1.
        seed: of the order in each sweep; None for that of their numbers.
    """

    def __init__(self, measured: Floats, projector: LinearProjector, subsets: int, seed: int | None) -> None:
        if subsets < 1:
            raise UserError(f"SART needs at least one subset of views, not {subsets}")
        angles = np.asarray(projector.beam.angles)
        subsets = min(subsets, angles.size)
        self._random = None if seed is None else np.random.default_rng(seed)
        self._count = measured.size
        kept = subsets * int(np.prod(projector.grid.shape)) <= _CACHED
        make = getattr(projector, "at", None) or partial(_made_of, projector)
        axis = measured.ndim - len(projector.beam.shape)
        all_rows = projector.row_sums()
        self._subsets: list[_Subset] = []
        for first in range(subsets):
            part: LinearProjector = make(projector.beam.at(angles[first::subsets]))
            views = np.ascontiguousarray(measured[(slice(None),) * axis + (slice(first, None, subsets),)])
            columns = _columns(part) if kept else None
            self._subsets.append(_Subset(part, views, reciprocal(all_rows[first::subsets]), columns))

    def _order(self) -> Iterator[_Subset]:
        numbers = range(len(self._subsets))
        for number in numbers if self._random is None else self._random.permutation(len(numbers)):
            yield self._subsets[number]

    def sweep(self, image: Floats, relaxation: float, non_negative: bool) -> tuple[Floats, float, float]:
        """Take one step for each subset.

        Args:
            image: 1/mm; left as it is.
            relaxation: ω.
            non_negative: set negative attenuation to 0 after each subset.

        Returns:
            The new image, ½ ‖y − A x‖²_R and the root mean square of the residual, both as met on the way.
        """
        value = squares = 0.0
        for subset in self._order():
            residual = subset.measured - subset.projector.forward(image)
            scaled = subset.rows * residual
            value += 0.5 * inner(scaled, residual)
            squares += inner(residual, residual)
            columns = _columns(subset.projector) if subset.columns is None else subset.columns
            image = image + np.float32(relaxation) * columns * subset.projector.adjoint(scaled)
            if non_negative:
                np.maximum(image, 0, out=image)
        return image, value, float(np.sqrt(squares / self._count))


def start_image(start: NDArray[Any] | None, measured: Floats, projector: LinearProjector) -> Floats:
    """Return a copy of the image to begin with, or zeros.

    Raises:
        UserError: its shape is not that of the grid (with the leading axis of the projections), or it is not finite.
    """
    shape = measured.shape[: measured.ndim - len(projector.beam.shape)] + projector.grid.shape
    if start is None:
        return np.zeros(shape, np.float32)
    image = np.array(start, dtype=np.float32, order="C")
    if image.shape != shape:
        raise UserError(f"the start image has shape {image.shape}, these projections on this grid need {shape}")
    if not np.isfinite(image).all():
        raise UserError("the start image holds values that are not finite")
    return image


def reciprocal(sums: NDArray[Any]) -> Floats:
    """Return 1 / sums, and 0 where a ray misses the grid or no ray meets a pixel."""
    smallest = 1e-6 * float(sums.max(initial=0.0))
    return np.divide(1, sums, out=np.zeros(sums.shape, np.float32), where=sums > smallest)


def inner(first: NDArray[Any], second: NDArray[Any]) -> float:
    """Return the inner product of two arrays, summed in double precision."""
    return float(np.sum(first * second, dtype=np.float64))


def root_mean_square(values: NDArray[Any]) -> float:
    """Return the root of the mean square, summed in double precision."""
    return float(np.sqrt(inner(values, values) / values.size))


def _made_of(projector: LinearProjector, beam: Beam) -> LinearProjector:
    return cast(Callable[[Grid, Beam], LinearProjector], type(projector))(projector.grid, beam)


def _columns(projector: LinearProjector) -> Floats:
    """Return the reciprocal column sums of a subset, which its projector itself need not keep."""
    return reciprocal(projector.adjoint(np.ones(projector.beam.shape, np.float32)))


def has_settled(before: Floats, after: Floats, tolerance: float) -> bool:
    """Say whether an image has changed by no more than a fraction of its norm; never for a tolerance of 0."""
    if tolerance <= 0:
        return False
    change = after - before
    return inner(change, change) <= tolerance**2 * inner(after, after)


def _leading(projector: LinearProjector) -> int:
    """Return how many axes may stand before the beam's: slices of a planar scan."""
    return 1 if len(projector.grid.shape) == 2 else 0


def _check_settings(iterations: int, relaxation: float, tolerance: float, discrepancy: float | None) -> None:
    """Refuse settings for which there is nothing to do or no convergence."""
    if iterations < 1:
        raise UserError(f"reconstruction needs at least one iteration, not {iterations}")
    if not 0 < relaxation < 2:
        raise UserError(f"relaxation must lie above 0 and below 2, not at {relaxation:g}: the steps would not converge")
    if not (np.isfinite(tolerance) and tolerance >= 0):
        raise UserError(f"the tolerance must be 0 or above, not {tolerance}")
    if discrepancy is not None and not (np.isfinite(discrepancy) and discrepancy >= 0):
        raise UserError(f"the discrepancy must be 0 or above, not {discrepancy}")
