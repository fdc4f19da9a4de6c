"""The layout `brats`: names of the challenges, and what becomes of gliomas kept like them."""

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from transmodal.datasets.layouts import Options, index_folder
from transmodal.datasets.layouts.brats import recognise
from transmodal.datasets.layouts.listing import Found, Listing
from transmodal.errors import UserError

OLD = ("flair", "t1", "t1ce", "t2", "seg")
NEW = ("t2f", "t1n", "t1c", "t2w", "seg")
MODALITIES = ("FLAIR", "T1", "T1ce", "T2", "seg")


def names_2018(case: str, above: str = "") -> list[str]:
    return [f"{above}{case}/{case}_{word}.nii.gz" for word in OLD]


def names_2023(case: str) -> list[str]:
    return [f"{case}/{case}-{word}.nii.gz" for word in NEW]


def test_names_of_2018_give_patients_grades_and_label_4(put: Callable[..., Path], keys: Callable[..., object]) -> None:
    put(*names_2018("Brats18_CBICA_AAB_1", "HGG/"), highest=4)
    folder = put(*names_2018("Brats18_2013_10_2", "LGG/"), highest=4)
    indexed = index_folder(folder)
    assert indexed.layout == "brats"
    assert keys(indexed) == [
        (subject, session, modality)
        for subject, session in (("Brats18_2013_10", "2"), ("Brats18_CBICA_AAB", "1"))
        for modality in MODALITIES
    ]
    assert [case.factors for case in indexed.manifest.cases()] == [
        {"grade": "LGG", "enhancing_label": "4"},
        {"grade": "HGG", "enhancing_label": "4"},
    ]


def test_names_of_2023_give_patients_sessions_and_label_3(
    put: Callable[..., Path], keys: Callable[..., object]
) -> None:
    put(*names_2023("BraTS-GLI-00000-000"), highest=3)
    folder = put(*names_2023("BraTS-GLI-00000-001"), *names_2023("BraTS-MEN-RT-0003-1"), highest=3)
    indexed = index_folder(folder)
    assert indexed.manifest.subjects == ["BraTS-GLI-00000", "BraTS-MEN-RT-0003"]
    assert [case.session for case in indexed.manifest.cases(["T1", "T2"])] == ["000", "001", "1"]
    assert {case.factors["enhancing_label"] for case in indexed.manifest.cases()} == {"3"}
    assert not indexed.skipped


@pytest.mark.parametrize(("names", "label"), [(names_2018("BraTS2021_1"), "4"), (names_2023("BraTS-GLI-1-000"), "3")])
def test_the_naming_says_the_label_where_no_tumour_enhances(
    put: Callable[..., Path], names: list[str], label: str
) -> None:
    indexed = index_folder(put(*names, highest=2))
    assert indexed.manifest.cases()[0].factors == {"enhancing_label": label}
    assert not indexed.notes


def test_what_the_map_holds_wins_over_its_naming(put: Callable[..., Path]) -> None:
    indexed = index_folder(put(*names_2018("BraTS2021_00002"), highest=3))
    assert [case.factors for case in indexed.manifest.cases()] == [{"enhancing_label": "3"}]
    assert "label 3, not 4" in indexed.notes[0]


def test_cases_lack_modalities_and_a_misnamed_map_is_found(put: Callable[..., Path]) -> None:
    case = "BraTS20_Training_355"
    files = [f"{case}/{case}_{word}.nii" for word in ("t1", "t2")]
    indexed = index_folder(put(*files, f"{case}/W39_1998.09.19_Segm.nii", *names_2018("BraTS20_Training_001")))
    assert indexed.manifest.incomplete(MODALITIES) == [(case, ["FLAIR", "T1ce"])]
    assert dict(indexed.manifest.cases(["seg"])[1].files)["seg"].name == "W39_1998.09.19_Segm.nii"


