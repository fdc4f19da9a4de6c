"""From net counts to counts a second, Bq and per cent of the injected activity, as far as what they need is known.

%ID = 100·(C_region − C_background·n_region / n_background) / (S·Δt·A_injected), brought back to the injection by
λΔt·exp(λt) / (1 − exp(−λΔt)) (METHODS.md, section 7). Without sensitivity or injected activity, net counts a second
brought back in the same way have the same shape. A planar count is neither corrected for what lies over or under an
organ nor, unless asked, for depth.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from transmodal.errors import UserError
from transmodal.images.image import Image
from transmodal.images.nuclear.isotopes import Isotope
from transmodal.images.nuclear.series import NuclearSeries

Array = npt.NDArray[np.float64]
_MEGA = 1e6
_MOST_PER_MM = 0.1  # of attenuation: I-125 in water has 0.04
_DEEPEST = 60.0  # mm


@dataclass(frozen=True)
class Attenuation:
    """How much tissue radiation passes on its way out, for a correction by exp(µ·tissue).

    Of single photons those go that point at the camera: they pass what lies over the region, its depth. Annihilation
    photons are counted in coincidence, when both get out on opposite sides: together they pass the whole body there,
    whatever the depth.

    Attributes:
        tissue: mm; over the region for single photons, the whole thickness of the body there for coincidence.
        per_mm: linear attenuation µ, 1/mm; in soft tissue roughly 0.0155 at 140 keV and 0.0096 at 511 keV.
    """

    tissue: float
    per_mm: float

    def __post_init__(self) -> None:
        if not 0 <= self.per_mm <= _MOST_PER_MM:
            hint = f"; in 1/cm? write {self.per_mm / 10:g}" if 0 < self.per_mm / 10 <= _MOST_PER_MM else ""
            raise UserError(f"an attenuation of {self.per_mm:g} per mm is not that of tissue{hint}")
        if not 0 <= self.tissue <= _DEEPEST:
            raise UserError(f"{self.tissue:g} mm of tissue are not within an animal; give 0 to {_DEEPEST:g} mm")

    @property
    def factor(self) -> float:
        """By which activities are multiplied."""
        return float(np.exp(self.per_mm * self.tissue))

    def describe(self, isotope: Isotope | None) -> str:
        """Return the rule in words, as the isotope's emission has it."""
        means = {"single": "of tissue over it", "coincidence": "of tissue, the whole thickness of the body there,"}
        words = "of tissue" if isotope is None else means[isotope.emission]
        return f"exp(µ·x) for {self.tissue:g} mm {words} at {self.per_mm:g} per mm"


def doubts_of_depth(attenuation: Mapping[str, Attenuation], anatomy: Image) -> list[str]:
    """Say which regions are corrected for more tissue than an animal has that fits into the anatomy's field."""
    shorter = min(length * step for length, step in zip(anatomy.shape, anatomy.spacing, strict=True))
    if not anatomy.has_physical_size:
        return []
    return [
        f"{name}: {given.tissue:g} mm of tissue are more than half the shorter side of the field ({shorter:.4g} mm), "
        f"thicker than an animal in it; its values are multiplied by {given.factor:.3g}: check the depth, in mm"
        for name, given in attenuation.items()
        if given.tissue > shorter / 2
    ]


@dataclass(frozen=True, eq=False)
class Scale:
    """Curves in what can be fitted: decay-corrected to the injection, and proportional to the activity.

    Attributes:
        unit: "%ID", or "counts/s" where that is not known.
        values, deviations: (R, F).
        of_count: (R, F), what one net count adds to a value.
    """

    unit: str
    values: Array
    deviations: Array
    of_count: Array


@dataclass(frozen=True, eq=False)
class InUnits:
    """Net counts in other units; arrays are (R, F), None where that cannot be known. See `TimeActivity`."""

    rate: Array | None = None
    corrected_rate: Array | None = None
    corrected_rate_sd: Array | None = None
    rate_of_count: Array | None = None
    activity: Array | None = None
    percent_id: Array | None = None
    percent_id_sd: Array | None = None
    percent_of_count: Array | None = None
    injected: float | None = None
    missing: tuple[str, ...] = ()


