"""Schedules, and counts: expected ones in closed form, noisy ones by Poisson."""

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from transmodal.errors import UserError
from transmodal.images.note import NOTICE
from transmodal.images.nuclear.decay import to_injection
from transmodal.images.nuclear.isotopes import ISOTOPES
from transmodal.simulation.nuclear.agents import AGENTS
from transmodal.simulation.nuclear.camera import GammaCamera
from transmodal.simulation.nuclear.frames import Scan, Schedule, draw_injection
from transmodal.simulation.nuclear.kinetics import Curve

TC = ISOTOPES["Tc-99m"]
UNITS = {"s": 1.0, "min": 60.0, "h": 3600.0}


@given(
    st.lists(
        st.tuples(st.integers(1, 30), st.integers(1, 50), st.sampled_from(["s", "min"]), st.integers(0, 3)),
        min_size=1,
        max_size=8,
    )
)
def test_schedules_read_what_was_written(parts):
    text, starts, durations, now = [], [], [], 0.0
    for count, long, unit, wait in parts:
        if wait:
            now = math.ceil(now) + 60.0 * wait
            text.append(f"@{now:g}s" if now < 1e6 else f"@{now:.0f}s")
        text.append(f"{count}x{long}{unit}")
        for _ in range(count):
            starts.append(now)
            durations.append(long * UNITS[unit])
            now += long * UNITS[unit]
    if now > 48 * 3600:
        with pytest.raises(UserError, match="48 h"):
            Schedule.parse(",".join(text))
        return
    schedule = Schedule.parse(" , ".join(text))
    assert schedule.starts == pytest.approx(starts)
    assert schedule.durations == pytest.approx(durations)


@given(st.text(alphabet="0123456789xsminh@,. ", max_size=20))
def test_any_text_is_read_or_refused(text):
    try:
        schedule = Schedule.parse(text)
    except UserError as error:
        assert "frames" in str(error)
        return
    starts, durations = np.array(schedule.starts), np.array(schedule.durations)
    assert (durations > 0).all()
    assert (starts[1:] >= (starts + durations)[:-1] - 1e-6).all()


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "no part"),
        ("6x10", "'6x10' is no part"),
        ("6*10s", "6x10s,10x5min"),
        ("0x10s", "takes no time"),
        ("5x0s", "takes no time"),
        ("60x1min,@30min,5min", "@30min lies before"),
        ("@2h", "no frame"),
        ("60x1h", "48 h"),
        ("99999x1s", "2000 frames"),
        ("10s,,10s", "'' is no part"),
        ("10m", "'10m' is no part"),
    ],
)
def test_bad_schedules_are_refused_by_what_is_wrong(text, told):
    with pytest.raises(UserError, match=told.replace("*", r"\*")):
        Schedule.parse(text)


@pytest.mark.parametrize("agent", AGENTS.values())
def test_usual_schedules_have_an_hour_of_frames_and_late_ones(agent):
    schedule = Schedule.parse(agent.schedule)
    ends = np.array(schedule.starts) + np.array(schedule.durations)
    assert 3600.0 in ends
    assert max(schedule.starts) >= 7200.0


def scan_of(curve, *, schedule="4x30s,@1h,10min", activity=20e6, **camera):
    """An organ on a quarter of the pixels of a small camera."""
    camera = GammaCamera(pixel=5.0, **{"background": 0.0, "saturation": 2**31} | camera)
    place = np.zeros(camera.shape)
    place[:5, :10] = camera.sensitivity * 1e-6 / 50
    injection = draw_injection(activity, TC, np.random.default_rng(0))
    return Scan("test", TC, activity, injection, {"organ": curve}, {"organ": place}, camera, Schedule.parse(schedule))


def test_expected_counts_are_sensitivity_times_activity_times_time_with_decay():
    scan = scan_of(Curve((0.0,), (100.0,)), schedule="10x1min,@6.0067h,1s")
    counts = scan.expected().sum(axis=(1, 2))
    factor = to_injection(TC.half_life, scan.schedule.starts, scan.schedule.durations)
    assert counts * factor / np.array(scan.schedule.durations) == pytest.approx(np.full(11, 210 * 20.0), rel=1e-9)
    assert counts[-1] == pytest.approx(210 * 10.0, rel=1e-4)


def test_percent_id_comes_back_from_counts_without_noise():
    curve = AGENTS["mdp"].curves()["kidneys"]
    scan = scan_of(curve, schedule=AGENTS["mdp"].schedule)
    starts, durations = scan.schedule.starts, scan.schedule.durations
    rate = scan.expected().sum(axis=(1, 2)) / np.array(durations) * to_injection(TC.half_life, starts, durations)
    percent = 100 * rate / 210 / (scan.injection.activity(TC) / 1e6)
    assert percent == pytest.approx(curve.frame_means(starts, durations, scan.decay), rel=1e-9)


def test_counts_are_poisson():
    scan = scan_of(Curve((0.0,), (100.0,)), schedule="1s", activity=10e6, background=0.1)
    expected = scan.expected()
    draws = np.stack([scan.count(np.random.default_rng(seed)).frames for seed in range(400)]).astype(float)
    lit = expected > 10
    assert draws.mean(axis=0)[lit].mean() == pytest.approx(expected[lit].mean(), rel=0.01)
    assert draws.var(axis=0, ddof=1)[lit].mean() == pytest.approx(expected[lit].mean(), rel=0.03)
    assert draws.mean(axis=0)[~lit].mean() == pytest.approx(0.1 * 25, rel=0.02)


def test_contributions_and_background_make_up_what_is_expected():
    scan = scan_of(AGENTS["fdg"].curves()["heart"], background=0.004)
    parts = scan.contribution("organ") + scan.background()[:, None, None]
    assert scan.expected() == pytest.approx(parts)
    assert scan.background() == pytest.approx(0.004 * 25 * np.array(scan.schedule.durations))


def test_saturated_pixels_stand_at_the_limit_and_are_told():
    scan = scan_of(Curve((0.0,), (100.0,)), saturation=65535)
    series = scan.count(np.random.default_rng(1))
    assert series.frames.dtype == np.uint16
    assert (series.frames[:, :5, :10][4] == 65535).sum() == series.saturated()[4] == 0 or series.saturated()[4] == 50
    low = replace(scan, camera=replace(scan.camera, saturation=100)).count(np.random.default_rng(1))
    assert low.frames.max() == 100
    assert low.saturated()[:4].tolist() == [50] * 4
    wide = scan_of(Curve((0.0,), (100.0,)), activity=1e9).count(np.random.default_rng(1))
    assert wide.frames.dtype == np.uint32
    assert wide.frames.max() > 65535


def test_a_series_says_what_is_known_of_it():
    series = scan_of(Curve((0.0,), (100.0,))).count(np.random.default_rng(1))
    assert series.isotope is TC
    assert series.sensitivity == 210.0
    assert NOTICE in series.source.derivation
    assert series.spacing == (5.0, 5.0)


@pytest.mark.parametrize("seed", range(5))
def test_the_syringe_gives_the_injected_activity(seed):
    for isotope in (TC, ISOTOPES["F-18"]):
        injection = draw_injection(17e6, isotope, np.random.default_rng(seed))
        assert injection.activity(isotope) == pytest.approx(17e6, rel=1e-12)
        assert injection.before_at < 0 < injection.after_at
        assert injection.after > 0
