"""The agents: what is injected, where it goes and how fast.

All numbers are invented. They give curves of the shape that each kind of agent is known for (a bone agent that clears
through the kidneys, glucose that heart and brain trap, a tumour agent that the liver clears into the bowels), not the
biodistribution of any compound: none is measured, none may be cited.

Blood is no place of its own: it lies in organs, `blood_in` says what share of it where. With a share b of the blood an
organ has A exp(-c t) + (100 b - A) exp(-K t): the same two half-times, but it does not begin at 0. Every other organ
that the blood feeds has exactly A (exp(-c t) - exp(-K t)). Bladder and bowels, which organs feed, have more terms.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from transmodal.errors import UserError
from transmodal.images.nuclear.isotopes import ISOTOPES, Isotope
from transmodal.simulation.nuclear.kinetics import Curve, Organ, solve

MINUTE = 60.0
CATHETER = 10 * MINUTE
"""Half-time in which a catheter empties the bladder out of the field, or it would outshine all else."""
_DOMAIN = 0x6B696E65


@dataclass(frozen=True)
class Agent:
    """One labelled compound in one animal.

    Attributes:
        name: as the sidecar says it.
        isotope: that it carries.
        activity: usual injected activity, Bq.
        blood: half-time in which it leaves the blood, s.
        blood_in: place to the share of the blood that lies there; adds up to 1.
        organs: place to kinetics, each before what it feeds.
        schedule: usual frames, as `frames.Schedule.parse` reads them.
        needs_tumour: whether there is a tumour.
        variation: spread of the logarithm of every half-time and share from animal to animal.
    """

    name: str
    isotope: Isotope
    activity: float
    blood: float
    blood_in: Mapping[str, float]
    organs: Mapping[str, Organ]
    schedule: str
    needs_tumour: bool = False
    variation: float = 0.12

    @property
    def places(self) -> tuple[str, ...]:
        """Where activity can be, in the organs' order and then blood alone."""
        return (*self.organs, *(name for name in self.blood_in if name not in self.organs))

    def drawn(self, seed: int) -> "Agent":
        """Return the same agent in one animal: half-times and shares vary by `variation`, shares add up to 1 still."""
        rng = np.random.default_rng([_DOMAIN, seed])
        while True:
            drawn = self._drawn(rng)
            try:
                drawn.compartments()
            except ValueError:  # two rates met, which the closed form cannot hold
                if self.variation == 0.0:
                    raise
                continue
            return drawn

    def _drawn(self, rng: np.random.Generator) -> "Agent":
        names = sorted({"blood", *self.organs})  # so that another order of organs gives the same animal
        factor = {name: np.exp(rng.normal(0.0, self.variation, 2)) for name in names}
        shares = {name: organ.share * float(factor[name][0]) for name, organ in self.organs.items()}
        total = sum(shares.values())
        organs = {
            name: replace(organ, share=shares[name] / total, clearance=organ.clearance * float(factor[name][1]))
            for name, organ in self.organs.items()
        }
        return replace(self, blood=self.blood * float(factor["blood"][1]), organs=organs)

    def compartments(self) -> dict[str, Curve]:
        """Return the curves of "blood", of each organ without its blood, and of what has "left"; 100 in all."""
        return solve(self.blood, self.organs)

    def curves(self) -> dict[str, Curve]:
        """Return the curve of every place, its blood with it; with what has "left" they add up to 100."""
        solved = self.compartments()
        nothing = Curve((), ())
        found = {
            name: solved.get(name, nothing).plus(solved["blood"], self.blood_in[name])
            if name in self.blood_in
            else solved[name]
            for name in self.places
        }
        return found | {"left": solved["left"]}

    def half_times(self, place: str) -> tuple[float | None, float | None]:
        """Return uptake and clearance half-times of a place, s; None where the closed form has none or it is infinite.

        A place that other organs feed has more than two terms and no half-times of its own.
        """
        organ = self.organs.get(place)
        if organ is None:
            return None, self.blood
        if organ.share == 0.0 or any(other.into == place for other in self.organs.values()):
            return None, None
        return self.blood, organ.clearance if math.isfinite(organ.clearance) else None


_DYNAMIC = "6x10s,6x30s,6x1min,10x5min"

BONE = Agent(
    name="99mTc-MDP",
    isotope=ISOTOPES["Tc-99m"],
    activity=20e6,
    blood=5 * MINUTE,
    blood_in={"heart": 0.12, "soft tissue": 0.88},
    organs={
        "skeleton": Organ(0.36, 900 * MINUTE, "bladder"),
        "skull": Organ(0.07, 900 * MINUTE, "bladder"),
        "kidneys": Organ(0.33, 11 * MINUTE, "bladder"),
        "soft tissue": Organ(0.24, 38 * MINUTE, "bladder"),
        "bladder": Organ(0.0, CATHETER),
    },
    schedule=f"{_DYNAMIC},@2h,10min,@4h,10min",
)
"""A bone agent: quickly into bone and, through the kidneys, into the bladder; what remains in soft tissue follows.

What bone and soft tissue let go is taken to reach the bladder without being seen in blood and kidneys on its way.
"""

GLUCOSE = Agent(
    name="18F-FDG",
    isotope=ISOTOPES["F-18"],
    activity=8e6,
    blood=3 * MINUTE,
    blood_in={"soft tissue": 1.0},
    organs={
        "heart": Organ(0.07, 420 * MINUTE, "bladder"),
        "brain": Organ(0.04, 240 * MINUTE, "bladder"),
        "liver": Organ(0.15, 32 * MINUTE, "bladder"),
        "kidneys": Organ(0.21, 9 * MINUTE, "bladder"),
        "gut": Organ(0.07, 600 * MINUTE, "bladder"),
        "soft tissue": Organ(0.46, 200 * MINUTE, "bladder"),
        "bladder": Organ(0.0, CATHETER),
    },
    schedule=f"{_DYNAMIC},@90min,10min,@2h,10min",
)
"""Glucose: heart and brain keep it, liver and kidneys let it go. All blood is in soft tissue."""

TUMOUR_AGENT = Agent(
    name="99mTc tumour agent (invented)",
    isotope=ISOTOPES["Tc-99m"],
    activity=20e6,
    blood=14 * MINUTE,
    blood_in={"heart": 0.16, "soft tissue": 0.84},
    organs={
        "tumour": Organ(0.07, 700 * MINUTE, "bladder"),
        "liver": Organ(0.20, 100 * MINUTE, "gut"),
        "kidneys": Organ(0.33, 32 * MINUTE, "bladder"),
        "soft tissue": Organ(0.40, 60 * MINUTE, "bladder"),
        "gut": Organ(0.0),
        "bladder": Organ(0.0, CATHETER),
    },
    schedule=f"{_DYNAMIC},@2h,10min,@4h,10min,@6h,10min",
    needs_tumour=True,
)
"""A compound that a tumour binds: slow out of the blood; kidneys send it to the bladder, the liver to the bowels."""

AGENTS: dict[str, Agent] = {"mdp": BONE, "fdg": GLUCOSE, "tumour": TUMOUR_AGENT}


def agent_named(name: str) -> Agent:
    """Return an agent by the key of `AGENTS`; UserError for another."""
    if name not in AGENTS:
        raise UserError(f"agent {name!r} is unknown; give one of {', '.join(AGENTS)}")
    return AGENTS[name]
