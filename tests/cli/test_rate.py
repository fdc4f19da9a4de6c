"""`transmodal rate new` and `rate serve` from the outside."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import httpx
import numpy as np
import pytest
from tests.data.readers import make_folders

from transmodal.cli import main
from transmodal.evaluation.readers.study import Study
from transmodal.images import Image, picture_affine, write


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_folders(tmp_path_factory.mktemp("images"))


def rate(*arguments: str | Path) -> int:
    with pytest.raises(SystemExit) as left:
        main(["rate", *map(str, arguments)])
    return int(left.value.code or 0)


def systems(folders: Path) -> list[str]:
    return [f"--system=wobbly={folders / 'wobbly'}", f"--system=zebra={folders / 'zebra'}"]


def test_a_study_is_made_and_its_facts_are_printed(
    folders: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folders / "real" / "notes.txt").write_text("no image")
    arguments: list[str | Path] = [
        "--kind",
        "rating",
        "--real",
        folders / "real",
        "--criteria",
        "realism, noise",
        "--points",
        "4",
    ]
    arguments += ["--range", "0", "255", "--cases", "4", "--reference", folders / "photo", "--title", "X-rays"]
    assert rate("new", tmp_path / "study", *systems(folders), *arguments) == 0
    told = capsys.readouterr()
    said = told.out
    assert "values: 0 to 255" in said and "cases: 4, each counted as a subject of its own" in said
    assert "clipped: real none, wobbly none, zebra none" in said and "repeats: 2 of 12 items" in said
    assert said.splitlines()[-1].startswith(f"Study: {tmp_path / 'study'}, 14 answers a reader (12 items, 2 repeated);")
    assert told.err.count("subject of its own") == len(told.err.splitlines()) == 1
    study = Study.open(tmp_path / "study")
    assert (study.protocol.criteria, study.protocol.points) == (("realism", "noise"), 4)
    assert study.protocol.title == "X-rays" and study.protocol.reference is not None


def test_cases_that_not_every_folder_has_are_listed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folders = make_folders(tmp_path / "images")
    (folders / "zebra" / "quokka1_pose0.tiff").unlink()
    assert rate("new", tmp_path / "study", "--kind", "preference", *systems(folders)) == 0
    said = capsys.readouterr().out
    assert "not every folder has them" in said and "quokka1_pose0" in said and "cases: 5" in said


def write_image(path: Path, pixels: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write(Image(pixels, picture_affine((0.5, 0.5))), path)


def warnings_of(capsys: pytest.CaptureFixture[str]) -> list[str]:
    return [line for line in capsys.readouterr().err.splitlines() if "subject of its own" not in line]


def test_a_range_that_saturates_the_true_images_is_warned_of(
    folders: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--kind=rating", f"--system=zebra={folders / 'zebra'}", f"--real={folders / 'real'}", "--range", "0"]
    assert rate("new", tmp_path / "wide", *arguments, "230") == 0
    assert warnings_of(capsys) == []
    assert rate("new", tmp_path / "narrow", *arguments, "100") == 0
    (line,) = warnings_of(capsys)
    assert re.search(r"warning: .*outside 0 to 100 .*: [56]\d% of the true images, [56]\d% of images of zebra", line)
    assert rate("new", tmp_path / "none", *arguments[:-1], "300", "400") == 2
    said = capsys.readouterr().err
    assert "one grey each" in said and "0 to 249" in said and len(said.splitlines()) == 1
    assert not (tmp_path / "none").exists()


def test_made_images_of_another_scale_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    generator = np.random.default_rng(0)
    for case in range(3):
        write_image(tmp_path / "real" / f"{case}.png", generator.integers(500, 60000, (9, 9)).astype(np.uint16))
        write_image(tmp_path / "made" / f"{case}.tiff", generator.uniform(0, 1, (9, 9)).astype(np.float32))
    assert rate("new", tmp_path / "s", "--kind=rating", f"--system=a={tmp_path}/made", f"--real={tmp_path}/real") == 2
    said = capsys.readouterr().err
    assert "images of a show one grey each" in said and "on one scale" in said and len(said.splitlines()) == 1


@pytest.mark.parametrize(("most", "warned"), [(250, False), (60000, True)])
def test_other_bit_depths_are_warned_of_where_values_differ(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], most: int, warned: bool
) -> None:
    generator = np.random.default_rng(0)
    for case in range(4):
        write_image(tmp_path / "a" / f"{case}.png", generator.integers(0, 250, (9, 9)).astype(np.uint8))
        write_image(tmp_path / "b" / f"{case}.png", generator.integers(0, most, (9, 9)).astype(np.uint16))
    arguments = ["--kind=preference", f"--system=a={tmp_path / 'a'}", f"--system=b={tmp_path / 'b'}", "--repeats=0.25"]
    assert rate("new", tmp_path / "study", *arguments) == 0
    lines = warnings_of(capsys)
    assert len(lines) == warned and all("bit depth (16 bits: b; 8 bits: a)" in line for line in lines)
    assert rate("new", tmp_path / "mapped", *arguments, "--percentiles", "0", "100") == 0
    assert warnings_of(capsys) == []


def test_a_study_too_small_for_repeats_says_so(
    folders: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    subjects = ["--kind=preference", "--subject-pattern", "(?P<subject>.+)_pose"]
    assert rate("new", tmp_path / "few", *systems(folders), *subjects, "--cases=2") == 0
    told = capsys.readouterr()
    assert "No item comes twice" in told.err and len(told.err.splitlines()) == 1
    assert "cases: 2, each of another subject" in told.out and "(2 items, none repeated)" in told.out
    assert rate("new", tmp_path / "one", *systems(folders), *subjects, "--cases=1") == 0
    told = capsys.readouterr()
    assert "one item only" in told.err and len(told.err.splitlines()) == 1
    assert "1 answer a reader (1 item, none repeated)" in told.out
    assert rate("new", tmp_path / "none", *systems(folders), *subjects, "--repeats=0") == 0
    told = capsys.readouterr()
    assert told.err == "" and "cases: 6, of 3 subjects" in told.out


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["--kind", "rating"], "either folders with --system"),
        (["--kind", "rating", "--system", "nameless"], "is not NAME=DIR"),
        (["--kind", "rating", "--system", "a=absent"], "not a folder"),
        (["--kind", "guess", "--system", "a={real}"], "no kind of study"),
        (["--kind", "rating", "--runs", "absent"], "is no run"),
        (["--kind", "rating", "--runs", "absent", "--real", "{real}"], "--real has no sense"),
        (["--kind", "rating", "--runs", "absent", "--reference", "{real}"], "is the word input"),
        (["--kind", "rating", "--system", "a={real}", "--slice", "top"], "--slice 'top'"),
        (["--kind", "rating", "--system", "a={real}", "--readers-see", "some"], "none of all, one"),
        (["--kind", "rating", "--system", "a={real}", "--system", "a={real}"], "Two systems are called"),
        (["--kind", "rating", "--system", "a={real}", "--subject-pattern", "("], "no regular expression"),
    ],
)
def test_wrong_usage_is_told_in_one_line(
    folders: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], problem: str
) -> None:
    given = [argument.format(real=folders / "real") for argument in arguments]
    assert rate("new", tmp_path / "study", *given) == 2
    said = capsys.readouterr().err
    assert problem in said and len(said.splitlines()) == 1
    assert not (tmp_path / "study").exists()


def test_serve_answers_at_once_and_ends_with_control_c(folders: Path, tmp_path: Path) -> None:
    assert (
        rate("new", tmp_path / "study", "--kind", "which-is-real", "--real", folders / "real", *systems(folders)) == 0
    )
    command = [sys.executable, "-m", "transmodal", "rate", "serve", str(tmp_path / "study"), "--port", "0"]
    with subprocess.Popen(
        [*command, "--readers", "ana,ben"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=os.environ
    ) as process:
        assert process.stdout is not None and process.stderr is not None
        lines: list[str] = []
        while not lines or "Ctrl-C ends" not in lines[-1]:
            lines.append(process.stdout.readline())
            assert lines[-1], process.stderr.read()
        assert "7 answers a reader (6 items, 1 repeated)" in lines[0]
        links = dict(re.findall(r"^  (\w+): (http://127\.0\.0\.1:\d+/r/\w+)$", "".join(lines), re.M))
        assert set(links) == {"ana", "ben"}
        with httpx.Client(trust_env=False) as client:
            assert client.get(f"{links['ana']}/state").json()["trial"] == 0
            answer = {"trial": 0, "answers": {"": "left"}, "seconds": 1}
            assert client.post(f"{links['ana']}/answer", json=answer).json()["trial"] == 1
        process.send_signal(signal.SIGINT)
        said, trouble = process.communicate(timeout=20)
    assert process.returncode == 0 and trouble == ""
    assert "ana: 1 of 7" in said and "ben: 0 of 7" in said


def test_a_port_that_is_taken_is_told_in_one_line(
    folders: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from transmodal.evaluation.readers.server import listen

    assert rate("new", tmp_path / "study", "--kind", "preference", *systems(folders)) == 0
    capsys.readouterr()
    with listen("127.0.0.1", 0) as taken:
        assert rate("serve", tmp_path / "study", "--port", str(taken.getsockname()[1])) == 2
    said = capsys.readouterr().err
    assert "choose another --port" in said and len(said.splitlines()) == 1


def test_a_study_that_was_read_can_be_analysed(
    folders: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    real = f"--real={folders / 'real'}"
    assert rate("new", tmp_path / "study", "--kind", "real-or-synthetic", real, *systems(folders)) == 0
    store = Study.open(tmp_path / "study").open_store()
    store.add_reader("robot", simulated=True)
    for trial, _ in enumerate(store.trials("robot")):
        store.record("robot", trial, {"": ("real", "synthetic")[trial % 2]}, seconds=1)
    assert rate("analyse", tmp_path / "study") == 0
    assert capsys.readouterr().out.splitlines()[-1].startswith("Report: ")
