"""The card of a translator: all that is needed to use its weights, and what a reader must know before doing so."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from transmodal.datasets.preparation import Preparation
from transmodal.images.note import NOTICE
from transmodal.methods.method import Ports
from transmodal.translation.familiarity import Familiarity

FORMAT_VERSION: Literal[1] = 1


class TrainingSummary(BaseModel):
    """What a translator was trained on, in numbers; no name of a subject leaves the run."""

    model_config = ConfigDict(extra="forbid")

    run: str
    recipe: str
    seed: int
    epochs: float = Field(description="passes over the training samples when these weights were taken")
    validation: dict[str, float] = Field(description="scores of these weights on the validation cases, prepared grid")
    subjects: dict[str, int] = Field(description="split → number of subjects")
    cases: dict[str, int] = Field(description="split → number of cases")
    data_licence: str = "not stated"
    pretraining: str = Field("", description="what the weights were trained on before")


class Card(BaseModel):
    """translator.json."""

    model_config = ConfigDict(extra="forbid")

    format_version: Literal[1] = FORMAT_VERSION
    transmodal: str = Field(description="version that wrote the folder")
    name: str
    description: str = ""
    intended_use: str
    notice: str = NOTICE
    method: str
    settings: dict[str, Any] = Field(description="of the method")
    inputs: dict[str, int] = Field(description="modality → channels", min_length=1)
    targets: dict[str, int] = Field(min_length=1)
    shape: tuple[int, ...] = Field(description="spatial shape of the training samples on the prepared grid")
    patches: bool = Field(False, description="that shape is one of patches, not of whole images")
    spacing: tuple[tuple[float, float], ...] | None = Field(
        None,
        description="least and greatest pixel size of the training samples on the prepared grid, mm, by spatial axis; "
        "None: not known",
    )
    missing_inputs: bool = Field(False, description="inputs may be absent in use")
    classes: int = Field(0, description="of the label maps in training, background included; 0 without")
    preparation: Preparation
    training: TrainingSummary
    familiar: dict[str, Familiarity] = Field(
        default_factory=dict, description="input modality → what its training images look like"
    )
    weights_sha256: str = ""

    @property
    def flips(self) -> tuple[int, ...]:
        """Spatial axes along which mirrored inputs are translated too, unless one asks for others."""
        return tuple(int(axis) for axis in self.settings.get("flips", ()))

    @property
    def ports(self) -> Ports:
        """What goes into the method and what comes out."""
        slices, region = self.preparation.slices, self.preparation.region
        return Ports(
            self.inputs,
            self.targets,
            self.preparation.spatial_dims,
            self.shape,
            neighbours=slices.neighbours if slices is not None else 0,
            region=region is not None and region.feed,
            depth=region is not None and region.depth is not None,
            missing=self.missing_inputs,
            classes=self.classes,
        )

    @model_validator(mode="after")
    def _agrees_with_itself(self) -> "Card":
        if any(axis not in range(self.preparation.spatial_dims) for axis in self.flips):
            raise ValueError(f"flips names axes that samples do not have: {list(self.flips)}")
        if self.spacing is not None and len(self.spacing) != self.preparation.spatial_dims:
            raise ValueError("spacing needs one pair for each axis of a sample")
        for modality, channels in (self.inputs | self.targets).items():
            # A modality becomes part of file names: it must not lead out of the output folder.
            if not modality.isprintable() or set(modality) & set("/\\"):
                raise ValueError(f"{modality!r} cannot be the name of a modality")
            prepared = self.preparation.modalities.get(modality)
            if prepared is None or prepared.channel_count != channels:
                raise ValueError(f"the preparation does not fit the modality {modality}")
        return self
