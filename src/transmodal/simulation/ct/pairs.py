"""One pair of a degraded and a clean CT on disk: made, marked as simulated, and known again when it is there.

FOLDER/SUBJECT/CASE_MODALITY.tif (.nii.gz of volumes), a sinogram as .npy with its geometry, and CASE.json, written
last, with everything that is needed to make the pair again.
"""

import json
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from transmodal.errors import UserError
from transmodal.images import Image, write
from transmodal.images.files import write_text
from transmodal.simulation.ct.companions import Companion
from transmodal.simulation.ct.degrading import DegradedSlices, Process, degrade_slices
from transmodal.simulation.ct.files import Reading, off_grid_of
from transmodal.simulation.ct.steps import Level
from transmodal.simulation.ct.variants import Pose, shrunk
from transmodal.tomography.scan_files import ScanGeometry, geometry_beside, write_geometry, write_projections
from transmodal.tomography.slices import Place, hounsfield_slices, place_of

FORMAT = 2
"""Raised when the same request gives other pictures, so that an old folder is not continued with new ones."""

NOTICE = "Simulated degradation, not for diagnosis."
SINOGRAM = "sinogram"
Slices = NDArray[np.float32]


@dataclass(frozen=True)
class Output:
    """What of a pair is written, and under which names.

    Attributes:
        degraded, clean: the modalities.
        companions: further images of the same data.
        keep_sinogram: as modality `sinogram`.
        size: pixels of the longer edge, None as they are.
        allow_uneven: take volumes with tilted or uneven slices, one slice at a time.
    """

    degraded: str = "degraded"
    clean: str = "CT"
    companions: tuple[Companion, ...] = ()
    keep_sinogram: bool = False
    size: int | None = None
    allow_uneven: bool = False


@dataclass(frozen=True)
class Task:
    """One pair to make.

    Attributes:
        folder: of the data set.
        subject, case: names; the case's is that of its files.
        source: the clean image, a file or the folder of a DICOM series.
        content: SHA-256 of the source.
        level, process, output: how.
        seed: of everything drawn.
        pose: another position of the patient, None for his own.
    """

    folder: Path
    subject: str
    case: str
    source: Path
    content: str
    level: Level
    process: Process
    output: Output
    seed: int
    pose: Pose | None = None

    @property
    def record(self) -> Path:
        """Where the pair is described."""
        return self.folder / self.subject / f"{self.case}.json"

    def request(self) -> dict[str, Any]:
        """Return all that decides the bits of the pair, as JSON gives it back."""
        entries = {
            "format": FORMAT,
            "source_sha256": self.content,
            "steps": self.level.to_json(),
            "varied": self.level.varied,
            "process": asdict(self.process),
            "output": asdict(self.output),
            "seed": self.seed,
            "pose": asdict(self.pose) if self.pose else None,
        }
        back: dict[str, Any] = json.loads(json.dumps(entries))
        return back


@dataclass(frozen=True, eq=False)
class Clean:
    """A clean image ready to be scanned.

    Attributes:
        slices: HU, (slices, rows, columns), air for padding.
        spacing: mm, of rows and columns.
        place: of the file's image.
        padding: pixels that were.
        whole: the file holds whole numbers, and they are still what they were.
        off_grid: mm, how far an uneven slice lies at most from where the place says.
    """

    slices: Slices
    spacing: tuple[float, float]
    place: Place
    padding: int
    whole: bool
    off_grid: float = 0.0

    def image(self, slices: Slices, quantity: str = "HU") -> Image:
        """Return slices on this grid as an image with the axes of the file."""
        return self.place.image(slices, self.spacing, quantity)


def read_clean(source: Path, size: int | None = None, pose: Pose | None = None, allow_uneven: bool = False) -> Clean:
    """Read a clean CT image and make it ready.

    Raises:
        UserError: the file cannot be read or is no CT in HU with a pixel size; uneven slices unless they are allowed.
    """
    image = Reading(allow_uneven=allow_uneven).read(source)
    place = place_of(image)
    slices, padding = hounsfield_slices(image)
    spacing = (place.spacing[-2], place.spacing[-1])
    whole = image.pixels.dtype.kind in "iu"
    if pose is not None:
        slices, whole = pose.apply(slices, spacing), False
    if size is not None and size < max(slices.shape[-2:]):
        (slices, spacing), whole = shrunk(slices, spacing, size), False
    return Clean(slices, spacing, place, padding, whole, off_grid_of(image))


def finished(task: Task) -> dict[str, Any] | None:
    """Return the record of a pair that is there as it is asked for, else None."""
    record = read_record(task)
    if record is None or "failed" in record or record.get("request") != task.request():
        return None
    outputs = record.get("outputs")
    if not isinstance(outputs, dict) or not isinstance(record.get("columns"), dict):
        return None
    return record if all((task.folder / str(path)).is_file() for path in outputs.values()) else None


