"""Layout `ct`: CT images as degradations want them, whatever they show: every image is of one modality, CT.

DICOM files are sorted folder by folder: those of one series are a volume, others are slices, each a case of its own.
The subject is the PatientID where it tells files apart, else the first folder, else the file's name (of loose slices:
the folder that was given). The session is the study's date and, of slices, the plane (axial, coronal, sagittal, by the
folder's name or the orientation), with a number where that is not enough. Free columns: `plane`, `date`, `scanner`. So
are the CT slices of COVID-19-NY-SBU laid out, PERSON/PLANE/DATE-NUMBER.dcm.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from pydicom.uid import CTImageStorage

from transmodal.datasets.layouts.dicom_files import are_dicom, files_of, read_header, text_of
from transmodal.datasets.layouts.listing import SPLIT_FOLDERS, Found, Index, Listing, Options
from transmodal.datasets.layouts.rows import Placed, collect
from transmodal.errors import UserError
from transmodal.images.formats import recognise as format_of
from transmodal.images.formats import stem_of

MODALITY = "CT"
PLANES = ("axial", "coronal", "sagittal")
_TAGS = """PatientID StudyDate SeriesInstanceUID InstanceNumber Modality ImageType ImageOrientationPatient Rows
    ManufacturerModelName SOPClassUID"""
_LOOKED_INTO = 200  # files, to recognise the layout
_NORMAL_OF = {0: "sagittal", 1: "coronal", 2: "axial"}


def recognise(listing: Listing) -> str | None:
    """Say why the folder looks like single CT slices, or None: they lie in several planes, or each is a series.

    Damaged files do not matter here: `index` lists them and goes on.
    """
    files = files_of(listing)
    if not are_dicom(files[:_LOOKED_INTO]):
        return None
    reason = _in_planes(listing, files) or _one_a_series(files)
    return reason if reason and are_dicom(files[_LOOKED_INTO:]) else None


def _in_planes(listing: Listing, files: list[Path]) -> str | None:
    planes = {name.lower() for found in listing.images for name in (*found.folders, found.path.name)} & set(PLANES)
    if len(planes) < 2 or {text_of(header, "Modality") for _, header in _readable(files[:20])} - {""} != {"CT"}:
        return None
    return f"DICOM slices of CT in folders {', '.join(sorted(planes))}"


def _one_a_series(files: list[Path]) -> str | None:
    """Say that every file is a CT slice of a series of its own; one person's files of equal names may be pairs."""
    series: set[str] = set()
    names: set[tuple[str, str]] = set()
    for path, header in _readable(files[:_LOOKED_INTO]):
        uid, name = text_of(header, "SeriesInstanceUID"), (path.name, text_of(header, "PatientID"))
        if not uid:  # a file that was cut off
            continue
        if header.get("SOPClassUID") != CTImageStorage or uid in series or name in names:
            return None
        series.add(uid)
        names.add(name)
    return "DICOM slices of CT, one a series" if len(series) > 1 else None


def _readable(files: list[Path]) -> Iterator[tuple[Path, Any]]:
    """Yield the headers of files that are not damaged."""
    for path in files:
        try:
            header = _header(path)
        except UserError:
            continue
        yield path, header


def index(listing: Listing, options: Options) -> Index:
    """Make a row of every CT slice and volume.

    Raises:
        UserError: there is none, or the subject pattern is unfit.
    """
    if len(options.modalities) > 1:
        raise UserError("the layout 'ct' makes one modality; name it alone, as in --modalities CT")
    result = Index()
    rows = [*_dicom_rows(listing, options, result), *_other_rows(listing)]
    _name_sessions(rows)
    called = next(iter(options.modalities), MODALITY)
    placed = []
    for row in rows:
        found: Found = row.pop("found")
        stem = row.pop("stem")
        del row["number"], row["where"]
        if options.subject_pattern:
            row["subject"] = stem
        placed.append(Placed(found, {**row, "modality": called}))
    plain = Options(subject_pattern=options.subject_pattern)
    collect(listing, placed, plain, result)
    for column in ("plane", "date", "scanner", "split"):
        if not any(row.get(column) for row in result.rows):
            for row in result.rows:
                row.pop(column, None)
    if not result.rows:
        reason = f" ({result.skipped[0][0]} {result.skipped[0][1]})" if result.skipped else ""
        raise UserError(f"No CT image lies in {listing.folder} or below it{reason}; choose another folder or --layout")
    return result


