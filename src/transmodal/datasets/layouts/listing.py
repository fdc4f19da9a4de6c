"""What lies in a folder, and what a layout makes of it."""

import os
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from transmodal.errors import UserError
from transmodal.images import is_image_file
from transmodal.images.formats import stem_of

# Folders that published data sets use for their split.
SPLIT_FOLDERS = {
    "train": "train",
    "training": "train",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "test": "test",
    "testing": "test",
}
# The second half of an image kept in two files belongs to its header file.
_HEADER_OF = {".img": (".hdr",), ".rec": (".par",), ".brik": (".head",), ".raw": (".mhd", ".nhdr"), ".zraw": (".mhd",)}


@dataclass(frozen=True)
class Found:
    """One image below the indexed folder: a file, or a folder that holds one DICOM series.

    Attributes:
        path: absolute.
        folders: the names between the indexed folder and the image.
        stem: the name without its image suffix ("T1" of "T1.nii.gz").
    """

    path: Path
    folders: tuple[str, ...]
    stem: str

    @property
    def relative(self) -> str:
        """The path below the indexed folder, with forward slashes."""
        return "/".join((*self.folders, self.path.name))


@dataclass(frozen=True)
class Listing:
    """All images below a folder, sorted, and the files that are none."""

    folder: Path
    images: list[Found]
    others: list[Path]


@dataclass(frozen=True)
class Options:
    """What the user may say about a layout.

    Attributes:
        modalities: modality name to the word that the folder uses (`*`: any letters); empty takes every word as it is.
        subject_pattern: regular expression with the group `subject`, and perhaps `session` and factors, for stems.
        pattern: of relative paths, for `tree`; see `pattern.py`.
        direction: how joined images lie: "horizontal" (A left, B right) or "vertical" (A on top).
        out: folder for files that indexing makes.
        on_progress: called with (done, total) while files are made.
    """

    modalities: dict[str, str] = field(default_factory=dict)
    subject_pattern: str | None = None
    pattern: str | None = None
    direction: str = "horizontal"
    out: Path | None = None
    on_progress: Callable[[int, int], None] | None = None


@dataclass
class Index:
    """What a layout made of a folder.

    Attributes:
        rows: one dict an image, the cells of a manifest; `path` is absolute.
        skipped: what was not taken, each with the reason.
        notes: sentences that the user should read.
    """

    rows: list[dict[str, str]] = field(default_factory=list)
    skipped: list[tuple[str, str]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def list_images(folder: Path, *, is_image: Callable[[Path], bool] = is_image_file) -> Listing:
    """Look through a folder and all below it; hidden files and folders are left out.

    A folder that holds nothing but several DICOM slices counts as one image.

    Raises:
        UserError: there is no such folder, or no image in it.
    """
    if not folder.is_dir():
        what = "is a file, not a folder" if folder.exists() else "does not exist"
        raise UserError(f"{folder} {what}; give the folder that holds the images")
    root = Path(os.path.abspath(folder))  # noqa: PTH100 - resolve() would follow symbolic links
    images, others = [], []
    entered = set()
    for place, names_below, names in os.walk(root, followlinks=True, onerror=_refuse):
        here = Path(place)
        if (real := here.resolve()) in entered:  # a symbolic link that leads back
            names_below.clear()
            continue
        entered.add(real)
        names_below[:] = sorted(name for name in names_below if not name.startswith("."))
        paths = [here / name for name in sorted(names) if not name.startswith(".") and name != "Thumbs.db"]
        folders = here.relative_to(root).parts
        if folders and not names_below and _is_series(paths):
            images.append(Found(here, folders[:-1], here.name))
            continue
        stems = {path.name.lower() for path in paths}
        for path in paths:
            if any(
                path.with_suffix(suffix).name.lower() in stems for suffix in _HEADER_OF.get(path.suffix.lower(), ())
            ):
                continue
            if is_image(path):
                images.append(Found(path, folders, stem_of(path.name)))
            else:
                others.append(path)
    if not images:
        raise UserError(f"No image lies in {folder} or below it ({len(others)} other files); give another folder")
    return Listing(root, sorted(images, key=lambda found: found.relative), others)


def tokens_of(stem: str) -> list[str]:
    """Split a stem into its words."""
    return [token for token in re.split(r"[\s_.\-]+", stem) if token]


def _is_series(paths: list[Path]) -> bool:
    """Say whether these files are the slices of a DICOM series, judged by the first."""
    if len(paths) < 2 or any(path.suffix.lower() not in ("", ".dcm", ".ima") and not _is_uid(path) for path in paths):
        return False
    with paths[0].open("rb") as stream:
        return stream.read(132)[128:] == b"DICM"


def _is_uid(path: Path) -> bool:
    return re.search(r"(\.\d+){3,}$", path.name) is not None


def _refuse(error: OSError) -> None:
    raise UserError(f"Cannot look into {error.filename}: {error.strerror}; check its permissions")
