"""The report's sections about metrics beside the readers, and about the weights of WAEM."""

from collections.abc import Sequence

from transmodal.evaluation.readers.expert_weights import FittedWaem
from transmodal.evaluation.readers.resampling import Estimate
from transmodal.evaluation.readers.results import Analysis, MetricResult
from transmodal.evaluation.readers.wording import DASH, estimate_cell, interval_text, title_of
from transmodal.reporting.figures import plain_number
from transmodal.reporting.html import Block, Cell, Picture, Table, Text
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
                Picture(chart, f"τ_b of each metric over images{of}", f"Over images{of}; 95 % over subjects.")
            )
        if pairs:
            rows = [_row(result, result.pairs) for result in pairs]
            chart = interval_chart(
                rows, axis_label="share of choices foretold", reference=0.5, reference_label="chance", limits=(0, 1)
            )
            words = "How often the metric's difference points to the preferred image; 95 % over subjects."
            blocks.append(Picture(chart, "Share of choices to which each metric points", words))
        blocks.append(_metrics_table(results, of))
    left_out = [result for result in analysis.metrics if result.images and result.images.left_out]
    if left_out:
        names = ", ".join(dict.fromkeys(title_of(result.metric) for result in left_out))
        blocks.append(Text(f"Images without a value of {names} are in no correlation of it.", "note"))
    return blocks


def _metrics_table(results: Sequence[MetricResult], of: str) -> Table:
    with_images = any(result.images for result in results)
    with_pairs = any(result.pairs for result in results)
    columns = ["metric"]
    columns += ["τ_b, images", "by system", "Spearman ρ, images", "by system"] if with_images else []
    columns += ["choices foretold"] if with_pairs else []
    columns += ["τ_b, systems", "by system", "Spearman ρ, systems", "by system"]
    rows: list[list[Cell | str]] = []
    for result in results:
        row: list[Cell | str] = [Cell(title_of(result.metric), "lower is better" if result.lower_is_better else "")]
        for found in (result.images, result.systems) if with_images else (result.systems,):
            if found is result.systems and with_pairs:
                row.append(estimate_cell(result.pairs))
            if found is None:
                row += [DASH] * 4
                continue
            row += [estimate_cell(found.kendall), _limits(found.kendall_by_system)]
            row += [estimate_cell(found.spearman), _limits(found.spearman_by_system)]
        rows.append(row)
    caption = f"95 % intervals over subjects{of}; in the columns “by system” those over systems, for other systems"
    return Table(columns, rows, caption)


def waem_blocks(analysis: Analysis) -> list[Block]:
    """Return the fitted weights with their intervals and what they foretell, or why there are none."""
    waem = analysis.waem
    if not isinstance(waem, FittedWaem):
        return [Text(f"WAEM was {waem}.", "note")]
    rows = [
        [
            term,
            Cell(f"{weight:.3f}", "{:.3f} to {:.3f}".format(*waem.intervals[term]) if term in waem.intervals else ""),
        ]
        for term, weight in waem.waem.weights.items()
    ]
    scores: list[list[Cell | str]] = [
        [name, plain_number(round(value, 3))] for name, value in sorted(waem.scores.items(), key=lambda x: -x[1])
    ]
    blocks: list[Block] = [
        Text(
            f"{waem.waem.title} is a score of a system. These weights of its standardised terms, none below 0 and "
            f"together 1, say best what the {'simulated ' if analysis.simulated else ''}readers said "
            f"(fitted to {waem.waem.fitted_on}, ridge {waem.waem.ridge:g} towards equal weights)."
        ),
        Table(["term", "weight"], rows, "Weights with 95 % intervals" if waem.intervals else "Weights"),
        Table(["system", waem.waem.title], scores, "Scores, in standard deviations of these systems"),
    ]
    found = waem.agreement
    if found is not None:
        parts = [f"Kendall τ_b {DASH if found.tau_b is None else plain_number(round(found.tau_b, 3))}"]
        if found.r_squared is not None:
            parts.append(f"R² {plain_number(round(found.r_squared, 3))}")
        if found.log_likelihood is not None:
            parts.append(f"log-likelihood {found.log_likelihood:.3f} an answer (a coin: {found.chance:.3f})")
        blocks.append(Text(f"Each system foretold by a fit without it: {', '.join(parts)}."))
    return [*blocks, *[Text(note, "note") for note in (*waem.notes, *waem.waem.notes)]]


def _row(result: MetricResult, estimate: Estimate | None) -> IntervalRow:
    if estimate is None:
        return IntervalRow(title_of(result.metric), None)
    return IntervalRow(title_of(result.metric), estimate.value, estimate.low, estimate.high)


def _limits(estimate: Estimate) -> Cell:
    return Cell("", interval_text(estimate))
