"""What a report of scores says, block by block; `reporting.html` makes the page."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas

from transmodal.evaluation.baselines import meaning_of
from transmodal.evaluation.intervals import FEWEST_SUBJECTS, Summary
from transmodal.evaluation.lesions import RING
from transmodal.evaluation.scores import Scores
from transmodal.evaluation.sets import reason_of, said_once
from transmodal.evaluation.wording import (
    DASH,
    bare_title,
    counted,
    interval_text,
    is_better,
    lead_metric,
    left_out_in_words,
    lesion_counts,
    notes,
    over,
    percent,
    titled,
)
from transmodal.metrics import metric_of
from transmodal.reporting.charts import Row, distribution_chart, group_chart
from transmodal.reporting.figures import plain_number
from transmodal.reporting.html import Block, Cell, Details, Headline, Headlines, Picture, Table, Text

_HEADLINES = ("psnr", "ssim", "mae", "nrmse")


def headlines(scores: Scores) -> Headlines:
    """Return the most telling metrics' means with their intervals and their distances from the best baseline."""
    system, others = scores.systems[0], scores.systems[1:]
    items = []
    order = [*(name for name in _HEADLINES if name in scores.columns), *scores.columns]
    for metric in list(dict.fromkeys(order))[: len(_HEADLINES)]:
        summary = scores.summary_of(metric)
        remark, good = "", None
        if others:
            best = _best(metric, scores, others)
            difference = scores.difference(metric, system, best)
            if difference.mean is not None:
                low, high = difference.ci95
                good = is_better(metric, difference.mean)
                sure = low is not None and high is not None and (low > 0 or high < 0)
                remark = f"{plain_number(abs(difference.mean))} {'better' if good else 'worse'} than {best}"
                remark += "" if sure else " (its interval includes 0)" if low is not None else ""
                if difference.mean == 0:
                    remark = f"equal to {best}"
                good = good if sure else None
        interval = interval_text(summary)
        items.append(
            Headline(
                titled(metric, scores),
                _mean_text(summary),
                interval if summary.ci95[0] is None else f"95 %: {interval}",
                remark,
                good,
            )
        )
    return Headlines(items)


def result_blocks(scores: Scores) -> list[Block]:
    """Return headlines, policy, the table of systems, their differences, and the plot of every case."""
    blocks: list[Block] = [Text(f"The large numbers are those of {scores.systems[0]}.", "note")]
    if scores.systems[0] == "translator":
        blocks = []
    blocks += [headlines(scores), Text(" ".join([scores.policy.describe(), *notes(scores)]), "note")]
    blocks.append(systems_table(scores))
    if len(scores.systems) > 1:
        blocks.append(differences_table(scores))
    lesions = lesions_table(scores)
    blocks += [] if lesions is None else [lesions]
    metrics = [lead_metric(scores)]
    metrics += [name for name in scores.columns if name == "ssim" or name.startswith("dice[")]
    blocks += [distribution(scores, metric) for metric in dict.fromkeys(metrics)]
    blocks += set_blocks(scores)
    for metric, summary in scores.summary.items():
        if summary.left_out:
            blocks.append(
                Text(
                    left_out_in_words(metric, summary, scores),
                    "warning",
                )
            )
    if scores.failed:
        rows = [[case, reason] for case, reason in scores.failed]
        blocks.append(Text(f"{len(rows)} cases could not be scored and are in no average.", "warning"))
        blocks.append(Table(["case", "why"], rows, words=2))
    return blocks


def systems_table(scores: Scores) -> Table:
    """Return the table of systems by metrics, the best of each column marked."""
    metrics = scores.columns
    best = {metric: _best(metric, scores, scores.systems) for metric in metrics}
    rows: list[list[Cell | str]] = []
    for system in scores.systems:
        row: list[Cell | str] = [Cell(system, meaning_of(system))]
        for metric in metrics:
            summary = scores.summary_of(metric, system)
            row.append(Cell(_mean_text(summary), _small_interval(summary), best[metric] == system))
        rows.append(row)
    caption = f"Mean over {over(scores)}. Bold: best of the column. "
    caption += f"Small: its 95 % interval, by bootstrap over subjects{_without_interval(scores)}."
    return Table(["", *(titled(metric, scores) + _arrow(metric) for metric in metrics)], rows, caption)


