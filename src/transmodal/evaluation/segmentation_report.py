"""What the report of a segmentation says beside its scores: by size, lesion by lesion, and visit by visit."""

import re
from collections.abc import Sequence
from datetime import date
from typing import Any

import numpy as np
import pandas

from transmodal.evaluation.scores import Scores
from transmodal.evaluation.segmentation_scores import ALL, CRITERION, NONE, SegmentationDetails
from transmodal.evaluation.target import TRANSLATOR
from transmodal.evaluation.wording import DASH, counted
from transmodal.reporting.figures import plain_number
from transmodal.reporting.html import Block, Cell, Details, Picture, Section, Table, Text
from transmodal.reporting.segmentation_charts import Growth, growth_chart


def segmentation_sections(details: SegmentationDetails, scores: Scores, of: str = "") -> list[Section]:
    """Return the sections of one target; `of` ends their titles where there are several."""
    parts = {"Sizes": size_blocks, "Lesions": lesion_blocks, "Volumes": volume_blocks}
    return [Section(f"{title}{of}", blocks(details, scores)) for title, blocks in parts.items()]


def size_blocks(details: SegmentationDetails, scores: Scores) -> list[Block]:
    """Return the table of Dice and error of area by the size of the lesion in its slice."""
    table, unit = details.by_area(scores.policy, scores.seed), _squared(details)
    if table.empty:
        return [Text("No slice holds a lesion, true or predicted.", "note")]
    blocks: list[Block] = []
    for name, part in table.groupby("class", sort=False):
        rows: list[list[Cell | str]] = []
        for found in part.to_dict("records"):
            if found["size"] == NONE or (found["system"] != TRANSLATOR and found["size"] != ALL):
                continue
            spread = "" if _absent(found["dice_sd"]) else f"sd {plain_number(found['dice_sd'])}"
            rows.append(
                [
                    str(found["system"]),
                    str(found["size"]),
                    str(found["slices"]),
                    str(found["subjects"]),
                    Cell(_number(found["dice"]), _interval(found, "dice") or spread),
                    Cell(_signed(found["area_error"]), _interval(found, "area_error")),
                ]
            )
        columns = ["", f"area of {name} ({unit})", "slices", "subjects", f"Dice of {name} ↑", f"area error ({unit})"]
        caption = (
            f"Slices by the true area of {name} in them. Means as of the scores, over slices instead of cases; area "
            "error: predicted − true. Small: the 95 % interval over subjects, else the standard deviation."
        )
        blocks.append(Table(columns, rows, caption, words=2))
        invented = part[(part["size"] == NONE) & (part["system"] == TRANSLATOR)]["slices"].sum()
        blocks.append(Text(f"{counted(int(invented), 'slice')} without {name} had some predicted.", "note"))
    return blocks


def lesion_blocks(details: SegmentationDetails, scores: Scores) -> list[Block]:
    """Return the table of lesions found, missed and invented."""
    table, rows = details.by_lesion(scores.policy, scores.seed), list[list[Cell | str]]()
    for found in table.to_dict("records"):
        if found["system"] != TRANSLATOR and found["size"] != ALL:
            continue
        share = found["found_share"]
        per_cent = DASH if _absent(share) else f"{100 * share:.0f} %"
        low, high = found["found_share_low"], found["found_share_high"]
        between = "" if _absent(low) else f"{100 * low:.0f} to {100 * high:.0f} %"
        rows.append(
            [str(found["system"]), f"{found['class']}, {found['size']}", str(found["lesions"]), str(found["found"]),
             str(found["missed"]), Cell(per_cent, between), str(found["false"]), _number(found["false_per_case"])]
        )  # fmt: skip
    columns = [
        "",
        f"lesions by area ({_squared(details)})",
        "true",
        "found",
        "missed",
        "found",
        "false",
        "false a case",
    ]
    return [Table(columns, rows, CRITERION + " False pieces stand with those of their own size.", words=2)]


def volume_blocks(details: SegmentationDetails, scores: Scores) -> list[Block]:
    """Return errors of volume, and where subjects came more than once, what becomes of their lesions over visits."""
    unit = f"{details.unit}³" if details.unit == "mm" else details.unit
    rows: list[list[Cell | str]] = [
        [
            str(found["system"]),
            str(found["class"]),
            str(found["cases"]),
            _number(found["volume_true"]),
            Cell(_signed(found["error"]), _interval(found, "error")),
            Cell(_signed(found["error_percent"]), _interval(found, "error_percent")),
        ]
        for found in details.by_volume(scores.policy, scores.seed).to_dict("records")
    ]
    columns = ["", "class", "cases", f"true volume ({unit})", f"error ({unit})", "error (%)"]
    caption = "Predicted − true volume, of pictures area; the error in per cent is of cases that have the class."
    blocks: list[Block] = [Table(columns, rows, caption, words=2)]
    for name in details.lesion_classes:
        growth = growth_of(details.volumes, name)
        if growth:
            blocks += _visits(growth, name, unit)
    return blocks


