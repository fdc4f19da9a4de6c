"""Layout `brats`: the names of the Brain Tumour Segmentation challenges, and of glioma folders kept like them.

2017 to 2021: `HGG|LGG/Brats18_X_1/Brats18_X_1_{flair,t1,t1ce,t2,seg}.nii.gz`, with or without the grade; labels 1
(necrosis, non-enhancing core), 2 (oedema), 4 (enhancing). Since 2023: `BraTS-GLI-00000-000/BraTS-GLI-00000-000-` and
`{t1n,t1c,t2w,t2f,seg}.nii.gz`, patient 00000 in session 000; enhancing is label 3. Source: the challenges' data pages
(Menze et al., IEEE TMI 2015; Baid et al., arXiv:2107.02314).
"""

import re
from collections import defaultdict
from pathlib import Path

import numpy as np

from transmodal.datasets.layouts.listing import Found, Index, Listing, Options, tokens_of
from transmodal.datasets.layouts.rows import Placed, collect
from transmodal.datasets.layouts.subjects import SESSION_WORD
from transmodal.errors import UserError
from transmodal.images import read

_SEQUENCES = {
    **dict.fromkeys(("t1", "t1n", "t1w"), "T1"),
    **dict.fromkeys(("t1ce", "t1c", "t1gd", "t1post"), "T1ce"),
    **dict.fromkeys(("t2", "t2w"), "T2"),
    **dict.fromkeys(("flair", "fla", "t2f"), "FLAIR"),
}
_MAPS = ("seg", "segm", "segmentation")
_NAMES = {**_SEQUENCES, **dict.fromkeys(_MAPS, "seg")}
_CASE_SINCE_2023 = re.compile(r"(?P<subject>brats-[a-z\-]+-\d+)-(?P<session>\d+)", re.IGNORECASE)
_SINCE_2023 = re.compile(rf"{_CASE_SINCE_2023.pattern}-(?P<word>.+)", re.IGNORECASE)
_UNTIL_2021 = re.compile(rf"(?P<case>brats.*)_(?P<word>{'|'.join(_NAMES)})", re.IGNORECASE)
# The last number of 2015 to 2018 counts the scans of a patient; later years number patients only.
_SCAN = re.compile(r"(?P<subject>brats1[5-8]_.+_.+)_(?P<session>\d+)", re.IGNORECASE)
_GRADES = ("HGG", "LGG")
# Of several automatic maps the vote of all is taken for `seg`.
_VOTES = ("mav", "majority", "vote", "fusion", "staple", "simple")
_SEGMENTATIONS_READ = 3


def recognise(listing: Listing) -> str | None:
    """Say why the folder looks like BraTS, or None: by the challenge's name, or four sequences in every case folder."""
    named = [found for found in listing.images if _published(found)]
    if named and 2 * len(named) >= len(listing.images):
        return f"files like {named[0].path.name}"
    sequences = _sequences_by_folder(listing)
    complete = [folder for folder, names in sequences.items() if len(names) == 4]
    # A folder above a case may be the patient, the case then a visit: nothing tells, so `tree` or the user decides.
    flat = all(len([name for name in folder if name.upper() not in _GRADES]) <= 1 for folder in complete)
    if not named and complete and flat and len(complete) == len(sequences):
        return f"T1, T1 with contrast, T2 and FLAIR in {'/'.join(complete[0]) or listing.folder.name}"
    return None


def index(listing: Listing, options: Options) -> Index:
    """Make a row of every sequence, named T1, T1ce, T2, FLAIR, and of every map.

    The free column `grade` is HGG or LGG where a folder says so, `enhancing_label` the number of the enhancing tumour
    in the case's `seg`. A case with several maps and none called seg gives the vote (or the first) that name; the
    others are `seg_` and their own.

    Raises:
        UserError: no file is named in these ways.
    """
    result = Index()
    cases = set(_sequences_by_folder(listing))
    placed = []
    for found in listing.images:
        row, word = _published(found) or _by_words(found, listing.folder.name, cases)
        if not row:
            result.skipped.append((found.relative, "is no sequence or map of a case"))
            continue
        if grade := next((name.upper() for name in found.folders if name.upper() in _GRADES), None):
            row["grade"] = grade
        placed.append(Placed(found, row, (word,)))
    if not placed:
        raise UserError(
            f"No file in {listing.folder} is named as in BraTS, as Brats18_X_1_t1ce.nii.gz or "
            f"BraTS-GLI-00000-000-t1c.nii.gz; the first is {listing.images[0].relative}: say --layout tree --pattern …"
        )
    placed = _with_one_seg(placed, result)
    _say_enhancing(placed, result)
    return collect(listing, placed, options, result)


