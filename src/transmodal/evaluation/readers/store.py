"""Where answers are kept: one SQLite file, every answer on the disk before the next image is shown.

The file knows opaque image names and what was pressed, never which image is real: that stands in the key alone. A
reader's plan is written when he is added, so that answers keep their images whatever a later version would plan.
"""

import math
import os
import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from transmodal.errors import UserError
from transmodal.evaluation.readers.trials import Trial

_LONGEST_NAME = 60
_PATIENCE = 30.0  # seconds to wait for another reader's answer to be written

_TABLES = """
CREATE TABLE IF NOT EXISTS readers (
    name TEXT PRIMARY KEY, number INTEGER NOT NULL UNIQUE, simulated INTEGER NOT NULL, added TEXT NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS trials (
    reader TEXT NOT NULL REFERENCES readers (name), trial INTEGER NOT NULL, item INTEGER NOT NULL,
    images TEXT NOT NULL, repeat INTEGER NOT NULL, PRIMARY KEY (reader, trial)
) STRICT;
CREATE TABLE IF NOT EXISTS answers (
    reader TEXT NOT NULL, trial INTEGER NOT NULL, question TEXT NOT NULL, answer TEXT NOT NULL,
    seconds REAL NOT NULL, window REAL, level REAL, zoom REAL, answered TEXT NOT NULL,
    PRIMARY KEY (reader, trial, question), FOREIGN KEY (reader, trial) REFERENCES trials (reader, trial)
) STRICT;
"""


class Refused(UserError):
    """An answer that cannot be taken; `conflict` when only because another one came first."""

    def __init__(self, message: str, *, conflict: bool = False) -> None:
        super().__init__(message)
        self.conflict = conflict


@dataclass(frozen=True)
class Reader:
    """One reader: name, number in the order of arrival from 0, and whether a program plays him."""

    name: str
    number: int
    simulated: bool


@dataclass(frozen=True)
class StoredAnswer:
    """One row: the trial, the question ("" where there is only one), the answer as it was pressed, the seconds."""

    reader: str
    trial: int
    question: str
    answer: str
    seconds: float


