"""A recipe: everything about one training, in one YAML file, with unknown keys refused by name.

Its file is read by `transmodal.training.recipe_loading`.
"""

from typing import Annotated, Literal

import numpy as np
import yaml
from pydantic import BaseModel, ConfigDict, Field, model_validator

from transmodal.datasets.augmentation import AugmentationSettings
from transmodal.datasets.label_classes import LabelClasses
from transmodal.datasets.labels import LabelSettings
from transmodal.datasets.preparation import PreparationSettings
from transmodal.datasets.sampling import SamplingSettings
from transmodal.methods import METHODS
from transmodal.methods.pix2pix import Pix2PixSettings
from transmodal.methods.segmentation import SegmentationSettings
from transmodal.methods.stargan import StarGanSettings
from transmodal.methods.supervised import SupervisedSettings
from transmodal.methods.unified import UnifiedSettings
from transmodal.metrics.policy import Policy

LAST = "last"
ANY_TO_ANY = ("unified", "stargan")


class TrainSettings(BaseModel):
    """Schedule, precision and housekeeping of a training."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    epochs: int = Field(200, ge=0, description="passes over the training samples; 0 writes an untrained run")
    constant_share: float = Field(
        0.5, ge=0, le=1, description="share of the training at full learning rate, before it falls to 0 in a line"
    )
    batch_size: int = Field(1, ge=1, description="samples a step and process")
    seed: int = Field(0, ge=0)
    precision: Literal["fp32", "bf16"] = Field("fp32", description="bf16: automatic mixed precision")
    max_minutes: float | None = Field(
        None,
        gt=0,
        description="of training steps and the validations between them, the schedule fitted to the time; preparing "
        "images before, and the last validation and writing the model after, come on top",
    )
    loader_workers: Annotated[int, Field(ge=0)] | Literal["auto"] = Field(
        "auto", description="processes that augment; 0 augments in the training process; auto: 0, on a GPU up to 8"
    )
    gradient_clip: float | None = Field(None, gt=0, description="greatest norm of a gradient")
    validate_every: int = Field(5, ge=1, description="epochs between validations")
    sample_every: int = Field(10, ge=1, description="epochs between pictures in samples/")
    checkpoint_minutes: float = Field(5.0, gt=0, description="a checkpoint within an epoch after so long")
    best: Literal["auto", "psnr", "ssim", "mae", "dice", "last"] = Field(
        "auto",
        description="validation score that chooses the best checkpoint; auto: psnr, of a segmentation dice; last: "
        "none does, the weights at the end count as the best",
    )
    patience: int | None = Field(None, ge=1, description="stop after so many validations without a better score")
    validate_slices: int | None = Field(
        32, ge=1, description="slices of each validation volume, evenly spaced; null takes all"
    )
    average_weights: float | None = Field(
        None, gt=0, lt=1, description="use the running mean of the weights with this memory a step, such as 0.999"
    )
    start_from: str | None = Field(None, description="a run or translator whose weights training starts from")
    deterministic: bool = Field(True, description="the same bits for the same seed; on a GPU some speed is given up")

    @model_validator(mode="after")
    def _patience_needs_a_score(self) -> "TrainSettings":
        if self.best == LAST and self.patience is not None:
            raise ValueError(
                f"patience waits for a better score, and with best: {LAST} none is better; leave one of them out"
            )
        return self


class PretrainingSettings(BaseModel):
    """A first training on simulated images of the same modalities, so that few real ones suffice for the rest."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    simulate: Literal["brain"] = "brain"
    subjects: int = Field(8, ge=1, description="half with gliomas, half with plaques of multiple sclerosis")
    size: tuple[int, int, int] = Field((240, 240, 155), description="voxels of the field of BraTS, 240×240×155 mm")
    epochs: int = Field(2, ge=1, description="passes over the simulated samples")
    rehearsal: float = Field(
        0.0, ge=0, lt=1, description="share of simulated samples in the training itself, lest what they taught be lost"
    )
    share_of_time: float = Field(
        0.35,
        gt=0,
        lt=1,
        description="of train.max_minutes, simulating and preparing included",
    )


