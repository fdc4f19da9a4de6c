"""Dice and cross-entropy of several classes: known values, weights, and pixels that do not count."""

import pytest
import torch
from torch.nn import functional

from transmodal.losses.overlap import class_cross_entropy, class_dice_loss


def example() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    index = torch.randint(0, 3, (2, 6, 6), generator=generator)
    return torch.randn(2, 3, 6, 6, generator=generator), functional.one_hot(index, 3).movedim(-1, 1).float()


def test_dice_is_the_mean_over_classes_of_sums_over_the_batch() -> None:
    truth = torch.zeros(2, 2, 2, 2)
    truth[0, 0] = 1  # four pixels of the first class, all in one image; the second is nowhere
    found = truth.clone()
    found[0, 0, 0, 0] = 0
    expected = 1 - ((2 * 3 + 1) / (3 + 4 + 1) + 1) / 2
    assert class_dice_loss(found, truth).item() == pytest.approx(expected)
    apart = 1 - ((2 * 3 + 1) / (3 + 4 + 1) + 3) / 4
    assert class_dice_loss(found, truth, together=False).item() == pytest.approx(apart)
    assert class_dice_loss(truth, truth).item() == 0


def test_better_probabilities_cost_less() -> None:
    _, truth = example()
    values = [class_dice_loss(truth * sure + (1 - sure) / 3, truth).item() for sure in (0.0, 0.5, 0.9, 1.0)]
    assert values == sorted(values, reverse=True)


def test_exclusive_classes_have_the_cross_entropy_of_a_softmax() -> None:
    logits, everything = example()
    weights = torch.tensor([0.5, 1.0, 3.0])
    index = everything.argmax(1)
    for given in (None, weights):
        expected = functional.cross_entropy(logits, index, weight=given)
        torch.testing.assert_close(
            class_cross_entropy(logits, everything[:, 1:], exclusive=True, weights=given), expected
        )


def test_others_have_one_of_their_own_each() -> None:
    logits, everything = example()
    truth, made = everything[:, 1:], logits[:, 1:]
    torch.testing.assert_close(
        class_cross_entropy(made, truth, exclusive=False), functional.binary_cross_entropy_with_logits(made, truth)
    )
    missed = class_cross_entropy(-4 * truth, truth, exclusive=False, weights=torch.tensor([1.0, 1.0, 1.0]))
    assert class_cross_entropy(-4 * truth, truth, exclusive=False, weights=torch.tensor([1.0, 9.0, 9.0])) > missed


@pytest.mark.parametrize("exclusive", [True, False])
def test_pixels_that_do_not_count_change_nothing(exclusive: bool) -> None:
    logits, everything = example()
    truth = everything[:, 1:]
    logits = logits if exclusive else logits[:, 1:]
    counted = torch.ones(2, 1, 6, 6)
    counted[..., 3:] = 0
    other = truth.clone()
    other[..., 3:] = 0
    for loss in (
        lambda true: class_cross_entropy(logits, true, exclusive=exclusive, counted=counted),
        lambda true: class_dice_loss(logits[:, -2:].sigmoid(), true, counted=counted),
    ):
        torch.testing.assert_close(loss(truth), loss(other))
