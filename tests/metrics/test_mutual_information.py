"""Normalised mutual information against scikit-image and against known distributions."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage.metrics import normalized_mutual_information

from transmodal.metrics.mutual_information import nmi

KINDS = [np.uint8, np.int16, np.uint16, np.float64]


def pair(kind: type, shape: tuple[int, ...], seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """An image and a noisy function of it, in other units and with other contrast."""
    generator = np.random.default_rng(seed)
    truth = generator.uniform(0, 100, shape)
    return (100 - truth + generator.normal(0, 9, shape).clip(-50, 50) + 50).astype(kind), truth.astype(kind)


@settings(max_examples=40, deadline=None)
@given(
    kind=st.sampled_from(KINDS),
    shape=st.lists(st.integers(3, 17), min_size=1, max_size=3),
    bins=st.integers(2, 130),
    seed=st.integers(0, 2**16),
)
def test_nmi_is_that_of_scikit_image(kind: type, shape: list[int], bins: int, seed: int) -> None:
    predicted, truth = pair(kind, tuple(shape), seed)
    if np.ptp(predicted) == 0 or np.ptp(truth) == 0:
        return
    # In double precision, in which the peer's edges do not depend on the type.
    expected = normalized_mutual_information(predicted.astype(np.float64), truth.astype(np.float64), bins=bins)
    assert nmi(predicted, truth, bins=bins) == pytest.approx(expected, abs=1e-12)


@settings(max_examples=60, deadline=None)
@given(low=st.floats(-1e3, 1e3), width=st.floats(1e-3, 1e3), bins=st.integers(2, 64), seed=st.integers(0, 99))
def test_values_on_an_edge_belong_to_the_bin_above_it(low: float, width: float, bins: int, seed: int) -> None:
    edges = np.linspace(low, low + width, bins + 1)
    values = np.concatenate([edges, np.nextafter(edges[1:-1], -np.inf), np.nextafter(edges[1:-1], np.inf)])
    other = np.random.default_rng(seed).permutation(values)
    # Counted here: the peer weighs counts by the widths of the bins, which differ where they are narrow.
    joint = np.histogram2d(values, other, bins=bins)[0] / values.size
    of_both, of_one, of_other = (
        -(shares[shares > 0] * np.log(shares[shares > 0])).sum()
        for shares in (joint, joint.sum(axis=0), joint.sum(axis=1))
    )
    assert nmi(values, other, bins=bins) == pytest.approx((of_one + of_other) / of_both, abs=1e-12)


def test_single_precision_is_binned_like_double() -> None:
    predicted, truth = (image.astype(np.float32) for image in pair(np.float64, (300, 300)))
    assert nmi(predicted, truth) == nmi(predicted.astype(np.float64), truth.astype(np.float64))


def test_a_mask_leaves_out_what_lies_outside_even_its_range() -> None:
    predicted, truth = pair(np.float64, (90, 70))
    mask = np.random.default_rng(1).random(truth.shape) < 0.4
    expected = nmi(predicted[mask], truth[mask], bins=20)
    predicted[~mask], truth[~mask] = 1e6, np.nan
    assert nmi(predicted, truth, bins=20, mask=mask) == expected


def test_a_one_to_one_map_keeps_all_information_and_independence_none() -> None:
    _, truth = pair(np.float64, (400, 400))
    assert nmi(5 - 3 * truth, truth) == pytest.approx(2.0, abs=1e-12)
    independent = np.random.default_rng(9).permutation(truth.ravel()).reshape(truth.shape)
    assert nmi(independent, truth, bins=8) == pytest.approx(1.0, abs=1e-3)


@pytest.mark.parametrize("constant", ["predicted", "truth"])
def test_a_constant_image_tells_nothing_of_the_other(constant: str) -> None:
    images = {"predicted": np.arange(16.0).reshape(4, 4), "truth": np.eye(4)} | {constant: np.ones((4, 4))}
    assert nmi(**images) == 1.0
    assert nmi(np.arange(16.0).reshape(4, 4), np.eye(4), mask=np.eye(4, dtype=bool)) == 1.0  # constant in the mask


def test_two_bins_follow_the_closed_form() -> None:
    truth = np.array([0, 0, 0, 1, 1, 1, 1, 1])
    predicted = np.array([0, 0, 1, 1, 1, 1, 1, 0])
    shares = np.array([2, 1, 1, 4]) / 8  # of 00, 01, 10 and 11
    entropy = -(shares * np.log(shares)).sum()
    margin = -(3 / 8 * np.log(3 / 8) + 5 / 8 * np.log(5 / 8))
    assert nmi(predicted, truth, bins=2) == pytest.approx(2 * margin / entropy, abs=1e-12)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"predicted": np.ones((4, 4)), "truth": np.zeros((4, 4))}, "both images are constant"),
        ({"truth": np.where(np.eye(4) > 0, np.nan, 1.0)}, "truth holds NaN"),
        ({"predicted": np.where(np.eye(4) > 0, np.inf, 1.0)}, "predicted holds NaN"),
        ({"mask": np.zeros((4, 4), bool)}, "selects no pixel"),
        ({"predicted": np.ones((3, 4))}, "different shapes"),
        ({"bins": 1}, "2 to 4096"),
        ({"bins": 10.0}, "2 to 4096"),
        ({"bins": True}, "2 to 4096"),
        ({"bins": 5000}, "2 to 4096"),
        ({"truth": 1.0 + np.eye(4) * 2.3e-16}, "too little for 64 bins"),
    ],
)
def test_wrong_arguments_are_refused_in_one_line(change: dict, message: str) -> None:
    arguments = {"predicted": np.arange(16.0).reshape(4, 4), "truth": np.eye(4)} | change
    with pytest.raises(ValueError, match=message) as refusal:
        nmi(arguments.pop("predicted"), arguments.pop("truth"), **arguments)
    assert "\n" not in str(refusal.value)
