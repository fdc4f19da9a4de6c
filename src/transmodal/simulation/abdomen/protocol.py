"""A folder of simulated animals and their weekly visits, with a table of tumours and a manifest.

`mouse001/mouse001_week-0_{ct,seg}.nii.gz`, HU as int16, labels as uint8 named in `labels.json`; every header,
every `.json` and the folder's `simulation.json` say that they are simulated. `tumours.csv` has a row for each tumour at
each visit. Each animal's random state comes from (seed, number), so that neither the number of workers nor the order
changes a bit.
"""

import csv
import io
import json
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
from numpy.typing import NDArray

from transmodal import images
from transmodal.errors import UserError
from transmodal.images.files import write_text
from transmodal.simulation.abdomen.subject import FULL_SIZE, AbdomenCase, Wishes, grid_of, simulate_abdomen
from transmodal.simulation.abdomen.tissues import LABELS
from transmodal.simulation.data_set import claim, make_all, write_label_names

FORMAT = 1
"""Raised when the simulation's pictures change, so that an old folder is not continued with new ones."""

MODALITIES = ("ct", "seg")
COLUMNS = (
    "subject",
    "session",
    "modality",
    "path",
    "day",
    "liver_agent",
    "noise_hu",
    "tumours",
    "tumour_mm2",
    "tumour_mm3",
    "liver_mm3",
)
TUMOUR_COLUMNS = (
    "volume_mm3",
    "area_mm2",
    "contrast_hu",
    "model_volume_mm3",
    "model_area_mm2",
    "asked_area_mm2",
    "doubling_days",
)
_DESCRIPTION = b"simulated by transmodal, no animal"


@dataclass(frozen=True)
class Settings:
    """What decides the bits of a data set; `spacing`: mm in the slice and between slices."""

    animals: int
    visits: int
    size: tuple[int, int, int]
    spacing: tuple[float, float]
    wishes: Wishes
    seed: int


def case_of(settings: Settings, number: int, visit: int) -> AbdomenCase:
    """Simulate a visit of animal `number`, both from 1."""
    state = np.random.SeedSequence([settings.seed, number]).generate_state(1)
    return simulate_abdomen(
        int(state[0]),
        visit,
        visits=settings.visits,
        size=settings.size,
        spacing=settings.spacing,
        wishes=settings.wishes,
    )


def path_of(number: int, visit: int, name: str) -> str:
    """Path of one file relative to the data set's folder; `name` is a modality or "json"."""
    subject, session = f"mouse{number:03d}", session_of(visit)
    return f"{subject}/{subject}_{session}" + (".json" if name == "json" else f"_{name}.nii.gz")


def session_of(visit: int) -> str:
    """What a visit, from 1, is called in the manifest."""
    return f"week-{visit - 1}"


