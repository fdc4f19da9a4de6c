"""The segmentor of TC-MGAN: a small U-Net that starts with a halving, so that it costs little beside the generator.

Xin, Hu, Zheng, Liao, "Multi-modality GANs for brain tumours", ISBI 2020 (arXiv 2005.00925), and its public code: 3×3
convolutions of stride 2, 64 to 512 channels, mirrored transposed ones, batch norm, ReLU, sigmoid at the end.
"""

import torch
from torch import Tensor, nn

from transmodal.networks.layers import BATCH_NORM, CONVOLUTION, TRANSPOSED, crop_to, pad_to_multiple
from transmodal.networks.unet import start_as_he


class Segmentor(nn.Module):
    """Map (N, in_channels, *spatial) to probabilities (N, 1, *spatial) in [0, 1].

    Args:
        in_channels: of the image and its label maps.
        spatial_dims: 2 or 3.
        filters: channels of the first level; doubled at each.
        levels: halvings.
    """

    def __init__(self, in_channels: int, *, spatial_dims: int = 2, filters: int = 64, levels: int = 4) -> None:
        super().__init__()
        self.multiple = 2**levels
        convolution, transposed, norm = CONVOLUTION[spatial_dims], TRANSPOSED[spatial_dims], BATCH_NORM[spatial_dims]
        widths = [filters * 2**level for level in range(levels)]
        self.encoder, self.decoder = nn.ModuleList(), nn.ModuleList()
        for width_in, width in zip([in_channels, *widths], widths, strict=False):
            layer = convolution(width_in, width, 3, stride=2, padding=1)
            self.encoder.append(nn.Sequential(layer, norm(width), nn.ReLU(inplace=True)))
        for level in reversed(range(levels)):
            innermost = level == levels - 1
            width_in = widths[level] if innermost else widths[level] + widths[level + 1]
            width = widths[level] if level else 1
            doubling = transposed(width_in, width, 3, stride=2, padding=1, output_padding=1)
            end = [norm(width), nn.ReLU(inplace=True)] if level else []
            self.decoder.append(nn.Sequential(doubling, *end))
        start_as_he(self)

    def forward(self, images: Tensor) -> Tensor:
        features = pad_to_multiple(images, self.multiple)
        skips = []
        for layer in self.encoder:
            features = layer(features)
            skips.append(features)
        features = self.decoder[0](skips.pop())
        for layer in list(self.decoder)[1:]:
            features = layer(torch.cat([skips.pop(), features], dim=1))
        # In float32: the probabilities of a whole image are summed by whoever compares them.
        return crop_to(features, images.shape[2:]).float().sigmoid()
