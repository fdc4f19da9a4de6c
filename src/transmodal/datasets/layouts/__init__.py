"""Known ways in which people keep pairs of images in folders, and the manifest that each becomes.

To add a layout: one module with `recognise(listing)` and `index(listing, options)`, and one line in LAYOUTS.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pandas

from transmodal.datasets.layouts import bids, brats, ct, dicom_tree, open_ms, pairs, side_by_side, synthrad, tree
from transmodal.datasets.layouts.listing import Index, Listing, Options, list_images
from transmodal.datasets.manifest import Manifest
from transmodal.errors import UserError, nearest

__all__ = ["LAYOUTS", "Indexed", "Layout", "Options", "index_folder"]


@dataclass(frozen=True)
class Layout:
    """One way of keeping images in folders.

    Attributes:
        summary: for the help.
        recognise: says why a folder looks like it, or None.
        index: makes the rows.
    """

    summary: str
    recognise: Callable[[Listing], str | None]
    index: Callable[[Listing, Options], Index]


# `auto` asks in this order and takes the first that recognises the folder.
LAYOUTS: dict[str, Layout] = {
    "open-ms": Layout("multiple sclerosis as in open_ms_data", open_ms.recognise, open_ms.index),
    "brats": Layout("gliomas named as in the BraTS challenges", brats.recognise, brats.index),
    "bids": Layout("the Brain Imaging Data Structure, raw", bids.recognise, bids.index),
    "synthrad": Layout("MR, CT and CBCT as in SynthRAD 2023 and 2025", synthrad.recognise, synthrad.index),
    "ct": Layout("CT slices and volumes, one modality", ct.recognise, ct.index),
    "dicom": Layout("DICOM files sorted by their headers", dicom_tree.recognise, dicom_tree.index),
    "pairs": Layout("a folder a modality, same stem = same case", pairs.recognise, pairs.index),
    "tree": Layout("subject/session/modality files, by a pattern", tree.recognise, tree.index),
    "side-by-side": Layout("A|B joined in one picture", side_by_side.recognise, side_by_side.index),
}


@dataclass(frozen=True)
class Indexed:
    """A manifest made from a folder.

    Attributes:
        layout: the one that was used.
        reason: why `auto` chose it; empty when the user did.
        skipped: (path below the folder, reason) of images that are in no row.
        others: files that are no images.
        notes: sentences that the user should read.
    """

    manifest: Manifest
    layout: str
    reason: str
    skipped: list[tuple[str, str]]
    others: list[Path]
    notes: list[str]


def index_folder(folder: str | Path, layout: str = "auto", options: Options | None = None) -> Indexed:
    """Make a manifest of a folder.

    Args:
        folder: holds the images.
        layout: a key of LAYOUTS, or "auto" to choose by looking at the folder. A pattern means `tree`.
        options: what the user says about the layout.

    Raises:
        UserError: an unknown layout, nothing recognised, or whatever the layout refuses.
    """
    folder, options = Path(folder), options or Options()
    if layout != "auto" and layout not in LAYOUTS:
        raise UserError(f"There is no layout {layout!r}; {nearest(layout, ['auto', *LAYOUTS])}")
    listing, reason = list_images(folder), ""
    if layout == "auto" and options.pattern:
        layout = "tree"
    if layout == "auto":
        layout, reason = _recognise(listing, options)
    made = LAYOUTS[layout].index(listing, options)
    if not made.rows:
        raise UserError(f"Nothing in {folder} fits the layout {layout!r}: {made.skipped[0][0]} {made.skipped[0][1]}")
    manifest = Manifest(_table(made), listing.folder, name=str(folder))
    return Indexed(manifest, layout, reason, made.skipped, listing.others, made.notes)


def _recognise(listing: Listing, options: Options) -> tuple[str, str]:
    folders = {name for found in listing.images for name in found.folders[:2]}
    if len(options.modalities) > 1 and set(options.modalities.values()) <= folders:
        return "pairs", f"the modalities {', '.join(options.modalities.values())} are folders"
    for name, layout in LAYOUTS.items():
        if reason := layout.recognise(listing):
            return name, reason
    example = listing.images[len(listing.images) // 2].relative
    raise UserError(
        f"Cannot guess how {listing.folder} is laid out (for example {example}); say it, as in --layout tree --pattern "
        "'{subject}/{session}/{modality}.nii.gz', --layout pairs, or --layout side-by-side --modalities photo,xray"
    )


def _table(made: Index) -> pandas.DataFrame:
    table = pandas.DataFrame(made.rows).fillna("")
    return table.sort_values(["subject", "session", "modality"], kind="stable", ignore_index=True)
