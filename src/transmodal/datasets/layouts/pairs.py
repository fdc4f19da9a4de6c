"""Layout `pairs`: each folder is a modality; files of one stem show one case.

The modality folders may lie in folders called train, val and test, which then become the split.
"""

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import replace

from transmodal.datasets.layouts.listing import SPLIT_FOLDERS, Found, Index, Listing, Options, tokens_of
from transmodal.datasets.layouts.modality_words import MODALITY_WORDS
from transmodal.datasets.layouts.subjects import SubjectNames
from transmodal.errors import UserError


def recognise(listing: Listing) -> str | None:
    """Say why the folder looks like pairs, or None.

    Two folders with equal stems are pairs or two subjects with equally named files. Numbered folders (patient07,
    patient19) and files called T1, T2, … speak for subjects.
    """
    images, _ = _without_splits(listing)
    stems = _stems_by_folder(images)
    if len(stems) < 2:
        return None
    names = list(stems)
    if len({re.sub(r"\d+", "#", name) for name in names}) == 1 and re.search(r"\d", names[0]):
        return None
    shared = set.union(*(set(of_folder) for of_folder in stems.values()))
    if not any(_overlap(stems[one], stems[other]) >= 0.5 for one in names for other in names if one < other):
        return None
    words = [MODALITY_WORDS & {word.lower() for word in tokens_of(stem)} for stem in shared]
    called_as_modality = len(set().union(*words)) > 1 and sum(map(bool, words)) >= 0.5 * len(shared)
    if called_as_modality or len(names) > max(map(len, stems.values())):
        return None
    return f"the folders {', '.join(names)} hold files of equal names"


def index(listing: Listing, options: Options) -> Index:
    """Make a row of every file in a modality folder; its stem is the case.

    Raises:
        UserError: there are fewer than two modality folders, or a named one does not exist.
    """
    result = Index()
    images, splits = _without_splits(listing)
    stems = _stems_by_folder(images)
    modality_of = _modality_folders(stems, options, listing)
    names = SubjectNames(options)
    cases_of: dict[str, dict[str, str]] = {modality: {} for modality in modality_of.values()}
    strip = not set.intersection(*({*stems[folder]} for folder in modality_of))
    for listed, found, split in zip(listing.images, images, splits, strict=True):
        modality = modality_of.get(found.folders[0]) if found.folders else None
        if modality is None:
            result.skipped.append((listed.relative, "in no modality folder"))
            continue
        stem = _case_stem(found, strip, {modality, found.folders[0]})
        columns = names.columns(stem)
        if columns is None:
            result.skipped.append((listed.relative, "does not match --subject-pattern"))
        elif stem in cases_of[modality]:
            result.skipped.append((listed.relative, f"same case as {cases_of[modality][stem]}"))
        else:
            cases_of[modality][stem] = listed.relative
            if split:
                columns["split"] = split
            result.rows.append({**columns, "modality": modality, "path": str(found.path)})
    all_stems = sorted(set().union(*cases_of.values()))
    if hint := names.hint(all_stems):
        result.notes.append(hint)
    return result


def _modality_folders(stems: dict[str, list[str]], options: Options, listing: Listing) -> dict[str, str]:
    if not options.modalities:
        if len(stems) < 2:
            raise UserError(
                f"{listing.folder} holds {len(stems)} folder{'s' if len(stems) != 1 else ''} with images; the layout "
                "'pairs' needs one folder a modality"
            )
        return {name: name for name in stems}
    for folder in options.modalities.values():
        if folder not in stems:
            raise UserError(f"There is no folder {folder} with images in {listing.folder}; it has {', '.join(stems)}")
    return {folder: modality for modality, folder in options.modalities.items()}


def _without_splits(listing: Listing) -> tuple[list[Found], list[str]]:
    """Take a first level of train, val and test out of the paths; return the images and the split of each.

    The stem of an image gets the folder's name in front where two splits use one stem (train/photo/1, test/photo/1).
    """
    tops = {found.folders[0].lower() for found in listing.images if len(found.folders) > 1}
    if not tops or not tops <= set(SPLIT_FOLDERS) or any(len(found.folders) < 2 for found in listing.images):
        return listing.images, [""] * len(listing.images)
    inside = Counter((*found.folders[1:], found.stem) for found in listing.images)
    in_front = max(inside.values()) > 1
    images = [
        replace(found, folders=found.folders[1:], stem=f"{found.folders[0]}-{found.stem}" if in_front else found.stem)
        for found in listing.images
    ]
    return images, [SPLIT_FOLDERS[found.folders[0].lower()] for found in listing.images]


def _stems_by_folder(images: Iterable[Found]) -> dict[str, list[str]]:
    stems: dict[str, list[str]] = {}
    for found in images:
        if found.folders:
            stems.setdefault(found.folders[0], []).append(_case_stem(found, False, set()))
    return stems


def _case_stem(found: Found, strip: bool, words: set[str]) -> str:
    """Return the part of a path that partners share: folders below the modality, and the stem.

    Args:
        strip: also take the modality's own word out ("m1_photo" and "m1_xray" become "m1").
    """
    stem = "_".join((*found.folders[1:], found.stem))
    if not strip:
        return stem
    inside = "|".join(re.escape(word) for word in words)
    return re.sub(rf"(^|[_\-. ])({inside})(?=$|[_\-. ])", "", stem, flags=re.IGNORECASE).strip("_-. ") or stem


def _overlap(one: list[str], other: list[str]) -> float:
    return len(set(one) & set(other)) / max(1, min(len(set(one)), len(set(other))))
