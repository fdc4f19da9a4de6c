"""The data set on disk: complete, the same for any number of workers, resumable, and true to itself."""

import csv
import json

import numpy as np
import pytest

from transmodal import images
from transmodal.datasets.fiducials import Fiducials
from transmodal.datasets.manifest import Manifest
from transmodal.errors import UserError
from transmodal.fusion.region_files import read_label_names
from transmodal.images.note import NOTICE
from transmodal.images.nuclear.reading import read_nuclear
from transmodal.images.transform import Transform, similarity_from_fiducials, target_registration_error
from transmodal.simulation.mouse import Acquisition, Animal, simulate_pair
from transmodal.simulation.nuclear import (
    Curve,
    GammaCamera,
    Schedule,
    Tumour,
    agent_named,
    simulate_acquisition,
    simulate_dataset,
    simulate_scan,
)
from transmodal.simulation.nuclear.fiducials import fiducial_table
from transmodal.simulation.nuclear.protocol import Settings, mouse_of

SIZE = (64, 128)
FRAMES = "3x30s,2x5min,@2h,10min"
OPTIONS = {"animals": 2, "agent": "tumour", "frames": FRAMES, "size": SIZE, "seed": 5}


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    folder = tmp_path_factory.mktemp("nuclear")
    seen = []
    manifest = simulate_dataset(folder, **OPTIONS, workers=1, progress=lambda *now: seen.append(now))
    assert seen == [(0, 2), (1, 2), (2, 2)]
    return folder, manifest


def files_of(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def rows_of(path):
    with path.open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def test_the_manifest_names_every_image(dataset):
    folder, manifest = dataset
    cases = Manifest.read(manifest).cases()
    assert [case.subject for case in cases] == ["mouse001", "mouse002"]
    assert all(set(case.files) == {"photo", "xray", "organs", "nuclear"} for case in cases)
    assert all((folder / row["path"]).is_file() for row in rows_of(manifest))


def test_every_file_says_that_it_is_synthetic(dataset):
    folder, _ = dataset
    for name, content in files_of(folder).items():
        said = content.decode("utf-8", "replace").lower()
        assert "synthetic" in said, name
    for path in (folder / "photo/mouse001.png", folder / "xray/mouse001.png", folder / "nuclear/mouse001.tif"):
        assert NOTICE in images.read(path).source.derivation
    assert NOTICE in read_nuclear(folder / "nuclear/mouse001.tif").source.derivation


def test_frames_come_back_as_they_were_counted(dataset):
    folder, _ = dataset
    series = read_nuclear(folder / "nuclear/mouse002.tif")
    mouse = mouse_of(Settings(2, "tumour", FRAMES, 20.0, 7.0, *SIZE, 5), 2)
    assert np.array_equal(series.frames, mouse.series.frames)
    assert series.frames.dtype == np.uint16
    assert series.shape == (50, 100)
    assert series.spacing == pytest.approx((1.0, 1.0))
    assert series.starts == pytest.approx([0, 30, 60, 90, 390, 7200])
    assert series.isotope.name == "Tc-99m"
    truth = json.loads((folder / "truth/mouse002.json").read_text())
    assert series.injection.activity(series.isotope) / 1e6 == pytest.approx(truth["injected_MBq"])


def test_the_truth_is_that_of_the_counts(dataset):
    folder, _ = dataset
    truth = json.loads((folder / "truth/mouse001.json").read_text())
    rows = rows_of(folder / "truth/mouse001.csv")
    organs = {organ["name"]: organ for organ in truth["organs"]}
    assert organs["tumour"]["labels"] == [12]
    middle = np.array(truth["frames"]["middle_s"])
    total = np.array(truth["left_the_body"]["percent_id_at_middle"])
    for name, organ in organs.items():
        curve = Curve(tuple(organ["rates_per_s"]), tuple(organ["amplitudes_percent_id"]))
        assert organ["percent_id_at_middle"] == pytest.approx(curve.at(middle))
        told = [float(row["percent_id"]) for row in rows if row["organ"] == name]
        decay = np.log(2) / truth["half_life_s"]
        expected = curve.frame_means(truth["frames"]["start_s"], truth["frames"]["duration_s"], decay)
        assert told == pytest.approx(expected, rel=1e-8)
        total = total + curve.at(middle)
    assert total == pytest.approx(np.full(len(middle), 100.0))
    counts = read_nuclear(folder / "nuclear/mouse001.tif").frames.sum(axis=(1, 2), dtype=float)
    background = truth["background_cps_per_pixel"] * 5000 * np.array(truth["frames"]["duration_s"])
    for frame in range(6):
        expected = background[frame] + sum(
            float(row["expected_counts"]) for row in rows if row["frame"] == str(frame + 1)
        )
        assert counts[frame] == pytest.approx(expected, abs=5 * np.sqrt(expected))


def test_organ_maps_have_the_tumour_under_its_activity(dataset):
    folder, _ = dataset
    labels = images.read(folder / "organs/mouse001.png").pixels
    table = json.loads((folder / "organs.json").read_text())
    assert table["12"]["name"] == "tumour" and table["synthetic"] is True
    assert read_label_names(folder / "organs.json").names[12] == "tumour"
    assert (labels == 12).sum() * (100 / SIZE[1]) ** 2 == pytest.approx(np.pi * 3.5**2, rel=0.15)
    mouse = mouse_of(Settings(2, "tumour", FRAMES, 20.0, 7.0, *SIZE, 5), 1)
    image = mouse.scan.projections["tumour"]
    rows, columns = np.indices(image.shape)
    seen = np.array([(columns * image).sum(), (rows * image).sum()]) / image.sum()
    there = np.argwhere(labels == 12).mean(axis=0)[::-1] * 100 / SIZE[1]
    assert mouse.transform.apply(seen) == pytest.approx(there, abs=0.3)


def test_fiducials_give_the_true_transform_back(dataset):
    folder, manifest = dataset
    case = Manifest.read(manifest).cases()[0]
    fiducials = Fiducials.read(folder / "fiducials.csv")
    pair = images.read(folder / "nuclear/mouse001.tif"), images.read(folder / "xray/mouse001.png")
    frame = images.Image(pair[0].pixels[..., 0], pair[0].affine)
    moving, fixed = fiducials.pairs_mm(case, "nuclear", "xray", (frame, pair[1]))
    assert len(moving) == 5
    true = Transform.read(folder / "transform.json")
    fitted = similarity_from_fiducials(moving, fixed)
    places = np.array([[20.0, 20.0], [50.0, 25.0], [80.0, 30.0]])
    assert target_registration_error(true, moving, fixed).max() < 1.0
    assert target_registration_error(fitted, places, true.apply(places)).max() < 0.4
    exact = fiducial_table(true, 0.0, np.random.default_rng(0))
    (folder / "exact.csv").write_text(exact)
    moving, fixed = Fiducials.read(folder / "exact.csv").pairs_mm(case, "nuclear", "xray", (frame, pair[1]))
    (folder / "exact.csv").unlink()
    assert true.apply(moving) == pytest.approx(fixed, abs=2e-4)


def test_two_workers_write_the_same_bytes(dataset, tmp_path):
    folder, _ = dataset
    simulate_dataset(tmp_path, **OPTIONS, workers=2)
    assert files_of(tmp_path) == files_of(folder)


def test_a_rerun_makes_only_what_is_missing(dataset):
    folder, manifest = dataset
    before = files_of(folder)
    kept = (folder / "nuclear/mouse002.tif").stat().st_mtime_ns
    (folder / "nuclear/mouse001.nuclear.json").unlink()
    seen = []
    assert simulate_dataset(folder, **OPTIONS, workers=1, progress=lambda *now: seen.append(now)) == manifest
    assert seen == [(1, 2), (2, 2)]
    assert files_of(folder) == before
    assert (folder / "nuclear/mouse002.tif").stat().st_mtime_ns == kept
    with pytest.raises(UserError, match="seed 5 instead of 6"):
        simulate_dataset(folder, **OPTIONS | {"seed": 6}, workers=1)


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"animals": 0}, "animals is 0"),
        ({"agent": "gold"}, "mdp, fdg, tumour"),
        ({"frames": "6x10"}, "6x10"),
        ({"activity": 20e6}, "MBq"),
        ({"tumour": 40.0}, "40 mm"),
        ({"size": (64, 64)}, "1 to 2"),
        ({"seed": -1}, "seed"),
        ({"workers": 0}, "workers"),
    ],
)
def test_settings_out_of_range_are_refused_and_leave_nothing(tmp_path, wrong, told):
    with pytest.raises(UserError, match=told):
        simulate_dataset(tmp_path / "new", **OPTIONS | {"workers": 1} | wrong)
    assert not (tmp_path / "new").exists()


