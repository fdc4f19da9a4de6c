"""Degradations as users write them."""

from pathlib import Path

import pytest

from transmodal.errors import UserError
from transmodal.simulation.ct.steps import all_steps, levels_of, step_from_text, steps_from_file
from transmodal.tomography.degradations import FewerAngles, Metal, PhotonNoise


def test_text_becomes_a_degradation_with_lists_and_settings_inside_others() -> None:
    assert step_from_text("photon-noise photons=1e5") == PhotonNoise(photons=1e5)
    metal = step_from_text("metal radius_mm=2,4 tube.kvp=80 material=iron water_correction=false")
    assert isinstance(metal, Metal)
    assert metal.radius_mm == (2.0, 4.0)
    assert metal.tube.kvp == 80
    assert metal.material == "iron"
    assert not metal.water_correction
    placed = step_from_text("metal inserts='[{y: 0, x: 10, radius: 3}]'")
    assert isinstance(placed, Metal)
    assert placed.inserts[0].x == 10


def test_a_single_number_is_enough_where_a_list_is_wanted() -> None:
    step = step_from_text("spectral-bins mono_kev=60")
    assert step.model_dump()["mono_kev"] == (60.0,)


def test_a_file_and_options_are_put_in_the_order_of_physics(tmp_path: Path) -> None:
    file = tmp_path / "steps.yaml"
    file.write_text("- {kind: photon-noise, photons: 10000}\n")
    assert steps_from_file(file) == [PhotonNoise(photons=1e4)]
    found = all_steps(["fewer-angles angles=60"], file)
    assert [step.kind for step in found] == ["fewer-angles", "photon-noise"]
    with pytest.raises(UserError, match="listed twice"):
        all_steps(["photon-noise"], file)
    file.write_text("fewer-angles: 60\n")
    with pytest.raises(UserError, match="needs a list"):
        steps_from_file(file)


def test_levels_change_one_setting_and_keep_the_others() -> None:
    levels = levels_of([PhotonNoise(photons=5e4, electronic_noise=3)], ["angles=30,60", "dose=1,25"])
    assert [level.label for level in levels] == [
        "angles30-dose1",
        "angles30-dose25",
        "angles60-dose1",
        "angles60-dose25",
    ]
    views, noise = levels[3].steps
    assert views == FewerAngles(angles=60)
    assert noise == PhotonNoise(photons=5e4, electronic_noise=3, dose_divisor=25)
    assert levels_of([FewerAngles(angles=9)])[0].label == ""


def test_a_level_in_words_is_what_a_step_takes() -> None:
    (level,) = levels_of([FewerAngles(angles=60), PhotonNoise(photons=5e4)])
    assert level.text() == "fewer-angles angles=60; photon-noise photons=50000.0"
    assert [step_from_text(part) for part in level.text().split("; ")] == list(level.steps)


@pytest.mark.parametrize(
    ("vary", "expected"),
    [
        ("angles", "not clear"),
        ("angles=30,,60", "not clear"),
        ("angles=30,30", "twice"),
        ("photon-noise.colour=1,2", "no such setting"),
        ("angles=30,-1", "greater than or equal to 1"),
    ],
)
def test_a_level_that_cannot_be_is_refused(vary: str, expected: str) -> None:
    with pytest.raises(UserError, match=expected):
        levels_of([], [vary])
