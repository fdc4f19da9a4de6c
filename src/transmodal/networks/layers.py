"""The pieces that exist once per number of dimensions, and padding to a size that a network can halve."""

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

Norm = Literal["batch", "instance", "layer", "none"]

CONVOLUTION: dict[int, type[nn.Conv2d] | type[nn.Conv3d]] = {2: nn.Conv2d, 3: nn.Conv3d}
TRANSPOSED: dict[int, type[nn.ConvTranspose2d] | type[nn.ConvTranspose3d]] = {
    2: nn.ConvTranspose2d,
    3: nn.ConvTranspose3d,
}
BATCH_NORM = {2: nn.BatchNorm2d, 3: nn.BatchNorm3d}
INSTANCE_NORM = {2: nn.InstanceNorm2d, 3: nn.InstanceNorm3d}
MAX_POOLING = {2: nn.MaxPool2d, 3: nn.MaxPool3d}
SPATIAL_DROPOUT = {2: nn.Dropout2d, 3: nn.Dropout3d}  # whole channels at once
DROPOUT = (nn.Dropout, nn.Dropout2d, nn.Dropout3d)
INTERPOLATION = {2: "bilinear", 3: "trilinear"}


def normalisation(kind: Norm, channels: int, spatial_dims: int, *, running_statistics: bool = False) -> nn.Module:
    """Return a normalisation layer.

    Args:
        kind: "batch", "instance" (not affine, as in CycleGAN), "layer" (over channels and space), "none".
        channels: number of feature channels.
        spatial_dims: 2 or 3.
        running_statistics: for "batch", keep running averages and use them in evaluation mode. Without, every image
            is normalised by the statistics of its own batch in training and in use, as the public pix2pix code does.
    """
    if kind == "batch":
        return BATCH_NORM[spatial_dims](channels, track_running_stats=running_statistics)
    if kind == "instance":
        return INSTANCE_NORM[spatial_dims](channels)
    if kind == "layer":
        return nn.GroupNorm(1, channels)
    return nn.Identity()


def initialise(module: nn.Module, gain: float = 0.02) -> None:
    """Draw weights from N(0, gain), batch-norm scales from N(1, gain), biases 0 (Isola et al. 2017, 6.2)."""
    for layer in module.modules():
        if isinstance(layer, (*CONVOLUTION.values(), *TRANSPOSED.values(), nn.Linear)):
            mean = 0.0
        elif isinstance(layer, (*BATCH_NORM.values(), nn.GroupNorm)):
            mean = 1.0
        else:
            continue
        if isinstance(layer.weight, Tensor):
            nn.init.normal_(layer.weight, mean, gain)
        if isinstance(layer.bias, Tensor):
            nn.init.zeros_(layer.bias)


def pad_to_multiple(images: Tensor, multiple: int) -> Tensor:
    """Extend (N, C, *spatial) at the far ends by repeating the border, so that `multiple` divides every side."""
    extra = [-size % multiple for size in images.shape[2:]]
    if not any(extra):
        return images
    padding = [amount for size in reversed(extra) for amount in (0, size)]
    return functional.pad(images, padding, mode="replicate")


def in_type_of(images: Tensor, layer: nn.Module) -> Tensor:
    """Return images in the type of a layer's weights.

    A network that corrects its input takes it in float32 and computes in 16 bits, so that the input itself, to which
    the correction is added, keeps its precision: at -1000 HU of a window of 2500, 16-bit values are 5 HU apart.
    """
    return images.to(next(layer.parameters()).dtype)


def crop_to(images: Tensor, shape: torch.Size | tuple[int, ...]) -> Tensor:
    """Cut (N, C, *spatial) back to a spatial shape: the inverse of `pad_to_multiple`."""
    for axis, size in enumerate(shape, start=2):
        if images.shape[axis] != size:
            images = images.narrow(axis, 0, size)
    return images


def corrected_channels(
    add_input: Sequence[int] | None, in_channels: int, out_channels: int, output: str
) -> list[int] | None:
    """Return the input channel that each output channel of a network is a correction of; None where it is none.

    Raises:
        ValueError: not one input channel for each output, or an output that is not linear.
    """
    if add_input is None:
        return None
    if len(add_input) != out_channels or not set(add_input) <= set(range(in_channels)):
        raise ValueError(f"add_input must name one of {in_channels} input channels for each output, got {add_input}")
    if output != "linear":
        raise ValueError("a correction of the input needs a linear output")
    return list(add_input)
