"""The two estimators behind WAEM's fitted weights, as plain functions of arrays.

Both look for slopes v ≥ 0 of K standardised terms; the weights are v / Σv. Both add ridge·Σ(v − mean v)², which is zero
exactly when all weights are equal, whatever their common size: the penalty pulls towards equal weights and not towards
nothing. K = 5 terms of a handful of systems, most of them correlated, cannot be told apart without it.
"""

import numpy as np
import numpy.typing as npt
from scipy import optimize
from scipy.special import expit

Floats = npt.NDArray[np.float64]
_SCALE_RIDGE = 1e-3  # keeps slopes finite where one system wins every comparison


def least_squares_slopes(terms: Floats, ratings: Floats, ridge: float) -> Floats:
    """Return v ≥ 0 that minimises Σ(y − Zv)² + ridge·Σ(v − mean v)².

    Args:
        terms: Z, systems × K, each column centred.
        ratings: y, one a system, centred and divided by its standard deviation, so that the ridge has no unit.
        ridge: ≥ 0.

    Returns:
        K slopes; all zero when no non-negative combination of the terms goes with the ratings.
    """
    count = terms.shape[1]
    pull = np.sqrt(ridge) * (np.eye(count) - np.full((count, count), 1.0 / count))
    slopes, _ = optimize.nnls(np.vstack([terms, pull]), np.concatenate([ratings, np.zeros(count)]))
    return np.asarray(slopes, np.float64)


def bradley_terry_slopes(
    differences: Floats, first_wins: Floats, second_wins: Floats, systems: int, ridge: float
) -> Floats:
    """Return v ≥ 0 of the model logit P(first preferred to second) = v·(z_first − z_second).

    Maximises the likelihood (Bradley and Terry, Biometrika 39, 1952, with the strengths linear in the terms) under the
    ridge. All answers together weigh twice as much as there are systems: a thousand answers about four systems still
    tell of four systems only. The ridge is divided by the square of the slope that equal weights would have, so that
    clear preferences are not shrunk more than faint ones.

    Args:
        differences: pairs × K, standardised terms of the first minus those of the second.
        first_wins, second_wins: answers for each; ties split between them; not all zero.
        systems: how many systems the pairs are about.
        ridge: ≥ 0.

    Returns:
        K slopes; all zero when no non-negative combination of the terms goes with the preferences.
    """
    count = differences.shape[1]
    weight = 2.0 * systems / float(first_wins.sum() + second_wins.sum())

    def loss(design: Floats, slopes: Floats, pull: Floats) -> tuple[float, Floats]:
        logit = design @ slopes
        negative = first_wins @ np.logaddexp(0.0, -logit) + second_wins @ np.logaddexp(0.0, logit)
        push = (first_wins + second_wins) * expit(logit) - first_wins
        value = weight * negative + 0.5 * slopes @ pull @ slopes
        return float(value), weight * (design.T @ push) + pull @ slopes

    def solve(design: Floats, pull: Floats) -> Floats:
        start = np.full(design.shape[1], 1.0 / design.shape[1])
        found = optimize.minimize(
            lambda slopes: loss(design, slopes, pull),
            start,
            jac=True,
            method="L-BFGS-B",
            bounds=[(0.0, None)] * design.shape[1],
            options={"ftol": 1e-12, "gtol": 1e-8, "maxiter": 500},
        )
        return np.asarray(found.x, np.float64)

    equal = solve(differences.mean(axis=1, keepdims=True), np.full((1, 1), _SCALE_RIDGE))
    clarity = max(1.0, float(equal[0]) ** 2)
    centring = np.eye(count) - np.full((count, count), 1.0 / count)
    slopes = solve(differences, ridge / clarity * centring + _SCALE_RIDGE / clarity * np.eye(count))
    return np.where(slopes > 1e-9 * max(1.0, float(slopes.max())), slopes, 0.0)
