"""Reconstruction of a circular cone-beam scan after Feldkamp, Davis and Kress.

L. A. Feldkamp, L. C. Davis, J. W. Kress, "Practical cone-beam algorithm", Journal of the Optical Society of America
A 1, 1984. With D the distance from source to detector, R from source to axis, (u, v) a place on the detector, and a
voxel at s along u, t along w and height z:

    f = ∫ (R / (R + t))² ((c·p·D / √(D² + u² + v²)) ∗ h)(D·s / (R + t), D·z / (R + t)) dθ

The ramp h runs along the bins, in mm at the axis; c is each ray's share in its line: one half in a full turn, Parker's
weights in 180° and the fan. Exact in the plane of the source, ever less so with the angle of the cone.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from transmodal.errors import UserError
from transmodal.tomography.filtered_back_projection import check_reach, checked_projections, filtered_views
from transmodal.tomography.filters import Filter
from transmodal.tomography.geometry import ConeBeam, Grid
from transmodal.tomography.pixel_driven_divergent import back_project_cone
from transmodal.tomography.scan_weights import ray_weights, view_weights, widened
from transmodal.tomography.truncation import WATER, Padding

_TOGETHER = 2**22  # values that are filtered at once: their spectra take some tens of MiB


def fdk(
    projections: NDArray[Any],
    grid: Grid,
    beam: ConeBeam,
    filter: Filter = "ramp",
    cutoff: float = 1.0,
    padding: Padding | None = None,
    water: float = WATER,
) -> NDArray[np.float32]:
    """Reconstruct a volume from cone-beam projections around a circle.

    The weights of a full, half or limited scan are chosen by its arc; `scan_weights.scan_kind` says which. Beside the
    projections it holds their filtered copy and the volume.

    Args:
        projections: (views, rows, bins), line integrals without unit.
        grid: of the volume, (slices, rows, columns).
        beam: where the rays ran.
        filter: window of the ramp, see `filters.window`.
        cutoff: fraction of the Nyquist frequency, above 0 and at most 1.
        padding: how projections of an object wider than the detector go on beyond it: "edge" or "water".
        water: what it attenuates, in 1/mm: that of the Hounsfield scale; only the padding "water" looks at it.

    Returns:
        Attenuation in 1/mm, float32, (slices, rows, columns).

    Raises:
        UserError: a shape that disagrees with the geometry, values that are not finite, a grid that reaches the
            source, an unknown filter or padding, a cut-off outside (0, 1], water of 0
            or less, or another beam.
    """
    if not isinstance(beam, ConeBeam):
        raise UserError("fdk reconstructs volumes of a cone beam; a parallel or fan beam goes to fbp")
    if len(grid.shape) != 3:
        raise UserError(f"fdk needs a grid of (slices, rows, columns), not of shape {grid.shape}")
    views = checked_projections(projections, beam, extra_axes=0)
    check_reach(grid, beam.source_to_axis)
    filtered = _filtered(views, beam, filter, cutoff, padding, water)
    made: NDArray[np.float32] = back_project_cone(filtered, grid, widened(beam)[0])
    return made


def _filtered(
    views: NDArray[np.float32], beam: ConeBeam, filter: Filter, cutoff: float, padding: Padding | None, water: float
) -> NDArray[np.float32]:
    """Return weighted and filtered projections, (views, bins, rows), a few views at a time."""
    shares = ray_weights(beam)
    beam, added = widened(beam)
    shares = np.pad(shares, [(0, 0), added])
    distance = beam.source_to_detector
    cone = distance / np.sqrt(distance**2 + beam.row_positions[:, None] ** 2 + beam.positions**2)  # (rows, bins)
    arcs = view_weights(beam.angles, 360.0).astype(np.float32)
    filtered = np.empty((len(views), beam.bins, beam.rows), np.float32)
    together = max(_TOGETHER // (beam.rows * beam.bins), 1)
    for start in range(0, len(views), together):
        some = slice(start, start + together)
        factors = (shares[some] if len(shares) > 1 else shares)[:, None] * cone.astype(np.float32)
        wide = np.pad(views[some], [(0, 0), (0, 0), added]) if any(added) else views[some]
        pitch = beam.pitch / beam.magnification
        done = filtered_views(wide, factors, pitch, filter, cutoff, padding, water=water)
        np.multiply(done.swapaxes(1, 2), arcs[some, None, None], out=filtered[some])
    return filtered
