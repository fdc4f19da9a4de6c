"""From placed images to the rows of a manifest: what the user asked for, each case and modality once."""

from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase

from transmodal.datasets.layouts.listing import Found, Index, Listing, Options
from transmodal.datasets.layouts.subjects import SubjectNames
from transmodal.errors import UserError


@dataclass(frozen=True)
class Placed:
    """An image and the place that a layout gives it.

    Attributes:
        row: subject, session, modality and free columns.
        words: other words by which `--modalities` may call the modality: the folder's own.
    """

    found: Found
    row: dict[str, str]
    words: tuple[str, ...] = ()


def collect(listing: Listing, placed: Iterable[Placed], options: Options, result: Index) -> Index:
    """Add a row of every placed image to `result`, in order; the first of two for one place is taken.

    `--modalities` chooses and renames: a word of it is the layout's name of a modality or the folder's own word, with
    `*` for any letters. `--subject-pattern` takes subjects apart.

    Raises:
        UserError: the subject pattern is unfit, or a modality that is asked for is nowhere.
    """
    names = SubjectNames(options)
    seen: dict[tuple[str, str, str], str] = {}
    known: set[str] = set()
    used: set[str] = set()
    for image in placed:
        found, row, modality = image.found, image.row, image.row["modality"]
        known.add(modality)
        if options.modalities:
            modality = _asked_for(options.modalities, (modality, *image.words))
            used.add(modality)
        if options.subject_pattern:
            if (more := names.columns(row["subject"])) is None:
                result.skipped.append((found.relative, "does not match --subject-pattern"))
                continue
            row = {**row, **{name: value for name, value in more.items() if value}}
        if not modality:
            result.skipped.append((found.relative, f"modality {row['modality']} is not asked for"))
            continue
        key = (row["subject"], row["session"], modality)
        if key in seen:
            result.skipped.append((found.relative, f"same subject, session and modality as {seen[key]}"))
            continue
        seen[key] = found.relative
        result.rows.append({**row, "modality": modality, "path": str(found.path)})
    for modality, word in options.modalities.items():
        if modality not in used:
            raise UserError(f"No file shows {word!r} in {listing.folder}; there are {', '.join(sorted(known))}")
    return result


def _asked_for(modalities: dict[str, str], words: tuple[str, ...]) -> str:
    """Return the user's name of a modality that has these words; empty when it is not asked for."""
    for name, wish in modalities.items():
        if wish in words or any(fnmatchcase(word, wish) for word in words):
            return name
    return ""
