"""A discriminator that scores patches and says which class an image is of.

Choi et al., "StarGAN", CVPR 2018, appendix: six strided 4×4 convolutions, 64 to 2048 channels, LeakyReLU 0.01, no norm;
a 3×3 head of scores and a head of classes over the whole last map. TC-MGAN (Xin et al., ISBI 2020) has five of them,
64 to 1024 channels, and shows it the source beside the image that is judged.
"""

from itertools import pairwise
from math import floor, log2, prod

import torch
from torch import Tensor, nn
from torch.nn import functional

from transmodal.networks.layers import CONVOLUTION


class ClassDiscriminator(nn.Module):
    """Map (N, in_channels, *spatial) to scores (N, 1, *smaller) and scores of classes (N, classes), both unbounded.

    Args:
        in_channels: of the image, and of what it is conditioned on.
        classes: number of classes.
        spatial_dims: 2 or 3.
        filters: channels of the first layer; doubled at each.
        layers: strided convolutions, each halving the sides (rounded down).
        shape: spatial shape of the images. The class head is then, as published, one convolution of the extent of
            their last map; on larger images its answers are averaged over places, smaller ones are padded with zeros.
            None: the class head reads the average over the last map.

    Raises:
        ValueError: images of `shape` are smaller than 2**layers.
    """

    def __init__(
        self,
        in_channels: int,
        classes: int,
        *,
        spatial_dims: int = 2,
        filters: int = 64,
        layers: int = 6,
        shape: tuple[int, ...] | None = None,
    ) -> None:
        super().__init__()
        if shape is not None and min(shape) < 2**layers:
            raise ValueError(
                f"images of {'×'.join(map(str, shape))} are too small for a discriminator of {layers} layers, which "
                f"needs {2**layers} pixels a side; set discriminator.layers lower"
            )
        convolution = CONVOLUTION[spatial_dims]
        widths = [in_channels, *(filters * 2**level for level in range(layers))]
        blocks: list[nn.Module] = []
        for width_in, width_out in pairwise(widths):
            blocks += [convolution(width_in, width_out, 4, stride=2, padding=1), nn.LeakyReLU(0.01, inplace=True)]
        self.body = nn.Sequential(*blocks)
        self.patch_head = convolution(widths[-1], 1, 3, padding=1, bias=False)
        self.extent = (1,) * spatial_dims if shape is None else tuple(side // 2**layers for side in shape)
        self.class_head = convolution(widths[-1], classes, self.extent, bias=False)  # type: ignore[arg-type]

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        features = self.body(images)
        return self.patch_head(features), self._classes(features)

    def _classes(self, features: Tensor) -> Tensor:
        if prod(self.extent) == 1:  # the mean first: there are fewer numbers to multiply
            features = features.flatten(2).mean(2).view(*features.shape[:2], *self.extent)
        lacking = [max(0, side - size) for side, size in zip(self.extent, features.shape[2:], strict=True)]
        if any(lacking):
            features = functional.pad(features, [n for size in reversed(lacking) for n in (0, size)])
        scores: Tensor = self.class_head(features)
        return torch.flatten(scores, 2).mean(2)


def deepest(shape: tuple[int, ...] | None, most: int) -> int:
    """Return how often images of a shape can be halved, `most` at most; `most` where the shape is unknown."""
    return most if shape is None else max(1, min(most, floor(log2(min(shape)))))
