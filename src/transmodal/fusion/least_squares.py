"""Weighted least squares for many small problems at once, and profiles of what follows from their parameters.

Levenberg–Marquardt (Marquardt, J. SIAM 11 (1963) 431) with the damping scaled by the diagonal. A point of the profile
likelihood of a quantity g is where χ² + (g − g*)² / ε² is least: whatever ε is, no parameters with the same g have a
smaller χ², so that the point found is exact although g does not hit g* exactly.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from transmodal.fusion.curve_models import Model, frame_means

Array = npt.NDArray[np.float64]
Quantity = Callable[[Array], Array]
"""Parameters (…, P) → one value each, on a scale on which it may take any value (mostly a logarithm)."""

_STEP = 1e-5  # of numeric derivatives, in logarithms


@dataclass(frozen=True, eq=False)
class Problem:
    """Frames to which curves are fitted, and the curves.

    Attributes:
        model: which.
        starts, durations: (F,) s.
        decay: the isotope's λ, 1/s.
        values: (B, F), mean of each frame.
        variances: (B, F).
        bounds: (2, P), of the parameters.
    """

    model: Model
    starts: Array
    durations: Array
    decay: float
    values: Array
    variances: Array
    bounds: Array

    def means(self, theta: Array) -> Array:
        """Return the fitted mean of each frame, (B, F)."""
        return frame_means(self.model, theta, self.starts, self.durations, self.decay)[0]

    def chi2(self, theta: Array) -> Array:
        """Return χ² of each curve, (B,)."""
        return np.asarray(((self.values - self.means(theta)) ** 2 / self.variances).sum(-1))

    def of(self, places: npt.NDArray[np.int64]) -> "Problem":
        """Return a problem of some curves, perhaps several times each."""
        values, variances = self.values[places], self.variances[places]
        return Problem(self.model, self.starts, self.durations, self.decay, values, variances, self.bounds)


@dataclass(frozen=True, eq=False)
class Pull:
    """A pull of one quantity towards one value for each curve: (g − `towards`) / `width` is one more residual."""

    quantity: Quantity
    towards: Array
    width: Array

    def of(self, places: npt.NDArray[np.int64]) -> "Pull":
        """Return the pull of some curves."""
        return Pull(self.quantity, self.towards[places], self.width[places])


def gradient(quantity: Quantity, theta: Array) -> Array:
    """Return the derivatives of a quantity by the parameters, (B, P), by central differences.

    A quantity that is dear to compute may have a method `near`: parameters (B, P) → a cheap quantity that has the same
    value and slopes there.
    """
    near = getattr(quantity, "near", None)
    own: Quantity = quantity if near is None else near(theta)
    steps = np.eye(theta.shape[-1]) * _STEP
    around = theta[:, None, :]
    with np.errstate(invalid="ignore"):
        slopes = (own(around + steps) - own(around - steps)) / (2 * _STEP)
    return np.nan_to_num(np.asarray(slopes), posinf=0.0, neginf=0.0)


def minimise(problem: Problem, theta: Array, pull: Pull | None = None, *, iterations: int = 80) -> tuple[Array, Array]:
    """Return the parameters that minimise χ² (and the pull), from some beginnings (B, P), and χ² without the pull."""
    low, high = problem.bounds
    result = np.clip(theta, low, high)
    active = np.arange(len(result))  # those that still move; the others are no longer computed
    whole, everyone, begin = problem, pull, result
    damping = np.full(len(result), 1e-2)
    residuals, slopes = residuals_of(problem, begin, pull)
    cost = (residuals**2).sum(-1)
    for _ in range(iterations):
        normal = slopes.transpose(0, 2, 1) @ slopes
        downhill = -(slopes.transpose(0, 2, 1) @ residuals[..., None])[..., 0]
        # A parameter that stands at its bound and would leave takes no part in the step.
        stuck = ((begin <= low) & (downhill < 0)) | ((begin >= high) & (downhill > 0))
        normal = np.where(stuck[:, :, None] | stuck[:, None, :], 0.0, normal)
        scale = np.maximum(np.diagonal(normal, axis1=1, axis2=2), 1e-14)
        damped = normal + (damping[:, None] * scale + 1e-14)[:, :, None] * np.eye(begin.shape[-1])
        step = np.linalg.solve(damped, np.where(stuck, 0.0, downhill)[..., None])[..., 0]
        step *= np.minimum(1.0, 2.0 / np.maximum(np.abs(step).max(-1), 1e-300))[:, None]
        tried = np.clip(begin + step, low, high)
        new_residuals, new_slopes = residuals_of(problem, tried, pull)
        new_cost = (new_residuals**2).sum(-1)
        better = new_cost <= cost
        settled = better & (cost - new_cost <= 1e-13 * cost + 1e-22) & (np.abs(step).max(-1) < 1e-6)
        begin = np.where(better[:, None], tried, begin)
        residuals = np.where(better[:, None], new_residuals, residuals)
        slopes = np.where(better[:, None, None], new_slopes, slopes)
        cost = np.where(better, new_cost, cost)
        damping = np.where(better, damping * 0.2, damping * 5.0).clip(1e-12, 1e14)
        going = ~settled & (damping < 1e13)
        if going.all():
            continue
        result[active] = begin
        if not going.any():
            break
        active, begin, damping, cost = active[going], begin[going], damping[going], cost[going]
        residuals, slopes = residuals[going], slopes[going]
        problem = whole.of(active)
        pull = None if everyone is None else everyone.of(active)
    result[active] = begin
    return result, whole.chi2(result)


def covariance(problem: Problem, theta: Array) -> Array:
    """Return the covariance of the parameters by the slopes at the fit, (B, P, P)."""
    _, slopes = residuals_of(problem, theta)
    return np.asarray(np.linalg.pinv(slopes.transpose(0, 2, 1) @ slopes, rcond=1e-12, hermitian=True))


def residuals_of(problem: Problem, theta: Array, pull: Pull | None = None) -> tuple[Array, Array]:
    """Return how far each frame lies off in standard deviations, (B, F), and its slopes, (B, F, P); a pull is last."""
    means, slopes = frame_means(problem.model, theta, problem.starts, problem.durations, problem.decay)
    spread = np.sqrt(problem.variances)
    residuals, slopes = (means - problem.values) / spread, slopes / spread[..., None]
    if pull is None:
        return residuals, slopes
    value = np.nan_to_num(pull.quantity(theta), posinf=1e3, neginf=-1e3)
    more = ((value - pull.towards) / pull.width)[:, None]
    steep = gradient(pull.quantity, theta) / pull.width[:, None]
    return np.concatenate([residuals, more], axis=1), np.concatenate([slopes, steep[:, None]], axis=1)


def delta_interval(
    problem: Problem, theta: Array, quantity: Quantity, threshold: Array
) -> tuple[Array, Array, Array, Array]:
    """Return value, ends and standard deviation as `profile_interval` does, but by the slopes at the fit alone."""
    steep = gradient(quantity, theta)
    variance = np.einsum("bp,bpq,bq->b", steep, covariance(problem, theta), steep)
    value, reach = quantity(theta), np.sqrt(np.maximum(variance, 1e-16) * threshold)
    return value, value - reach, value + reach, reach / np.sqrt(_USUAL)


_USUAL = 3.84  # of Δχ², for 95 %
_REACH = np.array([0.5, 1.0, 1.4, 1.7, 1.96, 2.2, 2.6, 3.2, 4.0, 5.5, 8.0])  # standard deviations at which to look
_WIDEST = 1.5  # of a standard deviation, in logarithms: flat quantities are followed no farther than e^±12


def profile_interval(
    problem: Problem, theta: Array, quantity: Quantity, threshold: Array
) -> tuple[Array, Array, Array, Array]:
    """Return where the profile of a quantity has risen by `threshold` over the least χ², below and above.

    Args:
        problem: B curves.
        theta: (B, P), their fits.
        quantity: see `Quantity`.
        threshold: (B,), 3.84 for 95 %.

    Returns:
        Value, lower and upper end, (B,) each; an end that is not reached is infinite. And the standard deviation by the
        delta method, wider where the threshold is.
    """
    best, least = quantity(theta), problem.chi2(theta)
    spread = covariance(problem, theta)
    steep = gradient(quantity, theta)
    towards = (spread @ steep[..., None])[..., 0]
    variance = np.maximum((steep * towards).sum(-1), 1e-16)
    sd = np.sqrt(variance * threshold / _USUAL)
    width = np.minimum(sd, _WIDEST)
    reach = np.concatenate([-_REACH[::-1], _REACH])
    count, looks = len(theta), len(reach)
    targets = best[:, None] + reach * width[:, None]  # (B, looks)
    begin = (
        theta[:, None] + (targets - best[:, None])[..., None] * np.clip(towards / variance[:, None], -50, 50)[:, None]
    )
    places = np.repeat(np.arange(count), looks)
    many = problem.of(places)
    pull = Pull(quantity, targets.ravel(), np.repeat(0.05 * width, looks))
    found, chi2 = minimise(many, begin.reshape(count * looks, -1), pull, iterations=60)

    def cost(parameters: Array, own: Array, of: Pull) -> Array:
        return np.asarray(own + ((quantity(parameters) - of.towards) / of.width) ** 2)

    half = looks // 2
    # Where χ² rises more than a parabola would, a neighbour nearer the middle may have found a better way: follow it.
    paid = cost(found, chi2, pull)
    steep_rise = paid - np.repeat(least, looks) > 0.1 + 1.2 * (reach**2 * threshold[:, None] / _USUAL).ravel()
    places = np.flatnonzero(steep_rise)
    if places.size:
        chain = found.reshape(count, looks, -1)
        neighbours = np.concatenate([chain[:, 1:half], theta[:, None], theta[:, None], chain[:, half:-1]], axis=1)
        begin = neighbours.reshape(count * looks, -1)[places]
        again, chi2_again = minimise(many.of(places), begin, pull.of(places), iterations=60)
        better = cost(again, chi2_again, pull.of(places)) < paid[places]
        found[places[better]], chi2[places[better]] = again[better], chi2_again[better]
    values = quantity(found).reshape(count, looks)
    risen = np.sqrt(np.maximum(chi2.reshape(count, looks) - least[:, None], 0.0) / threshold[:, None])
    low = np.array([crossing(best[i], values[i, :half][::-1], risen[i, :half][::-1], -1.0) for i in range(count)])
    high = np.array([crossing(best[i], values[i, half:], risen[i, half:], 1.0) for i in range(count)])
    return best, low, high, sd


def crossing(best: float, values: Array, risen: Array, side: float) -> float:
    """Return where √(Δχ² / threshold) reaches 1 on one side, from the middle outwards; infinite where it does not.

    Looks that fell back behind the one before are passed over: the quantity cannot be pulled farther there.
    """
    farthest, before = best, 0.0
    for value, own in zip(values, risen, strict=True):
        if (value - farthest) * side <= 0:
            continue
        if own >= 1.0:
            # A curve that turned back between two looks counts from its last low point.
            share = (1.0 - before) / max(own - before, 1e-12)
            return float(farthest + min(max(share, 0.0), 1.0) * (value - farthest))
        farthest, before = value, own
    return side * np.inf
