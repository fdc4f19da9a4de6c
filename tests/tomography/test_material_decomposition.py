import numpy as np
import pytest

from transmodal.errors import UserError
from transmodal.tomography.degradations import SpectralBins
from transmodal.tomography.material_decomposition import decompose_by_likelihood, decompose_by_polynomials
from transmodal.tomography.materials import attenuation
from transmodal.tomography.polychromatic import Response

Rays = tuple[np.ndarray, Response, np.ndarray, np.ndarray]


def _rays(basis: tuple[str, ...], longest: tuple[float, ...], thresholds: tuple[float, ...] = (20.0, 65.0)) -> Rays:
    """Return transmissions, response, coefficients and the true lengths of some rays."""
    response = SpectralBins(thresholds_kev=thresholds, basis=basis).response()
    coefficients = np.stack([attenuation(name, response.energies) for name in basis])
    lengths = np.random.default_rng(1).uniform(0, 1, (len(basis), 6, 50)) * np.array(longest)[:, None, None]
    lengths[:, 0, 0] = 0.0
    exponents = np.einsum("k...,ke->...e", lengths, coefficients)
    transmission = np.moveaxis(np.exp(-exponents) @ response.weights.T, -1, 0)
    return transmission, response, coefficients, lengths


@pytest.mark.parametrize(
    ("basis", "longest", "thresholds"),
    [
        (("water", "cortical_bone"), (300.0, 40.0), (20.0, 65.0)),
        (("water", "cortical_bone"), (300.0, 40.0), (20.0, 45.0, 70.0, 90.0)),
        (("water", "cortical_bone", "iodine"), (200.0, 20.0, 0.5), (20.0, 33.2, 60.0)),
    ],
)
def test_likelihood_recovers_known_lengths_without_noise(
    basis: tuple[str, ...], longest: tuple[float, ...], thresholds: tuple[float, ...]
) -> None:
    transmission, response, coefficients, lengths = _rays(basis, longest, thresholds)
    found = decompose_by_likelihood(transmission, response, coefficients)
    assert found.shape == lengths.shape
    assert np.abs(found - lengths).max() < 1e-3  # mm


def test_polynomials_recover_known_lengths_coarsely() -> None:
    longest = (300.0, 40.0)
    transmission, response, coefficients, lengths = _rays(("water", "cortical_bone"), longest)
    found = decompose_by_polynomials(transmission, response, coefficients, longest)
    assert np.abs(found - lengths).max() < 1.5
    assert np.abs(found[:, 0, 0]).max() < 1e-6  # nothing reads as nothing


def test_likelihood_is_without_bias_and_precise_as_counts_allow() -> None:
    basis = ("water", "cortical_bone")
    response = SpectralBins(thresholds_kev=(20.0, 40.0, 60.0, 80.0), basis=basis).response()
    coefficients = np.stack([attenuation(name, response.energies) for name in basis])
    truth = np.array([100.0, 10.0])
    photons = 1e6 * response.shares
    left = np.exp(-truth @ coefficients)
    mean = photons * (response.weights @ left)
    counts = np.random.default_rng(0).poisson(mean[:, None], (4, 3000))
    found = decompose_by_likelihood(counts / photons[:, None], response, coefficients)
    slope = photons[:, None] * np.stack([response.weights @ (left * row) for row in coefficients], axis=1)
    bound = np.linalg.inv(np.einsum("w,wk,wl->kl", 1 / mean, slope, slope))  # of Cramér and Rao
    spread = np.sqrt(np.diag(bound))
    assert np.abs(found.mean(axis=1) - truth) / spread == pytest.approx([0, 0], abs=0.06)
    assert found.std(axis=1) == pytest.approx(spread, rel=0.05)


def test_starved_rays_stay_finite() -> None:
    _, response, coefficients, _ = _rays(("water", "cortical_bone"), (300.0, 40.0))
    starved = np.array([[1e-6, 1.0, 1e-6], [1e-6, 1e-6, 1.0]])
    assert np.isfinite(decompose_by_likelihood(starved, response, coefficients)).all()


def test_too_few_windows_and_zeros_are_refused() -> None:
    transmission, response, coefficients, _ = _rays(("water", "cortical_bone"), (300.0, 40.0))
    with pytest.raises(UserError, match="1 sinograms, 2 windows"):
        decompose_by_likelihood(transmission[:1], response, coefficients)
    with pytest.raises(UserError, match="lift zero counts"):
        decompose_by_likelihood(transmission * 0, response, coefficients)
    with pytest.raises(UserError, match="as many longest lengths"):
        decompose_by_polynomials(transmission, response, coefficients, (300.0,))
