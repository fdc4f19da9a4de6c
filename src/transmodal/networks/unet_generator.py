"""The U-Net generator of pix2pix, for any depth, any image size and two or three dimensions.

Isola et al., "Image-to-Image Translation with Conditional Adversarial Networks", CVPR 2017, section 6.1.1. With eight
halvings, 64 filters and 256×256 pixels it is the published U-Net-256:
encoder C64-C128-C256-C512-C512-C512-C512-C512, decoder CD512-CD512-CD512-C512-C256-C128-C64, skips between mirrored
layers, LeakyReLU 0.2 down, ReLU up, tanh at the end.
"""

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from transmodal.networks.layers import (
    CONVOLUTION,
    INTERPOLATION,
    TRANSPOSED,
    Norm,
    corrected_channels,
    crop_to,
    initialise,
    normalisation,
    pad_to_multiple,
)

Upsampling = Literal["transposed", "resize"]


class UNetGenerator(nn.Module):
    """Map (N, in_channels, *spatial) to (N, out_channels, *spatial) in [-1, 1].

    Sizes that 2**downsamplings does not divide are extended by their border values and cut back.

    Args:
        in_channels, out_channels: channels of source and target.
        spatial_dims: 2 or 3.
        filters: channels of the first layer; doubled at each level up to eight times as many.
        downsamplings: number of halvings (8 at 256×256 reaches 1×1).
        norm: see `normalisation`. The first and the innermost encoder layer have none.
        dropout: probability in `dropout_levels` decoder levels: the noise z of the conditional GAN.
        dropout_levels: how many levels, counted from the bottleneck, drop (3 in the paper).
        dropout_skips_innermost: start one level further out, as the PyTorch port does (the paper: False).
        upsampling: "transposed" convolutions as published, or "resize" (linear ×2, then 3×3 convolution), which cannot
            leave a checkerboard.
        running_statistics: see `normalisation`.
        add_input: the input channel that each output channel is a correction of; the training then starts from the
            input itself, and the correction may span the whole range (2 tanh).
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        spatial_dims: int = 2,
        filters: int = 64,
        downsamplings: int = 8,
        norm: Norm = "batch",
        dropout: float = 0.5,
        dropout_levels: int = 3,
        dropout_skips_innermost: bool = False,
        upsampling: Upsampling = "transposed",
        running_statistics: bool = False,
        add_input: Sequence[int] | None = None,
    ) -> None:
        super().__init__()
        self.add_input = corrected_channels(add_input, in_channels, out_channels, "linear")
        if downsamplings < 1:
            raise ValueError("a U-Net needs at least one downsampling")
        self.multiple = 2**downsamplings
        widths = [filters * min(2**level, 8) for level in range(downsamplings)]

        def normalise(channels: int) -> nn.Module:
            return normalisation(norm, channels, spatial_dims, running_statistics=running_statistics)

        self.encoder = nn.ModuleList()
        for level, width in enumerate(widths):
            previous = widths[level - 1] if level else in_channels
            outermost, innermost = level == 0, level == downsamplings - 1
            has_norm = norm != "none" and not (outermost or innermost)
            self.encoder.append(
                nn.Sequential(
                    # In place, so the skip is activated too: it changes nothing, ReLU(LeakyReLU(x)) = ReLU(x).
                    nn.Identity() if outermost else nn.LeakyReLU(0.2, inplace=True),
                    CONVOLUTION[spatial_dims](previous, width, 4, stride=2, padding=1, bias=not has_norm),
                    normalise(width) if has_norm else nn.Identity(),
                )
            )
        self.decoder = nn.ModuleList()
        first_dropped = 1 if dropout_skips_innermost else 0
        for depth in range(downsamplings):  # 0 is the bottleneck
            level = downsamplings - 1 - depth
            width_in = widths[level] if depth == 0 else 2 * widths[level]
            outermost = level == 0
            width_out = out_channels if outermost else widths[level - 1]
            dropped = dropout > 0 and first_dropped <= depth < first_dropped + dropout_levels and not outermost
            has_norm = norm != "none" and not outermost
            self.decoder.append(
                nn.Sequential(
                    nn.ReLU(inplace=True),  # on a concatenation or a convolution: nobody else needs its input
                    _upsample(upsampling, width_in, width_out, spatial_dims, bias=not has_norm),
                    normalise(width_out) if has_norm else nn.Identity(),
                    nn.Dropout(dropout) if dropped else nn.Identity(),
                )
            )
        initialise(self)
        if self.add_input is not None:
            for values in self.decoder[-1].parameters():
                nn.init.zeros_(values)

    def forward(self, images: Tensor) -> Tensor:
        features = pad_to_multiple(images, self.multiple)
        skips = []
        for layer in self.encoder:
            features = layer(features)
            skips.append(features)
        features = self.decoder[0](skips.pop())
        for layer in list(self.decoder)[1:]:
            features = layer(torch.cat([features, skips.pop()], dim=1))
        made = torch.tanh(crop_to(features, images.shape[2:]))
        return made if self.add_input is None else images[:, self.add_input] + 2 * made


def _upsample(kind: Upsampling, width_in: int, width_out: int, spatial_dims: int, *, bias: bool) -> nn.Module:
    if kind == "transposed":
        return TRANSPOSED[spatial_dims](width_in, width_out, 4, stride=2, padding=1, bias=bias)
    return nn.Sequential(
        nn.Upsample(scale_factor=2, mode=INTERPOLATION[spatial_dims]),
        CONVOLUTION[spatial_dims](width_in, width_out, 3, padding=1, bias=bias),
    )
