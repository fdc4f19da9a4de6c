"""What a report says of several systems scored on the same cases, block by block; `reporting.html` makes the page."""

from collections.abc import Sequence

import numpy as np

from transmodal.evaluation.baselines import is_baseline
from transmodal.evaluation.intervals import FEWEST_SUBJECTS, Summary
from transmodal.evaluation.ranking import Ranking, by_case
from transmodal.evaluation.scores import Scores
from transmodal.evaluation.significance import ZEROS_IN_WORDS
from transmodal.evaluation.system_comparison import (
    LEVEL,
    Aggregate,
    Difference,
    SystemComparison,
    WaemResult,
    compare_systems,
)
from transmodal.evaluation.waem import Waem
from transmodal.evaluation.waem_terms import FLOORS_IN_WORDS
from transmodal.evaluation.wording import bare_title, counted, lead_metric, titled
from transmodal.metrics import metric_of
from transmodal.reporting.charts import RankGrid, Row, differences_chart, paired_chart, rank_chart
from transmodal.reporting.figures import p_text, plain_number
from transmodal.reporting.html import Block, Cell, Details, Picture, Table, Text

DASH = "—"
_GRIDS = 6
_TERM_TITLES = {"psnr": "PSNR (dB)", "1/mse": "1/(MSE/R²)"}


def comparison_blocks(
    scores: Scores,
    *,
    waem: Waem | Sequence[float] | None = None,
    comparison: SystemComparison | None = None,
) -> list[Block]:
    """Return paired differences with tests, every subject, ranks, WAEM, Pareto front and aggregated ranks.

    Args:
        scores: of two systems or more; with one there is nothing to say.
        waem: as in `compare_systems`.
        comparison: what `compare_systems` returned, where it was called before.

    Raises:
        UserError: the given weights cannot be applied.
    """
    if len(scores.systems) < 2:
        return []
    found = comparison or compare_systems(scores, waem=waem)
    blocks: list[Block] = [Text(verdict, "warning") for verdict in found.verdicts]
    blocks.append(_differences_table(scores, found.against_first))
    if len(scores.systems) > 2:
        title = f"All {counted(len(found.all_pairs), 'paired difference')}"
        blocks.append(Details(title, [_differences_table(scores, found.all_pairs)]))
    blocks += _pictures(scores, found)
    blocks += _ranking_blocks(scores, found)
    blocks += [Text(note, "note") for note in found.notes]
    blocks += _waem_blocks(scores, found.waem)
    if found.aggregate is not None:
        blocks += _aggregate_blocks(scores, found.aggregate)
    return blocks


def reach_text(differences: Sequence[Difference]) -> str:
    """Say where so few subjects were tested so often that no corrected p can be below 0.05; "" where it can be."""
    tests = [each.test for each in differences if each.test.p is not None]
    differing = [test for test in tests if test.n]
    if not differing:
        return ""
    smallest = min(test.smallest_p for test in differing)
    corrected = min(1.0, smallest * len(tests))
    if corrected < LEVEL:
        return ""
    most = counted(max(test.n for test in differing), "subject")
    return (
        f"With {most} and {counted(len(tests), 'test')} the smallest corrected p is {p_text(corrected)}, even if every "
        "subject agrees: intervals say more here than p."
    )


def share_text(share: float | None) -> str:
    """Return a share in per cent."""
    return DASH if share is None else f"{100 * share:.0f} %"


def stability_text(ranking: Ranking) -> str:
    """Return how firm an order is, in words, or why that is not known."""
    if ranking.same_order is None:
        return f"stability unknown below {FEWEST_SUBJECTS} subjects"
    return f"the same order in {share_text(ranking.same_order)} of resamples"


def _differences_table(scores: Scores, differences: Sequence[Difference]) -> Table:
    rows: list[list[Cell | str]] = []
    for each in differences:
        summary, test = each.summary, each.test
        p = Cell(p_text(test.p), f"cannot be below {p_text(test.smallest_p)}" if test.too_few and test.n else "")
        sure = each.p_holm is not None and each.p_holm < LEVEL
        rows.append(
            [
                titled(each.metric, scores),
                f"{each.first} − {each.second}",
                Cell(_signed(summary.mean), _interval(summary)),
                Cell(str(test.n), f"{test.zeros} equal" if test.zeros else ""),
                p,
                Cell(p_text(each.p_holm), best=sure),
                Cell(_signed(each.favour)),
            ]
        )
    exact = all(each.test.exact for each in differences)
    caption = (
        "Paired differences over the same cases; small: 95 % interval by bootstrap over subjects. p: Wilcoxon signed-"
        f"rank test of the subjects' means, two-sided, {'exact' if exact else 'exact up to 50 subjects'}; "
        f"{ZEROS_IN_WORDS['wilcoxon']}. Holm: p corrected over the {counted(len(differences), 'test')} of this table, "
        f"bold below {LEVEL:g}. In favour: matched-pairs rank-biserial correlation, +1 when every subject speaks for "
        "the first of the two, −1 when every subject speaks for the other."
    )
    reach = reach_text(differences)
    caption += f" {reach}" if reach else ""
    columns = ["metric", "difference", "mean", "subjects", "p", "p, Holm", "in favour"]
    return Table(columns, rows, caption, words=2)


