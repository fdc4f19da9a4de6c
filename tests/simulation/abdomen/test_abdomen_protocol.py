"""The data set on disk: manifest, tables, resumable, the same for any number of workers."""

import csv
import json

import nibabel
import numpy as np
import pytest
from typer.testing import CliRunner

from transmodal import images
from transmodal.cli.data.simulate import application
from transmodal.datasets.manifest import Manifest
from transmodal.errors import UserError
from transmodal.simulation.abdomen import LABELS, Wishes, simulate_dataset
from transmodal.simulation.abdomen.protocol import path_of

SIZE = (40, 40, 20)
WISHES = Wishes(tumours=(1, 2), tumour_area=(40, 90), new_per_week=1.0)


def rows_of(table):
    with table.open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    folder = tmp_path_factory.mktemp("abdomens")
    seen = []
    manifest = simulate_dataset(
        folder,
        animals=2,
        visits=2,
        size=SIZE,
        wishes=WISHES,
        seed=3,
        workers=1,
        progress=lambda *now: seen.append(now),
    )
    return folder, manifest, seen


def test_files_hold_hounsfield_units_and_labels_and_say_that_they_are_simulated(dataset):
    folder, _, _ = dataset
    ct, seg = (images.read(folder / path_of(2, 1, name)) for name in ("ct", "seg"))
    assert ct.quantity == "HU" and seg.quantity == "label" and (ct.affine == seg.affine).all()
    assert ct.pixels.shape == SIZE and ct.spacing == pytest.approx((0.8, 0.8, 2.0))
    for name, kind in (("ct", np.int16), ("seg", np.uint8)):
        header = nibabel.load(folder / path_of(2, 1, name)).header
        assert header.get_data_dtype() == kind and b"simulated" in header["descrip"].tobytes()
    assert json.loads((folder / "simulation.json").read_text())["synthetic"] is True
    assert json.loads((folder / path_of(1, 1, "json")).read_text())["synthetic"] is True
    names = json.loads((folder / "labels.json").read_text())
    assert names.pop("synthetic") is True and "not for diagnosis" in names.pop("notice")
    assert names == {"0": "background"} | {str(number): name for number, name in LABELS.items()}


def test_the_manifest_has_a_session_a_week_and_the_tumours_sizes(dataset):
    folder, manifest, _ = dataset
    cases = Manifest.read(manifest).cases()
    assert [(case.subject, case.session) for case in cases] == [
        (f"mouse00{number}", f"week-{week}") for number in (1, 2) for week in (0, 1)
    ]
    table = rows_of(folder / "tumours.csv")
    for row in rows_of(manifest):
        assert (folder / row["path"]).is_file() and row["day"] == str(7 * int(row["session"][-1]))
        labels = images.read(folder / path_of(int(row["subject"][-3:]), int(row["session"][-1]) + 1, "seg")).pixels
        assert float(row["tumour_mm3"]) == pytest.approx((labels == 2).sum() * 1.28, abs=0.01)
        assert float(row["liver_mm3"]) == pytest.approx((labels == 1).sum() * 1.28, abs=0.01)
        own = [each for each in table if (each["subject"], each["session"]) == (row["subject"], row["session"])]
        assert float(row["tumour_mm2"]) == max(float(each["area_mm2"]) for each in own)
        assert int(row["tumours"]) == sum(float(each["volume_mm3"]) > 0 for each in own)


def test_the_table_names_a_tumour_the_same_at_every_visit_and_knows_where_it_lies(dataset):
    folder, _, _ = dataset
    table = rows_of(folder / "tumours.csv")
    for number in (1, 2):
        first, second = (
            {row["tumour"]: row for row in table if row["subject"] == f"mouse00{number}" and row["session"] == week}
            for week in ("week-0", "week-1")
        )
        assert first.keys() <= second.keys() and first
        for name, row in first.items():
            assert float(second[name]["model_volume_mm3"]) > float(row["model_volume_mm3"])
            assert second[name]["doubling_days"] == row["doubling_days"]
    row = max(table, key=lambda each: float(each["volume_mm3"]))
    seg = images.read(folder / path_of(int(row["subject"][-3:]), int(row["session"][-1]) + 1, "seg"))
    index = np.linalg.inv(seg.affine) @ [*(float(row[axis]) for axis in ("x_mm", "y_mm", "z_mm")), 1]
    assert seg.pixels[tuple(np.rint(index[:3]).astype(int))] == 2


