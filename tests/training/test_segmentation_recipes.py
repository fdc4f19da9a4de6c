"""Segmentation from a recipe to a run: learnt, resumed to the bit, in 2-D, 2.5-D and 3-D, and what is refused."""

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.data.abdomens import SHAPE, TINY_SEGMENTATION, abdomen, write_abdomens
from tests.data.patches import write_patches
from tests.data.recipes import changed
from tests.data.segments import drop_empty_frames

from transmodal.datasets.cache import prepare_cases
from transmodal.datasets.label_classes import LabelClasses
from transmodal.datasets.manifest import Manifest
from transmodal.datasets.preparation import Preparation
from transmodal.datasets.splits import split_by_subject
from transmodal.datasets.stacked import Stack, unpack
from transmodal.errors import UserError
from transmodal.training import fit
from transmodal.training.checkpoint import load_checkpoint
from transmodal.training.recipe import Recipe
from transmodal.training.recipe_loading import load_recipe
from transmodal.training.run import Run
from transmodal.training.segmentation_validation import label_frequencies, mostly_labelled
from transmodal.training.train import train


def recipe_with(**changes: Any) -> Recipe:
    """Return the tiny recipe with dotted changes, `segmentation__classes`."""
    return changed(TINY_SEGMENTATION, **changes)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("abdomens")
    write_abdomens(folder)
    return folder


def trained(data: Path, out: Path, recipe: Recipe, **more: Any) -> Run:
    return train(recipe, data / "manifest.csv", out, cache=data / "cache", quiet=True, **more)


def log_of(run: Run) -> list[dict[str, str]]:
    with run.log.open(newline="") as stream:
        return list(csv.DictReader(stream))


def test_classes_are_learnt_and_the_best_is_chosen_by_dice(data: Path, tmp_path: Path) -> None:
    run = trained(data, tmp_path / "run", recipe_with(train__validate_every=10))
    rows = log_of(run)
    assert {"validation_dice", "validation_dice_liver", "validation_dice_tumour", "g_dice"} <= set(rows[0])
    assert "validation_psnr" not in rows[0] and float(rows[-1]["validation_dice"]) > 0.9
    card = json.loads((run.model / "translator.json").read_text())
    assert card["targets"] == {"organs": 2} and card["training"]["validation"]["dice"] > 0.9
    labels = card["preparation"]["modalities"]["organs"]["labels"]
    assert [(each["name"], each["value"]) for each in labels["classes"]] == [("liver", 1), ("tumour", 2)]
    assert list(run.samples.glob("*.png"))


@pytest.mark.parametrize(("best", "kept"), [("dice", 1), ("last", 3)])
def test_the_weights_at_the_end_count_as_best_where_asked(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, best: str, kept: int
) -> None:
    from transmodal.evaluation.run import evaluate_run

    scores = iter([0.9, 0.2, 0.1])
    monkeypatch.setattr(fit.SegmentationValidator, "scores", lambda *_: {"dice": next(scores)})
    run = trained(data, tmp_path / "run", recipe_with(train__best=best, train__epochs=3, train__validate_every=1))
    assert load_checkpoint(run.best_checkpoint)["epoch"] == kept
    assert json.loads((run.model / "translator.json").read_text())["training"]["epochs"] == kept
    page = evaluate_run(run.folder, split="validation").report.read_text()
    assert ("the best checkpoint was chosen on them" in page) == (best == "dice")


