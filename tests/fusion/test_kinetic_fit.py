"""Fits against closed forms: parameters come back, frames are averaged, intervals hold what they promise."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import quad

from transmodal.errors import UserError
from transmodal.fusion.curve_models import MODELS, SIGNED_UNIT, area_between, frame_means, peak_time, value_at
from transmodal.fusion.estimates import Estimate, time_text
from transmodal.fusion.fit_starts import bounds_of
from transmodal.fusion.kinetic_fit import WIDER, KineticFit, fit, fit_many
from transmodal.fusion.least_squares import crossing
from transmodal.fusion.misfit import held
from transmodal.images.nuclear.decay import decay_constant, to_injection

HALF_LIFE = 6.0067 * 3600
DECAY = decay_constant(HALF_LIFE)
DURATIONS = np.array([10.0] * 6 + [30.0] * 6 + [60.0] * 6 + [300.0] * 10 + [600.0] * 2)
STARTS = np.concatenate([np.concatenate([[0.0], np.cumsum(DURATIONS[:-3])]), [7200.0, 14400.0]])
MINUTE = 60.0

THETA = {
    "clearance": [20.0, np.log(2) / (50 * MINUTE)],
    "uptake": [12.0, np.log(2) / (9 * MINUTE)],
    "uptake and clearance": [30.0, np.log(2) / (90 * MINUTE), np.log(2) / (6 * MINUTE)],
    "uptake and clearance beside blood": [14.0, 6.0, np.log(2) / (80 * MINUTE), np.log(2) / (5 * MINUTE)],
    "two clearances": [25.0, 10.0, np.log(2) / (200 * MINUTE), np.log(2) / (6 * MINUTE)],
    "three clearances": [6.0, 10.0, 25.0, np.log(2) / (300 * MINUTE), np.log(2) / (30 * MINUTE), np.log(2) / 60],
    "uptake and two free clearances": [9.0, 20.0, 26.0 / 29.0, np.log(2) / 30000, np.log(2) / 3000, np.log(2) / 200],
    "delayed uptake and clearance": [30.0, 7.0, 36.0 / 37.0, np.log(2) / 12000, np.log(2) / 900, np.log(2) / 90],
    "uptake and two clearances": [25.0, 10.0, np.log(2) / (200 * MINUTE), np.log(2) / (12 * MINUTE), np.log(2) / 60],
    "four exponentials": [9.0, 12.0, -30.0, 10.0, np.log(2) / 30000, np.log(2) / 3000, np.log(2) / 600, np.log(2) / 60],
}


def theta_of(name: str) -> np.ndarray:
    """Parameters as the fit has them: logarithms, and amplitudes of any sign by their arsinh."""
    model, known = MODELS[name], np.array(THETA[name])
    if not model.signed:
        return np.log(known)
    return np.concatenate([np.arcsinh(known[: model.amplitudes] / SIGNED_UNIT), np.log(known[model.amplitudes :])])


def true_means(name: str, starts: np.ndarray = STARTS, durations: np.ndarray = DURATIONS) -> np.ndarray:
    return frame_means(MODELS[name], theta_of(name), starts, durations, DECAY)[0]


def decay_corrected(name: str) -> np.ndarray:
    return true_means(name) * to_injection(HALF_LIFE, STARTS, DURATIONS)


@pytest.mark.parametrize("name", MODELS)
def test_frame_means_and_their_slopes_are_those_of_the_integral(name: str) -> None:
    model, theta = MODELS[name], theta_of(name)
    means, slopes = frame_means(model, theta, STARTS, DURATIONS, DECAY)
    for frame in (0, 13, 28):
        begin, long = STARTS[frame], DURATIONS[frame]
        integral, _ = quad(
            lambda t: value_at(model, theta, [t])[0] * np.exp(-DECAY * t), begin, begin + long, epsrel=1e-12
        )
        assert means[frame] == pytest.approx(integral / long, rel=1e-9)
        assert float(area_between(model, theta, begin, begin + long, DECAY)) == pytest.approx(integral, rel=1e-9)
    for place in range(len(theta)):
        step = np.eye(len(theta))[place] * 1e-5
        above, below = (frame_means(model, theta + sign * step, STARTS, DURATIONS, DECAY)[0] for sign in (1, -1))
        np.testing.assert_allclose(slopes[:, place], (above - below) / 2e-5, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("name", MODELS)
def test_noise_free_parameters_come_back(name: str) -> None:
    values = decay_corrected(name)
    found = fit(STARTS, DURATIONS, values, 0.01 * values.max() * np.ones(30), half_life=HALF_LIFE, models=[name])
    np.testing.assert_allclose(found.theta, theta_of(name), rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(found.means(STARTS, DURATIONS), values, rtol=1e-6)


@pytest.mark.parametrize("name", [name for name, model in MODELS.items() if not model.signed])
def test_no_curve_begins_below_nothing(name: str) -> None:
    model = MODELS[name]
    low, high = bounds_of(model, STARTS, DURATIONS, np.array([10.0]))
    theta = np.random.default_rng(6).uniform(low, high, (2000, len(low)))
    assert (value_at(model, theta, [0.0])[:, 0] >= -1e-9 * np.exp(theta[:, 0])).all()


def test_the_unit_of_values_is_that_of_estimates() -> None:
    values = decay_corrected("clearance")
    options: dict = {"half_life": HALF_LIFE, "models": ["clearance"], "at": (600.0,)}
    found = fit(STARTS, DURATIONS, values, 0.01 * values.max() * np.ones(30), unit="counts/s", **options)
    assert found.unit == found.estimates["peak"].unit == found.at[600.0].unit == "counts/s"
    assert found.area is not None and {found.area.total.unit, found.area.tail.unit} == {"counts/s·h"}
    assert found.estimates["clearance_half_time"].unit == "s"
    few = fit(STARTS[:3], DURATIONS[:3], np.ones(3), 0.1 * np.ones(3), unit="counts/s")
    assert few.unit == "counts/s"


def test_without_averaging_over_frames_long_frames_give_another_half_time() -> None:
    starts = np.arange(6) * 1800.0
    durations = np.full(6, 1800.0)
    rate = np.log(2) / (20 * MINUTE)
    means = frame_means(MODELS["clearance"], np.log([10.0, rate]), starts, durations, 0.0)[0]
    averaged = fit(starts, durations, means, 0.01 * np.ones(6), models=["clearance"])
    at_middles = fit(starts + durations / 2, np.zeros(6), means, 0.01 * np.ones(6), models=["clearance"])
    np.testing.assert_allclose(np.exp(averaged.theta), [10.0, rate], rtol=1e-6)
    assert np.exp(at_middles.theta[0]) > 10.4  # the same frames as if they were moments


def test_a_peak_is_where_the_closed_form_has_it() -> None:
    for name in (each for each, model in MODELS.items() if model.uptake is not None and model.clearance is not None):
        times = np.linspace(1.0, 20000.0, 200_001)
        values = value_at(MODELS[name], theta_of(name), times)
        found = float(peak_time(MODELS[name], theta_of(name), 0.0, 15000.0))
        assert found == pytest.approx(times[values.argmax()], abs=0.2)


def test_a_peak_is_looked_for_only_where_frames_were_taken() -> None:
    model = MODELS["four exponentials"]
    amplitudes, half_times = [400.0, -399.0, 220.0, -210.0], [1e7, 9e6, 400.0, 60.0]  # another rise after days
    theta = np.concatenate(
        [np.arcsinh(np.array(amplitudes) / SIGNED_UNIT), np.log(np.diff(np.log(2) / np.array([np.inf, *half_times])))]
    )
    times = np.linspace(0.0, 15000.0, 150_001)
    values = value_at(model, theta, times)
    assert float(peak_time(model, theta, 0.0, 15000.0)) == pytest.approx(times[values.argmax()], abs=0.2)
    assert float(peak_time(model, theta, 5000.0, 15000.0)) in (5000.0, 15000.0)


SUMS = st.lists(st.tuples(st.floats(0.5, 50.0), st.floats(30.0, 1e5)), min_size=1, max_size=3)


@settings(max_examples=25, deadline=None, derandomize=True)
@given(
    parts=SUMS,
    begin=st.floats(0.0, 300.0),
    frames=st.integers(6, 24),
    counts=st.floats(1.0, 300.0),
    seed=st.integers(0, 99),
)
def test_what_a_fit_says_of_any_curve_is_in_order(
    parts: list[tuple[float, float]], begin: float, frames: int, counts: float, seed: int
) -> None:
    """Whatever falls or rises: ends lie around the value, and the peak is the highest point of the fitted curve."""
    starts = begin + np.concatenate([[0.0], np.geomspace(20.0, 9000.0, frames - 1)])
    durations = np.diff(starts, append=starts[-1] + 600.0)
    middles = starts + durations / 2
    rng = np.random.default_rng(seed)
    signs = rng.choice([-1.0, 1.0], len(parts))
    signs[0] = 1.0
    mean = sum(sign * size * np.exp(-middles / long) for sign, (size, long) in zip(signs, parts, strict=True))
    number = rng.poisson(np.maximum(mean, 0.0) * counts)
    found = fit(
        starts,
        durations,
        number / counts,
        np.sqrt(np.maximum(number, 1)) / counts,
        of_count=np.full(frames, 1 / counts),
    )
    for name, estimate in found.estimates.items():
        if estimate.value is not None and estimate.low is not None and estimate.high is not None:
            assert estimate.low <= estimate.value * (1 + 1e-9) and estimate.value <= estimate.high * (1 + 1e-9), name
    if found.model:
        times = np.linspace(starts[1], found.observed[1], 4001)  # within the first frame nothing is told apart
        peak = found.estimates["peak"]
        assert peak.value is not None and peak.value >= found.curve(times).max() * (1 - 1e-4)
        highest = max(found.curve(np.linspace(starts[0], found.observed[1], 40_001)).max(), 0.0)
        assert found.model == "uptake" or peak.value <= highest * (1 + 1e-3)  # whose peak is a wider model's
        when = found.estimates["peak_time"]
        assert when.value is None or found.observed[0] <= when.value <= found.observed[1]


def odd(values: np.ndarray, **options: object) -> KineticFit:
    """Frames of a minute, of so many counts."""
    deviations = np.sqrt(np.maximum(values, 1.0))
    starts, ones = 60.0 * np.arange(len(values)), np.ones(len(values))
    return fit(starts, 60.0 * ones, values, deviations, half_life=HALF_LIFE, of_count=ones, **options)  # type: ignore[arg-type]


def test_what_stays_has_no_end_and_no_absurd_peak() -> None:
    """Alternatives of which the slopes say nothing once gave 95 % intervals of ten powers of ten."""
    rng = np.random.default_rng(5)
    held = []
    for _ in range(8):
        found = odd(rng.poisson(100, 20).astype(float), at=(600.0,))
        peak, area = found.estimates["peak"], found.area
        assert peak.high is not None and peak.low is not None and peak.high < 200 and peak.low > 60
        assert area is not None and area.tail.value is None and area.total.value is None
        held += [area.observed.holds(100 * 20 * 60 / 3600), found.at[600.0].holds(100.0)]
    assert np.mean(held) >= 0.85


def test_one_hot_frame_is_no_spike_that_nobody_saw() -> None:
    values = np.zeros(20)
    values[0] = 1000.0
    found = odd(values)
    assert found.estimates["peak"].value == pytest.approx(1000, rel=0.02)
    assert found.estimates["peak_time"].high == pytest.approx(60.0)


def test_areas_of_a_rise_are_as_sure_as_their_counts() -> None:
    """A fitted mean near 0 in the first frame once made the observed area a million %ID·h wide."""
    values = np.random.default_rng(1).poisson(np.arange(20) * 100.0).astype(float)
    area = odd(values).area
    assert area is not None and area.observed.low is not None and area.observed.high is not None
    assert area.observed.high - area.observed.low < 0.05 * area.observed.high
    assert area.total.value is None and area.decaying.value is None


def test_at_the_injection_uptake_has_nothing() -> None:
    found = fit(
        STARTS,
        DURATIONS,
        decay_corrected("uptake"),
        0.1 * np.ones(30),
        half_life=HALF_LIFE,
        models=["uptake"],
        at=(0.0,),
    )
    at = found.at[0.0]
    assert (at.value, at.low) == (0.0, 0.0) and at.high is not None and at.high < 1.0


def test_uptake_half_times_of_what_stays_hold_at_high_counts() -> None:
    """With rates bounded at a hundred observations the interval held in seven of ten."""
    rng = np.random.default_rng(2)
    theta = np.log([10.0, np.log(2) / 900.0])
    means = frame_means(MODELS["uptake"], theta, STARTS, DURATIONS, DECAY)[0]
    scale = 30.0 * DURATIONS
    one = to_injection(HALF_LIFE, STARTS, DURATIONS) / scale
    counts = rng.poisson(means * scale, (60, 30))
    fits = fit_many(
        STARTS, DURATIONS, counts * one, np.sqrt(np.maximum(counts, 1)) * one, half_life=HALF_LIFE, of_count=one
    )
    held = [each.estimates["uptake_half_time"].holds(900.0) for each in fits if "uptake_half_time" in each.estimates]
    assert len(held) >= 55 and np.mean(held) >= 0.9


def test_an_end_of_an_interval_lies_on_its_own_side() -> None:
    """A look that could not be pulled outwards lies on the other side of the value; nothing ends there."""
    risen = np.array([0.2, 0.3, 1.5])
    assert crossing(1.0, np.array([1.1, 0.4, 1.3]), risen, 1.0) == pytest.approx(1.1 + 0.8 / 1.3 * 0.2)
    assert crossing(1.0, np.array([0.9, 1.6, 0.7]), risen, -1.0) == pytest.approx(0.9 - 0.8 / 1.3 * 0.2)
    assert crossing(1.0, np.array([1.1, 0.4, 0.3]), risen, 1.0) == np.inf


@pytest.mark.parametrize("name", ["clearance", "two clearances", "three clearances", "four exponentials"])
def test_what_falls_from_the_start_has_its_peak_there(name: str) -> None:
    falling = "three clearances"
    values = decay_corrected(falling)
    found = fit(STARTS, DURATIONS, values, 0.02 * values.max() * np.ones(30), half_life=HALF_LIFE, models=[name])
    when = found.estimates["peak_time"]
    assert when.value == 0.0 and when.low == 0.0 and when.high is not None and 10.0 <= when.high < 1200.0
    assert when.note == "at or before the first frame"


def test_four_exponentials_follow_several_organs_over_each_other() -> None:
    """Blood, an organ that takes up and lets go, and one that only begins later: nothing with three rates holds."""
    rates = np.log(2) / np.array([14 * MINUTE, 30 * MINUTE, 100 * MINUTE, 4e9])
    amplitudes = np.array([16.0, -20.0, -30.0, 40.0])
    theta = np.concatenate([np.arcsinh(amplitudes[::-1] / SIGNED_UNIT), np.log(np.diff(rates[::-1], prepend=0.0))])
    means = frame_means(MODELS["four exponentials"], theta, STARTS, DURATIONS, DECAY)[0]
    scale = 3000.0 * DURATIONS
    rng = np.random.default_rng(5)
    one = to_injection(HALF_LIFE, STARTS, DURATIONS) / scale
    counts = rng.poisson(means * scale)
    found = fit(STARTS, DURATIONS, counts * one, np.sqrt(counts) * one, half_life=HALF_LIFE, of_count=one, at=(3600.0,))
    assert found.model == "four exponentials" and found.p > 0.01
    assert found.at[3600.0].holds(float(value_at(MODELS["four exponentials"], theta, [3600.0])[0]))
    assert "uptake_half_time" not in found.estimates


def noisy(name: str, repeats: int, counts_of_percent: float, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Poisson counts of a region over a background that is measured beside it on the same area."""
    rng = np.random.default_rng(seed)
    scale = counts_of_percent * DURATIONS
    expected = true_means(name) * scale
    beside = 2.0 * scale * np.exp(-DECAY * STARTS)
    region, background = rng.poisson(expected + beside, (repeats, 30)), rng.poisson(beside, (repeats, 30))
    one = to_injection(HALF_LIFE, STARTS, DURATIONS) / scale
    return (region - background) * one, np.sqrt(region + background) * one, one


