"""Scores by group: each factor of the manifest, and factors crossed (coat × bed)."""

from collections.abc import Sequence
from itertools import combinations

import pandas

from transmodal.errors import UserError
from transmodal.evaluation.intervals import summarise
from transmodal.evaluation.scores import Scores

_MOST_LEVELS = 8  # a column with more values is an identifier or a measurement, not a group
_MOST_CELLS = 12


def choose_groupings(scores: Scores) -> list[tuple[str, ...]]:
    """Return the groupings worth a table: each factor of 2 to 8 values, crossings of two with up to 12 cells."""
    cases = scores.cases
    levels = {factor: cases[factor].nunique() for factor in scores.factors}
    single = [factor for factor in scores.factors if 2 <= levels[factor] <= _MOST_LEVELS]
    crossed = [pair for pair in combinations(single, 2) if levels[pair[0]] * levels[pair[1]] <= _MOST_CELLS]
    return [*((factor,) for factor in single), *crossed]


def check_grouping(factors: Sequence[str], grouping: Sequence[str]) -> tuple[str, ...]:
    """Return a grouping that the user named as a tuple.

    Args:
        factors: what there is to group by.
        grouping: what is asked for.

    Raises:
        UserError: the manifest has no such column.
    """
    for factor in grouping:
        if factor not in factors:
            known = ", ".join(factors) or "none"
            raise UserError(f"There is no factor {factor!r} to group by; the manifest has {known}")
    return tuple(grouping)


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
            for values, part in table.groupby(list(grouping), sort=True):
                row = {
                    "group_by": " × ".join(grouping),
                    "group": " × ".join(str(value) or "—" for value in values),
                    "system": system,
                    "subjects": part["subject"].nunique(),
                    "cases": len(part),
                }
                for metric in scores.policy.metrics:
                    summary = summarise(
                        part[metric].to_numpy(float),
                        part["subject"].tolist(),
                        aggregation=scores.policy.aggregation,
                        seed=scores.seed,
                    )
                    row |= {metric: summary.mean, f"{metric}_low": summary.ci95[0], f"{metric}_high": summary.ci95[1]}
                rows.append(row)
    columns = ["group_by", "group", "system", "subjects", "cases"]
    columns += [f"{metric}{end}" for metric in scores.policy.metrics for end in ("", "_low", "_high")]
    groups = pandas.DataFrame(rows, columns=columns)
    groups.attrs["factors"] = {" × ".join(grouping): list(grouping) for grouping in groupings}
    return groups
