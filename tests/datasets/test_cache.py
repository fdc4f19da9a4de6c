"""The cache of prepared images: found again, never mistaken, never half written."""

import os
import threading
from pathlib import Path

import numpy as np
import pytest
from tests.data.pairs import make_pairs

from transmodal.datasets import cache
from transmodal.datasets.cache import PreparedCase, prepare_cases
from transmodal.datasets.manifest import CaseFiles, Manifest
from transmodal.datasets.preparation import PreparationSettings
from transmodal.datasets.preparation_fitting import fit_preparation
from transmodal.datasets.sample_grid import GridSettings, SliceSettings
from transmodal.errors import UserError
from transmodal.images import Image, read, write

MODALITIES = ("photo", "xray")


@pytest.fixture
def cases(tmp_path: Path) -> list[CaseFiles]:
    return Manifest.read(make_pairs(tmp_path / "pairs", animals=3, poses=1, size=(8, 16))).cases(MODALITIES)


def prepare(cases: list[CaseFiles], folder: Path, **settings: object) -> list[PreparedCase]:
    fitted = fit_preparation(PreparationSettings.model_validate(settings), cases, MODALITIES, 2)
    return prepare_cases(cases, fitted, MODALITIES, folder)


def count_reads(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    seen: list[Path] = []
    original = cache.read
    monkeypatch.setattr(cache, "read", lambda path: seen.append(path) or original(path))
    return seen


def test_arrays_are_what_the_preparation_makes(cases: list[CaseFiles], tmp_path: Path) -> None:
    prepared = prepare(cases, tmp_path / "cache")
    fitted = fit_preparation(PreparationSettings(), cases, MODALITIES, 2)
    for case, made in zip(cases, prepared, strict=True):
        assert made.case is case and made.foreground.tolist() == [1.0]
        for modality, array in made.arrays().items():
            assert isinstance(array, np.memmap)
            np.testing.assert_array_equal(array, fitted.prepare(read(case.files[modality]), modality))


def test_the_second_time_nothing_is_decoded(
    cases: list[CaseFiles], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = prepare(cases, tmp_path / "cache")
    seen = count_reads(monkeypatch)
    again = prepare(cases, tmp_path / "cache")
    assert not seen
    assert [case.files for case in again] == [case.files for case in first]


def test_a_changed_file_is_prepared_anew_and_alone(
    cases: list[CaseFiles], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fitted = fit_preparation(PreparationSettings(), cases, MODALITIES, 2)
    prepare_cases(cases, fitted, MODALITIES, tmp_path / "cache")
    file = cases[1].files["xray"]
    image = read(file)
    write(image.with_pixels(image.pixels // 2), file)
    os.utime(file, ns=(1, 1))
    seen = count_reads(monkeypatch)
    again = prepare_cases(cases, fitted, MODALITIES, tmp_path / "cache")
    assert set(seen) == set(cases[1].files.values())
    assert again[1].arrays()["xray"].max() < 0


@pytest.mark.parametrize(
    "settings", [{"grid": {"shrink": 2}}, {"intensity": {"xray": {"map": "fixed", "low": 0, "high": 70000}}}]
)
def test_another_recipe_never_meets_an_old_array(cases: list[CaseFiles], tmp_path: Path, settings: dict) -> None:
    first, second = prepare(cases, tmp_path / "cache"), prepare(cases, tmp_path / "cache", **settings)
    assert not {*first[0].files.values()} >= {*second[0].files.values()}
    assert not np.array_equal(first[0].arrays()["xray"], second[0].arrays()["xray"])


def test_a_changed_slice_of_a_series_is_noticed(tmp_path: Path) -> None:
    series = tmp_path / "series"
    volume = Image(np.arange(24, dtype=np.uint16).reshape(2, 3, 4))
    write(volume, series)
    case = CaseFiles("s", "", {"CT": series})
    fitted = fit_preparation(PreparationSettings(grid=GridSettings(), slices=SliceSettings()), [case], ("CT",), 2)
    (before,) = prepare_cases([case], fitted, ("CT",), tmp_path / "cache")
    inside = sorted(series.iterdir())[0]
    os.utime(inside, ns=(1, 1))  # the folder's own time stays
    (after,) = prepare_cases([case], fitted, ("CT",), tmp_path / "cache")
    assert before.files != after.files


def test_foreground_counts_pixels_that_all_modalities_have(tmp_path: Path) -> None:
    volumes = [np.zeros((4, 4, 3), np.uint16), np.zeros((4, 4, 3), np.uint16)]
    volumes[0][..., 1:] = 5
    volumes[1][:2, :, 1:] = 7
    volumes[0][0, 0, 2] = volumes[1][3, 3, 2] = 9
    files = {name: write(Image(pixels), tmp_path / f"{name}.nii") for name, pixels in zip("ab", volumes, strict=True)}
    case = CaseFiles("s", "", files)
    fitted = fit_preparation(PreparationSettings(slices=SliceSettings()), [case], ("a", "b"), 2)
    (prepared,) = prepare_cases([case], fitted, ("a", "b"), tmp_path / "cache")
    assert prepared.foreground.tolist() == pytest.approx([0, 0.5, 9 / 16])


def test_bad_images_are_one_clear_line(cases: list[CaseFiles], tmp_path: Path) -> None:
    fitted = fit_preparation(PreparationSettings(), cases, MODALITIES, 2)
    small, truncated, gone = (case.files["xray"] for case in cases)
    write(Image(np.zeros((8, 15), np.uint16)), small)
    truncated.write_bytes(truncated.read_bytes()[:60])
    gone.unlink()
    for case, message in zip(cases, [r"8×16 but .* is 8×15", "incomplete", r"Cannot read .*No such file"], strict=True):
        with pytest.raises(UserError, match=message) as caught:
            prepare_cases([case], fitted, MODALITIES, tmp_path / "cache")
        assert "\n" not in str(caught.value) and case.files["xray"].name in str(caught.value)
    assert not [file for file in (tmp_path / "cache").glob("*") if file.name.startswith(".")]


def test_one_bad_image_ends_the_rest_soon(cases: list[CaseFiles], tmp_path: Path, monkeypatch) -> None:
    fitted = fit_preparation(PreparationSettings(), cases, MODALITIES, 2)
    started: list[str] = []
    enough = threading.Event()

    def prepare_case(case: CaseFiles, *rest: object) -> PreparedCase:
        started.append(case.id)
        if len(started) == 1:
            raise KeyboardInterrupt  # what Ctrl-C does in the main thread reaches the pool the same way
        enough.wait(0.2)
        raise UserError("late")

    monkeypatch.setattr(cache, "_prepare_case", prepare_case)
    with pytest.raises(KeyboardInterrupt):
        prepare_cases(cases * 50, fitted, MODALITIES, tmp_path / "cache")
    assert len(started) < 20


def test_a_cache_that_cannot_be_written_is_one_clear_line(cases: list[CaseFiles], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(UserError, match="Cannot make the folder"):
        prepare(cases, tmp_path / "file" / "cache")


def test_a_cached_array_that_vanished_or_broke_is_one_clear_line(cases: list[CaseFiles], tmp_path: Path) -> None:
    first, second, _ = prepare(cases, tmp_path / "cache")
    first.files["photo"].unlink()
    second.files["photo"].write_bytes(second.files["photo"].read_bytes()[:200])
    for prepared in (first, second):
        with pytest.raises(UserError, match="gone or damaged; delete it"):
            prepared.arrays()
