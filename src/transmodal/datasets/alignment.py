"""Alignment of pairs: every moving image is brought onto the grid of the fixed one, and how well is measured.

By fiducials that a person marked, or by mutual information (Viola and Wells 1997; Mattes et al. 2003). Nothing is
dropped: a pair over the threshold, or one that failed, stays in the new manifest and says so in the column
`alignment`. Each finished pair leaves a record, so that a rerun does only what is missing or has changed.
"""

import hashlib
import json
import multiprocessing
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas

import transmodal
from transmodal.datasets.fiducials import Fiducials
from transmodal.datasets.manifest import CaseFiles, Manifest
from transmodal.datasets.manifest_csv import write_rows
from transmodal.errors import UserError
from transmodal.images import Image, read
from transmodal.images.files import write_text
from transmodal.images.formats import format_of_name
from transmodal.images.registration import (
    FITS,
    Transform,
    coverage,
    fiducials_needed,
    index_to_world,
    leave_one_out_error,
    register_mutual_information,
    resample,
    target_registration_error,
)
from transmodal.images.synthetic import write_derived

METHODS = ("fiducials", "mutual-information")
STATES = ("ok", "over threshold", "not judged", "failed")


@dataclass(frozen=True)
class AlignmentSettings:
    """How pairs are aligned.

    Attributes:
        moving: modalities that are resampled.
        fixed: the modality whose grid they take.
        method: "fiducials" or "mutual-information".
        kind: "rigid", "similarity", "affine" or, by fiducials in pictures, "homography".
        max_error_mm: a mean target registration error above it is "over threshold".
        max_displacement_mm: without fiducials, an image that mutual information moved further is "over threshold".
        moving_spacing: pixel size in mm of moving images whose files say none.
        fixed_spacing: the same of fixed images.
        nearest: take the nearest value instead of interpolating, for label maps.
        seed: of the sampling.
    """

    moving: tuple[str, ...]
    fixed: str
    method: str = "mutual-information"
    kind: str = "affine"
    max_error_mm: float = 1.0
    max_displacement_mm: float = 10.0
    moving_spacing: float | None = None
    fixed_spacing: float | None = None
    nearest: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse what does not go together."""
        if self.method not in METHODS:
            raise UserError(f"There is no alignment method {self.method!r}; known are {', '.join(METHODS)}")
        if self.kind not in FITS or (self.method != "fiducials" and self.kind == "homography"):
            kinds = [kind for kind in FITS if self.method == "fiducials" or kind != "homography"]
            raise UserError(f"{self.method} gives no {self.kind!r} transform; choose {', '.join(kinds)}")
        if not self.moving or self.fixed in self.moving:
            raise UserError("The moving and the fixed modality must be two; name both")


@dataclass(frozen=True)
class Alignment:
    """What became of one pair: a row of alignment.csv.

    Attributes:
        status: one of STATES.
        error_mm: mean target registration error: leave-one-out when the fiducials made the transform, plain when
            they only judge it; None without enough fiducials.
        worst_mm: the largest of these errors.
        residual_mm: mean distance of the fiducials after the fit; flatters, because the fit saw them.
        points: fiducials used.
        nmi_before: normalised mutual information in [1, 2] of the pair as it lay.
        nmi_after: the same after alignment.
        displacement_mm: the furthest that a corner of the field was moved.
        covered: the share of the fixed field that the moving image reaches; the rest is filled with zero (air in HU).
        problem: why it failed or is not judged.
        image: the resampled image below the output folder.
        transform: the transform file below the output folder.
        stamp: of settings, files and fiducials, to know what is done.
    """

    case: str
    subject: str
    session: str
    modality: str
    status: str
    error_mm: float | None = None
    worst_mm: float | None = None
    residual_mm: float | None = None
    points: int = 0
    nmi_before: float | None = None
    nmi_after: float | None = None
    displacement_mm: float | None = None
    covered: float | None = None
    problem: str = ""
    image: str = ""
    transform: str = ""
    stamp: str = ""


@dataclass(frozen=True)
class AlignmentReport:
    """The result of aligning a data set.

    Attributes:
        manifest: the new one; its column `alignment` holds the worst status of each case.
        alignments: one a pair, sorted by case.
        incomplete: (case id, missing modalities) of cases that could not be paired.
        reused: how many pairs were done already.
    """

    manifest: Manifest
    alignments: list[Alignment]
    incomplete: list[tuple[str, list[str]]]
    reused: int


@dataclass(frozen=True)
class _Task:
    case: CaseFiles
    modality: str
    settings: AlignmentSettings
    fiducials: Fiducials | None
    out: Path


def align_manifest(
    manifest: Manifest,
    settings: AlignmentSettings,
    out: str | Path,
    *,
    fiducials: Fiducials | None = None,
    workers: int | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> AlignmentReport:
    """Align every pair of a manifest; a pair that fails is listed, the rest goes on.

    Args:
        manifest: what to align.
        settings: how.
        out: the folder to fill: `<modality>/<case>`, `transforms/`, `records/`, `settings.json`, `alignment.csv`,
            `manifest.csv`.
        fiducials: marked points; they make the transform, or judge that of mutual information.
        workers: processes; None takes one a core.
        on_progress: called with (pairs done, all pairs).

    Raises:
        UserError: a modality is in no row, no case has both, fiducials are needed and absent, or the folder
            cannot be written.
    """
    out = Path(os.path.abspath(out))  # noqa: PTH100
    if settings.method == "fiducials" and fiducials is None:
        raise UserError("Alignment by fiducials needs their table; give --fiducials points.csv")
    wanted = [*settings.moving, settings.fixed]
    manifest.require_modalities(wanted)
    cases = [case for case in manifest.cases() if settings.fixed in case.files]
    tasks = [
        _Task(case, modality, settings, fiducials, out)
        for case in cases
        for modality in settings.moving
        if modality in case.files
    ]
    if not tasks:
        raise UserError(f"No case of {manifest.name} has {' and '.join(wanted)}; see 'transmodal data check'")
    write_text(out / "settings.json", json.dumps(asdict(settings), indent=2) + "\n")  # an unfit folder is told first
    reused = 0
    alignments: list[Alignment] = []
    open_tasks = []
    for task in tasks:
        if (done := _finished(task)) is not None:
            alignments.append(done)
            reused += 1
        else:
            open_tasks.append(task)
    for number, alignment in enumerate(_run(open_tasks, workers), reused + 1):
        alignments.append(alignment)
        if on_progress:
            on_progress(number, len(tasks))
    alignments.sort(key=lambda alignment: (alignment.case, alignment.modality))
    aligned = _new_manifest(manifest, alignments, out)
    aligned.write(out / "manifest.csv")
    columns = [field.name for field in fields(Alignment) if field.name != "stamp"]
    write_rows(out / "alignment.csv", columns, ([_cell(getattr(row, name)) for name in columns] for row in alignments))
    return AlignmentReport(aligned, alignments, manifest.incomplete(wanted), reused)


def align_pair(
    moving: Image,
    fixed: Image,
    settings: AlignmentSettings,
    points: tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]] | None = None,
) -> tuple[Transform, Image, dict[str, Any]]:
    """Align one pair.

    Args:
        moving: the image to bring onto the grid of `fixed`.
        fixed: has a physical size.
        settings: how.
        points: fiducials in the moving and the fixed image, (n, dims) mm each.

    Returns:
        The transform, the resampled image, and the quality: fields of `Alignment`.

    Raises:
        UserError: too few points, a missing pixel size, or a registration that cannot be done.
    """
    for image, option in ((moving, "--moving-spacing"), (fixed, "--fixed-spacing")):
        if not image.has_physical_size:
            raise UserError(f"{image.name} says no pixel size, so nothing can be measured in mm; give it with {option}")
    quality: dict[str, Any] = {"points": 0 if points is None else len(points[0])}
    if settings.method == "fiducials":
        if points is None:
            raise UserError(f"There are no fiducials for {moving.name}; mark them in both images")
        transform = FITS[settings.kind](*points)
        quality |= _fiducial_quality(transform, points, settings)
    else:
        transform, before, after = register_mutual_information(moving, fixed, kind=settings.kind, seed=settings.seed)
        quality |= {"nmi_before": before, "nmi_after": after}
        quality |= _judged(transform, points, settings, before, after)
    displacement = _displacement(transform, moving)
    quality |= {"displacement_mm": displacement, "covered": float(coverage(moving, fixed, transform).mean())}
    if settings.method != "fiducials" and points is None and displacement > settings.max_displacement_mm:
        quality |= {"status": "over threshold", "problem": f"moved by {displacement:.1f} mm"}
    return transform, resample(moving, fixed, transform, order=0 if settings.nearest else None), quality


def _fiducial_quality(
    transform: Transform, points: tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]], settings: AlignmentSettings
) -> dict[str, Any]:
    """Judge a fit by leaving each point out in turn; the residual of the fit itself would flatter."""
    residual = float(np.mean(target_registration_error(transform, *points)))
    try:
        errors = leave_one_out_error(settings.kind, *points)
    except UserError as error:
        exactly = len(points[0]) == fiducials_needed(settings.kind, points[0].shape[1])
        problem = f"{len(points[0])} points fit any {settings.kind} transform; mark one more to measure the error"
        if not exactly:
            problem = f"the error cannot be measured by leaving one point out: {error}"
        return {"status": "not judged", "residual_mm": residual, "problem": problem}
    return {**_threshold(errors, settings), "residual_mm": residual}


def _judged(
    transform: Transform,
    points: tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]] | None,
    settings: AlignmentSettings,
    before: float,
    after: float,
) -> dict[str, Any]:
    if points is not None:
        return _threshold(target_registration_error(transform, *points), settings)
    if after <= before:
        return {"status": "not judged", "problem": "left as it lay, no place with more mutual information was found"}
    return {"status": "ok"}


def _threshold(errors: npt.NDArray[np.float64], settings: AlignmentSettings) -> dict[str, Any]:
    error = float(np.mean(errors))
    over = not error <= settings.max_error_mm
    return {
        "status": "over threshold" if over else "ok",
        "error_mm": error,
        "worst_mm": float(np.max(errors)),
        "problem": f"error {error:.2f} mm is over {settings.max_error_mm:g} mm" if over else "",
    }


def _displacement(transform: Transform, moving: Image) -> float:
    """Return the largest distance that a corner of the moving image's field is moved, in mm."""
    corners = np.stack(np.meshgrid(*[(0, size - 1) for size in moving.shape], indexing="ij"), axis=-1)
    to_world = index_to_world(moving)
    world = corners.reshape(-1, moving.spatial_dims) @ to_world[:-1, :-1].T + to_world[:-1, -1]
    return float(np.linalg.norm(transform.apply(world) - world, axis=1).max())


