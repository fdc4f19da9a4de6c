"""Compartments in closed form, against numbers got another way."""

import math
from dataclasses import replace

import numpy as np
import pytest
from scipy.integrate import quad, solve_ivp
from scipy.linalg import expm

from transmodal.errors import UserError
from transmodal.images.nuclear.decay import decay_constant
from transmodal.simulation.nuclear.agents import AGENTS, agent_named
from transmodal.simulation.nuclear.kinetics import Curve, Organ, solve

TIMES = np.array([0.0, 5.0, 60.0, 333.0, 1800.0, 7200.0, 6 * 3600.0])


def matrix_of(agent):
    """The compartment matrix: dx/dt = M x, blood first, what has left last."""
    names = ["blood", *agent.organs, "left"]
    matrix = np.zeros((len(names), len(names)))
    flow = math.log(2) / agent.blood
    matrix[0, 0] = -flow
    for row, organ in enumerate(agent.organs.values(), start=1):
        matrix[row, 0] += flow * organ.share
        clearance = math.log(2) / organ.clearance
        matrix[row, row] -= clearance
        matrix[names.index(organ.into), row] += clearance
    return names, matrix


@pytest.mark.parametrize("agent", [agent.drawn(seed) for agent in AGENTS.values() for seed in (1, 2)])
def test_curves_are_what_the_differential_equations_give(agent):
    names, matrix = matrix_of(agent)
    start = np.eye(len(names))[0] * 100
    stepped = solve_ivp(
        lambda _, x: matrix @ x, (0, TIMES[-1]), start, t_eval=TIMES, method="LSODA", rtol=1e-10, atol=1e-10
    )
    curves = agent.compartments()
    for row, name in enumerate(names):
        assert curves[name].at(TIMES) == pytest.approx(stepped.y[row], abs=1e-5), name
        exact = [(expm(matrix * time) @ start)[row] for time in TIMES]
        assert curves[name].at(TIMES) == pytest.approx(exact, abs=1e-9), name


@pytest.mark.parametrize("agent", AGENTS.values())
def test_nothing_is_lost_before_it_has_left(agent):
    for animal in (agent, agent.drawn(3), agent.drawn(4)):
        for curves in (animal.compartments(), animal.curves()):
            assert sum(curve.at(TIMES) for curve in curves.values()) == pytest.approx(np.full(len(TIMES), 100.0))
            assert all((curve.at(TIMES) >= -1e-9).all() for curve in curves.values())


def test_what_leaves_the_body_is_missed_in_it_and_counted_as_left():
    full = replace(AGENTS["mdp"], organs=AGENTS["mdp"].organs | {"bladder": Organ(0.0)})
    assert full.curves()["left"].at(TIMES) == pytest.approx(np.zeros(len(TIMES)))
    emptied = AGENTS["mdp"].curves()
    assert emptied["left"].at(6 * 3600.0) + emptied["bladder"].at(6 * 3600.0) == pytest.approx(
        float(full.curves()["bladder"].at(6 * 3600.0))
    )
    assert emptied["left"].at(6 * 3600.0) > 40


def test_an_animal_whose_rates_meet_is_drawn_again():
    met = replace(AGENTS["mdp"], organs=AGENTS["mdp"].organs | {"bladder": Organ(0.0, 11 * 60.0)})
    with pytest.raises(ValueError, match="one rate"):
        met.curves()
    assert met.drawn(1).curves()["bladder"].at(600.0) > 0


def test_an_organ_that_blood_feeds_is_a_difference_of_two_exponentials():
    curves = solve(300.0, {"kidneys": Organ(0.4, 900.0, "bladder"), "muscle": Organ(0.6), "bladder": Organ(0.0)})
    blood, clearance = math.log(2) / 300, math.log(2) / 900
    amplitude = 100 * 0.4 * blood / (blood - clearance)
    expected = amplitude * (np.exp(-clearance * TIMES) - np.exp(-blood * TIMES))
    assert curves["kidneys"].at(TIMES) == pytest.approx(expected)
    peak = math.log(blood / clearance) / (blood - clearance)
    assert curves["kidneys"].peak_time() == pytest.approx(peak, rel=1e-4)
    assert curves["blood"].peak_time() == 0.0
    assert curves["bladder"].peak_time() == math.inf
    assert curves["muscle"].at(1e6) == pytest.approx(60)


@pytest.mark.parametrize("name", AGENTS)
def test_the_half_times_that_are_told_are_those_of_the_curve(name):
    agent = AGENTS[name].drawn(8)
    curves = agent.curves()
    for place in agent.places:
        uptake, clearance = agent.half_times(place)
        if uptake is None or clearance is None:
            assert place in ("bladder", "gut") or place not in agent.organs or uptake is not None
            continue
        rates = {round(math.log(2) / rate, 6) for rate in curves[place].rates}
        assert rates == {round(uptake, 6), round(clearance, 6)}
        assert clearance > uptake, "uptake and clearance would be taken for each other"
        if place not in agent.blood_in:
            assert sum(curves[place].amplitudes) == pytest.approx(0, abs=1e-9)
            late = 40 * uptake
            half = float(curves[place].at(late + clearance) / curves[place].at(late))
            assert half == pytest.approx(0.5, rel=1e-5)


@pytest.mark.parametrize("decay", [0.0, decay_constant(6586.0)])
def test_integrals_over_frames_are_exact(decay):
    curve = AGENTS["fdg"].drawn(5).curves()["bladder"]
    starts, durations = np.array([0.0, 10.0, 600.0, 5400.0]), np.array([10.0, 50.0, 300.0, 600.0])
    expected = [
        quad(lambda time: float(curve.at(time)) * math.exp(-decay * time), start, start + long)[0]
        for start, long in zip(starts, durations, strict=True)
    ]
    assert curve.integral(starts, durations, decay) == pytest.approx(expected, rel=1e-8)


def test_the_mean_of_what_stays_is_itself_whatever_decays():
    assert Curve((0.0,), (7.0,)).frame_means([0.0, 3000.0], [60.0, 600.0], 1e-4) == pytest.approx([7.0, 7.0])


def test_before_the_injection_there_is_nothing():
    curve = AGENTS["mdp"].curves()["skeleton"]
    assert curve.at([-1.0, 0.0]) == pytest.approx([0.0, 0.0])
    assert curve.integral(-30.0, 60.0) == pytest.approx(curve.integral(0.0, 30.0))
    assert curve.integral(-60.0, 30.0) == 0.0


def test_animals_differ_and_a_seed_gives_the_same_one():
    agent = AGENTS["mdp"]
    assert agent.drawn(1) == agent.drawn(1) != agent.drawn(2)
    shares = [agent.drawn(seed).organs["skeleton"].share for seed in range(200)]
    assert 0.05 < np.std(np.log(shares)) < 0.14
    still = replace(agent, variation=0.0).drawn(1)
    assert still.blood == agent.blood
    assert [organ.share for organ in still.organs.values()] == pytest.approx(
        [organ.share for organ in agent.organs.values()]
    )


def test_impossible_compartments_are_refused():
    with pytest.raises(ValueError, match=r"add up to 0\.5"):
        solve(300.0, {"liver": Organ(0.5)})
    with pytest.raises(ValueError, match="not among the organs after it"):
        solve(300.0, {"gut": Organ(0.5), "liver": Organ(0.5, 60.0, "gut")})
    with pytest.raises(ValueError, match="one rate"):
        solve(300.0, {"liver": Organ(1.0, 300.0)})
    with pytest.raises(UserError, match="mdp, fdg, tumour"):
        agent_named("gold")
