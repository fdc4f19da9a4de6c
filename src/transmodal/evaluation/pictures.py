"""Pictures of the best, the median and the worst case of an evaluation."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from transmodal.datasets.manifest import CaseFiles
from transmodal.evaluation.asked import mask_of
from transmodal.evaluation.montage import Volume, montage
from transmodal.evaluation.policy_application import on_common_scale, own_region, scale_of_truth, slice_axis_of
from transmodal.evaluation.scores import Scores
from transmodal.evaluation.scoring import CaseImages
from transmodal.evaluation.target import TRANSLATOR, TargetJob
from transmodal.evaluation.wording import lead_metric
from transmodal.images import Image, read
from transmodal.images.files import atomic_path
from transmodal.metrics import metric_of
from transmodal.metrics.policy import Policy
from transmodal.reporting.figures import case_figure, plain_number


@dataclass(frozen=True)
class CasePicture:
    """The picture of a case that stands for others.

    Attributes:
        rank: "best", "median", "worst", or "only".
        case: its name.
        caption: what to read beneath it.
        png: the file's bytes.
        is_montage: whether it shows several slices of a volume.
    """

    rank: str
    case: str
    caption: str
    png: bytes
    is_montage: bool = False


@dataclass(frozen=True)
class _Loaded:
    """A case to be drawn: its row in the table, and its images on the policy's scale."""

    rank: str
    row: dict[Any, Any]
    inputs: dict[str, Image]
    predicted: Image
    truth: Image
    region: npt.NDArray[np.bool_] | None
    images: CaseImages


def case_pictures(scores: Scores, jobs: Mapping[str, TargetJob]) -> list[CasePicture]:
    """Draw the best, the median and the worst case, all with one error scale.

    Args:
        scores: of one target.
        jobs: case → the job that scored it.
    """
    metric, policy = lead_metric(scores), scores.policy
    loaded = [_load(rank, row, jobs[str(row["case"])], policy) for rank, row in _chosen(scores, metric)]
    errors = [_largest_error(each) for each in loaded]
    limit = max(errors) or 0.25 * policy.data_range
    drawn = []
    for each in loaded:
        case = str(each.row["case"])
        values = {name: float(each.row[name]) for name in scores.columns if name in (metric, "ssim", "mae")}
        title = case if each.rank == "only" else f"{each.rank}: {case}"
        png = _figure(each, jobs[case].target, policy, title, values, limit)
        factors = ", ".join(f"{name} {each.row[name]}" for name in scores.factors if each.row[name])
        numbers = ", ".join(f"{metric_of(name).title} {plain_number(value)}" for name, value in values.items())
        standing = f", the {each.rank} case by {metric_of(metric).title}" if each.rank != "only" else ""
        caption = f"{case}{standing}: {numbers}" + (f" ({factors})." if factors else ".")
        is_volume = each.truth.spatial_dims == 3 and not each.truth.channels
        drawn.append(CasePicture(each.rank, case, caption, png, is_volume))
    return drawn


def _largest_error(case: _Loaded) -> float:
    """Return the 99.5th percentile of the absolute error, inside the mask where there is one."""
    error = np.abs(case.predicted.pixels - case.truth.pixels)
    return float(np.percentile(error if case.region is None else error[case.region], 99.5))


def _chosen(scores: Scores, metric: str) -> list[tuple[str, dict[Any, Any]]]:
    """Return (rank, row) of the cases that are drawn."""
    ordered = scores.cases.sort_values(metric, ascending=metric_of(metric).direction == "lower", kind="stable")
    last = len(ordered) - 1
    ranks = {0: "best", last: "worst"} if last else {0: "only"}
    places = dict.fromkeys([0, last // 2, last])
    return [(ranks.get(place, "median"), ordered.iloc[place].to_dict()) for place in places]


def _load(rank: str, row: dict[Any, Any], job: TargetJob, policy: Policy) -> _Loaded:
    case: CaseFiles = next(case for case in job.cases if case.id == row["case"])
    images = job.load(case)
    truth, mask = images.truth, images.mask
    region = mask_of(mask, truth) if isinstance(mask, Image) else own_region(truth.pixels, policy)
    scale = scale_of_truth(truth.pixels, policy, region, truth.name)

    def shown(image: Image) -> Image:
        own = region if scale is not None or mask is not None else own_region(image.pixels, policy)
        return replace(image, pixels=on_common_scale(image.pixels, policy, own, image.name, scale).astype(np.float32))

    inputs = {name: read(case.files[name]) for name in job.given_in(case)}
    return _Loaded(rank, row, inputs, shown(images.predictions[TRANSLATOR]), shown(truth), region, images)


def _figure(case: _Loaded, target: str, policy: Policy, title: str, values: Mapping[str, float], limit: float) -> bytes:
    source, given = next(iter(case.inputs.items()))
    if case.truth.spatial_dims == 3 and not case.truth.channels:
        lesions = case.images.lesions
        volume = Volume(
            {name: image for name, image in case.inputs.items() if image.shape == case.truth.shape},
            case.predicted,
            case.truth,
            case.region,
            None if lesions is None else lesions.pixels != 0,
            slice_axis_of(case.truth, policy),
        )
        return montage(
            volume,
            value_range=policy.limits,
            error_limit=limit,
            target=target,
            title=title,
            scores=values,
            unit=policy.unit or "",
        )
    return case_figure(
        given,
        case.predicted,
        case.truth,
        value_range=policy.limits,
        title=title,
        scores=values,
        unit=policy.unit or "",
        error_limit=limit,
        slice_axis=slice_axis_of(case.truth, policy) if case.truth.spatial_dims == 3 else 2,
        names=(source, f"{target}, predicted", f"{target}, true"),
    )


def write_montages(folder: Path, pictures: Mapping[str, Sequence[CasePicture]]) -> None:
    """Write montage-TARGET-RANK.png for every picture of a volume, and take away those of an evaluation before.

    Raises:
        UserError: the folder cannot be written.
    """
    for old in folder.glob("montage-*.png"):
        old.unlink()
    for target, each in pictures.items():
        for picture in each:
            if picture.is_montage:
                with atomic_path(folder / f"montage-{target}-{picture.rank}.png") as temporary:
                    temporary.write_bytes(picture.png)
