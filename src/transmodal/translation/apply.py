"""Apply a translator to a file, a folder or a manifest: same size, same pixel size, marked as synthetic.

Beside each output lies a sidecar that says how it was made. What is done already is skipped; a bad file is listed and
the rest goes on.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import transmodal
from transmodal.datasets.manifest import Manifest
from transmodal.errors import UserError
from transmodal.images import Image, is_image_file, read, write
from transmodal.images.files import sha256_of, write_text
from transmodal.translation.card import NOTICE
from transmodal.translation.translator import Translator

SIDECAR = ".synthetic.json"
KEEPS_ITS_FORMAT = ("nifti", "dicom", "metaimage", "nrrd")  # outputs take the input's format when it is one of these
SUFFIX = {"png": ".png", "tiff": ".tiff", "nifti": ".nii.gz", "dicom": ".dcm", "metaimage": ".mha", "nrrd": ".nrrd"}

Outcome = Literal["written", "skipped", "failed"]


@dataclass(frozen=True)
class Job:
    """One case to translate: its name in the output folder and its files by input modality."""

    name: str
    files: dict[str, Path]


@dataclass
class Results:
    """What became of each job: outcome → (name, path or reason)."""

    written: list[tuple[str, Path]] = field(default_factory=list)
    skipped: list[tuple[str, Path]] = field(default_factory=list)
    failed: list[tuple[str, str]] = field(default_factory=list)


def find_jobs(given: Path, inputs: Sequence[str], *, volumes: bool = False) -> list[Job]:
    """Return the jobs for a file, a folder of files (also in sub-folders), a DICOM series folder or a manifest.

    Args:
        given: what the user named.
        inputs: the translator's input modalities.
        volumes: the translator takes volumes, so that a folder of DICOM slices is one image.

    Raises:
        UserError: nothing there, nothing readable, or one file for a translator of several inputs.
    """
    if not given.exists():
        raise UserError(f"There is no {given}; give a file, a folder or a manifest.csv")
    if given.suffix.lower() == ".csv":
        cases = Manifest.read(given).cases(modalities=inputs)
        if not cases:
            raise UserError(f"No case of {given} has {', '.join(inputs)}")
        return [Job(case.id, case.files) for case in cases]
    if len(inputs) > 1:
        raise UserError(f"This translator takes {', '.join(inputs)}; give a manifest.csv that lists them by case")
    if given.is_file():
        return [Job(stem(given), {inputs[0]: given})]
    files = sorted(
        file for file in given.rglob("*") if file.is_file() and not file.name.startswith(".") and is_image_file(file)
    )
    if not files:
        raise UserError(f"{given} holds no image that transmodal reads")
    if volumes and len(files) > 1 and all(_is_dicom_slice(file) for file in files):
        return [
            Job(str(folder.relative_to(given)) if folder != given else folder.name, {inputs[0]: folder})
            for folder in sorted({file.parent for file in files})
        ]
    return [Job(str(file.relative_to(given).with_name(stem(file))), {inputs[0]: file}) for file in files]


def stem(path: Path) -> str:
    """Return a file's name without its suffix, `.nii.gz` counting as one."""
    name = path.name
    for suffix in (".nii.gz", ".ome.tiff", ".ome.tif"):
        if name.lower().endswith(suffix):
            return name[: -len(suffix)]
    return path.stem if path.suffix else name


def apply_translator(
    translator: Translator,
    jobs: Sequence[Job],
    out: Path,
    *,
    single_file: bool = False,
    seed: int | None = None,
    spacing: tuple[float, float] | None = None,
    model_folder: Path | None = None,
    on_job: Callable[[Job, Outcome], None] = lambda job, outcome: None,
) -> Results:
    """Translate jobs into a folder (or one job into one file).

    Args:
        translator: loaded.
        jobs: from `find_jobs`.
        out: the output folder; with `single_file` the output file itself.
        seed: see `Translator.__call__`.
        spacing: pixel size in mm for pictures that have none.
        model_folder: for the sidecar.
        on_job: called after each job.
    """
    results = Results()
    for job in jobs:
        try:
            outcome, paths = _translate_job(translator, job, out, single_file, seed, spacing, model_folder)
            (results.written if outcome == "written" else results.skipped).extend((job.name, path) for path in paths)
        except UserError as error:
            outcome = "failed"
            results.failed.append((job.name, str(error)))
        on_job(job, outcome)
    return results


