"""Class losses: textbook values, and no gradient where a label is unknown."""

import pytest
import torch
from torch.nn import functional

from transmodal.losses.classification import exclusive_label_loss, independent_label_loss


def test_the_right_class_costs_least() -> None:
    scores = torch.tensor([[3.0, 0.0, -1.0]])
    costs = [float(exclusive_label_loss(scores, torch.tensor([k]))) for k in range(3)]
    assert costs == sorted(costs)
    assert costs[0] == pytest.approx(-torch.log_softmax(scores, 1)[0, 0].item())


def test_unknown_labels_neither_count_nor_learn() -> None:
    scores = torch.tensor([[0.5, 9.0, -0.5], [4.0, 0.1, 0.2]], requires_grad=True)
    known = torch.tensor([[True, False, True], [False, True, True]])
    loss = exclusive_label_loss(scores, torch.tensor([0, 2]), known)
    expected = (functional.softplus(torch.tensor(-1.0)) + functional.softplus(torch.tensor(-0.1))) / 2
    torch.testing.assert_close(loss, expected)
    loss.backward()
    assert scores.grad is not None and torch.isfinite(scores.grad).all()
    assert torch.equal(scores.grad == 0, ~known)


def test_independent_labels_are_summed_and_samples_averaged() -> None:
    scores, truth = torch.randn(4, 3), torch.eye(3)[[0, 2, 1, 1]]
    signs = 1 - 2 * truth
    torch.testing.assert_close(independent_label_loss(scores, truth), functional.softplus(signs * scores).sum(1).mean())


def test_extreme_scores_in_16_bit_stay_finite() -> None:
    scores = torch.tensor([[3e4, -3e4]], dtype=torch.bfloat16)
    for loss in (exclusive_label_loss(scores, torch.tensor([1])), independent_label_loss(scores, torch.eye(2)[1:])):
        assert loss.dtype == torch.float32 and torch.isfinite(loss)
