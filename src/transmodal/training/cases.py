"""Which cases of a manifest a recipe can use: complete ones, or any with an input and another target."""

from collections.abc import Sequence
from dataclasses import replace

from transmodal.datasets.batch_keys import DATASET, SEGMENTOR
from transmodal.datasets.cache import PreparedCase
from transmodal.datasets.manifest import CaseFiles, Manifest
from transmodal.datasets.splits import PART, PARTS
from transmodal.errors import UserError
from transmodal.training.recipe import Recipe


def usable_cases(manifest: Manifest, recipe: Recipe, split: str | None = None) -> list[CaseFiles]:
    """Return the cases that a recipe can use, each with its modalities, mask and label map as far as it has them.

    Args:
        manifest: with a split column where `split` is given.
        recipe: says what is needed: all of its modalities, or with `sampling.missing_inputs` at least one input and
            one target beside it, or for a training without pairs any modality; a label map where `labels.required`.
        split: "train", "validation" or "test"; None takes all.

    Raises:
        UserError: a modality is in no row, or there is no such split.
    """
    manifest.require_modalities(recipe.modalities)
    cases = (_kept(case, recipe) for case in manifest.cases(split=split))
    return [case for case in cases if is_usable(case, recipe)]


def is_usable(case: CaseFiles, recipe: Recipe) -> bool:
    """Say whether a case has what a recipe needs."""
    labels = recipe.labels
    if labels is not None and labels.required and labels.find(case.files) is None:
        return False
    if not recipe.sampling.missing_inputs:
        return all(modality in case.files for modality in recipe.modalities)
    inputs = {name for name in recipe.inputs if name in case.files}
    targets = {name for name in recipe.targets if name in case.files}
    if learns_without_pairs(recipe) and case.split == "train":
        return bool(inputs or targets)
    return bool(inputs) and bool(targets) and len(inputs | targets) > 1


def learns_without_pairs(recipe: Recipe) -> bool:
    """Say whether one modality of a case suffices for training; to be scored, a case still needs two."""
    return recipe.method == "stargan" and recipe.sampling.missing_inputs


def lacking(case: CaseFiles, recipe: Recipe) -> list[str]:
    """Return which modalities of a recipe a case lacks."""
    missing = [modality for modality in recipe.modalities if modality not in case.files]
    labels = recipe.labels
    if labels is not None and labels.required and labels.find(case.files) is None:
        missing.append(" or ".join(labels.modality))
    return missing


def marks_of(cases: Sequence[PreparedCase], recipe: Recipe) -> dict[str, list[int]]:
    """Return what goes along with each case of a training: whose share it is in, which data set it comes from.

    Raises:
        UserError: the method knows data sets, and a case is of none of them.
    """
    marks: dict[str, list[int]] = {}
    if recipe.labels is not None and any(case.case.factors.get(PART) == PARTS[0] for case in cases):
        marks[SEGMENTOR] = [int(case.case.factors.get(PART) == PARTS[0]) for case in cases]
    datasets = list(recipe.stargan.datasets or ()) if recipe.method == "stargan" else []
    if datasets:
        for case in cases:
            if (own := case.case.factors.get("dataset", "")) not in datasets:
                raise UserError(
                    f"{case.case.id} is of the data set {own!r}; stargan.datasets has {', '.join(datasets)}; give the "
                    "manifest a column `dataset`"
                )
        marks[DATASET] = [datasets.index(case.case.factors["dataset"]) for case in cases]
    return marks


def _kept(case: CaseFiles, recipe: Recipe) -> CaseFiles:
    region = recipe.preparation.region
    extras = list(recipe.labels.modality) if recipe.labels is not None else []
    extras += [region.modality] if region is not None and region.modality is not None else []
    names = [*recipe.modalities, *extras]
    return replace(case, files={name: case.files[name] for name in names if name in case.files})
