"""The published protocol: white and black mice, three beds with and without cover, five poses, with a manifest.

156 animals of five poses make 780 pairs of 512 x 1024 pixels over 50 x 100 mm. Every pair's random state comes from
(seed, animal, pose), so that neither the number of workers nor the order changes a byte.
"""

import csv
import io
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from transmodal import images
from transmodal.errors import UserError
from transmodal.images.files import write_text
from transmodal.simulation.data_set import claim, make_all, write_label_names
from transmodal.simulation.mouse.animal import Animal
from transmodal.simulation.mouse.bed import Acquisition
from transmodal.simulation.mouse.body import check_size
from transmodal.simulation.mouse.pair import ORGANS, MousePair, simulate_pair

FORMAT = 1
"""Raised when the simulation's pictures change, so that an old folder is not continued with new ones."""

MODALITIES = ("photo", "xray", "organs")
COLUMNS = ("subject", "session", "modality", "path", "coat", "bed", "cover", "pose")
BEDS: tuple[tuple[Literal["plastic", "acrylic"], Literal["white", "black", "clear"]], ...] = (
    ("plastic", "white"),
    ("plastic", "black"),
    ("acrylic", "clear"),
)


@dataclass(frozen=True)
class Settings:
    """What decides the bytes of a data set."""

    animals: int
    poses: int
    height: int
    width: int
    seed: int


def animal_of(settings: Settings, number: int) -> Animal:
    """The animal with this number, from 1; coats alternate, so that each coat is half of the animals."""
    state = np.random.SeedSequence([settings.seed, number]).generate_state(1)
    return Animal.draw(int(state[0]), "white" if number % 2 else "black")


def acquisition_of(number: int, pose: int) -> Acquisition:
    """Bed and cover of animal `number` in `pose`, both from 1.

    Each coat goes through the six combinations in turn, and each animal takes the next one at its next pose.
    """
    turn = ((number - 1) // 2 + pose - 1) % (2 * len(BEDS))
    material, colour = BEDS[turn % len(BEDS)]
    return Acquisition(bed_material=material, bed_colour=colour, cover=turn >= len(BEDS), pose=pose)


def pair_of(settings: Settings, number: int, pose: int) -> MousePair:
    """Simulate pair (`number`, `pose`) of the data set, both from 1."""
    size = (settings.height, settings.width)
    return simulate_pair(animal_of(settings, number), acquisition_of(number, pose), size=size, seed=settings.seed)


def path_of(number: int, pose: int, modality: str) -> str:
    """Path of one file relative to the data set's folder."""
    return f"{modality}/mouse{number:03d}_pose{pose}.png"


def simulate_dataset(
    folder: str | Path,
    *,
    animals: int = 156,
    poses: int = 5,
    size: tuple[int, int] = (512, 1024),
    seed: int = 0,
    workers: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Path:
    """Simulate a data set of paired photographs and X-rays with organ maps.

    Arguments: `folder`, made if absent; `animals`, `poses` an animal, from 1; `size`, (height, width) in pixels as
    1 to 2; `seed`, from 0; `workers`, processes (None: one a CPU; processes are spawned, so a script that calls this
    with more than one needs `if __name__ == "__main__"`); `progress`, called with (pairs done, pairs in all).
    Returns the path of `manifest.csv`, written when all pairs are there. Pairs that a stopped run has finished are
    kept, and so is a manifest with what was added to it. Raises UserError for settings out of range, and for a folder
    that holds other settings' images.
    """
    settings = _checked(animals, poses, size, seed, workers)
    folder = Path(folder)
    claim(folder, {"simulation": "mouse", "format": FORMAT, **asdict(settings), "synthetic": True})
    _write_labels(folder)
    total = animals * poses
    missing = [pair for pair in _pairs(settings) if not _is_finished(folder, *pair)]
    done = total - len(missing)
    if progress:
        progress(done, total)
    jobs = [(folder, settings, *pair) for pair in missing]
    for _ in make_all(_write_pair, jobs, folder=folder, workers=workers, prepare_process=_single_thread):
        done += 1
        if progress:
            progress(done, total)
    manifest = folder / "manifest.csv"
    # One that is there has the same rows, and perhaps the split and columns that the user has added since.
    return manifest if manifest.is_file() else write_text(manifest, _manifest(settings))


def _checked(animals: int, poses: int, size: tuple[int, int], seed: int, workers: int | None) -> Settings:
    for name, value, least, most in (
        ("animals", animals, 1, 99999),
        ("poses", poses, 1, 999),
        ("seed", seed, 0, 2**63 - 1),
        ("workers", 1 if workers is None else workers, 1, 4096),
    ):
        if not least <= value <= most:
            raise UserError(f"{name} is {value}; give a whole number from {least} to {most}")
    check_size(size)
    return Settings(animals, poses, size[0], size[1], seed)


def _pairs(settings: Settings) -> Iterator[tuple[int, int]]:
    return ((number, pose) for number in range(1, settings.animals + 1) for pose in range(1, settings.poses + 1))


def _is_finished(folder: Path, number: int, pose: int) -> bool:
    # The organ map is written last, and every file whole.
    return all((folder / path_of(number, pose, modality)).is_file() for modality in MODALITIES)


def _write_labels(folder: Path) -> None:
    table = {str(value): {"name": name, "colour": colour} for value, (name, colour) in ORGANS.items()}
    write_label_names(folder / "organs.json", table)


def _single_thread() -> None:
    import cv2

    cv2.setNumThreads(1)


def _write_pair(folder: Path, settings: Settings, number: int, pose: int) -> None:
    pair = pair_of(settings, number, pose)
    for modality, pixels in (("photo", pair.photo), ("xray", pair.xray), ("organs", pair.organs)):
        _write_png(folder / path_of(number, pose, modality), modality, pixels, pair.meta["pixel_mm"])


def _write_png(path: Path, modality: str, pixels: NDArray[Any], pixel_mm: float) -> None:
    channels = ("red", "green", "blue") if pixels.ndim == 3 else ()
    quantity = "label" if modality == "organs" else "intensity"
    affine = images.picture_affine((pixel_mm, pixel_mm))
    images.write(images.Image(pixels, affine, channels=channels, quantity=quantity), path)


def _manifest(settings: Settings) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for number, pose in _pairs(settings):
        coat, acquisition = animal_of(settings, number).coat, acquisition_of(number, pose)
        cover = "yes" if acquisition.cover else "no"
        writer.writerows(
            (
                f"mouse{number:03d}",
                f"pose{pose}",
                modality,
                path_of(number, pose, modality),
                coat,
                acquisition.bed,
                cover,
                pose,
            )
            for modality in MODALITIES
        )
    return text.getvalue()
