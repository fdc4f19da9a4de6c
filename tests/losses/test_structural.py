"""SSIM and MS-SSIM as losses equal our metrics, see nothing outside a region, and teach."""

import numpy as np
import pytest
import torch
from torch import Tensor

from transmodal.losses.regression import pixel_weights
from transmodal.losses.structural import _band, one_minus_ms_ssim, one_minus_ssim, scales_of
from transmodal.metrics.ms_ssim import ms_ssim
from transmodal.metrics.ssim import ssim

LOSSES = [one_minus_ssim, one_minus_ms_ssim]


def brain(shape: tuple[int, ...], seed: int = 0, noise: float = 0.15) -> tuple[Tensor, Tensor, Tensor]:
    """Return prediction, target (with flat parts, dark and bright) and region, each (1, 1, *shape)."""
    generator = np.random.default_rng(seed)
    target = np.clip(generator.normal(0, 0.4, shape), -1, 1)
    target[: shape[0] // 4] = -1
    target[shape[0] // 2 : shape[0] // 2 + 6] = 0.95
    predicted = np.clip(target + generator.normal(0, noise, shape), -1, 1)
    region = np.zeros(shape)
    region[(slice(3, -7),) * len(shape)] = 1
    first, second, third = (
        torch.from_numpy(image.astype(np.float32))[None, None] for image in (predicted, target, region)
    )
    return first, second, third


def in_zero_to_two(image: Tensor) -> np.ndarray:
    return image[0, 0].double().numpy() + 1


@pytest.mark.parametrize("shape", [(40, 53), (11, 64), (24, 26, 31)])
@pytest.mark.parametrize("masked", [False, True])
def test_ssim_is_that_of_the_metric(shape: tuple[int, ...], masked: bool) -> None:
    predicted, target, region = brain(shape)
    if masked and min(shape) == 11:
        region[..., 5, 20:30] = 1
    shown = torch.where(region > 0, predicted, target) if masked else predicted
    expected = ssim(
        in_zero_to_two(shown),
        in_zero_to_two(target),
        data_range=2.0,
        mask=region[0, 0].numpy() > 0 if masked else None,
        spatial_dims=len(shape),
    )
    weights = pixel_weights(target, region=region) if masked else None
    assert 1 - one_minus_ssim(predicted, target, weights).item() == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("shape", [(161, 177), (190, 164)])
@pytest.mark.parametrize("masked", [False, True])
def test_ms_ssim_is_that_of_the_metric(shape: tuple[int, int], masked: bool) -> None:
    predicted, target, region = brain(shape)
    region = region * (torch.rand(shape, generator=torch.Generator().manual_seed(0)) < 0.05)  # scattered and thin
    shown = torch.where(region > 0, predicted, target) if masked else predicted
    expected = ms_ssim(
        in_zero_to_two(shown),
        in_zero_to_two(target),
        data_range=2.0,
        mask=region[0, 0].numpy() > 0 if masked else None,
    )
    weights = pixel_weights(target, region=region) if masked else None
    assert 1 - one_minus_ms_ssim(predicted, target, weights).item() == pytest.approx(expected, abs=1e-5)


def test_the_range_of_values_is_taken_into_account() -> None:
    predicted, target, _ = brain((30, 30))
    expected = one_minus_ssim(predicted, target)
    torch.testing.assert_close(
        one_minus_ssim(predicted * 50 + 130, target * 50 + 130, value_range=(80.0, 180.0)), expected
    )
    assert abs(one_minus_ssim(predicted, target, value_range=(-3.0, 1.0)) - expected) > 1e-3


def test_channels_and_samples_are_images_of_their_own() -> None:
    pairs = [brain((20, 22), seed) for seed in range(4)]
    predicted = torch.cat([pair[0] for pair in pairs]).reshape(2, 2, 20, 22)
    target = torch.cat([pair[1] for pair in pairs]).reshape(2, 2, 20, 22)
    for loss in LOSSES:
        alone = torch.stack([loss(first, second) for first, second, _ in pairs])
        torch.testing.assert_close(loss(predicted, target), alone.mean())


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("shape", [(30, 26), (16, 18, 20)])
def test_nothing_is_learned_from_outside_the_region(loss, shape: tuple[int, ...]) -> None:
    predicted, target, region = brain(shape)
    weights = pixel_weights(target, region=region)
    elsewhere = torch.where(region > 0, predicted, torch.full_like(predicted, 0.7)).requires_grad_(True)
    value = loss(elsewhere, target, weights)
    torch.testing.assert_close(value, loss(predicted, target, weights))
    value.backward()
    assert elsewhere.grad is not None
    assert (elsewhere.grad[region == 0] == 0).all() and (elsewhere.grad[region > 0] != 0).any()


@pytest.mark.parametrize("loss", LOSSES)
def test_images_without_region_do_not_count(loss) -> None:
    first, second = brain((24, 24)), brain((24, 24), seed=1)
    predicted, target = torch.cat([first[0], second[0]]), torch.cat([first[1], second[1]])
    region = torch.cat([torch.zeros_like(first[2]), second[2]])
    alone = loss(second[0], second[1], pixel_weights(second[1], region=second[2]))
    torch.testing.assert_close(loss(predicted, target, pixel_weights(target, region=region)), alone)
    predicted.requires_grad_(True)
    nothing = loss(predicted, target, torch.zeros_like(target))
    nothing.backward()
    assert nothing == 0 and predicted.grad is not None and (predicted.grad == 0).all()


def test_lesions_count_more() -> None:
    _, target, _ = brain((30, 30))
    labels = torch.zeros(1, 1, 30, 30, dtype=torch.int64)
    labels[..., 18:24, 18:24] = 1
    wrong_there = torch.where(labels > 0, target.flip(-1), target)
    plain, heavy = (
        one_minus_ssim(wrong_there, target, pixel_weights(target, labels=labels, lesion_weight=weight))
        for weight in (1.0, 10.0)
    )
    assert heavy > 2 * plain


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("weighted", [False, True])
def test_gradients_are_those_of_finite_differences(loss, weighted: bool) -> None:
    predicted, target, region = brain((26, 24), seed=2)
    weights = pixel_weights(target, region=region) if weighted else None
    predicted.requires_grad_(True)
    loss(predicted, target, weights).backward()
    gradient = predicted.grad
    assert gradient is not None
    # Along a direction, not pixel by pixel: float32 does not resolve what one pixel does to the mean.
    direction = (
        torch.randn(predicted.shape, generator=torch.Generator().manual_seed(5)) + 5 * gradient / gradient.norm()
    )
    step = 2e-3
    with torch.no_grad():
        slope = loss(predicted + step * direction, target, weights) - loss(
            predicted - step * direction, target, weights
        )
    assert (gradient * direction).sum().item() == pytest.approx(slope.item() / (2 * step), rel=0.02, abs=1e-4)


@pytest.mark.parametrize("loss", LOSSES)
def test_descent_finds_the_target(loss) -> None:
    predicted, target, _ = brain((24, 24), noise=0.3)
    predicted.requires_grad_(True)
    start, optimiser = loss(predicted, target).item(), torch.optim.Adam([predicted], 0.02)
    for _ in range(60):
        optimiser.zero_grad()
        value = loss(predicted, target)
        value.backward()
        optimiser.step()
    assert value.item() < 0.1 * start


def test_equal_flat_images_have_no_loss_and_a_finite_slope() -> None:
    for level in (-1.0, 0.0, 1.0):
        target = torch.full((1, 1, 16, 16), level)
        predicted = target.clone().requires_grad_(True)
        value = one_minus_ssim(predicted, target)
        value.backward()
        assert value.item() == pytest.approx(0, abs=1e-6)
        assert predicted.grad is not None and torch.isfinite(predicted.grad).all()


def test_opposite_images_still_have_a_slope() -> None:
    _, target, _ = brain((24, 24))
    predicted = (-target).requires_grad_(True)
    value = one_minus_ms_ssim(predicted, target)
    value.backward()
    assert 0 < value <= 1 and predicted.grad is not None and torch.isfinite(predicted.grad).all()


@pytest.mark.parametrize(
    ("side", "scales"), [(10, 0), (11, 1), (20, 1), (21, 2), (80, 3), (160, 4), (161, 5), (900, 5)]
)
def test_scales_are_those_with_a_whole_window(side: int, scales: int) -> None:
    assert scales_of(side) == scales


@pytest.mark.parametrize("loss", LOSSES)
def test_images_without_a_whole_window_are_refused(loss) -> None:
    with pytest.raises(ValueError, match="11 pixels an axis"):
        loss(torch.zeros(1, 1, 10, 40), torch.zeros(1, 1, 10, 40))


def test_what_inference_made_serves_training_and_autocast_changes_nothing() -> None:
    _band.cache_clear()
    predicted, target, _ = brain((27, 29))
    with torch.inference_mode():
        expected = one_minus_ssim(predicted, target).item()
    predicted.requires_grad_(True)
    with torch.autocast("cpu", torch.bfloat16):
        value = one_minus_ssim(predicted, target)
    value.backward()
    assert value.item() == expected
    assert _band.cache_info().hits >= 2
