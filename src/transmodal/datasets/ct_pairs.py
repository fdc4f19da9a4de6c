"""A manifest of clean CT becomes one of pairs: what a worse scan would have given, and the clean image on its grid.

The new rows keep subject, session, split and free columns of the old, and get the columns `angles`, `photons`, `seed`,
`degradation` and what was varied. What an earlier run has finished stays.
"""

import hashlib
import json
import zlib
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas

from transmodal.datasets.manifest import Manifest
from transmodal.errors import UserError
from transmodal.images.files import sha256_of
from transmodal.simulation.ct.companions import Companion, check_companions
from transmodal.simulation.ct.degrading import Process
from transmodal.simulation.ct.pairs import (
    FORMAT,
    SINOGRAM,
    Output,
    Task,
    finished,
    make_pair,
    one_thread,
    read_record,
)
from transmodal.simulation.ct.steps import Level
from transmodal.simulation.ct.tv_weights import CASES, TunedWeight, TuneTask, tune_level, tuned
from transmodal.simulation.ct.variants import Pose
from transmodal.simulation.data_set import claim, make_all

WEIGHTS_FOLDER = "tv-weights"
Spread = Literal["each", "mix"]
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class PairSettings:
    """What to make of every case.

    Attributes:
        modality: of the manifest, clean CT in HU.
        levels: one, or several of which each case gets `spread`.
        spread: "each" gives every case every level, as sessions of their own; "mix" one level a case, all of them
            equally often.
        process: scanner and reconstruction.
        output: what is written; its companions have weights except a `tv` that shall be tuned.
        copies: further poses of every training case (of every case where nothing is split).
        seed: of noise, metal, poses and the mix.
    """

    modality: str
    levels: tuple[Level, ...]
    spread: Spread = "each"
    process: Process = field(default_factory=Process)
    output: Output = field(default_factory=Output)
    copies: int = 0
    seed: int = 0

    def __post_init__(self) -> None:
        names = [self.output.degraded, self.output.clean, SINOGRAM]
        if len(set(names)) < len(names):
            raise UserError(
                f"degraded images called {self.output.degraded!r} beside {self.output.clean!r} and {SINOGRAM!r}: give "
                "--name another name"
            )
        if self.copies < 0 or self.seed < 0:
            raise UserError(f"--copies and --seed are 0 or above, not {self.copies} and {self.seed}")


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


@dataclass(frozen=True)
class _Unit:
    """A row of the manifest at one level and in one pose."""

    row: dict[str, str]
    session: str
    task: Task


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
    rows = _rows(manifest, settings.modality)
    folder = Path(folder)
    sources = {str(manifest.absolute(row["path"])) for row in rows}
    is_open = any(each.name == "tv" and each.weight is None for each in settings.output.companions)
    for level in settings.levels:
        check_companions([_weighted(each, 1.0) for each in settings.output.companions], level)
    training = [row for row in rows if row.get("split") == "train"] if is_open else []
    if is_open and not training:
        raise UserError(
            "--also tv needs a weight: give --tv-weight, or a manifest whose column split says train ('transmodal data "
            "split'), so that it can be tuned on those cases"
        )
    claim(folder, _claimed(settings))
    result = Pairs(folder / "manifest.csv")
    if is_open:
        result.weights = _tuned(training, manifest, folder, settings, workers, tuning)
    contents = {source: _content_hash(Path(source)) for source in sorted(sources)}
    units = _units(rows, manifest, folder, settings, result.weights, contents)
    _check_names(units, settings.output, folder)
    missing = [unit.task for unit in units if finished(unit.task) is None]
    result.reused = len(units) - len(missing)
    if progress is not None:
        progress(result.reused, len(units))
    done = result.reused
    for _ in make_all(
        make_pair,
        [(task,) for task in missing],
        folder=folder,
        workers=workers,
        prepare_process=one_thread,
        memory="300 MB a worker, more for volumes",
    ):
        done += 1
        if progress is not None:
            progress(done, len(units))
    _collect(units, manifest, settings, result)
    result.made = len(units) - result.reused - len(result.failed)
    return result


