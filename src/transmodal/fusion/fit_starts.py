"""Where fits begin: a grid of half-times and shares, with the amplitudes best for each by linear least squares."""

from itertools import combinations, product

import numpy as np
import numpy.typing as npt

from transmodal.fusion.curve_models import SIGNED_UNIT, Model, frame_means
from transmodal.fusion.least_squares import Problem

Array = npt.NDArray[np.float64]
_GRID = 9
_KEPT = 4
_KEPT_SIGNED = 16  # amplitudes of any sign have more false valleys
_SLOWEST = 1e5  # times the observation: what stays has no rate to speak of
_QUICKEST = 0.02  # of the shortest frame
_SHARES = (1.0, 0.8, 0.3)
_LEAST_SHARE = 1e-3


def bounds_of(model: Model, starts: Array, durations: Array, values: Array) -> Array:
    """Return the least and the greatest logarithm of each parameter, (2, P)."""
    last, shortest = _scales(starts, durations)
    scale = float(np.abs(values).max()) or 1.0
    most = np.arcsinh(scale * 1e4 / SIGNED_UNIT)
    sizes = [-most, most] if model.signed else [np.log(scale * 1e-5), np.log(scale * 1e4)]
    rates = [np.log(np.log(2.0) / (_SLOWEST * last)), np.log(np.log(2.0) / (_QUICKEST * shortest))]
    shares = [np.log(_LEAST_SHARE), 0.0]
    number = len(model.parameters) - model.amplitudes - model.shares
    return np.array([sizes] * model.amplitudes + [shares] * model.shares + [rates] * number).T


def beginnings(problem: Problem) -> Array:
    """Return the most promising parameters to begin from, (B, S, P)."""
    model, low = problem.model, problem.bounds[0]
    last, shortest = _scales(problem.starts, problem.durations)
    rates = np.log(2.0) / np.geomspace(5 * last, shortest / 2, _GRID)  # rising
    number = len(model.parameters) - model.amplitudes - model.shares
    sets = np.array(list(combinations(rates, number)))
    sets[:, 1:] = np.diff(sets, axis=1)  # later rates are kept as what they are above the one before
    shares = list(product(_SHARES, repeat=model.shares))
    grid = np.log([[*each, *own] for each in shares for own in sets])
    theta = np.concatenate([np.zeros((len(grid), model.amplitudes)), grid], axis=1)
    _, slopes = frame_means(model, theta, problem.starts, problem.durations, problem.decay)
    basis = slopes[..., : model.amplitudes]  # (S, F, A): amplitudes of 1, or of the unit
    weights = 1.0 / problem.variances  # (B, F)
    normal = np.einsum("sfa,bf,sfc->bsac", basis, weights, basis)
    normal += 1e-9 * np.trace(normal, axis1=2, axis2=3)[..., None, None] * np.eye(model.amplitudes)
    right = np.einsum("sfa,bf->bsa", basis, weights * problem.values)
    sizes = np.linalg.solve(normal, right[..., None])[..., 0]
    if not model.signed:
        floor = np.maximum(np.exp(low[: model.amplitudes]), 1e-3 * np.abs(problem.values).max(axis=1)[:, None, None])
        sizes = np.maximum(sizes, floor)
    fitted = np.einsum("sfa,bsa->bsf", basis, sizes)
    chi2 = ((fitted - problem.values[:, None]) ** 2 * weights[:, None]).sum(-1)
    best = np.argsort(chi2, axis=1)[:, : _KEPT_SIGNED if model.signed else _KEPT]
    rows = np.arange(len(best))[:, None]
    begin = np.broadcast_to(theta, (len(best), *theta.shape))[rows, best].copy()
    begin[..., : model.amplitudes] = np.arcsinh(sizes[rows, best]) if model.signed else np.log(sizes[rows, best])
    return begin


def _scales(starts: Array, durations: Array) -> tuple[float, float]:
    """Return when the last frame ends, and the shortest time that the frames tell apart, s."""
    last = float((starts + durations).max()) or 1.0
    apart = np.diff(np.unique(starts))
    least = float(min([*durations[durations > 0], *apart[apart > 0], last]))
    return last, least
