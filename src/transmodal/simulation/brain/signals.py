"""What a sequence measures of a tissue: signal equations, tissue constants, contrast agent.

Source: the solutions of the Bloch equations for spin echo and inversion recovery in the steady state (for instance
Bernstein, King and Zhou, Handbook of MRI Pulse Sequences, 2004, ch. 14; Haacke et al., Magnetic Resonance Imaging,
1999). Tissue constants are typical values as textbooks give them (published ones scatter by 10 to 20 %); they are
rounded, differ between sources, and are meant for plausible contrast. Give your own table where it matters.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

SEQUENCES = ("T1", "T1ce", "T2", "FLAIR")

R1_PER_MM_S, R2_PER_MM_S = {1.5: 4.5, 3.0: 4.2}, {1.5: 5.3, 3.0: 5.5}
"""Relaxivities of a usual gadolinium chelate in blood, 1 / (mmol/L s), typical, by field (tesla)."""


@dataclass(frozen=True)
class Tissue:
    """`t1`, `t2`: relaxation times, ms. `density`: protons relative to water. `uptake`: contrast agent, mmol/L."""

    t1: float
    t2: float
    density: float
    uptake: float = 0.0

    def with_contrast(self, field: float) -> "Tissue":
        """The tissue with its contrast agent: 1/T' = 1/T + r c, for both relaxations."""
        rate1 = 1 / self.t1 + R1_PER_MM_S[field] * self.uptake / 1000
        rate2 = 1 / self.t2 + R2_PER_MM_S[field] * self.uptake / 1000
        return replace(self, t1=1 / rate1, t2=1 / rate2)


# Vessels: flowing blood leaves the slice between excitation and echo, so that little of its density is seen.
TYPICAL: Mapping[float, Mapping[str, Tissue]] = {
    1.5: {
        "csf": Tissue(4000, 1900, 1.00),
        "grey": Tissue(1100, 95, 0.80, 0.02),
        "white": Tissue(640, 76, 0.71, 0.01),
        "striatum": Tissue(990, 84, 0.80, 0.02),
        "thalamus": Tissue(910, 82, 0.78, 0.02),
        "pallidum": Tissue(760, 64, 0.74, 0.02),
        "vessel": Tissue(1400, 150, 0.30, 1.2),
        "plexus": Tissue(1700, 200, 0.90, 0.45),
        "oedema": Tissue(1150, 155, 0.85),
        "necrosis": Tissue(2200, 320, 0.94, 0.01),
        "enhancing": Tissue(1250, 125, 0.87, 0.28),
        "tumour": Tissue(1300, 165, 0.88, 0.02),
        "plaque": Tissue(1150, 190, 0.86, 0.01),
    },
    3.0: {
        "csf": Tissue(4200, 1800, 1.00),
        "grey": Tissue(1450, 95, 0.80, 0.02),
        "white": Tissue(840, 70, 0.71, 0.01),
        "striatum": Tissue(1300, 78, 0.80, 0.02),
        "thalamus": Tissue(1210, 78, 0.78, 0.02),
        "pallidum": Tissue(990, 54, 0.74, 0.02),
        "vessel": Tissue(1650, 120, 0.30, 1.2),
        "plexus": Tissue(2000, 180, 0.90, 0.45),
        "oedema": Tissue(1450, 145, 0.85),
        "necrosis": Tissue(2500, 290, 0.94, 0.01),
        "enhancing": Tissue(1550, 118, 0.87, 0.28),
        "tumour": Tissue(1600, 155, 0.88, 0.02),
        "plaque": Tissue(1450, 175, 0.86, 0.01),
    },
}
"""Typical constants by field strength (tesla), tissue names as in `tissues.TISSUES`."""


@dataclass(frozen=True)
class Sequence:
    """One acquisition, times in ms. No `inversion`: spin echo, else inversion recovery. `contrast`: after it."""

    repetition: float
    echo: float
    inversion: float | None = None
    contrast: bool = False

    def signal(self, tissue: Tissue, field: float) -> float:
        """Signal of a tissue at `field` tesla, relative to fully relaxed water; negative before recovery's null."""
        seen = tissue.with_contrast(field) if self.contrast else tissue
        if self.inversion is None:
            return spin_echo(seen.t1, seen.t2, seen.density, self.repetition, self.echo)
        return inversion_recovery(seen.t1, seen.t2, seen.density, self.repetition, self.echo, self.inversion)


def spin_echo(t1: float, t2: float, density: float, repetition: float, echo: float) -> float:
    """S = PD (1 - exp(-TR/T1)) exp(-TE/T2); all times in one unit."""
    return float(density * (1 - np.exp(-repetition / t1)) * np.exp(-echo / t2))


def inversion_recovery(t1: float, t2: float, density: float, repetition: float, echo: float, inversion: float) -> float:
    """S = PD (1 - 2 exp(-TI/T1) + exp(-TR/T1)) exp(-TE/T2), with its sign; all times in one unit."""
    recovered = 1 - 2 * np.exp(-inversion / t1) + np.exp(-repetition / t1)
    return float(density * recovered * np.exp(-echo / t2))


def nulling_inversion(t1: float, repetition: float) -> float:
    """The inversion time at which a tissue gives no signal: TI = T1 ln(2 / (1 + exp(-TR/T1)))."""
    return float(t1 * np.log(2 / (1 + np.exp(-repetition / t1))))


def draw_sequences(rng: np.random.Generator, field: float) -> dict[str, Sequence]:
    """Draw a site's protocol: usual repetition and echo times, FLAIR with the inversion that nulls typical fluid."""
    first = Sequence(float(rng.uniform(440, 640)), float(rng.uniform(8, 14)))
    repetition = float(rng.uniform(8000, 11000))
    null = nulling_inversion(TYPICAL[field]["csf"].t1, repetition)
    return {
        "T1": first,
        "T1ce": replace(first, contrast=True),
        "T2": Sequence(float(rng.uniform(3500, 6000)), float(rng.uniform(80, 108))),
        "FLAIR": Sequence(repetition, float(rng.uniform(90, 125)), null),
    }


def draw_tissues(
    rng: np.random.Generator, field: float, *, spread: float = 0.03, typical: Mapping[str, Tissue] | None = None
) -> dict[str, Tissue]:
    """Draw one subject's constants: each of T1, T2 and density off the typical by `spread` (relative), uptake by more.

    `typical`: your own table, tissue names as keys; None for `TYPICAL`.
    """
    table = dict(typical or TYPICAL[field])
    made = {}
    for name, tissue in table.items():
        factors = np.exp(rng.normal(0.0, spread, 3))
        uptake = tissue.uptake * float(np.exp(rng.normal(0.0, 8 * spread)))
        density = min(tissue.density * float(1 + (factors[2] - 1) / 3), 1.0)
        made[name] = Tissue(tissue.t1 * float(factors[0]), tissue.t2 * float(factors[1]), density, uptake)
    return made
