"""A recipe: everything about one training, in one YAML file, with unknown keys refused by name.

A recipe may hold `scales`: named overrides (smoke, small, paper) laid over the rest. Shipped recipes lie in the
package's `recipes` folder and are named by what they do.
"""

import difflib
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from transmodal.datasets.augmentation import AugmentationSettings
from transmodal.datasets.label_classes import LabelClasses
from transmodal.datasets.labels import LabelSettings
from transmodal.datasets.preparation import PreparationSettings
from transmodal.datasets.sampling import SamplingSettings
from transmodal.errors import UserError
from transmodal.images.intensity_settings import NOT_OF_MAP
from transmodal.methods import METHODS
from transmodal.methods.pix2pix import Pix2PixSettings
from transmodal.methods.segmentation import SegmentationSettings
from transmodal.methods.stargan import StarGanSettings
from transmodal.methods.supervised import NOT_OF_KIND, SupervisedSettings
from transmodal.methods.unified import UnifiedSettings
from transmodal.metrics.policy import Policy

DEFAULT_SCALE = "small"
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
    max_minutes: float | None = Field(None, gt=0, description="end by then, with the schedule fitted to the time")
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
        return self

    @model_validator(mode="after")
    def _segments_or_translates(self) -> "Recipe":
        if self.method != "segmentation":
            if self.train.best == "dice":
                raise ValueError("train.best: dice is of label maps, which method: segmentation makes; take psnr")
            if self.sampling.strata is not None and self.labels is None:
                raise ValueError("sampling.strata needs label maps: a recipe's labels, or method: segmentation")
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


def shipped_recipes() -> dict[str, Path]:
    """Return the recipes in the package: name → file."""
    folder = Path(str(resources.files("transmodal") / "recipes"))
    return {file.stem: file for file in sorted(folder.glob("*.yaml"))}


def load_recipe(
    recipe: str | Path, *, scale: str | None = None, overrides: Sequence[str] | Mapping[str, Any] = ()
) -> Recipe:
    """Load a recipe.

    Overrides of `inputs` or `targets` take the intensity maps along: those of modalities that are gone are left out,
    and where those of the recipe are all alike, new modalities get the same. The description then begins with what is
    made of what, since the rest of it tells of the recipe's own modalities. An override of `supervised.network.kind`
    leaves out what the recipe says of its own network and the other kind does not have; so does one of an intensity map
    with what belongs to the recipe's own, and limits in its unit.

    Args:
        recipe: the path of a YAML file, or the name of a shipped recipe.
        scale: one of the recipe's scales; None takes `small` if the recipe has it.
        overrides: "key.sub=value" lines (values are YAML), or a mapping of dotted keys; laid over everything else.

    Raises:
        UserError: no such recipe or scale, no YAML, an unknown key (named with the nearest known one), a bad value;
            the message begins with the override that is to blame, else with the recipe.
    """
    file = _find(recipe)
    where = _called(file)
    content = _parse(file)
    scales = content.pop("scales", {}) or {}
    if not isinstance(scales, dict) or not all(isinstance(part, dict) for part in scales.values()):
        raise UserError(f"{where}: scales must map names to settings")
    if scale is None and DEFAULT_SCALE in scales:
        scale = DEFAULT_SCALE
    if scale is not None:
        if scale not in scales:
            known = ", ".join(scales) or "none"
            raise UserError(f"{where} has no scale {scale!r}; it has {known}")
        content = _merge(content, scales[scale])
    if isinstance(overrides, Mapping):
        changes = [_Override(key, value, f"The override {key}={value!r}") for key, value in overrides.items()]
    else:
        changes = [_Override(*_parse_override(line), f"--set {line}") for line in overrides]
    try:
        return Recipe.model_validate(_with(content, changes))
    except ValidationError as error:
        blamed = _to_blame(error, content, changes)
        raise UserError(_told(error, _with(content, changes), where, blamed)) from error


@dataclass(frozen=True)
class _Override:
    key: str
    value: Any
    told: str  # how messages call it

    @property
    def parts(self) -> list[str]:
        return self.key.split(".")

    def holds(self, location: Sequence[str]) -> bool:
        """Say whether what stands at a location of the recipe comes from here."""
        rest = list(location[len(self.parts) :])
        return list(location[: len(self.parts)]) == self.parts and _as_written(self.value, rest) == rest


