"""Projection and its adjoint as operations of torch through which gradients flow.

Both are linear: the gradient of either is the other. Float32 on the CPU is computed by the compiled code, all else by
`torch_projection`. Values are not looked at: an overflow in a training step must reach the scaler of its gradients.
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from transmodal.errors import UserError
from transmodal.tomography import projection, torch_projection
from transmodal.tomography.geometry import Beam, Grid
from transmodal.tomography.rays import check_fit


def project(images: Tensor, grid: Grid, beam: Beam) -> Tensor:
    """Integrate attenuation along the rays of a scan.

    Args:
        images: 1/mm; (n, 1, rows, columns), for a cone beam (n, 1, slices, rows, columns); any device.
        grid: where their pixels are.
        beam: the scanner.

    Returns:
        Line integrals, dimensionless, of the same type on the same device: (n, 1, views, bins), for a cone beam
        (n, 1, views, rows, bins).

    Raises:
        UserError: the shape is not (n, 1, …) of the grid, or the grid and the beam do not go together.
    """
    check_fit(grid, beam)
    _check(images, grid.shape, "images", "grid")
    made: Tensor = _Project.apply(images, grid, beam)
    return made


def backproject(sinograms: Tensor, grid: Grid, beam: Beam) -> Tensor:
    """Apply the adjoint of `project`.

    Args:
        sinograms: (n, 1, views, bins), for a cone beam (n, 1, views, rows, bins); any device.
        grid: of the images to make.
        beam: the scanner.

    Returns:
        Of the same type on the same device: (n, 1, rows, columns), for a cone beam (n, 1, slices, rows, columns).

    Raises:
        UserError: the shape is not (n, 1, …) of the geometry, or the grid and the beam do not go together.
    """
    check_fit(grid, beam)
    _check(sinograms, beam.shape, "sinograms", "geometry")
    made: Tensor = _Backproject.apply(sinograms, grid, beam)
    return made


class _Project(torch.autograd.Function):
    @staticmethod
    def forward(context: Any, images: Tensor, grid: Grid, beam: Beam) -> Tensor:
        context.scan = grid, beam
        return _applied(images, grid, beam, adjoint=False)

    @staticmethod
    @once_differentiable
    def backward(context: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        return _applied(gradients[0], *context.scan, adjoint=True), None, None


class _Backproject(torch.autograd.Function):
    @staticmethod
    def forward(context: Any, sinograms: Tensor, grid: Grid, beam: Beam) -> Tensor:
        context.scan = grid, beam
        return _applied(sinograms, grid, beam, adjoint=True)

    @staticmethod
    @once_differentiable
    def backward(context: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        return _applied(gradients[0], *context.scan, adjoint=False), None, None


def _applied(values: Tensor, grid: Grid, beam: Beam, *, adjoint: bool) -> Tensor:
    flat = values.detach()[:, 0]
    if values.device.type != "cpu" or values.dtype == torch.float64:
        return (torch_projection.backproject if adjoint else torch_projection.project)(flat, grid, beam)[:, None]
    compiled = projection.backproject_unchecked if adjoint else projection.project_unchecked
    arrays = flat.float().contiguous().numpy()
    # One by one where a scan has three axes: the compiled code takes stacks of slices, not of volumes.
    if len(grid.shape) == 3:
        made = torch.stack([torch.from_numpy(compiled(array, grid, beam)) for array in arrays])
    else:
        made = torch.from_numpy(compiled(arrays, grid, beam))
    return made[:, None].to(values.dtype)


def _check(values: Tensor, shape: tuple[int, ...], name: str, other: str) -> None:
    if tuple(values.shape[1:]) != (1, *shape):
        wanted = f"(n, 1, {', '.join(map(str, shape))})"
        raise UserError(f"the {name} have shape {tuple(values.shape)}, the {other} wants {wanted}")
    if not values.is_floating_point():
        raise UserError(f"the {name} have {values.dtype} values; floating-point numbers are wanted")
