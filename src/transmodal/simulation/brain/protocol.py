"""A folder of simulated subjects under BraTS 2018 names, with a manifest.

`Brats18_SIM_001/Brats18_SIM_001_{flair,t1,t1ce,t2,seg}.nii.gz`, int16 as in BraTS, labels uint8; SIM stands where BraTS
has the institution, and every header, every `.json` and the folder's `simulation.json` say so too. Each subject's
random state comes from (seed, number), so that neither the number of workers nor the order changes a bit.
"""

import csv
import io
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, get_args

import nibabel
import numpy as np
from numpy.typing import NDArray

from transmodal import images
from transmodal.errors import UserError
from transmodal.images.files import write_text
from transmodal.simulation.brain.lesions import PLAQUE_LABELS, TUMOUR_LABELS, Lesions
from transmodal.simulation.brain.signals import SEQUENCES
from transmodal.simulation.brain.subject import FULL_SIZE, BrainCase, grid_of, simulate_brain
from transmodal.simulation.data_set import claim, make_all, write_label_names

FORMAT = 1
"""Raised when the simulation's pictures change, so that an old folder is not continued with new ones."""

MAP_NAMES = {"tumour": "seg", "ms": "lesion", "none": "seg"}
_COLUMNS = (
    "subject",
    "session",
    "modality",
    "path",
    "lesions",
    "grade",
    "field_tesla",
    "repetition_ms",
    "echo_ms",
    "inversion_ms",
)
_VOLUMES = {
    "tumour": {"core_ml": "1", "oedema_ml": "2", "enhancing_ml": "4"},
    "ms": {"lesion_ml": "1"},
    "none": {},
}
_DESCRIPTION = b"simulated by transmodal, no patient"


@dataclass(frozen=True)
class Settings:
    """What decides the bits of a data set."""

    subjects: int
    size: tuple[int, int, int]
    spacing: float
    lesions: Lesions
    seed: int


def case_of(settings: Settings, number: int) -> BrainCase:
    """Simulate subject `number` of the data set, from 1."""
    state = np.random.SeedSequence([settings.seed, number]).generate_state(1)
    return simulate_brain(int(state[0]), size=settings.size, spacing=settings.spacing, lesions=settings.lesions)


def path_of(number: int, name: str) -> str:
    """Path of one file relative to the data set's folder; `name` is a modality, the map's name, or "json"."""
    subject = f"Brats18_SIM_{number:03d}"
    return f"{subject}/{subject}.json" if name == "json" else f"{subject}/{subject}_{name.lower()}.nii.gz"


def simulate_dataset(
    folder: str | Path,
    *,
    subjects: int = 20,
    size: tuple[int, int, int] = FULL_SIZE,
    spacing: float | None = None,
    lesions: Lesions = "tumour",
    seed: int = 0,
    workers: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Path:
    """Simulate a data set of T1, T1ce, T2, FLAIR with a label map.

    Arguments: `folder`, made if absent; `subjects`, from 1; `size`, voxels; `spacing`, mm (None: the field of BraTS
    divided by the size); `lesions`, "tumour" (map `seg`: 1 core, 2 oedema, 4 enhancing), "ms" (map `lesion`: 1) or
    "none" (an empty map); `seed`, from 0; `workers`, processes (None: one a CPU; processes are spawned, so a script
    that calls this with more than one needs `if __name__ == "__main__"`); `progress`, called with (subjects done,
    subjects in all).
    Returns the path of `manifest.csv`, written when all subjects are there. Subjects that a stopped run has finished
    are kept, and so is a manifest with what was added to it. Raises UserError for settings out of range, and for a
    folder that holds other settings' images.
    """
    settings = _checked(subjects, size, spacing, lesions, seed, workers)
    folder = Path(folder)
    ours: dict[str, Any] = {"simulation": "brain", "format": FORMAT, **asdict(settings), "synthetic": True}
    claim(folder, ours | {"size": list(size)})
    names = {"ms": PLAQUE_LABELS, "tumour": TUMOUR_LABELS, "none": {}}[lesions]
    write_label_names(folder / "labels.json", {"0": "no lesion", **{str(k): v for k, v in names.items()}})
    missing = [number for number in range(1, subjects + 1) if not _is_finished(folder, settings, number)]
    done = subjects - len(missing)
    if progress:
        progress(done, subjects)
    jobs = [(folder, settings, number) for number in missing]
    for _ in make_all(_write_subject, jobs, folder=folder, workers=workers, memory="1 GB a worker at full size"):
        done += 1
        if progress:
            progress(done, subjects)
    manifest = folder / "manifest.csv"
    # One that is there has the same rows, and perhaps the split and columns that the user has added since.
    return manifest if manifest.is_file() else write_text(manifest, _manifest(folder, settings))


def _checked(
    subjects: int, size: tuple[int, int, int], spacing: float | None, lesions: Lesions, seed: int, workers: int | None
) -> Settings:
    for name, value, least, most in (
        ("subjects", subjects, 1, 99999),
        ("seed", seed, 0, 2**63 - 1),
        ("workers", 1 if workers is None else workers, 1, 4096),
    ):
        if not least <= value <= most:
            raise UserError(f"{name} is {value}; give a whole number from {least} to {most}")
    if lesions not in get_args(Lesions):
        raise UserError(f"lesions {lesions!r} are unknown; give one of {', '.join(get_args(Lesions))}")
    return Settings(subjects, size, grid_of(size, spacing).spacing, lesions, seed)


def _names(settings: Settings) -> tuple[str, ...]:
    return (*SEQUENCES, MAP_NAMES[settings.lesions])


def _is_finished(folder: Path, settings: Settings, number: int) -> bool:
    # The description is written last, and every file whole.
    return all((folder / path_of(number, name)).is_file() for name in (*_names(settings), "json"))


def _write_subject(folder: Path, settings: Settings, number: int) -> None:
    case = case_of(settings, number)
    for modality, volume in case.images.items():
        # A voxel of the brain stays above zero, or the mask could not be told from the file.
        stored = np.rint(volume).clip(1, 32767).astype(np.int16) * case.mask
        _write(folder / path_of(number, modality), stored, case, "intensity")
    _write(folder / path_of(number, MAP_NAMES[settings.lesions]), case.labels, case, "label")
    write_text(folder / path_of(number, "json"), json.dumps(case.meta, indent=2) + "\n")


def _write(path: Path, pixels: NDArray[Any], case: BrainCase, quantity: str) -> None:
    header = nibabel.Nifti1Header()
    header["descrip"] = _DESCRIPTION
    header["sform_code"] = header["qform_code"] = 1  # scanner coordinates, as in BraTS
    header.set_xyzt_units("mm")
    source = images.Source(format="nifti", header=header)
    images.write(images.Image(pixels, case.affine, quantity=quantity, source=source), path)


def _manifest(folder: Path, settings: Settings) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    volumes = _VOLUMES[settings.lesions]
    writer.writerow((*_COLUMNS, *volumes))
    for number in range(1, settings.subjects + 1):
        meta = json.loads((folder / path_of(number, "json")).read_text(encoding="utf-8"))
        sizes = [meta["volumes_ml"][label] for label in volumes.values()]
        grade = meta.get("glioma", {}).get("grade", "")
        for name in _names(settings):
            times = meta["sequences"].get(name, {})
            timing = [
                "" if times.get(key) is None else f"{times[key]:.1f}" for key in ("repetition", "echo", "inversion")
            ]
            row = (path_of(number, "json").split("/")[0], "", name, path_of(number, name), settings.lesions, grade)
            writer.writerow((*row, meta["field_tesla"], *timing, *sizes))
    return text.getvalue()
