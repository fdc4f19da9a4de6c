"""DICOM files as the layouts `ct` and `dicom` see them: all of a listing, and the little that headers say of each."""

import gzip
from collections.abc import Iterable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pydicom

from transmodal.datasets.layouts.listing import Listing
from transmodal.images.formats import recognise as format_of
from transmodal.images.guard import reading


def files_of(listing: Listing) -> list[Path]:
    """Return the files of all images; a listing takes a folder of slices for one image."""
    files: list[Path] = []
    for found in listing.images:
        if found.path.is_dir():
            inside = (path for path in found.path.iterdir() if path.is_file() and not path.name.startswith("."))
            files += sorted(inside)
        else:
            files.append(found.path)
    return files


def are_dicom(files: Iterable[Path]) -> bool:
    """Say whether all these files are DICOM, by their first bytes."""
    return all(format_of(path) == "dicom" for path in files)


def read_header(path: Path, keywords: Iterable[str]) -> Any:
    """Return these attributes of a DICOM file, packed with gzip or not, as a pydicom dataset.

    Raises:
        UserError: the file is damaged, or one of these attributes is.
    """
    with reading(path, "DICOM"), path.open("rb") as stream:
        packed = stream.read(2) == b"\x1f\x8b"
        stream.seek(0)
        with gzip.open(stream) if packed else nullcontext(stream) as plain:
            header = pydicom.dcmread(plain, force=True, stop_before_pixels=True, specific_tags=list(keywords))
        for _ in header:  # pydicom converts a value when it is first seen, and what it warns of then belongs in here
            pass
        return header


def text_of(header: Any, keyword: str) -> str:
    """Return an attribute as one line of text, empty when it is absent."""
    value = header.get(keyword)
    return "" if value is None else " ".join(str(value).split())
