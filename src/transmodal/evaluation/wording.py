"""Scores in words, for a terminal and a report alike: titles with units, counts, intervals, and what stands beside."""

import math

from transmodal.evaluation.baselines import is_baseline
from transmodal.evaluation.intervals import Summary
from transmodal.evaluation.lesions import LesionSummary
from transmodal.evaluation.resources import resources_in_words
from transmodal.evaluation.scores import IN_UNIT_OF_TRUTH, Scores
from transmodal.metrics import metric_of
from transmodal.metrics.policy import Policy
from transmodal.reporting.figures import plain_number

DASH = "—"
_OF_SCORE = Policy()  # what `transmodal score` takes where nothing is said


def lead_metric(scores: Scores) -> str:
    """Return the metric by which cases are ordered and pictures chosen: PSNR where it is there."""
    return "psnr" if "psnr" in scores.columns else scores.columns[0]


def titled(metric: str, scores: Scores) -> str:
    """Return a metric's title with its unit, such as "MAE (HU)"."""
    unit = metric_of(metric).unit.replace("units", scores.policy.unit or "units")
    unit = f"{scores.policy.unit}²" if unit == f"squared {scores.policy.unit}" else unit
    return bare_title(metric) if unit == "1" else f"{bare_title(metric)} ({unit})"


def bare_title(metric: str) -> str:
    """Return the title of a column without its unit: "MAE", "Dice of label 2", or "Dice of liver"."""
    _, bracket, label = metric.partition("[")
    label = label.rstrip("]")
    return metric_of(metric).title + (f" of {'label ' * label.isdigit()}{label}" if bracket else "")


def is_better(metric: str, difference: float) -> bool:
    """Say whether a difference first − second speaks for the first."""
    return difference > 0 if metric_of(metric).direction == "higher" else difference < 0


