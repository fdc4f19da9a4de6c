"""A U-Net for regression, plain or with a residual encoder, in two or three dimensions, for images of any size.

Ronneberger, Fischer, Brox, "U-Net", MICCAI 2015, with the choices of nnU-Net (Isensee et al., Nature Methods 18, 2021):
3×3 convolutions, strided ones to halve, instance norm with scale and shift, LeakyReLU 0.01, transposed convolutions of
width 2 to double, filters doubled from level to level up to 512 (320 in volumes). With `residual`, the encoder is that
of nnU-Net's ResEnc (Isensee et al., "nnU-Net Revisited", MICCAI 2024): a stem, residual blocks of two convolutions, 1,
3, 4, 6, 6, 6 … of them a level, the shortcut halved by averaging (He et al. 2019, ResNet-D), one convolution a level in
the decoder.
"""

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from transmodal.networks.layers import (
    BATCH_NORM,
    CONVOLUTION,
    INTERPOLATION,
    TRANSPOSED,
    corrected_channels,
    crop_to,
    in_type_of,
    pad_to_multiple,
)

Norm = Literal["batch", "instance", "none"]
Activation = Literal["leaky", "relu"]
Output = Literal["linear", "tanh"]
Upsampling = Literal["transposed", "resize"]

MOST_FILTERS = {2: 512, 3: 320}
RESIDUAL_BLOCKS = (1, 3, 4, 6, 6, 6)
NEGATIVE_SLOPE = 0.01
AVERAGE_POOLING = {2: nn.AvgPool2d, 3: nn.AvgPool3d}