def _translate_job(
    translator: Translator,
    job: Job,
    out: Path,
    single_file: bool,
    seed: int | None,
    spacing: tuple[float, float] | None,
    model_folder: Path | None,
) -> tuple[Outcome, list[Path]]:
    record = _record(translator, job, seed, model_folder)
    targets = list(translator.card.targets)
    done = _finished(job, targets, out, single_file, record)
    if done is not None:
        return "skipped", done
    images = {modality: read(file, spacing=spacing) for modality, file in job.files.items()}
    first = next(iter(images.values()))
    outputs = translator.translate_case(images, seed=seed)
    paths = []
    for modality, image in outputs.items():
        path = (
            out
            if single_file
            else out / _relative_name(job, modality, targets, suffix_for(translator, first, modality))
        )
        derivation = f"{NOTICE} {modality} made by transmodal {transmodal.__version__}, model {translator.card.name}"
        written = write(image, path, derivation=derivation)
        sidecar = {
            **record,
            "target": modality,
            "output": written.name,
            "quantity": image.quantity,
            "shape": list(image.shape),
            "spacing_mm": list(image.spacing) if image.has_physical_size else None,
            "written": datetime.now(UTC).isoformat(timespec="seconds"),
        }
        write_text(sidecar_of(written), json.dumps(sidecar, indent=2, ensure_ascii=False) + "\n")
        paths.append(written)
    return "written", paths


def suffix_for(translator: Translator, source: Image, modality: str) -> str:
    """Return the suffix of an output: the input's format where it carries patient geometry, else the training's."""
    if source.source.format in KEEPS_ITS_FORMAT:
        return SUFFIX[source.source.format]
    return SUFFIX.get(translator.card.preparation.modalities[modality].format, ".tiff")


def sidecar_of(path: Path) -> Path:
    """Return the path of the sidecar beside an output."""
    return path.with_name(stem(path) + SIDECAR)


def _relative_name(job: Job, modality: str, targets: list[str], suffix: str) -> str:
    return job.name + (f"_{modality}" if len(targets) > 1 else "") + suffix


def _record(translator: Translator, job: Job, seed: int | None, model_folder: Path | None) -> dict[str, Any]:
    return {
        "notice": NOTICE,
        "synthetic": True,
        "transmodal": transmodal.__version__,
        "model": translator.card.name,
        "model_folder": str(model_folder) if model_folder else None,
        "model_sha256": translator.card.weights_sha256,
        "stochastic": seed is not None,
        "seed": seed,
        "inputs": {
            modality: {"path": str(file), "sha256": _content_hash(file)} for modality, file in job.files.items()
        },
    }


def _content_hash(path: Path) -> str:
    if path.is_file():
        return sha256_of(path)
    if path.is_dir():
        import hashlib

        together = hashlib.sha256()
        for file in sorted(path.iterdir()):
            if file.is_file():
                together.update(sha256_of(file).encode())
        return together.hexdigest()
    raise UserError(f"There is no file {path}")


def _finished(job: Job, targets: list[str], out: Path, single_file: bool, record: dict[str, Any]) -> list[Path] | None:
    """Return the outputs of an earlier call with the same input, model and seed, or None."""
    paths = []
    for modality in targets:
        name = _relative_name(job, modality, targets, "")
        sidecar = sidecar_of(out) if single_file else out / f"{name}{SIDECAR}"
        try:
            earlier = json.loads(sidecar.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        path = sidecar.with_name(str(earlier.get("output")))
        if not path.exists() or any(earlier.get(key) != record[key] for key in ("model_sha256", "seed", "inputs")):
            return None
        paths.append(path)
    return paths


def _is_dicom_slice(file: Path) -> bool:
    with file.open("rb") as stream:
        return stream.read(132)[128:] == b"DICM"
