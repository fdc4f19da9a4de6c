"""The store of answers: what is there after a kill, who may answer what, many at once."""

import os
import signal
import stat
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

import pytest

from transmodal.errors import UserError
from transmodal.evaluation.readers.store import Reader, Refused, Store
from transmodal.evaluation.readers.trials import Trial


def plan(number: int) -> Sequence[Trial]:
    return [Trial(item, (f"image{item}", f"other{number}"), 0) for item in range(3)]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "answers.sqlite", plan)


def test_a_plan_is_kept_whatever_later_versions_plan(store: Store) -> None:
    assert store.add_reader("ana") == Reader("ana", 0, False)
    assert store.add_reader(" ben ", simulated=True) == Reader("ben", 1, True)
    later = Store(store.path, lambda number: [])
    assert later.add_reader("ana").number == 0
    assert later.trials("ben") == plan(1) and later.trials("nobody") == []
    assert later.readers() == [Reader("ana", 0, False), Reader("ben", 1, True)]


def test_only_the_owner_can_read_the_file(store: Store) -> None:
    assert stat.S_IMODE(store.path.stat().st_mode) == 0o600


@pytest.mark.parametrize("name", ["", "  ", "x" * 61, "a\0b"])
def test_unsuitable_names_are_refused(store: Store, name: str) -> None:
    with pytest.raises(UserError, match="1 to 60 printable"):
        store.add_reader(name)


def test_a_person_and_a_program_have_different_names(store: Store) -> None:
    store.add_reader("ana")
    with pytest.raises(UserError, match="is a person"):
        store.add_reader("ana", simulated=True)


def test_answers_come_in_order_and_are_final(store: Store) -> None:
    store.add_reader("ana")
    with pytest.raises(Refused, match="not open yet"):
        store.record("ana", 1, {"": "left"}, seconds=1)
    store.record("ana", 0, {"realism": "4", "anatomy": "2"}, seconds=1.5, window=100, level=50, zoom=2)
    with pytest.raises(Refused, match="answers are final") as refused:
        store.record("ana", 0, {"realism": "1"}, seconds=1)
    assert refused.value.conflict
    assert [(each.question, each.answer, each.seconds) for each in store.answers()] == [
        ("realism", "4", 1.5),
        ("anatomy", "2", 1.5),
    ]
    store.record("ana", 1, {"": "left"}, seconds=0)
    store.record("ana", 2, {"": "left"}, seconds=0)
    assert store.next_trial("ana") is None
    with pytest.raises(Refused, match="finished"):
        store.record("ana", 3, {"": "left"}, seconds=0)


@pytest.mark.parametrize("numbers", [{"seconds": -1.0}, {"seconds": float("nan")}, {"seconds": 1.0, "zoom": 1e999}])
def test_senseless_numbers_are_refused(store: Store, numbers: dict[str, float]) -> None:
    store.add_reader("ana")
    with pytest.raises(Refused):
        store.record("ana", 0, {"": "left"}, **numbers)
    assert store.answers() == [] and store.next_trial("ana") == 0


def test_an_answer_outlives_a_kill(tmp_path: Path) -> None:
    code = (
        "import os, signal, sys\n"
        "from transmodal.evaluation.readers.store import Store\n"
        "from transmodal.evaluation.readers.trials import Trial\n"
        "store = Store(sys.argv[1], lambda number: [Trial(0, ('a',)), Trial(1, ('b',))])\n"
        "store.add_reader('ana')\n"
        "store.record('ana', 0, {'': 'real'}, seconds=2)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    path = tmp_path / "answers.sqlite"
    done = subprocess.run([sys.executable, "-c", code, str(path)], env=os.environ, timeout=60)
    assert done.returncode == -signal.SIGKILL
    store = Store(path, lambda number: [])
    assert [each.answer for each in store.answers()] == ["real"] and store.next_trial("ana") == 1


def test_of_two_tabs_one_answer_is_kept_and_many_readers_write_at_once(store: Store) -> None:
    names = [f"reader{number}" for number in range(6)]
    refused = []

    def read(name: str, answer: str) -> None:
        store.add_reader(name)
        for trial in range(3):
            try:
                store.record(name, trial, {"": answer}, seconds=1)
            except Refused:
                refused.append((name, trial))

    threads = [threading.Thread(target=read, args=(name, tab)) for name in names for tab in ("left", "right")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    answers = store.answers()
    assert len(answers) == len({(each.reader, each.trial) for each in answers}) == 18
    assert all(store.next_trial(name) is None for name in names)
    assert len(refused) >= 18 and sorted(reader.number for reader in store.readers()) == list(range(6))


def test_a_file_that_is_no_store_is_refused_in_one_line(tmp_path: Path) -> None:
    path = tmp_path / "answers.sqlite"
    path.write_text("nothing of the sort " * 100)
    with pytest.raises(UserError, match="Cannot use"):
        Store(path, plan)
