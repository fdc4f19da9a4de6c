"""Layout `tree`: folders of subjects (and sessions) with files of several modalities, by a pattern or a guess."""

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence

from transmodal.datasets.layouts.listing import Found, Index, Listing, Options, tokens_of
from transmodal.datasets.layouts.modality_words import MODALITY_WORDS
from transmodal.datasets.layouts.pattern import compile_pattern
from transmodal.datasets.layouts.rows import Placed, collect
from transmodal.datasets.layouts.subjects import SESSION_WORD, SubjectNames
from transmodal.errors import UserError

_TAKEN = {"path", "split", "fold"}
_DATA_TYPES = {"anat", "func", "dwi", "fmap", "perf", "pet", "nifti", "dicom", "raw", "images", "data"}  # BIDS and kin


def recognise(listing: Listing) -> str | None:
    """Say why the folder looks like a tree of subjects, or None."""
    guess = _guess(listing)
    rows = [row for row in guess if row is not None]
    modalities = {row["modality"] for row in rows}
    subjects = sorted({row["subject"] for row in rows})
    if len(rows) < 0.3 * len(listing.images):
        return None
    # Names that never come back are no modalities, unless they are known words.
    called = sum(bool(MODALITY_WORDS & {word.lower() for word in tokens_of(name)}) for name in modalities)
    if len(modalities) > 0.5 * max(4, len(rows)) and called < 0.5 * len(modalities):
        return None
    shown = ", ".join(subjects[:2]) + (", …" if len(subjects) > 2 else "")
    return f"{shown} as subjects, {', '.join(sorted(modalities)[:6])} as modalities"


def index(listing: Listing, options: Options) -> Index:
    """Make a row of every image whose path fits the pattern, or the guess when there is no pattern.

    Raises:
        UserError: the pattern is unfit, or nothing fits it.
    """
    rows = _by_pattern(listing, options.pattern) if options.pattern else _guess(listing)
    result, names, placed = Index(), SubjectNames(options), []
    for found, row in zip(listing.images, rows, strict=True):
        if row is None or names.columns(row["subject"]) is None:
            result.skipped.append((found.relative, "does not fit the pattern" if options.pattern else "fits no guess"))
        else:
            placed.append(Placed(found, row))
    collect(listing, placed, options, result)
    if not result.rows:
        example = listing.images[0].relative
        raise UserError(
            f"No path in {listing.folder} fits {options.pattern or 'any guess'}; the first is {example}: say where the "
            "names stand, as in --pattern '{subject}/{session}/{modality}.nii.gz'"
        )
    if not options.pattern and (hint := names.hint(sorted({row["subject"] for row in result.rows}))):
        result.notes.append(hint)
    return result


def _by_pattern(listing: Listing, pattern: str) -> list[dict[str, str] | None]:
    compiled = compile_pattern(pattern.removesuffix("/"))
    if taken := _TAKEN & set(compiled.groupindex):
        raise UserError(f"The pattern has the name {sorted(taken)[0]!r}, which is no factor; choose another")
    if "modality" not in compiled.groupindex:
        raise UserError(f"The pattern {pattern} does not say where the modality stands; use 'modality' in it")
    matches = [compiled.fullmatch(found.relative) for found in listing.images]
    return [
        {"session": "", **{name: value or "" for name, value in match.groupdict().items()}} if match else None
        for match in matches
    ]


def _guess(listing: Listing) -> list[dict[str, str] | None]:
    """Guess subject, session and modality of every image from folders and names; None where nothing fits."""
    depth = _depth(listing.images)
    if depth == 0:
        return _guess_flat(listing.images)
    chosen = [found for found in listing.images if len(found.folders) == depth]
    level = _subject_level(chosen, depth)
    levels = [level, *range(level + 1, depth)]
    middle = [at for at in levels[1:] if not all(found.folders[at].lower() in _DATA_TYPES for found in chosen)]
    words = _short_names([_own_words(found) for found in chosen])
    folder_is_modality = bool(middle) and len(set(words)) <= 1
    guessed = {}
    for found, word in zip(chosen, words, strict=True):
        places = [found.folders[at] for at in middle]
        modality = places.pop() if folder_is_modality else word
        session = "_".join([*places, *_session_words(found)])
        row = {"subject": found.folders[level], "session": session, "modality": modality}
        if level > 0:
            row["group"] = "_".join(found.folders[:level])
        guessed[found.path] = row if modality else None
    return [guessed.get(found.path) for found in listing.images]


def _depth(images: Sequence[Found]) -> int:
    """Return the shallowest depth at which at least half of the top folders hold images."""
    tops = {found.folders[0] for found in images if found.folders}
    for depth in sorted({len(found.folders) for found in images} - {0}):
        holding = {found.folders[0] for found in images if len(found.folders) == depth}
        if 2 * len(holding) >= len(tops):
            return depth
    return 0


def _subject_level(images: Sequence[Found], depth: int) -> int:
    """Return the first folder level whose names come back in the file names (BraTS, BIDS), else the first."""
    for level in range(depth):
        if all(found.stem.lower().startswith(found.folders[level].lower()) for found in images):
            return level
    return 0


def _own_words(found: Found) -> list[str]:
    """Return the words of a stem that repeat no folder's name and no session."""
    stem = found.stem
    for name in sorted(found.folders, key=len, reverse=True):
        stem = re.sub(rf"(^|[_\-. ]){re.escape(name)}(?=$|[_\-. ])", " ", stem, flags=re.IGNORECASE)
    words = [word for word in tokens_of(stem) if not SESSION_WORD.fullmatch(word)]
    return words or tokens_of(found.stem)


def _session_words(found: Found) -> list[str]:
    in_folders = {word for name in found.folders for word in (name, *tokens_of(name))}
    return [word for word in tokens_of(found.stem) if SESSION_WORD.fullmatch(word) and word not in in_folders]


def _short_names(names: Iterable[list[str]]) -> list[str]:
    """Shorten names to what tells them apart: words that more than half of the different names share are dropped."""
    all_names = [tuple(words) for words in names]
    different = set(all_names)
    how_many = Counter(word for words in different for word in set(words))
    limits = (0.5 * len(different), len(different) - 1) if len(different) > 1 else ()
    for limit in limits:
        short = {words: "_".join(word for word in words if how_many[word] <= max(1, limit)) for words in different}
        if all(short.values()) and len(set(short.values())) == len(different):
            return [short[words] for words in all_names]
    return ["_".join(words) for words in all_names]


def _guess_flat(images: Sequence[Found]) -> list[dict[str, str] | None]:
    """Guess for files beside each other: the last or the first word is the modality when it repeats across names."""
    words = [tokens_of(found.stem) for found in images]
    for at in (-1, 0):
        split = [(of_name[at], [*of_name[:at]] if at else of_name[1:]) for of_name in words if len(of_name) > 1]
        partners = defaultdict(set)
        for modality, rest in split:
            partners["_".join(rest)].add(modality)
        modalities = {modality for modality, _ in split}
        paired = sum(len(with_it) > 1 for with_it in partners.values())
        if len(split) == len(words) and len(modalities) <= 8 and paired >= max(1, 0.5 * len(partners)):
            if all(modality.isdigit() for modality in modalities):
                continue
            return [{"subject": "_".join(rest), "session": "", "modality": modality} for modality, rest in split]
    return [None] * len(images)
