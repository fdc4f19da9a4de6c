"""The networks of StarGAN and TC-MGAN have their published sizes, take any image, and hear the label."""

from itertools import pairwise

import pytest
import torch
from torch import nn

from transmodal.networks.class_discriminator import ClassDiscriminator, deepest
from transmodal.networks.residual_generator import ResidualGenerator
from transmodal.networks.segmentor import Segmentor


def parameters(network: nn.Module) -> int:
    return sum(weights.numel() for weights in network.parameters())


def test_the_discriminator_is_the_published_one() -> None:
    with torch.device("meta"):
        network = ClassDiscriminator(3, 5, shape=(128, 128))
        scores, classes = network(torch.empty(2, 3, 128, 128))
        five = ClassDiscriminator(2, 3, layers=5, shape=(128, 128))
    assert scores.shape == (2, 1, 2, 2) and classes.shape == (2, 5)
    widths = [3, 64, 128, 256, 512, 1024, 2048]
    body = sum(16 * a * b + b for a, b in pairwise(widths))
    assert parameters(network) == body + 9 * 2048 + 4 * 2048 * 5
    assert five.extent == (4, 4)
    assert not any("Norm" in type(layer).__name__ for layer in network.modules())


def test_a_discriminator_with_a_class_head_judges_images_of_other_sizes() -> None:
    torch.manual_seed(0)
    network = ClassDiscriminator(1, 4, filters=4, layers=2, shape=(16, 16))
    image = torch.rand(1, 1, 16, 16)
    assert network(torch.rand(1, 1, 37, 20))[1].shape == (1, 4)
    small = network(image[..., :9, :12])[1]
    features = nn.functional.pad(network.body(image[..., :9, :12]), (0, 1, 0, 2))
    torch.testing.assert_close(small, network.class_head(features).flatten(1))


def test_without_a_shape_classes_are_read_from_the_average() -> None:
    network = ClassDiscriminator(1, 4, filters=4, layers=2)
    image = torch.rand(2, 1, 24, 20)
    weights = network.class_head.weight.flatten(1)
    expected = network.body(image).mean((2, 3)) @ weights.T
    torch.testing.assert_close(network(image)[1], expected)


def test_images_too_small_for_the_layers_are_refused() -> None:
    with pytest.raises(ValueError, match="8×31 are too small for a discriminator of 4 layers, which needs 16"):
        ClassDiscriminator(1, 2, filters=1, layers=4, shape=(8, 31))
    assert [deepest(shape, 5) for shape in ((128, 200), (31, 64), (2, 9), None)] == [5, 4, 1, 5]


def test_the_residual_generator_is_the_published_one() -> None:
    with torch.device("meta"):
        network = ResidualGenerator(3 + 5, 3)
    assert parameters(network) == 8_430_528  # what the public code counts for CelebA
    assert not any(layer.bias is not None for layer in network.modules() if isinstance(layer, nn.Conv2d))


@pytest.mark.parametrize("shape", [(16, 16), (13, 22), (9, 8, 11)])
def test_generators_and_segmentors_keep_the_shape(shape: tuple[int, ...]) -> None:
    images = torch.rand(2, 3, *shape)
    made = ResidualGenerator(3, 2, spatial_dims=len(shape), filters=4, blocks=1)(images)
    assert made.shape == (2, 2, *shape) and made.abs().max() <= 1
    found = Segmentor(3, spatial_dims=len(shape), filters=4, levels=2)(images)
    assert found.shape == (2, 1, *shape) and found.min() >= 0 and found.max() <= 1


def labels_heard(network: ResidualGenerator) -> float:
    images = torch.rand(1, 1, 16, 16)
    ones, zeros = torch.ones(1, 1, 16, 16), torch.zeros(1, 1, 16, 16)
    with torch.no_grad():
        one, other = (network(torch.cat([images, *maps], 1)) for maps in ((ones, zeros), (zeros, ones)))
    return float((one - other).abs().max())


def test_zero_padding_carries_the_label_and_mirrored_borders_lose_it() -> None:
    torch.manual_seed(0)
    network = ResidualGenerator(3, 1, filters=8, blocks=1)
    assert labels_heard(network) > 1e-2
    first = network.layers[0]
    first.padding_mode = "reflect"  # what the paper's networks for single domains have: the trap
    assert labels_heard(network) < 1e-3


def test_the_segmentor_is_the_published_one() -> None:
    with torch.device("meta"):
        network = Segmentor(1 + 3)
    down = sum(9 * a * b + b + 2 * b for a, b in ((4, 64), (64, 128), (128, 256), (256, 512)))
    up = sum(9 * a * b + b + 2 * b for a, b in ((512, 512), (768, 256), (384, 128))) + 9 * 192 + 1
    assert parameters(network) == down + up
