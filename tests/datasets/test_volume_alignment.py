"""Volumes of a case come on one grid: known motions are undone, labels go along, one bad file stops nothing."""

import csv
import json
import os
from dataclasses import replace
from pathlib import Path

import nibabel
import numpy as np
import pandas
import pytest
import SimpleITK

from transmodal.datasets.manifest import Manifest
from transmodal.datasets.volume_alignment import VolumeAlignment, VolumeAlignmentSettings, align_volumes
from transmodal.errors import UserError
from transmodal.images import Image, read, write
from transmodal.images.image import Source
from transmodal.images.registration import Transform, register_mutual_information, resample
from transmodal.images.resampling import target_grid

RIGID = VolumeAlignmentSettings("FLAIR")
EXTENT = np.array([80.0, 88.0, 72.0])  # mm
GRIDS = {  # modality to shape, voxel size in mm, flips, turn of the axes in degrees
    "FLAIR": ((40, 44, 24), (2.0, 2.0, 3.0), (-1, -1, 1), 0.0),
    "T1": ((44, 48, 26), (1.9, 1.9, 2.9), (-1, 1, 1), 12.0),  # left-handed and oblique
    "T2": ((50, 54, 24), (1.7, 1.7, 3.2), (1, 1, 1), 0.0),
}


def turned(degrees: float, about: tuple[float, float, float]) -> np.ndarray:
    axis = np.array(about) / np.linalg.norm(about)
    cross = np.cross(np.eye(3), axis)
    angle = np.radians(degrees)
    return np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross


def motion(degrees: float, shift: tuple[float, float, float]) -> Transform:
    """Return a turn about the middle of the head, then a shift: moving to fixed points."""
    matrix = np.eye(4)
    matrix[:3, :3] = turned(degrees, (1, -2, 1.5))
    matrix[:3, 3] = EXTENT / 2 - matrix[:3, :3] @ (EXTENT / 2) + shift
    return Transform("rigid", matrix)


MOTIONS = {"FLAIR": Transform.identity(3), "T1": motion(6, (3, -4, 2)), "T2": motion(-3, (-2, 1, 3))}


def grid(modality: str) -> Image:
    """Return the modality's grid, which holds the head wherever the motion put it."""
    shape, sizes, flips, degrees = GRIDS[modality]
    affine = np.eye(4)
    affine[:3, :3] = turned(degrees, (0.3, 1, 0.2)) * np.array(sizes) * flips
    middle = MOTIONS[modality].inverse().apply(EXTENT / 2)
    affine[:3, 3] = middle - affine[:3, :3] @ ((np.array(shape) - 1) / 2)
    return Image(np.zeros(shape, np.float32), affine)


