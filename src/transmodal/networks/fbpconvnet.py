"""FBPConvNet: the U-Net that removes what few views leave in a filtered back-projection.

Jin, McCann, Froustey, Unser, "Deep Convolutional Neural Network for Inverse Problems in Imaging", IEEE Trans. Image
Processing 26(9), 2017, with the layers of the authors' public code: 3×3 convolution, batch norm, ReLU; three of them at
full resolution, two at each other one; 64, 128, 256, 512, 1024 channels, max-pooling; transposed 3×3 convolutions of
stride 2, with batch norm and ReLU too; concatenation; a 1×1 convolution. It learns the residual, target − FBP: give
`add_input`. Convolutions have no biases here where a batch norm, which has its own, takes them off again.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from transmodal.networks.layers import (
    BATCH_NORM,
    CONVOLUTION,
    MAX_POOLING,
    TRANSPOSED,
    corrected_channels,
    crop_to,
    in_type_of,
    pad_to_multiple,
)

START = 0.01  # standard deviation of the first weights, in the authors' code


class FBPConvNet(nn.Module):
    """Map (N, in_channels, *spatial) to (N, out_channels, *spatial).

    Sizes that 2**(levels − 1) does not divide are extended by their border values and cut back. Batch norm takes the
    statistics of the batch in training and running averages in evaluation mode.

    Args:
        in_channels, out_channels: channels of source and target.
        spatial_dims: 2 or 3.
        filters: channels of the first level (64 as published), doubled at each.
        levels: number of resolutions, the full one included (5 as published).
        add_input: the input channel that each output channel is a correction of; see `UNet`.

    Raises:
        ValueError: fewer than one level, or wrong channels in `add_input`.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        spatial_dims: int = 2,
        filters: int = 64,
        levels: int = 5,
        add_input: Sequence[int] | None = None,
    ) -> None:
        super().__init__()
        if levels < 1:
            raise ValueError("FBPConvNet needs at least one level")
        self.add_input = corrected_channels(add_input, in_channels, out_channels, "linear")
        self.multiple = 2 ** (levels - 1)
        self.pool = MAX_POOLING[spatial_dims](2)
        widths = [filters * 2**level for level in range(levels)]

        def normalised(convolution: nn.Module, width: int) -> list[nn.Module]:
            return [convolution, BATCH_NORM[spatial_dims](width), nn.ReLU(inplace=True)]

        def block(width_in: int, width: int, number: int) -> nn.Sequential:
            parts: list[nn.Module] = []
            for count in range(number):
                before = width if count else width_in
                parts += normalised(CONVOLUTION[spatial_dims](before, width, 3, padding=1, bias=False), width)
            return nn.Sequential(*parts)

        self.encoder = nn.ModuleList(
            block(widths[level - 1] if level else in_channels, width, 2 if level else 3)
            for level, width in enumerate(widths)
        )
        self.upsamplings, self.decoder = nn.ModuleList(), nn.ModuleList()
        for level in reversed(range(levels - 1)):
            width = widths[level]
            transposed = TRANSPOSED[spatial_dims](widths[level + 1], width, 3, stride=2, bias=False)
            self.upsamplings.append(nn.Sequential(*normalised(Cut(transposed), width)))
            self.decoder.append(block(2 * width, width, 2))
        self.head = CONVOLUTION[spatial_dims](filters, out_channels, 1)
        self._start()

    def _start(self) -> None:
        for layer in self.modules():
            if isinstance(layer, (*CONVOLUTION.values(), *TRANSPOSED.values())) and isinstance(layer.weight, Tensor):
                nn.init.normal_(layer.weight, 0.0, START)
        if self.head.bias is not None:
            nn.init.zeros_(self.head.bias)
        if self.add_input is not None:
            nn.init.zeros_(self.head.weight)

    def forward(self, images: Tensor) -> Tensor:
        features, skips = in_type_of(pad_to_multiple(images, self.multiple), self.head), []
        for number, level in enumerate(self.encoder):
            features = level(self.pool(features) if number else features)
            skips.append(features)
        skips.pop()
        for upsample, level in zip(self.upsamplings, self.decoder, strict=True):
            features = level(torch.cat([skips.pop(), upsample(features)], dim=1))
        made = crop_to(self.head(features), images.shape[2:])
        return made if self.add_input is None else images[:, self.add_input] + made


class Cut(nn.Module):
    """A transposed convolution of width 3 and stride 2, cut at the far ends to twice the size that came in."""

    def __init__(self, transposed: nn.Module) -> None:
        super().__init__()
        self.transposed = transposed

    def forward(self, features: Tensor) -> Tensor:
        return crop_to(self.transposed(features), tuple(2 * size for size in features.shape[2:]))
