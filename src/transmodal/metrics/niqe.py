"""NIQE: how far the texture of one image lies from that of sharp images, without a true image to compare with.

A. Mittal, R. Soundararajan, A. C. Bovik, "Making a 'completely blind' image quality analyzer", IEEE Signal Processing
Letters 20(3), 2013. The 36 natural-scene features (``natural_scene.py``) of the image's blocks, and those of the blocks
of pristine images, are each seen as one Gaussian:

    NIQE = sqrt((m1 - m2)^T pinv((S1 + S2) / 2) (m1 - m2))

A value means nothing without the pristine model: that published with the paper was fitted on photographs of nature, and
says little of an X-ray. Fit one on the real images that a translator was trained on, and print its name.

Conventions, where published codes leave a choice: covariances are sample covariances (divided by blocks - 1); the
order of blocks does not matter; what is left over of whole blocks at the right and lower border is not looked at; the
border of the image is repeated for local means and mirrored for half size; neighbours are taken around the edge of a
block; grey levels are not rounded; blocks without texture (mean local deviation below 0.1 of 255 grey levels: the air
around a patient) do not count, where the published codes let them in or drop those without a fit.
"""

import hashlib
import io
import json
import math
import os
import tempfile
import zipfile
import zlib
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from transmodal.metrics.frechet import FrechetStatistics
from transmodal.metrics.natural_scene import BLOCK, FEATURES, FLAT, natural_scene_blocks, natural_scene_features

SHARPEST = 0.75  # of an image's sharpest block; blocks above this are taken into a pristine model
FORMAT = "transmodal NIQE pristine model"

_FEWEST_BLOCKS = FEATURES + 1  # fewer give a covariance without full rank, whose missing directions NIQE would not see
_REMEDY = "name the published niqe_pris_params.npz, or a model fitted on real images and saved"


@dataclass(frozen=True, eq=False)
class PristineModel:
    """The Gaussian of natural-scene features of images that are held to be sharp.

    Attributes:
        mean: (36,), in the order of :func:`transmodal.metrics.natural_scene.natural_scene_features`.
        covariance: (36, 36), sample covariance.
        block: side of a block in pixels; an image is scored with the model's own.
        name: what it was fitted on, printed beside every score.
        sharpest: fraction of each image's sharpest block above which blocks were taken; None where nobody said.
        data_range: R of the images of the fit, in their units; None where nobody said.
        images: how many images the fit saw; None where nobody said.
        blocks: how many blocks it kept; None where nobody said.
        sha256: hexadecimal digest of the file that it was read from, or of :meth:`to_bytes` after a fit.
    """

    mean: NDArray[np.float64] = field(repr=False)
    covariance: NDArray[np.float64] = field(repr=False)
    block: int
    name: str
    sharpest: float | None = None
    data_range: float | None = None
    images: int | None = None
    blocks: int | None = None
    sha256: str = ""

    def __post_init__(self) -> None:
        if self.mean.shape != (FEATURES,) or self.covariance.shape != (FEATURES, FEATURES):
            raise ValueError(
                f"a pristine model needs a mean ({FEATURES},) and a covariance ({FEATURES}, {FEATURES}), "
                f"got {self.mean.shape} and {self.covariance.shape}"
            )
        if not (np.isfinite(self.mean).all() and np.isfinite(self.covariance).all()):
            raise ValueError("a pristine model holds NaN or infinite values")
        if not np.allclose(self.covariance, self.covariance.T, rtol=1e-6, atol=1e-12):
            raise ValueError("a pristine model's covariance is not symmetric")
        eigenvalues = np.linalg.eigvalsh(self.covariance)
        if eigenvalues[0] < -1e-6 * abs(eigenvalues[-1]):
            raise ValueError("a pristine model's covariance is not positive semidefinite")

    @classmethod
    def fit(
        cls,
        images: Iterable[Any],
        *,
        data_range: float,
        name: str,
        block: int = BLOCK,
        sharpest: float = SHARPEST,
    ) -> "PristineModel":
        """Fit a model to real images, for instance to those that a translator was trained on.

        Args:
            images: (H, W), one after the other; they are read once and not kept.
            data_range: R in the images' units, mapped to 255 grey levels.
            name: of the set of images, such as "T2 of open_ms, training cases".
            block: side of a block in pixels, even, at least 16; lower it for images smaller than two blocks of 96.
            sharpest: of each image, blocks are kept whose sharpness (mean local deviation) lies above this fraction of
                that of its sharpest block; 0 keeps all with texture. The paper's own 0.75 is the default.

        Raises:
            ValueError: an image cannot be described (:func:`transmodal.metrics.natural_scene.fnsd`), ``sharpest`` is
                not in [0, 1), or fewer than 37 blocks are kept.
        """
        if not 0.0 <= sharpest < 1.0:
            raise ValueError(f"sharpest must be a fraction from 0 to below 1, got {sharpest!r}")
        gathered = FrechetStatistics()
        number = 0
        for image in images:
            features, sharpness = natural_scene_blocks(image, data_range=data_range, block=block)
            gathered.update(features[(sharpness >= FLAT) & (sharpness > sharpest * sharpness.max())])
            number += 1
        if gathered.count < _FEWEST_BLOCKS:
            raise ValueError(
                f"a pristine model needs {_FEWEST_BLOCKS} blocks or more, {number} images gave {gathered.count} sharp "
                f"ones of {block} pixels; give more images, lower block or lower sharpest"
            )
        model = cls(
            mean=gathered.mean,
            covariance=gathered.covariance,
            block=block,
            name=name,
            sharpest=float(sharpest),
            data_range=float(data_range),
            images=number,
            blocks=gathered.count,
        )
        return replace(model, sha256=hashlib.sha256(model.to_bytes()).hexdigest())

    @classmethod
    def load(cls, path: str | Path) -> "PristineModel":
        """Read a model: the published parameters (.npz of BasicSR, blocks of 96) or a file of :meth:`save`.

        Raises:
            ValueError: the file is missing, unreadable or holds something else; nothing in it is executed.
        """
        path = Path(path)
        if not path.is_file():
            raise ValueError(f"NIQE model: {path} is not a file; {_REMEDY}")
        try:
            content = path.read_bytes()
            model = _published(content, path) if content.startswith(b"PK") else _own(content)
        except (OSError, ValueError, TypeError, KeyError, EOFError, zlib.error, zipfile.BadZipFile) as error:
            reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
            raise ValueError(f"NIQE model: {path} cannot be used ({reason[:160]}); {_REMEDY}") from None
        return replace(model, sha256=hashlib.sha256(content).hexdigest())

    def save(self, path: str | Path) -> None:
        """Write the model beside its place and rename it there; the file is JSON that :meth:`load` reads back exactly.

        Raises:
            OSError: the folder is missing or cannot be written to.
        """
        path = Path(path)
        descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(self.to_bytes())
            Path(temporary).replace(path)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise

    def to_bytes(self) -> bytes:
        """Give the content of the file that :meth:`save` writes."""
        content = {
            "format": FORMAT,
            "version": 1,
            "name": self.name,
            "block": self.block,
            "sharpest": self.sharpest,
            "data_range": self.data_range,
            "images": self.images,
            "blocks": self.blocks,
            "mean": self.mean.tolist(),
            "covariance": self.covariance.tolist(),
        }
        return (json.dumps(content, ensure_ascii=False, allow_nan=False) + "\n").encode()