def half_left(name: str, last: float = 15000.0) -> float:
    """When half of the peak has left, s, looked up on the true curve; infinite where it has not at the end."""
    times = np.linspace(0.0, last, 600_001)
    values = value_at(MODELS[name], theta_of(name), times)
    mean = float(frame_means(MODELS[name], theta_of(name), STARTS[:1], DURATIONS[:1], 0.0)[0][0])
    top = max(mean, values[times >= DURATIONS[0]].max())
    when = 0.0 if top == mean else times[values.argmax()]
    after = np.flatnonzero((values < top / 2) & (times > when))
    return float(times[after[0]]) if after.size else np.inf


@pytest.mark.parametrize("name", MODELS)
def test_half_of_the_peak_has_left_where_the_curve_says_so(name: str) -> None:
    values = decay_corrected(name)
    found = fit(STARTS, DURATIONS, values, 0.002 * values.max() * np.ones(30), half_life=HALF_LIFE, models=[name])
    estimate, truth = found.estimates["half_left_time"], half_left(name)
    if np.isinf(truth):
        assert estimate.value is None and estimate.holds(15000.0) and "more than half" in estimate.note
    else:
        assert estimate.value == pytest.approx(truth, rel=1e-3)
        assert estimate.low is not None and estimate.low < truth


