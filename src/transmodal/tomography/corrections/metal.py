"""Reduce metal artefacts by interpolating what lies in the metal's trace.

    linear       a straight line across the trace (W. A. Kalender et al., "Reduction of CT artifacts caused by metallic
                 implants", Radiology 164, 1987): LI-MAR
    normalised   the same after dividing by the projections of a prior image, which are multiplied back (E. Meyer et
                 al., "Normalized metal artifact reduction (NMAR) in computed tomography", Medical Physics 37, 2010)

The trace is that of the metal's true place in simulations; `metal_in` finds it by a threshold elsewhere.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_dilation, gaussian_filter

from transmodal.errors import UserError
from transmodal.tomography.filtered_back_projection import fbp
from transmodal.tomography.filters import Filter
from transmodal.tomography.geometry import FanBeam, Grid, ParallelBeam, check_projections
from transmodal.tomography.hounsfield import HounsfieldScale
from transmodal.tomography.projection import project
from transmodal.tomography.truncation import Padding

Mask = NDArray[np.bool_]
_PRIOR_FLOOR = 0.01  # of the prior's largest line integral: thinner rays are not normalised by less


def metal_in(image_hu: NDArray[Any], threshold: float = 2500.0) -> Mask:
    """Return where an uncorrected image reads more than any bone."""
    return np.asarray(image_hu) > threshold


def metal_trace(metal: Mask, grid: Grid, beam: ParallelBeam | FanBeam, margin: int = 1) -> Mask:
    """Return which bins see metal.

    Args:
        metal: (rows, columns) or (n, rows, columns).
        grid, beam: of image and sinogram.
        margin: bins by which the trace is widened on both sides.

    Returns:
        (views, bins) or (n, views, bins).
    """
    seen = project(metal.astype(np.float32), grid, beam) > 0
    return widened_trace(seen, margin)


def widened_trace(trace: Mask, margin: int) -> Mask:
    """Return a trace with so many more bins on both sides."""
    if margin <= 0:
        return trace
    along = np.ones((1,) * (trace.ndim - 1) + (2 * margin + 1,), dtype=bool)
    made: Mask = binary_dilation(trace, along)
    return made


def interpolate_trace(sinogram: NDArray[Any], trace: Mask) -> NDArray[np.float32]:
    """Draw a straight line across the trace in every view.

    Args:
        sinogram: (…, views, bins), line integrals.
        trace: of the same shape. A view that is all trace is left as it is.

    Returns:
        float32, a copy.
    """
    values = np.array(sinogram, dtype=np.float32)
    if trace.shape != values.shape:
        raise UserError(f"the trace of metal has shape {trace.shape}, the sinogram {values.shape}")
    places = np.arange(values.shape[-1])
    for view, hidden in zip(values.reshape(-1, places.size), trace.reshape(-1, places.size), strict=True):
        if hidden.any() and not hidden.all():
            view[hidden] = np.interp(places[hidden], places[~hidden], view[~hidden])
    return values


def interpolate_normalised(sinogram: NDArray[Any], trace: Mask, prior: NDArray[np.float32]) -> NDArray[np.float32]:
    """Interpolate across the trace what a sinogram is in units of a prior's.

    Args:
        sinogram: (…, views, bins), line integrals.
        trace: of the same shape.
        prior: line integrals of the prior image, of the same shape.

    Returns:
        float32; outside the trace the sinogram itself.
    """
    values = np.asarray(sinogram, dtype=np.float32)
    highest = prior.max(axis=(-2, -1), keepdims=True)  # of each slice
    divisor = np.maximum(prior, np.maximum(np.float32(_PRIOR_FLOOR) * highest, np.float32(1e-6)))
    return np.where(trace, interpolate_trace(values / divisor, trace) * divisor, values)


def prior_image(
    image_hu: NDArray[Any],
    grid: Grid,
    metal: Mask,
    *,
    air_hu: float = -500.0,
    bone_hu: float = 300.0,
    blur_mm: float = 1.0,
) -> NDArray[np.float32]:
    """Flatten an image into air, soft tissue and bone, so that its streaks are gone.

    Args:
        image_hu: the image after linear interpolation, (…, rows, columns).
        grid: for the pixels' size.
        metal: where the metal is; taken for soft tissue.
        air_hu: after blurring, air up to here.
        bone_hu: after blurring, bone from here on, which keeps its values.
        blur_mm: standard deviation of the Gaussian before the thresholds.

    Returns:
        HU: −1000, 0, or the bone's own.
    """
    values = np.asarray(image_hu, dtype=np.float32)
    sigmas = [0.0] * (values.ndim - 2) + [blur_mm / length for length in grid.spacing]
    smooth = gaussian_filter(values, sigmas)
    prior = np.where(smooth > bone_hu, values, np.where(smooth > air_hu, 0.0, -1000.0))
    return np.where(metal, 0.0, prior).astype(np.float32)


def reduce_metal(
    sinogram: NDArray[Any],
    metal: Mask,
    grid: Grid,
    beam: ParallelBeam | FanBeam,
    *,
    method: str = "normalised",
    trace: Mask | None = None,
    scale: HounsfieldScale | None = None,
    filter: Filter = "hann",
    cutoff: float = 1.0,
    padding: Padding | None = None,
) -> NDArray[np.float32]:
    """Reconstruct with less metal artefact; the metal itself is not put back.

    Args:
        sinogram: (views, bins) or (n, views, bins), line integrals.
        metal: where the metal is, (rows, columns) or (n, rows, columns).
        grid, beam: of image and sinogram.
        method: "linear" or "normalised".
        trace: bins that see metal; by default those of `metal_trace`.
        scale: of the Hounsfield units.
        filter, cutoff, padding: of the reconstruction.

    Returns:
        HU, in the shape of `metal`.

    Raises:
        UserError: shapes that disagree, an unknown method.
    """
    if method not in ("linear", "normalised"):
        raise UserError(f"metal artefacts are reduced by linear or normalised interpolation, not by {method!r}")
    check_projections(np.asarray(sinogram), beam)
    units = scale or HounsfieldScale()
    hidden = metal_trace(metal, grid, beam) if trace is None else trace
    filled = interpolate_trace(sinogram, hidden)
    image = units.to_hounsfield(fbp(filled, grid, beam, filter, cutoff, padding, units.water))
    if method == "linear":
        return image
    prior = units.to_attenuation(prior_image(image, grid, metal))
    filled = interpolate_normalised(sinogram, hidden, project(np.maximum(prior, 0.0), grid, beam))
    return units.to_hounsfield(fbp(filled, grid, beam, filter, cutoff, padding, units.water))
