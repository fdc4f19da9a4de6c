"""The layout `bids`: entities, sessions, runs and participants."""

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from transmodal.datasets.layouts import Options, index_folder
from transmodal.datasets.layouts.bids import index
from transmodal.datasets.layouts.listing import Found, Listing
from transmodal.errors import UserError


def test_sessions_and_modalities_are_read(put: Callable[..., Path], keys: Callable[..., object]) -> None:
    files = [
        f"sub-{s}/ses-{v}/anat/sub-{s}_ses-{v}_{m}.nii.gz" for s in "12" for v in "12" for m in ("T1w", "T2w", "FLAIR")
    ]
    indexed = index_folder(put(*files, "sub-3/anat/sub-3_T1w.nii"))
    assert indexed.layout == "bids"
    expected = [(f"sub-{s}", f"ses-{v}", m) for s in "12" for v in "12" for m in ("FLAIR", "T1", "T2")]
    assert keys(indexed) == [*expected, ("sub-3", "", "T1")]
    chosen = index_folder(indexed.manifest.folder, options=Options(modalities={"a": "T1w", "b": "T2"}))
    assert chosen.manifest.modalities == ["a", "b"]


def test_participants_become_free_columns(put: Callable[..., Path]) -> None:
    folder = put("sub-01/anat/sub-01_T1w.nii.gz", "sub-02/anat/sub-02_T1w.nii.gz")
    (folder / "participants.tsv").write_text(
        "participant_id\tage\tsex\tpath\nsub-01\t34\tF\tx\nsub-02\tn/a\tM\ty\n", encoding="utf-8-sig"
    )
    indexed = index_folder(folder)
    assert [case.factors for case in indexed.manifest.cases()] == [{"age": "34", "sex": "F"}, {"sex": "M"}]
    assert indexed.notes == ["Columns of participants.tsv that a manifest has already are left out: path"]


def test_only_raw_anatomy_is_taken(put: Callable[..., Path]) -> None:
    folder = put(
        "sub-01/anat/sub-01_T1w.nii.gz",
        "sub-01/func/sub-01_task-rest_bold.nii.gz",
        "derivatives/fs/sub-01/anat/sub-01_desc-brain_T1w.nii.gz",
        "sourcedata/sub-01/anat/sub-01_T1w.nii.gz",
        "sub-01/anat/sub-02_T1w.nii.gz",
    )
    indexed = index_folder(folder)
    assert len(indexed.manifest.table) == 1
    assert dict(indexed.skipped) == {
        "sub-01/func/sub-01_task-rest_bold.nii.gz": "is func, not an anatomical image",
        "derivatives/fs/sub-01/anat/sub-01_desc-brain_T1w.nii.gz": "is not raw data",
        "sourcedata/sub-01/anat/sub-01_T1w.nii.gz": "is not raw data",
        "sub-01/anat/sub-02_T1w.nii.gz": "is not named as in BIDS",
    }


def test_the_lowest_run_is_taken_and_the_user_told(put: Callable[..., Path]) -> None:
    indexed = index_folder(put(*(f"sub-01/anat/sub-01_run-{run}_T1w.nii.gz" for run in (10, 2, 9))))
    assert [Path(path).name for path in indexed.manifest.table["path"]] == ["sub-01_run-2_T1w.nii.gz"]
    assert len(indexed.skipped) == 2
    assert "lowest" in indexed.notes[0]


def test_acquisitions_stand_in_the_modality_only_where_they_differ(put: Callable[..., Path]) -> None:
    one = [f"sub-01/anat/sub-01_acq-{name}_T1w.nii.gz" for name in ("mprage", "space")]
    two = [f"sub-{n}/anat/sub-{n}_acq-{name}_T2w.nii.gz" for n, name in (("01", "a"), ("02", "b"))]
    contrast = ["sub-01/anat/sub-01_ce-gadolinium_T1w.nii.gz", "sub-02/anat/sub-02_acq-mprage_T1w.nii.gz"]
    indexed = index_folder(put(*one, *two, *contrast))
    assert indexed.manifest.modalities == ["T1_acq-mprage", "T1_acq-space", "T1ce", "T2"]
    assert [case.id for case in indexed.manifest.cases(["T1_acq-mprage", "T2"])] == ["sub-01", "sub-02"]


NAMES = st.text("abcXYZ019", min_size=1, max_size=4)


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.tuples(NAMES, NAMES, NAMES, st.integers(1, 12), st.sampled_from(("T1w", "T2w", "FLAIR")))))
def test_every_raw_name_gives_a_row_or_a_reason(names: list[tuple[str, str, str, int, str]]) -> None:
    images = []
    for subject, session, acquisition, run, suffix in names:
        stem = f"sub-{subject}_ses-{session}_acq-{acquisition}_run-{run}_{suffix}"
        folders = (f"sub-{subject}", f"ses-{session}", "anat")
        images.append(Found(Path("/data", *folders, f"{stem}.nii"), folders, stem))
    if not images:
        return
    made = index(Listing(Path("/data"), images, []), Options())
    assert len(made.rows) + len(made.skipped) == len(images)
    wanted = {(subject, session, suffix, acquisition) for subject, session, acquisition, _, suffix in names}
    assert len(made.rows) == len(wanted)  # of every acquisition one run


def test_other_names_and_unreadable_participants_are_refused(put: Callable[..., Path]) -> None:
    with pytest.raises(UserError, match=r"named as in BIDS.*lung\.nii\.gz"):
        index_folder(put("lung.nii.gz", folder="other"), "bids")
    folder = put("sub-01/anat/sub-01_T1w.nii.gz")
    (folder / "participants.tsv").write_text("name,age\n01,3\n")
    with pytest.raises(UserError, match="no column participant_id"):
        index_folder(folder)
