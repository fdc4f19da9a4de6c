"""What `transmodal ct …` does with files and numbers that are not as they should be, and with scanners by name."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.data.commands import run

from transmodal.images import Image, picture_affine, read, write
from transmodal.simulation.ct.bodies import draw_body

MM = 6.25
BEAM = {"kind": "parallel", "views": 24, "bins": 92, "pitch": MM}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A clean slice, a small volume, a sinogram and its geometry, which is the working folder."""
    monkeypatch.chdir(tmp_path)
    pixels = np.rint(draw_body(1, 64)).astype(np.int16)
    write(Image(pixels, picture_affine((MM, MM)), quantity="HU"), tmp_path / "s.tif")
    volume = np.stack([pixels[::4, ::4]] * 4, axis=2)
    write(Image(volume, np.diag([4 * MM, 4 * MM, 10.0, 1.0]), quantity="HU"), tmp_path / "v.nii.gz")
    (tmp_path / "x.geometry.json").write_text(json.dumps(BEAM))
    np.save(tmp_path / "x.npy", np.ones((24, 92), np.float32))
    np.save(tmp_path / "flat.npy", np.full(92, 1000.0))
    return tmp_path


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize(
    "arguments",
    [
        ("ct", "project", "s.tif", "-o", "s.tif"),
        ("ct", "project", "s.tif", "-o", "x.npy", "--geometry", "x.geometry.json"),
        ("ct", "project", "v.nii.gz", "-o", "../{folder}/v.nii.gz"),
        ("ct", "reconstruct", "x.npy", "-o", "x.npy"),
        ("ct", "reconstruct", "x.npy", "-o", "link.npy"),
        ("ct", "reconstruct", "x.npy", "-o", "flat.npy", "--raw", "--flat", "flat.npy"),
        ("ct", "reconstruct", "x.npy", "-o", "flat.npy", "--raw", "--flat", "9", "--dark", "flat.npy"),
        ("ct", "degrade", "s.tif", "-o", "s.tif", "--step", "rings"),
        ("ct", "degrade", "w.img", "-o", "w.hdr", "--step", "rings"),
        ("ct", "degrade", "series", "-o", "series/1.dcm", "--step", "rings"),
        ("ct", "degrade", "s.tif", "-o", "x.tif", "--step", "rings", "--keep-sinogram", "--geometry",
         "x.sinogram.geometry.json"),
    ],
)  # fmt: skip
def test_no_input_is_written_over(folder: Path, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...]) -> None:
    (folder / "link.npy").symlink_to(folder / "x.npy")
    (folder / "x.sinogram.geometry.json").write_text(json.dumps(BEAM))
    write(read(folder / "v.nii.gz"), folder / "w.hdr")
    before = contents(folder)
    (folder / "series").mkdir()
    (folder / "series" / "1.dcm").write_bytes(b"one slice")
    status, out, err = run(capsys, *(argument.format(folder=folder.name) for argument in arguments))
    assert (status, out) == (2, "")
    assert "is the input itself" in err and len(err.splitlines()) == 1
    (folder / "series" / "1.dcm").unlink()
    (folder / "series").rmdir()
    assert contents(folder) == before


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("ct", "project", "s.tif", "-o", "o.npy", "--offset", "nan"), "--offset nan is no number"),
        (("ct", "project", "s.tif", "-o", "o.npy", "--pitch", "0"), "--pitch 0: "),
        (("ct", "project", "s.tif", "-o", "o.npy", "--pitch", "1e-9"), "GiB are free: take fewer views"),
        (("ct", "project", "s.tif", "-o", "o.npy", "--views", "1000000000"), "more than any scan has"),
        (("ct", "project", "s.tif", "-o", "o.npy", "--finer", "1000000"), "take a smaller --finer"),
        (("ct", "project", "v.nii.gz", "-o", "o.npy", "--scanner", "micro-ct", "--beam", "fan"), "leave --beam out"),
        (("ct", "project", "v.nii.gz", "-o", "o.npy", "--scanner", "micro-ct", "--geometry", "x.geometry.json"),
         "--scanner and --geometry exclude"),
        (("ct", "project", "v.nii.gz", "-o", "o.npy", "--scanner", "micro-ct"), "source runs at 200 mm"),
        (("ct", "reconstruct", "x.npy", "-o", "i.tif", "--spacing", "0.0001"), "GiB are free: give a smaller --size"),
        (("ct", "reconstruct", "x.npy", "-o", "i.tif", "--size", "1e9"), "GiB are free: give a smaller --size"),
        (("ct", "reconstruct", "nan.npy", "-o", "i.tif"), "nan.npy holds 2208 values that are not finite"),
        (("ct", "reconstruct", "nan.npy", "-o", "i.tif"), "by --raw --flat"),
        (("ct", "reconstruct", "x.npy", "-o", "i.png"), "pictures hold no Hounsfield units"),
        (("ct", "reconstruct", "x.npy", "-o", "i.tif", "--floor", "1"), "say --raw"),
        (("ct", "reconstruct", "x.npy", "-o", "i.tif", "--raw", "--flat", "9", "--floor", "0"), "must be above 0"),
        (("ct", "reconstruct", "x.npy", "-o", "i.tif", "--method", "asd-pocs"), "needs --discrepancy"),
        (("ct", "reconstruct", "x.npy", "-o", "i.tif", "--method", "tv", "--weight", "1", "--electronic-noise", "3"),
         "goes with --photons"),
        (("ct", "reconstruct", "x.npy", "-o", "i.tif", "--electronic-noise", "3"), "means nothing to fbp"),
        (("ct", "degrade", "s.tif", "-o", "o.tif", "--step", ""), "--step is empty; write it as"),
        (("ct", "degrade", "s.tif", "-o", "d.png", "--step", "rings"), "pictures hold no Hounsfield units"),
        (("ct", "degrade", "s.tif", "-o", "o.tif", "--step", "detector-blur fwhm_mm=1e9"), "its width at most"),
        (("ct", "degrade", "s.tif", "-o", "o.tif", "--step", "metal radius_mm=500,600"), "wider than the image"),
        (("ct", "degrade", "s.tif", "-o", "o.tif", "--step", "rings", "--rays-per-bin", "1000000000"), "fewer --rays"),
    ],
)  # fmt: skip
def test_numbers_that_cannot_be_are_told_in_one_line(
    folder: Path, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], expected: str
) -> None:
    np.save(folder / "nan.npy", np.full((24, 92), np.nan, np.float32))
    (folder / "nan.geometry.json").write_text(json.dumps(BEAM))
    before = contents(folder)
    status, out, err = run(capsys, *arguments)
    assert (status, out) == (2, "")
    assert expected in err and len(err.strip().splitlines()) == 1
    assert contents(folder) == before


