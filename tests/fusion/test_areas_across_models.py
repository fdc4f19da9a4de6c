"""Areas where several models fit alike, and what is said of half-times there."""

import numpy as np
import pytest

from transmodal.fusion.estimates import Estimate
from transmodal.fusion.kinetic_fit import KineticFit, fit, fit_many
from transmodal.images.nuclear.decay import decay_constant, mean_over

HALF_LIFE = 6.0067 * 3600
DECAY = decay_constant(HALF_LIFE)
DURATIONS = np.array([10.0] * 6 + [30.0] * 6 + [60.0] * 6 + [300.0] * 9 + [900.0] * 4)
STARTS = np.concatenate([np.cumsum([0.0, *DURATIONS[:-5]]), [5400.0, 9000.0, 14400.0, 21300.0]])
END = STARTS[-1] + DURATIONS[-1]
TWO_ORGANS = ((-15.0, 813.0), (15.0, 1800.0), (-3.0, 5400.0), (3.0, 28800.0))  # %ID, s: one empties, another fills
ONE_ORGAN = ((-30.0, 360.0), (30.0, 5400.0))
STAYING = ((-20.0, 600.0), (20.0, 1e9))

Curve = tuple[tuple[float, float], ...]


def held(curve: Curve, begin: float, end: float, decay: float = 0.0) -> float:
    """The area of exponentials of some half-times, %ID·h."""
    rates = [(amplitude, np.log(2) / life + decay) for amplitude, life in curve]
    return float(sum(a / k * (np.exp(-k * begin) - np.exp(-k * end)) for a, k in rates)) / 3600


def fits(curve: Curve, repeats: int, counts: float = 1.8e6) -> list[KineticFit]:
    means = np.array([held(curve, start, start + long, DECAY) for start, long in zip(STARTS, DURATIONS, strict=True)])
    of_count = means.sum() / counts / (DURATIONS / 3600 * mean_over(HALF_LIFE, STARTS, DURATIONS))
    counted = np.random.default_rng(2).poisson(means * counts / means.sum(), (repeats, len(means))).astype(float)
    return fit_many(
        STARTS, DURATIONS, counted * of_count, np.sqrt(counted) * of_count, half_life=HALF_LIFE, of_count=of_count
    )


def share_held(found: list[KineticFit], name: str, truth: float) -> float:
    return float(np.mean([getattr(each.area, name).holds(truth) for each in found]))


def test_areas_allow_for_models_that_fit_alike() -> None:
    found = fits(TWO_ORGANS, 40)
    assert {each.model for each in found} != {"four exponentials"}  # the true one is not always chosen
    for area in (each.area for each in found):
        assert area is not None and area.tail.low is not None and area.total.low is not None and area.observed.low
        assert area.tail.low >= 0.0 and area.total.low >= area.observed.low
    assert share_held(found, "total", held(TWO_ORGANS, 0, np.inf)) > 0.6
    assert share_held(found, "decaying", held(TWO_ORGANS, 0, np.inf, DECAY)) > 0.6


def test_what_one_model_explains_keeps_its_narrow_areas() -> None:
    found = fits(ONE_ORGAN, 40)
    totals = [each.area.total for each in found if each.area is not None]
    assert np.mean([each.determined for each in totals]) > 0.9
    assert np.median([each.high - each.low for each in totals if each.determined]) < 0.01 * held(ONE_ORGAN, 0, np.inf)  # type: ignore[operator]
    for name, decay in (("total", 0.0), ("decaying", DECAY)):
        assert share_held(found, name, held(ONE_ORGAN, 0, np.inf, decay)) >= 0.8  # 95 % of 40, less three deviations


def test_a_half_time_that_another_model_puts_elsewhere_says_so() -> None:
    found = fits(TWO_ORGANS, 40)
    noted = [each.estimates["clearance_half_time"] for each in found]
    noted = [each for each in noted if "which the frames do not exclude" in each.note]
    effective = [each.estimates["effective_half_life"].note for each in found]
    assert sum(note.startswith("biological: ") and "do not exclude" in note for note in effective) == len(noted)
    assert len(noted) >= 5 and all(each.determined and "four exponentials" in each.note for each in noted)
    assert sum("do not exclude" in each.estimates["clearance_half_time"].note for each in fits(ONE_ORGAN, 40)) <= 4


def test_without_an_end_the_area_with_decay_lies_between_what_was_seen_and_decay_alone() -> None:
    seen = held(STAYING, 0, END, DECAY)
    most = held(STAYING, 0, np.inf, DECAY)
    for each in fits(STAYING, 5):
        assert each.area is not None
        area = each.area.decaying
        assert area.value is None and area.low is not None and area.high is not None
        assert area.low == pytest.approx(seen, rel=0.01) and area.high == pytest.approx(most, rel=0.03)
        assert area.high >= most and "from nothing after the last frame to decay alone" in area.note
        assert area.text().startswith("not determined: ") and " to " in area.text()


def test_without_an_isotope_there_is_no_area_with_decay() -> None:
    values = np.array([held(ONE_ORGAN, s, s + d) * 3600 / d for s, d in zip(STARTS, DURATIONS, strict=True)])
    area = fit(STARTS, DURATIONS, values, 0.01 * values).area
    assert area is not None and area.decaying == Estimate(None, unit="%ID·h", note="no isotope is known")
