"""Overrides of a recipe: `train.epochs=5` laid over what its file says, and what follows from that elsewhere in it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import yaml

from transmodal.errors import UserError
from transmodal.images.intensity_settings import NOT_OF_MAP
from transmodal.methods.supervised import NOT_OF_KIND


@dataclass(frozen=True)
class Override:
    """One key of a recipe that is given another value.

    Attributes:
        key: dotted, as `train.epochs`.
        value: new.
        told: how messages call it.
    """

    key: str
    value: Any
    told: str

    @property
    def parts(self) -> list[str]:
        """The keys, outermost first."""
        return self.key.split(".")

    def holds(self, location: Sequence[str]) -> bool:
        """Say whether what stands at a location of the recipe comes from here."""
        rest = list(location[len(self.parts) :])
        return list(location[: len(self.parts)]) == self.parts and as_written(self.value, rest) == rest


def overrides_of(given: Sequence[str] | Mapping[str, Any]) -> list[Override]:
    """Return overrides of "key.sub=value" lines (values are YAML), or of a mapping of dotted keys.

    Raises:
        UserError: a line is not of this form.
    """
    if isinstance(given, Mapping):
        return [Override(key, value, f"The override {key}={value!r}") for key, value in given.items()]
    return [Override(*_parsed(line), f"--set {line}") for line in given]


def _parsed(line: str) -> tuple[str, Any]:
    key, equals, text = line.partition("=")
    if not equals or not key.strip():
        raise UserError(f"--set {line}: write it as key.sub=value, for example train.epochs=5")
    try:
        return key.strip(), yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise UserError(f"--set {line}: the value is not YAML") from error


def with_overrides(content: dict[str, Any], changes: Sequence[Override]) -> dict[str, Any]:
    """Return a recipe with what overrides change, and what follows from that."""
    over: dict[str, Any] = {}
    for change in changes:
        over = merge(over, _nest(change.key, change.value))
    fitted = _for_maps(_for_network(_for_modalities(content, over), over), over)
    return merge(_described_anew(fitted, over), over)


def _for_modalities(content: dict[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Return a recipe whose intensity maps are those of the modalities that overrides name."""
    maps = (content.get("preparation") or {}).get("intensity")
    named = [over.get(part, content.get(part)) for part in ("inputs", "targets")]
    if not ({"inputs", "targets"} & set(over)) or not maps or not all(isinstance(part, list) for part in named):
        return content
    if content.get("method") == "segmentation":  # label maps have none
        named = named[:1]
    modalities = [str(name) for part in named for name in part]
    own = list(maps.values())
    new = {name: own[0] for name in modalities if all(one == own[0] for one in own)}
    kept = new | {name: chosen for name, chosen in maps.items() if name in modalities}
    return {**content, "preparation": {**content["preparation"], "intensity": kept}}


def _for_network(content: dict[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Return a recipe without what it says of its network and the kind that overrides name does not have."""
    kind = _within(over, "supervised", "network", "kind")
    own = _within(content, "supervised", "network")
    if not isinstance(own, Mapping) or not isinstance(kind, str) or kind == own.get("kind"):
        return content
    left_out = NOT_OF_KIND.get(kind, ())
    kept = {key: value for key, value in own.items() if key not in left_out}
    return {**content, "supervised": {**content["supervised"], "network": kept}}


def _for_maps(content: dict[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Return a recipe without what it says of intensity maps and the kinds that overrides name do not take."""
    own, named = (_within(part, "preparation", "intensity") for part in (content, over))
    if not isinstance(own, Mapping) or not isinstance(named, Mapping):
        return content
    maps = dict(own)
    for modality, settings in own.items():
        kind = _within(named, modality, "map")
        if not isinstance(settings, Mapping) or not isinstance(kind, str) or kind == settings.get("map", "auto"):
            continue
        left_out = NOT_OF_MAP.get(kind, frozenset()) | {"limits"}  # each map counts them in a unit of its own
        maps[modality] = {key: value for key, value in settings.items() if key not in left_out}
    return {**content, "preparation": {**content["preparation"], "intensity": maps}}


def _described_anew(content: dict[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Return a recipe whose description says first what overrides have made of its inputs and targets."""
    old = content.get("description")
    own, named = ([part.get(key, content.get(key)) for key in ("inputs", "targets")] for part in (content, over))
    if (
        not isinstance(old, str)
        or not old
        or "description" in over
        or named == own
        or not all(isinstance(part, list) for part in named)
    ):
        return content
    inputs, targets = (", ".join(map(str, part)) for part in named)
    name = content.get("name", "the recipe")
    return {**content, "description": f"{inputs} into {targets}, with the settings of {name}: {old}"}


def _within(content: Any, *keys: str) -> Any:
    """Return what stands under nested keys; None where there is nothing."""
    for key in keys:
        content = content.get(key) if isinstance(content, Mapping) else None
    return content


def _nest(key: str, value: Any) -> dict[str, Any]:
    for part in reversed(key.split(".")):
        value = {part: value}
    return dict(value)


def merge(under: dict[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Return nested settings with others laid over them, key by key."""
    merged = dict(under)
    for key, value in over.items():
        below = merged.get(key)
        merged[key] = merge(below, value) if isinstance(below, dict) and isinstance(value, Mapping) else value
    return merged


def as_written(content: Any, location: Sequence[str | int]) -> list[str]:
    """Return the part of a location that stands in the file: pydantic adds which choice of a union it tried."""
    written = []
    for part in location:
        inside: Any = content if isinstance(content, Mapping) else {}
        if isinstance(content, list | tuple):
            inside = dict(enumerate(content))
        if part not in inside:
            break
        content = inside[part]
        written.append(str(part))
    return written
