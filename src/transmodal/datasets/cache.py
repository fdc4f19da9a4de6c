"""The prepared images of a training, kept on disk as memory-mapped arrays.

Decoding a 512×1024 pair costs tens of milliseconds each epoch; a mapped array costs none after the first. The key of a
cached array holds the file's path, size and time and everything that the preparation does to it, so that a changed
file or recipe never meets an old array.
"""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import platformdirs

from transmodal.datasets.batch_keys import DEPTH, LABELS, REGION
from transmodal.datasets.labels import LabelSettings
from transmodal.datasets.manifest import CaseFiles
from transmodal.datasets.preparation import Preparation
from transmodal.datasets.regions import Region
from transmodal.errors import UserError
from transmodal.images import Image, read, require_same_grid
from transmodal.images.files import atomic_path
from transmodal.images.numpy_array import PARSING
from transmodal.images.reorientation import label_map_onto

VERSION = 3  # raise it when the meaning of cached arrays changes


def default_cache() -> Path:
    """Return the user's cache folder for prepared images."""
    return Path(platformdirs.user_cache_dir("transmodal")) / "prepared"


@dataclass(frozen=True)
class PreparedCase:
    """One case, prepared.

    Attributes:
        case: whose images.
        files: modality, REGION or LABELS → .npy file of (samples, channels, *spatial). What a case lacks is not there.
        foreground: share of pixels that are non-zero in every modality, per sample.
        spacing: pixel size in mm along the spatial axes of a sample; None where it does not matter.
    """

    case: CaseFiles
    files: dict[str, Path]
    foreground: npt.NDArray[np.float32]
    spacing: tuple[float, ...] | None = None
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
    inputs: Sequence[str] = (),
    labels: LabelSettings | None = None,
    workers: int = 2,
    on_case: Callable[[], None] = lambda: None,
) -> list[PreparedCase]:
    """Prepare cases into the cache, or find them there.

    Args:
        cases: each has some of `modalities`.
        preparation: fitted.
        modalities: what to prepare.
        folder: the cache.
        inputs: where the region is looked for; empty, or in a case without any, means all modalities.
        labels: prepares a label map too: that of the case, or an empty one.
        workers: threads.
        on_case: called after each case.

    Raises:
        UserError: an image cannot be read, images of one case lie on different grids, the disk is full.
    """

    def prepare(case: CaseFiles) -> PreparedCase:
        prepared = _prepare_case(case, preparation, modalities, inputs or modalities, labels, folder)
        on_case()
        return prepared

    with ThreadPoolExecutor(workers) as pool:
        return list(pool.map(prepare, cases))


def _prepare_case(
    case: CaseFiles,
    preparation: Preparation,
    modalities: Sequence[str],
    inputs: Sequence[str],
    labels: LabelSettings | None,
    folder: Path,
) -> PreparedCase:
    return _CasePreparation(case, preparation, modalities, inputs, labels, folder).run()