def _published(found: Found) -> tuple[dict[str, str], str] | None:
    """Read a name of the challenge: the row and the file's word; None when it is none."""
    match = _SINCE_2023.fullmatch(found.stem) or _UNTIL_2021.fullmatch(found.stem)
    if not match:
        return None
    word = match["word"]
    return {**_case(found.stem[: match.start("word") - 1]), "modality": _NAMES.get(word.lower(), word)}, word


def _by_words(found: Found, above: str, cases: set[tuple[str, ...]]) -> tuple[dict[str, str], str]:
    """Name an image by the words of its file; its case is the folder that holds the sequences, or one above a map.

    A case folder called study1, visit2 or 20200131 is a session of the subject above it.

    Args:
        above: the name of the indexed folder, which may be the only case.
    """
    depth = next((n for n in range(len(found.folders), -1, -1) if found.folders[:n] in cases), None)
    if depth is None:
        return {}, ""
    words = [word for word in tokens_of(found.stem) if word.lower() in _NAMES]
    if len(found.folders) > depth or not words:
        is_map = any("seg" in name.lower() for name in (*found.folders[depth:], found.stem))
        word, modality = found.stem, f"seg_{found.stem}" if is_map else found.stem
    else:
        word, modality = words[0], _NAMES[words[0].lower()]
    names = (above, *found.folders[:depth])
    if depth > 1 and SESSION_WORD.fullmatch(names[-1]) and names[-2].upper() not in _GRADES:
        return {"subject": names[-2], "session": names[-1], "modality": modality}, word
    return {**_case(names[-1]), "modality": modality}, word


def _case(name: str) -> dict[str, str]:
    """Take subject and session out of the name of a case."""
    if match := _CASE_SINCE_2023.fullmatch(name) or _SCAN.fullmatch(name):
        return match.groupdict()
    return {"subject": name, "session": ""}


def _sequences_by_folder(listing: Listing) -> dict[tuple[str, ...], set[str]]:
    """Return the case folders, those that hold at least two of the four sequences, and the sequences in each."""
    sequences: dict[tuple[str, ...], set[str]] = defaultdict(set)
    for found in listing.images:
        words = {_SEQUENCES[word.lower()] for word in tokens_of(found.stem) if word.lower() in _SEQUENCES}
        if len(words) == 1:
            sequences[found.folders] |= words
    return {folder: names for folder, names in sequences.items() if len(names) > 1}


def _with_one_seg(placed: list[Placed], result: Index) -> list[Placed]:
    """Call one map of every case `seg`."""
    maps: dict[tuple[str, str], list[Placed]] = defaultdict(list)
    for image in placed:
        if image.row["modality"].startswith("seg"):
            maps[image.row["subject"], image.row["session"]].append(image)
    chosen = {}
    for of_case in maps.values():
        if not any(image.row["modality"] == "seg" for image in of_case):
            best = min(of_case, key=_trust)
            chosen[best.found] = Placed(best.found, {**best.row, "modality": "seg"}, best.words)
    if chosen:
        example = next(iter(chosen))
        result.notes.append(
            f"Of several maps of a case, seg is one like {example.relative}; the others keep their names"
        )
    return [chosen.get(image.found, image) for image in placed]


def _trust(image: Placed) -> tuple[bool, int, str]:
    """Order maps: those of fusion folders first, then by the kind of vote, then by name."""
    words = {word.lower() for word in tokens_of(image.found.stem)}
    vote = next((rank for rank, word in enumerate(_VOTES) if word in words), len(_VOTES))
    return not any("fusion" in name.lower() for name in image.found.folders), vote, image.found.relative


def _say_enhancing(placed: list[Placed], result: Index) -> None:
    """Fill the column `enhancing_label` of cases with a map, by the naming; a few maps are read to be sure."""
    by_naming: dict[str, list[Placed]] = {"3": [], "4": []}
    for image in placed:
        if image.row["modality"] == "seg":
            by_naming["3" if _SINCE_2023.fullmatch(image.found.stem) else "4"].append(image)
    label_of: dict[tuple[str, str], str] = {}
    for label, maps in by_naming.items():
        seen = set().union(*(_labels(image.found.path) for image in maps[:_SEGMENTATIONS_READ]))
        other = {"3": 4, "4": 3}[label]
        if other in seen and int(label) not in seen:
            result.notes.append(
                f"Maps like {maps[0].found.relative} have the label {other}, not {label}, by their "
                "naming the enhancing tumour: enhancing_label is what they have"
            )
            label = str(other)
        label_of |= {(image.row["subject"], image.row["session"]): label for image in maps}
    for image in placed:
        if case_label := label_of.get((image.row["subject"], image.row["session"])):
            image.row["enhancing_label"] = case_label


def _labels(path: Path) -> set[int]:
    try:
        values = np.unique(read(path).pixels)
    except UserError:  # `data check` tells it
        return set()
    return {int(value) for value in values[np.isfinite(values)]}
