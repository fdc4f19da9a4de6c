"""The animal: what is fixed for life and the same in all its poses.

Lengths are those of an adult laboratory mouse. All anatomy is written for a reference animal of 85 mm from the nose to
the root of the tail, in body coordinates: s along the axis from the nose (mm), v to the animal's left (mm), z up from
the bed (mm). `Animal` says how one animal differs from that reference.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from transmodal.errors import UserError

REFERENCE_LENGTH = 85.0
"""Nose to root of the tail of the reference animal, mm."""

Coat = Literal["white", "black"]

_SEED_DOMAIN = 0x6D6F7573  # keeps the animals' random streams apart from those of poses and noise


@dataclass(frozen=True)
class Animal:
    """One mouse; everything not given is drawn from `seed` by `Animal.draw`.

    `seed` also decides the fine structure (gut loops, food, rib details, fur), so that it is equal in every pose.
    Factors are relative to the reference animal; lengths are in mm.
    """

    seed: int
    coat: Coat
    length: float = 85.0
    width: float = 1.0
    height: float = 1.0
    fatness: float = 0.5
    skull: float = 1.0
    limb: float = 1.0
    tail: float = 78.0
    ear: float = 1.0
    bone_density: float = 1.0
    coat_tone: float = 0.5
    skin_tone: float = 0.5

    def __post_init__(self) -> None:
        if self.coat not in ("white", "black"):
            raise UserError(f"coat {self.coat!r} is unknown: give white or black")
        if self.seed < 0:
            raise UserError(f"the animal's seed is {self.seed}: give a whole number from 0")

    @property
    def scale(self) -> float:
        """Length relative to the reference animal."""
        return self.length / REFERENCE_LENGTH

    @staticmethod
    def draw(seed: int, coat: Coat | None = None) -> "Animal":
        """Draw an animal.

        Arguments: `seed`, any non-negative integer; `coat`, "white" or "black", or None to draw it too.
        Returns an animal of 73 to 87 mm, lean to fat; equal seeds give equal animals.
        """
        rng = np.random.default_rng([_SEED_DOMAIN, max(seed, 0)])
        drawn: Coat = "white" if rng.random() < 0.5 else "black"
        fatness = float(rng.beta(2.0, 2.2))
        length = float(np.clip(rng.normal(80.5, 3.0), 73.0, 87.0))
        return Animal(
            seed=seed,
            coat=coat or drawn,
            length=length,
            width=float(np.clip(rng.normal(0.90, 0.035), 0.82, 0.99) + 0.13 * fatness),
            height=float(np.clip(rng.normal(0.93, 0.03), 0.86, 1.0) + 0.10 * fatness),
            fatness=fatness,
            skull=float(np.clip(rng.normal(1.0, 0.02), 0.95, 1.05)),
            limb=float(np.clip(rng.normal(1.0, 0.025), 0.94, 1.06)),
            tail=float(rng.uniform(68.0, 86.0)),
            ear=float(np.clip(rng.normal(1.0, 0.06), 0.85, 1.15)),
            bone_density=float(np.clip(rng.normal(1.0, 0.06), 0.85, 1.15)),
            coat_tone=float(rng.random()),
            skin_tone=float(rng.random()),
        )

    def stream(self, purpose: int) -> np.random.Generator:
        """A random stream for one fixed detail of this animal; `purpose` keeps details independent."""
        return np.random.default_rng([_SEED_DOMAIN, self.seed, purpose])
