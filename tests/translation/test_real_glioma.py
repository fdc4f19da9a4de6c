"""A real glioma: indexed as BraTS, translated as a volume, written, and opened by two other programs."""

from pathlib import Path

import nibabel
import numpy as np
import pytest
import SimpleITK
from tests.training.brains import write_brains

from transmodal.cli import main
from transmodal.datasets.manifest import Manifest
from transmodal.images.region import find_region
from transmodal.training.recipe_loading import load_recipe
from transmodal.training.train import train


def call(*words: object) -> None:
    with pytest.raises(SystemExit) as ended:
        main([str(word) for word in words])
    assert ended.value.code == 0


@pytest.mark.parametrize("recipe", ["t1-to-t2", "t1-to-t2-volume"])
def test_the_volume_that_is_written_lies_where_its_source_lies(recipe: str, real_data: Path, tmp_path: Path) -> None:
    source = real_data / "tcga_lgg"
    manifest = tmp_path / "glioma.csv"
    call("data", "index", source, "-o", manifest, "--layout", "brats")
    (case,) = Manifest.read(manifest).cases()
    assert {"T1", "T1ce", "T2", "FLAIR", "seg"} <= set(case.files)

    brains = write_brains(tmp_path / "brains", 3)
    settings = load_recipe(recipe, scale="smoke", overrides={"train.epochs": 1})
    run = train(settings, brains, tmp_path / "run", cache=tmp_path / "cache", quiet=True, device="cpu")
    call("translate", "-m", run.folder, "-i", manifest, "-o", tmp_path / "made")

    made_file, source_file = tmp_path / "made" / f"{case.id}.nii.gz", case.files["T1"]
    made, own = nibabel.load(made_file), nibabel.load(source_file)
    assert made.shape == own.shape == (240, 240, 155)
    assert np.array_equal(made.affine, own.affine)
    for code in ("qform_code", "sform_code"):
        assert made.header[code] == own.header[code]
    assert made.header.get_zooms() == own.header.get_zooms()
    one, other = (SimpleITK.ReadImage(str(path)) for path in (made_file, source_file))
    assert one.GetSize() == other.GetSize()
    for of in ("GetOrigin", "GetSpacing", "GetDirection"):
        assert getattr(one, of)() == getattr(other, of)()
    voxels = SimpleITK.GetArrayFromImage(one)
    assert np.array_equal(voxels.transpose(2, 1, 0), np.asanyarray(made.dataobj)), "both programs see the same voxels"
    brain = find_region(SimpleITK.GetArrayFromImage(other), "nonzero")
    assert voxels[brain].std() > 0 and not voxels[~brain].any()
