"""One label map of one run on one split: scored as images are, by other metrics, against other baselines."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from transmodal.datasets.label_classes import LabelClasses
from transmodal.datasets.labels import require_label_map
from transmodal.datasets.manifest import CaseFiles
from transmodal.errors import UserError
from transmodal.evaluation.scoring import Gatherer
from transmodal.evaluation.segmentation_baselines import SegmentationBaselines, fit_segmentation_baselines
from transmodal.evaluation.segmentation_scores import SegmentationDetails, SegmentedCase
from transmodal.evaluation.target import TargetJob
from transmodal.images import Image, read
from transmodal.images.reorientation import label_map_onto
from transmodal.metrics import METRICS
from transmodal.metrics.policy import Policy

LABEL_METRICS = ("dice", "hd95", "volume_error", "relative_volume_error")


class SegmentationJob(TargetJob):
    """One target that is a label map."""

    def policy_of(self, asked: Policy) -> Policy:
        """Return the policy in the classes of the target; metrics of images, where none were chosen, become others."""
        preparation = self.translator.card.preparation
        metrics = asked.metrics
        if metrics == Policy().metrics:
            sized = self._has_size()
            metrics = tuple(name for name in LABEL_METRICS if sized or "spacing" not in METRICS[name].options)
        wrong = [name for name in metrics if METRICS[name].level != "labels"]
        if wrong:
            raise UserError(
                f"{wrong[0]} compares images, and {self.target} is a label map; take {', '.join(LABEL_METRICS)}"
            )
        axis = preparation.slices.axis if preparation.slices is not None else "axial"
        chosen = {
            "metrics": metrics,
            "sets": (),
            "labels": (),
            "classes": {each.name: each.values for each in preparation.classes_of(self.target).classes},
            "scale": "physical",
            "percentiles_of": None,
            "mask": asked.mask or "none",
            "unit": "label",
            "clip": False,
            "slices": asked.slices or (axis if asked.slice_axis is None else None),
        }
        return Policy(**(asked.model_dump() | chosen))

    def gatherer(self, first: Image, earlier: Any) -> Gatherer:
        require_label_map(first)
        lesions = self.run.recipe.segmentation.lesion_classes(self.target)
        details: SegmentationDetails = earlier or SegmentationDetails(
            self.translator.card.preparation.classes_of(self.target), lesions
        )
        return details

    def set_scores(self) -> Mapping[str, Mapping[str, Any]]:
        return {system: {} for system in self.features.systems}

    def load(self, case: CaseFiles) -> SegmentedCase:
        images = super().load(case)
        require_label_map(images.truth)
        return SegmentedCase(images.predictions, images.truth, images.mask, None, case.id, case.subject, case.session)

    def truth_of(self, case: CaseFiles, given: Mapping[str, Image]) -> Image:
        """Return the true label map with its axes as those of the inputs, whose grid a label map takes."""
        return label_map_onto(read(case.files[self.target]), next(iter(given.values())))

    def label_maps_by(self, case: CaseFiles, given: Mapping[str, Image], ways: Sequence[LabelClasses]) -> list[Image]:
        """Return the label map of a case for each of several ways to decide."""
        own = self._own_region(case)
        with self.turn:
            return self.translator.label_maps_by(given, self.target, ways, mask=own, options=self.asked.options)

    def fitted_baselines(
        self,
        pairs: Iterator[tuple[Any, ...]],
        source_range: tuple[float, float],
        on_bad: Callable[[UserError], None],
    ) -> SegmentationBaselines | None:
        classes = self.translator.card.preparation.classes_of(self.target)
        return fit_segmentation_baselines(((pair[0], pair[1]) for pair in pairs), classes, source_range, on_bad)

    def _has_size(self) -> bool:
        """Say whether the truths tell their pixel size, by the first that can be read."""
        for case in self.run.manifest.cases():
            try:
                if self.target in case.files:
                    return read(case.files[self.target]).has_physical_size
            except UserError:
                continue
        return True