def _rows(manifest: Manifest, modality: str) -> list[dict[str, str]]:
    """Return the rows of a modality, sorted by case.

    Raises:
        UserError: there is none, or a subject stands on two sides of the split.
    """
    manifest.require_modalities([modality])
    if "split" in manifest.table:
        manifest.check_split()
    table = manifest.table[manifest.table["modality"] == modality]
    return sorted(_records(table), key=lambda row: (row["subject"], row["session"]))


def _claimed(settings: PairSettings) -> dict[str, Any]:
    """Return what decides the bits of all pairs, in words short enough for a message."""
    process = asdict(settings.process)
    scanner = process.pop("scanner")
    if scanner["beam"] is not None:  # all its angles
        scanner["beam"] = hashlib.sha256(json.dumps(scanner["beam"]).encode()).hexdigest()[:16]
    output = asdict(settings.output)
    companions = output.pop("companions")
    entries = {
        "simulation": "ct pairs",
        "format": FORMAT,
        "synthetic": True,
        "modality": settings.modality,
        "levels": [level.text() for level in settings.levels],
        "spread": settings.spread if len(settings.levels) > 1 else "each",
        **{f"scanner {name}": value for name, value in scanner.items()},
        **process,
        **output,
        "also": [
            " ".join(f"{name}={value}" for name, value in each.items() if each["name"] == "tv" or name == "name")
            for each in companions
        ],
        "copies": settings.copies,
        "seed": settings.seed,
    }
    claimed: dict[str, Any] = json.loads(json.dumps(entries))
    return claimed


def _weighted(companion: Companion, weight: float) -> Companion:
    is_open = companion.name == "tv" and companion.weight is None
    return replace(companion, weight=weight) if is_open else companion


def _tuned(
    rows: Sequence[dict[str, str]],
    manifest: Manifest,
    folder: Path,
    settings: PairSettings,
    workers: int | None,
    progress: Progress | None,
) -> dict[str, TunedWeight]:
    """Return the weight of each level, from the folder where the same cases gave it before."""
    random = np.random.default_rng([settings.seed, zlib.crc32(b"total variation")])
    chosen = [rows[index] for index in sorted(random.permutation(len(rows))[:CASES])]
    sources = tuple(manifest.absolute(row["path"]) for row in chosen)
    names = [_case(row["subject"], row["session"]) for row in chosen]
    tasks = [
        TuneTask(
            file=folder / WEIGHTS_FOLDER / f"{hashlib.sha256(level.text().encode()).hexdigest()[:16]}.json",
            sources=sources,
            cases={name: _content_hash(source) for name, source in zip(names, sources, strict=True)},
            seeds=tuple(_seed(settings.seed, name, 0) for name in names),
            level=level,
            process=settings.process,
            output=settings.output,
            iterations=next(each.iterations for each in settings.output.companions if each.name == "tv"),
        )
        for level in settings.levels
    ]
    missing = [task for task in tasks if task.found() is None]
    done = len(tasks) - len(missing)
    if progress is not None:
        progress(done, len(tasks))
    for _ in make_all(
        tune_level, [(task,) for task in missing], folder=folder, workers=workers, prepare_process=one_thread
    ):
        done += 1
        if progress is not None:
            progress(done, len(tasks))
    return {task.level.label: tuned(task) for task in tasks}


