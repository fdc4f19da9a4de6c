"""What an evaluation leaves on disk: cases.csv, groups.csv, slices.csv … and summary.json, each whole or not at all."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas

from transmodal.evaluation.combinations import Combinations
from transmodal.evaluation.lesions import VALUES
from transmodal.evaluation.scores import Scores
from transmodal.evaluation.slices import slice_intervals, slice_totals
from transmodal.images.files import write_text


def write_evaluation(
    folder: Path, scores: Mapping[str, Scores], groups: Mapping[str, pandas.DataFrame], about: Mapping[str, Any]
) -> None:
    """Write the tables and the summary; slices.csv and slice-intervals.csv only where volumes were scored by slices.

    Args:
        folder: made when absent; files of the same names are replaced.
        scores: target → its scores.
        groups: target → its table of groups.
        about: facts of the run that stand at the top of summary.json.

    Raises:
        UserError: the folder cannot be written.
    """
    write_text(folder / "cases.csv", _csv({target: _with_lesions(part) for target, part in scores.items()}))
    write_text(folder / "groups.csv", _csv(groups))
    slices = {target: slice_totals(part) for target, part in scores.items()}
    if any(len(table) for table in slices.values()):
        write_text(folder / "slices.csv", _csv(slices))
    else:
        (folder / "slices.csv").unlink(missing_ok=True)  # of an evaluation before
    intervals = {target: slice_intervals(part) for target, part in scores.items()}
    if any(len(table) for table in intervals.values()):
        write_text(folder / "slice-intervals.csv", _csv(intervals))
    else:
        (folder / "slice-intervals.csv").unlink(missing_ok=True)
    write_text(folder / "summary.json", to_text({**about, **_targets_json(scores)}))


def write_downstream(folder: Path, tables: Mapping[str, pandas.DataFrame]) -> None:
    """Write downstream.csv; without tables the old one is taken away.

    Raises:
        UserError: the folder cannot be written.
    """
    if tables:
        write_text(folder / "downstream.csv", _csv(tables))
    else:
        (folder / "downstream.csv").unlink(missing_ok=True)


def _with_lesions(scores: Scores) -> pandas.DataFrame:
    """Return the table of all cases with the columns of their lesions, where these are scored apart."""
    if scores.lesions.empty:
        return scores.table
    named = scores.lesions.rename(columns={name: f"lesion_{name}" for name in VALUES})
    return scores.table.merge(named, on=["system", "case", "subject"], how="left", validate="one_to_one")


def write_combinations(folder: Path, found: Combinations | None) -> None:
    """Write combinations.csv (a row a combination and target) and combination-cases.csv; None takes old ones away.

    Raises:
        UserError: the folder cannot be written.
    """
    for name, table in (
        ("combinations.csv", None if found is None else found.table),
        ("combination-cases.csv", None if found is None else found.cases),
    ):
        if table is None:
            (folder / name).unlink(missing_ok=True)
        else:
            write_text(folder / name, _csv({"": table}))


def files_in(folder: Path) -> frozenset[str]:
    """Return the names of the files in an evaluation's folder; none where it is not there yet."""
    return frozenset(file.name for file in folder.iterdir() if file.is_file()) if folder.is_dir() else frozenset()


def taken_away_in_words(names: Sequence[str], folder: Path) -> str:
    """Return that these files of an evaluation before are gone, pictures by their number."""
    pictures = [name for name in names if name.endswith(".png")]
    told = [name for name in names if name not in pictures]
    told += [f"{len(pictures)} picture{'s' * (len(pictures) > 1)}"] if pictures else []
    return f"taken away from {folder}, being of an earlier evaluation with other options or cases: {', '.join(told)}"


def to_text(content: Mapping[str, Any]) -> str:
    """Return JSON text that any parser accepts (no NaN, no Infinity)."""
    return json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def _targets_json(scores: Mapping[str, Scores]) -> dict[str, Any]:
    content = {target: part.to_json() for target, part in scores.items()}
    first = next(iter(content.values()))
    return first if len(content) == 1 else {**first, "targets": content}


def _csv(tables: Mapping[str, pandas.DataFrame]) -> str:
    several = len(tables) > 1
    parts = [table.assign(target=target) if several else table for target, table in tables.items()]
    text: str = pandas.concat(parts).to_csv(index=False, float_format="%.9g", lineterminator="\n")
    return text
