"""Filtered back-projection and Feldkamp's reconstruction in plain torch, for any device and floating-point type.

What `filtered_back_projection` and `fdk` compute, with their weights, their filter and the same interpolation; their
modules name the sources. Gradients flow to the projections. Views and rows of pixels are taken in portions whose
look-ups fit into a bounded memory; for the gradient a portion's places are computed again, not kept. Values are not
looked at: not-a-number spreads. On a GPU the gradient adds in an order that changes from run to run, and so do its
last digits.
"""

import math
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from transmodal.errors import UserError
from transmodal.tomography.filtered_back_projection import check_reach
from transmodal.tomography.filters import Filter, response, transform_length
from transmodal.tomography.geometry import Beam, ConeBeam, FanBeam, Grid, ParallelBeam
from transmodal.tomography.pixel_driven_parallel import Lattice, parallel_lattices
from transmodal.tomography.scan_weights import ray_weights, view_weights, widened
from transmodal.tomography.truncation import EDGE_TAPS, PADDINGS, WATER, Padding, check_water

_PORTION = {"cpu": 1 << 19}  # look-ups at a time; each takes 60 to 100 bytes while it is worked on
_LARGE_PORTION = 1 << 23  # on other devices, which want much to do at once
_EDGE = 1e-6  # of a bin: a place that much beyond the detector's first or last one was rounded there


def fbp(
    sinograms: Tensor,
    grid: Grid,
    beam: ParallelBeam | FanBeam,
    filter: Filter = "ramp",
    cutoff: float = 1.0,
    padding: Padding | None = None,
    water: float = WATER,
) -> Tensor:
    """Reconstruct slices from their parallel-beam or fan-beam sinograms.

    Args:
        sinograms: (…, views, bins), line integrals without unit, on any device.
        grid: of the slice, (rows, columns).
        beam: where the rays ran.
        filter, cutoff, padding, water: as for `filtered_back_projection.fbp`.

    Returns:
        Attenuation in 1/mm, (…, rows, columns), of the same type on the same device.

    Raises:
        UserError: a shape that disagrees with the geometry, values that are not floating-point, a grid that reaches the
            source, an unknown filter or padding, a cut-off outside (0, 1], water of 0
            or less, or a cone beam.
    """
    if not isinstance(beam, ParallelBeam | FanBeam):
        raise UserError("fbp reconstructs slices of a parallel or fan beam; a cone beam goes to fdk")
    if len(grid.shape) != 2:
        raise UserError(f"fbp needs a grid of (rows, columns), not of shape {grid.shape}")
    views = _checked(sinograms, beam, "the sinogram")
    shares = ray_weights(beam)
    wide, added = widened(beam)
    factors = np.pad(shares, [(0, 0), added])
    arcs = view_weights(beam.angles, 180.0 if isinstance(beam, ParallelBeam) else 360.0)
    pitch, arc_pitch = beam.pitch, 0.0
    if isinstance(wide, FanBeam):
        check_reach(grid, wide.source_to_axis)
        factors = factors * np.cos(wide.fan_angles)
        pitch = wide.pitch / wide.magnification
        if wide.curved:
            factors = factors * wide.source_to_axis
            arc_pitch = wide.pitch / wide.source_to_detector
    filtered = _filtered(
        functional.pad(views, added), _like(factors, views), pitch, arc_pitch, filter, cutoff, padding, water
    ) * _like(arcs[:, None], views)
    made = _parallel(filtered, grid, wide) if isinstance(wide, ParallelBeam) else _fan(filtered, grid, wide)
    return made.view(*sinograms.shape[:-2], *grid.shape).to(sinograms.dtype)


