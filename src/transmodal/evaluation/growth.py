"""What becomes of lesions over the visits of each subject: their true and predicted volumes, growth and doubling times.

The doubling time is that of exponential growth, ln 2 over the slope of the straight line through the logarithms of the
volumes (Schwartz, "A biomathematical approach to clinical tumor growth", Cancer 14, 1961), by least squares.
"""

import re
from collections.abc import Sequence
from datetime import date

import numpy as np
import pandas

from transmodal.evaluation.target import TRANSLATOR
from transmodal.evaluation.wording import DASH, counted, in_words, signed
from transmodal.reporting.figures import plain_number
from transmodal.reporting.html import Block, Cell, Details, Picture, Table
from transmodal.reporting.segmentation_charts import Growth, growth_chart

_UNITS = {"d": "days", "day": "days", "days": "days", "week": "weeks", "weeks": "weeks", "month": "months",
          "months": "months"}  # fmt: skip
_NUMBER = r"\d+(?:\.\d+)?"


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
    numbers = [re.findall(_NUMBER, name) for name in names]
    stems = {re.sub(_NUMBER, "", name) for name in names}
    if len(stems) == 1 and all(len(found) == 1 for found in numbers):
        return {name: float(found[0]) for name, found in zip(names, numbers, strict=True)}
    return {name: float(place) for place, name in enumerate(names)}


def visit_unit(sessions: Sequence[str]) -> str:
    """Return in what `visit_places` counts, as far as the names of the visits say: "days", "weeks", …, "visits"."""
    names = set(sessions)
    if names and all(_date(name) is not None for name in names):
        return "days"
    stems = {re.sub(_NUMBER, "", name) for name in names}
    if any(len(re.findall(_NUMBER, name)) != 1 for name in names) or len(stems) != 1:
        return "visits"
    return _UNITS.get(stems.pop().strip(" -_.").lower(), "numbers of the visits")


def doubling_time(places: Sequence[float], volumes: Sequence[float]) -> float:
    """Return in what time volumes doubled over the visits, in the unit of the places.

    Args:
        places: when the visits were.
        volumes: at these; visits without a lesion are left out.

    Returns:
        NaN with fewer than two visits at different times, or where the lesion did not grow.
    """
    there = [(place, volume) for place, volume in zip(places, volumes, strict=True) if volume > 0]
    if len({place for place, _ in there}) < 2:
        return float("nan")
    times, logarithms = np.array([place for place, _ in there]), np.log([volume for _, volume in there])
    centred = times - times.mean()
    slope = float(centred @ logarithms / (centred @ centred))
    return float(np.log(2) / slope) if slope > 1e-12 else float("nan")


def growth_blocks(growth: Sequence[Growth], name: str, unit: str) -> list[Block]:
    """Return the plot of the volumes of a class, each subject's growth, and each visit."""
    chart = growth_chart(growth, axis_label=f"volume of {name} ({unit})")
    what = f"Volume of {name} over visits. Rings and dashes: true. Dots and lines: predicted."
    visits = _visits(growth, name, unit)
    return [
        Picture(chart, f"Volume of {name} of {counted(len(growth), 'subject')} over visits", what),
        growth_table(growth, name),
        Details(counted(len(visits.rows), "visit"), [visits]),
    ]


def growth_table(growth: Sequence[Growth], name: str) -> Table:
    """Return true and predicted growth and doubling time of each subject."""
    rows: list[list[Cell | str]] = []
    for each in growth:
        times = (doubling_time(each.places, volumes) for volumes in (each.truth, each.predicted))
        factors = (_factor(volumes[-1], volumes[0]) for volumes in (each.truth, each.predicted))
        rows.append([each.subject, f"{each.sessions[0]} to {each.sessions[-1]}", *factors,
                     *(in_words(time) for time in times)])  # fmt: skip
    unit = visit_unit([session for each in growth for session in each.sessions])
    columns = ["subject", "visits", "true growth", "predicted growth", f"true doubling time ({unit})",
               f"predicted doubling time ({unit})"]  # fmt: skip
    caption = (
        f"Growth of {name}: the volume of the last visit against that of the first. Doubling time: of exponential "
        f"growth through all visits that show {name}; {DASH} where it did not grow."
    )
    return Table(columns, rows, caption, words=2)


def _visits(growth: Sequence[Growth], name: str, unit: str) -> Table:
    rows: list[list[Cell | str]] = []
    for each in growth:
        for session, true, made in zip(each.sessions, each.truth, each.predicted, strict=True):
            error = DASH if not true else signed(100 * (made - true) / true)
            volumes = (plain_number(true), plain_number(made), signed(made - true))
            factors = (_factor(true, each.truth[0]), _factor(made, each.predicted[0]))
            rows.append([each.subject, session, *volumes, error, *factors])
    columns = ["subject", "visit", f"true ({unit})", f"predicted ({unit})", f"error ({unit})", "error (%)",
               "true growth", "predicted growth"]  # fmt: skip
    caption = f"Volume of {name} at each visit; growth: against the first visit, true and predicted each by its own."
    return Table(columns, rows, caption, words=2)


def _factor(volume: float, first: float) -> str:
    return f"×{plain_number(volume / first)}" if first else DASH


def _date(name: str) -> date | None:
    """Return the day that a name says, YYYY-MM-DD or YYYYMMDD; None where it is no date."""
    try:
        return date.fromisoformat(name) if re.fullmatch(r"\d{4}-\d\d-\d\d|\d{8}", name) else None
    except ValueError:
        return None


def _natural(name: str) -> list[tuple[int, float, str]]:
    """Order names so that week 2 comes before week 10."""
    parts = re.split(f"({_NUMBER})", name)
    return [(0, float(part), "") if part[:1].isdigit() else (1, 0.0, part) for part in parts if part]
