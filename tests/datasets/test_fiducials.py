"""Fiducials: whose points they are, in which unit, and every broken table refused."""

from pathlib import Path

import numpy as np
import pytest

from transmodal.datasets.fiducials import Fiducials
from transmodal.datasets.manifest import CaseFiles
from transmodal.errors import UserError
from transmodal.images import Image, picture_affine

PICTURE = Image(np.zeros((10, 20), np.uint8), picture_affine((0.5, 0.25)))


def table(folder: Path, text: str) -> Path:
    path = folder / "points.csv"
    path.write_text(text)
    return path


def test_pixels_become_mm_and_points_are_matched_by_name(tmp_path: Path) -> None:
    rows = ["m1,,photo,nose,2,4", "m1,,photo,tail,4,8", "m1,,xray,tail,0,2", "m1,,xray,nose,0,0", "m1,,xray,ear,1,1"]
    read = Fiducials.read(table(tmp_path, "\n".join(["subject,session,modality,point,row,column", *rows])))
    moving, fixed = read.pairs_mm(CaseFiles("m1", "", {}), "photo", "xray", (PICTURE, PICTURE))
    np.testing.assert_allclose(moving, [[1.0, 1.0], [2.0, 2.0]])  # x along columns, y along rows
    np.testing.assert_allclose(fixed, [[0.0, 0.0], [0.5, 0.0]])


def test_a_case_has_its_own_points_or_its_subjects_or_those_of_all(tmp_path: Path) -> None:
    text = "subject;session;modality;point;x_mm;y_mm\n;;a;p;1;1\nm1;;a;p;2;2\nm1;s1;a;p;3;3\n"
    read = Fiducials.read(table(tmp_path, text))
    places = [read.of(CaseFiles(*case, {}), "a")["p"][0] for case in (("m0", "s0"), ("m1", "s0"), ("m1", "s1"))]
    assert places == [1.0, 2.0, 3.0]
    assert read.of(CaseFiles("m1", "s1", {}), "b") == {}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("modality,row,column\na,1,1\n", "lacks the column point"),
        ("modality,point,x\na,p,1\n", "says no places"),
        ("modality,point,row,column\na,p,1,one\n", "Row 2"),
        ("modality,point,row,column\na,p,1,nan\n", "Row 2"),
        ("modality,point,row,column\na,p,1,\n", "Row 2"),
        ("modality,point,row,column\na,p,1,1\na,p,2,2\n", "marked twice"),
    ],
)
def test_a_broken_table_is_refused(tmp_path: Path, text: str, expected: str) -> None:
    with pytest.raises(UserError, match=expected):
        Fiducials.read(table(tmp_path, text))


def test_points_without_partner_or_of_another_dimension_are_refused(tmp_path: Path) -> None:
    read = Fiducials.read(table(tmp_path, "modality,point,x_mm,y_mm,z_mm\na,p,1,1,1\nb,q,1,1,1\nc,p,1,1,1\n"))
    case = CaseFiles("m1", "", {})
    with pytest.raises(UserError, match="No point of case m1"):
        read.pairs_mm(case, "a", "b", (PICTURE, PICTURE))
    with pytest.raises(UserError, match="2 coordinates"):
        read.pairs_mm(case, "a", "c", (PICTURE, PICTURE))
