"""The running mean of a method's weights, which translates better than the weights of any one step.

Polyak and Juditsky, "Acceleration of stochastic approximation by averaging", 1992; in exponential form, as GANs use it.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn


class WeightAverage:
    """Exponential running mean of the floating-point state of a module.

    Args:
        module: its present weights are where the mean starts.
        memory: share of the old mean that a step keeps, below 1; less in the first steps, so that the random
            beginning does not stay in it.
    """

    def __init__(self, module: nn.Module, memory: float) -> None:
        self.memory, self.steps = memory, 0
        self.mean = {name: value.detach().clone() for name, value in _floats(module).items()}

    @torch.no_grad()
    def update(self, module: nn.Module) -> None:
        """Take the weights of a step into the mean."""
        self.steps += 1
        share = 1 - min(self.memory, (1 + self.steps) / (10 + self.steps))
        present = _floats(module)
        torch._foreach_lerp_(list(self.mean.values()), [present[name] for name in self.mean], share)

    @contextmanager
    def used_in(self, module: nn.Module) -> Iterator[None]:
        """Put the mean into the module for a while; its own weights come back afterwards."""
        own = {name: value.detach().clone() for name, value in _floats(module).items()}
        _copy(self.mean, module)
        try:
            yield
        finally:
            _copy(own, module)

    def state(self) -> dict[str, object]:
        """Return what a checkpoint holds."""
        return {"steps": self.steps, "mean": self.mean}

    def load(self, state: dict[str, object]) -> None:
        """Take up a checkpoint's state."""
        mean, steps = state["mean"], state["steps"]
        assert isinstance(mean, dict) and isinstance(steps, int)
        self.steps = steps
        for name, value in self.mean.items():
            value.copy_(mean[name])


def _floats(module: nn.Module) -> dict[str, Tensor]:
    return {name: value for name, value in module.state_dict().items() if value.is_floating_point()}


@torch.no_grad()
def _copy(values: dict[str, Tensor], module: nn.Module) -> None:
    for name, own in _floats(module).items():
        own.copy_(values[name])