def test_a_resumed_training_has_the_same_weights(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    changes: dict[str, Any] = {
        "train__epochs": 3,
        "train__average_weights": 0.9,
        "sampling__strata": {"edges": [15, 30], "empty": 0.2},
        "sampling__paste": {"probability": 0.7, "opacity": [0.5, 1.0], "contrast": 0.0},
        "segmentation__class_weights": "inverse",
        "augmentation": {"rotation_degrees": 10, "noise": 0.05, "flip_vertical": 0.5},
    }
    whole = trained(data, tmp_path / "whole", recipe_with(**changes))
    original = fit.Trainer.train_step

    def stopping(self: fit.Trainer, batch: dict[str, torch.Tensor]) -> dict[str, float]:
        self.stop_asked = self.position.step == 9
        return original(self, batch)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(fit.Trainer, "train_step", stopping)
        trained(data, tmp_path / "broken", recipe_with(**changes))
    broken = trained(data, tmp_path / "broken", recipe_with(**changes), resume=True)
    one, other = (load_checkpoint(run.last_checkpoint)["modules"] for run in (whole, broken))
    assert all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize("changes", [
    {"preparation__slices": {"axis": "axial", "minimum_foreground": 0.0, "neighbours": 1}},
    {"spatial_dims": 3, "preparation__slices": None, "train__batch_size": 2},
    {"spatial_dims": 3, "preparation__slices": None, "sampling__patch": [16, 16, 4], "sampling__patches_per_case": 4},
    {"preparation__grid": {"size": [24, 24]}, "segmentation__activation": "sigmoid"},
    {"segmentation__classes": {"liver": [1, 2], "tumour": 2}, "segmentation__activation": "sigmoid"},
    {"segmentation__classes": {}},
    {"spatial_dims": 3, "preparation__slices": None, "sampling": {"patch": [16, 16, 4], "paste": {"contrast": 0.0}}},
])  # fmt: skip
def test_every_arrangement_trains_and_makes_label_maps(data: Path, tmp_path: Path, changes: dict[str, Any]) -> None:
    from transmodal.images import read
    from transmodal.translation import load_translator

    run = trained(data, tmp_path / "run", recipe_with(train__epochs=1, train__validate_every=1, **changes))
    made = load_translator(run.folder)(read(data / "m4_w1_ct.nii.gz"))
    assert made.shape == SHAPE and made.pixels.dtype == np.uint8 and made.pixels.max() <= 2


def test_label_maps_are_prepared_by_the_nearest_pixel(data: Path, tmp_path: Path) -> None:
    recipe = recipe_with(train__epochs=0, preparation__grid={"size": [16, 20]}, segmentation__classes={"tumour": 2})
    run = trained(data, tmp_path / "run", recipe)
    preparation = Preparation.model_validate_json((run.folder / "preparation.json").read_text())
    case = Manifest.read(data / "manifest.csv").cases(split="train")[0]
    (prepared,) = prepare_cases([case], preparation, ["ct"], data / "cache", inputs=["ct"], labels=recipe.along)
    stack = prepared.arrays()["#labels"]
    _, labels = abdomen(0, 0)
    assert stack.shape == (6, 1, 16, 20) and stack.dtype == np.uint8
    assert set(np.unique(stack)) == {0, 1}
    assert stack.sum() * 4 == pytest.approx((labels == 2).sum(), rel=0.4)
    shares = label_frequencies([prepared], 2, 0.0)
    assert shares[1] == pytest.approx(stack.mean()) and sum(shares) == pytest.approx(1)


def test_probabilities_of_a_coarse_grid_come_back_smooth(data: Path, tmp_path: Path) -> None:
    from transmodal.images import read

    run = trained(data, tmp_path / "run", recipe_with(train__epochs=0, preparation__grid={"size": [8, 10]}))
    preparation = Preparation.model_validate_json((run.folder / "preparation.json").read_text())
    like = read(data / "m4_w1_ct.nii.gz")
    values = np.zeros((6, 2, 8, 10), np.float32)
    values[:, 0, 2:6, 3:8] = 1
    made = preparation.restore_labels(values, "organs", like)
    assert set(np.unique(made.pixels)) == {0, 1} and made.same_grid(like)
    inside = np.unique(made.pixels[..., 3], axis=0)
    assert len(inside) > 3, "rounder than blocks of four pixels"
    whole = preparation.restore_probabilities(values, like)
    np.testing.assert_array_equal(preparation.label_map(whole, "organs", like).pixels, made.pixels)


def test_strata_are_of_the_lesion_classes(data: Path, tmp_path: Path) -> None:
    recipe = recipe_with(sampling__strata={"edges": [15, 30]}, segmentation__classes={"liver": [1, 2], "tumour": 2},
                         segmentation__activation="sigmoid")  # fmt: skip
    assert recipe.lesion_numbers == (2,)
    assert recipe_with(segmentation__lesions=["liver"]).lesion_numbers == (1,)


def test_lesions_are_pasted_inside_the_class_that_holds_them() -> None:
    nested = recipe_with(
        segmentation__classes={"body": [1, 2, 3], "liver": [1, 2], "tumour": 2}, segmentation__activation="sigmoid"
    )
    (classes,) = nested.label_maps.values()
    assert nested.lesion_ground is not None
    assert [classes.atoms[number - 1] for number in nested.lesion_ground] == [1], "the liver, not all of the body"
    assert recipe_with(segmentation__classes={"liver": 1, "tumour": 2}).lesion_ground is None
    assert recipe_with(segmentation__classes={}).lesion_ground is None


def test_what_does_not_go_together_is_refused(data: Path, tmp_path: Path) -> None:
    for changes, reason in (
        ({"targets": ["organs", "ct2"]}, "makes one label map"),
        ({"targets": ["ct"]}, "both input and target"),
        ({"labels": {"modality": "organs"}}, "leave labels out"),
        ({"train__best": "psnr"}, "a segmentation takes dice"),
        ({"train__best": "last", "train__patience": 3}, "patience waits for a better score"),
        ({"segmentation__flips": [0, 2]}, "samples have the axes 0 to 1"),
        ({"segmentation__flips": [1, 1]}, "names an axis twice"),
        ({"method": "supervised", "train__best": "dice"}, "dice is of label maps"),
        ({"method": "supervised", "sampling__strata": {}}, "strata needs label maps"),
        ({"method": "supervised", "sampling__paste": {}}, "pastes lesions with their labels"),
    ):
        with pytest.raises(ValueError, match=reason):
            recipe_with(**changes)
    for changes, reason in (
        ({"segmentation__classes": {"kidney": 7}}, "has kidney .* they hold 0, 1, 2; mend segmentation.classes"),
        (
            {"targets": ["ct"], "inputs": ["organs"], "preparation__intensity": {}},
            "ct.nii.gz is no label map: its values are not whole numbers",
        ),
        ({"preparation__intensity": {"organs": {"map": "auto"}}}, "which is a label map here; leave it out"),
    ):
        with pytest.raises(UserError, match=reason):
            trained(data, tmp_path / "refused", recipe_with(**changes))


def test_other_data_keep_the_window_and_may_lack_a_class() -> None:
    recipe = load_recipe(
        "liver-tumour",
        scale="smoke",
        overrides=[
            "inputs=[CT]",
            "targets=[organs]",
            "segmentation.classes.liver=5",
            "segmentation.classes.tumour=null",
        ],
    )
    assert list(recipe.preparation.intensity) == ["CT"] and recipe.preparation.intensity["CT"].low == -200
    assert recipe.label_maps["organs"] == LabelClasses.named(
        {"liver": (5,)}, exclusive=False, largest_component=("liver",), fill_holes=("liver",)
    )


def test_the_shipped_recipe_trains(data: Path, tmp_path: Path) -> None:
    recipe = load_recipe("liver-tumour", scale="smoke", overrides=["targets=[organs]"])
    run = trained(data, tmp_path / "run", recipe)
    assert log_of(run)[-1]["validation_dice"]


def test_small_patches_of_few_people_train_without_validation(tmp_path: Path) -> None:
    from transmodal.evaluation.run import evaluate_run

    stack = Stack(write_patches(tmp_path / "patches.npz"), spacing=(2, 2), per_subject=5)
    manifest = split_by_subject(Manifest.read(unpack(stack, tmp_path / "lung")), fractions=(1, 0, 0))
    changes = [
        "train.epochs=60",
        "train.validate_every=60",
        "train.batch_size=4",
        "segmentation.adam.learning_rate=0.01",
    ]
    recipe = load_recipe("lung-tumour", scale="smoke", overrides=[*changes, "train.average_weights=0.9"])
    run = train(recipe, manifest, tmp_path / "run", cache=tmp_path / "cache", quiet=True)
    card = json.loads((run.model / "translator.json").read_text())
    assert card["training"]["subjects"] == {"train": 3} and card["training"]["epochs"] == 60
    (classes,) = (part["labels"] for part in card["preparation"]["modalities"].values() if part["labels"])
    assert classes["largest_component"] == classes["fill_holes"] == ["tumour"]
    scores = evaluate_run(run.folder, split="train").scores["seg"]
    dice = {system: scores.summary_of("dice[tumour]", system).mean for system in scores.systems}
    assert dice["translator"] > 0.5 > dice["empty map"]


def test_three_quarters_of_the_slices_that_validate_show_a_class() -> None:
    labels = np.zeros((40, 1, 4, 4), np.uint8)
    labels[10:30] = 1
    everything = np.arange(40)
    chosen = mostly_labelled(labels, everything, 16)
    assert len(set(chosen)) == 16 and ((chosen >= 10) & (chosen < 30)).sum() == 12
    assert chosen.min() == 0 and chosen.max() == 39 and {10, 29} <= set(chosen)  # evenly spaced over both
    few = mostly_labelled(labels[:14], everything[:14], 12)  # too few of them: the others make up for it
    assert len(few) == 12 and (few >= 10).sum() == 4
    many = mostly_labelled(labels[8:31], everything[:23], 20)  # too few of the others
    assert len(many) == 20 and ((many >= 2) & (many < 22)).sum() == 17
    assert list(mostly_labelled(labels, everything, 40)) == list(everything)


def test_dicom_segmentations_without_their_empty_slices_are_learnt_from_and_scored(tmp_path: Path) -> None:
    from transmodal.evaluation.run import evaluate_run
    from transmodal.images import Image, read, write
    from transmodal.images.dicom_segmentation import Segment
    from transmodal.images.dicom_segmentation import write as write_segmentation

    rows, affine, volumes = ["subject,modality,path,split"], np.diag([-1.0, -1.0, -2.0, 1.0]), {}
    for subject, split in enumerate(("train", "test")):
        values, labels = abdomen(subject, 1)
        write(Image(np.rint(values).astype(np.int16), affine, quantity="HU"), tmp_path / f"m{subject}" / "ct")
        ct, place = read(tmp_path / f"m{subject}" / "ct"), tmp_path / f"m{subject}" / "seg.dcm"
        segments = (Segment(1, "liver", "#E69F00", (2,)), Segment(2, "tumour", "#D55E00"))
        write_segmentation(ct.with_pixels(labels, quantity="label"), place, segments)
        drop_empty_frames(place)
        assert read(place).shape == (32, 40, 4)  # of 6 slices
        rows += [f"m{subject},ct,m{subject}/ct,{split}", f"m{subject},organs,m{subject}/seg.dcm,{split}"]
        volumes[f"m{subject}"] = 2.0 * (labels == 2).sum()
    (tmp_path / "manifest.csv").write_text("\n".join(rows) + "\n")
    recipe = recipe_with(train__epochs=1, train__validate_every=1)
    run = train(recipe, tmp_path / "manifest.csv", tmp_path / "run", cache=tmp_path / "cache", quiet=True)
    details = evaluate_run(run.folder).segmentations["organs"].volumes
    tumours = details[(details["class"] == "tumour") & (details["system"] == "translator")]
    assert tumours["volume_true"].tolist() == pytest.approx([volumes["m1"]])
    assert set(details["system"]) > {"translator", "most frequent label"}, "baselines are fitted on such maps, too"


def test_the_liver_of_a_real_abdomen_comes_back_on_its_dicom_series(real_data: Path, tmp_path: Path) -> None:
    import pydicom

    from transmodal.evaluation.run import evaluate_run
    from transmodal.images import read
    from transmodal.translation import load_translator
    from transmodal.translation.apply import apply_translator, find_jobs

    folder = real_data / "ct_abdomen"
    (tmp_path / "manifest.csv").write_text(
        "subject,session,modality,path,split\n"
        f"a,,ct,{folder / 'example_ct_dicom'},train\na,,seg,{folder / 'example_seg_dicom.nii.gz'},train\n"
    )
    changes = ["segmentation.classes.liver=5", "segmentation.classes.tumour=null", "sampling.strata=null"]
    changes += ["train.epochs=15", "train.batch_size=4", "segmentation.network.filters=8", "train.precision=fp32"]
    recipe = load_recipe("liver-tumour", scale="smoke", overrides=[*changes, "segmentation.adam.learning_rate=0.02"])
    run = train(recipe, tmp_path / "manifest.csv", tmp_path / "run", cache=tmp_path / "cache", quiet=True)
    translator = load_translator(run.folder)
    jobs = find_jobs(folder / "example_ct_dicom", ["ct"], volumes=True)
    ((_, path),) = apply_translator(translator, jobs, tmp_path / "out", as_segments=True).written
    made, ct = read(path), read(folder / "example_ct_dicom")
    assert made.same_grid(ct) and made.pixels.any()
    dataset = pydicom.dcmread(path)
    assert dataset.NumberOfFrames == 20 and dataset.PatientID == ct.source.header.dataset.PatientID
    assert dataset.SegmentSequence[0].SegmentedPropertyTypeCodeSequence[0].CodeMeaning == "Liver"
    # The label map keeps its axes in another order; on the training case itself a liver is found.
    scores = evaluate_run(run.folder, split="train").scores["seg"]
    assert scores.cases["dice[liver]"][0] > 0.5
