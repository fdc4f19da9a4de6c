"""FCN-8s for regression: a VGG-16 whose scores at three resolutions are added and enlarged, for images of any size.

Long, Shelhamer, Darrell, "Fully Convolutional Networks for Semantic Segmentation", CVPR 2015, on the blocks of Simonyan
and Zisserman 2015, with real values for class scores, as Avula et al., "Medical Image Translation Using Convolutional
Neural Networks", apply it to MRI (their exact layers are not published). With 64 filters the widths are the published
ones: 64×2, 128×2, 256×3, 512×3, 512×3 convolutions, fc6 of 7×7 and 4096 channels, fc7 of 1×1 and 4096.

The output is as smooth as one step of eight pixels lets it be: with one score channel each output pixel is a fixed
interpolation of a map an eighth as fine. `score_filters` above the output's channels lets the last layer draw detail.
"""

from typing import Literal

import torch
from torch import Tensor, nn

from transmodal.networks.layers import CONVOLUTION, TRANSPOSED, crop_to, pad_to_multiple
from transmodal.networks.unet import normalisation, start_as_he

Norm = Literal["batch", "instance", "none"]
Output = Literal["linear", "tanh"]

CONVOLUTIONS = (2, 2, 3, 3, 3)  # of VGG-16's blocks
WIDTHS = (1, 2, 4, 8, 8)  # in units of `filters`
FULLY_CONNECTED = 64  # in units of `filters`
MULTIPLE = 32  # five halvings
POOLING = {2: nn.MaxPool2d, 3: nn.MaxPool3d}


class FCN8s(nn.Module):
    """Map (N, in_channels, *spatial) to (N, out_channels, *spatial).

    Sizes that 32 does not divide are extended by their border values and cut back.

    Args:
        in_channels, out_channels: channels of source and target.
        spatial_dims: 2 or 3.
        filters: channels of the first block; all others in proportion (64 as published: 134 million weights).
        score_filters: channels of the score maps; None takes `out_channels`, as published.
        norm: "none" as published, "batch" (running averages in use), "instance".
        dropout: probability after fc6 and fc7 (0.5 as published).
        output: "linear", or "tanh" for values in [-1, 1].
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        spatial_dims: int = 2,
        filters: int = 64,
        score_filters: int | None = None,
        norm: Norm = "none",
        dropout: float = 0.5,
        output: Output = "linear",
    ) -> None:
        super().__init__()
        convolution, self.output = CONVOLUTION[spatial_dims], output
        scores = score_filters or out_channels

        def layer(width_in: int, width_out: int, size: int) -> list[nn.Module]:
            return [
                convolution(width_in, width_out, size, padding=size // 2, bias=norm == "none"),
                normalisation(norm, width_out, spatial_dims),
                nn.ReLU(inplace=True),
            ]

        self.blocks, width = nn.ModuleList(), in_channels
        for number, share in zip(CONVOLUTIONS, WIDTHS, strict=True):
            parts: list[nn.Module] = []
            for _ in range(number):
                parts += layer(width, filters * share, 3)
                width = filters * share
            self.blocks.append(nn.Sequential(*parts, POOLING[spatial_dims](2)))
        wide = FULLY_CONNECTED * filters
        # Without norms alone: fc6 and fc7 of a small image are one pixel, whose norm says nothing.
        self.classifier = nn.Sequential(
            convolution(width, wide, 7, padding=3),
            nn.ReLU(inplace=True),
            nn.Dropout(dropout),
            convolution(wide, wide, 1),
            nn.ReLU(inplace=True),
            nn.Dropout(dropout),
        )
        self.score_pool3 = convolution(filters * WIDTHS[2], scores, 1)
        self.score_pool4 = convolution(filters * WIDTHS[3], scores, 1)
        self.score = convolution(wide, scores, 1)
        transposed = TRANSPOSED[spatial_dims]
        self.double_score = transposed(scores, scores, 4, stride=2, padding=1, bias=False)
        self.double_pool4 = transposed(scores, scores, 4, stride=2, padding=1, bias=False)
        self.enlarge = transposed(scores, out_channels, 16, stride=8, padding=4)
        start_as_he(self)
        for layer_of_two in (self.double_score, self.double_pool4):
            start_as_interpolation(layer_of_two, 2)
        if scores == out_channels:
            start_as_interpolation(self.enlarge, 8)

    def forward(self, images: Tensor) -> Tensor:
        features, pooled = pad_to_multiple(images, MULTIPLE), []
        for block in self.blocks:
            features = block(features)
            pooled.append(features)
        scores = self.double_score(self.score(self.classifier(features)))
        scores = self.double_pool4(scores + self.score_pool4(pooled[3]))
        enlarged = crop_to(self.enlarge(scores + self.score_pool3(pooled[2])), images.shape[2:])
        return torch.tanh(enlarged) if self.output == "tanh" else enlarged


def start_as_interpolation(layer: nn.Module, factor: int) -> None:
    """Set a transposed convolution of width 2·factor to enlarge each channel linearly (Long et al. 2015, 4.2)."""
    weight = layer.weight
    assert isinstance(weight, Tensor)
    centre = factor - 0.5
    taps = 1 - (torch.arange(2 * factor) - centre).abs() / factor
    kernel = taps
    for _ in range(weight.ndim - 3):
        kernel = kernel[..., None] * taps
    with torch.no_grad():
        weight.zero_()
        for channel in range(min(weight.shape[:2])):
            weight[channel, channel] = kernel.to(weight.device)
