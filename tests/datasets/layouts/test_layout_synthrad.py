"""The layout `synthrad`: names of 2023 and 2025."""

from collections.abc import Callable
from pathlib import Path

import pytest

from transmodal.datasets.layouts import index_folder
from transmodal.errors import UserError


def test_names_of_2023_give_anatomy_and_centre(put: Callable[..., Path], keys: Callable[..., object]) -> None:
    indexed = index_folder(
        put(
            *(f"Task1/brain/1BA001/{word}.nii.gz" for word in ("mr", "ct", "mask")),
            *(f"Task2/pelvis/2PC110/{word}.nii.gz" for word in ("cbct", "ct", "mask")),
            "Task1/brain/overview/1BA001_train.nii",
        )
    )
    assert indexed.layout == "synthrad"
    assert keys(indexed) == [
        *(("1BA001", "", m) for m in ("CT", "MR", "mask")),
        *(("2PC110", "", m) for m in ("CBCT", "CT", "mask")),
    ]
    assert [case.factors for case in indexed.manifest.cases()] == [
        {"task": "1", "anatomy": "brain", "centre": "A"},
        {"task": "2", "anatomy": "pelvis", "centre": "C"},
    ]
    assert [path for path, _ in indexed.skipped] == ["Task1/brain/overview/1BA001_train.nii"]


@pytest.mark.parametrize(
    ("case", "anatomy", "centre"),
    [
        ("1HNA001", "head-neck", "A"),
        ("2THE020", "thorax", "E"),
        ("1ABA003", "abdomen", "A"),
        ("1ABB003", "abdomen", "B"),
    ],
)
def test_names_of_2025_too_with_a_modality_held_back(
    put: Callable[..., Path], case: str, anatomy: str, centre: str
) -> None:
    indexed = index_folder(put(*(f"{case}/{word}.mha" for word in ("mr", "mask"))))
    assert indexed.layout == "synthrad"
    (only,) = indexed.manifest.cases(["MR"])
    assert (only.subject, only.factors["anatomy"], only.factors["centre"]) == (case, anatomy, centre)


def test_renamed_cases_take_the_anatomy_from_their_folder(put: Callable[..., Path]) -> None:
    indexed = index_folder(put("TH/anna/ct.mha", "TH/anna/cbct.mha", "brain/bert/ct.mha"), "synthrad")
    assert [case.factors for case in indexed.manifest.cases()] == [{"anatomy": "thorax"}, {"anatomy": "brain"}]


def test_a_folder_of_other_names_is_refused_in_one_line(put: Callable[..., Path]) -> None:
    with pytest.raises(UserError, match=r"named as in SynthRAD.*lung\.nii\.gz"):
        index_folder(put("a/lung.nii.gz"), "synthrad")
