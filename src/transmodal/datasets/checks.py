"""What is wrong with a data set before anything is learnt from it.

Every image is opened once. Findings are errors (a training on these data would stop, or its scores would lie),
warnings (probably not meant) and notes (good to know).
"""

import hashlib
import os
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from transmodal.datasets.manifest import SPLITS, CaseFiles, Manifest
from transmodal.errors import UserError
from transmodal.images import Geometry, Image, read, read_geometry
from transmodal.images.nuclear.sidecar import sidecar_path
from transmodal.tomography.sidecar import is_projections

SEVERITIES = ("error", "warning", "note")


@dataclass(frozen=True)
class Finding:
    """One thing about the data that a person should know.

    Attributes:
        severity: "error", "warning" or "note".
        kind: a fixed word for programs: "missing", "unreadable", "not finite", "constant", "mixed grids",
            "several sizes", "mixed types", "duplicate", "incomplete", "two sides", "split".
        case: the case id, or empty when it concerns several.
        what: one sentence.
        remedy: what to do.
    """

    severity: str
    kind: str
    case: str
    what: str
    remedy: str


@dataclass(frozen=True)
class FileFacts:
    """What one look into an image file told.

    Attributes:
        geometry: None when the header could not be read.
        problem: the reader's complaint; empty when all was read.
        digest: SHA-256 of type, shape and pixels, so that the same pixels in another container are found; None when
            pixels were not read.
        not_finite: number of NaN and infinite values.
        constant: the one value of a constant image, else None.
    """

    geometry: Geometry | None = None
    problem: str = ""
    digest: str | None = None
    not_finite: int = 0
    constant: float | None = None


