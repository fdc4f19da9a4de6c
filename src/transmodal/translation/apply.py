"""Apply a translator to a file, a folder or a manifest: same size, same pixel size, marked as synthetic.

Beside each output lies a sidecar that says how it was made. What is done already is skipped; a bad file is listed and
the rest goes on. Only files that a sidecar calls synthetic are ever replaced.
"""

import hashlib
import json
import shutil
import tempfile
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

import transmodal
from transmodal.datasets.label_classes import LabelClasses
from transmodal.errors import UserError
from transmodal.images import Image, read, read_geometry, write
from transmodal.images.dicom_values import storable
from transmodal.images.files import holds_slices_alone, sha256_of, write_text
from transmodal.images.formats import format_to_write, stem_of
from transmodal.images.synthetic import NOTICE, marked, read_sidecar, require_replaceable, sidecar_of
from transmodal.translation.allocator import freed_memory_kept
from transmodal.translation.jobs import Job, find_jobs
from transmodal.translation.options import Options
from transmodal.translation.translator import Translator

__all__ = ["Job", "Results", "apply_translator", "find_jobs", "sidecar_of", "suffix_for"]

LEGEND = "labels.json"
SEGMENTS = "dicom-seg"
# Outputs take the input's format when it is one of these.
KEEPS_ITS_FORMAT = ("nifti", "minc", "dicom", "metaimage", "nrrd")
SUFFIX = {"png": ".png", "tiff": ".tiff", "nifti": ".nii.gz", "minc": ".nii.gz", "dicom": ".dcm",
          "metaimage": ".mha", "nrrd": ".nrrd", "npy": ".npy"}  # fmt: skip
SUFFIXES_OF_SD = {2: ".tiff", 3: ".nii.gz"}

Outcome = Literal["written", "skipped", "failed"]


@dataclass
class Results:
    """What became of each job: outcome → (name, path or reason); warnings of inputs unlike those of the training."""

    written: list[tuple[str, Path]] = field(default_factory=list)
    skipped: list[tuple[str, Path]] = field(default_factory=list)
    failed: list[tuple[str, str]] = field(default_factory=list)
    warnings: list[tuple[str, str]] = field(default_factory=list)


