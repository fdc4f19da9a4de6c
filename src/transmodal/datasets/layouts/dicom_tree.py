"""Layout `dicom`: files from a scanner or archive, sorted by what their headers say, whatever their names.

PatientID is the subject, the studies of a patient in the order of their dates are the sessions, a series is an image
whose modality is its SeriesDescription (else ProtocolName). A series that has a folder to itself stays where it is;
series that share a folder, or lie in several, are sorted into one folder each beside the manifest, as hard links where
the disk can.
Source: DICOM PS3.3 C.7.1.1 (patient), C.7.2.1 (study), C.7.3.1 (series), C.7.6.2 (image plane).
"""

import hashlib
import os
import shutil
from collections import Counter, defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transmodal.datasets.layouts.dicom_files import are_dicom, files_of, read_header, text_of
from transmodal.datasets.layouts.listing import Found, Index, Listing, Options
from transmodal.datasets.layouts.rows import Placed, collect
from transmodal.errors import UserError
from transmodal.images.files import atomic_path
from transmodal.images.formats import recognise as format_of

SORTED_FOLDER = "dicom_series"
_TAGS = """PatientID StudyInstanceUID StudyDate StudyTime SeriesInstanceUID SeriesNumber SeriesDescription ProtocolName
    Modality ImageType ImageOrientationPatient SOPInstanceUID Rows NumberOfFrames ManufacturerModelName
    MagneticFieldStrength"""
# Neither --modalities nor the name of a file can carry them.
_SEPARATORS = "/\\,;="
_LOOKED_INTO = 40


@dataclass(frozen=True)
class _Slice:
    """A DICOM image file and the little of its header that sorting needs."""

    path: Path
    header: Any

    def text(self, keyword: str) -> str:
        """Return an attribute as one line of text, empty when it is absent."""
        return text_of(self.header, keyword)

    @property
    def subject(self) -> str:
        """The patient; the study where no patient is named (two people without a name are not one)."""
        return self.text("PatientID") or f"study-{self.text('StudyInstanceUID')[-12:]}"

    @property
    def key(self) -> tuple[str, str, str]:
        """What slices of one series share; without a UID, their folder."""
        return self.subject, self.text("StudyInstanceUID"), self.text("SeriesInstanceUID") or str(self.path.parent)

    @property
    def frames(self) -> int:
        """How many pictures the file holds."""
        frames = self.text("NumberOfFrames")
        return int(frames) if frames.isdecimal() else 1


_AllSeries = dict[tuple[str, str, str], list[_Slice]]


def recognise(listing: Listing) -> str | None:
    """Say why the folder looks like a tree of DICOM volumes, or None.

    All images are DICOM, and some share a folder or a series, or hold several frames: single pictures may be pairs.
    """
    files = files_of(listing)
    if not are_dicom(files[: 10 * _LOOKED_INTO]):
        return None
    if any(found.path.is_dir() for found in listing.images):
        return "folders of DICOM slices"
    seen: set[str] = set()
    for path in files[:_LOOKED_INTO]:
        try:
            each = _slice(path)
        except UserError:
            continue
        uid = each.text("SeriesInstanceUID")
        if "Rows" in each.header and ((uid and uid in seen) or each.frames > 1):
            return "DICOM files, several of them slices of one series"
        seen.add(uid)
    return None


def index(listing: Listing, options: Options) -> Index:
    """Make a row of every series of images.

    Sessions are study1, study2, … by date. Of two series of one description in a study the one with more slices is
    taken, then the one with the lower series number. Localisers and files without an image are left out. Free columns:
    `kind` (MR, CT, …), `scanner`, `tesla`.

    Raises:
        UserError: there is no DICOM image, or series must be sorted and there is no folder to sort them into.
    """
    result = Index()
    series, images_in = _series(listing, options, result)
    places = {key: _place(slices, images_in, options.out or listing.folder) for key, slices in series.items()}
    fit = {key: slices for key, slices in series.items() if not _is_unfit(slices, listing, result)}
    if not fit:
        reason = f" ({result.skipped[0][0]} {result.skipped[0][1]})" if result.skipped else ""
        raise UserError(f"No DICOM series lies in {listing.folder} or below it{reason}; choose another --layout")
    sessions, placed = _sessions(fit), []
    for key in sorted(fit, key=lambda key: _precedence(fit[key])):
        first = fit[key][0]
        words = tuple(filter(None, map(first.text, ("SeriesDescription", "ProtocolName"))))
        row = {
            "subject": _name(first.subject),
            "session": sessions[key[:2]],
            "modality": _name((*words, first.text("Modality"), "image")[0], _SEPARATORS),
            "kind": first.text("Modality"),
            "scanner": first.text("ManufacturerModelName"),
            "tesla": first.text("MagneticFieldStrength"),
        }
        place = places[key]
        above = place.parent if place.is_relative_to(listing.folder) and place != listing.folder else listing.folder
        placed.append(Placed(Found(place, above.relative_to(listing.folder).parts, place.name), row, words))
    if any(not slices[0].text("PatientID") for slices in fit.values()):
        result.notes.append("Where no PatientID is said, a study counts as a subject: see that nobody has two")
    collect(listing, placed, options, result)
    _drop_empty_columns(result)
    _sort(fit, places, {row["path"] for row in result.rows}, options, result)
    return result


