"""Which predicted image belongs to which truth: by the stem of their names, the name of their folders, or a table.

A folder's images are its image files, matched by their names before the suffix. Where it holds none, each folder below
it is one image, matched by the folder's name: one DICOM series, or a folder with a single image file.
"""

import os
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from transmodal.datasets.manifest_csv import read_rows
from transmodal.errors import UserError
from transmodal.images import is_image_file
from transmodal.images.formats import format_of_name, stem_of

_OWN_COLUMNS = ("predicted", "truth", "case", "subject", "mask")


@dataclass(frozen=True, slots=True)
class MatchedCase:
    """The files of one case; paths are text, of which ten thousand take little memory.

    Attributes:
        case: its name.
        predictions: one file a system, in the order of the systems.
        truth: the reference.
        mask: where to compare; "" without one.
        subject: whose it is; "" when the table does not say.
        factors: free columns of the table.
        lesions: the map of the case's lesions; "" without one.
    """

    case: str
    predictions: tuple[str, ...]
    truth: str
    mask: str = ""
    subject: str = ""
    factors: Mapping[str, str] = field(default_factory=dict)
    lesions: str = ""


@dataclass(frozen=True)
class Matched:
    """Cases that are complete, and what is not.

    Attributes:
        systems: what made the predictions; the first is the one under test.
        cases: the complete ones.
        alone: (case, why) of the incomplete ones; a program that drops its worst cases must not score better for it.
        has_masks: whether every case has a mask.
    """

    systems: tuple[str, ...]
    cases: list[MatchedCase]
    alone: tuple[tuple[str, str], ...] = ()
    has_masks: bool = False


def match(systems: Mapping[str, Path], truth: Path, mask: Path | None = None) -> Matched:
    """Match files, or the images of folders by name.

    Args:
        systems: name → a folder of predicted images, or one image for all.
        truth: of the same kind.
        mask: a folder of masks or one mask; None does without.

    Raises:
        UserError: a path is missing, files and folders are mixed, two images of a folder share a name, or nothing
            matches.
    """
    for path in (*systems.values(), truth, *([mask] if mask else [])):
        if not path.exists():
            raise UserError(f"There is no {path}; check the path")
    for path in systems.values():
        if path.is_file() != truth.is_file():
            raise UserError(f"{path} and {truth} must be two files or two folders; name two of a kind")
    if truth.is_file():
        true = {stem_of(truth): str(truth)}
        made = {name: dict.fromkeys(true, str(path)) for name, path in systems.items()}
    else:
        found = _images_of_all([truth, *systems.values()])
        true, made = found[truth], {name: found[path] for name, path in systems.items()}
    complete = sorted(set(true).intersection(*made.values()))
    if not complete:
        _refuse_without_partners(systems, made, truth, true)
    masks = None if mask is None else _masks_of(mask, complete)
    alone = list(_without_partners(systems, made, truth, true))
    cases = []
    for stem in complete:
        if masks is not None and stem not in masks:
            alone.append((stem, f"{true[stem]} has no mask; add one of the same name or leave the mask out"))
            continue
        files = tuple(each[stem] for each in made.values())
        cases.append(MatchedCase(stem, files, true[stem], masks[stem] if masks else ""))
    return Matched(tuple(systems), cases, tuple(alone), masks is not None)