class UNet(nn.Module):
    """Map (N, in_channels, *spatial) to (N, out_channels, *spatial).

    Sizes that 2**(levels − 1) does not divide are extended by their border values and cut back.

    Args:
        in_channels, out_channels: channels of source and target.
        spatial_dims: 2 or 3.
        filters: channels of the first level; doubled at each level up to 512 (320 in volumes).
        levels: number of resolutions, the full one included; 1 has none to halve to.
        convolutions: a level and side (with `residual`: of the decoder, where nnU-Net has 1).
        residual: residual blocks in the encoder.
        blocks: residual blocks of each level; None takes nnU-Net's 1, 3, 4, 6, 6, 6 …
        norm: "instance" (of each image alone, with scale and shift), "batch" (running averages in use), "none".
        activation: "leaky" (slope 0.01) or "relu".
        dropout: probability at the end of every level but the outermost.
        upsampling: "transposed" convolutions of width 2, or "resize" (linear), which cannot leave a checkerboard.
        output: "linear", or "tanh" for values in [-1, 1].
        add_input: the input channel that each output channel is a correction of, for aligned modalities that look
            alike; the training then starts from the input itself. Only with a linear output.

    Raises:
        ValueError: fewer than one level, other numbers of blocks than levels, or of channels in `add_input`.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        spatial_dims: int = 2,
        filters: int = 32,
        levels: int = 5,
        convolutions: int = 2,
        residual: bool = False,
        blocks: Sequence[int] | None = None,
        norm: Norm = "instance",
        activation: Activation = "leaky",
        dropout: float = 0.0,
        upsampling: Upsampling = "transposed",
        output: Output = "linear",
        add_input: Sequence[int] | None = None,
    ) -> None:
        super().__init__()
        if levels < 1 or convolutions < 1:
            raise ValueError("a U-Net needs at least one level and one convolution a level")
        blocks = _blocks_of_levels(levels) if blocks is None else tuple(blocks)
        if len(blocks) != levels or min(blocks) < 1:
            raise ValueError(f"a U-Net of {levels} levels needs as many numbers of blocks, all above 0, got {blocks}")
        self.add_input = corrected_channels(add_input, in_channels, out_channels, output)
        self.multiple = 2 ** (levels - 1)
        self.output = output
        make = _Blocks(spatial_dims, norm, activation)
        widths = [min(filters * 2**level, MOST_FILTERS[spatial_dims]) for level in range(levels)]

        self.encoder = nn.ModuleList()
        for level, width in enumerate(widths):
            previous, stride = (widths[level - 1], 2) if level else (in_channels, 1)
            parts: list[nn.Module] = []
            if residual:
                if level == 0:
                    parts.append(make.convolution(in_channels, width))
                    previous = width
                parts.append(ResidualBlock(make, previous, width, stride))
                parts += [ResidualBlock(make, width, width) for _ in range(blocks[level] - 1)]
            else:
                parts.append(make.convolution(previous, width, stride))
                parts += [make.convolution(width, width) for _ in range(convolutions - 1)]
            if dropout and level:
                parts.append(nn.Dropout(dropout))
            self.encoder.append(nn.Sequential(*parts))

        self.upsamplings, self.decoder = nn.ModuleList(), nn.ModuleList()
        for level in reversed(range(levels - 1)):
            width = widths[level]
            self.upsamplings.append(_upsample(upsampling, widths[level + 1], width, spatial_dims))
            parts = [make.convolution(2 * width, width)]
            parts += [make.convolution(width, width) for _ in range(convolutions - 1)]
            if dropout and level:
                parts.append(nn.Dropout(dropout))
            self.decoder.append(nn.Sequential(*parts))
        self.head = CONVOLUTION[spatial_dims](widths[0], out_channels, 1)
        start_as_he(self, negative_slope=NEGATIVE_SLOPE if activation == "leaky" else 0.0)
        if add_input is not None:
            nn.init.zeros_(self.head.weight)

    def forward(self, images: Tensor) -> Tensor:
        features = in_type_of(pad_to_multiple(images, self.multiple), self.head)
        skips = []
        for level in self.encoder:
            features = level(features)
            skips.append(features)
        skips.pop()
        for upsample, level in zip(self.upsamplings, self.decoder, strict=True):
            features = level(torch.cat([upsample(features), skips.pop()], dim=1))
        corrected = crop_to(self.head(features), images.shape[2:])
        if self.add_input is not None:
            corrected = images[:, self.add_input] + corrected
        return torch.tanh(corrected) if self.output == "tanh" else corrected


class _Blocks:
    """Makes convolutions of one kind, each with its norm and activation."""

    def __init__(self, spatial_dims: int, norm: Norm, activation: Activation) -> None:
        self.spatial_dims, self.norm, self.kind = spatial_dims, norm, activation

    def convolution(
        self, width_in: int, width_out: int, stride: int = 1, *, size: int = 3, active: bool = True
    ) -> nn.Module:
        layers = [
            CONVOLUTION[self.spatial_dims](
                width_in, width_out, size, stride=stride, padding=size // 2, bias=self.norm == "none"
            ),
            normalisation(self.norm, width_out, self.spatial_dims),
        ]
        return nn.Sequential(*layers, self.activation()) if active else nn.Sequential(*layers)

    def activation(self) -> nn.Module:
        return nn.LeakyReLU(NEGATIVE_SLOPE, inplace=True) if self.kind == "leaky" else nn.ReLU(inplace=True)


class ResidualBlock(nn.Module):
    """Two convolutions beside a shortcut, added before the last activation."""

    def __init__(self, make: _Blocks, width_in: int, width_out: int, stride: int = 1) -> None:
        super().__init__()
        self.convolutions = nn.Sequential(
            make.convolution(width_in, width_out, stride), make.convolution(width_out, width_out, active=False)
        )
        shortcut: list[nn.Module] = []
        if stride > 1:
            shortcut.append(AVERAGE_POOLING[make.spatial_dims](stride))
        if width_in != width_out:
            shortcut.append(make.convolution(width_in, width_out, size=1, active=False))
        self.shortcut = nn.Sequential(*shortcut)
        self.activation = make.activation()

    def forward(self, features: Tensor) -> Tensor:
        return self.activation(self.convolutions(features) + self.shortcut(features))


class InstanceNorm(nn.Module):
    """Normalise each channel of each image by its own mean and variance, then scale and shift.

    Equal to nn.InstanceNorm2d and 3d with affine=True, several times faster on the CPU, and one single pixel (which
    those refuse in training) becomes the shift.
    """

    def __init__(self, channels: int, epsilon: float = 1e-5) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.ones(channels)), nn.Parameter(torch.zeros(channels))
        self.epsilon = epsilon

    def forward(self, features: Tensor) -> Tensor:
        if torch.is_grad_enabled() and not features.is_contiguous():
            # Channels last, in training: the gradient of group norm is several times slower there than batch norm's.
            images = features.split(1)
            parts = [
                functional.batch_norm(x, None, None, self.weight, self.bias, True, 0, self.epsilon) for x in images
            ]
            return torch.cat(parts) if len(parts) > 1 else parts[0]
        weight, bias = self.weight.to(features.dtype), self.bias.to(features.dtype)
        return torch.group_norm(features, features.shape[1], weight, bias, self.epsilon)


def normalisation(kind: Norm, channels: int, spatial_dims: int) -> nn.Module:
    """Return a norm as networks for regression have it: with scale and shift, batch norm with running averages."""
    if kind == "batch":
        return BATCH_NORM[spatial_dims](channels)
    return InstanceNorm(channels) if kind == "instance" else nn.Identity()


def start_as_he(network: nn.Module, *, negative_slope: float = 0.0) -> None:
    """Draw weights as He et al. 2015 for rectifiers, so that signals keep their size without norms; biases 0."""
    for layer in network.modules():
        if isinstance(layer, (*CONVOLUTION.values(), *TRANSPOSED.values())):
            if isinstance(layer.weight, Tensor):
                nn.init.kaiming_normal_(layer.weight, a=negative_slope)
            if isinstance(layer.bias, Tensor):
                nn.init.zeros_(layer.bias)


def _blocks_of_levels(levels: int) -> tuple[int, ...]:
    return tuple(RESIDUAL_BLOCKS[min(level, len(RESIDUAL_BLOCKS) - 1)] for level in range(levels))


def _upsample(kind: Upsampling, width_in: int, width_out: int, spatial_dims: int) -> nn.Module:
    if kind == "transposed":
        return TRANSPOSED[spatial_dims](width_in, width_out, 2, stride=2)
    # Mixing channels before or after a linear resize is the same; before, there are four or eight times fewer pixels.
    return nn.Sequential(
        CONVOLUTION[spatial_dims](width_in, width_out, 1),
        nn.Upsample(scale_factor=2, mode=INTERPOLATION[spatial_dims]),
    )
