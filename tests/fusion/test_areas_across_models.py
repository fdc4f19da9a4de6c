"""Areas where several models fit alike, and what is said of half-times there."""

import numpy as np
import pytest

from transmodal.fusion import kinetic_fit
from transmodal.fusion.estimates import Estimate
from transmodal.fusion.fit_areas import Area, across_models
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


def counted(curve: Curve, repeats: int, counts: float = 1.8e6) -> tuple[np.ndarray, np.ndarray]:
    """Values (repeats, F) with Poisson noise, and what one count adds (F,)."""
    means = np.array([held(curve, start, start + long, DECAY) for start, long in zip(STARTS, DURATIONS, strict=True)])
    of_count = means.sum() / counts / (DURATIONS / 3600 * mean_over(HALF_LIFE, STARTS, DURATIONS))
    many = np.random.default_rng(2).poisson(means * counts / means.sum(), (repeats, len(means)))
    return many * of_count, of_count


def fits(curve: Curve, repeats: int) -> list[KineticFit]:
    values, of_count = counted(curve, repeats)
    deviations = np.sqrt(values * of_count)
    return fit_many(STARTS, DURATIONS, values, deviations, half_life=HALF_LIFE, of_count=of_count)


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
    noted = [each for each in noted if "as near by AIC" in each.note]
    effective = [each.estimates["effective_half_life"].note for each in found]
    assert sum(note.startswith("biological: ") and "as near by AIC" in note for note in effective) == len(noted)
    assert len(noted) >= 5 and all(each.determined and "four exponentials" in each.note for each in noted)
    assert sum("as near by AIC" in each.estimates["clearance_half_time"].note for each in fits(ONE_ORGAN, 40)) <= 4


def test_without_an_end_the_area_with_decay_lies_between_what_was_seen_and_decay_alone() -> None:
    seen = held(STAYING, 0, END, DECAY)
    most = held(STAYING, 0, np.inf, DECAY)
    for each in fits(STAYING, 5):
        assert each.area is not None
        area = each.area.decaying
        assert area.value is None and area.low is not None and area.high is not None
        assert area.low == pytest.approx(seen, rel=0.01) and area.high == pytest.approx(most, rel=0.05)
        assert area.high >= most and "from nothing after the last frame to decay alone" in area.note
        assert area.text().startswith("not determined: ") and " to " in area.text()


@pytest.mark.parametrize("uptake", [4 * 3600.0, 20 * 3600.0])
def test_the_area_with_decay_holds_the_truth_while_the_curve_still_rises(uptake: float) -> None:
    rising = ((-20.0, uptake), (20.0, 1e9))
    assert share_held(fits(rising, 40), "decaying", held(rising, 0, np.inf, DECAY)) >= 0.8


def hand_made(total: float, width: float, end: bool = True) -> Area:
    """An area whose total is known to ± width, or open."""
    seen = Estimate(10.0, 9.9, 10.1, "%ID·h")
    known = Estimate(total, total - width, total + width) if end else Estimate(None, 10.0, np.inf)
    return Area(
        seen, 10.0, 0.0, known, known, 0.5 if end else np.nan, Estimate(total / 2, total / 2 - 1, total / 2 + 1)
    )


def test_each_curve_is_widened_by_its_own_models_alone() -> None:
    chosen = [hand_made(total, 1.0) for total in (20.0, 30.0, 40.0, 50.0)]
    others = [
        [hand_made(25.0, 1.0), hand_made(0.0, 0.0), hand_made(99.0, 9.0, end=False), hand_made(99.0, 9.0, end=False)],
        [hand_made(0.0, 0.0), hand_made(28.0, 3.0), hand_made(0.0, 0.0), hand_made(0.0, 0.0)],
    ]
    scores = np.array([[-0.5, 9.0, 1.0, -1.0], [9.0, 1.0, 9.0, 9.0]])
    weights = np.array([[0.4, 0.7, 0.6, 0.4], [0.6, 0.0, 0.4, 0.6], [0.0, 0.3, 0.0, 0.0]])
    first, second, third, fourth = across_models(chosen, scores, weights, others)
    assert first.total.value == 20.0 and first.total.low == pytest.approx(19.0, abs=0.3)
    assert first.total.high == pytest.approx(25.9, abs=0.3)
    assert (
        second.total.low is not None
        and 25.0 < second.total.low < 28.0
        and second.total.high == pytest.approx(31, abs=1)
    )
    assert third.total == chosen[2].total  # a worse model that sees no end says nothing
    assert fourth.total.value is None and fourth.total.high == np.inf and np.isnan(fourth.tail_share)
    assert fourth.tail.value is None and "no worse" in fourth.tail.note and fourth.decaying.value == 25.0
    assert [each.observed for each in (first, second, third, fourth)] == [area.observed for area in chosen]


def test_a_curve_alone_and_among_others_has_the_same_areas() -> None:
    curves = [counted(curve, 4) for curve in (ONE_ORGAN, TWO_ORGANS)]
    values, of_count = np.concatenate([each for each, _ in curves]), curves[0][1]
    deviations = np.sqrt(values * of_count)
    how = {"half_life": HALF_LIFE, "models": ["uptake and clearance", "uptake and two clearances", "four exponentials"]}
    together = fit_many(STARTS, DURATIONS, values, deviations, **how)  # type: ignore[arg-type]
    for own, value, deviation in zip(together, values, deviations, strict=True):
        alone = fit(STARTS, DURATIONS, value, deviation, **how)  # type: ignore[arg-type]
        assert alone.area is not None and own.area is not None and alone.model == own.model
        for name in ("observed", "tail", "total", "decaying"):
            one, other = getattr(alone.area, name), getattr(own.area, name)
            assert (one.value is None) == (other.value is None)
            ends = [(one.low, other.low), (one.high, other.high)]
            assert all(a == b or a == pytest.approx(b, rel=1e-3) for a, b in ends)


def test_weights_and_scores_are_those_of_their_models(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def listen(chosen: list[Area], scores: np.ndarray, weights: np.ndarray, every: object) -> list[Area]:
        asked.append((scores, weights))
        return chosen

    monkeypatch.setattr(kinetic_fit, "across_models", listen)
    values, of_count = counted(ONE_ORGAN, 4)
    for value in values:
        how = {"half_life": HALF_LIFE, "models": ["four exponentials", "uptake and clearance", "two clearances"]}
        found = fit(STARTS, DURATIONS, value, np.sqrt(value * of_count), **how)  # type: ignore[arg-type]
        if not asked:
            continue  # the other models had no weight
        (scores, weights), above = asked.pop(), found.aic["four exponentials"]
        assert found.model == "uptake and clearance" and scores.tolist() == [[above]]
        assert weights[0, 0] / weights[1, 0] == pytest.approx(np.exp(0.5 * above))
        break
    else:
        raise AssertionError("no curve left two models open")


def test_without_an_isotope_there_is_no_area_with_decay() -> None:
    values = np.array([held(ONE_ORGAN, s, s + d) * 3600 / d for s, d in zip(STARTS, DURATIONS, strict=True)])
    area = fit(STARTS, DURATIONS, values, 0.01 * values).area
    assert area is not None and area.decaying == Estimate(None, unit="%ID·h", note="no isotope is known")
