"""Segmentations of several runs by the size of the lesion: the stratified data base against the reference one."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas

from transmodal.datasets.strata import EMPTY, size_names, stratum_of
from transmodal.evaluation.intervals import Summary, summarise
from transmodal.evaluation.scores import Scores
from transmodal.evaluation.segmentation_scores import ALL, SegmentationDetails
from transmodal.evaluation.target import TRANSLATOR
from transmodal.evaluation.wording import DASH
from transmodal.images.files import write_text
from transmodal.reporting.figures import plain_number
from transmodal.reporting.html import Block, Cell, Table

_KEYS = ["case", "subject", "class", "slice"]


def compare_sizes(details: Mapping[str, SegmentationDetails], scores: Scores) -> pandas.DataFrame:
    """Return the Dice of each run by size, and how much better the first run is on the same slices.

    Args:
        details: run → what was measured; all of one target, the first run first.
        scores: of all runs, whose cases are those that all have.

    Returns:
        One row a lesion class, size and run: class, size, run, slices, subjects, dice and difference (first − this run;
        None of the first), both with _low and _high over subjects.
    """
    shared = set(scores.cases["case"])
    tables = {}
    for name, found in details.items():
        rows = found.slices
        tables[name] = rows[(rows["system"] == TRANSLATOR) & rows["case"].isin(shared) & (rows["area_true"] > 0)]
    first, names = next(iter(tables)), size_names(scores.policy.areas)
    found_rows: list[dict[str, Any]] = []
    for of_class, part in tables[first].groupby("class", sort=False):
        strata = np.array([stratum_of(area, scores.policy.areas) for area in part["area_true"]], int)
        groups = {size: strata == stratum for stratum, size in enumerate(names)} | {ALL: strata != EMPTY}
        for size, members in groups.items():
            own = part[members]
            for run, table in tables.items():
                both = own.merge(table, on=_KEYS, suffixes=("_first", ""))
                dice = _summary(both["dice"], both["subject"], scores)
                row = {"class": of_class, "size": size, "run": run, "slices": len(both)}
                row |= {"subjects": both["subject"].nunique()} | _with_limits("dice", dice)
                difference = (
                    None if run == first else _summary(both["dice_first"] - both["dice"], both["subject"], scores)
                )
                found_rows.append(row | _with_limits("difference", difference))
    return pandas.DataFrame(found_rows)


def size_comparison(table: pandas.DataFrame) -> list[Block]:
    """Return the table of `compare_sizes` for a report."""
    blocks: list[Block] = []
    for name, part in table.groupby("class", sort=False):
        rows: list[list[Cell | str]] = [
            [str(found["size"]), str(found["run"]), str(found["slices"]), str(found["subjects"]),
             Cell(_number(found["dice"]), _between(found, "dice")),
             Cell(_number(found["difference"], signed=True), _between(found, "difference"))]
            for found in part.to_dict("records")
        ]  # fmt: skip
        columns = [f"area of {name}", "run", "slices", "subjects", f"Dice of {name} ↑", "first − this run"]
        caption = f"Slices by the true area of {name} in them, the same for all runs. Intervals of 95 % over subjects."
        blocks.append(Table(columns, rows, caption, words=2))
    return blocks


def write_sizes(folder: Path, table: pandas.DataFrame | None) -> None:
    """Write sizes.csv; without a table the old one is taken away.

    Raises:
        UserError: the folder cannot be written.
    """
    if table is None:
        (folder / "sizes.csv").unlink(missing_ok=True)
        return
    text: str = table.to_csv(index=False, float_format="%.9g", lineterminator="\n")
    write_text(folder / "sizes.csv", text)


def _summary(values: "pandas.Series[float]", subjects: "pandas.Series[str]", scores: Scores) -> Summary:
    whose = subjects.astype(str).tolist()
    return summarise(values.tolist(), whose, aggregation=scores.policy.aggregation, seed=scores.seed)


def _with_limits(name: str, summary: Summary | None) -> dict[str, Any]:
    if summary is None:
        return dict.fromkeys((name, f"{name}_low", f"{name}_high"))
    return {name: summary.mean, f"{name}_low": summary.ci95[0], f"{name}_high": summary.ci95[1]}


def _number(value: Any, *, signed: bool = False) -> str:
    if value is None or not np.isfinite(value):
        return DASH
    return ("+" if signed and value > 0 else "") + plain_number(float(value))


def _between(found: dict[Any, Any], name: str) -> str:
    low, high = found[f"{name}_low"], found[f"{name}_high"]
    return "" if low is None or not np.isfinite(low) else f"{plain_number(low)} to {plain_number(high)}"
