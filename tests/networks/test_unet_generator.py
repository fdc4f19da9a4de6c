"""The U-Net is the published one layer by layer, and takes any size in two and three dimensions."""

import pytest
import torch
from torch import nn

from transmodal.networks.layers import CONVOLUTION, TRANSPOSED, crop_to, pad_to_multiple
from transmodal.networks.unet_generator import UNetGenerator


def layers(block: nn.Module, kinds: tuple[type, ...]) -> list[nn.Module]:
    return [layer for layer in block.modules() if isinstance(layer, kinds)]


@pytest.fixture(scope="module")
def published() -> UNetGenerator:
    with torch.device("meta"):
        return UNetGenerator(3, 1)


def test_the_published_unet_256_has_its_number_of_parameters(published: UNetGenerator) -> None:
    assert sum(weights.numel() for weights in published.parameters()) == 54_410_433


def test_layers_are_those_of_the_paper(published: UNetGenerator) -> None:
    down = [layers(block, (nn.Conv2d,))[0] for block in published.encoder]
    up = [layers(block, (nn.ConvTranspose2d,))[0] for block in published.decoder]
    assert [(layer.in_channels, layer.out_channels) for layer in down] == [
        (3, 64), (64, 128), (128, 256), (256, 512), (512, 512), (512, 512), (512, 512), (512, 512),
    ]  # fmt: skip
    assert [(layer.in_channels, layer.out_channels) for layer in up] == [
        (512, 512), (1024, 512), (1024, 512), (1024, 512), (1024, 256), (512, 128), (256, 64), (128, 1),
    ]  # fmt: skip
    assert {(layer.kernel_size, layer.stride, layer.padding) for layer in down + up} == {((4, 4), (2, 2), (1, 1))}
    normed = [bool(layers(block, (nn.BatchNorm2d,))) for block in published.encoder]
    assert normed == [False, True, True, True, True, True, True, False], "none on the first and the 1×1 bottleneck"
    assert [bool(layers(block, (nn.BatchNorm2d,))) for block in published.decoder] == [True] * 7 + [False]
    assert [layer.negative_slope for layer in layers(published.encoder, (nn.LeakyReLU,))] == [0.2] * 7
    assert len(layers(published.decoder, (nn.ReLU,))) == 8


@pytest.mark.parametrize(
    ("settings", "dropped"),
    [
        ({}, [0, 1, 2]),
        ({"dropout_skips_innermost": True}, [1, 2, 3]),
        ({"dropout_levels": 1}, [0]),
        ({"dropout": 0.0}, []),
        ({"dropout_levels": 99}, [0, 1, 2, 3, 4, 5, 6]),
    ],
)
def test_dropout_stands_in_the_levels_asked_for(settings: dict, dropped: list[int]) -> None:
    with torch.device("meta"):
        network = UNetGenerator(1, 1, filters=2, **settings)
    assert [depth for depth, block in enumerate(network.decoder) if layers(block, (nn.Dropout,))] == dropped
    assert not layers(network.encoder, (nn.Dropout,))


@pytest.mark.parametrize("shape", [(16, 16), (32, 64), (17, 31), (5, 90), (1, 1)])
@pytest.mark.parametrize("upsampling", ["transposed", "resize"])
def test_any_size_comes_back_in_range(shape: tuple[int, int], upsampling: str) -> None:
    network = UNetGenerator(2, 3, filters=2, downsamplings=4, upsampling=upsampling)
    output = network(torch.randn(2, 2, *shape))
    assert output.shape == (2, 3, *shape)
    assert output.abs().max() <= 1


@pytest.mark.parametrize("norm", ["batch", "instance", "layer", "none"])
@pytest.mark.parametrize("downsamplings", [1, 2, 5])
def test_any_depth_and_norm(norm: str, downsamplings: int) -> None:
    network = UNetGenerator(1, 1, filters=2, downsamplings=downsamplings, norm=norm)
    output = network(torch.randn(1, 1, 32, 32))
    output.square().mean().backward()
    assert all(weights.grad is not None for weights in network.parameters())


def test_volumes_use_the_same_class() -> None:
    network = UNetGenerator(1, 2, spatial_dims=3, filters=2, downsamplings=3)
    assert network(torch.randn(1, 1, 9, 16, 20)).shape == (1, 2, 9, 16, 20)
    assert layers(network, (nn.Conv3d,)) and not layers(network, (nn.Conv2d, nn.ConvTranspose2d))


def test_skips_carry_what_the_bottleneck_loses() -> None:
    torch.manual_seed(0)
    network = UNetGenerator(1, 1, filters=4, downsamplings=3, norm="none", dropout=0.0)
    image = torch.rand(1, 1, 16, 16, requires_grad=True)
    network.decoder[0][1].weight.data.zero_()  # the way through the bottleneck is cut
    network(image).sum().backward()
    assert image.grad is not None and image.grad.abs().sum() > 0


def test_resize_upsampling_leaves_no_checkerboard() -> None:
    torch.manual_seed(0)
    network = UNetGenerator(1, 1, filters=4, downsamplings=1, norm="none", dropout=0.0, upsampling="resize")
    inside = network(torch.ones(1, 1, 16, 16))[0, 0, 4:-4, 4:-4]
    assert inside.std() < 1e-6
    transposed = UNetGenerator(1, 1, filters=4, downsamplings=1, norm="none", dropout=0.0)
    assert transposed(torch.ones(1, 1, 16, 16))[0, 0, 4:-4, 4:-4].std() > 1e-4


def test_statistics_are_the_images_own_unless_running_ones_are_asked_for() -> None:
    images = torch.randn(2, 1, 16, 16) * torch.tensor([1.0, 5.0]).reshape(2, 1, 1, 1)
    for running, changes in ((False, True), (True, False)):
        network = UNetGenerator(1, 1, filters=4, downsamplings=3, dropout=0.0, running_statistics=running).eval()
        alone, together = network(images[:1]), network(images)[:1]
        assert (not torch.allclose(alone, together, atol=1e-5)) is changes


def test_weights_start_as_published() -> None:
    torch.manual_seed(0)
    network = UNetGenerator(3, 1, filters=16, downsamplings=6)
    kinds = (*CONVOLUTION.values(), *TRANSPOSED.values())
    weights = torch.cat([layer.weight.detach().flatten() for layer in layers(network, kinds)])
    assert weights.mean().abs() < 1e-4 and weights.std() == pytest.approx(0.02, rel=0.01)
    norms = layers(network, (nn.BatchNorm2d,))
    scales = torch.cat([layer.weight.detach() for layer in norms])
    assert scales.mean() == pytest.approx(1, abs=0.01) and scales.std() == pytest.approx(0.02, rel=0.2)
    assert all((layer.bias == 0).all() for layer in norms)


def test_padding_repeats_the_border_and_is_undone() -> None:
    images = torch.arange(6.0).reshape(1, 1, 2, 3)
    padded = pad_to_multiple(images, 4)
    assert padded[0, 0].tolist() == [[0, 1, 2, 2], [3, 4, 5, 5], [3, 4, 5, 5], [3, 4, 5, 5]]
    assert torch.equal(crop_to(padded, (2, 3)), images)
    assert pad_to_multiple(padded, 4) is padded


def test_no_downsampling_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one downsampling"):
        UNetGenerator(1, 1, downsamplings=0)
