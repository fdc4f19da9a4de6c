"""The scanner: tissue fractions to magnitude images, with texture, coil shading, noise and a unit of its own.

Within a voxel the signed signals of the compartments add up. Noise is Rician: the magnitude of a complex image with
white Gaussian noise in both channels (Gudbjartsson and Patz, The Rician distribution of noisy MRI data, 1995).
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numba
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from transmodal.simulation.brain.fields import Grid, Volume, smooth_noise
from transmodal.simulation.brain.signals import Sequence, Tissue
from transmodal.simulation.brain.tissues import TISSUES

_TEXTURE = ((14.0, 0.025), (4.5, 0.022))  # grain in mm and relative spread of T1, T2 and density within a tissue
_WITHOUT_TEXTURE = ("csf", "vessel")
_FULL_WIDTH = 2.3548  # full width at half maximum of a Gaussian, in standard deviations


@dataclass(frozen=True)
class Exposure:
    """How one volume was taken: `snr`, white matter's signal over the noise in one channel; `shading`, relative spread
    of the coil's sensitivity; `scale`, the value that white matter gets; `slice_mm`, thickness of the axial slices it
    was read from, up to one voxel: no blur; `blur_mm`, full width at half maximum within a slice."""

    snr: float
    shading: float
    scale: float
    slice_mm: float = 0.0
    blur_mm: float = 0.0

    @staticmethod
    def draw(rng: np.random.Generator) -> "Exposure":
        """Draw a clinical image's quality and an arbitrary unit."""
        return Exposure(
            snr=float(rng.uniform(30, 75)),
            shading=float(rng.uniform(0.02, 0.10)),
            scale=float(np.exp(rng.uniform(np.log(120), np.log(600)))),
            slice_mm=float(rng.choice([1.0, 1.0, 1.0, rng.uniform(2.0, 4.0)])),
            blur_mm=float(rng.uniform(0.6, 1.2)),
        )


def texture(rng: np.random.Generator, grid: Grid, mask: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Relative deviations of (T1, T2, density) at the brain's voxels, (3, voxels)."""
    made = np.zeros((3, int(mask.sum())), np.float32)
    for deviation in made:
        for grain, spread in _TEXTURE:
            deviation += np.float32(spread) * smooth_noise(rng, max(grain, 1.5 * grid.spacing), grid)[mask]
    return made


def clean_signals(
    fractions: NDArray[np.float32],
    sequences: Mapping[str, Sequence],
    tissues: Mapping[str, Tissue],
    field: float,
    deviations: NDArray[np.float32],
) -> dict[str, NDArray[np.float32]]:
    """Noise-free signals at the brain's voxels.

    Arguments: `fractions`, (tissue, voxels); `sequences` by modality; `tissues` by name; `field`, tesla;
    `deviations`, (3, voxels), relative, of T1, T2 and density, taken to first order.
    Returns (voxels,) magnitudes by modality, relative to fully relaxed water.
    """
    weights = [[_weights(sequence, tissues[name], name, field) for sequence in sequences.values()] for name in TISSUES]
    made = np.empty((len(sequences), fractions.shape[1]), np.float32)
    _mix(fractions, np.array(weights, np.float32), deviations, made)
    return dict(zip(sequences, made, strict=True))


# A library's matrix product would be as fast, but its last bits depend on the number of threads.
@numba.njit(cache=True)
def _mix(fractions, weights, deviations, made):  # type: ignore[no-untyped-def]
    """Add up each voxel's compartments, most of which are empty."""
    tissues, modalities = weights.shape[:2]
    for voxel in range(made.shape[1]):
        for modality in range(modalities):
            made[modality, voxel] = 0
        by_t1, by_t2, by_density = deviations[0, voxel], deviations[1, voxel], deviations[2, voxel]
        for tissue in range(tissues):
            share = fractions[tissue, voxel]
            if share > 0:
                for modality in range(modalities):
                    one = weights[tissue, modality]
                    seen = one[0] + by_t1 * one[1] + by_t2 * one[2] + by_density * one[3]
                    made[modality, voxel] += share * seen
        for modality in range(modalities):
            made[modality, voxel] = abs(made[modality, voxel])


def _weights(sequence: Sequence, tissue: Tissue, name: str, field: float) -> tuple[float, ...]:
    """Signal, and its derivatives by ln T1, ln T2 and ln density."""
    signal, step = sequence.signal(tissue, field), 0.01
    if name in _WITHOUT_TEXTURE:
        return signal, 0.0, 0.0, 0.0
    by_t1 = (sequence.signal(replace(tissue, t1=tissue.t1 * (1 + step)), field) - signal) / step
    by_t2 = (sequence.signal(replace(tissue, t2=tissue.t2 * (1 + step)), field) - signal) / step
    return signal, by_t1, by_t2, signal


def shading(rng: np.random.Generator, spread: float, grid: Grid) -> Volume:
    """A smooth positive factor of geometric mean about 1, the coil's sensitivity, (X, Y, Z)."""
    return np.exp(np.float32(spread) * smooth_noise(rng, 120.0, grid))


def rician(rng: np.random.Generator, signal: NDArray[np.float32], sigma: float) -> NDArray[np.float32]:
    """Magnitude of a signal with Gaussian noise of spread `sigma` in its real and imaginary part."""
    real = signal + np.float32(sigma) * rng.standard_normal(signal.shape, dtype=np.float32)
    imaginary = np.float32(sigma) * rng.standard_normal(signal.shape, dtype=np.float32)
    return np.hypot(real, imaginary)


def expose(
    rng: np.random.Generator,
    clean: NDArray[np.float32],
    white: float,
    exposure: Exposure,
    grid: Grid,
    mask: NDArray[np.bool_],
) -> Volume:
    """Turn clean signals at the brain's voxels into a volume, exactly 0 outside the mask, above 0 inside.

    `white`: the clean signal of white matter, which decides the noise and gets the value `exposure.scale`.
    """
    lit = _blurred(clean, exposure, grid, mask) * shading(rng, exposure.shading, grid)[mask]
    values = rician(rng, lit, white / exposure.snr) * np.float32(exposure.scale / white)
    volume = np.zeros(mask.shape, np.float32)
    volume[mask] = np.maximum(values, np.float32(1e-3))
    return volume


def _blurred(
    clean: NDArray[np.float32], exposure: Exposure, grid: Grid, mask: NDArray[np.bool_]
) -> NDArray[np.float32]:
    """Signals as slices of finite thickness and resolution show them; what is outside the brain does not mix in."""
    widths = [exposure.blur_mm, exposure.blur_mm, exposure.slice_mm if exposure.slice_mm > grid.spacing else 0.0]
    sigmas = [width / grid.spacing / _FULL_WIDTH for width in widths]
    wide = [(axis, sigma) for axis, sigma in enumerate(sigmas) if sigma > 0.2]
    if not wide:
        return clean
    volume, share = np.zeros(mask.shape, np.float32), mask.astype(np.float32)
    volume[mask] = clean
    for axis, sigma in wide:
        volume, share = (ndimage.gaussian_filter1d(each, sigma, axis, truncate=3.0) for each in (volume, share))
    return np.asarray(volume[mask] / share[mask], dtype=np.float32)
