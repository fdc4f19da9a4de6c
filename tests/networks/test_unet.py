"""The U-Net for regression takes any size, is nnU-Net's where it says so, and learns."""

import pytest
import torch
from torch import nn

from transmodal.networks.unet import InstanceNorm, UNet


def layers(block: nn.Module, kind: type) -> list[nn.Module]:
    return [layer for layer in block.modules() if isinstance(layer, kind)]


@pytest.mark.parametrize("shape", [(16, 16), (32, 48), (17, 31), (5, 90), (1, 1), (4, 4)])
@pytest.mark.parametrize("settings", [{}, {"residual": True}, {"upsampling": "resize"}, {"norm": "none"}])
def test_any_size_comes_back(shape: tuple[int, int], settings: dict) -> None:
    network = UNet(2, 3, filters=2, levels=4, **settings)
    output = network(torch.randn(2, 2, *shape))
    assert output.shape == (2, 3, *shape) and torch.isfinite(output).all()


def test_padding_does_not_reach_far_into_the_image() -> None:
    torch.manual_seed(0)
    network = UNet(1, 1, filters=4, levels=2, norm="none").eval()
    images = torch.randn(1, 1, 32, 33)
    with torch.inference_mode():
        torch.testing.assert_close(network(images)[..., :20], network(images[..., :32])[..., :20])


@pytest.mark.parametrize("levels", [1, 2, 5])
@pytest.mark.parametrize("norm", ["instance", "batch", "none"])
@pytest.mark.parametrize("residual", [False, True])
def test_every_weight_takes_part(levels: int, norm: str, residual: bool) -> None:
    torch.manual_seed(0)
    network = UNet(1, 1, filters=2, levels=levels, norm=norm, residual=residual, dropout=0.1)
    network(torch.randn(2, 1, 32, 32)).square().mean().backward()
    assert all(weights.grad is not None for weights in network.parameters())
    assert len(layers(network, nn.Dropout)) == max(0, 2 * levels - 3), "all levels but the outermost, both sides"


def test_volumes_use_the_same_class() -> None:
    for residual in (False, True):
        network = UNet(1, 2, spatial_dims=3, filters=2, levels=3, residual=residual)
        assert network(torch.randn(1, 1, 9, 16, 21)).shape == (1, 2, 9, 16, 21)
        assert layers(network, nn.Conv3d) and not layers(network, nn.Conv2d) + layers(network, nn.ConvTranspose2d)


def test_widths_double_up_to_those_of_nnu_net() -> None:
    with torch.device("meta"):
        plain, volume = UNet(1, 1, levels=7), UNet(1, 1, levels=6, spatial_dims=3)
    assert [layers(level, nn.Conv2d)[-1].out_channels for level in plain.encoder] == [32, 64, 128, 256, 512, 512, 512]
    assert [layers(level, nn.Conv3d)[-1].out_channels for level in volume.encoder] == [32, 64, 128, 256, 320, 320]


def test_the_residual_encoder_has_nnu_nets_number_of_weights() -> None:
    # ResEnc of six levels on one modality: 102 million (Isensee et al. 2024 give 102 M for ResEnc L).
    with torch.device("meta"):
        network = UNet(1, 1, spatial_dims=3, levels=6, residual=True, convolutions=1)
        counted = [len(layers(level, nn.Conv3d)) for level in network.encoder]
    assert sum(weights.numel() for weights in network.parameters()) == 102_335_137
    # Two a block, one for the stem, one for each shortcut to more channels (320 to 320 has none).
    assert counted == [1 + 2, 2 * 3 + 1, 2 * 4 + 1, 2 * 6 + 1, 2 * 6 + 1, 2 * 6]


def test_outputs_have_the_range_asked_for() -> None:
    torch.manual_seed(0)
    images = 50 * torch.randn(1, 1, 16, 16)
    assert UNet(1, 1, filters=2, levels=2, norm="none", output="tanh")(images).abs().max() <= 1
    assert UNet(1, 1, filters=2, levels=2, norm="none")(images).abs().max() > 1


def test_a_correction_starts_from_its_input_and_reaches_it_everywhere() -> None:
    images = torch.randn(2, 3, 17, 20)
    network = UNet(3, 2, filters=2, levels=3, add_input=(2, 0))
    assert torch.equal(network(images), images[:, [2, 0]])
    network(images).square().mean().backward()
    assert network.head.weight.grad is not None and network.head.weight.grad.abs().max() > 0


