"""FCN-8s has the published layers, takes any size, enlarges linearly at first, and learns."""

import pytest
import torch
from torch import nn

from transmodal.networks.fcn8s import FCN8s, start_as_interpolation


def test_layers_are_those_of_the_paper() -> None:
    with torch.device("meta"):
        network = FCN8s(3, 21)
    convolutions = [layer for layer in network.blocks.modules() if isinstance(layer, nn.Conv2d)]
    widths = [64, 64, 128, 128, 256, 256, 256, 512, 512, 512, 512, 512, 512]
    assert [layer.out_channels for layer in convolutions] == widths
    assert {layer.kernel_size for layer in convolutions} == {(3, 3)}
    assert len([layer for layer in network.modules() if isinstance(layer, nn.MaxPool2d)]) == 5
    fc6, fc7 = (layer for layer in network.classifier if isinstance(layer, nn.Conv2d))
    assert (fc6.kernel_size, fc6.out_channels, fc7.kernel_size, fc7.out_channels) == ((7, 7), 4096, (1, 1), 4096)
    assert [layer.p for layer in network.classifier if isinstance(layer, nn.Dropout)] == [0.5, 0.5]
    # VGG-16's 14 714 688, fc6 102 764 544, fc7 16 781 312, scores 102 207, enlargements 127 029.
    assert sum(weights.numel() for weights in network.parameters()) == 134_489_780


@pytest.mark.parametrize("shape", [(32, 32), (64, 96), (37, 70), (240, 31), (1, 1)])
@pytest.mark.parametrize("norm", ["none", "batch", "instance"])
def test_any_size_comes_back(shape: tuple[int, int], norm: str) -> None:
    torch.manual_seed(0)
    output = FCN8s(2, 3, filters=2, norm=norm)(torch.randn(2, 2, *shape))
    assert output.shape == (2, 3, *shape) and torch.isfinite(output).all()


def test_volumes_use_the_same_class() -> None:
    network = FCN8s(1, 2, spatial_dims=3, filters=1)
    assert network(torch.randn(1, 1, 33, 20, 40)).shape == (1, 2, 33, 20, 40)


def test_every_weight_takes_part_and_the_output_has_its_range() -> None:
    torch.manual_seed(0)
    network = FCN8s(1, 1, filters=4, score_filters=3, output="tanh")
    output = network(20 * torch.randn(2, 1, 64, 64))
    assert output.abs().max() <= 1
    output.square().mean().backward()
    assert all(weights.grad is not None and weights.grad.abs().max() > 0 for weights in network.parameters())


@pytest.mark.parametrize("factor", [2, 8])
@pytest.mark.parametrize("dims", [2, 3])
def test_enlarging_starts_as_linear_interpolation(factor: int, dims: int) -> None:
    kind = {2: nn.ConvTranspose2d, 3: nn.ConvTranspose3d}[dims]
    layer = kind(2, 2, 2 * factor, stride=factor, padding=factor // 2, bias=False)
    start_as_interpolation(layer, factor)
    images = torch.randn(1, 2, *(5,) * dims)
    expected = nn.functional.interpolate(images, scale_factor=factor, mode={2: "bilinear", 3: "trilinear"}[dims])
    inside = (..., *(slice(factor, -factor),) * dims)  # at the border the one repeats, the other has zeros
    torch.testing.assert_close(layer(images)[inside], expected[inside])


@pytest.mark.parametrize("norm", ["none", "instance"])
def test_a_few_steps_learn_a_smooth_mapping(norm: str) -> None:
    torch.manual_seed(0)
    coarse = torch.randn(2, 1, 8, 8)
    images = nn.functional.interpolate(coarse, size=(64, 64), mode="bilinear")
    target = 0.5 * images.abs() - 0.3
    network = FCN8s(1, 1, filters=4, norm=norm, dropout=0.0)
    optimiser, losses = torch.optim.Adam(network.parameters(), 2e-3), []
    for _ in range(120):
        optimiser.zero_grad()
        loss = (network(images) - target).abs().mean()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < 0.35 * losses[0]
    assert losses[-1] < 0.7 * (target - target.mean()).abs().mean(), "better than any constant"


def test_more_score_channels_draw_detail_that_one_cannot() -> None:
    torch.manual_seed(0)
    target = torch.randn(1, 1, 32, 32)
    reached = {}
    for scores in (None, 32):
        network = FCN8s(1, 1, filters=4, score_filters=scores, dropout=0.0)
        optimiser = torch.optim.Adam(network.parameters(), 5e-3)
        for _ in range(100):
            optimiser.zero_grad()
            loss = (network(target) - target).square().mean()
            loss.backward()
            optimiser.step()
        reached[scores] = loss.item()
    assert reached[32] < 0.5 * reached[None]


def test_gradients_are_those_of_finite_differences() -> None:
    torch.manual_seed(0)
    network = FCN8s(1, 1, filters=1, norm="none").double().eval()
    images = torch.randn(1, 1, 6, 5, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(network, (images,), eps=1e-7, atol=1e-5)
