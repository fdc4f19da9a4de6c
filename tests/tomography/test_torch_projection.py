"""The torch projection gives what the compiled one gives."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from tests.data.scans import cone_beams, fan_beams, parallel_beams, plane_grids, volume_grids

from transmodal.errors import UserError
from transmodal.tomography import projection, torch_projection
from transmodal.tomography.geometry import Beam, ConeBeam, FanBeam, Grid, ParallelBeam, covering, evenly

GRID = Grid((40, 30), (0.9, 1.1), (0.7, -0.3))
THIN = Grid((40, 16, 18), (0.1, 0.9, 1.0), (0.3, 0.5, -0.4))
STEEP = ConeBeam((0.0, 33.0, 90.0, 200.0), 12, 14, 1.5, 2.0, 25.0, 45.0, 0.4, 1.2)
SCANS: dict[str, tuple[Grid, Beam]] = {
    "parallel": (GRID, covering(GRID, 12)),
    "fan": (GRID, FanBeam(evenly(12, 360.0), 50, 1.6, 80.0, 130.0, 0.5)),
    "curved": (GRID, FanBeam(evenly(12, 360.0), 50, 1.6, 80.0, 130.0, -0.5, curved=True)),
    "cone": (Grid((12, 20, 18), (1.0, 1.1, 0.9)), ConeBeam(evenly(6, 360.0), 14, 24, 1.7, 1.7, 60.0, 100.0, 0.5)),
    "steep cone": (THIN, STEEP),
}
DEVICES = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]


def same(one: torch.Tensor, other: np.ndarray, tolerance: float = 1e-5) -> None:
    assert one.shape == other.shape
    largest = float(np.abs(other).max())
    assert np.abs(one.cpu().numpy() - other).max() <= tolerance * largest + 1e-9


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("name", SCANS)
def test_it_agrees_with_the_compiled_projection(name: str, device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(torch_projection._PORTION, "cpu", 20_000)  # several portions
    grid, beam = SCANS[name]
    generator = np.random.default_rng(0)
    images = generator.random((2, *grid.shape)).astype(np.float32)
    sinograms = generator.random((2, *beam.shape)).astype(np.float32)
    forwards = torch_projection.project(torch.tensor(images, device=device), grid, beam)
    backwards = torch_projection.backproject(torch.tensor(sinograms, device=device), grid, beam)
    assert forwards.dtype == backwards.dtype == torch.float32
    same(forwards, np.stack([projection.project(image, grid, beam) for image in images]))
    same(backwards, np.stack([projection.backproject(sinogram, grid, beam) for sinogram in sinograms]))


@settings(deadline=None, max_examples=20)
@given(grid=plane_grids(), parallel=parallel_beams(), fan=fan_beams())
def test_it_agrees_on_any_scan_of_a_slice(grid: Grid, parallel: ParallelBeam, fan: FanBeam) -> None:
    image = np.random.default_rng(1).random(grid.shape).astype(np.float32)
    for beam in (parallel, fan):
        same(torch_projection.project(torch.tensor(image)[None], grid, beam)[0], projection.project(image, grid, beam))


@settings(deadline=None, max_examples=15)
@given(grid=volume_grids(), beam=cone_beams())
def test_it_agrees_on_any_scan_of_a_volume(grid: Grid, beam: ConeBeam) -> None:
    sums = np.random.default_rng(1).random(beam.shape).astype(np.float32)
    back = torch_projection.backproject(torch.tensor(sums)[None], grid, beam)[0]
    same(back, projection.backproject(sums, grid, beam))


@pytest.mark.parametrize("name", SCANS)
def test_the_adjoint_is_exact_in_float64(name: str) -> None:
    grid, beam = SCANS[name]
    torch.manual_seed(0)
    images = torch.randn(1, *grid.shape, dtype=torch.float64)
    sinograms = torch.randn(1, *beam.shape, dtype=torch.float64)
    forwards = torch_projection.project(images, grid, beam)
    backwards = torch_projection.backproject(sinograms, grid, beam)
    scale = float(forwards.norm() * sinograms.norm())
    assert abs(float((forwards * sinograms).sum() - (images * backwards).sum())) < 1e-13 * scale


@pytest.mark.parametrize("kind", [torch.bfloat16, torch.float16])
def test_half_precision_is_computed_in_single(kind: torch.dtype) -> None:
    grid, beam = SCANS["fan"]
    images = torch.rand(1, *grid.shape).to(kind)
    made = torch_projection.project(images, grid, beam)
    assert made.dtype == kind
    torch.testing.assert_close(made, torch_projection.project(images.float(), grid, beam).to(kind))


def test_an_empty_batch_stays_empty() -> None:
    grid, beam = SCANS["fan"]
    assert torch_projection.project(torch.zeros(0, *grid.shape), grid, beam).shape == (0, *beam.shape)
    assert torch_projection.backproject(torch.zeros(0, *beam.shape), grid, beam).shape == (0, *grid.shape)


def test_what_does_not_fit_is_refused() -> None:
    grid, beam = SCANS["fan"]
    with pytest.raises(UserError, match=r"the images have shape \(40, 30\), the grid wants \(n, 40, 30\)"):
        torch_projection.project(torch.zeros(40, 30), grid, beam)
    with pytest.raises(UserError, match=r"the sinograms have shape .* the geometry wants"):
        torch_projection.backproject(torch.zeros(1, 50, 12), grid, beam)
    with pytest.raises(UserError, match="int64"):
        torch_projection.project(torch.zeros(1, 40, 30, dtype=torch.int64), grid, beam)
