"""Layout `bids`: raw data in the Brain Imaging Data Structure.

`sub-01/[ses-1/]anat/sub-01[_ses-1][_acq-…][_ce-…][_run-…]_T1w.nii.gz`, people described in `participants.tsv`.
Source: the BIDS specification (Gorgolewski et al., Scientific Data 2016), sections "Common principles" and "Magnetic
Resonance Imaging data".
"""

import csv
import io
import re
from collections import defaultdict

from transmodal.datasets.layouts.listing import Found, Index, Listing, Options
from transmodal.datasets.layouts.rows import Placed, collect
from transmodal.errors import UserError

# The names of modalities are those of the other layouts, so that data sets can be put together.
_NAMES = {"T1w": "T1", "T2w": "T2", "PDw": "PD", "ct": "CT", "pet": "PET"}
_DATA_TYPES = ("anat", "ct", "pet")
_NOT_RAW = ("derivatives", "sourcedata", "code", "stimuli", "models")
_STEM = re.compile(r"(?P<entities>[a-zA-Z]+-[a-zA-Z0-9+]+(?:_[a-zA-Z]+-[a-zA-Z0-9+]+)*)_(?P<suffix>[a-zA-Z0-9]+)")
_KEYS = ("subject", "session", "modality", "path", "split", "fold")


def recognise(listing: Listing) -> str | None:
    """Say why the folder looks like BIDS, or None: files named by entities in the folders of their subjects."""
    raw = [found for found in listing.images if not _is_derived(found)]
    named = [found for found in raw if _entities(found)]
    if not named or 2 * len(named) < len(raw):
        return None
    return f"{named[0].relative} is a name of BIDS"


def index(listing: Listing, options: Options) -> Index:
    """Make a row of every anatomical image (and of `ct` and `pet`), T1w called T1, T2w T2, T1w with contrast T1ce.

    Of several runs the lowest is taken. Entities that tell images of one session apart (acq, rec, echo, part, …) stand
    in the modality, as T1_acq-mprage; the others do not. Columns of participants.tsv become free columns.

    Raises:
        UserError: no file is named so, or participants.tsv cannot be read.
    """
    result = Index()
    images: list[tuple[Found, dict[str, str], str]] = []
    for found in listing.images:
        named = _entities(found)
        if _is_derived(found):
            result.skipped.append((found.relative, "is not raw data"))
        elif named is None:
            result.skipped.append((found.relative, "is not named as in BIDS"))
        elif found.folders[-1] not in _DATA_TYPES:
            result.skipped.append((found.relative, f"is {found.folders[-1]}, not an anatomical image"))
        else:
            images.append((found, *named))
    if not images:
        raise UserError(
            f"No anatomical image in {listing.folder} is named as in BIDS, as sub-01/anat/sub-01_T1w.nii.gz; "
            f"the first of {len(listing.images)} images is {listing.images[0].relative}"
        )
    telling = _telling_entities(images)
    people, placed = _participants(listing, result), []
    for found, entities, suffix in sorted(images, key=lambda image: _run(image[1])):
        plain = _modality(entities, suffix)
        kept = [f"{name}-{entities[name]}" for name in entities if name in telling[plain]]
        subject = f"sub-{entities['sub']}"
        session = f"ses-{entities['ses']}" if "ses" in entities else ""
        row = {**people.get(subject, {}), "subject": subject, "session": session, "modality": "_".join([plain, *kept])}
        placed.append(Placed(found, row, (suffix, "_".join([suffix, *kept]))))
    runs = len(result.skipped)
    collect(listing, placed, options, result)
    if doubled := [path for path, _ in result.skipped[runs:] if "_run-" in path]:
        result.notes.append(f"Of several runs the lowest is taken ({len(doubled)} not, as {doubled[0]})")
    return result


def _is_derived(found: Found) -> bool:
    return any(name in _NOT_RAW for name in found.folders)


def _entities(found: Found) -> tuple[dict[str, str], str] | None:
    """Return the entities and the suffix of a name; None when it breaks the rules of its place."""
    match = _STEM.fullmatch(found.stem)
    if not match or len(found.folders) < 2:
        return None
    entities = dict(part.split("-", 1) for part in match["entities"].split("_"))
    place = [f"sub-{entities['sub']}"] if "sub" in entities else []
    place += [f"ses-{entities['ses']}"] if "ses" in entities else []
    if not place or list(found.folders[:-1])[-len(place) :] != place:
        return None
    return entities, match["suffix"]


def _modality(entities: dict[str, str], suffix: str) -> str:
    name = _NAMES.get(suffix, suffix)
    return f"{name}ce" if "ce" in entities and entities["ce"].lower() not in ("none", "no") else name


def _telling_entities(images: list[tuple[Found, dict[str, str], str]]) -> dict[str, set[str]]:
    """Return, for each modality, the entities in which images of one session differ, run aside."""
    sessions: dict[tuple[str, str, str], list[dict[str, str]]] = defaultdict(list)
    for _, entities, suffix in images:
        sessions[entities["sub"], entities.get("ses", ""), _modality(entities, suffix)].append(entities)
    telling: dict[str, set[str]] = defaultdict(set)
    for (_, _, modality), of_session in sessions.items():
        for name in set().union(*of_session) - {"sub", "ses", "run"}:
            if len({entities.get(name) for entities in of_session}) > 1:
                telling[modality].add(name)
    return telling


def _run(entities: dict[str, str]) -> tuple[int, str]:
    run = entities.get("run", "0")
    return int(run) if run.isdecimal() else 0, run


def _participants(listing: Listing, result: Index) -> dict[str, dict[str, str]]:
    """Read the free columns of every subject; blank where n/a."""
    tables = [path for path in listing.others if path.name == "participants.tsv"]
    tables = [path for path in tables if not set(path.relative_to(listing.folder).parts) & set(_NOT_RAW)]
    people: dict[str, dict[str, str]] = {}
    for path in tables:
        try:
            rows = list(csv.DictReader(io.StringIO(path.read_text(encoding="utf-8-sig")), delimiter="\t"))
        except (OSError, UnicodeDecodeError, csv.Error) as error:
            raise UserError(f"Cannot read {path}: {error}; save it as tab-separated UTF-8 text") from error
        if rows and "participant_id" not in rows[0]:
            raise UserError(f"{path} has no column participant_id, tab-separated; mend or remove it")
        if taken := [name for name in rows[0] if name in _KEYS] if rows else []:
            result.notes.append(f"Columns of {path.name} that a manifest has already are left out: {', '.join(taken)}")
        for row in rows:
            subject = "sub-" + (row["participant_id"] or "").removeprefix("sub-")
            people[subject] = {
                name: "" if value.strip().lower() == "n/a" else value.strip()
                for name, value in row.items()
                if name and isinstance(value, str) and name not in (*_KEYS, "participant_id")
            }
    return people
