"""The report of a reader study: one self-contained HTML file made of `results.Analysis`."""

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

import transmodal
from transmodal.evaluation.readers.detection import LOG_LINEAR, Detection, Proportion
from transmodal.evaluation.readers.headlines import best_rated, most_preferred, with_limits
from transmodal.evaluation.readers.metric_report import metric_blocks, waem_blocks
from transmodal.evaluation.readers.resampling import Estimate
from transmodal.evaluation.readers.results import Analysis
from transmodal.evaluation.readers.wording import (
    DASH,
    estimate_cell,
    estimate_text,
    intervals_in_words,
    number,
    p_text,
    percent_interval,
    share_cell,
)
from transmodal.images.files import write_text
from transmodal.reporting.html import (
    Block,
    Cell,
    Commands,
    Details,
    Headline,
    Headlines,
    Picture,
    Report,
    Section,
    Table,
    Text,
    render,
)
from transmodal.reporting.reader_charts import IntervalRow, interval_chart, preference_chart, ratings_chart

KINDS = {
    "real-or-synthetic": "Real or synthetic?",
    "which-is-real": "Which of two is real?",
    "preference": "Which of two is better?",
    "rating": "Ratings",
}


def write_report(analysis: Analysis, path: str | Path, *, commands: Sequence[str] = ()) -> Path:
    """Write the report.

    Args:
        analysis: to show.
        path: of the HTML file.
        commands: that repeat it.

    Raises:
        UserError: the file cannot be written.
    """
    return write_text(path, render(page_of(analysis, commands)))


def page_of(analysis: Analysis, commands: Sequence[str] = ()) -> Report:
    """Return the page."""
    answers = analysis.answers
    sections = [Section("Result", [*_result(analysis), *[Text(note, "note") for note in analysis.notes]])]
    sections.append(Section("Readers", _readers(analysis)))
    if analysis.agreement:
        sections.append(Section("Agreement between readers", _agreement(analysis)))
    if analysis.metrics:
        sections.append(Section("Metrics against readers", metric_blocks(analysis)))
    if answers.kind in ("rating", "preference"):
        sections.append(Section("WAEM weights", waem_blocks(analysis)))
    facts_table = Table(["fact", "value"], [[name, value] for name, value in answers.about.items()], words=2)
    how: list[Block] = [Text(line, "note") for line in _METHODS[answers.kind]]
    sections.append(Section("How it was made", [*([facts_table] if answers.about else []), *how]))
    if commands:
        sections.append(Section("Repeat it", [Commands(list(commands))]))
    answered = sum(reader.answered for reader in analysis.readers)
    notice = "Some of the images are synthetic. Research only, not for diagnosis."
    if analysis.simulated:
        notice = "Simulated readers: programs gave these answers, no person looked at an image. " + notice
    return Report(
        title=analysis.heading,
        kicker=f"Reader study · {KINDS[answers.kind]}",
        facts=(
            f"{analysis.who}, {answered} trials answered",
            f"{answers.table['case'].nunique()} cases of {answers.table['subject'].nunique()} subjects",
            f"analysed {datetime.now(UTC).strftime('%Y-%m-%d %H:%M UTC')}",
        ),
        notice=notice,
        sections=sections,
        footer=f"Made by transmodal {transmodal.__version__}. This file holds everything it shows and loads nothing.",
    )


def _percent(estimate: Estimate) -> tuple[str, str]:
    if estimate.value is None:
        return DASH, estimate.note
    limits = percent_interval(estimate.low, estimate.high)
    return f"{100 * estimate.value:.1f} %", f"95 %: {limits}" if limits else estimate.note


def _result(analysis: Analysis) -> list[Block]:
    if analysis.means:
        return _detection_result(analysis)
    if analysis.wins is not None:
        return _preference_result(analysis)
    return _rating_result(analysis)


def _detection_result(analysis: Analysis) -> list[Block]:
    accuracy = analysis.means["accuracy"]
    remark, good = "", None
    if accuracy.low is not None and accuracy.high is not None:
        if accuracy.low <= 0.5 <= accuracy.high:
            remark = "chance (50 %) lies in the interval"
        else:
            remark, good = ("above chance (50 %)", None) if accuracy.low > 0.5 else ("below chance (50 %)", None)
    value, interval = _percent(accuracy)
    items = [Headline("Accuracy, mean over readers", value, interval, remark, good)]
    d_prime = analysis.means["d_prime"]
    items.append(Headline("d′, mean over readers", estimate_text(d_prime), with_limits(d_prime), "0 is chance"))
    for name, label in (("sensitivity", "Synthetic called synthetic"), ("specificity", "Real called real")):
        if name in analysis.means:
            items.append(Headline(label, *_percent(analysis.means[name])))
    rows = [
        IntervalRow(_name(reader.name, reader.simulated), *_numbers(reader.detection.accuracy))
        for reader in analysis.readers
        if reader.detection
    ]
    rows.append(IntervalRow("mean over readers", accuracy.value, accuracy.low, accuracy.high, group=1))
    chart = interval_chart(
        rows, axis_label="share of right answers", reference=0.5, reference_label="chance", limits=(0, 1)
    )
    blocks: list[Block] = [
        Headlines(items),
        Picture(
            chart,
            "Accuracy of each reader with its interval beside chance",
            f"Each reader with the exact 95 % interval; below, their mean, {intervals_in_words([accuracy])}.",
        ),
    ]
    called: list[list[Cell | str]] = [
        [name, Cell(_percent(estimate)[0], _percent(estimate)[1].removeprefix("95 %: "))]
        for name, estimate in analysis.called_real.items()
    ]
    words = intervals_in_words(analysis.called_real.values())
    caption = f"How often images were taken for real, mean over readers, {words}"
    blocks.append(Table(["images of", "called real"], called, caption))
    return blocks


