"""The slide's network has the printed layers and weights, takes any size without its dense layer, and learns."""

import math
from itertools import pairwise

import pytest
import torch
from torch import nn

from transmodal.errors import UserError
from transmodal.networks.slide_unet import Dense, SlideUNet


def count(module: nn.Module) -> int:
    return sum(weights.numel() for weights in module.parameters())


def of_kind(module: nn.Module, kind: type) -> list[nn.Module]:
    return [layer for layer in module.modules() if isinstance(layer, kind)]


def convolution(width_in: int, width_out: int, size: int = 3) -> int:
    return width_out * (width_in * size**2 + 1)


def weights_as_printed(*, skips: bool) -> int:
    """Counted from the slide: the encoder, the dense layers, and the decoder with its outer half by symmetry."""
    widths = [32, 64, 128, 256, 512]
    encoder = sum(convolution(a, b) + convolution(b, b) for a, b in pairwise([1, *widths]))
    dense = (16 * 16 * 512 + 1) * 512 + (512 + 1) * 256
    decoder = sum(convolution(a, b, 2) for a, b in pairwise([1, *reversed(widths)]))
    decoder += sum(convolution((2 if skips else 1) * width, width) for width in widths)
    decoder += sum(convolution(width, width) for width in widths[:-1])
    return encoder + dense + decoder + convolution(32, 1, 1)


@pytest.mark.parametrize("skips", [True, False])
def test_weights_are_those_of_the_slide(skips: bool) -> None:
    with torch.device("meta"):
        network = SlideUNet(1, 1, skips=skips, dense=True, shape=(512, 512))
    assert isinstance(network.bottleneck, Dense)
    assert network.bottleneck.first.weight.numel() == 67_108_864
    assert count(network) == weights_as_printed(skips=skips)


def test_without_the_dense_layer_four_fifths_of_the_weights_are_gone() -> None:
    with torch.device("meta"):
        network = SlideUNet(1, 1)
    dense = (16 * 16 * 512 + 1) * 512 + (512 + 1) * 256
    # Two convolutions of 512 in its place, and a transposed one from 512 channels where there was one.
    other = 2 * convolution(512, 512) + 511 * 512 * 4
    assert count(network) == weights_as_printed(skips=True) - dense + other == 18_247_329


def test_layers_are_in_the_printed_order() -> None:
    network = SlideUNet(1, 1, filters=2)
    widths = [[layer.out_channels for layer in of_kind(level, nn.Conv2d)] for level in network.encoder]
    assert widths == [[2, 2], [4, 4], [8, 8], [16, 16], [32, 32]]
    assert [len(of_kind(level, nn.Conv2d)) for level in network.decoder] == [1, 2, 2, 2, 2]
    dropped = [[layer.p for layer in of_kind(pool, nn.Dropout2d)] for pool in network.pools]
    assert dropped == [[], [30 / 64], [], [], []]
    assert [layer.p for layer in of_kind(network.pools[4], nn.Dropout)] == [0.5]
    assert [layer.p for layer in of_kind(network.decoder, nn.Dropout2d)] == [150 / 512]
    # Every convolution but the last one, which is followed by the output's own, has its tanh.
    convolutions = of_kind(network, nn.Conv2d) + of_kind(network, nn.ConvTranspose2d)
    assert len(of_kind(network, nn.Tanh)) == len(convolutions) - 1


def test_without_dropout_training_and_use_are_one() -> None:
    images = torch.randn(1, 1, 32, 32, generator=torch.manual_seed(0))
    for dropout in (True, False):
        network = SlideUNet(1, 1, filters=4, levels=3, skips=False, dropout=dropout)
        with torch.no_grad():
            in_training, in_use = network.train()(images), network.eval()(images)
        assert torch.equal(in_training, in_use) is not dropout


