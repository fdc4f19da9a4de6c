"""Checks: each thing that can be wrong with a data set is found, and a sound one is left in peace."""

from pathlib import Path

import numpy as np
import pandas
import pytest

from transmodal.datasets.checks import Finding, check_manifest
from transmodal.datasets.manifest import Manifest
from transmodal.errors import UserError
from transmodal.images import Image, picture_affine, write

GENERATOR = np.random.default_rng(5)


def sound(folder: Path, subjects: int = 3) -> pandas.DataFrame:
    """Write photographs and X-rays on one grid; return their table."""
    rows = []
    for number in range(subjects):
        for modality, shape in (("photo", (8, 10, 3)), ("xray", (8, 10))):
            path = folder / modality / f"m{number}.png"
            put(path, GENERATOR.integers(0, 255, shape, dtype=np.uint8))
            rows.append({"subject": f"m{number}", "session": "", "modality": modality, "path": str(path)})
    return pandas.DataFrame(rows)


def put(path: Path, pixels: np.ndarray, spacing: float = 0.1) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    channels = ("red", "green", "blue") if pixels.ndim == 3 else ()
    write(Image(pixels, picture_affine((spacing, spacing)), channels), path)


def findings(table: pandas.DataFrame, folder: Path, **options: object) -> list[Finding]:
    return check_manifest(Manifest(table, folder), **options)  # type: ignore[arg-type]


def short(found: list[Finding]) -> list[tuple[str, str, str]]:
    return [(finding.severity, finding.kind, finding.case) for finding in found]


def test_sound_data_give_no_finding(tmp_path: Path) -> None:
    assert findings(sound(tmp_path), tmp_path) == []


def test_progress_counts_every_file(tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    findings(sound(tmp_path), tmp_path, on_progress=lambda done, total: seen.append((done, total)))
    assert seen == [(done, 6) for done in range(1, 7)]


def test_missing_and_damaged_files_are_errors_and_the_rest_is_still_checked(tmp_path: Path) -> None:
    table = sound(tmp_path)
    (tmp_path / "photo/m0.png").unlink()
    whole = (tmp_path / "photo/m1.png").read_bytes()
    (tmp_path / "photo/m1.png").write_bytes(whole[: len(whole) // 2])
    put(tmp_path / "xray/m2.png", np.zeros((8, 10), np.uint8))
    found = findings(table, tmp_path)
    assert short(found) == [
        ("error", "missing", "m0"),
        ("error", "unreadable", "m1"),
        ("warning", "constant", "m2"),
    ]
    assert "photo/m0.png" in found[0].what
    assert found[1].remedy


def test_pairs_on_different_grids_are_errors(tmp_path: Path) -> None:
    table = sound(tmp_path)
    put(tmp_path / "xray/m0.png", GENERATOR.integers(0, 255, (8, 12), dtype=np.uint8))
    put(tmp_path / "xray/m1.png", GENERATOR.integers(0, 255, (8, 10), dtype=np.uint8), spacing=0.2)
    found = findings(table, tmp_path)
    assert short(found)[:2] == [("error", "mixed grids", "m0"), ("error", "mixed grids", "m1")]
    assert "8×10 but xray is 8×12" in found[0].what
    assert "pixel size" in found[1].what
    assert {finding.severity for finding in found[2:]} == {"note"}
    assert len(findings(table, tmp_path, pixels=False)) == len(found)


def test_one_modality_of_two_kinds_is_a_warning(tmp_path: Path) -> None:
    table = sound(tmp_path)
    put(tmp_path / "xray/m1.png", GENERATOR.integers(0, 65535, (8, 10), dtype=np.uint16))
    put(tmp_path / "photo/m1.png", GENERATOR.integers(0, 255, (8, 10), dtype=np.uint8))
    found = findings(table, tmp_path)
    assert short(found) == [("warning", "mixed types", "m1")] * 2
    assert found[0].what.endswith("uint8 with 3 channels (2), uint8 with 1 channel (1): uint8 with 1 channel in m1")
    assert "uint16" in found[1].what


def test_the_same_pixels_under_two_subjects_are_an_error_even_in_another_container(tmp_path: Path) -> None:
    table = sound(tmp_path)
    pixels = GENERATOR.integers(0, 255, (8, 10), dtype=np.uint8)
    put(tmp_path / "xray/m0.png", pixels)
    put(tmp_path / "xray/m1.tif", pixels)
    table.loc[table["path"].str.endswith("xray/m1.png"), "path"] = str(tmp_path / "xray/m1.tif")
    found = findings(table, tmp_path)
    assert short(found) == [("error", "duplicate", "m0")]
    assert "xray of m0, xray of m1" in found[0].what
    table["subject"], table["session"] = "m", table["subject"]
    assert short(findings(table, tmp_path)) == [("warning", "duplicate", "m_m0")]


def test_empty_label_maps_are_no_copies(tmp_path: Path) -> None:
    table = sound(tmp_path)
    for number in range(2):
        put(tmp_path / f"xray/m{number}.png", np.zeros((8, 10), np.uint8))
    assert short(findings(table, tmp_path)) == [("warning", "constant", "m0"), ("warning", "constant", "m1")]


def test_nan_is_an_error(tmp_path: Path) -> None:
    table = sound(tmp_path)
    pixels = GENERATOR.normal(size=(8, 10)).astype(np.float32)
    pixels[0, :2] = np.nan, np.inf
    put(tmp_path / "xray/m0.tif", pixels)
    table.loc[table["path"].str.endswith("xray/m0.png"), "path"] = str(tmp_path / "xray/m0.tif")
    found = findings(table, tmp_path)
    assert ("error", "not finite", "m0") in short(found)
    assert "2 values" in found[0].what


def test_incomplete_cases_and_split_mistakes_are_found(tmp_path: Path) -> None:
    table = sound(tmp_path, subjects=4)
    table["split"] = ["train", "test", "train", "train", "", "", "test", "test"]
    table = table.drop(index=2)
    found = short(findings(table, tmp_path))
    assert ("error", "two sides", "m0") in found
    assert ("warning", "incomplete", "m1") in found
    assert found.count(("note", "split", "")) == 2  # nobody in validation, one subject nowhere
    assert ("warning", "incomplete", "m1") not in short(findings(table, tmp_path, modalities=["xray"]))
    with pytest.raises(UserError, match=r"'xra'.*'xray'"):
        findings(table, tmp_path, modalities=["xra"])