def _run(tasks: Sequence[_Task], workers: int | None) -> Iterator[Alignment]:
    count = min(workers or os.cpu_count() or 1, len(tasks))
    if count <= 1:
        yield from map(_align_task, tasks)
        return
    # Spawned, not forked: the parent has threads, and SimpleITK holds the interpreter lock while it registers.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(count, mp_context=context) as pool:
        yield from pool.map(_align_task, tasks)


def _align_task(task: _Task) -> Alignment:
    """Align one pair and write image, transform and record; a failure becomes a result."""
    case, settings = task.case, task.settings
    result = Alignment(case.id, case.subject, case.session, task.modality, "failed", stamp=_stamp(task))
    try:
        moving = read(case.files[task.modality], spacing=settings.moving_spacing)
        fixed = read(case.files[settings.fixed], spacing=settings.fixed_spacing)
        points = _points(task, moving, fixed)
        transform, aligned, quality = align_pair(moving, fixed, settings, points)
        place = Path(task.modality) / f"{case.id}{_suffix(case.files[task.modality], aligned)}"
        how = f"put on the grid of {settings.fixed} by transmodal {transmodal.__version__}, data align"
        write_derived(aligned, task.out / place, of=moving, how=how)
        transform_place = Path("transforms") / f"{case.id}_{task.modality}.json"
        transform.write(task.out / transform_place)
    except UserError as error:
        return replace(result, problem=str(error))
    result = replace(result, **quality, image=place.as_posix(), transform=transform_place.as_posix())
    write_text(_record(task), json.dumps(asdict(result), indent=2) + "\n")
    return result