def in_units(
    net: Array,
    deviations: Array,
    names: Sequence[str],
    series: NuclearSeries,
    durations: Array | None,
    undecayed: Array | None,
    attenuation: Mapping[str, Attenuation] | None = None,
) -> InUnits:
    """Return rate, Bq and %ID as far as what they need is known, and what is missing.

    Args:
        net, deviations: (R, F) counts less background, and their standard deviations.
        names: (R,), of the regions.
        series: what is known of isotope, sensitivity and injection.
        durations: (F,) s; None when not known.
        undecayed: (F,) s, see `TimeActivity`.
        attenuation: region → tissue and µ.

    Raises:
        UserError: a sensitivity of 0 or less, or an injection that cannot be.
    """
    isotope = series.isotope
    missing = tuple(
        word
        for word, absent in (
            ("the durations of the frames", durations is None),
            ("when it was injected", series.starts is None),
            ("the isotope", isotope is None),
            ("the sensitivity of the camera", series.sensitivity is None),
            ("the injected activity", series.injection is None),
        )
        if absent
    )
    if series.sensitivity is not None and not series.sensitivity > 0:
        raise UserError(f"{series.name}: a sensitivity of {series.sensitivity:g} cps/MBq; calibrate the camera")
    if durations is None:
        return InUnits(missing=missing)
    known = InUnits(net / durations, missing=missing)
    given = attenuation or {}
    factors = np.array([given[name].factor if name in given else 1.0 for name in names])[:, None]
    if undecayed is not None:
        one = np.broadcast_to(factors / undecayed, net.shape)
        known = replace(known, corrected_rate=net * one, corrected_rate_sd=deviations * one, rate_of_count=one)
    if series.sensitivity is None:
        return known
    becquerel = _MEGA / series.sensitivity * factors  # of one count a second
    known = replace(known, activity=net * becquerel / durations)
    if undecayed is None or isotope is None or series.injection is None:
        return known
    injected = series.injection.activity(isotope)
    one = becquerel / undecayed * 100.0 / injected
    return replace(known, percent_id=net * one, percent_id_sd=deviations * one, percent_of_count=one, injected=injected)


def averaged(known: InUnits, durations: Array | None) -> InUnits:
    """Return the means of all frames, (R, 1), each weighted by its duration (F,): Σ Δtᵢ·xᵢ / Σ Δtᵢ.

    What one count adds then depends on its frame; given is the root of the sum of squares of those of all frames.
    """
    if durations is None:
        return known
    share = durations / durations.sum()

    def mean(values: Array | None) -> Array | None:
        return None if values is None else (values * share).sum(axis=1, keepdims=True)

    def spread(values: Array | None) -> Array | None:
        return None if values is None else np.sqrt(((values * share) ** 2).sum(axis=1, keepdims=True))

    return replace(
        known, rate=mean(known.rate), activity=mean(known.activity),
        corrected_rate=mean(known.corrected_rate), corrected_rate_sd=spread(known.corrected_rate_sd),
        rate_of_count=spread(known.rate_of_count), percent_id=mean(known.percent_id),
        percent_id_sd=spread(known.percent_id_sd), percent_of_count=spread(known.percent_of_count),
    )  # fmt: skip


def said_of(known: InUnits, undecayed: Array | None) -> list[str]:
    """Return a line that says what is missing, and what is shown instead of %ID; none where all is known."""
    if not known.missing:
        return []
    shown = "counts" if known.rate is None else "net counts a second"
    if undecayed is not None:
        shown += ", decay-corrected to the injection"
    beside = "; the tables have counts and Bq, too" if known.activity is not None else ""
    free = " Half-times and peak times do not need that." if undecayed is not None and len(undecayed) > 1 else ""
    return [f"Not known: {', '.join(known.missing)}. Without it there is no %ID: values are {shown}{beside}.{free}"]


def facts_of(series: NuclearSeries, injected: float | None) -> dict[str, str]:
    """Return what is known of a series and its calibration, name → value; `injected` in Bq."""
    facts = {"agent": series.agent}
    if series.isotope is not None:
        facts["isotope"] = f"{series.isotope.name}, half-life {series.isotope.half_life / 3600:.5g} h"
    if series.energy_window is not None:
        facts["energy window"] = f"{series.energy_window[0]:g} to {series.energy_window[1]:g} keV"
    if series.sensitivity is not None:
        facts["sensitivity"] = f"{series.sensitivity:g} counts a second for each MBq, without attenuation"
    if series.injection is not None:
        syringe = series.injection
        facts["syringe"] = (
            f"{syringe.before / _MEGA:.4g} MBq at {syringe.before_at:g} s, {syringe.after / _MEGA:.4g} MBq left at "
            f"{syringe.after_at:g} s"
        )
    if injected is not None:
        facts["injected"] = f"{injected / _MEGA:.4g} MBq at the injection"
    if series.durations is not None:
        facts["frames"] = f"{len(series)}, lasting {series.durations.min():g} to {series.durations.max():g} s"
        if series.starts is not None:
            facts["frames"] += f", from {series.starts[0]:g} to {(series.starts + series.durations)[-1]:g} s"
    facts["pixel"] = f"{series.spacing[0]:.4g} × {series.spacing[1]:.4g} {'mm' if series.has_physical_size else 'px'}"
    return {name: value for name, value in facts.items() if value}
