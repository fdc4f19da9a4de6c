"""A folder of simulated nuclear acquisitions with a manifest.

`photo/`, `xray/`, `organs/` hold a PNG an animal, `nuclear/` a TIFF of raw counts with its sidecar, `truth/` what is
true of it as JSON and CSV; `fiducials.csv` has the points marked in both fields and `transform.json` the true map, for
the device never moves. Each animal's random state comes from (seed, number), so that neither the number of workers nor
the order changes a byte. Every file says that it is synthetic.
"""

import csv
import io
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from transmodal import images
from transmodal.errors import UserError
from transmodal.images.files import write_text
from transmodal.images.note import NOTICE
from transmodal.images.nuclear.reading import write_stack
from transmodal.images.nuclear.sidecar import sidecar_path
from transmodal.simulation.data_set import claim, make_all, write_label_names
from transmodal.simulation.mouse.body import check_size
from transmodal.simulation.mouse.protocol import Settings as MouseSettings
from transmodal.simulation.mouse.protocol import acquisition_of, animal_of
from transmodal.simulation.nuclear.acquisition import NuclearMouse, draw_tumour, simulate_acquisition
from transmodal.simulation.nuclear.agents import agent_named
from transmodal.simulation.nuclear.camera import camera_for, device_transform
from transmodal.simulation.nuclear.fiducials import fiducial_table
from transmodal.simulation.nuclear.frames import Schedule
from transmodal.simulation.nuclear.sources import LABELS
from transmodal.simulation.nuclear.truth import truth_table, truth_text

FORMAT = 1
"""Raised when the simulation's numbers change, so that an old folder is not continued with new ones."""

MODALITIES = ("photo", "xray", "organs", "nuclear")
COLUMNS = (
    "subject",
    "session",
    "modality",
    "path",
    "agent",
    "isotope",
    "injected_MBq",
    "coat",
    "bed",
    "cover",
    "synthetic",
)
SESSION = "scan1"
MARKING_NOISE = 0.2
"""Standard deviation of marking a point in the nuclear image, mm along each axis."""
_SAID = f"{NOTICE} Simulated by transmodal: mouse of a nuclear acquisition."
_SUFFIX = {"nuclear": "nuclear/{}.tif", "truth": "truth/{}.json", "table": "truth/{}.csv"}
_SPREAD_OF_ACTIVITY = 0.05


@dataclass(frozen=True)
class Settings:
    """What decides the bytes of a data set; `frames` as `Schedule.parse` reads them, activity in MBq, tumour in mm."""

    animals: int
    agent: str
    frames: str
    activity_MBq: float
    tumour_mm: float
    height: int
    width: int
    seed: int


def mouse_of(settings: Settings, number: int) -> NuclearMouse:
    """Simulate animal `number` of the data set, from 1: the same again that lies in its files, and what does not."""
    animal = animal_of(MouseSettings(settings.animals, 1, settings.height, settings.width, settings.seed), number)
    agent = agent_named(settings.agent).drawn(animal.seed)
    return simulate_acquisition(
        animal,
        acquisition_of(number, 1),
        agent,
        schedule=Schedule.parse(settings.frames),
        activity=_activity(settings, number),
        tumour=draw_tumour(settings.tumour_mm, animal.seed) if agent.needs_tumour else None,
        size=(settings.height, settings.width),
        seed=settings.seed,
    )


def path_of(number: int, what: str) -> str:
    """Path of one file relative to the data set's folder; `what` is a modality, "truth" (JSON) or "table" (CSV)."""
    return _SUFFIX.get(what, what + "/{}.png").format(f"mouse{number:03d}")