@pytest.mark.parametrize("kind", ["plain", "residual", "resize", "volume"])
def test_a_few_steps_learn_a_known_mapping(kind: str) -> None:
    torch.manual_seed(0)
    settings = {"residual": kind == "residual", "upsampling": "resize" if kind == "resize" else "transposed"}
    dims = 3 if kind == "volume" else 2
    images = torch.randn(2, 1, *(16,) * dims).clamp(-1, 1)
    target = -0.5 * images + 0.2
    network = UNet(1, 1, filters=8, levels=3, spatial_dims=dims, convolutions=1, blocks=(1, 1, 1), **settings)
    optimiser, losses = torch.optim.Adam(network.parameters(), 3e-3), []
    for _ in range(80):
        optimiser.zero_grad()
        loss = (network(images) - target).abs().mean()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < 0.1 * losses[0]


@pytest.mark.parametrize("residual", [False, True])
def test_gradients_are_those_of_finite_differences(residual: bool) -> None:
    torch.manual_seed(0)
    network = UNet(1, 1, filters=2, levels=2, residual=residual, blocks=(1, 1)).double()
    images = torch.randn(2, 1, 6, 5, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(network, (images,), eps=1e-6, atol=1e-5)


@pytest.mark.parametrize("shape", [(3, 4, 5, 6), (1, 4, 7, 3), (2, 4, 3, 4, 5), (1, 4, 1, 1)])
@pytest.mark.parametrize("channels_last", [False, True])
def test_instance_norm_is_torchs_own_in_every_layout(shape: tuple[int, ...], channels_last: bool) -> None:
    torch.manual_seed(0)
    dims = len(shape) - 2
    ours = InstanceNorm(4)
    theirs = {2: nn.InstanceNorm2d, 3: nn.InstanceNorm3d}[dims](4, affine=True).eval()
    for norm in (ours, theirs):
        norm.weight.data, norm.bias.data = torch.arange(1.0, 5.0), torch.arange(4.0)
    features = torch.randn(shape) * 3 + 1
    if channels_last:
        features = features.to(memory_format={2: torch.channels_last, 3: torch.channels_last_3d}[dims])
    mine, other = features.clone().requires_grad_(True), features.clone().requires_grad_(True)
    if shape[-1] == 1:  # one pixel: the shift alone, where torch's refuses to train
        torch.testing.assert_close(ours(mine).flatten(), ours.bias, atol=1e-3, rtol=0)
        return
    first, second, slope = ours(mine), theirs(other), torch.randn(shape)
    torch.testing.assert_close(first, second)
    first.backward(slope)
    second.backward(slope)
    torch.testing.assert_close(mine.grad, other.grad)
    torch.testing.assert_close(ours.weight.grad, theirs.weight.grad)
    with torch.inference_mode():
        torch.testing.assert_close(ours(features), second)


def test_layout_in_memory_does_not_change_the_result() -> None:
    torch.manual_seed(0)
    network, images = UNet(1, 1, filters=4, levels=3), torch.randn(2, 1, 24, 24)
    expected = network(images)
    network.to(memory_format=torch.channels_last)
    torch.testing.assert_close(network(images.to(memory_format=torch.channels_last)), expected, rtol=1e-4, atol=1e-5)


def test_images_of_a_batch_do_not_see_each_other_with_instance_norm() -> None:
    torch.manual_seed(0)
    network, images = UNet(1, 1, filters=4, levels=3), torch.randn(2, 1, 16, 16)
    torch.testing.assert_close(network(images)[:1], network(images[:1]))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"levels": 0}, "at least one level"),
        ({"convolutions": 0}, "at least one level"),
        ({"residual": True, "levels": 3, "blocks": (1, 2)}, "as many numbers of blocks"),
        ({"add_input": (3,)}, "one of 2 input channels"),
        ({"add_input": (0, 1)}, "one of 2 input channels"),
        ({"add_input": (0,), "output": "tanh"}, "needs a linear output"),
    ],
)
def test_what_cannot_be_built_is_refused(settings: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        UNet(2, 1, filters=2, **settings)
