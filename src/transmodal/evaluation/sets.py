"""Set-level scores: how far the whole set of predictions lies from the whole set of truths.

FNSD needs no weights and is always there; FID needs the weights of an Inception network in a file that the user names.
Both are biased upwards for few images, so that N stands beside every value.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from transmodal.errors import UserError
from transmodal.evaluation.pairs import on_common_scale, own_region, slice_axis_of
from transmodal.evaluation.scores import CaseImages
from transmodal.images import Image
from transmodal.metrics.frechet import FeatureExtractor, FrechetStatistics, frechet_distance
from transmodal.metrics.natural_scene import BLOCK, natural_scene_features
from transmodal.metrics.policy import Policy
from transmodal.reporting.display import luminance

SLICES = 24  # of a volume, evenly spaced among those that show something
FID_REMEDY = (
    "not available: it needs the weights of an Inception network, which are not shipped; get "
    "pt_inception-2015-12-05-6726825d.pth from the release 'fid_weights' of mseitzer/pytorch-fid on GitHub and add "
    "--fid-weights FILE"
)
TRUTH = "truth"


class SetFeatures:
    """Gathers features of every system's images and of the truths, case by case, and ends in distances."""

    def __init__(self, policy: Policy, fid_weights: str | Path | None = None) -> None:
        """Prepare to gather.

        Args:
            policy: its scale and clipping are applied before features are taken; it may be incomplete until the first
                case is added.
            fid_weights: state dict of the Inception network, or None to do without FID.

        Raises:
            UserError: the file of weights is missing or holds another network.
        """
        self.policy = policy
        self._extractor = None if fid_weights is None else open_extractor(fid_weights)
        self._block = 0
        self._images: dict[str, int] = {}
        self._scene: dict[str, FrechetStatistics] = {}
        self._inception: dict[str, FrechetStatistics] = {}
        self._problem = ""

    def add(self, images: CaseImages, policy: Policy) -> None:
        """Take in one case, under the complete policy that it was scored with."""
        self.policy = policy
        for name, image in (*images.predictions.items(), (TRUTH, images.truth)):
            pictures = _pictures(image, policy)
            self._images[name] = self._images.get(name, 0) + len(pictures)
            self._add_scene(name, pictures)
            if self._extractor is not None:
                statistics = self._inception.setdefault(name, FrechetStatistics())
                for picture in pictures:
                    # As `frechet_score` does: the network knows no values beyond its range.
                    inside = np.clip(picture, *policy.limits)[None]
                    statistics.update(self._extractor(inside, limits=policy.limits))

    def results(self) -> dict[str, dict[str, Any]]:
        """Return system → {"fnsd": …, "fid": …}, each with value or reason, N and features."""
        return {name: {"fnsd": self._fnsd(name), "fid": self._fid(name)} for name in self._images if name != TRUTH}

    def _add_scene(self, name: str, pictures: list[npt.NDArray[np.float32]]) -> None:
        if not self._block:
            self._block = min(BLOCK, min(pictures[0].shape) // 2 * 2)
        statistics = self._scene.setdefault(name, FrechetStatistics())
        for picture in pictures:
            try:
                features = natural_scene_features(picture, data_range=self.policy.data_range, block=self._block)
            except ValueError as error:
                self._problem = str(error)
                return
            statistics.update(features)

    def _fnsd(self, name: str) -> dict[str, Any]:
        made, true = self._scene[name], self._scene[TRUTH]
        few = min(made.count, true.count) < 2
        if self._problem or few:
            return {"value": None, "reason": f"not available: {self._problem or 'fewer than two textured blocks'}"}
        # Each feature counts in units of its spread over the true blocks, as in `metrics.natural_scene.fnsd`.
        scale = 1.0 / np.maximum(np.sqrt(np.diag(true.covariance)), 1e-3)
        stretch = np.outer(scale, scale)
        value = frechet_distance(
            made.mean * scale, made.covariance * stretch, true.mean * scale, true.covariance * stretch
        )
        return {
            "value": float(value),
            "n": self._images[name],
            "features": f"natural-scene statistics of {made.count} and {true.count} blocks of {self._block} pixels",
        }

    def _fid(self, name: str) -> dict[str, Any]:
        if self._extractor is None:
            return {"value": None, "reason": FID_REMEDY}
        made, true = self._inception[name], self._inception[TRUTH]
        if min(made.count, true.count) < 2:
            return {"value": None, "reason": "not available: it needs two images or more"}
        return {
            "value": float(frechet_distance(made.mean, made.covariance, true.mean, true.covariance)),
            "n": self._images[name],
            "features": self._extractor.name,
            "sha256": self._extractor.sha256,
        }


def open_extractor(weights: str | Path) -> FeatureExtractor:
    """Open the Inception network that FID needs.

    Raises:
        UserError: the file is missing or holds something else.
    """
    from transmodal.metrics.inception import InceptionFeatures  # torch, only when asked for

    if not Path(weights).is_file():
        raise UserError(f"There is no file {weights} for FID; name the Inception weights pt_inception-2015-12-05")
    try:
        return InceptionFeatures(weights)
    except (ValueError, OSError) as error:
        raise UserError(f"{weights} cannot be used for FID: {error}") from error


def describe_set_score(name: str, score: Mapping[str, Any]) -> str:
    """Return one set-level score with its N, or why there is none."""
    if score.get("value") is None:
        return f"{name.upper()} {score.get('reason', 'not available')}"
    digest = f", weights SHA-256 {score['sha256']}" if score.get("sha256") else ""
    return f"{name.upper()} {score['value']:.4g} (N = {score['n']}; {score['features']}{digest})"


def _pictures(image: Image, policy: Policy) -> list[npt.NDArray[np.float32]]:
    grey = luminance(image.pixels) if image.channels else image.pixels
    grey = on_common_scale(grey, policy, own_region(grey, policy), image.name)
    if image.spatial_dims == 2:
        return [np.asarray(grey, np.float32)]
    slices = np.moveaxis(grey, slice_axis_of(image, policy), 0)
    step = max(1, len(slices) // SLICES)
    return [np.asarray(part, np.float32) for part in slices[step // 2 :: step]]
