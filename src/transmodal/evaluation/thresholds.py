"""Thresholds of label maps chosen by cross-validation: for the subjects of each fold, on those of the other folds.

A network that sees subjects unlike those it learnt from is often right about where a lesion is and too timid about how
much of it there is; a half is then no longer the probability that gives the best Dice. What is better is looked for on
the maps of other subjects, as nnU-Net chooses its postprocessing (Isensee et al., Nature Methods 18, 2021). Those maps
are made by networks that learnt from the subjects of the fold in question, as in all cross-validation that is not
nested.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from transmodal.datasets.label_classes import THRESHOLD
from transmodal.errors import UserError
from transmodal.evaluation.segmentation_job import SegmentationJob
from transmodal.images import read

TRIED = (0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.45, 0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95)

Curves = dict[str, npt.NDArray[np.float64]]
"""Class → Dice of each case at each of `TRIED`, (cases, thresholds); 1 where it is rightly in neither map."""

ALL_FOLDS = "all folds"


def choose_thresholds(jobs: Sequence[SegmentationJob]) -> dict[str, dict[str, float]]:
    """Give each fold's job, in its options, the thresholds with the best mean Dice over the cases of the other folds.

    Each class by itself, all of them tidied as the translator does. Of equally good ones the one nearest to 0.5.

    Args:
        jobs: of the folds of one cross-validation, two or more.

    Returns:
        Name of a fold → class → its threshold; and of ALL_FOLDS what is best over all cases, for a translator trained
        on everybody and not for scores of these cases.

    Raises:
        UserError: classes are exclusive (a softmax), or fewer than two folds have cases.
    """
    if len(jobs) < 2:
        raise UserError("--threshold folds needs two folds with cases")
    curves = [dice_at_thresholds(job) for job in jobs]
    found = {ALL_FOLDS: best_thresholds(curves)}
    for number, job in enumerate(jobs):
        found[job.run.name] = chosen = best_thresholds([each for other, each in enumerate(curves) if other != number])
        options = replace(job.asked.options, thresholds=tuple(chosen.items()))
        job.asked = replace(job.asked, options=options)
    return found


def dice_at_thresholds(job: SegmentationJob) -> Curves:
    """Return the Dice of a job's cases at each threshold; cases that cannot be read are left out."""
    own = job.translator.label_classes(job.target, job.asked.options)
    assert own is not None
    if own.exclusive:
        raise UserError(
            f"{job.translator.card.name} ends in a softmax, which gives a pixel its most probable class; leave "
            "--threshold out, or train with segmentation.activation=sigmoid"
        )
    ways = [own.with_changes(thresholds=dict.fromkeys(own.names, tried)) for tried in TRIED]
    found: dict[str, list[list[float]]] = {name: [] for name in own.names}
    for number, case in enumerate(job.cases, 1):
        try:
            given = {name: read(case.files[name]) for name in job.given_in(case)}
            truth = own.masks_of(job.truth_of(case, given).pixels)
            maps = job.label_maps_by(case, given, ways)
        except UserError:  # is listed when the case is scored
            continue
        made = [own.masks_of(image.pixels) for image in maps]
        for place, name in enumerate(own.names):
            found[name].append([_dice(masks[place], truth[place]) for masks in made])
        job.asked.on_progress(f"{job.target}: choosing thresholds", number, len(job.cases))
    return {name: np.array(rows).reshape(-1, len(TRIED)) for name, rows in found.items()}


def best_thresholds(curves: Sequence[Curves]) -> dict[str, float]:
    """Return class → the threshold with the best mean Dice over all cases; a half where there is no case."""
    chosen = {}
    for name in curves[0]:
        dice = np.concatenate([each[name] for each in curves])
        means = dice.mean(axis=0).round(6) if len(dice) else np.zeros(len(TRIED))
        best = np.flatnonzero(means == means.max())
        chosen[name] = TRIED[min(best, key=lambda place: abs(TRIED[place] - THRESHOLD))]
    return chosen


def _dice(made: npt.NDArray[np.bool_], truth: npt.NDArray[np.bool_]) -> float:
    # Scores leave a class out that is in neither map; here that would make a threshold with false lesions look better.
    together = int(made.sum()) + int(truth.sum())
    return 2 * int((made & truth).sum()) / together if together else 1.0


def describe_thresholds(found: Mapping[str, Mapping[str, float]]) -> list[str]:
    """Return lines on what `choose_thresholds` found; none where nothing was chosen."""
    if not found:
        return []

    def told(fold: str) -> str:
        return ", ".join(f"{name} {threshold:g}" for name, threshold in found[fold].items())

    folds = "; ".join(f"{fold}: {told(fold)}" for fold in found if fold != ALL_FOLDS)
    words = ",".join(f"{name}={threshold:g}" for name, threshold in found[ALL_FOLDS].items())
    return [
        f"thresholds chosen on the other folds: {folds}",
        f"over all folds, for a translator trained on everybody: --threshold {words}",
    ]