def test_weights_start_as_printed() -> None:
    torch.manual_seed(0)
    network = SlideUNet(1, 1)
    (first, second), later = of_kind(network.encoder[0], nn.Conv2d), of_kind(network.encoder[3], nn.Conv2d)[1]
    bound = math.sqrt(6 / (9 * 33))  # Glorot, Keras' default, in the first level alone
    assert first.weight.abs().max() <= bound and first.weight.abs().max() > 0.95 * bound
    assert second.weight.std().item() == pytest.approx(math.sqrt(2 / (9 * 64)), rel=0.05)
    assert later.weight.std().item() == pytest.approx(math.sqrt(2 / (9 * 256)), rel=0.02)


@pytest.mark.parametrize("shape", [(32, 32), (17, 31), (8, 50), (1, 1)])
@pytest.mark.parametrize("settings", [{}, {"skips": False}, {"output": "linear"}])
def test_any_size_comes_back_without_the_dense_layer(shape: tuple[int, int], settings: dict) -> None:
    torch.manual_seed(0)
    output = SlideUNet(2, 3, filters=2, levels=3, **settings)(torch.randn(2, 2, *shape))
    assert output.shape == (2, 3, *shape) and torch.isfinite(output).all()


def test_the_dense_layer_takes_the_size_it_was_made_for_and_refuses_others() -> None:
    network = SlideUNet(1, 1, filters=2, levels=3, dense=True, shape=(20, 33))
    assert network(torch.randn(2, 1, 20, 33)).shape == (2, 1, 20, 33)
    assert network(torch.randn(2, 1, 24, 40)).shape == (2, 1, 24, 40), "what the same padding gives is the same size"
    with pytest.raises(UserError, match=r"takes images of 24×40 pixels, not 32×40; .*network.dense: false"):
        network(torch.randn(1, 1, 32, 40))


def test_the_dense_bottleneck_is_all_that_an_autoencoder_hands_on() -> None:
    network = SlideUNet(1, 1, filters=2, levels=3, skips=False, dense=True, shape=(32, 32)).eval()
    seen = []
    network.upsamplings[0].register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].shape))
    network(torch.randn(1, 1, 32, 32))
    assert seen == [(1, 1, 4, 4)]


@pytest.mark.parametrize("skips", [True, False])
def test_skips_carry_detail_past_the_bottleneck(skips: bool) -> None:
    torch.manual_seed(0)
    network = SlideUNet(1, 1, filters=2, levels=3, skips=skips).eval()
    network.upsamplings[0].register_forward_hook(lambda _, __, output: torch.zeros_like(output))
    with torch.inference_mode():
        assert torch.equal(network(torch.randn(1, 1, 16, 16)), network(torch.randn(1, 1, 16, 16))) is not skips


def test_volumes_use_the_same_class() -> None:
    network = SlideUNet(1, 2, spatial_dims=3, filters=2, levels=2)
    assert network(torch.randn(1, 1, 9, 8, 5)).shape == (1, 2, 9, 8, 5) and not of_kind(network, nn.Conv2d)


def test_every_weight_takes_part_and_the_output_has_its_range() -> None:
    torch.manual_seed(0)
    for dense in (False, True):
        network = SlideUNet(1, 1, filters=4, levels=3, dense=dense, shape=(32, 32))
        output = network(50 * torch.randn(2, 1, 32, 32))
        assert output.abs().max() <= 1
        output.square().mean().backward()
        assert all(weights.grad is not None for weights in network.parameters())


def test_a_correction_starts_from_its_input() -> None:
    images = torch.randn(2, 3, 17, 20)
    network = SlideUNet(3, 2, filters=2, levels=3, output="linear", add_input=(2, 0)).eval()
    assert torch.equal(network(images), images[:, [2, 0]])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"levels": 1}, "at least two levels"),
        ({"dense": True}, "needs to know the size"),
        ({"add_input": (0,)}, "needs a linear output"),
        ({"add_input": (1,), "output": "linear"}, "one of 1 input channels"),
    ],
)
def test_what_makes_no_network_is_refused(settings: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SlideUNet(1, 1, filters=2, **settings)
