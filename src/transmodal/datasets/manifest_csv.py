"""Tables as people and spreadsheets really write them: the CSV of manifests and of fiducials."""

import csv
import io
from collections.abc import Iterable, Sequence
from pathlib import Path

from transmodal.errors import UserError
from transmodal.images.files import write_text

NEEDED_COLUMNS = ("subject", "modality", "path")
RESERVED_COLUMNS = ("subject", "session", "modality", "path", "split", "fold")
DELIMITERS = (",", ";", "\t")


def read_rows(
    path: Path,
    *,
    needed: Sequence[str] = NEEDED_COLUMNS,
    known: Sequence[str] = RESERVED_COLUMNS,
    remedy: str = "make a manifest with 'transmodal data index'",
) -> tuple[list[dict[str, str]], list[int]]:
    """Read a CSV into rows of text cells and the spreadsheet's number of each row (the heading is row 1).

    Args:
        path: the file.
        needed: columns that must be there.
        known: columns whose names are recognised in any letter case.
        remedy: ends the messages about a file that is missing or empty.

    Raises:
        UserError: missing, unreadable, not UTF-8, no table, columns missing or doubled, or a row longer than the
            heading.
    """
    records = _records(_text_of(path, remedy), path, known)
    while records and not any(records[0][1]):
        records.pop(0)
    if not records:
        raise UserError(f"{path} is empty; {remedy}")
    heading = _heading(records[0][1], path, needed, known)
    rows, numbers = [], []
    for number, cells in records[1:]:
        if not any(cells):
            continue
        if any(cells[len(heading) :]):
            raise UserError(
                f"Row {number} of {path} has {len(cells)} cells but the heading {len(heading)}; put cells that hold "
                "the delimiter into double quotes"
            )
        padded = [*cells, *[""] * (len(heading) - len(cells))]
        rows.append({column: cell for column, cell in zip(heading, padded, strict=False) if column})
        if unnamed := [cell for column, cell in zip(heading, padded, strict=False) if cell and not column]:
            raise UserError(f"The cell {unnamed[0]!r} in row {number} of {path} stands in a column without a name")
        numbers.append(number)
    if not rows:
        raise UserError(f"{path} has a heading but no rows; {remedy}")
    return rows, numbers


def write_rows(path: Path, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> Path:
    """Write a CSV (UTF-8, comma, one line feed a row), whole or not at all.

    Raises:
        UserError: it cannot be written there.
    """
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(rows)
    try:
        return write_text(path, stream.getvalue())
    except OSError as error:  # places that take no files, such as /proc, or a folder that has the name
        raise UserError(f"Cannot write {path}: {error.strerror}; choose another place") from error


def _text_of(path: Path, remedy: str) -> str:
    try:
        content = path.read_bytes()
    except FileNotFoundError as error:
        raise UserError(f"There is no file {path}; {remedy}") from error
    except IsADirectoryError as error:
        raise UserError(f"{path} is a folder, not a table; give the CSV file inside it") from error
    except OSError as error:
        raise UserError(f"Cannot read {path}: {error.strerror}; check its permissions") from error
    if b"\0" in content[:4096]:
        raise UserError(f"{path} is no CSV in UTF-8; save it as 'CSV UTF-8 (comma delimited)'")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise UserError(f"{path} is not UTF-8 (line {line}); save it as 'CSV UTF-8 (comma delimited)'") from error


def _records(text: str, path: Path, known: Sequence[str]) -> list[tuple[int, list[str]]]:
    """Split text into numbered records of stripped cells, with the delimiter that makes sense of the heading."""
    first_line, _, rest = text.partition("\n")
    skipped = 0
    if first_line.strip().lower().startswith("sep=") and len(first_line.strip()) <= 5:  # Excel's own hint
        text, skipped = rest, 1

    def split(delimiter: str) -> list[tuple[int, list[str]]]:
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, skipinitialspace=True, strict=True)
        try:
            return [(number, [cell.strip() for cell in cells]) for number, cells in enumerate(reader, 1 + skipped)]
        except csv.Error as error:
            raise UserError(f"{path} is no proper CSV: {error} (line {reader.line_num}); check its quotes") from error

    def known_columns(delimiter: str) -> int:
        # The first line that is not blank is the heading; quoted headings are rare enough to look through.
        heading = next((line for line in text.splitlines() if line.strip(" \t,;")), "")
        names = {name.strip().strip('"').lower() for name in heading.split(delimiter)}
        return len(names & set(known))

    return split(max(DELIMITERS, key=known_columns))


def _heading(cells: list[str], path: Path, needed: Sequence[str], known: Sequence[str]) -> list[str]:
    heading = [cell.lower() if cell.lower() in known else cell for cell in cells]
    while heading and not heading[-1]:
        heading.pop()
    if missing := [column for column in needed if column not in heading]:
        raise UserError(
            f"{path} lacks the column{'s' if len(missing) > 1 else ''} {', '.join(missing)} (it has "
            f"{', '.join(filter(None, heading))}); the columns {', '.join(needed)} are needed"
        )
    doubled = sorted({column for column in heading if column and heading.count(column) > 1})
    if doubled:
        raise UserError(f"{path} has the column {doubled[0]} twice; rename or delete one")
    return heading
