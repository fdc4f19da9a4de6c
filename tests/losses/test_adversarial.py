"""Adversarial losses behave as losses, agree with their textbook forms, and constrain what they should."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from transmodal.losses.adversarial import discriminator_loss, generator_loss, gradient_penalty

KINDS = ["cross-entropy", "mean-squared-error", "wgan-gp", "wgan-noconstraint"]
# Inside (0, 1), where least squares too falls as a score nears its label.
REAL, FAKE = torch.tensor([0.7, 0.9]), torch.tensor([0.2, 0.3])


@pytest.mark.parametrize("kind", KINDS)
def test_swapped_labels_cost_the_discriminator_more(kind: str) -> None:
    right, parts = discriminator_loss(kind, REAL, FAKE)
    wrong, _ = discriminator_loss(kind, FAKE, REAL)
    assert right < wrong
    assert right == parts["d_real"] + parts["d_fake"]


@pytest.mark.parametrize("kind", KINDS)
def test_better_fakes_cost_the_generator_less(kind: str) -> None:
    assert generator_loss(kind, FAKE + 0.1) < generator_loss(kind, FAKE)


@pytest.mark.parametrize("kind", KINDS)
def test_the_discriminator_alone_reacts_to_its_own_part(kind: str) -> None:
    base = discriminator_loss(kind, REAL, FAKE)[0]
    assert discriminator_loss(kind, REAL + 0.05, FAKE)[0] < base < discriminator_loss(kind, REAL, FAKE + 0.05)[0]


def test_cross_entropy_is_that_of_logits() -> None:
    real, fake = torch.randn(2, 1, 5, 6) * 4, torch.randn(2, 1, 5, 6) * 4
    cost = functional.binary_cross_entropy_with_logits
    total, parts = discriminator_loss("cross-entropy", real, fake)
    torch.testing.assert_close(parts["d_real"], cost(real, torch.ones_like(real)))
    torch.testing.assert_close(parts["d_fake"], cost(fake, torch.zeros_like(fake)))
    torch.testing.assert_close(total, parts["d_real"] + parts["d_fake"])
    torch.testing.assert_close(generator_loss("cross-entropy", fake), cost(fake, torch.ones_like(fake)))


def test_mean_squared_error_is_the_distance_to_the_labels() -> None:
    real, fake = torch.randn(2, 1, 5, 6), torch.randn(2, 1, 5, 6)
    _, parts = discriminator_loss("mean-squared-error", real, fake)
    torch.testing.assert_close(parts["d_real"], functional.mse_loss(real, torch.ones_like(real)))
    torch.testing.assert_close(parts["d_fake"], functional.mse_loss(fake, torch.zeros_like(fake)))
    torch.testing.assert_close(
        generator_loss("mean-squared-error", fake), functional.mse_loss(fake, torch.ones_like(fake))
    )


def test_extreme_scores_stay_finite_in_16_bit() -> None:
    scores = torch.tensor([-3e4, 3e4], dtype=torch.bfloat16)
    for kind in KINDS:
        total, _ = discriminator_loss(kind, scores, -scores)
        assert total.dtype == torch.float32 and torch.isfinite(total)


def test_the_penalty_of_a_linear_critic_is_known() -> None:
    weights = torch.randn(1, 2, 4, 5)
    penalty = gradient_penalty(lambda x: (x * weights).sum((1, 2, 3)), torch.randn(3, 2, 4, 5), torch.randn(3, 2, 4, 5))
    torch.testing.assert_close(penalty, (weights.norm() - 1) ** 2)


def test_the_penalty_is_taken_per_sample() -> None:
    # Samples of unlike gradient: a norm over the batch, or over one patch, would give another value.
    slopes = torch.tensor([1.0, 3.0]).reshape(2, 1, 1, 1)
    penalty = gradient_penalty(lambda x: (x * slopes).sum((1, 2, 3)), torch.randn(2, 1, 1, 1), torch.randn(2, 1, 1, 1))
    torch.testing.assert_close(penalty, torch.tensor((0.0 + 4.0) / 2))


def test_each_sample_lies_between_its_own_pair() -> None:
    seen: list[Tensor] = []

    def critic(between: Tensor) -> Tensor:
        seen.append(between.detach())
        return between.sum((1, 2, 3))

    real, fake = torch.rand(64, 1, 2, 2) + 1, -torch.rand(64, 1, 2, 2)
    gradient_penalty(critic, real, fake)
    share = (seen[0] - fake) / (real - fake)
    assert (share >= 0).all() and (share <= 1).all()
    torch.testing.assert_close(share, share[:, :, :1, :1].expand_as(share))  # one ε a sample
    assert share[:, 0, 0, 0].std() > 0.2, "ε differs between samples"


def test_the_penalty_trains_the_critic_and_nothing_else() -> None:
    weights = torch.full((1, 1, 2, 2), 3.0, requires_grad=True)
    fake = torch.randn(2, 1, 2, 2, requires_grad=True)
    gradient_penalty(lambda x: (x * weights).sum((1, 2, 3)), torch.randn(2, 1, 2, 2), fake).backward()
    assert fake.grad is None
    expected = 2 * (6.0 - 1) * weights.detach() / 6.0  # d(‖w‖ − 1)²/dw, ‖w‖ = 6
    torch.testing.assert_close(weights.grad, expected)


def test_a_critic_without_slope_has_a_finite_gradient() -> None:
    weights = torch.zeros(1, requires_grad=True)
    gradient_penalty(
        lambda x: (x * weights).sum((1, 2, 3)), torch.randn(2, 1, 2, 2), torch.randn(2, 1, 2, 2)
    ).backward()
    assert weights.grad is not None and torch.isfinite(weights.grad).all()