def raw_counts(folder: Path, open_beam: float) -> Any:
    """Write intensities of a thick disc and return its line integrals, up to 8."""
    across = (np.arange(92) - 45.5) / 46
    integrals = np.tile(8 * np.sqrt(np.clip(1 - (across / 0.6) ** 2, 0, None)), (24, 1))
    np.save(folder / "x.npy", open_beam * np.exp(-integrals))
    return integrals


def test_the_floor_of_counts_is_told_and_may_be_lowered(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    raw_counts(folder, 1.0)
    arguments = (
        "ct",
        "reconstruct",
        "x.npy",
        "-o",
        "i.nii.gz",
        "--unit",
        "attenuation",
        "--raw",
        "--flat",
        "1",
        "--json",
        "--overwrite",
    )
    capped = json.loads(run(capsys, *arguments)[1])["notes"]
    middle = read(folder / "i.nii.gz").pixels[44:48, 44:48].mean()
    assert any("were lifted to it (--floor)" in note for note in capped)
    assert any(
        "no line integral passes 2.3; of normalised intensities give a far lower --floor" in note for note in capped
    )
    notes = json.loads(run(capsys, *arguments, "--floor", "1e-6")[1])["notes"]
    assert notes == []
    assert read(folder / "i.nii.gz").pixels[44:48, 44:48].mean() > 1.5 * middle
    raw_counts(folder, 1e5)
    plenty = run(capsys, "ct", "reconstruct", "x.npy", "-o", "j.tif", "--raw", "--flat", "1e5", "--json")
    assert json.loads(plenty[1])["notes"] == []


def test_a_detector_too_narrow_for_the_object_is_told(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    few = ("ct", "degrade", "s.tif", "-o", "o.tif", "--overwrite", "--step", "fewer-angles angles=9", "--views", "45")
    for more, told in ((("--bins", "20"), True), ((), False), (("--bins", "20", "--padding", "water"), False)):
        status, out, _ = run(capsys, *few, *more)
        assert status == 0
        assert ("reaches beyond the detector: give more --bins" in out) is told
    meant = run(capsys, *few, "--step", "limited-field diameter_mm=150")[1]
    assert "beyond the detector" not in meant


def test_much_metal_is_told(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ("ct", "degrade", "s.tif", "-o", "o.tif", "--overwrite", "--views", "20", "--step")
    assert "of the body; give a smaller radius_mm" in run(capsys, *arguments, "metal radius_mm=190,195")[1]
    assert "of the body" not in run(capsys, *arguments, "metal radius_mm=4,5")[1]


def test_a_mouse_scanner_is_known_by_name(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    mouse = np.full((4, 4, 4), 50, np.int16)
    write(Image(mouse, np.diag([0.5, 0.5, 0.5, 1.0]), quantity="HU"), folder / "m.nii.gz")
    small = ("--views", "3", "--rows", "30", "--bins", "40")
    assert run(capsys, "ct", "project", "m.nii.gz", "-o", "m.npy", "--scanner", "micro-ct", *small)[0] == 0
    beam = json.loads((folder / "m.geometry.json").read_text())["beam"]
    assert (beam["kind"], len(beam["angles"]), beam["rows"], beam["bins"]) == ("cone", 3, 30, 40)
    assert beam["pitch"] * beam["source_to_axis"] / beam["source_to_detector"] == pytest.approx(0.085)
    assert beam["angles"][1] == 120.0


def test_a_volume_is_not_projected_on_its_own_grid(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cone = ("--beam", "cone", "--views", "4", "--source-to-axis", "900", "--source-to-detector", "1200")
    made = {}
    for name, more in (("usual", ()), ("own", ("--finer", "1")), ("twice", ("--finer", "2"))):
        assert run(capsys, "ct", "project", "v.nii.gz", "-o", f"{name}.npy", *cone, *more)[0] == 0
        made[name] = np.load(folder / f"{name}.npy")
    assert np.array_equal(made["usual"], made["twice"])
    assert np.abs(made["usual"] - made["own"]).max() > 0.02 * made["own"].max()


def test_a_narrow_arc_is_projected_and_reconstructed(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(capsys, "ct", "project", "s.tif", "-o", "n.npy", "--degrees", "3", "--views", "20")[0] == 0
    assert run(capsys, "ct", "reconstruct", "n.npy", "-o", "n.tif")[0] == 0


def test_asd_pocs_and_electronic_noise_are_taken(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(capsys, "ct", "project", "s.tif", "-o", "p.npy", "--views", "30")
    truth = np.clip(np.asarray(read(folder / "s.tif"), np.float32), -1000, 1000)
    pocs = ("--method", "asd-pocs", "--discrepancy", "0.01", "--iterations", "4")
    weighted = ("--method", "tv-fista", "--weight", "30", "--iterations", "4", "--photons", "1e4")
    errors, images = {}, {}
    for name, more in (("pocs", pocs), ("noisy", (*weighted, "--electronic-noise", "60")), ("counted", weighted)):
        assert run(capsys, "ct", "reconstruct", "p.npy", "-o", f"{name}.tif", *more)[0] == 0
        images[name] = np.asarray(read(folder / f"{name}.tif"), np.float32)
        errors[name] = float(np.sqrt(np.mean((np.clip(images[name], -1000, 1000) - truth) ** 2)))
    assert max(errors.values()) < 150
    assert np.abs(images["noisy"] - images["counted"]).max() > 1
