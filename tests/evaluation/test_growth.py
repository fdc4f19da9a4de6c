"""Lesions over visits: true and predicted growth and doubling times, each under its own name."""

import math

import numpy as np
import pandas
import pytest

from transmodal.evaluation.growth import doubling_time, growth_blocks, growth_of, growth_table, visit_places, visit_unit
from transmodal.evaluation.segmentation_scores import VOLUMES
from transmodal.reporting.html import Cell, Details, Table


def volumes(*rows: tuple[str, str, float, float]) -> pandas.DataFrame:
    """(subject, session, true, predicted) as the table of volumes."""
    return pandas.DataFrame(
        [("translator", f"{subject}_{session}", subject, session, "tumour", true, made, made - true, 0.0, 1.0)
         for subject, session, true, made in rows],
        columns=list(VOLUMES),
    )  # fmt: skip


TABLE = volumes(
    ("m1", "week-2", 40, 90), ("m1", "week-0", 10, 30), ("m1", "week-1", 20, 60),
    ("m2", "week-0", 8, 8), ("m2", "week-2", 4, 32), ("m3", "week-0", 5, 5),
)  # fmt: skip


def texts(table: Table) -> list[list[str]]:
    return [[cell.text if isinstance(cell, Cell) else cell for cell in row] for row in table.rows]


def test_growth_is_told_for_subjects_that_came_twice() -> None:
    first, second = growth_of(TABLE, "tumour")
    assert (first.subject, second.subject) == ("m1", "m2")
    assert list(first.sessions) == ["week-0", "week-1", "week-2"] and list(first.places) == [0, 1, 2]
    assert first.truth == [10, 20, 40] and first.predicted == [30, 60, 90]


def test_true_and_predicted_growth_stand_side_by_side() -> None:
    table = growth_table(growth_of(TABLE, "tumour"), "tumour")
    assert table.columns[2:] == [
        "true growth", "predicted growth", "true doubling time (weeks)", "predicted doubling time (weeks)",
    ]  # fmt: skip
    one, other = texts(table)
    assert one[:5] == ["m1", "week-0 to week-2", "×4", "×3", "1"]
    assert float(one[5]) == pytest.approx(math.log(2) / math.log(math.sqrt(3)), rel=0.01)
    assert other == ["m2", "week-0 to week-2", "×0.5", "×4", "—", "1"]


def test_every_visit_has_both_factors() -> None:
    blocks = growth_blocks(growth_of(TABLE, "tumour"), "tumour", "mm³")
    (details,) = (block for block in blocks if isinstance(block, Details))
    (visits,) = (block for block in details.blocks if isinstance(block, Table))
    assert visits.columns[2:4] == ["true (mm³)", "predicted (mm³)"]
    assert visits.columns[-2:] == ["true growth", "predicted growth"]
    assert [row[2:4] + row[-2:] for row in texts(visits)][1:3] == [["20", "60", "×2", "×2"], ["40", "90", "×4", "×3"]]


def test_doubling_times_are_those_of_exponential_growth() -> None:
    times = [0.0, 3.0, 10.0]
    assert doubling_time(times, [5 * 2 ** (time / 4) for time in times]) == pytest.approx(4)
    assert doubling_time([0, 1, 2], [0, 1, 2]) == pytest.approx(1), "a visit without a lesion says nothing"
    for places, sizes in (([0, 1], [2, 2]), ([0, 1], [2, 1]), ([0, 1], [0, 2]), ([1, 1], [1, 2])):
        assert np.isnan(doubling_time(places, sizes))


def test_visits_stand_at_their_number_where_all_have_one() -> None:
    assert visit_places(["D20", "D0"]) == {"D0": 0, "D20": 20}
    assert visit_places(["baseline", "late"]) == {"baseline": 0, "late": 1}
    assert visit_places(["2020-12-03", "2020-11-25"]) == {"2020-11-25": 0, "2020-12-03": 8}
    assert visit_places(["20201125", "20201209"]) == {"20201125": 0, "20201209": 14}


def test_the_unit_of_time_is_that_of_the_visits_names() -> None:
    for names, unit in (
        (["2020-12-03", "2020-11-25"], "days"), (["D20", "D0"], "days"), (["week 3", "week 10"], "weeks"),
        (["w0", "w1"], "numbers of the visits"), (["baseline", "late"], "visits"), (["week 3", "day 1"], "visits"),
    ):  # fmt: skip
        assert visit_unit(names) == unit