def test_two_workers_write_the_same_voxels_and_progress_counts_to_the_end(dataset, tmp_path):
    folder, manifest, seen = dataset
    assert seen == [(done, 4) for done in range(5)]
    other = simulate_dataset(tmp_path, animals=2, visits=2, size=SIZE, wishes=WISHES, seed=3, workers=2)
    assert other.read_bytes() == manifest.read_bytes()
    assert (tmp_path / "tumours.csv").read_bytes() == (folder / "tumours.csv").read_bytes()
    for row in rows_of(manifest):
        first, second = (images.read(root / row["path"]) for root in (folder, tmp_path))
        assert (first.pixels == second.pixels).all() and (first.affine == second.affine).all()


def test_a_rerun_makes_only_what_is_missing_and_keeps_the_manifest(dataset):
    folder, manifest, _ = dataset
    kept, lost = folder / path_of(1, 2, "ct"), folder / path_of(2, 1, "seg")
    before, pixels = kept.stat().st_mtime_ns, images.read(lost).pixels
    lost.unlink()
    text = manifest.read_text()
    manifest.write_text(text.replace(",8,", ",8.0,"))
    seen = []
    simulate_dataset(
        folder,
        animals=2,
        visits=2,
        size=SIZE,
        wishes=WISHES,
        seed=3,
        workers=1,
        progress=lambda *now: seen.append(now),
    )
    assert seen == [(3, 4), (4, 4)]
    assert kept.stat().st_mtime_ns == before and (images.read(lost).pixels == pixels).all()
    assert manifest.read_text() == text.replace(",8,", ",8.0,")
    manifest.write_text(text)


@pytest.mark.parametrize(
    ("other", "message"),
    [({"seed": 4}, "seed 3 instead of 4"), ({"wishes": Wishes()}, "tumours"), ({"visits": 3}, "visits 2 instead of 3")],
)
def test_other_settings_in_the_same_folder_are_refused(dataset, other, message):
    folder, _, _ = dataset
    ours = {"animals": 2, "visits": 2, "size": SIZE, "wishes": WISHES, "seed": 3, "workers": 1}
    with pytest.raises(UserError, match=message):
        simulate_dataset(folder, **(ours | other))


@pytest.mark.parametrize(
    "wrong",
    [
        {"animals": 0},
        {"visits": 0},
        {"seed": -1},
        {"workers": 0},
        {"size": (9, 9, 1)},
        {"wishes": Wishes(tumour_area=(50, 40))},
    ],
)
def test_settings_out_of_range_are_refused_and_leave_nothing(tmp_path, wrong):
    with pytest.raises(UserError):
        simulate_dataset(tmp_path / "new", **({"animals": 1, "size": SIZE, "workers": 1} | wrong))
    assert not (tmp_path / "new").exists()


def test_the_command_line_gives_every_wish(tmp_path):
    options = [
        "--animals",
        "1",
        "--visits",
        "1",
        "--size",
        "40",
        "40",
        "20",
        "--spacing",
        "0.82",
        "2.1",
        "--workers",
        "1",
    ]
    wishes = ["--tumours", "1", "1", "--tumour-area", "50", "60", "--tumour-contrast", "-80", "--liver-agent"]
    more = ["--noise", "3", "--doubling-days", "9", "--new-tumours", "0", "--seed", "5", "--json"]
    done = CliRunner().invoke(application, ["abdomen", *options, *wishes, *more, "-o", str(tmp_path)])
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout) == {"manifest": str(tmp_path / "manifest.csv"), "animals": 1, "visits": 1}
    rows = rows_of(tmp_path / "manifest.csv")
    assert [row["modality"] for row in rows] == ["ct", "seg"]
    assert rows[0]["liver_agent"] == "yes" and rows[0]["noise_hu"] == "3"
    said = json.loads((tmp_path / "simulation.json").read_text())
    assert said["spacing"] == [0.82, 2.1] and said["tumour_contrast"] == -80 and said["doubling_days"] == 9
