"""What to make of every case of clean CT: the settings of `ct_pairs`, and what of them a folder of pairs belongs to."""

import hashlib
import json
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

from transmodal.errors import UserError
from transmodal.simulation.ct.companions import Companion
from transmodal.simulation.ct.degrading import Process
from transmodal.simulation.ct.pairs import FORMAT, SINOGRAM, Output
from transmodal.simulation.ct.steps import Level

Spread = Literal["each", "mix"]


@dataclass(frozen=True)
class PairSettings:
    """What to make of every case.

    Attributes:
        modality: of the manifest, clean CT in HU.
        levels: one, or several of which each case gets `spread`.
        spread: "each" gives every case every level, as sessions of their own; "mix" one level a case, all of them
            equally often.
        process: scanner and reconstruction.
        output: what is written; its companions have weights except a `tv` that shall be tuned.
        copies: further poses of every training case (of every case where nothing is split).
        seed: of noise, metal, poses and the mix.
    """

    modality: str
    levels: tuple[Level, ...]
    spread: Spread = "each"
    process: Process = field(default_factory=Process)
    output: Output = field(default_factory=Output)
    copies: int = 0
    seed: int = 0

    def __post_init__(self) -> None:
        names = [self.output.degraded, self.output.clean, SINOGRAM]
        if len(set(names)) < len(names):
            raise UserError(
                f"degraded images called {self.output.degraded!r} beside {self.output.clean!r} and {SINOGRAM!r}: give "
                "--name another name"
            )
        if self.copies < 0 or self.seed < 0:
            raise UserError(f"--copies and --seed are 0 or above, not {self.copies} and {self.seed}")


def claim_of(settings: PairSettings) -> dict[str, Any]:
    """Return what decides the bits of all pairs, in words short enough for a message."""
    process = asdict(settings.process)
    scanner = process.pop("scanner")
    if scanner["beam"] is not None:  # all its angles
        scanner["beam"] = hashlib.sha256(json.dumps(scanner["beam"]).encode()).hexdigest()[:16]
    output = asdict(settings.output)
    companions = output.pop("companions")
    output.pop("allow_uneven")  # what is even stays as it is: what was refused without it may be added
    entries = {
        "simulation": "ct pairs",
        "format": FORMAT,
        "synthetic": True,
        "modality": settings.modality,
        "levels": [level.text() for level in settings.levels],
        "spread": settings.spread if len(settings.levels) > 1 else "each",
        **{f"scanner {name}": value for name, value in scanner.items()},
        **process,
        **output,
        "also": [
            " ".join(f"{name}={value}" for name, value in each.items() if each["name"] == "tv" or name == "name")
            for each in companions
        ],
        "copies": settings.copies,
        "seed": settings.seed,
    }
    claimed: dict[str, Any] = json.loads(json.dumps(entries))
    return claimed


def is_open(companion: Companion) -> bool:
    """Say whether a companion's weight of total variation shall be tuned."""
    return companion.name == "tv" and companion.weight is None


def weighted(companion: Companion, weight: float) -> Companion:
    """Return a companion with a weight of total variation where its own is open."""
    return replace(companion, weight=weight) if is_open(companion) else companion
