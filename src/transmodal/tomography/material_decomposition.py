"""From readings in windows of energy to lengths of materials, ray by ray, before the reconstruction.

R. E. Alvarez, A. Macovski, "Energy-selective reconstructions in X-ray computerised tomography", Physics in Medicine and
Biology 21, 1976. Each window j counts N_j = N_0j ∑ w_j(E) exp(−∑ μ_k(E) A_k); the lengths A_k are found

    by maximum likelihood   of Poisson counts, by scoring (Gauss–Newton with Fisher's information) that is damped where
                            a step does not raise the likelihood; unbiased, and as precise as counts allow
    by polynomials          of the log readings, fitted on a table of lengths: fast and coarse
"""

from itertools import combinations_with_replacement, product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from transmodal.errors import UserError
from transmodal.tomography.polychromatic import Response

_CHUNK = 4096  # rays at a time
_LEAST = 1e-12


def decompose_by_likelihood(
    transmission: NDArray[Any],
    response: Response,
    coefficients: NDArray[np.float64],
    *,
    iterations: int = 40,
    tolerance: float = 1e-5,
) -> NDArray[np.float32]:
    """Return the lengths that make the counts most likely.

    Args:
        transmission: of each window against its open beam, (windows, …), above 0.
        response: of the windows; its shares weigh them by their photons.
        coefficients: of the materials in 1/mm, (materials, energies).
        iterations: at most.
        tolerance: mm; a ray is done when its step is shorter.

    Returns:
        mm, (materials, …). Negative lengths are allowed, as noise asks for them.

    Raises:
        UserError: fewer windows than materials, or transmissions that are not above 0.
    """
    read = _checked(transmission, response, coefficients)
    lengths = np.empty((read.shape[1], len(coefficients)))
    for start in range(0, len(lengths), _CHUNK):
        chunk = slice(start, start + _CHUNK)
        lengths[chunk] = _score(read[:, chunk].T, response, coefficients, iterations, tolerance)
    return lengths.T.astype(np.float32).reshape(len(coefficients), *np.shape(transmission)[1:])


def decompose_by_polynomials(
    transmission: NDArray[Any],
    response: Response,
    coefficients: NDArray[np.float64],
    longest_mm: tuple[float, ...],
    *,
    degree: int = 4,
    steps: int = 24,
) -> NDArray[np.float32]:
    """Return the lengths that polynomials of the log readings give.

    Args:
        transmission: of each window against its open beam, (windows, …), above 0.
        response: of the windows.
        coefficients: of the materials in 1/mm, (materials, energies).
        longest_mm: of each material in the table that the polynomials are fitted on.
        degree: of all logarithms together.
        steps: of the table along each material.

    Returns:
        mm, (materials, …).

    Raises:
        UserError: as `decompose_by_likelihood`, or not one longest length a material.
    """
    read = _checked(transmission, response, coefficients)
    if len(longest_mm) != len(coefficients):
        raise UserError(f"{len(coefficients)} materials need as many longest lengths, not {len(longest_mm)}")
    axes = [np.linspace(0.0, longest, steps) for longest in longest_mm]
    table = np.asarray(list(product(*axes)))
    features = _monomials(-np.log(np.exp(-table @ coefficients) @ response.weights.T), degree)
    size = np.linalg.norm(features, axis=0)
    fitted = np.linalg.lstsq(features / size, table, rcond=None)[0] / size[:, None]
    lengths = np.empty((read.shape[1], len(coefficients)), dtype=np.float32)
    for start in range(0, len(lengths), _CHUNK):
        chunk = slice(start, start + _CHUNK)
        lengths[chunk] = _monomials(-np.log(read[:, chunk].T), degree) @ fitted
    return np.ascontiguousarray(lengths.T).reshape(len(coefficients), *np.shape(transmission)[1:])


def _checked(transmission: NDArray[Any], response: Response, coefficients: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return readings as (windows, rays) in 64 bits."""
    windows = len(response.weights)
    if len(transmission) != windows or windows < len(coefficients):
        raise UserError(
            f"{len(transmission)} sinograms, {windows} windows of energy, {len(coefficients)} materials: as many "
            "sinograms as windows are needed, and no more materials"
        )
    read = np.asarray(transmission, dtype=np.float64).reshape(windows, -1)
    if read.size and not read.min() > 0:
        raise UserError("material decomposition needs transmissions above 0; lift zero counts to a floor first")
    return read


def _monomials(logarithms: NDArray[np.float64], degree: int) -> NDArray[np.float64]:
    """Return all products of at most `degree` of the columns, without the constant: nothing reads as nothing."""
    columns = [
        np.prod(logarithms[:, chosen], axis=1)
        for order in range(1, degree + 1)
        for chosen in map(list, combinations_with_replacement(range(logarithms.shape[1]), order))
    ]
    return np.stack(columns, axis=1)


def _score(
    read: NDArray[np.float64],
    response: Response,
    coefficients: NDArray[np.float64],
    iterations: int,
    tolerance: float,
) -> NDArray[np.float64]:
    """Maximise the likelihood of (rays, windows); returns (rays, materials)."""
    lengths = _linear_start(read, response, coefficients)
    loss, gradient, information = _likelihood(lengths, read, response, coefficients)
    damping = np.full(len(read), 1e-3)
    todo = np.arange(len(read))
    diagonal = np.eye(len(coefficients), dtype=bool)
    for _ in range(iterations):
        matrix = information[todo]
        matrix[:, diagonal] *= 1 + damping[todo, None]
        step = np.linalg.solve(matrix, gradient[todo, :, None])[..., 0]
        tried = lengths[todo] + step
        new_loss, new_gradient, new_information = _likelihood(tried, read[todo], response, coefficients)
        better = new_loss <= loss[todo] * (1 + 1e-14) + 1e-300
        kept = todo[better]
        lengths[kept], loss[kept] = tried[better], new_loss[better]
        gradient[kept], information[kept] = new_gradient[better], new_information[better]
        damping[todo] = np.where(better, damping[todo] * 0.1, damping[todo] * 10)
        finished = np.abs(step).max(axis=1) < tolerance
        todo = todo[~finished & (damping[todo] < 1e12)]
        if not todo.size:
            break
    return lengths


def _likelihood(
    lengths: NDArray[np.float64], read: NDArray[np.float64], response: Response, coefficients: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Return, a ray, half the Poisson deviance, the likelihood's gradient and Fisher's information.

    All are divided by the photons of the open beam, which change neither the maximum nor the steps.
    """
    left = np.exp(np.clip(-lengths @ coefficients, -300.0, 80.0))  # (rays, energies)
    shares = response.shares
    model = np.maximum(left @ response.weights.T, _LEAST)  # (rays, windows)
    # Minus the derivative of each window by each length: (rays, windows, materials).
    slope = np.stack([left @ (response.weights * row).T for row in coefficients], axis=-1)
    loss = (shares * (model - read + read * np.log(read / model))).sum(axis=1)
    gradient = ((shares * (1 - read / model))[..., None] * slope).sum(axis=1)
    information = np.einsum("rw,rwk,rwl->rkl", shares / model, slope, slope)
    scale = np.einsum("rkk->r", information)[:, None, None]
    return loss, gradient, information + 1e-12 * scale * np.eye(len(coefficients))


def _linear_start(
    read: NDArray[np.float64], response: Response, coefficients: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return the lengths that a beam without hardening would have, none of them negative."""
    effective = response.weights @ coefficients.T  # (windows, materials)
    found = -np.log(read) @ np.linalg.pinv(effective).T
    return np.maximum(found, 0.0)
