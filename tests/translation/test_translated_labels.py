"""A segmentation in use: label maps on the inputs' own grid, tidied, with names and colours beside and inside them."""

import json
from dataclasses import replace
from pathlib import Path

import nibabel
import numpy as np
import pydicom
import pytest
from tests.data.abdomens import AFFINE, LIVER, TINY_SEGMENTATION, TUMOUR, abdomen, write_abdomens

from transmodal.datasets.label_classes import LabelClasses
from transmodal.errors import UserError
from transmodal.images import Image, read, write
from transmodal.metrics.overlap import dice
from transmodal.training.recipe import Recipe
from transmodal.training.train import train
from transmodal.translation import Translator, load_translator
from transmodal.translation.apply import apply_translator, find_jobs, sidecar_of
from transmodal.translation.options import Options


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("abdomens")
    write_abdomens(folder)
    return folder


@pytest.fixture(scope="module")
def translator(data: Path) -> Translator:
    recipe = Recipe.model_validate(TINY_SEGMENTATION)
    run = train(recipe, data / "manifest.csv", data / "run", cache=data / "cache", quiet=True)
    return load_translator(run.folder)


def test_a_label_map_comes_back_on_the_inputs_own_grid(data: Path, translator: Translator) -> None:
    made, truth = translator(read(data / "m4_w1_ct.nii.gz")), read(data / "m4_w1_organs.nii.gz")
    assert made.same_grid(truth) and made.pixels.dtype == np.uint8 and made.quantity == "label"
    for label in (LIVER, TUMOUR):
        assert dice(made.pixels, truth.pixels, label=label) > 0.9


def test_the_card_knows_the_pixel_size_of_the_training_and_another_is_warned_of(
    data: Path, translator: Translator
) -> None:
    image = read(data / "m4_w1_ct.nii.gz")
    sizes = translator.card.preparation.prepared_spacing(image)
    assert translator.card.spacing == tuple((size, size) for size in sizes)
    coarse = replace(image, affine=image.affine @ np.diag([2.0, 2.0, 2.0, 1.0]))
    lines = [[line for line in translator.warnings(each) if "learnt from" in line] for each in (image, coarse)]
    assert [len(each) for each in lines] == [0, 1]


def test_other_orientations_and_pixel_sizes_are_met(data: Path, translator: Translator) -> None:
    values, labels = abdomen(4, 1)
    turned = Image(
        np.ascontiguousarray(np.moveaxis(values, 2, 0)[:, ::-1]),
        AFFINE[:, [2, 0, 1, 3]] @ np.array([[1, 0, 0, 0], [0, -1, 0, values.shape[0] - 1], [0, 0, 1, 0], [0, 0, 0, 1]]),
        quantity="HU",
    )
    made = translator(turned)
    np.testing.assert_array_equal(
        np.moveaxis(made.pixels[:, ::-1], 0, 2), translator(Image(values, AFFINE, quantity="HU")).pixels
    )
    assert dice(np.moveaxis(made.pixels[:, ::-1], 0, 2), labels, label=LIVER) > 0.9