def test_photograph_and_xray_are_those_of_the_mouse_without_activity():
    animal, acquisition = Animal.draw(21, "black"), Acquisition("plastic", "white", False, 2)
    mouse = simulate_acquisition(animal, acquisition, agent_named("fdg"), size=SIZE, seed=3)
    pair = simulate_pair(animal, acquisition, size=SIZE, seed=3)
    assert np.array_equal(mouse.pair.xray, pair.xray)
    assert np.array_equal(mouse.pair.photo, pair.photo)
    assert np.array_equal(mouse.labels, pair.organs)


def test_counts_do_not_depend_on_the_size_of_the_xray_but_on_the_seed():
    animal, acquisition, agent = Animal.draw(3), Acquisition(), agent_named("mdp")
    schedule = Schedule.parse("1min")
    small, large = (
        simulate_acquisition(animal, acquisition, agent, size=size, schedule=schedule) for size in (SIZE, (100, 200))
    )
    assert np.array_equal(small.series.frames, large.series.frames)
    scan = simulate_scan(animal, acquisition, agent, schedule=schedule, seed=1)
    assert not np.allclose(scan.expected(), small.scan.expected())


def test_scans_that_cannot_be_are_refused():
    animal, acquisition = Animal.draw(3), Acquisition()
    with pytest.raises(UserError, match="goes into a tumour"):
        simulate_scan(animal, acquisition, agent_named("tumour"))
    with pytest.raises(UserError, match="20 Bq"):
        simulate_scan(animal, acquisition, agent_named("mdp"), activity=20.0)


def test_a_cold_tumour_takes_nothing():
    animal, acquisition = Animal.draw(3), Acquisition()
    scan = simulate_scan(animal, acquisition, agent_named("fdg"), tumour=Tumour(5.0), camera=GammaCamera())
    assert "tumour" not in scan.projections
