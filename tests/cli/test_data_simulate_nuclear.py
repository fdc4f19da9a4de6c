"""`transmodal data simulate nuclear` from the command line."""

import json

import pytest
from tests.data.commands import run


def test_acquisitions_are_simulated_with_a_manifest(tmp_path, capsys):
    options = ["--animals", "1", "--agent", "fdg", "--frames", "2x5min", "--size", "64", "128", "--workers", "1"]
    status, out, _ = run(capsys, "data", "simulate", "nuclear", "-o", tmp_path / "few", *options, "--json")
    assert status == 0
    assert json.loads(out) == {"manifest": str(tmp_path / "few/manifest.csv"), "agent": "fdg", "acquisitions": 1}
    status, out, _ = run(capsys, "data", "simulate", "nuclear", "-o", tmp_path / "few", *options)
    assert status == 0
    assert "1 acquisition with fdg" in out
    status, out, _ = run(capsys, "data", "check", tmp_path / "few/manifest.csv", "--json")
    assert status == 0 and json.loads(out)["findings"] == []  # frames of a camera have a grid of their own


@pytest.mark.parametrize(
    ("option", "told"),
    [(("--frames", "5x"), "no part of a schedule"), (("--activity", "-3"), "MBq"), (("--agent", "gold"), "gold")],
)
def test_what_cannot_be_is_refused_in_one_line(tmp_path, capsys, option, told):
    status, _, err = run(capsys, "data", "simulate", "nuclear", "-o", tmp_path / "few", *option)
    assert status != 0
    assert told in err
    assert not (tmp_path / "few").exists()