def test_other_maps_of_a_case_keep_their_names(put: Callable[..., Path]) -> None:
    files = [f"P-1/a_{word}_bet.nii.gz" for word in ("t1", "t1c", "t2", "fla")]
    maps = [
        "P-1/machine_seg_single/net.nii.gz",
        "P-1/machine_seg_fusion/simple.nii.gz",
        "P-1/machine_seg_fusion/mav.nii",
    ]
    indexed = index_folder(put(*files, *maps, "P-1/brain_mask.nii.gz"))
    (case,) = indexed.manifest.cases()
    assert set(case.files) == {"T1", "T1ce", "T2", "FLAIR", "seg", "seg_net", "seg_simple", "brain_mask"}
    assert case.files["seg"].name == "mav.nii"
    alone = index_folder(indexed.manifest.folder / "P-1")
    assert alone.layout == "brats"
    assert alone.manifest.subjects == ["P-1"]


def test_visits_of_a_patient_never_become_two_patients(put: Callable[..., Path], keys: Callable[..., list]) -> None:
    words = ("t1", "t1c", "t2", "flair")
    folder = put(*(f"P{p}/visit{v}/{word}.nii.gz" for p in (1, 2) for v in (1, 2) for word in words))
    guessed, said = index_folder(folder), index_folder(folder, "brats")
    assert guessed.layout == "tree"
    for indexed in (guessed, said):
        assert indexed.manifest.subjects == ["P1", "P2"]
        assert len(indexed.manifest.cases()) == 4
    assert said.manifest.modalities == ["FLAIR", "T1", "T1ce", "T2"]


def test_a_damaged_map_does_not_stop_the_index(put: Callable[..., Path]) -> None:
    folder = put(*names_2018("BraTS2021_00002"))
    (folder / "BraTS2021_00002" / "BraTS2021_00002_seg.nii.gz").write_bytes(b"\x1f\x8bbroken")
    indexed = index_folder(folder, "brats")
    assert indexed.manifest.modalities == ["FLAIR", "T1", "T1ce", "T2"]


def test_modalities_are_chosen_by_our_name_or_the_files_own(put: Callable[..., Path]) -> None:
    folder = put(*names_2018("BraTS2021_00002"))
    indexed = index_folder(folder, options=Options(modalities={"T2": "T2", "dark_fluid": "flair"}))
    assert indexed.manifest.modalities == ["T2", "dark_fluid"]
    with pytest.raises(UserError, match=r"No file shows 'T9'.* there are FLAIR, T1, T1ce, T2, seg"):
        index_folder(folder, options=Options(modalities={"x": "T9"}))


def test_a_folder_of_other_names_is_refused_in_one_line(put: Callable[..., Path]) -> None:
    with pytest.raises(UserError, match=r"No file .* is named as in BraTS.*lung\.nii\.gz"):
        index_folder(put("lung.nii.gz"), "brats")


@given(st.lists(st.from_regex(r"[a-z0-9_.\-]{1,12}/[a-z0-9_.\-]{1,12}", fullmatch=True), min_size=1, max_size=6))
def test_names_without_meaning_are_never_taken_for_brats(names: list[str]) -> None:
    images = [Found(Path("/") / name, (name.split("/")[0],), name.split("/")[1]) for name in names]
    words = {word for image in images for word in image.stem.replace(".", "_").replace("-", "_").split("_")}
    if not words & {"t1", "t1n", "t1w", "fla", "flair", "t2f"}:
        assert recognise(Listing(Path("/"), images, [])) is None


def test_the_real_glioma_is_indexed_as_brats(real_data: Path) -> None:
    indexed = index_folder(real_data / "tcga_lgg")
    assert indexed.layout == "brats"
    (case,) = indexed.manifest.cases(["T1", "T1ce", "T2", "FLAIR", "seg"])
    assert case.files["seg"].name == "mav.nii.gz"
    assert case.factors == {"enhancing_label": "4"}
    assert len(indexed.manifest.modalities) == 11