def _with(content: dict[str, Any], changes: Sequence[_Override]) -> dict[str, Any]:
    """Return a recipe with what overrides change, and what follows from that."""
    over: dict[str, Any] = {}
    for change in changes:
        over = _merge(over, _nest(change.key, change.value))
    fitted = _for_maps(_for_network(_for_modalities(content, over), over), over)
    return _merge(_described_anew(fitted, over), over)


def _for_network(content: dict[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Return a recipe without what it says of its network and the kind that overrides name does not have."""
    kind = _within(over, "supervised", "network", "kind")
    own = _within(content, "supervised", "network")
    if not isinstance(own, Mapping) or not isinstance(kind, str) or kind == own.get("kind"):
        return content
    left_out = NOT_OF_KIND.get(kind, ())
    kept = {key: value for key, value in own.items() if key not in left_out}
    return {**content, "supervised": {**content["supervised"], "network": kept}}


def _for_maps(content: dict[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Return a recipe without what it says of intensity maps and the kinds that overrides name do not take."""
    own, named = (_within(part, "preparation", "intensity") for part in (content, over))
    if not isinstance(own, Mapping) or not isinstance(named, Mapping):
        return content
    maps = dict(own)
    for modality, settings in own.items():
        kind = _within(named, modality, "map")
        if not isinstance(settings, Mapping) or not isinstance(kind, str) or kind == settings.get("map", "auto"):
            continue
        left_out = NOT_OF_MAP.get(kind, frozenset()) | {"limits"}  # each map counts them in a unit of its own
        maps[modality] = {key: value for key, value in settings.items() if key not in left_out}
    return {**content, "preparation": {**content["preparation"], "intensity": maps}}


def _within(content: Any, *keys: str) -> Any:
    """Return what stands under nested keys; None where there is nothing."""
    for key in keys:
        content = content.get(key) if isinstance(content, Mapping) else None
    return content


def _described_anew(content: dict[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Return a recipe whose description says first what overrides have made of its inputs and targets."""
    old = content.get("description")
    own, named = ([part.get(key, content.get(key)) for key in ("inputs", "targets")] for part in (content, over))
    if (
        not isinstance(old, str)
        or not old
        or "description" in over
        or named == own
        or not all(isinstance(part, list) for part in named)
    ):
        return content
    inputs, targets = (", ".join(map(str, part)) for part in named)
    name = content.get("name", "the recipe")
    return {**content, "description": f"{inputs} into {targets}, with the settings of {name}: {old}"}


def _for_modalities(content: dict[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Return a recipe whose intensity maps are those of the modalities that overrides name."""
    maps = (content.get("preparation") or {}).get("intensity")
    named = [over.get(part, content.get(part)) for part in ("inputs", "targets")]
    if not ({"inputs", "targets"} & set(over)) or not maps or not all(isinstance(part, list) for part in named):
        return content
    if content.get("method") == "segmentation":  # label maps have none
        named = named[:1]
    modalities = [str(name) for part in named for name in part]
    own = list(maps.values())
    new = {name: own[0] for name in modalities if all(one == own[0] for one in own)}
    kept = new | {name: chosen for name, chosen in maps.items() if name in modalities}
    return {**content, "preparation": {**content["preparation"], "intensity": kept}}


def _called(file: Path) -> str:
    """Return how messages call a recipe: one that is shipped by its name, which its user knows, not by its place."""
    name = next((name for name, place in shipped_recipes().items() if place == file), None)
    return str(file) if name is None else f"The recipe {name}"


def _find(recipe: str | Path) -> Path:
    path = Path(recipe)
    shipped = shipped_recipes()
    if path.is_file():
        return path
    if str(recipe) in shipped:
        return shipped[str(recipe)]
    if path.suffix in (".yaml", ".yml"):
        raise UserError(f"There is no recipe {path}; shipped recipes: {', '.join(shipped)}")
    near = difflib.get_close_matches(str(recipe), shipped, n=1, cutoff=0.4)
    hint = f"did you mean {near[0]}?" if near else f"shipped recipes: {', '.join(shipped)}"
    raise UserError(f"There is no recipe {recipe!r}; {hint}")


def _parse(file: Path) -> dict[str, Any]:
    try:
        content = yaml.safe_load(io.StringIO(file.read_text(encoding="utf-8")))
    except OSError as error:
        raise UserError(f"Cannot read {file}: {error.strerror}; check the file") from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # ValueError: no UTF-8, or a date like 2024-13-01
        raise UserError(f"{file} is not YAML: {error}; compare it with 'transmodal train NAME --print-recipe'") \
            from error  # fmt: skip
    if not isinstance(content, dict):
        raise UserError(f"{file} holds no recipe: it must map keys to settings")
    return content


def _parse_override(line: str) -> tuple[str, Any]:
    key, equals, text = line.partition("=")
    if not equals or not key.strip():
        raise UserError(f"--set {line}: write it as key.sub=value, for example train.epochs=5")
    try:
        return key.strip(), yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise UserError(f"--set {line}: the value is not YAML") from error


def _nest(key: str, value: Any) -> dict[str, Any]:
    for part in reversed(key.split(".")):
        value = {part: value}
    return dict(value)


def _merge(under: dict[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(under)
    for key, value in over.items():
        below = merged.get(key)
        merged[key] = _merge(below, value) if isinstance(below, dict) and isinstance(value, Mapping) else value
    return merged


def _to_blame(error: ValidationError, content: dict[str, Any], changes: Sequence[_Override]) -> list[_Override]:
    """Return the overrides that made a recipe invalid; none where it is the recipe itself."""
    location = _as_written(_with(content, changes), error.errors()[0]["loc"])
    direct = [change for change in changes if change.holds(location)]
    if direct:
        return direct[-1:]
    without = ([other for other in changes if other is not change] for change in changes)
    alone = [change for change, rest in zip(changes, without, strict=True) if _is_valid(_with(content, rest))]
    if alone:
        return alone  # several where they contradict each other
    return list(changes) if changes and _is_valid(content) else []


def _is_valid(content: dict[str, Any]) -> bool:
    try:
        Recipe.model_validate(content)
    except ValidationError:
        return False
    return True


def _told(error: ValidationError, content: dict[str, Any], where: str, blamed: Sequence[_Override]) -> str:
    """Return one line for what is wrong with a recipe."""
    problem = error.errors()[0]
    location = [str(part) for part in problem["loc"]]
    if problem["type"] != "missing":
        location = _as_written(content, problem["loc"])
    key = ".".join(location)
    where = ", ".join(change.told for change in blamed) or where
    if problem["type"] == "extra_forbidden":
        known = _known_keys(Recipe, location[:-1])
        near = difflib.get_close_matches(location[-1], known, n=1, cutoff=0.4)
        hint = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(known)}"
        return f"{where}: unknown key {key!r}; {hint}"
    given = problem["input"]
    if problem["type"] in ("tuple_type", "list_type"):
        members = given if isinstance(given, str | int | float) else "…"
        return (
            f"{where}: {key} takes a list; write it in brackets, as '{key}=[{members}]'"
            if blamed
            else (f"{where}: {key} takes a list; write it in brackets, as {key}: [{members}]")
        )
    if problem["type"] in ("model_type", "model_attributes_type") and blamed:
        first = next(iter(_known_keys(Recipe, location)), "…")
        return f"{where}: {key} has keys of its own; set one of them, as {key}.{first}=…"
    message = problem["msg"].removeprefix("Value error, ")
    shown = f" (given {given!r})" if not isinstance(given, dict) else ""
    return f"{where}: {key or 'the recipe'}: {message}{shown}"


def _as_written(content: Any, location: Sequence[str | int]) -> list[str]:
    """Return the part of a location that stands in the file: pydantic adds which choice of a union it tried."""
    written = []
    for part in location:
        inside: Any = content if isinstance(content, Mapping) else {}
        if isinstance(content, list | tuple):
            inside = dict(enumerate(content))
        if part not in inside:
            break
        content = inside[part]
        written.append(str(part))
    return written


def _known_keys(model: type[BaseModel], location: Sequence[str]) -> list[str]:
    for part in location:
        field = model.model_fields.get(part)
        annotation = field.annotation if field else None
        candidates = [annotation, *getattr(annotation, "__args__", ())]
        inner = next((c for c in candidates if isinstance(c, type) and issubclass(c, BaseModel)), None)
        if inner is not None:
            model = inner
    return list(model.model_fields)