def _pictures(scores: Scores, found: SystemComparison) -> list[Block]:
    metric = lead_metric(scores)
    systems, table = scores.systems, by_case(scores, metric)
    by_subject = table.replace([np.inf, -np.inf], np.nan).groupby(level="subject", sort=True).mean()
    means = [_limits(scores.summary_of(metric, system)) for system in systems]
    blocks: list[Block] = [
        Picture(
            paired_chart(systems, by_subject.to_numpy(float), means, axis_label=titled(metric, scores)),
            f"{bare_title(metric)} of every subject under {', '.join(systems)}",
            f"Every subject ({len(by_subject)}): one line a subject across the systems. Diamond and bar: the mean and "
            "its 95 % interval. Lines that cross say that the systems are not better for everyone alike.",
        )
    ]
    rows = []
    for each in (difference for difference in found.against_first if difference.metric == metric):
        values = (table[each.first] - table[each.second]).to_numpy(float)
        subjects = table.index.get_level_values("subject").astype(str).tolist()
        rows.append(Row(f"− {each.second}", values, subjects, *_limits(each.summary)))
    better = "right" if metric_of(metric).direction == "higher" else "left"
    label = f"{systems[0]} minus the other: {titled(metric, scores)}"
    description = f"Differences of {systems[0]} in {bare_title(metric)}, every subject"
    blocks.append(
        Picture(
            differences_chart(rows, axis_label=label, better=better),
            description,
            "Rings: the paired difference of each subject. Diamond and bar: the mean difference and its 95 % interval.",
        )
    )
    return blocks


def _ranking_blocks(scores: Scores, found: SystemComparison) -> list[Block]:
    if not found.rankings:
        return [Text("No metric has a finite value for every system, so that nothing can be ranked.", "warning")]
    rows: list[list[Cell | str]] = []
    for metric, ranking in found.rankings.items():
        left = f"{counted(ranking.left_out, 'case')} without a finite value left out" if ranking.left_out else ""
        neighbours = ", ".join(
            f"{better} before {worse}: {share_text(share)}"
            for better, worse, share in ranking.neighbours
            if share is not None
        )
        rows.append(
            [titled(metric, scores), Cell(ranking.line, neighbours), Cell(share_text(ranking.same_order), left)]
        )
    missing = [bare_title(metric) for metric in scores.policy.columns if metric not in found.rankings]
    caption = (
        "Ranks by the mean over the cases in which every system has a finite value. Small: how often neighbours keep "
        "their order when whole subjects are drawn with replacement (2 000 times); near 50 % they are not told apart."
    )
    if missing:
        caption += f" Not ranked, without a finite value in some system: {', '.join(missing)}."
    blocks: list[Block] = [Table(["metric", "order, best first", "same order"], rows, caption, words=2)]
    drawn = {metric: ranking for metric, ranking in found.rankings.items() if ranking.probabilities}
    if not drawn:
        blocks.append(Text(f"How stable the ranks are is not known below {FEWEST_SUBJECTS} subjects.", "note"))
        return blocks
    grids = [_grid(bare_title(metric), ranking) for metric, ranking in list(drawn.items())[:_GRIDS]]
    more = "" if len(drawn) <= _GRIDS else f" The first {_GRIDS} of {len(drawn)} metrics."
    blocks.append(
        Picture(
            rank_chart(grids),
            "How often each system takes each rank, metric by metric",
            f"How often each system takes each rank (1 is best), in per cent of resamples of subjects.{more}",
        )
    )
    return blocks


def _grid(title: str, ranking: Ranking) -> RankGrid:
    shares = ranking.probabilities or {}
    return RankGrid(title, ranking.systems, np.array([shares[system] for system in ranking.systems]))


