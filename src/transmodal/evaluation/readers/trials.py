"""Which item a reader sees when, and on which side: seeded, balanced, with repeats at a distance.

Nothing here knows what is real: an item is a tuple of opaque image names with a case and a group to balance over.
"""

import hashlib
import hmac
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import numpy as np

ReadersSee = Literal["all", "one"]

_FARTHEST = 20  # trials between a repeat and the first time, where the study is long enough
_ATTEMPTS = 50  # draws of the repeats before two presentations of one case may touch
_ADDRESS = 32  # hexadecimal digits


@dataclass(frozen=True)
class Item:
    """What one trial shows.

    Attributes:
        case: items of one case are kept apart.
        group: what sides and repeats are balanced over: the system, or the pair of systems.
        images: opaque names of one image, or of two.
    """

    case: str
    group: str
    images: tuple[str, ...]


@dataclass(frozen=True)
class Trial:
    """One presentation.

    Attributes:
        item: its place in the study's list of items.
        images: opaque names in the order of the screen, from the left.
        repeat: 0 at the first time, 1 at the second.
    """

    item: int
    images: tuple[str, ...]
    repeat: int = 0


def plan_trials(
    items: Sequence[Item],
    turns: Sequence[Sequence[int]],
    *,
    seed: int,
    reader: int,
    repeats: float = 0.0,
    readers_see: ReadersSee = "all",
) -> list[Trial]:
    """Plan what one reader sees.

    Every group lies on the left as often as on the right (±1), and so does the whole. Items of one case never follow
    one another unless fifty draws find no other order. A repeat comes at least min(20, a third of the study) trials
    after the first time, with the sides exchanged, and repeats are drawn evenly from the groups.

    Args:
        items: of the study.
        turns: for each case the items from which one is taken when a reader sees one version of a case; readers
            take turns.
        seed: of the study.
        reader: number of the reader, from 0; with the seed it settles the plan.
        repeats: share of the items that are shown a second time, 0 to 1.
        readers_see: "all" items, or "one" version of each case.

    Returns:
        The trials in their order.
    """
    generator = np.random.default_rng([seed, reader])
    chosen = list(range(len(items))) if readers_see == "all" else _one_a_case(turns, seed, reader)
    order = _apart([items[index].case for index in chosen], generator)
    order = [chosen[place] for place in order]
    swapped = _balanced_sides(items, order, generator, reader)
    shown = [(index, 0) for index in order]
    shown = _with_repeats(shown, items, round(repeats * len(order)), generator)
    return [
        Trial(index, items[index].images[:: -1 if swapped[index] ^ bool(repeat) else 1], repeat)
        for index, repeat in shown
    ]


def address(secret: bytes, reader: str, trial: int, position: str) -> str:
    """Return the address of one image of one presentation: unlike any other, and without meaning to who lacks the key.

    Args:
        secret: of the study's key.
        reader: name.
        trial: number.
        position: "0" for the left or only image, "1" for the right one, "reference".
    """
    message = "\0".join(("image", reader, str(trial), position)).encode()
    return hmac.new(secret, message, hashlib.sha256).hexdigest()[:_ADDRESS]


def personal_token(secret: bytes, reader: str) -> str:
    """Return the token of a reader's own link."""
    return hmac.new(secret, f"link\0{reader}".encode(), hashlib.sha256).hexdigest()[:_ADDRESS]


def _one_a_case(turns: Sequence[Sequence[int]], seed: int, reader: int) -> list[int]:
    # One permutation for all readers: only then do turns make the next reader see the next version of each case.
    ranks = np.random.default_rng(seed).permutation(len(turns))
    return [versions[(int(rank) + reader) % len(versions)] for versions, rank in zip(turns, ranks, strict=True)]


def _apart(cases: Sequence[str], generator: np.random.Generator) -> list[int]:
    """Return places in a random order in which equal cases do not touch, as far as that is possible."""
    waiting = [int(place) for place in generator.permutation(len(cases))]
    left = Counter(cases)
    order: list[int] = []
    last = None
    while waiting:
        # A case that fills half of what is left must come now, or it will end beside itself.
        pressing = {case for case, count in left.most_common(2) if count * 2 > len(waiting)}
        allowed = [place for place in waiting if cases[place] != last]
        first = next((place for place in allowed if cases[place] in pressing), (allowed or waiting)[0])
        waiting.remove(first)
        left[cases[first]] -= 1
        order.append(first)
        last = cases[first]
    return order


def _balanced_sides(
    items: Sequence[Item], order: Sequence[int], generator: np.random.Generator, reader: int
) -> dict[int, bool]:
    """Say of each item whether its images change sides: every second one of its group, and so of the whole."""
    by_group: dict[str, list[int]] = {}
    for index in sorted(order):
        by_group.setdefault(items[index].group, []).append(index)
    swapped: dict[int, bool] = {}
    turn = bool(reader % 2)
    for group in sorted(by_group):
        for place in generator.permutation(len(by_group[group])):
            swapped[by_group[group][place]] = turn
            turn = not turn
    return swapped


def _with_repeats(
    once: Sequence[tuple[int, int]], items: Sequence[Item], count: int, generator: np.random.Generator
) -> list[tuple[int, int]]:
    """Return the order with second presentations in it.

    In a small study a repeat may find no place that is late enough and away from its own case; other draws then do.
    """
    best: list[tuple[int, int]] = []
    fewest = len(items) + count
    for _ in range(_ATTEMPTS):
        shown = _insert_repeats(once, items, count, generator)
        cases = [items[index].case for index, _ in shown]
        touching = sum(before == after for before, after in pairwise(cases))
        if touching < fewest:
            best, fewest = shown, touching
        if not touching:
            break
    return best


def _insert_repeats(
    once: Sequence[tuple[int, int]], items: Sequence[Item], count: int, generator: np.random.Generator
) -> list[tuple[int, int]]:
    shown = list(once)
    order = [index for index, _ in shown]
    distance = min(_FARTHEST, len(order) // 3)
    for index in _to_repeat(order[: len(order) - distance] if distance else order, items, count, generator):
        earliest = shown.index((index, 0)) + distance + 1
        places = [int(place) for place in earliest + generator.permutation(len(shown) + 1 - earliest)]
        case = items[index].case
        free = (
            place
            for place in places
            if all(items[other].case != case for other, _ in shown[max(0, place - 1) : place + 1])
        )
        shown.insert(next(free, places[0]), (index, 1))
    return shown


def _to_repeat(early: Sequence[int], items: Sequence[Item], count: int, generator: np.random.Generator) -> list[int]:
    """Draw items to be repeated, one from each group in turn."""
    by_group: dict[str, list[int]] = {}
    for place in generator.permutation(len(early)):
        by_group.setdefault(items[early[place]].group, []).append(early[place])
    groups = [by_group[name] for name in sorted(by_group)]
    generator.shuffle(groups)
    drawn = [group[turn] for turn in range(max(map(len, groups), default=0)) for group in groups if turn < len(group)]
    return drawn[:count]
