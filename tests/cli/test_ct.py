"""`transmodal ct …`, `data degrade` and `data simulate ct` as a user meets them."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.data.commands import run

from transmodal.datasets.manifest import Manifest
from transmodal.images import Image, picture_affine, read, write
from transmodal.simulation.ct.bodies import draw_body

MM = 6.25
CLINICAL = ("--source-to-axis", "900", "--source-to-detector", "1200")


def body(seed: int = 1, padded: bool = False) -> Any:
    """A slice of 64 by 64 pixels in whole HU, with padding in its corners if asked for."""
    pixels = np.rint(draw_body(seed, 64)).astype(np.int16)
    if padded:
        rows, columns = np.mgrid[:64, :64] - 31.5
        pixels[np.hypot(rows, columns) > 31.5] = -2000
    return pixels


@pytest.fixture
def slice_file(tmp_path: Path) -> Path:
    """One slice as a TIFF, off the origin."""
    affine = picture_affine((MM, MM))
    affine[:3, 3] = [-150, -120, 33]
    return write(Image(body(padded=True), affine, quantity="HU"), tmp_path / "slice.tif")


@pytest.fixture
def volume_file(tmp_path: Path) -> Path:
    """Three axial slices as a NIfTI whose first axis runs from head to feet."""
    stack = np.stack([body(seed) for seed in range(3)])  # from the top down; rows to the back, columns to the left
    affine = np.array([[0, 0, -MM, 200], [0, -MM, 0, 210], [-5.0, 0, 0, 40], [0, 0, 0, 1]])
    return write(Image(stack, affine, quantity="HU"), tmp_path / "volume.nii.gz")


def inside(image: Any) -> Any:
    """Return what lies in the middle of the field, in HU within a window."""
    return np.clip(np.asarray(image, np.float32)[..., 12:52, 12:52], -1000, 1000)


@pytest.mark.parametrize("name", ["s.npy", "s.tif", "s.nii.gz", "s.mha"])
def test_a_projected_slice_is_reconstructed_where_it_lay(
    slice_file: Path, tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    sinogram, image = tmp_path / name, tmp_path / "image.nii.gz"
    status, out, _ = run(capsys, "ct", "project", slice_file, "-o", sinogram, "--views", "120")
    assert status == 0
    assert "120×" in out
    entries = json.loads((tmp_path / "s.geometry.json").read_text())
    assert set(entries) == {"grid", "beam", "image"}
    assert entries["image"]["axis"] is None
    assert run(capsys, "ct", "reconstruct", sinogram, "-o", image)[0] == 0
    found, truth = read(image), read(slice_file)
    assert found.quantity == "HU"
    assert np.allclose(found.affine, truth.affine)
    assert np.sqrt(np.mean((inside(found) - inside(truth)) ** 2)) < 90


def test_a_volume_is_projected_slice_by_slice_and_keeps_its_axes(
    volume_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sinogram, image = tmp_path / "v.tif", tmp_path / "image.nii.gz"
    assert run(capsys, "ct", "project", volume_file, "-o", sinogram, "--views", "90")[0] == 0
    assert json.loads((tmp_path / "v.geometry.json").read_text())["image"]["axis"] == 0
    status, out, _ = run(
        capsys, "ct", "reconstruct", sinogram, "-o", image, "--method", "sart", "--iterations", "8", "--subsets", "15"
    )
    assert status == 0
    assert "8 iterations, stopped after all iterations (3 of 3 slices)" in out
    found, truth = read(image), read(volume_file)
    assert found.shape == truth.shape
    assert np.allclose(found.affine, truth.affine)
    errors = [[np.abs(inside(a) - inside(b)).mean() for b in truth.pixels] for a in found.pixels]
    assert [int(np.argmin(row)) for row in errors] == [0, 1, 2]


def test_a_cone_beam_sees_the_volume_as_a_whole(
    volume_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cone, image = tmp_path / "cone.mha", tmp_path / "image.nii.gz"
    scanner = ("--beam", "cone", "--views", "60", "--source-to-axis", "900", "--source-to-detector", "1200")
    assert run(capsys, "ct", "project", volume_file, "-o", cone, *scanner)[0] == 0
    assert run(capsys, "ct", "reconstruct", cone, "-o", image)[0] == 0
    found, truth = read(image), read(volume_file)
    assert np.allclose(found.affine, truth.affine)
    middle = np.asarray(found)[1, 20:44, 20:44] - np.asarray(truth, np.float32)[1, 20:44, 20:44]
    assert abs(np.median(middle)) < 60  # three slices of a cone: FDK's own error
    status, _, err = run(capsys, "ct", "reconstruct", cone, "-o", image, "--overwrite", "--method", "fbp")
    assert status == 2
    assert "goes to --method fdk" in err


def test_another_grid_keeps_the_middle_of_the_field(
    slice_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sinogram = tmp_path / "s.npy"
    run(capsys, "ct", "project", slice_file, "-o", sinogram, "--views", "60")
    truth = read(slice_file)
    middle = truth.affine @ [31.5, 31.5, 0, 1]
    for more, shape, spacing in (
        (("--size", "32"), (32, 32), 2 * MM),
        (("--spacing", "12.5"), (32, 32), 12.5),
        (("--size", "20,24", "--spacing", "5"), (20, 24), 5.0),
    ):
        assert run(capsys, "ct", "reconstruct", sinogram, "-o", tmp_path / "i.tif", "--overwrite", *more)[0] == 0
        found = read(tmp_path / "i.tif")
        assert found.shape == shape
        assert found.spacing == pytest.approx((spacing, spacing))
        assert np.allclose(found.affine @ [(shape[0] - 1) / 2, (shape[1] - 1) / 2, 0, 1], middle)


def test_counts_become_an_image_by_flat_and_dark_field(
    slice_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sinogram = tmp_path / "s.npy"
    run(capsys, "ct", "project", slice_file, "-o", sinogram, "--views", "90")
    integrals = np.load(sinogram)
    gains = np.random.default_rng(0).uniform(0.8, 1.2, integrals.shape[1])
    gains[40] = 0.0  # a dead bin
    np.save(tmp_path / "counts.npy", np.rint(50 + 40000 * gains * np.exp(-integrals)).astype(np.uint16))
    np.save(tmp_path / "flat.npy", np.rint(50 + 40000 * gains).astype(np.uint16))
    images = {}
    for name, more in (
        ("plain", (sinogram,)),
        (
            "raw",
            (
                tmp_path / "counts.npy",
                "--geometry",
                tmp_path / "s.geometry.json",
                "--raw",
                "--flat",
                tmp_path / "flat.npy",
                "--dark",
                "50",
            ),
        ),
    ):
        assert run(capsys, "ct", "reconstruct", *more, "-o", tmp_path / f"{name}.tif")[0] == 0
        images[name] = inside(read(tmp_path / f"{name}.tif"))
    assert np.sqrt(np.mean((images["plain"] - images["raw"]) ** 2)) < 40


def test_a_degraded_image_says_so(slice_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    steps = ("--step", "fewer-angles angles=20", "--step", "photon-noise photons=1e4")
    images = []
    for name, seed in (("a.tif", "1"), ("b.nii.gz", "1"), ("c.mha", "2")):
        status, out, _ = run(
            capsys, "ct", "degrade", slice_file, "-o", tmp_path / name, *steps, "--seed", seed, "--keep-sinogram"
        )
        assert status == 0
        assert "20" in out
        images.append(np.asarray(read(tmp_path / name)))
    assert np.array_equal(images[0], images[1])
    assert not np.array_equal(images[0], images[2])
    record = json.loads((tmp_path / "a.degraded.json").read_text())
    assert record["synthetic"] is True
    assert record["seed"] == 1
    assert record["padding_pixels"] == int((read(slice_file).pixels == -2000).sum())
    assert [step["kind"] for step in record["scan"]["steps"]] == ["fewer-angles", "photon-noise"]
    assert b"not for diagnosis" in (tmp_path / "a.tif").read_bytes()
    assert np.load(tmp_path / "a.sinogram.npy").shape[0] == 20
    # The sinogram gives the same image again.
    again = ("ct", "reconstruct", tmp_path / "a.sinogram.npy", "-o", tmp_path / "again.tif", "--filter", "hann")
    assert run(capsys, *again)[0] == 0
    assert np.allclose(np.asarray(read(tmp_path / "again.tif")), images[0], atol=0.05)


def test_slices_of_a_volume_have_noise_of_their_own(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    stack = np.stack([body(1), body(1)], axis=2)
    affine = np.diag([MM, MM, 5.0, 1.0])
    write(Image(stack, affine, quantity="HU"), tmp_path / "v.nii.gz")
    recipe = tmp_path / "steps.yaml"
    recipe.write_text("steps:\n- {kind: photon-noise, photons: 10000}\n")
    assert run(capsys, "ct", "degrade", tmp_path / "v.nii.gz", "-o", tmp_path / "o.nii.gz", "--recipe", recipe)[0] == 0
    found = np.asarray(read(tmp_path / "o.nii.gz"))
    assert np.std(found[..., 0] - found[..., 1]) > 1


def test_a_dicom_slice_stays_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    affine = np.diag([-MM, -MM, 5.0, 1.0])
    write(Image(body(), affine, quantity="HU"), tmp_path / "in.dcm")
    arguments = ("ct", "degrade", tmp_path / "in.dcm", "-o", tmp_path / "out.dcm", "--step", "rings gain_sd=0.05")
    code, said, _ = run(capsys, *arguments)
    assert code == 0 and "Note: out.dcm is DICOM, which stores whole HU, off by at most 0." in said
    rounded = json.loads((tmp_path / "out.degraded.json").read_text())["rounded"]
    assert rounded.startswith("whole HU, off by at most 0.")
    found = read(tmp_path / "out.dcm")
    assert found.pixels.dtype.kind == "i"
    assert found.same_grid(read(tmp_path / "in.dcm"))


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    """Six subjects, one slice each, split."""
    rows = ["subject,session,modality,path,scanner,split"]
    for number in range(6):
        path = tmp_path / "clean" / f"s{number}.tif"
        path.parent.mkdir(exist_ok=True)
        write(Image(body(number), picture_affine((MM, MM)), quantity="HU"), path)
        rows.append(f"s{number},v1,CT,clean/s{number}.tif,A,{'train' if number < 4 else 'test'}")
    file = tmp_path / "manifest.csv"
    file.write_text("\n".join(rows) + "\n")
    return file


def test_a_manifest_becomes_one_of_pairs(
    manifest: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)  # a folder named from here is not named once more in the manifest
    arguments = (
        *("data", "degrade", manifest, "-o", "pairs", "--step", "photon-noise photons=1e5"),
        *("--vary", "angles=20,40", "--each", "--workers", "1", "--json", "--size", "48", "--keep-sinogram"),
    )
    status, out, _ = run(capsys, *arguments)
    said = json.loads(out)
    assert status == 0
    assert (said["pairs"], said["made"], said["reused"]) == (12, 12, 0)
    assert said["levels"] == {"angles20": 6, "angles40": 6}
    made = Manifest.read(tmp_path / "pairs" / "manifest.csv")
    assert made.modalities == ["CT", "degraded", "sinogram"]
    case = made.cases(["degraded", "CT"], split="test")[0]
    assert case.id == "s4_v1-angles20"
    assert case.factors["angles"] == "20"
    assert case.factors["photons"] == "100000"
    assert case.factors["scanner"] == "A"
    assert read(case.files["CT"]).same_grid(read(case.files["degraded"]))
    assert read(case.files["CT"]).spacing == pytest.approx((MM * 64 / 48,) * 2)
    status, out, _ = run(capsys, *arguments)
    assert json.loads(out)["reused"] == 12
    assert run(capsys, "data", "check", tmp_path / "pairs" / "manifest.csv")[0] == 0
    status, _, err = run(capsys, *arguments, "--seed", "3")
    assert status == 2
    assert "seed 0 instead of 3" in err


def test_total_variation_is_tuned_on_training_cases(
    manifest: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = (
        *("data", "degrade", manifest, "-o", tmp_path / "pairs", "--step", "fewer-angles angles=20"),
        *("--also", "tv", "--tv-iterations", "8", "--workers", "1", "--json"),
    )
    status, out, _ = run(capsys, *arguments)
    assert status == 0
    (weight,) = json.loads(out)["tv_weights"].values()
    assert max(weight["table"].values()) == weight["psnr"] == weight["table"][f"{weight['weight']:.4g}"]
    assert "TV" in json.loads(out)["modalities"]
    assert set(weight["cases"]) == {"s0_v1", "s1_v1", "s2_v1", "s3_v1"}


def test_a_broken_file_is_listed_and_the_rest_is_made(
    manifest: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    nan = body().astype(np.float32)
    nan[3, 3] = np.nan
    write(Image(nan, picture_affine((MM, MM)), quantity="HU"), tmp_path / "clean" / "s2.tif")
    (tmp_path / "clean" / "s3.tif").unlink()
    arguments = ("data", "degrade", manifest, "-o", tmp_path / "p", "--step", "fewer-angles angles=9", "--workers", "1")
    status, out, _ = run(capsys, *arguments)
    assert status == 2
    assert "2 cases failed" in out
    assert "not finite" in out
    assert "4 pairs of 4 subjects" in out
    assert len(Manifest.read(tmp_path / "p" / "manifest.csv").cases()) == 4
    # Mended, only what failed is made.
    write(Image(body(), picture_affine((MM, MM)), quantity="HU"), tmp_path / "clean" / "s2.tif")
    write(Image(body(), picture_affine((MM, MM)), quantity="HU"), tmp_path / "clean" / "s3.tif")
    status, out, _ = run(capsys, *arguments, "--json")
    assert status == 0
    assert (json.loads(out)["made"], json.loads(out)["reused"]) == (2, 4)


def test_a_broken_file_among_several_is_listed_by_simulate_ct_too(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for person in ("ada", "bo"):
        pixels = body().astype(np.float32)
        pixels[3, 3] = np.nan if person == "bo" else 0.0
        (tmp_path / "people" / person).mkdir(parents=True)
        write(Image(pixels, picture_affine((MM, MM)), quantity="HU"), tmp_path / "people" / person / "ct.tif")
    status, out, _ = run(
        capsys,
        *("data", "simulate", "ct", tmp_path / "people", "-o", tmp_path / "p", "--step", "fewer-angles angles=9"),
        *("--workers", "1", "--json"),
    )
    assert status == 2
    said = json.loads(out)
    assert (said["made"], len(said["failed"])) == (1, 1)
    assert "not finite" in said["failed"][0]["reason"]
    assert Manifest.read(tmp_path / "p" / "manifest.csv").subjects == ["ada"]


def test_padding_by_water_knows_the_water_of_the_scale(
    slice_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    narrow = ("--views", "60", "--bins", "40")
    images = {}
    for water in ("0.0192", "0.05"):
        sinogram, image = tmp_path / f"{water}.npy", tmp_path / f"{water}.nii.gz"
        assert run(capsys, "ct", "project", slice_file, "-o", sinogram, "--water", water, *narrow)[0] == 0
        arguments = ("ct", "reconstruct", sinogram, "-o", image, "--water", water, "--padding", "water")
        assert run(capsys, *arguments)[0] == 0
        images[water] = np.asarray(read(image), np.float32)
    assert np.allclose(images["0.0192"], images["0.05"], atol=1.0)


@pytest.mark.parametrize(
    "command",
    [
        ("ct", "project", "slice.tif", "-o", "s.npy"),
        ("ct", "degrade", "slice.tif", "-o", "o.tif", "--step", "rings"),
        ("data", "degrade", "m.csv", "-o", "d", "--step", "rings"),
        ("data", "simulate", "ct", "slice.tif", "-o", "d", "--step", "rings"),
    ],
)
def test_views_beside_a_geometry_are_refused_and_not_ignored(
    slice_file: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], command: tuple[str, ...]
) -> None:
    monkeypatch.chdir(slice_file.parent)
    beam = {"kind": "parallel", "views": 8, "bins": 95, "pitch": MM}
    Path("scan.json").write_text(json.dumps(beam))
    Path("m.csv").write_text("subject,modality,path\na,CT,slice.tif\n")
    for views in ("90", "180", "720"):  # also the number that is the default
        status, out, err = run(capsys, *command, "--geometry", "scan.json", "--views", views)
        assert (status, out) == (2, "")
        assert "--views and --geometry exclude each other" in err


def test_views_are_those_of_the_geometry_or_the_default(
    slice_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    geometry = tmp_path / "scan.json"
    geometry.write_text(json.dumps({"kind": "parallel", "views": 8, "bins": 95, "pitch": MM}))
    for more, views in ((("--geometry", geometry), 8), ((), 180), (("--views", "9"), 9)):
        assert run(capsys, "ct", "project", slice_file, "-o", tmp_path / "s.npy", "--overwrite", *more)[0] == 0
        assert len(np.load(tmp_path / "s.npy")) == views
    for more, views in ((("--geometry", geometry), 8), ((), 720), (("--views", "9"), 9)):
        arguments = ("ct", "degrade", slice_file, "-o", tmp_path / "o.tif", "--step", "rings", "--keep-sinogram")
        assert run(capsys, *arguments, "--overwrite", *more)[0] == 0
        assert len(np.load(tmp_path / "o.sinogram.npy")) == views


def test_help_names_the_beams_that_a_command_takes(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(capsys, "ct", "project", "--help")[1].count("Of a fan or cone beam.") == 2
    for command in (("ct", "degrade"), ("data", "degrade"), ("data", "simulate", "ct")):
        told = run(capsys, *command, "--help")[1]
        assert told.count("Of a fan beam.") == 2
        assert "cone" not in told


def test_phantoms_and_folders_become_pairs_in_one_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, out, _ = run(
        capsys,
        *("data", "simulate", "ct", "phantoms", "--phantoms", "2", "--size", "48", "-o", tmp_path / "p"),
        *("--step", "metal count=1", "--name", "metal", "--also", "li", "--also", "nmar", "--workers", "1"),
    )
    assert status == 0
    assert out.strip().endswith("2 pairs of 2 subjects; modalities CT, li, metal, nmar")
    folder = tmp_path / "people"
    for person in ("ada", "bo"):
        (folder / person).mkdir(parents=True)
        write(Image(body(), picture_affine((MM, MM)), quantity="HU"), folder / person / "ct.tif")
    status, out, _ = run(
        capsys,
        *("data", "simulate", "ct", folder, "-o", tmp_path / "q", "--step", "fewer-angles angles=9"),
        *("--workers", "1", "--copies", "1"),
    )
    assert status == 0
    assert "4 pairs of 2 subjects" in out
    table = Manifest.read(tmp_path / "q" / "manifest.csv").table
    assert set(table["subject"]) == {"ada", "bo"}
    assert set(table["session"]) == {"", "copy1"}


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("ct", "project", "slice.tif", "-o", "s.png"), "end it with .npy"),
        (("ct", "project", "slice.tif", "-o", "s.npy", "--beam", "fan"), "needs --source-to-axis"),
        (("ct", "project", "slice.tif", "-o", "s.npy", "--beam", "cone", *CLINICAL), "single slice"),
        (("ct", "project", "slice.tif", "-o", "s.npy", "--degrees", "-4"), "above 0"),
        (("ct", "project", "slice.tif", "-o", "s.npy", "--unit", "attenuation"), "say --unit HU"),
        (("ct", "project", "slice.tif", "-o", "s.npy", "--geometry", "radians.json"), "look like radians"),
        (("ct", "project", "slice.tif", "-o", "s.npy", "--geometry", "odd.json", "--bins", "9"), "exclude each other"),
        (("ct", "project", "photo.npy", "-o", "s.npy"), "no pixel size"),
        (("ct", "project", "slice.tif", "-o", "s.npy", "--device", "cuda:63"), "no device 'cuda:63'"),
        (("ct", "reconstruct", "sino.npy", "-o", "i.tif", "--device", "gpu"), "no device 'gpu'"),
        (("ct", "reconstruct", "lonely.npy", "-o", "i.tif"), "lonely.geometry.json"),
        (("ct", "reconstruct", "sino.npy", "-o", "i.tif", "--geometry", "broken.json"), "no JSON"),
        (("ct", "reconstruct", "sino.npy", "-o", "i.tif", "--geometry", "odd.json"), "unknown tilt"),
        (("ct", "reconstruct", "sino.npy", "-o", "i.tif", "--geometry", "text.json"), "pitch must be a number"),
        (("ct", "reconstruct", "sino.npy", "-o", "i.tif", "--geometry", "words.json"), "angles must be numbers"),
        (("ct", "reconstruct", "turned.npy", "-o", "i.tif"), "axes look swapped"),
        (("ct", "reconstruct", "sino.npy", "-o", "i.tif", "--raw"), "needs --flat"),
        (("ct", "reconstruct", "sino.npy", "-o", "i.tif", "--flat", "9"), "say --raw"),
        (("ct", "reconstruct", "zeros.npy", "-o", "i.tif", "--raw", "--flat", "9"), "no bin counted a photon"),
        (("ct", "reconstruct", "sino.npy", "-o", "i.tif", "--method", "tv"), "needs --weight"),
        (("ct", "reconstruct", "sino.npy", "-o", "i.tif", "--weight", "1"), "means nothing to fbp"),
        (("ct", "reconstruct", "sino.npy", "-o", "i.tif", "--size", "a"), "not clear"),
        (("ct", "reconstruct", "sino.npy", "-o", "i.tif", "--filter", "box"), "unknown filter"),
        (("ct", "degrade", "slice.tif", "-o", "o.tif"), "Say what makes the scan worse"),
        (("ct", "degrade", "slice.tif", "-o", "o.tif", "--step", "photon-noise photons=0"), "photons"),
        (("ct", "degrade", "slice.tif", "-o", "o.tif", "--step", "fewer-angles angle=3"), "no setting 'angle'"),
        (("ct", "degrade", "slice.tif", "-o", "o.tif", "--step", "fog"), "unknown kind 'fog'"),
        (("ct", "degrade", "slice.tif", "-o", "o.tif", "--step", "fewer-angles angles=900"), "900 views"),
        (("ct", "degrade", "slice.tif", "-o", "slice.tif", "--step", "metal"), "is the input itself"),
        (("ct", "degrade", "unit.tif", "-o", "o.tif", "--step", "metal"), "no Hounsfield units"),
        (("ct", "degrade", "padding.tif", "-o", "o.tif", "--step", "metal"), "all padding"),
        (("ct", "degrade", "slice.tif", "-o", "o.tif", "--recipe", "broken.json"), "YAML"),
        (("data", "degrade", "m.csv", "-o", "d", "--modality", "MR", "--step", "metal"), "known are CT"),
        (("data", "degrade", "m.csv", "-o", "d", "--modality", "MR", "--step", "metal"), "data index --layout ct"),
        (("data", "degrade", "m.csv", "-o", "d"), "Say what makes"),
        (("data", "degrade", "m.csv", "-o", "d", "--vary", "angles=30,60"), "--each"),
        (("data", "degrade", "m.csv", "-o", "d", "--step", "metal", "--mix"), "several values"),
        (("data", "degrade", "m.csv", "-o", "d", "--vary", "angels=30,60", "--mix"), "no such setting"),
        (("data", "degrade", "m.csv", "-o", "d", "--step", "metal", "--name", "CT"), "another name"),
        (("data", "degrade", "m.csv", "-o", "d", "--step", "metal", "--also", "tv"), "data split"),
        (("data", "degrade", "m.csv", "-o", "d", "--step", "rings", "--also", "li"), "needs the degradation metal"),
        (("data", "degrade", "m.csv", "-o", "d", "--step", "rings", "--tv-weight", "1"), "--also tv"),
        (("data", "simulate", "ct", "slice.tif", "-o", "d", "--phantoms", "3", "--step", "rings"), "word phantoms"),
        (("data", "simulate", "ct", "nowhere.tif", "-o", "d", "--step", "rings"), "nowhere.tif"),
    ],
)  # fmt: skip
def test_a_mistake_is_told_in_one_line(
    slice_file: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: tuple[str, ...],
    expected: str,
) -> None:
    folder = slice_file.parent
    monkeypatch.chdir(folder)
    beam = {"kind": "parallel", "views": 8, "bins": 95, "pitch": MM}
    (folder / "sino.geometry.json").write_text(json.dumps(beam))
    (folder / "turned.geometry.json").write_text(json.dumps({"beam": beam}))
    (folder / "zeros.geometry.json").write_text(json.dumps(beam))
    (folder / "radians.json").write_text(
        json.dumps({"kind": "parallel", "angles": list(np.linspace(0, 3, 8)), "bins": 95, "pitch": MM})
    )
    (folder / "odd.json").write_text(json.dumps({**beam, "tilt": 3}))
    (folder / "text.json").write_text(json.dumps({**beam, "pitch": "wide"}))
    (folder / "words.json").write_text(json.dumps({"kind": "parallel", "angles": ["a"], "bins": 95, "pitch": MM}))
    (folder / "broken.json").write_text("{: [")
    np.save(folder / "sino.npy", np.ones((8, 95), np.float32))
    np.save(folder / "turned.npy", np.ones((95, 8), np.float32))
    np.save(folder / "zeros.npy", np.zeros((8, 95), np.float32))
    np.save(folder / "lonely.npy", np.ones((8, 95), np.float32))
    np.save(folder / "photo.npy", body().astype(np.float32))
    write(Image(np.random.default_rng(0).random((64, 64), np.float32), picture_affine((1, 1))), folder / "unit.tif")
    write(Image(np.full((64, 64), -2048, np.int16), picture_affine((1, 1)), quantity="HU"), folder / "padding.tif")
    (folder / "m.csv").write_text("subject,modality,path\na,CT,slice.tif\n")
    status, out, err = run(capsys, *arguments)
    assert status == 2
    assert out == ""
    assert len(err.strip().splitlines()) == 1
    assert expected in err
