"""Scores of images that any program made: files, or folders matched by name or by a table, of one or more systems."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from transmodal.errors import UserError
from transmodal.evaluation.input_doubts import InputDoubts
from transmodal.evaluation.matching import Matched, match
from transmodal.evaluation.parallel import MANY
from transmodal.evaluation.resources import Resources, open_resources
from transmodal.evaluation.scores import Scores
from transmodal.evaluation.scoring import CaseImages, CaseToScore, complete_policy, score_cases
from transmodal.evaluation.sets import SetFeatures
from transmodal.images import Image, read
from transmodal.metrics.policy import Policy

SYSTEM = "predicted"
_LARGE_IMAGE = 1 << 22  # pixels; it keeps a thread out of Python long enough


def score(
    predicted: Image | str | Path,
    truth: Image | str | Path,
    *,
    range: tuple[float, float] | None = None,
    mask: Image | str | Path | None = None,
    policy: Policy | None = None,
    resources: Resources | None = None,
    workers: int = 1,
) -> Scores:
    """Score images made by any program, as `transmodal score` does.

    Args:
        predicted: an image, a file, or a folder.
        truth: the same kind.
        range: (low, high) of the values, in their unit. There is no default: a PSNR without a range means nothing.
        mask: of the same kind, non-zero inside.
        policy: everything else about the comparison; `range` is laid over it. Its set-level metrics need folders.
        resources: the models that NIQE, LPIPS, FID and KID need; see `evaluation.resources.open_resources`.
        workers: threads, for folders.

    Raises:
        UserError: no range, other grids, NaN, no partners, mixed kinds, or a metric without its file.
    """
    settings = (policy or Policy(sets=())).model_dump()
    try:
        stated = Policy(**(settings | ({"range": range} if range is not None else {})))
    except ValueError as error:
        raise UserError(f"range {range}: give two finite numbers, low before high") from error
    if not isinstance(predicted, Image) and not isinstance(truth, Image) and not isinstance(mask, Image):
        return score_folders(predicted, truth, stated, mask=mask, resources=resources, workers=workers)
    if not (isinstance(predicted, Image) and isinstance(truth, Image) and isinstance(mask, Image | None)):
        raise UserError("Images and files are mixed; give images in memory for all, or paths for all")
    if mask is not None:
        stated = _masked(stated)
    case = CaseToScore(truth.name, truth.name, lambda: CaseImages({SYSTEM: predicted}, truth, mask))
    return score_cases([case], complete_policy(stated, truth), resources=resources or open_resources(stated))


def score_folders(
    predicted: str | Path,
    truth: str | Path,
    policy: Policy,
    *,
    against: Mapping[str, str | Path] | None = None,
    mask: str | Path | None = None,
    subject_of: Callable[[str], str] | None = None,
    resources: Resources | None = None,
    workers: int = 1,
    on_progress: Callable[[int, int], None] | None = None,
) -> Scores:
    """Score every image of a folder against the one of the same stem in another; or one file against another.

    Args:
        predicted: a folder of images, or one image.
        truth: likewise.
        policy: must state the range unless its scale is "percentile" or no metric needs one.
        against: name → folder of further systems, scored on the same cases.
        mask: a folder or file of masks, non-zero inside, matched likewise. Every truth needs one.
        subject_of: stem → subject, for intervals over subjects; None takes each image for a subject of its own.
        resources: the models that metrics need.
        workers: threads.
        on_progress: called with (cases done, cases in all).

    Raises:
        UserError: a path is missing, nothing has a partner, two files share a stem, or no pair could be scored.
    """
    systems = {SYSTEM: Path(predicted), **{name: Path(folder) for name, folder in (against or {}).items()}}
    matched = match(systems, Path(truth), None if mask is None else Path(mask))
    return score_matched(
        matched, policy, subject_of=subject_of, resources=resources, workers=workers, on_progress=on_progress
    )


def score_matched(
    matched: Matched,
    policy: Policy,
    *,
    subject_of: Callable[[str], str] | None = None,
    resources: Resources | None = None,
    workers: int = 1,
    processes: bool = False,
    on_progress: Callable[[int, int], None] | None = None,
    on_doubt: Callable[[str], None] | None = None,
) -> Scores:
    """Score cases whose files are known.

    Args:
        matched: of `matching.match` or `matching.match_by_table`.
        policy: as in `score_folders`.
        subject_of: case → subject, before what `matched` says.
        resources: the models that metrics need; None opens what needs no file.
        workers: how many work at the same time.
        processes: whether many small images may be scored by processes; the program that calls must then be one that
            can be started again by its name, as every module with a guarded main can.
        on_progress: called with (cases done, cases in all).
        on_doubt: called at the end with each line about images that look wrong; see `evaluation.input_doubts`.

    Raises:
        UserError: as `score_folders`.
    """
    resources = open_resources(policy) if resources is None else resources
    first = _first_truth(matched)
    policy = complete_policy(_masked(policy) if matched.has_masks else policy, first)
    features = None
    if policy.sets:
        features = SetFeatures(policy, resources.extractor)
        features.prepare(first, policy)
    doubts = InputDoubts(features)
    total, done = len(matched.cases), 0

    def advance(case: str) -> None:
        nonlocal done
        done += 1
        if on_progress is not None:
            on_progress(done, total)

    scores = score_cases(
        _cases(matched, subject_of),
        policy,
        resources=resources,
        workers=min(workers, total),
        processes=(
            processes
            and total >= MANY
            and first.pixels.size < _LARGE_IMAGE
            and not resources.has_network  # threads share one network; each process would hold its own
        ),
        gather=doubts,
        on_progress=advance,
    )
    if on_doubt is not None:
        for doubt in doubts.in_words(scores.policy):
            on_doubt(doubt)
    sets = {} if features is None else features.results()
    return replace(scores, failed=scores.failed + matched.alone, sets=sets)


def completed_policy(policy: Policy, matched: Matched) -> Policy:
    """Return the policy with unit and dimension of the first readable truth.

    Raises:
        UserError: no range, or no truth can be read.
    """
    return complete_policy(_masked(policy) if matched.has_masks else policy, _first_truth(matched))


@dataclass(frozen=True)
class _Files:
    """Reads the images of one case; unlike a closure, it can be sent to another process."""

    systems: tuple[str, ...]
    predictions: tuple[str, ...]
    truth: str
    mask: str
    lesions: str = ""

    def __call__(self) -> CaseImages:
        made = {name: read(path) for name, path in zip(self.systems, self.predictions, strict=True)}
        mask, lesions = (read(file) if file else None for file in (self.mask, self.lesions))
        return CaseImages(made, read(self.truth), mask, lesions)


def _cases(matched: Matched, subject_of: Callable[[str], str] | None) -> Iterator[CaseToScore]:
    for case in matched.cases:
        subject = subject_of(case.case) if subject_of else case.subject or case.case
        files = _Files(matched.systems, case.predictions, case.truth, case.mask, case.lesions)
        yield CaseToScore(case.case, subject, files, case.factors)


def _first_truth(matched: Matched) -> Image:
    """Return the first truth that can be read; one bad file is no reason to score none."""
    problem: UserError | None = None
    for case in matched.cases:
        try:
            return read(case.truth)
        except UserError as error:
            problem = problem or error
    if problem is None and matched.alone:
        problem = UserError(matched.alone[0][1])
    raise problem or UserError("There is no image to score; check the folders")


def _masked(policy: Policy) -> Policy:
    return policy.model_copy(update={"mask": "mask"}) if policy.mask in (None, "none") else policy
