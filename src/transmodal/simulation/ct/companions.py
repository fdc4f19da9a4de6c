"""Further images of the same degraded data: classical remedies, what a spectral scan gives, and the truth behind it.

    TV                  total variation from the sinogram, by FISTA; under photon noise each ray weighs by its counts
    li, nmar            metal's trace interpolated, linearly or normalised by a prior
    ring-suppressed     stripes of the sinogram removed by sorting
    scatter-corrected   Gaussian scatter deconvolved with its own amplitude; other shapes: half the darkest ray less
    water-corrected     the cubic that makes water read right, where beam hardening came without it
    spectral            each window, basis material and single energy of spectral bins
    densities           true g/cm³ of water and cortical bone, as the rays of many energies saw them

`NEEDS` says which degradation each belongs to.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from transmodal.errors import UserError
from transmodal.simulation.ct.steps import Level
from transmodal.tomography.corrections.beam_hardening import calibration, fit_water_correction
from transmodal.tomography.corrections.metal import reduce_metal
from transmodal.tomography.corrections.scatter import deconvolve_scatter, subtract_constant_scatter
from transmodal.tomography.degradations import (
    BeamHardening,
    Degradation,
    Metal,
    PhotonNoise,
    Rings,
    Scatter,
    SpectralBins,
)
from transmodal.tomography.degradations.polychromatic import Polychromatic
from transmodal.tomography.filtered_back_projection import fbp
from transmodal.tomography.operator import Projector
from transmodal.tomography.raw import suppress_rings
from transmodal.tomography.reconstruction import smooth_start
from transmodal.tomography.scan import DegradedScan
from transmodal.tomography.total_variation import poisson_weights, tv_fista

if TYPE_CHECKING:
    from transmodal.simulation.ct.degrading import Process

Pixels = NDArray[np.float32]
Made = dict[str, tuple[Pixels, str]]

NEEDS: dict[str, type[Degradation] | None] = {
    "tv": None,
    "li": Metal,
    "nmar": Metal,
    "ring-suppressed": Rings,
    "scatter-corrected": Scatter,
    "water-corrected": BeamHardening,
    "spectral": SpectralBins,
    "densities": Polychromatic,
}
"""What --also may be, and the degradation that it belongs to."""

TV = "TV"
_HALF_DENSITY = 0.5  # of a pixel: metal from here on
_DECONVOLVED = 0.95  # amplitudes above do not converge


@dataclass(frozen=True)
class Companion:
    """One further image of the same data.

    Attributes:
        name: a key of `NEEDS`.
        weight, iterations: of total variation.
    """

    name: str
    weight: float | None = None
    iterations: int = 150


def check_companions(companions: Sequence[Companion], level: Level) -> None:
    """Refuse companions that are unknown, or that need another degradation.

    Raises:
        UserError: with what is missing.
    """
    for companion in companions:
        if companion.name not in NEEDS:
            raise UserError(f"--also {companion.name} is unknown; known are {', '.join(NEEDS)}")
        needed = NEEDS[companion.name]
        if needed is not None and not any(isinstance(step, needed) for step in level.steps):
            wanted = "one with a tube" if needed is Polychromatic else needed.model_fields["kind"].default
            raise UserError(f"--also {companion.name} needs the degradation {wanted}; add it by --step")
        if companion.name == "tv" and (companion.weight is None or not companion.weight > 0):
            raise UserError(
                "--also tv needs its weight: give --tv-weight above 0, or split the manifest ('transmodal data split') "
                "so that it can be tuned on the training cases"
            )
        if companion.name == "scatter-corrected" and any(isinstance(step, Polychromatic) for step in level.steps):
            raise UserError("--also scatter-corrected knows one energy alone; leave the degradation with a tube out")
        if companion.name == "water-corrected" and any(
            isinstance(step, Polychromatic) and step.water_correction for step in level.steps
        ):
            raise UserError("--also water-corrected: the scan is corrected already; say water_correction=false")


def companions_of(
    scan: DegradedScan, level: Level, clean_hu: Pixels, companions: Sequence[Companion], process: "Process"
) -> Made:
    """Return the companions of one slice, by modality: pixels and what they mean.

    Args:
        scan: of the slice.
        level: that it was degraded by; without metal where the slice has none, and its companions are then missing.
        clean_hu: the slice itself.
        companions: which; checked.
        process: the reconstruction.
    """
    made: Made = {}
    for companion in companions:
        needed = NEEDS[companion.name]
        if needed is not None and not any(isinstance(step, needed) for step in level.steps):
            # A slice without tissue has no metal: its remedies are the scan itself.
            if companion.name in ("li", "nmar"):
                made[companion.name] = scan.image, "HU"
            continue
        if companion.name == "tv":
            assert companion.weight is not None
            made[TV] = by_total_variation(scan, level, companion.weight, companion.iterations), "HU"
        elif companion.name in ("li", "nmar"):
            made[companion.name] = _without_metal(scan, companion.name, process), "HU"
        elif companion.name == "spectral":
            made |= {name.replace(" ", "-"): (pixels, _quantity(name)) for name, pixels in scan.images.items()}
        elif companion.name == "densities":
            source = _source(level)
            densities = source.tissues(scan.scale).densities(clean_hu)
            made |= {f"true-{name}": (pixels, "g/cm3") for name, pixels in densities.items()}
        else:
            sinogram = _CORRECTIONS[companion.name](scan, level)
            made[companion.name] = _reconstructed(scan, sinogram, process), "HU"
    return made


def by_total_variation(scan: DegradedScan, level: Level, weight: float, iterations: int) -> Pixels:
    """Reconstruct one slice by total variation, in HU: `ct reconstruct --method tv-fista --weight … --photons …`."""
    noise = noise_of(level)
    weights = None
    if noise is not None:
        weights = poisson_weights(scan.sinogram, noise.photons / noise.dose_divisor, noise.electronic_noise)
    found = tv_fista(
        scan.sinogram,
        Projector(scan.grid, scan.beam),
        weight,
        iterations=iterations,
        ray_weights=weights,
        start=smooth_start(scan.sinogram, scan.grid, scan.beam),
    )
    return scan.scale.to_hounsfield(found.image)


def noise_of(level: Level) -> PhotonNoise | None:
    """Return the photon noise of a level."""
    return next((step for step in level.steps if isinstance(step, PhotonNoise)), None)


def _without_metal(scan: DegradedScan, name: str, process: "Process") -> Pixels:
    assert scan.metal is not None
    return reduce_metal(
        scan.sinogram,
        scan.metal >= _HALF_DENSITY,
        scan.grid,
        scan.beam,
        method="linear" if name == "li" else "normalised",
        trace=scan.trace,
        scale=scan.scale,
        filter=process.filter,
        cutoff=process.cutoff,
        padding=process.padding,
    )


def _reconstructed(scan: DegradedScan, sinogram: Pixels, process: "Process") -> Pixels:
    image = fbp(sinogram, scan.grid, scan.beam, process.filter, process.cutoff, process.padding, scan.scale.water)
    return scan.scale.to_hounsfield(image)


def _ring_suppressed(scan: DegradedScan, level: Level) -> Pixels:
    return suppress_rings(scan.sinogram)


def _scatter_corrected(scan: DegradedScan, level: Level) -> Pixels:
    scatter = next(step for step in level.steps if isinstance(step, Scatter))
    found = next(step["found"] for step in scan.record["steps"] if step["kind"] == "scatter")
    (amplitude,) = found["amplitude"]  # of the one slice
    if scatter.shape == "gaussian" and 0 < amplitude < _DECONVOLVED:
        return deconvolve_scatter(scan.sinogram, scan.beam, amplitude, scatter.fwhm_mm)
    return subtract_constant_scatter(scan.sinogram)


def _water_corrected(scan: DegradedScan, level: Level) -> Pixels:
    source = _source(level)
    response, tissues = source.response(), source.tissues(scan.scale)
    factor = calibration(response, tissues, source.calibration_mm).coefficients[0]
    return fit_water_correction(response, tissues).apply(scan.sinogram / np.float32(factor))


_CORRECTIONS: dict[str, Any] = {
    "ring-suppressed": _ring_suppressed,
    "scatter-corrected": _scatter_corrected,
    "water-corrected": _water_corrected,
}


def _source(level: Level) -> Polychromatic:
    found = [step for step in level.steps if isinstance(step, Polychromatic)]
    return next((step for step in found if not isinstance(step, Metal)), found[0])


def _quantity(name: str) -> str:
    return "HU" if name.startswith(("window", "mono")) else "g/cm3"