def counted(number: int, noun: str) -> str:
    """Return "1 case" or "2 cases"."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def is_absent(value: float | None) -> bool:
    """Say whether a table has nothing to show for a value."""
    return value is None or not math.isfinite(value)


def in_words(value: float | None) -> str:
    """Return a number for a table; a dash where there is none."""
    return DASH if value is None or is_absent(value) else plain_number(float(value))


def signed(value: float | None) -> str:
    """Return a number with its sign for a table; a dash where there is none."""
    return DASH if value is None or is_absent(value) else ("+" if value > 0 else "") + plain_number(float(value))


def over(scores: Scores) -> str:
    """Return what a mean is over, in words."""
    cases, subjects = counted(len(scores.cases), "case"), counted(scores.subjects, "subject")
    return f"{subjects} ({cases})" if scores.policy.aggregation == "subjects" else f"{cases} of {subjects}"


def interval_text(summary: Summary) -> str:
    """Return a 95 % interval in words, or why there is none."""
    low, high = summary.ci95
    if low is None or high is None:
        if not summary.n:
            return "no finite value"
        return f"{counted(summary.subjects, 'subject')}: no interval"
    return f"{plain_number(low)} to {plain_number(high)}"


def percent(share: float) -> str:
    """Return a share as whole per cents: "33 %"."""
    return f"{round(100 * share)} %".replace("-", "−")


def notes(scores: Scores) -> list[str]:
    """Return what must stand beside the numbers: the models that took part, and what the truths themselves score."""
    found = [IN_UNIT_OF_TRUTH, scoring_files_in_words(scores.policy)] if scores.in_unit_of_truth else []
    found += resources_in_words(scores.resources)
    if scores.inputs:
        given = ", ".join(scores.inputs)
        several = len(scores.inputs) > 1
        found.append(f"The translator was given {given}{', as far as a case has them' if several else ''}.")
        if several and any(map(is_baseline, scores.systems)):
            found.append("The baselines see the first of these that a case has.")
    for metric, summary in scores.truth_summary.items():
        if summary.mean is not None:
            interval = f" ({interval_text(summary)})" if summary.ci95[0] is not None else ""
            found.append(f"The truths themselves have {bare_title(metric)} {plain_number(summary.mean)}{interval}.")
    return found


def scoring_files_in_words(policy: Policy) -> str:
    """Return the command that scores written files as this policy does, each by its own percentiles, and what in the
    policy `transmodal score` has no option for.

    Args:
        policy: complete, and of scale "percentile".
    """
    words, lacks = ["--scale", "percentile", "--percentiles-of", "each"], []
    if policy.percentiles != _OF_SCORE.percentiles:
        lacks.append(f"percentiles {policy.percentiles[0]:g} and {policy.percentiles[1]:g}")
    lacks += ["values left unclipped"] if policy.clip is False else []
    if policy.looks_for_own_mask:
        words += ["--mask", f"DIR-OF-{policy.own_mask}"]
        lacks += ["images emptied outside the mask"]
    elif policy.mask == "foreground":
        words += ["--mask-foreground"]
        lacks += [f"a foreground above {policy.foreground_above:g}"] if policy.foreground_above else []
    elif policy.mask not in (None, "none"):
        words += ["--mask", f"DIR-OF-{policy.mask}"]
    if policy.dimension is not None:
        words += ["--dimension", str(policy.dimension)]
    if policy.slices is not None:
        words += ["--slice-axis", f"ARRAY-AXIS-OF-{policy.slices}"]
    elif policy.slice_axis not in (None, 2):
        words += ["--slice-axis", str(policy.slice_axis)]
    words += ["--slice-pixels", str(policy.slice_pixels)] if policy.slice_pixels and policy.dimension == 2 else []
    if policy.metrics != _OF_SCORE.metrics:
        words += ["--metrics", ",".join(policy.metrics)]
    words += ["--nrmse", policy.nrmse] if policy.nrmse != _OF_SCORE.nrmse else []
    words += ["--nmae", policy.nmae] if policy.nmae != _OF_SCORE.nmae else []
    words += ["--lesions", f"DIR-OF-{policy.lesions}"] if policy.lesions else []
    lacks += ["the mean over cases"] if policy.aggregation != _OF_SCORE.aggregation else []
    but = f", but has no option for {' and for '.join(lacks)}" if lacks else ""
    told = f"'transmodal score {' '.join(words)}' scores files as written, each by its own percentiles, else under this"
    return f"{told} policy{but}."


def contrast_in_words(summary: LesionSummary) -> str:
    """Return how much of the lesions' contrast is left: "contrast 0.05 of 0.15 (33 %)"."""
    made, true = summary.values["contrast"].mean, summary.values["contrast_truth"].mean
    if made is None or true is None:
        return "no lesion with tissue around it"
    share = "" if summary.share is None else f" ({percent(summary.share)})"
    return f"contrast {plain_number(made)} of {plain_number(true)}{share}"


def lesion_counts(scores: Scores) -> str:
    """Return how many cases have lesions, and how many do not and are in no mean of them."""
    summary = scores.lesion_summary[scores.systems[0]]
    text = counted(summary.cases, "case") + " with a lesion"
    text += f", {summary.without} without one" if summary.without else ""
    unknown = len(scores.cases) - summary.cases - summary.without
    return text + (f", {unknown} without a map of lesions" if unknown > 0 else "")


def left_out_in_words(metric: str, summary: Summary, scores: Scores) -> str:
    """Say how many cases have no finite value in a metric, and why that happens."""
    why = {
        "psnr": "whose images equal their truth (infinite)",
        "affine_snr": "whose images equal their truth (infinite)",
        "nrmse": "whose truth has a denominator of 0",
        "nmae": "whose truth has a denominator of 0",
        "dice": "where both maps lack the label",
        "hd95": "where a map lacks the label",
        "relative_volume_error": "where the true map lacks the label",
        "niqe": "which show texture in fewer than two blocks",
    }.get(metric_of(metric).name.partition("@")[0], "infinite or undefined there")
    return (
        f"{bare_title(metric)}: {summary.left_out} of {counted(len(scores.cases), 'case')} without a finite value, "
        f"{why}; in no mean of this metric."
    )
