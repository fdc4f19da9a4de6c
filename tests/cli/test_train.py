"""`transmodal train` from the outside: exit status, one line for each mistake, and nothing lost."""

import csv
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.data.pairs import make_pairs

from transmodal.cli import main
from transmodal.datasets.manifest import Manifest
from transmodal.datasets.splits import split_by_subject
from transmodal.images import Image, read, write
from transmodal.training.checkpoint import load_checkpoint

TINY = [
    "photo-to-xray", "--scale", "smoke", "--quiet", "--device", "cpu",
    *(part for setting in (
        "preparation.grid.shrink=1", "pix2pix.generator.filters=2", "pix2pix.generator.downsamplings=2",
        "pix2pix.discriminator.filters=2", "pix2pix.discriminator.layers=1", "train.epochs=1", "train.sample_every=99",
    ) for part in ("--set", setting)),
]  # fmt: skip


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_pairs(tmp_path_factory.mktemp("pairs"), poses=1, size=(16, 32)).parent


@pytest.fixture
def data(made: Path, tmp_path: Path) -> Path:
    """A copy to spoil; returns the manifest."""
    return Path(shutil.copytree(made, tmp_path / "data")) / "manifest.csv"


def call(*arguments: str | Path) -> int:
    with pytest.raises(SystemExit) as left:
        main(["train", *map(str, arguments)])
    return int(left.value.code or 0)


def train(data: Path, run: Path, *more: str | Path) -> int:
    return call(*TINY, "--data", data, "--out", run, "--cache", data.parent.parent / "cache", *more)


def the_one_line(capsys: pytest.CaptureFixture[str]) -> str:
    said = capsys.readouterr()
    (line,) = said.err.splitlines()
    assert line.startswith("transmodal: ") and not said.out
    return line


