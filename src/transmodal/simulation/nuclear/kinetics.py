"""How an agent spreads in the body: linear compartments, solved in closed form.

Everything is injected into the blood at time 0 and leaves it at a total rate K; an organ takes its share and lets go at
its own rate c. Without a way back into the blood every compartment is a sum of exponentials: an organ that the blood
feeds has x(t) = A (exp(-c t) - exp(-K t)), so ln 2 / K is its uptake half-time and ln 2 / c its clearance half-time.
What organs feed (bladder, bowels) has one exponential more for each of them. The solution is that of textbooks on
tracer kinetics: a source a exp(-r t) flowing at rate k into what empties at rate c gives
a k / (c - r) (exp(-r t) - exp(-c t)). Decay is left out of curves, which are %ID brought back to the injection; it
comes in where counts are made. Times in seconds, rates in 1/s.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize_scalar

LEFT = "left"
"""The compartment of what has left the body."""


@dataclass(frozen=True)
class Curve:
    """A sum of exponentials: %ID at t seconds after the injection, decay-corrected to it; 0 before.

    Attributes:
        rates: 1/s, 0 for what stays.
        amplitudes: %ID, one a rate.
    """

    rates: tuple[float, ...]
    amplitudes: tuple[float, ...]

    def at(self, times: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """Return %ID at `times` in seconds, in their shape."""
        times = np.asarray(times, dtype=np.float64)
        exponents = -np.asarray(self.rates) * np.maximum(times, 0.0)[..., None]
        values = (np.asarray(self.amplitudes) * np.exp(exponents)).sum(axis=-1)
        return np.asarray(np.where(times < 0.0, 0.0, values))

    def integral(self, starts: npt.ArrayLike, durations: npt.ArrayLike, decay: float = 0.0) -> npt.NDArray[np.float64]:
        """Return the integral of curve times exp(-decay t) over frames, %ID s; exact.

        Arguments: `starts`, `durations` of frames in seconds; `decay`, the isotope's constant in 1/s.
        """
        first = np.asarray(starts, dtype=np.float64)[..., None]
        last = np.maximum(first + np.asarray(durations, dtype=np.float64)[..., None], 0.0)
        first = np.maximum(first, 0.0)
        rates = np.asarray(self.rates) + decay
        long = last - first
        # (1 - exp(-r d)) / r, which is d where nothing decays
        with np.errstate(invalid="ignore", divide="ignore"):
            within = np.where(rates > 0.0, -np.expm1(-rates * long) / rates, long)
        return np.asarray((np.asarray(self.amplitudes) * np.exp(-rates * first) * within).sum(axis=-1))

    def frame_means(
        self, starts: npt.ArrayLike, durations: npt.ArrayLike, decay: float = 0.0
    ) -> npt.NDArray[np.float64]:
        """Return what a perfect camera says of frames: their mean activity, decay-corrected to the injection, in %ID.

        The mean weighs the frame's beginning more, as its counts do: integral of x exp(-λt) over that of exp(-λt).
        """
        constant = Curve((0.0,), (1.0,)).integral(starts, durations, decay)
        return self.integral(starts, durations, decay) / constant

    def plus(self, other: "Curve", share: float = 1.0) -> "Curve":
        """Return this curve with `share` of another added."""
        sums: dict[float, float] = dict.fromkeys((*self.rates, *other.rates), 0.0)
        for rate, amplitude in zip(self.rates, self.amplitudes, strict=True):
            sums[rate] += amplitude
        for rate, amplitude in zip(other.rates, other.amplitudes, strict=True):
            sums[rate] += share * amplitude
        return Curve(tuple(sums), tuple(sums.values()))

    def peak_time(self) -> float:
        """Return when the curve is highest, s; infinity where it only rises."""
        slowest = min((rate for rate in self.rates if rate > 0.0), default=1.0)
        times = np.concatenate([[0.0], np.geomspace(1e-3, 60.0, 4000) / max((*self.rates, slowest))])
        times = np.concatenate([times, np.geomspace(times[-1], max(60.0 / slowest, times[-1] * 2), 4000)[1:]])
        values = self.at(times)
        best = int(np.argmax(values))
        if best == len(times) - 1 or values[-1] >= values[best] * (1 - 1e-9):
            return math.inf
        if best == 0:
            return 0.0
        found = minimize_scalar(
            lambda time: -float(self.at(time)),
            bounds=(times[best - 1], times[best + 1]),
            method="bounded",
            options={"xatol": 1e-6},
        )
        return float(found.x)


@dataclass(frozen=True)
class Organ:
    """What one organ does with what the blood gives it.

    Attributes:
        share: of what leaves the blood, 0 to 1; 0 for what other organs feed.
        clearance: half-time in seconds; infinity keeps everything.
        into: the organ that receives what this one lets go; "left" for out of the body.
    """

    share: float
    clearance: float = math.inf
    into: str = LEFT


def solve(blood_half_time: float, organs: Mapping[str, Organ]) -> dict[str, Curve]:
    """Solve the compartments.

    Arguments: `blood_half_time` in seconds; `organs` by name, in an order in which each stands before what it feeds.
    Returns the curves of "blood", of all organs and of "left"; they add up to 100 at any time.
    Raises ValueError for shares that do not add up to 1, for an organ that feeds one before it or none, and for two
    rates so near each other that the closed form loses its digits.
    """
    total = sum(organ.share for organ in organs.values())
    if abs(total - 1.0) > 1e-9:
        raise ValueError(f"the shares of what leaves the blood add up to {total:.6g}, not to 1")
    flow = math.log(2.0) / blood_half_time
    inflows: dict[str, list[tuple[Curve, float]]] = {name: [] for name in (*organs, LEFT)}
    solved = {"blood": Curve((flow,), (100.0,))}
    for name, organ in organs.items():
        if organ.share:
            inflows[name].append((solved["blood"], flow * organ.share))
        clearance = math.log(2.0) / organ.clearance
        solved[name] = _filled(name, inflows[name], clearance)
        if organ.into in solved or organ.into not in inflows:
            raise ValueError(f"{name} feeds {organ.into}, which is not among the organs after it")
        if clearance:
            inflows[organ.into].append((solved[name], clearance))
    solved[LEFT] = _filled(LEFT, inflows[LEFT], 0.0)
    return solved


def _filled(name: str, inflows: list[tuple[Curve, float]], clearance: float) -> Curve:
    """Return the content of a compartment that other curves fill."""
    sums = {clearance: 0.0}
    for source, flow in inflows:
        for rate, amplitude in zip(source.rates, source.amplitudes, strict=True):
            if amplitude == 0.0:
                continue
            if abs(clearance - rate) < 1e-4 * max(clearance, rate):
                raise ValueError(f"{name} is filled and emptied at one rate ({rate:.6g} per s); set them apart")
            part = amplitude * flow / (clearance - rate)
            sums[rate] = sums.get(rate, 0.0) + part
            sums[clearance] -= part
    return Curve(tuple(sums), tuple(sums.values()))
