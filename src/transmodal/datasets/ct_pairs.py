"""A manifest of clean CT becomes one of pairs: what a worse scan would have given, and the clean image on its grid.

The new rows keep subject, session, split and free columns of the old, and get the columns `angles`, `photons`, `seed`,
`degradation` and what was varied. What an earlier run has finished stays.
"""

import hashlib
import zlib
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas

from transmodal.datasets.ct_pair_settings import PairSettings, claim_of, is_open, weighted
from transmodal.datasets.ct_pair_units import (
    Unit,
    case_name,
    check_names,
    content_hash,
    records_of,
    rows_of,
    seed_of,
    units_of,
)
from transmodal.datasets.manifest import Manifest
from transmodal.errors import UserError
from transmodal.simulation.ct.companions import check_companions
from transmodal.simulation.ct.files import off_grid_note
from transmodal.simulation.ct.pairs import finished, make_pair, one_thread, read_record
from transmodal.simulation.ct.tv_weights import CASES, TunedWeight, TuneTask, tune_level, tuned
from transmodal.simulation.data_set import claim, make_all

WEIGHTS_FOLDER = "tv-weights"
Progress = Callable[[int, int], None]


@dataclass
class Pairs:
    """What was made.

    Attributes:
        manifest: its path.
        made, reused: pairs that are new, and that were there.
        failed: (case, reason).
        by_level: pairs of each level.
        weights: of total variation, by level, where they were tuned.
        notes: what the user should read.
    """

    manifest: Path
    made: int = 0
    reused: int = 0
    failed: list[tuple[str, str]] = field(default_factory=list)
    by_level: dict[str, int] = field(default_factory=dict)
    weights: dict[str, TunedWeight] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def degrade_manifest(
    manifest: Manifest,
    folder: Path,
    settings: PairSettings,
    *,
    workers: int | None = None,
    progress: Progress | None = None,
    tuning: Progress | None = None,
) -> Pairs:
    """Make pairs of every case of a manifest and a manifest of them.

    Args:
        manifest: with the modality.
        folder: to fill; pairs of the same settings that are there stay.
        settings: what to make.
        workers: processes; None one a core.
        progress: called with (pairs done, of how many).
        tuning: the same, for weights of total variation.

    Raises:
        UserError: settings that exclude each other, a folder with other settings' pairs, no pair that could be made.
    """
    rows = rows_of(manifest, settings.modality)
    folder = Path(folder)
    sources = {str(manifest.absolute(row["path"])) for row in rows}
    for level in settings.levels:
        check_companions([weighted(each, 1.0) for each in settings.output.companions], level)
    training = _rows_to_tune_on(rows, settings)
    claim(folder, claim_of(settings))
    result = Pairs(folder / "manifest.csv")
    if training:
        result.weights = _tuned(training, manifest, folder, settings, workers, tuning)
    contents = {source: content_hash(Path(source)) for source in sorted(sources)}
    units = units_of(rows, manifest, folder, settings, result.weights, contents)
    check_names(units, settings.output, folder)
    missing = [unit.task for unit in units if finished(unit.task) is None]
    result.reused = len(units) - len(missing)
    memory = "300 MB a worker, more for volumes"
    _make_missing(make_pair, missing, len(units), progress, folder=folder, workers=workers, memory=memory)
    _collect(units, manifest, settings, result)
    result.made = len(units) - result.reused - len(result.failed)
    return result


def _rows_to_tune_on(rows: Sequence[dict[str, str]], settings: PairSettings) -> list[dict[str, str]]:
    """Return the training cases where a weight of total variation is open, else nothing.

    Raises:
        UserError: a weight is open, and nothing is for training.
    """
    if not any(is_open(each) for each in settings.output.companions):
        return []
    training = [row for row in rows if row.get("split") == "train"]
    if not training:
        raise UserError(
            "--also tv needs a weight: give --tv-weight, or a manifest whose column split says train ('transmodal data "
            "split'), so that it can be tuned on those cases"
        )
    return training


def _make_missing(
    make: Callable[..., object], tasks: Sequence[object], total: int, progress: Progress | None, **how: Any
) -> None:
    """Do the tasks that are left of a total, and tell after each how many are done."""
    done = total - len(tasks)
    if progress is not None:
        progress(done, total)
    for _ in make_all(make, [(task,) for task in tasks], prepare_process=one_thread, **how):
        done += 1
        if progress is not None:
            progress(done, total)


def spread_out(rows: Sequence[dict[str, str]], count: int, seed: int) -> list[dict[str, str]]:
    """Draw rows of a manifest so that all planes, where it has that column, and all subjects are as often in it.

    Args:
        rows: one an image.
        count: how many to draw, or all where there are fewer.
        seed: of the draw.

    Returns:
        The rows drawn, in their order.
    """
    random = np.random.default_rng([seed, zlib.crc32(b"total variation")])
    left = [int(index) for index in random.permutation(len(rows))]
    drawn: list[int] = []
    planes: Counter[str] = Counter()
    subjects: Counter[str] = Counter()
    while left and len(drawn) < count:
        best = min(left, key=lambda index: (planes[rows[index].get("plane", "")], subjects[rows[index]["subject"]]))
        left.remove(best)
        drawn.append(best)
        planes[rows[best].get("plane", "")] += 1
        subjects[rows[best]["subject"]] += 1
    return [rows[index] for index in sorted(drawn)]


