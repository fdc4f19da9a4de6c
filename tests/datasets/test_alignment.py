"""Alignment of pairs: a known displacement is undone, its quality is told, and nothing is lost on the way."""

import csv
import json
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pandas
import pytest

from transmodal.datasets.alignment import AlignmentSettings, align_manifest
from transmodal.datasets.alignment_montage import picture_alignments
from transmodal.datasets.fiducials import Fiducials
from transmodal.datasets.manifest import Manifest
from transmodal.errors import UserError
from transmodal.images import Image, picture_affine, read, write

SPACING = 0.2
SHAPE = (96, 128)
FIXED_POINTS = np.array([[4.0, 3.0], [21.0, 4.0], [5.0, 16.0], [20.0, 15.0], [11.0, 8.0], [14.0, 3.5]])  # (x, y) mm
TURN = np.radians(4.0)
ROTATION = np.array([[np.cos(TURN), -np.sin(TURN)], [np.sin(TURN), np.cos(TURN)]])
SHIFT = np.array([1.4, -0.8])


def to_moving(points: np.ndarray) -> np.ndarray:
    """The displacement that the alignment must undo: fixed mm to moving mm."""
    return points @ ROTATION.T + SHIFT


def texture(seed: int) -> np.ndarray:
    noise = np.random.default_rng(seed).normal(size=SHAPE).astype(np.float32)
    smooth = cv2.GaussianBlur(noise, (0, 0), 5)
    return (cv2.normalize(smooth, None, 0, 1, cv2.NORM_MINMAX) * 60000).astype(np.uint16)


def displaced(pixels: np.ndarray) -> np.ndarray:
    """Return the picture as a displaced camera sees it."""
    rows, columns = np.indices(pixels.shape)
    at = np.stack([columns, rows], axis=-1).reshape(-1, 2) * SPACING
    fixed = (at - SHIFT) @ ROTATION  # the inverse of to_moving
    x, y = (fixed / SPACING).astype(np.float32).T.reshape(2, *pixels.shape)
    return cv2.remap(pixels, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)


@pytest.fixture
def pairs(tmp_path: Path) -> Manifest:
    """Three animals: the photo is the inverted X-ray, displaced."""
    rows = []
    for number in range(3):
        xray = texture(number)
        for modality, pixels in (("photo", 65535 - displaced(xray)), ("xray", xray)):
            path = tmp_path / modality / f"m{number}.png"
            path.parent.mkdir(exist_ok=True)
            write(Image(pixels, picture_affine((SPACING, SPACING))), path)
            rows.append({"subject": f"m{number}", "modality": modality, "path": str(path), "coat": "white"})
    return Manifest(pandas.DataFrame(rows), tmp_path)


def fiducials(folder: Path, error: float = 0.0, points: int = 6) -> Fiducials:
    rows = ["modality,point,x_mm,y_mm"]
    for name, fixed in zip("abcdef", FIXED_POINTS[:points], strict=False):
        moving = to_moving(fixed) + (error if name == "a" else 0.0)
        rows += [f"xray,{name},{fixed[0]},{fixed[1]}", f"photo,{name},{moving[0]},{moving[1]}"]
    (folder / "points.csv").write_text("\n".join(rows))
    return Fiducials.read(folder / "points.csv")


BY_POINTS = AlignmentSettings(("photo",), "xray", method="fiducials")
BY_INFORMATION = AlignmentSettings(("photo",), "xray", kind="rigid")


def unlikeness(manifest: Manifest) -> float:
    """Return the mean difference of the inverted photo from the X-ray inside the field, relative to the contrast."""
    differences = []
    for case in manifest.cases(["photo", "xray"]):
        photo, xray = (read(path).pixels[14:-14, 14:-14].astype(float) for path in case.files.values())
        differences.append(np.abs(65535 - photo - xray).mean() / xray.std())
    return float(np.mean(differences))


@pytest.mark.parametrize("kind", ["rigid", "similarity", "affine", "homography"])
def test_fiducials_undo_a_known_displacement(pairs: Manifest, tmp_path: Path, kind: str) -> None:
    out = tmp_path / "out"
    report = align_manifest(pairs, replace(BY_POINTS, kind=kind), out, fiducials=fiducials(tmp_path), workers=1)
    assert unlikeness(report.manifest) < 0.05 < 0.3 < unlikeness(pairs)
    for alignment in report.alignments:
        assert alignment.status == "ok"
        assert alignment.error_mm is not None
        assert alignment.error_mm < 1e-6
        assert alignment.points == 6
        assert alignment.covered is not None
        assert 0.8 < alignment.covered < 1
        assert json.loads((out / alignment.transform).read_text())
    case = Manifest.read(out / "manifest.csv").cases(["photo", "xray"])[0]
    assert case.factors == {"coat": "white", "alignment": "ok"}
    photo, xray = (read(path) for path in case.files.values())
    assert photo.same_grid(xray)
    assert photo.pixels.dtype == np.uint16


