"""The PatchGAN judges patches of the published size; the pixel discriminator judges pixels."""

import pytest
import torch
from torch import nn

from transmodal.networks.patch_discriminator import PatchDiscriminator, smallest_side


def test_the_70_pixel_patchgan_is_the_published_one() -> None:
    with torch.device("meta"):
        network = PatchDiscriminator(4)
    convolutions = [layer for layer in network.modules() if isinstance(layer, nn.Conv2d)]
    assert [(layer.in_channels, layer.out_channels, layer.stride[0]) for layer in convolutions] == [
        (4, 64, 2), (64, 128, 2), (128, 256, 2), (256, 512, 1), (512, 1, 1),
    ]  # fmt: skip
    assert {(layer.kernel_size, layer.padding) for layer in convolutions} == {((4, 4), (1, 1))}
    assert [layer.num_features for layer in network.modules() if isinstance(layer, nn.BatchNorm2d)] == [128, 256, 512]
    # Weights 16 Σ in·out, biases of the first and last, scale and bias of the norms.
    assert sum(weights.numel() for weights in network.parameters()) == (
        16 * (4 * 64 + 64 * 128 + 128 * 256 + 256 * 512 + 512) + 64 + 1 + 2 * (128 + 256 + 512)
    )


@pytest.mark.parametrize(("size", "scores"), [((256, 256), (30, 30)), ((512, 1024), (62, 126))])
def test_output_maps_have_the_published_sizes(size: tuple[int, int], scores: tuple[int, int]) -> None:
    with torch.device("meta"):
        assert PatchDiscriminator(4)(torch.empty(1, 4, *size)).shape == (1, 1, *scores)


@pytest.mark.parametrize(("layers", "field"), [(0, 1), (1, 16), (2, 34), (3, 70), (4, 142), (5, 286)])
def test_receptive_fields_measured_by_gradients(layers: int, field: int) -> None:
    torch.manual_seed(0)
    network = PatchDiscriminator(1, filters=1, layers=layers, norm="none")
    for weights in network.parameters():
        weights.data.abs_()  # so that no gradient cancels
    image = torch.rand(1, 1, 2 * field + 64, field + 64, requires_grad=True)
    scores = network(image)
    scores[0, 0, scores.shape[2] // 2, scores.shape[3] // 2].backward()
    assert image.grad is not None
    rows = (image.grad[0, 0] != 0).any(1).nonzero()
    assert int(rows.max() - rows.min()) + 1 == field


@pytest.mark.parametrize("layers", [0, 1, 2, 3, 4])
@pytest.mark.parametrize("spatial_dims", [2, 3])
def test_the_smallest_side_is_the_smallest(layers: int, spatial_dims: int) -> None:
    side = smallest_side(layers)
    if side**spatial_dims > 30_000:
        side_dims = 2
    else:
        side_dims = spatial_dims
    network = PatchDiscriminator(1, spatial_dims=side_dims, filters=1, layers=layers, norm="none")
    assert network(torch.zeros(1, 1, *[side] * side_dims)).numel() == 1
    if side > 1:
        with pytest.raises(RuntimeError):
            network(torch.zeros(1, 1, *[side - 1] * side_dims))


def test_the_pixel_discriminator_judges_every_pixel() -> None:
    network = PatchDiscriminator(4, filters=8, layers=0)
    assert network(torch.randn(1, 4, 13, 7)).shape == (1, 1, 13, 7)


def test_volumes_use_the_same_class() -> None:
    network = PatchDiscriminator(2, spatial_dims=3, filters=2, layers=1, norm="layer")
    assert network(torch.randn(1, 2, 16, 18, 20)).shape == (1, 1, 6, 7, 8)


def test_layer_norm_judges_each_sample_alone() -> None:
    torch.manual_seed(0)
    images = torch.randn(2, 1, 16, 16)
    for norm, alone in (("layer", True), ("instance", True), ("batch", False)):
        network = PatchDiscriminator(1, filters=4, layers=2, norm=norm)
        assert torch.allclose(network(images)[:1], network(images[:1]), atol=1e-6) is alone