class Store:
    """The answers of one study. Safe for many threads and processes: each call is one transaction."""

    def __init__(self, path: str | Path, plan: Callable[[int], Sequence[Trial]]) -> None:
        """Open the file, or make it.

        Args:
            path: of the SQLite file.
            plan: number of a new reader → his trials.

        Raises:
            UserError: the file cannot be opened, or is no store.
        """
        self.path, self.plan = Path(path), plan
        if not self.path.exists():
            try:
                os.close(os.open(self.path, os.O_CREAT | os.O_RDWR, 0o600))
            except OSError as error:
                raise UserError(f"Cannot write {path}: {error.strerror}; choose another place") from error
        with self._connection() as connection:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.executescript(_TABLES)

    def add_reader(self, name: str, *, simulated: bool = False) -> Reader:
        """Add a reader and write his plan; a reader who is there already is given back.

        Raises:
            UserError: the name is blank, too long or unprintable, or belongs to a reader of the other sort.
        """
        name = checked_name(name)
        with self._writing() as connection:
            found = self._find(connection, name)
            if found is None:
                number = int(connection.execute("SELECT count(*) FROM readers").fetchone()[0])
                found = Reader(name, number, simulated)
                connection.execute("INSERT INTO readers VALUES (?, ?, ?, ?)", (name, number, int(simulated), _now()))
                connection.executemany(
                    "INSERT INTO trials VALUES (?, ?, ?, ?, ?)",
                    [
                        (name, place, trial.item, " ".join(trial.images), trial.repeat)
                        for place, trial in enumerate(self.plan(number))
                    ],
                )
        if found.simulated != simulated:
            sort = "a program" if found.simulated else "a person"
            raise UserError(f"Reader {name!r} is {sort} in this study; take another name")
        return found

    def readers(self) -> list[Reader]:
        """Return all readers in the order of arrival."""
        with self._connection() as connection:
            rows = connection.execute("SELECT name, number, simulated FROM readers ORDER BY number").fetchall()
        return [Reader(name, number, bool(simulated)) for name, number, simulated in rows]

    def trials(self, reader: str) -> list[Trial]:
        """Return a reader's plan; empty for who is no reader."""
        with self._connection() as connection:
            rows = connection.execute(
                "SELECT item, images, repeat FROM trials WHERE reader = ? ORDER BY trial", (reader,)
            ).fetchall()
        return [Trial(item, tuple(images.split()), repeat) for item, images, repeat in rows]

    def next_trial(self, reader: str) -> int | None:
        """Return the number of the trial that is open, None when all are answered."""
        with self._connection() as connection:
            return _open_trial(connection, reader)

    def record(
        self,
        reader: str,
        trial: int,
        answers: Mapping[str, str],
        *,
        seconds: float,
        window: float | None = None,
        level: float | None = None,
        zoom: float | None = None,
    ) -> None:
        """Keep the answers to one trial; on return they are on the disk. Answers are final.

        Args:
            reader: name.
            trial: must be the one that is open.
            answers: question → answer; the question is "" where a trial has only one.
            seconds: from the image's appearance to the answer.
            window, level: as the image was last seen, in its unit.
            zoom: likewise; 1 is one screen pixel a pixel.

        Raises:
            Refused: the trial is not open, or all are answered.
            UserError: a number is negative or not finite, or the disk is full.
        """
        if not math.isfinite(seconds) or seconds < 0:
            raise Refused("The time of an answer must be a number of seconds from 0; reload the page")
        view = (window, level, zoom)
        if any(value is not None and not math.isfinite(value) for value in view):
            raise Refused("Window, level and zoom must be finite numbers; reload the page")
        with self._writing() as connection:
            expected = _open_trial(connection, reader)
            if expected is None:
                raise Refused("All trials are answered and the study is finished; nothing is left to do", conflict=True)
            if trial < expected:
                raise Refused(
                    f"Trial {trial + 1} is answered already and answers are final; go on with trial {expected + 1}",
                    conflict=True,
                )
            if trial > expected:
                raise Refused(f"Trial {trial + 1} is not open yet; answer trial {expected + 1} first", conflict=True)
            connection.executemany(
                "INSERT INTO answers VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                [(reader, trial, question, answer, seconds, *view, _now()) for question, answer in answers.items()],
            )

    def answers(self) -> list[StoredAnswer]:
        """Return all answers by reader, trial and the order in which they were given."""
        with self._connection() as connection:
            rows = connection.execute(
                "SELECT answers.reader, trial, question, answer, seconds FROM answers "
                "JOIN readers ON readers.name = answers.reader ORDER BY number, trial, answers.rowid"
            ).fetchall()
        return [StoredAnswer(*row) for row in rows]

    @contextmanager
    def _connection(self) -> Iterator[sqlite3.Connection]:
        try:
            with closing(sqlite3.connect(self.path, timeout=_PATIENCE, isolation_level=None)) as connection:
                # FULL: an answer outlives not only a kill but a power cut.
                connection.execute("PRAGMA synchronous = FULL")
                connection.execute("PRAGMA foreign_keys = ON")
                yield connection
        except sqlite3.Error as error:
            raise UserError(f"Cannot use {self.path}: {error}; check the disk and the file") from error

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        with self._connection() as connection:
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
            except BaseException:
                connection.execute("ROLLBACK")
                raise
            connection.execute("COMMIT")

    @staticmethod
    def _find(connection: sqlite3.Connection, name: str) -> Reader | None:
        row = connection.execute("SELECT name, number, simulated FROM readers WHERE name = ?", (name,)).fetchone()
        return None if row is None else Reader(row[0], row[1], bool(row[2]))


def checked_name(name: str) -> str:
    """Return a reader's name without surrounding blanks.

    Raises:
        UserError: it is blank, too long or holds what cannot be printed.
    """
    name = " ".join(name.split())
    if not name or len(name) > _LONGEST_NAME or not name.isprintable():
        raise UserError(f"A reader's name has 1 to {_LONGEST_NAME} printable characters; choose another")
    return name


def _open_trial(connection: sqlite3.Connection, reader: str) -> int | None:
    row = connection.execute(
        "SELECT min(trial) FROM trials WHERE reader = ? AND NOT EXISTS "
        "(SELECT 1 FROM answers WHERE answers.reader = trials.reader AND answers.trial = trials.trial)",
        (reader,),
    ).fetchone()
    return None if row[0] is None else int(row[0])


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")
