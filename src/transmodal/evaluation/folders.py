"""Scores of images that any program made: two files, or two folders matched by the stem of their names."""

from collections.abc import Callable, Iterator
from pathlib import Path

from transmodal.errors import UserError
from transmodal.evaluation.scores import CaseImages, CaseToScore, Scores, complete_policy, score_cases
from transmodal.images import Image, is_image_file, read
from transmodal.images.formats import stem_of
from transmodal.metrics.policy import Policy

SYSTEM = "predicted"


def score(
    predicted: Image | str | Path,
    truth: Image | str | Path,
    *,
    range: tuple[float, float] | None = None,
    mask: Image | str | Path | None = None,
    policy: Policy | None = None,
    workers: int = 1,
) -> Scores:
    """Score images made by any program, as `transmodal score` does.

    Args:
        predicted: an image, a file, or a folder.
        truth: the same kind.
        range: (low, high) of the values, in their unit. There is no default: a PSNR without a range means nothing.
        mask: of the same kind, non-zero inside.
        policy: everything else about the comparison; `range` is laid over it.
        workers: threads, for folders.

    Raises:
        UserError: no range, other grids, NaN, no partners, mixed kinds.
    """
    settings = (policy or Policy()).model_dump()
    try:
        stated = Policy(**(settings | ({"range": range} if range is not None else {})))
    except ValueError as error:
        raise UserError(f"range {range}: give two finite numbers, low before high") from error
    if not isinstance(predicted, Image) and not isinstance(truth, Image) and not isinstance(mask, Image):
        return score_folders(predicted, truth, stated, mask=mask, workers=workers)
    if not (isinstance(predicted, Image) and isinstance(truth, Image) and isinstance(mask, Image | None)):
        raise UserError("Images and files are mixed; give images in memory for all, or paths for all")
    if mask is not None and stated.mask in (None, "none"):
        stated = stated.model_copy(update={"mask": "mask"})
    case = CaseToScore(truth.name, truth.name, lambda: CaseImages({SYSTEM: predicted}, truth, mask))
    return score_cases([case], complete_policy(stated, truth))


def score_folders(
    predicted: str | Path,
    truth: str | Path,
    policy: Policy,
    *,
    mask: str | Path | None = None,
    subject_of: Callable[[str], str] | None = None,
    workers: int = 1,
    on_progress: Callable[[str], None] | None = None,
) -> Scores:
    """Score every image of a folder against the one of the same stem in another; or one file against another.

    Args:
        predicted: a folder of images, or one image.
        truth: likewise.
        policy: must state the range unless its scale is "percentile".
        mask: a folder or file of masks, non-zero inside, matched likewise. Every truth needs one.
        subject_of: stem → subject, for intervals over subjects; None takes each image for a subject of its own.
        workers: threads.
        on_progress: called with each finished stem.

    Raises:
        UserError: a path is missing, nothing has a partner, two files share a stem, or no pair could be scored.
    """
    pairs, alone = match(Path(predicted), Path(truth))
    masks = None if mask is None else match_masks(Path(mask), pairs)
    if masks is not None and policy.mask in (None, "none"):
        policy = policy.model_copy(update={"mask": "mask"})

    policy = _completed(policy, pairs)

    def cases() -> Iterator[CaseToScore]:
        for stem, (made, true) in pairs.items():
            yield CaseToScore(
                stem,
                subject_of(stem) if subject_of else stem,
                lambda made=made, true=true, stem=stem: CaseImages(  # type: ignore[misc]
                    {SYSTEM: read(made)}, read(true), None if masks is None else _read_mask(masks.get(stem), true)
                ),
            )

    scores = score_cases(cases(), policy, workers=workers, on_progress=on_progress)
    if not alone:
        return scores
    return Scores(
        scores.policy, scores.table, scores.factors, scores.split, scores.failed + alone, scores.sets, scores.seed
    )


def match(predicted: Path, truth: Path) -> tuple[dict[str, tuple[Path, Path]], tuple[tuple[str, str], ...]]:
    """Pair two files, or the files of two folders by stem.

    Returns:
        Stem → (predicted, truth), sorted; and (stem, why) of the predictions that have no truth. Truths without
        a prediction are listed as well: a program that drops its worst cases must not score better for it.

    Raises:
        UserError: a path is missing, one is a file and the other a folder, or nothing matches.
    """
    for path in (predicted, truth):
        if not path.exists():
            raise UserError(f"There is no {path}; check the path")
    if predicted.is_file() != truth.is_file():
        raise UserError(f"{predicted} and {truth} must be two files or two folders; name two of a kind")
    if predicted.is_file():
        return {stem_of(truth): (predicted, truth)}, ()
    made, true = images_of(predicted), images_of(truth)
    both = sorted(made.keys() & true.keys())
    if not both:
        example = f"{min(made)} against {min(true)}" if made and true else "one of them holds no image"
        raise UserError(
            f"No image of {predicted} has a partner of the same name in {truth} ({example}); "
            "rename the files so that their names before the suffix agree"
        )
    alone = [(stem, f"{made[stem]} has no partner in {truth}") for stem in sorted(made.keys() - true.keys())]
    alone += [(stem, f"{true[stem]} has no partner in {predicted}") for stem in sorted(true.keys() - made.keys())]
    return {stem: (made[stem], true[stem]) for stem in both}, tuple(alone)


def match_masks(mask: Path, pairs: dict[str, tuple[Path, Path]]) -> dict[str, Path]:
    """Return stem → mask file.

    Raises:
        UserError: the path is missing or no mask has the stem of a truth.
    """
    if not mask.exists():
        raise UserError(f"There is no {mask}; check the path")
    if mask.is_file():
        if len(pairs) > 1:
            raise UserError(f"{mask} is one mask for {len(pairs)} images; give a folder of masks")
        return dict.fromkeys(pairs, mask)
    masks = images_of(mask)
    if not masks.keys() & pairs.keys():
        raise UserError(f"No mask in {mask} has the name of an image; rename them to agree before the suffix")
    return masks


def images_of(folder: Path) -> dict[str, Path]:
    """Return stem → image file of a folder, not of those below it.

    Raises:
        UserError: two images share a stem.
    """
    found: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        if path.name.startswith(".") or not path.is_file() or not is_image_file(path):
            continue
        stem = stem_of(path)
        if stem in found:
            raise UserError(f"{found[stem].name} and {path.name} in {folder} have one name; leave one of them there")
        found[stem] = path
    return found


def _completed(policy: Policy, pairs: dict[str, tuple[Path, Path]]) -> Policy:
    """Return the policy with unit and dimension of the first readable truth; a missing range is told before scoring.

    Raises:
        UserError: no range, or no truth can be read.
    """
    unreadable: UserError | None = None
    for _, true in pairs.values():
        try:
            first = read(true)
        except UserError as error:
            unreadable = unreadable or error
            continue
        return complete_policy(policy, first)
    raise unreadable or UserError("There is no image to score; check the folders")


def _read_mask(path: Path | None, truth: Path) -> Image:
    if path is None:
        raise UserError(f"{truth} has no mask; add one of the same name or leave the mask out")
    return read(path)
