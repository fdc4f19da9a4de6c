"""The learning rate: constant, then in a line to zero."""

import pytest

from transmodal.training.schedule import rate_factor


@pytest.mark.parametrize(("progress", "factor"), [(0, 1), (0.5, 1), (0.75, 0.5), (0.9, 0.2), (1, 0), (1.2, 0)])
def test_half_constant_then_linear_to_zero(progress: float, factor: float) -> None:
    assert rate_factor(progress, 0.5) == pytest.approx(factor)


@pytest.mark.parametrize("progress", [0.0, 1.0, 1.001])
def test_a_constant_rate_stays_even_past_the_end(progress: float) -> None:
    assert rate_factor(progress, 1.0) == 1.0


def test_linear_from_the_start() -> None:
    assert [rate_factor(progress, 0.0) for progress in (0, 0.25, 1)] == [1, 0.75, 0]
