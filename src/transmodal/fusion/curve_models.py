"""Models of a region's activity over time: sums of exponentials, averaged over each frame in closed form.

b(t) = Σ aₖ·exp(−λₖt) is what the compound does, mostly in per cent of the injected activity, without decay; t = 0 is
the injection, at which b is not negative (of four exponentials only as far as the frames say so). A frame from s to
s + d, in which the isotope decays with λ, counts on average Σ aₖ·exp(−Λₖs)·(1 − exp(−Λₖd)) / (Λₖd), Λₖ = λₖ + λ.
Parameters are logarithms, so that amplitudes, shares and rates stay above 0; amplitudes of any sign are
arsinh(a / `SIGNED_UNIT`). All functions take parameters (…, P), many fits at once.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
_LOOKS = 60  # at a curve without closed form of its peak
_HALVINGS = 26
OF_SEVERAL = ("three clearances", "four exponentials")
"""Models of what several organs together do: none of their rates is one organ's."""
SIGNED_UNIT = 1e-3
"""Amplitudes of any sign are followed on a scale that is linear below this and logarithmic far above."""


@dataclass(frozen=True)
class Terms:
    """Amplitudes and rates of the exponentials, (…, K), and their derivatives by the parameters, (…, K, P)."""

    amplitudes: Array
    rates: Array
    by_amplitude: Array
    by_rate: Array


def _clearance(theta: Array) -> Terms:
    size, rate = np.exp(theta[..., 0]), np.exp(theta[..., 1])
    by_size, by_rate = np.zeros((2, *theta.shape[:-1], 1, 2))
    by_size[..., 0, 0], by_rate[..., 0, 1] = size, rate
    return Terms(size[..., None], rate[..., None], by_size, by_rate)


def _uptake_and_clearance(theta: Array) -> Terms:
    size, slow, more = np.exp(np.moveaxis(theta, -1, 0))
    by_size, by_rate = np.zeros((2, *theta.shape[:-1], 2, 3))
    by_size[..., 0, 0], by_size[..., 1, 0] = size, -size
    by_rate[..., 0, 1] = by_rate[..., 1, 1] = slow
    by_rate[..., 1, 2] = more
    return Terms(np.stack([size, -size], -1), np.stack([slow, slow + more], -1), by_size, by_rate)


def _uptake_beside_blood(theta: Array) -> Terms:
    taken, first, slow, more = np.exp(np.moveaxis(theta, -1, 0))
    by_size, by_rate = np.zeros((2, *theta.shape[:-1], 2, 4))
    by_size[..., 0, 0], by_size[..., 1, 0], by_size[..., 0, 1] = taken, -taken, first
    by_rate[..., 0, 2] = by_rate[..., 1, 2] = slow
    by_rate[..., 1, 3] = more
    return Terms(np.stack([taken + first, -taken], -1), np.stack([slow, slow + more], -1), by_size, by_rate)


def _two_clearances(theta: Array) -> Terms:
    fast_size, slow_size, slow, more = np.exp(np.moveaxis(theta, -1, 0))
    by_size, by_rate = np.zeros((2, *theta.shape[:-1], 2, 4))
    by_size[..., 0, 0], by_size[..., 1, 1] = fast_size, slow_size
    by_rate[..., 0, 2] = by_rate[..., 1, 2] = slow
    by_rate[..., 0, 3] = more
    return Terms(np.stack([fast_size, slow_size], -1), np.stack([slow + more, slow], -1), by_size, by_rate)


def _uptake(theta: Array) -> Terms:
    size, rate = np.exp(theta[..., 0]), np.exp(theta[..., 1])
    by_size, by_rate = np.zeros((2, *theta.shape[:-1], 2, 2))
    by_size[..., 0, 0], by_size[..., 1, 0], by_rate[..., 1, 1] = size, -size, rate
    return Terms(np.stack([size, -size], -1), np.stack([np.zeros_like(rate), rate], -1), by_size, by_rate)


