"""Joseph's projection and its exact adjoint in plain torch, for any device and floating-point type.

The same crossings and weights as the compiled code in `projection.py`, and the same results within rounding. Rays are
taken in portions whose interpolations fit into a bounded memory. On a GPU the adjoint adds with atomic operations, in
an order that changes from run to run: its last digits do too, unless torch.use_deterministic_algorithms says otherwise.
"""

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from transmodal.errors import UserError
from transmodal.tomography.geometry import Beam, ConeBeam, Grid
from transmodal.tomography.rays import ConeRays, cone_rays, plane_rays

_PORTION = {"cpu": 1 << 20}  # interpolations at a time; each takes about 60 bytes while it is worked on
_LARGE_PORTION = 1 << 23  # on other devices, which want much to do at once


def project(images: Tensor, grid: Grid, beam: Beam) -> Tensor:
    """Integrate attenuation along the rays of a scan.

    Args:
        images: 1/mm; (n, rows, columns), for a cone beam (n, slices, rows, columns).
        grid: where their pixels are.
        beam: the scanner.

    Returns:
        Line integrals, dimensionless, of the same type on the same device: (n, views, bins), for a cone beam
        (n, views, rows, bins).

    Raises:
        UserError: the shape is not the grid's, the values are not floating-point, or the grid and the beam do not go
            together.
    """
    exact = _checked(images, grid.shape, "the images have", "the grid")
    sinograms = exact.new_zeros(len(images), math.prod(beam.shape))
    for axis in range(len(grid.shape)):
        planes: Tensor | None = None
        for stretch in _stretches(grid, beam, axis, exact):
            if planes is None:
                planes = functional.pad(exact.movedim(axis + 1, 1), (1, 2) * (len(grid.shape) - 1)).flatten(1)
            for index, weight in stretch.corners():
                sinograms[:, stretch.rays] += (planes[:, index] * weight).sum(1) * stretch.length
    return sinograms.view(len(images), *beam.shape).to(images.dtype)


def backproject(sinograms: Tensor, grid: Grid, beam: Beam) -> Tensor:
    """Apply the adjoint of `project`.

    Args:
        sinograms: (n, views, bins), for a cone beam (n, views, rows, bins).
        grid: of the images to make.
        beam: the scanner.

    Returns:
        Of the same type on the same device: (n, rows, columns), for a cone beam (n, slices, rows, columns).

    Raises:
        UserError: the shape is not the geometry's, the values are not floating-point, or the grid and the beam do not
            go together.
    """
    exact = _checked(sinograms, beam.shape, "the sinograms have", "the geometry").flatten(1)
    images = exact.new_zeros(len(sinograms), *grid.shape)
    for axis in range(len(grid.shape)):
        bordered = [count + 3 for other, count in enumerate(grid.shape) if other != axis]
        planes: Tensor | None = None
        for stretch in _stretches(grid, beam, axis, exact):
            if planes is None:
                planes = exact.new_zeros(len(images), grid.shape[axis] * math.prod(bordered))
            values = (exact[:, stretch.rays] * stretch.length)[:, None]
            for index, weight in stretch.corners():
                planes.index_add_(1, index.flatten(), (values * weight).flatten(1))
        if planes is not None:
            inner: tuple[Any, ...] = (..., *[slice(1, -2)] * len(bordered))
            images.movedim(axis + 1, 1).add_(planes.view(len(images), grid.shape[axis], *bordered)[inner])
    return images.to(sinograms.dtype)


