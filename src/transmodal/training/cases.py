"""Which cases of a manifest a recipe can use: complete ones, or any with an input and another target."""

from dataclasses import replace

from transmodal.datasets.manifest import CaseFiles, Manifest
from transmodal.training.recipe import Recipe


def usable_cases(manifest: Manifest, recipe: Recipe, split: str | None = None) -> list[CaseFiles]:
    """Return the cases that a recipe can use, each with its modalities, mask and label map as far as it has them.

    Args:
        manifest: with a split column where `split` is given.
        recipe: says what is needed: all of its modalities, or with `sampling.missing_inputs` at least one input and
            one target beside it; a label map where `labels.required`.
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
    if labels is not None and labels.required and labels.modality not in case.files:
        return False
    if not recipe.sampling.missing_inputs:
        return all(modality in case.files for modality in recipe.modalities)
    inputs = {name for name in recipe.inputs if name in case.files}
    targets = {name for name in recipe.targets if name in case.files}
    return bool(inputs) and bool(targets) and len(inputs | targets) > 1


def lacking(case: CaseFiles, recipe: Recipe) -> list[str]:
    """Return which modalities of a recipe a case lacks."""
    wanted = [*recipe.modalities]
    if recipe.labels is not None and recipe.labels.required:
        wanted.append(recipe.labels.modality)
    return [modality for modality in wanted if modality not in case.files]


def _kept(case: CaseFiles, recipe: Recipe) -> CaseFiles:
    extras = [recipe.labels.modality if recipe.labels else None]
    extras.append(recipe.preparation.region.modality if recipe.preparation.region else None)
    names = [*recipe.modalities, *(extra for extra in extras if extra is not None)]
    return replace(case, files={name: case.files[name] for name in names if name in case.files})
