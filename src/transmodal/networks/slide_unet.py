"""The U-Net with tanh that restored CT of mice, and the autoencoder beside it, as a slide prints them in Keras.

Y. Boursier, "Implémentation d'algorithmes de type IA : exemples d'applications en imagerie biomédicale", slides, 2021.
Printed are: 3×3 convolutions with tanh, 32, 32, pool; 64, 64, spatial dropout 30/64, pool; 128, 128, pool; 512, 512,
dropout 1/2, pool; flatten, dense 512, dense 256, reshape to 16×16×1; transposed 2×2 of 512, concatenated with the
last level, one convolution of 512, spatial dropout 150/512; transposed 256, concatenated, 256, 256. Weights are drawn
as He et al. 2015, those of the first level as Glorot and Bengio 2010 (Keras' default).

What the slide leaves out is filled in here:
- the level of 256, 256 and its pool, which the decoder's `conv3` asks for;
- the outer half of the decoder, by symmetry: transposed 128, 64, 32, each concatenated and followed by two
  convolutions, then a 1×1 convolution to the image with tanh ("activation function for denoising: tanh");
- the autoencoder, of which there is only a drawing: the same network without the concatenations.
The second convolution of 512, whose output the slide does not use, is left out. For segmentation the slides name ReLU.

The first dense layer has 67.1 million weights, more than all the rest, and ties the network to one size of image.
Without `dense`, two 3×3 convolutions take the place of both dense layers, and images may have any size.
"""

from collections.abc import Sequence
from math import prod
from typing import Literal

import torch
from torch import Tensor, nn

from transmodal.errors import UserError
from transmodal.networks.layers import (
    CONVOLUTION,
    MAX_POOLING,
    SPATIAL_DROPOUT,
    TRANSPOSED,
    corrected_channels,
    crop_to,
    in_type_of,
    pad_to_multiple,
)
from transmodal.networks.unet import start_as_he

Output = Literal["linear", "tanh"]
Activation = Literal["tanh", "relu"]

SECOND_LEVEL_DROPOUT, LAST_LEVEL_DROPOUT, DECODER_DROPOUT = 30 / 64, 0.5, 150 / 512


