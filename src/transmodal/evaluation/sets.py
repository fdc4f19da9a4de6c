"""Set-level scores: how far the whole set of predictions lies from the whole set of truths.

FNSD needs no weights, but ten images; FID and KID need the weights of an Inception network in a file that the user
names. FNSD and FID are biased upwards for few images; KID is not, but varies. N stands beside every value.
"""

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from transmodal.evaluation.policy_application import pictures_of, slice_axis_of
from transmodal.evaluation.resources import FID_REMEDY
from transmodal.evaluation.scoring import CaseImages
from transmodal.images import Image
from transmodal.metrics.frechet import FeatureExtractor, FrechetStatistics, frechet_distance
from transmodal.metrics.natural_scene import BLOCK, FEATURES, fnsd_of, natural_scene_features
from transmodal.metrics.policy import Policy

TRUTH = "truth"
# A covariance of 36 features from fewer than 37 blocks is singular, and near that from some more; and the blocks of a
# few images tell of these images and not of what a system does: with two, a blurred mean may win.
FEWEST_IMAGES, FEWEST_BLOCKS = 10, 2 * FEATURES
_BATCH = 256  # cases whose vectors wait before they go into FID's covariance
NO_RANGE = "not available: the range of the values is needed; give --range LOW HIGH"


@dataclass
class CaseFeatures:
    """Features of one case's images, of each system and of the truth.

    Attributes:
        images: how many pictures each gave.
        scene: statistics of natural-scene features.
        network: features of the extractor, (pictures, D).
        problem: why there are no natural-scene features; "" where there are.
    """

    images: dict[str, int] = field(default_factory=dict)
    scene: dict[str, FrechetStatistics] = field(default_factory=dict)
    network: dict[str, npt.NDArray[np.float32]] = field(default_factory=dict)
    problem: str = ""


