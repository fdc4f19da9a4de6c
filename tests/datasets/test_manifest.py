"""Manifests: what is read comes back as written, and every broken table is refused by row."""

import string
import tempfile
from pathlib import Path

import pandas
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from transmodal.datasets.manifest import CaseFiles, Manifest
from transmodal.datasets.manifest_csv import write_rows
from transmodal.errors import UserError

HEADING = "subject,session,modality,path"


def written(folder: Path, *rows: str, heading: str = HEADING, encoding: str = "utf-8") -> Path:
    path = folder / "manifest.csv"
    path.write_text("\n".join([heading, *rows]) + "\n", encoding=encoding)
    return path


NAMES = st.text(string.ascii_letters + string.digits + "#-. '\"é,;", min_size=1, max_size=8).map(
    lambda text: text.strip(" .") or "x"
)
CELLS = st.text(string.printable.replace("\x0b", "").replace("\x0c", "").replace("\r", "") + "µ", max_size=12).map(
    str.strip
)


@given(
    rows=st.lists(st.tuples(NAMES, st.sampled_from(["", "a", "b"]), NAMES, NAMES, CELLS), min_size=1, max_size=12),
    factor=NAMES.filter(lambda name: name.lower() not in {"subject", "session", "modality", "path", "split", "fold"}),
)
@settings(max_examples=60, deadline=None)
def test_a_written_manifest_reads_back_the_same(rows: list[tuple[str, ...]], factor: str) -> None:
    table = pandas.DataFrame(rows, columns=["subject", "session", "modality", "path", factor])
    table = table.drop_duplicates(["subject", "session", "modality"])
    with tempfile.TemporaryDirectory() as folder:
        try:
            manifest = Manifest(table, folder)
        except UserError as error:
            assert "both called" in str(error)  # subject "x_a" beside session "a" of "x"
            return
        manifest.write(Path(folder) / "m.csv")
        again = Manifest.read(Path(folder) / "m.csv")
        assert again.table.equals(manifest.table)
        assert again.cases() == manifest.cases()
        manifest.write(Path(folder) / "below" / "m.csv")
        assert Manifest.read(Path(folder) / "below" / "m.csv").cases() == manifest.cases()


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_spreadsheet_dialects_are_understood(tmp_path: Path, delimiter: str, encoding: str) -> None:
    rows = ["007,é1,photo,p/a.png,white", ",,,,", "", "007,é1,xray,x/a.png,"]
    heading = (HEADING + ",coat").replace(",", delimiter)
    path = written(tmp_path, *(row.replace(",", delimiter) for row in rows), heading=heading, encoding=encoding)
    assert Manifest.read(path).cases() == [
        CaseFiles("007", "é1", {"photo": tmp_path / "p/a.png", "xray": tmp_path / "x/a.png"}, {"coat": "white"})
    ]


def test_the_separator_hint_of_spreadsheets_is_obeyed(tmp_path: Path) -> None:
    path = written(tmp_path, HEADING.replace(",", ";"), "1;;a;b,c.png", heading="sep=;")
    assert Manifest.read(path).cases()[0].files == {"a": tmp_path / "b,c.png"}


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        (["1,,ct,a.png", "", "1,,ct,b.png"], "row 2 and row 4"),
        (["1,,ct,a.png", ",,ct,b.png"], "subject is blank in row 3"),
        (["1,,,a.png"], "modality is blank in row 2"),
        (["1,,ct, "], "path is blank in row 2"),
        (["1,,ct,../a.png"], "../a.png"),
        (["1,,ct,a/../../b.png"], "leaves the folder"),
        (["1,,ct,..\\a.png"], "leaves the folder"),
        (["../1,,ct,a.png"], "cannot be part of a file name"),
        (["..,,ct,a.png"], "cannot be part of a file name"),
        (["1,,c/t,a.png"], "cannot be part of a file name"),
        (["1_2,,ct,a.png", "1,2,ct,b.png"], "both called 1_2"),
        (["1,,ct,a.png,more"], "Row 2"),
        ([], "no rows"),
    ],
)
def test_a_broken_row_is_named(tmp_path: Path, rows: list[str], expected: str) -> None:
    with pytest.raises(UserError, match=expected.replace(".", r"\.")):
        Manifest.read(written(tmp_path, *rows))


def test_missing_columns_and_files_and_encodings_are_told(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="lacks the column modality"):
        Manifest.read(written(tmp_path, "1,a.png", heading="subject,path"))
    with pytest.raises(UserError, match="no file"):
        Manifest.read(tmp_path / "none.csv")
    with pytest.raises(UserError, match="is a folder"):
        Manifest.read(tmp_path)
    with pytest.raises(UserError, match="line 2"):
        Manifest.read(written(tmp_path, "é,,ct,a.png", encoding="latin-1"))
    with pytest.raises(UserError, match="no CSV in UTF-8"):
        Manifest.read(written(tmp_path, "1,,ct,a.png", encoding="utf-16"))
    with pytest.raises(UserError, match=r"'trian' in row 2.*'train'"):
        Manifest.read(written(tmp_path, "1,,ct,a.png,trian", heading=HEADING + ",split"))
    with pytest.raises(UserError, match="column path twice"):
        Manifest.read(written(tmp_path, "1,,ct,a.png,b.png", heading=HEADING + ",path"))
    (tmp_path / "empty.csv").touch()
    with pytest.raises(UserError, match="is empty"):
        Manifest.read(tmp_path / "empty.csv")


