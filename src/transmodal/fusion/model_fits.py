"""One model fitted to many curves, and how far its intervals reach."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import stats

from transmodal.fusion.curve_models import MODELS, Model
from transmodal.fusion.fit_starts import beginnings, bounds_of
from transmodal.fusion.least_squares import Problem, minimise

Array = npt.NDArray[np.float64]
SCATTER = 0.05
"""With a smaller p of χ² frames scatter more about the curve than counts do."""
_TIDY = 4  # repetitions of the variances


@dataclass(frozen=True, eq=False)
class ModelFit:
    """Curves under one model.

    Attributes:
        model: which.
        problem: frames and curves, (B, F), with the variances of the fit.
        theta: (B, P).
        chi2: (B,).
    """

    model: Model
    problem: Problem
    theta: Array
    chi2: Array

    @property
    def freedom(self) -> int:
        """Degrees of freedom."""
        return self.problem.values.shape[1] - len(self.model.parameters)


def fit_model(
    name: str, starts: Array, durations: Array, decay: float, values: Array, variances: Array, per_count: Array | None
) -> ModelFit | None:
    """Fit one model to all curves; None where the frames are too few for it."""
    model = MODELS[name]
    free = len(starts) - len(model.parameters) - 1
    if free < 1:
        return None
    bounds = bounds_of(model, starts, durations, values)
    problem = Problem(model, starts, durations, decay, values, variances, bounds)
    theta, chi2 = _best_of(problem, beginnings(problem))
    if per_count is not None:
        for _ in range(_TIDY):
            means = problem.means(theta)
            expected = variances + per_count * (means - values)
            least = np.maximum(0.2 * variances, per_count**2)
            problem = Problem(model, starts, durations, decay, values, np.maximum(expected, least), bounds)
            theta, chi2 = minimise(problem, theta)
    return ModelFit(model, problem, theta, chi2)


def criterion(every: Sequence[ModelFit]) -> Array:
    """Return Akaike's criterion of each model, (K, B): χ², the logarithms of its variances and 2 for each parameter.

    Without the correction for small samples, which stands for a variance that has to be found, too: counts say their
    own. Where no model holds (p < 0.05), χ² is divided by the least χ² / degrees of freedom of all (QAIC: Lebreton,
    Burnham, Clobert and Anderson, Ecological Monographs 62 (1992) 67), or scatter would buy exponentials.
    """
    chi2 = np.stack([each.chi2 for each in every])
    freedom = np.array([each.freedom for each in every])[:, None]
    holds = (stats.chi2.sf(chi2, freedom) >= SCATTER).any(axis=0)
    excess = np.where(holds, 1.0, np.maximum((chi2 / freedom).min(axis=0), 1.0))
    spread = np.stack([np.log(each.problem.variances).sum(-1) for each in every])
    sizes = np.array([len(each.model.parameters) for each in every])[:, None]
    return np.asarray(chi2 / excess + spread + 2 * sizes)


def _best_of(problem: Problem, starts: Array) -> tuple[Array, Array]:
    """Return the best fit from several beginnings (B, S, P)."""
    count, several, _ = starts.shape
    many = problem.of(np.repeat(np.arange(count), several))
    theta, chi2 = minimise(many, starts.reshape(count * several, -1))
    best = chi2.reshape(count, several).argmin(axis=1)
    rows = np.arange(count)
    return theta.reshape(count, several, -1)[rows, best], chi2.reshape(count, several)[rows, best]


def threshold_of(chi2: Array, freedom: int) -> Array:
    """Return by how much χ² may rise within an interval, (B,); more where frames scatter more than counts do."""
    more = stats.f.ppf(0.95, 1, freedom) * np.maximum(chi2 / freedom, 1.0)
    return np.where(stats.chi2.sf(chi2, freedom) < SCATTER, more, stats.chi2.ppf(0.95, 1))
