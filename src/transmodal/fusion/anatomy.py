"""The anatomy under a nuclear image, and its organs, made by translators where nothing else is at hand.

A photograph becomes a synthetic X-ray, an X-ray a label map of organs. Both are written as `translate` writes them,
with the sidecars that say how they were made, and read again, so that what is shown and counted is what lies on disk.
"""

from dataclasses import replace
from pathlib import Path

import numpy as np

from transmodal.errors import UserError
from transmodal.fusion.region_files import LabelNames, read_label_names
from transmodal.images import Image, read
from transmodal.images.synthetic import sidecar_of
from transmodal.translation import load_translator
from transmodal.translation.apply import apply_translator
from transmodal.translation.jobs import Job
from transmodal.translation.options import Options


def make_image(
    given: Path,
    model: Path,
    out: Path,
    *,
    spacing: tuple[float, float] | None = None,
    device: str = "auto",
) -> tuple[Image, tuple[str, ...]]:
    """Translate one picture into one image by a translator, and read what was written.

    Args:
        given: a picture of the modality that the translator takes.
        model: a run, or its model folder; of one input and one target.
        out: the file to write; it is not made again where it is done.
        spacing: (row, column) pixel size in mm of a picture that has none.
        device: where the network runs.

    Returns:
        The image, and what the translator warned of.

    Raises:
        UserError: the translator needs several images or makes several, or the picture cannot be translated.
    """
    translator = load_translator(model, device=device)
    card = translator.card
    if len(card.inputs) != 1 or len(card.targets) != 1:
        raise UserError(
            f"{model} makes {', '.join(card.targets)} of {', '.join(card.inputs)}; take one that makes one of one"
        )
    [modality] = card.inputs
    job = Job(out.stem, {modality: given})
    out.parent.mkdir(parents=True, exist_ok=True)
    results = apply_translator(
        translator, [job], out, single_file=True, spacing=spacing, model_folder=model, options=Options()
    )
    if results.failed:
        raise UserError(f"{given} cannot be translated by {model}: {results.failed[0][1]}")
    return read(out), tuple(line for _, line in results.warnings)


def find_organs(
    given: Path, model: Path, out: Path, *, spacing: tuple[float, float] | None = None, device: str = "auto"
) -> tuple[Image, LabelNames, tuple[str, ...]]:
    """Find the organs of an anatomy by a segmenter; as `make_image`.

    Returns:
        The label map, the names of its values, and what the segmenter warned of.

    Raises:
        UserError: as `make_image`, or the translator makes no label map.
    """
    labels, said = make_image(given, model, out, spacing=spacing, device=device)
    sidecar = sidecar_of(out)
    try:
        names = read_label_names(sidecar)
    except UserError as error:
        raise UserError(f"{model} makes images and no label maps; name a model of organs, as xray-to-organs") from error
    return labels, replace(names, source=f"the model {model}"), said


def read_anatomy(path: Path, spacing: tuple[float, float] | None = None) -> Image:
    """Read an anatomical picture.

    Args:
        path: the file.
        spacing: (row, column) pixel size in mm, of a picture that has none.

    Raises:
        UserError: the picture says another pixel size, or as `read`.
    """
    image = read(path)
    if spacing is None:
        return image
    if image.has_physical_size:
        if not np.allclose(image.spacing[:2], spacing, rtol=1e-3):
            raise UserError(
                f"{path} says pixels of {image.spacing[0]:.5g}×{image.spacing[1]:.5g} mm; leave --spacing "
                f"{spacing[0]:g} {spacing[1]:g} out, or mend the file"
            )
        return image
    return read(path, spacing=spacing)
