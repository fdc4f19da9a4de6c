import inspect
import json
from pathlib import Path

import pytest
from pydantic import BaseModel, ValidationError

from transmodal.errors import UserError
from transmodal.tomography import degradations
from transmodal.tomography.degradations import (
    DEGRADATIONS,
    Degradation,
    FewerAngles,
    Insert,
    PhotonNoise,
    Rings,
    degradation_from,
    in_order,
)
from transmodal.tomography.degradations.degradation import stream
from transmodal.tomography.degradations.motion import Motion
from transmodal.tomography.degradations.polychromatic import Polychromatic

EXAMPLES: dict[str, dict[str, object]] = {
    "fewer-angles": {"angles": 60},
    "limited-angle": {"degrees": 120},
    "limited-field": {"diameter_mm": 200},
    "rigid-motion": {"shift_mm": [2, 0]},
    "breathing": {"amplitude_mm": 5},
    "beam-hardening": {},
    "metal": {},
    "spectral-bins": {},
    "detector-blur": {"fwhm_mm": 1.5},
    "scatter": {"ratio": 0.2},
    "photon-noise": {},
    "rings": {},
    "image-noise": {"sigma_hu": 20},
}


def test_the_table_names_every_degradation_and_no_other() -> None:
    assert set(EXAMPLES) == set(DEGRADATIONS)
    written = {
        value
        for value in vars(degradations).values()
        if inspect.isclass(value)
        and issubclass(value, Degradation)
        and value not in (Degradation, Motion, Polychromatic)
    }
    assert written == set(DEGRADATIONS.values())
    for name, made in DEGRADATIONS.items():
        assert made.model_fields["kind"].default == name


@pytest.mark.parametrize("kind", EXAMPLES)
def test_each_survives_json_and_tells_its_numbers(kind: str) -> None:
    step = degradation_from({"kind": kind, **EXAMPLES[kind]})
    again = degradation_from(json.loads(json.dumps(step.model_dump(mode="json"))))
    assert again == step and hash(again) == hash(step)
    sentence = step.describe()
    assert sentence.endswith(".") and "\n" not in sentence and sentence[0].isupper()
    assert any(character.isdigit() for character in sentence)


@pytest.mark.parametrize("kind", EXAMPLES)
def test_each_is_frozen_and_refuses_unknown_settings_by_name(kind: str) -> None:
    step = degradation_from({"kind": kind, **EXAMPLES[kind]})
    with pytest.raises(ValidationError, match="frozen"):
        step.kind = "other"
    with pytest.raises(UserError, match=f"recipe.yaml: {kind} has no setting 'strength'; it has"):
        degradation_from({"kind": kind, **EXAMPLES[kind], "strength": 1}, "recipe.yaml")


def test_unknown_kinds_and_impossible_values_are_told_in_one_line() -> None:
    with pytest.raises(UserError, match="unknown kind 'fog'; known are fewer-angles"):
        degradation_from({"kind": "fog"})
    with pytest.raises(UserError, match=r"unknown kind 'photon-nois'; did you mean 'photon-noise'\?$"):
        degradation_from({"kind": "photon-nois"})
    with pytest.raises(UserError, match="photon-noise, photons: Input should be greater than 0"):
        degradation_from({"kind": "photon-noise", "photons": 0})
    with pytest.raises(UserError, match="photons"):
        degradation_from({"kind": "photon-noise", "photons": float("inf")})
    with pytest.raises(UserError, match=r"either angles .* or every"):
        degradation_from({"kind": "fewer-angles"})


def test_the_order_is_that_of_physics_and_of_the_table() -> None:
    steps = [degradation_from({"kind": kind, **EXAMPLES[kind]}) for kind in reversed(EXAMPLES)]
    orders = [step.order for step in in_order(steps)]
    assert orders == sorted(orders)
    assert [type(step) for step in in_order([Rings(), PhotonNoise(), FewerAngles(angles=5)])] == [
        FewerAngles,
        PhotonNoise,
        Rings,
    ]


def test_the_same_kind_twice_is_refused() -> None:
    with pytest.raises(UserError, match="photon-noise is listed twice"):
        in_order([PhotonNoise(), PhotonNoise(photons=5)])


def test_each_kind_draws_from_a_stream_of_its_own() -> None:
    assert stream(3, "rings").random() == stream(3, "rings").random()
    assert stream(3, "rings").random() != stream(3, "photon-noise").random()
    assert stream(3, "rings").random() != stream(4, "rings").random()


def _settings(model: type[BaseModel], prefix: str = "") -> list[str]:
    """Return the names of a model's settings as a recipe writes them: those of the tube with a dot."""
    names = []
    for name, entry in model.model_fields.items():
        if isinstance(entry.annotation, type) and issubclass(entry.annotation, BaseModel):
            names += _settings(entry.annotation, f"{name}.")
        elif name != "kind":
            names.append(prefix + name)
    return names


@pytest.mark.parametrize("kind", DEGRADATIONS)
def test_the_page_names_every_setting_of_every_degradation(kind: str) -> None:
    page = (Path(__file__).parents[3] / "docs" / "ct.md").read_text(encoding="utf-8")
    section = page.partition("**Degrade.**")[2].partition("## Pairs")[0]
    rows = [line for line in section.splitlines() if line.startswith(f"| `{kind}` |")]
    assert len(rows) == 1
    rare = [entry for entry in section.partition("Rarely needed:")[2].split("\n- ") if f"`{kind}`" in entry]
    told = rows[0] + "".join(rare)
    settings = _settings(DEGRADATIONS[kind]) + (_settings(Insert) if kind == "metal" else [])
    assert settings
    assert [name for name in settings if f"`{name}`" not in told] == []
