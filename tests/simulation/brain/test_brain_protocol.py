"""The data set on disk: BraTS names, exact background, a manifest, resumable, the same for any number of workers."""

import csv
import json

import nibabel
import numpy as np
import pytest
from typer.testing import CliRunner

from transmodal import images
from transmodal.cli.data.simulate import application
from transmodal.datasets.layouts import index_folder
from transmodal.errors import UserError
from transmodal.simulation.brain import simulate_dataset
from transmodal.simulation.brain.protocol import Settings, case_of, path_of

SIZE = (48, 48, 31)
NAMES = ("T1", "T1ce", "T2", "FLAIR", "seg")


def rows_of(manifest):
    with manifest.open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    folder = tmp_path_factory.mktemp("brains")
    seen = []
    manifest = simulate_dataset(
        folder, subjects=2, size=SIZE, seed=3, workers=1, progress=lambda *now: seen.append(now)
    )
    return folder, manifest, seen


def test_files_have_the_names_of_brats_and_say_that_they_are_simulated(dataset):
    folder, _, _ = dataset
    for word in ("flair", "t1", "t1ce", "t2", "seg"):
        file = folder / "Brats18_SIM_001" / f"Brats18_SIM_001_{word}.nii.gz"
        header = nibabel.load(file).header
        assert header.get_data_dtype() == (np.uint8 if word == "seg" else np.int16)
        assert b"simulated" in header["descrip"].tobytes()
    assert json.loads((folder / "simulation.json").read_text())["synthetic"] is True
    assert json.loads((folder / "Brats18_SIM_002/Brats18_SIM_002.json").read_text())["synthetic"] is True


def test_the_layout_of_brats_finds_the_same_cases(dataset):
    folder, manifest, _ = dataset
    table = index_folder(folder, layout="brats").manifest.table
    found = set(zip(table["subject"], table["modality"], strict=True))
    assert found == {(row["subject"], row["modality"]) for row in rows_of(manifest)}


def test_the_manifest_tells_lesions_and_protocol(dataset):
    folder, manifest, _ = dataset
    rows = rows_of(manifest)
    assert [row["modality"] for row in rows] == list(NAMES) * 2
    for row in rows:
        assert (folder / row["path"]).is_file()
        assert row["field_tesla"] in ("1.5", "3.0") and row["grade"] in ("HGG", "LGG")
        assert bool(row["repetition_ms"]) == (row["modality"] != "seg")
        assert bool(row["inversion_ms"]) == (row["modality"] == "FLAIR")
        labels = images.read(folder / path_of(int(row["subject"][-3:]), "seg")).pixels
        for label, column in ((1, "core_ml"), (2, "oedema_ml"), (4, "enhancing_ml")):
            assert float(row[column]) == pytest.approx((labels == label).sum() * 0.125, abs=1e-3)


def test_the_mask_can_be_told_from_every_file(dataset):
    folder, _, _ = dataset
    mask = case_of(Settings(2, SIZE, 5.0, "tumour", 3), 2).mask
    for name in NAMES[:4]:
        assert ((images.read(folder / path_of(2, name)).pixels != 0) == mask).all()


def test_two_workers_write_the_same_voxels_and_progress_counts_to_the_end(dataset, tmp_path):
    folder, manifest, seen = dataset
    assert seen == [(0, 2), (1, 2), (2, 2)]
    other = simulate_dataset(tmp_path, subjects=2, size=SIZE, seed=3, workers=2)
    assert other.read_bytes() == manifest.read_bytes()
    for row in rows_of(manifest):
        first, second = (images.read(root / row["path"]) for root in (folder, tmp_path))
        assert (first.pixels == second.pixels).all() and (first.affine == second.affine).all()


def test_a_rerun_makes_only_what_is_missing_and_keeps_the_manifest(dataset):
    folder, manifest, _ = dataset
    kept, lost = folder / path_of(1, "T2"), folder / path_of(2, "T2")
    before, pixels = kept.stat().st_mtime_ns, images.read(lost).pixels
    lost.unlink()
    manifest.write_text(text := manifest.read_text().replace("Brats18_SIM_001,,", "Brats18_SIM_001,1,"))
    seen = []
    simulate_dataset(folder, subjects=2, size=SIZE, seed=3, workers=1, progress=lambda *now: seen.append(now))
    assert seen == [(1, 2), (2, 2)]
    assert kept.stat().st_mtime_ns == before and (images.read(lost).pixels == pixels).all()
    assert manifest.read_text() == text
    manifest.write_text(text.replace("Brats18_SIM_001,1,", "Brats18_SIM_001,,"))


def test_other_settings_in_the_same_folder_are_refused(dataset):
    folder, _, _ = dataset
    with pytest.raises(UserError, match="seed 3 instead of 4"):
        simulate_dataset(folder, subjects=2, size=SIZE, seed=4, workers=1)


@pytest.mark.parametrize(
    "wrong", [{"subjects": 0}, {"seed": -1}, {"workers": 0}, {"lesions": "stroke"}, {"size": (9, 9, 1)}]
)
def test_settings_out_of_range_are_refused_and_leave_nothing(tmp_path, wrong):
    with pytest.raises(UserError):
        simulate_dataset(tmp_path / "new", **({"subjects": 1, "size": SIZE, "workers": 1} | wrong))
    assert not (tmp_path / "new").exists()


def test_plaques_come_as_the_modality_lesion_from_the_command_line(tmp_path):
    options = ["--subjects", "1", "--size", "48", "48", "31", "--lesions", "ms", "--workers", "1", "--json"]
    done = CliRunner().invoke(application, ["brain", *options, "-o", str(tmp_path)])
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout) == {"manifest": str(tmp_path / "manifest.csv"), "subjects": 1}
    rows = rows_of(tmp_path / "manifest.csv")
    assert [row["modality"] for row in rows] == ["T1", "T1ce", "T2", "FLAIR", "lesion"]
    assert rows[0]["lesion_ml"] and not rows[0]["grade"]
    assert (tmp_path / "Brats18_SIM_001/Brats18_SIM_001_lesion.nii.gz").is_file()
