"""Optimisers: momentum is torch's where no step is bounded, and the bound holds weight by weight."""

import copy

import pytest
import torch
from torch import nn

from transmodal.methods.method import AdamSettings, SgdSettings
from transmodal.training.optimisers import BoundedDescent, make_optimiser


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 1))


def steps(module: nn.Module, optimiser: torch.optim.Optimizer, number: int, first: int = 0) -> None:
    for step in range(first, first + number):
        inputs = torch.randn(16, 4, generator=torch.Generator().manual_seed(step))
        (module(inputs) - inputs.sum(1, keepdim=True)).square().mean().backward()
        optimiser.step()
        optimiser.zero_grad()


@pytest.mark.parametrize("decay", [0.0, 0.1])
def test_without_a_bound_it_is_gradient_descent_with_momentum(decay: float) -> None:
    ours, theirs = network(), network()
    settings = SgdSettings(learning_rate=0.01, momentum=0.9, weight_decay=decay, largest_step=None)
    steps(ours, make_optimiser(ours.parameters(), settings), 8)
    steps(theirs, torch.optim.SGD(theirs.parameters(), 0.01, 0.9, weight_decay=decay), 8)
    for mine, theirs_ in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(mine, theirs_)


def test_no_weight_moves_further_than_the_bound_and_momentum_is_kept() -> None:
    module = network()
    before = copy.deepcopy(module)
    optimiser = make_optimiser(module.parameters(), SgdSettings(learning_rate=1.0, momentum=0.5, largest_step=1e-3))
    steps(module, optimiser, 1)
    moved = [(a - b).abs().detach() for a, b in zip(module.parameters(), before.parameters(), strict=True)]
    assert max(float(m.max()) for m in moved) <= 1.001e-3 and float(moved[0].max()) > 0.999e-3
    speeds = [state["momentum"].abs().max() for state in optimiser.state.values()]
    assert max(speeds) > 0.01, "it is the step that is bounded, not the momentum"


def test_a_resumed_descent_goes_on_as_an_unbroken_one() -> None:
    unbroken, settings = network(), SgdSettings(learning_rate=0.01, largest_step=1e-3)
    steps(unbroken, make_optimiser(unbroken.parameters(), settings), 6)
    module = network()
    optimiser = make_optimiser(module.parameters(), settings)
    steps(module, optimiser, 3)
    resumed = make_optimiser(module.parameters(), settings)
    resumed.load_state_dict(copy.deepcopy(optimiser.state_dict()))
    steps(module, resumed, 3, first=3)
    assert all(torch.equal(a, b) for a, b in zip(module.parameters(), unbroken.parameters(), strict=True))


def test_settings_choose_the_optimiser() -> None:
    assert isinstance(make_optimiser(network().parameters(), SgdSettings()), BoundedDescent)
    adam = make_optimiser(network().parameters(), AdamSettings(learning_rate=3e-4, betas=(0.1, 0.2), weight_decay=0.3))
    assert isinstance(adam, torch.optim.Adam)
    assert (adam.defaults["lr"], adam.defaults["betas"], adam.defaults["weight_decay"]) == (3e-4, (0.1, 0.2), 0.3)
