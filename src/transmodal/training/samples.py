"""What a training draws its batches from: the samples of its cases, in an order that seed and epoch give."""

from collections.abc import Sequence

from lightning.fabric import Fabric

from transmodal.datasets.augmentation import AugmentationSettings
from transmodal.datasets.cache import PreparedCase
from transmodal.datasets.epochs import EpochSampler
from transmodal.datasets.preparation import Preparation
from transmodal.datasets.sampling import Samples
from transmodal.errors import UserError
from transmodal.training.cases import marks_of
from transmodal.training.recipe import Recipe


def make_samples(recipe: Recipe, preparation: Preparation, cases: Sequence[PreparedCase]) -> Samples:
    """Return the samples of prepared cases, augmented as the recipe says.

    Raises:
        UserError: the method knows data sets, and a case is of none of them.
    """
    augments = recipe.augmentation != AugmentationSettings()
    return Samples(
        cases,
        inputs=recipe.inputs,
        targets=recipe.targets,
        channels={name: part.channel_count for name, part in preparation.modalities.items()},
        settings=recipe.sampling,
        augmentation=recipe.augmentation if augments else None,
        spatial_dims=recipe.spatial_dims,
        seed=recipe.train.seed,
        minimum_foreground=recipe.minimum_foreground,
        neighbours=recipe.neighbours,
        marks=marks_of(cases, recipe),
        makes_labels=bool(recipe.label_maps),
        lesions=recipe.lesion_numbers,
        ground=recipe.lesion_ground,
    )


def make_sampler(recipe: Recipe, samples: Samples, own_cases: int, fabric: Fabric) -> EpochSampler:
    """Return what draws the batches of an epoch.

    Args:
        recipe: says how many of a batch, and in which shares.
        samples: of the training.
        own_cases: so many of their cases, the first, are the training's own; the rest is for rehearsal.
        fabric: the processes that share an epoch.

    Raises:
        UserError: none of the samples is of an own case.
    """
    own = sum(case < own_cases for case, _ in samples.index)
    if not own:
        raise UserError("No training sample is left; lower preparation.slices.minimum_foreground, or check the images")
    strata, empty = samples.strata(), None
    if strata is not None and recipe.sampling.strata is not None:
        strata, empty = strata[:own], recipe.sampling.strata.empty
    return EpochSampler(
        own,
        recipe.train.batch_size,
        seed=recipe.train.seed,
        rank=fabric.global_rank,
        processes=fabric.world_size,
        extra=len(samples) - own,
        extra_share=recipe.pretraining.rehearsal if recipe.pretraining is not None else 0.0,
        strata=strata,
        empty=empty,
    )


def sample_shape(cases: list[PreparedCase], batch_size: int) -> tuple[int, ...]:
    """Return the spatial shape of the samples (the first case's; all must agree when they share batches).

    Raises:
        UserError: shapes differ and the batch size is above 1.
    """
    shapes: dict[tuple[int, ...], str] = {}
    for case in cases:
        shape = next(iter(case.arrays().values())).shape[2:]
        shapes.setdefault(tuple(shape), case.case.id)
    if len(shapes) > 1 and batch_size > 1:
        examples = ", ".join(f"{case} {'×'.join(map(str, shape))}" for shape, case in list(shapes.items())[:3])
        raise UserError(
            f"Prepared images differ in size ({examples}) and cannot share a batch; set preparation.grid.size, or "
            "train.batch_size=1"
        )
    return min(shapes, key=lambda shape: min(shape))
