"""Iterative reconstruction does the same with projections by torch as with compiled ones."""

from collections.abc import Callable

import numpy as np
import pytest
import torch

from transmodal.errors import UserError
from transmodal.tomography import devices, reconstruction
from transmodal.tomography.geometry import Beam, ConeBeam, Grid, covering, evenly
from transmodal.tomography.iterative import Reconstruction, sart, sirt
from transmodal.tomography.operator import Projector
from transmodal.tomography.phantoms import rasterise, shepp_logan
from transmodal.tomography.reconstruction import Settings, reconstruct
from transmodal.tomography.torch_operator import TorchProjector
from transmodal.tomography.total_variation import tv_fista, tv_pdhg

GRID = Grid((32, 30), (1.5, 1.4))
BEAM = covering(GRID, 16)
VOLUME = Grid((6, 12, 10), (2.0, 2.0, 2.0))
CONE = ConeBeam(evenly(8, 360.0), 10, 18, 3.0, 3.0, 60.0, 90.0)
SCANS: dict[str, tuple[Grid, Beam]] = {"parallel": (GRID, BEAM), "cone": (VOLUME, CONE)}
DEVICES = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]
HEAD = rasterise(shepp_logan(40.0, 0.02), GRID)

METHODS: dict[str, Callable[[np.ndarray, Projector], Reconstruction]] = {
    "sirt": lambda views, projector: sirt(views, projector, iterations=8),
    "sart": lambda views, projector: sart(views, projector, iterations=3, subsets=4),
    "tv_pdhg": lambda views, projector: tv_pdhg(views, projector, 0.05, iterations=15),
    "tv_fista": lambda views, projector: tv_fista(views, projector, 0.05, iterations=8),
}


def same(one: np.ndarray, other: np.ndarray, tolerance: float = 1e-5) -> None:
    assert one.shape == other.shape
    assert one.dtype == other.dtype == np.float32
    assert np.abs(one - other).max() <= tolerance * np.abs(other).max()


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("name", SCANS)
def test_it_is_the_compiled_operator(name: str, device: str) -> None:
    grid, beam = SCANS[name]
    ours, compiled = TorchProjector(grid, beam, device), Projector(grid, beam)
    generator = np.random.default_rng(0)
    image, views = generator.random(grid.shape, np.float32), generator.random(beam.shape, np.float32)
    same(ours.forward(image), compiled.forward(image))
    same(ours.adjoint(views), compiled.adjoint(views))
    same(ours.row_sums(), compiled.row_sums())
    same(ours.column_sums(), compiled.column_sums())
    assert ours.norm() == pytest.approx(compiled.norm(), rel=1e-5)
    part = ours.at(beam.at(beam.angles[::2]))
    assert part.device == ours.device
    assert part.forward(image).shape == (len(beam.angles) // 2, *beam.shape[1:])


def test_slices_may_be_stacked() -> None:
    stack = np.stack([HEAD, 2 * HEAD])
    ours = TorchProjector(GRID, BEAM, "cpu")
    same(ours.forward(stack), Projector(GRID, BEAM).forward(stack))
    same(ours.adjoint(ours.forward(stack)), Projector(GRID, BEAM).adjoint(ours.forward(stack)))


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("name", METHODS)
def test_every_iterative_method_takes_it(name: str, device: str) -> None:
    compiled = Projector(GRID, BEAM)
    views = compiled.forward(HEAD)
    ours, wanted = METHODS[name](views, TorchProjector(GRID, BEAM, device)), METHODS[name](views, compiled)
    same(ours.image, wanted.image, 1e-4)
    assert ours.objective == pytest.approx(wanted.objective, rel=1e-3)


@pytest.mark.parametrize("method", ["fbp", "fdk", "sirt", "sart", "tv", "tv-fista"])
def test_a_device_is_chosen_by_name(method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    grid, beam = SCANS["cone" if method == "fdk" else "parallel"]
    made = np.random.default_rng(0).random(grid.shape, np.float32) if method == "fdk" else HEAD
    views = Projector(grid, beam).forward(made)
    views = views if method == "fdk" else views[None]
    settings = Settings(
        method=method,  # type: ignore[arg-type]
        iterations=None if method in ("fbp", "fdk") else 5,
        weight=0.05 if method.startswith("tv") else None,
    )
    wanted = reconstruct(views, grid, beam, settings)
    # "cpu:0" is the CPU by torch: what a GPU would do.
    monkeypatch.setattr(reconstruction, "require_device", lambda name: None)
    monkeypatch.delattr(reconstruction, "fbp")
    monkeypatch.delattr(reconstruction, "fdk")
    monkeypatch.delattr(reconstruction, "Projector")
    found = reconstruct(views, grid, beam, settings, device="cpu:0")
    same(found.image, wanted.image, 1e-4)
    assert [count for count, _ in found.stops] == [count for count, _ in wanted.stops]


def test_a_device_that_is_not_there_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    for there in ("cpu", "cuda", "cuda:1"):
        devices.require_device(there)
    for name in ("cuda:2", "cuda:", "cuda:-1", "cuda:x", "gpu", "", "CPU"):
        with pytest.raises(UserError, match="no device"):
            devices.require_device(name)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    with pytest.raises(UserError, match="no device 'cuda'"):
        reconstruct(np.zeros((1, *BEAM.shape), np.float32), GRID, BEAM, device="cuda")