class Recipe(BaseModel):
    """One training in full."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    description: str = ""
    intended_use: str = "Research only. Outputs are synthetic images and not for diagnosis."
    data_licence: str = Field("not stated", description="of the training images; travels with the translator")
    inputs: tuple[str, ...] = Field(min_length=1)
    targets: tuple[str, ...] = Field(min_length=1)
    spatial_dims: Literal[2, 3] = 2
    preparation: PreparationSettings = PreparationSettings()
    labels: LabelSettings | None = Field(None, description="label maps that go along, for losses and sampling")
    sampling: SamplingSettings = SamplingSettings()
    augmentation: AugmentationSettings = AugmentationSettings()
    method: Literal["pix2pix", "supervised", "unified", "stargan", "segmentation"] = "pix2pix"
    pix2pix: Pix2PixSettings = Pix2PixSettings()
    supervised: SupervisedSettings = SupervisedSettings()
    unified: UnifiedSettings = UnifiedSettings()
    stargan: StarGanSettings = StarGanSettings()
    segmentation: SegmentationSettings = SegmentationSettings()
    pretraining: PretrainingSettings | None = None
    train: TrainSettings = TrainSettings()
    evaluation: Policy = Policy()

    @model_validator(mode="after")
    def _modalities_are_distinct(self) -> "Recipe":
        for what, names in (("inputs", self.inputs), ("targets", self.targets)):
            if len(set(names)) < len(names):
                raise ValueError(f"a modality stands twice among the {what}")
        for name in self.modalities:
            if name.startswith("#"):
                raise ValueError(f"a modality cannot be called {name!r}")
        both = [name for name in self.inputs if name in self.targets]
        if both and not self.sampling.missing_inputs and self.method not in ANY_TO_ANY:
            raise ValueError(
                f"{both[0]} is both input and target; that takes sampling.missing_inputs: true, or a method that goes "
                f"from any to any ({', '.join(ANY_TO_ANY)})"
            )
        return self

    @model_validator(mode="after")
    def _dimensions_agree(self) -> "Recipe":
        if self.spatial_dims == 3 and self.preparation.slices is not None:
            raise ValueError(
                "slices are for a two-dimensional network; set preparation.slices: null or spatial_dims: 2"
            )
        patch = self.sampling.patch
        if patch is not None and len(patch) != self.spatial_dims:
            raise ValueError(f"sampling.patch has {len(patch)} numbers for samples of {self.spatial_dims} axes")
        if self.method == "segmentation" and any(axis >= self.spatial_dims for axis in self.segmentation.flips):
            raise ValueError(
                f"segmentation.flips: samples have the axes 0 to {self.spatial_dims - 1}, not all of "
                f"{list(self.segmentation.flips)}"
            )
        return self

    @model_validator(mode="after")
    def _segments_or_translates(self) -> "Recipe":
        if self.method != "segmentation":
            if self.train.best == "dice":
                raise ValueError("train.best: dice is of label maps, which method: segmentation makes; take psnr")
            if self.sampling.strata is not None and self.labels is None:
                raise ValueError("sampling.strata needs label maps: a recipe's labels, or method: segmentation")
            if self.sampling.paste is not None:
                raise ValueError("sampling.paste pastes lesions with their labels; it needs method: segmentation")
            return self
        if len(self.targets) > 1:
            raise ValueError(f"a segmentation makes one label map, and targets names {len(self.targets)}; name one")
        if set(self.targets) & set(self.inputs):
            raise ValueError(f"{self.targets[0]} is both input and target of a segmentation; give it other inputs")
        if self.labels is not None:
            raise ValueError(f"the label map of a segmentation is its target {self.targets[0]}; leave labels out")
        if self.train.best not in ("auto", "dice", LAST):
            raise ValueError(f"train.best: {self.train.best} compares images; a segmentation takes dice")
        return self

    @model_validator(mode="after")
    def _corrects_in_one_unit(self) -> "Recipe":
        if not getattr(self.method_settings, "residual", False):
            return self
        maps = self.preparation.intensity
        corrected = getattr(self.method_settings, "corrects", None) or (self.inputs[0],) * len(self.targets)
        if len(corrected) != len(self.targets) or not set(corrected) <= set(self.inputs):
            raise ValueError(
                f"{self.method}.corrects needs one of the inputs ({', '.join(self.inputs)}) for each of the targets "
                f"({', '.join(self.targets)}), not {', '.join(corrected)}; null takes the first input for all"
            )
        for first, target in zip(corrected, self.targets, strict=True):
            if first not in maps or maps[first].map != "fixed" or maps.get(target) != maps[first]:
                raise ValueError(
                    f"{self.method}.residual makes what is added to {first}, so {first} and {target} need one range in "
                    "one unit: give both the same preparation.intensity {map: fixed, low: …, high: …}, or set "
                    f"{self.method}.residual: false"
                )
        return self

    @model_validator(mode="after")
    def _dense_layers_see_whole_images(self) -> "Recipe":
        if self.method == "supervised" and self.supervised.network.dense and self.sampling.patch is not None:
            raise ValueError(
                "network.dense ties the network to the size it is trained on, which sampling.patch makes other than "
                "that of the images; set sampling.patch: null or network.dense: false"
            )
        return self

    @property
    def modalities(self) -> tuple[str, ...]:
        """Inputs, then what is a target only."""
        return tuple(dict.fromkeys(self.inputs + self.targets))

    @property
    def label_maps(self) -> dict[str, LabelClasses]:
        """Those of the modalities that are label maps, and what their values mean."""
        if self.method != "segmentation":
            return {}
        return {target: self.segmentation.label_classes(target) for target in self.targets}

    @property
    def images(self) -> tuple[str, ...]:
        """The modalities that are images."""
        return tuple(name for name in self.modalities if name not in self.label_maps)

    @property
    def along(self) -> LabelSettings | None:
        """The label map that goes along with the images of a case: a segmentation's target, or the `labels`."""
        for target, classes in self.label_maps.items():
            return classes.settings(target)
        return self.labels

    @property
    def lesion_numbers(self) -> tuple[int, ...] | None:
        """The prepared numbers that strata are about; None: all above 0."""
        for target, classes in self.label_maps.items():
            members = classes.membership()
            own = [classes.names.index(name) for name in self.segmentation.lesion_classes(target)]
            return tuple(int(number) for number in np.flatnonzero(members[own].any(axis=0)))
        return None

    @property
    def lesion_ground(self) -> tuple[int, ...] | None:
        """The prepared numbers of a class that has the lesions inside it, without theirs; None where there is none."""
        lesions = set(self.lesion_numbers or ())
        for classes in self.label_maps.values():
            around = [set(np.flatnonzero(row).tolist()) for row in classes.membership()]
            enclosing = [numbers for numbers in around if lesions and lesions < numbers]
            if enclosing:
                return tuple(sorted(set.intersection(*enclosing) - lesions)) or None
        return None

    @property
    def best(self) -> str:
        """The validation score that chooses the best checkpoint, or `last`: none does."""
        if self.train.best != "auto":
            return self.train.best
        return "dice" if self.method == "segmentation" else "psnr"

    @property
    def neighbours(self) -> int:
        """Slices on each side that an input brings along."""
        return self.preparation.slices.neighbours if self.preparation.slices is not None else 0

    @property
    def minimum_foreground(self) -> float:
        """Share of non-zero pixels below which a slice is neither trained on nor scored in training."""
        return self.preparation.slices.minimum_foreground if self.preparation.slices is not None else 0.0

    @property
    def method_settings(self) -> BaseModel:
        """The section of the chosen method."""
        settings: BaseModel = getattr(self, self.method)
        return settings

    def to_yaml(self) -> str:
        """Return the recipe with every default written out; sections of methods that are not used are left out."""
        unused = {name for name in METHODS if name != self.method}
        return yaml.safe_dump(
            self.model_dump(mode="json", exclude=unused), sort_keys=False, allow_unicode=True, default_flow_style=None
        )
