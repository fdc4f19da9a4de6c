"""The log of a run: one row an epoch in log.csv, and the same scalars for TensorBoard."""

import csv
import io
from pathlib import Path
from typing import Any

from transmodal.errors import UserError
from transmodal.images.files import write_text


class Logbook:
    """Rows of scalars by epoch.

    Args:
        csv_file: rewritten whole with each row, so that it is never half a table.
        tensorboard: folder for event files; None writes none.
    """

    def __init__(self, csv_file: Path, tensorboard: Path | None) -> None:
        self.csv_file, self.rows = csv_file, list[dict[str, Any]]()
        self.tensorboard = tensorboard
        self._writer: Any = None

    def resume(self, step: int) -> None:
        """Take over the rows of an earlier part of the training, up to a step; later ones are forgotten.

        Raises:
            UserError: the log cannot be read.
        """
        if not self.csv_file.is_file():
            return
        try:
            with self.csv_file.open(newline="", encoding="utf-8") as stream:
                self.rows = [row for row in csv.DictReader(stream, strict=True) if int(row["step"]) <= step]
        except (OSError, ValueError, KeyError, TypeError, csv.Error) as error:
            raise UserError(f"{self.csv_file} is damaged; move it away to resume with a new log") from error

    def add(self, row: dict[str, Any]) -> None:
        """Add one epoch: `epoch`, `step` and any scalars; None leaves a cell blank."""
        self.rows.append(row)
        columns = list(dict.fromkeys(column for each in self.rows for column in each))
        table = io.StringIO()
        writer = csv.DictWriter(table, columns, restval="", lineterminator="\n")
        writer.writeheader()
        writer.writerows({key: _cell(value) for key, value in each.items()} for each in self.rows)
        write_text(self.csv_file, table.getvalue())
        if self.tensorboard is not None:
            self._write_events(row)

    def _write_events(self, row: dict[str, Any]) -> None:
        if self._writer is None:
            from torch.utils.tensorboard import SummaryWriter

            self._writer = SummaryWriter(str(self.tensorboard))
        for name, value in row.items():
            if isinstance(value, float):
                self._writer.add_scalar(name, value, int(row["step"]))
        self._writer.flush()

    def close(self) -> None:
        """End the event file."""
        if self._writer is not None:
            self._writer.close()


def _cell(value: Any) -> Any:
    return "" if value is None else f"{value:.6g}" if isinstance(value, float) else value
