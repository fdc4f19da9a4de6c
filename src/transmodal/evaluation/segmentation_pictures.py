"""Pictures of the best, the median and the worst case of a segmentation: slices with true and predicted contours."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from transmodal.evaluation.pictures import CasePicture
from transmodal.evaluation.policy_application import slice_axis_of
from transmodal.evaluation.scores import Scores
from transmodal.evaluation.target import TRANSLATOR, TargetJob
from transmodal.evaluation.wording import bare_title
from transmodal.images import Image, read
from transmodal.reporting.contours import ContourPanel, contour_figure
from transmodal.reporting.display import panel
from transmodal.reporting.figures import plain_number

MOST_SLICES = 4


def segmentation_pictures(scores: Scores, jobs: Mapping[str, TargetJob]) -> list[CasePicture]:
    """Draw the best, the median and the worst case by the Dice of the last class that is a lesion.

    Args:
        scores: of one target.
        jobs: case → the job that scored it.
    """
    column = _telling_column(scores, next(iter(jobs.values())))
    drawn = []
    columns = [name for name in scores.columns if name.startswith("dice")] or [column]
    for rank, row in _chosen(scores, column):
        case = str(row["case"])
        values = {bare_title(name): float(row[name]) for name in columns if np.isfinite(row[name])}
        png, several = _figure(jobs[case], case, values, case if rank == "only" else f"{rank}: {case}")
        numbers = ", ".join(f"{name} {plain_number(value)}" for name, value in values.items())
        standing = f", the {rank} case by {bare_title(column)}" if rank != "only" else ""
        drawn.append(CasePicture(rank, case, f"{case}{standing}: {numbers}.", png, several))
    return drawn


def _telling_column(scores: Scores, job: TargetJob) -> str:
    lesion = job.run.recipe.segmentation.lesion_classes(job.target)[-1]
    wished = f"dice[{lesion}]"
    return wished if wished in scores.columns and scores.cases[wished].notna().any() else scores.columns[0]


def _chosen(scores: Scores, column: str) -> list[tuple[str, dict[Any, Any]]]:
    """Return (rank, row) of the cases that are drawn, among those that have the score."""
    table = scores.cases
    there = table[np.isfinite(table[column].to_numpy(float))]
    lower = not column.startswith("dice")
    ordered = (there if len(there) else table).sort_values(column, ascending=lower, kind="stable")
    last = len(ordered) - 1
    ranks = {0: "best", last: "worst"} if last else {0: "only"}
    places = dict.fromkeys([0, last // 2, last])
    return [(ranks.get(place, "median"), ordered.iloc[place].to_dict()) for place in places]


def _figure(job: TargetJob, name: str, values: Mapping[str, float], title: str) -> tuple[bytes, bool]:
    case = next(case for case in job.cases if case.id == name)
    images = job.load(case)
    classes, source = job.translator.card.preparation.classes_of(job.target), job.given_in(case)[0]
    given, truth, predicted = read(case.files[source]), images.truth, images.predictions[TRANSLATOR]
    axis = slice_axis_of(truth, job.policy) if truth.spatial_dims == 3 else 2
    true, made = classes.masks_of(truth.pixels), classes.masks_of(predicted.pixels)
    units = job.translator.card.preparation.modalities[source].intensity.inverse
    indices = [None] if truth.spatial_dims == 2 else choose_slices(true, made, axis)
    panels = []
    for index in indices:
        shown = panel(given, axis=axis, index=index)
        where = [
            {each.name: _cut(mask, given, axis, index) for each, mask in zip(classes.classes, masks, strict=True)}
            for masks in (true, made)
        ]
        heading = source if index is None else f"{source}, slice {index + 1}"
        panels.append(ContourPanel(shown, where[0], where[1], heading))
    window = (units.low, units.high) if not given.channels else (0.0, 1.0)
    colours = {each.name: each.colour for each in classes.classes}
    return contour_figure(panels, colours=colours, window=window, title=title, scores=values), len(panels) > 1


def choose_slices(true: npt.NDArray[np.bool_], made: npt.NDArray[np.bool_], axis: int) -> list[int]:
    """Return up to four slices to show, in order: where most of each class is, and where they differ most.

    Args:
        true, made: (classes, *spatial).
        axis: of the volume, along which it is cut.
    """
    others = tuple(place for place in range(3) if place != axis)
    chosen: dict[int, None] = {}
    for one, other in list(zip(true, made, strict=True))[::-1]:  # lesions are painted last
        for areas in (one.sum(others), (one ^ other).sum(others)):
            if areas.any():
                chosen.setdefault(int(areas.argmax()))
    there = np.flatnonzero(true.sum((0, *(place + 1 for place in others))))
    if there.size:
        for place in (0.5, 0.25, 0.75):
            chosen.setdefault(int(there[round(place * (there.size - 1))]))
    return sorted(list(chosen)[:MOST_SLICES]) or [true.shape[1 + axis] // 2]


def _cut(mask: npt.NDArray[np.bool_], like: Image, axis: int, index: int | None) -> npt.NDArray[np.bool_]:
    image = replace(like, pixels=mask.astype(np.float32), channels=())
    return panel(image, axis=axis, index=index).pixels > 0