@pytest.mark.parametrize("name", ["uptake and clearance", "clearance"])
def test_intervals_hold_the_truth_in_nineteen_of_twenty_repeats(name: str) -> None:
    """Of 200 repeats with all models 94.0 to 98.0 % hold, by quantity; with two other seeds it is 92.5 to 98.5 %."""
    values, deviations, one = noisy(name, 200, 2.0, seed=11)
    fits = fit_many(STARTS, DURATIONS, values, deviations, half_life=HALF_LIFE, of_count=one)
    theta = theta_of(name)
    rates = MODELS[name].terms(theta).rates
    biological = np.log(2) / rates[0]
    when = float(peak_time(MODELS[name], theta, 0.0, 15000.0))
    truth = {
        "clearance_half_time": biological,
        "effective_half_life": 1 / (1 / biological + 1 / HALF_LIFE),
        "peak_time": when,
        "peak": float(value_at(MODELS[name], theta, [when])[0]),
        "half_left_time": half_left(name),
    }
    if name == "clearance":  # its peak is the mean of the first frame
        truth["peak"] = float(frame_means(MODELS[name], theta, STARTS[:1], DURATIONS[:1], 0.0)[0][0])
    if name != "clearance":
        truth["uptake_half_time"] = np.log(2) / rates[1]
    for quantity, value in truth.items():
        known = [each.estimates[quantity] for each in fits if quantity in each.estimates]
        held = [each.holds(value) for each in known if each.determined]  # open intervals hold all too easily
        assert len(held) >= 195 and np.mean(held) >= 0.93, (quantity, len(held), np.mean(held))
    total = float(area_between(MODELS[name], theta, 0.0, np.inf)) / 3600
    assert np.mean([each.area.total.holds(total) for each in fits if each.area is not None]) >= 0.93


