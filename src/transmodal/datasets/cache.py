"""The prepared images of a training, kept on disk as memory-mapped arrays.

Decoding a 512×1024 pair costs tens of milliseconds each epoch; a mapped array costs none after the first. The key of a
cached array holds the file's path, size and time and everything that the preparation does to it, so that a changed
file or recipe never meets an old array.
"""

import hashlib
import json
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import platformdirs

from transmodal.datasets.manifest import CaseFiles
from transmodal.datasets.preparation import Preparation
from transmodal.errors import UserError
from transmodal.images import read, require_same_grid
from transmodal.images.files import atomic_path

VERSION = 2  # raise it when the meaning of cached arrays changes


def default_cache() -> Path:
    """Return the user's cache folder for prepared images."""
    return Path(platformdirs.user_cache_dir("transmodal")) / "prepared"


@dataclass(frozen=True)
class PreparedCase:
    """One case, prepared.

    Attributes:
        case: whose images.
        files: modality → .npy file of (samples, channels, *spatial).
        foreground: share of pixels that are non-zero in every modality, per sample.
    """

    case: CaseFiles
    files: dict[str, Path]
    foreground: npt.NDArray[np.float32]
    _layouts: dict[str, tuple[np.dtype[Any], int, tuple[int, ...]]] = field(default_factory=dict, repr=False)

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        """Map the arrays into memory without reading them.

        Raises:
            UserError: a cached array has vanished or is damaged.
        """
        return {modality: self._map(modality, file) for modality, file in self.files.items()}

    def _map(self, modality: str, file: Path) -> npt.NDArray[Any]:
        # Mapped anew each time, so that a thousand cases do not hold a thousand files open; but the header, whose
        # parsing costs more than all the rest, is read once.
        if modality not in self._layouts:
            array = _load(file, mmap_mode="r")
            if isinstance(array, np.memmap):
                self._layouts[modality] = (array.dtype, array.offset, array.shape)
            return array
        dtype, offset, shape = self._layouts[modality]
        try:
            return np.memmap(file, dtype, "r", offset, shape)
        except (OSError, ValueError):
            return _load(file, mmap_mode="r")  # says what is wrong


def prepare_cases(
    cases: Sequence[CaseFiles],
    preparation: Preparation,
    modalities: Sequence[str],
    folder: Path,
    *,
    workers: int = 2,
    on_case: Callable[[], None] = lambda: None,
) -> list[PreparedCase]:
    """Prepare cases into the cache, or find them there.

    Args:
        cases: each has all `modalities`.
        preparation: fitted.
        modalities: what to prepare.
        folder: the cache.
        workers: threads.
        on_case: called after each case.

    Raises:
        UserError: an image cannot be read, images of one case lie on different grids, the disk is full.
    """

    def prepare(case: CaseFiles) -> PreparedCase:
        prepared = _prepare_case(case, preparation, modalities, folder)
        on_case()
        return prepared

    with ThreadPoolExecutor(workers) as pool:
        return list(pool.map(prepare, cases))


def _prepare_case(case: CaseFiles, preparation: Preparation, modalities: Sequence[str], folder: Path) -> PreparedCase:
    files = {modality: folder / f"{_key(case.files[modality], preparation, modality)}.npy" for modality in modalities}
    together = hashlib.sha256(" ".join(sorted(file.stem for file in files.values())).encode()).hexdigest()[:32]
    foreground_file = folder / f"{together}.foreground.npy"
    if foreground_file.exists() and all(file.exists() for file in files.values()):
        return PreparedCase(case, files, _load(foreground_file))
    images = {modality: read(case.files[modality]) for modality in modalities}
    first = images[modalities[0]]
    for image in images.values():
        require_same_grid(first, image)
    foreground: npt.NDArray[np.bool_] | None = None
    for modality, image in images.items():
        _store(files[modality], preparation.prepare(image, modality))
        present = (image.pixels != 0).any(-1) if image.channels else image.pixels != 0
        foreground = present if foreground is None else foreground & present
    assert foreground is not None
    shares = preparation.sample_shares(foreground, first)
    _store(foreground_file, shares)
    return PreparedCase(case, files, shares)


def _store(file: Path, array: npt.NDArray[Any]) -> None:
    with atomic_path(file) as temporary:
        np.save(temporary, array, allow_pickle=False)


def _load(file: Path, *, mmap_mode: Literal["r"] | None = None) -> npt.NDArray[Any]:
    try:
        array: npt.NDArray[Any] = np.load(file, mmap_mode=mmap_mode)
    except (OSError, ValueError, EOFError) as error:
        raise UserError(
            f"The prepared image {file} is gone or damaged; delete it and start again: it is made anew"
        ) from error
    return array


def _state(file: Path) -> list[Any]:
    """Size and time of a file; of a folder (a DICOM series), of every file in it."""
    status = file.stat()
    if file.is_dir():
        return [[each.name, *_state(each)] for each in sorted(file.iterdir()) if each.is_file()]
    return [status.st_size, status.st_mtime_ns]


def _key(file: Path, preparation: Preparation, modality: str) -> str:
    try:
        state = _state(file)
    except OSError as error:
        raise UserError(f"Cannot read {file}: {error.strerror}; run 'transmodal data check'") from error
    recipe = preparation.model_dump(mode="json", exclude={"modalities"})
    recipe["modality"] = preparation.modalities[modality].model_dump(mode="json")
    text = json.dumps([VERSION, str(file), *state, recipe], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:32]
