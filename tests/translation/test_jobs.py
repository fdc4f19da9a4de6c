"""What there is to translate is found by name."""

from pathlib import Path

import numpy as np
import pytest

from transmodal.errors import UserError
from transmodal.translation.jobs import cases_without_input, find_jobs


def test_a_pattern_keeps_other_modalities_out(tmp_path: Path) -> None:
    for name in ("a_T1.npy", "a_T2.npy", "b_T1.npy"):
        np.save(tmp_path / name, np.zeros((4, 4), np.uint8))
    assert [job.name for job in find_jobs(tmp_path, ["T1"], pattern="*_T1.npy")] == ["a_T1", "b_T1"]
    with pytest.raises(UserError, match="named like"):
        find_jobs(tmp_path, ["T1"], pattern="*FLAIR*")


def test_a_manifest_gives_only_the_modalities_that_are_named(tmp_path: Path) -> None:
    manifest = tmp_path / "manifest.csv"
    manifest.write_text("subject,modality,path\nm1,T1,a.nii\nm1,T2,b.nii\nm1,FLAIR,c.nii\nm2,T2,d.nii\n")
    every = ["T1", "T2", "FLAIR"]
    (job,) = find_jobs(manifest, every, modalities=["FLAIR", "T1"], may_miss=True)
    assert (job.name, list(job.files)) == ("m1", ["T1", "FLAIR"])
    assert cases_without_input(manifest, ["T1", "FLAIR"]) == ["m2"]
    with pytest.raises(UserError, match="not 'FLAR'; did you mean 'FLAIR'"):
        find_jobs(manifest, every, modalities=["FLAR"], may_miss=True)
    with pytest.raises(UserError, match="needs all of T1, T2; leave --modality out"):
        find_jobs(manifest, ["T1", "T2"], modalities=["T1"])
    with pytest.raises(UserError, match="names its own files; leave --pattern out"):
        find_jobs(manifest, every, pattern="*T1*", may_miss=True)
    with pytest.raises(UserError, match="names its own masks, of modality brain; leave --mask out"):
        find_jobs(manifest, every, masks=tmp_path, mask_modality="brain", may_miss=True)


def test_a_file_is_of_one_modality(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.zeros((4, 4), np.uint8))
    (job,) = find_jobs(tmp_path / "a.npy", ["T1", "T2"], modalities=["T2"], may_miss=True)
    assert list(job.files) == ["T2"] and job.missing == ("T1",)
    with pytest.raises(UserError, match="A file is one of T1, T2"):
        find_jobs(tmp_path / "a.npy", ["T1", "T2"], modalities=["T1", "T2"], may_miss=True)


def test_a_mask_that_is_not_there_is_no_such_file(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.zeros((4, 4), np.uint8))
    with pytest.raises(UserError, match=r"No such file: .*nosuch\.nii\.gz; give"):
        find_jobs(tmp_path / "a.npy", ["T1"], masks=tmp_path / "nosuch.nii.gz")
    (tmp_path / "masks").mkdir()
    with pytest.raises(UserError, match="holds no mask named a;"):
        find_jobs(tmp_path / "a.npy", ["T1"], masks=tmp_path / "masks")