def test_files_say_what_their_values_mean(data: Path, translator: Translator, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for visit in range(2):
        write(read(data / f"m4_w{visit}_ct.nii.gz"), tmp_path / "in" / f"m4_w{visit}.nii.gz")
    jobs = find_jobs(tmp_path / "in", ["ct"], volumes=True)
    results = apply_translator(translator, jobs, tmp_path / "out")
    assert len(results.written) == 2 and not results.failed
    made = nibabel.load(tmp_path / "out" / "m4_w0.nii.gz")
    assert made.get_data_dtype() == np.uint8 and set(np.unique(np.asanyarray(made.dataobj))) == {0, LIVER, TUMOUR}
    assert b"not for diagnosis" in bytes(made.header["descrip"])
    assert "1 liver, 2 tumour" in str(made.header.extensions[0].get_content())
    legend = json.loads((tmp_path / "out" / "labels.json").read_text())["labels"]["organs"]
    assert [(each["value"], each["name"]) for each in legend] == [(0, "background"), (1, "liver"), (2, "tumour")]
    assert all(each["colour"].startswith("#") for each in legend[1:])
    sidecar = json.loads((tmp_path / "out" / "m4_w0.synthetic.json").read_text())
    assert sidecar["labels"] == legend and sidecar["synthetic"] is True and sidecar["quantity"] == "label"
    assert len(apply_translator(translator, jobs, tmp_path / "out").skipped) == 2


def test_dicom_comes_back_as_a_segmentation_of_its_series(translator: Translator, tmp_path: Path) -> None:
    values, _ = abdomen(4, 1)
    affine = AFFINE.copy()
    affine[2, 2] *= -1  # slices in the order in which a reader sorts them
    write(Image(np.rint(values).astype(np.int16), affine, quantity="HU"), tmp_path / "ct" / "scan")
    jobs = find_jobs(tmp_path / "ct", ["ct"], volumes=True)
    results = apply_translator(translator, jobs, tmp_path / "out", as_segments=True)
    ((_, path),) = results.written
    assert path == tmp_path / "out" / "scan.dcm"
    made, source = read(path), read(tmp_path / "ct" / "scan")
    assert made.same_grid(source)
    np.testing.assert_array_equal(made.pixels, translator(source).pixels)
    dataset = pydicom.dcmread(path)
    assert [each.SegmentLabel for each in dataset.SegmentSequence] == ["liver", "tumour"]
    assert "not for diagnosis" in dataset.DerivationDescription
    # Without being asked to, a label map of DICOM becomes NIfTI; a name that ends in .dcm asks.
    plain = apply_translator(translator, jobs, tmp_path / "plain").written
    assert plain[0][1].name == "scan.nii.gz"
    apply_translator(translator, jobs, tmp_path / "one.dcm", single_file=True)
    assert pydicom.dcmread(tmp_path / "one.dcm").Modality == "SEG"


def test_a_segment_of_nested_classes_holds_the_inner_ones(translator: Translator, tmp_path: Path) -> None:
    values, _ = abdomen(4, 1)
    affine = AFFINE.copy()
    affine[2, 2] *= -1
    write(Image(np.rint(values).astype(np.int16), affine, quantity="HU"), tmp_path / "ct" / "scan")
    classes = LabelClasses.named({"liver": (LIVER, TUMOUR), "tumour": (TUMOUR,)}, exclusive=False)
    modalities = translator.card.preparation.modalities
    organs = modalities["organs"].model_copy(update={"labels": classes})
    preparation = translator.card.preparation.model_copy(update={"modalities": modalities | {"organs": organs}})
    nested = Translator(translator.method, translator.card.model_copy(update={"preparation": preparation}))
    jobs = find_jobs(tmp_path / "ct", ["ct"], volumes=True)
    ((_, path),) = apply_translator(nested, jobs, tmp_path / "out", as_segments=True).written
    dataset, made = pydicom.dcmread(path), nested(read(tmp_path / "ct" / "scan")).pixels
    frames = np.moveaxis(dataset.pixel_array.reshape(2, made.shape[2], *made.shape[:2]), 1, -1)
    np.testing.assert_array_equal(frames[0], made > 0)
    np.testing.assert_array_equal(frames[1], made == TUMOUR)
    assert dataset.SegmentsOverlap == "YES" and (made == TUMOUR).any()
    np.testing.assert_array_equal(read(path).pixels, made)


def test_tidying_is_the_cards_unless_asked_for(data: Path, translator: Translator) -> None:
    image = read(data / "m4_w1_ct.nii.gz")
    stray = image.pixels.copy()
    stray[4:8, 4:8, 2:4] = 100  # a bit of liver far from the liver
    image = image.with_pixels(stray)
    as_made = translator.translate_case(image)["organs"].pixels
    one_piece = translator.translate_case(image, options=Options(largest_component=("liver",)))["organs"].pixels
    assert (as_made[4:8, 4:8, 2:4] == LIVER).any() and not (one_piece[4:8, 4:8, 2:4] == LIVER).any()
    np.testing.assert_array_equal(as_made[12:, 8:], one_piece[12:, 8:])
    classes = translator.card.preparation.classes_of("organs").with_changes(largest_component=["liver"])
    modalities = translator.card.preparation.modalities
    organs = modalities["organs"].model_copy(update={"labels": classes})
    preparation = translator.card.preparation.model_copy(update={"modalities": modalities | {"organs": organs}})
    by_card = Translator(translator.method, translator.card.model_copy(update={"preparation": preparation}))
    np.testing.assert_array_equal(by_card(image).pixels, one_piece)
    untidied = by_card.translate_case(image, options=Options(largest_component=()))["organs"].pixels
    np.testing.assert_array_equal(untidied, as_made)
    with pytest.raises(UserError, match="fill_holes: there is no class 'lung'; the classes are liver, tumour"):
        translator.translate_case(image, options=Options(fill_holes=("lung",)))


def test_mirrored_inputs_are_averaged_as_probabilities(data: Path, translator: Translator) -> None:
    image, truth = read(data / "m3_w1_ct.nii.gz"), read(data / "m3_w1_organs.nii.gz")
    made = translator.translate_case(image, options=Options(flips=(0, 1)))["organs"].pixels
    assert set(np.unique(made)) <= {0, LIVER, TUMOUR} and dice(made, truth.pixels, label=LIVER) > 0.9


def test_flips_are_the_cards_unless_asked_for(data: Path, translator: Translator, tmp_path: Path) -> None:
    image = read(data / "m3_w1_ct.nii.gz")
    card = translator.card.model_copy(update={"settings": translator.card.settings | {"flips": [0, 1]}})
    by_card = Translator(translator.method, card)

    def probabilities(of: Translator, flips: tuple[int, ...] | None) -> np.ndarray:
        return of._exact(of.prepare(image, None, None), None, Options(flips=flips))["organs"]

    mirrored, plain = probabilities(translator, (0, 1)), probabilities(translator, None)
    assert not np.array_equal(mirrored, plain)
    np.testing.assert_array_equal(probabilities(by_card, None), mirrored)
    np.testing.assert_array_equal(probabilities(by_card, ()), plain)
    jobs = find_jobs(data / "m3_w1_ct.nii.gz", ["ct"], volumes=True)
    for flips, told in ((None, [0, 1]), ((), [])):
        results = apply_translator(by_card, jobs, tmp_path / f"{flips}.nii.gz", single_file=True,
                                   options=Options(flips=flips))  # fmt: skip
        ((_, written),) = results.written
        assert json.loads(sidecar_of(written).read_text())["options"]["flips"] == told


def test_an_ensemble_tells_its_doubt_as_a_probability(data: Path, translator: Translator) -> None:
    image = read(data / "m3_w1_ct.nii.gz")
    made, sd = translator.translate_with_spread(image, passes=0, others=[translator])["organs"]
    np.testing.assert_array_equal(made.pixels, translator(image).pixels)
    assert sd.shape == image.shape and sd.quantity == "probability" and sd.pixels.max() < 1e-6


def test_segments_are_not_made_of_images(translator: Translator, tmp_path: Path) -> None:
    modalities = translator.card.preparation.modalities
    organs = modalities["organs"].model_copy(update={"labels": None})
    preparation = translator.card.preparation.model_copy(update={"modalities": modalities | {"organs": organs}})
    images = Translator(translator.method, translator.card.model_copy(update={"preparation": preparation}))
    with pytest.raises(UserError, match="makes images, and DICOM segmentations are of label maps"):
        apply_translator(images, [], tmp_path, as_segments=True)
    for asked in (Options(fill_holes=("liver",)), Options(thresholds=(("liver", 0.3),))):
        with pytest.raises(UserError, match="largest component, holes and thresholds are of label maps"):
            images.label_classes("organs", asked)


def test_the_command_takes_the_format_and_the_tidying(data: Path, translator: Translator, tmp_path: Path) -> None:
    from typer.testing import CliRunner

    from transmodal.cli.application import application

    def call(*words: str) -> "object":
        base = ["translate", "-m", str(data / "run"), "-i", str(data / "m4_w1_ct.nii.gz"), *words]
        return CliRunner().invoke(application, base)

    done = call("-o", str(tmp_path / "out"), "--format", "dicom-seg", "--largest-component", "liver,tumour")
    assert done.exit_code == 0, done.output  # type: ignore[attr-defined]
    assert read(tmp_path / "out" / "m4_w1_ct.dcm").quantity == "label"
    sidecar = json.loads((tmp_path / "out" / "m4_w1_ct.synthetic.json").read_text())
    assert sidecar["options"]["largest_component"] == ["liver", "tumour"] and sidecar["format"] == "dicom-seg"
    call("-o", str(tmp_path / "plain"), "--fill-holes", "none")
    assert json.loads((tmp_path / "plain" / "m4_w1_ct.synthetic.json").read_text())["options"]["fill_holes"] == []
    for words, reason in (
        (("--format", "nifti"), "take dicom-seg"),
        (("--fill-holes", "lung"), "there is no class 'lung'"),
        (("--threshold", "liver=0.2"), "a softmax gives a pixel its most probable class"),
        (("--threshold", "liver"), "write class=probability, as tumour=0.3"),
    ):
        refused = call("-o", str(tmp_path / "no"), *words)
        assert reason in str(refused.exception)  # type: ignore[attr-defined]