def test_intervals_are_not_wider_than_needed() -> None:
    name = "uptake and clearance"
    values, deviations, one = noisy(name, 100, 2.0, seed=12)
    fits = fit_many(STARTS, DURATIONS, values, deviations, half_life=HALF_LIFE, of_count=one, models=[name])
    found = np.array([each.estimates["clearance_half_time"].value for each in fits], dtype=float)
    half = [
        (each.estimates["clearance_half_time"].high - each.estimates["clearance_half_time"].low) / 2  # type: ignore[operator]
        for each in fits
    ]
    assert np.mean(half) == pytest.approx(1.96 * found.std(), rel=0.2)
    assert found.mean() == pytest.approx(90 * MINUTE, rel=0.01)


@pytest.mark.parametrize("name", ["clearance", "uptake and clearance", "two clearances"])
def test_the_model_that_made_the_curve_is_chosen_and_said(name: str) -> None:
    values, deviations, one = noisy(name, 1, 10.0, seed=3)
    found = fit(STARTS, DURATIONS, values[0], deviations[0], half_life=HALF_LIFE, of_count=one)
    assert found.model == name and found.said[0].startswith(f"Model by AIC: {name}")


def test_half_times_far_beyond_the_observation_are_no_numbers() -> None:
    rate = np.log(2) / 5e6
    means = frame_means(MODELS["uptake and clearance"], np.log([10.0, rate, 2e-3]), STARTS, DURATIONS, DECAY)[0]
    values = means * to_injection(HALF_LIFE, STARTS, DURATIONS)
    found = fit(STARTS, DURATIONS, values, 0.01 * values.max() * np.ones(30), half_life=HALF_LIFE)
    estimate = found.estimates["clearance_half_time"]
    assert estimate.value is None and estimate.text().startswith("not determined: > ") and estimate.holds(5e6)
    assert found.area is not None and found.area.total.value is None
    effective = found.estimates["effective_half_life"]
    assert effective.high == pytest.approx(HALF_LIFE) and "at most the physical half-life" in effective.note


