"""Scores on disk beside readers' answers: read what `evaluate --out` or `score --out` wrote, join it by case."""

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas
from pydantic import ValidationError

from transmodal.errors import UserError
from transmodal.evaluation.readers.answers import REAL, Answers
from transmodal.evaluation.scores import KEYS, Scores
from transmodal.metrics import METRICS, metric_of
from transmodal.metrics.policy import Policy

_SLICE = re.compile(r"_slice\d+$")  # how a study names one slice of a volume


@dataclass(frozen=True)
class Joined:
    """Answers and scores that speak of the same images.

    Attributes:
        answers: with the subjects of whichever of the two groups more cases together.
        scores: of the systems and cases that readers saw; slices of a volume have the volume's scores.
        notes: what does not fit together, in words.
    """

    answers: Answers
    scores: Scores
    notes: tuple[str, ...]


def load_scores(folder: str | Path, target: str | None = None) -> Scores:
    """Read cases.csv and summary.json of an evaluation.

    Args:
        folder: with the two files.
        target: which target modality, where several were scored.

    Raises:
        UserError: a file is missing or damaged, or there are several targets and none is named.
    """
    folder = Path(folder)
    for name in ("cases.csv", "summary.json"):
        if not (folder / name).is_file():
            raise UserError(
                f"{folder} has no {name}; name the folder that 'transmodal evaluate … --out' or 'score … --out' wrote"
            )
    try:
        table = pandas.read_csv(folder / "cases.csv", dtype=str, keep_default_na=False)
        summary: dict[str, Any] = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
        if "targets" in summary:
            table, summary = _of_target(folder, table, summary, target)
        policy = Policy.model_validate(summary["policy"])
        columns = [name for name in policy.columns if name in table]
        table = table.assign(**{name: pandas.to_numeric(table[name].mask(table[name] == "")) for name in columns})
        sets = {str(name): dict(values) for name, values in summary.get("sets", {}).items()}
        missing = [name for name in KEYS if name not in table]
        if missing or not columns:
            raise KeyError(missing[0] if missing else "a metric")
        return Scores(policy, table, sets=sets)
    except (OSError, ValueError, KeyError, TypeError, ValidationError) as error:
        reason = " ".join(str(error).split())[:120]
        raise UserError(f"{folder} holds no scores that can be read ({reason}); evaluate again") from error


def join(answers: Answers, scores: Scores) -> Joined:
    """Keep what readers saw of the scores, and put the subjects in order.

    Raises:
        UserError: no system, or no case, has the same name in both.
    """
    seen = [name for name in answers.systems if name != REAL]
    shared = [name for name in seen if name in scores.systems]
    if not shared:
        raise UserError(
            f"No system of the study ({', '.join(seen)}) is in the scores ({', '.join(scores.systems)}); "
            "name them alike, in 'rate new --system NAME=DIR' or in the folders that are scored"
        )
    notes = []
    if len(shared) < len(seen):
        notes.append(f"without scores: {', '.join(name for name in seen if name not in shared)}")
    table = scores.table[scores.table["system"].isin(shared)]
    known = set(table["case"])
    place = {case: _scored_name(case, known) for case in dict.fromkeys(answers.table["case"])}
    found = {case: name for case, name in place.items() if name is not None}
    if not found:
        raise UserError(
            f"No case of the study (such as {next(iter(place))!r}) is in the scores "
            f"(such as {table['case'].iloc[0]!r}); score the images that the study was made of"
        )
    if len(found) < len(place):
        notes.append(f"{len(place) - len(found)} of {len(place)} cases of the study have no scores")
    if any(case != name for case, name in found.items()):
        notes.append("readers saw slices, which are compared with the scores of their whole volumes")
    own = dict(zip(answers.table["case"], answers.table["subject"], strict=True))
    theirs = dict(zip(table["case"], table["subject"], strict=True))
    if len({theirs[name] for name in found.values()}) < len({own[case] for case in found}):
        subjects = {case: theirs[found[case]] if case in found else own[case] for case in own}
        answers = replace(
            answers, table=answers.table.assign(subject=[subjects[case] for case in answers.table["case"]])
        )
        notes.append("subjects are those of the scores")
        own = subjects
    rows = pandas.DataFrame({"case": list(found.values()), "shown": list(found), "own": [own[case] for case in found]})
    part = table.merge(rows, on="case").drop(columns=["case", "subject"])
    part = part.rename(columns={"shown": "case", "own": "subject"})
    kept = replace(scores, table=part, sets={name: scores.sets[name] for name in shared if name in scores.sets})
    return Joined(answers, kept, tuple(notes))


def metrics_of(scores: Scores) -> list[str]:
    """Return the metrics that can be compared with readers, in the policy's order."""
    return [name for name in scores.policy.columns if name in scores.table]


def sign_of(metric: str) -> float:
    """Return 1 where higher is better, −1 where lower is."""
    return 1.0 if metric_of(metric).direction == "higher" else -1.0


def oriented(scores: Scores, metric: str) -> pandas.DataFrame:
    """Return system, case, subject and the metric, turned so that higher is better."""
    table = scores.table[[*KEYS, metric]].rename(columns={metric: "metric"})
    return table.assign(metric=sign_of(metric) * table["metric"].astype(float))


def set_scores(scores: Scores) -> dict[str, dict[str, float]]:
    """Return the set-level scores that every system has: name → system → value, turned so that higher is better."""
    result = {}
    for name in dict.fromkeys(name for values in scores.sets.values() for name in values):
        values = {system: scores.sets.get(system, {}).get(name, {}).get("value") for system in scores.systems}
        if name in METRICS and all(isinstance(value, int | float) for value in values.values()):
            result[name] = {
                system: sign_of(name) * float(value) for system, value in values.items() if value is not None
            }
    return result


def by_subject(table: pandas.DataFrame, column: str) -> pandas.DataFrame:
    """Return subjects × systems of the mean of finite values."""
    finite = table[np.isfinite(table[column].astype(float))]
    return finite.groupby(["subject", "system"], observed=True)[column].mean().unstack("system")


def _scored_name(case: str, known: Iterable[str]) -> str | None:
    if case in known:
        return case
    volume = _SLICE.sub("", case)
    return volume if volume in known else None


def _of_target(
    folder: Path, table: pandas.DataFrame, summary: Mapping[str, Any], target: str | None
) -> tuple[pandas.DataFrame, dict[str, Any]]:
    targets = list(summary["targets"])
    if target not in targets:
        raise UserError(f"{folder} has scores of {', '.join(targets)}; name one of them with --target")
    return table[table["target"] == target].drop(columns="target"), summary["targets"][target]
