"""Analytic reconstruction in torch gives what the compiled code gives, on any device, with gradients."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from transmodal.errors import UserError
from transmodal.tomography import torch_reconstruction
from transmodal.tomography.fdk import fdk
from transmodal.tomography.filtered_back_projection import fbp
from transmodal.tomography.filters import FILTERS, Filter
from transmodal.tomography.geometry import ConeBeam, FanBeam, Grid, ParallelBeam, covering, evenly
from transmodal.tomography.phantoms import line_integrals, shepp_logan
from transmodal.tomography.projection import project
from transmodal.tomography.truncation import Padding

GRID = Grid((64, 56), (0.8, 0.9), (1.0, -0.5))
HEAD = shepp_logan(44.0, 0.02)
PARALLEL = covering(GRID, 30)
FAN = FanBeam(evenly(36, 360.0), 72, 1.3, 120.0, 200.0, 0.3)
PLANE: dict[str, ParallelBeam | FanBeam] = {
    "parallel": PARALLEL,
    "uneven parallel": PARALLEL.at(np.array(PARALLEL.angles) ** 1.1),
    "parallel, ends on the outer bins": ParallelBeam(evenly(30, 180.0), 56, 0.9, -0.5),
    "parallel, narrow": ParallelBeam(evenly(30, 180.0), 31, 0.9),
    "parallel, displaced": ParallelBeam(evenly(40, 360.0), 40, 0.9, 12.0),
    "parallel, limited": ParallelBeam(evenly(30, 120.0), 80, 0.9),
    "a single bin": replace(FAN, bins=1, pitch=60.0),
    "fan": FAN,
    "fan, curved": replace(FAN, curved=True),
    "fan, half": FAN.at(evenly(30, 225.0)),
    "fan, limited": FAN.at(evenly(30, 150.0)),
    "fan, displaced": replace(FAN, bins=50, offset=16.0),
}
VOLUME = Grid((14, 24, 22), (1.0, 1.1, 1.2), (0.5, 0.2, -0.3))
CONE = ConeBeam(evenly(24, 360.0), 24, 44, 1.5, 1.4, 100.0, 160.0, 0.3, 0.2)
CONES = {
    "full": CONE,
    "half": CONE.at(evenly(20, 225.0)),
    "low": replace(CONE, rows=8, row_offset=2.0),
    "displaced": replace(CONE, bins=30, offset=10.0),
}
DEVICES = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]


def apart(found: torch.Tensor, wanted: np.ndarray) -> float:
    assert found.shape == wanted.shape
    return float(np.abs(found.cpu().numpy() - wanted).max() / np.abs(wanted).max())


def box() -> np.ndarray:
    volume = np.zeros(VOLUME.shape, np.float32)
    volume[3:11, 6:16, 4:17] = 0.02
    volume[5:8, 9:12, 6:9] = 0.04
    return volume


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("name", PLANE)
def test_slices_are_those_of_the_compiled_code(name: str, device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(torch_reconstruction._PORTION, "cpu", 5_000)  # several portions of views and of rows
    sinogram = line_integrals(HEAD, PLANE[name])
    pair = np.stack([sinogram, 2 * sinogram[:, ::-1]])
    found = torch_reconstruction.fbp(torch.tensor(pair, device=device), GRID, PLANE[name])
    assert found.dtype == torch.float32
    assert found.device.type == device
    assert apart(found, fbp(pair, GRID, PLANE[name])) < 1e-5


@pytest.mark.parametrize("filter", FILTERS)
@pytest.mark.parametrize("padding", [None, "edge", "water"])
@pytest.mark.parametrize("name", ["parallel, narrow", "fan, curved"])
def test_every_filter_and_padding_is_that_of_the_compiled_code(
    name: str, padding: Padding | None, filter: Filter
) -> None:
    beam = replace(PLANE[name], bins=41)
    sinogram = line_integrals(HEAD, beam)
    found = torch_reconstruction.fbp(torch.tensor(sinogram), GRID, beam, filter, 0.8, padding)
    assert apart(found, fbp(sinogram, GRID, beam, filter, 0.8, padding)) < 1e-5


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("name", CONES)
def test_volumes_are_those_of_the_compiled_code(name: str, device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(torch_reconstruction._PORTION, "cpu", 3_000)
    projections = project(box(), VOLUME, CONES[name])
    for padding in (None, "water"):
        found = torch_reconstruction.fdk(
            torch.tensor(projections, device=device), VOLUME, CONES[name], "hann", 0.9, padding
        )
        assert apart(found, fdk(projections, VOLUME, CONES[name], "hann", 0.9, padding)) < 1e-5


def test_padding_by_water_takes_the_attenuation_of_water_in_use() -> None:
    beam = replace(PLANE["fan, curved"], bins=41)
    sinogram = line_integrals(HEAD, beam)
    made = {
        water: torch_reconstruction.fbp(torch.tensor(sinogram), GRID, beam, padding="water", water=water)
        for water in (0.0192, 0.05)
    }
    assert apart(made[0.05], fbp(sinogram, GRID, beam, padding="water", water=0.05)) < 1e-5
    assert apart(made[0.0192], made[0.05].numpy()) > 1e-2
    cone = replace(CONE, bins=14)
    projections = project(box(), VOLUME, cone)
    volumes = [
        torch_reconstruction.fdk(torch.tensor(projections), VOLUME, cone, padding="water", water=water)
        for water in (0.0192, 0.05)
    ]
    assert apart(volumes[1], fdk(projections, VOLUME, cone, padding="water", water=0.05)) < 1e-5
    assert apart(volumes[0], volumes[1].numpy()) > 1e-2
    with pytest.raises(UserError, match="a number above 0"):
        torch_reconstruction.fbp(torch.tensor(sinogram), GRID, beam, padding="water", water=0.0)


def test_leading_axes_and_types_are_kept() -> None:
    sinogram = torch.tensor(line_integrals(HEAD, PARALLEL))
    alone = torch_reconstruction.fbp(sinogram, GRID, PARALLEL)
    batch = torch_reconstruction.fbp(torch.stack([sinogram, 0 * sinogram])[:, None].double(), GRID, PARALLEL)
    assert batch.shape == (2, 1, *GRID.shape)
    assert batch.dtype == torch.float64
    torch.testing.assert_close(batch[0, 0].float(), alone, atol=1e-6, rtol=0)
    half = torch_reconstruction.fbp(sinogram.half(), GRID, PARALLEL)
    assert half.dtype == torch.float16
    torch.testing.assert_close(half.float(), alone, atol=1e-3, rtol=0)


@pytest.mark.parametrize("padding", [None, "edge", "water"])
@pytest.mark.parametrize(
    "beam",
    [
        ParallelBeam((0.0, 40.0, 95.0, 150.0), 9, 1.1, 0.1),
        FanBeam(evenly(5, 360.0), 9, 2.0, 30.0, 50.0),
        FanBeam(evenly(6, 230.0), 9, 2.0, 30.0, 50.0, curved=True),
    ],
)
def test_gradients_reach_a_sinogram(
    beam: ParallelBeam | FanBeam, padding: Padding | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(torch_reconstruction._PORTION, "cpu", 60)
    grid = Grid((5, 6), (1.3, 1.2))
    generator = torch.Generator().manual_seed(0)
    sinogram = (0.5 + torch.rand(beam.shape, generator=generator, dtype=torch.float64)).requires_grad_()
    assert torch.autograd.gradcheck(
        lambda views: torch_reconstruction.fbp(views, grid, beam, "hann", 0.9, padding), sinogram
    )


def test_gradients_reach_cone_beam_projections(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(torch_reconstruction._PORTION, "cpu", 60)
    grid, beam = Grid((3, 4, 4), (1.0, 1.2, 1.1)), ConeBeam(evenly(4, 360.0), 4, 6, 2.0, 2.0, 30.0, 50.0)
    projections = torch.rand(beam.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    assert torch.autograd.gradcheck(
        lambda views: torch_reconstruction.fdk(views, grid, beam), projections.requires_grad_()
    )


def test_air_has_a_finite_gradient_under_water_padding() -> None:
    sinogram = torch.zeros(PARALLEL.shape, requires_grad=True)
    torch_reconstruction.fbp(sinogram, GRID, PARALLEL, padding="water").square().sum().backward()
    assert sinogram.grad is not None
    assert bool(sinogram.grad.isfinite().all())


def test_a_training_step_keeps_no_look_ups() -> None:
    # What the graph keeps must not grow with views times pixels: places are computed again for the gradient.
    sinogram = torch.tensor(line_integrals(HEAD, PARALLEL)).requires_grad_()
    kept = 0

    def count(values: torch.Tensor) -> torch.Tensor:
        nonlocal kept
        kept += values.numel()
        return values

    with torch.autograd.graph.saved_tensors_hooks(count, lambda values: values):
        torch_reconstruction.fbp(sinogram, GRID, PARALLEL)
    assert kept < 8 * sinogram.numel()
    assert 8 * sinogram.numel() < len(PARALLEL.angles) * GRID.shape[0] * GRID.shape[1]


def test_what_cannot_be_reconstructed_is_refused() -> None:
    sinogram = torch.zeros(PARALLEL.shape)
    with pytest.raises(UserError, match="goes to fdk"):
        torch_reconstruction.fbp(torch.zeros(CONE.shape), VOLUME, CONE)  # type: ignore[arg-type]
    with pytest.raises(UserError, match="goes to fbp"):
        torch_reconstruction.fdk(sinogram, GRID, PARALLEL)  # type: ignore[arg-type]
    with pytest.raises(UserError, match="the geometry wants"):
        torch_reconstruction.fbp(sinogram[:, 1:], GRID, PARALLEL)
    with pytest.raises(UserError, match="floating-point"):
        torch_reconstruction.fbp(sinogram.int(), GRID, PARALLEL)
    with pytest.raises(UserError, match="unknown padding"):
        torch_reconstruction.fbp(sinogram, GRID, PARALLEL, padding="air")  # type: ignore[arg-type]
    with pytest.raises(UserError, match="cutoff"):
        torch_reconstruction.fbp(sinogram, GRID, PARALLEL, cutoff=0)
    with pytest.raises(UserError, match="inside its circle"):
        torch_reconstruction.fbp(torch.zeros(FAN.shape), Grid((64, 64), (9.0, 9.0)), FAN)