def fdk(
    projections: Tensor,
    grid: Grid,
    beam: ConeBeam,
    filter: Filter = "ramp",
    cutoff: float = 1.0,
    padding: Padding | None = None,
    water: float = WATER,
) -> Tensor:
    """Reconstruct a volume from cone-beam projections around a circle.

    Args:
        projections: (…, views, rows, bins), line integrals without unit, on any device.
        grid: of the volume, (slices, rows, columns).
        beam: where the rays ran.
        filter, cutoff, padding, water: as for `fdk.fdk`.

    Returns:
        Attenuation in 1/mm, (…, slices, rows, columns), of the same type on the same device.

    Raises:
        UserError: a shape that disagrees with the geometry, values that are not floating-point, a grid that reaches the
            source, an unknown filter or padding, a cut-off outside (0, 1], water of 0
            or less, or another beam.
    """
    if not isinstance(beam, ConeBeam):
        raise UserError("fdk reconstructs volumes of a cone beam; a parallel or fan beam goes to fbp")
    if len(grid.shape) != 3:
        raise UserError(f"fdk needs a grid of (slices, rows, columns), not of shape {grid.shape}")
    views = _checked(projections, beam, "the projections")
    check_reach(grid, beam.source_to_axis)
    wide, added = widened(beam)
    shares = _like(np.pad(ray_weights(beam), [(0, 0), added])[:, None], views)
    distance = wide.source_to_detector
    cone = _like(distance / np.sqrt(distance**2 + wide.row_positions[:, None] ** 2 + wide.positions**2), views)
    arcs = _like(view_weights(beam.angles, 360.0)[:, None, None], views)
    together = max(1, _portion(views) // (len(views) * wide.rows * wide.bins))
    pitch = wide.pitch / wide.magnification
    filtered = torch.cat(
        [
            _filtered(
                functional.pad(views[:, some], added),
                (shares[some] if len(shares) > 1 else shares) * cone,
                pitch,
                0.0,
                filter,
                cutoff,
                padding,
                water,
            )
            * arcs[some]
            for some in _slices(len(beam.angles), together)
        ],
        dim=1,
    )
    return _cone(filtered, grid, wide).view(*projections.shape[:-3], *grid.shape).to(projections.dtype)


def _checked(values: Tensor, beam: Beam, name: str) -> Tensor:
    """Return projections in the type to compute in, at least float32, with one leading axis."""
    axes = len(beam.shape)
    if tuple(values.shape[-axes:]) != beam.shape:
        wanted = f"(…, {', '.join(map(str, beam.shape))})"
        raise UserError(f"{name} has shape {tuple(values.shape)}, the geometry wants {wanted}")
    if not values.is_floating_point():
        raise UserError(f"{name} has {values.dtype} values; floating-point numbers are wanted")
    exact = values if values.dtype in (torch.float32, torch.float64) else values.float()
    return exact.reshape(-1, *beam.shape)


def _like(array: np.ndarray, values: Tensor) -> Tensor:
    """Return an array as a tensor of the type and on the device of some values."""
    return torch.tensor(array).to(values.dtype).to(values.device)


def _places(array: np.ndarray, values: Tensor) -> Tensor:
    """Return an array as a tensor to compute places with: float64, which only Apple's GPUs do not know."""
    kind = torch.float32 if values.device.type == "mps" else torch.float64
    return torch.tensor(array).to(kind).to(values.device)


def _filtered(
    views: Tensor, factors: Tensor, pitch: float, arc_pitch: float, filter: Filter, cutoff: float,
    padding: Padding | None, water: float,
) -> Tensor:  # fmt: skip
    """Extend, weight and filter projections.

    Args:
        views: (…, bins), line integrals.
        factors: of each ray, broadcast against `views`.
        pitch: between bins at the axis, in mm.
        arc_pitch: radians between the bins of a curved detector, else 0.
        filter, cutoff, padding, water: see `fbp`.
    """
    bins = views.shape[-1]
    longer, extra = _extended(views, padding, pitch, water)
    if extra:
        # Beyond the edge a ray counts as much as on it.
        edges = [
            factors[..., :1].expand(*factors.shape[:-1], extra),
            factors[..., -1:].expand(*factors.shape[:-1], extra),
        ]
        factors = torch.cat([edges[0], factors, edges[1]], dim=-1)
    length = transform_length(longer.shape[-1])
    scale = _like(response(longer.shape[-1], filter, float(cutoff), float(arc_pitch)), views) / (arc_pitch or pitch)
    spectrum = torch.fft.rfft(longer * factors, n=length) * scale
    return torch.fft.irfft(spectrum, n=length)[..., extra : extra + bins]


def _extended(views: Tensor, padding: Padding | None, pitch: float, water: float) -> tuple[Tensor, int]:
    """Continue projections on both sides as `truncation.extended` does."""
    if padding is None:
        return views, 0
    if padding not in PADDINGS:
        raise UserError(f"unknown padding {padding!r}: none, or one of {', '.join(PADDINGS)}")
    check_water(padding, water)
    extra = max(views.shape[-1] // 2, 1)
    right = _continued(views, padding, extra, pitch, water)
    left = _continued(views.flip(-1), padding, extra, pitch, water).flip(-1)
    return torch.cat([left, views, right], dim=-1), extra


def _continued(views: Tensor, padding: Padding, extra: int, pitch: float, water: float) -> Tensor:
    bins = views.shape[-1]
    taps = min(max(EDGE_TAPS, bins // 50), bins)
    beyond = torch.arange(1, extra + 1, dtype=views.dtype, device=views.device)
    roll = torch.cos(torch.pi / 2 * beyond / extra)
    if padding == "edge" or taps < 2:
        return views[..., -min(EDGE_TAPS, taps) :].mean(-1, keepdim=True).clamp(min=0) * roll
    edge = views[..., -taps:]
    place = _like((np.arange(taps) - (taps - 1) / 2) * pitch, views)
    slope = (edge * place).sum(-1, keepdim=True) / place.square().sum()
    value = (edge.mean(-1, keepdim=True) + slope * place[-1]).clamp(min=0)
    from_centre = -value * slope / (4 * water**2)
    squared = (value / (2 * water)) ** 2 + from_centre**2
    under = squared - (from_centre + beyond * pitch) ** 2
    # No root is taken of what is not above 0: its gradient would not be finite.
    continued = 2 * water * torch.where(under > 0, under.where(under > 0, 1.0).sqrt(), 0.0)
    radius = squared.where(squared > 0, 1.0).sqrt().where(squared > 0, 0.0)
    return torch.where(radius - from_centre < extra * pitch, continued, continued * roll)


def _parallel(views: Tensor, grid: Grid, beam: ParallelBeam) -> Tensor:
    """Sum filtered views over a grid by way of the lattices of `pixel_driven_parallel`, a few images at a time."""
    images = []
    for some in views.split(max(1, _portion(views) // math.prod(grid.shape))):
        directions = []
        for lattice in parallel_lattices(grid, beam):
            chosen = some.index_select(1, torch.tensor(lattice.views, device=some.device))
            shape = grid.shape[::-1] if lattice.turned else grid.shape
            made = _summed(functional.pad(chosen, (0, 1)), _Sheared(lattice, chosen), shape)
            directions.append(made.swapaxes(1, 2) if lattice.turned else made)
        images.append(sum(directions[1:], directions[0]))
    return torch.cat(images)


class _Sheared:
    """What some views give to some rows, as stretches of a lattice at which the views are read first."""

    def __init__(self, lattice: Lattice, views: Tensor) -> None:
        self._phases, self._last = lattice.phases, views.shape[-1] - 1
        self._finer = _places(lattice.finer[:, None, None], views)
        self._slope, self._lowest = (_places(each[:, None], views) for each in (lattice.slope, lattice.lowest))
        self._start = _places(lattice.first[:, None, None], views)
        self._start = self._start + _places(np.arange(lattice.phases)[:, None], views) * self._finer
        self._place = _places(np.arange(lattice.length), views)

    def __call__(self, padded: Tensor, some: slice, rows: slice, columns: int) -> Tensor:
        stride, start = self._phases * self._finer[some], self._start[some]
        ends = -start / stride, (self._last - start) / stride
        begin, end = torch.minimum(*ends).ceil(), torch.maximum(*ends).floor()
        seen = ((self._place >= begin) & (self._place <= end)).to(padded.dtype)
        lattice = _between(padded, (start + self._place * stride).clamp(0, self._last), seen).flatten(2)
        place = torch.arange(rows.start, rows.stop, device=padded.device) * self._slope[some] - self._lowest[some]
        whole = place.long()
        later = (place - whole).to(padded.dtype)[..., None]
        column = torch.arange(columns, device=padded.device)
        earlier, following = (
            _taken(lattice, (each % self._phases * len(self._place) + each // self._phases)[..., None] + column)
            for each in (whole, whole + 1)
        )
        return (earlier + later * (following - earlier)).sum(1)


def _fan(views: Tensor, grid: Grid, beam: FanBeam) -> Tensor:
    x, y = _places(grid.positions(1), views), _places(grid.positions(0)[:, None], views)
    angles = np.deg2rad(np.asarray(beam.angles))
    cosine, sine = (_places(turn(angles)[:, None, None], views) for turn in (np.cos, np.sin))

    def portion(padded: Tensor, some: slice, rows: slice, _: int) -> Tensor:
        across = x * cosine[some] + y[rows] * sine[some]
        ahead = beam.source_to_axis + y[rows] * cosine[some] - x * sine[some]
        if beam.curved:
            ratio, weight = torch.atan2(across, ahead), 1 / (across**2 + ahead**2)
        else:
            ratio, weight = across / ahead, (beam.source_to_axis / ahead) ** 2
        place = (ratio * beam.source_to_detector - beam.positions[0]) / beam.pitch
        # The zeros on either side stand for whatever lies beyond the detector.
        return _between(padded, (place + 1).clamp(0, beam.bins + 1), weight.to(views.dtype)).sum(1)

    return _summed(functional.pad(views, (1, 2)), portion, grid.shape)


def _cone(views: Tensor, grid: Grid, beam: ConeBeam) -> Tensor:
    x, y = _places(grid.positions(2), views), _places(grid.positions(1)[:, None], views)
    z = _places(grid.positions(0)[:, None, None], views)
    angles = np.deg2rad(np.asarray(beam.angles))
    cosine, sine = (_places(turn(angles)[:, None, None, None], views) for turn in (np.cos, np.sin))

    def portion(padded: Tensor, some: slice, rows: slice, _: int) -> Tensor:
        nearness = 1 / (beam.source_to_axis + y[rows] * cosine[some] - x * sine[some])
        across = (x * cosine[some] + y[rows] * sine[some]) * nearness
        bin_ = (across * beam.source_to_detector - beam.positions[0]) / beam.pitch
        row = (z * nearness * beam.source_to_detector - beam.row_positions[0]) / beam.row_pitch
        in_bins = (bin_ >= -_EDGE) & (bin_ <= beam.bins - 1 + _EDGE)
        in_rows = (row >= -_EDGE) & (row <= beam.rows - 1 + _EDGE)
        weight = ((beam.source_to_axis * nearness) ** 2 * in_bins).to(views.dtype) * in_rows
        row = row.clamp(0, beam.rows - 1)
        above = row.long()
        later = (row - above).to(views.dtype)
        # A row of padded bins after the other: the neighbour below lies one row on.
        lines = above * (beam.bins + 3)
        bin_ = bin_.clamp(0, beam.bins - 1) + 1
        upper = _between(padded, bin_, weight * (1 - later), lines)
        return (upper + _between(padded, bin_, weight * later, lines + (beam.bins + 3))).sum(1)

    return _summed(functional.pad(views, (1, 2, 0, 1)).flatten(2), portion, grid.shape)


def _between(views: Tensor, place: Tensor, weight: Tensor, start: Tensor | int = 0) -> Tensor:
    """Return the views' values between two neighbours, times weights.

    Args:
        views: (n, views, values).
        place: (views, …), counted from `start`, at least 0.
        weight: (views, …).
        start: (views, …), of the line of values that is read.

    Returns:
        (n, views, …).
    """
    whole = place.long()
    later = (place - whole).to(views.dtype)
    index = whole + start
    low, high = _taken(views, index), _taken(views, index + 1)
    return (low + later * (high - low)) * weight


def _taken(views: Tensor, index: Tensor) -> Tensor:
    """Return values of views (n, views, values) at their own indices (views, …): (n, views, …)."""
    number = torch.arange(len(index), device=views.device).view(-1, *[1] * (index.ndim - 1))
    flat = (index + number * views.shape[2]).flatten()
    return views.flatten(1).index_select(1, flat).view(len(views), *index.shape)


def _summed(views: Tensor, portion: Callable[[Tensor, slice, slice, int], Tensor], shape: tuple[int, ...]) -> Tensor:
    """Sum the portions of all views over an image.

    Args:
        views: (n, views, values).
        portion: returns from some of the views, their numbers, those of some rows and the number of columns what the
            views give to the rows: (n, …, rows, columns).
        shape: of the image; its rows are the last axis but one.
    """
    line = len(views) * math.prod(shape) // shape[-2]
    rows = max(1, min(shape[-2], _portion(views) // line))
    together = max(1, _portion(views) // (line * rows))
    blocks = []
    for taken in _slices(shape[-2], rows):
        block: Tensor | None = None
        for some in _slices(views.shape[1], together):
            if torch.is_grad_enabled() and views.requires_grad:
                made = checkpoint(
                    portion, views[:, some], some, taken, shape[-1], use_reentrant=False, preserve_rng_state=False
                )
            else:
                made = portion(views[:, some], some, taken, shape[-1])
            block = made if block is None else block + made
        assert block is not None
        blocks.append(block)
    return torch.cat(blocks, dim=-2)


def _portion(values: Tensor) -> int:
    return _PORTION.get(values.device.type, _LARGE_PORTION)


def _slices(count: int, together: int) -> list[slice]:
    return [slice(start, min(start + together, count)) for start in range(0, count, together)]
