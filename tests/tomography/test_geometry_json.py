"""What a file may say of a scan's geometry, and what it may not."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from transmodal.errors import UserError
from transmodal.tomography.geometry import ConeBeam, FanBeam, Grid, ParallelBeam, evenly
from transmodal.tomography.geometry_json import beam_from, grid_from, to_json
from transmodal.tomography.scan_files import ScanGeometry, read_geometry, write_geometry

PARALLEL: dict[str, Any] = {"kind": "parallel", "bins": 9, "pitch": 1.0}
FAN: dict[str, Any] = {"kind": "fan", "bins": 9, "pitch": 1.0, "source_to_axis": 50, "source_to_detector": 80}


@pytest.mark.parametrize(
    "beam",
    [
        ParallelBeam(evenly(20, 3.0), 9, 1.0),
        FanBeam(evenly(12, 360.0), 9, 1.0, 50.0, 80.0, 0.25, curved=True),
        ConeBeam(evenly(40, 5.0, start=1.0), 4, 9, 1.0, 1.0, 50.0, 80.0),
    ],
    ids=["parallel", "fan", "cone"],
)
def test_a_geometry_written_here_is_read_again_however_narrow_its_arc(beam: Any, tmp_path: Path) -> None:
    grid = Grid((3, 4, 5) if isinstance(beam, ConeBeam) else (4, 5), (1.0,) * (3 if isinstance(beam, ConeBeam) else 2))
    entries = json.loads(to_json(grid, beam))
    assert beam_from(entries["beam"]) == beam
    assert grid_from(entries["grid"]) == grid
    assert read_geometry(write_geometry(tmp_path / "s.geometry.json", ScanGeometry(beam, grid))).beam == beam


def test_angles_that_look_like_radians_are_refused_unless_the_file_says_degrees() -> None:
    radians = np.linspace(0, np.pi, 30, endpoint=False).tolist()
    with pytest.raises(UserError, match=r"look like radians; .*angle_unit"):
        beam_from({**PARALLEL, "angles": radians}, "s.json")
    assert beam_from({**PARALLEL, "angles": radians, "angle_unit": "degrees"}).angles == tuple(radians)
    assert beam_from({**PARALLEL, "angles": [0.0, 1.0, 2.0]}).angles == (0.0, 1.0, 2.0)  # too few to tell
    with pytest.raises(UserError, match="angle_unit must be degrees, not 'radians'"):
        beam_from({**PARALLEL, "angles": radians, "angle_unit": "radians"})
    with pytest.raises(UserError, match="indices or times"):
        beam_from({**PARALLEL, "angles": [0.0, 4000.0], "angle_unit": "degrees"})


def test_views_within_a_narrow_arc_are_no_radians() -> None:
    assert beam_from({**PARALLEL, "views": 20, "degrees": 3.0}).angles == evenly(20, 3.0)


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ({**FAN, "views": 8, "curved": "no"}, "curved must be true or false, not 'no'"),
        ({**FAN, "views": 8, "curved": 1}, "curved must be true or false, not 1"),
        ({**PARALLEL, "views": 8.5}, "views must be a whole number, not 8.5"),
        ({**PARALLEL, "views": True}, "views must be a whole number, not True"),
        ({**PARALLEL, "views": 8, "bins": 9.5}, "bins must be a whole number, not 9.5"),
        ({**PARALLEL, "views": 10**9}, "more than any scan has"),
        ({**PARALLEL, "views": 8, "degrees": 0}, "arc of a scan"),
        ({**PARALLEL, "views": 8, "start": float("inf")}, "arc of a scan"),
        ({**PARALLEL, "views": 8, "tilt": 1}, "unknown tilt"),
        ({**PARALLEL, "angles": []}, "at least one"),
    ],
)
def test_values_that_cannot_be_are_refused(entries: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        beam_from(entries, "s.json")


def test_whole_numbers_may_be_written_with_a_point() -> None:
    beam = beam_from({**FAN, "views": 8.0, "bins": 9.0, "curved": True})
    assert beam.shape == (8, 9)
    assert isinstance(beam, FanBeam) and beam.curved and isinstance(beam.bins, int)


def test_a_grid_counts_whole_voxels() -> None:
    with pytest.raises(UserError, match="the grid's shape must be a whole number"):
        grid_from({"shape": [4.5, 4], "spacing": [1, 1]})
    with pytest.raises(UserError, match="spacing missing"):
        grid_from({"shape": [4, 4]})