def test_a_neighbour_whose_name_begins_alike_is_outside(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    with pytest.raises(UserError, match="leaves the folder"):
        Manifest.read(written(tmp_path / "data", "1,,ct,../data2/a.png"))


def test_absolute_paths_need_trust(tmp_path: Path) -> None:
    path = written(tmp_path, f"1,,ct,{tmp_path}/a.png")
    assert Manifest.read(path).cases()[0].files["ct"] == tmp_path / "a.png"
    with pytest.raises(UserError, match="row 2"):
        Manifest.read(path, trusted=False)
    with pytest.raises(UserError, match="row 2"):
        Manifest.read(written(tmp_path, "1,,ct,C:/a.png"), trusted=False)
    (tmp_path / "link").symlink_to(tmp_path.parent)
    linked = written(tmp_path, "1,,ct,link/a.png")
    assert Manifest.read(linked).subjects == ["1"]
    with pytest.raises(UserError, match="outside"):
        Manifest.read(linked, trusted=False)


def test_paths_follow_the_manifest_to_another_folder(tmp_path: Path) -> None:
    manifest = Manifest.read(written(tmp_path, "1,,ct,below/a.png"))
    manifest.write(tmp_path / "below" / "m.csv")
    manifest.write(tmp_path / "beside" / "m.csv")
    assert "1,,ct,a.png" in (tmp_path / "below" / "m.csv").read_text()
    assert f"1,,ct,{tmp_path}/below/a.png" in (tmp_path / "beside" / "m.csv").read_text()


def test_a_file_name_that_no_csv_carries_is_refused(tmp_path: Path) -> None:
    row = {"subject": "1", "modality": "ct", "path": str(tmp_path / "a\\b.png")}
    with pytest.raises(UserError, match="backslash"):
        Manifest(pandas.DataFrame([row]), tmp_path).write(tmp_path / "m.csv")


def test_cases_are_complete_sorted_and_in_the_order_asked(tmp_path: Path) -> None:
    rows = ["2,,xray,x2", "2,,photo,p2", "1,b,photo,p1b", "1,a,photo,p1a", "1,a,xray,x1a", "1,a,mask,m1a"]
    manifest = Manifest.read(written(tmp_path, *rows))
    pairs = manifest.cases(["photo", "xray"])
    assert [case.id for case in pairs] == ["1_a", "2"]
    assert [list(case.files) for case in pairs] == [["photo", "xray"]] * 2
    assert [case.id for case in manifest.cases()] == ["1_a", "1_b", "2"]
    assert manifest.incomplete(["photo", "xray"]) == [("1_b", ["xray"])]
    assert manifest.modalities == ["mask", "photo", "xray"]
    with pytest.raises(UserError, match=r"'xrays'.*'xray'"):
        manifest.cases(["xrays"])


def test_factors_that_disagree_within_a_case_are_no_case_factors(tmp_path: Path) -> None:
    rows = ["1,,photo,p,white,50", "1,,xray,x,white,60", "2,,photo,q,black,", "2,,xray,y,,70"]
    manifest = Manifest.read(written(tmp_path, *rows, heading=HEADING + ",coat,kv"))
    assert [case.factors for case in manifest.cases()] == [{"coat": "white"}, {"coat": "black", "kv": "70"}]
    assert manifest.factors == ["coat", "kv"]


def test_a_subject_on_two_sides_is_refused_whenever_a_split_is_asked_for(tmp_path: Path) -> None:
    rows = ["m1,a,ct,1,train", "m1,b,ct,2,test", "m2,,ct,3,train", "m3,,ct,4,"]
    manifest = Manifest.read(written(tmp_path, *rows, heading=HEADING + ",split"))
    for ask in (manifest.check_split, lambda: manifest.cases(split="train")):
        with pytest.raises(UserError, match=r"m1 \(test and train\)"):
            ask()
    assert len(manifest.cases()) == 4
    with pytest.raises(UserError, match=r"'valid'.*'validation'"):
        manifest.cases(split="valid")
    unsplit = Manifest.read(written(tmp_path, "1,,ct,a"))
    with pytest.raises(UserError, match="is not split"):
        unsplit.cases(split="train")


def test_a_place_that_takes_no_table_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "folder.csv").mkdir()
    (tmp_path / "file").write_text("in the way")
    places = {tmp_path / "folder.csv": "Is a directory", tmp_path / "file" / "m.csv": "Cannot make the folder .*file"}
    if Path("/proc/self").exists():
        places[Path("/proc/m.csv")] = "Cannot write /proc/m.csv: No such file"
    for place, said in places.items():
        with pytest.raises(UserError, match=said) as caught:
            write_rows(place, ("subject",), [("1",)])
        assert "choose another place" in str(caught.value) and "\n" not in str(caught.value)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "folder.csv"]
