"""Evaluate a run: its translator and its baselines on the cases of one split, in the files' own grid and unit."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pandas
from pydantic import ValidationError

from transmodal.errors import UserError
from transmodal.evaluation.asked import Asked, Progress, inputs_for, policy_for_target
from transmodal.evaluation.combinations import Combinations, score_combinations
from transmodal.evaluation.command_line import options_in_words
from transmodal.evaluation.files import files_in, write_combinations, write_downstream, write_evaluation
from transmodal.evaluation.folds import FOLD, pool_folds
from transmodal.evaluation.groups import check_grouping, choose_groupings, group_table, with_cuts
from transmodal.evaluation.other_data import OtherData, with_other_data
from transmodal.evaluation.pictures import CasePicture, case_pictures, write_montages
from transmodal.evaluation.scores import Scores, for_json
from transmodal.evaluation.segmentation_files import with_areas, write_segmentation
from transmodal.evaluation.segmentation_job import SegmentationJob
from transmodal.evaluation.segmentation_pictures import segmentation_pictures
from transmodal.evaluation.segmentation_scores import SegmentationDetails
from transmodal.evaluation.segmenter import STEPS, downstream_of
from transmodal.evaluation.target import TRANSLATOR, NoCases, TargetJob
from transmodal.evaluation.thresholds import choose_thresholds
from transmodal.metrics.policy import Policy
from transmodal.training.cross_validation import CrossValidation
from transmodal.training.recipe import Recipe
from transmodal.training.run import Run
from transmodal.translation import Translator, load_translator
from transmodal.translation.devices import choose_device
from transmodal.translation.options import Options

OTHER_DATA, FOLDS = "other-data", "folds"

__all__ = ["TRANSLATOR", "RunEvaluation", "evaluate", "evaluate_run", "policy_for_target"]


@dataclass(frozen=True)
class _KeptElsewhere(Run):
    """A run whose evaluation and report lie in another folder, so that its own stay as they are."""

    kept: Path

    @property
    def evaluation(self) -> Path:
        return self.kept / "evaluation"

    @property
    def report(self) -> Path:
        return self.kept / "report.html"


@dataclass(frozen=True)
class RunEvaluation:
    """All that one evaluation found out.

    Attributes:
        run: the run.
        scores: target → scores of the translator and of the baselines.
        groups: target → table of groups.
        pictures: target → best, median and worst case.
        report: the HTML file.
        groupings: factors that the user asked to group by, crossed within each.
        options: words of the command line that this evaluation depends on, beside the run and the split.
        folds: the runs of a cross-validation, whose folder `run` then is; empty for one run.
        combinations: scores of every combination of inputs, where they were asked for.
        downstream: target → table of a segmenter's Dice on synthetic and on real images, where it was asked for.
        skipped: target → why it was not evaluated: no case of the split has it.
        taken_away: files of an evaluation before that this one has no such files to put in place of.
        segmentations: target → by size, lesion by lesion and visit by visit, where the target is a label map.
        data: what was scored instead of the run's own cases.
        thresholds: fold → class → threshold, where they were chosen by cross-validation.
    """

    run: Run
    scores: dict[str, Scores]
    groups: dict[str, pandas.DataFrame]
    pictures: dict[str, list[CasePicture]]
    report: Path
    groupings: Sequence[Sequence[str]] = ()
    options: tuple[str, ...] = ()
    folds: tuple[Run, ...] = ()
    combinations: Combinations | None = None
    downstream: Mapping[str, pandas.DataFrame] = field(default_factory=dict)
    skipped: Mapping[str, str] = field(default_factory=dict)
    taken_away: tuple[str, ...] = ()
    segmentations: Mapping[str, SegmentationDetails] = field(default_factory=dict)
    data: OtherData | None = None
    thresholds: Mapping[str, Mapping[str, float]] = field(default_factory=dict)


def evaluate(run: Run | str | Path, *, split: str = "test", **options: Any) -> Scores:
    """Score a run as `transmodal evaluate` does, write its report, and return the scores of its first target.

    Args:
        run: a run or its folder.
        split: which cases: "test", "validation" or "train".
        options: of `evaluate_run`.

    Raises:
        UserError: as `evaluate_run`.
    """
    evaluation = evaluate_run(run.folder if isinstance(run, Run) else run, split=split, **options)
    return next(iter(evaluation.scores.values()))


def evaluate_run(
    folder: str | Path,
    *,
    split: str = "test",
    policy: Policy | None = None,
    fid_weights: str | Path | None = None,
    niqe_model: str | Path | None = None,
    lpips_weights: str | Path | None = None,
    lpips_linear: str | Path | None = None,
    groupings: Sequence[Sequence[str]] = (),
    given: Sequence[str] | None = None,
    combinations: bool = False,
    segment: str | None = None,
    segment_steps: int | None = None,
    workers: int = 1,
    device: str = "cpu",
    translation: Options | None = None,
    beside: Sequence[str] = (),
    on_progress: Progress | None = None,
    into: str | Path | None = None,
    data: str | Path | None = None,
    thresholds_by_folds: bool = False,
) -> RunEvaluation:
    """Score a run and write RUN/evaluation/ and RUN/report.html.

    A target that no case of the split has is left out and named in `skipped`.
    The translator works without its noise z, so that the same run always has the same scores.

    Args:
        folder: of the run, or of a cross-validation, whose folds are pooled: each subject is scored with the translator
            that did not see it, and `fold` is a factor.
        split: which cases: "test", "validation" or "train"; of a cross-validation "test" alone.
        policy: replaces the recipe's; what is open is taken from the target's intensity map.
        fid_weights: Inception weights, for FID and KID.
        niqe_model: a pristine model for NIQE; None fits one on the training cases' truths when NIQE is asked for.
        lpips_weights: the weights of LPIPS' network.
        lpips_linear: its learnt weights of channels, where they are a file apart.
        groupings: factors to group by, crossed within each, as `groups.parse_grouping` gives them ("weight@20,25" is
            weight cut at 20 and 25); empty takes what the manifest offers.
        given: the inputs that a translator with missing inputs gets; None gives all that a case has. A modality is
            never made of itself.
        combinations: score every combination of inputs as well, and write evaluation/combinations.csv.
        segment: a modality of label maps: train a segmenter on the real targets of the training subjects, compare its
            Dice on synthetic and on real ones, and write evaluation/downstream.csv.
        segment_steps: of its training; None takes `segmenter.STEPS`.
        workers: threads that read and score.
        device: on which the translator works, as `load_translator` takes it.
        translation: how its network is run; None runs it as `transmodal translate` does without options.
        beside: modalities whose images, in the target's unit and on its grid, are scored as baselines too: a TV
            reconstruction beside a restoration.
        on_progress: called with (what, done, of how many).
        into: a folder for evaluation/ and report.html instead of the run's own, which then stay as they are; of other
            `data` RUN/other-data where it is None.
        data: a manifest of other data, whose test split is scored, or all of whose cases where it has none, instead of
            the run's own.
        thresholds_by_folds: of a cross-validation that makes label maps: decide those of each fold by the thresholds
            with the best Dice on the other folds, see `thresholds`.

    Raises:
        UserError: no run, no translator, no complete case in the split for any target, a metric lacks its file, no
            case could be scored, or a subject of the other data had a part in the training.
    """
    from transmodal.evaluation.run_report import write_report

    if combinations and given is not None:
        raise UserError("--combinations scores every choice of inputs, and --given makes one; give one of the two")
    device = choose_device(device)
    run, runs = _opened(folder, split)
    other = None if data is None else _other_data(run, runs, data, split)
    if other is not None:
        run, runs, into = other.run, [other.run], into or run.folder / OTHER_DATA
    parts = [(each, load_translator(each.model, device=device)) for each in runs]
    if segment is not None and _label_maps(parts[0][1]):
        raise UserError(f"{run.name} makes label maps, which need no segmenter; leave --segment out")
    if thresholds_by_folds and (len(parts) < 2 or not _label_maps(parts[0][1])):
        raise UserError(
            f"--threshold folds is for the cross-validation of a segmentation, which {run.name} is not; give numbers, "
            "as tumour=0.3"
        )
    for names in groupings:
        check_grouping([*run.manifest.factors, *([FOLD] if len(runs) > 1 else [])], names)
    scores, groups, pictures, segmentations = {}, {}, {}, dict[str, SegmentationDetails]()
    skipped: dict[str, str] = {}
    files = {
        "fid_weights": fid_weights,
        "niqe_model": niqe_model,
        "lpips_weights": lpips_weights,
        "lpips_linear": lpips_linear,
    }
    inputs = None if given is None else tuple(given)
    chosen_policy, progress = policy or run.recipe.evaluation, on_progress or Asked.on_progress
    dims = parts[0][1].card.preparation.spatial_dims
    if translation is not None and any(axis >= dims for axis in translation.flips or ()):
        raise UserError(f"Samples of {run.name} have the axes 0 to {dims - 1}; flip along these")
    asked = Asked(split, chosen_policy, inputs, files, workers, progress, translation or Options(), tuple(beside))
    by_part: list[dict[str, TargetJob]] = [{} for _ in parts]
    thresholds: dict[str, dict[str, float]] = {}
    for target in targets_of(parts[0][1], given):
        try:
            jobs = _jobs(parts, target, asked)
            if thresholds_by_folds:
                thresholds = choose_thresholds([job for job in jobs if isinstance(job, SegmentationJob)])
            own = _scored([job for job in jobs if job is not None])
        except NoCases as error:
            skipped[target] = str(error)
            continue
        for of_part, job in zip(by_part, jobs, strict=True):
            if job is not None:
                of_part[target] = job
        scores[target] = with_cuts(own, groupings)
        chosen = [tuple(names) for names in groupings] or choose_groupings(scores[target])
        groups[target] = group_table(scores[target], chosen)
        if target in _label_maps(parts[0][1]):
            segmentations[target] = next(job.features for job in reversed(jobs) if job is not None)
        job_of = {case.id: job for job in jobs if job is not None for case in job.cases}
        draw = segmentation_pictures if target in segmentations else case_pictures
        pictures[target] = draw(scores[target], job_of)
    if not scores:
        raise UserError(next(iter(skipped.values())))
    table = None
    if combinations:
        table = score_combinations(
            [part for part in by_part if part], scores, workers=workers, on_progress=asked.on_progress
        )
    downstream = {}
    if segment is not None:
        for target in scores:
            downstream[target] = downstream_of(
                [of_part[target] for of_part in by_part if target in of_part],
                segment,
                steps=segment_steps or STEPS,
                device=device,
                on_progress=asked.on_progress,
            )
    about: dict[str, Any] = {"run": run.name, "recipe": run.recipe.name}
    how = parts[0][1].filled_in(asked.options)
    about |= {"translation": how.to_json()} if how != Options(flips=()) else {}
    about |= {"not_evaluated": skipped} if skipped else {}
    about |= {} if other is None else {"data": str(other)}
    about |= {"thresholds": thresholds} if thresholds else {}
    for target, details in segmentations.items():
        about["segmentation"] = for_json(details.to_json(scores[target].policy))
    if into is not None:
        run = _KeptElsewhere(run.folder, run.recipe, run.manifest, Path(into))
    before = files_in(run.evaluation)
    sized = {target: with_areas(table, segmentations.get(target), scores[target]) for target, table in groups.items()}
    write_evaluation(run.evaluation, scores, sized, about)
    write_segmentation(run.evaluation, segmentations)
    write_combinations(run.evaluation, table)
    write_downstream(run.evaluation, downstream)
    write_montages(run.evaluation, pictures)
    options = options_in_words(asked, run.recipe.evaluation, groupings)
    options += ("--combinations",) if combinations else ()
    options += () if segment is None else ("--segment", segment)
    options += () if segment_steps is None else ("--segment-steps", str(segment_steps))
    options += () if other is None else ("--data", str(other.manifest))
    options += ("--threshold", FOLDS) if thresholds else ()
    folds = tuple(runs) if len(runs) > 1 else ()
    evaluation = RunEvaluation(
        run, scores, groups, pictures, run.report, groupings, options, folds, table, downstream, skipped,
        tuple(sorted(before - files_in(run.evaluation))), segmentations, other, thresholds,
    )  # fmt: skip
    write_report(evaluation, parts[0][1].card)
    return evaluation


def recipe_of(folder: str | Path) -> Recipe:
    """Return the recipe of a run or cross-validation; a UserError where the folder is neither."""
    if CrossValidation.is_at(folder):
        return CrossValidation.open(folder).recipe
    return Run.open(folder).recipe


def problem_in_words(error: ValidationError) -> str:
    """Return the first thing that is wrong with a policy, as an option of the command line and what is said of it."""
    problem = error.errors()[0]
    message = problem["msg"].removeprefix("Value error, ")
    if problem["loc"]:
        return f"--{str(problem['loc'][0]).replace('_', '-')}: {message}"
    first, _, rest = message.partition(" ")  # of several fields; the sentence opens with the one at fault
    return f"--{first.replace('_', '-')} {rest}" if first in Policy.model_fields else message


def _opened(folder: str | Path, split: str) -> tuple[Run, list[Run]]:
    """Return what is evaluated, and the run or the runs of its folds."""
    if not CrossValidation.is_at(folder):
        run = Run.open(folder)
        return run, [run]
    whole = CrossValidation.open(folder)
    if split != "test":
        raise UserError(f"{folder} is a cross-validation, of which test subjects are pooled; leave --split out, or "
                        f"evaluate one fold, such as {whole.run_folder(1)}")  # fmt: skip
    return Run(whole.folder, whole.recipe, whole.manifest), whole.runs()


def _other_data(run: Run, runs: Sequence[Run], data: str | Path, split: str) -> OtherData:
    if CrossValidation.is_at(run.folder):
        raise UserError(f"{run.folder} is a cross-validation, and --data scores one translator; give it one fold, such "
                        f"as {runs[0].folder}")  # fmt: skip
    if split != "test":
        raise UserError(f"--data scores the test split of other data, or all of it where it has none; leave --split "
                        f"{split} out")  # fmt: skip
    return with_other_data(run, data)


def _jobs(parts: Sequence[tuple[Run, Translator]], target: str, asked: Asked) -> list[TargetJob | None]:
    """Return what is to be scored of one target, of the run or of each fold; None for a fold without a case."""
    jobs, nothing = list[TargetJob | None](), ""
    for run, translator in parts:
        told = asked if len(parts) == 1 else replace(asked, on_progress=_naming(run.name, asked.on_progress))
        kind = SegmentationJob if target in _label_maps(translator) else TargetJob
        try:
            jobs.append(kind(run, translator, target, told))
        except NoCases as error:
            jobs.append(None)
            nothing = nothing or str(error)
        except ValidationError as error:  # what the target fills in does not go with what was asked for
            raise UserError(f"{run.name}, {target}: {problem_in_words(error)}") from error
    if not any(jobs):
        raise NoCases(nothing)
    return jobs


def _scored(jobs: Sequence[TargetJob]) -> Scores:
    """Score one target of the run, or of all folds under the policy of the first."""
    found: dict[str, Scores] = {}
    before: TargetJob | None = None
    for job in jobs:
        if before is not None:
            job.policy = before.policy
        found[job.run.name] = job.score(before.features if before is not None else None)
        before = job
    return next(iter(found.values())) if len(found) == 1 else pool_folds(found)


def _label_maps(translator: Translator) -> list[str]:
    """Return the targets that are label maps."""
    return [name for name in translator.card.targets if translator.card.preparation.modalities[name].labels is not None]


def _naming(name: str, on_progress: Progress) -> Progress:
    return lambda what, done, total: on_progress(f"{name}, {what}", done, total)


def targets_of(translator: Translator, given: Sequence[str] | None) -> list[str]:
    """Return the targets that can be made of what is given.

    Raises:
        UserError: there is none, or what is given is no input.
    """
    targets = [target for target in translator.card.targets if inputs_for(translator, target, given)]
    if not targets:
        raise UserError(
            f"{translator.card.name} makes {', '.join(translator.card.targets)}, and nothing else is given; name "
            "another input with --given"
        )
    return targets
