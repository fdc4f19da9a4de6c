"""Mean and standard deviation over passes and members, and test-time flips."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from transmodal.translation.uncertainty import spread_of_passes, spread_over, with_flips


def test_mean_and_deviation_are_those_of_the_stack_even_far_from_zero() -> None:
    values = 1000 + torch.rand(7, 2, 5, 6, generator=torch.Generator().manual_seed(0))
    spread = spread_over({"t2": one} for one in values)
    exact = values.double()
    assert spread.passes == 7
    torch.testing.assert_close(spread.mean["t2"].double(), exact.mean(0), rtol=0, atol=2e-4)
    torch.testing.assert_close(spread.sd["t2"].double(), exact.std(0), rtol=0, atol=2e-4)


def test_arrays_are_taken_and_inputs_left_alone() -> None:
    first, second = np.zeros((1, 3), np.float32), np.full((1, 3), 2, np.float32)
    spread = spread_over([{"x": first}, {"x": second}])
    assert spread.mean["x"].tolist() == [[1, 1, 1]]
    assert spread.sd["x"][0, 0].item() == pytest.approx(2**0.5)
    assert not first.any() and (second == 2).all()


def test_one_pass_has_no_spread_and_members_must_agree_on_targets() -> None:
    with pytest.raises(ValueError, match="two"):
        spread_over([{"x": torch.zeros(1)}])
    with pytest.raises(ValueError, match="no common"):
        spread_over([{"x": torch.zeros(1)}, {"y": torch.zeros(1)}])


def test_dropout_gives_a_spread_that_the_seed_fixes_and_the_generator_is_left_where_it_was() -> None:
    network = nn.Sequential(nn.Dropout(0.5)).train()
    source = torch.cat([torch.ones(1, 1, 8, 8), torch.zeros(1, 1, 8, 8)], dim=1)

    def translate() -> dict[str, Tensor]:
        return {"x": network(source)}

    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    spread = spread_of_passes(translate, 200, seed=1)
    assert torch.equal(before, torch.random.get_rng_state())
    again = spread_of_passes(translate, 200, seed=1)
    assert torch.equal(spread.sd["x"], again.sd["x"])
    assert not torch.equal(spread.mean["x"], spread_of_passes(translate, 200, seed=900).mean["x"])
    # Values are 0 or 2, each half of the time: mean 1 and deviation 1; of the zeros, 0.
    assert spread.mean["x"][:, 0].mean().item() == pytest.approx(1, abs=0.03)
    assert spread.sd["x"][:, 0].mean().item() == pytest.approx(1, abs=0.02)
    assert spread.sd["x"][:, 1].abs().max() == 0


def test_flips_leave_an_even_network_alone_and_cancel_what_is_one_sided() -> None:
    source = torch.rand(2, 1, 6, 7, 5, generator=torch.Generator().manual_seed(0))
    ramp = torch.linspace(-1, 1, 7).view(1, 1, 1, 7, 1)

    def leaning(pieces: Tensor) -> dict[str, Tensor]:
        return {"a": pieces + ramp, "b": pieces}

    torch.testing.assert_close(with_flips(leaning, [0])(source)["a"], source + ramp)
    flat = with_flips(leaning, [0, 1, 2])(source)
    torch.testing.assert_close(flat["a"], source, rtol=0, atol=1e-6)
    torch.testing.assert_close(flat["b"], source, rtol=0, atol=1e-6)


def test_all_combinations_of_axes_are_taken_and_outputs_are_not_written_into() -> None:
    seen: list[Tensor] = []

    def keep(pieces: Tensor) -> dict[str, Tensor]:
        seen.append(pieces.clone())
        return {"a": source}

    source = torch.arange(4.0).view(1, 1, 2, 2)
    with_flips(keep, [0, 1])(source)
    assert {tuple(each.flatten().tolist()) for each in seen} == {
        (0, 1, 2, 3), (2, 3, 0, 1), (1, 0, 3, 2), (3, 2, 1, 0)
    }  # fmt: skip
    assert torch.equal(source, torch.arange(4.0).view(1, 1, 2, 2))
    with pytest.raises(ValueError, match="twice"):
        with_flips(keep, [1, 1])