def simulate_dataset(
    folder: str | Path,
    *,
    animals: int = 20,
    visits: int = 1,
    size: tuple[int, int, int] = FULL_SIZE,
    spacing: tuple[float, float] | None = None,
    wishes: Wishes | None = None,
    seed: int = 0,
    workers: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Path:
    """Simulate a data set of CT volumes with label maps and a table of tumours.

    Arguments: `folder`, made if absent; `animals`, from 1; `visits` of each, a week apart, from 1; `size`, voxels;
    `spacing`, mm in the slice and between slices (None: a field of 32 x 32 x 40 mm); `wishes`, asked of tumours,
    contrast and noise; `seed`, from 0; `workers`, processes (None: one a CPU; processes are spawned, so a script that
    calls this with more than one needs `if __name__ == "__main__"`); `progress`, called with (visits done, in all).
    Returns the path of `manifest.csv`, written with `tumours.csv` when all visits are there. Visits that a stopped run
    has finished are kept, and so is a manifest with what was added to it. Raises UserError for settings out of range,
    and for a folder that holds other settings' images.
    """
    settings = _checked(animals, visits, size, spacing, wishes or Wishes(), seed, workers)
    folder = Path(folder)
    ours = {"simulation": "abdomen", "format": FORMAT, **asdict(settings), "synthetic": True}
    ours |= ours.pop("wishes") | {"tumour_contrast": settings.wishes.contrast}
    claim(folder, json.loads(json.dumps(ours)))
    names = {"0": "background", **{str(number): name for number, name in LABELS.items()}}
    write_label_names(folder / "labels.json", names)
    missing = [visit for visit in _all_visits(settings) if not _is_finished(folder, *visit)]
    total = animals * visits
    done = total - len(missing)
    if progress:
        progress(done, total)
    jobs = [(folder, settings, *visit) for visit in missing]
    for _ in make_all(_write_visit, jobs, folder=folder, workers=workers, memory="0.4 GB a worker at full size"):
        done += 1
        if progress:
            progress(done, total)
    described = {
        visit: json.loads((folder / path_of(*visit, "json")).read_text(encoding="utf-8"))
        for visit in _all_visits(settings)
    }
    write_text(folder / "tumours.csv", _tumour_table(described))
    manifest = folder / "manifest.csv"
    # One that is there has the same rows, and perhaps the split and columns that the user has added since.
    return manifest if manifest.is_file() else write_text(manifest, _manifest(settings, described))


def _checked(
    animals: int,
    visits: int,
    size: tuple[int, int, int],
    spacing: tuple[float, float] | None,
    wishes: Wishes,
    seed: int,
    workers: int | None,
) -> Settings:
    for name, value, least, most in (
        ("animals", animals, 1, 99999),
        ("visits", visits, 1, 52),
        ("seed", seed, 0, 2**63 - 1),
        ("workers", 1 if workers is None else workers, 1, 4096),
    ):
        if not least <= value <= most:
            raise UserError(f"{name} is {value}; give a whole number from {least} to {most}")
    wishes.check()
    step = grid_of(size, spacing).step
    return Settings(animals, visits, size, (abs(step[0]), abs(step[2])), wishes, seed)


def _all_visits(settings: Settings) -> Iterator[tuple[int, int]]:
    return ((number, visit) for number in range(1, settings.animals + 1) for visit in range(1, settings.visits + 1))


def _is_finished(folder: Path, number: int, visit: int) -> bool:
    # The description is written last, and every file whole.
    return all((folder / path_of(number, visit, name)).is_file() for name in (*MODALITIES, "json"))


def _write_visit(folder: Path, settings: Settings, number: int, visit: int) -> None:
    case = case_of(settings, number, visit)
    stored = np.rint(case.ct).clip(-1024, 32767).astype(np.int16)
    _write(folder / path_of(number, visit, "ct"), stored, case, "HU")
    _write(folder / path_of(number, visit, "seg"), case.labels, case, "label")
    write_text(folder / path_of(number, visit, "json"), json.dumps(case.meta, indent=2) + "\n")


def _write(path: Path, pixels: NDArray[Any], case: AbdomenCase, quantity: str) -> None:
    header = nibabel.Nifti1Header()
    header["descrip"] = _DESCRIPTION
    header["sform_code"] = header["qform_code"] = 1  # scanner coordinates
    header.set_xyzt_units("mm")
    source = images.Source(format="nifti", header=header)
    images.write(images.Image(pixels, case.affine, quantity=quantity, source=source), path)


def _tumour_table(described: dict[tuple[int, int], dict[str, Any]]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("subject", "session", "day", "tumour", "x_mm", "y_mm", "z_mm", *TUMOUR_COLUMNS))
    for (number, visit), meta in described.items():
        for tumour in meta["tumours"]:
            place = tumour["centre_mm"] or ("", "", "")
            cells = ["" if tumour[name] is None else tumour[name] for name in TUMOUR_COLUMNS]
            day = 7 * (visit - 1)
            writer.writerow((f"mouse{number:03d}", session_of(visit), day, tumour["tumour"], *place, *cells))
    return text.getvalue()


def _manifest(settings: Settings, described: dict[tuple[int, int], dict[str, Any]]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for (number, visit), meta in described.items():
        seen = [tumour for tumour in meta["tumours"] if tumour["volume_mm3"] > 0]
        cells = (
            7 * (visit - 1),
            "yes" if settings.wishes.liver_agent else "no",
            f"{settings.wishes.noise:g}",
            len(seen),
            round(max((tumour["area_mm2"] for tumour in seen), default=0.0), 3),
            round(sum(tumour["volume_mm3"] for tumour in seen), 3),
            meta["volumes_mm3"]["liver"],
        )
        for name in MODALITIES:
            row = (f"mouse{number:03d}", session_of(visit), name, path_of(number, visit, name))
            writer.writerow((*row, *cells))
    return text.getvalue()
