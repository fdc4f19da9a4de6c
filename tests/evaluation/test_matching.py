"""Images find their partners, their subjects and their groups; what does not is told in one line."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from transmodal.errors import UserError
from transmodal.evaluation.case_table import CaseTable
from transmodal.evaluation.folders import score_folders, score_matched
from transmodal.evaluation.groups import choose_groupings, edges_of, group_table, parse_grouping, with_cuts
from transmodal.evaluation.matching import match, match_by_table
from transmodal.images import Image, picture_affine, read, write
from transmodal.metrics.policy import Policy

POLICY = Policy(metrics=("mae",), sets=(), range=(0, 65535))


def put(path: Path, offset: int = 0, seed: int = 0) -> None:
    pixels = np.random.default_rng(seed).integers(1000, 60000, (16, 18)).astype(np.uint16) + np.uint16(offset)
    write(Image(pixels, picture_affine((1, 1))), path)


@pytest.fixture
def folders(tmp_path: Path) -> Path:
    for number in range(6):
        put(tmp_path / "truth" / f"m{number // 2}_{number % 2}.png", 0, number)
        put(tmp_path / "made" / f"m{number // 2}_{number % 2}.png", 10, number)
        put(tmp_path / "other" / f"m{number // 2}_{number % 2}.png", 30, number)
    return tmp_path


def test_several_systems_are_scored_on_the_cases_that_all_have(folders: Path) -> None:
    (folders / "other" / "m2_1.png").unlink()
    scores = score_folders(folders / "made", folders / "truth", POLICY, against={"other": folders / "other"})
    assert scores.systems == ["predicted", "other"] and len(scores.cases) == 5
    assert scores.difference("mae", "predicted", "other").mean == pytest.approx(-20)
    assert scores.failed == (("m2_1", f"{folders}/truth/m2_1.png has no partner in {folders}/other"),)


def test_folders_of_one_series_or_image_are_matched_by_their_names(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for case in ("p1", "p2"):
        volume = Image(rng.integers(0, 900, (12, 14, 5)).astype(np.int16), np.diag([1.0, 1.0, 2.0, 1.0]))
        write(volume, tmp_path / "truth" / case)  # a folder of DICOM slices
        stored = read(tmp_path / "truth" / case)
        write(stored.with_pixels(stored.pixels + 7), tmp_path / "made" / case / "ct.nii.gz")
    matched = match({"made": tmp_path / "made"}, tmp_path / "truth")
    assert [case.case for case in matched.cases] == ["p1", "p2"]
    scores = score_matched(matched, POLICY)
    assert scores.summary["mae"].mean == pytest.approx(7) and scores.policy.dimension == 3
    put(tmp_path / "made" / "p1" / "mr.png")
    with pytest.raises(UserError, match="holds several images"):
        match({"made": tmp_path / "made"}, tmp_path / "truth")


def test_a_folder_of_folders_is_told_with_the_one_that_was_meant(folders: Path) -> None:
    mice = folders / "mice"
    for number in range(4):
        put(mice / "xray" / f"m{number // 2}_{number % 2}.png", 0, number)
        put(mice / "notes" / f"page{number}.png", 0, number)
    for systems, truth in (({"made": folders / "made"}, mice), ({"made": mice}, folders / "truth")):
        with pytest.raises(UserError, match=f"did you mean {mice}/xray\\?") as refusal:
            match(systems, truth)
        assert "notes" not in str(refusal.value)
    put(mice / "photo" / "m0_0.png")
    put(mice / "photo" / "m0_1.png")
    with pytest.raises(UserError, match=f"did you mean {mice}/xray\\?"):  # more names agree
        match({"made": folders / "made"}, mice)
    put(mice / "photo" / "m1_0.png")
    put(mice / "photo" / "m1_1.png")
    with pytest.raises(UserError, match=f"{mice}/photo or {mice}/xray"):
        match({"made": folders / "made"}, mice)
    put(mice / "atlas.png")  # an image of its own, but no partner
    with pytest.raises(UserError, match="did you mean"):
        match({"made": folders / "made"}, mice)


def test_the_folder_that_is_empty_is_named(folders: Path) -> None:
    (folders / "empty").mkdir()
    for made, truth in (("empty", "truth"), ("made", "empty")):
        with pytest.raises(UserError, match=f"^{folders}/empty holds no image"):
            match({"made": folders / made}, folders / truth)


def test_a_table_names_pairs_subjects_masks_systems_and_factors(folders: Path) -> None:
    table = folders / "pairs.csv"
    table.write_text(
        "predicted,truth,case,subject,other,coat\n"
        "m0_0.png,m0_0.png,first,mouse0,m0_0.png,white\n"
        "m0_1.png,m0_1.png,second,mouse0,,black\n"
        "gone.png,m1_0.png,third,mouse1,,black\n"
    )
    systems = {"predicted": folders / "made", "other": folders / "other"}
    scores = score_matched(match_by_table(table, systems, folders / "truth"), POLICY)
    assert scores.cases[["case", "subject", "coat"]].values.tolist() == [
        ["first", "mouse0", "white"],
        ["second", "mouse0", "black"],
    ]
    assert scores.summary_of("mae", "other").mean == pytest.approx(30)
    assert scores.failed[0][0] == "third" and "gone.png" in scores.failed[0][1]


@pytest.mark.parametrize(
    ("rows", "told"),
    [
        ("predicted,truth\n../truth/m0_0.png,m0_0.png\n", "leaves"),
        ("predicted,truth\n/etc/passwd,m0_0.png\n", "leaves"),
        ("predicted,truth\n,m0_0.png\n", "not named"),
        ("predicted\nm0_0.png\n", "truth"),
        ("predicted,truth,case\nm0_0.png,m0_0.png,a\nm0_1.png,m0_1.png,a\n", "twice"),
        ("predicted,truth\nx.png,m0_0.png\n", "has all its files"),
    ],
)
def test_a_bad_table_of_pairs_is_refused_in_one_line(folders: Path, rows: str, told: str) -> None:
    (folders / "pairs.csv").write_text(rows)
    with pytest.raises(UserError, match=told) as refusal:
        match_by_table(folders / "pairs.csv", {"predicted": folders / "made"}, folders / "truth")
    assert "\n" not in str(refusal.value)


def test_a_link_out_of_the_folder_is_refused(folders: Path) -> None:
    put(folders / "secret.png")
    (folders / "made" / "link.png").symlink_to(folders / "secret.png")
    (folders / "pairs.csv").write_text("predicted,truth\nlink.png,m0_0.png\n")
    with pytest.raises(UserError, match="leaves"):
        match_by_table(folders / "pairs.csv", {"predicted": folders / "made"}, folders / "truth")


MANIFEST = "subject,session,modality,path,coat,weight\n" + "".join(
    f"m{n // 2},{n % 2},xray,truth/m{n // 2}_{n % 2}.png,{('white', 'black')[n // 2 % 2]},{(18, 20, 25)[n // 2]}\n"
    for n in range(6)
)


def test_a_manifest_gives_subjects_and_groups_cut_at_edges(folders: Path) -> None:
    (folders / "manifest.csv").write_text(MANIFEST)
    matched = CaseTable(folders / "manifest.csv").told_of(match({"made": folders / "made"}, folders / "truth"))
    grouping = parse_grouping("weight@20,25")
    scores = with_cuts(score_matched(matched, POLICY), [grouping])
    assert scores.subjects == 3 and "weight@20,25" in scores.factors
    groups = group_table(scores, [grouping])
    # 20 and 25 lie on edges and belong to the group above.
    assert groups[["group", "subjects", "cases"]].values.tolist() == [
        ["< 20", 1, 2],
        ["20 to 25", 1, 2],
        ["≥ 25", 1, 2],
    ]
    assert ("coat",) in choose_groupings(scores)
    crossed = group_table(with_cuts(scores, [parse_grouping("coat,weight@20")]), [parse_grouping("coat,weight@20")])
    assert crossed["group"].tolist() == ["black × ≥ 20", "white × < 20", "white × ≥ 20"]


@pytest.mark.parametrize(
    ("table", "told"),
    [
        ("case,coat\nm0_0,white\n", "no row for m0_1, m1_0"),
        ("coat\nwhite\n", "no column case"),
        ("subject,path,coat\na,truth/m0_0.png,x\nb,truth/m0_0.png,y\n", "rows of a and b"),
    ],
)
def test_a_case_without_its_row_is_named(folders: Path, table: str, told: str) -> None:
    (folders / "table.csv").write_text(table)
    with pytest.raises(UserError, match=told):
        CaseTable(folders / "table.csv").told_of(match({"made": folders / "made"}, folders / "truth"))


def test_rows_are_found_by_case_or_by_subject_and_session_too(folders: Path) -> None:
    matched = match({"made": folders / "made"}, folders / "truth")
    for heading, row in (("case,coat", "m{0}_{1},c{0}"), ("subject,session,coat", "m{0},{1},c{0}")):
        rows = "\n".join(row.format(n // 2, n % 2) for n in range(6))
        (folders / "table.csv").write_text(f"{heading}\n{rows}\n")
        told = CaseTable(folders / "table.csv").told_of(matched)
        assert [case.factors["coat"] for case in told.cases] == ["c0", "c0", "c1", "c1", "c2", "c2"]
        assert [case.subject for case in told.cases[:2]] == (["", ""] if heading.startswith("case") else ["m0", "m0"])


def test_groupings_are_written_as_columns_with_edges() -> None:
    assert parse_grouping("coat, bed") == ("coat", "bed")
    assert parse_grouping("coat,weight@20,25,bed") == ("coat", "weight@20,25", "bed")
    assert edges_of("weight@20,2.5e1") == ("weight", (20.0, 25.0))
    for wrong in ("", "weight@", "weight@b", "weight@25,20", "@5"):
        with pytest.raises(UserError):
            parse_grouping(wrong)


def test_a_cell_that_is_no_number_is_not_cut_and_a_blank_one_stays_blank(folders: Path) -> None:
    (folders / "manifest.csv").write_text(MANIFEST.replace(",18\n", ",\n"))
    matched = CaseTable(folders / "manifest.csv").told_of(match({"made": folders / "made"}, folders / "truth"))
    groups = group_table(with_cuts(score_matched(matched, POLICY), [("weight@20",)]), [("weight@20",)])
    assert groups["group"].tolist() == ["—", "≥ 20"]
    (folders / "manifest.csv").write_text(MANIFEST.replace(",18\n", ",heavy\n"))
    matched = CaseTable(folders / "manifest.csv").told_of(matched)
    with pytest.raises(UserError, match=r"'heavy'.*no number"):
        with_cuts(score_matched(matched, POLICY), [("weight@20",)])


def test_processes_give_the_scores_of_one_worker(tmp_path: Path) -> None:
    for number in range(8):
        put(tmp_path / "truth" / f"a{number}.png", 0, number)
        put(tmp_path / "made" / f"a{number}.png", 10 + number, number)
    matched = match({"made": tmp_path / "made"}, tmp_path / "truth")
    repeated = [replace(case, case=f"{case.case}-{turn}") for turn in range(26) for case in matched.cases]
    repeated.insert(5, replace(matched.cases[0], case="gone", truth=str(tmp_path / "gone.png")))
    matched = replace(matched, cases=repeated)
    policy = Policy(metrics=("mae", "psnr", "ssim"), sets=("fnsd",), range=(0, 65535))
    alone = score_matched(matched, policy)
    together = score_matched(matched, policy, workers=2, processes=True)
    assert together.table.equals(alone.table) and together.failed == alone.failed and len(alone.failed) == 1
    assert together.sets == alone.sets and alone.sets["made"]["fnsd"]["n"] == 208