def simulate_dataset(
    folder: str | Path,
    *,
    animals: int = 12,
    agent: str = "mdp",
    frames: str | None = None,
    activity: float | None = None,
    tumour: float = 7.0,
    size: tuple[int, int] = (512, 1024),
    seed: int = 0,
    workers: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Path:
    """Simulate a data set of nuclear acquisitions over photographs and X-rays.

    Arguments: `folder`, made if absent; `animals`, from 1; `agent`, "mdp", "fdg" or "tumour"; `frames`, as
    `Schedule.parse` reads them (None: the agent's usual ones); `activity`, injected in MBq, 5 % from animal to animal
    (None: the agent's usual one); `tumour`, its diameter in mm; `size`, (height, width) of the X-ray as 1 to 2; `seed`,
    from 0; `workers`, processes (None: one a CPU; spawned, so a script that calls this with more than one needs
    `if __name__ == "__main__"`); `progress`, called with (animals done, in all).
    Returns the path of `manifest.csv`, written when all animals are there. Animals that a stopped run has finished are
    kept, and so is a manifest with what was added to it. Raises UserError for settings out of range, and for a folder
    that holds other settings' images.
    """
    settings = _checked(animals, agent, frames, activity, tumour, size, seed, workers)
    folder = Path(folder)
    claim(folder, {"simulation": "nuclear", "format": FORMAT, **asdict(settings), "synthetic": True})
    _write_shared(folder, settings)
    missing = [number for number in range(1, animals + 1) if not _is_finished(folder, number)]
    done = animals - len(missing)
    if progress:
        progress(done, animals)
    jobs = [(folder, settings, number) for number in missing]
    for _ in make_all(_write_mouse, jobs, folder=folder, workers=workers, prepare_process=_single_thread):
        done += 1
        if progress:
            progress(done, animals)
    manifest = folder / "manifest.csv"
    # One that is there has the same rows, and perhaps the split and columns that the user has added since.
    return manifest if manifest.is_file() else write_text(manifest, _manifest(settings))


def _checked(
    animals: int,
    agent: str,
    frames: str | None,
    activity: float | None,
    tumour: float,
    size: tuple[int, int],
    seed: int,
    workers: int | None,
) -> Settings:
    for name, value, least, most in (
        ("animals", animals, 1, 99999),
        ("seed", seed, 0, 2**63 - 1),
        ("workers", 1 if workers is None else workers, 1, 4096),
    ):
        if not least <= value <= most:
            raise UserError(f"{name} is {value}; give a whole number from {least} to {most}")
    check_size(size)
    known = agent_named(agent)
    activity = known.activity / 1e6 if activity is None else activity
    if not 0.01 <= activity <= 1000.0:
        raise UserError(f"an injected activity of {activity:g} MBq; give 0.01 to 1000 MBq for a mouse")
    if not 1.0 <= tumour <= 15.0:
        raise UserError(f"a tumour of {tumour:g} mm; give a diameter from 1 to 15 mm")
    frames = known.schedule if frames is None else frames
    Schedule.parse(frames)
    return Settings(animals, agent, frames, float(activity), float(tumour), size[0], size[1], seed)


def _activity(settings: Settings, number: int) -> float:
    rng = np.random.default_rng([settings.seed, number, 0x414354])
    return settings.activity_MBq * 1e6 * float(np.exp(rng.normal(0.0, _SPREAD_OF_ACTIVITY)))


def _is_finished(folder: Path, number: int) -> bool:
    # The truth is written last, and every file whole.
    stack = folder / path_of(number, "nuclear")
    there = [folder / path_of(number, what) for what in (*MODALITIES, "table", "truth")]
    return all(path.is_file() for path in (*there, sidecar_path(stack)))


def _single_thread() -> None:
    import cv2

    cv2.setNumThreads(1)


def _write_shared(folder: Path, settings: Settings) -> None:
    """Write what holds for all animals: names of labels, the device's transform, points marked in both fields."""
    table = {str(value): {"name": name, "colour": colour} for value, (name, colour) in LABELS.items()}
    write_label_names(folder / "organs.json", table)
    transform = device_transform(camera_for(agent_named(settings.agent).isotope), check_size(_size(settings))[0])
    said = json.loads(transform.to_json()) | {"synthetic": True, "notice": f"{NOTICE} True map of a simulated device."}
    write_text(folder / "transform.json", json.dumps(said, indent=1) + "\n")
    rng = np.random.default_rng([settings.seed, 0x464944])
    write_text(folder / "fiducials.csv", fiducial_table(transform, MARKING_NOISE, rng))


def _size(settings: Settings) -> tuple[int, int]:
    return settings.height, settings.width


def _write_mouse(folder: Path, settings: Settings, number: int) -> None:
    mouse = mouse_of(settings, number)
    pictures: dict[str, NDArray[Any]] = {"photo": mouse.pair.photo, "xray": mouse.pair.xray, "organs": mouse.labels}
    affine = images.picture_affine((mouse.pair.meta["pixel_mm"],) * 2)
    for modality, pixels in pictures.items():
        channels = ("red", "green", "blue") if pixels.ndim == 3 else ()
        quantity = "label" if modality == "organs" else "intensity"
        image = images.Image(pixels, affine, channels=channels, quantity=quantity)
        images.write(image, folder / path_of(number, modality), derivation=_SAID)
    stack = folder / path_of(number, "nuclear")
    stack.parent.mkdir(parents=True, exist_ok=True)
    write_stack(mouse.series, stack)
    write_text(folder / path_of(number, "table"), truth_table(mouse))
    write_text(folder / path_of(number, "truth"), truth_text(mouse))


def _manifest(settings: Settings) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    agent = agent_named(settings.agent)
    mice = MouseSettings(settings.animals, 1, settings.height, settings.width, settings.seed)
    for number in range(1, settings.animals + 1):
        acquisition = acquisition_of(number, 1)
        cells = (
            agent.name,
            agent.isotope.name,
            f"{_activity(settings, number) / 1e6:.6g}",
            animal_of(mice, number).coat,
            acquisition.bed,
            "yes" if acquisition.cover else "no",
            "yes",
        )
        for modality in MODALITIES:
            writer.writerow((f"mouse{number:03d}", SESSION, modality, path_of(number, modality), *cells))
    return text.getvalue()
