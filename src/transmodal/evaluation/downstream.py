"""Whether a synthetic image serves: a segmenter's Dice on it, beside the same segmenter's Dice on the real image.

A translator may please every measure of likeness and still lose the lesion. The segmenter, trained on real images, is
the user's own; a low Dice on synthetic images counts against the translator only as far as the Dice on the real images
of the same cases is higher, so that the two always stand together, with their paired difference over subjects.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas

from transmodal.errors import UserError
from transmodal.evaluation.intervals import Summary, paired_difference, summarise
from transmodal.images import Image
from transmodal.metrics.overlap import dice

COLUMNS = ("case", "subject", "label", "dice_synthetic", "dice_real", "difference")


@dataclass(frozen=True)
class DownstreamCase:
    """One case of a downstream comparison.

    Attributes:
        case: its name.
        subject: whose it is; images of one subject are no independent evidence.
        synthetic: what the translator made.
        real: the true image of the same modality on the same grid.
        labels: true label map of the images' spatial shape, whole numbers.
    """

    case: str
    subject: str
    synthetic: Image
    real: Image
    labels: npt.NDArray[Any]


@dataclass(frozen=True)
class DownstreamSummary:
    """Dice of one label over the cases that have one on both images.

    Attributes:
        label: which.
        synthetic: Dice on the synthetic images.
        real: Dice on the real images of the same cases.
        difference: synthetic - real; below 0 the segmenter does worse on synthetic images.
        left_out: cases that lack the label in the true map and in what the segmenter found, on one image or on both.
        invented: of these, how many have the label in what the segmenter found on the synthetic image alone.
    """

    label: int
    synthetic: Summary
    real: Summary
    difference: Summary
    left_out: int
    invented: int


def downstream_dice(
    segment: Callable[[Image], npt.NDArray[Any]], cases: Iterable[DownstreamCase], labels: Sequence[int]
) -> pandas.DataFrame:
    """Segment the synthetic and the real image of each case and compare both with the true labels.

    Args:
        segment: gives a label map, whole numbers, of an image's spatial shape; it must give the same map for the same
            image.
        cases: one after the other; none is kept.
        labels: which to compare, each by its own Dice.

    Returns:
        One row per case and label: case, subject, label, dice_synthetic, dice_real, difference (synthetic - real).
        A Dice is NaN where the label is absent in both maps; the difference is NaN where either is.

    Raises:
        UserError: there is no case or no label, a case comes twice, an image does not lie on the grid of its labels, or
            the segmenter gives another shape or anything but whole numbers. The line names the case.
    """
    if not labels:
        raise UserError("Downstream Dice: no label was named; name the values of the label map to compare")
    if len(set(labels)) != len(labels):
        raise UserError(f"Downstream Dice: a label is named twice in {list(labels)}; name each once")
    rows: list[dict[str, Any]] = []
    seen: set[str] = set()
    for case in cases:
        if case.case in seen:
            raise UserError(f"Downstream Dice: case {case.case} comes twice; give each case another name")
        seen.add(case.case)
        _require_one_grid(case)
        on_synthetic = _segmented(segment, case, case.synthetic, "synthetic")
        on_real = _segmented(segment, case, case.real, "real")
        for label in labels:
            made, true = (_dice(found, case, label) for found in (on_synthetic, on_real))
            rows.append(
                {
                    "case": case.case,
                    "subject": case.subject,
                    "label": int(label),
                    "dice_synthetic": made,
                    "dice_real": true,
                    "difference": made - true,
                }
            )
    if not rows:
        raise UserError("Downstream Dice: there is no case to segment; name a split that has cases")
    return pandas.DataFrame(rows, columns=list(COLUMNS))


def summarise_downstream(table: pandas.DataFrame, *, seed: int = 0) -> list[DownstreamSummary]:
    """Summarise a table of `downstream_dice` label by label, in the table's order, with intervals over subjects.

    Args:
        table: of `downstream_dice`.
        seed: of the bootstrap.
    """
    summaries = []
    for label, part in table.groupby("label", sort=False):
        synthetic, real = (part[column].to_numpy(np.float64) for column in ("dice_synthetic", "dice_real"))
        paired = np.isfinite(synthetic) & np.isfinite(real)
        subjects = part.loc[paired, "subject"].astype(str).tolist()
        summaries.append(
            DownstreamSummary(
                label=int(str(label)),
                synthetic=summarise(synthetic[paired], subjects, seed=seed),
                real=summarise(real[paired], subjects, seed=seed),
                difference=paired_difference(synthetic[paired], real[paired], subjects, seed=seed),
                left_out=int((~paired).sum()),
                invented=int((np.isfinite(synthetic) & ~paired).sum()),
            )
        )
    return summaries


def describe_downstream(summary: DownstreamSummary) -> str:
    """Return one label's outcome as a line: Dice on synthetic told against Dice on real, with the numbers of both."""
    difference = summary.difference
    if difference.mean is None:
        return f"label {summary.label}: no case has a Dice on both images ({_left_out(summary)})"
    low, high = difference.ci95
    interval = "no interval below 4 subjects" if low is None else f"95 % interval {low:+.3f} to {high:+.3f}"
    numbers = f"{difference.subjects} subjects, {difference.cases} cases"
    return (
        f"label {summary.label}: Dice {summary.synthetic.mean:.3f} on synthetic, {summary.real.mean:.3f} on real "
        f"images, difference {difference.mean:+.3f} ({interval}; {numbers}"
        f"{'; ' + _left_out(summary) if summary.left_out else ''})"
    )


def _left_out(summary: DownstreamSummary) -> str:
    invented = f", {summary.invented} of them with the label found on the synthetic image alone"
    return f"{summary.left_out} cases without the label left out{invented if summary.invented else ''}"


def _require_one_grid(case: DownstreamCase) -> None:
    for name, image in (("synthetic", case.synthetic), ("real", case.real)):
        if image.shape != np.shape(case.labels):
            raise UserError(
                f"Downstream Dice: the {name} image of case {case.case} has shape {image.shape}, its labels "
                f"{np.shape(case.labels)}; resample one onto the other's grid"
            )
    if not case.synthetic.same_grid(case.real):
        raise UserError(f"Downstream Dice: the images of case {case.case} lie on different grids; resample one of them")


def _segmented(
    segment: Callable[[Image], npt.NDArray[Any]], case: DownstreamCase, image: Image, name: str
) -> npt.NDArray[Any]:
    found = np.asarray(segment(image))
    if found.shape != image.shape:
        raise UserError(
            f"Downstream Dice: the segmenter gave shape {found.shape} for the {name} image {image.shape} of case "
            f"{case.case}; it must give one label a pixel"
        )
    return found


def _dice(found: npt.NDArray[Any], case: DownstreamCase, label: int) -> float:
    try:
        return dice(found, case.labels, label=label)
    except ValueError as error:
        message = str(error).replace("predicted", "what the segmenter gave").replace("truth", "the true map")
        raise UserError(f"Downstream Dice: case {case.case}: {message}; give labels as whole numbers") from error
