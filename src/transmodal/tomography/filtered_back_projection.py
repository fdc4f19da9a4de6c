"""Filtered back-projection of parallel and fan beams.

A. C. Kak, M. Slaney, "Principles of Computerized Tomographic Imaging", IEEE Press 1988, chapter 3. With h the ramp of
`filters`, θ the view angle, R the distance from source to axis, and (s, t) a pixel's place along u and w:

    parallel    f = ∫ (p ∗ h)(s) dθ over 180°
    flat fan    f = ∫ (R / (R + t))² ((c·p·R / √(R² + a²)) ∗ h)(a) dθ, a = R·s / (R + t) on a detector through the axis
    curved fan  f = ∫ ((c·p·R·cos γ) ∗ (γ / sin γ)² h)(γ) / (s² + (R + t)²) dθ, tan γ = s / (R + t)

c is each ray's share in its line (`scan_weights`), one half in a full turn. dθ is the arc each view stands for, so that
the result is in 1/mm whatever the number of views, their spacing and the pitch.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from transmodal.errors import UserError
from transmodal.tomography.filters import Filter, filter_views
from transmodal.tomography.geometry import Beam, FanBeam, Grid, ParallelBeam, check_projections
from transmodal.tomography.pixel_driven_divergent import back_project_fan
from transmodal.tomography.pixel_driven_parallel import back_project_parallel
from transmodal.tomography.scan_weights import ray_weights, view_weights, widened
from transmodal.tomography.truncation import WATER, Padding, extended


def fbp(
    sinogram: NDArray[Any],
    grid: Grid,
    beam: ParallelBeam | FanBeam,
    filter: Filter = "ramp",
    cutoff: float = 1.0,
    padding: Padding | None = None,
    water: float = WATER,
) -> NDArray[np.float32]:
    """Reconstruct slices from their parallel-beam or fan-beam sinograms.

    The weights of a full, half or limited scan are chosen by its arc; `scan_weights.scan_kind` says which.

    Args:
        sinogram: (views, bins) or (n, views, bins), line integrals without unit.
        grid: of the slice, (rows, columns).
        beam: where the rays ran.
        filter: window of the ramp, see `filters.window`.
        cutoff: fraction of the Nyquist frequency, above 0 and at most 1.
        padding: how projections of an object wider than the detector go on beyond it: "edge" or "water", see
            `truncation`. Without it they end in air.
        water: what it attenuates, in 1/mm: that of the Hounsfield scale; only the padding "water" looks at it.

    Returns:
        Attenuation in 1/mm, float32, (rows, columns) or (n, rows, columns). A pixel gets nothing from views whose
        detector does not see it.

    Raises:
        UserError: a shape that disagrees with the geometry, values that are not finite, a grid that reaches the
            source, an unknown filter or padding, a cut-off outside (0, 1], water of 0
            or less, or a cone beam.
    """
    if not isinstance(beam, ParallelBeam | FanBeam):
        raise UserError("fbp reconstructs slices of a parallel or fan beam; a cone beam goes to fdk")
    if len(grid.shape) != 2:
        raise UserError(f"fbp needs a grid of (rows, columns), not of shape {grid.shape}")
    views = checked_projections(sinogram, beam, extra_axes=1)
    factors = ray_weights(beam)
    beam, added = widened(beam)
    factors = np.pad(factors, [(0, 0), added])
    stack = np.pad(views.reshape(-1, *views.shape[-2:]), [(0, 0), (0, 0), added])
    arcs = view_weights(beam.angles, 180.0 if isinstance(beam, ParallelBeam) else 360.0).astype(np.float32)[:, None]
    made: NDArray[np.float32]
    if isinstance(beam, ParallelBeam):
        filtered = filtered_views(stack, factors, beam.pitch, filter, cutoff, padding, water=water)
        made = back_project_parallel(filtered * arcs, grid, beam)
    else:
        check_reach(grid, beam.source_to_axis)
        factors = factors * np.cos(beam.fan_angles).astype(np.float32)
        if beam.curved:
            arc_pitch = beam.pitch / beam.source_to_detector
            factors = factors * np.float32(beam.source_to_axis)
            filtered = filtered_views(stack, factors, arc_pitch, filter, cutoff, padding, beam, water)
        else:
            pitch = beam.pitch / beam.magnification
            filtered = filtered_views(stack, factors, pitch, filter, cutoff, padding, water=water)
        made = back_project_fan(filtered * arcs, grid, beam)
    return made.reshape(*views.shape[:-2], *grid.shape)


def filtered_views(
    views: NDArray[np.float32],
    factors: NDArray[np.float32],
    pitch: float,
    filter: Filter,
    cutoff: float,
    padding: Padding | None,
    curved: FanBeam | None = None,
    water: float = WATER,
) -> NDArray[np.float32]:
    """Extend, weight and filter projections.

    Args:
        views: (…, bins), line integrals.
        factors: of each ray, broadcast against `views`.
        pitch: between bins at the axis, in mm; in radians of a curved detector.
        filter, cutoff, padding, water: see `fbp`.
        curved: the beam, if its detector is curved.

    Returns:
        float32 of the shape of `views`.
    """
    at_axis = curved.pitch / curved.magnification if curved else pitch
    longer, extra = extended(views, padding, at_axis, water)
    if extra:
        # Beyond the edge a ray counts as much as on it.
        factors = np.pad(factors, [(0, 0)] * (factors.ndim - 1) + [(extra, extra)], mode="edge")
    filtered = filter_views(longer * factors, pitch, filter, cutoff, arc_pitch=pitch if curved else 0.0)
    return filtered[..., extra : extra + views.shape[-1]]


def checked_projections(projections: NDArray[Any], beam: Beam, extra_axes: int) -> NDArray[np.float32]:
    """Return projections as float32 once they agree with a geometry.

    Raises:
        UserError: another shape, or values that are not finite.
    """
    given = np.asarray(projections)
    name = "the sinogram" if len(beam.shape) == 2 else "the projections"
    check_projections(given, beam, name)
    if given.ndim > len(beam.shape) + extra_axes:
        raise UserError(f"{name} of shape {given.shape} has more axes than the geometry {beam.shape} allows")
    values = np.ascontiguousarray(given, dtype=np.float32)
    if not np.isfinite(values).all():
        count = int(np.count_nonzero(~np.isfinite(values)))
        raise UserError(
            f"{name} holds {count} values that are not finite; zero counts need a floor before the logarithm "
            "(raw.to_line_integrals), bad bins an interpolation (raw.interpolate_bad_bins)"
        )
    return values


def check_reach(grid: Grid, source_to_axis: float) -> None:
    """Refuse a grid that reaches the circle of the source.

    Raises:
        UserError: with both lengths.
    """
    reach = float(np.hypot(np.abs(grid.positions(-1)).max(), np.abs(grid.positions(-2)).max()))
    if reach >= source_to_axis:
        raise UserError(
            f"the grid reaches {reach:.4g} mm from the axis, the source runs at {source_to_axis:.4g} mm: "
            "the grid must lie inside its circle"
        )