def _dicom_rows(listing: Listing, options: Options, result: Index) -> list[dict[str, Any]]:
    """Return the rows of DICOM files, folder by folder."""
    by_folder: dict[Path, list[tuple[Path, Any]]] = defaultdict(list)
    files = files_of(listing)
    for done, path in enumerate(files, 1):
        if options.on_progress:
            options.on_progress(done, len(files))
        if format_of(path) != "dicom":
            continue
        relative = path.relative_to(listing.folder).as_posix()
        try:
            header = _header(path)
        except UserError as error:
            result.skipped.append((relative, str(error)))
            continue
        modality = str(header.get("Modality", ""))
        if "Rows" not in header or modality not in ("CT", ""):
            result.skipped.append((relative, f"is {modality}, no CT" if "Rows" in header else "holds no image"))
        elif "LOCALIZER" in str(header.get("ImageType", "")).upper():
            result.skipped.append((relative, "is a localiser"))
        else:
            by_folder[path.parent].append((path, header))
    patients = {text_of(header, "PatientID") for files in by_folder.values() for _, header in files}
    by_patient = "" not in patients and (len(patients) > 1 or set(by_folder) == {listing.folder})
    rows: list[dict[str, Any]] = []
    several = 0
    for folder, slices in sorted(by_folder.items()):
        series = Counter(text_of(header, "SeriesInstanceUID") for _, header in slices)
        if len(series) == 1 and len(slices) > 1:
            rows.append(_row(folder, slices[0][1], listing, by_patient, is_volume=True))
            continue
        several += len(slices) > 1 and max(series.values()) > 1
        rows += [_row(path, header, listing, by_patient, is_volume=False) for path, header in slices]
    if several:
        result.notes.append(
            f"{several} folder{'s hold' if several > 1 else ' holds'} slices of several series, each taken by itself; "
            "for volumes sort them by 'transmodal data index --layout dicom'"
        )
    return rows


def _row(path: Path, header: Any, listing: Listing, by_patient: bool, is_volume: bool) -> dict[str, Any]:
    folders = path.relative_to(listing.folder).parts[:-1]
    stem = path.name if is_volume else stem_of(path.name)
    named = next((name.lower() for name in reversed(path.parts) if name.lower() in PLANES), "")
    patient = text_of(header, "PatientID")
    return {
        "found": Found(path, folders, stem),
        "stem": stem,
        # Slices of one person often lie side by side: without a folder to tell them apart, all are one subject.
        "subject": _fit(patient if by_patient else _subject(folders, stem if is_volume else listing.folder.name)),
        "date": text_of(header, "StudyDate"),
        "plane": "" if is_volume else named or _plane(header),
        "scanner": text_of(header, "ManufacturerModelName"),
        "number": "" if is_volume else text_of(header, "InstanceNumber"),
        "where": "_".join(folders),
        "split": _split(folders),
    }


def _other_rows(listing: Listing) -> list[dict[str, Any]]:
    """Return the rows of files that are no DICOM."""
    others = [found for found in listing.images if not found.path.is_dir() and format_of(found.path) != "dicom"]
    tops = {found.folders[0].lower() for found in others if found.folders}
    by_folder = len(tops) > 1 and not tops <= set(SPLIT_FOLDERS) and all(found.folders for found in others)
    return [
        {
            "found": found,
            "stem": found.stem,
            "subject": _fit(_subject(found.folders, found.stem) if by_folder else found.stem),
            "date": "",
            "plane": "",
            "scanner": "",
            "number": "",
            "where": "_".join(found.folders),
            "split": _split(found.folders),
        }
        for found in others
    ]


def _name_sessions(rows: list[dict[str, Any]]) -> None:
    """Give every image of a subject a session of its own, no longer than it must be."""
    names = ("date", "plane", "number", "stem", "where")
    for parts in (names[:count] for count in range(2, len(names) + 1)):
        for row in rows:
            if "session" not in row:
                row["_next"] = "-".join(part for name in parts if (part := _fit(str(row[name]), empty="")))
        taken = Counter((row["subject"], row.get("session", row.get("_next"))) for row in rows)
        for row in rows:
            wish = row.pop("_next", None)
            if wish is not None and (taken[row["subject"], wish] == 1 or parts == names):
                row["session"] = wish


def _subject(folders: tuple[str, ...], stem: str) -> str:
    plain = [name for name in folders if name.lower() not in (*PLANES, *SPLIT_FOLDERS)]
    return plain[0] if plain else stem


def _split(folders: tuple[str, ...]) -> str:
    return SPLIT_FOLDERS.get(folders[0].lower(), "") if folders else ""


def _plane(header: Any) -> str:
    """Return the plane whose normal is nearest to the slice's; empty where it says none."""
    values = header.get("ImageOrientationPatient") or ()
    if len(values) != 6:
        return ""
    right, down = np.asarray(values, dtype=np.float64).reshape(2, 3)
    return _NORMAL_OF[int(np.abs(np.cross(right, down)).argmax())]


def _header(path: Path) -> Any:
    return read_header(path, _TAGS.split())


def _fit(text: str, empty: str = "_") -> str:
    """Make text fit for the name of a file."""
    plain = "".join(letter if letter.isprintable() and letter not in "/\\" else "_" for letter in text).strip()
    return plain if plain.strip(".") else empty