def growth_of(volumes: pandas.DataFrame, name: str, system: str = TRANSLATOR) -> list[Growth]:
    """Return the volumes of a class over the visits of each subject that came at least twice.

    Args:
        volumes: of `SegmentationDetails`.
        name: of the class.
        system: whose predictions.
    """
    own = volumes[(volumes["system"] == system) & (volumes["class"] == name)]
    several = [(str(subject), part) for subject, part in own.groupby("subject") if part["session"].nunique() > 1]
    places = visit_places([str(session) for _, part in several for session in part["session"]])
    found = []
    for subject, part in several:
        ordered = part.assign(place=[places[str(session)] for session in part["session"]]).sort_values("place")
        found.append(
            Growth(
                subject,
                [str(session) for session in ordered["session"]],
                ordered["place"].tolist(),
                ordered["volume_true"].tolist(),
                ordered["volume_predicted"].tolist(),
            )
        )
    return found


def visit_places(sessions: Sequence[str]) -> dict[str, float]:
    """Return where visits stand on an axis, by their names.

    At their day where they are dates (2020-11-25, 20201125), counted from the first; at their number where each has one
    (week 3, D20); else in order.
    """
    names = sorted(set(sessions), key=_natural)
    days = [_date(name) for name in names]
    if names and all(day is not None for day in days):
        return {name: float((day - days[0]).days) for name, day in zip(names, days, strict=True)}  # type: ignore[operator]
    numbers = [re.findall(r"\d+(?:\.\d+)?", name) for name in names]
    stems = {re.sub(r"\d+(?:\.\d+)?", "", name) for name in names}
    if len(stems) == 1 and all(len(found) == 1 for found in numbers):
        return {name: float(found[0]) for name, found in zip(names, numbers, strict=True)}
    return {name: float(place) for place, name in enumerate(names)}


def describe_segmentation(details: SegmentationDetails, scores: Scores) -> list[str]:
    """Return lines for a terminal: Dice by size and what became of the lesions, of the translator."""
    unit, lines = _squared(details), []
    areas = details.by_area(scores.policy, scores.seed)
    for name in details.lesion_classes:
        part = areas[(areas["class"] == name) & (areas["system"] == TRANSLATOR)] if len(areas) else areas
        told = [
            f"{found['size']}: {_number(found['dice'])} ({counted(found['slices'], 'slice')})"
            for found in part.to_dict("records")
            if found["size"] not in (ALL, NONE)
        ]
        if told:
            lines.append(f"Dice of {name} by its area in a slice ({unit}): {', '.join(told)}")
    return lines + [
        f"{found['class']}: {found['found']} of {found['lesions']} lesions found, {found['missed']} missed, "
        f"{counted(found['false'], 'false piece')}"
        for found in details.by_lesion(scores.policy, scores.seed).to_dict("records")
        if found["size"] == ALL and found["system"] == TRANSLATOR
    ]


def _visits(growth: Sequence[Growth], name: str, unit: str) -> list[Block]:
    rows: list[list[Cell | str]] = []
    for each in growth:
        first = each.truth[0]
        for session, true, made in zip(each.sessions, each.truth, each.predicted, strict=True):
            change = DASH if not first else f"×{plain_number(true / first)}"
            error = DASH if not true else _signed(100 * (made - true) / true)
            volumes = (plain_number(true), plain_number(made), _signed(made - true))
            rows.append([each.subject, session, *volumes, error, change])
    columns = ["subject", "visit", f"true ({unit})", f"predicted ({unit})", f"error ({unit})", "error (%)", "growth"]
    caption = f"Volume of {name} at each visit; growth: the true volume against that of the first visit."
    chart = growth_chart(growth, axis_label=f"volume of {name} ({unit})")
    what = f"Volume of {name} over visits. Rings and dashes: true. Dots and lines: predicted."
    return [
        Picture(chart, f"Volume of {name} of {counted(len(growth), 'subject')} over visits", what),
        Details(counted(len(rows), "visit"), [Table(columns, rows, caption, words=2)]),
    ]


def _date(name: str) -> date | None:
    """Return the day that a name says, YYYY-MM-DD or YYYYMMDD; None where it is no date."""
    try:
        return date.fromisoformat(name) if re.fullmatch(r"\d{4}-\d\d-\d\d|\d{8}", name) else None
    except ValueError:
        return None


def _natural(name: str) -> list[tuple[int, float, str]]:
    """Order names so that week 2 comes before week 10."""
    parts = re.split(r"(\d+(?:\.\d+)?)", name)
    return [(0, float(part), "") if part[:1].isdigit() else (1, 0.0, part) for part in parts if part]


def _squared(details: SegmentationDetails) -> str:
    return f"{details.unit}²" if details.unit == "mm" else details.unit


def _absent(value: Any) -> bool:
    return value is None or not np.isfinite(value)


def _number(value: Any) -> str:
    return DASH if _absent(value) else plain_number(float(value))


def _signed(value: Any) -> str:
    return DASH if _absent(value) else ("+" if value > 0 else "") + plain_number(float(value))


def _interval(found: dict[Any, Any], name: str) -> str:
    low, high = found[f"{name}_low"], found[f"{name}_high"]
    return "" if _absent(low) else f"{plain_number(low)} to {plain_number(high)}"
