"""Decay against closed forms, isotopes by their many names, and half-lives in the wrong unit."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as some
from pydicom.sr._concepts_dict import concepts
from pydicom.sr._snomed_dict import mapping
from scipy.integrate import quad

from transmodal.errors import UserError
from transmodal.images.nuclear import Injection
from transmodal.images.nuclear.decay import (
    biological_half_life,
    decay_constant,
    effective_half_life,
    mean_over,
    remaining,
    to_injection,
)
from transmodal.images.nuclear.isotopes import _CODES, ISOTOPES, canonical_name, isotope_named, name_of_code

TECHNETIUM = ISOTOPES["Tc-99m"]


def test_half_is_left_after_a_half_life() -> None:
    assert remaining(TECHNETIUM.half_life, [0.0, TECHNETIUM.half_life, -TECHNETIUM.half_life]) == pytest.approx(
        [1, 0.5, 2]
    )
    assert decay_constant(3600 * 6.0067) * 3600 == pytest.approx(0.11540, abs=5e-6)  # per hour
    assert decay_constant(109.77 * 60) * 60 == pytest.approx(0.0063146, abs=1e-7)  # per minute


@given(some.floats(10, 1e6), some.floats(0, 1e5), some.floats(1e-3, 1e5))
def test_a_frame_counts_the_mean_of_the_decay(half_life: float, start: float, duration: float) -> None:
    if start / half_life > 500:
        return
    rate = math.log(2) / half_life
    expected = quad(lambda time: math.exp(-rate * time), start, start + duration, epsabs=0)[0] / duration
    assert mean_over(half_life, start, duration) == pytest.approx(expected, rel=1e-6)
    assert to_injection(half_life, start, duration) == pytest.approx(1 / expected, rel=1e-6)


def test_a_frame_without_length_is_a_moment() -> None:
    assert mean_over(100.0, [0.0, 100.0], [0.0, 0.0]) == pytest.approx([1.0, 0.5])
    assert mean_over(TECHNETIUM.half_life, 0.0, 1e-9) == pytest.approx(1.0)


@given(some.floats(1, 1e7), some.floats(1, 1e7))
def test_biological_and_effective_half_lives_belong_together(biological: float, physical: float) -> None:
    effective = effective_half_life(biological, physical)
    assert effective <= min(biological, physical)
    assert biological_half_life(effective, physical) == pytest.approx(biological, rel=1e-6)


def test_what_stays_has_an_infinite_biological_half_life() -> None:
    assert effective_half_life(math.inf, 100.0) == 100.0
    assert biological_half_life(100.0, 100.0) == math.inf
    assert biological_half_life(200.0, 100.0) < 0  # more comes in than decays


@pytest.mark.parametrize(
    ("said", "name"),
    [("99mTc", "Tc-99m"), ("Tc99m", "Tc-99m"), ("TC-99M", "Tc-99m"), ("^99m^Technetium", "Tc-99m"), ("18F", "F-18"),
     ("F-18", "F-18"), ("^18^Fluorine", "F-18"), ("Iodine 123", "I-123"), ("cu64", "Cu-64"),
     ("Technetium Tc 99m", "Tc-99m"), ("99mTc pertechnetate", "Tc-99m"), ("Fluorine F^18^", "F-18"),
     ("18F-FDG", "F-18"), ("Tc-99m in saline", "Tc-99m"), ("99 m Tc", "Tc-99m"), ("I-131 MIBG", "I-131")],
)  # fmt: skip
def test_an_isotope_has_many_names(said: str, name: str) -> None:
    assert canonical_name(said) == name
    assert isotope_named(said) == ISOTOPES[name]


@pytest.mark.parametrize(
    ("half_life", "hint"),
    [
        (6.0067, "looks like hours: write 21624.1"),
        (360.4, "looks like minutes"),
        (0.25028, "looks like days"),
        (5e4, "leave the half-life out"),
    ],
)
def test_a_half_life_in_another_unit_is_refused_with_a_hint(half_life: float, hint: str) -> None:
    with pytest.raises(UserError, match=hint):
        isotope_named("Tc-99m", half_life, "mouse.nuclear.json")


def test_unknown_isotopes_need_a_half_life() -> None:
    with pytest.raises(UserError, match="give half_life_s"):
        isotope_named("Tb-161")
    assert isotope_named("161Tb", 6.95 * 86400).name == "Tb-161"
    for said in ("glucose", "Technetium", "Pertechnetate 99m", ""):
        with pytest.raises(UserError, match="is no isotope"):
            isotope_named(said, 21624.0)
    with pytest.raises(UserError, match="several isotopes \\(Tc-99m, I-123\\)"):
        isotope_named("Tc-99m / I-123")
    with pytest.raises(UserError, match=r"^mouse\.nuclear\.json: 'Xx-99' is no isotope"):
        isotope_named("Xx-99", None, "mouse.nuclear.json")


def test_every_isotope_has_its_codes() -> None:
    codes = [code for said in _CODES.values() for code in said.split()]
    assert set(_CODES) == set(ISOTOPES) and len(codes) == len(set(codes)) == 2 * len(ISOTOPES)
    for code in codes:  # pydicom's tables of DICOM PS3.16 are the judge
        value = mapping["SRT"].get(code, code)
        meaning = next(
            meaning for each in concepts["SCT"].values() for key, (meaning, _) in each.items() if key == value
        )
        assert canonical_name(meaning) == name_of_code(code)
    assert name_of_code("C-163") is None


def test_the_injected_activity_is_what_left_the_syringe_at_the_time_of_injection() -> None:
    half_life = TECHNETIUM.half_life
    syringe = Injection(before=10e6, before_at=-half_life, after=1e6, after_at=half_life)
    assert syringe.activity(TECHNETIUM) == pytest.approx(10e6 / 2 - 1e6 * 2)
    with pytest.raises(UserError, match="exchange them"):
        Injection(before=1e6, after=2e6).activity(TECHNETIUM)
    with pytest.raises(UserError, match="above 0"):
        Injection(before=0.0)


def test_every_half_life_of_the_table_is_above_minutes() -> None:
    assert all(np.isfinite(each.half_life) and each.half_life > 500 for each in ISOTOPES.values())
