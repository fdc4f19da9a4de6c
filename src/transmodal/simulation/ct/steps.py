"""Degradations as users write them: 'photon-noise photons=1e5', a YAML file, and levels such as angles=30,60,90."""

import itertools
import shlex
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_origin

import yaml

from transmodal.errors import UserError
from transmodal.images.guard import require_file
from transmodal.tomography.degradations import DEGRADATIONS, Degradation, degradation_from, in_order

SHORT = {
    "angles": ("fewer-angles", "angles"),
    "dose": ("photon-noise", "dose_divisor"),
    "photons": ("photon-noise", "photons"),
}
"""What --vary may be called without the name of its degradation."""

_MOST_LEVELS = 1000


@dataclass(frozen=True)
class Level:
    """One severity of a degraded scan.

    Attributes:
        steps: all its degradations, in the order of physics.
        varied: what sets it apart, name to value; empty where there is one level alone.
    """

    steps: tuple[Degradation, ...]
    varied: dict[str, str] = field(default_factory=dict)

    @property
    def label(self) -> str:
        """The level as part of a session's name: "angles60"."""
        return "-".join(f"{name.rpartition('.')[2]}{value}" for name, value in self.varied.items())

    def describe(self) -> str:
        """Say in sentences what it does."""
        return " ".join(step.describe() for step in self.steps) or "Nothing was degraded."

    def text(self) -> str:
        """Return the steps as --step takes them, what is usual left out: "fewer-angles angles=60; metal"."""
        parts = []
        for step in self.steps:
            unusual = step.model_dump(mode="json", exclude_defaults=True)
            unusual.pop("kind", None)
            parts.append(" ".join([step.kind, *(f"{name}={value}" for name, value in unusual.items())]))
        return "; ".join(parts)

    def to_json(self) -> list[dict[str, Any]]:
        """Return all settings."""
        return [step.model_dump(mode="json") for step in self.steps]


def step_from_text(text: str) -> Degradation:
    """Build a degradation of its name and its settings: 'photon-noise photons=1e5 electronic_noise=5'.

    Commas make a list, dots lead into a setting (tube.kvp=80), braces and brackets are YAML.

    Raises:
        UserError: it is not written so, or the degradation refuses it.
    """
    try:
        words = shlex.split(text)
    except ValueError as error:
        raise UserError(f"--step {text!r} cannot be read: {error}; write it as {_EXAMPLE}") from error
    if not words:
        raise UserError(f"--step is empty; write it as {_EXAMPLE}, or leave it out")
    kind = words.pop(0)
    entries: dict[str, Any] = {"kind": kind}
    for word in words:
        name, equals, value = word.partition("=")
        if not equals or not name or not value:
            raise UserError(f"--step {text!r} is not clear at {word!r}; write it as {_EXAMPLE}")
        _set(entries, kind, name, value, f"--step {text!r}")
    return degradation_from(entries, f"--step {text!r}")


_EXAMPLE = "'photon-noise photons=1e5'"


def steps_from_file(path: Path) -> list[Degradation]:
    """Read degradations from YAML or JSON: a list of them, or a mapping whose `steps` is one.

    Raises:
        UserError: no such file, no such list, a degradation that cannot be.
    """
    require_file(path)
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError, ValueError, RecursionError) as error:
        raise UserError(f"{path} is no YAML: {error}") from error
    if isinstance(content, dict) and set(content) == {"steps"}:
        content = content["steps"]
    if not isinstance(content, list) or not all(isinstance(entry, dict) for entry in content):
        raise UserError(
            f"{path} needs a list of degradations, each with its kind: '- {{kind: fewer-angles, angles: 60}}'"
        )
    return [degradation_from(entry, str(path)) for entry in content]


def all_steps(texts: Sequence[str], recipe: Path | None) -> list[Degradation]:
    """Return the degradations of --recipe and --step together.

    Raises:
        UserError: one is listed twice, or cannot be.
    """
    found = [*(steps_from_file(recipe) if recipe else []), *(step_from_text(text) for text in texts)]
    return in_order(found)


def levels_of(steps: Sequence[Degradation], vary: Sequence[str] = ()) -> list[Level]:
    """Return every combination of what varies.

    Args:
        steps: what all levels share.
        vary: texts such as "angles=30,60,90", "dose=1,4,25" or "metal.count=1,2,3".

    Raises:
        UserError: an unknown name, a value that the degradation refuses, a value twice.
    """
    if not vary:
        return [Level(tuple(in_order(steps)))]
    axes = [_axis(text) for text in vary]
    names = [name for name, _, _, _ in axes]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise UserError(f"--vary {twice[0]} is given twice; list all its values once")
    found = []
    for values in itertools.islice(itertools.product(*(axis[3] for axis in axes)), _MOST_LEVELS + 1):
        by_kind: dict[str, dict[str, Any]] = {step.kind: step.model_dump(exclude_unset=True) for step in steps}
        for (name, kind, setting, _), value in zip(axes, values, strict=True):
            entries = by_kind.setdefault(kind, {"kind": kind})
            entries["kind"] = kind
            _set(entries, kind, setting, value, f"--vary {name}={value}")
        built = [
            degradation_from(entries, f"--vary {', '.join(names)}" if kind in {axis[1] for axis in axes} else kind)
            for kind, entries in by_kind.items()
        ]
        found.append(Level(tuple(in_order(built)), dict(zip(names, values, strict=True))))
    if len(found) > _MOST_LEVELS:
        raise UserError(f"--vary makes more than {_MOST_LEVELS} levels; give fewer values")
    return found


def _axis(text: str) -> tuple[str, str, str, list[str]]:
    """Return name, kind, setting and values of a --vary."""
    name, equals, listed = text.partition("=")
    name = name.strip()
    values = [value.strip() for value in listed.split(",")]
    if not equals or not name or not all(values):
        raise UserError(f"--vary {text!r} is not clear; write it as angles=30,60,90 or metal.count=1,2,3")
    if len(set(values)) < len(values):
        raise UserError(f"--vary {text!r} has a value twice; list each once")
    kind, dot, setting = name.partition(".")
    if name in SHORT:
        kind, setting = SHORT[name]
    elif not dot or kind not in DEGRADATIONS or setting.partition(".")[0] not in DEGRADATIONS[kind].model_fields:
        raise UserError(
            f"--vary {name}: there is no such setting; say {', '.join(SHORT)}, or a degradation and its setting, as "
            "photon-noise.electronic_noise"
        )
    return name, kind, setting, values


def _set(entries: dict[str, Any], kind: str, name: str, value: str, where: str) -> None:
    """Put a value that a user wrote where it belongs."""
    *outer, last = name.split(".")
    place = entries
    for part in outer:
        inner = place.get(part)
        place[part] = dict(inner) if isinstance(inner, dict) else {}
        place = place[part]
    field_of = DEGRADATIONS[kind].model_fields.get(last) if kind in DEGRADATIONS and not outer else None
    wants_list = field_of is not None and get_origin(field_of.annotation) is tuple
    if value[0] in "[{":
        try:
            place[last] = yaml.safe_load(value)
        except (yaml.YAMLError, ValueError, RecursionError) as error:
            raise UserError(f"{where}: {name} is no YAML: {error}") from error
    elif wants_list or "," in value:
        place[last] = [part.strip() for part in value.split(",")]
    else:
        place[last] = value
