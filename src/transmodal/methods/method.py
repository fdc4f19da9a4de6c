"""What a method has to say, and what it is given. One screen; each method is one file that reads like its paper."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

from transmodal.datasets.batch_keys import DEPTH, GIVEN, LABELS, REGION, WANTED
from transmodal.networks.layers import DROPOUT

__all__ = [
    "DEPTH",
    "GIVEN",
    "LABELS",
    "REGION",
    "WANTED",
    "AdamSettings",
    "Batch",
    "Method",
    "Ports",
    "SgdSettings",
    "Update",
    "mean_of_wanted",
    "set_dropout",
]

Batch = Mapping[str, Tensor]
"""What a method gets. All tensors of one batch share N and the spatial shape.

modality    float32 (N, C, *spatial) in [-1, 1]; in 2.5-D an input has C·(2k+1) channels, a pure target C
REGION      float32 (N, 1, *spatial), 1 inside the region (brain, body), 0 outside; only where the recipe has one
DEPTH       float32 (N, 1, *spatial), -1 outside and at the rim of the region to 1 deep inside
LABELS      int64 (N, 1, *spatial), classes from 0 (background); only where the recipe has labels
GIVEN       float32 (N, inputs), 1 where an input is to be seen; absent: all are. What is not given holds -1
WANTED      float32 (N, targets), 1 where a target is known and not among the given inputs; absent: all are
"""


class AdamSettings(BaseModel):
    """Adam; the defaults are those of pix2pix and CycleGAN."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    learning_rate: float = Field(2e-4, gt=0)
    betas: tuple[float, float] = (0.5, 0.999)
    weight_decay: float = Field(0.0, ge=0)


