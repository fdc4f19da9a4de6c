"""What some scores need beside the images: a pristine model for NIQE, a network for LPIPS, one for FID and KID.

Each is opened once, before anything is scored, so that a missing file is told at the start; what was opened stands in
every summary, because a NIQE under another model or an LPIPS of another network is another score.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from transmodal.errors import UserError
from transmodal.evaluation.policy_application import pictures_of
from transmodal.images import read
from transmodal.metrics.frechet import FeatureExtractor
from transmodal.metrics.policy import Policy

NIQE_REMEDY = (
    "it needs a pristine model; add --niqe-model FILE (NIQE's published niqe_pris_params.npz, or one of yours), or "
    "--niqe-fit DIR with sharp real images"
)
LPIPS_REMEDY = (
    "it needs the weights of its network, which are not shipped; save the state dict of the package 'lpips' and add "
    "--lpips-weights FILE, or torchvision's AlexNet, and the package's linear layers as --lpips-linear FILE"
)
FID_REMEDY = (
    "not available: the weights of an Inception network are needed, which are not shipped; get "
    "pt_inception-2015-12-05-6726825d.pth from the release 'fid_weights' of mseitzer/pytorch-fid on GitHub and add "
    "--fid-weights FILE"
)
MOST_FITTED_IMAGES = 200  # more change a pristine model little and take long


@dataclass(frozen=True)
class Resources:
    """What is open.

    Attributes:
        niqe_model: a `metrics.niqe.PristineModel`, or None.
        lpips_network: a `metrics.lpips.LpipsNetwork`, or None.
        extractor: of features for FID and KID, or None.
    """

    niqe_model: Any = None
    lpips_network: Any = None
    extractor: FeatureExtractor | None = None

    @property
    def has_network(self) -> bool:
        """Whether a network works on every image; it is then opened once and shared by threads."""
        return self.lpips_network is not None or self.extractor is not None

    def describe(self) -> dict[str, dict[str, Any]]:
        """Return name → what it is, as `summary.json` holds it: the name and the digest of its file."""
        opened = {"niqe": self.niqe_model, "lpips": self.lpips_network, "features": self.extractor}
        return {
            name: {"name": str(each.name), "sha256": str(each.sha256)}
            | ({"block": int(each.block)} if hasattr(each, "block") else {})
            for name, each in opened.items()
            if each is not None
        }


def resources_in_words(resources: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Return one sentence for each thing that `Resources.describe` names, for tables and reports."""
    titles = {"niqe": "NIQE's pristine model", "lpips": "LPIPS' network", "features": "FID and KID's features"}
    sentences = []
    for name, about in resources.items():
        block = f", blocks of {about['block']} pixels" if about.get("block") else ""
        digest = f", SHA-256 {about['sha256']}" if about.get("sha256") else ""
        sentences.append(f"{titles.get(name, name)}: {about['name']}{block}{digest}.")
    return sentences


def open_resources(
    policy: Policy,
    *,
    fid_weights: str | Path | None = None,
    niqe_model: Any = None,
    lpips_weights: str | Path | None = None,
    lpips_linear: str | Path | None = None,
) -> Resources:
    """Open what the policy's metrics need, and the extractor where its weights are given.

    Args:
        policy: says which metrics are asked for; it need not be complete.
        fid_weights: state dict of the Inception network; without it FID and KID say why they are not there.
        niqe_model: a pristine model, or the file of one.
        lpips_weights: state dict of the network.
        lpips_linear: state dict of the learnt weights of the channels, where the network's file has none.

    Raises:
        UserError: a metric that is asked for lacks its file, or a file is missing or holds something else.
    """
    model = network = None
    if "niqe" in policy.metrics:
        if niqe_model is None:
            raise UserError(f"NIQE cannot be had: {NIQE_REMEDY}")
        model = open_pristine_model(niqe_model) if isinstance(niqe_model, str | Path) else niqe_model
    if "lpips" in policy.metrics:
        if lpips_weights is None:
            raise UserError(f"LPIPS cannot be had: {LPIPS_REMEDY}")
        network = open_lpips_network(lpips_weights, lpips_linear)
    return Resources(model, network, None if fid_weights is None else open_extractor(fid_weights))


def open_extractor(weights: str | Path) -> FeatureExtractor:
    """Open the Inception network that FID and KID need.

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


def open_pristine_model(path: str | Path) -> Any:
    """Open NIQE's published parameters or a model that was fitted here.

    Raises:
        UserError: the file is missing or holds something else.
    """
    from transmodal.metrics.niqe import PristineModel

    if not Path(path).is_file():
        raise UserError(f"There is no file {path} for NIQE; {NIQE_REMEDY}")
    try:
        return PristineModel.load(path)
    except (ValueError, OSError) as error:
        raise UserError(f"{path} cannot be used for NIQE: {error}") from error


def open_lpips_network(weights: str | Path, linear: str | Path | None = None) -> Any:
    """Open the network of LPIPS.

    Raises:
        UserError: the file is missing or holds something else.
    """
    from transmodal.metrics.lpips import LpipsNetwork

    for file in (weights, linear):
        if file is not None and not Path(file).is_file():
            raise UserError(f"There is no file {file} for LPIPS; {LPIPS_REMEDY}")
    try:
        return LpipsNetwork(weights, linear=linear)
    except (ValueError, OSError) as error:
        raise UserError(f"{weights} cannot be used for LPIPS: {error}") from error


def fit_pristine_model(paths: Iterable[Path], policy: Policy, name: str) -> Any:
    """Fit NIQE's pristine model on real images, under the policy that will be scored by.

    Args:
        paths: of real images; unreadable ones are passed over. At most 200, evenly spaced, are read.
        policy: complete, with a range.
        name: whose images they are, printed beside every NIQE.

    Raises:
        UserError: there is no image, or they have too few blocks with texture.
    """
    from transmodal.metrics.niqe import PristineModel

    every = list(paths)
    step = max(1, -(-len(every) // MOST_FITTED_IMAGES))
    chosen = every[::step]

    def pictures() -> Iterator[np.ndarray[Any, Any]]:
        for path in chosen:
            try:
                image = read(path)
                yield from pictures_of(image, policy)
            except UserError:
                continue

    first = next(pictures(), None)
    if first is None:
        raise UserError(f"NIQE's pristine model cannot be fitted: there is no readable image of {name}")
    count = f"{len(chosen)} images" if step == 1 else f"{len(chosen)} of {len(every)} images"
    block = niqe_block(*first.shape)
    problem: ValueError | None = None
    for side in sorted({block, max(16, block // 4 * 2), 16}, reverse=True):  # few images need smaller blocks
        try:
            return PristineModel.fit(
                pictures(), data_range=policy.data_range, name=f"fitted on {name} ({count})", block=side
            )
        except ValueError as error:
            problem = problem or error
    raise UserError(f"NIQE's pristine model cannot be fitted on {name}: {problem}")


def niqe_block(rows: int, columns: int) -> int:
    """Return NIQE's block of 96 pixels, or the largest even one of which two lie in the picture, at least 16."""
    block = 96
    while block > 16 and (rows // block) * (columns // block) < 2:
        block -= 2
    return block
