"""The analysis of a reader study: from answers, and scores of the same images, to `results.Analysis`.

First answers count for skill, agreement, ratings and preferences; second answers to a repeated item tell of the
reader's consistency alone. People and simulated readers are never put together.
"""

import itertools
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas

from transmodal.errors import UserError
from transmodal.evaluation.intervals import FEWEST_SUBJECTS, paired_difference
from transmodal.evaluation.readers.agreement import (
    MISSING,
    Weights,
    cohen_kappa,
    fleiss_kappa,
    intraclass_correlation,
)
from transmodal.evaluation.readers.answers import REAL, Answers
from transmodal.evaluation.readers.correlation import by_image, by_system, pair_agreement, reader_scores
from transmodal.evaluation.readers.detection import (
    Detection,
    forced_choice,
    mean_d_prime,
    mean_forced_choice_d_prime,
    mean_share,
    proportion,
    yes_no,
)
from transmodal.evaluation.readers.expert_weights import fit_waem
from transmodal.evaluation.readers.metric_scores import (
    by_subject,
    join,
    load_scores,
    metrics_of,
    oriented,
    set_scores,
    sign_of,
)
from transmodal.evaluation.readers.preferences import mean_ratings, strengths, subject_means, wins_matrix
from transmodal.evaluation.readers.resampling import FEWEST_READERS, RESAMPLES, Estimate, Layout
from transmodal.evaluation.readers.results import AgreementResult, Analysis, MetricResult, RatingTest, ReaderResult
from transmodal.evaluation.scores import Scores
from transmodal.evaluation.significance import holm, signed_rank, subject_differences
from transmodal.evaluation.waem import RIDGE

MEAN = "mean"  # of all criteria
_ITEM = {"preference": ["case", "first", "second"]}  # what makes an item; else case and system


