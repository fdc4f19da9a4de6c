"""Adversarial losses of conditional GANs, as pure functions of the discriminator's scores.

Sources: Goodfellow et al. 2014 (cross-entropy), Mao et al. 2017 (least squares), Arjovsky et al. 2017 (Wasserstein),
Gulrajani et al. 2017 (gradient penalty), as applied to pix2pix by Fysikopoulos et al., J Imaging 7(12):262, 2021.
"""

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

AdversarialLoss = Literal["cross-entropy", "mean-squared-error", "wgan-gp", "wgan-noconstraint"]
"""`wgan-noconstraint` is the Wasserstein loss without any Lipschitz constraint, as some public pix2pix code runs it:
kept to replicate results made so, not to be recommended."""

Losses = tuple[Tensor, dict[str, Tensor]]


def discriminator_loss(kind: AdversarialLoss, real_scores: Tensor, fake_scores: Tensor) -> Losses:
    """Loss of the discriminator (critic); lower when real scores rise and fake scores fall.

    Args:
        kind: which loss.
        real_scores: any shape, unbounded scores (no sigmoid) of real pairs.
        fake_scores: the same for generated pairs; the caller detaches the generator.

    Returns:
        The sum and its parts `d_real`, `d_fake`.
    """
    real, fake = real_scores.float(), fake_scores.float()
    if kind == "cross-entropy":
        d_real = functional.softplus(-real).mean()  # −log sigmoid(real)
        d_fake = functional.softplus(fake).mean()  # −log(1 − sigmoid(fake))
    elif kind == "mean-squared-error":
        d_real = (real - 1).square().mean()
        d_fake = fake.square().mean()
    else:
        d_real, d_fake = -real.mean(), fake.mean()
    return d_real + d_fake, {"d_real": d_real, "d_fake": d_fake}


def generator_loss(kind: AdversarialLoss, fake_scores: Tensor) -> Tensor:
    """Adversarial loss of the generator (non-saturating for cross-entropy); lower when fake scores rise."""
    fake = fake_scores.float()
    if kind == "cross-entropy":
        return functional.softplus(-fake).mean()
    if kind == "mean-squared-error":
        return (fake - 1).square().mean()
    return -fake.mean()


def gradient_penalty(critic: Callable[[Tensor], Tensor], real: Tensor, fake: Tensor) -> Tensor:
    """E[(‖∇ D(x̂)‖₂ − 1)²] at x̂ = ε·real + (1 − ε)·fake, ε uniform per sample (Gulrajani et al. 2017, eq. 3).

    In a conditional GAN only the target is interpolated: bind the source image inside `critic`.

    Args:
        critic: maps (N, C, *spatial) to scores; must not normalise over the batch.
        real, fake: (N, C, *spatial), same shape.
    """
    shape = (real.shape[0], *(1 for _ in real.shape[1:]))
    epsilon = torch.rand(shape, device=real.device, dtype=real.dtype)
    between = (epsilon * real + (1 - epsilon) * fake).detach().requires_grad_(True)
    (gradient,) = torch.autograd.grad(critic(between).sum(), between, create_graph=True)
    norm = gradient.flatten(1).norm(dim=1)
    return (norm - 1).square().mean()
