"""Cone-beam reconstruction against analytic spheres and against the fan beam of its middle plane."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from transmodal.errors import UserError
from transmodal.tomography.fdk import fdk
from transmodal.tomography.filtered_back_projection import fbp
from transmodal.tomography.geometry import ConeBeam, FanBeam, Grid, ParallelBeam, evenly, micro_ct
from transmodal.tomography.phantoms import Ellipsoid, Sphere, line_integrals
from transmodal.tomography.scan_weights import scan_kind

GRID = Grid((26, 40, 36), (0.5, 0.5, 0.6), (1.0, 1.5, -1.0))
BALL = Sphere(0.02, (1.5, 2.0, -3.0), 4.0)
FULL = ConeBeam(evenly(120, 360), 40, 60, 0.7, 0.7, 100, 150)


def distance(grid: Grid, ball: Sphere) -> NDArray[Any]:
    """Return each voxel's distance from the middle of a sphere, in mm."""
    places = np.meshgrid(*(grid.positions(axis) for axis in range(3)), indexing="ij")
    return np.sqrt(sum((place - middle) ** 2 for place, middle in zip(places, ball.centre, strict=True)))


@pytest.mark.parametrize(
    ("beam", "kind"),
    [
        (FULL, "full"),
        (replace(FULL, offset=0.9, row_offset=-1.1), "full"),
        (replace(FULL, row_pitch=0.4, rows=70), "full"),
        (FULL.at(evenly(90, 180 + 30, 40)), "half"),
        (FULL.at(evenly(110, 270, -70)), "half"),
        (FULL.at(evenly(80, 190, 5)), "limited"),
        (replace(FULL, bins=44, offset=10.0), "full"),
    ],
    ids=["full", "offsets", "fine rows", "parker", "more than half", "less than half", "displaced"],
)
def test_a_sphere_has_its_value_and_place(beam: ConeBeam, kind: str) -> None:
    assert scan_kind(beam) == kind
    made = fdk(line_integrals([BALL], beam), GRID, beam)
    away = distance(GRID, BALL)
    assert made[away < 2.8].mean() == pytest.approx(0.02, rel=0.02)
    assert abs(made[away < 1].mean() - 0.02) < 0.02 * 0.02
    assert abs(made[away > 6].mean()) < 2e-4
    weights = np.where(away < 6, np.maximum(made, 0), 0)
    for axis, middle in enumerate(BALL.centre):
        shape = [1, 1, 1]
        shape[axis] = -1
        found = (GRID.positions(axis).reshape(shape) * weights).sum() / weights.sum()
        assert abs(found - middle) < GRID.spacing[axis] / 4


def test_padding_by_water_takes_the_attenuation_of_water_in_use() -> None:
    beam = replace(FULL.at(evenly(24, 360)), bins=20, rows=12)  # narrower than the ball
    ball = replace(BALL, radius=9.0)
    sinogram = line_integrals([ball], beam)
    plain = fdk(sinogram, GRID, beam, padding="water")
    assert np.allclose(fdk(3 * sinogram, GRID, beam, padding="water", water=0.0576), 3 * plain, atol=1e-5)
    assert not np.allclose(fdk(3 * sinogram, GRID, beam, padding="water"), 3 * plain, atol=1e-3)


def test_its_middle_plane_is_that_of_a_fan_beam() -> None:
    beam = replace(FULL, rows=9)  # row 4 lies in the plane of the source
    grid = Grid((1, 30, 30), (0.5, 0.5, 0.5))
    projections = line_integrals([Sphere(0.02, (0, 2.0, -3.0), 4.0)], beam)
    fan = FanBeam(beam.angles, beam.bins, beam.pitch, beam.source_to_axis, beam.source_to_detector)
    wanted = fbp(projections[:, 4], Grid(grid.shape[1:], grid.spacing[1:]), fan, "hann", 0.8)
    assert np.abs(fdk(projections, grid, beam, "hann", 0.8)[0] - wanted).max() < 1e-6


def test_what_does_not_change_along_the_axis_is_exact_at_every_height() -> None:
    # A known property of the method, and the one that tells whether steep rays carry their weight (2 % at 11°).
    beam = ConeBeam(evenly(180, 360), 90, 90, 0.5, 0.5, 45, 67.5)
    pillar = Ellipsoid(0.02, (0, 2.0, -3.0), (1e4, 3.0, 3.0))
    made = fdk(line_integrals([pillar], beam), Grid((3, 5, 5), (9.0, 0.3, 0.3), (0, 2.0, -3.0)), beam)
    for height in range(3):
        assert made[height].mean() == pytest.approx(0.02, rel=2e-3)


def test_blocks_of_voxels_and_of_views_leave_no_seams(monkeypatch: pytest.MonkeyPatch) -> None:
    beam = replace(FULL, rows=12)
    grid = Grid((70, 9, 7), (0.1, 0.5, 0.5))  # more slices and rows than a block holds
    projections = np.random.default_rng(0).normal(size=beam.shape)
    whole = fdk(projections, grid, beam)
    for first in (0, 30, 64, 69):
        part = Grid((1, 3, 7), grid.spacing, (float(grid.positions(0)[first]), -0.5, 0))
        assert np.allclose(fdk(projections, part, beam)[0], whole[first, 2:5], atol=1e-4 * np.abs(whole).max())
    monkeypatch.setattr("transmodal.tomography.fdk._TOGETHER", 12 * 60 * 7)
    assert np.array_equal(fdk(projections, grid, beam), whole)


def test_voxels_beyond_the_detector_get_nothing() -> None:
    beam = replace(FULL, rows=8)
    made = fdk(np.ones(beam.shape), Grid((3, 9, 9), (30.0, 1, 1)), beam)
    assert (made[[0, 2]] == 0).all() and (made[1] != 0).all()


def test_the_scanner_of_mice_comes_out_in_per_mm() -> None:
    beam = micro_ct(90, rows=20, bins=100, pixel=0.6, voxel=0.4)
    ball = Sphere(0.03, (0.0, -5.0, 6.0), 2.0)
    grid = Grid((5, 40, 40), (0.4, 0.4, 0.4))
    made = fdk(line_integrals([ball], beam), grid, beam, "hann")
    assert made[distance(grid, ball) < 1.0].mean() == pytest.approx(0.03, rel=0.02)


def test_wrong_input_is_refused_in_one_line() -> None:
    projections = np.zeros(FULL.shape)
    with pytest.raises(UserError, match="the geometry"):
        fdk(projections[:, :-1], GRID, FULL)
    with pytest.raises(UserError, match="more axes"):
        fdk(projections[None], GRID, FULL)
    with pytest.raises(UserError, match="goes to fbp"):
        fdk(projections, GRID, ParallelBeam(evenly(3, 180), 4, 1))  # type: ignore[arg-type]
    with pytest.raises(UserError, match=r"\(slices, rows, columns\)"):
        fdk(projections, Grid((4, 4), (1, 1)), FULL)
    with pytest.raises(UserError, match="inside its circle"):
        fdk(projections, Grid((4, 4, 400), (1, 1, 1)), FULL)
    projections[3, 4, 5] = np.nan
    with pytest.raises(UserError, match="1 values that are not finite"):
        fdk(projections, GRID, FULL)
