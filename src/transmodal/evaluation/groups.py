"""Scores by group: each factor of the manifest, factors crossed (coat × bed), and measures cut at edges (weight@20,25).

A measure that is cut at edges is written with them, "weight@20,25", wherever a factor is named. An edge belongs to the
group above it: "< 20", "20 to 25" (20 and more, below 25), "≥ 25".
"""

import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import combinations, pairwise

import pandas

from transmodal.errors import UserError, nearest
from transmodal.evaluation.intervals import summarise
from transmodal.evaluation.scores import Scores
from transmodal.images.formats import format_of_name

_MOST_LEVELS = 8  # a column with more values is an identifier or a measurement, not a group
_MOST_CELLS = 12
# On average in a group. A column with fewer names the cases or the subjects themselves, as a date of the visit does.
_FEWEST_CASES, _FEWEST_SUBJECTS = 2.0, 1.5
_HOW_IT_WAS_MADE = ("seed", "copy")  # columns of `data degrade`; what it varied has columns of its own
_IN_SENTENCES = "degradation"  # one of its columns too, in sentences; a user's own names levels: mild, severe
_LONGEST_NAME = 60
_PLACE = re.compile(r"(\w:|\.{0,2})[/\\]")  # a path from the root, or from here
_ONLY_READ = (".jpg", ".jpeg", ".bmp", ".mnc", ".mgz", ".mgh", ".ima")


def choose_groupings(scores: Scores) -> list[tuple[str, ...]]:
    """Return the groupings worth a table: factors of 2 to 8 values, crossings of two with up to 12 cells.

    Measures, such as the number of angles, come first. Left out are columns that say how a case was made or where it
    lies, those that tell single cases or subjects apart, and groupings that divide the cases as an earlier one does.
    """
    cases = scores.cases
    single = [factor for factor in scores.factors if _may_name_groups(factor, cases[factor])]
    measures = [factor for factor in single if _holds_numbers(cases[factor])]
    single = [*measures, *(factor for factor in single if factor not in measures)]
    levels = {factor: cases[factor].nunique() for factor in single}
    crossed = [pair for pair in combinations(single, 2) if levels[pair[0]] * levels[pair[1]] <= _MOST_CELLS]
    chosen: dict[bytes, tuple[str, ...]] = {}  # by the division of the cases that a grouping makes
    for grouping in [*((factor,) for factor in single), *crossed]:
        groups = cases.groupby(list(grouping), sort=False, observed=True, dropna=False)
        if _are_worth_a_table(groups["subject"].nunique(), groups.size(), scores.subjects):
            chosen.setdefault(groups.ngroup().to_numpy().tobytes(), grouping)
    return list(chosen.values())


def _may_name_groups(factor: str, cells: pandas.Series) -> bool:
    """Say whether a column holds few short names or numbers, and nothing about how or where a case was made."""
    if factor in _HOW_IT_WAS_MADE or not 2 <= cells.nunique() <= _MOST_LEVELS:
        return False
    names = [str(cell) for cell in cells.unique()]
    if factor == _IN_SENTENCES and all(name.endswith(".") for name in names if name):
        return False
    return not any(len(name) > _LONGEST_NAME or _is_file(name) or _is_json(name) for name in names)


def _is_file(cell: str) -> bool:
    """Say whether a cell holds a path or the name of an image: "raw/1.tif", and not "1/0.25" or "mg/kg b.w"."""
    return bool(_PLACE.match(cell)) or format_of_name(cell) is not None or cell.lower().endswith(_ONLY_READ)


def _is_json(cell: str) -> bool:
    """Say whether a cell holds a list or a mapping: '{"kvp": 120}', and not "[18F]FDG"."""
    try:
        return isinstance(json.loads(cell), list | dict)
    except (ValueError, RecursionError):
        return False


def _are_worth_a_table(subjects: pandas.Series, cases: pandas.Series, of_subjects: int) -> bool:
    """Say whether groups are more than single cases or single subjects, given how many of both each holds."""
    return bool(cases.mean() >= _FEWEST_CASES and subjects.mean() >= min(_FEWEST_SUBJECTS, of_subjects))


def parse_grouping(text: str) -> tuple[str, ...]:
    """Return the factors that a user names: "coat,bed" → ("coat", "bed"), "bed,weight@20,25" → ("bed", "weight@20,25").

    Raises:
        UserError: nothing is named, an edge is no number, or edges do not rise.
    """
    factors: list[str] = []
    for part in (piece.strip() for piece in text.split(",")):
        if factors and "@" in factors[-1] and _number(part) is not None:
            factors[-1] += f",{part}"
        elif part:
            factors.append(part)
    if not factors:
        raise UserError(f"{text!r} names nothing to group by; name a column of the manifest, for example coat")
    for factor in factors:
        edges_of(factor)
    return tuple(factors)


def edges_of(factor: str) -> tuple[str, tuple[float, ...]]:
    """Return a factor's column and the edges that it is cut at: "weight@20,25" → ("weight", (20, 25)).

    Raises:
        UserError: an edge is no number, or edges do not rise.
    """
    column, at, cuts = factor.partition("@")
    if not at:
        return factor, ()
    edges = [_number(cut) for cut in cuts.split(",")]
    numbers = [edge for edge in edges if edge is not None]
    if not column.strip() or len(numbers) < len(edges) or numbers != sorted(set(numbers)):
        raise UserError(f"{factor!r} is no column cut at edges; write rising numbers, for example weight@20,25")
    return column.strip(), tuple(numbers)