def _uptake_and_two_clearances(theta: Array) -> Terms:
    fast_size, slow_size, slow, more, most = np.exp(np.moveaxis(theta, -1, 0))
    by_size, by_rate = np.zeros((2, *theta.shape[:-1], 3, 5))
    by_size[..., 0, 0], by_size[..., 1, 1] = fast_size, slow_size
    by_size[..., 2, 0], by_size[..., 2, 1] = -fast_size, -slow_size
    by_rate[..., :, 2] = slow[..., None]
    by_rate[..., 0, 3] = by_rate[..., 2, 3] = more
    by_rate[..., 2, 4] = most
    sizes = np.stack([fast_size, slow_size, -fast_size - slow_size], -1)
    return Terms(sizes, np.stack([slow + more, slow, slow + more + most], -1), by_size, by_rate)


def _three_clearances(theta: Array) -> Terms:
    sizes, (rates, by_rate) = np.exp(theta[..., :3]), _rising_rates(theta)
    by_size = np.zeros((*theta.shape[:-1], 3, 6))
    for term in range(3):
        by_size[..., term, term] = sizes[..., term]
    return Terms(sizes, rates, by_size, by_rate)


def _uptake_among_three(uptake: int) -> Callable[[Array], Terms]:
    """Return the exponentials of three rates, the slowest first, of which one is taken up.

    Its amplitude is a share, at most all, of the two others together, so that the curve does not begin below 0.
    """
    others = [term for term in range(3) if term != uptake]

    def terms(theta: Array) -> Terms:
        sizes, (rates, by_rate) = np.empty((*theta.shape[:-1], 3)), _rising_rates(theta)
        sizes[..., others] = np.exp(theta[..., :2])
        share = np.exp(theta[..., 2])
        sizes[..., uptake] = -share * sizes[..., others].sum(-1)
        by_size = np.zeros((*theta.shape[:-1], 3, 6))
        for place, term in enumerate(others):
            by_size[..., term, place] = sizes[..., term]
            by_size[..., uptake, place] = -share * sizes[..., term]
        by_size[..., uptake, 2] = sizes[..., uptake]
        return Terms(sizes, rates, by_size, by_rate)

    return terms


def _four_exponentials(theta: Array) -> Terms:
    rates, by_rate = _rising_rates(theta, 4)
    by_size = np.zeros((*theta.shape[:-1], 4, 8))
    for term in range(4):
        by_size[..., term, term] = SIGNED_UNIT * np.cosh(theta[..., term])
    return Terms(SIGNED_UNIT * np.sinh(theta[..., :4]), rates, by_size, by_rate)


def _rising_rates(theta: Array, number: int = 3) -> tuple[Array, Array]:
    """Return so many rising rates, whose steps are the last parameters, and their derivatives."""
    steps = np.exp(theta[..., number:])
    by_rate = np.zeros((*theta.shape[:-1], number, 2 * number))
    for term in range(number):
        by_rate[..., term:, number + term] = steps[..., term, None]
    return steps.cumsum(-1), by_rate


@dataclass(frozen=True)
class Model:
    """One model.

    Attributes:
        name: in words.
        formula: for reports.
        parameters: names of P; each is the logarithm of an amplitude (%ID), of a share (0 to 1) or of a rate (1/s),
            or an amplitude of any sign (see above).
        amplitudes: how many of them, from the first on, are amplitudes; the curve is linear in these.
        terms: parameters → exponentials.
        uptake: the exponential that is taken up, or None.
        clearance: the one that leaves last, or None.
        fast: the one that leaves first, where there are two.
        shares: how many parameters after the amplitudes are shares.
        signed: whether amplitudes may be below 0.
    """

    name: str
    formula: str
    parameters: tuple[str, ...]
    amplitudes: int
    terms: Callable[[Array], Terms]
    uptake: int | None = None
    clearance: int | None = None
    fast: int | None = None
    shares: int = 0
    signed: bool = False

    @property
    def can_rise(self) -> bool:
        """Whether its curve may rise."""
        return self.signed or self.uptake is not None

    @property
    def can_fall(self) -> bool:
        """Whether its curve may fall."""
        return self.clearance is not None


