"""Which metrics and which weights of WAEM the words of a command line ask for; shared by `evaluate` and `score`."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from transmodal.metrics.policy import Policy


def named_metrics(metrics: str | None, conventions: list[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the metrics of images and those of sets that are asked for."""
    from transmodal.errors import UserError, nearest
    from transmodal.metrics import METRICS
    from transmodal.metrics import conventions as known_conventions

    known = known_conventions()
    asked = [name.strip() for name in (metrics or "").split(",") if name.strip()]
    for convention in conventions:
        if convention not in known:
            raise UserError(f"There is no convention {convention!r}; {nearest(convention, known)}")
        asked += [name for name in known[convention] if name not in asked]
    if metrics is None and not conventions:
        asked = ["mse", "mae", "nrmse", "psnr", "ssim"]
    if asked and all(name in METRICS and METRICS[name].level == "set" for name in asked):
        raise UserError(f"{asked[0]} is a score of whole sets; name a metric of images too, for example --metrics "
                        f"psnr,{asked[0]}")  # fmt: skip
    sets = tuple(name for name in asked if name in METRICS and METRICS[name].level == "set")
    return tuple(name for name in asked if name not in sets), sets


def chosen_policy(
    own: "Policy",
    metrics: str | None,
    conventions: list[str],
    *,
    slice_pixels: int | None = None,
    lesions: str | None = None,
    areas: str | None = None,
    makes_labels: bool = False,
) -> "Policy | None":
    """Return a run's own policy with what `evaluate` was asked to change in it; None where that is nothing.

    Raises:
        UserError: a metric, a convention or a value is none, or metrics of label maps are asked for of images.
    """
    from pydantic import ValidationError

    from transmodal.errors import UserError
    from transmodal.evaluation.run import problem_in_words
    from transmodal.metrics import METRICS
    from transmodal.metrics.policy import Policy

    changes: dict[str, Any] = {}
    if metrics is not None or conventions:
        of_images, of_sets = named_metrics(metrics, conventions)
        of_labels = [name for name in of_images if name in METRICS and METRICS[name].level == "labels"]
        if of_labels and METRICS[own.metrics[0]].level != "labels" and not makes_labels:
            raise UserError(
                f"--metrics: {of_labels[0]} needs label maps, and the targets of this run are images; --segment "
                "MODALITY compares a segmenter's Dice on them, 'transmodal score' compares label maps"
            )
        changes |= {"metrics": of_images, "sets": of_sets or own.sets}
    if lesions is not None:
        changes["lesions"] = None if lesions == "none" else lesions
    if areas is not None:
        try:
            changes["areas"] = tuple(float(edge) for edge in areas.split(","))
        except ValueError as error:
            raise UserError(f"--areas {areas}: write rising numbers with commas, as 50,100") from error
    if slice_pixels is not None:
        changes["slice_pixels"] = slice_pixels
    try:
        return Policy(**(own.model_dump() | changes)) if changes else None
    except ValidationError as error:
        raise UserError(f"{problem_in_words(error)}; see 'transmodal evaluate --help'") from error


def named_weights(file: Path | None, raw: str | None) -> Path | list[float] | None:
    """Return the file of fitted weights, or the five raw ones, or None.

    Raises:
        UserError: both are given, the file is none, or one of the five is no number.
    """
    from transmodal.errors import UserError

    if file is not None and raw is not None:
        raise UserError("--waem and --waem-weights are two ways to say one thing; give one of them")
    if raw is None:
        if file is not None:
            from transmodal.evaluation.waem import Waem  # with SciPy's statistics

            Waem.load(file)  # refuse a wrong file before anything is scored
        return file
    try:
        weights = [float(part) for part in raw.split(",")]
    except ValueError as error:
        raise UserError(f"--waem-weights takes five numbers a,b,c,d,e, not {raw!r}") from error
    if len(weights) != 5:
        raise UserError(f"--waem-weights takes five numbers a,b,c,d,e and {len(weights)} were given; 0 leaves one out")
    return weights
