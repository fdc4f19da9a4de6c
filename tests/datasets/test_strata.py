"""Strata by size: areas in mm², equal draws, and the same order for the same epoch."""

import numpy as np
import pytest
from pydantic import ValidationError

from transmodal.datasets.epochs import EpochSampler
from transmodal.datasets.strata import EMPTY, StrataSettings, lesion_area, size_names, stratified_order, stratum_of


def test_areas_are_in_square_millimetres() -> None:
    labels = np.zeros((10, 10), np.uint8)
    labels[2:5, 2:6] = 2
    labels[0, 0] = 1
    assert lesion_area(labels, {2}, (0.5, 2.0)) == 12
    assert lesion_area(labels, None, None) == 13


def test_of_a_volume_the_fullest_axial_slice_counts() -> None:
    labels = np.zeros((6, 6, 4), np.uint8)
    labels[1:3, 1:3, 1] = 1
    labels[1:4, 1:4, 2] = 1
    assert lesion_area(labels, None, (2.0, 2.0, 5.0)) == 36


def test_both_edges_belong_to_the_middle_stratum() -> None:
    areas = (0, 1e-9, 49.9, 50, 99, 100, 100.1, 1000)
    assert [stratum_of(area, (50, 100)) for area in areas] == [EMPTY, 0, 0, 1, 1, 1, 2, 2]
    assert size_names((50, 100)) == ["< 50", "50 to 100", "> 100"]
    assert [stratum_of(area, (50, 100, 200)) for area in (50, 100, 200, 201)] == [1, 2, 2, 3]
    assert size_names((50, 100, 200)) == ["< 50", "50 to 100", "100 to 200", "> 200"]
    assert [stratum_of(area, (50,)) for area in (49, 50, 51)] == [0, 1, 1] and size_names((50,)) == ["< 50", "≥ 50"]
    assert stratum_of(7.0, ()) == 0 and size_names(()) == ["any size"]


def test_areas_that_differ_by_rounding_are_of_one_stratum() -> None:
    area = lesion_area(np.ones((100, 100), np.uint8), None, (0.1, 0.1))
    assert area > 100 and stratum_of(area, (50, 100)) == 1
    assert [stratum_of(area, (50, 100)) for area in (49.99999999999999, 100.00000000000001)] == [1, 1]


def test_every_stratum_comes_equally_often_and_every_member_of_it() -> None:
    strata = np.array([0] * 3 + [1] * 30 + [2] * 60 + [EMPTY] * 7)
    counts = np.zeros(100)
    for epoch in range(30):
        order = stratified_order(strata, np.random.default_rng([0, epoch]))
        assert len(order) == 100
        drawn = strata[order]
        assert (drawn == EMPTY).sum() == 7 and {int((drawn == one).sum()) for one in range(3)} == {31}
        assert np.ptp(np.bincount(order, minlength=100)[:3]) <= 1
        counts += np.bincount(order, minlength=100)
    assert counts.min() > 0


def test_samples_without_a_lesion_can_be_had_more_often_or_not_at_all() -> None:
    strata = np.array([0] * 10 + [1] * 10 + [EMPTY] * 80)
    generator = np.random.default_rng(0)
    assert (strata[stratified_order(strata, generator, 0.25)] == EMPTY).sum() == 25
    assert (strata[stratified_order(strata, generator, 0.0)] == EMPTY).sum() == 0
    nothing = np.full(5, EMPTY)
    np.testing.assert_array_equal(np.sort(stratified_order(nothing, generator, 0.0)), np.arange(5))


def test_the_sampler_draws_the_same_order_for_the_same_epoch_and_only_then() -> None:
    strata = np.array([0] * 2 + [1] * 14)

    def epoch(number: int) -> list[int]:
        sampler = EpochSampler(16, 4, seed=1, strata=strata)
        sampler.start(number)
        return [index for batch in sampler for _, index in batch]

    assert epoch(3) == epoch(3) != epoch(4)
    assert sum(index < 2 for index in epoch(3)) == 8


@pytest.mark.parametrize("edges", [[], [100, 50], [50, 50], [0, 10]])
def test_edges_must_rise(edges: list[float]) -> None:
    with pytest.raises(ValidationError):
        StrataSettings.model_validate({"edges": edges})
