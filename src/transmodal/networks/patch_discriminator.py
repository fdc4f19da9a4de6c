"""The discriminators of pix2pix: a PatchGAN of n layers, and the pixel discriminator.

Isola et al., CVPR 2017, section 6.1.2. Each output judges one patch: 16, 34, 70, 142, 286 pixels wide for 1 to 5
layers, 1 pixel for the pixel discriminator.
"""

from torch import Tensor, nn

from transmodal.networks.layers import CONVOLUTION, Norm, initialise, normalisation


class PatchDiscriminator(nn.Module):
    """Score every patch of (N, in_channels, *spatial): a map of unbounded scores (N, 1, *smaller).

    Args:
        in_channels: channels of source and target together, for a conditional discriminator.
        spatial_dims: 2 or 3.
        filters: channels of the first layer.
        layers: number of strided layers; 3 is the published 70×70 PatchGAN; 0 is the pixel discriminator.
        norm: of the middle layers. A Wasserstein critic with gradient penalty must not normalise over the batch.
    """

    def __init__(
        self, in_channels: int, *, spatial_dims: int = 2, filters: int = 64, layers: int = 3, norm: Norm = "batch"
    ) -> None:
        super().__init__()
        convolution = CONVOLUTION[spatial_dims]
        if layers == 0:
            self.network = nn.Sequential(
                convolution(in_channels, filters, 1),
                nn.LeakyReLU(0.2, inplace=True),
                convolution(filters, 2 * filters, 1, bias=norm == "none"),
                normalisation(norm, 2 * filters, spatial_dims),
                nn.LeakyReLU(0.2, inplace=True),
                convolution(2 * filters, 1, 1),
            )
        else:
            widths = [filters * min(2**level, 8) for level in range(layers + 1)]
            blocks: list[nn.Module] = [
                convolution(in_channels, filters, 4, stride=2, padding=1),
                nn.LeakyReLU(0.2, inplace=True),
            ]
            for level in range(1, layers + 1):
                stride = 2 if level < layers else 1
                blocks += [
                    convolution(widths[level - 1], widths[level], 4, stride=stride, padding=1, bias=norm == "none"),
                    normalisation(norm, widths[level], spatial_dims),
                    nn.LeakyReLU(0.2, inplace=True),
                ]
            blocks.append(convolution(widths[-1], 1, 4, padding=1))
            self.network = nn.Sequential(*blocks)
        initialise(self)

    def forward(self, images: Tensor) -> Tensor:
        return self.network(images)


def smallest_side(layers: int) -> int:
    """Return the shortest side of an image that a PatchDiscriminator of `layers` can score.

    The two unstrided 4×4 convolutions at the end take one pixel each, so three must reach them (one, without layers).
    """
    return 3 * 2**layers if layers else 1
