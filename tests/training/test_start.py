"""Weights of another run: none that were trained on the subjects that are to test or validate the new one."""

from pathlib import Path
from typing import Any

import pytest
from tests.training.brains import write_brains

from transmodal.datasets.manifest import Manifest
from transmodal.errors import UserError
from transmodal.training.recipe import Recipe
from transmodal.training.recipe_loading import load_recipe
from transmodal.training.run import Run
from transmodal.training.start import refuse_known_subjects
from transmodal.training.train import train


def with_sides(manifest: Manifest, **sides: str) -> Manifest:
    table = manifest.table
    return manifest.with_table(table.assign(split=[sides.get(subject, "") for subject in table["subject"]]))


@pytest.fixture(scope="module")
def brains(tmp_path_factory: pytest.TempPathFactory) -> Manifest:
    return Manifest.read(write_brains(tmp_path_factory.mktemp("brains"), 4))


def recipe_from(source: Path | None) -> Recipe:
    changes = {"train.epochs": 0} | ({"train.start_from": str(source)} if source is not None else {})
    return load_recipe("t1-to-t2", scale="smoke", overrides=changes)


def test_weights_that_know_a_held_back_subject_are_refused_before_anything_is_made(
    brains: Manifest, tmp_path: Path
) -> None:
    first = tmp_path / "first"
    options: dict[str, Any] = {"cache": tmp_path / "cache", "quiet": True, "device": "cpu"}
    run = train(recipe_from(None), with_sides(brains, sub0="train", sub1="train", sub2="test"), first, **options)
    for side in ("test", "validation"):
        dealt = with_sides(brains, sub0="train", sub1=side, sub3="test" if side == "validation" else "validation")
        for source in (first, run.model):
            with pytest.raises(UserError, match=rf"first was trained on sub1 \({side} here\), whose scores"):
                train(recipe_from(source), dealt, tmp_path / "second", **options)
    assert not (tmp_path / "second").exists()
    # Whom it was only tested on, or was trained on too, is no secret it could tell.
    dealt = with_sides(brains, sub0="train", sub1="train", sub2="validation", sub3="test")
    train(recipe_from(first), dealt, tmp_path / "second", **options)


def test_what_the_other_run_started_from_counts_too(brains: Manifest, tmp_path: Path) -> None:
    one = Run.create(tmp_path / "one", recipe_from(None), with_sides(brains, sub0="train", sub1="test"))
    two = Run.create(tmp_path / "two", recipe_from(one.folder), with_sides(brains, sub1="train", sub2="test"))
    dealt = with_sides(brains, sub2="train", sub0="test")
    with pytest.raises(UserError, match="one was trained on sub0"):
        refuse_known_subjects(two.folder, dealt)
    refuse_known_subjects(two.folder, with_sides(brains, sub0="train", sub3="test"))


def test_a_translator_without_its_run_tells_nothing(brains: Manifest, tmp_path: Path) -> None:
    refuse_known_subjects(tmp_path / "translator", brains)
    circle = Run.create(tmp_path / "circle", recipe_from(tmp_path / "circle"), with_sides(brains, sub0="train"))
    refuse_known_subjects(circle.folder, with_sides(brains, sub1="test"))
