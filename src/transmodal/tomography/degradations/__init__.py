"""What makes a CT scan worse, each a named object with its settings in units.

`DEGRADATIONS` holds them by name; `degradation_from` builds one from what a recipe or a JSON file says. They are put
to work by `transmodal.tomography.scan.degrade`.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from transmodal.errors import UserError, spelt_like
from transmodal.tomography.degradations.angles import FewerAngles, LimitedAngle
from transmodal.tomography.degradations.beam_hardening import BeamHardening
from transmodal.tomography.degradations.degradation import Degradation
from transmodal.tomography.degradations.detector import DetectorBlur
from transmodal.tomography.degradations.field_of_view import LimitedField
from transmodal.tomography.degradations.image_noise import ImageNoise
from transmodal.tomography.degradations.metal import Insert, Metal
from transmodal.tomography.degradations.motion import Breathing, RigidMotion
from transmodal.tomography.degradations.photons import PhotonNoise
from transmodal.tomography.degradations.rings import Rings
from transmodal.tomography.degradations.scatter import Scatter
from transmodal.tomography.degradations.spectral import SpectralBins

DEGRADATIONS: dict[str, type[Degradation]] = {
    "fewer-angles": FewerAngles,
    "limited-angle": LimitedAngle,
    "limited-field": LimitedField,
    "rigid-motion": RigidMotion,
    "breathing": Breathing,
    "beam-hardening": BeamHardening,
    "metal": Metal,
    "spectral-bins": SpectralBins,
    "detector-blur": DetectorBlur,
    "scatter": Scatter,
    "photon-noise": PhotonNoise,
    "rings": Rings,
    "image-noise": ImageNoise,
}
"""In the order of physics, which is also that of `Degradation.order`."""

__all__ = [
    "DEGRADATIONS",
    "BeamHardening",
    "Breathing",
    "Degradation",
    "DetectorBlur",
    "FewerAngles",
    "ImageNoise",
    "Insert",
    "LimitedAngle",
    "LimitedField",
    "Metal",
    "PhotonNoise",
    "RigidMotion",
    "Rings",
    "Scatter",
    "SpectralBins",
    "degradation_from",
    "in_order",
    "settings_of",
]


def degradation_from(entries: Mapping[str, Any], name: str = "degradation") -> Degradation:
    """Build a degradation from what a JSON or YAML file holds.

    Args:
        entries: `kind`, a key of `DEGRADATIONS`, and the settings of its class.
        name: of the file or recipe, for messages.

    Raises:
        UserError: an unknown kind or setting, a value that cannot be.
    """
    kind = entries.get("kind")
    if not isinstance(kind, str) or kind not in DEGRADATIONS:
        near = spelt_like(str(kind), DEGRADATIONS)
        remedy = f"did you mean {near!r}?" if near else f"known are {', '.join(DEGRADATIONS)}"
        raise UserError(f"{name}: unknown kind {kind!r}; {remedy}")
    made = DEGRADATIONS[kind]
    try:
        return made.model_validate(dict(entries))
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        if first["type"] == "extra_forbidden":
            known = ", ".join(setting for setting in made.model_fields if setting != "kind")
            raise UserError(f"{name}: {kind} has no setting {place!r}; it has {known}") from error
        reason = first["msg"].removeprefix("Value error, ")
        raise UserError(f"{name}: {kind}{f', {place}' if place else ''}: {reason}") from error


def settings_of(kind: str) -> list[tuple[str, str, str]]:
    """Return what a degradation takes: name, default ("" where it must be given) and meaning of each setting.

    Args:
        kind: a key of `DEGRADATIONS`.
    """
    return _settings(DEGRADATIONS[kind])


def _settings(model: type[BaseModel], prefix: str = "") -> list[tuple[str, str, str]]:
    found = []
    for name, entry in model.model_fields.items():
        if name == "kind":
            continue
        if isinstance(entry.annotation, type) and issubclass(entry.annotation, BaseModel):
            found += _settings(entry.annotation, f"{prefix}{name}.")
            continue
        default = "" if entry.is_required() else _said(entry.get_default(call_default_factory=True))
        found.append((prefix + name, default, _meaning(entry)))
    return found


def _said(value: Any) -> str:
    """Return a default as a user would write it, "-" for none."""
    if isinstance(value, tuple):
        return ",".join(_said(each) for each in value) or "-"
    if value is None or isinstance(value, bool):
        return {None: "-", True: "true", False: "false"}[value]
    return f"{value:g}" if isinstance(value, float) else str(value)


def _meaning(entry: FieldInfo) -> str:
    choices = ", ".join(map(str, get_args(entry.annotation))) if get_origin(entry.annotation) is Literal else ""
    return "; ".join(part for part in (entry.description, choices) if part)


def in_order(steps: Sequence[Degradation]) -> list[Degradation]:
    """Return degradations in the order of physics.

    Raises:
        UserError: the same kind twice.
    """
    kinds = [step.kind for step in steps]
    if twice := sorted({kind for kind in kinds if kinds.count(kind) > 1}):
        raise UserError(f"{', '.join(twice)} is listed twice; one scan takes each degradation once")
    return sorted(steps, key=lambda step: step.order)
