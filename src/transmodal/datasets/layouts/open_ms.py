"""Layout `open-ms`: brain MRI of people with multiple sclerosis, as the open_ms_data collection keeps it.

One visit on one grid: `patient07/{T1,T1POST,T2,FLAIR,GOLD_STANDARD}_*.nii.gz` (or T1W, T1WKS, T2W, consensus_gt),
lesions drawn by people. Visits as acquired: `patient01/study1_{T1W,T2W,FLAIR}.nii.gz`, and `gt.nii.gz`, the lesions
that changed between visits, in the patient's common space. Source: Lesjak et al., Neuroinformatics 2016 and 2017.
"""

import csv
import io
import re
from collections import defaultdict
from pathlib import Path

import numpy as np

from transmodal.datasets.layouts.listing import Found, Index, Listing, Options
from transmodal.datasets.layouts.rows import Placed, collect
from transmodal.errors import UserError
from transmodal.images import read_geometry

_NAMES = {
    **dict.fromkeys(("t1", "t1w"), "T1"),
    **dict.fromkeys(("t1post", "t1wks", "t1ks"), "T1ce"),
    **dict.fromkeys(("t2", "t2w"), "T2"),
    "flair": "FLAIR",
    **dict.fromkeys(("gold_standard", "consensus_gt"), "lesion"),
    "gt": "lesion_change",
    "brainmask": "mask",
}
_PATIENT = re.compile(r"patient(\d+)", re.IGNORECASE)
_STEM = re.compile(
    rf"(?:patient\d+_)?(?:(?P<session>study\d+)_)?(?P<word>{'|'.join(sorted(_NAMES, key=len, reverse=True))})(?:_.*)?",
    re.IGNORECASE,
)
_INFORMATION = "patient_info.csv"


def recognise(listing: Listing) -> str | None:
    """Say why the folder looks like open_ms_data, or None: its patient folders with its words for lesions or visits."""
    placed = [_place(found) for found in listing.images]
    named = [row for row in placed if row]
    if 2 * len(named) < len(listing.images):
        return None
    visits = any(row["session"] for row, _ in named)
    telling = {word.lower() for _, word in named} & {"gold_standard", "consensus_gt", "t1wks", "gt"}
    if not (visits or telling):
        return None
    return f"{named[0][0]['subject']} with {'visits' if visits else 'lesions'} named as in open_ms_data"


def index(listing: Listing, options: Options) -> Index:
    """Make a row of every sequence, named T1, T1ce, T2, FLAIR, of every lesion map and brain mask.

    `gt` goes to the last visit that lies on its grid; when none does, it is in no row and a note says where it belongs.
    Columns of `patient_info.csv` (beside or above the patients) become free columns of the people with one visit.

    Raises:
        UserError: no file is named so, or a header beside a `gt` cannot be read.
    """
    result = Index()
    placed = []
    for found in listing.images:
        if "raw" in found.folders[1:]:
            result.skipped.append(
                (found.relative, "is the unprocessed twin of an image; index the folder raw by itself")
            )
        elif place := _place(found):
            placed.append(Placed(found, place[0], (place[1],)))
        else:
            result.skipped.append((found.relative, "is not named as in open_ms_data"))
    if not placed:
        raise UserError(
            f"No file in {listing.folder} is named as in open_ms_data, as patient07/T1_….nii.gz or patient01/study1_T1W"
            f".nii.gz; the first is {listing.images[0].relative}"
        )
    placed = _with_changes_on_their_grid(placed, result)
    _name_collections(placed, result)
    _add_information(listing, placed, result)
    return collect(listing, placed, options, result)


def _place(found: Found) -> tuple[dict[str, str], str] | None:
    patient = next((name for name in reversed(found.folders) if _PATIENT.fullmatch(name)), None)
    match = _STEM.fullmatch(found.stem)
    if not patient and found.path.parent.name and _PATIENT.fullmatch(found.path.parent.name):
        patient = found.path.parent.name  # the indexed folder is one patient
    if not patient or not match:
        return None
    row = {"subject": patient, "session": match["session"] or "", "modality": _NAMES[match["word"].lower()]}
    return row, match["word"]


def _with_changes_on_their_grid(placed: list[Placed], result: Index) -> list[Placed]:
    """Give every map of changes to the last visit on its grid, and leave out the others with the reason."""
    visits: dict[Path, dict[str, list[Placed]]] = defaultdict(lambda: defaultdict(list))
    for image in placed:
        if image.row["session"]:
            visits[image.found.path.parent][image.row["session"]].append(image)
    kept, homeless = [], []
    for image in placed:
        of_patient = visits[image.found.path.parent]
        if image.row["modality"] != "lesion_change" or image.row["session"] or not of_patient:
            kept.append(image)
            continue
        there = [s for s in sorted(of_patient, key=_number) if _all_on_grid(image.found.path, of_patient[s])]
        if there:
            kept.append(Placed(image.found, {**image.row, "session": there[-1]}, image.words))
        else:
            homeless.append(image)
            result.skipped.append((image.found.relative, "lies on the grid of no visit: the patient's common space"))
    if homeless:
        result.notes.append(
            f"{', '.join(image.found.relative for image in homeless)}: lesions that changed between visits, drawn in "
            "the patient's common space, where study*_FLAIR_to_common_space.txt leads; given to no visit"
        )
    return kept


def _all_on_grid(path: Path, images: list[Placed]) -> bool:
    grid = read_geometry(path)
    others = [read_geometry(image.found.path) for image in images]
    return all(other.shape == grid.shape and np.allclose(other.affine, grid.affine, atol=1e-3) for other in others)


def _number(session: str) -> int:
    return int(re.sub(r"\D", "", session))


def _name_collections(placed: list[Placed], result: Index) -> None:
    """Keep people apart where collections that number people anew lie in one folder."""

    def collection(image: Placed) -> str:
        folders = image.found.folders
        return "-".join(name for name in folders if not _PATIENT.fullmatch(name))

    with_visits = {collection(image) for image in placed if image.row["session"]}
    without = {collection(image) for image in placed if not image.row["session"]}
    if not with_visits or not without - with_visits or "" in with_visits | without:
        return
    for image in placed:
        image.row["subject"] = f"{collection(image)}-{image.row['subject']}"
    result.notes.append(
        "The collections number their people anew (patient01 of one is not patient01 of the other): the folder's name "
        "stands before the subject"
    )


def _add_information(listing: Listing, placed: list[Placed], result: Index) -> None:
    """Add the columns of patient_info.csv; it describes the collection with one visit a person."""
    places = [path for path in listing.others if path.name == _INFORMATION]
    places += [folder / _INFORMATION for folder in (listing.folder, listing.folder.parent)]
    if (path := next((place for place in places if place.is_file()), None)) is None:
        return
    try:
        rows = list(csv.DictReader(io.StringIO(path.read_text(encoding="utf-8-sig"))))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        result.notes.append(f"{path} is not used: {error}")
        return
    by_number = {row["patient_id"].strip(): row for row in rows if (row.get("patient_id") or "").strip()}
    visited = {image.row["subject"] for image in placed if image.row["session"]}
    for image in placed:
        match = _PATIENT.search(image.row["subject"])
        if match and image.row["subject"] not in visited and (row := by_number.get(str(int(match[1])))):
            for name, value in row.items():
                if name and name not in ("patient_id", *image.row) and value and value != "N/A":
                    image.row[name] = value
