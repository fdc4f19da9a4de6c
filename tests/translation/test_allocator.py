"""Freed memory is kept while a network runs, and given back when the last who asked for it has ended."""

import ctypes
import sys
import threading

import pytest

from transmodal.translation import allocator
from transmodal.translation.allocator import freed_memory_given_back, freed_memory_kept, give_back_freed


class _Library:
    """What glibc is told."""

    def __init__(self) -> None:
        self.thresholds: dict[int, int] = {}
        self.trims = 0

    def mallopt(self, name: int, value: int) -> None:
        self.thresholds[name] = value

    def malloc_trim(self, _: int) -> None:
        self.trims += 1


@pytest.fixture
def library(monkeypatch: pytest.MonkeyPatch) -> _Library:
    told = _Library()
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(ctypes, "CDLL", lambda _: told)
    return told


def test_memory_is_kept_until_the_last_block_ends_even_by_an_error(library: _Library) -> None:
    with pytest.raises(KeyError), freed_memory_kept():
        with freed_memory_kept():
            pass
        assert set(library.thresholds.values()) == {allocator.KEPT} and library.trims == 0
        other = freed_memory_kept()
        thread = threading.Thread(target=other.__enter__)
        thread.start()
        thread.join()
        other.__exit__(None, None, None)
        assert library.trims == 0
        raise KeyError
    assert max(library.thresholds.values()) == 2 * allocator.USUAL and library.trims == 1


def test_a_bound_goes_before_speed(library: _Library) -> None:
    with freed_memory_kept():
        with freed_memory_given_back():
            assert set(library.thresholds.values()) == {allocator.GIVEN_BACK} and library.trims == 1
            with freed_memory_kept():
                assert set(library.thresholds.values()) == {allocator.GIVEN_BACK}
        assert set(library.thresholds.values()) == {allocator.KEPT}
    assert set(library.thresholds.values()) == {allocator.USUAL, 2 * allocator.USUAL} and library.trims == 2


def test_without_glibc_nothing_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ctypes, "CDLL", lambda _: object())
    give_back_freed()
    with freed_memory_kept(), freed_memory_given_back():
        assert allocator._keepers == 0
