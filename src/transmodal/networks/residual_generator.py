"""The residual generator of StarGAN, in two and three dimensions.

Choi et al., "StarGAN", CVPR 2018, appendix, after Johnson et al. 2016: 7×7 convolution, two halvings by 4×4
convolutions, six residual blocks, two transposed 4×4 convolutions, 7×7 convolution, tanh; instance norm with scale and
shift, ReLU, no biases.

All padding is by zeros, and must be. Labels enter as constant maps. Repeated or mirrored borders leave what a
convolution makes of a constant map constant, and instance norm takes the mean of every map away: the label would be
gone after the first layer. Zeros make the border differ from the middle, and that is what carries the label inwards.
"""

import torch
from torch import Tensor, nn

from transmodal.networks.layers import CONVOLUTION, TRANSPOSED, crop_to, pad_to_multiple
from transmodal.networks.unet import InstanceNorm


class ResidualGenerator(nn.Module):
    """Map (N, in_channels, *spatial) to (N, out_channels, *spatial) in [-1, 1].

    Sizes that 2**downsamplings does not divide are extended by their border values and cut back.

    Args:
        in_channels: of the image and its label maps.
        out_channels: of the image made.
        spatial_dims: 2 or 3.
        filters: channels of the first layer; doubled at each halving.
        downsamplings: halvings.
        blocks: residual blocks between halving and doubling.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        spatial_dims: int = 2,
        filters: int = 64,
        downsamplings: int = 2,
        blocks: int = 6,
    ) -> None:
        super().__init__()
        self.multiple = 2**downsamplings
        convolution, transposed = CONVOLUTION[spatial_dims], TRANSPOSED[spatial_dims]
        layers: list[nn.Module] = [
            convolution(in_channels, filters, 7, padding=3, bias=False),
            InstanceNorm(filters),
            nn.ReLU(inplace=True),
        ]
        width = filters
        for _ in range(downsamplings):
            layers += [
                convolution(width, 2 * width, 4, stride=2, padding=1, bias=False),
                InstanceNorm(2 * width),
                nn.ReLU(inplace=True),
            ]
            width *= 2
        layers += [_ResidualBlock(width, spatial_dims) for _ in range(blocks)]
        for _ in range(downsamplings):
            layers += [
                transposed(width, width // 2, 4, stride=2, padding=1, bias=False),
                InstanceNorm(width // 2),
                nn.ReLU(inplace=True),
            ]
            width //= 2
        layers.append(convolution(width, out_channels, 7, padding=3, bias=False))
        self.layers = nn.Sequential(*layers)

    def forward(self, images: Tensor) -> Tensor:
        made = self.layers(pad_to_multiple(images, self.multiple))
        return torch.tanh(crop_to(made, images.shape[2:]))


class _ResidualBlock(nn.Module):
    """Two 3×3 convolutions added to their input, without an activation after the sum."""

    def __init__(self, width: int, spatial_dims: int) -> None:
        super().__init__()
        convolution = CONVOLUTION[spatial_dims]
        self.layers = nn.Sequential(
            convolution(width, width, 3, padding=1, bias=False),
            InstanceNorm(width),
            nn.ReLU(inplace=True),
            convolution(width, width, 3, padding=1, bias=False),
            InstanceNorm(width),
        )

    def forward(self, features: Tensor) -> Tensor:
        changed: Tensor = self.layers(features)
        return features + changed