def test_per_cent_at_given_times_and_areas_are_those_of_the_curve() -> None:
    values = decay_corrected("uptake and clearance")
    found = fit(
        STARTS, DURATIONS, values, 0.002 * values.max() * np.ones(30), half_life=HALF_LIFE, at=(3600.0, 30000.0)
    )
    theta = np.log(THETA["uptake and clearance"])
    for time, estimate in found.at.items():
        assert estimate.value == pytest.approx(value_at(MODELS["uptake and clearance"], theta, [time])[0], rel=1e-4)
        assert estimate.low < estimate.value < estimate.high  # type: ignore[operator]
    assert found.area is not None
    whole = float(area_between(MODELS["uptake and clearance"], theta, 0.0, np.inf)) / 3600
    late = float(area_between(MODELS["uptake and clearance"], theta, 15000.0, np.inf)) / 3600
    assert found.area.total.value == pytest.approx(whole, rel=1e-4)
    assert found.area.tail_share == pytest.approx(late / whole, rel=1e-4)
    decaying = float(area_between(MODELS["uptake and clearance"], theta, 0.0, np.inf, DECAY)) / 3600
    assert found.area.decaying.value == pytest.approx(decaying, rel=1e-4)


def test_a_tail_that_adds_nothing_leaves_the_total_determined() -> None:
    """After ten half-times a thousandth is left, whatever its own interval."""
    rate = np.log(2) / 1400.0
    means = frame_means(MODELS["clearance"], np.log([10.0, rate]), STARTS, DURATIONS, DECAY)[0]
    values = means * to_injection(HALF_LIFE, STARTS, DURATIONS)
    sd = 0.1 * values.max()
    noisy_values = values + np.random.default_rng(1).normal(0, sd, 30)
    found = fit(STARTS, DURATIONS, noisy_values, sd * np.ones(30), half_life=HALF_LIFE, models=["clearance"])
    assert found.area is not None
    assert found.area.tail.value is None and found.area.total.determined
    assert found.area.total.holds(10.0 / rate / 3600)
    flexible = fit(STARTS, DURATIONS, noisy_values, sd * np.ones(30), half_life=HALF_LIFE, models=["four exponentials"])
    assert flexible.area is not None  # of which nothing is known is given no interval that goes below nothing
    assert flexible.area.decaying.value is None or (flexible.area.decaying.low or 0.0) >= 0.0