class _CasePreparation:
    """The preparation of one case, in one thread."""

    def __init__(
        self,
        case: CaseFiles,
        preparation: Preparation,
        modalities: Sequence[str],
        inputs: Sequence[str],
        labels: LabelSettings | None,
        folder: Path,
    ) -> None:
        self.case, self.preparation, self.labels, self.folder = case, preparation, labels, folder
        self.modalities = [modality for modality in modalities if modality in case.files]
        # A case without any input is looked at as a whole.
        self.inputs = [modality for modality in inputs if modality in case.files] or self.modalities
        region = preparation.region
        self.mask = case.files.get(region.modality) if region is not None and region.modality else None

    def run(self) -> PreparedCase:
        """Prepare all, or find it prepared."""
        files = self._files()
        together = hashlib.sha256(" ".join(sorted(file.stem for file in files.values())).encode()).hexdigest()[:32]
        foreground_file, spacing_file = (self.folder / f"{together}.{what}.npy" for what in ("foreground", "spacing"))
        everything = (foreground_file, spacing_file, *files.values())
        if not all(file.exists() for file in everything):
            images = {modality: read(self.case.files[modality]) for modality in self.modalities}
            first = images[self.modalities[0]]
            for image in images.values():
                require_same_grid(first, image)
            drawn = self._store_all(images, files)
            present = [(i.pixels != 0).any(-1) if i.channels else i.pixels != 0 for i in images.values()]
            present += [] if drawn is None else [drawn]
            shares = self.preparation.sample_shares(np.logical_and.reduce(present), first)
            _store(foreground_file, shares)
            _store(spacing_file, np.array(self.preparation.prepared_spacing(first)))
        spacing = tuple(float(size) for size in _load(spacing_file))
        return PreparedCase(self.case, files, _load(foreground_file), spacing)

    def _store_all(self, images: Mapping[str, Image], files: Mapping[str, Path]) -> Region | None:
        """Store the arrays; return the user's own mask where zeros would be the background without it."""
        first = images[self.modalities[0]]
        mask = read(self.mask) if self.mask else None
        given = {modality: images[modality] for modality in self.inputs}
        region = self.preparation.find_region(given, mask)
        looked_at = self.preparation.looked_at(region, has_mask=mask is not None)
        for modality, image in images.items():
            _store(files[modality], self.preparation.prepare(image, modality, looked_at))
        if region is not None:
            _store(files[REGION], self.preparation.prepare_region(region, first))
            if DEPTH in files:
                _store(files[DEPTH], self.preparation.prepare_depth(region, first))
        if self.labels is not None:
            own = self.labels.find(self.case.files)
            if own is None:
                shape = (len(self.preparation.sample_shares(np.zeros(first.shape, bool), first)), 1)
                _store(files[LABELS], np.zeros(shape + self.preparation.prepared_shape(first), np.uint8))
            else:
                image = label_map_onto(read(own), first)
                _store(files[LABELS], self.preparation.prepare_labels(image, self.labels))
        # Of a whole head, the brain alone makes a slice worth training on.
        drawn = mask is not None and self.preparation.region is not None and self.preparation.region.how == "nonzero"
        return region if drawn else None

    def _files(self) -> dict[str, Path]:
        described = self.preparation.model_dump(mode="json", exclude={"modalities"})
        # The region tells intensity maps where to look, and it comes from the mask or from all inputs.
        seen = [_state(self.mask)] if self.mask else [_state(self.case.files[modality]) for modality in self.inputs]
        region = self.preparation.region
        regional = seen if region is not None else []
        keys: dict[str, list[Any]] = {}
        for modality in self.modalities:
            own = self.preparation.modalities[modality].model_dump(mode="json")
            where = regional if region is not None and region.guides_maps(self.mask is not None) else []
            keys[modality] = [*_state(self.case.files[modality]), described | {"modality": own}, where]
        if region is not None:
            keys[REGION] = [REGION, described, regional]
            if region.depth is not None:
                keys[DEPTH] = [DEPTH, described, regional]
        if self.labels is not None:
            own_map = self.labels.find(self.case.files)
            state = _state(own_map) if own_map else _state(self.case.files[self.modalities[0]])
            keys[LABELS] = [LABELS, bool(own_map), *state, self.labels.model_dump(mode="json"), described]
        return {name: self.folder / f"{_digest(key)}.npy" for name, key in keys.items()}


def _store(file: Path, array: npt.NDArray[Any]) -> None:
    with atomic_path(file) as temporary:
        np.save(temporary, array, allow_pickle=False)


def _load(file: Path, *, mmap_mode: Literal["r"] | None = None) -> npt.NDArray[Any]:
    try:
        with PARSING:
            array: npt.NDArray[Any] = np.load(file, mmap_mode=mmap_mode)
    except (OSError, ValueError, EOFError) as error:
        raise UserError(
            f"The prepared image {file} is gone or damaged; delete it and start again: it is made anew"
        ) from error
    return array


def _state(file: Path) -> list[Any]:
    """Name, size and time of a file; of a folder (a DICOM series), of every file in it.

    Raises:
        UserError: it is gone.
    """
    try:
        status = file.stat()
        if file.is_dir():
            return [str(file), *(_state(each) for each in sorted(file.iterdir()) if each.is_file())]
    except OSError as error:
        raise UserError(f"Cannot read {file}: {error.strerror}; run 'transmodal data check'") from error
    return [str(file), status.st_size, status.st_mtime_ns]


def _digest(key: list[Any]) -> str:
    return hashlib.sha256(json.dumps([VERSION, *key], sort_keys=True).encode()).hexdigest()[:32]