def analyse(
    study: str | Path,
    scores: str | Path | None = None,
    *,
    target: str | None = None,
    ridge: float = RIDGE,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Analysis:
    """Analyse a study on disk.

    Args:
        study: folder that `transmodal rate new` made and readers answered.
        scores: folder that `transmodal evaluate … --out` or `transmodal score … --out` wrote about the same images;
            with it, metrics are compared with the readers and WAEM is fitted.
        target: of the scores, where several modalities were scored.
        ridge: of WAEM, towards equal weights.
        resamples: of the bootstraps (WAEM: at most 1000).
        seed: of the bootstraps; the same seed gives the same intervals.

    Raises:
        UserError: no study, nobody has answered, or scores that do not fit the study.
    """
    from transmodal.evaluation.readers.study import read_answers

    answers = read_answers(study)
    loaded = None if scores is None else load_scores(scores, target)
    analysis = analyse_answers(answers, loaded, ridge=ridge, resamples=resamples, seed=seed)
    return replace(analysis, name=Path(study).resolve().name)


def analyse_answers(
    answers: Answers,
    scores: Scores | None = None,
    *,
    ridge: float = RIDGE,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Analysis:
    """Analyse answers; arguments as in `analyse`.

    Raises:
        UserError: nobody has answered, or scores that do not fit the answers.
    """
    answers, notes = _of_one_sort(answers)
    joined = None if scores is None else join(answers, scores)
    if joined is not None:
        answers, notes = joined.answers, [*notes, *joined.notes]
    first = replace(answers, table=answers.table[answers.table["repeat"] == 0].reset_index(drop=True))
    notes += _notes_on_readers(answers)
    result = Analysis(
        answers=answers,
        simulated=set(answers.table["reader"]) <= set(answers.simulated),
        readers=tuple(_reader(answers, name, seed, resamples) for name in answers.unanswered),
        agreement=_agreement(first, seed, resamples),
    )
    result = _KINDS[answers.kind](result, first.table, seed, resamples)
    if joined is not None:
        result = replace(result, metrics=_metrics(first, joined.scores, seed, resamples))
        try:
            waem = fit_waem(first, joined.scores, ridge=ridge, resamples=min(resamples, 1000), seed=seed)
            result = replace(result, waem=waem)
        except UserError as error:
            result = replace(result, waem=f"not fitted: {error}")
    return replace(result, notes=(*notes, *result.notes))


def _of_one_sort(answers: Answers) -> tuple[Answers, list[str]]:
    """Return people's answers where there are any, else those of simulated readers."""
    table = answers.table
    # Unlisted readers count as complete: a table need not come from a store.
    unanswered = {**dict.fromkeys(table["reader"], 0), **answers.unanswered}
    answers = replace(answers, unanswered=unanswered)
    if table.empty:
        raise UserError(f"Nobody has answered the study {answers.title!r} yet; show it with 'transmodal rate serve'")
    played = table["reader"].isin(answers.simulated)
    if played.all():
        return answers, ["All readers are simulated: programs answered, no people"]
    if not played.any():
        return answers, []
    people = {name: count for name, count in unanswered.items() if name not in answers.simulated}
    names = ", ".join(name for name in unanswered if name in answers.simulated)
    kept = replace(answers, table=table[~played].reset_index(drop=True), unanswered=people)
    return kept, [f"Left out, since people answered too: the simulated readers {names}"]


def _notes_on_readers(answers: Answers) -> list[str]:
    notes = []
    begun = set(answers.table["reader"])
    for name, count in answers.unanswered.items():
        if name not in begun:
            notes.append(f"{name} has not begun and is in no number")
        elif count:
            notes.append(f"{name} has not answered {count} trials; what is there counts")
    subjects = answers.table["subject"].nunique()
    if len(begun) == 1:
        notes.append("One reader: no agreement between readers, and intervals hold for this reader only")
    elif len(begun) < FEWEST_READERS:
        notes.append(f"{len(begun)} readers, fewer than {FEWEST_READERS}: intervals hold for these readers only")
    if subjects < FEWEST_SUBJECTS:
        notes.append(f"{subjects} subjects, fewer than {FEWEST_SUBJECTS}: no intervals over subjects")
    if not (answers.table["repeat"] == 1).any():
        notes.append("No item was repeated to one reader: nothing can be said of consistency")
    return notes


def _item(answers: Answers) -> list[str]:
    return _ITEM.get(answers.kind, ["case", "system"])


def _codes(answers: Answers) -> tuple[pandas.DataFrame, int, Weights]:
    """Return the table with a column `code` (0, 1, …), the number of codes and the weights of kappa."""
    table = answers.table
    if answers.kind == "rating":
        return table.assign(code=table["answer"].astype(int) - 1), answers.points, "quadratic"
    if answers.kind == "real-or-synthetic":
        return table.assign(code=(table["answer"] == "synthetic").astype(int)), 2, "none"
    if answers.kind == "which-is-real":
        return table.assign(code=(table["answer"] == table["real_side"]).astype(int)), 2, "none"
    code = np.where(table["answer"] == table["first"], 0, np.where(table["answer"] == table["second"], 2, 1))
    return table.assign(code=code), 3, "none"


def _reader(answers: Answers, name: str, seed: int, resamples: int) -> ReaderResult:
    part = replace(answers, table=answers.table[answers.table["reader"] == name])
    table = part.table
    trials = table["trial"].nunique()
    if not trials:
        return ReaderResult(name, name in answers.simulated, 0, answers.unanswered[name], None)
    first = table[table["repeat"] == 0]
    left = None
    if answers.kind == "which-is-real":
        left = proportion(int((first["answer"] == "left").sum()), len(first))
    elif answers.kind == "preference":
        decided = first[first["answer"].isin([*answers.systems])]
        left = proportion(int((decided["answer"] == decided["left"]).sum()), len(decided))
    again, kappas = _consistency(part, seed, resamples)
    return ReaderResult(
        name,
        name in answers.simulated,
        trials,
        answers.unanswered[name],
        float(table.drop_duplicates("trial")["seconds"].median()),
        _detection(answers.kind, first),
        # What chance repeats depends on how often each answer is given: κ takes it into account, one half does not.
        replace(proportion(int(again.sum()), len(again)), p=None) if len(again) else None,
        kappas,
        left,
    )


def _consistency(part: Answers, seed: int, resamples: int) -> tuple[npt.NDArray[np.bool_], dict[str, Estimate]]:
    """Return whether each repeated answer came again, and κ of the two occasions for each criterion."""
    table, categories, weights = _codes(part)
    again, kappas = [], {}
    for criterion in part.criteria or ("",):
        own = table[table["criterion"] == criterion] if criterion else table
        keys = [*_item(part), "subject"]
        twice = own[own["repeat"] == 0].merge(own[own["repeat"] == 1], on=keys, suffixes=("_first", "_second"))
        if twice.empty:
            continue
        one, other = twice["code_first"].to_numpy(int), twice["code_second"].to_numpy(int)
        again.append(one == other)
        kappas[criterion] = cohen_kappa(
            one, other, twice["subject"].to_numpy(), categories, weights=weights, seed=seed, resamples=resamples
        )
    return (np.concatenate(again) if again else np.zeros(0, bool)), kappas


def _detection(kind: str, table: pandas.DataFrame) -> Detection | None:
    if kind == "real-or-synthetic":
        synthetic, said = table["system"] != REAL, table["answer"] == "synthetic"
        counts = ((synthetic & said).sum(), synthetic.sum(), (~synthetic & said).sum(), (~synthetic).sum())
        return yes_no(*(int(count) for count in counts))
    if kind == "which-is-real":
        on_left, said = table["real_side"] == "left", table["answer"] == "left"
        counts = ((on_left & said).sum(), on_left.sum(), (~on_left & said).sum(), (~on_left).sum())
        return forced_choice(*(int(count) for count in counts))
    return None


def _agreement(first: Answers, seed: int, resamples: int) -> dict[str, AgreementResult]:
    table, categories, weights = _codes(first)
    names = sorted(set(table["reader"]))
    if len(names) < 2:
        return {}
    results = {}
    for criterion in first.criteria or ("",):
        own = table[table["criterion"] == criterion] if criterion else table
        wide = own.pivot_table(index=[*_item(first), "subject"], columns="reader", values="code", aggfunc="first")
        wide = wide.reindex(columns=names)
        codes = wide.fillna(MISSING).to_numpy(int)
        subjects = wide.index.get_level_values("subject").to_numpy()
        fleiss, observed = fleiss_kappa(codes, subjects, categories, weights=weights, seed=seed, resamples=resamples)
        pairs = [
            (
                names[i],
                names[j],
                cohen_kappa(
                    codes[:, i], codes[:, j], subjects, categories, weights=weights, seed=seed, resamples=resamples
                ),
            )
            for i, j in itertools.combinations(range(len(names)), 2)
        ]
        icc = intraclass_correlation(wide.to_numpy(float)) if first.kind == "rating" else (None, None)
        results[criterion] = AgreementResult(weights, fleiss, observed, tuple(pairs), *icc)
    return results


def _real_or_synthetic(result: Analysis, table: pandas.DataFrame, seed: int, resamples: int) -> Analysis:
    synthetic, said = (table["system"] != REAL).to_numpy(), (table["answer"] == "synthetic").to_numpy()

    def share(says: npt.NDArray[np.bool_], rows: npt.NDArray[np.bool_]) -> Estimate:
        if not rows.any():
            return Estimate(None, note="no such image was shown")
        layout = Layout.of(table["reader"][rows], table["subject"][rows])
        return mean_share(says[rows], layout, seed=seed, resamples=resamples)

    everything = np.ones(len(table), bool)
    layout = Layout.of(table["reader"], table["subject"])
    means = {
        "accuracy": share(synthetic == said, everything),
        "d_prime": mean_d_prime(said, synthetic, layout, seed=seed, resamples=resamples),
        "sensitivity": share(said, synthetic),
        "specificity": share(~said, ~synthetic),
    }
    called = {name: share(~said, (table["system"] == name).to_numpy()) for name in result.answers.systems}
    return replace(result, pooled=_detection("real-or-synthetic", table), means=means, called_real=called)


def _which_is_real(result: Analysis, table: pandas.DataFrame, seed: int, resamples: int) -> Analysis:
    right = (table["answer"] == table["real_side"]).to_numpy()
    layout = Layout.of(table["reader"], table["subject"])
    means = {
        "accuracy": mean_share(right, layout, seed=seed, resamples=resamples),
        "d_prime": mean_forced_choice_d_prime(right, layout, seed=seed, resamples=resamples),
    }
    called = {}
    for name in dict.fromkeys(table["system"]):
        rows = (table["system"] == name).to_numpy()
        layout = Layout.of(table["reader"][rows], table["subject"][rows])
        called[str(name)] = mean_share(~right[rows], layout, seed=seed, resamples=resamples)
    return replace(result, pooled=_detection("which-is-real", table), means=means, called_real=called)


def _preference(result: Analysis, table: pandas.DataFrame, seed: int, resamples: int) -> Analysis:
    shown = [name for name in result.answers.systems if name in {*table["first"], *table["second"]}]
    result = replace(result, wins=wins_matrix(table, shown))
    try:
        return replace(result, strengths=tuple(strengths(table, shown, seed=seed, resamples=resamples)))
    except ValueError as error:
        return replace(result, notes=(*result.notes, f"No strengths of preference: {error}"))


def _rating(result: Analysis, table: pandas.DataFrame, seed: int, resamples: int) -> Analysis:
    systems = [name for name in result.answers.systems if name in set(table["system"])]
    ratings, tests = {}, []
    for criterion in result.answers.criteria:
        own = table[table["criterion"] == criterion]
        ratings[criterion] = mean_ratings(own, systems, seed=seed, resamples=resamples)
        means = subject_means(own)
        tests += [
            _rating_test(means, criterion, one, other, seed, resamples)
            for one, other in itertools.combinations([name for name in systems if name in means], 2)
        ]
    adjusted = holm([test.p for test in tests])
    tests = [replace(test, p_holm=p) for test, p in zip(tests, adjusted, strict=True)]
    return replace(result, ratings=ratings, tests=tuple(tests))


def _rating_test(
    means: pandas.DataFrame, criterion: str, one: str, other: str, seed: int, resamples: int
) -> RatingTest:
    subjects = [str(name) for name in means.index]
    first, second = means[one].to_numpy(float), means[other].to_numpy(float)
    summary = paired_difference(first, second, subjects, seed=seed, resamples=resamples)
    test = signed_rank(subject_differences(first, second, subjects))
    note = f"{test.n} subjects differ: too few for p below 0.05" if test.too_few else ""
    low, high = summary.ci95
    difference = Estimate(
        summary.mean, low, high, summary.subjects, "subjects", "" if low is not None else "no interval"
    )
    return RatingTest(criterion, one, other, difference, test.p, None, test.rank_biserial, note)


_KINDS: dict[str, Callable[[Analysis, pandas.DataFrame, int, int], Analysis]] = {
    "real-or-synthetic": _real_or_synthetic,
    "which-is-real": _which_is_real,
    "preference": _preference,
    "rating": _rating,
}


def _metrics(first: Answers, scores: Scores, seed: int, resamples: int) -> tuple[MetricResult, ...]:
    results: list[MetricResult] = []
    for criterion in _criteria(first):
        values, items = _readers_by_subject(first, criterion)
        for metric in metrics_of(scores):
            table = oriented(scores, metric)
            images = pairs = None
            if items is not None:
                both = items.merge(table[["system", "case", "metric"]], on=["system", "case"])
                images = by_image(both, seed=seed, resamples=resamples)
            else:
                pairs = _pairs(first.table, table, seed, resamples)
            systems = by_system(by_subject(table, "metric"), values, seed=seed, resamples=resamples)
            results.append(MetricResult(metric, criterion, sign_of(metric) < 0, images, pairs, systems))
        for name, value in set_scores(scores).items():
            # One number a system, whoever is drawn.
            fixed = pandas.DataFrame(value, index=values.index)
            systems = by_system(fixed, values, seed=seed, resamples=resamples)
            results.append(MetricResult(name, criterion, sign_of(name) < 0, None, None, systems))
    return tuple(results)


def _criteria(first: Answers) -> tuple[str, ...]:
    if first.kind != "rating":
        return ("",)
    return first.criteria if len(first.criteria) == 1 else (*first.criteria, MEAN)


def _readers_by_subject(first: Answers, criterion: str) -> tuple[pandas.DataFrame, pandas.DataFrame | None]:
    """Return what readers thought as subjects × systems, and image by image where images were judged alone."""
    if first.kind == "preference":
        table = first.table
        sides = [
            table.assign(system=table[side], value=np.where(table["answer"] == table[side], 1.0, 0.0))
            for side in ("first", "second")
        ]
        won = pandas.concat(sides)
        won.loc[won["answer"] == "tie", "value"] = 0.5
        return by_subject(won[won["system"] != REAL], "value"), None
    items = reader_scores(first, None if criterion in ("", MEAN) else criterion)
    return by_subject(items, "value"), items


def _pairs(table: pandas.DataFrame, metric: pandas.DataFrame, seed: int, resamples: int) -> Estimate:
    value = metric.set_index(["system", "case"])["metric"].to_dict()
    first, second = (
        np.asarray([value.get((system, case), np.nan) for system, case in zip(table[side], table["case"], strict=True)])
        for side in ("first", "second")
    )
    with np.errstate(invalid="ignore"):
        difference = np.where(first == second, 0.0, first - second)
    return pair_agreement(table, difference.tolist(), seed=seed, resamples=resamples)
