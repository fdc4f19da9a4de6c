"""Plans of trials: balance, distance, turns, and what the same seed gives."""

from collections import Counter
from itertools import pairwise

import hypothesis.strategies as st
from hypothesis import given, settings

from transmodal.evaluation.readers.trials import Item, Trial, address, personal_token, plan_trials


def paired_items(cases: int, groups: int) -> list[Item]:
    return [
        Item(f"case{case}", f"group{group}", (f"a{case}_{group}", f"b{case}_{group}"))
        for case in range(cases)
        for group in range(groups)
    ]


def turns_of(items: list[Item]) -> list[list[int]]:
    cases = list(dict.fromkeys(item.case for item in items))
    return [[place for place, item in enumerate(items) if item.case == case] for case in cases]


def is_swapped(trial: Trial) -> bool:
    return trial.images[0].startswith("b")


studies = st.tuples(st.integers(2, 12), st.integers(1, 4), st.integers(0, 2**63 - 1), st.integers(0, 5))


@settings(max_examples=60, deadline=None)
@given(studies, st.floats(0, 0.5))
def test_every_item_comes_once_and_repeats_come_again_later(study: tuple[int, int, int, int], share: float) -> None:
    cases, groups, seed, reader = study
    items = paired_items(cases, groups)
    plan = plan_trials(items, turns_of(items), seed=seed, reader=reader, repeats=share)
    first = [trial.item for trial in plan if not trial.repeat]
    again = [trial.item for trial in plan if trial.repeat]
    assert sorted(first) == list(range(len(items)))
    assert len(set(again)) == len(again) == round(share * len(items))
    for item in again:
        places = [place for place, trial in enumerate(plan) if trial.item == item]
        assert places[1] - places[0] > min(20, len(items) // 3)
        assert plan[places[0]].repeat == 0 and plan[places[1]].images == plan[places[0]].images[::-1]


@settings(max_examples=60, deadline=None)
@given(studies)
def test_sides_are_balanced_in_every_group_and_in_the_whole(study: tuple[int, int, int, int]) -> None:
    cases, groups, seed, reader = study
    items = paired_items(cases, groups)
    plan = plan_trials(items, turns_of(items), seed=seed, reader=reader)
    swaps = Counter((items[trial.item].group, is_swapped(trial)) for trial in plan)
    for group in {item.group for item in items}:
        assert abs(swaps[group, True] - swaps[group, False]) <= 1
    total = sum(is_swapped(trial) for trial in plan)
    assert abs(2 * total - len(plan)) <= 1


@settings(max_examples=60, deadline=None)
@given(studies, st.floats(0, 0.3))
def test_no_case_follows_itself(study: tuple[int, int, int, int], share: float) -> None:
    cases, groups, seed, reader = study
    items = paired_items(cases + 3, groups)
    plan = plan_trials(items, turns_of(items), seed=seed, reader=reader, repeats=share)
    shown = [items[trial.item].case for trial in plan]
    assert all(before != after for before, after in pairwise(shown))


def test_a_case_that_must_follow_itself_does_so() -> None:
    items = [Item("only", group, (group,)) for group in "ab"]
    assert len(plan_trials(items, [[0, 1]], seed=0, reader=0, repeats=0.5)) == 3


def test_repeats_are_drawn_evenly_from_the_groups() -> None:
    items = [Item(f"case{place // 2}", ("real", "made")[place % 2], (str(place),)) for place in range(80)]
    for seed in range(5):
        plan = plan_trials(items, turns_of(items), seed=seed, reader=0, repeats=0.2)
        assert Counter(items[trial.item].group for trial in plan if trial.repeat) == {"real": 8, "made": 8}


def test_a_seed_and_a_reader_settle_the_plan() -> None:
    items = paired_items(10, 2)
    plans = [
        plan_trials(items, turns_of(items), seed=seed, reader=reader, repeats=0.2)
        for seed, reader in ((3, 0), (3, 0), (3, 1), (4, 0))
    ]
    assert plans[0] == plans[1]
    assert plans[0] != plans[2] and plans[0] != plans[3]


def test_readers_take_turns_over_the_versions_of_a_case() -> None:
    items = paired_items(9, 3)
    seen = Counter(
        trial.item
        for reader in range(3)
        for trial in plan_trials(items, turns_of(items), seed=7, reader=reader, readers_see="one")
    )
    assert seen == dict.fromkeys(range(27), 1)
    plan = plan_trials(items, turns_of(items), seed=7, reader=0, readers_see="one")
    assert Counter(items[trial.item].group for trial in plan) == {"group0": 3, "group1": 3, "group2": 3}


def test_addresses_differ_by_all_that_they_stand_for() -> None:
    made = {
        address(secret, reader, trial, position)
        for secret in (b"a", b"b")
        for reader in ("ana", "ben")
        for trial in range(20)
        for position in ("0", "1", "reference")
    }
    assert len(made) == 2 * 2 * 20 * 3 and {len(each) for each in made} == {32}
    assert personal_token(b"a", "ana") != personal_token(b"b", "ana") != personal_token(b"b", "ben")
