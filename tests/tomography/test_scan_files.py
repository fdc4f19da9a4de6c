"""Projections on disk, their geometry, slices of images, scanners by a few numbers."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from transmodal.errors import UserError
from transmodal.images import Image, picture_affine
from transmodal.tomography.geometry import ConeBeam, FanBeam, Grid, ParallelBeam, covering, evenly, micro_ct
from transmodal.tomography.hounsfield import HounsfieldScale
from transmodal.tomography.projection import project
from transmodal.tomography.reconstruction import Settings, reconstruct
from transmodal.tomography.scan_files import (
    ScanGeometry,
    geometry_beside,
    in_slices,
    read_geometry,
    read_projections,
    write_geometry,
    write_projections,
)
from transmodal.tomography.scanners import SCANNERS, Scanner, grid_seen
from transmodal.tomography.sidecar import is_projections
from transmodal.tomography.slices import Place, attenuation_slices, hounsfield_slices, place_of, unknown_place

AXES = {  # orientations of a volume with axes of 4, 5 and 6 voxels
    "feet to head, to the back, to the left": [[0, 0, -1.0], [0, -2.0, 0], [3.0, 0, 0]],
    "left to right, to the front, to the head": [[1.0, 0, 0], [0, 2.0, 0], [0, 0, 3.0]],
    "to the front, to the feet, to the left": [[0, 0, -1.0], [2.0, 0, 0], [0, -3.0, 0]],
}


@pytest.mark.parametrize("name", ["p.npy", "p.tif", "p.nii.gz", "p.nii", "p.mha", "p.nrrd"])
@pytest.mark.parametrize("shape", [(5, 7), (3, 5, 7)])
def test_projections_come_back_in_their_order(tmp_path: Path, name: str, shape: tuple[int, ...]) -> None:
    values = np.random.default_rng(0).random(shape, np.float32)
    write_projections(tmp_path / name, values, "made here")
    found = read_projections(tmp_path / name)
    assert found.shape == shape
    assert np.array_equal(found, values)


def test_a_geometry_comes_back_with_the_place_of_its_image(tmp_path: Path) -> None:
    grid = Grid((6, 5), (1.0, 2.0))
    place = Place((5, 4, 6), np.array([[0, 0, 2, 1], [0, 3, 0, 2], [1, 0, 0, 3], [0, 0, 0, 1.0]]), "HU")
    beam = FanBeam(evenly(9, 360), 11, 1.5, 100, 150, offset=0.25, curved=True)
    path = geometry_beside(tmp_path / "scan.nii.gz")
    assert path.name == "scan.geometry.json"
    wrong = Grid((7, 5), (1.0, 2.0))
    with pytest.raises(UserError, match=r"image's slices \(4, 6\)"):
        read_geometry(write_geometry(path, ScanGeometry(beam, wrong, place)))
    fitting = Grid((4, 6), (3.0, 2.0))
    found = read_geometry(write_geometry(path, ScanGeometry(beam, fitting, place)))
    assert found.beam == beam
    assert found.grid == fitting
    assert found.place is not None
    assert np.array_equal(found.place.affine, place.affine)
    assert json.loads(path.read_text())["image"]["axis"] == 0
    assert is_projections(tmp_path / "scan.nii.gz")
    assert not is_projections(tmp_path / "other.nii.gz")
    path.write_text(json.dumps({"kind": "parallel", "views": 4, "bins": 9, "pitch": 1.0}))
    assert read_geometry(path).beam == ParallelBeam(evenly(4, 180), 9, 1.0)
    assert grid.extent == (6.0, 10.0)


@pytest.mark.parametrize("axes", AXES.values(), ids=AXES.keys())
def test_slices_of_any_volume_are_axial_and_go_back(axes: Any) -> None:
    affine = np.eye(4)
    affine[:3, :3] = axes
    affine[:3, 3] = [7, 8, 9]
    shape = (4, 5, 6)
    index = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), axis=-1)
    world = index @ affine[:3, :3].T + affine[:3, 3]
    place = place_of(Image(world[..., 2].astype(np.float32), affine))
    for number, (direction, descends) in enumerate(((2, False), (1, True), (0, True))):
        stack = place.stack(world[..., direction])
        steps = np.diff(stack, axis=number)
        assert (steps < 0 if descends else steps > 0).all()  # slices to the head, rows to the back, columns to the left
        assert np.diff(stack, axis=(number + 1) % 3) == pytest.approx(0)
        assert place.spacing[number] == pytest.approx(abs(steps).mean())
        assert np.array_equal(place.image(stack).pixels, world[..., direction])
    assert place.stacked_shape == place.stack(world[..., 0]).shape
    assert np.allclose(place.image(place.stack(world[..., 0])).affine, affine)
    # On half as fine a grid, values of the world are still those of the place.
    coarse = place.image(
        place.stack(world[..., 2])[:, ::2, ::2][:, :2, :2], (2 * place.spacing[1], 2 * place.spacing[2])
    )
    middle = coarse.affine @ [*((np.array(coarse.shape) - 1) / 2), 1]
    assert np.allclose(middle, affine @ [1.5, 2, 2.5, 1])


def test_unknown_places_are_those_of_a_patient_on_the_back() -> None:
    image = unknown_place((3, 4, 5), (5.0, 2.0, 1.0)).image(np.zeros((3, 4, 5), np.float32))
    assert image.shape == (4, 5, 3)
    assert image.spacing == pytest.approx((2.0, 1.0, 5.0))
    again = place_of(image)
    assert again.stacked_shape == (3, 4, 5)
    assert unknown_place((4, 5), (2.0, 1.0)).image(np.zeros((1, 4, 5))).spacing == pytest.approx((2.0, 1.0))


def test_padding_becomes_air_and_other_units_are_refused() -> None:
    pixels = np.array([[-2048, -2000, -1024], [0, 50, 1000]], np.int16)
    slices, padding = hounsfield_slices(Image(pixels, picture_affine((1, 1)), quantity="HU"))
    assert padding == 2
    assert slices[0].tolist() == [[-1000, -1000, -1024], [0, 50, 1000]]
    for low, high in ((0.0, 1.0), (0.0, 2000.0)):
        values = np.linspace(low, high, 16, dtype=np.float32).reshape(4, 4)
        with pytest.raises(UserError, match="no Hounsfield units"):
            hounsfield_slices(Image(values, picture_affine((1, 1))))
    with pytest.raises(UserError, match="channels"):
        hounsfield_slices(Image(np.zeros((4, 4, 3)), picture_affine((1, 1)), ("red", "green", "blue")))
    with pytest.raises(UserError, match="Bq/mL"):
        hounsfield_slices(Image(pixels, picture_affine((1, 1)), quantity="Bq/mL"))
    scale = HounsfieldScale()
    attenuation = attenuation_slices(Image(pixels, picture_affine((1, 1)), quantity="HU"), "HU", scale)
    assert attenuation[0, 1, 0] == pytest.approx(0.0192)
    assert attenuation.min() == 0


@pytest.mark.parametrize("kind", ["parallel", "fan", "curved", "cone"])
def test_a_scanner_sees_the_whole_of_its_grid(kind: str) -> None:
    grid = Grid((5, 20, 16), (2.0, 1.0, 1.5)) if kind == "cone" else Grid((20, 16), (1.0, 1.5))
    far = {} if kind == "parallel" else {"source_to_axis": 60.0, "source_to_detector": 100.0}
    scanner = Scanner("fan" if kind == "curved" else kind, 24, curved=kind == "curved", **far)  # type: ignore[arg-type]
    beam = scanner.beam_for(grid)
    seen = project(np.ones(grid.shape, np.float32), grid, beam)
    assert seen[..., 0].max() < 0.05 * seen.max()
    assert seen[..., -1].max() < 0.05 * seen.max()
    assert seen.max() > 15
    if isinstance(beam, ConeBeam):
        assert max(seen[:, 0].max(), seen[:, -1].max()) < 0.1 * seen.max()
        assert grid_seen(beam).spacing == pytest.approx((2.0, 1.0, 1.0))


def test_a_scanner_that_cannot_be_is_refused() -> None:
    grid = Grid((20, 20), (1.0, 1.0))
    with pytest.raises(UserError, match=r"reaches 14\.14 mm"):
        Scanner("fan", source_to_axis=14, source_to_detector=100).beam_for(grid)
    with pytest.raises(UserError, match="the second above the first"):
        Scanner("fan", source_to_axis=140, source_to_detector=100).beam_for(grid)
    with pytest.raises(UserError, match="no source"):
        Scanner(source_to_axis=140)
    for wrong in (-1.0, 0.0):
        with pytest.raises(UserError, match=f"--pitch {wrong:g}: .* above 0 mm"):
            Scanner(pitch=wrong).beam_for(grid)
        with pytest.raises(UserError, match=f"--row-pitch {wrong:g}: .* above 0 mm"):
            Scanner("cone", row_pitch=wrong, source_to_axis=40, source_to_detector=100)
    for name in ("offset", "start", "degrees", "pitch"):
        with pytest.raises(UserError, match=f"--{name} nan is no number"):
            Scanner(**{name: float("nan")})  # type: ignore[arg-type]
    with pytest.raises(UserError, match="at least one bin, not 0"):
        Scanner(bins=0).beam_for(grid)
    with pytest.raises(UserError, match="more than any scan has"):
        Scanner(views=10**9)


@pytest.mark.parametrize(
    "scanner",
    [
        Scanner(pitch=1e-9),
        Scanner(bins=10**12),
        Scanner(beam=ParallelBeam(evenly(9, 180.0), 10**12, 1.0)),
        Scanner("cone", rows=10**6, bins=10**6, source_to_axis=40, source_to_detector=100),
    ],
    ids=["narrow bins", "many bins", "of a file", "cone"],
)
def test_more_rays_than_memory_holds_are_refused_before_they_are_made(scanner: Scanner) -> None:
    with pytest.raises(UserError, match="GiB are free: take fewer views, or fewer and wider bins"):
        scanner.beam_for(
            Grid((4, 20, 20) if scanner.kind == "cone" else (20, 20), (1.0,) * (3 if scanner.kind == "cone" else 2))
        )


def test_the_scanner_of_mice_is_known_by_name() -> None:
    beam = SCANNERS["micro-ct"].beam_for(Grid((8, 8, 8), (0.085,) * 3))
    assert beam == micro_ct()
    assert isinstance(beam, ConeBeam)
    assert beam.pitch / beam.magnification == pytest.approx(0.085)
    assert beam.bins * beam.pitch / beam.magnification == pytest.approx(50, abs=0.1)


def test_rows_of_a_detector_under_parallel_rays_are_slices() -> None:
    beam = ParallelBeam(evenly(4, 180), 9, 1.0)
    views_first = np.arange(4 * 3 * 9).reshape(4, 3, 9)
    assert np.array_equal(in_slices(views_first, beam), np.moveaxis(views_first, 1, 0))
    slices_first = np.moveaxis(views_first, 1, 0)
    assert np.array_equal(in_slices(slices_first, beam), slices_first)
    both = np.zeros((4, 4, 9))
    both[1, 2] = 1
    assert in_slices(both, beam)[1, 2].all()
    assert in_slices(both, beam, views_first=True)[2, 1].all()
    with pytest.raises(UserError, match="swapped"):
        in_slices(np.zeros((9, 4)), beam, name="s.npy")
    with pytest.raises(UserError, match="shape"):
        in_slices(np.zeros((5, 5, 9)), beam)


@pytest.mark.parametrize("method", ["fbp", "sirt", "sart", "tv", "tv-fista"])
def test_every_method_finds_the_same_disc(method: Any) -> None:
    grid = Grid((24, 24), (1.0, 1.0))
    rows, columns = np.mgrid[:24, :24] - 11.5
    disc = np.where(np.hypot(rows, columns) < 8, 0.02, 0.0).astype(np.float32)
    beam = covering(grid, 60)
    stack = project(np.stack([disc, 2 * disc]), grid, beam)
    weight = 1e-4 if method.startswith("tv") else None
    ticks: list[tuple[int, int]] = []
    found = reconstruct(
        stack, grid, beam, Settings(method=method, weight=weight), lambda done, total: ticks.append((done, total))
    )
    inside = np.hypot(rows, columns) < 6
    assert found.image[0][inside].mean() == pytest.approx(0.02, rel=0.03)
    assert found.image[1][inside].mean() == pytest.approx(0.04, rel=0.03)
    assert [done for done, _ in ticks] == sorted(done for done, _ in ticks)
    assert len(found.stops) == (0 if method == "fbp" else 2)
    assert method == "fbp" or "iterations, stopped" in found.describe()


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"method": "fbp", "weight": 1.0}, "take --method tv or tv-fista"),
        ({"method": "tv"}, "needs --weight"),
        ({"method": "sirt", "filter": "hann"}, "--filter means nothing to sirt"),
        ({"method": "fdk"}, "goes to --method fbp"),
    ],
)
def test_settings_that_a_method_would_ignore_are_refused(settings: dict[str, Any], expected: str) -> None:
    with pytest.raises(UserError, match=expected):
        Settings(**settings).method_for(ParallelBeam((0.0,), 3, 1.0))