def differences_table(scores: Scores) -> Table:
    """Return the paired differences of the system under test from each other one."""
    first = scores.systems[0]
    rows: list[list[Cell | str]] = []
    for other in scores.systems[1:]:
        row: list[Cell | str] = [f"{first} − {other}"]
        for metric in scores.columns:
            summary = scores.difference(metric, first, other)
            sign = "+" if summary.mean is not None and summary.mean > 0 else ""
            row.append(Cell(sign + _mean_text(summary), _small_interval(summary)))
        rows.append(row)
    caption = f"Paired differences over the same cases, with 95 % intervals over subjects{_without_interval(scores)}."
    return Table(["", *(titled(metric, scores) for metric in scores.columns)], rows, caption)


def lesions_table(scores: Scores) -> Table | None:
    """Return the table of systems by what becomes of lesions; None where none are scored apart."""
    if scores.lesions.empty:
        return None
    unit = scores.policy.unit or "units"
    rows: list[list[Cell | str]] = []
    for system, summary in scores.lesion_summary.items():
        row: list[Cell | str] = [Cell(system, meaning_of(system))]
        for name in ("mae", "psnr", "contrast", "contrast_truth", "share"):
            value = summary.values[name]
            text = _mean_text(value)
            if name == "share":
                text = DASH if summary.share is None else percent(summary.share)
                row.append(Cell(text, "of the mean contrasts" if summary.share is not None else ""))
            else:
                row.append(Cell(text, _small_interval(value)))
        rows.append(row)
    columns = ["", f"MAE ({unit}) ↓", "PSNR (dB) ↑", f"contrast ({unit})", "the truth's", "share"]
    low, high = RING
    caption = (
        f"In the lesions of '{scores.policy.lesions}', {lesion_counts(scores)}. Contrast: mean inside minus mean "
        f"{low:g} to {high:g} mm around, of all voxels of a case. Intervals of 95 % over subjects"
        f"{_without_interval(scores)}."
    )
    return Table(columns, rows, caption)


def distribution(scores: Scores, metric: str) -> Picture:
    """Return the plot of every case and subject of every system."""
    rows = []
    for system in scores.systems:
        table = scores.of(system)
        rows.append(_row(system, table, metric, scores.summary_of(metric, system)))
    caption = "Small dots: cases. Rings: each subject's mean. Diamond and bar: the mean and its 95 % interval."
    description = f"{bare_title(metric)} of every case for {', '.join(scores.systems)}"
    return Picture(distribution_chart(rows, axis_label=titled(metric, scores)), description, caption)


def group_blocks(scores: Scores, groups: pandas.DataFrame) -> list[Block]:
    """Return a table for each grouping, and a plot of the finest one that has the first one's factor."""
    if groups.empty:
        return []
    system, metric = scores.systems[0], lead_metric(scores)
    mine = groups[groups["system"] == system]
    blocks: list[Block] = []
    factors = groups.attrs["factors"]
    names = list(dict.fromkeys(mine["group_by"]))
    leading = [name for name in names if factors[names[0]][0] in factors[name]]
    finest = max(leading, key=lambda name: int((mine["group_by"] == name).sum()))
    table = scores.of(system)
    labels = table[factors[finest]].astype(str).replace("", DASH).agg(" × ".join, axis=1)
    rows = []
    for _, group in mine[mine["group_by"] == finest].iterrows():
        members = labels == group["group"]
        rows.append(_row(str(group["group"]), table[members], metric, scores.summary_of(metric, system, members)))
    blocks.append(
        Picture(
            group_chart(rows, axis_label=titled(metric, scores), reference=scores.summary_of(metric).mean),
            f"{bare_title(metric)} by {finest}",
            f"{system} by {finest}. Rings: subjects. Diamond and bar: the group's mean and its 95 % interval over its "
            "subjects. Dashed: the mean over all.",
        )
    )
    tables = [(str(name), _group_table(scores, part, str(name))) for name, part in mine.groupby("group_by", sort=False)]
    blocks += [table for name, table in tables if name == finest]
    folded = [table for name, table in tables if name != finest]
    if folded:
        blocks.append(Details(counted(len(folded), "more grouping"), folded))
    for other in scores.systems[1:]:
        its = groups[groups["system"] == other]
        tables_of_it = [_group_table(scores, part, str(name)) for name, part in its.groupby("group_by", sort=False)]
        blocks.append(Details(f"The same of {other}", tables_of_it))
    return blocks