def anatomy(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return tissue classes smoothed to values in 0 to 1 and a lesion map at points of the fixed world in mm."""
    generator = np.random.default_rng(5)
    inside = (((points - EXTENT / 2) / (EXTENT * 0.4)) ** 2).sum(axis=-1)
    values = 0.5 + np.zeros(points.shape[:-1])
    for _ in range(25):
        centre, width = EXTENT * generator.uniform(0.25, 0.75, 3), generator.uniform(4, 9)
        values += generator.uniform(-0.5, 0.5) * np.exp(-((points - centre) ** 2).sum(axis=-1) / (2 * width**2))
    lesion = ((points - EXTENT * [0.6, 0.45, 0.55]) ** 2).sum(axis=-1) < 8**2
    return np.where(inside < 1, np.clip(values, 0.05, 1) * np.clip((1 - inside) * 8, 0, 1), 0), lesion


CONTRASTS = {"FLAIR": lambda v: 900 * v, "T1": lambda v: 700 * v * (1.3 - v), "T2": lambda v: 1200 * np.sqrt(v) * v}


def volume(modality: str) -> tuple[Image, Image]:
    """Return an image of the head as its scanner saw it, and the lesion drawn on it."""
    empty = grid(modality)
    index = np.moveaxis(np.indices(empty.shape, dtype=float), 0, -1)
    points = MOTIONS[modality].apply(index @ empty.affine[:3, :3].T + empty.affine[:3, 3])
    values, lesion = anatomy(points)
    return empty.with_pixels(CONTRASTS[modality](values).astype(np.int16)), empty.with_pixels(
        4 * lesion.astype(np.uint8)
    )


def made(folder: Path, cases: int = 1, extra: dict[str, Image] | None = None) -> Manifest:
    rows = []
    for number in range(cases):
        files = {modality: volume(modality)[0] for modality in GRIDS} | {"seg": volume("FLAIR")[1]} | (extra or {})
        for modality, image in files.items():
            path = folder / f"p{number}" / f"{modality}.nii.gz"
            write(image, path)
            rows.append({"subject": f"p{number}", "modality": modality, "path": str(path), "scanner": "A"})
    return Manifest(pandas.DataFrame(rows), folder)


def by_modality(rows: list[VolumeAlignment], case: str = "p0") -> dict[str, VolumeAlignment]:
    return {row.modality: row for row in rows if row.case == case}


def largest_error(found: Transform, modality: str) -> float:
    """Return the largest distance in mm from the truth over the head."""
    corners = EXTENT * np.stack(np.meshgrid(*[[0.2, 0.5, 0.8]] * 3), axis=-1).reshape(-1, 3)
    return float(np.linalg.norm(found.apply(MOTIONS[modality].inverse().apply(corners)) - corners, axis=1).max())


def test_a_case_on_three_grids_becomes_one_that_fits(tmp_path: Path) -> None:
    manifest, out = made(tmp_path), tmp_path / "out"
    # The target keeps unusual codes and an affine that only its own header says exactly.
    target = nibabel.load(tmp_path / "p0/FLAIR.nii.gz")
    target.set_sform(target.affine, 4)
    target.set_qform(target.affine, 1)
    nibabel.save(target, tmp_path / "p0/FLAIR.nii.gz")
    report = align_volumes(manifest, RIGID, out, workers=1)
    rows = by_modality(report.alignments)
    assert [row.modality for row in report.alignments] == ["FLAIR", "T1", "T2", "seg"]
    assert {row.status for row in rows.values()} == {"ok"}
    for modality in ("T1", "T2"):
        row = rows[modality]
        assert row.nmi_after is not None and row.nmi_before is not None and row.nmi_after > row.nmi_before + 0.02
        transform = Transform.read(out / row.transform)
        assert largest_error(transform, modality) < 0.5
        assert row.rotation_degrees == pytest.approx({"T1": 6, "T2": 3}[modality], abs=0.5)
    for modality, row in rows.items():
        written = nibabel.load(out / row.image)
        np.testing.assert_array_equal(written.affine, target.affine)
        assert written.shape == target.shape
        assert (int(written.header["sform_code"]), int(written.header["qform_code"])) == (4, 1)
        assert written.get_data_dtype() == (np.uint8 if modality == "seg" else np.int16)
        second = SimpleITK.ReadImage(out / row.image)
        reference = SimpleITK.ReadImage(tmp_path / "p0/FLAIR.nii.gz")
        assert second.GetSize() == reference.GetSize()
        np.testing.assert_allclose(second.GetOrigin(), reference.GetOrigin(), atol=1e-4)
        np.testing.assert_allclose(second.GetDirection(), reference.GetDirection(), atol=1e-6)
    np.testing.assert_array_equal(read(out / rows["FLAIR"].image).pixels, read(tmp_path / "p0/FLAIR.nii.gz").pixels)
    np.testing.assert_array_equal(read(out / rows["seg"].image).pixels, volume("FLAIR")[1].pixels)
    seen = resample(volume("T1")[0], grid("FLAIR"), MOTIONS["T1"]).pixels.astype(float)
    assert np.abs(read(out / rows["T1"].image).pixels - seen).mean() < 0.02 * seen.max()
    case = Manifest.read(out / "manifest.csv").cases(["T1", "T2", "FLAIR", "seg"])[0]
    assert case.factors == {"scanner": "A", "alignment": "ok"}
    assert read(out / "overlays/p0.png").pixels.std() > 20
    with (out / "alignment.csv").open() as stream:
        assert [row["role"] for row in csv.DictReader(stream)] == ["target", "image", "image", "label"]


def test_a_label_map_follows_the_image_on_which_it_was_drawn(tmp_path: Path) -> None:
    truth = volume("FLAIR")[1].pixels > 0
    floating = volume("T1")[1]
    floating = floating.with_pixels(floating.pixels.astype(np.float64))
    manifest = made(tmp_path, extra={"lesion": floating})

    def dice(settings: VolumeAlignmentSettings, out: Path) -> float:
        rows = by_modality(align_volumes(manifest, settings, out, workers=1).alignments)
        carried = read(out / rows["lesion"].image).pixels
        assert carried.dtype == np.uint8 and set(np.unique(carried)) == {0, 4}
        return float(2 * (truth & (carried > 0)).sum() / (truth.sum() + (carried > 0).sum()))

    assert dice(replace(RIGID, labels_of={"lesion": "T1"}), tmp_path / "own") > 0.85
    assert dice(RIGID, tmp_path / "wrong") < 0.7


def test_bad_volumes_are_told_and_the_rest_goes_on(tmp_path: Path) -> None:
    head = volume("T1")[0]
    extra = {
        "constant": head.with_pixels(np.full(head.shape, 7, np.int16)),
        "series": Image(np.stack([head.pixels] * 3, axis=-1), head.affine, ("t0", "t1", "t2")),
        "lesion": head.with_pixels(head.pixels / 700),
    }
    manifest = made(tmp_path, cases=2, extra=extra)
    table = pandas.concat([manifest.table, manifest.table.iloc[[1]].assign(subject="lone")])
    write(Image(np.zeros((6, 7), np.uint8)), tmp_path / "p0/T2.nii.gz")
    (tmp_path / "p1/FLAIR.nii.gz").write_bytes(b"no image")
    report = align_volumes(Manifest(table, tmp_path), RIGID, tmp_path / "out", workers=1)
    rows = by_modality(report.alignments)
    assert {name: row.status for name, row in rows.items()} == {
        "FLAIR": "ok",
        "T1": "ok",
        "seg": "ok",
        "T2": "failed",
        "constant": "failed",
        "series": "failed",
        "lesion": "failed",
    }
    for name, says in {
        "T2": "is a picture",
        "constant": "same value everywhere",
        "series": "3 values a voxel",
        "lesion": "no whole numbers",
    }.items():
        assert says in rows[name].problem and "\n" not in rows[name].problem
    second = by_modality(report.alignments, "p1")
    assert {row.status for row in second.values()} == {"failed"}
    assert "FLAIR.nii.gz" in second["FLAIR"].problem and "target FLAIR cannot be used" in second["T1"].problem
    assert report.incomplete == ["lone"] and not report.all_failed
    told = {case.id: case.factors.get("alignment") for case in report.manifest.cases()}
    assert told == {"p0": "failed", "p1": "failed", "lone": None}
    assert report.manifest.cases(["T2"])[0].files["T2"] == tmp_path / "p0/T2.nii.gz"


def test_large_motions_and_worlds_far_apart_are_found_and_flagged(tmp_path: Path) -> None:
    manifest = made(tmp_path)
    far = volume("T1")[0]
    apart = far.affine.copy()
    apart[:3, 3] += [300, -200, 150]
    write(replace(far, affine=apart), tmp_path / "p0/T1.nii.gz")
    settings = replace(RIGID, max_rotation_degrees=2.0)
    rows = by_modality(align_volumes(manifest, settings, tmp_path / "out", workers=1).alignments)
    assert rows["T1"].status == rows["T2"].status == "over threshold"
    assert "moved by" in rows["T1"].problem and "turned by 3°" in rows["T2"].problem
    found = Transform.read(tmp_path / "out" / rows["T1"].transform)
    back = np.eye(4)
    back[:3, 3] = [300, -200, 150]
    assert largest_error(Transform("rigid", found.matrix @ back), "T1") < 0.5


def test_a_common_isotropic_grid_fills_the_same_box(tmp_path: Path) -> None:
    head = volume("FLAIR")[0]
    fine = target_grid(head, 1.5)
    assert fine.spacing == pytest.approx((1.5, 1.5, 1.5))
    assert fine.shape == (54, 59, 48)

    def middle(image: Image) -> np.ndarray:
        return image.affine[:3] @ [*((np.array(image.shape) - 1) / 2), 1.0]

    np.testing.assert_allclose(middle(fine), middle(head), atol=1e-9)
    assert target_grid(head).same_grid(head, tolerance=0.0)
    assert target_grid(head, 500).shape == (1, 1, 1)
    report = align_volumes(made(tmp_path), replace(RIGID, spacing=1.5), tmp_path / "out", workers=1)
    written = [read(tmp_path / "out" / row.image) for row in report.alignments]
    assert all(image.same_grid(fine) for image in written)
    assert set(np.unique(written[-1].pixels)) == {0, 4}
    volumes = [(image.pixels == 4).sum() * np.prod(image.spacing) for image in (written[-1], volume("FLAIR")[1])]
    assert volumes[0] == pytest.approx(volumes[1], rel=0.05)


def test_the_mask_is_the_region_that_all_images_reach_and_a_user_s_mask_wins(tmp_path: Path) -> None:
    head = volume("T2")[0]
    short = Image(head.pixels[:, :, :14], head.affine)
    drawn = grid("FLAIR").with_pixels(np.zeros(GRIDS["FLAIR"][0], np.uint8))
    drawn.pixels[10:30, 10:30, 6:18] = 1
    manifest = made(tmp_path, extra={"T2": short, "drawn": drawn})
    settings = replace(RIGID, moving=("T2",), write_mask=True, labels=("seg", "drawn"))
    report = align_volumes(manifest, settings, tmp_path / "out", workers=1)
    mask = read(report.manifest.cases(["mask"])[0].files["mask"]).pixels
    region = volume("FLAIR")[0].pixels > 0
    assert set(np.unique(mask)) == {0, 1} and (mask[..., :8] == region[..., :8]).mean() > 0.99
    assert not mask[..., -4:].any() and region[..., -6:].any()
    own = replace(settings, mask_modality="drawn")
    report = align_volumes(manifest, own, tmp_path / "own", workers=1)
    assert not (read(tmp_path / "own/mask/p0.nii.gz").pixels.astype(bool) & (drawn.pixels == 0)).any()
    assert read(tmp_path / "own/mask/p0.nii.gz").pixels.any()
    named = made(tmp_path / "named", extra={"mask": drawn})
    report = align_volumes(named, replace(RIGID, moving=("T2",), write_mask=True), tmp_path / "kept", workers=1)
    np.testing.assert_array_equal(read(tmp_path / "kept/mask/p0.nii.gz").pixels, drawn.pixels)


def test_bias_correction_evens_mri_and_leaves_ct_alone(tmp_path: Path) -> None:
    head = volume("FLAIR")[0]
    x, y, _ = (np.indices(head.shape).T / head.shape - 0.5).T
    field = np.exp(1.2 * x + 0.8 * y)
    ct = np.where(head.pixels > 0, head.pixels / 10, -1000).astype(np.int16)
    manifest = made(tmp_path, extra={"FLAIR": head.with_pixels((head.pixels * field).astype(np.int16))})
    path = tmp_path / "p0/CT.nii.gz"
    write(head.with_pixels(ct), path)
    rows = {"subject": "p0", "session": "", "modality": "CT", "path": str(path), "scanner": "A"}
    manifest = Manifest(pandas.concat([manifest.table, pandas.DataFrame([rows])]), tmp_path)
    settings = replace(RIGID, moving=("CT",), bias_correction=True)
    report = align_volumes(manifest, settings, tmp_path / "out", workers=1)
    corrected = read(tmp_path / "out/FLAIR/p0.nii.gz").pixels
    inside = head.pixels > 100
    assert corrected.dtype == np.float32
    before, after = ((values[inside] / head.pixels[inside]).std() for values in (head.pixels * field, corrected))
    assert after < 0.65 * before, "blobs of the phantom pass for a field in part"
    moved = read(tmp_path / "out/CT/p0.nii.gz").pixels
    assert moved.dtype == np.int16 and moved.min() == -1000 and moved[0, 0, 0] == -1000
    assert [row.modality for row in report.alignments] == ["FLAIR", "CT", "seg"]


def test_a_rerun_does_only_what_is_missing_or_has_changed(tmp_path: Path) -> None:
    manifest, out = made(tmp_path, cases=2), tmp_path / "out"
    manifest = manifest.with_table(manifest.table[manifest.table["modality"].isin(["FLAIR", "seg"])])
    settings = replace(RIGID, spacing=4.0)
    first = align_volumes(manifest, settings, out, workers=1)
    (out / "seg/p1.nii.gz").unlink()
    second = align_volumes(manifest, settings, out, workers=1)
    assert (first.reused, second.reused) == (0, 1)
    assert (out / "seg/p1.nii.gz").exists() and second.alignments == first.alignments
    assert align_volumes(manifest, settings, out, workers=1).reused == 2
    write(volume("FLAIR")[0], tmp_path / "p0/FLAIR.nii.gz")
    assert align_volumes(manifest, settings, out, workers=1).reused == 1
    assert align_volumes(manifest, replace(settings, spacing=5.0), out, workers=1).reused == 0
    assert json.loads((out / "settings.json").read_text())["spacing"] == 5.0


def test_workers_change_nothing(tmp_path: Path) -> None:
    manifest, settings = made(tmp_path, cases=2), replace(RIGID, moving=("T2",), labels=())
    alone, together = (align_volumes(manifest, settings, tmp_path / str(count), workers=count) for count in (1, 2))
    for one, other in zip(alone.alignments, together.alignments, strict=True):
        assert (one.case, one.modality, one.status) == (other.case, other.modality, other.status)
        # Linear algebra may differ in the last bit between processes.
        assert one.nmi_after == pytest.approx(other.nmi_after, abs=1e-9)


def test_settings_that_do_not_go_together_are_refused(tmp_path: Path) -> None:
    for options, says in (
        ({"kind": "homography"}, "no transform 'homography'"),
        ({"interpolation": "sinc"}, "choose linear, cubic"),
        ({"region": "brain"}, "no region 'brain'"),
        ({"spacing": 0.0}, "positive"),
        ({"to": "seg"}, "is a label map"),
    ):
        with pytest.raises(UserError, match=says):
            replace(RIGID, **options)
    with pytest.raises(UserError, match="did you mean 'T1'"):
        align_volumes(made(tmp_path), replace(RIGID, moving=("T11",)), tmp_path / "out")


SYNTHETIC = "Synthetic image, not for diagnosis. T2 made by transmodal 0, model t1-to-t2"


def marked(folder: Path, *, derivation: str | None, sidecar: bool) -> Manifest:
    """Return a case whose T2 is synthetic, as its file says, or its sidecar, or both; the others are real."""
    manifest = made(folder)
    header = nibabel.Nifti1Header()
    header["descrip"] = b"scanner 7"
    for modality in ("FLAIR", "T1"):
        image = volume(modality)[0]
        write(replace(image, source=Source(None, "nifti", header)), folder / f"p0/{modality}.nii.gz")
    write(volume("T2")[0], folder / "p0/T2.nii.gz", derivation)
    if sidecar:
        said = {"synthetic": True, "output": "T2.nii.gz", "target": "T2", "model": "t1-to-t2", "transmodal": "0"}
        (folder / "p0/T2.synthetic.json").write_text(json.dumps(said))
    return manifest


@pytest.mark.parametrize(("derivation", "sidecar"), [(SYNTHETIC, False), (None, True)])
def test_a_synthetic_volume_keeps_its_mark_and_real_ones_get_none(
    tmp_path: Path, derivation: str | None, sidecar: bool
) -> None:
    settings, out = replace(RIGID, write_mask=True), tmp_path / "out"
    align_volumes(marked(tmp_path, derivation=derivation, sidecar=sidecar), settings, out, workers=1)
    written = nibabel.load(out / "T2/p0.nii.gz").header
    assert written["descrip"].tobytes().startswith(b"Synthetic image, not for diagnosis. T2 made by")
    assert read(out / "T2/p0.nii.gz").source.derivation.startswith(f"{SYNTHETIC}; put on the grid of FLAIR by")
    said = json.loads((out / "T2/p0.synthetic.json").read_text())
    assert said["synthetic"] is True and said["output"] == "p0.nii.gz" and said["written"]
    assert said["made_of"]["path"] == str(tmp_path / "p0/T2.nii.gz")
    assert (said["made_of"]["sidecar"] or {}).get("model") == ("t1-to-t2" if sidecar else None)
    for modality, described in (("FLAIR", b"scanner 7"), ("T1", b"scanner 7"), ("seg", b""), ("mask", b"")):
        header = nibabel.load(out / f"{modality}/p0.nii.gz").header
        assert header["descrip"].tobytes().rstrip(b"\0") == described
        assert not header.extensions and not (out / f"{modality}/p0.synthetic.json").exists()


def test_real_images_on_the_grid_of_a_synthetic_one_are_not_called_synthetic(tmp_path: Path) -> None:
    manifest, out = marked(tmp_path, derivation=SYNTHETIC, sidecar=True), tmp_path / "out"
    (out / "T1").mkdir(parents=True)
    (out / "T1/p0.synthetic.json").write_text('{"synthetic": true, "output": "p0.nii.gz"}')  # of an image before
    align_volumes(manifest, replace(RIGID, to="T2"), out, workers=1)
    assert sorted(file.parent.name for file in out.rglob("*.synthetic.json")) == ["T2"]
    assert read(out / "T1/p0.nii.gz").source.derivation == ""
    assert nibabel.load(out / "T1/p0.nii.gz").header["descrip"].tobytes().startswith(b"scanner 7")
    assert read(out / "T2/p0.nii.gz").source.derivation.startswith(SYNTHETIC)


def _real() -> Path:
    root = Path(os.environ.get("TRANSMODAL_DATA", Path(__file__).parents[2] / "../shared/data"))
    return root / "open_ms/longitudinal/patient12"


@pytest.mark.skipif(not _real().is_dir(), reason="the data set open_ms is not here (TRANSMODAL_DATA)")
def test_a_raw_visit_agrees_with_the_data_set_s_own_transform() -> None:
    t1, flair = (read(_real() / f"study1_{name}.nii.gz") for name in ("T1W", "FLAIR"))
    ours, before, after = register_mutual_information(t1, flair, kind="rigid")
    lines = (_real() / "study1_T1W_intrastudy_to_FLAIR.txt").read_text().splitlines()
    numbers, centre = (np.array(line.split(":")[1].split(), dtype=float) for line in lines[-2:])
    turn, mirror = numbers[:9].reshape(3, 3), np.array([-1.0, -1.0, 1.0])  # ITK counts left and posterior
    brain = np.argwhere(flair.pixels > np.percentile(flair.pixels, 85))[::200]
    points = brain @ flair.affine[:3, :3].T + flair.affine[:3, 3]
    theirs = ((points * mirror - centre) @ turn.T + numbers[9:] + centre) * mirror
    assert np.linalg.norm(theirs - points, axis=1).mean() > 2
    assert np.linalg.norm(ours.inverse().apply(points) - theirs, axis=1).mean() < 1.0
    assert after > before + 0.02