def _preference_result(analysis: Analysis) -> list[Block]:
    assert analysis.wins is not None
    names = [str(name) for name in analysis.wins.index]
    blocks: list[Block] = []
    if analysis.strengths:
        ordered = sorted(analysis.strengths, key=lambda each: -(each.strength.value or 0.0))
        blocks.append(Headlines([most_preferred(ordered)]))
        words = intervals_in_words(each.strength for each in ordered)
        rows = [
            IntervalRow(each.system, each.strength.value, each.strength.low, each.strength.high) for each in ordered
        ]
        chart = interval_chart(
            rows, axis_label="Bradley–Terry strength (log odds)", reference=0, reference_label="mean of the systems"
        )
        blocks.append(Picture(chart, "Strength of each system", f"Strengths, {words}."))
        blocks.append(
            Table(
                ["system", "strength", "comparisons won", "strongest in"],
                [
                    [
                        each.system,
                        estimate_cell(each.strength),
                        f"{100 * each.share:.1f} %",
                        DASH if each.first is None else f"{100 * each.first:.0f} %",
                    ]
                    for each in ordered
                ],
                _STRONGEST if ordered[0].first is not None else "comparisons won: a tie is half; stability unknown",
            )
        )
    matrix = preference_chart(names, analysis.wins.to_numpy(float))
    words = "How often the system of the row was preferred to that of the column: share, and count with ties as halves."
    return [*blocks, Picture(matrix, "Preferences of each system over each other", words)]


def _rating_result(analysis: Analysis) -> list[Block]:
    answers = analysis.answers
    first = answers.table[answers.table["repeat"] == 0]
    names = list(next(iter(analysis.ratings.values())))
    rows: list[list[Cell | str]] = []
    for name in names:
        estimates = [analysis.ratings[criterion][name] for criterion in answers.criteria]
        rows.append([name, *(estimate_cell(estimate) for estimate in estimates)])
    words = intervals_in_words(each for means in analysis.ratings.values() for each in means.values())
    best = [best_rated(criterion, analysis.ratings[criterion]) for criterion in answers.criteria[:4]]
    blocks: list[Block] = [
        Headlines(best),
        Table(
            ["mean rating", *answers.criteria],
            rows,
            f"1 the worst, {answers.points} the best; mean over readers, {words}",
        ),
    ]
    for criterion in answers.criteria:
        part = first[first["criterion"] == criterion]
        counts = {
            name: np.bincount(
                part.loc[part["system"] == name, "answer"].astype(int) - 1, minlength=answers.points
            ).astype(float)
            for name in names
        }
        blocks.append(Picture(ratings_chart(counts), f"Distribution of the ratings of {criterion}", criterion))
    tests: list[list[Cell | str]] = [
        [
            test.criterion,
            f"{test.first} − {test.second}",
            estimate_cell(test.difference),
            p_text(test.p),
            p_text(test.p_holm),
            DASH if test.rank_biserial is None else number(test.rank_biserial),
        ]
        for test in analysis.tests
    ]
    if tests:
        table = Table(
            ["criterion", "pair", "difference", "p", "p (Holm)", "rank-biserial"],
            tests,
            "Paired over subjects, ratings averaged over readers first: Wilcoxon's signed-rank test; differences "
            + intervals_in_words((test.difference for test in analysis.tests), "subjects"),
            words=2,
        )
        few = sorted({test.note for test in analysis.tests if test.note})
        blocks += [Details("Tests between systems", [table, *[Text(note, "note") for note in few]])]
    return blocks


