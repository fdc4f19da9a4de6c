"""Slices degraded one by one, and the further images of the same data."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from transmodal.errors import UserError
from transmodal.images import Image, picture_affine, read, write
from transmodal.simulation.ct.bodies import draw_body, write_bodies
from transmodal.simulation.ct.companions import Companion
from transmodal.simulation.ct.degrading import DegradedSlices, Process, degrade_slices
from transmodal.simulation.ct.pairs import Output, Task, finished, make_pair, read_clean, read_record
from transmodal.simulation.ct.steps import levels_of, step_from_text
from transmodal.simulation.ct.variants import Pose, shrunk
from transmodal.tomography.scanners import Scanner

SPACING = (6.25, 6.25)
FEW = Process(Scanner(views=90))


def degraded(*steps: str, also: tuple[str, ...] = (), slices: Any = None, **settings: Any) -> DegradedSlices:
    level = levels_of([step_from_text(step) for step in steps])[0]
    given = draw_body(1, 64)[None] if slices is None else slices
    companions = [Companion(name, 1.0, 40) for name in also]
    return degrade_slices(given, SPACING, level, FEW, 3, companions=companions, **settings)


def error(image: Any) -> float:
    """Return the root mean square against the clean body, HU within a window."""
    return float(np.sqrt(np.mean((np.clip(image, -1000, 1500) - draw_body(1, 64)) ** 2)))


@pytest.mark.parametrize(
    ("step", "remedy"),
    [
        ("fewer-angles angles=15", "TV"),
        ("metal count=2 radius_mm=8,12", "li"),
        ("metal count=2 radius_mm=8,12", "nmar"),
        ("scatter ratio=0.5", "scatter-corrected"),
        ("beam-hardening calibration_mm=20", "water-corrected"),
    ],
)
def test_a_remedy_comes_nearer_to_the_truth(step: str, remedy: str) -> None:
    found = degraded(step, also=("tv" if remedy == "TV" else remedy,))
    assert error(found.companions[remedy]) < 0.9 * error(found.image)


def test_suppressed_rings_are_weaker() -> None:
    plain, ringed = degraded("fewer-angles angles=90"), degraded("rings gain_sd=0.2", also=("ring-suppressed",))
    left = np.std(ringed.companions["ring-suppressed"] - plain.image)
    assert left < 0.8 * np.std(ringed.image - plain.image)


def test_a_spectral_scan_gives_its_materials_beside_the_true_ones() -> None:
    found = degraded("spectral-bins", also=("spectral", "densities"))
    assert found.quantities["water"] == "g/cm3"
    assert found.quantities["mono-70-keV"] == "HU"
    inside = np.s_[0, 24:40, 24:40]
    assert np.abs(found.companions["water"] - found.companions["true-water"])[inside].mean() < 0.1


def test_a_sinogram_is_that_of_the_image() -> None:
    found = degraded("fewer-angles angles=30", "photon-noise photons=1e4", keep_sinogram=True)
    assert found.sinogram is not None
    assert found.sinogram.shape == (1, 30, found.beam.shape[1])
    assert (found.views, found.photons) == (30, 1e4)
    json.dumps(found.record)


def test_slices_without_tissue_have_no_metal_and_the_others_do() -> None:
    air = np.full((64, 64), -1000, np.float32)
    found = degraded("metal count=1 radius_mm=8,9", also=("li",), slices=np.stack([air, draw_body(1, 64)]))
    assert found.image[0].max() < -900
    assert found.image[1].max() > 1500
    assert "metal" not in found.record["slices"][0]
    with pytest.raises(UserError, match="no tissue"):
        degraded("metal count=1", slices=air[None])


def test_averaging_keeps_the_mean_and_the_field() -> None:
    pixels = np.random.default_rng(0).normal(size=(2, 60, 90)).astype(np.float32)
    small, spacing = shrunk(pixels, (1.0, 0.5), 40)
    assert small.shape == (2, 27, 40)
    assert spacing == pytest.approx((60 / 27, 90 * 0.5 / 40))
    assert small.mean(axis=(1, 2)) == pytest.approx(pixels.mean(axis=(1, 2)), abs=1e-4)
    halved, _ = shrunk(pixels, (1.0, 1.0), 45)
    assert halved[0, 3, 7] == pytest.approx(pixels[0, 6:8, 14:16].mean(), abs=1e-5)
    assert shrunk(pixels, (1.0, 1.0), 90)[0] is pixels


def test_a_pose_moves_turns_and_scales_about_the_middle() -> None:
    pixels = np.full((1, 65, 65), -1000, np.float32)
    pixels[0, 32, 42:46] = 1000  # to the right of the middle
    turned = Pose(90.0, 1.0, (0.0, 0.0), False).apply(pixels, (1.0, 1.0))
    rows, columns = np.nonzero(turned[0] > 0)
    assert (round(rows.mean() - 32), round(columns.mean() - 32)) == (12, 0)  # from x towards y, which is down
    larger = Pose(0.0, 1.5, (0.0, 0.0), True).apply(pixels, (1.0, 1.0))
    assert round(float(np.nonzero(larger[0] > 0)[1].mean()) - 31.5) == -17
    moved = Pose(0.0, 1.0, (0.1, 0.0), False).apply(pixels, (1.0, 1.0))
    assert round(float(np.nonzero(moved[0] > -500)[0].mean()) - 32) in (6, 7)
    assert Pose.drawn(4) == Pose.drawn(4) != Pose.drawn(5)


def task_of(tmp_path: Path, **settings: Any) -> Task:
    source = tmp_path / "clean.tif"
    pixels = np.rint(draw_body(1, 64)).astype(np.int16)
    pixels[:3] = -2000
    write(Image(pixels, picture_affine(SPACING), quantity="HU"), source)
    level = levels_of([step_from_text("fewer-angles angles=20")])[0]
    return Task(tmp_path / "pairs", "ann", "ann_v1", source, "hash", level, FEW, Output(**settings), 5)


def test_a_pair_is_known_again_and_made_anew_when_anything_differs(tmp_path: Path) -> None:
    task = task_of(tmp_path, keep_sinogram=True)
    assert finished(task) is None
    make_pair(task)
    record = finished(task)
    assert record is not None
    assert set(record["outputs"]) == {"degraded", "CT", "sinogram"}
    assert record["columns"]["angles"] == "20"
    clean = read(task.folder / record["outputs"]["CT"])
    assert clean.pixels.dtype == np.int16
    assert clean.quantity == "HU"
    assert (np.asarray(clean)[:3] == -1000).all()
    assert (np.asarray(clean)[3:] == read(task.source).pixels[3:]).all()
    assert finished(task_of(tmp_path, keep_sinogram=True, size=32)) is None
    (task.folder / record["outputs"]["degraded"]).unlink()
    assert finished(task) is None


def test_what_is_wrong_with_a_file_stands_in_its_record(tmp_path: Path) -> None:
    task = task_of(tmp_path)
    task.source.write_bytes(b"no image")
    make_pair(task)
    assert finished(task) is None
    assert "clean.tif" in (read_record(task) or {})["failed"]


def test_a_volume_is_read_as_axial_slices_and_written_with_its_own_axes(tmp_path: Path) -> None:
    stack = np.stack([draw_body(seed, 64) for seed in range(3)])
    affine = np.array([[0, 0, -6.25, 200], [0, -6.25, 0, 210], [-5.0, 0, 0, 40], [0, 0, 0, 1]])
    path = write(Image(stack, affine, quantity="HU"), tmp_path / "v.nii.gz")
    clean = read_clean(path, 32)
    assert clean.slices.shape == (3, 32, 32)
    # The file runs from the head to the feet, slices from the feet to the head.
    assert clean.slices[0] == pytest.approx(shrunk(stack, SPACING, 32)[0][2], abs=1e-3)
    image = clean.image(clean.slices)
    assert image.shape == (3, 32, 32)
    assert np.allclose(image.affine @ [1, 15.5, 15.5, 1], affine @ [1, 31.5, 31.5, 1])


def test_bodies_are_ct_and_each_its_own(tmp_path: Path) -> None:
    made = write_bodies(tmp_path, 3, 48, 0)
    pixels = [read(path).pixels for _, path in made]
    assert all(each.min() == -1000 and 200 < each.max() < 1500 for each in pixels)
    assert not np.array_equal(pixels[0], pixels[1])
    assert [subject for subject, _ in made] == ["phantom001", "phantom002", "phantom003"]
