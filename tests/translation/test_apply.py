"""Files in, files out: each under its own name, none overwritten that is true, none done twice, none passed over."""

import json
from pathlib import Path

import nibabel
import numpy as np
import pydicom
import pytest
from tests.data.missing_inputs import make_any_to_any
from tests.data.translators import COLOURS, PHOTO, T1, T2, XRAY, make_translator

from transmodal.datasets.label_classes import LabelClasses
from transmodal.datasets.sample_grid import SliceSettings
from transmodal.errors import UserError
from transmodal.images import Image, picture_affine, read, synthetic, write
from transmodal.images.files import sha256_of
from transmodal.translation.apply import Results, apply_translator, sidecar_of
from transmodal.translation.jobs import find_jobs
from transmodal.translation.model_folder import load_translator
from transmodal.translation.translator import Translator


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Translator:
    return load_translator(make_translator(tmp_path_factory.mktemp("translators") / "model", PHOTO, XRAY))


@pytest.fixture(scope="module")
def volumes(tmp_path_factory: pytest.TempPathFactory) -> Translator:
    folder = tmp_path_factory.mktemp("translators") / "volumes"
    return load_translator(make_translator(folder, T1, T2, slices=SliceSettings()))


def photo(path: Path, seed: int = 0, shape: tuple[int, int] = (12, 20)) -> Path:
    pixels = np.random.default_rng(seed).integers(0, 256, (*shape, 3)).astype(np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    return write(Image(pixels, picture_affine((0.1, 0.2)), channels=COLOURS), path)


def volume(path: Path, seed: int = 0) -> Path:
    pixels = np.random.default_rng(seed).integers(0, 1000, (9, 8, 5)).astype(np.int16)
    affine = np.array([[-1.5, 0, 0, 30], [0, 1.25, 0, 4], [0, 0, 3.0, 5], [0, 0, 0, 1]])
    path.parent.mkdir(parents=True, exist_ok=True)
    return write(Image(pixels, affine), path)


def run(translator: Translator, given: Path, out: Path, **options: object) -> Results:
    jobs = find_jobs(given, list(translator.card.inputs), volumes=translator.card.preparation.slices is not None,
                     out=out)  # fmt: skip
    return apply_translator(translator, jobs, out, **options)  # type: ignore[arg-type]


def sidecar(path: Path) -> dict:
    return json.loads(sidecar_of(path).read_text())


def test_a_16_bit_picture_of_the_same_size_and_pixel_size(model: Translator, tmp_path: Path) -> None:
    source = photo(tmp_path / "in" / "a.png")
    results = run(model, tmp_path / "in", tmp_path / "out")
    assert results.written == [("a", tmp_path / "out" / "a.png")] and not results.failed
    output = read(tmp_path / "out" / "a.png")
    assert output.pixels.dtype == np.uint16 and output.shape == (12, 20)
    assert output.spacing == pytest.approx((0.1, 0.2)) and output.has_physical_size
    np.testing.assert_array_equal(output.pixels, model(read(source)).pixels)


def test_the_sidecar_says_how_it_was_made(model: Translator, tmp_path: Path) -> None:
    source = photo(tmp_path / "a.png")
    run(model, source, tmp_path / "out", seed=3, model_folder=Path("models/first"))
    said = sidecar(tmp_path / "out" / "a.png")
    assert said["synthetic"] is True and "not for diagnosis" in said["notice"]
    assert said["inputs"] == {"photo": {"path": str(source), "sha256": sha256_of(source)}}
    assert said["model_sha256"] == model.card.weights_sha256 and said["model_folder"] == "models/first"
    assert (said["seed"], said["stochastic"], said["target"], said["output"]) == (3, True, "xray", "a.png")
    assert said["shape"] == [12, 20] and said["spacing_mm"] == pytest.approx([0.1, 0.2])
    assert said["transmodal"] and said["written"]


@pytest.mark.parametrize(("sform", "qform"), [(1, 1), (4, 0), (0, 2), (2, 3)])
def test_nifti_keeps_affine_and_codes(volumes: Translator, tmp_path: Path, sform: int, qform: int) -> None:
    source = volume(tmp_path / "in" / "a.nii.gz")
    read_before = nibabel.load(source)
    scan = nibabel.Nifti1Image(np.asarray(read_before.dataobj), read_before.affine, dtype=np.int16)
    scan.set_sform(scan.affine, sform)
    scan.set_qform(scan.affine, qform)
    nibabel.save(scan, source)
    (_, path), = run(volumes, tmp_path / "in", tmp_path / "out").written  # fmt: skip
    made = nibabel.load(path)
    assert path.name == "a.nii.gz" and made.shape == (9, 8, 5) and made.get_data_dtype() == np.int16
    np.testing.assert_allclose(made.affine, nibabel.load(source).affine)
    assert (int(made.header["sform_code"]), int(made.header["qform_code"])) == (sform, qform)
    assert made.header.get_zooms() == pytest.approx((1.5, 1.25, 3.0))


def test_what_is_done_is_skipped_and_what_changed_is_redone(
    model: Translator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, out = photo(tmp_path / "in" / "a.png"), tmp_path / "out"
    photo(tmp_path / "in" / "sub" / "b.png", 1)

    def outcome(translator: Translator = model, **options: object) -> tuple[int, int]:
        results = run(translator, tmp_path / "in", out, **options)
        assert not results.failed
        return len(results.written), len(results.skipped)

    assert outcome() == (2, 0)
    before = (out / "sub" / "b.png").stat().st_mtime_ns
    assert outcome() == (0, 2)
    assert (out / "sub" / "b.png").stat().st_mtime_ns == before
    assert outcome(seed=1) == (2, 0), "another seed"
    assert outcome(seed=1, spacing=(1.0, 1.0)) == (2, 0), "another pixel size given"
    assert outcome() == (2, 0)
    photo(source, 5)
    assert outcome() == (1, 1), "another input"
    (out / "a.png").unlink()
    assert outcome() == (1, 1), "a lost output"
    other = load_translator(make_translator(tmp_path / "other", PHOTO, XRAY, seed=1))
    assert outcome(other) == (2, 0), "another model"
    assert outcome(load_translator(make_translator(tmp_path / "third", PHOTO, XRAY, seed=1, shrink=2))) == (2, 0)
    (tmp_path / "in").rename(tmp_path / "moved")
    results = run(other, tmp_path / "moved", out)
    assert (len(results.written), len(results.skipped)) == (2, 0)
    monkeypatch.chdir(tmp_path)
    assert len(run(other, Path("moved"), out).skipped) == 2, "where the inputs lie is of no matter"


def test_a_plain_translation_is_no_ensemble_and_a_lost_deviation_is_made_again(
    model: Translator, tmp_path: Path
) -> None:
    source, out = photo(tmp_path / "in" / "a.png"), tmp_path / "out"
    other = load_translator(make_translator(tmp_path / "other", PHOTO, XRAY, seed=1))
    third = load_translator(make_translator(tmp_path / "third", PHOTO, XRAY, seed=2))
    spread = out / "a_sd.tiff"

    def written(**options: object) -> bool:
        results = run(model, source, out, **options)
        assert not results.failed
        return bool(results.written)

    assert written() and not spread.exists()
    assert written(ensemble=[other]) and spread.is_file()
    assert not written(ensemble=[other])
    assert written(ensemble=[third]), "another member"
    spread.unlink()
    assert written(ensemble=[third]) and spread.is_file()
    assert written(), "the image there is a mean over members"
    for passes in (2, 3):
        assert written(passes=passes) and not written(passes=passes)


@pytest.mark.parametrize(
    "content", ["", "[]", "{", '{"output": "../../a.png", "written": "x"}', '{"output": "", "written": 1}']
)
def test_a_damaged_sidecar_is_no_proof_and_leads_nowhere(model: Translator, tmp_path: Path, content: str) -> None:
    source = photo(tmp_path / "in" / "a.png")
    (tmp_path / "out").mkdir()
    sidecar_of(tmp_path / "out" / "a.png").write_text(content)
    assert len(run(model, source, tmp_path / "out").written) == 1


def test_a_write_that_was_broken_off_is_done_again(
    model: Translator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = photo(tmp_path / "in" / "a.png")
    original, calls = synthetic.write_text, []

    def killed(path: Path, text: str) -> Path:
        calls.append(path)
        if len(calls) == 2:  # the image is there, its final sidecar is not
            raise KeyboardInterrupt
        return original(path, text)

    monkeypatch.setattr(synthetic, "write_text", killed)
    with pytest.raises(KeyboardInterrupt):
        run(model, source, tmp_path / "out")
    monkeypatch.undo()
    assert (tmp_path / "out" / "a.png").exists()
    assert len(run(model, source, tmp_path / "out").written) == 1


def test_bad_files_among_good_ones_are_listed_and_the_rest_is_done(model: Translator, tmp_path: Path) -> None:
    folder = tmp_path / "in"
    good = [photo(folder / f"good{number}.png", number) for number in range(2)]
    truncated = photo(folder / "truncated.png")
    truncated.write_bytes(truncated.read_bytes()[:100])
    (folder / "empty.png").write_bytes(b"")
    (folder / "words.tif").write_text("no picture")
    (folder / "readme.txt").write_text("notes")
    (folder / ".hidden.png").write_bytes(b"")
    write(Image(np.zeros((4, 4, 4), np.uint8), channels=(*COLOURS, "alpha")), folder / "rgba.png")
    write(Image(np.zeros((4, 4, 3), np.uint16), channels=COLOURS), folder / "sixteen.png")
    results = run(model, folder, tmp_path / "out")
    assert [name for name, _ in results.written] == [file.stem for file in good]
    reasons = dict(results.failed)
    assert set(reasons) == {"truncated", "empty", "words", "rgba", "sixteen"}
    assert "trained on channels red, green, blue" in reasons["rgba"]
    assert all("\n" not in reason and name in reason for name, reason in reasons.items())
    left = sorted(file.name for file in (tmp_path / "out").iterdir())
    assert left == ["good0.png", "good0.synthetic.json", "good1.png", "good1.synthetic.json"]


@pytest.mark.parametrize("error", [MemoryError(), RuntimeError("not enough memory: you tried to allocate 9 GB")])
def test_an_image_that_does_not_fit_into_memory_does_not_stop_the_rest(
    model: Translator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    photo(tmp_path / "in" / "a.png")
    photo(tmp_path / "in" / "large.png", shape=(40, 40))
    original = model.method.translate

    def translate(inputs: dict, **options: object) -> dict:
        if inputs["photo"].shape[-1] == 40:
            raise error
        return original(inputs, **options)

    monkeypatch.setattr(model.method, "translate", translate)
    results = run(model, tmp_path / "in", tmp_path / "out")
    assert [name for name, _ in results.written] == ["a"]
    assert "large.png (40×40) needs more memory than cpu has" in results.failed[0][1]


def test_no_true_image_is_ever_replaced(model: Translator, tmp_path: Path) -> None:
    source = photo(tmp_path / "photos" / "a.png")
    truth = write(Image(np.full((12, 20), 7, np.uint16)), tmp_path / "xrays" / "a.png")
    bytes_before = source.read_bytes(), truth.read_bytes()
    with pytest.raises(UserError, match="is the folder of the inputs"):
        run(model, tmp_path / "photos", tmp_path / "photos")
    with pytest.raises(UserError, match="is the folder of the inputs"):
        run(model, tmp_path / "photos", tmp_path / "xrays" / ".." / "photos")
    results = run(model, tmp_path / "photos", tmp_path / "xrays")
    assert "was not made by 'transmodal translate'" in results.failed[0][1]
    results = run(model, source, truth, single_file=True)
    assert "was not made by" in results.failed[0][1]
    results = run(model, source, source, single_file=True)
    assert "is the input itself" in results.failed[0][1]
    assert (source.read_bytes(), truth.read_bytes()) == bytes_before
    assert not list(tmp_path.rglob("*.json"))


def test_a_synthetic_image_is_not_translated_onto_itself(volumes: Translator, tmp_path: Path) -> None:
    volume(tmp_path / "in" / "a.nii.gz")
    (_, made), = run(volumes, tmp_path / "in", tmp_path / "out").written  # fmt: skip
    content = made.read_bytes()
    assert "input itself" in run(volumes, made, made, single_file=True).failed[0][1]
    assert made.read_bytes() == content


def test_another_suffix_is_neither_taken_for_done_nor_robs_an_image_of_its_mark(
    model: Translator, tmp_path: Path
) -> None:
    source, png, tiff = photo(tmp_path / "a.png"), tmp_path / "out" / "x.png", tmp_path / "out" / "x.tiff"
    assert run(model, source, png, single_file=True).written
    results = run(model, source, tiff, single_file=True)
    assert "marks x.png as synthetic" in results.failed[0][1] and not tiff.exists()
    assert sidecar(png)["output"] == "x.png"
    png.unlink()
    assert run(model, source, tiff, single_file=True).written == [("a", tiff)] and tiff.exists()


def test_outputs_below_the_inputs_are_no_inputs(volumes: Translator, tmp_path: Path) -> None:
    volume(tmp_path / "in" / "a.nii.gz")
    out = tmp_path / "in" / "synthetic"
    assert len(run(volumes, tmp_path / "in", out).written) == 1
    again = run(volumes, tmp_path / "in", out)
    assert (len(again.written), len(again.skipped)) == (0, 1)


def test_two_inputs_of_one_output_name_are_refused(tmp_path: Path) -> None:
    photo(tmp_path / "a.png")
    photo(tmp_path / "a.tiff")
    with pytest.raises(UserError, match=r"a\.png and .*a\.tiff would have one name"):
        find_jobs(tmp_path, ["photo"])
    assert [job.name for job in find_jobs(tmp_path / "a.tiff", ["photo"])] == ["a"]


def series(folder: Path) -> Path:
    folder.parent.mkdir(parents=True, exist_ok=True)
    return write(Image(np.random.default_rng(0).integers(0, 900, (9, 8, 4)).astype(np.int16)), folder)


def test_a_dicom_series_is_one_volume_and_comes_back_as_one(volumes: Translator, tmp_path: Path) -> None:
    made = series(tmp_path / "in" / "plain")
    made.rename(tmp_path / "in" / "1.2.840.113619")  # a folder called by its UID
    volume(tmp_path / "in" / "b.nii.gz")
    results = run(volumes, tmp_path / "in", tmp_path / "out")
    assert not results.failed
    assert sorted(name for name, _ in results.written) == ["1_2_840_113619", "b"]
    folder = tmp_path / "out" / "1_2_840_113619"
    assert read(folder).same_grid(read(tmp_path / "in" / "1.2.840.113619"))
    assert len(run(volumes, tmp_path / "in", tmp_path / "out").skipped) == 2
    again = run(volumes, tmp_path / "in", tmp_path / "out", seed=1)
    assert not again.failed and len(again.written) == 2, "slices of an earlier call make room"
    only = run(volumes, tmp_path / "in" / "1.2.840.113619", tmp_path / "alone")
    assert [name for name, _ in only.written] == ["1_2_840_113619"]


def test_dicom_slices_are_translated_one_by_one_by_a_model_of_pictures(tmp_path: Path) -> None:
    translator = load_translator(make_translator(tmp_path / "model", T1, T2))
    series(tmp_path / "in")
    results = run(translator, tmp_path / "in", tmp_path / "out")
    assert [path.name for _, path in results.written] == [f"slice-{number:04d}.dcm" for number in (1, 2, 3, 4)]
    assert read(results.written[0][1]).shape == (9, 8)


def test_what_dicom_cannot_hold_becomes_nifti(tmp_path: Path) -> None:
    floats = {"T2": T2["T2"].model_copy(update={"dtype": "float32"})}
    translator = load_translator(make_translator(tmp_path / "model", T1, floats, slices=SliceSettings()))
    series(tmp_path / "in")
    (_, path), = run(translator, tmp_path / "in", tmp_path / "out").written  # fmt: skip
    assert path.name == "in.nii.gz" and read(path).pixels.dtype == np.float32


def test_several_targets_are_told_apart_by_name(tmp_path: Path) -> None:
    both = T2 | {"FLAIR": T2["T2"]}
    translator = load_translator(make_translator(tmp_path / "model", T1, both, slices=SliceSettings()))
    volume(tmp_path / "in" / "a.nii")
    results = run(translator, tmp_path / "in", tmp_path / "out")
    assert [path.name for _, path in results.written] == ["a_T2.nii.gz", "a_FLAIR.nii.gz"]
    (tmp_path / "out" / "a_FLAIR.nii.gz").unlink()
    assert len(run(translator, tmp_path / "in", tmp_path / "out").written) == 2


def test_spacing_is_given_to_pictures_that_have_none(model: Translator, tmp_path: Path) -> None:
    photo(tmp_path / "in" / "sized.png")
    image = read(tmp_path / "in" / "sized.png")
    write(Image(image.pixels, channels=COLOURS, has_physical_size=False), tmp_path / "in" / "bare.png")
    run(model, tmp_path / "in", tmp_path / "out", spacing=(0.5, 0.5))
    assert read(tmp_path / "out" / "sized.png").spacing == pytest.approx((0.1, 0.2))
    assert read(tmp_path / "out" / "bare.png").spacing == pytest.approx((0.5, 0.5))
    run(model, tmp_path / "in", tmp_path / "out")
    assert not read(tmp_path / "out" / "bare.png").has_physical_size


def test_a_manifest_gives_the_names_of_its_cases(model: Translator, tmp_path: Path) -> None:
    photo(tmp_path / "photos" / "x1.png")
    manifest = tmp_path / "manifest.csv"
    manifest.write_text("subject,session,modality,path\nmouse1,day2,photo,photos/x1.png\n")
    assert [path.name for _, path in run(model, manifest, tmp_path / "out").written] == ["mouse1_day2.png"]


def test_nothing_to_do_is_said(model: Translator, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    with pytest.raises(UserError, match="holds no image"):
        find_jobs(tmp_path / "in", ["photo"])
    with pytest.raises(UserError, match="There is no"):
        find_jobs(tmp_path / "gone", ["photo"])
    with pytest.raises(UserError, match=r"give a manifest\.csv"):
        find_jobs(tmp_path / "in", ["T1", "T2"])


def test_a_place_that_cannot_be_written_is_said_once(model: Translator, tmp_path: Path) -> None:
    photo(tmp_path / "in" / "a.png")
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(UserError, match=r"Cannot write to .*choose a folder"):
        run(model, tmp_path / "in", tmp_path / "file" / "out")


def test_a_pair_of_header_and_data_is_one_input(volumes: Translator, tmp_path: Path) -> None:
    volume(tmp_path / "in" / "a.hdr")
    assert [path.name for path in sorted((tmp_path / "in").iterdir())] == ["a.hdr", "a.img"]
    assert len(run(volumes, tmp_path / "in", tmp_path / "out").written) == 1


def manifest_of(folder: Path, cases: dict[str, tuple[str, ...]]) -> Path:
    lines = ["subject,modality,path"]
    for number, (case, modalities) in enumerate(cases.items()):
        for seed, modality in enumerate(modalities):
            volume(folder / f"{case}_{modality}.nii", 10 * number + seed)
            lines.append(f"{case},{modality},{case}_{modality}.nii")
    manifest = folder / "manifest.csv"
    manifest.write_text("\n".join(lines) + "\n")
    return manifest


@pytest.fixture(scope="module")
def any_to_any(tmp_path_factory: pytest.TempPathFactory) -> Translator:
    return load_translator(make_any_to_any(tmp_path_factory.mktemp("any") / "model"))


def run_any(
    translator: Translator,
    given: Path,
    out: Path,
    targets: list[str] | None,
    *,
    only: list[str] | None = None,
    ensemble: tuple[Translator, ...] = (),
) -> Results:
    jobs = find_jobs(given, list(translator.card.inputs), volumes=True, may_miss=True, modalities=only)
    return apply_translator(translator, jobs, out, targets=targets, ensemble=ensemble)


def test_what_is_made_is_never_given(any_to_any: Translator, tmp_path: Path) -> None:
    manifest = manifest_of(tmp_path / "in", {"m1": ("T1", "T2", "FLAIR")})
    out = tmp_path / "out"
    results = run_any(any_to_any, manifest, out, ["T2", "FLAIR", "T2"])
    assert [path.name for _, path in results.written] == ["m1_T2.nii.gz", "m1_FLAIR.nii.gz"]
    images = {name: read(tmp_path / "in" / f"m1_{name}.nii") for name in ("T1", "T2", "FLAIR")}
    for target in ("T2", "FLAIR"):
        rest = {name: image for name, image in images.items() if name != target}
        expected = any_to_any.translate_case(rest, targets=[target])[target]
        made = out / f"m1_{target}.nii.gz"
        np.testing.assert_array_equal(read(made).pixels, expected.pixels)
        assert sidecar(made)["inputs"].keys() == rest.keys()
    before = read(out / "m1_T2.nii.gz").pixels
    volume(tmp_path / "in" / "m1_T2.nii", 99)
    again = run_any(any_to_any, manifest, out, ["T2", "FLAIR"])
    assert [path.name for _, path in again.skipped] == ["m1_T2.nii.gz"], "the true T2 is no input of the made T2"
    assert [path.name for _, path in again.written] == ["m1_FLAIR.nii.gz"]
    np.testing.assert_array_equal(read(out / "m1_T2.nii.gz").pixels, before)
    with pytest.raises(UserError, match="T2 is given"):
        any_to_any.translate_case(images, targets=["T2"])


def test_the_spread_over_passes_does_not_see_the_target_either(any_to_any: Translator, tmp_path: Path) -> None:
    manifest = manifest_of(tmp_path / "in", {"m1": ("T1", "T2")})
    assert not run_any(any_to_any, manifest, tmp_path / "out", ["T2"], ensemble=(any_to_any,)).failed
    for name in ("m1_T2.nii.gz", "m1_T2_sd.nii.gz"):
        assert sidecar(tmp_path / "out" / name)["inputs"].keys() == {"T1"}


def test_a_target_without_another_input_fails_and_the_others_are_made(any_to_any: Translator, tmp_path: Path) -> None:
    manifest = manifest_of(tmp_path / "in", {"m1": ("T2",), "m2": ("T1", "T2", "FLAIR"), "m3": ("T1", "T2")})
    results = run_any(any_to_any, manifest, tmp_path / "out", ["T2", "FLAIR"])
    assert [path.name.removesuffix(".nii.gz") for _, path in results.written] == [
        "m1_FLAIR", "m2_T2", "m2_FLAIR", "m3_FLAIR", "m3_T2"
    ]  # fmt: skip
    ((name, reason),) = results.failed
    assert name == "m1" and "only T2 to make T2 of" in reason
    results = run_any(any_to_any, manifest, tmp_path / "made", None)
    assert [(name, "--targets" in reason) for name, reason in results.failed] == [("m2", True)]
    assert [path.name for _, path in results.written] == ["m1_T1.nii.gz", "m1_FLAIR.nii.gz", "m3_FLAIR.nii.gz"]


def test_only_the_named_modalities_of_a_manifest_are_used(any_to_any: Translator, tmp_path: Path) -> None:
    manifest = manifest_of(tmp_path / "in", {"m1": ("T1", "T2", "FLAIR")})
    ((_, path),) = run_any(any_to_any, manifest, tmp_path / "out", ["T2"], only=["T1"]).written
    expected = any_to_any.translate_case({"T1": read(tmp_path / "in" / "m1_T1.nii")}, targets=["T2"])["T2"]
    np.testing.assert_array_equal(read(path).pixels, expected.pixels)
    assert sidecar(path)["inputs"].keys() == {"T1"}


CT = T1["T1"].model_copy(update={"dtype": "float32", "quantity": "HU"})


def ct_slice(path: Path, values: float = 40) -> Path:
    pixels = np.random.default_rng(0).normal(values, 200, (12, 16)).astype(np.int16)
    path.parent.mkdir(parents=True, exist_ok=True)
    affine = np.array([[0, -0.8, 0, 30], [-0.8, 0, 0, 4], [0, 0, 5.0, 5], [0, 0, 0, 1]])
    return write(Image(pixels, affine, quantity="HU"), path)


@pytest.mark.parametrize("single", [True, False])
def test_a_single_dicom_slice_becomes_a_segmentation(tmp_path: Path, single: bool) -> None:
    lung = T2["T2"].model_copy(
        update={"labels": LabelClasses.named({"lung": (1,)}, exclusive=True), "dtype": "uint8", "quantity": "label"}
    )
    translator = load_translator(make_translator(tmp_path / "model", {"ct": CT}, {"lung": lung}))
    source = ct_slice(tmp_path / "in" / "s.dcm")
    results = run(translator, source if single else source.parent, tmp_path / "out", as_segments=True)
    assert not results.failed and [path.name for _, path in results.written] == ["s.dcm"]
    made = read(tmp_path / "out" / "s.dcm")
    assert made.quantity == "label" and made.same_grid(read(source))
    instance = pydicom.dcmread(tmp_path / "out" / "s.dcm").ReferencedSeriesSequence[0].ReferencedInstanceSequence[0]
    assert instance.ReferencedSOPInstanceUID == pydicom.dcmread(source).SOPInstanceUID


def test_a_ct_restorers_floats_become_whole_hounsfield_units_in_dicom_and_that_is_said(tmp_path: Path) -> None:
    translator = load_translator(make_translator(tmp_path / "model", {"ct": CT}, {"clean": CT}))
    source = ct_slice(tmp_path / "in" / "s.dcm")
    expected = translator(read(source)).pixels
    for results in (
        run(translator, source, tmp_path / "one.dcm", single_file=True),
        run(translator, tmp_path / "in", tmp_path / "out"),
    ):
        ((_, path),) = results.written
        made = read(path)
        assert path.suffix == ".dcm" and made.quantity == "HU"
        np.testing.assert_array_equal(made.pixels, np.rint(expected))
        rounded = sidecar(path)["rounded"]
        assert rounded.startswith("whole HU, off by at most 0.")
        assert ("s", f"{path.name} is DICOM, which stores clean as {rounded}") in results.warnings
    exact = run(translator, source, tmp_path / "one.tiff", single_file=True)
    assert "marks one.dcm as synthetic" in exact.failed[0][1]
    exact = run(translator, source, tmp_path / "exact.tiff", single_file=True)
    assert "rounded" not in sidecar(tmp_path / "exact.tiff") and exact.written
    assert not any("stores" in line for _, line in exact.warnings)


def test_other_floats_asked_for_as_dicom_are_stored_in_steps(tmp_path: Path) -> None:
    floats = {"T2": T2["T2"].model_copy(update={"dtype": "float32"})}
    translator = load_translator(make_translator(tmp_path / "model", T1, floats))
    source = ct_slice(tmp_path / "s.dcm")
    assert run(translator, source, tmp_path / "made.dcm", single_file=True).written
    off = float(sidecar(tmp_path / "made.dcm")["rounded"].removeprefix("65536 steps over its range, off by at most "))
    assert np.abs(read(tmp_path / "made.dcm").pixels - translator(read(source)).pixels).max() <= off < 2000 / 65535


def test_a_write_that_fails_leaves_no_sidecar_but_that_of_an_earlier_image(volumes: Translator, tmp_path: Path) -> None:
    source, place = volume(tmp_path / "a.nii.gz"), tmp_path / "made.png"
    results = run(volumes, source, place, single_file=True)
    assert results.failed and not list(tmp_path.glob("made*")), "PNG holds no volume"
    earlier = write(Image(np.zeros((4, 4), np.uint8)), place)
    synthetic.write_sidecar(earlier, {"synthetic": True, "output": place.name, "written": "before"})
    said, content = synthetic.sidecar_of(place).read_text(), place.read_bytes()
    assert run(volumes, source, place, single_file=True).failed
    assert synthetic.sidecar_of(place).read_text() == said and place.read_bytes() == content


def test_a_deviations_name_that_is_taken_is_said_before_anything_is_computed(
    model: Translator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = photo(tmp_path / "in" / "a.png")
    (tmp_path / "out").mkdir()
    write(Image(np.zeros((12, 20), np.float32)), tmp_path / "out" / "a_sd.tiff")
    monkeypatch.setattr(model, "translate_with_spread", None)
    results = run(model, source, tmp_path / "out", passes=2)
    assert "a_sd.tiff exists and was not made by" in results.failed[0][1]
    assert [file.name for file in (tmp_path / "out").iterdir()] == ["a_sd.tiff"]


def test_another_pixel_size_than_that_of_the_training_is_warned_of(tmp_path: Path) -> None:
    folder = make_translator(tmp_path / "model", {"ct": CT}, {"clean": CT})
    translator = load_translator(folder)
    source = read(ct_slice(tmp_path / "s.dcm"))
    assert not translator.warnings(source), "an older card does not know"
    for known, warns in (((3.25, 3.25), True), ((0.7, 0.9), False), ((0.4, 0.5), True), ((1.0, 3.0), False)):
        card = translator.card.model_copy(update={"spacing": (known, known)})
        lines = Translator(translator.method, card).warnings(source)
        assert any("the network sees pixels of 0.8×0.8 mm and learnt from" in line for line in lines) is warns
    card = translator.card.model_copy(update={"spacing": ((3.25, 3.25), (3.25, 3.25))})
    unsized = Image(source.pixels, quantity="HU", has_physical_size=False)
    assert not Translator(translator.method, card).warnings(unsized)


def test_padding_of_ct_is_told_as_padding(tmp_path: Path) -> None:
    intensity = CT.intensity.model_copy(update={"low": -1024.0, "high": 1500.0, "cut": (0.0, 0.0)})
    part = CT.model_copy(update={"intensity": intensity})
    translator = load_translator(make_translator(tmp_path / "model", {"ct": part}, {"clean": part}))
    image = read(ct_slice(tmp_path / "s.dcm"))
    pixels = image.pixels.copy()
    pixels[:3] = -3024
    (line,) = translator.warnings(image.with_pixels(pixels))
    assert line.endswith("s.dcm (ct): 25.00% of its values are padding (-3024), taken as air (-1024)")
    (line,) = translator.warnings(image.with_pixels(pixels, quantity="intensity"))
    assert "padding (-3024)" in line, "a file without a unit has that of the modality"
    phase = part.model_copy(update={"quantity": "intensity"})
    of_phase = load_translator(make_translator(tmp_path / "phase", {"ct": phase}, {"clean": phase}))
    (line,) = of_phase.warnings(image.with_pixels(pixels, quantity="intensity"))
    assert "are padding" not in line and "25.00% of its values are below -1024" in line
