"""`transmodal demo`: what it says of a training that had too little time, and its tables."""

from pathlib import Path

import numpy as np
import pandas
import pytest

from transmodal.cli import main
from transmodal.cli.demo import README_MINUTES, README_STEPS, unfinished
from transmodal.cli.scores import print_scores
from transmodal.evaluation.scores import Scores
from transmodal.metrics.policy import Policy

RUN = Path("transmodal-demo/run")


def test_a_training_on_a_busy_machine_is_told_with_what_helps() -> None:
    line = unfinished(272, 4, "small", RUN)
    assert "Only 272 steps in 4 minutes" in line and "about 4700 steps, in 4 minutes on two free cores" in line
    assert f"Delete {RUN} and run it again when the machine is free, or with --minutes 70." in line
    assert "\n" not in line


def test_a_short_training_on_a_free_machine_is_told_to_take_longer() -> None:
    line = unfinished(README_STEPS // 10, README_MINUTES / 10, "small", RUN)
    assert "machine is free" not in line and f"run it again with --minutes {README_MINUTES}." in line


@pytest.mark.parametrize(("steps", "scale"), [(4727, "small"), (README_STEPS * 2 // 3, "small"), (9, "smoke")])
def test_enough_steps_and_other_scales_are_no_matter(steps: int, scale: str) -> None:
    assert unfinished(steps, 4, scale, RUN) == ""


def test_the_demo_says_how_many_steps_it_took(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    asked = ["--animals", "6", "--poses", "1", "--minutes", "0.05", "--scale", "smoke", "--device", "cpu"]
    with pytest.raises(SystemExit) as left:
        main(["demo", "--out", str(tmp_path / "demo"), *asked])
    told = capsys.readouterr()
    assert left.value.code in (0, None), told.err
    assert " steps in 0.05 minutes" in told.err and "Only" not in told.err
    assert told.out.splitlines()[-1].startswith("Report: ")


def test_tables_of_long_numbers_are_cut_off_nowhere(capsys: pytest.CaptureFixture[str]) -> None:
    systems = ("translator", "mean target", "input luminance", "intensity lookup")
    policy = Policy(metrics=("mse", "mae", "nrmse"), range=(2936, 55529)).resolved(unit="intensity", dimension=2)
    rows = [
        {"system": system, "case": f"m{number}", "subject": f"m{number}",
         "mse": 3.1456e7 * (place + 1) + 1e6 * draw, "mae": 4451.2 + 800 * place + 100 * draw, "nrmse": 0.13 * draw}
        for place, system in enumerate(systems)
        for number, draw in enumerate(np.random.default_rng(place).uniform(1, 2, 12))
    ]  # fmt: skip
    print_scores(Scores(policy, pandas.DataFrame(rows)), title="xray, held-out animals")
    out = capsys.readouterr().out
    assert "…" not in out and max(map(len, out.splitlines())) <= 100
    assert "translator minus" in out and out.count("MSE (intensity²)") == 2
    several = [{**row, "system": f"{row['system']} {turn}"} for turn in range(2) for row in rows]
    print_scores(Scores(policy, pandas.DataFrame(several)), title="xray, eight systems")
    out = capsys.readouterr().out
    assert "…" not in out and max(map(len, out.splitlines())) <= 112
