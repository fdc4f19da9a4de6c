"""The data set on disk: complete, balanced, the same for any number of workers, resumable."""

import csv
import json

import numpy as np
import pytest

from transmodal import images
from transmodal.errors import UserError
from transmodal.simulation.mouse import ORGANS, simulate_dataset
from transmodal.simulation.mouse.protocol import Settings, acquisition_of, animal_of

SIZE = (64, 128)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    folder = tmp_path_factory.mktemp("mice")
    seen = []
    manifest = simulate_dataset(
        folder,
        animals=3,
        poses=2,
        size=SIZE,
        seed=5,
        workers=1,
        progress=lambda done, total: seen.append((done, total)),
    )
    return folder, manifest, seen


def rows_of(manifest):
    with manifest.open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def test_the_manifest_has_a_row_for_every_file(dataset):
    folder, manifest, _ = dataset
    rows = rows_of(manifest)
    assert len(rows) == 3 * 2 * 3
    assert list(rows[0]) == ["subject", "session", "modality", "path", "coat", "bed", "cover", "pose"]
    assert {row["modality"] for row in rows} == {"photo", "xray", "organs"}
    assert all(value for row in rows for value in row.values())
    assert all((folder / row["path"]).is_file() for row in rows)
    assert rows[0]["path"] == "photo/mouse001_pose1.png"


def test_files_carry_their_depth_and_pixel_size(dataset):
    folder, _, _ = dataset
    xray, photo, organs = (images.read(folder / name / "mouse002_pose1.png") for name in ("xray", "photo", "organs"))
    assert xray.pixels.dtype == np.uint16
    assert photo.pixels.shape == (*SIZE, 3)
    assert xray.spacing == pytest.approx((100 / SIZE[1], 100 / SIZE[1]), rel=1e-3)
    assert set(np.unique(organs.pixels)) <= set(ORGANS)


def test_progress_counts_to_the_end(dataset):
    _, _, seen = dataset
    assert seen == [(done, 6) for done in range(7)]


def test_two_workers_write_the_same_bytes(dataset, tmp_path):
    folder, manifest, _ = dataset
    other = simulate_dataset(tmp_path, animals=3, poses=2, size=SIZE, seed=5, workers=2)
    assert other.read_bytes() == manifest.read_bytes()
    for row in rows_of(manifest):
        assert (tmp_path / row["path"]).read_bytes() == (folder / row["path"]).read_bytes()


def test_a_rerun_makes_only_what_is_missing(tmp_path):
    simulate_dataset(tmp_path, animals=1, poses=2, size=SIZE, workers=1)
    kept, lost = tmp_path / "xray/mouse001_pose1.png", tmp_path / "xray/mouse001_pose2.png"
    before, bytes_before = kept.stat().st_mtime_ns, lost.read_bytes()
    lost.unlink()
    seen = []
    simulate_dataset(tmp_path, animals=1, poses=2, size=SIZE, workers=1, progress=lambda *now: seen.append(now))
    assert seen == [(1, 2), (2, 2)]
    assert kept.stat().st_mtime_ns == before
    assert lost.read_bytes() == bytes_before


def test_a_rerun_keeps_the_split_that_was_added(tmp_path):
    manifest = simulate_dataset(tmp_path, animals=1, poses=1, size=SIZE, workers=1)
    split = manifest.read_text().replace("pose\n", "pose,split\n").replace(",1\n", ",1,train\n")
    manifest.write_text(split)
    assert simulate_dataset(tmp_path, animals=1, poses=1, size=SIZE, workers=1) == manifest
    assert manifest.read_text() == split and {row["split"] for row in rows_of(manifest)} == {"train"}


def test_other_settings_in_the_same_folder_are_refused(tmp_path):
    simulate_dataset(tmp_path, animals=1, poses=1, size=SIZE, workers=1)
    with pytest.raises(UserError, match="seed 0 instead of 1"):
        simulate_dataset(tmp_path, animals=1, poses=1, size=SIZE, seed=1, workers=1)
    (tmp_path / "simulation.json").write_text("[broken")
    with pytest.raises(UserError, match=r"simulation\.json"):
        simulate_dataset(tmp_path, animals=1, poses=1, size=SIZE, workers=1)


@pytest.mark.parametrize("wrong", [{"animals": 0}, {"poses": 0}, {"seed": -1}, {"workers": -2}, {"size": (64, 64)}])
def test_settings_out_of_range_are_refused_and_leave_nothing(tmp_path, wrong):
    settings = {"animals": 1, "poses": 1, "size": SIZE, "workers": 1} | wrong
    with pytest.raises(UserError):
        simulate_dataset(tmp_path / "new", **settings)
    assert not (tmp_path / "new").exists()


def test_the_published_protocol_is_balanced():
    settings = Settings(156, 5, 512, 1024, 0)
    coats = [animal_of(settings, number).coat for number in range(1, 157)]
    assert coats.count("white") == coats.count("black") == 78
    counts = {}
    for number in range(1, 157):
        for pose in range(1, 6):
            acquisition = acquisition_of(number, pose)
            key = (coats[number - 1], acquisition.bed, acquisition.cover)
            counts[key] = counts.get(key, 0) + 1
    assert len(counts) == 12
    assert sum(counts.values()) == 780
    assert set(counts.values()) == {65}


def test_animals_differ_and_do_not_depend_on_how_many_there_are():
    few, many = Settings(3, 1, 64, 128, 9), Settings(30, 5, 512, 1024, 9)
    assert animal_of(few, 2) == animal_of(many, 2)
    assert len({animal_of(many, number).length for number in range(1, 31)}) == 30


def test_the_label_table_lies_beside_the_images(dataset):
    table = json.loads((dataset[0] / "organs.json").read_text())
    assert table["10"]["name"] == "skeleton"