@pytest.fixture(scope="module")
def finished(made: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "finished"
    assert train(made / "manifest.csv", folder) == 0
    return folder


@pytest.fixture
def run(finished: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(finished, tmp_path / "copy"))


def test_the_last_line_names_the_run(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert train(data, tmp_path / "run") == 0
    said = capsys.readouterr()
    assert said.out == f"Run: {tmp_path / 'run'}\n" and not said.err
    assert {file.name for file in (tmp_path / "run").iterdir()} >= {
        "recipe.yaml", "manifest.csv", "environment.json", "preparation.json", "log.csv", "checkpoints", "model",
    }  # fmt: skip


def test_each_fold_is_validated_in_its_turn(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folds = Manifest.read(data)
    split_by_subject(folds, fractions=(1, 0, 0), folds=2).write(data)
    assert train(data, tmp_path / "run", "--fold", "2", "--epochs", "0") == 0
    table = Manifest.read(tmp_path / "run" / "manifest.csv").table
    assert set(zip(table["fold"], table["split"], strict=True)) == {("1", "train"), ("2", "validation")}
    capsys.readouterr()
    assert train(data, tmp_path / "other", "--fold", "3") == 2
    assert "no fold 3" in the_one_line(capsys)
    assert call("--resume", "--out", tmp_path / "run", "--fold", "1") == 2
    assert "leave --fold out" in the_one_line(capsys)


def spoil(data: Path, way: str) -> None:
    xray = data.parent / "xray" / "mouse00_pose0.png"
    if way == "missing":
        xray.unlink()
    elif way == "truncated":
        xray.write_bytes(xray.read_bytes()[:80])
    elif way == "empty":
        xray.write_bytes(b"")
    elif way == "another size":
        write(Image(np.ones((16, 31), np.uint16)), xray)
    elif way == "another type":
        write(Image((read(xray).pixels // 256).astype(np.uint8)), xray)
    else:
        text = data.read_text()
        changed = {
            "two splits": text.replace("mouse00,pose0,photo,photo/mouse00_pose0.png,white,train",
                                       "mouse00,pose0,photo,photo/mouse00_pose0.png,white,test"),
            "no modality": text.replace(",xray,xray/", ",x-ray,xray/"),
            "leaves the folder": text.replace("xray/mouse00_pose0.png", "../../xray.png"),
            "no training case": text.replace(",train", ",test"),
        }[way]  # fmt: skip
        assert changed != text
        data.write_text(changed)


@pytest.mark.parametrize(
    ("way", "said"),
    [
        ("missing", ["mouse00_pose0.png", "No such file"]),
        ("truncated", ["mouse00_pose0.png", "incomplete"]),
        ("empty", ["mouse00_pose0.png"]),
        ("another size", ["photo/mouse00_pose0.png is 16×32", "xray/mouse00_pose0.png is 16×31", "data align"]),
        ("another type", ["xray images differ", "uint8", "uint16"]),
        ("two splits", ["mouse00", "two sides", "data split"]),
        ("no modality", ["'xray'", "did you mean 'x-ray'?"]),
        ("leaves the folder", ["../../xray.png", "leaves the folder"]),
        ("no training case", ["No training case"]),
    ],
)
def test_bad_data_is_one_clear_line_and_leaves_no_run_behind(
    way: str, said: list[str], data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spoil(data, way)
    assert train(data, tmp_path / "run") == 2
    line = the_one_line(capsys)
    assert all(part in line for part in said), line
    assert not (tmp_path / "run").exists(), "the same command can be given again"


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--set", "trian.epochs=2"], "unknown key 'trian'; did you mean 'train'?"),
        (["--set", "train.epochs=x"], "train.epochs"),
        (["--scale", "huge"], "no scale 'huge'"),
        (["--set", "preparation.intensity.phto={map: auto}"], "'phto'"),
        (["--set", "pix2pix.discriminator.layers=6"], "too small for a discriminator"),
        (
            ["--set", "pix2pix={adversarial: wgan-gp, discriminator: {norm: batch}}"],
            "must not use batch norm",
        ),
        (["--device", "warp-drive"], "There is no device 'warp-drive'"),
    ],
)  # fmt: skip
def test_bad_wishes_are_one_clear_line_and_leave_no_run_behind(
    more: list[str], said: str, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train(data, tmp_path / "run", *more) == 2
    assert said in the_one_line(capsys)
    assert not (tmp_path / "run").exists()


def test_unknown_recipes_and_missing_options(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for arguments, said in (
        (["photo-to-xrai", "--data", data, "--out", tmp_path / "run"], "did you mean photo-to-xray?"),
        (["--data", data, "--out", tmp_path / "run"], "Name a recipe"),
        (["photo-to-xray"], "needs --data"),
        (["photo-to-xray", "--data", tmp_path / "none.csv", "--out", tmp_path / "run"], "none.csv"),
        (["--resume", "--out", tmp_path / "none"], "There is no run in"),
    ):
        assert call(*arguments) == 2
        assert said in the_one_line(capsys)


def test_a_place_that_cannot_be_written(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("in the way")
    for out in (tmp_path / "file" / "run", tmp_path / "file"):
        assert train(data, out) == 2
        assert str(tmp_path / "file") in the_one_line(capsys)
    assert (tmp_path / "file").read_text() == "in the way"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_without_permission(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "locked").mkdir(mode=0o500)
    assert train(data, tmp_path / "locked" / "run") == 2
    assert "locked" in the_one_line(capsys)


def test_a_loss_that_is_no_number_says_which_step(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train(data, tmp_path / "run", "--set", "pix2pix.adam.learning_rate=1e30", "--epochs", "9") == 2
    line = the_one_line(capsys)
    assert "no longer a finite number at step " in line and "learning rate" in line
    for checkpoint in (tmp_path / "run" / "checkpoints").glob("*.ckpt"):
        modules = load_checkpoint(checkpoint)["modules"]
        assert all(torch.isfinite(weights).all() for weights in modules.values())


def test_a_folder_that_holds_something_is_not_touched(
    run: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = (run / "checkpoints" / "last.ckpt").read_bytes()
    assert train(data, run) == 2
    assert "add --resume" in the_one_line(capsys)
    assert (run / "checkpoints" / "last.ckpt").read_bytes() == before
    files = sorted(data.parent.rglob("*"))
    assert train(data, data.parent) == 2
    assert "not an empty folder" in the_one_line(capsys)
    assert sorted(data.parent.rglob("*")) == files


def test_a_lone_manifest_is_not_taken_for_a_leftover(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "mine"
    out.mkdir()
    (out / "manifest.csv").write_text("my own")
    assert train(data, out) == 2
    assert "not an empty folder" in the_one_line(capsys)
    assert (out / "manifest.csv").read_text() == "my own"


def resume(run: Path, *more: str | Path) -> int:
    return call("--resume", "--out", run, "--quiet", "--cache", run.parent / "cache", "--device", "cpu", *more)


def test_a_finished_run_resumes_to_itself(run: Path) -> None:
    before = (run / "log.csv").read_text()
    assert resume(run) == 0
    assert (run / "log.csv").read_text() == before


def test_a_run_that_was_killed_before_its_first_checkpoint_begins_again(run: Path) -> None:
    weights = load_checkpoint(run / "checkpoints" / "last.ckpt")["modules"]
    for folder in ("checkpoints", "model", "tensorboard"):
        shutil.rmtree(run / folder)
    for file in ("preparation.json", "log.csv"):
        (run / file).unlink()
    assert resume(run) == 0
    again = load_checkpoint(run / "checkpoints" / "last.ckpt")["modules"]
    assert all(torch.equal(weights[name], again[name]) for name in weights)
    assert (run / "log.csv").read_text().count("\n") == 2


def test_a_creation_that_was_killed_half_way_is_taken_up(data: Path, run: Path) -> None:
    for each in list(run.iterdir()):
        if each.name not in ("environment.json", "manifest.csv"):
            shutil.rmtree(each) if each.is_dir() else each.unlink()
    assert train(data, run) == 0


def test_a_lost_preparation_is_fitted_anew(run: Path) -> None:
    before = (run / "preparation.json").read_text()
    (run / "preparation.json").unlink()
    assert resume(run) == 0
    assert (run / "preparation.json").read_text() == before


@pytest.mark.parametrize(
    ("file", "content", "said"),
    [
        ("checkpoints/last.ckpt", b"", "last.ckpt is damaged"),
        ("checkpoints/last.ckpt", b"PK\x03\x04 no archive", "last.ckpt is damaged"),
        ("checkpoints/best.ckpt", b"", "best.ckpt is damaged"),
        ("preparation.json", b"", "preparation.json is damaged"),
        ("preparation.json", b"{}", "preparation.json is damaged"),
        ("log.csv", b"a,b\n1,2\n", "log.csv is damaged"),
        ("recipe.yaml", b"", "recipe.yaml holds no recipe"),
        ("manifest.csv", b"", "manifest.csv"),
    ],
)
def test_a_damaged_run_is_one_clear_line(
    file: str, content: bytes, said: str, run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (run / file).write_bytes(content)
    assert resume(run) == 2
    assert said in the_one_line(capsys)
    assert (run / file).read_bytes() == content


def test_resuming_with_other_settings_is_refused(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for more in (["--epochs", "5"], ["--set", "train.seed=4"], ["photo-to-xray"]):
        assert resume(run, *more) == 2
        assert "--resume goes on with the recipe in" in the_one_line(capsys)


def test_print_recipe_writes_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call("t1-to-t2", "--print-recipe", "--set", "train.epochs=3", "--out", tmp_path / "run") == 0
    said = capsys.readouterr().out
    assert "name: t1-to-t2" in said and "epochs: 3" in said
    assert not (tmp_path / "run").exists()


def test_a_manifest_without_split_is_split_by_subject(data: Path, tmp_path: Path) -> None:
    rows = [line.rsplit(",", 1)[0] for line in data.read_text().splitlines()]
    data.write_text("\n".join(rows) + "\n")
    assert train(data, tmp_path / "run", "--epochs", "0") == 0
    with (tmp_path / "run" / "manifest.csv").open() as stream:
        sides = {(row["subject"], row["split"]) for row in csv.DictReader(stream)}
    assert len(sides) == 6 and {side for _, side in sides} >= {"train"}
    assert data.read_text().startswith("subject,session,modality,path,coat\n"), "the user's own stays as it was"


def test_ctrl_c_while_images_are_prepared_ends_at_once(data: Path, tmp_path: Path) -> None:
    code = (
        "import os, signal, sys, time\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)  # who runs the tests may ignore it\n"
        "from transmodal.datasets import cache\n"
        "from transmodal.cli import main\n"
        "original = cache._prepare_case\n"
        "def slow(*arguments):\n"
        "    os.write(1, b'preparing\\n')\n"
        "    time.sleep(1)\n"
        "    return original(*arguments)\n"
        "cache._prepare_case = slow\n"
        "main(sys.argv[1:])\n"
    )
    arguments = ["train", *TINY, "--data", str(data), "--out", str(tmp_path / "run"), "--cache", str(tmp_path / "c")]
    command = [sys.executable, "-c", code, *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "preparing\n"
        process.send_signal(signal.SIGINT)
        said, errors = process.communicate(timeout=60)
    assert process.returncode == 130 and "Traceback" not in errors, errors
    assert said.count("preparing") < 3, "of four cases, those that had not begun were left"
    assert not (tmp_path / "run").exists()
