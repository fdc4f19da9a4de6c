"""The manifest: a table with one row an image file, saying whose it is, what it shows and where it lies.

A manifest is a CSV that opens in a spreadsheet: `subject`, `session`, `modality`, `path`, free columns (coat, bed,
scanner, …), and, once the data are split, `split` and perhaps `fold`. All cells are text: subject 007 stays 007.
Relative paths count from the manifest's folder and may not leave it.
"""

import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pandas

from transmodal.datasets.manifest_csv import NEEDED_COLUMNS, read_rows, write_rows
from transmodal.errors import UserError, nearest

SPLITS = ("train", "validation", "test")
KEY_COLUMNS = ("subject", "session", "modality", "path")
SPLIT_COLUMNS = ("split", "fold")


@dataclass(frozen=True)
class CaseFiles:
    """The image files of one subject and session.

    Attributes:
        subject: who; the unit of every split.
        session: visit, pose, scan; empty when there is one.
        files: modality to absolute path.
        factors: the free columns whose filled cells agree within the case.
        split: "train", "validation" or "test"; None when not assigned.
        fold: 1 to k; None when not assigned.
    """

    subject: str
    session: str
    files: dict[str, Path]
    factors: dict[str, str] = field(default_factory=dict)
    split: str | None = None
    fold: int | None = None

    @property
    def id(self) -> str:
        """The name of the case in tables and of its files: "subject" or "subject_session"."""
        return _case_id(self.subject, self.session)


