"""What made an image is said inside its file, in every format that is written."""

from pathlib import Path

import nibabel
import numpy as np
import pytest

from transmodal import images
from transmodal.images import Image
from transmodal.images.synthetic import marked, read_sidecar, sidecar_of, write_sidecar

MADE = "Synthetic image, not for diagnosis. T2 made by a test"


@pytest.mark.parametrize("name", ["a.png", "a.tif", "a.nii", "a.nii.gz", "a.mha", "a.nrrd", "a.npy", "a.dcm"])
def test_a_file_says_how_its_image_was_made_and_reads_the_same(name: str, tmp_path: Path) -> None:
    image = Image(np.arange(12, dtype=np.uint16).reshape(3, 4), images.picture_affine((0.5, 0.5)))
    file = images.write(image, tmp_path / name, derivation=MADE)
    said = b"".join(each.read_bytes() for each in tmp_path.iterdir())
    if name.endswith(".gz"):
        said = nibabel.load(file).header["descrip"].tobytes()
    assert b"Synthetic image, not for diagnosis" in said
    back = images.read(file)
    assert (back.pixels == image.pixels).all() and back.spacing == pytest.approx(image.spacing)
    assert back.source.derivation == MADE


def test_a_mark_is_read_from_the_description_where_another_program_dropped_the_note(tmp_path: Path) -> None:
    file = images.write(Image(np.ones((3, 4, 5), np.int16)), tmp_path / "a.nii.gz", derivation=MADE)
    stripped = nibabel.load(file)
    stripped.header.extensions.clear()
    nibabel.save(stripped, tmp_path / "b.nii.gz")
    assert images.read(tmp_path / "b.nii.gz").source.derivation == MADE


def test_a_volume_made_of_another_does_not_keep_its_description(tmp_path: Path) -> None:
    header = nibabel.Nifti1Header()
    header["descrip"] = b"scanner 7"
    nibabel.save(nibabel.Nifti1Image(np.ones((3, 4, 5), np.int16), np.eye(4), header), tmp_path / "in.nii")
    source = images.read(tmp_path / "in.nii")
    images.write(source, tmp_path / "same.nii")
    images.write(source, tmp_path / "made.nii", derivation=MADE)
    found = [nibabel.load(tmp_path / name).header["descrip"].tobytes() for name in ("same.nii", "made.nii")]
    assert found[0].startswith(b"scanner 7") and found[1].startswith(b"Synthetic image")


@pytest.mark.parametrize("removed", [False, True])
def test_a_sidecar_goes_or_comes_back_with_the_image_when_the_writing_fails(tmp_path: Path, removed: bool) -> None:
    folder = tmp_path / "series"
    folder.mkdir()
    write_sidecar(folder, {"synthetic": True, "written": "yesterday"})
    with pytest.raises(OSError, match="disk"), marked(folder, {"synthetic": True}):
        if removed:  # slices of an earlier call, in whose place new ones come
            folder.rmdir()
        raise OSError("the disk is full")
    assert sidecar_of(folder).exists() is not removed
    assert read_sidecar(sidecar_of(folder)).get("written") == (None if removed else "yesterday")


def test_an_image_that_was_broken_off_is_marked_and_one_that_never_was_does_not_become_synthetic(
    tmp_path: Path,
) -> None:
    new, old = tmp_path / "new.tif", tmp_path / "old.tif"
    old.write_bytes(b"acquired")
    for path in (new, old):
        with pytest.raises(OSError, match="disk"), marked(path, {"synthetic": True}):
            path.write_bytes(b"half")
            raise OSError("the disk is full")
    assert read_sidecar(sidecar_of(new)) == {"synthetic": True, "written": None}
    assert not sidecar_of(old).exists()
