"""`transmodal data align --to` as a user meets it."""

import json
from pathlib import Path

import numpy as np
import pytest
from tests.data.commands import run

from transmodal.datasets.manifest import Manifest
from transmodal.images import Image, read, write

SHAPE = (30, 32, 26)


@pytest.fixture
def heads(tmp_path: Path) -> Path:
    """One head in two contrasts, the second shifted by two voxels of 2 mm, with a lesion on the first."""
    place = np.moveaxis(np.indices(SHAPE, dtype=float), 0, -1)
    generator = np.random.default_rng(3)
    values = np.zeros(SHAPE)
    for _ in range(20):
        centre = np.array(SHAPE) * generator.uniform(0.3, 0.7, 3)
        values += generator.uniform(0.2, 1) * np.exp(
            -((place - centre) ** 2).sum(axis=-1) / (2 * generator.uniform(2, 4) ** 2)
        )
    affine = np.diag([2.0, 2.0, 2.0, 1.0])
    images: dict[str, np.ndarray] = {
        "FLAIR": (values * 500).astype(np.int16),
        "T1": np.roll(800 * values / (1 + values**2), 2, axis=0).astype(np.int16),
        "seg": (values > 1.5).astype(np.uint8),
    }
    rows = ["subject,modality,path"]
    for name, pixels in images.items():
        write(Image(pixels, affine), tmp_path / f"{name}.nii.gz")
        rows.append(f"p0,{name},{name}.nii.gz")
    (tmp_path / "manifest.csv").write_text("\n".join(rows))
    return tmp_path


def align(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    return run(capsys, "data", "align", *arguments)


def test_one_command_aligns_a_case_and_tells_what_it_did(heads: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = heads / "aligned"
    command = (heads / "manifest.csv", "--to", "FLAIR", "-o", out, "--write-mask", "--workers", 1)
    status, said, _ = align(capsys, *command)
    assert status == 0
    assert "Mutual information with FLAIR" in said and "overlays" in said
    assert said.strip().endswith("4 volumes: 4 ok")
    case = Manifest.read(out / "manifest.csv").cases()[0]
    assert sorted(case.files) == ["FLAIR", "T1", "mask", "seg"]
    grids = [read(path) for path in case.files.values()]
    assert all(grids[0].same_grid(image) for image in grids)
    status, said, _ = align(capsys, *command, "--json")
    told = json.loads(said)
    assert told["reused"] == 1
    row = next(volume for volume in told["volumes"] if volume["modality"] == "T1")
    assert row["shift_mm"] == pytest.approx(4.0, abs=0.3)


def test_the_status_tells_that_nothing_was_aligned(heads: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(Image(np.zeros(SHAPE, np.int16), np.eye(4)), heads / "T1.nii.gz")
    status, said, _ = align(capsys, heads / "manifest.csv", "--to", "FLAIR", "-o", heads / "out", "--workers", 1)
    assert status == 2
    assert "same value everywhere" in said


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ((), "--to FLAIR for the volumes"),
        (("--to", "FLAIR", "--fixed", "T1"), "--fixed does not go with --to"),
        (("--to", "FLAIR", "--nearest"), "--nearest does not go with --to"),
        (("--moving", "T1", "--fixed", "FLAIR", "--bias-correction"), "--bias-correction is for volumes"),
        (("--to", "FLAIR", "--labels-of", "seg"), "is not LABEL=IMAGE"),
        (("--to", "FLAIR", "--transform", "homography"), "no transform 'homography'"),
        (("--to", "FLAIRE"), "did you mean 'FLAIR'"),
        (("--to", "FLAIR", "--labels-of", "seg=T3"), "did you mean 'T1'"),
    ],
)
def test_a_mistake_is_told_in_one_line(
    heads: Path, capsys: pytest.CaptureFixture[str], options: tuple[str, ...], says: str
) -> None:
    status, out, err = align(capsys, heads / "manifest.csv", "-o", heads / "out", *options)
    assert (status, out) == (2, "")
    assert err.count("\n") == 1
    assert says in err
    assert not (heads / "out").exists()
