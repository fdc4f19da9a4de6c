"""Segmentation: a U-Net from images to the classes of a label map, by Dice and cross-entropy.

Ronneberger, Fischer, Brox, "U-Net", MICCAI 2015, with rectifiers in its body and a softmax, or for single and for
nested classes a sigmoid, at its end, as Boursier (2021) segments liver and tumours in CT of mice; the loss is nnU-Net's
(Isensee et al., Nature Methods 18, 2021). With p the probabilities, t the truth, c a class and i a pixel:

    loss = w_dice · mean_c (1 − (2 Σ_i p_ci t_ci + 1) / (Σ_i p_ci + Σ_i t_ci + 1))  +  w_ce · cross-entropy(p, t)
                            sums over all pixels of the batch                             pixels weighted by class

Rare classes can count more (`class_weights`), and slices with small lesions can be drawn more often
(`sampling.strata`, Boursier's stratified data base).
"""

from collections.abc import Iterator
from dataclasses import replace
from typing import Annotated, Any, Literal

import torch
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator, model_validator
from torch import Tensor

from transmodal.datasets.label_classes import LabelClasses, require_classes
from transmodal.datasets.labels import MOST_CLASSES
from transmodal.losses.overlap import class_cross_entropy, class_dice_loss
from transmodal.methods.method import LABELS, REGION, AdamSettings, Batch, Ports, Update, set_dropout
from transmodal.methods.one_network import OneNetwork
from transmodal.methods.supervised import NetworkSettings, make_network, refuse_single_pixels

BACKGROUND = "background"
RAREST = 1e-4  # share of pixels below which a class is taken to be no rarer, lest one pixel outweigh an image
POWER = {"inverse": 1.0, "square-root": 0.5}


def _as_tuple(value: Any) -> Any:
    return (value,) if isinstance(value, int) else value


Values = Annotated[tuple[int, ...], BeforeValidator(_as_tuple)]


class SegmentationNetwork(NetworkSettings):
    """A network of `supervised`, with rectifiers unless it is told otherwise."""

    activation: Literal["leaky", "relu"] = Field("relu", description="not for fcn8s")

    @model_validator(mode="after")
    def _ends_in_scores(self) -> "SegmentationNetwork":
        if self.output != "linear" or self.add_input:
            raise ValueError("a segmentation ends in its own activation; leave output and add_input out")
        return self


class SegmentationLoss(BaseModel):
    """Factors of the two terms, and how they count."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    dice: float = Field(1.0, ge=0)
    cross_entropy: float = Field(1.0, ge=0)
    batch_dice: bool = Field(True, description="one Dice over all samples of a batch; false: the mean over samples")
    in_region: bool = Field(True, description="count pixels inside the region only, where the recipe has one")

    @model_validator(mode="after")
    def _has_a_term(self) -> "SegmentationLoss":
        if not (self.dice or self.cross_entropy):
            raise ValueError("one of dice and cross_entropy must be above 0")
        return self


class SegmentationAdam(AdamSettings):
    """Adam with the usual momentum: nothing adversarial here that would want less."""

    learning_rate: float = Field(1e-3, gt=0)
    betas: tuple[float, float] = (0.9, 0.999)


class SegmentationSettings(BaseModel):
    """All of segmentation."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    classes: dict[str, Values] = Field(
        default_factory=dict,
        description="name → value or values of the label map; later ones lie over earlier ones, and may lie inside "
        "them; null leaves one out; empty: one class, all that is not 0",
    )
    colours: dict[str, str] = Field(default_factory=dict, description='name → "#rrggbb"; others get one')
    activation: Literal["softmax", "sigmoid"] = Field(
        "softmax", description="softmax: a pixel has one class; sigmoid: each class by itself, which nested ones need"
    )
    class_weights: Literal["inverse", "square-root"] | dict[str, Annotated[float, Field(gt=0)]] | None = Field(
        None,
        description="of the cross-entropy: by name (background among them; those left out have 1), or from the shares "
        "of pixels in training: 1/share, or 1/√share",
    )
    lesions: tuple[str, ...] | None = Field(
        None, description="classes that strata, areas and detection are about; null: the last"
    )
    largest_component: tuple[str, ...] = Field((), description="classes of which one connected piece is kept in use")
    fill_holes: tuple[str, ...] = Field((), description="classes whose holes are filled in use")
    thresholds: dict[str, float] = Field(
        default_factory=dict,
        description="class → probability from which a pixel has it in use; others 0.5; with a sigmoid only",
    )
    flips: tuple[Annotated[int, Field(ge=0)], ...] = Field(
        (), description="spatial axes of a sample along which mirrored ones are looked at too in use, and averaged"
    )
    network: SegmentationNetwork = SegmentationNetwork()
    loss: SegmentationLoss = SegmentationLoss()
    adam: SegmentationAdam = SegmentationAdam()

    @field_validator("classes", mode="before")
    @classmethod
    def _null_leaves_out(cls, classes: Any) -> Any:
        if not isinstance(classes, dict):
            return classes
        return {name: values for name, values in classes.items() if values is not None}

    @model_validator(mode="after")
    def _classes_go_together(self) -> "SegmentationSettings":
        classes = self.label_classes("lesion")
        if BACKGROUND in classes.names:
            raise ValueError(f"a class cannot be called {BACKGROUND}, which is all that belongs to no class")
        if classes.overlap and self.activation == "softmax":
            raise ValueError("classes share values, and a softmax gives a pixel one class; set activation: sigmoid")
        require_classes(classes.names, self.lesions or (), "lesions")
        if len(classes.atoms) > MOST_CLASSES:
            raise ValueError(
                f"classes name {len(classes.atoms)} values of the label map, and {MOST_CLASSES} can be told apart; "
                f"leave some out, such as {classes.atoms[MOST_CLASSES]}"
            )
        if len(set(self.flips)) < len(self.flips):
            raise ValueError(f"flips names an axis twice: {list(self.flips)}; name each once")
        if isinstance(self.class_weights, dict):
            require_classes((BACKGROUND, *classes.names), tuple(self.class_weights), "class_weights")
        return self

    def label_classes(self, modality: str) -> LabelClasses:
        """Return the classes of the target, which gives its name to the only class where none is named."""
        return LabelClasses.named(
            self.classes or {modality: ()},
            colours=self.colours,
            exclusive=self.activation == "softmax",
            largest_component=self.largest_component,
            fill_holes=self.fill_holes,
            thresholds=self.thresholds,
        )

    def lesion_classes(self, modality: str) -> tuple[str, ...]:
        """Return the names of the classes that strata, areas and detection are about."""
        return self.lesions or self.label_classes(modality).names[-1:]


