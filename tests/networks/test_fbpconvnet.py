"""FBPConvNet has the published layers, takes any size, and starts from its input when it learns a residual."""

from itertools import pairwise

import pytest
import torch
from torch import nn

from transmodal.networks.fbpconvnet import FBPConvNet


def of_kind(module: nn.Module, kind: type) -> list[nn.Module]:
    return [layer for layer in module.modules() if isinstance(layer, kind)]


def test_layers_and_weights_are_the_published_ones() -> None:
    with torch.device("meta"):
        network = FBPConvNet(1, 1)
    widths = [64, 128, 256, 512, 1024]
    assert [[layer.out_channels for layer in of_kind(level, nn.Conv2d)] for level in network.encoder] == [
        [64, 64, 64], [128, 128], [256, 256], [512, 512], [1024, 1024],
    ]  # fmt: skip
    assert [of_kind(level, nn.ConvTranspose2d)[0].kernel_size for level in network.upsamplings] == [(3, 3)] * 4

    def normalised(width_in: int, width_out: int) -> int:
        return width_out * (9 * width_in + 2)  # the scale and shift of the batch norm

    expected = normalised(64, 64) + sum(normalised(a, b) + normalised(b, b) for a, b in pairwise([1, *widths]))
    expected += sum(normalised(b, a) + normalised(2 * a, a) + normalised(a, a) for a, b in pairwise(widths))
    expected += 64 + 1
    assert sum(weights.numel() for weights in network.parameters()) == expected == 34_556_033
    assert len(of_kind(network, nn.BatchNorm2d)) == len(of_kind(network, nn.ReLU)) == 11 + 4 + 8


@pytest.mark.parametrize("shape", [(32, 32), (17, 31), (8, 50), (4, 4)])
def test_any_size_comes_back(shape: tuple[int, int]) -> None:
    torch.manual_seed(0)
    output = FBPConvNet(2, 3, filters=2, levels=3)(torch.randn(2, 2, *shape))
    assert output.shape == (2, 3, *shape) and torch.isfinite(output).all()


def test_volumes_use_the_same_class() -> None:
    network = FBPConvNet(1, 1, spatial_dims=3, filters=2, levels=2)
    assert network(torch.randn(2, 1, 9, 8, 5)).shape == (2, 1, 9, 8, 5) and not of_kind(network, nn.Conv2d)


def test_every_weight_takes_part() -> None:
    torch.manual_seed(0)
    network = FBPConvNet(1, 1, filters=2, levels=3)
    network(torch.randn(2, 1, 16, 16)).square().mean().backward()
    assert all(weights.grad is not None and weights.grad.abs().max() > 0 for weights in network.parameters())


def test_the_residual_starts_at_0_and_can_be_learnt() -> None:
    images = torch.randn(2, 3, 17, 20)
    network = FBPConvNet(3, 2, filters=2, levels=3, add_input=(2, 0))
    assert torch.equal(network(images), images[:, [2, 0]])
    network(images).square().mean().backward()
    assert network.head.weight.grad is not None and network.head.weight.grad.abs().max() > 0


def test_in_use_an_image_does_not_depend_on_what_shares_its_batch() -> None:
    torch.manual_seed(0)
    network, images = FBPConvNet(1, 1, filters=2, levels=3), torch.randn(3, 1, 16, 16)
    network(images)
    network.eval()
    torch.testing.assert_close(network(images)[:1], network(images[:1]))


@pytest.mark.parametrize("settings", [{"levels": 0}, {"add_input": (1,)}])
def test_what_makes_no_network_is_refused(settings: dict) -> None:
    with pytest.raises(ValueError, match=r"at least one level|one of 1 input channels"):
        FBPConvNet(1, 1, filters=2, **settings)
