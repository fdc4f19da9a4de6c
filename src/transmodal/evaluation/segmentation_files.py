"""What the evaluation of a segmentation leaves on disk beside cases.csv: areas.csv, lesions.csv, volumes.csv."""

from collections.abc import Mapping
from pathlib import Path

import pandas

from transmodal.evaluation.scores import Scores
from transmodal.evaluation.segmentation_scores import SegmentationDetails, area_groups
from transmodal.images.files import write_text

FILES = ("areas.csv", "lesions.csv", "volumes.csv")


def write_segmentation(folder: Path, details: Mapping[str, SegmentationDetails]) -> None:
    """Write every slice with a lesion, every lesion and every volume; without a label map old files are taken away.

    Raises:
        UserError: the folder cannot be written.
    """
    for name in FILES:
        if not details:
            (folder / name).unlink(missing_ok=True)
    for found in details.values():  # a segmentation has one target
        for name, table in zip(FILES, (found.slices, found.lesions, found.volumes), strict=True):
            text: str = table.to_csv(index=False, float_format="%.9g", lineterminator="\n")
            write_text(folder / name, text)


def with_areas(groups: pandas.DataFrame, details: SegmentationDetails | None, scores: Scores) -> pandas.DataFrame:
    """Return the table of groups with a row for each size of lesion and system, whose cases are slices."""
    if details is None:
        return groups
    sizes = area_groups(details, scores.policy, list(groups.columns))
    return pandas.concat([groups, sizes], ignore_index=True) if len(groups) else sizes