class Segmentation(OneNetwork):
    """One network from all inputs to the probabilities of the target's classes."""

    def __init__(self, settings: SegmentationSettings, ports: Ports) -> None:
        (self.target,) = ports.targets
        classes = settings.label_classes(self.target)
        logits = len(classes.names) + (settings.activation == "softmax")
        if ports.shape is not None:
            refuse_single_pixels(settings.network, ports.shape)
        network = make_network(settings.network, replace(ports, targets={self.target: logits}), of_the_slide="relu")
        super().__init__(network, ports)
        self.settings, self.adam = settings, settings.adam
        self.membership = torch.from_numpy(classes.membership())  # (classes, 1 + atoms)
        self.weights = class_weights(settings, classes, ports.frequencies)

    def updates(self, batch: Batch, step: int) -> Iterator[Update]:
        loss, exclusive = self.settings.loss, self.settings.activation == "softmax"
        logits = self.generate(batch).float()
        truth = self.truth_of(batch[LABELS])  # (N, classes, *spatial)
        counted = batch.get(REGION) if loss.in_region else None
        weights = None if self.weights is None else self.weights.to(logits.device)
        parts: dict[str, Tensor] = {}
        if loss.dice:
            parts["g_dice"] = class_dice_loss(
                self.probabilities(logits), truth, together=loss.batch_dice, counted=counted
            )
        if loss.cross_entropy:
            parts["g_cross_entropy"] = class_cross_entropy(
                logits, truth, exclusive=exclusive, weights=weights, counted=counted
            )
        factors = {"g_dice": loss.dice, "g_cross_entropy": loss.cross_entropy}
        total = torch.stack([factors[name] * part for name, part in parts.items()]).sum()
        yield Update("generator", total, {"g_loss": total, **parts})

    def translate(self, inputs: Batch, *, stochastic: bool = False) -> dict[str, Tensor]:
        """Return target → probabilities of its classes, (N, classes, *spatial) in [0, 1]."""
        set_dropout(self.generator, stochastic)
        return {self.target: self.probabilities(self.generate(inputs).float())}

    def probabilities(self, logits: Tensor) -> Tensor:
        """Return the probabilities of the classes, without that of the background."""
        return logits.softmax(1)[:, 1:] if self.settings.activation == "softmax" else logits.sigmoid()

    def truth_of(self, labels: Tensor) -> Tensor:
        """Return where each class is: (N, 1, *spatial) of prepared numbers → (N, classes, *spatial) of 0 and 1."""
        return self.membership.to(labels.device)[:, labels[:, 0]].movedim(0, 1).float()


def class_weights(
    settings: SegmentationSettings, classes: LabelClasses, frequencies: tuple[float, ...]
) -> Tensor | None:
    """Return what pixels of the background and of each class count, (1 + classes,) with mean 1; None: all alike.

    Args:
        settings: name the weights, or how they follow from the frequencies.
        classes: of the target.
        frequencies: share of the training pixels that have each prepared number, (1 + atoms,); empty outside a
            training, which needs no weights.
    """
    chosen = settings.class_weights
    if chosen is None:
        return None
    if isinstance(chosen, dict):
        weights = torch.tensor([chosen.get(name, 1.0) for name in (BACKGROUND, *classes.names)])
    else:
        if not frequencies:
            return None
        own = torch.tensor(frequencies)
        members = torch.from_numpy(classes.membership()).float()
        shares = torch.cat([1 - (members.amax(0) * own).sum().view(1), members @ own])
        weights = shares.clamp(min=RAREST) ** -POWER[chosen]
    return weights / weights.mean()