class SetFeatures:
    """Gathers features of every system's images and of the truths, case by case, and ends in distances."""

    def __init__(self, policy: Policy, extractor: FeatureExtractor | None = None, *, seed: int = 0) -> None:
        """Prepare to gather.

        Args:
            policy: its sets are what is gathered for; it may be incomplete until the first case comes.
            extractor: of features for FID and KID; None does without them.
            seed: of KID's subsets.
        """
        self.policy, self.seed = policy, seed
        self._extractor = extractor if {"fid", "kid"} & set(policy.sets) else None
        self._block = 0
        self._images: dict[str, int] = {}
        self._scene: dict[str, FrechetStatistics] = {}
        self._network: dict[str, FrechetStatistics] = {}
        self._vectors: dict[str, list[npt.NDArray[np.float32]]] = {}  # KID compares each with each
        self._problem = ""
        self._turn = threading.Lock()  # a network works with all cores already

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "_turn"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, _turn=threading.Lock())

    def prepare(self, truth: Image, policy: Policy) -> None:
        """Take the size of blocks from a first image, so that it does not depend on which worker is faster."""
        if not self._block:
            across = slice_axis_of(truth, policy) if truth.spatial_dims == 3 else None
            sides = [length for axis, length in enumerate(truth.shape) if axis != across]
            self._block = min(BLOCK, min(sides) // 2 * 2)

    def add(self, images: CaseImages, policy: Policy) -> None:
        """Take in one case, under the complete policy that it was scored with."""
        self.join(self.of_case(images, policy))

    def of_case(self, images: CaseImages, policy: Policy) -> CaseFeatures:
        """Return the features of one case's images."""
        features = CaseFeatures()
        if policy.range is None:
            features.problem, features.images = NO_RANGE, dict.fromkeys(images.predictions, 0)
            return features
        self.prepare(images.truth, policy)
        for name, image in (*images.predictions.items(), (TRUTH, images.truth)):
            pictures = pictures_of(image, policy, images.truth)
            features.images[name] = len(pictures)
            if "fnsd" in policy.sets:
                self._add_scene(features, name, pictures, policy.data_range)
            if self._extractor is not None:
                # As `frechet_score` does: the network knows no values beyond its range.
                with self._turn:
                    parts = [
                        self._extractor(np.clip(picture, *policy.limits)[None], limits=policy.limits)
                        for picture in pictures
                    ]
                features.network[name] = np.concatenate(parts).astype(np.float32)
        return features

    def join(self, kept: CaseFeatures) -> None:
        """Take in the features of one case."""
        self._problem = self._problem or kept.problem
        for name, number in kept.images.items():
            self._images[name] = self._images.get(name, 0) + number
        for name, statistics in kept.scene.items():
            self._scene.setdefault(name, FrechetStatistics()).merge(statistics)
        for name, vectors in kept.network.items():
            self._vectors.setdefault(name, []).append(vectors)
            if "kid" not in self.policy.sets and len(self._vectors[name]) >= _BATCH:
                self._network[name] = self._statistics(name)
                self._vectors[name] = []

    def results(self) -> dict[str, dict[str, Any]]:
        """Return system → {"fnsd": …, "fid": …, "kid": …}, each with value or reason, N and features."""
        found = {"fnsd": self._fnsd, "fid": self._fid, "kid": self._kid}
        return {
            name: {score: found[score](name) for score in self.policy.sets} for name in self._images if name != TRUTH
        }

    def _add_scene(
        self, features: CaseFeatures, name: str, pictures: list[npt.NDArray[np.float32]], data_range: float
    ) -> None:
        statistics = features.scene.setdefault(name, FrechetStatistics())
        for picture in pictures:
            try:
                statistics.update(natural_scene_features(picture, data_range=data_range, block=self._block))
            except ValueError as error:
                features.problem = str(error)
                return

    def _fnsd(self, name: str) -> dict[str, Any]:
        made, true = (self._scene.get(key, FrechetStatistics()) for key in (name, TRUTH))
        if self._problem or (few := _too_few(self._images[name], min(made.count, true.count))):
            return {"value": None, "n": self._images[name], "reason": f"not available: {self._problem or few}"}
        return {
            "value": float(fnsd_of(made, true)),
            "n": self._images[name],
            "features": f"natural-scene statistics of {made.count} and {true.count} blocks of {self._block} pixels",
        }

    def _statistics(self, name: str) -> FrechetStatistics:
        """Return mean and covariance of all vectors so far: many taken in at once, since each time costs (D, D)."""
        statistics = FrechetStatistics()
        statistics.merge(self._network.get(name, FrechetStatistics()))
        if self._vectors[name]:
            statistics.update(np.concatenate(self._vectors[name]))
        return statistics

    def _fid(self, name: str) -> dict[str, Any]:
        if self._extractor is None or self._problem == NO_RANGE:
            return {"value": None, "reason": self._problem if self._problem == NO_RANGE else FID_REMEDY}
        made, true = self._statistics(name), self._statistics(TRUTH)
        if min(made.count, true.count) < 2:
            return {"value": None, "reason": "not available: it needs two images or more"}
        return {
            "value": float(frechet_distance(made.mean, made.covariance, true.mean, true.covariance)),
            **self._about(name),
        }

    def _kid(self, name: str) -> dict[str, Any]:
        if self._extractor is None or self._problem == NO_RANGE:
            return {"value": None, "reason": self._problem if self._problem == NO_RANGE else FID_REMEDY}
        from transmodal.metrics.kid import KidFeatures

        gathered = []
        for key in (name, TRUTH):
            features = KidFeatures()
            for vectors in self._vectors[key]:
                features.update(vectors)
            gathered.append(features)
        try:
            score = gathered[0].score(gathered[1], seed=self.seed)
        except ValueError as error:
            return {"value": None, "reason": f"not available: {error}"}
        return {
            "value": float(score.value),
            "sd": None if score.sd is None else float(score.sd),
            **self._about(name),
            "subsets": int(score.subsets),
            "subset_size": int(score.subset_size),
        }

    def _about(self, name: str) -> dict[str, Any]:
        assert self._extractor is not None
        return {"n": self._images[name], "features": self._extractor.name, "sha256": self._extractor.sha256}


def _too_few(images: int, blocks: int) -> str:
    """Say what a natural-scene distance lacks; "" where there is enough."""
    if images >= FEWEST_IMAGES and blocks >= FEWEST_BLOCKS:
        return ""
    here = f"{images} image{'s' * (images != 1)} and {blocks} block{'s' * (blocks != 1)}"
    return f"below {FEWEST_IMAGES} images or {FEWEST_BLOCKS} textured blocks it is chance; here are {here}"


def describe_set_score(name: str, score: Mapping[str, Any]) -> str:
    """Return one set-level score with its N, or why there is none."""
    if score.get("value") is None:
        return f"{name.upper()} {reason_of(score)}"
    digest = f", weights SHA-256 {score['sha256']}" if score.get("sha256") else ""
    subsets = f"; {score['subsets']} subsets of {score['subset_size']}" if score.get("subsets") else ""
    return f"{name.upper()} {score['value']:.4g} (N = {score['n']}{subsets}; {score['features']}{digest})"


def reason_of(score: Mapping[str, Any]) -> str:
    """Return why a set-level score is not there: "not available: …"."""
    return str(score.get("reason", "not available"))


def said_once(
    sets: Mapping[str, Mapping[str, Mapping[str, Any]]], about: Callable[[Mapping[str, Any]], str]
) -> list[str]:
    """Return a sentence for all scores and systems of which the same is to be said.

    Args:
        sets: system → name of a score → what `SetFeatures.results` holds of it.
        about: how a sentence goes on after the names; "" where there is nothing to say.
    """
    systems: dict[tuple[str, str], list[str]] = {}
    for system, values in sets.items():
        for name, score in values.items():
            systems.setdefault((name, about(score)), []).append(system)
    names: dict[tuple[str, tuple[str, ...]], list[str]] = {}
    for (name, said), of in systems.items():
        names.setdefault((said, tuple(of)), []).append(name.upper())
    return [
        " and ".join(each) + (f" of {', '.join(of)}" if len(of) < len(sets) else "") + said.rstrip(".") + "."
        for (said, of), each in names.items()
        if said
    ]
