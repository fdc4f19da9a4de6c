"""Regression losses: their printed forms, what a region and labels do to them, and gradients."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from transmodal.losses.regression import charbonnier, euclidean, gradient_difference, mean_absolute, pixel_weights

Loss = Callable[..., Tensor]
LOSSES: list[Loss] = [mean_absolute, euclidean, charbonnier, gradient_difference]
SHAPES = [(2, 2, 7, 9), (2, 1, 5, 6, 7)]


def images(shape: tuple[int, ...], seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    target = torch.rand(shape, generator=generator) * 2 - 1
    return target + 0.3 * torch.randn(shape, generator=generator), target


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("shape", SHAPES)
def test_nearer_is_better_and_equal_is_best(loss: Loss, shape: tuple[int, ...]) -> None:
    predicted, target = images(shape)
    values = [loss(torch.lerp(target, predicted, share), target) for share in (0.0, 0.3, 1.0)]
    assert values[0] < values[1] < values[2]
    assert values[0] <= 1.001e-3  # ε of Charbonnier


@pytest.mark.parametrize("shape", SHAPES)
def test_values_are_the_printed_ones(shape: tuple[int, ...]) -> None:
    predicted, target = images(shape)
    error = predicted - target
    torch.testing.assert_close(mean_absolute(predicted, target), error.abs().mean())
    norms = error.flatten(2).square().sum(2).sqrt()
    torch.testing.assert_close(euclidean(predicted, target), norms.mean())
    pixels = error[0, 0].numel()
    torch.testing.assert_close(euclidean(predicted, target, free_of_size=True), norms.mean() / pixels**0.5)
    torch.testing.assert_close(charbonnier(predicted, target, epsilon=0.2), (error**2 + 0.04).sqrt().mean())


def test_gradient_difference_sees_edges_and_not_levels() -> None:
    target = torch.zeros(1, 1, 4, 6)
    target[..., 3:] = 1.0
    assert gradient_difference(target + 5, target) == 0
    assert gradient_difference(-target, target) == 0, "the sign of a slope does not matter, as printed"
    blurred = target.clone()
    blurred[..., 2:4] = torch.tensor([0.25, 0.75])
    # Along the rows of five differences: 0.25 too much twice, 0.5 too little once; none down the columns.
    torch.testing.assert_close(gradient_difference(blurred, target), torch.tensor(1.0 / 5))
    with pytest.raises(ValueError, match="every axis needs two pixels"):
        gradient_difference(target[..., :1], target[..., :1])


@pytest.mark.parametrize("loss", LOSSES)
def test_size_matters_to_the_printed_euclidean_only(loss: Loss) -> None:
    predicted, target = images((1, 1, 8, 8))
    tiled = [image.repeat(1, 1, 4, 4) for image in (predicted, target)]
    ratio = loss(*tiled) / loss(predicted, target)
    if loss is euclidean:
        assert ratio == pytest.approx(4, rel=1e-4)
        torch.testing.assert_close(
            euclidean(*tiled, free_of_size=True), euclidean(predicted, target, free_of_size=True)
        )
    elif loss is not gradient_difference:  # tiles have seams
        assert ratio == pytest.approx(1, rel=1e-4)


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("shape", SHAPES)
def test_outside_the_region_nothing_counts(loss: Loss, shape: tuple[int, ...]) -> None:
    predicted, target = images(shape)
    region = torch.zeros(shape[0], 1, *shape[2:])
    region[..., 1:4, 2:5] = 1
    weights = pixel_weights(target, region=region)
    outside = (region == 0).expand_as(target)
    elsewhere = torch.where(outside, predicted + 7, predicted).requires_grad_(True)
    value = loss(elsewhere, target, weights)
    torch.testing.assert_close(value, loss(predicted, target, weights))
    value.backward()
    assert elsewhere.grad is not None
    assert (elsewhere.grad[outside] == 0).all()
    assert (elsewhere.grad[~outside] != 0).any()


@pytest.mark.parametrize("loss", LOSSES)
def test_a_region_gives_the_loss_of_the_cut_out_image(loss: Loss) -> None:
    predicted, target = images((2, 1, 9, 11))
    region = torch.zeros(2, 1, 9, 11)
    region[..., 2:7, 3:9] = 1
    cut = (..., slice(2, 7), slice(3, 9))
    torch.testing.assert_close(
        loss(predicted, target, pixel_weights(target, region=region)), loss(predicted[cut], target[cut])
    )


@pytest.mark.parametrize("loss", LOSSES)
def test_weights_of_one_change_nothing(loss: Loss) -> None:
    predicted, target = images((2, 2, 7, 9))
    torch.testing.assert_close(loss(predicted, target, torch.ones_like(target)), loss(predicted, target))


@pytest.mark.parametrize("loss", LOSSES)
def test_images_of_small_and_large_regions_count_alike(loss: Loss) -> None:
    predicted, target = images((2, 1, 8, 8))
    region = torch.zeros(2, 1, 8, 8)
    region[0, :, :3, :3], region[1] = 1, 1
    weights = pixel_weights(target, region=region)
    assert weights is not None
    alone = [loss(predicted[i : i + 1], target[i : i + 1], weights[i : i + 1]) for i in (0, 1)]
    torch.testing.assert_close(loss(predicted, target, weights), (alone[0] + alone[1]) / 2)


@pytest.mark.parametrize("loss", LOSSES)
def test_images_without_region_do_not_count_and_none_at_all_gives_zero(loss: Loss) -> None:
    predicted, target = images((2, 1, 8, 8))
    predicted.requires_grad_(True)
    region = torch.ones(2, 1, 8, 8)
    region[0] = 0
    weights = pixel_weights(target, region=region)
    torch.testing.assert_close(loss(predicted, target, weights), loss(predicted[1:], target[1:]))
    nothing = loss(predicted, target, torch.zeros_like(target))
    nothing.backward()
    assert nothing == 0 and predicted.grad is not None and (predicted.grad == 0).all()


def test_lesions_count_more() -> None:
    target = torch.zeros(1, 1, 1, 4)
    predicted = torch.tensor([1.0, 1.0, 3.0, 9.0]).reshape(1, 1, 1, 4)
    labels = torch.tensor([0, 0, 2, 1]).reshape(1, 1, 1, 4)
    region = torch.tensor([1.0, 1.0, 1.0, 0.0]).reshape(1, 1, 1, 4)
    weights = pixel_weights(target, region=region, labels=labels, lesion_weight=4.0)
    assert weights is not None and weights.flatten().tolist() == [1, 1, 4, 0]
    torch.testing.assert_close(mean_absolute(predicted, target, weights), torch.tensor((1 + 1 + 4 * 3) / 6))
    torch.testing.assert_close(euclidean(predicted, target, weights), torch.tensor((1 + 1 + 4 * 9.0) ** 0.5))
    assert pixel_weights(target, labels=labels, lesion_weight=1.0) is None


def test_unwanted_channels_do_not_count() -> None:
    predicted, target = images((2, 2, 5, 5))
    wanted = torch.tensor([[1.0, 0.0], [1.0, 1.0]]).reshape(2, 2, 1, 1)
    errors = (predicted - target).abs().flatten(2).mean(2)
    expected = (errors[0, 0] + errors[1, 0] + errors[1, 1]) / 3
    torch.testing.assert_close(mean_absolute(predicted, target, pixel_weights(target, wanted=wanted)), expected)


@pytest.mark.parametrize("loss", LOSSES)
def test_16_bit_predictions_are_scored_in_32(loss: Loss) -> None:
    predicted, target = images((1, 1, 6, 6))
    assert loss(predicted.bfloat16(), target).dtype == torch.float32


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("weighted", [False, True])
def test_gradients_are_those_of_finite_differences(loss: Loss, weighted: bool) -> None:
    predicted, target = images((2, 1, 5, 6), seed=3)
    weights = torch.rand(target.shape, generator=torch.Generator().manual_seed(1)) if weighted else None
    predicted.requires_grad_(True)
    loss(predicted, target, weights).backward()
    gradient, step = predicted.grad, 1e-3
    assert gradient is not None
    with torch.no_grad():
        for pixel in [(0, 0, 1, 2), (1, 0, 4, 5), (1, 0, 0, 0)]:
            values = []
            for sign in (1, -1):
                moved = predicted.clone()
                moved[pixel] += sign * step
                values.append(loss(moved, target, weights).item())
            assert gradient[pixel].item() == pytest.approx((values[0] - values[1]) / (2 * step), rel=0.02, abs=2e-4)


def test_the_euclidean_norm_has_a_finite_slope_at_zero() -> None:
    target = torch.ones(1, 1, 4, 4)
    predicted = target.clone().requires_grad_(True)
    euclidean(predicted, target, torch.ones_like(target)).backward()
    assert predicted.grad is not None and torch.isfinite(predicted.grad).all()
