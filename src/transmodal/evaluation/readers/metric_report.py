"""The report's sections about metrics beside the readers, and about the weights of WAEM."""

from collections.abc import Iterable, Sequence

from transmodal.evaluation.readers.expert_weights import FittedWaem
from transmodal.evaluation.readers.resampling import Estimate
from transmodal.evaluation.readers.results import Analysis, MetricResult
from transmodal.evaluation.readers.wording import DASH, estimate_cell, intervals_in_words, number, title_of
from transmodal.reporting.html import Block, Cell, Details, Picture, Table, Text
from transmodal.reporting.reader_charts import IntervalRow, interval_chart


def metric_blocks(analysis: Analysis) -> list[Block]:
    """Return a chart and a table of how each metric goes with the readers, for each criterion."""
    blocks: list[Block] = [
        Text(
            "Every metric is turned so that 1 means: it orders as the readers do, and −1: the other way round.", "note"
        )
    ]
    criteria = list(dict.fromkeys(result.criterion for result in analysis.metrics))
    for criterion in criteria:
        results = [result for result in analysis.metrics if result.criterion == criterion]
        of = f", {'mean of the criteria' if criterion == 'mean' else criterion}" if criterion else ""
        images = [result for result in results if result.images is not None]
        pairs = [result for result in results if result.pairs is not None]
        if images:
            rows = [_row(result, result.images.kendall) for result in images if result.images]
            chart = interval_chart(
                rows, axis_label="Kendall τ_b over images", reference=0, reference_label="no relation", limits=(-1, 1)
            )
            blocks.append(
                Picture(
                    chart,
                    f"τ_b of each metric over images{of}",
                    f"Over images{of}; {_over_subjects(result.images.kendall for result in images if result.images)}.",
                )
            )
        if pairs:
            rows = [_row(result, result.pairs) for result in pairs]
            chart = interval_chart(
                rows, axis_label="share of choices foretold", reference=0.5, reference_label="chance", limits=(0, 1)
            )
            words = "How often the metric's difference points to the preferred image; "
            words += f"{_over_subjects(result.pairs for result in pairs)}."
            blocks.append(Picture(chart, "Share of choices to which each metric points", words))
        blocks += _metrics_tables(results, of)
    left_out = [result for result in analysis.metrics if result.images and result.images.left_out]
    if left_out:
        names = ", ".join(dict.fromkeys(title_of(result.metric) for result in left_out))
        blocks.append(Text(f"Images without a value of {names} are in no correlation of it.", "note"))
    return blocks


def _metrics_tables(results: Sequence[MetricResult], of: str) -> list[Block]:
    """Return the correlations with intervals over subjects, and folded away those over systems."""
    with_images = any(result.images for result in results)
    with_pairs = any(result.pairs for result in results)
    columns = ["metric"]
    columns += ["τ_b, images", "Spearman ρ, images"] if with_images else []
    columns += ["choices foretold"] if with_pairs else []
    columns += ["τ_b, systems", "Spearman ρ, systems"]
    over_subjects: list[list[Cell | str]] = []
    over_systems: list[list[Cell | str]] = []
    for result in results:
        name = Cell(title_of(result.metric), "lower is better" if result.lower_is_better else "")
        one: list[Cell | str] = [name]
        other: list[Cell | str] = [name]
        for found in (result.images, result.systems) if with_images else (result.systems,):
            one += [DASH] * 2 if found is None else [estimate_cell(found.kendall), estimate_cell(found.spearman)]
            other += (
                [DASH] * 2
                if found is None
                else [estimate_cell(found.kendall_by_system), estimate_cell(found.spearman_by_system)]
            )
        if with_pairs:
            one.insert(1, estimate_cell(result.pairs))
            other.insert(1, DASH)
        over_subjects.append(one)
        over_systems.append(other)
    shown = [result.pairs for result in results]
    drawn: list[Estimate | None] = []
    for result in results:
        for found in (result.images, result.systems):
            if found is not None:
                shown += [found.kendall, found.spearman]
                drawn += [found.kendall_by_system, found.spearman_by_system]
    words = Text("These intervals draw systems: they hold for systems like these, not for other images.", "note")
    return [
        Table(columns, over_subjects, f"{_over_subjects(shown).capitalize()}{of}"),
        Details(
            "Intervals over systems",
            [Table(columns, over_systems, intervals_in_words(drawn, "systems").capitalize()), words],
        ),
    ]


def waem_blocks(analysis: Analysis) -> list[Block]:
    """Return the fitted weights with their intervals and what they foretell, or why there are none."""
    waem = analysis.waem
    if not isinstance(waem, FittedWaem):
        return [Text(f"WAEM was {waem}.", "note")]
    rows: list[list[Cell | str]] = [
        [
            term,
            Cell(number(weight), _limits(waem, term)),
        ]
        for term, weight in waem.waem.weights.items()
    ]
    values: list[list[Cell | str]] = [
        [name, number(value)] for name, value in sorted(waem.scores.items(), key=lambda x: -x[1])
    ]
    blocks: list[Block] = [
        Text(
            f"{waem.waem.title} is a score of a system. These weights of its standardised terms, none below 0 and "
            f"together 1, say best what the {'simulated ' if analysis.simulated else ''}readers said "
            f"(fitted to {waem.waem.fitted_on}, ridge {waem.waem.ridge:g} towards equal weights)."
        ),
        Table(
            ["term", "weight"], rows, "Weights with 95 % intervals" if waem.intervals else "Weights without intervals"
        ),
        Table(["system", waem.waem.title], values, "Scores, in standard deviations of these systems"),
    ]
    found = waem.agreement
    if found is not None:
        parts = [f"Kendall τ_b {DASH if found.tau_b is None else number(found.tau_b)}"]
        if found.r_squared is not None:
            parts.append(f"R² {number(found.r_squared)}")
        if found.log_likelihood is not None:
            parts.append(f"log-likelihood {number(found.log_likelihood)} an answer (a coin: {number(found.chance)})")
        blocks.append(Text(f"Each system foretold by a fit without it: {', '.join(parts)}."))
    return [*blocks, *[Text(note, "note") for note in (*waem.notes, *waem.waem.notes)]]


def _limits(waem: FittedWaem, term: str) -> str:
    if term not in waem.intervals:
        return waem.without.get(term, "")
    return " to ".join(number(limit) for limit in waem.intervals[term])


def _over_subjects(estimates: Iterable[Estimate | None]) -> str:
    return intervals_in_words(estimates, "subjects")


def _row(result: MetricResult, estimate: Estimate | None) -> IntervalRow:
    if estimate is None:
        return IntervalRow(title_of(result.metric), None)
    return IntervalRow(title_of(result.metric), estimate.value, estimate.low, estimate.high)
