"""Subtract an estimate of the scattered photons from a sinogram, two classical ways."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from transmodal.errors import UserError
from transmodal.tomography.degradations.scatter import Scatter
from transmodal.tomography.geometry import FanBeam, ParallelBeam, check_projections


def subtract_constant_scatter(
    sinogram: NDArray[Any], fraction: float = 0.5, *, floor: float = 1e-4
) -> NDArray[np.float32]:
    """Subtract from each view a fraction of its least intensity.

    The darkest ray holds little else than scatter (G. H. Glover, "Compton scatter effects in CT reconstructions",
    Medical Physics 9, 1982, on why a constant goes far).

    Args:
        sinogram: (…, views, bins), line integrals.
        fraction: of the least intensity that is taken to be scatter, 0 to 1.
        floor: least transmission left.

    Returns:
        Line integrals, float32.
    """
    if not 0 <= fraction <= 1:
        raise UserError(f"the fraction of scatter in the darkest ray must lie from 0 to 1, not {fraction}")
    read = np.exp(-np.asarray(sinogram, dtype=np.float32))
    scatter = np.float32(fraction) * read.min(axis=-1, keepdims=True)
    left: NDArray[np.float32] = -np.log(np.maximum(read - scatter, np.float32(floor)))
    return left


def deconvolve_scatter(
    sinogram: NDArray[Any],
    beam: ParallelBeam | FanBeam,
    amplitude: float,
    fwhm_mm: float,
    *,
    iterations: int = 10,
    floor: float = 1e-4,
) -> NDArray[np.float32]:
    """Find the primary P of a reading P + k·(P ∗ Gaussian) by fixed-point iteration.

    L. A. Love, R. A. Kruger, "Scatter estimation for a digital radiographic system using convolution filtering",
    Medical Physics 14, 1987. The amplitude must be known, and below 1 the iteration converges.

    Args:
        sinogram: (…, views, bins), line integrals.
        beam: for the pitch of the bins.
        amplitude: k.
        fwhm_mm: of the Gaussian, on the detector.
        iterations: each gains a factor of the amplitude.
        floor: least transmission left.

    Returns:
        Line integrals, float32.

    Raises:
        UserError: a shape that disagrees, an amplitude outside (0, 1).
    """
    values = np.asarray(sinogram, dtype=np.float32)
    check_projections(values, beam)
    if not 0 < amplitude < 1:
        raise UserError(f"the amplitude of scatter must lie between 0 and 1 for this iteration, not {amplitude}")
    model = Scatter(amplitude=amplitude, fwhm_mm=fwhm_mm)
    read = np.exp(-values)
    primary = read
    for _ in range(iterations):
        primary = np.maximum(read - np.float32(amplitude) * model.pattern(primary, beam.pitch), np.float32(floor))
    found: NDArray[np.float32] = -np.log(primary)
    return found
