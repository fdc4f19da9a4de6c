"""Headlines claim a best system only where the answers tell it apart."""

import pandas
import pytest

from transmodal.evaluation.readers.analysis import analyse_answers
from transmodal.evaluation.readers.answers import REAL
from transmodal.evaluation.readers.headlines import best_rated, most_preferred
from transmodal.evaluation.readers.preferences import Strength, strengths
from transmodal.evaluation.readers.report import page_of
from transmodal.evaluation.readers.resampling import Estimate
from transmodal.evaluation.readers.simulated import SimulatedReader, World, simulate
from transmodal.reporting.html import render

LOW, HIGH, WIDE = Estimate(2.0, 1.5, 2.5), Estimate(4.0, 3.5, 4.5), Estimate(3.0, 1.0, 5.0)
NONE = Estimate(3.0, note="3 subjects: no interval")


def test_best_is_said_of_made_images_alone_where_true_ones_were_rated() -> None:
    found = best_rated("realism", {"A": LOW, "B": HIGH, REAL: Estimate(5.0, 4.9, 5.1)})
    assert (found.label, found.value) == ("Rated best of the made images, realism", "B")
    assert best_rated("realism", {"A": LOW, "B": HIGH}).label == "Rated best, realism"


def test_nothing_is_called_best_where_intervals_overlap_or_are_missing() -> None:
    close = best_rated("realism", {"A": WIDE, "B": HIGH, "C": LOW})
    assert close.label == "Highest mean rating, realism"
    assert close.remark == "mean 4.000; not told apart from A: intervals overlap"
    unknown = best_rated("realism", {"A": NONE, "B": Estimate(2.0, note=NONE.note), REAL: HIGH})
    assert unknown.label == "Highest mean rating of the made images, realism"
    assert unknown.remark == "mean 3.000; stability unknown: 3 subjects: no interval"
    assert best_rated("realism", {"A": HIGH, REAL: LOW}).remark == "mean 4.000; no other system to compare with"
    equal = best_rated("realism", {"A": HIGH, "B": HIGH})
    assert (equal.value, equal.remark) == ("A, B", "mean 4.000; equally high")


def test_preferred_most_needs_an_interval_above_the_others() -> None:
    def headline(*estimates: Estimate) -> tuple[str, str]:
        found = most_preferred([Strength(name, each, 0.5, 0.9) for name, each in zip("AB", estimates, strict=True)])
        return found.label, found.value

    assert headline(HIGH, LOW) == ("Preferred most", "A")
    assert headline(HIGH, WIDE) == ("Highest strength of preference", "A")
    assert headline(HIGH, HIGH) == ("Highest strength of preference", "A, B")


@pytest.mark.parametrize(("subjects", "share"), [(3, None), (4, 1.0)])
def test_stability_is_known_from_four_subjects_on_and_equals_all_count(subjects: int, share: float | None) -> None:
    rows = [("r", f"s{case}", "A", "B", "tie") for case in range(subjects)]
    table = pandas.DataFrame(rows, columns=["reader", "subject", "first", "second", "answer"])
    assert [each.first for each in strengths(table, ["A", "B"], resamples=20)] == [share, share]


@pytest.mark.parametrize(
    ("cases", "words"), [(3, "stability unknown: 3 subjects"), (12, "may add up to more than 100 %")]
)
def test_the_report_explains_shares_of_stability(cases: int, words: str) -> None:
    readers = [SimulatedReader(name) for name in ("ana", "ben")]
    answers = simulate("preference", ["A", "B", "C"], cases, readers, World({"A": 1.0}))
    assert words in render(page_of(analyse_answers(answers, resamples=40)))