class Manifest:
    """The table of image files and the questions one asks of it.

    Attributes:
        table: all cells text, blank where unknown; columns subject, session, modality, path, the free columns, and
            `split` and `fold` when present, in the order of the file.
        folder: absolute; relative paths in the table count from here.
    """

    def __init__(self, table: pandas.DataFrame, folder: str | Path, *, name: str = "the manifest") -> None:
        """Check a table and hold it.

        Args:
            table: one row an image; a missing `session` column counts as blank.
            folder: where relative paths count from.
            name: what messages call this manifest.

        Raises:
            UserError: a column is missing, a key cell blank or unfit for a file name, a row doubled, two cases of one
                name, a relative path outside the folder, or a split or fold that is none.
        """
        self.name = name
        self.folder = Path(os.path.abspath(folder))  # noqa: PTH100 - resolve() would follow symbolic links
        self.table = _as_text(table, name)
        _check_rows(self.table, [f"row {index}" for index in self.table.index], name)
        self.table = self.table.reset_index(drop=True)
        for path in self.table["path"]:
            self.absolute(path)

    @classmethod
    def read(cls, path: str | Path, *, trusted: bool = True) -> "Manifest":
        """Read a manifest from a CSV file.

        UTF-8 with or without byte order mark; comma, semicolon or tab between cells; blank rows are skipped.

        Args:
            path: the CSV file.
            trusted: True for the user's own file, where absolute paths are accepted. False for a file that came from
                elsewhere: absolute paths, and symbolic links that leave the folder, are refused.

        Raises:
            UserError: the file is missing, no such table, or breaks a rule of `Manifest`; the row is named as a
                spreadsheet numbers it.
        """
        path = Path(path)
        rows, numbers = read_rows(path)
        manifest = cls(pandas.DataFrame(rows, index=numbers, dtype=str), path.parent, name=str(path))
        if not trusted:
            manifest._check_confined(numbers)
        return manifest

    def write(self, path: str | Path) -> Path:
        """Write the manifest as CSV, whole or not at all, and return its path.

        Paths below the new file's folder become relative to it, with forward slashes; all others become absolute.

        Raises:
            UserError: the folder cannot be written, or a path has a backslash or blank ends, which no CSV carries
                between systems.
        """
        path = Path(path)
        folder = os.path.abspath(path.parent)  # noqa: PTH100
        table = self.table.assign(path=[_relative_to(self.absolute(cell), folder) for cell in self.table["path"]])
        write_rows(path, list(table.columns), table.itertuples(index=False, name=None))
        return path

    def absolute(self, path: str) -> Path:
        """Return the absolute path of a `path` cell.

        Raises:
            UserError: a relative path leaves the manifest's folder.
        """
        if _is_absolute(path):
            return Path(path)
        joined = os.path.normpath(f"{self.folder}/{_portable(path)}")
        if joined != str(self.folder) and not joined.startswith(str(self.folder).rstrip(os.sep) + os.sep):
            raise UserError(
                f"The path {path} leaves the folder of {self.name}; move the file below {self.folder} or write its "
                "absolute path"
            )
        return Path(joined)

    def with_table(self, table: pandas.DataFrame) -> "Manifest":
        """Return a manifest of another table on the same folder."""
        return Manifest(table, self.folder, name=self.name)

    def with_fold(self, fold: int) -> "Manifest":
        """Return the manifest for one round of cross-validation: `fold` is validation, the other folds train.

        Subjects without a fold keep their split (test stays test).

        Raises:
            UserError: there is no such fold.
        """
        known = sorted({int(cell) for cell in self.table["fold"] if cell}) if "fold" in self.table else []
        if fold not in known:
            there = f"folds {known[0]} to {known[-1]}" if known else "no folds; make them with 'data split --folds 5'"
            raise UserError(f"There is no fold {fold} in {self.name}: it has {there}")
        table = self.table.copy()
        in_fold, in_another = table["fold"] == str(fold), (table["fold"] != "") & (table["fold"] != str(fold))
        table.loc[in_fold, "split"] = "validation"
        table.loc[in_another, "split"] = "train"
        return self.with_table(table)

    @property
    def modalities(self) -> list[str]:
        """All modalities, sorted."""
        return sorted(set(self.table["modality"]))

    @property
    def subjects(self) -> list[str]:
        """All subjects, sorted."""
        return sorted(set(self.table["subject"]))

    @property
    def factors(self) -> list[str]:
        """The names of the free columns, in the order of the table."""
        return [column for column in self.table.columns if column not in KEY_COLUMNS + SPLIT_COLUMNS]

    def cases(self, modalities: Iterable[str] | None = None, split: str | None = None) -> list[CaseFiles]:
        """Return the cases sorted by subject and session.

        Args:
            modalities: keep only cases that have all of these; their files hold only these, in this order. None keeps
                every case with whatever it has.
            split: keep only cases of "train", "validation" or "test". None keeps all.

        Raises:
            UserError: a modality is in no row; the manifest has no such split, or a subject stands on two sides.
        """
        wanted = None if modalities is None else list(modalities)
        if wanted is not None:
            self.require_modalities(wanted)
        if split is not None:
            self._require_split(split)
        cases = []
        for (subject, session), rows in self._rows_by_case().items():
            files = {row["modality"]: self.absolute(row["path"]) for row in rows}
            if wanted is not None:
                if not all(modality in files for modality in wanted):
                    continue
                files = {modality: files[modality] for modality in wanted}
            of_case = _agreed(rows, ["split", "fold"])
            if split is not None and of_case.get("split") != split:
                continue
            fold = int(of_case["fold"]) if "fold" in of_case else None
            cases.append(CaseFiles(subject, session, files, _agreed(rows, self.factors), of_case.get("split"), fold))
        return cases

    def incomplete(self, modalities: Iterable[str]) -> list[tuple[str, list[str]]]:
        """Return (case id, missing modalities) of every case that lacks one of `modalities`."""
        wanted = list(modalities)
        found = []
        for (subject, session), rows in self._rows_by_case().items():
            there = {row["modality"] for row in rows}
            if missing := [modality for modality in wanted if modality not in there]:
                found.append((_case_id(subject, session), missing))
        return found

    def require_modalities(self, modalities: Sequence[str]) -> None:
        """Raise a UserError that names the first modality that is in no row, and the nearest known one."""
        known = self.modalities
        for modality in modalities:
            if modality not in known:
                raise UserError(f"No image of modality {modality!r} in {self.name}; {nearest(modality, known)}")

    def subjects_on_two_sides(self) -> dict[str, list[str]]:
        """Return the subjects that stand in more than one split or fold, each with where it stands."""
        found: dict[str, list[str]] = {}
        for column in SPLIT_COLUMNS:
            if column not in self.table:
                continue
            filled = self.table[self.table[column] != ""]
            pairs = set(zip(filled["subject"], filled[column], strict=True))
            sides: dict[str, list[str]] = {}
            for subject, side in sorted(pairs):
                sides.setdefault(subject, []).append(side if column == "split" else f"fold {side}")
            found |= {subject: places for subject, places in sides.items() if len(places) > 1 and subject not in found}
        return found

    def check_split(self) -> None:
        """Raise a UserError that names the subjects when one stands in two splits or two folds."""
        if not (twice := self.subjects_on_two_sides()):
            return
        named = ", ".join(f"{subject} ({' and '.join(sides)})" for subject, sides in list(twice.items())[:5])
        more = f" and {len(twice) - 5} more" if len(twice) > 5 else ""
        raise UserError(
            f"Subjects stand on two sides of the split in {self.name}: {named}{more}; give each subject one side, "
            "for instance with 'transmodal data split --force'"
        )

    def _require_split(self, split: str) -> None:
        if split not in SPLITS:
            raise UserError(f"There is no split {split!r}; {nearest(split, SPLITS)}")
        if "split" not in self.table or not (self.table["split"] != "").any():
            raise UserError(f"{self.name} is not split; run 'transmodal data split {self.name}' first")
        self.check_split()

    def _rows_by_case(self) -> dict[tuple[str, str], list[dict[str, str]]]:
        rows_by_case: dict[tuple[str, str], list[dict[str, str]]] = {}
        columns = list(self.table.columns)
        for cells in self.table.itertuples(index=False, name=None):
            row = dict(zip(columns, cells, strict=True))
            rows_by_case.setdefault((row["subject"], row["session"]), []).append(row)
        return dict(sorted(rows_by_case.items()))

    def _check_confined(self, numbers: Sequence[int]) -> None:
        inside = self.folder.resolve()
        for number, path in zip(numbers, self.table["path"], strict=True):
            if _is_absolute(path) or not self.absolute(path).resolve().is_relative_to(inside):
                raise UserError(
                    f"The path {path} in row {number} of {self.name} leads outside its folder; use relative paths "
                    "below the manifest"
                )