def apply_translator(
    translator: Translator,
    jobs: Sequence[Job],
    out: Path,
    *,
    single_file: bool = False,
    seed: int | None = None,
    spacing: tuple[float, float] | None = None,
    model_folder: Path | None = None,
    targets: Sequence[str] | None = None,
    options: Options | None = None,
    passes: int = 0,
    ensemble: Sequence[Translator] = (),
    as_segments: bool = False,
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
        targets: which to make, each of all that is given but itself; None makes all that are not given.
        options: how the network is run.
        passes: 2 or more writes the mean over so many passes with noise, and beside it, as NAME_sd, their standard
            deviation.
        ensemble: further translators; then mean and standard deviation are over all of them, without noise.
        as_segments: write label maps as DICOM segmentations, as a single file called .dcm always is.
        on_job: called after each job.

    Beside label maps in a folder, labels.json says what their values mean.

    Raises:
        UserError: nothing can be written there, a tidying is asked for of a class that is none, or segments of a
            translator of images. What goes wrong with one job stands in the results.
    """
    results = Results()
    options, ensemble = translator.filled_in(options or Options()), tuple(ensemble)
    label_maps = {name: translator.label_classes(name, options) for name in translator.card.targets}
    only_label_maps = all(classes is not None for classes in label_maps.values())
    as_segments = as_segments or (only_label_maps and single_file and out.suffix.lower() == SUFFIX["dicom"])
    if as_segments and not only_label_maps:
        raise UserError(f"{translator.card.name} makes images, and DICOM segmentations are of label maps")
    call = _Call(
        translator, out, single_file, seed, spacing, model_folder, targets, options, passes, ensemble, as_segments
    )
    _require_writable(out.parent if single_file else out)
    pictures = translator.card.preparation.spatial_dims == 2 and options.memory is None
    # From slice to slice too, or each call gives back what the next asks for: a fifth of the time at 512² in bf16.
    with freed_memory_kept() if pictures else nullcontext():
        for job in jobs:
            on_job(job, call.into(results, job))
    legends = {name: classes.legend() for name, classes in label_maps.items() if classes is not None}
    if legends and results.written and not single_file:
        write_text(out / LEGEND, json.dumps({"notice": NOTICE, "labels": legends}, indent=2, ensure_ascii=False) + "\n")
    return results


def parts_of(translator: Translator, job: Job, targets: Sequence[str] | None = None) -> list[tuple[Job, list[str]]]:
    """Split a job by what its targets may be made of: whatever is made is never given.

    Args:
        translator: that will do it.
        job: with all that is there.
        targets: which to make; None takes all that are not given.

    Returns:
        The job with the inputs that are used, and the targets made of them. No input is left to a part whose target is
        all there is.

    Raises:
        UserError: a target is unknown, nothing is left to make, or nothing is left to make it of.
    """
    card = translator.card
    wanted = list(dict.fromkeys(translator.targets_for(() if targets else job.files, targets)))
    own = [name for name in wanted if name in job.files]
    if own and not card.missing_inputs:
        raise UserError(
            f"{card.name} needs all of {', '.join(card.inputs)}, and no {own[0]} is made of itself; choose other "
            "--targets, or train with sampling.missing_inputs"
        )
    others = [name for name in wanted if name not in job.files]
    parts = [(job, others)] if others else []
    for target in own:
        rest = {name: file for name, file in job.files.items() if name != target}
        parts += [(replace(job, files=rest), [target])]
    if not any(part.files for part, _ in parts):
        raise _nothing_else(own[0])
    return parts


def _nothing_else(target: str) -> UserError:
    return UserError(
        f"There is only {target} to make {target} of, and no image is made of itself; choose other --targets, or give "
        "another input"
    )


@dataclass(frozen=True)
class _Call:
    """What all jobs of one call share."""

    translator: Translator
    out: Path
    single_file: bool
    seed: int | None
    spacing: tuple[float, float] | None
    model_folder: Path | None
    targets: Sequence[str] | None
    options: Options
    passes: int
    ensemble: tuple[Translator, ...]
    as_segments: bool
    warned: list[str] = field(default_factory=list)

    def into(self, results: Results, job: Job) -> Outcome:
        """Do one job unless it is done, and say in the results what became of it."""
        outcomes: set[Outcome] = set()
        try:
            parts = parts_of(self.translator, job, self.targets)
        except UserError as error:
            results.failed.append((job.name, str(error)))
            return "failed"
        for part, targets in parts:
            try:
                outcome, paths = self.translate(part, targets, job)
                listed = results.written if outcome == "written" else results.skipped
                listed.extend((job.name, path) for path in paths)
            except UserError as error:
                outcome = "failed"
                if (job.name, str(error)) not in results.failed:  # one bad file fails several parts
                    results.failed.append((job.name, str(error)))
            outcomes.add(outcome)
            results.warnings += [(job.name, line) for line in self.warned if (job.name, line) not in results.warnings]
            self.warned.clear()
        return "failed" if "failed" in outcomes else "written" if "written" in outcomes else "skipped"

    def translate(self, job: Job, targets: list[str], whole: Job) -> tuple[Outcome, list[Path]]:
        """Make these targets of all inputs of the job; `whole` is it with those that are withheld."""
        if not job.files:
            raise _nothing_else(targets[0])
        if job.missing and not self.translator.card.missing_inputs:
            raise UserError(f"it has no {', '.join(job.missing)}; add what is missing to the manifest")
        record = self._record(job)
        done = self._finished(job, targets, record)
        if done is not None:
            return "skipped", done
        images = {modality: self._read(file) for modality, file in job.files.items()}
        first = next(iter(images.values()))
        paths = {modality: self._path(job, modality, first) for modality in targets}
        spreads = bool(self.passes or self.ensemble)
        for path in paths.values():  # before anything is computed
            require_replaceable(path, whole.files.values())
            if spreads:
                require_replaceable(_path_of_sd(path, first), whole.files.values())
        mask = self._read(job.mask) if job.mask is not None else None
        options = replace(self.options, warn=self.warned.append)
        how: dict[str, Any] = {"mask": mask, "targets": targets, "options": options}
        if spreads:
            spread = self.translator.translate_with_spread(
                images, passes=self.passes, seed=self.seed or 0, others=self.ensemble, **how
            )
            outputs = {name: mean for name, (mean, _) in spread.items()}
            for name, (_, sd) in spread.items():
                target = f"standard deviation of {name}"
                self._write(sd, _path_of_sd(paths[name], sd), {**record, "target": target})
        else:
            outputs = self.translator.translate_case(images, seed=self.seed, **how)
        record["warnings"] = list(self.warned)
        for modality, image in outputs.items():
            self._write(image, paths[modality], {**record, "target": modality})
        return "written", list(paths.values())

    def _read(self, file: Path) -> Image:
        needs_size = self.spacing is not None and not read_geometry(file).has_physical_size
        return read(file, spacing=self.spacing if needs_size else None)

    def _write(self, image: Image, path: Path, record: dict[str, Any]) -> None:
        card = self.translator.card
        image, rounded = storable(image) if format_to_write(image, path) == "dicom" else (image, "")
        if rounded:
            self.warned.append(f"{path.name} is DICOM, which stores {record['target']} as {rounded}")
        sidecar = {
            **record,
            "output": path.name,
            "quantity": image.quantity,
            "shape": list(image.shape),
            "spacing_mm": list(image.spacing) if image.has_physical_size else None,
            **({"rounded": rounded} if rounded else {}),
        }
        classes = card.preparation.modalities[record["target"]].labels if record["target"] in card.targets else None
        if classes is not None:
            sidecar["labels"] = classes.legend()
        derivation = f"{NOTICE} {record['target']} made by transmodal {transmodal.__version__}, model {card.name}"
        with marked(path, sidecar):
            if holds_slices_alone(path):
                shutil.rmtree(path)  # slices of an earlier call; a series is only written to a new folder
            if classes is None:
                write(image, path, derivation=derivation)
            elif self.as_segments:
                _write_segments(image, path, classes, derivation)
            else:
                values = ", ".join(f"{each.value} {each.name}" for each in classes.classes)
                write(image, path, derivation=f"{derivation}; {values}")

    def _path(self, job: Job, modality: str, source: Image) -> Path:
        if self.single_file:
            return self.out
        suffix = SUFFIX["dicom"] if self.as_segments else suffix_for(self.translator, source, modality)
        return self.out / (self._name(job, modality) + suffix)

    def _name(self, job: Job, modality: str) -> str:
        return job.name + (f"_{modality}" if len(self.translator.card.targets) > 1 else "")

    def _record(self, job: Job) -> dict[str, Any]:
        card = self.translator.card
        return {
            "notice": NOTICE,
            "synthetic": True,
            "transmodal": transmodal.__version__,
            "model": card.name,
            "model_folder": str(self.model_folder) if self.model_folder else None,
            "model_sha256": card.weights_sha256,
            "card_sha256": hashlib.sha256(card.model_dump_json().encode()).hexdigest(),
            "stochastic": self.seed is not None,
            "seed": self.seed,
            "given_spacing_mm": list(self.spacing) if self.spacing else None,
            "options": self.options.to_json(),
            **({"format": SEGMENTS} if self.as_segments else {}),
            "spread": {"passes": self.passes, "ensemble": [each.card.weights_sha256 for each in self.ensemble]},
            "inputs": {
                modality: {"path": str(file), "sha256": _content_hash(file)}
                for modality, file in (job.files | ({"mask": job.mask} if job.mask is not None else {})).items()
            },
        }

    def _finished(self, job: Job, targets: Sequence[str], record: dict[str, Any]) -> list[Path] | None:
        """Return the outputs of an earlier call with the same input, models, seed and options, or None."""
        paths = []
        spreads = self.passes or self.ensemble
        for modality in targets:
            file = self.out if self.single_file else self.out / f"{self._name(job, modality)}.any"
            earlier = read_sidecar(sidecar_of(file))
            path = file.with_name(Path(str(earlier.get("output"))).name or "-")
            if self.single_file and path != self.out:
                return None
            if not (earlier.get("written") and path.exists() and _signature(earlier) == _signature(record)):
                return None
            if spreads and not _finished_sd(path, record):
                return None
            paths.append(path)
        return paths


def _signature(record: dict[str, Any]) -> list[Any]:
    """What has to agree for an output to be the same; where the inputs lie is of no matter."""
    inputs = record.get("inputs")
    hashes = {name: part.get("sha256") for name, part in inputs.items()} if isinstance(inputs, dict) else None
    return [
        hashes,
        *(
            record.get(key)
            for key in ("model_sha256", "card_sha256", "seed", "given_spacing_mm", "options", "format", "spread")
        ),
    ]


def _finished_sd(path: Path, record: dict[str, Any]) -> bool:
    """Return whether the standard deviation beside an output is there and of the same call."""
    for suffix in SUFFIXES_OF_SD.values():
        beside = path.with_name(f"{stem_of(path)}_sd{suffix}")
        earlier = read_sidecar(sidecar_of(beside))
        if beside.exists() and earlier.get("written") and earlier.get("output") == beside.name:
            return _signature(earlier) == _signature(record)
    return False


def _write_segments(image: Image, path: Path, classes: LabelClasses, derivation: str) -> None:
    """Write a label map as a DICOM segmentation."""
    from transmodal.images.dicom_segmentation import Segment
    from transmodal.images.dicom_segmentation import write as write_segmentation

    segments = [
        Segment(
            each.value,
            each.name,
            each.colour,
            tuple(classes.classes[inner].value for inner in classes.inside(number)),
        )
        for number, each in enumerate(classes.classes)
    ]
    write_segmentation(image, path, segments, derivation)


def _require_writable(folder: Path) -> None:
    """Refuse at once, not once for every image."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise UserError(f"Cannot write to {folder}: {error.strerror}; choose a folder you may write to") from error


def _path_of_sd(path: Path, sd: Image) -> Path:
    """Return where a standard deviation goes, beside its image, in a format of floating-point pixels."""
    return path.with_name(f"{stem_of(path)}_sd{SUFFIXES_OF_SD[sd.spatial_dims]}")


def suffix_for(translator: Translator, source: Image, modality: str) -> str:
    """Return the suffix of an output: the input's format where it carries patient geometry, else the training's.

    A DICOM volume has none: it is written as a folder of slices. What DICOM cannot hold becomes NIfTI, and so do label
    maps; Hounsfield units, which DICOM holds whole, stay DICOM.
    """
    target, own = translator.card.preparation.modalities[modality], source.source.format
    chosen = own if own in KEEPS_ITS_FORMAT else target.format
    if chosen == "dicom":
        if target.labels is not None:  # viewers would show values as shades of grey
            return SUFFIX["nifti"]
        narrow = np.dtype(target.dtype).kind != "f" and np.dtype(target.dtype).itemsize <= 2
        if target.channels or not (narrow or target.quantity == "HU"):
            return SUFFIX["nifti"]
        return SUFFIX["dicom"] if source.spatial_dims == 2 else ""
    return SUFFIX.get(chosen, SUFFIX["tiff"] if source.spatial_dims == 2 else SUFFIX["nifti"])


def _content_hash(path: Path) -> str:
    if path.is_file():
        return sha256_of(path)
    if path.is_dir():
        together = hashlib.sha256()
        for file in sorted(path.iterdir()):
            if file.is_file():
                together.update(sha256_of(file).encode())
        return together.hexdigest()
    raise UserError(f"There is no file {path}")
