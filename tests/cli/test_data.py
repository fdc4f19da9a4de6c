"""`transmodal data …` as a user meets it: output, exit status, one line for a mistake."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from tests.data.commands import run

from transmodal.datasets.manifest import Manifest
from transmodal.images import Image, picture_affine, write


@pytest.fixture
def mice(tmp_path: Path) -> Path:
    """Photographs and X-rays of four animals in two poses."""
    generator = np.random.default_rng(1)
    for modality in ("photo", "xray"):
        for animal in range(4):
            for pose in range(2):
                path = tmp_path / "mice" / modality / f"mouse{animal}_pose{pose}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                pixels = generator.integers(0, 255, (6, 8), dtype=np.uint8)
                write(Image(pixels, picture_affine((0.1, 0.1))), path)
    return tmp_path / "mice"


PATTERN = r"(?P<subject>\w+?)_(?P<session>\w+)"


def test_a_folder_goes_through_index_check_and_split(mice: Path, capsys: pytest.CaptureFixture[str]) -> None:
    manifest = mice / "manifest.csv"
    status, out, _ = run(capsys, "data", "index", mice, "-o", manifest, "--subject-pattern", PATTERN)
    assert status == 0
    assert "Layout pairs" in out
    assert out.strip().endswith("16 images, 8 cases, 4 subjects")
    status, out, _ = run(capsys, "data", "check", manifest)
    assert (status, out.strip()) == (0, f"{manifest}: 16 images checked, nothing found")
    status, out, _ = run(capsys, "data", "split", manifest, "--json")
    counts = json.loads(out)["counts"]
    assert {name: row["subjects"] for name, row in counts.items()} == {"train": 2, "validation": 1, "test": 1}
    read = Manifest.read(manifest)
    read.check_split()
    assert len(read.cases(["photo", "xray"], split="train")) == 4
    assert set(read.table["path"].str.split("/").str[0]) == {"photo", "xray"}


def test_index_speaks_json_and_tells_a_hint(mice: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, out, _ = run(
        capsys, "data", "index", mice, "-o", mice / "m.csv", "--json", "--modalities", "a=photo,b=xray"
    )
    summary = json.loads(out)
    assert status == 0
    assert summary["modalities"] == {"a": 8, "b": 8}
    assert "4 subjects, not 8" in summary["notes"][0]


def test_errors_of_a_check_end_with_status_2_and_warnings_do_not(
    mice: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    manifest = mice / "manifest.csv"
    run(capsys, "data", "index", mice, "-o", manifest)
    (mice / "photo/mouse0_pose0.png").write_bytes((mice / "photo/mouse0_pose1.png").read_bytes())
    status, out, _ = run(capsys, "data", "check", manifest, "--json")
    report = json.loads(out)
    assert status == 2
    assert report["counts"] == {"error": 1, "warning": 0, "note": 0}
    assert report["findings"][0]["kind"] == "duplicate"
    run(capsys, "data", "index", mice, "-o", manifest, "--subject-pattern", PATTERN)
    status, out, _ = run(capsys, "data", "check", manifest)
    assert status == 0
    assert "1 warning" in out


def test_a_split_is_not_replaced_without_force(mice: Path, capsys: pytest.CaptureFixture[str]) -> None:
    manifest = mice / "manifest.csv"
    run(capsys, "data", "index", mice, "-o", manifest, "--subject-pattern", PATTERN)
    arguments = ("data", "split", manifest, "--train", "mouse0,mouse1", "--validation", "mouse2")
    assert run(capsys, *arguments)[0] == 0
    before = manifest.read_text()
    status, _, err = run(capsys, "data", "split", manifest)
    assert status == 2
    assert "--force" in err
    status, _, err = run(capsys, "data", "index", mice, "-o", manifest, "--subject-pattern", PATTERN)
    assert status == 2
    assert "column split" in err
    assert manifest.read_text() == before
    assert run(capsys, "data", "split", manifest, "--force", "--folds", "2", "--fractions", "1", "0", "0")[0] == 0
    assert set(Manifest.read(manifest).table["fold"]) == {"1", "2"}


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("index", "nowhere"), "nowhere does not exist"),
        (("index", "mice", "--layout", "pair"), "did you mean 'pairs'"),
        (("index", "mice", "--modalities", "a=,b"), "not clear at 'a='"),
        (("index", "mice", "--modalities", "photo,,xray"), "blank part"),
        (("check", "nowhere.csv"), "no file nowhere.csv"),
        (("split", "nowhere.csv"), "no file nowhere.csv"),
        (("align", "nowhere.csv", "--moving", "a", "--fixed", "b", "-o", "out"), "no file nowhere.csv"),
    ],
)
def test_a_mistake_is_told_in_one_line(
    mice: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: tuple[str, ...],
    expected: str,
) -> None:
    monkeypatch.chdir(mice.parent)
    status, out, err = run(capsys, "data", *arguments)
    assert status == 2
    assert out == ""
    assert err.count("\n") == 1
    assert expected in err


def test_a_file_that_is_no_manifest_is_not_overwritten(mice: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (mice / "letter.csv").write_text("dear,all\n1,2\n")
    status, _, err = run(capsys, "data", "index", mice, "-o", mice / "letter.csv")
    assert status == 2
    assert "is no manifest" in err
    assert (mice / "letter.csv").read_text() == "dear,all\n1,2\n"


def test_mice_are_simulated_with_a_manifest(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ("--animals", "2", "--poses", "1", "--size", "32", "64", "--workers", "1")
    status, out, _ = run(capsys, "data", "simulate", "mouse", "-o", tmp_path / "mice", *options)
    assert status == 0
    assert out.strip() == f"{tmp_path / 'mice' / 'manifest.csv'}: 2 pairs of 2 animals"
    assert run(capsys, "data", "check", tmp_path / "mice" / "manifest.csv")[0] == 0


@pytest.mark.parametrize("command", ["index", "check", "split", "align", "simulate mouse"])
def test_every_command_helps_with_examples(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    status, out, _ = run(capsys, "data", *command.split(), "--help")
    assert status == 0
    assert f"transmodal data {command}" in out.split("Examples:")[1]


def test_help_loads_nothing_heavy() -> None:
    program = (
        "import sys\nfrom transmodal.cli import main\ntry: main(['data', '--help'])\nexcept SystemExit: pass\n"
        "print({'torch', 'pandas', 'numpy', 'cv2'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip().endswith("set()")