def match_by_table(table: Path, systems: Mapping[str, Path], truth: Path, mask: Path | None = None) -> Matched:
    """Match images by a CSV with one row a case.

    Its columns: `predicted`, below the first system's folder; `truth`, below the folder of truths; perhaps `case`,
    `subject`, `mask` (below the folder of masks, or of truths where there is none), and one column for each further
    system, named like it, below its folder (without one, the cell of `predicted` counts). Other columns are factors to
    group by.

    Raises:
        UserError: no such table or folder, a path that leaves its folder, a cell left blank, or two cases of one name.
    """
    for path in (*systems.values(), truth, *([mask] if mask else [])):
        if not path.is_dir():
            raise UserError(
                f"{path} is no folder; with --match, predictions and truths are folders that hold the files"
            )
    rows, numbers = read_rows(
        table,
        needed=("predicted", "truth"),
        known=_OWN_COLUMNS,
        remedy="write one with the columns predicted and truth",
    )
    first, *others = systems
    columns = list(rows[0])
    has_masks = mask is not None or "mask" in columns
    factors = [column for column in columns if column not in _OWN_COLUMNS and column not in systems]
    stems = Counter(stem_of(row["truth"]) for row in rows)
    cases: list[MatchedCase] = []
    alone: list[tuple[str, str]] = []
    seen: set[str] = set()
    for row, number in zip(rows, numbers, strict=True):
        place = f"row {number} of {table}"
        stem = stem_of(row["truth"])
        case = row.get("case") or (stem if stems[stem] == 1 else str(Path(row["truth"]).with_suffix("")))
        if case in seen:
            raise UserError(f"The case {case} stands twice in {table} (row {number}); give each row its own case")
        seen.add(case)
        cells = [(systems[first], row["predicted"])]
        cells += [(systems[name], row.get(name) or row["predicted"]) for name in others]
        cells.append((truth, row["truth"]))
        if has_masks:
            cells.append((mask or truth, row.get("mask") or row["truth"]))
        files = [_below(folder, cell, place) for folder, cell in cells]
        missing = next((file for file in files if not Path(file).exists()), None)
        if missing is not None:
            alone.append((case, f"There is no {missing} ({place})"))
            continue
        of_case = {name: row[name] for name in factors}
        made = tuple(files[: len(systems)])
        region = files[-1] if has_masks else ""
        cases.append(MatchedCase(case, made, files[len(systems)], region, row.get("subject", ""), of_case))
    if not cases:
        raise UserError(f"No row of {table} has all its files; the first: {alone[0][1]}")
    return Matched(tuple(systems), cases, tuple(alone), has_masks)


def with_lesions(matched: Matched, lesions: Path) -> Matched:
    """Return the cases with their maps of lesions, matched by the name of the truth; a case may have none.

    Args:
        matched: what is to be scored.
        lesions: a folder of maps, or one for one case.

    Raises:
        UserError: the path is missing, or no map has the name of a truth.
    """
    if not lesions.exists():
        raise UserError(f"There is no {lesions}; check the path")
    stems = [stem_of(case.truth) for case in matched.cases]
    if lesions.is_file():
        if len(stems) > 1:
            raise UserError(f"{lesions} is one map of lesions for {len(stems)} images; give a folder")
        found = dict.fromkeys(stems, str(lesions))
    else:
        found = images_of(lesions)
    if not found.keys() & set(stems):
        raise UserError(
            f"No map of lesions in {lesions} has the name of a truth; rename them to agree before the suffix"
        )
    cases = [replace(case, lesions=found.get(stem, "")) for case, stem in zip(matched.cases, stems, strict=True)]
    return replace(matched, cases=cases)


def images_of(folder: Path) -> dict[str, str]:
    """Return name → image of a folder: its image files by stem, or the folders below that hold one image each.

    Raises:
        UserError: two images share a name, or a folder below holds several that are no DICOM series.
    """
    found: dict[str, str] = {}
    for path in _files_of(folder):
        stem = stem_of(path)
        if stem in found:
            other = Path(found[stem]).name
            raise UserError(f"{other} and {Path(path).name} in {folder} have one name; leave one of them there")
        found[stem] = path
    if found:
        return found
    with os.scandir(folder) as entries:
        below = sorted(entry.path for entry in entries if entry.is_dir() and not entry.name.startswith("."))
    for path in below:
        files = list(_files_of(Path(path)))
        if len(files) > 1 and all(format_of_name(file) in (None, "dicom") for file in files):
            found[Path(path).name] = path
        elif len(files) == 1:
            found[Path(path).name] = files[0]
        elif files:
            names = " and ".join(Path(file).name for file in files[:2])
            raise UserError(
                f"{path} holds several images ({names}); leave one in each folder, or name pairs by --match"
            )
    return found


def _images_of_all(folders: list[Path]) -> dict[Path, dict[str, str]]:
    """Return `images_of` of each folder; of one that holds folders of images, say which of them was meant."""
    found: dict[Path, dict[str, str]] = {}
    problems: dict[Path, UserError] = {}
    for folder in folders:
        try:
            found[folder] = images_of(folder)
        except UserError as error:
            problems[folder] = error
    for folder, problem in problems.items():
        meant = _meant_below(folder, found.values())
        if meant:
            raise UserError(f"{folder} holds folders of images; {meant}") from problem
        raise problem
    return found


