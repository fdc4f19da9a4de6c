"""MONAI's U-Net with residual units, for comparison with what the field uses; MONAI itself is an optional extra.

Kerfoot et al., "Left-Ventricle Quantification Using Residual U-Net", STACOM 2018, as `monai.networks.nets.UNet`
(Cardoso et al., "MONAI: An open-source framework for deep learning in healthcare", 2022) implements it: strided
convolutions, residual units in encoder and decoder, PReLU.
"""

from collections.abc import Sequence
from typing import Literal

from torch import Tensor, nn

from transmodal.networks.layers import CONVOLUTION, corrected_channels, crop_to, in_type_of, pad_to_multiple

Norm = Literal["batch", "instance", "none"]

RESIDUAL_UNITS = 2  # a level, as MONAI's examples have them


class MonaiUNet(nn.Module):
    """Map (N, in_channels, *spatial) to (N, out_channels, *spatial).

    Sizes that 2**(levels − 1) does not divide are extended by their border values and cut back.

    Args:
        in_channels, out_channels: channels of source and target.
        spatial_dims: 2 or 3.
        filters: channels of the first level, doubled at each.
        levels: number of resolutions, 2 or more. MONAI's first level already has half the resolution of the image.
        norm: "instance" (MONAI's default, without scale and shift), "batch", "none".
        dropout: probability in every unit.
        add_input: the input channel that each output channel is a correction of; see `UNet`. A 1×1 convolution
            behind MONAI's network, 0 at first, then makes the training start from the input itself.

    Raises:
        ValueError: MONAI is not installed, fewer than two levels, or wrong channels in `add_input`.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        spatial_dims: int = 2,
        filters: int = 32,
        levels: int = 5,
        norm: Norm = "instance",
        dropout: float = 0.0,
        add_input: Sequence[int] | None = None,
    ) -> None:
        super().__init__()
        try:
            from monai.networks.nets.unet import UNet
        except ImportError as error:
            raise ValueError(
                "network.kind: monai-unet needs MONAI, which is not installed; pip install 'transmodal[monai]', or "
                "take residual-unet"
            ) from error
        if levels < 2:
            raise ValueError("MONAI's U-Net needs at least two levels")
        self.add_input = corrected_channels(add_input, in_channels, out_channels, "linear")
        self.multiple = 2 ** (levels - 1)
        self.network = UNet(
            spatial_dims=spatial_dims,
            in_channels=in_channels,
            out_channels=out_channels,
            channels=[filters * 2**level for level in range(levels)],
            strides=[2] * (levels - 1),
            num_res_units=RESIDUAL_UNITS,
            norm=None if norm == "none" else norm,
            dropout=dropout,
        )
        # MONAI's last unit adds a shortcut to its convolution, so that no weight of its own can be set to give 0.
        self.head: nn.Module = nn.Identity()
        if self.add_input is not None:
            self.head = CONVOLUTION[spatial_dims](out_channels, out_channels, 1)
            for values in self.head.parameters():
                nn.init.zeros_(values)

    def forward(self, images: Tensor) -> Tensor:
        features = in_type_of(pad_to_multiple(images, self.multiple), self.network)
        made: Tensor = crop_to(self.head(self.network(features)), images.shape[2:])
        return made if self.add_input is None else images[:, self.add_input] + made