def test_frames_that_scatter_more_than_counts_widen_the_intervals() -> None:
    rng = np.random.default_rng(8)
    values = decay_corrected("clearance")
    spread = 0.01 * values.max()
    worse = values + rng.normal(0, 4 * spread, 30)
    one, other = (
        fit(STARTS, DURATIONS, own, spread * np.ones(30), half_life=HALF_LIFE, models=["clearance"])
        for own in (values, worse)
    )
    wide = [each.estimates["peak"].high / each.estimates["peak"].low - 1 for each in (one, other)]  # type: ignore[operator]
    assert wide[1] > 3 * wide[0] and any("scatter more" in line for line in other.said)


def test_nothing_and_too_little_are_not_fitted() -> None:
    rng = np.random.default_rng(2)
    nothing = fit(STARTS, DURATIONS, rng.normal(0, 1, 30), np.ones(30))
    assert not nothing.model and "No net activity" in nothing.said[0]
    few = fit(STARTS[:3], DURATIONS[:3], np.ones(3), 0.1 * np.ones(3))
    assert "3 frames after the injection are too few" in few.said[0]
    with pytest.raises(UserError, match="no curve was fitted: 3 frames"):
        few.curve([1.0])


def test_frames_before_the_injection_take_no_part() -> None:
    values = np.concatenate([[0.5], decay_corrected("clearance")])
    found = fit(
        np.concatenate([[-100.0], STARTS]), np.concatenate([[60.0], DURATIONS]), values, 0.1 * np.ones(31),
        half_life=HALF_LIFE, models=["clearance"],
    )  # fmt: skip
    np.testing.assert_allclose(np.exp(found.theta), THETA["clearance"], rtol=1e-6)


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({"values": np.ones(4)}, "30 beginnings of frames but 4 values"),
        ({"values": np.full(30, np.nan)}, "is not a finite number"),
        ({"deviations": -np.ones(30)}, "is below 0"),
        ({"models": ["gamma variate"]}, "there is no model 'gamma variate'"),
        ({"half_life": 6.0}, "give the half-life and the times in seconds"),
    ],
)
def test_bad_curves_are_refused_in_one_line(changed: dict, expected: str) -> None:
    curve = {"starts": STARTS, "durations": DURATIONS, "values": np.ones(30), "deviations": np.ones(30), **changed}
    if len(curve["values"]) != 30:
        curve["deviations"] = np.ones(len(curve["values"]))
    with pytest.raises(UserError, match=expected):
        fit(**curve)


def test_estimates_are_written_for_people() -> None:
    assert Estimate(3600.0, 3000.0, 4200.0, "s").sentence() == "60 min (95 %: 50 min to 70 min)"
    assert Estimate(None, 9e3, np.inf, "s").text() == "not determined: > 2.5 h"
    assert Estimate(None, 0.0, 30.0, "s").text() == "not determined: < 30 s"
    assert time_text(45.0) == "45 s" and time_text(5 * 86400) == "5 d"
    assert KineticFit().model == ""


def test_what_is_said_of_a_model_that_does_not_hold_does_not_contradict_itself() -> None:
    starts = np.arange(12) * 60.0
    values = np.full(12, 5.0) * np.exp(-starts / 2000)
    values[5] *= 3  # one frame is hot
    fitted = fit(starts, np.full(12, 60.0), values, np.full(12, 0.05), half_life=21624.0)
    assert WIDER in fitted.said and "not excluded" not in " ".join(fitted.said)
    said = " ".join(held(fitted).said)
    assert "no interval is given" in said and "wider" not in said and "not excluded" not in said