def _meant_below(folder: Path, others: Iterable[Mapping[str, str]]) -> str:
    """Return "did you mean …?" with the folders below of which the most images have the names that others have."""
    wanted = {stem for other in others for stem in other}
    with os.scandir(folder) as entries:
        below = sorted(entry.name for entry in entries if entry.is_dir() and not entry.name.startswith("."))
    shared = {name: len(wanted & {stem_of(path) for path in _files_of(folder / name)}) for name in below}
    most = max(shared.values(), default=0)
    meant = [str(folder / name) for name, number in shared.items() if number == most][:3]
    return f"did you mean {' or '.join(meant)}?" if most else ""


def _files_of(folder: Path) -> Iterator[str]:
    with os.scandir(folder) as entries:
        names = sorted(entry.name for entry in entries if not entry.name.startswith(".") and entry.is_file())
    headers = {name.rpartition(".")[0] for name in names if name.lower().endswith(".hdr")}
    for name in names:
        path = os.path.join(folder, name)  # noqa: PTH118 - text: 20 000 Path objects take many megabytes
        stem, _, suffix = name.rpartition(".")
        if suffix.lower() == "img" and stem in headers:
            continue  # the other half of an Analyze or NIfTI pair
        # A file that is called an image is one, if perhaps a broken one, which is then listed with the reason.
        if format_of_name(name) or is_image_file(path):
            yield path


def _masks_of(mask: Path, stems: list[str]) -> dict[str, str]:
    if mask.is_file():
        if len(stems) > 1:
            raise UserError(f"{mask} is one mask for {len(stems)} images; give a folder of masks")
        return dict.fromkeys(stems, str(mask))
    masks = images_of(mask)
    if not masks.keys() & set(stems):
        raise UserError(f"No mask in {mask} has the name of an image; rename them to agree before the suffix")
    return masks


def _without_partners(
    systems: Mapping[str, Path], made: Mapping[str, Mapping[str, str]], truth: Path, true: Mapping[str, str]
) -> Iterable[tuple[str, str]]:
    for name in systems:
        for stem in sorted(made[name].keys() - true.keys()):
            yield stem, f"{made[name][stem]} has no partner in {truth}"
    for stem in sorted(true):
        lacking = [str(folder) for name, folder in systems.items() if stem not in made[name]]
        if lacking:
            yield stem, f"{true[stem]} has no partner in {' and '.join(lacking)}"


def _refuse_without_partners(
    systems: Mapping[str, Path], made: Mapping[str, Mapping[str, str]], truth: Path, true: Mapping[str, str]
) -> None:
    name = next((name for name in systems if not made[name].keys() & true.keys()), None)
    if name is None:
        raise UserError(f"No image of {truth} has a partner in all of {', '.join(systems)}; score them one by one")
    folder = systems[name]
    for path, images, others in ((folder, made[name], true), (truth, true, made[name])):
        meant = _meant_below(path, [others]) if path.is_dir() else ""
        if meant:
            raise UserError(f"No image of {path} has a partner of the same name; {meant}")
        if not images:
            raise UserError(f"{path} holds no image; check the path")
    example = f"{min(made[name])} against {min(true)}"
    raise UserError(
        f"No image of {folder} has a partner of the same name in {truth} ({example}); rename the files so that "
        "their names before the suffix agree, or name the pairs in a table with --match"
    )


def _below(folder: Path, cell: str, place: str) -> str:
    """Return a cell's path below its folder.

    Raises:
        UserError: the cell is blank or leads out of the folder, also by a link.
    """
    if not cell:
        raise UserError(f"A file is not named in {place}; fill the cell")
    path = Path(folder, cell.replace("\\", "/"))
    if not Path(os.path.abspath(path)).resolve().is_relative_to(folder.resolve()):  # noqa: PTH100
        raise UserError(f"The path {cell} in {place} leaves {folder}; write it relative to that folder")
    return str(path)


def subject_in_name(pattern: str | None) -> Callable[[str], str]:
    """Return what finds the subject in the stem of a file's name.

    Args:
        pattern: of `--subject-pattern`: a regular expression with a group (?P<subject>…); None takes the whole stem.

    Raises:
        UserError: it is no regular expression or has no such group; later, a name that it does not fit.
    """
    if pattern is None:
        return lambda stem: stem
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise UserError(f"--subject-pattern {pattern!r} is no regular expression: {error}") from error
    if "subject" not in compiled.groupindex:
        raise UserError("--subject-pattern needs a group (?P<subject>…)")

    def subject_of(stem: str) -> str:
        found = compiled.search(stem)
        if found is None:
            raise UserError(f"--subject-pattern {pattern!r} does not fit the name {stem!r}; change one of them")
        return str(found["subject"])

    return subject_of
