"""Gradients through projection and its adjoint."""

import numpy as np
import pytest
import torch

from transmodal.errors import UserError
from transmodal.tomography import differentiable, projection, torch_projection
from transmodal.tomography.geometry import Beam, ConeBeam, FanBeam, Grid, ParallelBeam

GRID = Grid((5, 4), (0.9, 1.1), (0.2, -0.3))
SCANS: dict[str, tuple[Grid, Beam]] = {
    "parallel": (GRID, ParallelBeam((0.0, 50.0, 120.0), 6, 1.0, 0.2)),
    "fan": (GRID, FanBeam((0.0, 50.0, 220.0), 6, 1.8, 20.0, 35.0)),
    "cone": (Grid((3, 3, 4), (0.3, 1.0, 0.9)), ConeBeam((0.0, 50.0), 3, 4, 1.8, 1.8, 12.0, 22.0, 0.1, 0.4)),
}
CALLS = {"project": differentiable.project, "backproject": differentiable.backproject}


def values(name: str, call: str, kind: torch.dtype) -> torch.Tensor:
    grid, beam = SCANS[name]
    torch.manual_seed(0)
    return torch.randn(2, 1, *(grid.shape if call == "project" else beam.shape), dtype=kind, requires_grad=True)


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("name", SCANS)
def test_gradients_are_those_of_differences(name: str, call: str) -> None:
    grid, beam = SCANS[name]
    assert torch.autograd.gradcheck(
        lambda given: CALLS[call](given, grid, beam), [values(name, call, torch.float64)], raise_exception=True
    )


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("name", SCANS)
def test_compiled_and_torch_code_agree(name: str, call: str) -> None:
    grid, beam = SCANS[name]
    single, double = values(name, call, torch.float32), values(name, call, torch.float64)
    double.data.copy_(single.data)
    made, exact = (CALLS[call](given, grid, beam) for given in (single, double))
    assert made.dtype == torch.float32 and exact.dtype == torch.float64
    torch.testing.assert_close(made.double(), exact, rtol=1e-5, atol=1e-5)
    weights = torch.randn_like(exact)
    (made * weights.float()).sum().backward()
    (exact * weights).sum().backward()
    assert single.grad is not None and double.grad is not None
    torch.testing.assert_close(single.grad.double(), double.grad, rtol=1e-5, atol=1e-5)


def test_single_precision_on_the_cpu_is_compiled_and_the_rest_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    grid, beam = SCANS["fan"]
    monkeypatch.delattr(torch_projection, "project")
    single = differentiable.project(torch.zeros(1, 1, *grid.shape), grid, beam)
    monkeypatch.undo()
    monkeypatch.delattr(projection, "project_unchecked")
    double = differentiable.project(torch.zeros(1, 1, *grid.shape, dtype=torch.float64), grid, beam)
    assert (single.dtype, double.dtype) == (torch.float32, torch.float64)


def test_half_precision_comes_back_as_it_was() -> None:
    grid, beam = SCANS["fan"]
    images = torch.rand(1, 1, *grid.shape).bfloat16().requires_grad_()
    made = differentiable.project(images, grid, beam)
    made.sum().backward()
    assert images.grad is not None
    assert made.dtype == images.grad.dtype == torch.bfloat16


def test_what_is_not_finite_passes() -> None:
    grid, beam = SCANS["parallel"]
    images = torch.zeros(1, 1, *grid.shape)
    images[0, 0, 2, 2] = np.inf
    assert not torch.isfinite(differentiable.project(images, grid, beam)).all()


def test_gradient_descent_finds_the_image() -> None:
    grid = Grid((8, 8), (1.0, 1.0))
    beam = ParallelBeam(tuple(np.arange(0.0, 180.0, 10.0)), 13, 1.0)
    truth = torch.rand(1, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    measured = differentiable.project(truth, grid, beam)
    found = torch.zeros_like(truth, requires_grad=True)
    optimiser = torch.optim.LBFGS([found], max_iter=200)

    def closure() -> float:
        optimiser.zero_grad()
        loss = (differentiable.project(found, grid, beam) - measured).square().sum()
        loss.backward()
        return float(loss.detach())

    optimiser.step(closure)
    torch.testing.assert_close(found.detach(), truth, rtol=0, atol=0.02)


def test_what_does_not_fit_is_refused() -> None:
    grid, beam = SCANS["parallel"]
    with pytest.raises(UserError, match=r"the images have shape \(1, 2, 5, 4\), the grid wants \(n, 1, 5, 4\)"):
        differentiable.project(torch.zeros(1, 2, 5, 4), grid, beam)
    with pytest.raises(UserError, match=r"the geometry wants \(n, 1, 3, 6\)"):
        differentiable.backproject(torch.zeros(1, 1, 6, 3), grid, beam)
    with pytest.raises(UserError, match="int32"):
        differentiable.project(torch.zeros(1, 1, 5, 4, dtype=torch.int32), grid, beam)
