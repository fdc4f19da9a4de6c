"""What a method has to say, and what it is given. One screen; each method is one file that reads like its paper."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

Batch = Mapping[str, Tensor]
"""Modality → float32 tensor (N, C, *spatial) in [-1, 1]. All of one batch share N and the spatial shape."""


class AdamSettings(BaseModel):
    """Adam; the defaults are those of pix2pix and CycleGAN."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    learning_rate: float = Field(2e-4, gt=0)
    betas: tuple[float, float] = (0.5, 0.999)
    weight_decay: float = Field(0.0, ge=0)


@dataclass(frozen=True)
class Ports:
    """What goes in and what comes out: modality → number of channels, in order."""

    inputs: dict[str, int]
    targets: dict[str, int]
    spatial_dims: int = 2
    shape: tuple[int, ...] | None = None  # of the training images, for depths chosen by size

    def join_inputs(self, batch: Batch) -> Tensor:
        """Concatenate the input modalities along the channels: (N, ΣC, *spatial)."""
        return torch.cat([batch[modality] for modality in self.inputs], dim=1)

    def join_targets(self, batch: Batch) -> Tensor:
        """Concatenate the target modalities along the channels."""
        return torch.cat([batch[modality] for modality in self.targets], dim=1)

    def split_targets(self, joined: Tensor) -> dict[str, Tensor]:
        """Undo `join_targets`."""
        return dict(zip(self.targets, joined.split(list(self.targets.values()), dim=1), strict=True))


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

    def trained_modules(self) -> dict[str, nn.Module]:
        """Return the modules to optimise, each by an Adam of its own."""
        raise NotImplementedError

    def updates(self, batch: Batch, step: int) -> Iterator[Update]:
        """Yield the optimiser steps of one batch in order.

        The training loop runs backward and the optimiser on each before it asks for the next, so that what is computed
        after a `yield` sees the stepped weights. All randomness comes from torch's global generator, which the loop
        seeds from (seed, step): that is what makes a resumed training equal to an unbroken one.
        """
        raise NotImplementedError

    def translate(self, inputs: Batch, *, stochastic: bool = False) -> dict[str, Tensor]:
        """Return the target modalities in [-1, 1] for the input modalities; dropout acts only if `stochastic`."""
        raise NotImplementedError


def set_dropout(module: nn.Module, active: bool) -> None:
    """Switch the dropout layers of a module on or off, whatever mode the rest is in."""
    for layer in module.modules():
        if isinstance(layer, nn.Dropout):
            layer.train(active)
