"""What `transmodal ct …` tells of scans that went wrong, of files that are there, of words that it does not know."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from tests.data.commands import run
from tests.images.test_dicom import AXIAL, save

from transmodal.images import Image, picture_affine, read, write
from transmodal.images.synthetic import NOTICE, mark_of, sidecar_of
from transmodal.simulation.ct.bodies import draw_body
from transmodal.tomography.degradations import DEGRADATIONS, degradation_from
from transmodal.tomography.scan import degrade

MM = 6.25
BEAM = {"kind": "parallel", "views": 24, "bins": 92, "pitch": MM}
FEW = ("--views", "24")
HEIGHTS = (0, 2.5, 5, 9, 11.5)  # mm; on an even grid the third lies 0.75 mm off


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A clean slice, a sinogram with its geometry, and an uneven series, in the working folder."""
    monkeypatch.chdir(tmp_path)
    pixels = np.rint(draw_body(1, 64)).astype(np.int16)
    write(Image(pixels, picture_affine((MM, MM)), quantity="HU"), tmp_path / "s.tif")
    (tmp_path / "x.geometry.json").write_text(json.dumps(BEAM))
    np.save(tmp_path / "x.npy", np.ones((24, 92), np.float32))
    for number, height in enumerate(HEIGHTS):
        place = {
            "ImagePositionPatient": [-200, -200, height],
            "ImageOrientationPatient": AXIAL,
            "PixelSpacing": [25, 25],
        }
        slice_file = tmp_path / "uneven" / f"{number}.dcm"
        save(slice_file, pixels[::4, ::4], RescaleIntercept=0, InstanceNumber=number + 1, **place)
    return tmp_path


STEP = ("--step", "fewer-angles angles=8", *FEW)


@pytest.mark.parametrize(
    "arguments",
    [
        ("ct", "project", "uneven", "-o", "o.npy", "--views", "8"),
        ("ct", "degrade", "uneven", "-o", "o.nii.gz", *STEP),
        ("data", "degrade", "m.csv", "-o", "o", *STEP, "--workers", "1"),
        ("data", "simulate", "ct", "uneven", "-o", "o", *STEP, "--workers", "1"),
    ],
)
def test_uneven_slices_on_an_even_grid_are_told_with_the_largest_error(
    folder: Path, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...]
) -> None:
    (folder / "m.csv").write_text("subject,modality,path\na,CT,uneven\n")
    status, out, _ = run(capsys, *arguments, "--allow-uneven", "--json")
    (note,) = json.loads(out)["notes"]
    assert status == 0 and "up to 0.75 mm off" in note and "'transmodal data straighten'" in note