def _series(listing: Listing, options: Options, result: Index) -> tuple[_AllSeries, Counter[Path]]:
    """Read all headers; return the slices of every series, each once, and how many images each folder holds."""
    made = (options.out or listing.folder) / SORTED_FOLDER  # series sorted by an earlier run are no sources
    files = [path for path in files_of(listing) if made not in path.parents]
    series: dict[tuple[str, str, str], dict[str, _Slice]] = defaultdict(dict)
    images_in: Counter[Path] = Counter()
    for done, path in enumerate(files, 1):
        relative = path.relative_to(listing.folder).as_posix()
        if options.on_progress:
            options.on_progress(done, len(files))
        if format_of(path) != "dicom":
            result.skipped.append((relative, "is no DICOM file"))
            continue
        try:
            each = _slice(path)
        except UserError as error:
            images_in[path.parent] += 1  # whoever reads the folder stumbles over it
            result.skipped.append((relative, str(error)))
            continue
        if "Rows" not in each.header:
            result.skipped.append((relative, f"holds no image ({each.text('Modality') or 'no modality'})"))
            continue
        images_in[path.parent] += 1
        if (other := series[each.key].setdefault(each.text("SOPInstanceUID") or relative, each)) is not each:
            result.skipped.append((relative, f"is the same picture as {other.path.name}"))
    return {key: list(slices.values()) for key, slices in series.items()}, images_in


def _is_unfit(slices: list[_Slice], listing: Listing, result: Index) -> bool:
    """Leave out what is no stack of parallel slices, and say so."""
    directions = {_direction(each) for each in slices}
    if "LOCALIZER" in slices[0].text("ImageType").upper():
        reason = "is a localiser"
    elif len(directions) > 1:
        reason = f"has slices in {len(directions)} directions (a localiser?)"
    else:
        return False
    where = slices[0].path.relative_to(listing.folder).as_posix()
    result.skipped.append((where, f"{slices[0].text('SeriesDescription')} {reason}".strip()))
    return True


def _direction(each: _Slice) -> tuple[float, ...]:
    values = each.header.get("ImageOrientationPatient") or ()
    return tuple(round(float(value), 1) + 0.0 for value in values)


def _sessions(series: _AllSeries) -> dict[tuple[str, str], str]:
    """Number the studies of every patient by date and time."""
    times: dict[tuple[str, str], tuple[str, str]] = {}
    for (subject, study, _), slices in series.items():
        time = slices[0].text("StudyDate"), slices[0].text("StudyTime")
        times[subject, study] = min(time, times.get((subject, study), time))
    numbers: Counter[str] = Counter()
    sessions = {}
    for subject, study in sorted(times, key=lambda key: (*times[key], key)):
        numbers[subject] += 1
        sessions[subject, study] = f"study{numbers[subject]}"
    return sessions


def _precedence(slices: list[_Slice]) -> tuple[int, int, tuple[str, str, str]]:
    number = slices[0].text("SeriesNumber")
    return -sum(each.frames for each in slices), int(number) if number.isdecimal() else 0, slices[0].key


def _place(slices: list[_Slice], images_in: Counter[Path], out: Path) -> Path:
    """Return where a series is read from: its file, its folder, or the folder into which it must be sorted."""
    if len(slices) == 1:
        return slices[0].path
    folder = slices[0].path.parent
    if all(each.path.parent == folder for each in slices) and images_in[folder] == len(slices):
        return folder
    digest = hashlib.sha256("\0".join(slices[0].key).encode()).hexdigest()[:12]
    return out / SORTED_FOLDER / f"{_name(slices[0].subject)}_{digest}"


def _sort(
    series: _AllSeries, places: dict[tuple[str, str, str], Path], wanted: set[str], options: Options, result: Index
) -> None:
    """Give every wanted series that has no folder to itself one: links to its files, or copies on another disk."""
    shared = [key for key in series if places[key].parent.name == SORTED_FOLDER and str(places[key]) in wanted]
    if not shared:
        return
    if options.out is None:
        where = series[shared[0]][0].path.parent
        raise UserError(f"{where} holds several series; say Options(out=folder) for one folder a series")
    for key in shared:
        for each in series[key]:
            uid = each.text("SOPInstanceUID") or str(each.path)
            _link(each.path, places[key] / f"{hashlib.sha256(uid.encode()).hexdigest()[:20]}.dcm")
    result.notes.append(
        f"{len(shared)} series share folders, or lie in several: their files are linked below "
        f"{options.out / SORTED_FOLDER}, one folder a series"
    )


def _link(source: Path, target: Path) -> None:
    """Make a file appear at another place too; a link is whole at once, a copy is renamed when it is."""
    if target.exists() and target.stat().st_size == source.stat().st_size:
        return
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        target.unlink(missing_ok=True)
        os.link(source.resolve(), target)
    except OSError:  # another disk, one without links, or no place at all, which a copy says in one line
        with atomic_path(target) as temporary:
            shutil.copyfile(source, temporary)


def _drop_empty_columns(result: Index) -> None:
    for column in ("kind", "scanner", "tesla"):
        if not any(row[column] for row in result.rows):
            for row in result.rows:
                del row[column]


def _slice(path: Path) -> _Slice:
    return _Slice(path, read_header(path, _TAGS.split()))


def _name(text: str, without: str = "/\\") -> str:
    """Make a header's text fit for the name of a file."""
    plain = "".join(letter if letter.isprintable() and letter not in without else "_" for letter in text).strip()
    return plain if plain.strip(".") else "_"
