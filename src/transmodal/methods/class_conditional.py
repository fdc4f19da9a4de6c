"""What methods with one conditional generator share: label maps, the draw of modalities, and what must fit together.

The target is told to the generator as StarGAN does it (Choi et al., CVPR 2018): the one-hot label, repeated over all
pixels, is concatenated to the image.
"""

from typing import Annotated, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor
from torch.nn import functional

from transmodal.methods.method import Batch, Ports
from transmodal.networks.class_discriminator import ClassDiscriminator, deepest
from transmodal.networks.layers import Norm
from transmodal.networks.unet_generator import UNetGenerator

MOST_PADDING = 1.25  # of the voxels, for a deeper U-Net


class ConditionalUNetSettings(BaseModel):
    """The U-Net of pix2pix without its dropout; the defaults are TC-MGAN's (U-Net-128)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    filters: int = Field(64, ge=1)
    downsamplings: Annotated[int, Field(ge=1, le=10)] | Literal["auto"] = Field(
        "auto", description="halvings; auto: 7, or fewer so that padding to a multiple adds at most a quarter of pixels"
    )
    norm: Norm = "instance"
    dropout: float = Field(0.0, ge=0, lt=1)
    upsampling: Literal["transposed", "resize"] = "transposed"

    def make(self, in_channels: int, out_channels: int, ports: Ports) -> UNetGenerator:
        """Return the network with fresh weights."""
        depth = unet_depth(ports.shape) if self.downsamplings == "auto" else self.downsamplings
        return UNetGenerator(
            in_channels,
            out_channels,
            spatial_dims=ports.spatial_dims,
            filters=self.filters,
            downsamplings=depth,
            norm=self.norm,
            dropout=self.dropout,
            upsampling=self.upsampling,
            running_statistics=True,
        )


class ClassDiscriminatorSettings(BaseModel):
    """The discriminator with a class head."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    filters: int = Field(64, ge=1)
    layers: Annotated[int, Field(ge=1, le=8)] | Literal["auto"] = Field(
        "auto", description="halvings; auto: as many as published, or fewer where the images are smaller"
    )
    class_head: Literal["full", "average"] = Field(
        "full", description="reads the whole last map, as published, or its average: for images of many sizes"
    )

    def make(self, in_channels: int, classes: int, ports: Ports, *, published_layers: int) -> ClassDiscriminator:
        """Return the network with fresh weights."""
        return ClassDiscriminator(
            in_channels,
            classes,
            spatial_dims=ports.spatial_dims,
            filters=self.filters,
            layers=deepest(ports.shape, published_layers) if self.layers == "auto" else self.layers,
            shape=ports.shape if self.class_head == "full" else None,
        )


def unet_depth(shape: tuple[int, ...] | None, most: int = 7) -> int:
    """Return the most halvings whose padding adds at most a quarter of the pixels (72³ takes 3, 128² takes 7)."""
    if shape is None:
        return most
    for depth in range(deepest(shape, most), 1, -1):
        growth = 1.0
        for size in shape:
            growth *= (size + -size % 2**depth) / size
        if growth <= MOST_PADDING:
            return depth
    return 1


def shared_channels(ports: Ports, modalities: tuple[str, ...]) -> int:
    """Return the channels that all modalities have.

    Raises:
        ValueError: they differ, so that one generator cannot make them all.
    """
    channels = {name: (ports.inputs | ports.targets)[name] for name in modalities}
    if len(set(channels.values())) > 1:
        told = ", ".join(f"{name} {count}" for name, count in channels.items())
        raise ValueError(f"one generator for all needs modalities of as many channels each, got {told}")
    return next(iter(channels.values()))


def refuse_neighbours(ports: Ports) -> None:
    """Refuse 2.5-D where what is made goes in again.

    Raises:
        ValueError: inputs bring their neighbours.
    """
    if ports.neighbours:
        raise ValueError(
            "the generator takes its own output as input, which has no neighbouring slices; "
            "set preparation.slices.neighbours: 0"
        )


def with_label_maps(images: Tensor, labels: Tensor) -> Tensor:
    """Concatenate (N, C, *spatial) and (N, K) constant over all pixels: (N, C + K, *spatial)."""
    maps = labels.to(images.dtype).view(*labels.shape, *(1,) * (images.ndim - 2))
    return torch.cat([images, maps.expand(-1, -1, *images.shape[2:])], dim=1)


def one_hot(classes: Tensor, number: int) -> Tensor:
    """(N,) int64 → (N, number) float32."""
    return functional.one_hot(classes, number).float()


def presence(ports: Ports, batch: Batch, modalities: tuple[str, ...]) -> Tensor:
    """Return which modalities are there at all: (N, len(modalities)) of bool."""
    return torch.stack([ports.present(batch, name) for name in modalities], dim=1)


def draw_one(choices: Tensor) -> Tensor:
    """Draw one of the true entries of each row, all as likely: (N, K) of bool → (N,) int64. Each row must have one."""
    return torch.rand(choices.shape, device=choices.device).masked_fill(~choices, -1).argmax(1)


def pick(batch: Batch, modalities: tuple[str, ...], cases: Tensor, which: Tensor) -> Tensor:
    """Return the image of modality `which[i]` of case `cases[i]`: (len(cases), C, *spatial)."""
    return torch.stack([batch[name] for name in modalities], dim=1)[cases, which]