def check_grouping(factors: Sequence[str], grouping: Sequence[str]) -> tuple[str, ...]:
    """Return a grouping that the user named as a tuple.

    Args:
        factors: what there is to group by.
        grouping: what is asked for; a measure with its edges is looked for by its column.

    Raises:
        UserError: the manifest has no such column.
    """
    for factor in grouping:
        column, _ = edges_of(factor)
        if factor not in factors and column not in factors:
            known = ", ".join(factors) or "none"
            hint = nearest(column, factors) if factors else ""
            hint = f"; {hint}" if hint.startswith("did") else ""
            raise UserError(f"There is no factor {column!r} to group by; the manifest has {known}{hint}")
    return tuple(grouping)


def check_cells(cells: Iterable[Mapping[str, str]], groupings: Iterable[Sequence[str]]) -> None:
    """Raise a UserError when a measure that is to be cut at edges holds something else than numbers.

    Args:
        cells: factor → cell, of each case.
        groupings: as `parse_grouping` gives them.
    """
    cuts = [edges_of(factor) for grouping in groupings for factor in grouping]
    for case in cells:
        for column, edges in cuts:
            if edges:
                _place(case.get(column, ""), edges, column)


def with_cuts(scores: Scores, groupings: Iterable[Sequence[str]]) -> Scores:
    """Return the scores with a factor for each measure that a grouping cuts at edges; a blank cell stays blank.

    Raises:
        UserError: there is no such column, or a cell in it is no number.
    """
    table, factors = scores.table, list(scores.factors)
    for factor in dict.fromkeys(factor for grouping in groupings for factor in check_grouping(factors, grouping)):
        column, edges = edges_of(factor)
        if not edges or factor in factors:
            continue
        names = ["", *edge_names(edges)]
        cells = [names[_place(str(cell), edges, column)] for cell in table[column]]
        table = table.assign(**{factor: pandas.Categorical(cells, categories=names, ordered=True)})
        factors.append(factor)
    scored = [column for column in table if column in scores.columns]
    others = [column for column in table if column not in scores.columns]
    return replace(scores, table=table[[*others, *scored]], factors=tuple(factors))


def edge_names(edges: Sequence[float]) -> list[str]:
    """Return the names of the groups that edges make: "< 20", "20 to 25", "≥ 25"."""
    between = [f"{low:g} to {high:g}" for low, high in pairwise(edges)]
    return [f"< {edges[0]:g}", *between, f"≥ {edges[-1]:g}"]


def _place(cell: str, edges: Sequence[float], column: str) -> int:
    """Return which name a cell gets: 0 for a blank one, else 1 and up."""
    if not cell.strip():
        return 0
    value = _number(cell)
    if value is None:
        raise UserError(f"{column} holds {cell!r}, which is no number to cut at edges; mend it or group by {column}")
    return 1 + sum(value >= edge for edge in edges)


def _holds_numbers(cells: pandas.Series) -> bool:
    """Say whether a column is a measure: numbers, or blank."""
    return all(_number(cell) is not None for cell in map(str, cells.unique()) if cell.strip())


def _in_order(cells: pandas.Series) -> pandas.Categorical:
    """Return a factor whose groups stand in the order of their numbers, then of their names; cut measures as cut."""
    if isinstance(cells.dtype, pandas.CategoricalDtype):
        return pandas.Categorical(cells)

    def place(cell: object) -> tuple[bool, float, str]:
        number = _number(str(cell))
        return number is None, number or 0.0, str(cell)

    return pandas.Categorical(cells, categories=sorted(cells.dropna().unique(), key=place), ordered=True)


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def group_table(scores: Scores, groupings: Sequence[Sequence[str]]) -> pandas.DataFrame:
    """Summarise every system in every group.

    Returns:
        One row a grouping, group and system: group_by, group, system, subjects, cases, and for each metric its mean,
        `_low` and `_high` (95 % interval over the group's subjects). `attrs["factors"]` maps group_by to its columns.
    """
    rows = []
    for grouping in groupings:
        for system in scores.systems:
            table = scores.of(system)
            table = table.assign(**{factor: _in_order(table[factor]) for factor in grouping})
            for values, part in table.groupby(list(grouping), sort=True, observed=True):
                row = {
                    "group_by": " × ".join(grouping),
                    "group": " × ".join(str(value) or "—" for value in values),
                    "system": system,
                    "subjects": part["subject"].nunique(),
                    "cases": len(part),
                }
                for metric in scores.columns:
                    summary = summarise(
                        part[metric].to_numpy(float),
                        part["subject"].tolist(),
                        aggregation=scores.policy.aggregation,
                        seed=scores.seed,
                    )
                    row |= {metric: summary.mean, f"{metric}_low": summary.ci95[0], f"{metric}_high": summary.ci95[1]}
                rows.append(row)
    columns = ["group_by", "group", "system", "subjects", "cases"]
    columns += [f"{metric}{end}" for metric in scores.columns for end in ("", "_low", "_high")]
    groups = pandas.DataFrame(rows, columns=columns)
    groups.attrs["factors"] = {" × ".join(grouping): list(grouping) for grouping in groupings}
    return groups