class SlideUNet(nn.Module):
    """Map (N, in_channels, *spatial) to (N, out_channels, *spatial).

    Sizes that 2**levels does not divide are extended by their border values and cut back.

    Args:
        in_channels, out_channels: channels of source and target.
        spatial_dims: 2 or 3.
        filters: channels of the first level (32 as printed), doubled at each level.
        levels: resolutions with convolutions (5 as printed), each followed by a pool: 512² becomes 16².
        skips: concatenate the encoder's levels; False is the autoencoder.
        dense: the printed bottleneck, for images of `shape` only.
        shape: spatial shape of the images, for `dense` (512×512 as printed).
        output: "tanh" for values in [-1, 1] as printed, or "linear".
        activation: of everything before: "tanh" as printed for restoring, or "relu" for segmentation.
        dropout: as printed. Without skips, units of tanh that a dropout of half the channels has driven to their ends
            may stand at the other end once it is off: then an image is right in training and wrong in use.
        add_input: the input channel that each output channel is a correction of; see `UNet`.

    Raises:
        ValueError: fewer than two levels, `dense` without a shape, or wrong channels in `add_input`.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        spatial_dims: int = 2,
        filters: int = 32,
        levels: int = 5,
        skips: bool = True,
        dense: bool = False,
        shape: Sequence[int] | None = None,
        output: Output = "tanh",
        activation: Activation = "tanh",
        dropout: bool = True,
        add_input: Sequence[int] | None = None,
    ) -> None:
        super().__init__()
        if levels < 2:
            raise ValueError("the slide's network needs at least two levels")
        if dense and shape is None:
            raise ValueError("the dense layer of the slide's network needs to know the size of the images")
        self.add_input = corrected_channels(add_input, in_channels, out_channels, output)
        self.multiple, self.output, self.skips = 2**levels, output, skips
        widths = [filters * 2**level for level in range(levels)]
        active = nn.ReLU if activation == "relu" else nn.Tanh

        def convolutions(width_in: int, width: int, number: int) -> list[nn.Module]:
            parts: list[nn.Module] = []
            for count in range(number):
                convolution = CONVOLUTION[spatial_dims](width if count else width_in, width, 3, padding=1)
                parts += [convolution, active()]
            return parts

        self.encoder, self.pools = nn.ModuleList(), nn.ModuleList()
        for level, width in enumerate(widths):
            self.encoder.append(nn.Sequential(*convolutions(widths[level - 1] if level else in_channels, width, 2)))
            pool: list[nn.Module] = [MAX_POOLING[spatial_dims](2)]
            if level == levels - 1 and dropout:
                pool.insert(0, nn.Dropout(LAST_LEVEL_DROPOUT))
            elif level == 1 and dropout:
                pool.insert(0, SPATIAL_DROPOUT[spatial_dims](SECOND_LEVEL_DROPOUT))
            self.pools.append(nn.Sequential(*pool))  # the skip branches off before the dropout

        width = widths[-1]
        self.bottleneck: nn.Module
        if dense:
            assert shape is not None
            pixels = tuple(-(-size // self.multiple) for size in shape)
            self.bottleneck = Dense(width, pixels, self.multiple, active())
        else:
            self.bottleneck = nn.Sequential(*convolutions(width, width, 2))

        self.upsamplings, self.decoder = nn.ModuleList(), nn.ModuleList()
        below = 1 if dense else width
        for level in reversed(range(levels)):
            width, innermost = widths[level], level == levels - 1
            self.upsamplings.append(nn.Sequential(TRANSPOSED[spatial_dims](below, width, 2, stride=2), active()))
            parts = convolutions((2 if skips else 1) * width, width, 1 if innermost else 2)
            if innermost and dropout:
                parts.append(SPATIAL_DROPOUT[spatial_dims](DECODER_DROPOUT))
            self.decoder.append(nn.Sequential(*parts))
            below = width
        self.head = CONVOLUTION[spatial_dims](filters, out_channels, 1)
        self._start()

    def _start(self) -> None:
        start_as_he(self)
        for layer in self.encoder[0].modules():
            if isinstance(layer, tuple(CONVOLUTION.values())) and isinstance(layer.weight, Tensor):
                nn.init.xavier_uniform_(layer.weight)
        if self.add_input is not None:
            nn.init.zeros_(self.head.weight)

    def forward(self, images: Tensor) -> Tensor:
        features, skips = in_type_of(pad_to_multiple(images, self.multiple), self.head), []
        for level, pool in zip(self.encoder, self.pools, strict=True):
            features = level(features)
            skips.append(features)
            features = pool(features)
        features = self.bottleneck(features)
        for upsample, level in zip(self.upsamplings, self.decoder, strict=True):
            skip, features = skips.pop(), upsample(features)
            features = level(torch.cat([skip, features], dim=1) if self.skips else features)
        made = crop_to(self.head(features), images.shape[2:])
        if self.add_input is not None:
            made = images[:, self.add_input] + made
        return torch.tanh(made) if self.output == "tanh" else made


class Dense(nn.Module):
    """Flatten, two dense layers with their activation, and one channel of the same few pixels again.

    Args:
        channels: of what comes in, and units of the first layer.
        shape: spatial shape of what comes in.
        multiple: pixels of the image to one of these, for the message.
        activation: of both layers.
    """

    def __init__(self, channels: int, shape: tuple[int, ...], multiple: int, activation: nn.Module) -> None:
        super().__init__()
        self.shape, self.multiple, self.activation = shape, multiple, activation
        self.first = nn.Linear(channels * prod(shape), channels)
        self.second = nn.Linear(channels, prod(shape))
        for layer in (self.first, self.second):
            nn.init.xavier_uniform_(layer.weight)  # printed without an initialiser
            nn.init.zeros_(layer.bias)

    def forward(self, features: Tensor) -> Tensor:
        if tuple(features.shape[2:]) != self.shape:
            own, given = (
                "×".join(str(size * self.multiple) for size in shape) for shape in (self.shape, features.shape[2:])
            )
            raise UserError(
                f"The dense layer of this network takes images of {own} pixels, not {given}; bring them to that size "
                "(preparation.grid.size in its recipe), or train with network.dense: false"
            )
        units = self.activation(self.second(self.activation(self.first(features.flatten(1)))))
        return units.view(len(features), 1, *self.shape)