def check_manifest(
    manifest: Manifest,
    *,
    modalities: Sequence[str] | None = None,
    pixels: bool = True,
    workers: int | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> list[Finding]:
    """Look at every image of a manifest and at the table itself.

    Args:
        manifest: what to check.
        modalities: look only at these; all when None. A case that lacks one is incomplete.
        pixels: False reads headers only: nothing is said about duplicates, NaN and constant images.
        workers: threads; None takes one a core.
        on_progress: called with (files done, all files).

    Returns:
        Findings, errors first, then by case.

    Raises:
        UserError: a modality is in no row.
    """
    wanted = list(modalities) if modalities is not None else manifest.modalities
    manifest.require_modalities(wanted)
    cases = [_only(case, wanted) for case in manifest.cases()]
    facts = _look_at_all(cases, pixels, workers, on_progress)
    findings = [
        *_about_files(cases, facts),
        *_about_grids_in_cases(cases, facts),
        *_about_modalities(cases, facts, wanted),
        *_about_duplicates(cases, facts),
        *_about_the_table(manifest, wanted),
    ]
    return sorted(findings, key=lambda finding: (SEVERITIES.index(finding.severity), finding.kind, finding.case))


def look_at(path: Path, pixels: bool = True) -> FileFacts:
    """Open one image and note what matters; a bad file is a fact, not an exception."""
    try:
        if not pixels:
            return FileFacts(geometry=read_geometry(path))
        image = read(path)
    except UserError as error:
        return FileFacts(problem=str(error))
    values = np.ascontiguousarray(image.pixels)
    not_finite = 0
    if values.dtype.kind in "fc":
        not_finite = int(values.size - np.count_nonzero(np.isfinite(values)))
    digest = hashlib.sha256(f"{values.dtype.str} {values.shape}".encode())
    digest.update(values.reshape(-1).view(np.uint8).data)
    constant = None
    if values.size and values.dtype.kind != "c" and not not_finite and values.min() == values.max():
        constant = float(values.flat[0])
    return FileFacts(Geometry.of(image), "", digest.hexdigest(), not_finite, constant)


def _only(case: CaseFiles, modalities: Sequence[str]) -> CaseFiles:
    files = {modality: case.files[modality] for modality in modalities if modality in case.files}
    return CaseFiles(case.subject, case.session, files, case.factors, case.split, case.fold)


def _look_at_all(
    cases: Sequence[CaseFiles],
    pixels: bool,
    workers: int | None,
    on_progress: Callable[[int, int], None] | None,
) -> dict[Path, FileFacts]:
    paths = list(dict.fromkeys(path for case in cases for path in case.files.values()))
    facts = {}
    with ThreadPoolExecutor(workers or os.cpu_count()) as pool:
        for done, (path, fact) in enumerate(zip(paths, pool.map(lambda p: _look(p, pixels), paths), strict=True), 1):
            facts[path] = fact
            if on_progress:
                on_progress(done, len(paths))
    return facts


def _look(path: Path, pixels: bool) -> FileFacts:
    return look_at(path, pixels) if path.exists() else FileFacts(problem="missing")


def _about_files(cases: Iterable[CaseFiles], facts: Mapping[Path, FileFacts]) -> Iterable[Finding]:
    for case in cases:
        for modality, path in case.files.items():
            fact = facts[path]
            if fact.problem == "missing":
                remedy = "restore the file, mend the path, or index the folder anew"
                yield Finding("error", "missing", case.id, f"{modality}: there is no file {path}", remedy)
            elif fact.problem:
                what, _, remedy = fact.problem.rpartition("; ")
                what, remedy = (what, remedy) if what else (remedy, "replace the file or delete its row")
                yield Finding("error", "unreadable", case.id, f"{modality}: {what}", remedy)
            if fact.not_finite:
                what = f"{modality}: {fact.not_finite} values of {path} are NaN or infinite"
                yield Finding("error", "not finite", case.id, what, "replace them or delete the row")
            if fact.constant is not None:
                what = f"{modality}: every value of {path} is {fact.constant:g}"
                yield Finding(
                    "warning", "constant", case.id, what, "look at the image; an empty label map may be right"
                )


def _about_grids_in_cases(cases: Iterable[CaseFiles], facts: Mapping[Path, FileFacts]) -> Iterable[Finding]:
    for case in cases:
        images = {modality: path for modality, path in case.files.items() if not _has_own_grid(path)}
        known = [(modality, facts[path].geometry) for modality, path in images.items()]
        grids = [(modality, geometry) for modality, geometry in known if geometry is not None]
        if not grids:
            continue
        first, reference = grids[0]
        for modality, geometry in grids[1:]:
            if _grid(geometry).same_grid(_grid(reference)):
                continue
            if geometry.shape == reference.shape:
                what = f"{first} and {modality} have one size but another position or pixel size"
            else:
                what = f"{first} is {_size(reference)} but {modality} is {_size(geometry)}"
            yield Finding(
                "error", "mixed grids", case.id, what, "bring the pair on one grid with 'transmodal data align'"
            )


def _has_own_grid(path: Path) -> bool:
    """Say whether a file lies on no other image's grid: projections, and frames of a nuclear camera."""
    return is_projections(path) or sidecar_path(path).is_file()


def _about_modalities(
    cases: Sequence[CaseFiles], facts: Mapping[Path, FileFacts], modalities: Sequence[str]
) -> Iterable[Finding]:
    for modality in modalities:
        known = [
            (case, geometry)
            for case in cases
            if modality in case.files and (geometry := facts[case.files[modality]].geometry) is not None
        ]
        geometries = [geometry for _, geometry in known]
        kinds = Counter(f"{geometry.dtype} with {_channels(geometry)}" for geometry in geometries)
        if len(kinds) > 1:
            few = kinds.most_common()[-1][0]
            odd = [case.id for case, geometry in known if f"{geometry.dtype} with {_channels(geometry)}" == few]
            named = ", ".join(odd[:4]) + (f" and {len(odd) - 4} more" if len(odd) > 4 else "")
            what = f"{modality} mixes {_counted(kinds)}: {few} in {named}"
            yield Finding("warning", "mixed types", odd[0], what, "convert the few to the kind of the many")
        sizes = Counter(_size(geometry) for geometry in geometries)
        if len(sizes) > 1:
            what = f"{modality} has {len(sizes)} sizes: {_counted(sizes)}"
            yield Finding("note", "several sizes", "", what, "the recipe's grid brings them to one size")
        spacings = Counter(_spacing(geometry) for geometry in geometries)
        if len(spacings) > 1:
            what = f"{modality} has {len(spacings)} pixel sizes: {_counted(spacings)}"
            yield Finding("note", "several sizes", "", what, "see that all were acquired alike")


def _about_duplicates(cases: Iterable[CaseFiles], facts: Mapping[Path, FileFacts]) -> Iterable[Finding]:
    places: dict[str, list[tuple[CaseFiles, str, Path]]] = defaultdict(list)
    for case in cases:
        for modality, path in case.files.items():
            if (digest := facts[path].digest) is not None:
                places[digest].append((case, modality, path))
    for same in places.values():
        if len(same) < 2:
            continue
        named = ", ".join(f"{modality} of {case.id}" for case, modality, _ in same[:4])
        what = f"The same pixels stand for {named}" + (f" and {len(same) - 4} more" if len(same) > 4 else "")
        # Empty label maps are equal without being copies.
        if facts[same[0][2]].constant is not None:
            continue
        if len({case.subject for case, _, _ in same}) > 1:
            remedy = "keep one, or give both the same subject: copies on two sides of a split let a model cheat"
            yield Finding("error", "duplicate", same[0][0].id, what, remedy)
        else:
            yield Finding("warning", "duplicate", same[0][0].id, what, "delete the copy unless it is meant")


def _about_the_table(manifest: Manifest, modalities: Sequence[str]) -> Iterable[Finding]:
    for case, missing in manifest.incomplete(modalities):
        what = f"{', '.join(missing)} missing; a training that needs it leaves this case out"
        yield Finding("warning", "incomplete", case, what, "add the image or leave it so")
    for subject, sides in manifest.subjects_on_two_sides().items():
        what = f"Subject {subject} stands in {' and '.join(sides)}"
        yield Finding("error", "two sides", subject, what, "give it one side: 'transmodal data split --force'")
    if "split" not in manifest.table:
        return
    unassigned = manifest.table.loc[manifest.table["split"] == "", "subject"].nunique()
    if unassigned:
        what = f"{unassigned} subject{'s' if unassigned > 1 else ''} stand in no split"
        yield Finding("note", "split", "", what, "they are not used until 'transmodal data split' places them")
    for split in SPLITS:
        if not (manifest.table["split"] == split).any():
            yield Finding("note", "split", "", f"No subject is in the split {split}", "split anew if you need it")


def _grid(geometry: Geometry) -> Image:
    """Return an image without memory behind its pixels, to compare grids by the one rule there is."""
    pixels = np.broadcast_to(np.zeros((), np.uint8), geometry.shape)
    return Image(pixels, geometry.affine, has_physical_size=geometry.has_physical_size)


def _size(geometry: Geometry) -> str:
    return "×".join(map(str, geometry.shape))


def _spacing(geometry: Geometry) -> str:
    if not geometry.has_physical_size:
        return "unknown"
    return "×".join(f"{length:.3g}" for length in geometry.spacing) + " mm"


def _channels(geometry: Geometry) -> str:
    return f"{len(geometry.channels)} channels" if geometry.channels else "1 channel"


def _counted(counter: Counter[str]) -> str:
    shown = ", ".join(f"{name} ({count})" for name, count in counter.most_common(4))
    return shown + (f" and {len(counter) - 4} more" if len(counter) > 4 else "")
