"""Find what there is to translate: files, folders, DICOM series and manifests, each output under a name of its own."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatch
from pathlib import Path

from transmodal.datasets.manifest import Manifest
from transmodal.errors import UserError, nearest
from transmodal.images import is_image_file
from transmodal.images.formats import format_of_name, recognise, stem_of

# Of two files that make one image, the one that is not named; beside it lies the header.
HEADER_OF = {".img": (".hdr",), ".rec": (".par", ".PAR"), ".brik": (".head", ".HEAD")}
NAMED_LIKE_PHOTOGRAPHS = (".jpg", ".jpeg", ".bmp")


@dataclass(frozen=True)
class Job:
    """One case to translate.

    Attributes:
        name: in the output folder.
        files: input modality → file.
        missing: input modalities that the case lacks.
        mask: of the region, where there is one.
    """

    name: str
    files: dict[str, Path]
    missing: tuple[str, ...] = ()
    mask: Path | None = None


def find_jobs(
    given: Path,
    inputs: Sequence[str],
    *,
    volumes: bool = False,
    out: Path | None = None,
    pattern: str = "*",
    modalities: Sequence[str] | None = None,
    mask_modality: str | None = None,
    masks: Path | None = None,
    may_miss: bool = False,
) -> list[Job]:
    """Return the jobs for a file, a folder of files (also in sub-folders), a DICOM series folder or a manifest.

    Files that are named like an image but hold none become jobs too, so that they are listed as failed; so do cases of
    a manifest that have some of the inputs but not all.

    Args:
        given: what the user named.
        inputs: the translator's input modalities.
        volumes: the translator takes volumes, so that a folder of DICOM slices is one image.
        out: where outputs will go; what lies there is no input.
        pattern: which files of a folder are of the input modality, as *T1*; of a DICOM series its slices' names.
        modalities: which input single files and the files of a folder are, needed where there are several; of a
            manifest the only inputs that are used.
        mask_modality: of masks of the region in a manifest.
        masks: a mask, or a folder of masks with the names of the inputs; for files and folders.
        may_miss: any of the inputs will do.

    Raises:
        UserError: nothing there, nothing readable, no such mask, an unknown modality, one file for a translator of
            several inputs, an output folder that is the input folder, a mask or a pattern beside a manifest, which
            names its own files, or two files whose outputs would have one name.
    """
    if not given.exists():
        raise UserError(f"There is no {given}; give a file, a folder or a manifest.csv")
    if masks is not None and not masks.exists():
        raise UserError(f"No such file: the mask {masks}; give a mask, or a folder of masks named like the inputs")
    chosen = chosen_inputs(inputs, modalities)
    if given.is_file() and given.suffix.lower() == ".csv":
        if not may_miss and len(chosen) < len(inputs):
            raise UserError(f"This translator needs all of {', '.join(inputs)}; leave --modality out")
        if masks is not None or pattern != "*":
            option, what = ("--mask", "masks") if masks is not None else ("--pattern", "files")
            named = f", of modality {mask_modality}" if masks is not None and mask_modality else ""
            raise UserError(f"{given} names its own {what}{named}; leave {option} out, or give a folder instead")
        return _manifest_jobs(given, inputs, chosen, mask_modality, may_miss)
    if modalities is not None and len(chosen) > 1:
        raise UserError(f"A file is one of {', '.join(chosen)}; name one with --modality, or give a manifest.csv")
    if len(chosen) > 1:
        raise UserError(
            f"This translator takes {', '.join(inputs)}; give a manifest.csv that lists them by case, or say which one "
            "these files are with --modality"
        )
    own = chosen[0]
    lacking = tuple(name for name in inputs if name != own)
    if given.is_file():
        return [_with_mask(Job(stem_of(given), {own: given}, lacking), masks)]
    if out is not None and out.resolve() == given.resolve():
        raise UserError(f"{out} is the folder of the inputs; choose another folder with -o")
    files = [
        file for file in _image_files(given, None if out is None else out.resolve()) if fnmatch(file.name, pattern)
    ]
    series = _series_folders(files) if volumes else set()
    jobs = [_folder_job(folder, given, own, lacking) for folder in sorted(series)]
    jobs += [
        Job(str(file.relative_to(given).with_name(stem_of(file))), {own: file}, lacking)
        for file in files
        if file.parent not in series
    ]
    if not jobs:
        named = "" if pattern == "*" else f" and is named like {pattern}"
        raise UserError(f"{given} holds no image that transmodal reads{named}")
    _require_own_names(jobs)
    return [_with_mask(job, masks) for job in jobs]


def chosen_inputs(inputs: Sequence[str], modalities: Sequence[str] | None = None) -> list[str]:
    """Return the inputs to use: those named, in the translator's order; None takes all.

    Raises:
        UserError: one is no input of the translator, or none is named.
    """
    if modalities is None:
        return list(inputs)
    for name in modalities:
        if name not in inputs:
            raise UserError(f"This translator takes {', '.join(inputs)}, not {name!r}; {nearest(name, inputs)}")
    if not modalities:
        raise UserError(f"--modality names nothing; choose from {', '.join(inputs)}")
    return [name for name in inputs if name in modalities]


def _with_mask(job: Job, masks: Path | None) -> Job:
    """Return the job with its mask: the one named, or the one of its name in a folder.

    Raises:
        UserError: there is none.
    """
    if masks is None:
        return job
    if masks.is_file():
        return replace(job, mask=masks)
    wanted = Path(job.name).name
    found = [file for file in sorted(masks.glob("*")) if file.is_file() and stem_of(file) == wanted]
    if not found:
        raise UserError(f"{masks} holds no mask named {wanted}; give each input one of its name")
    return replace(job, mask=found[0])


def _manifest_jobs(
    given: Path, inputs: Sequence[str], chosen: Sequence[str], mask_modality: str | None, may_miss: bool
) -> list[Job]:
    manifest = Manifest.read(given)
    if not may_miss:
        manifest.require_modalities(inputs)
    jobs = []
    for case in manifest.cases():
        files = {modality: case.files[modality] for modality in chosen if modality in case.files}
        if files:  # a case without any input is no work left undone: it may hold targets only; it is said at the end
            missing = tuple(modality for modality in inputs if modality not in files)
            jobs.append(Job(case.id, files, missing, case.files.get(mask_modality) if mask_modality else None))
    if not jobs or (not may_miss and all(job.missing for job in jobs)):
        raise UserError(f"No case of {given} has {(' or ' if may_miss else ', ').join(chosen)}; check its modalities")
    return jobs


def cases_without_input(given: Path, inputs: Sequence[str]) -> list[str]:
    """Return the cases of a manifest that have none of the inputs, and so are no jobs; nothing for files and folders.

    Raises:
        UserError: the manifest cannot be read.
    """
    if not (given.is_file() and given.suffix.lower() == ".csv"):
        return []
    return [case.id for case in Manifest.read(given).cases() if not any(name in case.files for name in inputs)]


def _image_files(folder: Path, out: Path | None) -> list[Path]:
    found = []
    for file in sorted(folder.rglob("*")):
        hidden = any(part.startswith(".") for part in file.relative_to(folder).parts)
        if hidden or not file.is_file() or (out is not None and file.resolve().is_relative_to(out)):
            continue
        headers = HEADER_OF.get(file.suffix.lower(), ())
        if any(file.with_suffix(header).exists() for header in headers):
            continue
        named = format_of_name(file) is not None or file.suffix.lower() in NAMED_LIKE_PHOTOGRAPHS
        if file.name != "DICOMDIR" and (named or is_image_file(file)):
            found.append(file)
    return found


def _series_folders(files: Iterable[Path]) -> set[Path]:
    """Return the folders with several DICOM files and nothing else."""
    by_folder: dict[Path, list[Path]] = {}
    for file in files:
        by_folder.setdefault(file.parent, []).append(file)
    return {folder for folder, inside in by_folder.items() if len(inside) > 1 and all(map(_is_dicom, inside))}


def _folder_job(folder: Path, given: Path, modality: str, lacking: tuple[str, ...]) -> Job:
    relative = folder.relative_to(given) if folder != given else Path(folder.resolve().name)
    # A dot would make `write` take the rest of the name for a format.
    return Job(str(relative.with_name(relative.name.replace(".", "_"))), {modality: folder}, lacking)


def _is_dicom(file: Path) -> bool:
    try:
        return recognise(file) == "dicom"
    except OSError:
        return False


def _require_own_names(jobs: Sequence[Job]) -> None:
    first: dict[str, Job] = {}
    for job in jobs:
        other = first.setdefault(job.name, job)
        if other is not job:
            (one,), (two,) = other.files.values(), job.files.values()
            raise UserError(f"The outputs of {one} and {two} would have one name; rename one, or translate it apart")
