"""Projection on a finer, shifted grid, and of volumes in slabs."""

import numpy as np
import pytest

from transmodal.errors import UserError
from transmodal.tomography import finer_projection
from transmodal.tomography.finer_projection import finer_grid, project_finer, upsampled
from transmodal.tomography.geometry import Beam, ConeBeam, Grid, ParallelBeam, evenly
from transmodal.tomography.operator import Projector

VOLUME = Grid((5, 8, 7), (1.5, 1.0, 1.2), (0.4, -0.3, 0.2))
CONE = ConeBeam(evenly(6, 360.0), 12, 14, 1.7, 1.5, 40.0, 60.0, 0.3, -0.4)


def _volume(grid: Grid) -> np.ndarray:
    return np.random.default_rng(0).random(grid.shape).astype(np.float32)


@pytest.mark.parametrize("factor", [2, 3])
def test_slabs_of_a_volume_add_up_to_the_whole(factor: int, monkeypatch: pytest.MonkeyPatch) -> None:
    volume = _volume(VOLUME)
    at_once = project_finer(volume, VOLUME, CONE, factor)
    fine = finer_grid(VOLUME, factor)
    monkeypatch.setattr(finer_projection, "_SLAB", 4 * fine.shape[1] * fine.shape[2] * 4)  # four slices at a time
    slabs: list[tuple[int, ...]] = []

    def projector(grid: Grid, beam: Beam) -> Projector:
        slabs.append(grid.shape)
        return Projector(grid, beam)

    ticks: list[tuple[int, int]] = []
    in_slabs = project_finer(volume, VOLUME, CONE, factor, projector, lambda done, total: ticks.append((done, total)))
    assert len(slabs) == -(-5 * factor // 4) == len(ticks) and sum(shape[0] for shape in slabs) == 5 * factor
    np.testing.assert_allclose(in_slabs, at_once, atol=2e-6 * at_once.max())


def test_a_volume_is_interpolated_along_all_axes() -> None:
    fine = finer_grid(VOLUME, 2)
    z, y, x = (VOLUME.positions(axis) for axis in range(3))
    ramp = (0.3 + 0.02 * z[:, None, None] - 0.01 * y[None, :, None] + 0.03 * x).astype(np.float32)
    z, y, x = (
        np.clip(fine.positions(axis), VOLUME.positions(axis)[0], VOLUME.positions(axis)[-1]) for axis in range(3)
    )
    wanted = (0.3 + 0.02 * z[:, None, None] - 0.01 * y[None, :, None] + 0.03 * x).astype(np.float32)
    assert project_finer(ramp, VOLUME, CONE) == pytest.approx(Projector(fine, CONE).forward(wanted), abs=1e-4)


def test_no_finer_voxel_lies_where_one_of_the_image_does() -> None:
    fine = finer_grid(VOLUME, 2)
    for axis in range(3):
        apart = np.abs(VOLUME.positions(axis)[:, None] - fine.positions(axis)[None]).min()
        assert apart > 0.2 * fine.spacing[axis]
    volume = _volume(VOLUME)
    own = Projector(VOLUME, CONE).forward(volume)
    assert np.abs(project_finer(volume, VOLUME, CONE) - own).max() > 0.01 * own.max()
    assert np.array_equal(project_finer(volume, VOLUME, CONE, 1), own)


def test_the_integrals_of_a_smooth_ball_stay_what_they_are() -> None:
    grid = Grid((24, 24, 24), (1.0, 1.0, 1.0))
    cone = ConeBeam(evenly(4, 360.0), 40, 40, 1.4, 1.4, 80.0, 120.0)
    z, y, x = (grid.positions(axis) for axis in range(3))
    blurred = 0.02 * np.exp(-(z[:, None, None] ** 2 + y[None, :, None] ** 2 + x**2) / 18).astype(np.float32)
    # A Gaussian's integral along a ray follows from how near the ray passes.
    across, up = cone.positions[None, :], cone.row_positions[:, None]
    length = np.sqrt(across**2 + up**2 + 120.0**2)
    nearest = 80.0 * np.sqrt(across**2 + up**2) / length
    exact = 0.02 * np.sqrt(18 * np.pi) * np.exp(-(nearest**2) / 18)
    assert project_finer(blurred, grid, cone)[0] == pytest.approx(exact, abs=0.03 * float(exact.max()))


def test_a_slice_is_one_slab() -> None:
    grid = Grid((9, 7), (1.0, 1.0))
    beam = ParallelBeam(evenly(5, 180.0), 14, 1.0)
    image = _volume(grid)
    fine = finer_grid(grid, 2)
    assert np.array_equal(project_finer(image, grid, beam), Projector(fine, beam).forward(upsampled(image, grid, fine)))


def test_factors_that_cannot_be_are_refused() -> None:
    with pytest.raises(UserError, match="--finer is 1 or more, not 0"):
        project_finer(_volume(VOLUME), VOLUME, CONE, 0)
    with pytest.raises(UserError, match="GiB are free: take a smaller --finer"):
        project_finer(_volume(VOLUME), VOLUME, CONE, 10**6)
