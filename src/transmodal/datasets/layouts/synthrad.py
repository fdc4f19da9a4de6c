"""Layout `synthrad`: MR or CBCT beside CT, as the SynthRAD challenges keep them.

2023: `Task1/brain/1BA001/{mr,ct,mask}.nii.gz`, `Task2/pelvis/2PC001/{cbct,ct,mask}.nii.gz`; 2025:
`Task1/HN/1HNA001/{mr,ct,mask}.mha`, also TH (thorax) and AB (abdomen). A case's name is task, anatomy, centre, number.
Source: Thummerer et al., Medical Physics 2023 (SynthRAD2023) and the data page of SynthRAD2025.
"""

import re

from transmodal.datasets.layouts.listing import Found, Index, Listing, Options
from transmodal.datasets.layouts.rows import Placed, collect
from transmodal.errors import UserError

_NAMES = {"mr": "MR", "ct": "CT", "cbct": "CBCT", "mask": "mask"}
_ANATOMIES = {"B": "brain", "P": "pelvis", "HN": "head-neck", "TH": "thorax", "AB": "abdomen"}
_CASE = re.compile(r"(?P<task>[12])(?P<anatomy>HN|TH|AB|B|P)(?P<centre>[A-Z])\d{3,4}")


def recognise(listing: Listing) -> str | None:
    """Say why the folder looks like SynthRAD, or None: two modalities in a folder named as its cases are."""
    named = [found for found in listing.images if _is_named(found) and _CASE.fullmatch(found.folders[-1])]
    pictures = sum("overview" in found.folders for found in listing.images)
    if not named or 2 * len(named) < len(listing.images) - pictures:
        return None
    if not {found.stem.lower() for found in named} & {"mr", "ct", "cbct"}:
        return None
    return f"{named[0].relative} is a name of SynthRAD"


def index(listing: Listing, options: Options) -> Index:
    """Make a row of every mr, ct, cbct and mask; task, anatomy and centre are free columns.

    The anatomy and the centre come from the case's name, else the anatomy from a folder's.

    Raises:
        UserError: no file is named so.
    """
    result, placed = Index(), []
    for found in listing.images:
        if not _is_named(found):
            result.skipped.append((found.relative, "is no mr, ct, cbct or mask in the folder of a case"))
            continue
        row = {"subject": found.folders[-1], "session": "", "modality": _NAMES[found.stem.lower()]}
        placed.append(Placed(found, {**row, **_factors(found)}, (found.stem,)))
    if not placed:
        raise UserError(
            f"No file in {listing.folder} is named as in SynthRAD, as Task1/brain/1BA001/mr.nii.gz; the first is "
            f"{listing.images[0].relative}"
        )
    return collect(listing, placed, options, result)


def _is_named(found: Found) -> bool:
    return found.stem.lower() in _NAMES and bool(found.folders)


def _factors(found: Found) -> dict[str, str]:
    if match := _CASE.fullmatch(found.folders[-1]):
        return {"task": match["task"], "anatomy": _ANATOMIES[match["anatomy"]], "centre": match["centre"]}
    for name in reversed(found.folders[:-1]):
        anatomy = _ANATOMIES.get(name.upper(), name.lower())
        if anatomy in _ANATOMIES.values():
            return {"anatomy": anatomy}
    return {}
