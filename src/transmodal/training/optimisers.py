"""The optimiser of one module: Adam, or gradient descent with momentum whose steps are bounded."""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch.nn import Parameter
from torch.optim import Optimizer

from transmodal.methods.method import AdamSettings, SgdSettings


def make_optimiser(parameters: Iterable[Parameter], settings: AdamSettings | SgdSettings) -> Optimizer:
    """Return the optimiser that the settings describe."""
    if isinstance(settings, SgdSettings):
        return BoundedDescent(parameters, settings)
    return torch.optim.Adam(
        parameters,
        lr=settings.learning_rate,
        betas=settings.betas,
        weight_decay=settings.weight_decay,
        fused=True,
    )


class BoundedDescent(Optimizer):
    """Momentum v ← m·v + g + d·w and step w ← w − clip(lr·v, ±largest step), weight by weight.

    What bounds the step, and not the gradient, is how FBPConvNet's public code (Jin et al. 2017) clips at 1e-2.

    Args:
        parameters: to optimise.
        settings: learning rate, momentum m, weight decay d and the largest step.
    """

    def __init__(self, parameters: Iterable[Parameter], settings: SgdSettings) -> None:
        super().__init__(parameters, {"lr": settings.learning_rate})
        self.settings = settings

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> None:  # type: ignore[override]
        """Move every weight that has a gradient."""
        assert closure is None
        for group in self.param_groups:
            weights = [weight for weight in group["params"] if weight.grad is not None]
            if not weights:
                continue
            for weight in weights:
                if "momentum" not in self.state[weight]:
                    self.state[weight]["momentum"] = torch.zeros_like(weight)
            speeds = [self.state[weight]["momentum"] for weight in weights]
            torch._foreach_mul_(speeds, self.settings.momentum)
            torch._foreach_add_(speeds, [weight.grad for weight in weights])
            if self.settings.weight_decay:
                torch._foreach_add_(speeds, weights, alpha=self.settings.weight_decay)
            steps = torch._foreach_mul(speeds, group["lr"])
            if self.settings.largest_step is not None:
                torch._foreach_clamp_max_(steps, self.settings.largest_step)
                torch._foreach_clamp_min_(steps, -self.settings.largest_step)
            torch._foreach_sub_(weights, steps)
