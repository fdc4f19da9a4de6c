"""`transmodal translate` from the outside: what it writes, what it says, and how it ends."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from tests.data.missing_inputs import make_any_to_any
from tests.data.translators import COLOURS, PHOTO, T1, T2, XRAY, make_translator

from transmodal.cli import main
from transmodal.datasets.sample_grid import SliceSettings
from transmodal.images import Image, picture_affine, read, write


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_translator(tmp_path_factory.mktemp("run") / "model", PHOTO, XRAY)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    for seed in range(2):
        pixels = np.random.default_rng(seed).integers(0, 256, (12, 20, 3)).astype(np.uint8)
        write(Image(pixels, picture_affine((0.1, 0.1)), channels=COLOURS), folder / f"{'ab'[seed]}.png")
    return folder


def translate(*arguments: str | Path) -> int:
    with pytest.raises(SystemExit) as left:
        main(["translate", *map(str, arguments)])
    return int(left.value.code or 0)


def test_a_file_becomes_a_file(model: Path, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "xray.tiff"
    assert translate("-m", model, "-i", photos / "a.png", "-o", out) == 0
    assert read(out).pixels.dtype == np.uint16 and read(out).shape == (12, 20)
    assert (tmp_path / "xray.synthetic.json").is_file()
    said = capsys.readouterr().out.splitlines()
    assert said[0].startswith("1 written, 0 done before, 0 failed.") and "not for diagnosis" in said[0]
    assert said[-1] == f"Output: {out}"


def test_a_file_into_a_folder_and_a_run_for_its_model(model: Path, photos: Path, tmp_path: Path) -> None:
    assert translate("-m", model.parent, "-i", photos / "a.png", "-o", tmp_path / "xrays") == 0
    assert (tmp_path / "xrays" / "a.png").is_file()


def test_a_folder_is_translated_once(
    model: Path, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for said in ("2 written, 0 done before", "0 written, 2 done before"):
        assert translate("-m", model, "-i", photos, "-o", tmp_path / "xrays") == 0
        assert said in capsys.readouterr().out
    assert translate("-m", model, "-i", photos, "-o", tmp_path / "xrays", "--seed", "3") == 0
    assert "2 written" in capsys.readouterr().out


def test_a_bad_file_is_listed_the_rest_done_and_the_status_2(
    model: Path, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (photos / "c.png").write_bytes((photos / "a.png").read_bytes()[:90])
    assert translate("-m", model, "-i", photos, "-o", tmp_path / "xrays") == 2
    said = capsys.readouterr()
    assert "2 written, 0 done before, 1 failed" in said.out
    failed = [line for line in said.err.splitlines() if line.startswith("failed: ")]
    assert len(failed) == 1 and "c.png is incomplete" in failed[0] and "Traceback" not in said.err
    assert translate("-m", model, "-i", photos, "-o", tmp_path / "xrays", "--json") == 2
    listed = json.loads(capsys.readouterr().out)
    assert len(listed["skipped"]) == 2 and not listed["written"]
    assert [each["case"] for each in listed["failed"]] == ["c"]


def test_windows_are_blended_as_asked_and_the_sidecar_says_how(tmp_path: Path) -> None:
    model = make_translator(tmp_path / "model", T1, T2, spatial_dims=3)
    pixels = np.random.default_rng(0).integers(0, 1000, (40, 36, 34)).astype(np.int16)
    write(Image(pixels), tmp_path / "t1.nii.gz")
    made = {}
    for name, words in {"default": (), "gaussian": ("--blend", "gaussian"), "mean": ("--blend", "mean")}.items():
        out = tmp_path / f"{name}.nii.gz"
        assert translate("-m", model, "-i", tmp_path / "t1.nii.gz", "-o", out, "--window", "32,32,32", *words) == 0
        made[name] = read(out).pixels
        said = json.loads((tmp_path / f"{name}.synthetic.json").read_text())["options"]["blend"]
        assert said == ("mean" if name == "mean" else "gaussian")
    assert (made["default"] == made["gaussian"]).all() and (made["default"] != made["mean"]).any()


def test_each_mistake_is_one_clear_line(
    model: Path, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tampered = Path(shutil.copytree(model, tmp_path / "tampered"))
    weights = tampered / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-4] + b"\0\0\0\1")
    newer = Path(shutil.copytree(model, tmp_path / "newer"))
    card = json.loads((newer / "translator.json").read_text())
    (newer / "translator.json").write_text(json.dumps(card | {"format_version": 7}))
    (tmp_path / "file").write_text("in the way")
    (tmp_path / "empty").mkdir()
    out = tmp_path / "out"
    for arguments, said in (
        (("-m", tampered, "-i", photos, "-o", out), "SHA-256 differs"),
        (("-m", newer, "-i", photos, "-o", out), "has format 7"),
        (("-m", tmp_path, "-i", photos, "-o", out), "holds no translator"),
        (("-m", model, "-i", tmp_path / "none", "-o", out), "There is no"),
        (("-m", model, "-i", tmp_path / "empty", "-o", out), "holds no image"),
        (("-m", model, "-i", photos, "-o", photos), "is the folder of the inputs"),
        (("-m", model, "-i", photos, "-o", tmp_path / "file"), "is a file; give a folder"),
        (("-m", model, "-i", photos, "-o", tmp_path / "file" / "out"), "Cannot write to"),
        (("-m", model, "-i", photos, "-o", out, "--device", "warp-drive"), "There is no device"),
        (("-m", model, "-i", photos, "-o", out, "--blend", "constant"), "--blend constant: take gaussian or mean"),
        (("-m", model, "-i", photos, "-o", out, "--window", "0,0,0"), "A window of 0,0,0 holds nothing"),
        (("-m", model, "-i", photos, "-o", out, "--flips", "0,0"), "name one twice"),
    ):
        assert translate(*arguments) == 2
        told = capsys.readouterr()
        (line,) = told.err.splitlines()
        assert line.startswith("transmodal: ") and said in line, line
    assert not out.exists()
    assert (tmp_path / "file").read_text() == "in the way"


def test_a_manifest_names_its_cases_and_lacks_no_modality(
    model: Path, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    manifest = tmp_path / "manifest.csv"
    manifest.write_text("subject,modality,path\nm1,photo,photos/a.png\nm2,photo,photos/b.png\n")
    assert translate("-m", model, "-i", manifest, "-o", tmp_path / "xrays") == 0
    assert {file.name for file in (tmp_path / "xrays").glob("*.png")} == {"m1.png", "m2.png"}
    manifest.write_text("subject,modality,path\nm1,foto,photos/a.png\n")
    capsys.readouterr()
    assert translate("-m", model, "-i", manifest, "-o", tmp_path / "xrays") == 2
    assert "'photo'" in capsys.readouterr().err


def test_a_case_that_lacks_an_input_is_listed_and_the_rest_done(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    two = make_translator(tmp_path / "two", PHOTO | {"second": PHOTO["photo"]}, XRAY)
    manifest = tmp_path / "manifest.csv"
    manifest.write_text(
        "subject,modality,path\nm1,photo,photos/a.png\nm1,second,photos/b.png\nm2,second,photos/b.png\nm3,xray,x.png\n"
    )
    assert translate("-m", two, "-i", manifest, "-o", tmp_path / "xrays") == 2
    said = capsys.readouterr()
    assert said.out.startswith("1 written, 0 done before, 1 failed.") and (tmp_path / "xrays" / "m1.png").is_file()
    assert said.err.strip() == "failed: m2: it has no photo; add what is missing to the manifest"
    assert "1 case has no photo or second, so nothing was made: m3" in said.out.splitlines()
    assert translate("-m", two, "-i", manifest, "-o", tmp_path / "xrays", "--json") == 2
    assert json.loads(capsys.readouterr().out)["without_input"] == ["m3"]
    manifest.write_text("subject,modality,path\nm1,photo,photos/a.png\nm2,second,photos/b.png\n")
    assert translate("-m", two, "-i", manifest, "-o", tmp_path / "xrays") == 2
    assert "No case of" in capsys.readouterr().err


def test_a_model_of_several_targets_wants_a_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = make_translator(tmp_path / "model", T1, T2 | {"FLAIR": T2["T2"]}, slices=SliceSettings())
    source = write(Image(np.arange(64, dtype=np.int16).reshape(4, 4, 4)), tmp_path / "a.nii.gz")
    assert translate("-m", model, "-i", source, "-o", tmp_path / "b.nii.gz") == 2
    assert "writes T2, FLAIR; give a folder" in capsys.readouterr().err
    assert translate("-m", model, "-i", source, "-o", tmp_path / "out") == 0
    assert {file.name for file in (tmp_path / "out").glob("*.nii.gz")} == {"a_T2.nii.gz", "a_FLAIR.nii.gz"}


@pytest.fixture
def scans(tmp_path: Path) -> Path:
    """A manifest of one case with all modalities that `make_any_to_any` knows."""
    lines = ["subject,modality,path"]
    for seed, name in enumerate(("T1", "T2", "FLAIR")):
        pixels = np.random.default_rng(seed).integers(1, 1000, (8, 8, 4)).astype(np.int16)
        write(Image(pixels), tmp_path / f"{name}.nii.gz")
        lines.append(f"m1,{name},{name}.nii.gz")
    (tmp_path / "manifest.csv").write_text("\n".join(lines) + "\n")
    return tmp_path / "manifest.csv"


def test_a_target_that_is_there_is_withheld(scans: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = make_any_to_any(tmp_path / "model")

    def inputs(*arguments: str) -> set[str]:
        out = tmp_path / "-".join(("out", *arguments))
        assert translate("-m", model, "-i", scans, "-o", out, "--targets", "T2", *arguments) == 0
        return set(json.loads((out / "m1_T2.synthetic.json").read_text())["inputs"])

    assert inputs() == {"T1", "FLAIR"}
    assert inputs("--modality", "T1") == {"T1"}
    assert inputs("--modality", "FLAIR,T2,T1") == {"T1", "FLAIR"}
    capsys.readouterr()
    for arguments, said in (
        (("-i", tmp_path / "T1.nii.gz", "--modality", "T1", "--targets", "T1"), "only T1 to make T1 of"),
        (("-i", scans, "--modality", "T1", "--targets", "T1"), "choose other --targets"),
        (("-i", scans), "name with --targets"),
        (("-i", scans, "--modality", "T3"), "not 'T3'; did you mean"),
    ):
        assert translate("-m", model, "-o", tmp_path / "none", *arguments) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith("transmodal: ") and said in line, line
    assert not (tmp_path / "none").exists()


def test_an_output_that_was_not_written_is_not_named(
    scans: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = make_any_to_any(tmp_path / "model", region=True)
    empty = write(Image(np.zeros((8, 8, 4), np.uint8)), tmp_path / "empty.nii.gz")
    arguments = ("-m", model, "-i", tmp_path / "T1.nii.gz", "--modality", "T1", "--targets", "T2")
    assert translate(*arguments, "-o", tmp_path / "made.nii.gz", "--mask", empty) == 2
    told = capsys.readouterr()
    assert "Output:" not in told.out and "0 written" in told.out
    assert "empty.nii.gz has an empty region" in told.err and "or give a mask" not in told.err
    assert translate(*arguments, "-o", tmp_path / "made.nii.gz", "--mask", tmp_path / "nosuch.nii.gz") == 2
    assert "No such file" in capsys.readouterr().err
    for _ in range(2):
        assert translate(*arguments, "-o", tmp_path / "made.nii.gz") == 0
        assert capsys.readouterr().out.splitlines()[-1] == f"Output: {tmp_path / 'made.nii.gz'}"


def test_a_taken_name_is_said_before_the_model_is_loaded(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(Image(np.zeros((4, 4), np.uint8)), tmp_path / "x.png")
    sidecar = {"synthetic": True, "output": "x.png", "written": "before"}
    (tmp_path / "x.synthetic.json").write_text(json.dumps(sidecar))
    for out, words in (("x.tiff", "marks x.png as synthetic"), ("photos/a.png", "is the input itself")):
        assert translate("-m", tmp_path / "no-model", "-i", photos / "a.png", "-o", tmp_path / out) == 2
        assert words in capsys.readouterr().err
