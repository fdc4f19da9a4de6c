"""The layout `open-ms`: one visit on one grid, visits as acquired, and maps in spaces of their own."""

from collections.abc import Callable
from pathlib import Path

import pytest

from transmodal.datasets.layouts import index_folder
from transmodal.errors import UserError

ONE_VISIT = [f"patient{n:02}/{word}_N4_regtoMNI.nii.gz" for n in (7, 19) for word in ("T1", "T1POST", "GOLD_STANDARD")]
VISITS = [f"patient01/study{v}_{word}.nii.gz" for v in (1, 2, 10) for word in ("T1W", "T2W", "FLAIR")]


def test_one_visit_gives_sequences_and_lesions(put: Callable[..., Path], keys: Callable[..., object]) -> None:
    folder = put(*ONE_VISIT)
    (folder / "patient_info.csv").write_text("patient_id,age,sex,edss\n7,53,F,0.5\n8,41,M,N/A\n")
    indexed = index_folder(folder)
    assert indexed.layout == "open-ms"
    assert keys(indexed) == [(f"patient{n:02}", "", m) for n in (7, 19) for m in ("T1", "T1ce", "lesion")]
    assert [case.factors for case in indexed.manifest.cases()] == [{"age": "53", "sex": "F", "edss": "0.5"}, {}]


def test_published_names_give_the_same_and_raw_twins_stay_out(put: Callable[..., Path]) -> None:
    words = ("T1W", "T1WKS", "T2W", "FLAIR", "consensus_gt", "brainmask")
    folder = put(*(f"patient01/patient01_{word}.nii.gz" for word in words), "patient01/raw/patient01_T1W.nii.gz")
    indexed = index_folder(folder)
    assert indexed.manifest.modalities == ["FLAIR", "T1", "T1ce", "T2", "lesion", "mask"]
    assert [path for path, _ in indexed.skipped] == ["patient01/raw/patient01_T1W.nii.gz"]


def test_changes_on_another_grid_go_to_no_visit(put: Callable[..., Path], keys: Callable[..., object]) -> None:
    put("patient01/gt.nii.gz", shift=0.5)
    indexed = index_folder(put(*VISITS))
    assert keys(indexed) == [
        ("patient01", f"study{visit}", modality) for visit in (1, 10, 2) for modality in ("FLAIR", "T1", "T2")
    ]
    assert indexed.skipped == [("patient01/gt.nii.gz", "lies on the grid of no visit: the patient's common space")]
    assert "to_common_space.txt" in indexed.notes[0]


def test_changes_on_the_visits_grid_go_to_the_last(put: Callable[..., Path], keys: Callable[..., list]) -> None:
    indexed = index_folder(put(*VISITS, "patient01/gt.nii.gz"))
    assert ("patient01", "study10", "lesion_change") in keys(indexed)
    assert not indexed.skipped


def test_people_of_two_collections_are_not_mixed(put: Callable[..., Path]) -> None:
    one = (f"mni/{name.replace('patient07', 'patient01')}" for name in ONE_VISIT)
    folder = put(*one, *(f"longitudinal/{name}" for name in VISITS))
    (folder / "patient_info.csv").write_text("patient_id,age\n1,31\n")  # of the people with one visit
    indexed = index_folder(folder)
    ages = {case.subject: case.factors.get("age") for case in indexed.manifest.cases()}
    assert ages == {"longitudinal-patient01": None, "mni-patient01": "31", "mni-patient19": None}
    assert indexed.manifest.subjects == ["longitudinal-patient01", "mni-patient01", "mni-patient19"]
    assert "anew" in indexed.notes[0]


def test_one_patients_folder_is_enough(put: Callable[..., Path]) -> None:
    indexed = index_folder(put(*VISITS) / "patient01", "open-ms")
    assert [case.id for case in indexed.manifest.cases(["T1"])] == [f"patient01_study{n}" for n in (1, 10, 2)]


def test_a_folder_of_other_names_is_refused_in_one_line(put: Callable[..., Path]) -> None:
    with pytest.raises(UserError, match=r"No file .* is named as in open_ms_data.*lung\.nii\.gz"):
        index_folder(put("lung.nii.gz"), "open-ms")


def test_the_real_collections_become_manifests(real_data: Path) -> None:
    brains = index_folder(real_data / "open_ms" / "mni").manifest
    assert [case.id for case in brains.cases(["T1", "T1ce", "T2", "FLAIR", "lesion"])] == ["patient07", "patient19"]
    visits = index_folder(real_data / "open_ms" / "longitudinal")
    cases = [case.id for case in visits.manifest.cases(["T1", "T2", "FLAIR"])]
    assert cases == ["patient01_study1", "patient01_study2", "patient04_study1", "patient12_study1"]
    assert [path for path, _ in visits.skipped] == ["patient01/gt.nii.gz", "patient12/gt.nii.gz"]
