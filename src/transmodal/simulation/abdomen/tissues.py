"""What tissues are called in the label map, and how many Hounsfield units they have.

Values are typical ones of textbooks and small-animal CT, rounded; no scanner was fitted. A liver agent (alkaline-earth
nanoparticles or iodinated lipids, which liver and spleen take up and tumours do not) makes liver and spleen brighter.
"""

from dataclasses import dataclass

import numpy as np

LABELS = {
    1: "liver",
    2: "tumour",
    3: "kidneys",
    4: "spine",
    5: "ribs",
    6: "lungs",
    7: "heart",
    8: "stomach",
    9: "gut",
    10: "spleen",
    11: "fat",
    12: "other soft tissue",
    13: "other bone",
}
"""1 and 2 are those of public collections of liver tumours; 0 is air around the animal."""

LABEL = {name: number for number, name in LABELS.items()}

FIRST_TUMOUR = 100
"""While an image is made, tumour k has this label plus k, so that each can be measured."""

NATIVE_CONTRAST = -30.0
AGENT_CONTRAST = -130.0
"""Tumour against liver, HU, where none is asked for: without and with a liver agent."""


@dataclass(frozen=True)
class Tissue:
    """`hu`: mean; `spread`: between animals; `texture`: within one (standard deviation over about a millimetre)."""

    hu: float
    spread: float = 0.0
    texture: float = 0.0


TYPICAL = {
    "air": Tissue(-1000.0),
    "skin": Tissue(30.0, 5.0, 4.0),
    "fat": Tissue(-100.0, 5.0, 5.0),
    "muscle": Tissue(52.0, 3.0, 5.0),
    "mesentery": Tissue(15.0, 5.0, 10.0),
    "mediastinum": Tissue(10.0, 8.0, 8.0),
    "lung": Tissue(-530.0, 35.0, 22.0),
    "lung vessel": Tissue(-60.0),
    "gas": Tissue(-950.0),
    "heart": Tissue(48.0, 3.0, 3.0),
    "blood": Tissue(46.0, 3.0),
    "gut wall": Tissue(45.0, 3.0, 3.0),
    "food": Tissue(95.0, 30.0, 32.0),
    "caecum": Tissue(60.0, 15.0, 16.0),
    "spleen": Tissue(52.0, 3.0, 3.0),
    "liver": Tissue(62.0, 4.0, 3.5),
    "bile": Tissue(8.0, 4.0),
    "kidney": Tissue(47.0, 3.0, 3.0),
    "medulla": Tissue(36.0, 3.0, 3.0),
    "cord": Tissue(33.0),
    "disc": Tissue(85.0, 8.0),
    "cartilage": Tissue(260.0, 40.0),
    "rib": Tissue(880.0, 70.0),
    "cortical bone": Tissue(1120.0, 90.0, 20.0),
    "marrow": Tissue(380.0, 50.0, 60.0),
}

AGENT_UPTAKE = {"liver": 130.0, "spleen": 150.0, "blood": 10.0, "heart": 10.0}
"""HU that a liver agent adds some hours after its injection."""


def draw_hounsfield(rng: np.random.Generator, liver_agent: bool) -> dict[str, float]:
    """Draw the mean HU of each tissue of one animal; `liver_agent`: it was given one."""
    drawn = {name: tissue.hu + tissue.spread * float(np.clip(rng.normal(), -2, 2)) for name, tissue in TYPICAL.items()}
    uptake = float(np.clip(rng.normal(1.0, 0.08), 0.8, 1.2))
    for name, added in AGENT_UPTAKE.items():
        drawn[name] += added * uptake * liver_agent
    return {name: round(value, 2) for name, value in drawn.items()}