class SgdSettings(BaseModel):
    """Gradient descent with momentum; the defaults are those of FBPConvNet's public code."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    learning_rate: float = Field(1e-2, gt=0)
    momentum: float = Field(0.99, ge=0, lt=1)
    weight_decay: float = Field(0.0, ge=0)
    largest_step: float | None = Field(1e-2, gt=0, description="no weight moves further in one step; null: as it comes")


@dataclass(frozen=True)
class Ports:
    """What goes in and what comes out.

    Attributes:
        inputs, targets: modality → number of channels, in order; a modality may be both.
        spatial_dims: 2 or 3.
        shape: spatial shape of the training samples, for depths chosen by size.
        neighbours: slices on each side that an input brings along its channels (2.5-D).
        region: the region is one more input channel.
        depth: the distance from its rim is one more.
        missing: inputs may be absent; each then has a channel that says whether it is there.
        classes: numbers of the prepared label map, background included; 0 without labels.
        frequencies: share of the training pixels that have each of them; empty outside a training, and without labels.
    """

    inputs: dict[str, int]
    targets: dict[str, int]
    spatial_dims: int = 2
    shape: tuple[int, ...] | None = None
    neighbours: int = 0
    region: bool = False
    depth: bool = False
    missing: bool = False
    classes: int = 0
    frequencies: tuple[float, ...] = ()

    @property
    def modalities(self) -> tuple[str, ...]:
        """Inputs, then what is a target only."""
        return tuple(self.inputs | self.targets)

    @property
    def in_channels(self) -> int:
        """Channels of `join_inputs`."""
        images = sum(self.inputs.values()) * (2 * self.neighbours + 1)
        return images + int(self.region) + int(self.depth) + (len(self.inputs) if self.missing else 0)

    @property
    def out_channels(self) -> int:
        """Channels of `join_targets`."""
        return sum(self.targets.values())

    def join_inputs(self, batch: Batch) -> Tensor:
        """Concatenate all that a network is to see along the channels: (N, in_channels, *spatial).

        Input modalities with their neighbours, then the region, then one constant channel an input for its presence.
        """
        images = [batch[modality] for modality in self.inputs]
        first = images[0]
        ones = (1,) * self.spatial_dims
        parts = images
        if self.missing:
            given = self.given(batch)
            flags = given.view(len(first), -1, *ones)
            # An absent image is -1 throughout, whatever the batch holds there.
            parts = [image * flag + (flag - 1) for image, flag in zip(images, flags.split(1, dim=1), strict=True)]
        if self.region:
            parts = [*parts, batch[REGION]]
        if self.depth:
            parts = [*parts, batch[DEPTH]]
        if self.missing:
            parts = [*parts, flags.expand(-1, -1, *first.shape[2:])]
        return torch.cat(parts, dim=1)

    def join_targets(self, batch: Batch) -> Tensor:
        """Concatenate the target modalities along the channels, of 2.5-D inputs the middle slice."""
        return torch.cat([self.middle(batch, modality) for modality in self.targets], dim=1)

    def middle(self, batch: Batch, modality: str) -> Tensor:
        """Return a modality without its neighbours: (N, C, *spatial)."""
        image = batch[modality]
        if modality in self.inputs and self.neighbours:
            channels = self.inputs[modality]
            return image[:, self.neighbours * channels : (self.neighbours + 1) * channels]
        return image

    def split_targets(self, joined: Tensor) -> dict[str, Tensor]:
        """Undo `join_targets`."""
        return dict(zip(self.targets, joined.split(list(self.targets.values()), dim=1), strict=True))

    def corrected_channels(self, corrected: Sequence[str] = ()) -> tuple[int, ...]:
        """Return the channel of `join_inputs` that each of `join_targets` is a correction of.

        Args:
            corrected: the input of each target; empty takes the first input for all.

        Raises:
            ValueError: a target has other channels than its input.
        """
        found: list[int] = []
        names = list(self.inputs)
        for target, name in zip(self.targets, corrected or [names[0]] * len(self.targets), strict=True):
            channels = self.inputs[name]
            if self.targets[target] != channels:
                raise ValueError(
                    f"{target} has other channels than {name}, so it can be no correction of it; set residual and "
                    "add_input to false"
                )
            before = sum(self.inputs[other] for other in names[: names.index(name)]) * (2 * self.neighbours + 1)
            middle = before + self.neighbours * channels
            found += range(middle, middle + channels)
        return tuple(found)

    def given(self, batch: Batch) -> Tensor:
        """Return which inputs are to be seen: (N, inputs), 0 or 1."""
        if GIVEN in batch:
            return batch[GIVEN]
        first = batch[next(iter(self.inputs))]
        return first.new_ones(len(first), len(self.inputs))

    def wanted(self, batch: Batch) -> Tensor | None:
        """Return the weight of each target channel, (N, out_channels, 1, …), or None where all count."""
        if WANTED not in batch:
            return None
        counts = torch.tensor(list(self.targets.values()), device=batch[WANTED].device)
        weights = batch[WANTED].repeat_interleave(counts, dim=1)
        return weights.view(*weights.shape, *(1,) * self.spatial_dims)

    def present(self, batch: Batch, modality: str) -> Tensor:
        """Return where a modality is there at all, as an input or as a target: (N,) of bool."""
        first = next(tensor for name, tensor in batch.items() if not name.startswith("#"))
        there = torch.zeros(len(first), dtype=torch.bool, device=first.device)
        for key, names in ((GIVEN, self.inputs), (WANTED, self.targets)):
            if modality in names:
                there |= batch[key][:, list(names).index(modality)] > 0 if key in batch else True
        return there


@dataclass
class Update:
    """One optimiser step that a method asks for.

    Attributes:
        optimiser: a key of `Method.trained_modules()`.
        loss: scalar to minimise.
        parts: named scalars for the log.
    """

    optimiser: str
    loss: Tensor
    parts: dict[str, Tensor] = field(default_factory=dict)


class Method(nn.Module):
    """A way to learn a translation.

    To implement: a settings class beside it (pydantic, paper defaults), `trained_modules`, `updates`, `translate`, and
    `translation_modules`, the names of the submodules that a translator needs.
    """

    translation_modules: tuple[str, ...] = ()
    adam: AdamSettings
    takes_batches: bool = True
    """False: in use the output of one sample depends on what shares its batch (statistics of the batch itself)."""

    progress: float = 0.0
    """Share of the training that is over, of its steps or of its time; the training loop sets it before each step."""

    @property
    def keeps_inputs(self) -> bool:
        """Inputs stay in float32 where the weights have 16 bits, because outputs are corrections of them."""
        return False

    def trained_modules(self) -> dict[str, nn.Module]:
        """Return the modules to optimise, each by an optimiser of its own."""
        raise NotImplementedError

    def adam_of(self, name: str) -> AdamSettings:
        """Return the settings of one module's optimiser; all have the same unless a method says otherwise."""
        return self.adam

    def optimiser_of(self, name: str) -> AdamSettings | SgdSettings:
        """Return the settings of one module's optimiser: Adam's, unless a method has another."""
        return self.adam_of(name)

    def updates(self, batch: Batch, step: int) -> Iterator[Update]:
        """Yield the optimiser steps of one batch in order.

        The training loop runs backward and the optimiser on each before it asks for the next, so that what is computed
        after a `yield` sees the stepped weights. All randomness comes from torch's global generator, which the loop
        seeds from (seed, step): that is what makes a resumed training equal to an unbroken one.
        """
        raise NotImplementedError

    def notice(self, step: int) -> str:
        """Return what a user should know about this step, in one line that is told once; "" is nothing."""
        return ""

    def translate(self, inputs: Batch, *, stochastic: bool = False) -> dict[str, Tensor]:
        """Return all target modalities in [-1, 1] for the inputs; dropout acts only if `stochastic`.

        Of a target that is a label map, the probabilities of its classes in [0, 1].

        Args:
            inputs: a batch with the input modalities (and REGION, GIVEN where the ports have them); no targets.
            stochastic: draw the noise z.

        Returns:
            Target → (N, C, *spatial) float32.
        """
        raise NotImplementedError


def mean_of_wanted(errors: Tensor, wanted: Tensor | None) -> Tensor:
    """Return the mean of an error (N, C, *spatial) over the wanted target channels; 0 where none is wanted."""
    if wanted is None:
        return errors.mean()
    per_channel = errors.flatten(2).mean(2)
    weights = wanted.flatten(1)
    return (per_channel * weights).sum() / weights.sum().clamp(min=1)


def set_dropout(module: nn.Module, active: bool) -> None:
    """Switch the dropout layers of a module on or off, whatever mode the rest is in."""
    for layer in module.modules():
        if isinstance(layer, DROPOUT):
            layer.train(active)
