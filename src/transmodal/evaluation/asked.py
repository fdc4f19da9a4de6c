"""What an evaluation is asked for, and what that means for one target modality of one translator."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from transmodal.datasets.manifest import Manifest
from transmodal.datasets.preparation import ModalityPreparation
from transmodal.datasets.sample_grid import SliceSettings
from transmodal.errors import UserError, nearest
from transmodal.evaluation.policy_application import region_of
from transmodal.images import Image, require_same_grid
from transmodal.metrics.policy import Policy
from transmodal.translation import Translator
from transmodal.translation.options import Options

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Asked:
    """What an evaluation is asked for.

    Attributes:
        split: "test", "validation" or "train".
        policy: may leave open what the target's intensity map fills in.
        given: the inputs that a translator with missing inputs gets; None gives all that a case has.
        files: name of an option → file that a metric needs, see `resources.open_resources`.
        workers: threads that read and score.
        on_progress: called with (what, done, of how many).
        options: how the translator's network is run.
        beside: modalities whose images are scored as further baselines.
    """

    split: str
    policy: Policy
    given: tuple[str, ...] | None = None
    files: Mapping[str, str | Path | None] | None = None
    workers: int = 1
    on_progress: Progress = lambda what, done, total: None
    options: Options = field(default_factory=Options)
    beside: tuple[str, ...] = ()


def require_beside(modalities: Sequence[str], manifest: Manifest) -> None:
    """Refuse images to stand beside that the manifest does not have.

    Raises:
        UserError: with the command that makes them, where they are a remedy of degraded CT.
    """
    for modality in modalities:
        if modality in manifest.modalities:
            continue
        from transmodal.simulation.ct.companions import NEEDS

        spelt = [name for name in manifest.modalities if name.lower() == modality.lower()]
        known = f"did you mean {spelt[0]!r}?" if spelt else f"known are {', '.join(manifest.modalities[:12])}"
        if not spelt and (remedy := modality.lower()) in NEEDS:
            known += f"; 'transmodal data degrade --also {remedy}' adds it to pairs of degraded and clean CT"
        raise UserError(f"No image of modality {modality!r} to stand beside in {manifest.name}; {known}")


def mask_of(mask: Image, truth: Image) -> npt.NDArray[np.bool_]:
    """Return a mask's file as True inside, of the truth's shape.

    Raises:
        UserError: it lies on another grid, or is empty.
    """
    require_same_grid(mask, truth)
    region = region_of(truth, Policy(mask="mask"), mask)
    assert region is not None
    return region


def inputs_for(translator: Translator, target: str, given: Sequence[str] | None = None) -> list[str]:
    """Return the inputs that a target is made of: all but itself, or those that were asked for.

    Raises:
        UserError: one that was asked for is no input, the translator cannot do without the others, or none is left.
    """
    card = translator.card
    inputs = list(card.inputs)
    if given is not None:
        for name in given:
            if name not in inputs:
                raise UserError(f"{card.name} takes {', '.join(inputs)}, not {name!r}; {nearest(name, inputs)}")
        inputs = [name for name in inputs if name in given]
        if len(inputs) < len(card.inputs) and not card.missing_inputs:
            raise UserError(f"{card.name} needs all of {', '.join(card.inputs)}; leave --given out")
    return [name for name in inputs if name != target]


def policy_for_target(policy: Policy, target: ModalityPreparation, slices: SliceSettings | None = None) -> Policy:
    """Return the policy with what it leaves open filled in as the translator was trained.

    Range, unit, scale and mask come from the target's intensity map, the direction of slices from `slices`.
    """
    own_scale = "percentile" if target.intensity.depends_on_image else "physical"
    scale = policy.scale or own_scale
    limits = policy.range or (target.intensity.low, target.intensity.high)
    chosen = {
        "scale": scale,
        "percentiles_of": policy.percentiles_of or ("truth" if scale == "percentile" else None),
        "mask": policy.mask or ("foreground" if target.intensity.foreground else "none"),
        "range": None if scale == "percentile" else limits,
        "unit": policy.unit or target.quantity,
        "slices": policy.slices or (slices.axis if slices is not None and policy.slice_axis is None else None),
    }
    return Policy(**(policy.model_dump() | chosen))
