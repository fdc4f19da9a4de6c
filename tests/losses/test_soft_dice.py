"""Soft Dice: known values, per image, and defined for empty masks."""

import pytest
import torch

from transmodal.losses.overlap import soft_dice_loss


def test_known_values() -> None:
    probability = torch.tensor([[[[1.0, 0.5, 0.0, 0.0]]]])
    truth = torch.tensor([[[[1.0, 1.0, 1.0, 0.0]]]])
    assert soft_dice_loss(probability, truth).item() == pytest.approx(1 - (2 * 1.5 + 1) / (1.5 + 3 + 1))
    assert soft_dice_loss(truth, truth).item() == 0


def test_an_empty_mask_found_empty_costs_nothing() -> None:
    empty = torch.zeros(1, 1, 4, 4)
    assert soft_dice_loss(empty, empty).item() == 0
    assert soft_dice_loss(empty + 1, empty).item() == pytest.approx(1 - 1 / 17)


def test_each_image_counts_alike_whatever_its_size_of_lesion() -> None:
    truth = torch.zeros(2, 1, 8, 8)
    truth[0], truth[1, 0, 0, 0] = 1, 1
    found = truth.clone()
    found[1] = 0
    assert soft_dice_loss(found, truth).item() == pytest.approx((0 + 1 - 1 / 2) / 2)


def test_masks_may_be_booleans() -> None:
    probability = torch.rand(2, 1, 4, 4)
    truth = probability > 0.3
    torch.testing.assert_close(soft_dice_loss(probability, truth), soft_dice_loss(probability, truth.float()))
