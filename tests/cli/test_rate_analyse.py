"""`transmodal rate analyse` from a study on disk to its report."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from transmodal.cli import main
from transmodal.cli.reader_tables import print_analysis
from transmodal.errors import UserError
from transmodal.evaluation.readers.analysis import analyse_answers
from transmodal.evaluation.readers.answers import Kind
from transmodal.evaluation.readers.simulated import SimulatedReader, World, fill_study, simulate
from transmodal.evaluation.readers.wording import interval_text, number

SYSTEMS = ("sharp", "blurry", "noisy")


@pytest.fixture
def study(tmp_path: Path) -> Path:
    """A rating study of three systems that two programs have answered, with scores beside it."""
    generator = np.random.default_rng(0)
    for case in range(6):
        truth = generator.integers(0, 60000, (24, 24)).astype(np.uint16)
        for name, noise in (("true", 0), ("sharp", 500), ("blurry", 3000), ("noisy", 9000)):
            made = np.clip(truth + generator.normal(0, noise, truth.shape), 0, 65535).astype(np.uint16)
            (tmp_path / name).mkdir(exist_ok=True)
            cv2.imwrite(str(tmp_path / name / f"p{case}.png"), made)
    folders = [part for name in SYSTEMS for part in ("--system", f"{name}={tmp_path / name}")]
    run("rate", "new", str(tmp_path / "likert"), "--kind", "rating", *folders, "--range", "0", "65535", "--seed", "1")
    others = [part for name in SYSTEMS[1:] for part in ("--against", f"{name}={tmp_path / name}")]
    first = f"sharp={tmp_path / 'sharp'}"
    scored = ("--range", "0", "65535", "--out", str(tmp_path / "scored"), "--workers", "1")
    run("score", first, str(tmp_path / "true"), *others, *scored)
    readers = [SimulatedReader("program-1"), SimulatedReader("program-2")]
    fill_study(tmp_path / "likert", readers, World({"sharp": 1.0, "blurry": 0.0, "noisy": -1.0}))
    return tmp_path / "likert"


def run(*arguments: str) -> int:
    with pytest.raises(SystemExit) as left:
        main(list(arguments))
    return int(left.value.code or 0)


def test_the_table_ends_with_the_report_and_the_files_are_there(
    study: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    assert run("rate", "analyse", str(study), "--scores", str(study.parent / "scored")) == 0
    printed = capsys.readouterr().out
    assert printed.strip().splitlines()[-1] == f"Report: {study / 'analysis' / 'report.html'}"
    assert printed.startswith("Reader study: likert, 2 simulated readers")
    for words in (
        "2 simulated readers",
        "rating of realism",
        "Fleiss κ",
        "τ_b, images",
        "WAEM",
        "Leaving one system out needs 4",
    ):
        assert words in printed
    page = (study / "analysis" / "report.html").read_text(encoding="utf-8")
    assert "<title>Reader study: likert" in page
    assert "programs gave these answers" in page and f"--scores {study.parent / 'scored'}" in page
    assert json.loads((study / "analysis" / "waem.json").read_text(encoding="utf-8"))["format"] == "transmodal-waem/1"


def test_json_is_all_that_is_printed(study: Path, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    out = study.parent / "analysed"
    assert run("rate", "analyse", str(study), "--out", str(out), "--json") == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed == json.loads((out / "analysis.json").read_text(encoding="utf-8"))
    assert printed["simulated_readers"] and printed["waem"] == {"not_fitted": "not fitted: no scores were given"}
    assert not (out / "waem.json").exists()


def test_mistakes_are_told_in_one_line(study: Path, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    for arguments, words in (
        ((str(study.parent / "true"),), "is no reader study"),
        ((str(study), "--scores", str(study)), "has no cases.csv"),
    ):
        assert run("rate", "analyse", *arguments) == 2
        lines = capsys.readouterr().err.strip().splitlines()
        assert len(lines) == 1 and words in lines[0]
    with pytest.raises(UserError, match="has answered already"):
        fill_study(study, [SimulatedReader("program-1")], World())


@pytest.mark.parametrize("kind", ["rating", "preference", "real-or-synthetic"])
@pytest.mark.parametrize("columns", ["50", "80", "200"])
def test_no_name_and_no_number_is_cut(
    kind: Kind, columns: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    systems = ["a-system-with-a-rather-long-name-of-its-training-1", "pix2pix", "cut"]
    readers = [SimulatedReader("Dr. Ana María de la Fuente y Castillo [bold]"), SimulatedReader("ben")]
    found = analyse_answers(simulate(kind, systems, 12, readers, World()), resamples=60)
    capsys.readouterr()
    print_analysis(found)
    printed = capsys.readouterr().out
    assert "…" not in printed and max(len(line) for line in printed.splitlines()) <= int(columns)
    told = "".join(printed.split())
    estimates = (
        [found.means["d_prime"]] if found.means else [agreement.fleiss for agreement in found.agreement.values()]
    )
    estimates += [each.strength for each in found.strengths]
    estimates += [estimate for ratings in found.ratings.values() for estimate in ratings.values()]
    for words in (*[interval_text(estimate) for estimate in estimates], readers[0].name if found.means else systems[0]):
        assert "".join(words.split()) in told


def test_notes_about_intervals_stand_beneath_the_table(capsys: pytest.CaptureFixture[str]) -> None:
    readers = [SimulatedReader("ana"), SimulatedReader("ben")]
    print_analysis(analyse_answers(simulate("rating", ["A", "B"], 12, readers, World()), resamples=60))
    assert capsys.readouterr().out.count("the interval holds for these 2 readers only") == 1
    print_analysis(analyse_answers(simulate("real-or-synthetic", ["A"], 3, readers, World()), resamples=60))
    assert "mean over readers: 3 subjects: no interval" in capsys.readouterr().out
    assert number(-1e-9) == "0.000" and number(-0.5) == "−0.500"
