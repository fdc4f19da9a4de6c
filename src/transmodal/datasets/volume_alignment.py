"""Alignment of volumes: the images of each case are brought on the grid of one of them, label maps go along.

Nothing is dropped: a volume over a threshold, or one that failed, stays in the new manifest and says so in the column
`alignment`. Each finished case leaves a record, so that a rerun does only what is missing or has changed.
"""

import hashlib
import json
import multiprocessing
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import pandas

from transmodal.datasets.alignment import STATES
from transmodal.datasets.manifest import CaseFiles, Manifest
from transmodal.datasets.manifest_csv import write_rows
from transmodal.datasets.volume_case_alignment import VolumeAlignment, VolumeAlignmentSettings, align_case
from transmodal.images.files import write_text

__all__ = ["VolumeAlignment", "VolumeAlignmentReport", "VolumeAlignmentSettings", "align_volumes"]


@dataclass(frozen=True)
class VolumeAlignmentReport:
    """The result of aligning the volumes of a data set.

    Attributes:
        manifest: the new one; its column `alignment` holds the worst status of each case.
        alignments: one a volume, sorted by case, the target first.
        incomplete: ids of cases without the modality to align to; their rows stay as they were.
        reused: how many cases were done already.
    """

    manifest: Manifest
    alignments: list[VolumeAlignment]
    incomplete: list[str]
    reused: int

    @property
    def all_failed(self) -> bool:
        """Whether no image beside the targets was aligned although there were some."""
        wanted = [row for row in self.alignments if row.role == "image"] or self.alignments
        return all(row.status == "failed" for row in wanted)


@dataclass(frozen=True)
class _Task:
    case: CaseFiles
    settings: VolumeAlignmentSettings
    out: Path


def align_volumes(
    manifest: Manifest,
    settings: VolumeAlignmentSettings,
    out: str | Path,
    *,
    workers: int | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> VolumeAlignmentReport:
    """Bring the volumes of every case on one grid; what fails is listed, the rest goes on.

    Args:
        manifest: what to align.
        settings: how.
        out: the folder to fill: `<modality>/<case>.nii.gz`, `transforms/`, `overlays/`, `records/`, `settings.json`,
            `alignment.csv`, `manifest.csv`.
        workers: processes, one case and one thread each; None takes one a core.
        on_progress: called with (cases done, all cases).

    Raises:
        UserError: a modality is in no row, or the folder cannot be written.
    """
    out = Path(os.path.abspath(out))  # noqa: PTH100
    named = [settings.to, *settings.moving, *(settings.labels or ()), *settings.labels_of, *settings.labels_of.values()]
    manifest.require_modalities([*named, *([settings.mask_modality] if settings.mask_modality else [])])
    cases = manifest.cases()
    tasks = [_Task(case, settings, out) for case in cases if settings.to in case.files]
    write_text(out / "settings.json", json.dumps(asdict(settings), indent=2) + "\n")  # an unfit folder is told first
    done = {task.case.id: rows for task in tasks if (rows := _finished(task)) is not None}
    reused = len(done)
    for number, (case, rows) in enumerate(_run([task for task in tasks if task.case.id not in done], workers), 1):
        done[case] = rows
        if on_progress:
            on_progress(reused + number, len(tasks))
    alignments = [row for task in tasks for row in done[task.case.id]]
    aligned = _new_manifest(manifest, alignments, out)
    aligned.write(out / "manifest.csv")
    columns = [each.name for each in fields(VolumeAlignment)]
    write_rows(out / "alignment.csv", columns, ([_cell(getattr(row, name)) for name in columns] for row in alignments))
    lacking = [case.id for case in cases if settings.to not in case.files]
    return VolumeAlignmentReport(aligned, alignments, lacking, reused)


def _run(tasks: Sequence[_Task], workers: int | None) -> Iterator[tuple[str, list[VolumeAlignment]]]:
    count = min(workers or os.cpu_count() or 1, len(tasks))
    if count <= 1:
        yield from map(_align_task, tasks)
        return
    # Spawned, not forked: the parent has threads, and SimpleITK holds the interpreter lock while it registers.
    with ProcessPoolExecutor(count, mp_context=multiprocessing.get_context("spawn")) as pool:
        yield from pool.map(_align_task, tasks)


def _align_task(task: _Task) -> tuple[str, list[VolumeAlignment]]:
    """Align a case and leave its record, unless something failed, which a rerun shall try again."""
    rows = align_case(task.case, task.settings, task.out)
    if all(row.status != "failed" for row in rows):
        record = {"stamp": _stamp(task), "rows": [asdict(row) for row in rows]}
        write_text(_record(task), json.dumps(record, indent=2) + "\n")
    return task.case.id, rows


def _record(task: _Task) -> Path:
    return task.out / "records" / f"{task.case.id}.json"


def _finished(task: _Task) -> list[VolumeAlignment] | None:
    """Return the recorded rows when settings and files are the same and all that was written is there."""
    try:
        record = json.loads(_record(task).read_text(encoding="utf-8"))
        rows = [VolumeAlignment(**row) for row in record["rows"]]
        stamp = record["stamp"]
    except (OSError, ValueError, TypeError, KeyError):
        return None
    written = [task.out / place for row in rows for place in (row.image, row.transform) if place]
    return rows if stamp == _stamp(task) and all(place.exists() for place in written) else None


def _stamp(task: _Task) -> str:
    files = []
    for modality, path in sorted(task.case.files.items()):
        state = path.stat() if path.exists() else None
        files.append([modality, str(path), state.st_size if state else 0, state.st_mtime_ns if state else 0])
    return hashlib.sha256(json.dumps([asdict(task.settings), files], sort_keys=True).encode()).hexdigest()


def _new_manifest(manifest: Manifest, alignments: Sequence[VolumeAlignment], out: Path) -> Manifest:
    """Return the manifest of the aligned files; masks that were made are rows of their own."""
    columns = list(manifest.table.columns)
    rows = [dict(zip(columns, cells, strict=True)) for cells in manifest.table.itertuples(index=False, name=None)]
    worst: dict[tuple[str, str], str] = {}
    place: dict[tuple[str, str, str], str] = {}
    for alignment in alignments:
        case = (alignment.subject, alignment.session)
        worst[case] = max(worst.get(case, "ok"), alignment.status, key=STATES.index)
        if alignment.image:
            place[*case, alignment.modality] = str(out / alignment.image)
    known = set()
    for row in rows:
        key = (row["subject"], row["session"], row["modality"])
        known.add(key)
        row["path"] = place.get(key, str(manifest.absolute(row["path"])))
        row["alignment"] = worst.get(key[:2], "")
    target_of = {(row["subject"], row["session"]): row for row in rows}
    for key, path in place.items():
        if key not in known:
            rows.append({**target_of[key[:2]], "modality": key[2], "path": path})
    return Manifest(pandas.DataFrame(rows), out, name=str(out / "manifest.csv"))


def _cell(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:.6g}" if isinstance(value, float) else str(value)