def niqe(predicted: Any, *, data_range: float, model: PristineModel) -> float:
    """Naturalness of one image: 0 for the texture of the model's images, more for any other; lower is better.

    The number of blocks matters: few blocks give a covariance of low rank. Compare images of one size.

    Args:
        predicted: real array (H, W).
        data_range: R in the image's units, mapped to 255 grey levels, as in the model's fit.
        model: the pristine model, whose name belongs beside the value.

    Returns:
        The distance; NaN where fewer than two blocks show texture: such an image has no statistics to compare.

    Raises:
        ValueError: the image is not (H, W), holds NaN, or is smaller than two blocks of the model.
    """
    if not isinstance(model, PristineModel):
        raise ValueError(f"niqe: model must be a PristineModel, got {type(model).__name__}; {_REMEDY}")
    features = natural_scene_features(predicted, data_range=data_range, block=model.block)
    height, width = np.shape(predicted)
    if (height // model.block) * (width // model.block) < 2:
        raise ValueError(
            f"niqe: an image of {np.shape(predicted)} has fewer than 2 blocks of {model.block} pixels; use a model "
            "fitted with a smaller block"
        )
    if len(features) < 2:
        return math.nan
    gathered = FrechetStatistics()
    gathered.update(features)
    step = gathered.mean - model.mean
    # The cut-off is that of MATLAB's pinv, with which NIQE was published.
    inverse = np.linalg.pinv((gathered.covariance + model.covariance) / 2.0, rcond=FEATURES * np.finfo(float).eps)
    return math.sqrt(max(0.0, float(step @ inverse @ step)))


def _published(content: bytes, path: Path) -> PristineModel:
    with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
        mean = np.asarray(arrays["mu_pris_param"], np.float64)
        covariance = np.asarray(arrays["cov_pris_param"], np.float64)
    name = f"published parameters, natural photographs ({path.name})"
    return PristineModel(mean.reshape(-1), covariance, block=BLOCK, name=name)


def _own(content: bytes) -> PristineModel:
    try:
        table = json.loads(content)
    except (ValueError, RecursionError):
        raise ValueError("neither .npz nor JSON") from None
    if not isinstance(table, dict) or table.get("format") != FORMAT:
        raise ValueError("no pristine model in it")
    if table.get("version") != 1:
        raise ValueError(f"written by a newer transmodal, version {table.get('version')!r}")
    block = table["block"]
    if not isinstance(block, int) or block < 16 or block % 2:
        raise ValueError(f"block is {block!r}, must be even and at least 16")
    return PristineModel(
        mean=np.asarray(table["mean"], np.float64),
        covariance=np.asarray(table["covariance"], np.float64),
        name=str(table["name"]),
        block=block,
        sharpest=table.get("sharpest"),
        data_range=table.get("data_range"),
        images=table.get("images"),
        blocks=table.get("blocks"),
    )