def _points(task: _Task, moving: Image, fixed: Image) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]] | None:
    if task.fiducials is None:
        return None
    has_points = task.fiducials.of(task.case, task.modality) and task.fiducials.of(task.case, task.settings.fixed)
    if not has_points and task.settings.method != "fiducials":
        return None
    return task.fiducials.pairs_mm(task.case, task.modality, task.settings.fixed, (moving, fixed))


def _suffix(source: Path, image: Image) -> str:
    """Return the source's own suffix, or, when nothing is written to that format, one that holds the image."""
    key = format_of_name(source)
    if key not in (None, "dicom"):
        name = source.name.lower()
        return ".nii.gz" if name.endswith(".nii.gz") else source.suffix.lower()
    if image.spatial_dims == 3:
        return ".nii.gz"
    return ".png" if image.pixels.dtype in (np.uint8, np.uint16) else ".tif"


def _record(task: _Task) -> Path:
    return task.out / "records" / f"{task.case.id}_{task.modality}.json"


def _finished(task: _Task) -> Alignment | None:
    """Return the recorded result when settings, files and fiducials are the same and the image is there."""
    try:
        record = Alignment(**json.loads(_record(task).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None
    there = (task.out / record.image).exists() and (task.out / record.transform).exists()
    return record if there and record.stamp == _stamp(task) else None


def _stamp(task: _Task) -> str:
    files = []
    for modality in (task.modality, task.settings.fixed):
        path = task.case.files[modality]
        state = path.stat() if path.exists() else None
        files.append([str(path), state.st_size if state else 0, state.st_mtime_ns if state else 0])
    marks = None
    if task.fiducials is not None:
        marks = [task.fiducials.of(task.case, modality) for modality in (task.modality, task.settings.fixed)]
        marks.append({"in_mm": (float(task.fiducials.in_mm),)})
    settings = {**asdict(task.settings), "moving": task.modality}
    return hashlib.sha256(json.dumps([settings, files, marks], sort_keys=True).encode()).hexdigest()


def _new_manifest(manifest: Manifest, alignments: Sequence[Alignment], out: Path) -> Manifest:
    table = manifest.table.copy()
    table["path"] = [str(manifest.absolute(path)) for path in table["path"]]
    worst: dict[tuple[str, str], str] = {}
    image_of = {}
    for alignment in alignments:
        case = (alignment.subject, alignment.session)
        worst[case] = max(worst.get(case, "ok"), alignment.status, key=STATES.index)
        if alignment.image:
            image_of[*case, alignment.modality] = str(out / alignment.image)
    keys = list(zip(table["subject"], table["session"], table["modality"], strict=True))
    table["path"] = [image_of.get(key, path) for key, path in zip(keys, table["path"], strict=True)]
    table["alignment"] = [worst.get((subject, session), "") for subject, session, _ in keys]
    return Manifest(pandas.DataFrame(table), out, name=str(out / "manifest.csv"))


def _cell(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:.6g}" if isinstance(value, float) else str(value)
