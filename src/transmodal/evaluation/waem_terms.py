"""The five terms of WAEM for each system, in stated units and with stated floors.

WAEM = a/MSE + b/NRMSE + c·PSNR + d·SSIM + e/FID is a score of a system, never of an image: FID exists for a set only.
Its source (Eleftheriadis et al., "Performance evaluation of a Pix2Pix synthetic X-ray image generator for preclinical
applications") publishes neither weights nor units, and 1/MSE alone is 65 025 times larger on [0, 1] than on [0, 255].
The units are therefore fixed here and travel with every value.
"""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas

from transmodal.evaluation.intervals import summarise
from transmodal.evaluation.scores import Scores

WITH_FID = ("1/mse", "1/nrmse", "psnr", "ssim", "1/fid")
WITH_FNSD = ("1/mse", "1/nrmse", "psnr", "ssim", "1/fnsd")
TERMS = (*WITH_FID, "1/fnsd")
LETTERS = ("a", "b", "c", "d", "e")
UNITS: Mapping[str, str] = {
    "1/mse": "1/(MSE/R²), MSE on the scale on which the data range R is 1",
    "1/nrmse": "1/NRMSE",
    "psnr": "dB",
    "ssim": "1",
    "1/fid": "1/FID",
    "1/fnsd": "1/FNSD",
}
# A system whose images equal the truth has MSE 0 and PSNR ∞; no sum can hold that. 100 dB is where MSE/R² is 1e-10.
MSE_FLOOR = 1e-10
NRMSE_FLOOR = 1e-5
PSNR_CEILING = 100.0
SET_FLOOR = 1e-3
FLOORS_IN_WORDS = (
    f"MSE/R² counts as {MSE_FLOOR:g} or more, NRMSE as {NRMSE_FLOOR:g} or more, FID and FNSD as {SET_FLOOR:g} or more, "
    f"PSNR of one case as {PSNR_CEILING:g} dB or less"
)


def terms_of(scores: Scores) -> pandas.DataFrame:
    """Return the terms of WAEM of each system: all oriented so that higher is better.

    MSE, NRMSE, PSNR and SSIM enter as the policy's mean over subjects (or cases); the reciprocal is taken of the mean,
    not the mean of reciprocals, which one good image would rule. Floors as in `FLOORS_IN_WORDS`.

    Args:
        scores: with a complete policy; metrics that it lacks, and FID where a system has none, leave no column.

    Returns:
        Systems × terms, in the order "1/mse", "1/nrmse", "psnr", "ssim", and "1/fid", or "1/fnsd" where FID is not
        there for every system. `attrs["notes"]` says in words what is missing, floored or replaced;
        `attrs["made_with"]` is what the numbers depend on: data range, unit, NRMSE's denominator, set-level features
        and N.
    """
    notes: list[str] = []
    columns: dict[str, list[float]] = {}
    for metric, term in (("mse", "1/mse"), ("nrmse", "1/nrmse"), ("psnr", "psnr"), ("ssim", "ssim")):
        values = _term(scores, metric, notes)
        if values is not None:
            columns[term] = values
    made_with = _made_with(scores)
    distance = _distance(scores, notes)
    if distance is not None:
        name, values, facts = distance
        columns[f"1/{name}"] = values
        made_with |= facts
    terms = pandas.DataFrame(columns, index=pandas.Index(scores.systems, name="system"), dtype=float)
    terms.attrs = {"notes": notes, "made_with": made_with}
    return terms


def _term(scores: Scores, metric: str, notes: list[str]) -> list[float] | None:
    """Return one term of every system, or None with a note that says why."""
    title = metric.upper()
    if metric not in scores.policy.metrics:
        notes.append(f"{title} was not scored, so its term is left out")
        return None
    if metric == "mse" and scores.policy.range is None:
        notes.append("the policy states no range, so that MSE has no unit-free scale and its term is left out")
        return None
    means = []
    for system in scores.systems:
        mean, identical = _mean(scores, metric, system)
        if mean is None:
            notes.append(f"{title} of {system} has no finite value, so its term is left out")
            return None
        if metric == "psnr" and identical:
            notes.append(f"{identical} cases of {system} equal their truth; their PSNR counts as {PSNR_CEILING:g} dB")
        means.append(mean)
    if metric == "mse":
        return [_reciprocal(mean / scores.policy.data_range**2, MSE_FLOOR, "MSE/R²", notes) for mean in means]
    if metric == "nrmse":
        if min(means) < 0:
            notes.append("NRMSE is negative (the truth's mean is below 0), so its term is left out")
            return None
        return [_reciprocal(mean, NRMSE_FLOOR, "NRMSE", notes) for mean in means]
    return means


def _mean(scores: Scores, metric: str, system: str) -> tuple[float | None, int]:
    """Return the policy's mean, and how many cases stood at PSNR's ceiling."""
    table = scores.of(system)
    values = table[metric].to_numpy(float)
    above = 0
    if metric == "psnr":
        above = int((values > PSNR_CEILING).sum())
        values = np.minimum(values, PSNR_CEILING)  # NaN stays NaN and is left out
    summary = summarise(values, table["subject"].tolist(), aggregation=scores.policy.aggregation, resamples=1)
    return summary.mean, above


def _distance(scores: Scores, notes: list[str]) -> tuple[str, list[float], dict[str, Any]] | None:
    """Return FID, else FNSD, of every system as a term, with features and N; or None with a note."""
    why: list[str] = []
    for name in ("fid", "fnsd"):
        found = [dict(scores.sets.get(system, {}).get(name, {})) for system in scores.systems]
        values = [score.get("value") for score in found]
        missing = [system for system, value in zip(scores.systems, values, strict=True) if not _usable(value)]
        if missing:
            whose = "" if len(missing) == len(found) else f" for {', '.join(missing)}"
            why.append(f"{name.upper()} is not there{whose}")
            continue
        counts = {score.get("n") for score in found}
        if len(counts) > 1:
            why.append(f"{name.upper()} was computed from different N, and such values cannot be compared")
            continue
        if name == "fnsd":
            notes.append(
                f"{why[0]}; FNSD, which needs no weights, stands in, and a score that uses it is called WAEM with FNSD"
            )
        features = str(found[0].get("features", ""))
        if found[0].get("sha256"):
            features += f", weights SHA-256 {found[0]['sha256']}"
        n = counts.pop()
        facts = {"set_metric": name, "features": features, "n": None if n is None else int(n)}
        return name, [_reciprocal(float(value), SET_FLOOR, name.upper(), notes) for value in values], facts  # type: ignore[arg-type]
    notes.append(f"{'; '.join(why)}; the score has no term of a set-level distance")
    return None


def _usable(value: Any) -> bool:
    return isinstance(value, int | float | np.number) and math.isfinite(float(value))


def _reciprocal(value: float, floor: float, title: str, notes: list[str]) -> float:
    if value < floor:
        notes.append(f"a {title} of {value:.3g} counts as its floor, {floor:g}")
    return 1.0 / max(value, floor)


def _made_with(scores: Scores) -> dict[str, Any]:
    policy = scores.policy
    return {
        "data_range": None if policy.range is None else float(policy.data_range),
        "unit": policy.unit or "",
        "nrmse": policy.nrmse,
        "set_metric": None,
        "features": "",
        "n": None,
    }