def set_blocks(scores: Scores) -> list[Block]:
    """Return set-level scores, with N and features, and why others are not there; no column without a value."""
    names = list(next(iter(scores.sets.values()), {}))
    there = [name for name in names if any(_is_there(values[name]) for values in scores.sets.values())]
    blocks: list[Block] = []
    if there:
        rows: list[list[Cell | str]] = [
            [system, *(_set_cell(values[name]) for name in there)] for system, values in scores.sets.items()
        ]
        caption = "Distance of all predictions from all truths; lower is better. Compare only at equal N."
        blocks.append(Table(["set-level", *(name.upper() for name in there)], rows, caption))
    remarks = said_once(scores.sets, _about_set_score)
    return [*blocks, Text(" ".join(remarks), "note")] if remarks else []


def _is_there(score: Mapping[str, Any]) -> bool:
    return score.get("value") is not None


def _set_cell(score: Mapping[str, Any]) -> Cell | str:
    return Cell(plain_number(score["value"]), f"N = {score['n']}") if _is_there(score) else "not available"


def _about_set_score(score: Mapping[str, Any]) -> str:
    """Return how a set-level score goes on after its name, without its value, which stands in the table."""
    if not _is_there(score):
        return f" {reason_of(score)}"
    digest = f", weights SHA-256 {score['sha256']}" if score.get("sha256") else ""
    what = "Fréchet distance"
    if score.get("subsets"):
        what = f"kernel distance, mean over {score['subsets']} subsets of {score['subset_size']} images,"
    return f": {what} of {score['features']}{digest}"


def cases_table(scores: Scores) -> Details:
    """Return every case of the system under test, worst first, folded away."""
    metric = lead_metric(scores)
    ordered = scores.cases.sort_values(metric, ascending=metric_of(metric).direction == "higher", kind="stable")
    names = ["case", "subject", *scores.factors]
    rows = [
        [*(str(row[name]) for name in names), *(plain_number(row[metric]) for metric in scores.columns)]
        for _, row in ordered.iterrows()
    ]
    columns = [*names, *(titled(metric, scores) for metric in scores.columns)]
    of = f" of {scores.systems[0]}" if len(scores.systems) > 1 else ""
    return Details(f"{counted(len(rows), 'case')}{of}, worst first", [Table(columns, rows, words=len(names))])


def _group_table(scores: Scores, part: pandas.DataFrame, name: str) -> Table:
    rows: list[list[Cell | str]] = []
    for _, group in part.iterrows():
        row: list[Cell | str] = [str(group["group"]), str(group["subjects"]), str(group["cases"])]
        for metric in scores.columns:
            low, high = group[f"{metric}_low"], group[f"{metric}_high"]
            between = (
                f"{counted(group['subjects'], 'subject')}: no interval"
                if pandas.isna(low)
                else f"{plain_number(low)} to {plain_number(high)}"
            )
            row.append(Cell(_number(group[metric]), between))
        rows.append(row)
    return Table([name, "subjects", "cases", *(titled(metric, scores) for metric in scores.columns)], rows)


def _row(label: str, table: pandas.DataFrame, metric: str, summary: Summary) -> Row:
    low, high = (np.nan if limit is None else limit for limit in summary.ci95)
    mean = np.nan if summary.mean is None else summary.mean
    return Row(label, table[metric].to_numpy(float), table["subject"].tolist(), mean, low, high)


def _small_interval(summary: Summary) -> str:
    return "" if summary.ci95[0] is None else interval_text(summary)


def _without_interval(scores: Scores) -> str:
    few = scores.subjects < FEWEST_SUBJECTS
    return f"; there is none below {FEWEST_SUBJECTS} subjects" if few else ""


def _best(metric: str, scores: Scores, systems: Sequence[str]) -> str:
    worst = -np.inf if metric_of(metric).direction == "higher" else np.inf

    def goodness(system: str) -> float:
        mean = scores.summary_of(metric, system).mean
        value = worst if mean is None else mean
        return value if metric_of(metric).direction == "higher" else -value

    return max(systems, key=goodness)


def _arrow(metric: str) -> str:
    return " ↑" if metric_of(metric).direction == "higher" else " ↓"


def _mean_text(summary: Summary) -> str:
    if summary.mean is None:
        return "∞" if summary.infinite else DASH
    return plain_number(summary.mean)


def _number(value: float | None) -> str:
    return DASH if value is None or pandas.isna(value) else plain_number(float(value))