def _waem_blocks(scores: Scores, result: WaemResult) -> list[Block]:
    notes = ". ".join(note[:1].upper() + note[1:] for note in result.notes)
    notes += "." if notes else ""
    if result.waem is None or result.ranking is None:
        return [Text(f"WAEM is not available: {result.reason}. {notes}", "note")]
    waem = result.waem
    used = [term for term, weight in waem.weights.items() if weight > 0]
    parts = waem.contributions(result.terms)
    rows: list[list[Cell | str]] = []
    for system in result.ranking.systems:
        cells = [
            Cell(plain_number(float(result.terms.loc[system, term])), _signed(float(parts.loc[system, term])))  # type: ignore[arg-type]
            for term in used
        ]
        limits = result.ranking.intervals
        between = f"rank {_places(limits[system])}" if limits else ""
        first = system == result.ranking.systems[0]
        small = ", ".join(part for part in ("baseline" if is_baseline(system) else "", between) if part)
        value = Cell(_signed(result.scores[system]), small, first)
        rows.append([system, *cells, value])
    rows.append(["weight", *(plain_number(waem.weights[term]) for term in used), ""])
    columns = ["", *(_TERM_TITLES.get(term, term.upper()) for term in used), waem.title]
    kind = "standardised terms, in standard deviations" if waem.standardised else "raw terms"
    caption = (
        f"{waem.label}: a score of each system, higher is better. Each term in its unit; small: what it adds to the "
        f"score ({kind}, times its weight). Ranks: 95 % interval when subjects are drawn again, set-level distances "
        "held."
    )
    return [Table(columns, rows, caption), Text(f"{_waem_facts(scores, result, used)} {notes}".rstrip(), "note")]


def _waem_facts(scores: Scores, result: WaemResult, used: Sequence[str]) -> str:
    """Return what WAEM's numbers depend on, in words."""
    facts = []
    if "1/mse" in used:
        unit = f" {scores.policy.unit}" if scores.policy.unit else ""
        facts.append(
            f"MSE on the scale on which the data range is 1: R = {plain_number(scores.policy.data_range)}{unit}"
        )
    if "1/nrmse" in used:
        facts.append(f"NRMSE's denominator: {scores.policy.nrmse}")
    if used[-1] in ("1/fid", "1/fnsd"):
        here = result.terms.attrs["made_with"]
        facts.append(f"{used[-1][2:].upper()}: N = {here['n']}, {here['features']}")
    facts += ["No weights of WAEM are published", FLOORS_IN_WORDS]
    return ". ".join(facts) + "."


def _aggregate_blocks(scores: Scores, aggregate: Aggregate) -> list[Block]:
    place = {system: number for number, system in enumerate(aggregate.kemeny or (), 1)}
    rows: list[list[Cell | str]] = []
    for system in aggregate.ranking.systems:
        limits = aggregate.ranking.intervals
        between = f"place {_places(limits[system])}" if limits else ""
        share = aggregate.pareto_shares and f"in {share_text(aggregate.pareto_shares[system])} of resamples"
        rows.append(
            [
                system,
                Cell(f"{aggregate.ranking.means[system]:.2f}", between, system == aggregate.ranking.systems[0]),
                Cell(str(place.get(system, DASH)), "", place.get(system) == 1),
                Cell("yes" if system in aggregate.pareto else "no", share or ""),
            ]
        )
    titles = ", ".join(bare_title(metric) for metric in aggregate.metrics)
    against, votes = aggregate.contradictions
    kemeny = "more than eight systems: no Kemeny order"
    if aggregate.kemeny is not None:
        kemeny = f"Kemeny: the order that turns round the fewest of the metrics' {votes} pairwise votes, here {against}"
        if aggregate.kemeny_same is not None:
            kemeny += f" (the same order in {share_text(aggregate.kemeny_same)} of resamples)"
    winner = (
        f"{aggregate.condorcet} beats each other system in a majority of metrics"
        if aggregate.condorcet
        else "no system beats each other one in a majority of metrics"
    )
    caption = (
        f"Without weights, over {titles}: each metric has one vote, so that near relatives (MSE, NRMSE, PSNR) count "
        f"several times. Mean rank: Borda; small: 95 % interval of the place. {kemeny}. Condorcet: {winner}. Pareto "
        "front: no other system is at least as good in all metrics and better in one. Set-level distances are held "
        "when subjects are drawn again."
    )
    return [Table(["", "mean rank", "Kemeny place", "Pareto front"], rows, caption)]


def _places(limits: tuple[float, float]) -> str:
    low, high = limits
    return f"{low:g}" if low == high else f"{low:g} to {high:g}"


def _limits(summary: Summary) -> tuple[float, float, float]:
    low, high = (np.nan if limit is None else limit for limit in summary.ci95)
    return np.nan if summary.mean is None else summary.mean, low, high


def _interval(summary: Summary) -> str:
    low, high = summary.ci95
    if low is None or high is None:
        return f"{counted(summary.subjects, 'subject')}: no interval" if summary.n else "no finite value"
    return f"{plain_number(low)} to {plain_number(high)}"


def _signed(value: float | None) -> str:
    if value is None:
        return DASH
    return ("+" if value > 0 else "") + plain_number(value)
