"""Folded batch norms change nothing but the number of layers, and only where that is so."""

import copy

import pytest
import torch
from torch import nn

from transmodal.networks.fbpconvnet import FBPConvNet
from transmodal.networks.folding import fold_batch_norms
from transmodal.networks.layers import BATCH_NORM
from transmodal.networks.unet import UNet
from transmodal.networks.unet_generator import UNetGenerator

FOLDABLE = {
    "U-Net": lambda: UNet(2, 1, filters=3, levels=3, norm="batch"),
    "residual U-Net": lambda: UNet(2, 1, filters=3, levels=3, norm="batch", residual=True),
    "volume U-Net": lambda: UNet(2, 1, filters=3, levels=2, norm="batch", spatial_dims=3),
    "FBPConvNet": lambda: FBPConvNet(2, 1, filters=3, levels=3),
    "pix2pix": lambda: UNetGenerator(2, 1, filters=3, downsamplings=3, running_statistics=True),
}
LEFT_ALONE = {
    "instance norm": lambda: UNet(2, 1, filters=3, levels=3),
    "statistics of the image": lambda: UNetGenerator(2, 1, filters=3, downsamplings=3),
}


def norms(network: nn.Module) -> int:
    return sum(isinstance(layer, tuple(BATCH_NORM.values())) for layer in network.modules())


def used(network: nn.Module) -> nn.Module:
    """Give norms averages, factors and shifts of their own."""
    torch.manual_seed(0)
    for layer in network.modules():
        if isinstance(layer, tuple(BATCH_NORM.values())):
            assert layer.weight is not None and layer.bias is not None
            nn.init.uniform_(layer.weight, 0.5, 2.0)
            nn.init.normal_(layer.bias)
            if layer.running_mean is not None and layer.running_var is not None:
                nn.init.normal_(layer.running_mean)
                nn.init.uniform_(layer.running_var, 0.5, 2.0)
    return network.eval().double()


@pytest.mark.parametrize("name", [*FOLDABLE, *LEFT_ALONE])
def test_outputs_stay_and_batch_norms_go(name: str) -> None:
    network = used((FOLDABLE | LEFT_ALONE)[name]())
    images = torch.randn(1, 2, *(16,) * (3 if "volume" in name else 2), dtype=torch.float64)
    folded = fold_batch_norms(copy.deepcopy(network))
    with torch.inference_mode():
        torch.testing.assert_close(folded(images), network(images))
    if name in FOLDABLE:
        assert norms(network) > 0 and norms(folded) == 0
    else:
        assert norms(folded) == norms(network)


def test_training_is_refused() -> None:
    with pytest.raises(ValueError, match="evaluation mode only"):
        fold_batch_norms(FBPConvNet(1, 1, filters=2, levels=2))