def _units(
    rows: Sequence[dict[str, str]],
    manifest: Manifest,
    folder: Path,
    settings: PairSettings,
    weights: dict[str, TunedWeight],
    contents: dict[str, str],
) -> list[_Unit]:
    """Return what is to be made, in the order of the manifest."""
    split = any(row.get("split") for row in rows)
    posed = []
    for row in rows:
        copies = settings.copies if not split or row.get("split") == "train" else 0
        posed += [(row, copy) for copy in range(copies + 1)]
    if settings.spread == "mix" and len(settings.levels) > 1:
        levels = [[level] for level in _mixed(posed, settings)]
    else:
        levels = [list(settings.levels)] * len(posed)
    units = []
    for (row, copy), of_case in zip(posed, levels, strict=True):
        original = _case(row["subject"], row["session"])
        seed = _seed(settings.seed, original, copy)
        for level in of_case:
            suffixes = [level.label if len(of_case) > 1 else "", f"copy{copy}" if copy else ""]
            session = "-".join(part for part in (row["session"], *suffixes) if part)
            companions = settings.output.companions
            if weights:
                companions = tuple(_weighted(each, weights[level.label].weight) for each in companions)
            source = manifest.absolute(row["path"])
            task = Task(
                folder=folder,
                subject=row["subject"],
                case=_case(row["subject"], session),
                source=source,
                content=contents[str(source)],
                level=level,
                process=settings.process,
                output=replace(settings.output, companions=companions),
                seed=seed,
                pose=Pose.drawn(seed) if copy else None,
            )
            units.append(_Unit(row, session, task))
    return units


def _mixed(posed: Sequence[tuple[dict[str, str], int]], settings: PairSettings) -> list[Level]:
    """Return one level for each, all equally often in each split and altogether."""
    random = np.random.default_rng([settings.seed, zlib.crc32(b"mix")])
    given: dict[int, Level] = {}
    dealt = 0
    for split in sorted({row.get("split", "") for row, _ in posed}):
        members = [index for index, (row, _) in enumerate(posed) if row.get("split", "") == split]
        for index in random.permutation(members):
            given[int(index)] = settings.levels[dealt % len(settings.levels)]
            dealt += 1
    return [given[index] for index in range(len(posed))]


def _seed(seed: int, case: str, copy: int) -> int:
    # Levels of one case share their random numbers: what differs between them is the level alone.
    return int(np.random.SeedSequence([seed, zlib.crc32(case.encode()), copy]).generate_state(1)[0])


def _check_names(units: Sequence[_Unit], output: Output, folder: Path) -> None:
    """Refuse names that collide, before anything is made."""
    rows = [
        {"subject": unit.row["subject"], "session": unit.session, "modality": modality, "path": f"{number}"}
        for number, unit in enumerate(units)
        for modality in (output.degraded, output.clean)
    ]
    Manifest(pandas.DataFrame(rows), folder, name="the manifest of pairs")


def _collect(units: Sequence[_Unit], manifest: Manifest, settings: PairSettings, result: Pairs) -> None:
    """Write the manifest of all pairs that are there."""
    folder = result.manifest.parent
    others = _other_rows(manifest, settings)
    result.by_level = {level.label: 0 for level in settings.levels}
    rows: list[dict[str, str]] = []
    for unit in units:
        record = finished(unit.task)
        if record is None:
            failure = (read_record(unit.task) or {}).get("failed", "was not made")
            result.failed.append((unit.task.case, str(failure)))
            continue
        result.by_level[unit.task.level.label] += 1
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
    for row in _records(table):
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


def _records(table: pandas.DataFrame) -> list[dict[str, str]]:
    names = [str(name) for name in table.columns]
    return [dict(zip(names, cells, strict=True)) for cells in table.itertuples(index=False, name=None)]


def _case(subject: str, session: str) -> str:
    return f"{subject}_{session}" if session else subject


def _content_hash(path: Path) -> str:
    """Return the SHA-256 of a file, or of all files of a folder.

    Raises:
        UserError: there is no such file.
    """
    if path.is_dir():
        files = sorted(file for file in path.iterdir() if file.is_file() and not file.name.startswith("."))
        return "-".join([str(len(files)), _together([sha256_of(file) for file in files])])
    if not path.is_file():
        return "absent"
    return sha256_of(path)


def _together(hashes: Sequence[str]) -> str:
    return hashlib.sha256("".join(hashes).encode()).hexdigest()