def read_record(task: Task) -> dict[str, Any] | None:
    """Return what lies where a pair is described; None where nothing that can be read is."""
    try:
        content = json.loads(task.record.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    return content if isinstance(content, dict) else None


def make_pair(task: Task) -> None:
    """Make a pair and its record; what is wrong with its file stands in the record as `failed`."""
    try:
        content = _made(task)
    except UserError as error:
        content = {"request": task.request(), "failed": str(error)}
    write_text(task.record, json.dumps(content, ensure_ascii=False, indent=1) + "\n")


def _made(task: Task) -> dict[str, Any]:
    task.record.unlink(missing_ok=True)
    output = task.output
    clean = read_clean(task.source, output.size, task.pose, output.allow_uneven)
    found = degrade_slices(
        clean.slices,
        clean.spacing,
        task.level,
        task.process,
        task.seed,
        companions=output.companions,
        keep_sinogram=output.keep_sinogram,
    )
    said = task.level.describe()
    suffix = ".tif" if len(clean.place.shape) == 2 else ".nii.gz"
    outputs = {}

    def put(modality: str, image: Image, derivation: str) -> None:
        relative = f"{task.subject}/{task.case}_{modality}{suffix}"
        (task.folder / task.subject).mkdir(parents=True, exist_ok=True)
        write(image, task.folder / relative, derivation)
        outputs[modality] = relative

    put(output.degraded, clean.image(found.image), f"{NOTICE} {said}")
    for modality, pixels in found.companions.items():
        put(modality, clean.image(pixels, found.quantities[modality]), f"{NOTICE} {modality} of: {said}")
    target = clean.image(_in_whole_numbers(clean.slices) if clean.whole else clean.slices)
    put(output.clean, target, _derivation(clean, task))
    if found.sinogram is not None:
        outputs[SINOGRAM] = f"{task.subject}/{task.case}_{SINOGRAM}.npy"
        _put_sinogram(task.folder / outputs[SINOGRAM], found, clean, f"{NOTICE} {said}")
    return {
        "notice": NOTICE,
        "synthetic": True,
        "transmodal": software(),
        "source": str(task.source),
        "degradation": said,
        "pose": task.pose.describe() if task.pose else None,
        "padding_pixels": clean.padding,
        "off_grid_mm": round(clean.off_grid, 4),
        "outputs": outputs,
        "columns": columns_of(found, task.level, task.seed),
        "scan": found.record,
        "request": task.request(),
    }


def columns_of(found: DegradedSlices, level: Level, seed: int) -> dict[str, str]:
    """Return the columns that a manifest has of a pair."""
    columns = {"angles": str(found.views)}
    if found.photons is not None:
        columns["photons"] = f"{found.photons:.10g}"
    for name, value in level.varied.items():
        if name not in ("angles", "photons"):
            columns["dose_divisor" if name == "dose" else name.replace(".", "_")] = value
    return columns | {"seed": str(seed), "degradation": level.describe()}


def _derivation(clean: Clean, task: Task) -> str:
    parts = ["padding set to air"]
    if task.pose is not None:
        parts.append("turned, scaled and moved")
    if tuple(clean.slices.shape[-2:]) != tuple(clean.place.stacked_shape[-2:]):
        parts.append("averaged to " + "x".join(str(count) for count in clean.slices.shape[-2:]))
    return f"Derived by transmodal, not for diagnosis: {', '.join(parts)}"


def _in_whole_numbers(slices: Slices) -> NDArray[Any]:
    """Return whole Hounsfield units in 16 bits where they fit, else in 32."""
    limits = np.iinfo(np.int16)
    small = limits.min <= slices.min() and slices.max() <= limits.max
    return np.rint(slices).astype(np.int16 if small else np.int32)


def _put_sinogram(path: Path, found: DegradedSlices, clean: Clean, derivation: str) -> None:
    assert found.sinogram is not None
    flat = len(clean.place.shape) == 2
    write_projections(path, found.sinogram[0] if flat else found.sinogram, derivation)
    image = clean.image(found.image)
    geometry = ScanGeometry(found.beam, found.grid, Place(image.shape, image.affine, "HU"), derivation)
    write_geometry(geometry_beside(path), geometry)


def software() -> str:
    """Return the version of transmodal."""
    try:
        return metadata.version("transmodal")
    except metadata.PackageNotFoundError:
        return "unknown"


def one_thread() -> None:
    """Keep a worker process to one thread; there are as many workers as cores."""
    from numba import config

    config.NUMBA_NUM_THREADS = 1
