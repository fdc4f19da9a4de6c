"""One target modality of one run on one split: which cases, what each is given, what is made of it."""

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from transmodal.datasets.manifest import CaseFiles
from transmodal.errors import UserError
from transmodal.evaluation.asked import Asked, inputs_for, mask_of, policy_for_target, require_beside
from transmodal.evaluation.baselines import beside, fit_baselines
from transmodal.evaluation.resources import Resources, fit_pristine_model, open_resources
from transmodal.evaluation.scores import Scores
from transmodal.evaluation.scoring import CaseImages, CaseToScore, Gatherer, complete_policy, score_cases
from transmodal.evaluation.sets import SetFeatures
from transmodal.images import Image, read, require_same_grid
from transmodal.metrics.policy import Policy
from transmodal.training.run import Run
from transmodal.translation import Translator

TRANSLATOR = "translator"


class Predictor(Protocol):
    """Baselines of one run, ready to predict."""

    def predict(
        self, input: Image, truth: Image, region: npt.NDArray[np.bool_] | None = None, /
    ) -> Mapping[Any, Image]:
        """Return each baseline's prediction on the truth's grid."""
        ...


class NoCases(UserError):
    """No case of the split has this target; others may have theirs."""


class TargetJob:
    """One target modality of one run on one split."""

    def __init__(self, run: Run, translator: Translator, target: str, asked: Asked) -> None:
        """Find the cases.

        Args:
            run: whose manifest and recipe say what there is.
            translator: of the run.
            target: which modality is made.
            asked: see `Asked`.

        Raises:
            NoCases: no case of the split can be translated to this target.
            UserError: another modality is nowhere.
        """
        self.run, self.translator, self.target, self.asked = run, translator, target, asked
        card = translator.card
        self.policy = self.policy_of(asked.policy)
        self.inputs = inputs_for(translator, target, asked.given)
        mask = self.policy.mask
        self.mask_modality = None if mask in ("none", "foreground") else mask
        needed = [target, *(() if card.missing_inputs else self.inputs)]
        needed += [self.mask_modality] if self.mask_modality is not None else []
        if self.policy.looks_for_own_mask:
            run.manifest.require_modalities([str(self.policy.own_mask)])
        run.manifest.require_modalities([*needed, *([self.policy.lesions] if self.policy.lesions else [])])
        require_beside(asked.beside, run.manifest)
        self.needed = needed
        self.cases = self._cases(asked.split)
        if not self.cases:
            beside = "" if not card.missing_inputs else f" and one of {', '.join(self.inputs)}"
            raise NoCases(
                f"{run.manifest.name} has no {asked.split} case with {', '.join(needed)}{beside}; choose another split "
                "with --split, or train on a manifest that has one"
            )
        self.training = self._cases("train")
        # torch has one set of threads and one random state: translations take turns, reading and scoring do not.
        self.turn = threading.Lock()
        self.baselines: dict[str, Predictor] = {}
        self.not_in_baselines: dict[str, str] = {}
        self.features: Any = None
        self.resources: Resources | None = None

    def policy_of(self, asked: Policy) -> Policy:
        """Return what an evaluation asks for with what it leaves open filled in as the translator was trained."""
        preparation = self.translator.card.preparation
        policy = policy_for_target(asked, preparation.modalities[self.target], preparation.slices)
        if policy.mask != "foreground" or policy.own_mask is not None:
            return policy
        own = preparation.region.modality if preparation.region is not None else None
        there = own in self.run.manifest.modalities
        return policy.model_copy(update={"own_mask": own if there else "none"})

    def mask_name(self, case: CaseFiles) -> str | None:
        """Return the modality that is the mask of a case: the policy's, or its own; None where the policy finds one."""
        name = self.policy.own_mask if self.policy.looks_for_own_mask else self.mask_modality
        return name if name in case.files else None

    def inside_own_mask(self, image: Image, mask: Image | None) -> Image:
        """Return a prediction or a truth as outputs are: background outside a case's own mask.

        A head around the brain would count where a score looks beyond its mask: the windows of SSIM at the rim, VIF,
        scores of whole sets. Where the policy names a mask, or finds it, images stay as they are.
        """
        if mask is None or not self.policy.looks_for_own_mask:
            return image
        pixels = image.pixels.copy()
        pixels[~mask_of(mask, image)] = self.translator.card.preparation.modalities[self.target].outside
        return replace(image, pixels=pixels)

    def score(self, features: Any = None) -> Scores:
        """Fit the baselines, score every case, gather set-level features.

        Args:
            features: of an earlier job, to gather those of both; None begins anew.
        """
        first = self.first_truth()
        self.policy = complete_policy(self.policy, first)
        self.resources = resources = self._opened()
        self.fit_baselines()
        self.features = self.gatherer(first, features)
        done: list[str] = []

        def advance(case: str) -> None:
            done.append(case)
            self.asked.on_progress(f"{self.target}: scoring", len(done), len(self.cases))

        scores = score_cases(
            [
                CaseToScore(case.id, case.subject, lambda case=case: self.load(case), case.factors)  # type: ignore[misc]
                for case in self.cases
            ],
            self.policy,
            resources=resources,
            workers=self.asked.workers,
            split=self.asked.split,
            gather=self.features,
            on_progress=advance,
        )
        return replace(
            scores,
            sets=self.set_scores(),
            not_in_baselines=tuple(self.not_in_baselines.items()),
            inputs=tuple(self.inputs) if self.translator.card.missing_inputs else (),
            in_unit_of_truth=self._in_unit_of_truth(self.target),
        )

    def gatherer(self, first: Image, earlier: Any) -> Gatherer:
        """Return what takes more out of each case than its scores, and is kept as `features`.

        Args:
            first: truth that can be read.
            earlier: that of an earlier job, to go on with; None begins anew.
        """
        assert self.resources is not None
        features: SetFeatures = earlier or SetFeatures(self.policy, self.resources.extractor)
        features.prepare(first, self.policy)
        return features

    def set_scores(self) -> Mapping[str, Mapping[str, Any]]:
        """Return system → set-level scores of what was gathered."""
        found: Mapping[str, Mapping[str, Any]] = self.features.results()
        return found

    def given_in(self, case: CaseFiles) -> list[str]:
        """Return the inputs of a case that the translator gets, in the recipe's order."""
        return [name for name in self.inputs if name in case.files]

    def load(self, case: CaseFiles) -> CaseImages:
        """Read a case and let every system predict."""
        given = {name: read(case.files[name]) for name in self.given_in(case)}
        truth = self.truth_of(case, given)
        mask = self._mask(case)
        lesions = self.policy.lesions
        predicted = self.translate(case, given, [self.target])[self.target]
        predicted = self.in_unit_of_truth(predicted, truth, self.target, self.looked_at(case, given))
        source, first = next(iter(given.items()))
        others: dict[str, Image] = {}
        if source in self.baselines:
            region = None if mask is None else mask_of(mask, truth)
            others = dict(self.baselines[source].predict(first, truth, region))
        for modality in self.asked.beside:
            if modality in case.files:
                others[beside(modality)] = self._beside(case, modality, truth)
        made = {TRANSLATOR: predicted, **others}
        return CaseImages(
            {name: self.inside_own_mask(image, mask) for name, image in made.items()},
            self.inside_own_mask(truth, mask),
            mask,
            read(case.files[lesions]) if lesions in case.files else None,
        )

    def truth_of(self, case: CaseFiles, given: Mapping[str, Image]) -> Image:
        """Return the true image of a case."""
        return read(case.files[self.target])

    def translate(self, case: CaseFiles, given: Mapping[str, Image], targets: Sequence[str]) -> dict[str, Image]:
        """Translate a case inside its own mask of the region, where the recipe names one and the case has it."""
        own = self._own_region(case)
        with self.turn:
            return self.translator.translate_case(given, mask=own, targets=targets, options=self.asked.options)

    def in_unit_of_truth(
        self, predicted: Image, truth: Image, target: str, looked_at: npt.NDArray[np.bool_] | None = None
    ) -> Image:
        """Return a prediction in the truth's own unit, where that unit is each image's own and the policy asks for it.

        What the network made is put through the inverse of the truth's intensity map instead of the typical one, which
        is all that a translator has in use.

        Args:
            predicted, truth: of one case.
            target: their modality.
            looked_at: where the intensity map takes its numbers; None: where the truth is not 0.
        """
        if not self._in_unit_of_truth(target):
            return predicted
        intensity = self.translator.card.preparation.modalities[target].intensity
        made = intensity.inverse.apply(predicted.pixels.astype(np.float32))
        pixels = intensity.for_image(truth.pixels, looked_at).invert(made)
        return replace(predicted, pixels=np.where(predicted.pixels == 0, np.float32(0), pixels).astype(np.float32))

    def _in_unit_of_truth(self, target: str) -> bool:
        asked = self.policy.percentiles_of == "truth" and self.policy.scale == "percentile"
        return asked and self.translator.card.preparation.modalities[target].intensity.depends_on_image

    def fit_baselines(self) -> None:
        """Fit the baselines for every input that is some case's first, on the training cases that have it."""
        for source in dict.fromkeys(self.given_in(case)[0] for case in self.cases):
            fitted = self._fitted_baselines(source, [case for case in self.training if source in case.files])
            if fitted is not None:
                self.baselines[source] = fitted

    def _beside(self, case: CaseFiles, modality: str, truth: Image) -> Image:
        image = read(case.files[modality])
        require_same_grid(image, truth)
        if image.channels != truth.channels:
            raise UserError(f"{image.name} has other channels than {truth.name}; leave --beside {modality} out")
        return image

    def _mask(self, case: CaseFiles) -> Image | None:
        name = self.mask_name(case)
        return None if name is None else read(case.files[name])

    def _own_region(self, case: CaseFiles) -> Image | None:
        region = self.translator.card.preparation.region
        return read(case.files[region.modality]) if region is not None and region.modality in case.files else None

    def looked_at(self, case: CaseFiles, given: Mapping[str, Image]) -> npt.NDArray[np.bool_] | None:
        """Return where the preparation's intensity maps look; None where that is all that is not 0."""
        preparation = self.translator.card.preparation
        region = preparation.region
        if region is None or not region.guides_maps(region.modality in case.files):
            return None
        return preparation.find_region(given, self._own_region(case))

    def _cases(self, split: str) -> list[CaseFiles]:
        return [
            case
            for case in self.run.manifest.cases(split=split)
            if all(name in case.files for name in self.needed) and self.given_in(case)
        ]

    def _opened(self) -> Resources:
        """Open what the metrics need; NIQE's model is fitted on the training truths where none is given."""
        files = dict(self.asked.files or {})
        model: Any = files.get("niqe_model")
        if model is None and "niqe" in self.policy.metrics:
            name = f"{self.target} of the training cases"
            model = fit_pristine_model([case.files[self.target] for case in self.training], self.policy, name)
        return open_resources(self.policy, **{**files, "niqe_model": model})

    def first_truth(self) -> Image:
        """Return the first truth that can be read; one bad file is no reason to score none."""
        problem = None
        for case in self.cases:
            try:
                return read(case.files[self.target])
            except UserError as error:
                problem = problem or error
        raise problem or UserError("There is no case to score; check the split")

    def fitted_baselines(
        self,
        pairs: Iterator[tuple[Any, ...]],
        source_range: tuple[float, float],
        on_bad: Callable[[UserError], None],
    ) -> "Predictor | None":
        """Fit the baselines on (input, target, mask) of the training cases; see `fit_baselines`."""
        return fit_baselines(pairs, self.policy, source_range=source_range, on_bad=on_bad)

    def _fitted_baselines(self, source: str, training: Sequence[CaseFiles]) -> "Predictor | None":
        """Fit on the training cases that are still there and sound; None where there is none."""
        bad: dict[str, str] = {}
        current = ""

        def pairs() -> Iterator[tuple[Image, Image, npt.NDArray[np.bool_] | None]]:
            nonlocal current
            for number, case in enumerate(training, 1):
                current = case.id
                try:
                    pair = read(case.files[source]), read(case.files[self.target])
                    mask = self._mask(case)
                    inside = None if mask is None else mask_of(mask, pair[1])
                except UserError as error:
                    bad[case.id] = str(error)
                else:
                    yield (*pair, inside)
                self.asked.on_progress(f"{self.target}: fitting baselines", number, len(training))

        intensity = self.translator.card.preparation.modalities[source].intensity
        try:
            return self.fitted_baselines(
                pairs(), (intensity.low, intensity.high), lambda error: bad.update({current: str(error)})
            )
        except UserError:
            if len(bad) < len(training):
                raise
            return None
        finally:
            self.not_in_baselines |= bad
