"""The weighted sum is the sum of its weighted terms, and names them."""

import pytest
import torch

from transmodal.losses.combined import TERMS, combined


def test_the_total_is_the_weighted_sum_of_the_named_terms() -> None:
    generator = torch.Generator().manual_seed(0)
    target = torch.rand(2, 1, 16, 16, generator=generator) * 2 - 1
    predicted = target + 0.2 * torch.randn(target.shape, generator=generator)
    weights = torch.rand(target.shape, generator=generator)
    factors = {name: 0.5 + number for number, name in enumerate(TERMS)}
    total, parts = combined(factors, predicted, target, weights)
    assert list(parts) == list(TERMS)
    for name, term in TERMS.items():
        torch.testing.assert_close(parts[name], term(predicted, target, weights))
    torch.testing.assert_close(total, sum(factors[name] * parts[name] for name in TERMS))


def test_terms_of_factor_zero_are_not_computed() -> None:
    small = torch.zeros(1, 1, 4, 4)  # SSIM would refuse it
    total, parts = combined({"mae": 2.0, "ssim": 0.0}, small + 1, small)
    assert list(parts) == ["mae"] and total == 2
    _, parts = combined({"euclidean": 1.0}, small + 1, small, euclidean_free_of_size=True)
    assert parts["euclidean"] == 1


@pytest.mark.parametrize("factors", [{}, {"mae": 0.0}, {"mea": 1.0}])
def test_no_term_and_unknown_terms_are_refused(factors: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="needs a factor above 0 for some of mae"):
        combined(factors, torch.zeros(1, 1, 4, 4), torch.zeros(1, 1, 4, 4))
