"""A reader study on disk: what readers may know, the key that they may not, the images, the answers.

STUDY/ study.json (the protocol, without identities)   key.json (which image is what; mode 0600; never served)
       images/ (raw uint16 under random names, all of one size and date)   answers.sqlite
"""

import functools
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

import pandas
from pydantic import BaseModel, ConfigDict, ValidationError

from transmodal.errors import UserError
from transmodal.evaluation.readers.answers import COLUMNS, REAL, TIE, Answers, Kind
from transmodal.evaluation.readers.store import Store
from transmodal.evaluation.readers.trials import Item, ReadersSee, Trial, plan_trials

FORMAT_VERSION = 1
_Model = TypeVar("_Model", bound=BaseModel)

PROTOCOL, KEY, IMAGES, ANSWERS = "study.json", "key.json", "images", "answers.sqlite"


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Pictures(_Strict):
    """How the raw files of one sort are to be read: uint16, little-endian, rows then columns then channels.

    Attributes:
        width, height: in pixels.
        channels: 1 (grey) or 3 (red, green, blue).
        low, high: what 0 and 65535 mean, in `unit`.
        unit: of the values, for the page's level and window.
        aspect: height of a pixel over its width.
        levels: grey levels that the values are rounded to.
    """

    width: int
    height: int
    channels: Literal[1, 3]
    low: float
    high: float
    unit: str
    aspect: float = 1.0
    levels: int = 65536

    @property
    def bytes(self) -> int:
        """Size of each file."""
        return 2 * self.width * self.height * self.channels


class Protocol(_Strict):
    """What a reader may know of the study; see `making.StudySettings` for the words.

    Attributes:
        items: how many a reader sees for the first time; repeats come on top.
        pictures, reference: how the images, and those shown beside, are to be read.
    """

    format_version: int = FORMAT_VERSION
    title: str
    kind: Kind
    question: str
    criteria: tuple[str, ...] = ()
    points: int = 0
    ties: bool = False
    items: int
    pictures: Pictures
    reference: Pictures | None = None
    reference_title: str = ""
    created: str


class KeyImage(_Strict):
    """What one opaque name stands for."""

    case: str
    subject: str
    system: str


class Key(_Strict):
    """Which image is what, and all that a plan needs.

    Attributes:
        secret: in hexadecimal; addresses and personal links are made with it.
        images: opaque name → what it is.
        references: case → opaque name of the image shown beside.
        items: the opaque names of each item: one; or two, the synthetic or alphabetically first system's first.
        turns: see `trials.plan_trials`.
        about: facts for the report.
    """

    secret: str
    seed: int
    systems: tuple[str, ...]
    images: dict[str, KeyImage]
    references: dict[str, str] = {}
    items: tuple[tuple[str, ...], ...]
    turns: tuple[tuple[int, ...], ...]
    repeats: float
    readers_see: ReadersSee
    about: dict[str, str] = {}


