"""Evaluate a run: its translator and its baselines on the cases of one split, in the files' own grid and unit."""

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas

from transmodal.datasets.manifest import CaseFiles
from transmodal.datasets.preparation import ModalityPreparation, SliceSettings
from transmodal.errors import UserError
from transmodal.evaluation.baselines import Baselines, fit_baselines
from transmodal.evaluation.files import write_evaluation
from transmodal.evaluation.groups import check_grouping, choose_groupings, group_table, with_cuts
from transmodal.evaluation.pairs import on_common_scale, own_region, slice_axis_of
from transmodal.evaluation.report import lead_metric
from transmodal.evaluation.resources import Resources, fit_pristine_model, open_resources
from transmodal.evaluation.scores import CaseImages, CaseToScore, Scores, complete_policy, score_cases
from transmodal.evaluation.sets import SetFeatures
from transmodal.images import Image, read
from transmodal.metrics import metric_of
from transmodal.metrics.policy import Policy
from transmodal.reporting.figures import case_figure, plain_number
from transmodal.training.run import Run
from transmodal.translation import Translator, load_translator

TRANSLATOR = "translator"


@dataclass(frozen=True)
class CasePicture:
    """The picture of a case that stands for others.

    Attributes:
        rank: "best", "median" or "worst".
        case: its name.
        caption: what to read beneath it.
        png: the file's bytes.
    """

    rank: str
    case: str
    caption: str
    png: bytes


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
    """

    run: Run
    scores: dict[str, Scores]
    groups: dict[str, pandas.DataFrame]
    pictures: dict[str, list[CasePicture]]
    report: Path
    groupings: Sequence[Sequence[str]] = ()
    options: tuple[str, ...] = ()


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
    workers: int = 1,
    device: str = "cpu",
    on_progress: Callable[[str, int, int], None] | None = None,
) -> RunEvaluation:
    """Score a run and write RUN/evaluation/ and RUN/report.html.

    The translator works without its noise z, so that the same run always has the same scores.

    Args:
        folder: of the run.
        split: which cases: "test", "validation" or "train".
        policy: replaces the recipe's; what is open is taken from the target's intensity map.
        fid_weights: Inception weights, for FID and KID.
        niqe_model: a pristine model for NIQE; None fits one on the training cases' truths when NIQE is asked for.
        lpips_weights: the weights of LPIPS' network.
        lpips_linear: its learnt weights of channels, where they are a file apart.
        groupings: factors to group by, crossed within each, as `groups.parse_grouping` gives them ("weight@20,25" is
            weight cut at 20 and 25); empty takes what the manifest offers.
        workers: threads that read and score.
        device: on which the translator works.
        on_progress: called with (what, done, of how many).

    Raises:
        UserError: no run, no translator, no complete case in the split, a metric lacks its file, or no case could be
            scored.
    """
    from transmodal.evaluation.run_report import write_report

    run = Run.open(folder)
    for names in groupings:
        check_grouping(run.manifest.factors, names)
    translator = load_translator(run.model, device=device)
    scores, groups, pictures = {}, {}, {}
    chosen_policy = policy or run.recipe.evaluation
    files = {
        "fid_weights": fid_weights,
        "niqe_model": niqe_model,
        "lpips_weights": lpips_weights,
        "lpips_linear": lpips_linear,
    }
    for target in run.recipe.targets:
        job = _Target(run, translator, target, split, chosen_policy, workers, on_progress)
        scores[target] = with_cuts(job.score(files), groupings)
        chosen = [tuple(names) for names in groupings] or choose_groupings(scores[target])
        groups[target] = group_table(scores[target], chosen)
        pictures[target] = job.pictures(scores[target])
    write_evaluation(run.evaluation, scores, groups, {"run": run.name, "recipe": run.recipe.name})
    options = _options(chosen_policy, run.recipe.evaluation, groupings, files)
    evaluation = RunEvaluation(run, scores, groups, pictures, run.report, groupings, options)
    write_report(evaluation, translator.card)
    return evaluation


def _options(
    policy: Policy, own: Policy, groupings: Sequence[Sequence[str]], files: Mapping[str, str | Path | None]
) -> tuple[str, ...]:
    """Return the options of the command line that make this evaluation again."""
    words: list[str] = []
    if (policy.metrics, policy.sets) != (own.metrics, own.sets):
        words += ["--metrics", ",".join((*policy.metrics, *(policy.sets if policy.sets != own.sets else ())))]
    for factors in groupings:
        words += ["--group-by", ",".join(factors)]
    for name, file in files.items():
        words += [] if file is None else [f"--{name.replace('_', '-')}", str(file)]
    return tuple(words)


class _Target:
    """One target modality of one run on one split."""

    def __init__(
        self,
        run: Run,
        translator: Translator,
        target: str,
        split: str,
        policy: Policy,
        workers: int,
        on_progress: Callable[[str, int, int], None] | None,
    ) -> None:
        self.run, self.translator, self.target, self.split, self.workers = run, translator, target, split, workers
        self.progress = on_progress or (lambda what, done, total: None)
        preparation = translator.card.preparation
        self.policy = policy_for_target(policy, preparation.modalities[target], preparation.slices)
        modalities = [*run.recipe.inputs, target]
        mask = self.policy.mask
        self.mask_modality = None if mask in ("none", "foreground") else mask
        if self.mask_modality is not None and self.mask_modality not in modalities:
            modalities.append(self.mask_modality)
        self.cases = run.manifest.cases(modalities, split=split)
        if not self.cases:
            raise UserError(
                f"{run.folder} has no {split} case with {', '.join(modalities)}; choose another split with --split, "
                "or train on a manifest that has one"
            )
        self.training = run.manifest.cases(modalities, split="train")
        # torch has one set of threads and one random state: translations take turns, reading and scoring do not.
        self.turn = threading.Lock()
        self.baselines: Baselines | None = None
        self.not_in_baselines: dict[str, str] = {}

    def score(self, files: Mapping[str, str | Path | None]) -> Scores:
        """Fit the baselines, score every case, gather set-level features."""
        first = self._first_truth()
        policy = complete_policy(self.policy, first)
        self.policy = policy
        resources = self._opened(files)
        self.baselines = self._fitted_baselines(policy)
        features = SetFeatures(policy, resources.extractor)
        features.prepare(first, policy)
        done: list[str] = []

        def advance(case: str) -> None:
            done.append(case)
            self.progress(f"{self.target}: scoring", len(done), len(self.cases))

        scores = score_cases(
            [
                CaseToScore(case.id, case.subject, lambda case=case: self.load(case), case.factors)  # type: ignore[misc]
                for case in self.cases
            ],
            policy,
            resources=resources,
            workers=self.workers,
            split=self.split,
            gather=features,
            on_progress=advance,
        )
        return replace(scores, sets=features.results(), not_in_baselines=tuple(self.not_in_baselines.items()))

    def _opened(self, files: Mapping[str, str | Path | None]) -> Resources:
        """Open what the metrics need; NIQE's model is fitted on the training truths where none is given."""
        model: Any = files["niqe_model"]
        if model is None and "niqe" in self.policy.metrics:
            name = f"{self.target} of the training cases"
            model = fit_pristine_model([case.files[self.target] for case in self.training], self.policy, name)
        return open_resources(self.policy, **{**files, "niqe_model": model})

    def _first_truth(self) -> Image:
        """Return the first truth that can be read; one bad file is no reason to score none."""
        problem = None
        for case in self.cases:
            try:
                return read(case.files[self.target])
            except UserError as error:
                problem = problem or error
        raise problem or UserError("There is no case to score; check the split")

    def load(self, case: CaseFiles) -> CaseImages:
        """Read a case and let every system predict."""
        given = {modality: read(case.files[modality]) for modality in self.run.recipe.inputs}
        truth = read(case.files[self.target])
        with self.turn:
            predicted = self.translator.translate_case(given)[self.target]
        first = next(iter(given.values()))
        others = self.baselines.predict(first, truth) if self.baselines else {}
        mask = read(case.files[self.mask_modality]) if self.mask_modality else None
        return CaseImages({TRANSLATOR: predicted, **others}, truth, mask)

    def pictures(self, scores: Scores) -> list[CasePicture]:
        """Draw the best, the median and the worst case, all with one error scale."""
        metric = lead_metric(scores)
        ordered = scores.cases.sort_values(metric, ascending=metric_of(metric).direction == "lower", kind="stable")
        places = dict.fromkeys([0, (len(ordered) - 1) // 2, len(ordered) - 1])
        ranks = {0: "best", len(ordered) - 1: "worst"} if len(ordered) > 1 else {0: "only"}
        by_id = {case.id: case for case in self.cases}
        loaded = []
        for place in places:
            row = ordered.iloc[place]
            case = by_id[str(row["case"])]
            images = self.load(case)
            predicted, truth = (self._shown(image) for image in (images.predictions[TRANSLATOR], images.truth))
            loaded.append(
                (ranks.get(place, "median"), row, read(case.files[self.run.recipe.inputs[0]]), predicted, truth)
            )
        errors = [float(np.percentile(np.abs(made.pixels - true.pixels), 99.5)) for *_, made, true in loaded]
        limit = max(errors) or 0.25 * self.policy.data_range
        drawn = []
        for rank, row, given, predicted, truth in loaded:
            values = {name: float(row[name]) for name in scores.columns if name in (metric, "ssim", "mae")}
            png = case_figure(
                given,
                predicted,
                truth,
                value_range=self.policy.limits,
                title=f"{rank}: {row['case']}" if rank != "only" else str(row["case"]),
                scores=values,
                unit=self.policy.unit or "",
                error_limit=limit,
                slice_axis=slice_axis_of(truth, self.policy) if truth.spatial_dims == 3 else 2,
                names=(self.run.recipe.inputs[0], f"{self.target}, predicted", f"{self.target}, true"),
            )
            factors = ", ".join(f"{name} {row[name]}" for name in scores.factors if row[name])
            numbers = ", ".join(f"{metric_of(name).title} {plain_number(value)}" for name, value in values.items())
            standing = f", the {rank} case by {metric_of(metric).title}" if rank != "only" else ""
            caption = f"{row['case']}{standing}: {numbers}"
            drawn.append(CasePicture(rank, str(row["case"]), caption + (f" ({factors})." if factors else "."), png))
        return drawn

    def _fitted_baselines(self, policy: Policy) -> Baselines | None:
        """Fit the baselines on the training cases that are still there and sound; None where there is none."""
        bad = self.not_in_baselines
        current = ""

        def pairs() -> Iterator[tuple[Image, Image]]:
            nonlocal current
            for number, case in enumerate(self.training, 1):
                current = case.id
                try:
                    pair = read(case.files[self.run.recipe.inputs[0]]), read(case.files[self.target])
                except UserError as error:
                    bad[case.id] = str(error)
                else:
                    yield pair
                self.progress(f"{self.target}: fitting baselines", number, len(self.training))

        try:
            return fit_baselines(pairs(), policy, on_bad=lambda error: bad.update({current: str(error)}))
        except UserError:
            if len(bad) < len(self.training):
                raise
            return None

    def _shown(self, image: Image) -> Image:
        pixels = on_common_scale(image.pixels, self.policy, own_region(image.pixels, self.policy), image.name)
        return replace(image, pixels=pixels.astype(np.float32))


def policy_for_target(policy: Policy, target: ModalityPreparation, slices: SliceSettings | None = None) -> Policy:
    """Return the policy with what it leaves open filled in as the translator was trained.

    Range, unit, scale and mask come from the target's intensity map, the direction of slices from `slices`.
    """
    own_scale = "percentile" if target.intensity.depends_on_image else "physical"
    scale = policy.scale or own_scale
    limits = policy.range or (target.intensity.low, target.intensity.high)
    chosen = {
        "scale": scale,
        "mask": policy.mask or ("foreground" if target.intensity.foreground else "none"),
        "range": None if scale == "percentile" else limits,
        "unit": policy.unit or target.quantity,
        "slices": policy.slices or (slices.axis if slices is not None and policy.slice_axis is None else None),
    }
    return Policy(**(policy.model_dump() | chosen))