MODELS: dict[str, Model] = {
    model.name: model
    for model in (
        Model("clearance", "A·exp(−λc·t)", ("A", "λc"), 1, _clearance, clearance=0),
        Model("uptake", "A·(1 − exp(−λu·t))", ("A", "λu"), 1, _uptake, uptake=1),
        Model(
            "uptake and clearance", "A·(exp(−λc·t) − exp(−λu·t))", ("A", "λc", "λu − λc"), 1, _uptake_and_clearance,
            uptake=1, clearance=0,
        ),
        Model(
            "uptake and clearance beside blood", "(A + B)·exp(−λc·t) − A·exp(−λu·t)",
            ("A", "B", "λc", "λu − λc"), 2, _uptake_beside_blood, uptake=1, clearance=0,
        ),
        Model(
            "two clearances", "A₁·exp(−λ₁·t) + A₂·exp(−λ₂·t)", ("A₁", "A₂", "λ₂", "λ₁ − λ₂"), 2, _two_clearances,
            clearance=1, fast=0,
        ),
        Model(
            "uptake and two clearances", "A₁·exp(−λ₁·t) + A₂·exp(−λ₂·t) − (A₁ + A₂)·exp(−λu·t)",
            ("A₁", "A₂", "λ₂", "λ₁ − λ₂", "λu − λ₁"), 2, _uptake_and_two_clearances, uptake=2, clearance=1, fast=0,
        ),
        # What several organs over each other look like: three rates without ties between their amplitudes.
        Model(
            "three clearances", "A₁·exp(−λ₁·t) + A₂·exp(−λ₂·t) + A₃·exp(−λ₃·t)",
            ("A₁", "A₂", "A₃", "λ₁", "λ₂ − λ₁", "λ₃ − λ₂"), 3, _three_clearances, clearance=0, fast=2,
        ),
        Model(
            "uptake and two free clearances", "A₁·exp(−λ₁·t) + A₂·exp(−λ₂·t) − s·(A₁ + A₂)·exp(−λu·t), s ≤ 1",
            ("A₁", "A₂", "s", "λ₁", "λ₂ − λ₁", "λu − λ₂"), 2, _uptake_among_three(2), uptake=2, clearance=0, fast=1,
            shares=1,
        ),
        Model(
            "delayed uptake and clearance", "A·exp(−λc·t) − s·(A + B)·exp(−λu·t) + B·exp(−λv·t), s ≤ 1",
            ("A", "B", "s", "λc", "λu − λc", "λv − λu"), 2, _uptake_among_three(1), uptake=1, clearance=0, shares=1,
        ),
        # For regions in which so many organs lie that nothing else follows them; none of its rates is one organ's.
        Model(
            "four exponentials", "Σ Aₖ·exp(−λₖ·t), k = 1 … 4, Aₖ of any sign",
            ("A₁", "A₂", "A₃", "A₄", "λ₁", "λ₂ − λ₁", "λ₃ − λ₂", "λ₄ − λ₃"), 4, _four_exponentials, clearance=0,
            signed=True,
        ),
    )
}  # fmt: skip


def frame_means(model: Model, theta: Array, starts: Array, durations: Array, decay: float) -> tuple[Array, Array]:
    """Return what each frame counts on average, (…, F), and its derivatives by the parameters, (…, F, P).

    Args:
        model: which.
        theta: (…, P), logarithms.
        starts, durations: (F,) s; a duration of 0 is a moment.
        decay: the isotope's λ, 1/s; 0 for a curve that is already free of decay.
    """
    terms = model.terms(theta)
    rates = terms.rates[..., None, :] + decay  # (…, 1, K)
    at_start = np.exp(-rates * starts[:, None])
    x = rates * durations[:, None]
    small = x < 1e-4
    safe = np.where(small, 1.0, x)
    within = np.where(small, 1 - x / 2 + x**2 / 6, -np.expm1(-safe) / safe)
    slope = np.where(small, -0.5 + x / 3 - x**2 / 8, (np.exp(-safe) - within) / safe)
    mean = at_start * within  # (…, F, K)
    by_rate = at_start * slope * durations[:, None] - starts[:, None] * mean
    values = np.einsum("...fk,...k->...f", mean, terms.amplitudes)
    weighted = by_rate * terms.amplitudes[..., None, :]
    return values, mean @ terms.by_amplitude + weighted @ terms.by_rate