@dataclass(frozen=True)
class Study:
    """An opened study."""

    folder: Path
    protocol: Protocol
    key: Key

    @classmethod
    def open(cls, folder: str | Path) -> "Study":
        """Open a study.

        Raises:
            UserError: the folder holds no study, or a damaged or newer one.
        """
        folder = Path(folder)
        if not (folder / PROTOCOL).is_file():
            raise UserError(f"{folder} is no reader study: it has no {PROTOCOL}; make one with 'transmodal rate new'")
        protocol = _load(folder / PROTOCOL, Protocol)
        return cls(folder, protocol, _load(folder / KEY, Key))

    @functools.cached_property
    def secret(self) -> bytes:
        """The key of addresses and links."""
        return bytes.fromhex(self.key.secret)

    @functools.cached_property
    def items(self) -> list[Item]:
        """All items, each with its case and the group that it is balanced over."""
        images = self.key.images
        return [
            Item(images[names[0]].case, " / ".join(images[name].system for name in names), names)
            for names in self.key.items
        ]

    def open_store(self) -> Store:
        """Open the answers; made when absent."""
        return Store(self.folder / ANSWERS, self.plan)

    def plan(self, reader: int) -> list[Trial]:
        """Return the trials of the reader of this number."""
        return plan_trials(
            self.items,
            self.key.turns,
            seed=self.key.seed,
            reader=reader,
            repeats=self.key.repeats,
            readers_see=self.key.readers_see,
        )

    def items_and_repeats(self) -> tuple[int, int]:
        """Return how many items each reader sees, and how many of them come a second time."""
        plan = self.plan(0)
        repeated = sum(trial.repeat for trial in plan)
        return len(plan) - repeated, repeated

    def workload(self) -> str:
        """Say what each reader has to do: "9 answers a reader (8 items, 1 repeated)"."""
        items, repeated = self.items_and_repeats()
        answers, things = ("answer" if items + repeated == 1 else "answers"), ("item" if items == 1 else "items")
        return f"{items + repeated} {answers} a reader ({items} {things}, {repeated or 'none'} repeated)"

    def image_bytes(self, name: str) -> bytes:
        """Return the raw file of an opaque name."""
        path = self.folder / IMAGES / name
        try:
            return path.read_bytes()
        except OSError as error:
            raise UserError(f"Cannot read {path}: {error.strerror}; copy the study again") from error

    def identify(self, trial: Trial) -> dict[str, Any]:
        """Return what readers are not told of a trial: case, subject, repeat and the columns of the kind's systems.

        These are the columns of `answers.COLUMNS` without reader, trial, seconds, criterion and answer; with them
        simulated readers can answer.
        """
        shown = [self.key.images[name] for name in trial.images]
        told: dict[str, Any] = {"repeat": trial.repeat, "case": shown[0].case, "subject": shown[0].subject}
        if self.protocol.kind == "preference":
            first, second = sorted(image.system for image in shown)
            return told | {"first": first, "second": second, "left": shown[0].system}
        if self.protocol.kind == "which-is-real":
            left_is_real = shown[0].system == REAL
            return told | {"system": shown[left_is_real].system, "real_side": "left" if left_is_real else "right"}
        return told | {"system": shown[0].system}

    def questions(self) -> tuple[str, ...]:
        """Return the questions of every trial: the criteria of a rating, else the one that needs no name."""
        return self.protocol.criteria or ("",)

    def allowed_answers(self) -> tuple[str, ...]:
        """Return what may be answered to each question, as it is pressed on the page."""
        kind = self.protocol.kind
        if kind == "rating":
            return tuple(str(point) for point in range(1, self.protocol.points + 1))
        if kind == "real-or-synthetic":
            return ("real", "synthetic")
        return ("left", "right", TIE) if kind == "preference" and self.protocol.ties else ("left", "right")

    def checked_answers(self, answers: Mapping[str, str]) -> dict[str, str]:
        """Return answers in the order of the questions.

        Raises:
            UserError: one is missing, unasked or not among the allowed ones.
        """
        questions, allowed = self.questions(), self.allowed_answers()
        if answers.keys() != set(questions):
            wanted = ", ".join(question or "one answer without a name" for question in questions)
            raise UserError(f"The answers must be to exactly: {wanted}; reload the page")
        wrong = next((value for value in answers.values() if value not in allowed), None)
        if wrong is not None:
            raise UserError(f"{wrong[:40]!r} is no answer here; choose one of {', '.join(allowed)}")
        return {question: answers[question] for question in questions}


def read_answers(folder: str | Path) -> Answers:
    """Join all answers of a study with its key.

    Args:
        folder: of the study.

    Returns:
        The table, and readers who have begun or were invited in `unanswered`.

    Raises:
        UserError: no study, a damaged one, or answers about images that the key does not know.
    """
    study = Study.open(folder)
    store = study.open_store()
    readers = store.readers()
    plans = {reader.name: store.trials(reader.name) for reader in readers}
    rows = []
    done: dict[str, set[int]] = {reader.name: set() for reader in readers}
    for stored in store.answers():
        try:
            told = study.identify(plans[stored.reader][stored.trial])
        except (KeyError, IndexError) as error:
            raise UserError(
                f"{store.path} has answers about images that {study.folder / KEY} does not know; "
                "put the two files of one study together"
            ) from error
        done[stored.reader].add(stored.trial)
        row = {"reader": stored.reader, "trial": stored.trial, "seconds": stored.seconds, **told}
        rows.append(row | _answer(study.protocol.kind, stored.question, stored.answer, told))
    protocol = study.protocol
    return Answers(
        title=protocol.title,
        kind=protocol.kind,
        table=pandas.DataFrame(rows, columns=list(COLUMNS[protocol.kind])),
        systems=study.key.systems,
        criteria=protocol.criteria,
        points=protocol.points,
        simulated=tuple(reader.name for reader in readers if reader.simulated),
        unanswered={name: len(plan) - len(done[name]) for name, plan in plans.items()},
        about=study.key.about,
    )


def _answer(kind: Kind, question: str, pressed: str, told: Mapping[str, Any]) -> dict[str, Any]:
    """Turn what was pressed into the columns of the table."""
    if kind == "rating":
        return {"criterion": question, "answer": int(pressed)}
    if kind == "preference" and pressed != TIE:
        other = told["second"] if told["left"] == told["first"] else told["first"]
        return {"answer": told["left"] if pressed == "left" else other}
    return {"answer": pressed}


def _load(path: Path, model: type[_Model]) -> _Model:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        version = content.get("format_version", FORMAT_VERSION)
        if version != FORMAT_VERSION:
            raise UserError(f"{path} has format {version}, this version reads {FORMAT_VERSION}; update transmodal")
        return model.model_validate(content)
    except PermissionError as error:
        raise UserError(f"Cannot read {path}: only who made the study may; ask them") from error
    except (OSError, UnicodeDecodeError, json.JSONDecodeError, AttributeError, ValidationError) as error:
        reason = " ".join(str(error).split())[:160]
        raise UserError(f"{path} cannot be read: {reason}; copy the study again") from error


def dump(content: BaseModel) -> str:
    """Return a file of the study as text."""
    return json.dumps(content.model_dump(mode="json"), indent=2, ensure_ascii=False, allow_nan=False) + "\n"