def _tuned(
    rows: Sequence[dict[str, str]],
    manifest: Manifest,
    folder: Path,
    settings: PairSettings,
    workers: int | None,
    progress: Progress | None,
) -> dict[str, TunedWeight]:
    """Return the weight of each level, from the folder where the same cases gave it before."""
    chosen = spread_out(rows, CASES, settings.seed)
    sources = tuple(manifest.absolute(row["path"]) for row in chosen)
    names = [case_name(row["subject"], row["session"]) for row in chosen]
    tasks = [
        TuneTask(
            file=folder / WEIGHTS_FOLDER / f"{hashlib.sha256(level.text().encode()).hexdigest()[:16]}.json",
            sources=sources,
            cases={name: content_hash(source) for name, source in zip(names, sources, strict=True)},
            seeds=tuple(seed_of(settings.seed, name, 0) for name in names),
            level=level,
            process=settings.process,
            output=settings.output,
            iterations=next(each.iterations for each in settings.output.companions if each.name == "tv"),
        )
        for level in settings.levels
    ]
    missing = [task for task in tasks if task.found() is None]
    _make_missing(tune_level, missing, len(tasks), progress, folder=folder, workers=workers)
    return {task.level.label: tuned(task) for task in tasks}


def _collect(units: Sequence[Unit], manifest: Manifest, settings: PairSettings, result: Pairs) -> None:
    """Write the manifest of all pairs that are there."""
    folder = result.manifest.parent
    others = _other_rows(manifest, settings)
    result.by_level = {level.label: 0 for level in settings.levels}
    rows: list[dict[str, str]] = []
    off_grid = 0.0
    for unit in units:
        record = finished(unit.task)
        if record is None:
            failure = (read_record(unit.task) or {}).get("failed", "was not made")
            result.failed.append((unit.task.case, str(failure)))
            continue
        result.by_level[unit.task.level.label] += 1
        off_grid = max(off_grid, float(record.get("off_grid_mm", 0.0)))
        columns = {name: str(value) for name, value in record["columns"].items()}
        kept = {name: cell for name, cell in unit.row.items() if name not in columns}
        if unit.task.pose is not None:
            columns["copy"] = unit.session.rpartition("copy")[2]
        for modality, path in record["outputs"].items():
            rows.append({**kept, **columns, "session": unit.session, "modality": modality, "path": path})
        for other in others.get((unit.row["subject"], unit.row["session"]), []) if unit.task.pose is None else []:
            path = str(manifest.absolute(other["path"]))
            rows.append({**other, **columns, "session": unit.session, "path": path})
    if not rows:
        reasons = f": {result.failed[0][0]}: {result.failed[0][1]}" if result.failed else ""
        raise UserError(f"No pair could be made in {folder}{reasons}")
    if off_grid:
        result.notes.append(off_grid_note(off_grid, "slices of some volumes lie"))
    if settings.output.size is not None and set(manifest.modalities) - {settings.modality}:
        left = ", ".join(name for name in manifest.modalities if name != settings.modality)
        result.notes.append(f"{left} stay out of the new manifest: --size changes the grid")
    table = pandas.DataFrame(rows).fillna("")
    ends = [name for name in ("split", "fold") if name in table]
    table = table[[name for name in table.columns if name not in ends] + ends]
    table = _with_added_columns(table, result.manifest)
    Manifest(table, folder.absolute(), name=str(result.manifest)).write(result.manifest)


def _other_rows(manifest: Manifest, settings: PairSettings) -> dict[tuple[str, str], list[dict[str, str]]]:
    """Return the rows of other modalities by case, such as masks; none where the grid changes."""
    if settings.output.size is not None:
        return {}
    table = manifest.table[
        ~manifest.table["modality"].isin([settings.modality, settings.output.degraded, settings.output.clean])
    ]
    found: dict[tuple[str, str], list[dict[str, str]]] = {}
    for row in records_of(table):
        found.setdefault((row["subject"], row["session"]), []).append(row)
    return found


def _with_added_columns(table: pandas.DataFrame, file: Path) -> pandas.DataFrame:
    """Keep the columns, such as a split, that the user has added to the manifest of an earlier run."""
    if not file.is_file():
        return table
    earlier = Manifest.read(file).table
    keys = ["subject", "session", "modality"]
    added = [name for name in earlier.columns if name not in table.columns]
    return table.merge(earlier[[*keys, *added]], on=keys, how="left").fillna("") if added else table