def test_even_slices_are_not_called_uneven(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for number in range(3):  # 0, 2.5, 5
        assert read(folder / "uneven" / f"{number}.dcm").source.header.off_grid == 0
    for number in (3, 4):
        (folder / "uneven" / f"{number}.dcm").unlink()
    _, out, _ = run(capsys, "ct", "project", "uneven", "-o", "o.npy", *FEW, "--allow-uneven", "--json")
    assert json.loads(out)["notes"] == []


def test_counts_are_refused_without_raw(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    scaled = {"usual": 8.0, "thick": 30.0, "counts": 22340.0}
    for name, top in scaled.items():
        np.save(folder / f"{name}.npy", np.full((24, 92), top, np.float32))
    read_as = ("--geometry", "x.geometry.json", "-o")
    status, out, err = run(capsys, "ct", "reconstruct", "counts.npy", *read_as, "c.tif")
    assert (status, out) == (2, "") and "2.234e+04" in err and "--raw --flat" in err
    assert not (folder / "c.tif").exists()
    assert "much for line integrals" in run(capsys, "ct", "reconstruct", "thick.npy", *read_as, "t.tif")[1]
    assert "line integrals" not in run(capsys, "ct", "reconstruct", "usual.npy", *read_as, "u.tif")[1]


def test_what_was_projected_is_no_count_however_large(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(Image(np.ones((40, 40), np.float32), picture_affine((2, 2)), quantity="1/mm"), folder / "ones.tif")
    projected = ("ct", "project", "ones.tif", "-o", "ones.npy", "--unit", "attenuation", *FEW)
    assert run(capsys, *projected)[0] == 0 and np.load("ones.npy").max() > 60
    status, out, _ = run(capsys, "ct", "reconstruct", "ones.npy", "-o", "back.tif")
    assert status == 0 and "much for line integrals" in out
    assert read(folder / "back.tif").pixels[15:25, 15:25].mean() == pytest.approx(1, abs=0.05)


@pytest.mark.parametrize(
    ("arguments", "written"),
    [
        (("ct", "project", "s.tif", "-o", "o.npy", "--views", "4"), "o.npy"),
        (("ct", "project", "s.tif", "-o", "o.npy", "--views", "4"), "o.geometry.json"),
        (("ct", "reconstruct", "x.npy", "-o", "o.tif"), "o.tif"),
        (("ct", "degrade", "s.tif", "-o", "o.tif", "--step", "rings", *FEW), "o.degraded.json"),
        (("ct", "degrade", "s.tif", "-o", "o.tif", "--step", "rings", *FEW, "--keep-sinogram"), "o.sinogram.npy"),
        (("ct", "degrade", "s.tif", "-o", "o.tif", "--step", "rings", *FEW, "--keep-sinogram"), "o.sinogram.npy.json"),
        (("ct", "project", "s.tif", "-o", "o.npy", "--views", "4"), "o.npy.json"),
        (("ct", "reconstruct", "x.npy", "-o", "o.npy"), "o.npy.json"),
        (("ct", "reconstruct", "x.npy", "-o", "o.mhd"), "o.raw"),
        (("ct", "reconstruct", "x.npy", "-o", "o.hdr"), "o.img"),
    ],
)
def test_nothing_is_written_over_unless_told(
    folder: Path, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], written: str
) -> None:
    (folder / written).write_text("mine")
    before = sorted(folder.iterdir())
    status, out, err = run(capsys, *arguments)
    assert (status, out) == (2, "") and f"{written} exists" in err and "--overwrite" in err
    assert (folder / written).read_text() == "mine" and sorted(folder.iterdir()) == before
    assert run(capsys, *arguments, "--overwrite")[0] == 0
    assert (folder / written).read_bytes() != b"mine"


@pytest.mark.parametrize("command", ["degrade", "reconstruct"])
def test_a_folder_of_slices_is_replaced_when_told_and_refused_before_anything_is_computed(
    folder: Path, capsys: pytest.CaptureFixture[str], command: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(Image(np.rint(np.stack([draw_body(1, 16)] * 3, axis=2)), np.diag([25.0, 25, 10, 1])), folder / "v.nii.gz")
    assert run(capsys, "ct", "project", "v.nii.gz", "-o", "v.npy", "--views", "8")[0] == 0
    made = {
        "degrade": ("ct", "degrade", "v.nii.gz", "-o", "o3", "--step", "rings", "--views", "8"),
        "reconstruct": ("ct", "reconstruct", "v.npy", "-o", "o3"),
    }[command]
    (folder / "o3").mkdir()
    assert run(capsys, *made)[0] == 0, "an empty folder is free"
    (folder / "o3" / "slice-0004.dcm").write_bytes(b"of an earlier series of four")
    (folder / "o3.synthetic.json").write_text(json.dumps({"synthetic": True, "output": "o3", "written": "then"}))
    with monkeypatch.context() as patched:
        patched.setattr("transmodal.simulation.ct.files.read", lambda *_, **__: pytest.fail("read already"))
        patched.setattr("transmodal.simulation.ct.reconstruct_files.read_projections", lambda _: pytest.fail("read"))
        again = (*made, *(() if command == "reconstruct" else ("--overwrite",)))
        (folder / "o3" / "notes.txt").write_text("mine")
        status, _, err = run(capsys, *again)
        assert status == 2 and "o3 is a folder that holds more than DICOM slices" in err
        (folder / "o3" / "notes.txt").unlink()
        status, _, err = run(capsys, *made)
        assert status == 2 and "o3 holds slices already" in err and "--overwrite" in err
    status, _, err = run(capsys, *made, "--overwrite")
    assert status == 0, err
    assert len(list((folder / "o3").iterdir())) == 3 and not (folder / "o3.synthetic.json").exists()


@pytest.mark.parametrize(
    "made",
    [
        ("project", "s.tif", "-o", "t.npy", "--views", "4"),
        ("reconstruct", "x.npy", "-o", "t.tif"),
        ("degrade", "s.tif", "-o", "t.tif", "--step", "rings", *FEW),
    ],
)
def test_what_replaces_a_synthetic_image_does_not_keep_its_sidecar(
    folder: Path, capsys: pytest.CaptureFixture[str], made: tuple[str, ...]
) -> None:
    out, beside = folder / made[3], folder / "other.synthetic.json"
    out.write_bytes((folder / "s.tif").read_bytes())
    (folder / "t.synthetic.json").write_text(json.dumps({"synthetic": True, "output": out.name, "model": "X"}))
    beside.write_text("{}")
    assert run(capsys, "ct", *made, "--overwrite")[0] == 0
    assert not (folder / "t.synthetic.json").exists() and beside.exists()


def test_a_folder_that_holds_the_input_is_not_replaced(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for number in range(1, 5):
        (folder / "uneven" / f"{number}.dcm").unlink()
    arguments = ("ct", "degrade", "uneven/0.dcm", "-o", "uneven", "--step", "rings", "--overwrite")
    status, _, err = run(capsys, *arguments)
    assert status == 2 and "uneven is the folder of 0.dcm" in err and (folder / "uneven" / "0.dcm").exists()


def test_rays_without_photons_are_told_and_not_taken_for_truncation(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    noisy = ("ct", "degrade", "s.tif", "-o", "o.tif", *FEW, "--json", "--overwrite", "--step")
    few = json.loads(run(capsys, *noisy, "photon-noise photons=1")[1])["notes"]
    found = json.loads((folder / "o.degraded.json").read_text())["scan"]["slices"][0]["photon-noise"]
    assert 0 < found["rays_at_the_floor"] < found["rays"]
    assert len(few) == 1 and few[0].startswith(f"{found['rays_at_the_floor']} of {found['rays']} rays (")
    assert json.loads(run(capsys, *noisy, "photon-noise photons=1e6")[1])["notes"] == []
    narrow = json.loads(run(capsys, *noisy, "photon-noise photons=1e6", "--bins", "20")[1])["notes"]
    assert len(narrow) == 1 and "beyond the detector: give more --bins" in narrow[0]


def test_a_limited_field_points_to_padding(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    limited = ("ct", "degrade", "s.tif", *FEW, "--json", "--step", "limited-field diameter_mm=150", "-o")
    (note,) = json.loads(run(capsys, *limited, "a.tif")[1])["notes"]
    assert "--padding edge or water" in note and "--bins" not in note
    assert json.loads(run(capsys, *limited, "b.tif", "--padding", "water")[1])["notes"] == []


def test_a_mask_of_metal_is_named_only_where_one_is_given() -> None:
    metal = degradation_from({"kind": "metal"})
    body = draw_body(1, 32)
    mask = np.zeros(body.shape, np.float32)
    mask[16, 16] = 1
    said = [degrade(body, (12.5, 12.5), [metal], 12, metal=given).describe() for given in (None, mask)]
    assert "2 inserts" in said[0] and "mask" not in said[0]
    assert "a given mask of titanium" in said[1] and "inserts" not in said[1]


def geometry(**changes: Any) -> str:
    return json.dumps({name: value for name, value in {**BEAM, **changes}.items() if value is not None})


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("reconstruct", "missing.npy", "-o", "i.tif"), "Cannot find missing.npy"),
        (("reconstruct", "x.npy", "-o", "i.tif", "--geometry", "flat.json"), "a parallel beam needs pitch (mm between"),
        (("reconstruct", "x.npy", "-o", "i.tif", "--geometry", "none.json"), "needs angles (or views) and bins"),
        (("reconstruct", "x.npy", "-o", "i.tif", "--geometry", "wide.json"), "mend its views and bins"),
        (("reconstruct", "x.npy", "-o", "i.tif", "--raw", "--flat", "flat.npy"), "cropped or binned as the counts"),
        (("reconstruct", "x.npy", "-o", "i.tif", "--method", "fpb"), "'asd-pocs'; did you mean 'fbp'? See 'transmodal"),
        (("project", "s.tif", "-o", "o.npy", "--unit", "hu"), "for '--unit': 'hu' is not one"),
        (("project", "s.tif", "-o", "o.npy", "--unit", "hu"), "did you mean 'HU'?"),
        (("degrade", "s.tif", "-o", "o.tif", "--step", "photon-noise", "photons=1e5"), "in quotes, as --step 'photon-"),
        (("degrade", "--step", "photon-noise", "photons=1e5", "s.tif", "-o", "o.tif"), "--step 'photon-noise photons="),
        (("degrade", "--step=rings", "gain_sd=0.02", "-o", "o.tif"), "in quotes, as --step 'rings gain_sd=0.02'"),
        (("degrade", "s.tif", "-o", "o.tif", "--step", "photon-nois photons=1e5"), "did you mean 'photon-noise'?"),
    ],
)
def test_a_mistake_is_told_with_its_remedy(
    folder: Path, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], expected: str
) -> None:
    (folder / "flat.json").write_text(geometry(pitch=None))
    (folder / "none.json").write_text(geometry(views=None, bins=None))
    (folder / "wide.json").write_text(geometry(bins=97))
    np.save(folder / "flat.npy", np.full(90, 1000.0))
    status, out, err = run(capsys, "ct", *arguments)
    assert (status, out) == (2, "") and len(err.splitlines()) == 1
    assert expected in err and "Value error" not in err and "positional" not in err


def test_settings_without_quotes_that_pass_for_a_file_are_told(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    simulate = ("data", "simulate", "ct", "s.tif", "-o", "o", "--step", "rings")
    status, _, err = run(capsys, *simulate, "gain_sd=0.02")
    assert status == 2 and "Cannot find gain_sd=0.02" in err and "in quotes, as --step 'rings gain_sd=0.02'" in err
    assert "in quotes" not in run(capsys, *simulate, "gone.tif")[2], "a missing file is one"
    assert "in quotes" not in run(capsys, "ct", "degrade", "gone.tif", "-o", "a.tif", "--step", "rings dead=2")[2]


def test_all_settings_of_all_degradations_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    status, out, _ = run(capsys, "ct", "degrade", "--steps")
    assert status == 0
    listed: dict[str, set[str]] = {}
    for line in out.splitlines():
        if line.startswith(" "):
            listed[list(listed)[-1]].add(line.split()[0].partition(".")[0])
        else:
            listed[line.partition(":")[0]] = set()
    assert listed == {kind: set(made.model_fields) - {"kind"} for kind, made in DEGRADATIONS.items()}
    assert "    photons (100000): " in out and "    sigma_hu (must be given): " in out and "    inserts (-): " in out
    assert run(capsys, "data", "degrade", "--steps")[1] == out


def test_a_reconstruction_in_dicom_says_what_it_is_in_whole_words(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "x.npy").rename(folder / "projections-with-a-long-name.npy")
    sinogram = ("projections-with-a-long-name.npy", "--geometry", "x.geometry.json")
    assert run(capsys, "ct", "reconstruct", *sinogram, "-o", "i.dcm")[0] == 0
    made = pydicom.dcmread(folder / "i.dcm")
    assert made.SeriesDescription == "Reconstruction by transmodal (fbp), not for diagnosis"
    assert "projections-with-a-long-name.npy" in made.DerivationDescription
    assert (float(made.WindowCenter[0]), float(made.WindowWidth[0])) == (40, 400)
    low, high = read(folder / "i.dcm").pixels.min(), read(folder / "i.dcm").pixels.max()
    assert (float(made.WindowCenter[1]), float(made.WindowWidth[1])) == ((low + high) / 2, high - low)


def test_what_was_synthetic_stays_so_through_projections(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    clean = read(folder / "s.tif")
    write(clean, folder / "made.tif", derivation=f"{NOTICE} ct made by a test")
    for name, is_synthetic in (("made", True), ("s", False)):
        assert run(capsys, "ct", "project", f"{name}.tif", "-o", f"{name}.npy", "--views", 24)[0] == 0
        for out in (f"{name}-back.nii.gz", f"{name}-back.npy", f"{name}-back.dcm"):
            assert run(capsys, "ct", "reconstruct", f"{name}.npy", "-o", out)[0] == 0
            said = mark_of(read(folder / out)) if not out.endswith("npy") else ""
            sidecar = sidecar_of(folder / out)
            assert sidecar.exists() == is_synthetic
            assert not is_synthetic or "ct made by a test" in json.loads(sidecar.read_text())["derivation"]
            assert (NOTICE in said) == (is_synthetic and not out.endswith("npy"))
            sidecar.unlink(missing_ok=True)
    geometry = json.loads((folder / "made.geometry.json").read_text())
    assert NOTICE in geometry["synthetic"] and "synthetic" not in json.loads((folder / "s.geometry.json").read_text())
    (folder / "other.geometry.json").write_text((folder / "s.geometry.json").read_text())
    words = ("ct", "reconstruct", "made.npy", "--geometry", "other.geometry.json", "-o", "named.nii.gz")
    assert run(capsys, *words)[0] == 0 and NOTICE in mark_of(read(folder / "named.nii.gz"))
    (folder / "made.geometry.json").write_text(json.dumps(geometry | {"synthetic": 1}))
    status, _, errors = run(capsys, "ct", "reconstruct", "made.npy", "-o", "no.nii.gz")
    assert status == 2 and "synthetic is 1; write in words" in errors