def _as_text(table: pandas.DataFrame, name: str) -> pandas.DataFrame:
    missing = [column for column in NEEDED_COLUMNS if column not in table.columns]
    if missing:
        raise UserError(
            f"{name} lacks the column{'s' if len(missing) > 1 else ''} {', '.join(missing)}; a manifest has the "
            f"columns {', '.join(KEY_COLUMNS)} and free ones"
        )
    table = table.astype(object).where(table.notna(), "").map(str)
    if "session" not in table.columns:
        table.insert(1, "session", "")
    columns = [*KEY_COLUMNS, *(column for column in table.columns if column not in KEY_COLUMNS)]
    return table[columns]


def _check_rows(table: pandas.DataFrame, rows: Sequence[str], name: str) -> None:
    """Hold the rules about single cells and about rows that collide."""
    place_of_key: dict[tuple[str, str, str], str] = {}
    keys_of_id: dict[str, tuple[str, str]] = {}
    keys = zip(rows, table["subject"], table["session"], table["modality"], table["path"], strict=True)
    for row, subject, session, modality, path in keys:
        where = f"in {row} of {name}"
        for column, cell in (("subject", subject), ("modality", modality), ("path", path)):
            if not cell.strip():
                raise UserError(f"The {column} is blank {where}; fill it in or delete the row")
        for column, cell in (("subject", subject), ("session", session), ("modality", modality)):
            # Case ids and modalities become names of files and folders.
            if not cell.isprintable() or set(cell) & set("/\\") or cell in (".", ".."):
                raise UserError(f"The {column} {cell!r} {where} cannot be part of a file name; use letters and digits")
        key = (subject, session, modality)
        if key in place_of_key:
            case = _case_id(subject, session)
            raise UserError(
                f"{modality} of case {case} stands twice in {name}: {place_of_key[key]} and {row}; delete one or give "
                "them different sessions"
            )
        place_of_key[key] = row
        if keys_of_id.setdefault(_case_id(subject, session), (subject, session)) != (subject, session):
            raise UserError(
                f"Two cases of {name} are both called {_case_id(subject, session)} ({row}): a subject's name must not "
                "be another's subject_session; rename one"
            )
    _check_split_cells(table, rows, name)


def _check_split_cells(table: pandas.DataFrame, rows: Sequence[str], name: str) -> None:
    for row, cell in zip(rows, table.get("split", []), strict=False):
        if cell and cell not in SPLITS:
            raise UserError(f"The split {cell!r} in {row} of {name} is none; {nearest(cell, SPLITS)}")
    for row, cell in zip(rows, table.get("fold", []), strict=False):
        if cell and not (cell.isascii() and cell.isdecimal() and int(cell) > 0):
            raise UserError(f"The fold {cell!r} in {row} of {name} is no number from 1; write 1, 2, …")


def _agreed(rows: list[dict[str, str]], columns: Iterable[str]) -> dict[str, str]:
    """Return the columns whose filled cells are all equal; a blank cell says nothing and contradicts nothing."""
    agreed = {}
    for column in columns:
        values = {value for row in rows if (value := row.get(column, ""))}
        if len(values) == 1:
            agreed[column] = values.pop()
    return agreed


def _case_id(subject: str, session: str) -> str:
    return f"{subject}_{session}" if session else subject


def _is_absolute(path: str) -> bool:
    # "C:/x" and "\\x" count everywhere: they must not become relative paths on another system.
    return path.startswith(("/", "\\")) or re.match(r"[A-Za-z]:[/\\]", path) is not None or Path(path).is_absolute()


def _portable(path: str) -> str:
    return path.replace("\\", "/")


def _relative_to(path: Path, folder: str) -> str:
    text, prefix = str(path), folder.rstrip(os.sep) + os.sep
    if text != text.strip() or (os.sep == "/" and "\\" in text):
        raise UserError(f"The file name {text!r} has a backslash or blank ends; rename it so that a CSV can carry it")
    inside = text.startswith(prefix)
    return _portable(text[len(prefix) :] if inside else text)
