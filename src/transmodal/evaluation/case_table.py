"""Whose an image is and what it is grouped by: a manifest, or a CSV with a column `case`, beside folders of images."""

import os
from collections.abc import Iterable, Mapping
from pathlib import Path

from transmodal.datasets.manifest import KEY_COLUMNS, SPLIT_COLUMNS
from transmodal.datasets.manifest_csv import RESERVED_COLUMNS, read_rows
from transmodal.errors import UserError
from transmodal.evaluation.matching import Matched, MatchedCase
from transmodal.images.formats import stem_of

_NAMED = 5


class CaseTable:
    """Rows that tell subject and factors of cases."""

    def __init__(self, path: str | Path) -> None:
        """Read the table.

        Args:
            path: a manifest (subject, session, modality, path and free columns), or a CSV with a column `case` and
                perhaps `subject`. Paths count from its folder.

        Raises:
            UserError: it is missing, no table, or has neither `case` nor `path` nor `subject`.
        """
        self.path = Path(path)
        known = (*RESERVED_COLUMNS, "case")
        self.rows, _ = read_rows(
            self.path, needed=(), known=known, remedy="give a manifest or a CSV with a column case"
        )
        columns = list(self.rows[0])
        if not {"case", "path", "subject"} & set(columns):
            raise UserError(f"{self.path} has no column case, path or subject; add one that tells whose each row is")
        self.factors = [name for name in columns if name not in (*KEY_COLUMNS, *SPLIT_COLUMNS, "case")]
        self.has_subjects = "subject" in columns
        self._by: list[dict[str, list[int]]] = [{}, {}, {}, {}]
        for index, row in enumerate(self.rows):
            for place, key in enumerate(self._keys_of(row)):
                if key:
                    self._by[place].setdefault(key, []).append(index)

    def told_of(self, matched: Matched) -> Matched:
        """Return the cases with the subjects and factors of their rows.

        A row is a case's by the path of one of its files, else by its `case`, else by its subject and session
        ("subject_session"), else by the stem of its path. Of several rows (modalities), cells that agree count.

        Raises:
            UserError: a case has no row, or rows of several subjects.
        """
        rows = {case.case: self._row_of(case) for case in matched.cases}
        lost = [case for case, row in rows.items() if row is None]
        if lost:
            named = ", ".join(lost[:_NAMED]) + (f" and {len(lost) - _NAMED} more" if len(lost) > _NAMED else "")
            raise UserError(
                f"{self.path} has no row for {named}; a row is found by its path, by a column case, or by its subject "
                "and session"
            )
        cases = [
            MatchedCase(
                case.case,
                case.predictions,
                case.truth,
                case.mask,
                (row or {}).get("subject", "") or case.subject,
                {**case.factors, **{name: (row or {}).get(name, "") for name in self.factors}},
            )
            for case in matched.cases
            for row in [rows[case.case]]
        ]
        return Matched(matched.systems, cases, matched.alone, matched.has_masks)

    def _keys_of(self, row: Mapping[str, str]) -> tuple[str, str, str, str]:
        subject, session, path = (row.get(name, "") for name in ("subject", "session", "path"))
        own = f"{subject}_{session}" if session else subject
        return (self._absolute(path) if path else "", row.get("case", ""), own, stem_of(path) if path else "")

    def _absolute(self, path: str) -> str:
        return os.path.abspath(os.path.join(self.path.parent, path.replace("\\", "/")))  # noqa: PTH100, PTH118

    def _row_of(self, case: MatchedCase) -> dict[str, str] | None:
        files = [os.path.abspath(file) for file in (case.truth, *case.predictions)]  # noqa: PTH100
        for rows, keys in zip(self._by, (files, [case.case], [case.case], [case.case]), strict=True):
            found = [index for key in keys for index in rows.get(key, ())]
            if found:
                return self._agreed(case.case, found)
        return None

    def _agreed(self, case: str, indexes: Iterable[int]) -> dict[str, str]:
        rows = [self.rows[index] for index in indexes]
        agreed = {name: rows[0][name] for name in rows[0] if len({row.get(name, "") for row in rows}) == 1}
        if self.has_subjects and "subject" not in agreed:
            subjects = sorted({row.get("subject", "") for row in rows})
            raise UserError(
                f"{self.path} has rows of {' and '.join(subjects[:2])} for {case}; tell them apart by a column case"
            )
        return agreed