def test_mutual_information_undoes_a_known_displacement(pairs: Manifest, tmp_path: Path) -> None:
    report = align_manifest(pairs, BY_INFORMATION, tmp_path / "out", workers=1)
    assert [alignment.status for alignment in report.alignments] == ["ok"] * 3
    assert unlikeness(report.manifest) < 0.12
    for alignment in report.alignments:
        assert alignment.nmi_before is not None
        assert alignment.nmi_after is not None
        assert 1 <= alignment.nmi_before < alignment.nmi_after <= 2
        assert alignment.displacement_mm == pytest.approx(
            max(
                float(np.linalg.norm((np.array(corner) - SHIFT) @ ROTATION - corner))
                for corner in [(0, 0), (25.4, 0), (0, 19), (25.4, 19)]
            ),
            abs=0.2,
        )
    judged = align_manifest(pairs, BY_INFORMATION, tmp_path / "judged", fiducials=fiducials(tmp_path), workers=1)
    assert all(alignment.error_mm is not None and alignment.error_mm < 0.2 for alignment in judged.alignments)


def test_pairs_over_the_threshold_are_listed_and_kept(pairs: Manifest, tmp_path: Path) -> None:
    out = tmp_path / "out"
    report = align_manifest(pairs, BY_POINTS, out, fiducials=fiducials(tmp_path, error=5.0), workers=1)
    assert {alignment.status for alignment in report.alignments} == {"over threshold"}
    assert len(report.manifest.cases(["photo", "xray"])) == 3
    assert set(report.manifest.table["alignment"]) == {"over threshold"}
    with (out / "alignment.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert [row["status"] for row in rows] == ["over threshold"] * 3
    assert all(float(row["error_mm"]) > 1 for row in rows)
    assert all(float(row["residual_mm"]) < float(row["error_mm"]) for row in rows)
    moved = align_manifest(pairs, replace(BY_INFORMATION, max_displacement_mm=0.5), tmp_path / "moved", workers=1)
    assert {alignment.status for alignment in moved.alignments} == {"over threshold"}


def test_as_few_points_as_the_transform_needs_judge_nothing(pairs: Manifest, tmp_path: Path) -> None:
    report = align_manifest(pairs, BY_POINTS, tmp_path / "out", fiducials=fiducials(tmp_path, points=3), workers=1)
    assert {alignment.status for alignment in report.alignments} == {"not judged"}
    assert all(alignment.error_mm is None and "one more" in alignment.problem for alignment in report.alignments)


def test_a_failing_pair_is_told_and_the_rest_goes_on(pairs: Manifest, tmp_path: Path) -> None:
    (tmp_path / "photo/m1.png").write_bytes(b"no image")
    report = align_manifest(pairs, BY_POINTS, tmp_path / "out", fiducials=fiducials(tmp_path), workers=1)
    assert [alignment.status for alignment in report.alignments] == ["ok", "failed", "ok"]
    assert "m1.png" in report.alignments[1].problem
    by_case = {case.id: case for case in report.manifest.cases()}
    assert by_case["m1"].factors["alignment"] == "failed"
    assert by_case["m1"].files["photo"] == tmp_path / "photo/m1.png"


def test_a_rerun_does_only_what_has_changed(pairs: Manifest, tmp_path: Path) -> None:
    out, points = tmp_path / "out", fiducials(tmp_path)
    first = align_manifest(pairs, BY_POINTS, out, fiducials=points, workers=1)
    assert first.reused == 0
    (out / "photo/m1.png").unlink()
    write(read(tmp_path / "photo/m2.png"), tmp_path / "photo/m2.png")
    second = align_manifest(pairs, BY_POINTS, out, fiducials=points, workers=1)
    assert second.reused == 1
    assert (out / "photo/m1.png").exists()
    assert align_manifest(pairs, BY_POINTS, out, fiducials=points, workers=1).reused == 3
    assert align_manifest(pairs, replace(BY_POINTS, kind="rigid"), out, fiducials=points, workers=1).reused == 0


def test_workers_change_nothing(pairs: Manifest, tmp_path: Path) -> None:
    one = align_manifest(pairs, BY_INFORMATION, tmp_path / "one", workers=1)
    two = align_manifest(pairs, BY_INFORMATION, tmp_path / "two", workers=2)
    for by_one, by_two in zip(one.alignments, two.alignments, strict=True):
        # Linear algebra may differ in the last bit between processes.
        assert by_one.displacement_mm == pytest.approx(by_two.displacement_mm, abs=1e-9)
        assert by_one.nmi_after == pytest.approx(by_two.nmi_after, abs=1e-9)
        assert (by_one.case, by_one.status, by_one.stamp) == (by_two.case, by_two.status, by_two.stamp)
        first, second = (read(tmp_path / name / by_one.image).pixels.astype(int) for name in ("one", "two"))
        assert np.abs(first - second).max() <= 1


def test_a_missing_pixel_size_is_asked_for(pairs: Manifest, tmp_path: Path) -> None:
    plain = read(tmp_path / "photo/m0.png").pixels
    cv2.imwrite(str(tmp_path / "photo/m0.png"), plain)
    report = align_manifest(pairs, BY_POINTS, tmp_path / "out", fiducials=fiducials(tmp_path), workers=1)
    assert [alignment.status for alignment in report.alignments] == ["failed", "ok", "ok"]
    assert "--moving-spacing" in report.alignments[0].problem
    given = replace(BY_POINTS, moving_spacing=SPACING)
    report = align_manifest(pairs, given, tmp_path / "out", fiducials=fiducials(tmp_path), workers=1)
    assert [alignment.status for alignment in report.alignments] == ["ok"] * 3


def test_a_case_without_partner_is_reported(pairs: Manifest, tmp_path: Path) -> None:
    lone = pairs.with_table(pairs.table.drop(index=1))
    report = align_manifest(lone, BY_POINTS, tmp_path / "out", fiducials=fiducials(tmp_path), workers=1)
    assert report.incomplete == [("m0", ["xray"])]
    assert [case.factors.get("alignment") for case in report.manifest.cases()] == [None, "ok", "ok"]


def test_settings_that_do_not_go_together_are_refused(pairs: Manifest, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no 'homography'"):
        AlignmentSettings(("photo",), "xray", kind="homography")
    with pytest.raises(UserError, match="method 'magic'"):
        AlignmentSettings(("photo",), "xray", method="magic")
    with pytest.raises(UserError, match="must be two"):
        AlignmentSettings(("photo",), "photo")
    with pytest.raises(UserError, match="--fiducials"):
        align_manifest(pairs, BY_POINTS, tmp_path / "out")
    with pytest.raises(UserError, match="did you mean 'photo'"):
        align_manifest(pairs, replace(BY_INFORMATION, moving=("foto",)), tmp_path / "out")


def test_nearest_makes_no_new_values(pairs: Manifest, tmp_path: Path) -> None:
    def values(**changes: object) -> set[int]:
        settings = replace(BY_POINTS, kind="rigid", **changes)  # type: ignore[arg-type]
        out = tmp_path / str(changes)
        report = align_manifest(pairs, settings, out, fiducials=fiducials(tmp_path), workers=1)
        return set(np.unique(read(out / report.alignments[0].image).pixels).tolist())

    labels = (np.indices(SHAPE).sum(axis=0) // 16 % 2 * 200).astype(np.uint8)
    write(Image(labels, picture_affine((SPACING, SPACING))), tmp_path / "photo/m0.png")
    assert values(nearest=True) == {0, 200}
    assert len(values(nearest=False)) > 2


def test_a_synthetic_picture_keeps_its_mark(pairs: Manifest, tmp_path: Path) -> None:
    write(read(tmp_path / "photo/m1.png"), tmp_path / "photo/m1.png", "Synthetic image, not for diagnosis. By a test")
    align_manifest(pairs, BY_POINTS, tmp_path / "out", fiducials=fiducials(tmp_path), workers=1)
    made = [read(tmp_path / f"out/photo/m{number}.png").source.derivation for number in range(3)]
    assert made[1].startswith("Synthetic image, not for diagnosis. By a test; put on the grid of xray by")
    assert (made[0], made[2]) == ("", "")
    (sidecar,) = (tmp_path / "out").rglob("*.synthetic.json")
    assert sidecar.name == "m1.synthetic.json" and json.loads(sidecar.read_text())["synthetic"] is True


def test_a_folder_that_cannot_be_filled_is_told_before_the_work(pairs: Manifest, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="Cannot make the folder"):
        align_manifest(pairs, BY_INFORMATION, tmp_path / "file" / "out", workers=1)


def test_the_montage_shows_the_doubtful_first(pairs: Manifest, tmp_path: Path) -> None:
    out = tmp_path / "out"
    report = align_manifest(pairs, BY_POINTS, out, fiducials=fiducials(tmp_path), workers=1)
    doubtful = replace(report.alignments[2], status="over threshold")
    report = replace(report, alignments=[*report.alignments[:2], doubtful])
    assert picture_alignments(report, pairs, BY_POINTS, out / "montage.png", most=2) == ["m2", "m0"]
    picture = read(out / "montage.png").pixels
    assert picture.std() > 20
    assert picture.shape[1] > 4 * 300