@dataclass(frozen=True, eq=False)
class _Stretch:
    """Some rays that one axis leads, and where they cross its lines or planes.

    Attributes:
        rays: (r,), their numbers in a flattened sinogram.
        length: (r,), mm between two lines.
        crossings: for each of the other axes (lines, r), in pixels, within the border of one pixel.
        bordered: how long each of the other axes is with its border.
    """

    rays: Tensor
    length: Tensor
    crossings: tuple[Tensor, ...]
    bordered: tuple[int, ...]

    def corners(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield for each neighbour of the crossings its index in a flattened image with borders, and its weight."""
        line = torch.arange(len(self.crossings[0]), device=self.rays.device)[:, None]
        pixels = [crossing.long() for crossing in self.crossings]
        fractions = [
            (crossing - pixel).to(self.length.dtype) for crossing, pixel in zip(self.crossings, pixels, strict=True)
        ]
        for steps in itertools.product((0, 1), repeat=len(pixels)):
            index, weight = line, torch.ones_like(self.length)
            for step, pixel, fraction, count in zip(steps, pixels, fractions, self.bordered, strict=True):
                index = index * count + pixel + step
                weight = weight * (fraction if step else 1 - fraction)
            yield index, weight


@dataclass(frozen=True, eq=False)
class _Table:
    """The arrays of `PlaneRays` and `ConeRays` on a device; `rays` numbers those that rows and that columns lead."""

    intercept: Tensor
    slope: Tensor
    length: Tensor
    rows_lead: Tensor
    rays: tuple[Tensor, Tensor]
    start: Tensor
    rise: Tensor
    heights: Tensor
    steepness: Tensor


@lru_cache(maxsize=16)  # as many as SART has subsets, and some
def _table(grid: Grid, beam: Beam, device: torch.device) -> _Table:
    cone = cone_rays(grid, beam) if isinstance(beam, ConeBeam) else None
    plane = cone.plane if cone else plane_rays(grid, beam)
    kind = torch.float32 if device.type == "mps" else torch.float64  # Apple's GPUs know no float64

    def moved(array: Any) -> Tensor:
        return torch.tensor(array, dtype=kind).to(device)

    rows_lead = torch.tensor(plane.rows_lead)
    rays = tuple(torch.nonzero(leads.flatten())[:, 0].to(device) for leads in (rows_lead, ~rows_lead))
    return _Table(
        moved(plane.intercept).flatten(),
        moved(plane.slope).flatten(),
        moved(plane.length).flatten(),
        rows_lead.flatten().to(device),
        (rays[0], rays[1]),
        moved(cone.start if cone else ()).flatten(),
        moved(cone.rise if cone else ()).flatten(),
        moved(cone.heights if cone else ()),
        moved(cone.reciprocal_distance if cone else ()),
    )


def _checked(values: Tensor, shape: tuple[int, ...], name: str, other: str) -> Tensor:
    """Return values in the type to compute in: at least float32."""
    if values.ndim != len(shape) + 1 or tuple(values.shape[1:]) != shape:
        raise UserError(f"{name} shape {tuple(values.shape)}, {other} wants (n, {', '.join(map(str, shape))})")
    if not values.is_floating_point():
        raise UserError(f"{name} {values.dtype} values; floating-point numbers are wanted")
    return values if values.dtype in (torch.float32, torch.float64) else values.float()


def _stretches(grid: Grid, beam: Beam, axis: int, like: Tensor) -> Iterator[_Stretch]:
    """Yield the rays that an axis of the grid leads, in portions for a memory that is bounded."""
    table = _table(grid, beam, like.device)
    lines = grid.shape[axis]
    portion = max(1, _PORTION.get(like.device.type, _LARGE_PORTION) // (lines * max(1, len(like))))
    place = torch.arange(lines, device=like.device, dtype=table.slope.dtype)[:, None]
    bordered = tuple(count + 3 for other, count in enumerate(grid.shape) if other != axis)
    if not isinstance(beam, ConeBeam):
        for rays in table.rays[axis].split(portion):
            crossing = _held(table.intercept[rays] + place * table.slope[rays], bordered[0])
            yield _Stretch(rays, table.length[rays].to(like.dtype), (crossing,), bordered)
    elif axis == 0:
        yield from _steep(grid, beam, table, cone_rays(grid, beam), portion, like)
    else:
        middle = cone_rays(grid, beam).middle
        for rays in table.rays[axis - 1].split(max(1, portion // beam.rows)):
            view, bin_ = rays // beam.bins, rays % beam.bins
            column = _held(table.intercept[rays] + place * table.slope[rays], bordered[1])
            rise = (place - table.start[rays]) * table.rise[rays]
            level = _held(middle + table.heights[:, None] * rise[:, None], bordered[0])
            climb = (table.heights[:, None] * table.rise[rays]).abs()
            length = table.length[rays] * (1 + (table.heights[:, None] * table.steepness[bin_]) ** 2).sqrt()
            number = (view * beam.rows + torch.arange(beam.rows, device=like.device)[:, None]) * beam.bins + bin_
            yield _Stretch(
                number.flatten(),
                torch.where(climb > 1, 0, length).to(like.dtype).flatten(),
                (level.flatten(1), column[:, None].expand_as(level).flatten(1)),
                bordered,
            )


def _steep(grid: Grid, beam: ConeBeam, table: _Table, cone: ConeRays, portion: int, like: Tensor) -> Iterator[_Stretch]:
    """Yield the rays that the slices lead, view by view."""
    place = torch.arange(grid.shape[0], device=like.device, dtype=table.slope.dtype)[:, None]
    for view in cone.steep_views():
        leads = (table.heights[:, None] * table.rise[view * beam.bins : (view + 1) * beam.bins]).abs() > 1
        for chosen in torch.nonzero(leads.flatten())[:, 0].split(portion):
            row, bin_ = chosen // beam.bins, chosen % beam.bins
            rays = view * beam.bins + bin_
            # From slice to slice a ray passes `pace` lines of the axis that leads in the plane.
            pace = 1 / (table.heights[row] * table.rise[rays])
            line = table.start[rays] + (place - cone.middle) * pace
            other = table.intercept[rays] + line * table.slope[rays]
            rows_lead = table.rows_lead[rays]
            crossings = (
                _held(torch.where(rows_lead, line, other), grid.shape[1] + 3),
                _held(torch.where(rows_lead, other, line), grid.shape[2] + 3),
            )
            steepness = table.heights[row] * table.steepness[bin_]
            length = cone.slice_spacing * (1 + steepness**-2).sqrt()
            number = view * beam.rows * beam.bins + chosen
            yield _Stretch(number, length.to(like.dtype), crossings, (grid.shape[1] + 3, grid.shape[2] + 3))


def _held(crossing: Tensor, bordered: int) -> Tensor:
    """Return crossings counted from the border, those beyond it on it, where the image is 0."""
    return crossing.add(1).clamp(0, bordered - 2)