def _readers(analysis: Analysis) -> list[Block]:
    kind = analysis.answers.kind
    detection = kind in ("real-or-synthetic", "which-is-real")
    skill: list[list[Cell | str]] = [
        [Cell(reader.name, "simulated" if reader.simulated else ""), *_skill(reader.detection, kind)]
        for reader in analysis.readers
    ]
    blocks: list[Block] = []
    if detection:
        columns = ["reader", "accuracy", "p (chance)", "d′", "criterion c"]
        columns += ["sensitivity", "specificity"] if kind == "real-or-synthetic" else []
        if analysis.pooled is not None:
            skill.append([Cell("all answers pooled", "as if independent"), *_skill(analysis.pooled, kind)])
        blocks += [Table(columns, skill, "95 % intervals of each reader over his own answers"), Text(_POOLED, "note")]
    criteria = analysis.answers.criteria or ("",)
    columns = ["reader", "trials", "seconds"]
    columns += ["said left"] if kind in ("which-is-real", "preference") else []
    columns += ["same again", *(f"κ again{f', {name}' if name else ''}" for name in criteria)]
    rows: list[list[Cell | str]] = []
    for reader in analysis.readers:
        row: list[Cell | str] = [
            Cell(reader.name, "simulated" if reader.simulated else ""),
            Cell(str(reader.answered), f"{reader.unanswered} unanswered" if reader.unanswered else ""),
            DASH if reader.seconds is None else f"{reader.seconds:.1f}",
        ]
        row += [share_cell(reader.left)] if kind in ("which-is-real", "preference") else []
        row += [
            share_cell(reader.consistency),
            *(estimate_cell(reader.consistency_kappa.get(name)) for name in criteria),
        ]
        rows.append(row)
    words = "seconds: median of an answer; same again: repeated items that got the same answer twice; exact 95 % "
    words += "intervals as if answers were independent, of κ over subjects"
    return [*blocks, Table(columns, rows, words)]


def _skill(found: Detection | None, kind: str) -> list[Cell | str]:
    if found is None:
        return [DASH] * (6 if kind == "real-or-synthetic" else 4)
    row: list[Cell | str] = [share_cell(found.accuracy), p_text(found.accuracy.p)]
    row += [estimate_cell(found.d_prime), estimate_cell(found.criterion)]
    return [*row, share_cell(found.sensitivity), share_cell(found.specificity)] if kind == "real-or-synthetic" else row


def _agreement(analysis: Analysis) -> list[Block]:
    rows: list[list[Cell | str]] = []
    rating = analysis.answers.kind == "rating"
    for criterion, found in analysis.agreement.items():
        row: list[Cell | str] = [criterion or "all answers", estimate_cell(found.fleiss), estimate_cell(found.observed)]
        row += [estimate_cell(found.icc_single), estimate_cell(found.icc_mean)] if rating else []
        rows.append(row)
    found_all = analysis.agreement.values()
    words = intervals_in_words((each for found in found_all for each in (found.fleiss, found.observed)), "subjects")
    if any(found.icc_single is not None and found.icc_single.low is not None for found in found_all):
        words += "; of ICC by F over images, as if independent"
    weighted = " (quadratic weights)" if rating else ""
    columns = ["", f"Fleiss κ{weighted}", f"observed agreement{' (weighted)' if rating else ''}"]
    columns += ["ICC(2,1)", "ICC(2,k)"] if rating else []
    pairs: list[list[Cell | str]] = [
        [f"{one} and {other}", criterion or "all answers", estimate_cell(estimate)]
        for criterion, found in analysis.agreement.items()
        for one, other, estimate in found.pairs
    ]
    return [
        Table(columns, rows, f"0 is what chance gives, 1 full agreement; {words}"),
        Details("Each pair of readers", [Table(["readers", "", f"Cohen κ{weighted}"], pairs, words=2)]),
    ]


def _numbers(share: Proportion) -> tuple[float | None, float | None, float | None]:
    return share.share, share.low, share.high


def _name(name: str, simulated: bool) -> str:
    return f"{name} (simulated)" if simulated else name


_STRONGEST = (
    "comparisons won: a tie is half; strongest in: share of resamples over subjects, where equally strong systems all "
    "count, so that the shares may add up to more than 100 %"
)
_POOLED = (
    "Answers of several readers about the same images are not independent: the exact interval and p of the pooled "
    "answers are too sure. The mean over readers above takes it into account."
)
_SHARED = (
    "First answers count; second answers to repeated items show consistency alone.",
    "Mean over readers: readers, subjects and their cells are resampled, and variances put together by inclusion and "
    "exclusion (Cameron, Gelbach and Miller 2011). With fewer than four readers subjects alone are resampled.",
)
_DETECTION = (
    "Accuracy of one reader: Clopper–Pearson interval and exact two-sided binomial test against one half; p values are "
    "not corrected for the number of readers.",
)
_METHODS: dict[str, tuple[str, ...]] = {
    "real-or-synthetic": (
        *_DETECTION,
        f"d′ = z(H) − z(F) and c = −(z(H) + z(F))/2, the signal being “synthetic”; {LOG_LINEAR}. A c above 0 is an "
        "inclination to say “real”.",
        *_SHARED,
    ),
    "which-is-real": (
        *_DETECTION,
        f"d′ = √2·z(share right); {LOG_LINEAR}. c is above 0 for who inclines to the right image.",
        *_SHARED,
    ),
    "preference": (
        "Bradley–Terry strengths; a tie is half a win for each, and every pair shown gets 1/k of a win on each side (k "
        "systems), so that strengths stay finite.",
        *_SHARED,
    ),
    "rating": ("Mean ratings: over a reader's answers, then over readers.", *_SHARED),
}