def value_at(model: Model, theta: Array, times: npt.ArrayLike) -> Array:
    """Return b(t), without decay: parameters (…, P) and times (…, T) or (T,) give (…, T)."""
    terms = model.terms(theta)
    grown = np.exp(-terms.rates[..., None, :] * np.asarray(times, dtype=np.float64)[..., None])
    return np.einsum("...tk,...k->...t", grown, terms.amplitudes)


def half_time(model: Model, theta: Array, term: int) -> Array:
    """Return ln 2 / λ of one exponential, s."""
    return np.asarray(np.log(2.0) / model.terms(theta).rates[..., term])


def area_between(model: Model, theta: Array, begin: float, end: float, decay: float = 0.0) -> Array:
    """Return the integral of b(t)·exp(−decay·t) from `begin` to `end`, which may be infinite, %ID·s."""
    terms = model.terms(theta)
    rates = terms.rates + decay
    with np.errstate(divide="ignore", invalid="ignore"):
        late = 0.0 if np.isinf(end) else np.exp(-rates * end)
        shares = np.where(rates > 0, (np.exp(-rates * begin) - late) / rates, end - begin)
    return np.asarray((terms.amplitudes * shares).sum(-1))


def slope_at(model: Model, theta: Array, times: npt.ArrayLike) -> Array:
    """Return b'(t), 1/s: parameters (…, P) and times (…, T) or (T,) give (…, T)."""
    terms = model.terms(theta)
    steep = terms.amplitudes * terms.rates
    grown = np.exp(-terms.rates[..., None, :] * np.asarray(times, dtype=np.float64)[..., None])
    return np.asarray(-np.einsum("...tk,...k->...t", grown, steep))


def peak_time(model: Model, theta: Array, first: float, last: float) -> Array:
    """Return when b(t) is greatest between `first` and `last`, s; one of them where it only falls or only rises.

    Beyond what was observed sums of exponentials may do anything, so nothing is looked for there.
    """
    if not model.can_rise:
        return np.full(theta.shape[:-1], first)
    if not model.can_fall:
        return np.full(theta.shape[:-1], last)
    terms = model.terms(theta)
    if terms.rates.shape[-1] == 2:
        slow, quick = terms.rates[..., 0], terms.rates[..., 1]
        with np.errstate(divide="ignore", invalid="ignore"):
            turns = np.log(np.maximum(-terms.amplitudes[..., 1] / terms.amplitudes[..., 0], 0.0)) + np.log(quick / slow)
        return np.clip(turns / (quick - slow), first, last)
    # The highest of many moments, and between its neighbours the moment at which the slope changes its sign.
    grid = first + (last - first) * np.concatenate([[0.0], np.geomspace(1e-4, 1.0, _LOOKS)])
    best = value_at(model, theta, grid).argmax(-1)
    low, high = grid[np.maximum(best - 1, 0)], grid[np.minimum(best + 1, len(grid) - 1)]
    steep = terms.amplitudes * terms.rates
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        rising = (steep * np.exp(-terms.rates * middle[..., None])).sum(-1) < 0
        low, high = np.where(rising, middle, low), np.where(rising, high, middle)
    found, little = (low + high) / 2, 1e-8 * (last - first)
    return np.asarray(np.where(found - first < little, first, np.where(last - found < little, last, found)))
